#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Names, attributes and changes through a mount, and each call exactly once
# when the worker dies in the midst of it.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src"
is_root() { [ "$(id -u)" = 0 ]; }

mode_of() { stat -c %a "$1"; }
ino_of() { stat -c %i "$1"; }

files_and_folders_come_and_go() {
	echo one >"$mnt/a"
	check "new file on the source" "$(cat "$src/a")" = one
	succeeds mkdir -p "$mnt/d/e/f"
	succeeds mv "$mnt/a" "$mnt/d/e/f/b"
	check "moved" "$(cat "$src/d/e/f/b")" = one
	succeeds mv "$mnt/d/e" "$mnt/g"
	check "below a moved folder" "$(cat "$mnt/g/f/b")" = one
	refused "not empty" rmdir "$mnt/g/f"
	succeeds rm "$mnt/g/f/b"
	refused "no such" cat "$mnt/g/f/b"
	succeeds rm -r "$mnt/g" "$mnt/d"
	check "left over" "$(ls -A "$src")" = ""
}

a_tree_copied_in_is_the_same() {
	mkdir -p "$work/tree/x/y"
	head -c 300000 /dev/urandom >"$work/tree/x/r"
	: >"$work/tree/x/y/empty"
	chmod 750 "$work/tree/x/y"
	touch -d '2001-02-03 04:05:06' "$work/tree/x/r"
	succeeds cp -a "$work/tree" "$mnt/tree"
	succeeds diff -r "$work/tree" "$mnt/tree"
	check "mode" "$(mode_of "$mnt/tree/x/y")" = 750
	check "time" "$(stat -c %Y "$mnt/tree/x/r")" = \
		"$(stat -c %Y "$work/tree/x/r")"
	succeeds rm -r "$mnt/tree"
}

a_rename_replaces_and_open_files_go_on() {
	echo old >"$mnt/to"
	echo new >"$mnt/from"
	exec 7<"$mnt/to"
	succeeds mv -f "$mnt/from" "$mnt/to"
	check "by name" "$(cat "$mnt/to")" = new
	check "by the open file" "$(cat <&7)" = old
	rm "$mnt/to"
	check "links of the open file" "$(stat -L -c %h /proc/self/fd/7)" = 0
	exec 7<&-
	python3 - "$mnt" <<-'EOF' || fail "rename flags"
	import ctypes, errno, os, sys
	os.chdir(sys.argv[1])
	libc = ctypes.CDLL(None, use_errno=True)
	def rename(a, b, flags):
	    r = libc.renameat2(-100, a, -100, b, flags)
	    return ctypes.get_errno() if r else 0
	for n in "a", "b":
	    open(n, "w").write(n)
	assert rename(b"a", b"b", 1) == errno.EEXIST   # RENAME_NOREPLACE
	assert rename(b"a", b"b", 2) == errno.EINVAL   # RENAME_EXCHANGE
	assert rename(b"a", b"c", 1) == 0
	assert open("c").read() == "a" and open("b").read() == "b"
	os.unlink("b"), os.unlink("c")
	EOF
}

a_file_of_another_makes_no_harm() {
	echo first >"$mnt/swap"
	exec 7<"$mnt/swap"
	# Behind the mount another file takes the name.
	echo second >"$src/other"
	mv "$src/other" "$src/swap"
	check "the open file" "$(cat <&7)" = first
	sleep 1.2 # names are believed for a second
	check "the name" "$(cat "$mnt/swap")" = second
	exec 7<&-
	rm "$src/swap"
	sleep 1.2
	refused "no such" cat "$mnt/swap"
	echo third >"$src/fresh"
	check "a new file is seen at once" "$(cat "$mnt/fresh")" = third
	rm "$mnt/fresh"
}

attributes_can_be_set() {
	: >"$mnt/a"
	succeeds chmod 604 "$mnt/a"
	check "mode" "$(mode_of "$src/a")" = 604
	succeeds touch -d '1999-12-31 23:59:58.123456789' "$mnt/a"
	check "mtime" "$(stat -c %y "$src/a" | cut -c 1-29)" = \
		"1999-12-31 23:59:58.123456789"
	succeeds truncate -s 12345 "$mnt/a"
	check "size" "$(stat -c %s "$mnt/a")" = 12345
	check "size on the source" "$(stat -c %s "$src/a")" = 12345
	echo xyz >"$mnt/a"
	check "truncated by the shell" "$(cat "$src/a")" = xyz
	if is_root; then
		succeeds chown 12:34 "$mnt/a"
		check "owner" "$(stat -c %u:%g "$src/a")" = 12:34
	fi
	succeeds rm "$mnt/a"
}

space_is_that_of_the_source() {
	check "blocks" "$(stat -f -c %b "$mnt")" = "$(stat -f -c %b "$src")"
}

