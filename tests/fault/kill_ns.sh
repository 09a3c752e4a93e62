#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# create, mkdir, rename, unlink and rmdir happen exactly once, wherever in them
# the worker is killed.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src"
write_kill_script kill "$mnt"

# SIGKILL right before or right after the call on the source, some calls ahead.
write_script kill_at <<END
point=op.intent
((RANDOM % 2)) && point=op.done
"\$pfsctl" -m "$mnt" debug fault "\$point:kill@\$((RANDOM % 12 + 1))x1"
END

# happens_once KILL_COMMAND N MILLISECONDS
happens_once() {
	loads_well --namespace-ops --images 1 --size 1M --threads 8 \
		--kill-cmd "$1" --kills "$2" --kill-every "$3" "$mnt"
	check kills "$(value kills)" -ge "$2"
	counter_moved "$mnt" intents_replayed
	figures kills ns differences errors worst_stall_ms
}

kills_at_random() {
	start_pfs "$src" "$mnt"
	happens_once "$work/kill" "$(figure 40 1000)" 10-100
	stop_pfs "$mnt"
}

kills_around_the_call() {
	local deaths
	PFS_FAULTS=1 start_pfs "$src" "$mnt"
	happens_once "$work/kill_at" "$(figure 40 1000)" 20-80
	deaths=$(counter_of "$mnt" worker_deaths)
	check "workers that died" "$deaths" -ge "$(figure 20 500)"
	stop_pfs "$mnt"
}

# Nothing pfsx made may be left, and nothing may lie on the source unseen.
nothing_is_left() {
	check "left on the source" \
		"$(find "$src" -mindepth 1 -path '*pfsx.ns*' | head -n 3)" = ""
}

run kills_at_random
run kills_around_the_call
run nothing_is_left
finish
