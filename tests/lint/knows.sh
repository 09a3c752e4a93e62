#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# knows.sh CC FOLDER KNOWS DIRS: a file compiled with the include folders DIRS
# of FOLDER can include the public headers of FOLDER and of the folders in KNOWS
# (comma separated), and those of no other.
. "$(dirname "$0")/lib.sh"
cc=$1 folder=$2 knows=,$2,$3,
include_flags "${4-}"

n_refused=0
while IFS= read -r header; do
	owner=${header%/include/pfs/*}
	name=pfs/${header##*/}
	said=$("$cc" -std=gnu11 -D_GNU_SOURCE -fsyntax-only "${flags[@]}" -x c - 2>&1 \
		<<<"#include <$name>") && compiles=yes || compiles=no
	case $knows in
	*,"$owner",*)
		[ "$compiles" = yes ] ||
			fail "$folder cannot include <$name>: $said"
		;;
	*)
		n_refused=$((n_refused + 1))
		[ "$compiles" = no ] ||
			fail "$folder can include <$name> of $owner"
		[ "$compiles" = yes ] || grep -qE 'No such file|not found' \
			<<<"$said" || fail "$folder: <$name>: $said"
		;;
	esac
done < <(find . -path './*/include/pfs/*.h' ! -path './build/*' |
	sed 's,^\./,,')
echo "$folder: $n_refused headers refused"
finish
