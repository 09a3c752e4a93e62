#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# slowfs itself: other tests trust its delays, faults and counters.
# PFS_BIN names the folder of the built tools.  77: cannot run here.
set -u
export LC_ALL=C

: "${PFS_BIN:?the folder of the built tools}"
slowfs=$PFS_BIN/slowfs
[ -x "$slowfs" ] || { echo "slowfs.sh: no $slowfs"; exit 1; }
[ -w /dev/fuse ] || { echo "skip: no /dev/fuse"; exit 77; }

dir=$(mktemp -d) || exit 1
src=$dir/src mnt=$dir/mnt ctl=$dir/mnt/.slowfs pidfile=$dir/pid
mkdir "$src" "$mnt"
. "$(dirname "$0")/../tools/reports.sh"
reports_to "$dir/reports"
failures=0

fail() {
	echo "  FAILED: $*"
	failures=$((failures + 1))
}

# check WHAT GOT OPERATOR WANT: numbers as [ ] compares them
check() {
	test "$2" "$3" "$4" || fail "$1: got $2, want $3 $4"
}

# await CONDITION...: until it holds; the end of the test if not in 20 s, since
# what follows might hang
await() {
	local i
	for i in $(seq 1000); do
		"$@" && return 0
		sleep 0.02
	done
	fail "never: $*"
	exit 1
}

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
get() { awk -v k="$1" '$1 == k { print $2 }' "$ctl"; }
steer() { printf '%s\n' "$@" >"$ctl" || fail "refused: $*"; }
is() { [ "$(get "$1")" = "$2" ]; }
# A zombie counts as gone: who reaps it is not our business.
is_gone() { ! grep -q '^State:.[^Z]' "/proc/$1/status" 2>/dev/null; }
has_text() { grep -q "$1" "$2"; }

detach() {
	if [ "$(id -u)" = 0 ]; then
		umount -l "$mnt" 2>/dev/null
	else
		fusermount3 -uz "$mnt" 2>/dev/null
	fi
}

start() {
	"$slowfs" "$src" "$mnt" -o "pidfile=$pidfile,seed=7" ||
		{ fail "slowfs does not start"; exit 1; }
	pid=$(cat "$pidfile")
}

stop() {
	kill "$pid" 2>/dev/null
	await is_gone "$pid"
	detach
	rm -f "$pidfile"
}

