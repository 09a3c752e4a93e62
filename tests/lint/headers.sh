#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# headers.sh CC FOLDER DIRS: each public header of FOLDER compiles alone,
# seeing what a user of FOLDER sees.
. "$(dirname "$0")/lib.sh"
cc=$1 folder=$2
include_flags "$3"

mapfile -t headers < <(find "$folder/include/pfs" -name '*.h')
[ ${#headers[@]} -gt 0 ] || fail "$folder: no public header"
for header in "${headers[@]}"; do
	"$cc" -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only \
		"${flags[@]}" -include "$header" -x c /dev/null ||
		fail "$header: does not compile alone"
done
finish
