#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A systemd Debian boots from the mount to its login prompt.
. "$(dirname "$0")/lib.sh"
needs qemu-system-x86_64 qemu-img e2fsck jq
needs_fuse
make_work_dir
src=$work/src mnt=$work/mnt
mkdir "$src"
image_copy debian "$src/disk.raw"
pfs_start "$src" "$mnt" "$work/pfs"
guest_start "$work/guest" "file=$mnt/disk.raw,cache=none,aio=native"
guest_wait login 370 || guest_fail "no login prompt"
guest_finish 120
say "login after $guest_seconds s, $(guest_value login stall_us) us of stall"

check "its file system is in order in the source" e2fsck -fn "$src/disk.raw"
check "source and mount are equal" \
	qemu-img compare -f raw -F raw "$src/disk.raw" "$mnt/disk.raw"
pfs_stop "$mnt"