finish() {
	[ -s "$pidfile" ] && kill -9 "$(cat "$pidfile")" 2>/dev/null
	detach
	wait
	rm -rf --one-file-system "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# read_block N [FILE]: 4 KiB at block N
read_block() {
	dd if="$mnt/${2:-img}" of=/dev/null bs=4096 skip="$1" count=1 \
		status=none 2>/dev/null
}

write_block() {
	dd if=/dev/zero of="$mnt/${2:-img}" bs=4096 seek="$1" count=1 \
		conv=notrunc status=none 2>/dev/null
}

# A reader whose end can be awaited with a bound: its exit status in a file.
read_behind() {
	rm -f "$dir/rc"
	{
		read_block 0
		echo $? >"$dir/rc.new"
		mv "$dir/rc.new" "$dir/rc"
	} &
}

bytes_pass_unchanged() {
	cmp "$src/img" "$mnt/img" || fail "content differs"
	check "cmp's read_bytes" "$(get read_bytes)" -ge 8388608
}

attributes_show_through() {
	local f='%i %s %f %u %g %h %y %z' birth

	[ "$(stat -c "$f" "$src/img")" = "$(stat -c "$f" "$mnt/img")" ] ||
		fail "attributes differ"
	birth=$(stat -c %W "$mnt/img")
	# Kernels before 6.6 never ask.
	[ "$(get statxs)" = 0 ] || [ "$birth" = "$(stat -c %W "$src/img")" ] ||
		fail "time of birth: $birth"
	truncate -s 4096 "$src/grows"
	check "size" "$(stat -c %s "$mnt/grows")" -eq 4096
	truncate -s 8192 "$src/grows"
	check "size after growth" "$(stat -c %s "$mnt/grows")" -eq 8192
}

every_read_is_counted() {
	local i

	steer reset=1
	for i in 0 1 2 3 0 1 2 3; do
		read_block "$i"
	done
	check reads "$(get reads)" -eq 8
	check read_bytes "$(get read_bytes)" -eq 32768
	check opens "$(get opens)" -eq 8
	dd if=/dev/zero of="$mnt/img" bs=4096 count=3 conv=notrunc,fsync \
		status=none
	check writes "$(get writes)" -eq 3
	check write_bytes "$(get write_bytes)" -eq 12288
	check fsyncs "$(get fsyncs)" -eq 1
	steer reset=1
	check "reads after reset" "$(get reads)" -eq 0
}

control_file_is_not_listed() {
	find "$mnt" | grep -q '/\.slowfs$' && fail "it is listed"
	[ -e "$ctl" ] || fail "it cannot be reached"
}

bad_lines_are_refused_whole() {
	local line

	for line in nonsense nonsense=1 latency_us= latency_us=-1 \
		latency_us=5x latency_us=99999999999 mbps=nan mbps=0x10 \
		read_eio=1.5 read_eio=1:2:3 read_eio=: fsync_eio=0:4096 \
		eio_range=0.5 hang=2 reset=0; do
		(echo "$line" >"$ctl") 2>"$dir/err" && fail "taken: $line"
		has_text 'Invalid argument' "$dir/err" ||
			fail "$line: $(cat "$dir/err")"
	done
	# dd, because bash writes line by line
	printf 'latency_us=77\nnonsense=1\n' | dd of="$ctl" status=none \
		2>"$dir/err" && fail "taken: two lines, one bad"
	check "latency_us of a refused write" "$(get latency_us)" -eq 0
}

parallel_reads_wait_together() {
	local began took i pids=()

	steer reset=1 latency_us=1000000
	began=$(now_ms)
	for i in $(seq 64); do
		read_block "$i" &
		pids+=($!)
	done
	await is waiting 64
	wait "${pids[@]}"
	took=$(($(now_ms) - began))
	steer latency_us=0
	check "64 reads of 1 s, ms" "$took" -ge 1000
	check "64 reads of 1 s, ms" "$took" -lt 6000
	check most_waiting "$(get most_waiting)" -eq 64
}

each_kind_has_its_latency() {
	local began line

	for line in latency_us write_latency_us fsync_latency_us \
		meta_latency_us; do
		steer "$line=200000"
		began=$(now_ms)
		case $line in
		latency_us) read_block 0 ;;
		write_latency_us) write_block 0 ;;
		fsync_latency_us) sync "$mnt/img" ;;
		meta_latency_us) stat "$mnt/img" >"$dir/out" ;;
		esac
		check "$line, ms" $(($(now_ms) - began)) -ge 200
		steer "$line=0"
	done
}

link_is_shared() {
	local began took i pids=()

	steer mbps=8
	began=$(now_ms)
	for i in 0 2 4 6; do # 4 x 2 MiB = 8.39 MB
		dd if="$mnt/img" of="$dir/part$i" bs=1M skip=$i count=2 \
			status=none &
		pids+=($!)
	done
	wait "${pids[@]}"
	took=$(($(now_ms) - began))
	steer mbps=0
	check "8.39 MB at 8 MB/s, ms" "$took" -ge 1048
	check "8.39 MB at 8 MB/s, ms" "$took" -lt 6000
	cat "$dir"/part[0246] | cmp - "$src/img" || fail "paced bytes differ"
}

ranges_fail() {
	steer eio_range=4096:4096
	read_block 0 || fail "read before the range"
	read_block 1 && fail "read in the range"
	read_block 2 || fail "read behind the range"
	write_block 1 && fail "write in the range"
	steer eio_range=0 read_eio=4096:4096
	read_block 1 && fail "read in the range of reads"
	write_block 1 || fail "write in the range of reads"
	steer read_eio=0 write_eio=1
	write_block 0 && fail "write with write_eio"
	read_block 1 || fail "read with write_eio"
	steer write_eio=0
	write_block 0 || fail "write after write_eio"
}

half_fail_at_probability_half() {
	local i failed=0

	steer read_eio=0.5
	for i in $(seq 60); do
		read_block 0 || failed=$((failed + 1))
	done
	steer read_eio=0
	check "failures of 60" "$failed" -ge 10
	check "failures of 60" "$failed" -le 50
}

other_faults_strike() {
	steer fsync_eio=1
	sync "$mnt/img" 2>"$dir/err" && fail "fsync succeeds"
	steer fsync_eio=0 enospc=1
	write_block 0 && fail "write on a full source"
	(: >"$mnt/new") 2>"$dir/err" && fail "create on a full source"
	has_text 'No space left' "$dir/err" || fail "$(cat "$dir/err")"
	steer enospc=0 short_reads=1
	dd if="$mnt/img" of="$dir/short" bs=4096 count=1 status=none
	check "bytes of a short read" "$(stat -c %s "$dir/short")" -eq 2048
	steer short_reads=0
}

