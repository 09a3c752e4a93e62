#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# PFS_BIN: folder with pfs and pfsctl.  The parser's table, --help and the man
# pages name the same options, and help fits a terminal.
. "$(dirname "$0")/lib.sh"

declare -A help # of each program; asking for it succeeds, on stdout
for program in pfs pfsctl pfs-agent; do
	help[$program]=$("${PFS_BIN:?}/$program" --help 2>/dev/null </dev/null) ||
		fail "$program --help fails"
done

# A verb is an indented line of help, and has help of its own.
mapfile -t verbs < <(grep -oE '^ {1,4}[a-z]+( |$)' <<<"${help[pfsctl]}" |
	tr -d ' ')
[ ${#verbs[@]} -gt 0 ] || fail "pfsctl --help: no verbs found"
for verb in "${verbs[@]}"; do
	help[pfsctl]+=$'\n'$("$PFS_BIN/pfsctl" "$verb" --help </dev/null) ||
		fail "pfsctl $verb --help fails"
	grep -qE "^=(item|head2) B<${verb}[ >]" man/pfsctl.8.pod 2>/dev/null ||
		fail "pfsctl $verb: not in man/pfsctl.8.pod"
done

# long_options: those named in stdin, one a line.
long_options() {
	grep -oE -- '--[a-z][a-z-]*[a-z]' | sort -u
}

# same WHAT GOT WHERE WANT WHERE: two lists, one word a line.
same() {
	local word
	for word in $(comm -23 <(sort -u <<<"$2") <(sort -u <<<"$4")); do
		fail "$1 $word: in $3, not in $5"
	done
	for word in $(comm -13 <(sort -u <<<"$2") <(sort -u <<<"$4")); do
		fail "$1 $word: in $5, not in $3"
	done
}

for program in pfs pfsctl pfs-agent; do
	page=man/$program.8.pod
	said=${help[$program]}
	[ -f "$page" ] || {
		fail "$page: no such page"
		continue
	}
	long=$(expand <<<"$said" | grep -P '.{81}') || true
	[ -z "$long" ] || fail "$program --help: over 80 columns: $long"
	for option in $(long_options <<<"$said"); do
		grep -qF -- "$option" "$page" || fail "$option: not in $page"
	done
	# A page may name options of other programs in its text.
	for option in $(grep '^=item' "$page" | long_options); do
		grep -qF -- "$option" <<<"$said" ||
			fail "$option: in $page, not in $program --help"
	done
done

# Mount options: the first word of an indented line of help, and an =item of
# the page's section on them.
table=$(sed -n 's/^PFS_OPT(\([a-z_]*\),.*/\1/p' fs/options.def)
[ "$(wc -l <<<"$table")" = "$(grep -c '^PFS_OPT(' fs/options.def)" ] ||
	fail "fs/options.def: a line this script cannot read"
in_help=$(grep -oE '^ +(-o )?[a-z_]+(=| |$)' <<<"${help[pfs]}" |
	sed 's/-o//' | tr -d ' =') || true
in_page=$(sed -n '/^=head1 MOUNT OPTIONS/,/^=head1 [^M]/p' man/pfs.8.pod \
	2>/dev/null | sed -nE 's/^=item B<([a-z_]+)>?.*/\1/p') || true
for option in $table; do
	grep -qx "$option" <<<"$in_help" ||
		fail "mount option $option: not in pfs --help"
done
same "mount option" "$table" fs/options.def "$in_page" \
	"MOUNT OPTIONS of man/pfs.8.pod"

finish
