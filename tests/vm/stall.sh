#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# stall.sh [--rounds N] [--latency MS,...] [--mbit N] [--image debian|aged]
#          [--arms NAME,...]: how long a Debian guest waits for storage until
# its login prompt, and in a workload after it, by what lies between the guest
# and slow storage.
#
#   direct     nothing
#   readahead  nbdkit with its filters cache and readahead
#   peer       nbdkit with its filter cache and blocks of 1 MiB
#   first      pfs, which has never seen the image
#   known      pfs, which has seen one boot of it and has an empty store
#   local      the image on this machine's own disk, no slow storage
#
# All arms but the last read through one slowfs (latency for each read, one
# link of --mbit Mbit/s).  Arms are interleaved within each round; before each
# boot all daemons are started anew and the page cache is dropped.  Stall is the
# guest's own /proc/pressure/io ("some", total), which does not depend on how
# fast its CPU is.  It prints and asserts nothing.
. "$(dirname "$0")/lib.sh"
rounds=1 latencies=10 mbit=200 image=debian
arms=direct,readahead,peer,first,known,local
while [ $# -gt 1 ]; do
	case $1 in
	--rounds) rounds=$2 ;;
	--latency) latencies=$2 ;;
	--mbit) mbit=$2 ;;
	--image) image=$2 ;;
	--arms) arms=$2 ;;
	*) die "unknown: $1" ;;
	esac
	shift 2
done
[ $# = 0 ] || die "what about $1?"
needs qemu-system-x86_64 jq nbdkit
needs_fuse

step() { say "[$SECONDS s] $*"; }

# boot ARM LATENCY DRIVE: adds "ARM LATENCY boot_stall work_stall MB seconds".
boot() {
	local login after mb=-
	drop_caches
	guest_start "$work/$1" "$3" after
	guest_wait login 600 || guest_fail "no login prompt"
	guest_wait after 600 || guest_fail "the workload did not end"
	guest_finish 200
	login=$(guest_value login stall_us)
	after=$(guest_value after stall_us)
	[ "$1" = local ] ||
		mb=$(($(slowfs_get "$slow" read_bytes) / 1000000))
	echo "$1 $2 $login $((after - login)) $mb $guest_seconds" \
		>>"$work/results"
	step "  $1: $((login / 1000)) ms to login," \
		"$(((after - login) / 1000)) ms after, $mb MB"
}

storage() { slow_storage "$work/images" "$slow" "$1" "$mbit"; }

# through_nbd ARM LATENCY "FILTER OPTIONS" PARAMETER...
through_nbd() {
	local arm=$1 ms=$2
	storage "$ms"
	nbd_start "$work/nbd" "$slow/disk.raw" "${@:3}"
	boot "$arm" "$ms" "file=nbd+unix:///?socket=$work/nbd,cache=none"
	end_process "$nbd_pid"
	slowfs_stop "$slow"
}

# through_pfs ARM LATENCY: with what the catalog knows.
through_pfs() {
	storage "$2"
	pfs_start "$slow" "$mnt" "$work/pfs"
	boot "$1" "$2" "file=$mnt/pfs.raw,cache=none,aio=threads"
	pfs_ctl "$mnt" stats --json >"$work/stats.$1.json"
	pfs_stop "$mnt"
	slowfs_stop "$slow"
}

# teach ARM LATENCY: a first boot, of a fresh copy.
teach() {
	rm -rf "$work/pfs"
	image_copy "$image" "$work/images/pfs.raw"
	through_pfs "$@"
}

arm() {
	case $1 in
	direct)
		storage "$2"
		boot direct "$2" "file=$slow/disk.raw,cache=none,aio=threads"
		slowfs_stop "$slow"
		;;
	readahead)
		through_nbd readahead "$2" \
			"--filter=readahead --filter=cache" cache-on-read=true
		;;
	peer)
		through_nbd peer "$2" --filter=cache cache-on-read=true \
			cache-min-block-size=1M
		;;
	first) teach first "$2" ;;
	known)
		[ -d "$work/pfs" ] || teach teaching "$2"
		rm -rf "$work/pfs/store"
		through_pfs known "$2"
		;;
	local)
		boot local "$2" \
			"file=$work/images/disk.raw,cache=none,aio=threads"
		;;
	*) die "no arm is named $1" ;;
	esac
}

# median ARM LATENCY COLUMN
median() {
	awk -v a="$1" -v l="$2" -v c="$3" '$1 == a && $2 == l { print $c }' \
		"$work/results" | sort -n |
		awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "-" }'
}

# table COLUMN TITLE: seconds, and what share of the avoidable stall went.
table() {
	local name ms direct own
	say
	say "$2"
	for ms in ${latencies//,/ }; do
		direct=$(median direct "$ms" "$1")
		own=$(median local "$ms" "$1")
		for name in ${arms//,/ }; do
			awk -v n="$name" -v ms="$ms" -v d="$direct" -v o="$own" \
				-v v="$(median "$name" "$ms" "$1")" \
				-v mb="$(median "$name" "$ms" 5)" 'BEGIN {
				gone = "-"
				if (d != "-" && o != "-" && d > o)
					gone = sprintf("%.1f %%",
						100 * (d - v) / (d - o))
				printf "  %2d ms  %-10s %7.2f s  gone %8s",
					ms, n, v / 1e6, gone
				print "  fetched", mb, "MB" }'
		done
	done
}

"$vm_dir/prepare.sh" "$image"
make_work_dir
slow=$work/slow mnt=$work/mnt
mkdir "$work/images"
for ((round = 1; round <= rounds; round++)); do
	for ms in ${latencies//,/ }; do
		step "round $round of $rounds, $ms ms, $mbit Mbit/s, $image"
		for name in ${arms//,/ }; do
			image_copy "$image" "$work/images/disk.raw"
			arm "$name" "$ms"
		done
		rm -rf "$work/pfs"
	done
done
table 3 "stall to the login prompt (medians of $rounds)"
table 4 "stall in the workload after it"
say
say "$(nproc) CPUs, $(uname -r), guest CPU $(accel), $mbit Mbit/s, $image"
