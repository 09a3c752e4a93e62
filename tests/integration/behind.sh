#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What others do to the source behind a live mount becomes visible, with and
# without the kernel's page cache; what is done through the mount keeps the
# chunks.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src
mnt=$work/mnt
mkdir "$src" "$mnt"
head -c 1M /dev/urandom >"$work/new"

# seen_within_seconds PAGE_CACHE
seen_within_seconds() {
	local img=behind-$1.img
	head -c 1M /dev/urandom >"$src/$img"
	start_pfs "$src" "$mnt" "page_cache=$1" || return
	exec 7<"$mnt/$img" # stays open, so that no open starts afresh
	succeeds cmp "$src/$img" "$mnt/$img"
	dd if="$work/new" of="$src/$img" conv=notrunc status=none
	await 10 cmp -s "$work/new" /proc/self/fd/7
	exec 7<&-
	stop_pfs "$mnt"
}

a_change_behind_the_mount_is_seen() {
	seen_within_seconds off
}

a_change_behind_the_mount_is_seen_through_cached_pages() {
	seen_within_seconds on
}

mode_name_and_bytes_changed_through_the_mount_keep_the_chunks() {
	local before
	head -c 1M /dev/urandom >"$src/own.img"
	sleep 0.05 # time itself: a ctime younger than 20 ms is not trusted
	start_pfs "$src" "$mnt" || return
	succeeds cmp "$src/own.img" "$mnt/own.img"
	chmod 600 "$mnt/own.img"
	mv "$mnt/own.img" "$mnt/own2.img"
	dd if="$work/new" of="$mnt/own2.img" bs=4k count=1 seek=7 conv=notrunc \
		status=none
	stop_pfs "$mnt"
	start_pfs "$src" "$mnt" || return
	before=$(counter_of "$mnt" fetches)
	succeeds cmp "$src/own2.img" "$mnt/own2.img"
	# All but the chunk that was written.
	check fetches "$(($(counter_of "$mnt" fetches) - before))" -le 1
	check "reads from the store" "$(counter_of "$mnt" reads_hit)" -gt 0
	stop_pfs "$mnt"
}

run a_change_behind_the_mount_is_seen
run a_change_behind_the_mount_is_seen_through_cached_pages
run mode_name_and_bytes_changed_through_the_mount_keep_the_chunks
finish
