#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Formatted as .clang-format says.  Another release lays some things out
# differently, so only the one in Debian 12 is asked.
. "$(dirname "$0")/lib.sh"
need clang-format
clang-format --version | grep -q 'version 14\.' ||
	skip "clang-format 14 is wanted"

mapfile -t files < <(sources '*.c' '*.h')
[ ${#files[@]} -gt 0 ] || fail "no sources found"
clang-format --dry-run -Werror "${files[@]}" || fail "run clang-format -i"
finish
