#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Reading ahead on a real mount, and what pfsctl tells of it: over storage of
# 5 ms an image is read twice in the same scattered order, the store emptied in
# between.  The second time most of it is there before it is asked for.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "jq is missing"
command -v python3 >/dev/null || skip "python3 is missing"

src=$work/src
slow=$work/slow
mnt=$work/mnt
chunk=65536
room=store=$work/mnt.store,store_size=256M # nothing is evicted
mkdir "$src" "$slow"
head -c 32M /dev/urandom >"$src/a.img"
head -c 32M /dev/urandom >"$src/b.img"
head -c 32M /dev/urandom >"$src/c.img"

# 192 chunks in an order without any pattern, always the same.
cat >"$work/guest.py" <<'PY'
import os, random, sys, time

fd = os.open(sys.argv[1], os.O_RDWR if len(sys.argv) > 2 else os.O_RDONLY)
chunks = list(range(512))
random.Random(7).shuffle(chunks)
for c in chunks[:192]:
    os.pread(fd, 4096, c * 65536)
    time.sleep(0.01)
if len(sys.argv) > 2:
    os.pwrite(fd, b"x" * 8192, 12288)
PY

guest() {
	python3 "$work/guest.py" "$@" || fail "the guest failed"
}

# ctl STATUS ARGUMENTS...: of the mount
ctl() { run_pfsctl "$1" -m "$mnt" "${@:2}"; }

asks() { # FILTER ARGUMENTS...: of the JSON
	local filter=$1
	shift
	"$pfsctl" -m "$mnt" "$@" --json 2>/dev/null | jq -e "$filter" >/dev/null
}

resident() {
	"$pfsctl" -m "$mnt" map "$1" --json | jq .resident_chunks
}

is_resident() {
	[ "$(resident "$1")" = "$2" ]
}

# A session ends 2 s after the last close, and is learnt from then.
has_recordings() {
	asks "length == $2" recording list "$1"
}

start_slowfs() {
	mounts+=("$slow")
	"$PFS_BIN/slowfs" "$src" "$slow" -o "pidfile=$work/slow.pid" || {
		fail "slowfs does not start"
		return 1
	}
	slow_pid=$(cat "$work/slow.pid")
	echo latency_us=5000 >"$slow/.slowfs"
}

stop_slowfs() {
	kill "$slow_pid"
	await 20 is_gone "$slow_pid"
	! is_mounted "$slow" || detach "$slow" -l
}

a_first_session_is_recorded() {
	ctl 0 recording list a.img
	says "Nothing is recorded"
	guest "$mnt/a.img"
	await 20 has_recordings a.img 1
	ctl 0 recording list a.img --json
	json '.[0].is_sound' '.[0].chunks == 192' '.[0].sessions == 1' \
		".[0].read_bytes == 192 * $chunk" ".[0].chunk == $chunk" \
		'.[0].duration_s > 1' '.[0].taught_by.vm | length == 16'
	number=$(jq '.[0].number' <<<"$out")
	ctl 0 recording show a.img "$number" --json
	json '.steps | length == 192' 'all(.steps[]; .sessions == 1)' \
		'.steps | map(.time_us) | . == sort'
	# As random.Random(7) has it.
	first=$(jq '.steps[0].offset' <<<"$out")
	ctl 0 recording show a.img "$number"
	says "offset" " $first "
}

the_second_time_it_is_there() {
	local before
	ctl 0 drop a.img
	await 10 is_resident a.img 0
	before=$("$pfsctl" -m "$mnt" stats a.img --json | jq .reads)
	ctl 0 stats a.img --json
	json '.reads_hit < 20'
	guest "$mnt/a.img"
	await 10 asks ".reads == $before + 192" stats a.img
	ctl 0 stats a.img --json
	json '.reads_hit + .reads_late > 130' '.name == "a.img"' \
		'.prefetch.used_bytes > 100 * 65536' \
		'.prefetch.saved_s > 0.3' '.vms | length == 2' \
		'.prefetch.proposers | map(.name) |
			index("replay") != null' \
		'all(.vms[]; .reads == 192)'
	vm=$(jq -r '.vms | sort_by(-.reads_hit)[0].vm' <<<"$out")
}

