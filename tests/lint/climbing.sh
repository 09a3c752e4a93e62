#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What the compiler cannot refuse: an include that climbs out of its folder,
# and a third-party library outside the one folder that knows it.  Tests may
# link anything and are left out.
. "$(dirname "$0")/lib.sh"

mapfile -t files < <(sources '*.c' '*.h' '*.def' | grep -v '^tests/')
[ ${#files[@]} -gt 0 ] || fail "no sources found"

# includes PATTERN FILE...: lines "FILE:NUMBER:text" that include it.
includes() {
	grep -nHE "^[[:space:]]*#[[:space:]]*include[[:space:]]*$1" "${@:2}"
}

while IFS= read -r hit; do
	fail "$hit: write <pfs/...> or a name of this folder"
done < <(includes '("[^"]*/|<[^>]*\.\./)' "${files[@]}")

# A quoted header lies in the folder of the module, not beside somebody else's
# sources.
while IFS=: read -r file line text; do
	name=${text#*\"}
	name=${name%%\"*}
	[ -f "$(dirname "$file")/$name" ] ||
		fail "$file:$line: \"$name\" is not in $(dirname "$file")"
done < <(includes '"' "${files[@]}")

# known HEADER FOLDER: an extended regular expression, and who may include it.
known() {
	local hit
	while IFS= read -r hit; do
		case $hit in
		"$2"/*) ;;
		*) fail "$hit: only $2/ knows this library" ;;
		esac
	done < <(includes "<$1" "${files[@]}")
}
known 'sqlite3' catalog
known 'liburing' cache
known 'libnvme' cache
known 'xx(hash|h3|h_)' base
known '(fuse|fuse3/|fuse_|linux/fuse)' fs
known 'json-c/' fs/ctl
known 'zlib' cli
finish
