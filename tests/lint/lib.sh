# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by the lint tests: the root of the tree is the current folder, and
# fail() counts what is wrong, so that one run shows all of it.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

n_failed=0
fail() {
	echo "$*" >&2
	n_failed=$((n_failed + 1))
}

skip() {
	echo "skipped: $*"
	exit 77
}

need() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
}

finish() {
	[ "$n_failed" -eq 0 ] || {
		echo "$n_failed found" >&2
		exit 1
	}
	exit 0
}

# include_flags DIR;DIR...: as CMake lists them, into the array flags.
include_flags() {
	local dir dirs
	IFS=';' read -ra dirs <<<"$1"
	flags=()
	for dir in "${dirs[@]}"; do
		[ -z "$dir" ] || flags+=("-I$dir")
	done
}

# sources PATTERN...: files of the project, one a line; also where git is
# missing or the tree is an unpacked archive.
sources() {
	local name names=()
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files --cached --others --exclude-standard -- "$@" |
			while read -r name; do
				[ ! -f "$name" ] || echo "$name"
			done
		return
	fi
	for name; do
		names+=(-o -name "$name")
	done
	find . \( -name build -o -name .git \) -prune -o \
		-type f \( "${names[@]:1}" \) -print | sed 's,^\./,,'
}
