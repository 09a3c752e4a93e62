#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# storm.sh [--guests N] [--latency MS] [--mbit N]: N busybox guests boot at once
# from one base image on slow storage and read all of it: through nbdkit with
# its filters cache and readahead, and through pfs.  It prints the time until
# the last one is done and what was read from slow storage, beside what one
# guest reads, and asserts nothing.
. "$(dirname "$0")/lib.sh"
guests=8 latency_ms=10 mbit=200
while [ $# -gt 1 ]; do
	case $1 in
	--guests) guests=$2 ;;
	--latency) latency_ms=$2 ;;
	--mbit) mbit=$2 ;;
	*) die "unknown: $1" ;;
	esac
	shift 2
done
[ $# = 0 ] || die "what about $1?"
needs qemu-system-x86_64 jq nbdkit
needs_fuse

# one NAME DRIVE: a guest of its own; fails if it does.
one() (
	# shellcheck disable=SC2034 # run_undo has its own here
	undo=()
	trap run_undo EXIT
	guest_start "$work/$1" "$2,snapshot=on" read_all
	guest_wait end 600 || guest_fail "did not end"
	guest_finish 200
	guest_said "read_all status=0" || guest_fail "read other bytes"
)

# all ROW N DRIVE: N guests at once; adds "ROW seconds MB".
all() {
	local row=$1 n=$2 drive=$3 t0=$EPOCHREALTIME i pids=() pid
	for ((i = 0; i < n; i++)); do
		one "guest$i" "$drive" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || die "$row: a guest failed"
	done
	awk -v r="$row" -v n="$n" -v a="$t0" -v b="$EPOCHREALTIME" \
		-v bytes="$(slowfs_get "$slow" read_bytes)" 'BEGIN {
		printf "%-28s %2d guest(s) %7.1f s %8.1f MB read\n",
			r, n, b - a, bytes / 1e6 }'
}

storage() { slow_storage "$work/images" "$slow" "$latency_ms" "$mbit"; }

through_nbd() {
	storage
	nbd_start "$work/nbd" "$slow/base.raw" \
		"--filter=readahead --filter=cache" cache-on-read=true
	all "nbdkit, cache and readahead" "$1" \
		"file=nbd+unix:///?socket=$work/nbd,cache=none"
	end_process "$nbd_pid"
	slowfs_stop "$slow"
}

through_pfs() {
	storage
	rm -rf "$work/pfs"
	pfs_start "$slow" "$mnt" "$work/pfs"
	all "pfs" "$1" "file=$mnt/base.raw,cache=none"
	pfs_stop "$mnt"
	slowfs_stop "$slow"
}

"$vm_dir/prepare.sh" busybox
make_work_dir
slow=$work/slow mnt=$work/mnt
mkdir "$work/images"
image_copy busybox "$work/images/base.raw"
through_nbd 1
through_pfs 1
through_nbd "$guests"
through_pfs "$guests"
say "$(nproc) CPUs, $(uname -r), guest CPU $(accel)," \
	"$latency_ms ms, $mbit Mbit/s"
