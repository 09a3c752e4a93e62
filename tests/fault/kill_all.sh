#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# SIGKILL of supervisor and worker together, again and again, and a new start
# over the stale mount: what was acknowledged stays.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt state=$work/state
mkdir "$src"
options=store=$work/store,store_size=64M,catalog=$work/db/catalog.db
shape="--images 4 --size 16M --threads 8"

# Both die, in either order; the next one finds a mount nobody serves.
write_script kill_both <<END
supervisor=\$(status_of "$mnt" supervisor_pid)
worker=\$(status_of "$mnt" worker_pid)
[ -n "\$supervisor" ] && [ -n "\$worker" ] || exit 1
kill -9 "\$supervisor" "\$worker"
((RANDOM % 2)) && sleep 0.0\$((RANDOM % 10))
"\$pfs" "$src" "$mnt" -o "$options" || exit 1
status_of "$mnt" supervisor_pid >>"\$work/pids"
END

what_was_acknowledged_stays() {
	start_pfs "$src" "$mnt" "$options"
	# shellcheck disable=SC2086 # several arguments
	loads_well $shape --state "$state" --ride-out 60 \
		--kill-cmd "$work/kill_both" --kill-every 50-500 \
		--kills "$(figure 12 300)" "$mnt"
	check kills "$(value kills)" -ge "$(figure 12 300)"
	figures kills ops outages wrong_bytes errors worst_outage_ms
}

# Whatever the store kept of it is believed again at the next start.
also_after_a_clean_start() {
	stop_pfs "$mnt"
	start_pfs "$src" "$mnt" "$options"
	# shellcheck disable=SC2086
	loads_well $shape --state "$state" --verify-only "$mnt"
	stop_pfs "$mnt"
}

# Bytes put back on the source by hand are older than acknowledged.
older_bytes_are_found() {
	local image
	cp -r "$src" "$work/older"
	start_pfs "$src" "$mnt" "$options"
	# shellcheck disable=SC2086
	loads_well $shape --state "$state" --ops 3000 --mix write=1 "$mnt"
	stop_pfs "$mnt"
	for image in "$src"/img*; do
		dd if="$work/older/${image##*/}" of="$image" bs=1M \
			conv=notrunc 2>/dev/null
	done
	start_pfs "$src" "$mnt" "$options"
	# shellcheck disable=SC2086
	finds_the_bug $shape --state "$state" --verify-only "$mnt"
	stop_pfs "$mnt"
}

run what_was_acknowledged_stays
run also_after_a_clean_start
run older_bytes_are_found
finish
