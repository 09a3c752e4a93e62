#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# age_disk.sh IMAGE: makes a compact ext4 image one that has lived.  The disk is
# filled with files of all sizes, every other one goes, each file of the system
# is written anew in an order without pattern (as upgrades do), and the rest of
# the filling goes: what lay together is scattered over the whole disk.  Same
# input, same result.
. "$(dirname "$0")/lib.sh"
image=$1
needs fuse2fs
needs_fuse
make_work_dir
root=$work/root
mkdir "$root"
fuse2fs -o rw,fakeroot "$image" "$root" >"$work/log" 2>&1 ||
	die "fuse2fs: $(cat "$work/log")"
at_exit "clear_mount '$root'"

# shuffled: lines of stdin in an order that is the same each time.
shuffled() { sort -R --random-source=<(yes); }

fill() {
	local n=0 size
	mkdir "$root/.fill"
	while size=$(((n * 7919 % 61 + 4) * 4)); do
		head -c "${size}K" /dev/zero >"$root/.fill/$n" 2>/dev/null || break
		n=$((n + 1))
	done
	say "  $n files of filling"
}

thin_out() {
	find "$root/.fill" -type f | shuffled | awk 'NR % 2' | xargs rm -f
}

# A new file with the bytes, owner and times of the old one takes its name.
rewrite() {
	local file
	while IFS= read -r file; do
		cp -p "$file" "$file.new" && mv "$file.new" "$file"
	done < <(find "$root"/{usr,etc,var} -xdev -type f -links 1 | shuffled)
}

fill
thin_out
rewrite
rm -rf "$root/.fill"
umount_fuse "$root"
wait_until 60 refused is_mounted "$root"
# fuse2fs goes on for a moment after the unmount; e2fsck finds it done.
wait_until 60 e2fsck -fp "$image" >"$work/log" 2>&1 ||
	[ $? -le 1 ] || die "e2fsck: $(cat "$work/log")"