stats_tell_who_and_how() {
	ctl 0 stats --vm "$vm" --json
	json '.reads == 192' '.reads_hit + .reads_late > 130' \
		'.images[0].name == "a.img"'
	ctl 0 stats a.img --vm "$vm" --json
	json '.reads == 192' '.name == "a.img"' ".vm == \"$vm\""
	ctl 0 stats
	says "Proposers" "replay" "VMs, since" "Images, since" "a.img" "$vm" \
		"Reads of the source that took" "prefetch_used_bytes"
	ctl 0 stats --json
	json '.prefetch_used_bytes > 6000000' '.prefetch.bytes > 6000000' \
		'.prefetch_saved_us > 300000' \
		'.source_latency.demand[22:] | add > 100' \
		'.source_latency.prefetch[22:] | add > 10' \
		'.images[0].name == "a.img"' '.vms | length == 2'
	exec 8<"$mnt/a.img"
	dd bs=64K count=1 of=/dev/null status=none <&8
	await 10 asks '.reads == 1' stats --vm $$
	ctl 0 stats --vm $$ --json
	json ".pid == $$" '.command == "prefetch.sh" or .command == "bash"'
	exec 8<&-
	ctl 1 stats --vm 1
	complains "process 1 has no image open"
	ctl 2 stats --vm qemu
	complains "16 hexadecimal digits"
	ctl 0 metrics
	says "pfs_prefetch_used_bytes_total{" \
		"pfs_source_latency_seconds_bucket{mount=\"$mnt\",kind=\"prefetch\",le=\"+Inf\"}" \
		"pfs_proposer_precision{mount=\"$mnt\",proposer=\"replay\"}"
}

why_explains() {
	local c n_used=0
	for c in $("$pfsctl" -m "$mnt" recording show a.img "$number" --json |
		jq '.steps[100:110][].offset'); do
		ctl 0 why a.img "$c" --json
		json ".offset == $c" '.is_resident' ".number == $c / 65536"
		if jq -e '.decisions[0].fate == "used"' <<<"$out" >/dev/null; then
			n_used=$((n_used + 1))
			json '.decisions[0].proposers | length > 0' \
				".decisions[0].vm == \"$vm\"" \
				'.decisions[0].confidence > 0.2' \
				'.decisions[0].confidence <= 1' \
				'.decisions[0].ended_after_s > 0'
			ctl 0 why a.img "$c"
			says "resident." " expected it, confidence" "Used: "
		fi
	done
	check "chunks of ten that were used" $n_used -ge 5
	ctl 0 why b.img 31M # nobody has read it
	says "not resident" "not fetched ahead"
	ctl 2 why a.img 32M
	complains "below 33554432"
	ctl 2 why a.img 1.5M
	complains "no number of bytes"
	ctl 1 why nope.img 0
	complains "is known here"
}

trace_records_and_simulate_reads_it() {
	local tracer
	timeout 60 "$pfsctl" -m "$mnt" trace b.img -o "$work/t.csv.gz" \
		>"$work/trace.out" 2>&1 &
	tracer=$!
	await 10 test -s "$work/t.csv.gz" # it has begun
	sleep 0.2
	guest "$mnt/b.img" write
	kill -INT $tracer
	wait $tracer || fail "trace: exit status $?: $(cat "$work/trace.out")"
	grep -q "192 reads and 1 writes recorded" "$work/trace.out" ||
		fail "trace said: $(cat "$work/trace.out")"
	zcat "$work/t.csv.gz" >"$work/t.csv"
	check "first line" "$(head -n 1 "$work/t.csv")" = \
		time_us,op,offset,length
	check "lines" "$(wc -l <"$work/t.csv")" = 194
	check "the write" "$(cut -d , -f 2- "$work/t.csv" | tail -n 1)" = \
		W,12288,8192
	check "the first read" "$(cut -d , -f 2- "$work/t.csv" | sed -n 2p)" = \
		"R,$first,4096"
	out=$("$pfsctl" simulate --test "$work/t.csv.gz" --predictor none --json)
	json '.[0].chunk_reads == 192'

	# By the clock, to standard output; dd is the guest.
	timeout 60 "$pfsctl" -m "$mnt" trace b.img --seconds 1.5 \
		>"$work/t.csv" 2>/dev/null &
	tracer=$!
	await 10 test -s "$work/t.csv"
	sleep 0.2
	dd if="$mnt/b.img" of=/dev/null bs=64K count=4 iflag=direct status=none
	wait $tracer || fail "trace --seconds: exit status $?"
	check "reads" "$(grep -c ',R,' "$work/t.csv")" = 4
	ctl 2 trace b.img --seconds soon
	complains "--seconds"
	ctl 2 trace b.img --json
	complains "-o FILE"
	ctl 1 trace nope.img
	ctl 1 trace b.img -o /dev/full --seconds 1
	complains "/dev/full"
}

