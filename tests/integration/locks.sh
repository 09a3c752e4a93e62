#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# fcntl locks through a mount; the cases are in locks.py.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src"

# qemu IMAGE: a guest that never runs; SIGTERM ends it
qemu() {
	exec qemu-system-x86_64 -accel tcg -m 32 -nodefaults -display none -S \
		-drive "if=virtio,format=raw,file=$1"
}

a_second_qemu_is_refused() {
	local first status
	command -v qemu-system-x86_64 >/dev/null || {
		echo "  no qemu-system-x86_64"
		return
	}
	truncate -s 1M "$src/image"
	(qemu "$mnt/image") &
	first=$!
	sleep 2
	check "the first" "$(kill -0 $first && echo runs)" = runs
	refused "lock" timeout 10 bash -c "$(declare -f qemu); qemu $mnt/image"
	kill -9 $first
	wait $first 2>/dev/null
	timeout 2 bash -c "$(declare -f qemu); qemu $mnt/image"
	status=$?
	check "another one after its death" $status = 124
}

# What the other host wrote before it let go is what we read after.
a_lock_brings_the_others_bytes() {
	python3 - "$mnt/shared" "$src/shared" <<-'EOF' || fail "stale bytes"
	import fcntl, os, struct, sys
	ours, theirs = sys.argv[1:]
	lock = lambda kind: struct.pack("hhqqi4x", kind, 0, 0, 0, 0)
	open(theirs, "wb").write(b"a" * 300000)
	fd = os.open(ours, os.O_RDWR)
	for turn in range(5):
	    fcntl.fcntl(fd, 38, lock(fcntl.F_WRLCK))
	    os.pread(fd, 300000, 0)
	    fcntl.fcntl(fd, 37, lock(fcntl.F_UNLCK))
	    what = b"%c" % (98 + turn)
	    with open(theirs, "r+b") as f:
	        f.write(what * 400000)
	    fcntl.fcntl(fd, 38, lock(fcntl.F_WRLCK))
	    assert os.pread(fd, 400000, 0) == what * 400000, turn
	    assert os.fstat(fd).st_size == 400000
	    fcntl.fcntl(fd, 37, lock(fcntl.F_UNLCK))
	EOF
}

start_pfs "$src" "$mnt" || exit 1
if ! python3 "$here/locks.py" "$mnt" "$src" \
	"$pfsctl -m $mnt status --json | sed -n 's/.*\"worker_pid\": *\([0-9]*\).*/\1/p'"; then
	fail "locks.py"
fi
run a_second_qemu_is_refused
run a_lock_brings_the_others_bytes
stop_pfs "$mnt"
finish
