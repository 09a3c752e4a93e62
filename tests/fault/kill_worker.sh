#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# SIGKILL of the worker under load: nothing wrong, no error, nothing remounted,
# and what the dead one was writing lands before its successor writes or never.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src slow=$work/slow mnt=$work/mnt
mkdir "$src"
write_kill_script kill "$mnt"
mix=read=60,write=30,trunc=2,punch=3,rename=1,fsync=1,ns=3

# kills_well N MILLISECONDS STALL_MS PFSX_ARGUMENTS...
kills_well() {
	local n=$1 every=$2 stall=$3 before
	shift 3
	before=$(counter_of "$mnt" worker_deaths)
	loads_well --kill-cmd "$work/kill" --kill-every "$every" --kills "$n" \
		--max-stall-ms "$(stall_limit "$stall")" "$@" "$mnt"
	check kills "$(value kills)" -ge "$n"
	check "workers that died" $(($(counter_of "$mnt" worker_deaths) - \
		before)) -ge "$n"
	counter_moved "$mnt" resent_requests
	figures kills ops wrong_bytes errors worst_stall_ms
}

a_worker_may_die_at_any_time() {
	start_pfs "$src" "$mnt"
	kills_well "$(figure 40 1000)" "$(figure 20-150 100-400)" 500 \
		--images 4 --size "$(figure 16M 64M)" --threads 8 --mix $mix
	check supervisor "$(status_of "$mnt" supervisor_pid)" = \
		"$supervisor_pid"
	stop_pfs "$mnt"
}

# The kernel holds pages locked for READs that the dead worker had; to tell it
# to drop pages must not keep that worker from being reaped.
also_with_pages_in_the_kernel() {
	start_pfs "$src" "$mnt" page_cache=on
	kills_well "$(figure 20 200)" 20-150 2000 --images 4 \
		--size 16M --threads 8 --mix $mix
	stop_pfs "$mnt"
}

# Each write takes a second, and the worker is killed in the midst of it: a
# write may be waited for, and then be done again by the successor.
a_dead_worker_writes_no_more() {
	local shape="--images 8 --size 256K --threads 4 --mix read=40,write=60"
	start_slowfs "$src" "$slow" write_latency_us=0 || return
	start_pfs "$slow" "$mnt"
	# shellcheck disable=SC2086 # several arguments
	loads_well $shape --ops 400 --state "$work/late" "$mnt"
	echo write_latency_us=1000000 >"$slow/.slowfs"
	# Now and then faster than a write: it may need several lives.
	# shellcheck disable=SC2086
	kills_well "$(figure 6 1000)" 500-2500 60000 $shape \
		--state "$work/late"
	# shellcheck disable=SC2086
	kills_well "$(figure 2 20)" 3500-4000 2500 $shape --state "$work/late"
	stop_pfs "$mnt"
	stop_slowfs "$slow"
}

# A late write does harm when the next one to its place was quick, as those are
# that a successor is sent again.
a_write_that_outlives_its_worker_is_found() {
	PFS_FAULTS=plant.direct_write:eio start_pfs "$src" "$mnt"
	finds_the_bug --images 1 --size 128K --threads 8 --no-fill \
		--kill-cmd "$work/kill" --kill-every 100-400 --kills 60 \
		--mix read=30,write=60,punch=10 "$mnt"
	figures kills ops differences
	stop_pfs "$mnt"
}

run a_worker_may_die_at_any_time
run also_with_pages_in_the_kernel
run a_dead_worker_writes_no_more
run a_write_that_outlives_its_worker_is_found
finish
