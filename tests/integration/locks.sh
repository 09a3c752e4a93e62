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

# The kernel sends RELEASE in the background, so behind slow reads.  By then a
# new file may lie where the closed one did, and go by its name.
a_late_release_takes_no_new_lock() {
	local load
	command -v fio >/dev/null || {
		echo "  no fio"
		return
	}
	dd if=/dev/urandom of="$src/slow" bs=1M count=16 status=none
	PFS_FAULTS=source.read:stall=60 start_pfs "$src" "$mnt" \
		store=none,max_background=1 || return
	fio --name=slow --filename="$mnt/slow" --direct=1 --bs=4k \
		--ioengine=libaio --iodepth=2 --rw=randread --time_based \
		--runtime=60 --output=/dev/null &
	load=$!
	sleep 1
	python3 - "$mnt/late" <<-'EOF' || fail "a lock was lost"
	import fcntl, os, struct, sys, time
	def lock(fd):
	    try:
	        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
	        return True
	    except OSError:
	        return False
	def opened():
	    return os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
	other, lost = opened(), 0
	for turn in range(20):
	    a = opened()
	    assert lock(a)
	    os.close(a)
	    a = opened()
	    assert lock(a)
	    time.sleep(0.2)
	    lost += lock(other)
	    os.close(a)
	    os.close(other)
	    time.sleep(0.2)
	    other = opened()
	sys.exit(f"{lost} of 20" if lost else 0)
	EOF
	kill $load
	wait $load 2>/dev/null
	stop_pfs "$mnt"
}

start_pfs "$src" "$mnt" || exit 1
if ! python3 "$here/locks.py" "$mnt" "$src" \
	"$pfsctl -m $mnt status --json | sed -n 's/.*\"worker_pid\": *\([0-9]*\).*/\1/p'"; then
	fail "locks.py"
fi
run a_second_qemu_is_refused
run a_lock_brings_the_others_bytes
stop_pfs "$mnt"
run a_late_release_takes_no_new_lock
finish