holes_and_ranges_work() {
	python3 - "$mnt" "$src" <<-'EOF' || fail "ranges"
	import ctypes, errno, os, sys
	mnt, src = sys.argv[1:]
	libc = ctypes.CDLL(None, use_errno=True)
	def fallocate(fd, mode, off, n):
	    r = libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n))
	    return ctypes.get_errno() if r else 0
	KEEP, PUNCH, COLLAPSE, ZERO = 1, 2, 8, 16
	fd = os.open(mnt + "/h", os.O_RDWR | os.O_CREAT)
	os.ftruncate(fd, 1 << 20)
	os.pwrite(fd, b"x" * 131072, 262144)
	assert os.lseek(fd, 0, os.SEEK_DATA) == 262144
	assert os.lseek(fd, 262144, os.SEEK_HOLE) == 393216
	assert fallocate(fd, PUNCH | KEEP, 262144, 65536) == 0
	assert os.pread(fd, 65537, 262144) == b"\0" * 65536 + b"x"
	assert os.lseek(fd, 0, os.SEEK_DATA) == 327680
	assert fallocate(fd, 0, 1 << 20, 4096) == 0
	assert os.fstat(fd).st_size == (1 << 20) + 4096
	assert fallocate(fd, KEEP, 2 << 20, 4096) == 0
	assert os.fstat(fd).st_size == (1 << 20) + 4096
	e = fallocate(fd, ZERO, 327680, 1000)
	if e == 0:
	    assert os.pread(fd, 1001, 327680) == b"\0" * 1000 + b"x"
	assert fallocate(fd, COLLAPSE, 0, 4096) == errno.EOPNOTSUPP
	out = os.open(mnt + "/c", os.O_RDWR | os.O_CREAT)
	os.pwrite(out, b"y" * 200000, 0)
	n = os.copy_file_range(fd, out, 1000, 330000, 50)
	assert os.pread(out, 1102, 0)[49:1051] == b"y" + b"x" * 1000 + b"y"
	append = os.open(mnt + "/c", os.O_WRONLY | os.O_APPEND)
	os.write(append, b"end")
	assert open(src + "/c", "rb").read()[-4:] == b"yend"
	direct = os.open(mnt + "/c", os.O_RDWR | os.O_DIRECT)
	import mmap
	page = mmap.mmap(-1, 4096)
	page.write(b"d" * 4096)
	assert os.pwritev(direct, [page], 4096) == 4096
	assert open(src + "/c", "rb").read()[4096:8192] == b"d" * 4096
	os.fsync(fd), os.fdatasync(out)
	d = os.open(mnt, os.O_RDONLY)
	os.fsync(d)
	os.unlink(mnt + "/h"), os.unlink(mnt + "/c")
	EOF
}

a_large_folder_is_listed_whole() {
	mkdir "$mnt/many"
	(cd "$src/many" && seq -f 'a-name-of-some-length-%05g' 3000 |
		xargs touch)
	check "entries" "$(ls "$mnt/many" | wc -l)" = 3000
	check "twice" "$(ls "$mnt/many" | sort -u | wc -l)" = 3000
	rm -r "$mnt/many"
}

qemu_img_works_on_the_mount() {
	command -v qemu-img >/dev/null || { echo "  no qemu-img"; return; }
	succeeds qemu-img create -q -f qcow2 "$mnt/q" 64M
	succeeds qemu-img create -q -f raw "$mnt/r" 16M
	succeeds qemu-img resize -q -f raw "$mnt/r" 24M
	succeeds qemu-io -f raw -c 'write -P 7 1M 1M' "$mnt/r"
	succeeds qemu-img convert -O qcow2 "$mnt/r" "$mnt/q"
	succeeds qemu-img compare "$mnt/r" "$mnt/q"
	succeeds qemu-img check -q "$mnt/q"
	rm "$mnt/q" "$mnt/r"
}

what_is_not_offered_is_refused() {
	: >"$mnt/a"
	refused "not permitted" ln "$mnt/a" "$mnt/b"
	refused "not permitted" ln -s a "$mnt/b"
	refused "not permitted" mkfifo "$mnt/b"
	refused "not supported" setfattr -n user.x -v 1 "$mnt/a"
	rm "$mnt/a"
}

