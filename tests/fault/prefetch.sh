#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What reading ahead must not do: keep sessions alive, hold up pfsctl while the
# source is slow, let hits wait behind slow reads, lie about its waste, or make
# an upgrade longer.
set -u
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "python3 is missing"
command -v jq >/dev/null || skip "jq is missing"

src=$work/src slow=$work/slow mnt=$work/mnt
mkdir "$src"
head -c 32M /dev/urandom >"$src/a.img"
head -c 32M /dev/urandom >"$src/b.img"

ctl() {
	timeout 60 "$pfsctl" -m "$mnt" "$@" >"$work/ctl.out" 2>&1 ||
		fail "pfsctl $*: $(cat "$work/ctl.out")"
}

slowly() { # SETTING
	echo "$1" >"$slow/.slowfs"
}

begin() { # STORE_SIZE
	start_slowfs "$src" "$slow" latency_us=1000 || return
	start_pfs "$slow" "$mnt" "store=$work/store,store_size=$1"
}

end() {
	stop_pfs "$mnt"
	stop_slowfs "$slow"
}

has_recording() {
	"$pfsctl" -m "$mnt" recording list "$1" --json |
		jq -e 'length == 1' >/dev/null
}

# The first to be opened is the last to be closed.
a_session_of_many_handles_ends() {
	begin 128M || return
	python3 - "$mnt/a.img" <<-'PY' || fail "the guest failed"
		import os, sys
		fds = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(3)]
		for i in range(128):
		    os.pread(fds[i % 3], 4096, i * 7 % 128 * 65536)
		for fd in reversed(fds):
		    os.close(fd)
	PY
	await 10 has_recording a.img
	end
}

# Somebody reads, so that the predictor looks at the image all the time, while
# the last writer's close waits 3 s for the source.
pfsctl_answers_while_a_write_session_ends() {
	local worst
	begin 128M || return
	worst=$(python3 - "$mnt" "$slow" "$pfsctl" <<-'PY'
		import os, subprocess, sys, threading, time
		mnt, slow, ctl = sys.argv[1:]
		reader = os.open(mnt + "/a.img", os.O_RDONLY)
		writer = os.open(mnt + "/a.img", os.O_RDWR)
		end = time.monotonic() + 5

		def read():
		    i = 0
		    while time.monotonic() < end:
		        os.pread(reader, 65536, i % 512 * 65536)
		        i += 1

		t = threading.Thread(target=read)
		t.start()
		os.pwrite(writer, b"x" * 4096, 0)
		time.sleep(0.5)
		with open(slow + "/.slowfs", "w") as f:
		    f.write("fsync_latency_us=3000000\n")
		os.close(writer)
		worst = 0
		while time.monotonic() < end:
		    subprocess.run([ctl, "-m", mnt, "drop", "a.img"],
		                   stdout=subprocess.DEVNULL)
		    start = time.monotonic()
		    subprocess.run([ctl, "-m", mnt, "stats"], check=True,
		                   stdout=subprocess.DEVNULL)
		    worst = max(worst, time.monotonic() - start)
		t.join()
		print(int(worst * 1000))
	PY
	)
	slowly fsync_latency_us=0
	check "worst pfsctl stats (ms)" "${worst:-none}" -lt 2000
	echo "worst_stats_ms=$worst"
	end
}

# One data thread has room for 64 small reads; the other rests until then.
hits_do_not_wait_behind_slow_reads() {
	local worst
	begin 128M || return
	ctl set prefetch=off
	worst=$(python3 - "$mnt" "$slow" <<-'PY'
		import os, sys, threading, time
		mnt, slow = sys.argv[1:]
		hit = os.open(mnt + "/b.img", os.O_RDONLY)
		miss = os.open(mnt + "/a.img", os.O_RDONLY)
		for i in range(8):
		    os.pread(hit, 4096, i * 65536)
		time.sleep(0.3)
		with open(slow + "/.slowfs", "w") as f:
		    f.write("latency_us=3000000\n")
		threads = [threading.Thread(target=os.pread,
		                            args=(miss, 4096, i * 65536))
		           for i in range(100)]
		for t in threads:
		    t.start()
		time.sleep(0.5)
		worst = 0
		for i in range(40):
		    start = time.monotonic()
		    os.pread(hit, 4096, i % 8 * 65536)
		    worst = max(worst, time.monotonic() - start)
		for t in threads:
		    t.join()
		print(int(worst * 1000))
	PY
	)
	slowly latency_us=1000
	check "worst hit (ms)" "${worst:-none}" -lt 1000
	echo "worst_hit_ms=$worst"
	end
}

# Guesses that are all wrong, in a store that is too small for them: they count
# as extra once they are evicted, not only when 60 s have passed.
what_is_evicted_unread_counts_as_extra() {
	PFS_FAULTS=plant.wrong_prefetch:eio begin 16M || return
	python3 - "$mnt" <<-'PY' || fail "the guest failed"
		import os, random, sys
		for name, n in ("/a.img", 64), ("/b.img", 512):
		    fd = os.open(sys.argv[1] + name, os.O_RDONLY)
		    for i in random.Random(1).sample(range(512), n):
		        os.pread(fd, 4096, i * 65536)
	PY
	await 10 has_extra a.img
	end
}

has_extra() {
	"$pfsctl" -m "$mnt" stats "$1" --json |
		jq -e '.prefetch.extra_bytes > 0' >/dev/null
}

# Hits go on while the old worker waits for what it has ordered ahead.
an_upgrade_does_not_wait_for_prefetches() {
	local worst
	begin 128M || return
	worst=$(python3 - "$mnt" "$slow" "$pfsctl" <<-'PY'
		import os, subprocess, sys, threading, time
		mnt, slow, ctl = sys.argv[1:]
		a = os.open(mnt + "/a.img", os.O_RDONLY)
		b = os.open(mnt + "/b.img", os.O_RDONLY)
		for i in range(8):
		    os.pread(b, 4096, i * 65536)
		time.sleep(0.3)
		with open(slow + "/.slowfs", "w") as f:
		    f.write("latency_us=2000000\n")
		subprocess.run([ctl, "-m", mnt, "warm", "a.img"], check=True,
		               stdout=subprocess.DEVNULL)
		time.sleep(0.2)
		up = subprocess.Popen([ctl, "-m", mnt, "upgrade"],
		                      stdout=subprocess.DEVNULL)
		worst = i = 0
		while up.poll() is None:
		    start = time.monotonic()
		    os.pread(b, 4096, i % 8 * 65536)
		    worst = max(worst, time.monotonic() - start)
		    i += 1
		    time.sleep(0.005)
		print(int(worst * 1000) if up.returncode == 0 else "failed")
	PY
	)
	slowly latency_us=1000
	check "worst hit (ms)" "${worst:-none}" -lt 1500
	echo "worst_hit_ms=$worst"
	end
}

run a_session_of_many_handles_ends
run pfsctl_answers_while_a_write_session_ends
run hits_do_not_wait_behind_slow_reads
run what_is_evicted_unread_counts_as_extra
run an_upgrade_does_not_wait_for_prefetches
finish
