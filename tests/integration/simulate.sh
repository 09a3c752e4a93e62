#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# pfsctl simulate: its options, its two forms of output, the formats of traces,
# and every sentence it says when something is wrong.  Needs no mount.
set -u
export LC_ALL=C
: "${PFS_BIN:?the folder of the built programs}"
pfsctl=$PFS_BIN/pfsctl
[ -x "$pfsctl" ] || { echo "no $pfsctl"; exit 1; }
traces=$(cd "$(dirname "$0")/../traces" && pwd)
command -v jq >/dev/null || { echo "skip: jq is missing"; exit 77; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
	echo "  FAILED: $*"
	failures=$((failures + 1))
}

# simulates ARGUMENT...: succeeds; its output is in $out
simulates() {
	out=$("$pfsctl" simulate "$@" 2>"$work/err") ||
		fail "simulate $*: $(cat "$work/err")"
}

# holds FILTER...: each is true of $out
holds() {
	local filter
	for filter; do
		jq -e "$filter" >/dev/null 2>&1 <<<"$out" ||
			fail "not so: $filter in: $out"
	done
}

# refused STATUS WORD ARGUMENT...: fails, and its sentence has the word
refused() {
	local want=$1 word=$2 got said
	shift 2
	said=$("$pfsctl" simulate "$@" 2>&1 >/dev/null)
	got=$?
	[ $got = "$want" ] || fail "simulate $*: exit status $got, want $want"
	grep -qF -- "$word" <<<"$said" ||
		fail "simulate $*: does not say '$word': $said"
}

gcc_2=(--test "$traces/work_gcc_2.csv.gz" --closed-loop)
trained=(--train "$traces/boot_debian_1.csv.gz"
	--train "$traces/work_gcc_1.csv.gz" "${gcc_2[@]}")

json_has_every_key_and_the_known_figures() {
	simulates "${trained[@]}" --predictor none --store-percent 50 --json
	holds 'length == 1' '(.[0] | keys_unsorted) == ["predictor",
		"chunk_reads", "coverage", "late", "precision", "prefetched",
		"used", "traffic_ratio", "mean_latency_us", "p99_latency_us",
		"cpu_us_per_read", "train_cpu_s"]' \
		'.[0].predictor == "none"' '.[0].chunk_reads == 1908' \
		'.[0].coverage - 0.4397 | fabs < 0.0003' \
		'.[0].traffic_ratio - 1.203 | fabs < 0.001' \
		'.[0].mean_latency_us - 2948 | fabs < 1' \
		'.[0].prefetched == 0' '.[0].train_cpu_s == 0'
}

each_predictor_has_a_row_in_the_order_asked() {
	simulates "${trained[@]}" --json --predictor auto --predictor markov \
		--predictor none --predictor replay --predictor sequential
	holds '[.[].predictor] ==
		["auto", "markov", "none", "replay", "sequential"]' \
		'all(.[]; .chunk_reads == 1908)' \
		'all(.[]; .used <= .prefetched)' \
		'all(.[]; .coverage >= 0 and .coverage <= 1)'
	simulates "${gcc_2[@]}" --json
	holds '[.[].predictor] == ["none", "auto"]'
}

the_same_seed_gives_the_same_figures() {
	local first
	simulates "${trained[@]}" --json --predictor auto --seed 7
	first=$(jq -c '.[0] | del(.cpu_us_per_read, .train_cpu_s)' <<<"$out")
	simulates "${trained[@]}" --json --predictor auto --seed 7
	[ "$(jq -c '.[0] | del(.cpu_us_per_read, .train_cpu_s)' <<<"$out")" = \
		"$first" ] || fail "other figures: $first and $out"
}

text_is_a_table() {
	simulates "${gcc_2[@]}" --predictor none
	grep -q '^1908 chunk reads$' <<<"$out" || fail "no count: $out"
	grep -q '^none .* 2921\|^none  *[0-9.]* %' <<<"$out" ||
		fail "no row: $out"
	[ "$(expand <<<"$out" | wc -L)" -le 80 ] || fail "too wide: $out"
}

options_change_what_they_name() {
	simulates "${gcc_2[@]}" --json --predictor none \
		--source-latency-us 1000 --store-latency-us 10
	holds '.[0].p99_latency_us == 1010'
	simulates "${gcc_2[@]}" --json --predictor none --chunk 128K
	holds '.[0].chunk_reads < 1908'
	simulates "${gcc_2[@]}" --json --predictor none --store-bytes 1M
	holds '.[0].coverage < 0.43'
	simulates "${trained[@]}" --json --predictor none --keep-store \
		--store-percent 200
	holds '.[0].coverage > 0.9'
	simulates "${gcc_2[@]}" --json --predictor none --store-policy daemon
	holds '.[0].coverage > 0.42'
	simulates "${trained[@]}" --json --predictor auto --without replay \
		--without markov --source-mbps 100
	holds '.[0].predictor == "auto"'
}

