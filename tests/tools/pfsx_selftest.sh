#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Does pfsx find what it is there to find, and nothing else?
# usage: pfsx_selftest.sh PATH-OF-PFSX
set -u
pfsx=$1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export TMPDIR="$tmp" # failing runs keep their state
failed=0
. "$(dirname "$0")/reports.sh"
reports_to "$tmp/reports"

say_failed() {
	echo "FAILED: $1"
	sed 's/^/    /' "$tmp/out"
	failed=1
}

# expect STATUS TEXT NAME ARGS...: the exit status, and a text in the output
expect() {
	want=$1 text=$2 name=$3
	shift 3
	timeout 60 "$pfsx" "$@" >"$tmp/out" 2>&1
	got=$?
	if [ $got -ne "$want" ] || ! grep -q -e "$text" "$tmp/out"; then
		say_failed "$name: status $got, expected $want with \"$text\""
	fi
}

fresh_dir() {
	rm -rf "$tmp/dir" "$tmp/state"
	mkdir "$tmp/dir"
}

small="--images 2 --size 1M --threads 4 --seed 1"
kept="$small --state $tmp/state"
dir=$tmp/dir
no_fsync=read=60,write=30,trunc=2,punch=3,rename=1,fallocate=1,copy=1

a_sound_directory_passes() {
	fresh_dir
	expect 0 PASS "clean run" $small --ops 5000 "$dir"
	expect 0 '"differences": 0,' "JSON" $small --ops 500 --json "$dir"
	expect 0 PASS "blocks of 4096" $small --ops 1000 --block 4096 "$dir"
	expect 0 PASS "namespace" $small --ops 4000 --namespace-ops "$dir"
	[ -z "$(ls "$dir")" ] || say_failed "files are left behind"
}

every_planted_fault_is_found() {
	for fault in stale-read lost-write torn revert misplaced stale-size; do
		fresh_dir
		expect 1 DIFFERENCE "$fault" $small --ops 20000 \
			--plant $fault "$dir"
	done
	fresh_dir
	expect 1 "done twice" twice $small --ops 2000 --namespace-ops \
		--plant twice "$dir"
}

a_seed_names_the_sequence() {
	"$pfsx" --dump-ops $small --ops 2000 >"$tmp/one"
	"$pfsx" --dump-ops $small --ops 2000 >"$tmp/two"
	"$pfsx" --dump-ops --threads 4 --ops 2000 --seed 2 >"$tmp/three"
	cmp -s "$tmp/one" "$tmp/two" || say_failed "same seed, other operations"
	cmp -s "$tmp/one" "$tmp/three" && say_failed "other seed, same operations"
}

a_kill_of_pfsx_loses_nothing() {
	fresh_dir
	"$pfsx" $kept --seconds 30 "$dir" >/dev/null 2>&1 &
	pid=$!
	until ls "$dir"/pfsx.ns.* >/dev/null 2>&1; do
		sleep 0.01 # until the images are filled and the load begins
	done
	sleep 0.2
	kill -9 $pid
	wait $pid 2>/dev/null
	expect 0 PASS "verify after kill" $kept --verify-only "$dir"
	expect 0 PASS "go on after kill" $kept --ops 1000 "$dir"
	printf x | dd of="$(ls "$dir"/img0.*)" bs=1 seek=100000 conv=notrunc \
		2>/dev/null
	expect 1 "offset 99840 length 512: .*torn" "one wrong byte" $kept \
		--verify-only "$dir"
}

# The images are put back to what they were, as a power cut may do.
a_power_cut_keeps_what_was_fsynced() {
	fresh_dir
	expect 0 PASS "at first" $kept --ops 1000 --mix $no_fsync "$dir"
	cp -a "$dir" "$tmp/older"
	expect 0 PASS "before fsync" $kept --ops 1000 --mix $no_fsync "$dir"
	expect 0 PASS "fsync" $kept --ops 60 --threads 1 --mix fsync=1 "$dir"
	cp -a "$dir" "$tmp/newer"
	expect 0 PASS "after fsync" $kept --ops 1000 --mix $no_fsync "$dir"
	cp "$tmp/state" "$tmp/saved"

	rm -rf "$dir"
	mv "$tmp/older" "$dir"
	expect 1 DIFFERENCE "older than fsync" $kept --verify-only \
		--check power-cut "$dir"
	rm -rf "$dir"
	mv "$tmp/newer" "$dir"
	cp "$tmp/saved" "$tmp/state"
	expect 1 DIFFERENCE "acknowledged" $kept --verify-only "$dir"
	cp "$tmp/saved" "$tmp/state"
	expect 0 PASS "cut" $kept --verify-only --check power-cut "$dir"
	expect 0 PASS "one history" $kept --verify-only "$dir"
	expect 0 PASS "go on" $kept --ops 500 "$dir"
}

# A fault command that says what pfsx waits for, over calls that do not pause.
interleavings_are_judged() {
	cat >"$tmp/fault" <<-END
		#!/bin/sh
		[ "\$1" = status ] && echo 1 paused
		exit 0
	END
	chmod +x "$tmp/fault"
	fresh_dir
	expect 0 "interleavings=16 unreached=0" interleave $small --interleave \
		--points a,b --rounds 2 --fault-cmd "$tmp/fault" "$dir"
	expect 1 "read old bytes" "stale reader" $small --interleave \
		--points a --plant stale-read --fault-cmd "$tmp/fault" "$dir"
	expect 1 UNREACHED "a point nobody reaches" $small --interleave \
		--points a --rounds 1 --fault-cmd "echo 0; true" "$dir"
}

kills_are_driven() {
	fresh_dir
	expect 0 "kills=5 " "kills" $small --kill-cmd "echo x >>$tmp/killed" \
		--kill-every 1-5 --kills 5 "$dir"
	[ "$(wc -l <"$tmp/killed")" -eq 5 ] || say_failed "not 5 kills"
	expect 1 "keeps failing" "no kill" $small --kill-cmd false \
		--kill-every 0-1 --kills 5 "$dir"
}

bad_options_are_refused() {
	fresh_dir
	expect 2 "KIND=WEIGHT" mix --mix read "$dir"
	expect 2 "--size" size --size 1 "$dir"
	expect 2 "power of two" block --block 1536 "$dir"
	expect 2 "No such" "no folder" --ops 1 "$tmp/nowhere"
	expect 2 "state file" "no state" --verify-only --state "$tmp/no" "$dir"
}

a_sound_directory_passes
every_planted_fault_is_found
a_seed_names_the_sequence
a_kill_of_pfsx_loses_nothing
a_power_cut_keeps_what_was_fsynced
interleavings_are_judged
kills_are_driven
bad_options_are_refused
no_reports || failed=1
exit $failed
