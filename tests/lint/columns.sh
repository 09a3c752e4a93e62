#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# No line over 80 columns, a tab counted to the next multiple of 8.
# clang-format does not see to strings and comments it cannot break.
. "$(dirname "$0")/lib.sh"

mapfile -t files < <(sources '*.c' '*.h')
[ ${#files[@]} -gt 0 ] || fail "no sources found"
for file in "${files[@]}"; do
	long=$(expand -t 8 "$file" | grep -nP '.{81}' | cut -d : -f 1) || true
	for line in $long; do
		fail "$file:$line: over 80 columns"
	done
done
finish
