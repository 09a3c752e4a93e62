#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# kill_under_guest.sh [KILLS]: SIGKILLs the worker again and again while a guest
# boots and then reads and writes.  The guest must not notice: no complaint in
# its kernel log, all it reads is right, its file system ends clean.
. "$(dirname "$0")/lib.sh"
kills=${1:-20}
needs qemu-system-x86_64 qemu-img e2fsck jq
needs_fuse
make_work_dir
src=$work/src mnt=$work/mnt

another_worker() {
	worker=$(pfs_field "$mnt" worker_pid 2>/dev/null) &&
		[ "$worker" != "$1" ] && [ "$worker" != 0 ]
}

mkdir "$src"
image_copy busybox "$src/disk.raw"
pfs_start "$src" "$mnt" "$work/pfs"
worker=$(pfs_field "$mnt" worker_pid)
guest_start "$work/guest" "file=$mnt/disk.raw,cache=none,aio=threads" churn

# From the first moment of the boot to some 15 s into the work.
for ((n = 1; n <= kills; n++)); do
	sleep "0.$((RANDOM % 9 + 1))"
	is_gone "$guest_pid" && guest_fail "ended after $n kills"
	old=$worker
	kill -KILL "$old"
	wait_until 10 another_worker "$old" || die "no worker after kill $n"
done
say "$kills workers killed; the last one is $worker"

guest_wait churn 120 || guest_fail "did not get to its work"
sleep 2
say stop >"$guest_in"
guest_wait end 120 || guest_fail "did not get to its end"
guest_finish 30
check "all the guest read was right" guest_said "churn status=0"
check "its kernel had no complaint" guest_said "end complaints=0 "
check "its file system is clean in the source" e2fsck -fn "$src/disk.raw"
check "source and mount are equal" \
	qemu-img compare -f raw -F raw "$src/disk.raw" "$mnt/disk.raw"
read -r deaths < <(pfs_counters "$mnt" worker_deaths)
check "the supervisor counted $deaths deaths" test "$deaths" -ge "$kills"
pfs_stop "$mnt"
