#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The man pages are sound POD, and pfsctl(8) tells of every counter.
. "$(dirname "$0")/lib.sh"
need podchecker

for page in pfs.8 pfsctl.8 pfs-store.5 pfs-catalog.5 pfs-recording.5 \
	pfs-agent.8 pfs-vector.5; do
	[ -f "man/$page.pod" ] || fail "man/$page.pod: no such page"
done
def=base/include/pfs/counters.def
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
for page in man/*.pod; do
	[ -f "$page" ] || continue
	awk -f man/counters.awk $def "$page" >"$built/${page#man/}"
	podchecker -warnings -warnings "$built/${page#man/}" ||
		fail "$page: not sound"
done

mapfile -t counters < <(tr -d '\n\t' <$def |
	grep -oE 'PFS_COUNTER\([A-Z_]+, *"[a-z_]+"' | cut -d '"' -f 2)
[ ${#counters[@]} = "$(grep -c '^PFS_COUNTER(' $def)" ] ||
	fail "$def: a line this script cannot read"
for counter in "${counters[@]}"; do
	grep -qF "=item B<$counter>" "$built/pfsctl.8.pod" 2>/dev/null ||
		fail "man/pfsctl.8.pod: counter $counter is missing"
done
finish
