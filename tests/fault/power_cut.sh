#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The host loses its power: source, store and catalog lie on one XFS, which is
# shut down under load without writing its log.  After the replay no byte is
# older than the last fsync, and none that was read reverts.
set -u
. "$(dirname "$0")/lib.sh"

has_root || skip "root is needed to mount a loop device"
for tool in mkfs.xfs losetup python3; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done
disk=$work/disk fs=$work/fs mnt=$work/mnt
mkdir "$fs"
truncate -s 512M "$disk"
mkfs.xfs -q "$disk" || skip "mkfs.xfs does not work here"
mounts+=("$fs")

power_on() {
	mount -o loop "$disk" "$fs"
}

power_on 2>"$work/err" || skip "no XFS on a loop device: $(cat "$work/err")"
mkdir -p "$fs/src"
options=store=$fs/store,store_size=64M,catalog=$fs/db/catalog.db
shape="--images 3 --size 16M --threads 8"
mix=read=50,write=35,trunc=2,punch=3,rename=1,fsync=6,fallocate=1,copy=1

# cut STATE: load until the power goes
cut() {
	local load_pid
	# shellcheck disable=SC2086 # several arguments
	timeout -k 10 100 "$pfsx" $shape --seed $RANDOM --mix $mix \
		--state "$1" --until-error "$mnt" \
		>"$work/cut.out" 2>"$work/cut.err" &
	load_pid=$!
	await 30 test -e "$fs/src/img2.a" -o -e "$fs/src/img2.b"
	sleep "$((RANDOM % 2)).$((RANDOM % 9 + 1))"
	shut_down "$fs"
	wait $load_pid || fail "before the cut: $(head -n 8 "$work/cut.err")"
	grep -q ' cut ' "$work/cut.out" || fail "no error came of the cut"
	cuts=$((cuts + 1))
	ops=$((ops + $(sed -n 's/.* ops=\([0-9]*\).*/\1/p' "$work/cut.out")))
	stop_pfs "$mnt"
	await 10 detach_quietly "$fs"
	power_on || fail "the file system does not come back"
}

# verify STATE FINDS_OR_WELL
verify() {
	start_pfs "$fs/src" "$mnt" "$options"
	# shellcheck disable=SC2086
	"$2" $shape --state "$1" --verify-only --check power-cut \
		--drop-cmd "'$pfsctl' -m '$mnt' drop --all" "$mnt"
}

what_was_fsynced_stays() {
	local i n cuts=0 ops=0
	n=$(figure 3 50)
	start_pfs "$fs/src" "$mnt" "$options"
	for ((i = 0; i < n; i++)); do
		cut "$work/state"
		verify "$work/state" loads_well
		[ $failures = 0 ] || break
		# One history: what is in the store now is what was read.
		# shellcheck disable=SC2086
		loads_well $shape --state "$work/state" --verify-only "$mnt"
	done
	echo "cuts=$cuts ops=$ops wrong_bytes=$(value wrong_bytes)"
	stop_pfs "$mnt"
}

# Planted: fsync says yes and does nothing.
a_lost_fsync_is_found() {
	local i cuts=0 ops=0 before=$failures
	for ((i = 0; i < 5; i++)); do
		rm -f "$work/lost"
		rm -rf "$fs/src"
		mkdir "$fs/src"
		PFS_FAULTS=source.fsync:lost \
			start_pfs "$fs/src" "$mnt" "$options"
		cut "$work/lost"
		[ "$failures" = "$before" ] || return
		verify "$work/lost" load || break
		stop_pfs "$mnt"
	done
	check "differences after a lost fsync" \
		"$(grep -c DIFFERENCE "$work/load.err")" -gt 0
	stop_pfs "$mnt"
}

run what_was_fsynced_stays
run a_lost_fsync_is_found
finish