# The traces above were ended: there is room for four.
four_traces_at_once() {
	local i tracers=()
	for i in 1 2 3 4; do
		timeout 60 "$pfsctl" -m "$mnt" trace b.img -o "$work/t$i" \
			2>/dev/null &
		tracers+=($!)
		await 10 test -s "$work/t$i"
	done
	sleep 0.2
	ctl 1 trace b.img --seconds 1 -o "$work/t5"
	complains "4 traces are being made"
	kill -TERM "${tracers[@]}"
	wait "${tracers[@]}" || fail "a trace failed"
}

warm_brings_it() {
	ctl 0 drop b.img
	await 20 has_recordings b.img 1
	ctl 0 warm b.img --recording --wait
	says "of 512 chunks"
	# The write may have taken its chunk along.
	check "chunks of the recording" "$(resident b.img)" -ge 191
	check "and no more" "$(resident b.img)" -le 193
	ctl 1 warm c.img # was never opened
	complains "not in use: with --wait"
	ctl 0 warm c.img --wait --json
	json '.is_done' '.chunks == 512' '.resident_chunks == 512'
	cmp "$slow/c.img" "$mnt/c.img" || fail "other bytes"
	ctl 1 warm c.img --recording --wait
	complains "nothing is recorded"
	ctl 0 drop b.img
	exec 8<"$mnt/b.img"
	ctl 0 warm b.img
	says "of 512 chunks" "the rest is brought"
	exec 8<&-
	ctl 1 warm nope.img --wait
	complains "there is no image 'nope.img'"
	ctl 1 warm ../src/a.img --wait
	complains "there is no image"
}

# A store of 32 MiB, through which 80 MiB go.
pins_are_kept() {
	local here=$mnt
	start_pfs "$slow" "$work/small" \
		"store=$work/small.store,store_size=32M"
	mnt=$work/small
	ctl 0 pin a.img 0 4M # was never opened here
	says "Pinned" "warm --wait"
	ctl 0 pins --json
	json 'length == 1' '.[0].image == "a.img"' '.[0].offset == 0' \
		'.[0].length == 4194304' '.[0].is_whole | not'
	exec 8<"$mnt/a.img"
	ctl 0 pin a.img 0 4M --json
	json '.in_use' '.warming_chunks == 64'
	await 10 is_resident a.img 64
	dd if="$mnt/b.img" of=/dev/null bs=1M status=none
	dd if="$mnt/c.img" of=/dev/null bs=1M status=none
	dd if="$mnt/b.img" of=/dev/null bs=1M count=16 status=none
	ctl 0 map a.img --json
	json '.cells[:(.cells | length / 8 | floor)] | add == 64'
	ctl 0 stats --json
	json '.evicted_chunks > 0'
	exec 8<&-
	ctl 0 pin a.img 16M 64K
	ctl 0 unpin a.img 0 8M
	ctl 0 pins a.img
	says "a.img: 64 KiB from byte 16777216 on"
	ctl 0 unpin a.img
	ctl 0 pins a.img
	says "Nothing is pinned."
	ctl 1 unpin a.img
	complains "no pin of a.img"
	ctl 1 pin a.img
	complains "half of the store"
	ctl 0 pins
	says "Nothing is pinned."
	ctl 2 pin a.img 0
	complains "OFFSET and LENGTH"
	ctl 2 pin a.img 32M 1
	complains "below 33554432"
	ctl 0 stop
	mnt=$here
	ctl 0 pin a.img 1M 64K
	ctl 0 pin b.img
	ctl 0 pins
	says "a.img: 64 KiB from byte 1048576 on" "b.img: all of it, 32 MiB"
}

