# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# Sourced: daemons have nowhere to print what a sanitizer found, so each report
# becomes a file.  Builds without sanitizers read none of these variables.

# reports_to FOLDER: of what is started from now on
reports_to() {
	reports=$1
	# Some cases run pfs as other users.
	mkdir -m 1777 "$reports"
	to_reports=log_path=$reports/report:print_stacktrace=1
	export ASAN_OPTIONS="${ASAN_OPTIONS:-}:$to_reports"
	export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:$to_reports"
	export TSAN_OPTIONS="${TSAN_OPTIONS:-}:$to_reports"
	export LSAN_OPTIONS="${LSAN_OPTIONS:-}:$to_reports"
}

# no_reports: fails, and shows them, if there are any.  What leaked is only
# known once a process has ended.
no_reports() {
	for report in "$reports"/*; do
		[ -e "$report" ] || continue
		cat "$reports"/*
		echo "FAILED: a sanitizer has something to say"
		return 1
	done
}
