#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The daemon is replaced under fio, which verifies every block it wrote.
set -u
. "$(dirname "$0")/lib.sh"

command -v fio >/dev/null || skip "fio is not installed"
src=$work/src mnt=$work/mnt
mkdir "$src"

# verified MODE: one pass over the image, each block written and read back
verified() {
	fio --name=upgrade --filename="$mnt/image" --size=24M --direct=1 \
		--ioengine=libaio --iodepth=8 --bs=4k-64k --bs_unaligned=0 \
		--rw="$1" --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
		--randseed=$RANDOM --verify_state_save=0 --output="$work/fio.out" \
		>>"$work/fio.err" 2>&1
}

# Passes until told to stop; their number is left in a file.
keep_verifying() {
	local n=0
	until [ -e "$work/enough" ]; do
		verified randwrite || break
		n=$((n + 1))
		echo $n >"$work/passes"
	done
	[ -e "$work/enough" ] || : >"$work/failed"
}

# Every fifth time the supervisor too; every tenth a binary that is none.
one_upgrade() {
	local before after
	before=$(status_of "$mnt" worker_pid)
	if (($1 % 10 == 7)); then
		refused . "$pfsctl" -m "$mnt" upgrade /bin/false
		return
	fi
	if (($1 % 5 == 0)); then
		succeeds "$pfsctl" -m "$mnt" upgrade --supervisor
	else
		succeeds "$pfsctl" -m "$mnt" upgrade
	fi
	after=$(status_of "$mnt" worker_pid)
	echo "$after" >>"$work/pids"
	check "worker after upgrade $1" "$before" != "$after"
}

upgrades_lose_nothing() {
	local i n load_pid
	n=$(figure 10 112)
	start_pfs "$src" "$mnt"
	truncate -s 24M "$mnt/image"
	keep_verifying &
	load_pid=$!
	await 20 test -s "$mnt/image"
	for ((i = 1; i <= n; i++)); do
		one_upgrade "$i"
		[ ! -e "$work/failed" ] || break
		sleep "0.$((RANDOM % 3))"
	done
	: >"$work/enough"
	wait $load_pid
	[ ! -e "$work/failed" ] ||
		fail "fio: $(cat "$work/fio.err" "$work/fio.out" | head -n 20)"
	check "passes of fio" "$(cat "$work/passes" 2>/dev/null || echo 0)" -ge 1
	check "workers that died" "$(counter_of "$mnt" worker_deaths)" = 0
	echo "upgrades=$((n - (n + 3) / 10)) passes=$(cat "$work/passes")" \
		"deaths=$(counter_of "$mnt" worker_deaths)"
}

# One block gone wrong behind the mount's back: fio is no decoration.
one_wrong_block_is_seen() {
	stop_pfs "$mnt"
	dd if=/dev/urandom of="$src/image" bs=4k seek=700 count=1 \
		conv=notrunc 2>/dev/null
	start_pfs "$src" "$mnt"
	! verified read || fail "a wrong block was verified"
	stop_pfs "$mnt"
}

run upgrades_lose_nothing
run one_wrong_block_is_seen
finish
