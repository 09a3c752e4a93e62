#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A source with one bad block: the guest learns of it when it reads the file
# that the block belongs to, and of nothing else.  It also shows that a kernel
# log without complaints, as other tests here demand, means something.
. "$(dirname "$0")/lib.sh"
needs qemu-system-x86_64 debugfs jq
needs_fuse
make_work_dir
slow=$work/slow mnt=$work/mnt
mkdir "$work/src"
image_copy busybox "$work/src/disk.raw"
block=$(debugfs -R "bmap /data/77 5" "$work/src/disk.raw" 2>/dev/null)
block_size=4096

slowfs_start "$work/src" "$slow" "read_eio=$((block * block_size)):$block_size"
pfs_start "$slow" "$mnt" "$work/pfs"
guest_start "$work/guest" "file=$mnt/disk.raw,cache=none" read_all
guest_wait end 120 || guest_fail "did not get to its end"
guest_finish 30
check "the guest could not read the file with the bad block" \
	grep -q '^\./77: FAILED' "$guest_log"
check "and could read all others" \
	test "$(grep -c ': FAILED' "$guest_log")" = 1
check "its kernel complained" guest_said "end complaints=[1-9]"
check "slowfs failed reads" test "$(slowfs_get "$slow" faults)" -gt 0
pfs_stop "$mnt"
slowfs_stop "$slow"
