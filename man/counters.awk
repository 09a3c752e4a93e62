# SPDX-License-Identifier: GPL-3.0-or-later
# awk -f counters.awk counters.def PAGE.pod: the page, with the counters.
FNR == NR {
	if (!line && $0 !~ /^PFS_COUNTER\(/)
		next
	line = line $0
	if ($0 !~ /\)$/)
		next
	if (split(line, part, "\"") >= 7)
		items = items "=item B<" part[2] "> (" part[4] ")\n\n" \
			part[6] "\n\n"
	line = ""
	next
}
/^=for pfs counters$/ {
	printf "=over 4\n\n%s=back\n", items
	next
}
{ print }