# Everything below needs other users.
creations_belong_to_the_caller() {
	is_root || return
	local as="setpriv --reuid=12345 --regid=23456 --clear-groups"
	chmod 1777 "$mnt"
	succeeds $as sh -c "umask 027; echo x >$mnt/f; mkdir $mnt/g"
	check "file" "$(stat -c %u:%g:%a "$src/f")" = 12345:23456:640
	check "folder" "$(stat -c %u:%g:%a "$src/g")" = 12345:23456:750
	refused "denied" setpriv --reuid=1 --regid=1 --clear-groups \
		cat "$mnt/f"
	refused "denied" setpriv --reuid=1 --regid=1 --clear-groups \
		sh -c "echo y >>$mnt/f"
	mkdir "$src/setgid"
	chown 0:777 "$src/setgid"
	chmod 2777 "$src/setgid"
	succeeds $as sh -c "umask 0; : >$mnt/setgid/f; mkdir $mnt/setgid/g"
	check "group of a setgid folder" \
		"$(stat -c %u:%g "$src/setgid/f")" = 12345:777
	check "folder in it" "$(stat -c %g:%a "$src/setgid/g")" = 777:2777
	rm -r "$mnt/f" "$mnt/g" "$mnt/setgid"
	chmod 755 "$mnt"
}

read_only_means_it() {
	echo x >"$src/f"
	start_pfs "$src" "$work/ro" ro || return
	check "read" "$(cat "$work/ro/f")" = x
	refused "read-only" sh -c "echo y >$work/ro/f"
	refused "read-only" mkdir "$work/ro/d"
	refused "read-only" rm -f "$work/ro/f"
	refused "read-only" chmod 600 "$work/ro/f"
	stop_pfs "$work/ro"
	rm "$src/f"
}

# --- the worker dies ---

open_files_and_listings_survive() {
	mkdir "$mnt/many"
	(cd "$src/many" && seq 2000 | xargs touch)
	echo one >"$mnt/f"
	exec 7<>"$mnt/f"
	rm "$mnt/f" # only the handle is left
	python3 - "$mnt" "$pfsctl" <<-'EOF' || fail "listing"
	import json, os, signal, subprocess, sys, time
	mnt, ctl = sys.argv[1:]
	def pid():
	    out = subprocess.run([ctl, "-m", mnt, "status", "--json"],
	                         capture_output=True, text=True).stdout
	    return json.loads(out)["worker_pid"] if out else 0
	names, n = set(), 0
	for e in os.scandir(mnt + "/many"):
	    names.add(e.name)
	    n += 1
	    if n in (100, 1000):
	        os.kill(pid(), signal.SIGKILL)
	assert n == 2000 and len(names) == 2000, (n, len(names))
	EOF
	kill_worker "$mnt"
	check "unlinked file" "$(cat <&7)" = one
	check "its size" "$(stat -L -c %s /proc/self/fd/7)" = 4
	exec 7<&-
	rm -r "$mnt/many"
}

# Each call is cut off once, right after the source has done it or right after
# the intent was written; all must be done exactly once.
each_call_is_done_exactly_once() {
	local point=$1 m=$work/kill.$2 ino
	PFS_FAULTS=$point start_pfs "$src" "$m" || return
	succeeds mkdir "$m/d"
	succeeds python3 -c "
import os
f = os.open('$m/d/a', os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
os.write(f, b'text')
assert os.fstat(f).st_ino == os.stat('$m/d/a').st_ino
os.close(f)"
	check "mode" "$(mode_of "$src/d/a")" = 640
	ino=$(ino_of "$src/d/a")
	succeeds mv "$m/d/a" "$m/d/b"
	check "the same file" "$(ino_of "$src/d/b")" = "$ino"
	check "text" "$(cat "$m/d/b")" = text
	succeeds rm "$m/d/b"
	succeeds mkdir "$m/d/e"
	succeeds rmdir "$m/d/e"
	refused "not empty\|exists" mkdir "$m/d"
	succeeds rmdir "$m/d"
	check "left over" "$(ls -A "$src")" = ""
	check "deaths" "$(status_of "$m" worker_deaths)" -ge 3
	check "intents replayed" "$(counter_of "$m" intents_replayed)" -ge "$3"
	stop_pfs "$m"
}

other_users=
! is_root || other_users=allow_other
start_pfs "$src" "$mnt" "$other_users" || exit 1
run files_and_folders_come_and_go
run a_tree_copied_in_is_the_same
run a_rename_replaces_and_open_files_go_on
run a_file_of_another_makes_no_harm
run attributes_can_be_set
run space_is_that_of_the_source
run holes_and_ranges_work
run a_large_folder_is_listed_whole
run qemu_img_works_on_the_mount
run what_is_not_offered_is_refused
run creations_belong_to_the_caller
run read_only_means_it
run open_files_and_listings_survive
stop_pfs "$mnt"
# (Counts of a worker that dies at once may be lost.)
# The request sent again does not pass op.done, and is the first to pass
# op.intent in its worker: so each call is cut off at most once.
run each_call_is_done_exactly_once op.done:kill@1 after 1
run each_call_is_done_exactly_once op.intent:kill@2 before 0
finish