late_write_of_the_dead_lands() {
	local writer

	truncate -s 4096 "$src/late"
	echo word >"$dir/word"
	steer write_latency_us=1500000
	dd if="$dir/word" of="$mnt/late" conv=notrunc status=none &
	writer=$!
	await is waiting 1
	kill -9 "$writer"
	has_text word "$src/late" && fail "it landed at once"
	steer write_latency_us=0
	await has_text word "$src/late"
	wait "$writer" 2>/dev/null
}

hang_ends_when_told() {
	steer hang=1
	read_behind
	await is hung 1
	stat "$mnt" >"$dir/out" || fail "root cannot be seen"
	[ -e "$dir/rc" ] && fail "the read did not hang"
	steer hang=0
	await [ -e "$dir/rc" ]
	check "read status" "$(cat "$dir/rc")" -eq 0
	check hung "$(get hung)" -eq 0
}

# hang_ends_by COMMAND...: and the mount can be had again
hang_ends_by() {
	steer hang=1
	read_behind
	await is hung 1
	"$@"
	await [ -e "$dir/rc" ]
	await is_gone "$pid"
	detach
	rm -f "$pidfile"
	start
}

hang_ends_with_slowfs() {
	hang_ends_by kill "$pid"
	check "status of a read whose server ended" "$(cat "$dir/rc")" -ne 0
	hang_ends_by kill -9 "$pid"
	check "status of a read whose server died" "$(cat "$dir/rc")" -ne 0
	hang_ends_by detach
}

namespace_works() {
	local d=$mnt/folder

	mkdir "$d" && echo text >"$d/a" && mv "$d/a" "$d/b" || fail "make, move"
	check "text in the source" "$(cat "$src/folder/b")" = text
	chmod 640 "$d/b" && touch -d @1000000000 "$d/b" || fail "chmod, touch"
	check mode "$(stat -c %a "$src/folder/b")" -eq 640
	check mtime "$(stat -c %Y "$src/folder/b")" -eq 1000000000
	fallocate -l 1M "$d/b" && truncate -s 2M "$d/b" || fail "fallocate"
	check size "$(stat -c %s "$src/folder/b")" -eq 2097152
	cp --sparse=always "$d/b" "$d/c" && cmp "$d/b" "$src/folder/c" ||
		fail "copy"
	check entries "$(find "$d" -type f | wc -l)" -eq 2
	rm "$d/b" "$d/c" && rmdir "$d" || fail "remove"
	[ -e "$src/folder" ] && fail "removed, but there"
	df "$mnt" >"$dir/out" || fail statfs
}

locks_exclude_each_other() {
	exec 8<"$mnt/img" 9<"$mnt/img"
	flock -n -x 8 || fail "first lock"
	flock -n -x 9 && fail "second lock"
	exec 8<&- 9<&-
}

bad_arguments_are_refused() {
	local m=$dir/m

	mkdir "$m"
	"$slowfs" "$src" "$m" -o latency_us=x 2>"$dir/err" && fail "junk value"
	has_text latency_us=x "$dir/err" || fail "$(cat "$dir/err")"
	"$slowfs" "$src" "$m" -o nonsense=1 2>"$dir/err" && fail "junk option"
	"$slowfs" "$dir/none" "$m" 2>"$dir/err" && fail "no source"
	"$slowfs" "$src" "$src/img" 2>"$dir/err" && fail "mount on a file"
	mountpoint -q "$m" && fail "mounted all the same"
}

run() {
	local before=$failures

	"$@"
	[ "$failures" = "$before" ] && echo "ok   $*" || echo "FAIL $*"
	is_gone "$pid" && { echo "slowfs is gone"; exit 1; }
}

head -c 8M /dev/urandom >"$src/img"
start
run bytes_pass_unchanged
run attributes_show_through
run every_read_is_counted
run control_file_is_not_listed
run bad_lines_are_refused_whole
run parallel_reads_wait_together
run each_kind_has_its_latency
run link_is_shared
run ranges_fail
run half_fail_at_probability_half
run other_faults_strike
run late_write_of_the_dead_lands
run hang_ends_when_told
run hang_ends_with_slowfs
run namespace_works
run locks_exclude_each_other
run bad_arguments_are_refused
stop
no_reports || fail "see above"
[ "$failures" = 0 ]
