#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# While one QEMU has an image, everybody else is told what they would be told on
# a plain file: through the mount, on the source, and from one to the other.
. "$(dirname "$0")/lib.sh"
needs qemu-system-x86_64 qemu-img qemu-io jq
needs_fuse
make_work_dir
src=$work/src mnt=$work/mnt
mkdir "$src"
truncate -s 8M "$src/disk.raw" "$work/disk.raw"
pfs_start "$src" "$mnt" "$work/pfs"

# What others are told while somebody has the image, without its folder.
others() {
	local image=$1 try
	for try in "qemu_hold $image" "qemu_hold $image readonly=on" \
		"qemu-img info $image" "qemu-img info -U $image" \
		"qemu-img resize -f raw $image 9M" \
		"qemu-io -f raw -c quit $image" \
		"qemu-io -f raw -r -c quit $image" \
		"qemu-io -f raw -r -U -c quit $image"; do
		say "$try"
		if $try; then say accepted; else say "status $?"; fi
		qemu_release
	done 2>&1 | sed "s#${image%/*}/##g; /^disk size/d"
}

same_answers() {
	others "$1" >"$work/answers"
	diff -u "$work/plain" "$work/answers"
}

check "a QEMU takes a plain file" qemu_hold "$work/disk.raw"
first=$held
held=
others "$work/disk.raw" >"$work/plain"
held=$first
qemu_release
check "which refuses a second QEMU" \
	grep -q 'Failed to get "write" lock' "$work/plain"

for way in "mnt mnt" "src mnt" "mnt src"; do
	read -r one two <<<"$way"
	check "a QEMU takes the image at the $one" \
		qemu_hold "${!one}/disk.raw"
	first=$held
	held=
	check "others at the $two hear what they hear on a plain file" \
		same_answers "${!two}/disk.raw"
	held=$first
	qemu_release
	check "when it has gone, one at the $two takes it" \
		qemu_hold "${!two}/disk.raw"
	qemu_release
done

check "two QEMUs share an image that both only read" \
	qemu_hold "$mnt/disk.raw" readonly=on
first=$held
check "(the second)" qemu_hold "$mnt/disk.raw" readonly=on
qemu_release
held=$first
qemu_release
pfs_stop "$mnt"
