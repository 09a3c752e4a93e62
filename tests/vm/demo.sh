#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# demo.sh [--rounds N] [--latency MS]: a Debian guest boots from slow storage;
# from pfs over the same storage, with nothing in the store; again, with what
# the boot before left there; and once more with the store emptied, where all
# that is left is what pfs has learned of the boots before.
#
# What keeps the figures honest.  Before every measured boot the guest before
# has gone, slowfs and pfs are started again and the page cache is dropped.
# slowfs adds its latency to each read, whatever this machine has in memory;
# QEMU opens the image with cache=none and pfs its store with O_DIRECT.  Bytes
# from slow storage are counted by slowfs, time of stall by the guest.  Each
# round starts from fresh copies of the image and without a store.
. "$(dirname "$0")/lib.sh"
rounds=1 latency_ms=10
while [ $# -gt 0 ]; do
	[[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || set -- usage
	case $1 in
	--rounds) rounds=$2 ;;
	--latency) latency_ms=$2 ;;
	*) die "usage: demo [--rounds N] [--latency MS]" ;;
	esac
	shift 2
done
needs qemu-system-x86_64 jq
needs_fuse

step() { say "[$SECONDS s] $*"; }

# measure ROW IMAGE: one boot to the login prompt and down again.  Adds a line
# "ROW seconds stall_s fetched_MB share" to the results; the share is only
# there with pfs running, from the difference of its counters.
measure() {
	local row=$1 image=$2 before=0 after=0
	drop_caches
	[ "$row" = direct ] || before=$(read_counters)
	guest_start "$work/$row" "file=$image,cache=none,aio=threads"
	guest_wait login 600 || guest_fail "no login prompt"
	guest_finish 200
	[ "$row" = direct ] || after=$(read_counters)
	printf '%s %s %s %s %s\n' "$row" "$guest_seconds" \
		"$(guest_value login stall_us)" \
		"$(slowfs_get "$slow" read_bytes)" "$(share "$before" "$after")" |
		awk '{ printf "%s %.1f %.2f %.1f %s\n",
			$1, $2, $3 / 1e6, $4 / 1e6, $5 }' >>"$work/results"
	step "  login after $guest_seconds s"
}

read_counters() {
	pfs_counters "$mnt" reads_hit reads_late reads_miss reads_direct
}

# share BEFORE AFTER: hits among the reads of data, in percent.  Holes of the
# image are answered without anybody's storage and do not count.
share() {
	echo "$1 $2" | awk 'NF < 8 { print "-"; exit }
		{ all = $5 + $6 + $7 + $8 - $1 - $2 - $3 - $4
		  printf "%.1f", all ? 100 * ($5 - $1) / all : 0 }'
}

storage() {
	slowfs_start "$work/images" "$slow" "latency_us=$((latency_ms * 1000))"
}

boot_direct() {
	storage
	measure direct "$slow/direct.raw"
	slowfs_stop "$slow"
}

# boot_pfs ROW: the store is as it was left.
boot_pfs() {
	storage
	pfs_start "$slow" "$mnt" "$work/pfs"
	[ "$(pfs_field "$mnt" io)" = direct ] ||
		step "no O_DIRECT here: memory may stand in for the store"
	measure "$1" "$mnt/pfs.raw"
	pfs_stop "$mnt"
	slowfs_stop "$slow"
}

# median ROW COLUMN
median() {
	awk -v r="$1" -v c="$2" '$1 == r { print $c }' "$work/results" |
		sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

print_row() {
	local share
	share=$(median "$1" 5)
	[ "$share" = - ] || share+=" %"
	printf '%-26s %8s s %8s s %10s %10s MB\n' "$2" "$(median "$1" 2)" \
		"$(median "$1" 3)" "$share" "$(median "$1" 4)"
}

print_table() {
	say
	printf '%-26s %10s %10s %10s %13s\n' \
		"" "seconds to" "stalled on" "reads from" "fetched from" \
		"Debian guest boots from" "login" "storage" "the store" \
		"slow storage"
	print_row direct "slow storage, directly"
	print_row first "pfs, first boot"
	print_row second "pfs, second boot"
	print_row third "pfs, store emptied"
	say
}

explain() {
	awk -v d="$(median direct 3)" -v f="$(median first 3)" \
		-v s="$(median second 3)" -v m="$(median second 4)" \
		-v n="$(median direct 4)" -v ms="$latency_ms" \
		-v t="$(median third 3)" 'BEGIN {
		printf "With %s ms per read of the source, the guest waited " \
			"%.1f s for storage without pfs, %.1f s when pfs had " \
			"everything to fetch, and %.1f s the second time, " \
			"when %.1f MB came from the source instead of %.1f: ", \
			ms, d, f, s, m, n
		if (s < d)
			printf "%.0f %% less waiting.\n", 100 * (1 - s / d)
		else
			print "pfs gained nothing here."
		printf "With an empty store and what it had learned, it " \
			"fetched ahead of the guest, which waited %.1f s.\n", \
			t }' | fmt -w 72
	if [ "$guest_accel" = tcg ]; then
		say "Without usable KVM the guest's CPU was emulated, which is" \
			"most of its time to login."
	fi
	say "Medians of $rounds round(s); $(nproc) CPUs, $(uname -r)."
}

step "kernel and guest disk, kept in $cache_dir"
"$vm_dir/prepare.sh" debian
make_work_dir
slow=$work/slow mnt=$work/mnt
mkdir "$work/images"
step "the guest's CPU: $(accel)"
for ((round = 1; round <= rounds; round++)); do
	step "round $round of $rounds: fresh images, empty store"
	rm -rf "$work/pfs"
	image_copy debian "$work/images/direct.raw"
	image_copy debian "$work/images/pfs.raw"
	step "boot from slow storage, directly ($latency_ms ms a read)"
	boot_direct
	step "boot from pfs over it, for the first time"
	boot_pfs first
	step "boot from pfs again"
	boot_pfs second
	step "the store is emptied, what was learned stays; boot from pfs"
	rm -rf "$work/pfs/store"
	boot_pfs third
done
print_table
explain
