#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# qemu-img and qemu-io on images at the mount: make, write, verify, resize,
# convert, and all of it also to be found in the source.
. "$(dirname "$0")/lib.sh"
needs qemu-img qemu-io jq
needs_fuse
make_work_dir
src=$work/src mnt=$work/mnt
mkdir "$src"
pfs_start "$src" "$mnt" "$work/pfs"

# io IMAGE FORMAT CACHE COMMAND...: qemu-io; it prints failures of a pattern
# and exits with 0 in some versions, so what it prints counts too.
io() {
	local image=$1 format=$2 cache=$3 command args=() out
	shift 3
	for command; do
		args+=(-c "$command")
	done
	out=$(timeout 120 qemu-io -f "$format" -t "$cache" "${args[@]}" \
		"$image") || return 1
	! grep -iE 'fail|error' <<<"$out"
}

virtual_size() { qemu-img info --output=json -U "$1" | jq '."virtual-size"'; }

for cache in none writeback; do
	image=$mnt/raw-$cache
	check "qemu-img create makes a raw image" \
		qemu-img create -f raw "$image" 32M
	check "cache=$cache: patterns, also unaligned ones, are verified" \
		io "$image" raw $cache 'write -P 17 0 1M' \
		'write -P 34 1000000 300001' 'write -P 51 31M 1M' \
		'write -z 8M 1M' 'discard 16M 1M' flush \
		'read -P 17 0 1000000' 'read -P 34 1000000 300001' \
		'read -P 51 31M 1M' 'read -P 0 8M 1M'
	check "cache=$cache: they are in the source" \
		io "$src/raw-$cache" raw $cache 'read -P 17 0 1000000' \
		'read -P 34 1000000 300001' 'read -P 51 31M 1M'
	check "cache=$cache: a pattern that is not there is noticed" \
		refused io "$image" raw $cache 'read -P 18 0 4k'
	check "cache=$cache: source and mount are equal" \
		qemu-img compare -f raw -F raw "$src/raw-$cache" "$image"
done

check "qemu-img create makes a qcow2 image" \
	qemu-img create -f qcow2 "$mnt/disk.qcow2" 64M
check "patterns in qcow2 are verified" io "$mnt/disk.qcow2" qcow2 none \
	'write -P 68 0 3M' 'write -P 85 60M 100k' 'read -P 68 0 3M' \
	'read -P 85 60M 100k' 'read -P 0 30M 1M'
check "a snapshot is taken" qemu-img snapshot -c one "$mnt/disk.qcow2"
check "and the image written again" io "$mnt/disk.qcow2" qcow2 none \
	'write -P 102 0 1M' 'read -P 102 0 1M' 'read -P 68 1M 2M'
check "and taken back" qemu-img snapshot -a one "$mnt/disk.qcow2"
check "the old pattern is there" io "$src/disk.qcow2" qcow2 none \
	'read -P 68 0 3M'
check "qemu-img check finds nothing" qemu-img check "$mnt/disk.qcow2"
check "convert from the mount to the mount" qemu-img convert -t none -T none \
	-O raw "$mnt/disk.qcow2" "$mnt/flat"
check "gives the same bytes" \
	qemu-img compare -F raw "$mnt/disk.qcow2" "$src/flat"
check "resize grows" qemu-img resize -f raw "$mnt/flat" 96M
check "also in the source" test "$(virtual_size "$src/flat")" = $((96 << 20))
check "resize shrinks" qemu-img resize --shrink -f raw "$mnt/flat" 2M
check "and what is left is right" io "$mnt/flat" raw none 'read -P 68 0 2M'
pfs_stop "$mnt"
