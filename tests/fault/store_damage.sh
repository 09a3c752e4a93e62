#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Whatever happens to the store, guests get their bytes and no errors; each
# misfortune shows in a counter of its own.
set -u
. "$(dirname "$0")/lib.sh"

command -v python3 >/dev/null || skip "python3 is not installed"
src=$work/src mnt=$work/mnt state=$work/state
store=$work/mnt.store/store catalog=$work/mnt.catalog/catalog.db
mkdir "$src"
shape="--images 2 --size 16M --threads 8"
mix=read=80,write=14,trunc=1,punch=2,rename=1,fsync=2
flipped=0

# flip FILE WHERE N: invert N bits in data, headers or all of it.  The geometry
# is pfs-store(5)'s for a store of 64 MiB.
flip() {
	python3 - "$1" "$2" "$3" "$SEED$flipped" <<-END || fail "flip $*"
		import os, random, sys
		path, where, n, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
		rng = random.Random(seed)
		fd = os.open(path, os.O_RDWR)
		size = os.fstat(fd).st_size
		SLOTS, BASE = 15, 1 << 20
		SEGMENT = 4096 + SLOTS * 65536

		def place():
		    if where == "all":
		        return rng.randrange(size)
		    if where == "super":
		        return rng.randrange(8192)
		    segment = BASE + rng.randrange((size - BASE) // SEGMENT) * SEGMENT
		    if where == "data":
		        return segment + 4096 + rng.randrange(SLOTS * 65536)
		    return segment + rng.randrange(SLOTS * 128)

		for _ in range(n):
		    at = place()
		    byte = os.pread(fd, 1, at)[0] ^ 1 << rng.randrange(8)
		    os.pwrite(fd, bytes([byte]), at)
		os.fsync(fd)
	END
	flipped=$((flipped + $3))
}

# Everything is read, through the store.
all_is_well() {
	# shellcheck disable=SC2086 # several arguments
	loads_well $shape --state "$state" --verify-only "$mnt"
}

# under_load SECONDS COMMAND...: the damage is done a second after the start
under_load() {
	local seconds=$1 load_pid
	shift
	# shellcheck disable=SC2086
	load $shape --mix $mix --state "$state" --seconds "$seconds" \
		--max-stall-ms "$(stall_limit 1000)" "$mnt" &
	load_pid=$!
	sleep 1
	"$@"
	wait $load_pid || fail "load while $*: $(head -n 8 "$work/load.err")"
	verdict=$(grep '^pfsx:' "$work/load.out" | tail -n 1)
	check "operations done" "$(value ops)" -gt 100
}

# before NAME...: start, with all of it resident
begin() {
	start_pfs "$src" "$mnt" "$@"
	all_is_well
	all_is_well
}

fill_at_first() {
	start_pfs "$src" "$mnt"
	# shellcheck disable=SC2086
	loads_well $shape --mix $mix --state "$state" --ops 2000 "$mnt"
	stop_pfs "$mnt"
}

bits_flip_while_mounted() {
	local i n
	n=$(figure 4 20)
	begin
	for ((i = 0; i < n; i++)); do
		flip "$store" data 50
		flip "$store" headers 10
		under_load 2 flip "$store" data 20
		all_is_well
	done
	counter_moved "$mnt" bad_checksum
	stop_pfs "$mnt"
}

# The same without checksums: guests would see them.
flips_show_without_verification() {
	begin verify=off
	flip "$store" data 500
	# shellcheck disable=SC2086
	finds_the_bug $shape --state "$state" --verify-only "$mnt"
	"$pfsctl" -m "$mnt" drop --all >/dev/null
	stop_pfs "$mnt"
}

bits_flip_between_mounts() {
	local i n bad=0
	n=$(figure 2 10)
	for ((i = 0; i < n; i++)); do
		flip "$store" headers 20
		flip "$store" data 20
		begin
		bad=$((bad + $(counter_of "$mnt" bad_header)))
		stop_pfs "$mnt"
	done
	check bad_header $bad -gt 0
	flip "$store" super 16
	begin
	stop_pfs "$mnt"
}

noticed() {
	local name sum=0
	for name in rows_bad catalog_set_aside catalog_errors store_reset; do
		sum=$((sum + $(counter_of "$mnt" $name)))
	done
	echo $sum
}

bits_flip_in_the_catalog() {
	local i n seen=0
	n=$(figure 3 20)
	for ((i = 0; i < n; i++)); do
		flip "$catalog" all 30
		flip "$catalog.marks" all 1
		begin
		seen=$((seen + $(noticed)))
		flip "$catalog" all 10
		under_load 2 true
		stop_pfs "$mnt"
	done
	check "damage to the catalog noticed" $seen -gt 0
}

the_store_is_deleted() {
	begin
	under_load 2 rm -rf "$work/mnt.store"
	stop_pfs "$mnt"
	begin
	counter_moved "$mnt" store_reset
	counter_moved "$mnt" reads_hit
	stop_pfs "$mnt"
}

the_store_is_truncated() {
	begin
	under_load 3 truncate -s 2M "$store"
	counter_moved "$mnt" store_errors_read
	stop_pfs "$mnt"
	begin
	stop_pfs "$mnt"
}

# --- a file system of its own below the store ---

on_own_disk() {
	truncate -s 96M "$work/disk"
	mkfs.ext4 -qF "$work/disk" || return
	mkdir -p "$work/disk.mnt"
	mount -o loop "$work/disk" "$work/disk.mnt" || return
	mounts=("$work/disk.mnt" "${mounts[@]}")
}

off_own_disk() {
	stop_pfs "$mnt"
	await 10 detach_quietly "$work/disk.mnt"
	rm -f "$work/disk"
}

own=store=$work/disk.mnt/store,store_size=64M

fill_disk() {
	dd if=/dev/zero of="$work/disk.mnt/junk" bs=1M 2>/dev/null
	sync -f "$work/disk.mnt"
}

the_disk_is_filled() {
	on_own_disk || { echo "not here: no ext4 on a loop device"; return; }
	start_pfs "$src" "$mnt" "$own"
	fill_disk
	under_load 3 true
	all_is_well
	counter_moved "$mnt" fills_error
	rm "$work/disk.mnt/junk"
	sleep 1.5 # fills rest for a second after an error
	all_is_well
	all_is_well
	counter_moved "$mnt" reads_hit
	off_own_disk
}

the_disk_becomes_read_only() {
	on_own_disk || { echo "not here: no ext4 on a loop device"; return; }
	begin "$own"
	# Files are open for writing, which an orderly remount would refuse.
	under_load 3 mount -o remount,abort "$work/disk.mnt"
	touch "$work/disk.mnt/x" 2>/dev/null && fail "it is still writable"
	all_is_well
	counter_moved "$mnt" fills_error
	off_own_disk
}

the_disk_is_pulled() {
	on_own_disk || { echo "not here: no ext4 on a loop device"; return; }
	begin "$own"
	under_load 3 shut_down "$work/disk.mnt"
	all_is_well
	counter_moved "$mnt" store_errors_read
	counter_moved "$mnt" store_bypass
	off_own_disk
}

# --- hangs ---

hang() {
	succeeds "$pfsctl" -m "$mnt" debug fault "$1:stall=10000x8"
}

came_back() {
	[ "$(counter_of "$mnt" store_reattach)" -gt 0 ]
}

reads_hang_for_10_s() {
	PFS_FAULTS=1 begin store_io=direct
	under_load 4 hang store.read
	counter_moved "$mnt" store_slow_reads
	counter_moved "$mnt" store_bypass
	await 20 came_back
	all_is_well
	stop_pfs "$mnt"
}

writes_hang_for_10_s() {
	PFS_FAULTS=1 begin store_io=direct
	under_load 4 hang store.write
	all_is_well
	counter_moved "$mnt" fills_no_room
	stop_pfs "$mnt"
}

run fill_at_first
run bits_flip_while_mounted
run flips_show_without_verification
run bits_flip_between_mounts
run bits_flip_in_the_catalog
run the_store_is_deleted
run the_store_is_truncated
run the_disk_is_filled
run the_disk_becomes_read_only
run the_disk_is_pulled
run reads_hang_for_10_s
run writes_hang_for_10_s
echo "bits_flipped=$flipped"
finish
