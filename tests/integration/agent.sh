#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# pfs-agent against this machine's kernel and a listener at a Unix socket: what
# it says, what it sends, and that it goes on when something is missing.
set -u
export LC_ALL=C
: "${PFS_BIN:?the folder of the built programs}"
here=$(cd "$(dirname "$0")" && pwd)
agent=$PFS_BIN/pfs-agent
python=$(command -v /usr/bin/python3) || {
	echo "skip: no python3"
	exit 77
}
work=$(mktemp -d) || exit 1
pids=()
failures=0

at_exit() {
	local pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap at_exit EXIT

fail() {
	echo "  FAILED: $*"
	failures=$((failures + 1))
}

run() {
	echo "- ${1//_/ }"
	"$1"
}

# json EXPRESSION: of the object d on stdin.
json() {
	"$python" -c "import json,sys; d=json.load(sys.stdin); print($1)"
}

# listen COUNT: frames go to $work/frames, one JSON object a line.
listen() {
	rm -f "$work/socket"
	"$python" "$here/agent.py" "$work/socket" "$1" 30 >"$work/frames" &
	listener=$!
	pids+=("$listener")
	until [ -S "$work/socket" ]; do
		kill -0 "$listener" 2>/dev/null || return 1
		sleep 0.02
	done
}

# start OPTION...
start() {
	"$agent" --unix "$work/socket" --interval 100 "$@" 2>"$work/said" &
	started=$!
	pids+=("$started")
}

# stop: the agent, which has to end well.
stop() {
	kill "$started"
	wait "$started" || fail "it ended with $?: $(cat "$work/said")"
}

# said WORDS: waits until the agent has.
said() {
	until grep -q "$1" "$work/said"; do
		kill -0 "$started" 2>/dev/null || {
			fail "it ended: $(head -c 2000 "$work/said")"
			return
		}
		sleep 0.05
	done
}

# frames EXPRESSION: of the list f of all frames.
frames() {
	"$python" -c "import json
f=[json.loads(l) for l in open('$work/frames')]
print($1)"
}

it_says_what_the_kernel_offers() {
	"$agent" --probe >"$work/words" || fail "--probe fails"
	[ "$(grep -cE '^[a-z_]+ +(yes|no )' "$work/words")" = 8 ] ||
		fail "--probe does not name eight signals: $(cat "$work/words")"
	[ "$("$agent" --probe --json | json 'len(d["signals"])')" = 8 ] ||
		fail "--probe --json"
	grep -q '^vmstat *yes' "$work/words" || fail "no vmstat"
}

one_vector_is_printed() {
	local out
	out=$("$agent" --once --interval 200) || fail "--once fails"
	grep -q '^working_set ' <<<"$out" || fail "--once: $out"
	out=$("$agent" --once --json --interval 200 | json \
		'len(d["features"]), 200 <= d["interval_ms"] < 20000, d["sequence"]')
	[ "$out" = "32 True 1" ] || fail "--once --json: $out"
}

frames_arrive_in_order() {
	listen 5
	start
	wait "$listener" || fail "no frames"
	stop
	[ "$(frames '[x["seq"] for x in f][0] >= 1 and
		all(b["seq"] == a["seq"] + 1 for a, b in zip(f, f[1:])) and
		len({x["nonce"] for x in f})')" = 1 ] || fail "$(cat "$work/frames")"
}

a_host_that_comes_later_is_found() {
	rm -f "$work/socket"
	start
	said 'trying again'
	listen 2
	wait "$listener" || fail "no frames"
	stop
	[ "$(grep -c 'trying again' "$work/said")" -le 3 ] ||
		fail "it repeats itself: $(cat "$work/said")"
}

a_host_that_goes_away_is_found_again() {
	listen 1
	start
	wait "$listener" || fail "no frame"
	listen 1
	wait "$listener" || fail "no frame from the second connection"
	stop
}

# A host that accepts and never reads.
a_host_that_hangs_is_not_waited_for() {
	rm -f "$work/socket"
	"$python" -c "import socket,time
s=socket.socket(socket.AF_UNIX); s.bind('$work/socket'); s.listen()
c=s.accept(); time.sleep(60)" &
	pids+=("$!")
	until [ -S "$work/socket" ]; do sleep 0.02; done
	start
	said connected
	sleep 1
	stop
}

without_rights_it_goes_on() {
	command -v setpriv >/dev/null || return 0
	[ "$(id -u)" = 0 ] || return 0
	chmod 711 "$work"
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		--bounding-set=-all "$agent" --once --json --interval 100 \
		>"$work/out" 2>&1 || fail "it gives up: $(cat "$work/out")"
	[ "$(json '"vmstat" in d["signals"] and "opens" not in d["signals"]' \
		<"$work/out")" = True ] || fail "$(cat "$work/out")"
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		--bounding-set=-all "$agent" --probe >"$work/out"
	grep -qE '^opens +no +fanotify_[a-z]+: Operation not permitted' \
		"$work/out" || fail "$(cat "$work/out")"
}

unwanted_signals_are_left_out() {
	local out
	out=$("$agent" --once --json --interval 100 \
		--without faults,damon,opens,pressure,page_cache,block)
	[ "$(json 'd["signals"]' <<<"$out")" = "['vmstat', 'diskstats']" ] ||
		fail "$out"
}

wrong_options_are_refused() {
	local bad
	for bad in '--interval 99' '--interval 1s' '--budget 0' '--budget 1,5' \
		'--budget 101' '--vsock 2' '--vsock 2:x' '--without fault' \
		'--unix' '--frobnicate' 'word' '--config /nonexistent'; do
		# shellcheck disable=SC2086 # words are meant
		timeout 10 "$agent" --probe $bad >"$work/out" 2>&1
		[ $? = 2 ] || fail "'$bad' was not refused: $(cat "$work/out")"
	done
}

a_file_says_what_the_command_line_may() {
	printf '# all of it\ninterval = 150\n\n without=damon # no\n' \
		>"$work/conf"
	[ "$("$agent" --config "$work/conf" --once --json | json \
		'"damon" not in d["signals"] and d["interval_ms"] >= 150')" = \
		True ] || fail "--config"
	echo 'interval 150' >"$work/conf"
	"$agent" --config "$work/conf" --probe 2>"$work/said" >"$work/out"
	[ $? = 2 ] || fail "a line without '=' was taken"
}

# A file that is not in the page cache is told before it is read, by the place
# that FIEMAP gives it.
a_file_just_opened_is_told() {
	local file place part
	[ "$("$agent" --probe --json | json \
		'd["signals"]["opens"]["available"] and bool(d["disks"])')" = \
		True ] || { echo "  left out: no fanotify or no disk"; return; }
	file=$(mktemp /var/tmp/pfs-agent.XXXXXX) || return
	head -c 1048576 /dev/urandom >"$file"
	sync "$file"
	"$python" -c "import os
fd = os.open('$file', os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)"
	place=$(filefrag -b512 -v "$file" 2>/dev/null |
		awk '$1 == "0:" { sub(/\.\..*/, "", $4); printf "%.0f\n", $4 * 512 }')
	part=$(stat -c '/sys/dev/block/%Hd:%Ld/start' "$file")
	[ -z "$place" ] || [ ! -r "$part" ] ||
		place=$((place + 512 * $(cat "$part")))
	sleep 1.1 # what was just written may also just have been read
	listen 30
	start --budget 100
	said connected
	exec 9<"$file"
	wait "$listener" || fail "no frames"
	exec 9<&-
	stop
	rm -f "$file"
	[ -n "$place" ] || { echo "  left out: no FIEMAP here"; return; }
	[ "$(frames "any(e['kind'] == 'open' and e['off'] <= $place and
		$place < e['off'] + e['len'] for x in f
		for e in x['extents'])")" = True ] ||
		fail "$place was not told"
}

run it_says_what_the_kernel_offers
run one_vector_is_printed
run frames_arrive_in_order
run a_host_that_comes_later_is_found
run a_host_that_goes_away_is_found_again
run a_host_that_hangs_is_not_waited_for
run without_rights_it_goes_on
run unwanted_signals_are_left_out
run wrong_options_are_refused
run a_file_says_what_the_command_line_may
run a_file_just_opened_is_told
[ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }
echo passed
