#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# qemu_boot.sh CACHE AIO: boots the busybox guest read-write from the mount with
# QEMU's cache=CACHE and aio=AIO.  What the guest read and wrote must be right
# inside the guest, at the mount and in the source.
. "$(dirname "$0")/lib.sh"
needs qemu-system-x86_64 qemu-img debugfs e2fsck jq
needs_fuse
mode="cache=$1,aio=$2"
make_work_dir
src=$work/src mnt=$work/mnt

# QEMU wants cache=none for aio=native and must say so as on a plain file.
if [ "$mode" = cache=writeback,aio=native ]; then
	mkdir "$src"
	image_copy busybox "$src/disk.raw"
	pfs_start "$src" "$mnt" "$work/pfs"
	check "QEMU itself refuses $mode on a plain file" \
		fails_with "requires cache.direct=on" \
		qemu_hold "$src/disk.raw" "$mode"
	check "and in the same words on the mount" \
		fails_with "requires cache.direct=on" \
		qemu_hold "$mnt/disk.raw" "$mode"
	pfs_stop "$mnt"
	exit 0
fi

written_files_are_whole() {
	debugfs -R "rdump /written $1" "$src/disk.raw" &&
		(cd "$1/written" && md5sum -c sums)
}

mkdir "$src" "$work/dump"
image_copy busybox "$src/disk.raw"
pfs_start "$src" "$mnt" "$work/pfs"
guest_start "$work/guest" "file=$mnt/disk.raw,$mode" \
	read_all,write_some,read_all
guest_wait end 120 || guest_fail "did not get to its end"
guest_finish 30
say "login after $(guest_value login uptime) s," \
	"end after $(guest_value end uptime) s of guest time"

check "the guest read what the image holds" \
	test "$(grep -c 'read_all status=0' "$guest_log")" = 2
check "the guest read back what it wrote" guest_said "write_some status=0"
check "the guest's kernel had no complaint" guest_said "end complaints=0 "
check "its files are in the source" written_files_are_whole "$work/dump"
check "its file system is clean in the source" e2fsck -fn "$src/disk.raw"
check "source and mount are equal" \
	qemu-img compare -f raw -F raw "$src/disk.raw" "$mnt/disk.raw"
read -r hits < <(pfs_counters "$mnt" reads_hit)
check "the store had a part in it: $hits hits" test "$hits" -gt 0
pfs_stop "$mnt"
