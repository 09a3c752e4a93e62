#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A successor that cannot take up all that its predecessor had open, or that
# does not come up at all.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src"
head -c 1M /dev/urandom >"$src/a"
head -c 1M /dev/urandom >"$src/b"

# read_fd N, write_fd N: through a descriptor that is open already
read_fd() { dd of=/dev/null bs=4096 count=1 <&"$1"; }
write_fd() { dd if=/dev/zero bs=4096 count=1 status=none >&"$1"; }

# Each worker's first look at the source fails; the first one's is this stat.
an_open_file_that_is_lost_costs_no_other() {
	PFS_FAULTS=source.meta:eio@1x1 start_pfs "$src" "$mnt"
	stat "$mnt/a" >"$work/out" 2>&1 && fail "no fault was armed"
	exec 3<>"$mnt/a" 4<>"$mnt/b"
	succeeds read_fd 3
	kill_worker "$mnt"
	succeeds read_fd 3
	succeeds write_fd 3
	# Handles are taken up from the last one down.
	refused "input/output" read_fd 4
	refused "input/output" write_fd 4
	exec 3<&- 4<&-
	check "bytes of b, opened anew" "$(head -c 4096 "$mnt/b" | wc -c)" \
		-eq 4096
	stop_pfs "$mnt"
}

# is_paused POINT: a thread waits there
is_paused() {
	"$pfsctl" -m "$mnt" debug fault status | grep -q "^$1 [1-9]"
}

is_open() { [ "$(readlink "/proc/$2/fd/0")" = "$1" ]; }

workers_of() { pgrep -P "$1" -x pfs; }

has_newer_worker() {
	local now
	now=$(workers_of "$1")
	[ -n "$now" ] && [ "$now" != "$2" ]
}

# Each worker's first look at the source hangs; the first one's is let go.
a_successor_that_does_not_come_up_is_replaced() {
	local sup hung holder
	PFS_FAULTS=source.meta:pause@1x1 start_pfs "$src" "$mnt"
	sup=$supervisor_pid
	timeout 20 stat "$mnt/a" >/dev/null &
	await 5 is_paused source.meta
	succeeds "$pfsctl" -m "$mnt" debug fault resume
	wait $!
	# Not by this shell: each child's end would flush it, and wait.
	# shellcheck disable=SC2217 # it holds the file open, that is all
	sleep 100 <"$mnt/a" &
	holder=$!
	await 5 is_open "$mnt/a" "$holder"
	kill -9 "$worker_pid"
	await 5 has_newer_worker "$sup" "$worker_pid"
	hung=$(workers_of "$sup")
	await 40 has_newer_worker "$sup" "$hung"
	pids+=("$(workers_of "$sup")")
	kill -9 "$sup" "$(workers_of "$sup")"
	detach "$mnt" -l
	kill "$holder"
}

run an_open_file_that_is_lost_costs_no_other
[ "${PFS_LONG:-}" != 1 ] || run a_successor_that_does_not_come_up_is_replaced
finish
