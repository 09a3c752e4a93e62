#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# harm.sh [--rounds N] [--seconds N] [--latency MS] [--mbit N]: what reading
# ahead costs those it cannot help.  Random reads of a file on slow storage
# through pfs, with nothing in the store: with prefetch=off, with the default,
# and with a planted proposer that is sure of itself and always wrong.  The
# three are interleaved within each round.  Prints the 50th and 99th percentile
# of a read's latency and the bytes fetched for each byte asked, and asserts
# nothing.
. "$(dirname "$0")/../vm/lib.sh"
rounds=3 seconds=10 latency_ms=10 mbit=200
while [ $# -gt 1 ]; do
	case $1 in
	--rounds) rounds=$2 ;;
	--seconds) seconds=$2 ;;
	--latency) latency_ms=$2 ;;
	--mbit) mbit=$2 ;;
	*) die "unknown: $1" ;;
	esac
	shift 2
done
[ $# = 0 ] || die "what about $1?"
needs fio jq
needs_fuse

# run ARM OPTIONS: adds "ARM p50_us p99_us reads source_per_asked".
run() {
	slow_storage "$work/images" "$slow" "$latency_ms" "$mbit"
	rm -rf "$work/pfs"
	pfs_start "$slow" "$mnt" "$work/pfs" "$2"
	fio --name=harm --filename="$mnt/disk.raw" --ioengine=psync --rw=randread \
		--bs=4k --direct=1 --time_based --runtime="$seconds" --readonly \
		--randrepeat=0 --norandommap --output-format=json \
		>"$work/fio.json"
	jq -r --arg arm "$1" --argjson got "$(slowfs_get "$slow" read_bytes)" '
		.jobs[0].read | "\($arm) \(.clat_ns.percentile["50.000000"] / 1000)" +
		" \(.clat_ns.percentile["99.000000"] / 1000) \(.total_ios)" +
		" \($got / (.total_ios * 65536))"' "$work/fio.json" \
		>>"$work/results"
	pfs_stop "$mnt"
	slowfs_stop "$slow"
}

# median ARM COLUMN
median() {
	awk -v a="$1" -v c="$2" '$1 == a { print $c }' "$work/results" |
		sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

make_work_dir
slow=$work/slow mnt=$work/mnt
mkdir "$work/images"
head -c 1G /dev/urandom >"$work/images/disk.raw"
for ((round = 1; round <= rounds; round++)); do
	run off prefetch=off
	run default prefetch=balanced
	PFS_FAULTS=plant.wrong_prefetch:eio run wrong prefetch=balanced
done
for arm in off default wrong; do
	awk -v arm=$arm -v m="$(median $arm 2)" -v p="$(median $arm 3)" \
		-v n="$(median $arm 4)" -v t="$(median $arm 5)" \
		-v off="$(median off 3)" 'BEGIN {
		printf "%-8s median %8.0f us  p99 %8.0f us (%.3f of off)" \
			"  %6d reads  %.3f chunks fetched a read\n",
			arm, m, p, p / off, n, t }'
done
say "$rounds rounds of $seconds s, $latency_ms ms, $mbit Mbit/s," \
	"$(nproc) CPUs, $(uname -r)"