set_changes_what_is_fetched() {
	local before
	ctl 0 set prefetch=off
	ctl 0 set proposer.markov=off
	ctl 0 set trust=shared
	ctl 0 status --json
	json '.prefetch.level == "off"' '.prefetch.trust == "shared"' \
		'.prefetch.proposers.markov | not' '.prefetch.proposers.replay'
	ctl 0 status
	says "prefetch  off, trust shared; markov off"
	ctl 0 drop a.img
	before=$(counter_of "$mnt" prefetch_fetches)
	guest "$mnt/a.img"
	check "prefetches" "$(counter_of "$mnt" prefetch_fetches)" = "$before"
	ctl 1 warm a.img --wait
	complains "pfsctl set prefetch=balanced"
	ctl 2 set prefetch=bold
	complains "off, conservative, balanced or aggressive"
	ctl 2 set proposer.luck=on
	ctl 2 set trust=all
	complains "private or shared"
	ctl 0 set prefetch=balanced
	ctl 0 set proposer.markov=on
	ctl 0 set trust=private
}

what_was_learnt_outlives_the_mount() {
	stop_pfs "$mnt"
	start_pfs "$slow" "$mnt" "$room"
	ctl 0 recording list a.img --json
	json 'length >= 1' '.[0].chunks >= 192'
	ctl 0 pins --json
	json 'length == 2'
	ctl 0 drop a.img
	guest "$mnt/a.img"
	await 10 asks '.reads == 192' stats a.img
	ctl 0 stats a.img --json
	json '.reads_hit + .reads_late > 130'
}

recordings_travel() {
	local here=$mnt there="$work/mnt two"
	ctl 0 recording export a.img "$number" -o "$work/rec"
	says "bytes"
	check "file" "$(stat -c %s "$work/rec")" -gt 200
	ctl 2 recording export a.img "$number"
	complains "-o FILE"
	ctl 1 recording export a.img 99 -o "$work/none"
	complains "no recording 99"
	[ ! -e "$work/none" ] || fail "an empty file is left"

	start_pfs "$slow" "$there"
	mnt=$there
	ctl 0 recording import a.img "$work/rec"
	says "It is recording 1 of a.img"
	ctl 0 recording list a.img --json
	json 'length == 1' '.[0].chunks >= 192' '.[0].vms == 0'
	# What others taught has to be confirmed by 64 reads first.
	guest "$mnt/a.img"
	await 10 asks '.reads == 192' stats a.img
	ctl 0 stats a.img --json
	json '.reads_hit + .reads_late > 100'
	ctl 0 warm a.img --recording --wait

	head -c 3000 /dev/urandom >"$work/bad"
	ctl 1 recording import a.img "$work/bad"
	complains "damaged"
	cp "$work/rec" "$work/bad"
	printf '\xa5' | dd of="$work/bad" bs=1 seek=150 conv=notrunc status=none
	ctl 1 recording import a.img "$work/bad"
	complains "damaged"
	head -c 100 "$work/rec" >"$work/bad"
	ctl 1 recording import a.img "$work/bad"
	complains "damaged"
	: >"$work/bad"
	ctl 1 recording import a.img "$work/bad"
	complains "damaged"
	head -c 2M /dev/zero >"$work/bad"
	ctl 1 recording import a.img "$work/bad"
	complains "over 1 MiB"
	ctl 1 recording import nope.img "$work/rec"
	complains "there is no image"
	for _ in 2 3 4 5 6 7 8; do
		ctl 0 recording import b.img "$work/rec"
	done
	ctl 0 recording import b.img "$work/rec"
	ctl 1 recording import b.img "$work/rec"
	complains "drop one first"
	ctl 0 recording drop b.img 3
	ctl 1 recording drop b.img 3
	complains "no recording 3"
	await 10 has_recordings b.img 7
	ctl 0 recording drop b.img --all
	await 10 has_recordings b.img 0
	ctl 2 recording drop b.img
	ctl 2 recording lsit b.img
	complains "did you mean 'list'"
	ctl 2 recording list b.img --all
	complains "takes no --all"
	ctl 0 stop

	start_pfs "$slow" "$there" chunk=128K
	ctl 1 recording import a.img "$work/rec"
	complains "chunks of 64 KiB, this mount has 128 KiB"
	ctl 0 stop
	mnt=$here
}

start_slowfs
start_pfs "$slow" "$mnt" "$room"
exec 8<"$mnt/a.img" 9<"$mnt/b.img" # known from now on
exec 8<&- 9<&-
run a_first_session_is_recorded
run the_second_time_it_is_there
run stats_tell_who_and_how
run why_explains
run trace_records_and_simulate_reads_it
run four_traces_at_once
run warm_brings_it
run pins_are_kept
run set_changes_what_is_fetched
run what_was_learnt_outlives_the_mount
run recordings_travel
stop_pfs "$mnt"
stop_slowfs
finish