traces_may_be_plain_or_compressed_or_of_blkparse() {
	printf '0,R,0,4096\n10,W,65536,65536\n20000,R,65536,512\n' \
		>"$work/plain.csv"
	gzip -c "$work/plain.csv" >"$work/packed.csv.gz"
	cat >"$work/events.txt" <<-'EVENTS'
		8,0 0 1 0.000000000 9 Q R 0 + 8 [x]
		8,0 0 2 0.000010000 9 Q W 128 + 128 [x]
		8,0 0 3 0.020000000 9 Q R 128 + 1 [x]
		CPU0 (8,0):
	EVENTS
	for trace in plain.csv packed.csv.gz events.txt; do
		simulates --test "$work/$trace" --predictor none --json
		holds '.[0].chunk_reads == 2' '.[0].coverage == 0.5' \
			'.[0].mean_latency_us == 2600'
	done
}

bad_traces_are_told_with_file_and_line() {
	refused 1 "No such file" --test "$work/nothing.csv"
	printf 'time_us,op,offset,length\n0,R,0,512\n1,Q,0,512\n' \
		>"$work/bad.csv"
	refused 1 "bad.csv, line 3: op is neither R nor W" \
		--test "$work/bad.csv"
	refused 1 "bad.csv, line 3" --train "$work/bad.csv" "${gcc_2[@]}"
	printf 'time_us,op,offset,length\n' >"$work/empty.csv"
	refused 1 "no reads or writes" --test "$work/empty.csv"
	head -c 3000 "$traces/work_gcc_2.csv.gz" >"$work/cut.csv.gz"
	refused 1 "ends early" --test "$work/cut.csv.gz"
	refused 1 "$work:" --test "$work"
}

wrong_options_are_told_with_what_is_allowed() {
	refused 2 "needs --test" --json
	refused 2 "twice" "${gcc_2[@]}" --test x
	refused 2 "none, sequential, replay, markov, auto" "${gcc_2[@]}" \
		--predictor best
	refused 2 "without the lstm" "${gcc_2[@]}" --predictor lstm
	refused 2 "sequential, replay, markov" "${gcc_2[@]}" --without auto
	refused 2 "not asked for" "${gcc_2[@]}" --predictor none \
		--without replay
	refused 2 "leaves nothing" "${gcc_2[@]}" --predictor auto \
		--without replay --without markov --without sequential
	refused 2 "power of two" "${gcc_2[@]}" --chunk 60000
	refused 2 "power of two" "${gcc_2[@]}" --chunk 8K
	refused 2 "--store-percent 0" "${gcc_2[@]}" --store-percent 0
	refused 2 "--store-percent nan" "${gcc_2[@]}" --store-percent nan
	refused 2 "at least one chunk" "${gcc_2[@]}" --store-bytes 12X
	refused 2 "one of them" "${gcc_2[@]}" --store-bytes 1M \
		--store-percent 5
	refused 2 "lru or daemon" "${gcc_2[@]}" --store-policy fifo
	refused 2 "microseconds" "${gcc_2[@]}" --source-latency-us -1
	refused 2 "microseconds" "${gcc_2[@]}" --store-latency-us 5ms
	refused 2 "10^6 bytes/s" "${gcc_2[@]}" --source-mbps 0
	refused 2 "whole number" "${gcc_2[@]}" --seed x
	refused 2 "usage" "${gcc_2[@]}" more
	if "$pfsctl" list --closed-loop 2>"$work/err"; then
		fail "list takes --closed-loop"
	fi
	grep -q "list takes no --closed-loop" "$work/err" ||
		fail "list --closed-loop: $(cat "$work/err")"
}

for case in json_has_every_key_and_the_known_figures \
	each_predictor_has_a_row_in_the_order_asked \
	the_same_seed_gives_the_same_figures text_is_a_table \
	options_change_what_they_name \
	traces_may_be_plain_or_compressed_or_of_blkparse \
	bad_traces_are_told_with_file_and_line \
	wrong_options_are_told_with_what_is_allowed; do
	before=$failures
	$case
	[ $failures = $before ] && echo "ok $case" || echo "FAILED $case"
done
echo "$failures failed checks"
[ $failures = 0 ]
