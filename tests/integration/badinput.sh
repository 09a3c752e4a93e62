#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What users, disks and other programs get wrong: refused with a sentence, or
# served all the same.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src" "$mnt"
head -c 200000 /dev/urandom >"$src/image"
is_root() { [ "$(id -u)" = 0 ]; }
extra_mounts=()

# refused_mount WORD SRC MNT [OPTIONS]: no mount, no process, and the word
refused_mount() {
	refused "$1" "$pfs" "$2" "$3" \
		-o "store=$work/s,catalog=$work/c/db,store_size=16M${4:+,$4}"
	if is_mounted "$3"; then
		fail "mounted all the same"
		detach "$3" -l
	fi
}

serves() {
	succeeds cmp "$src/image" "$1/image"
}

places_that_cannot_work_are_refused() {
	refused_mount "source $work/none" "$work/none" "$mnt"
	refused_mount "not a folder" "$src/image" "$mnt"
	refused_mount "mountpoint $work/none" "$src" "$work/none"
	mkdir -p "$src/inner"
	refused_mount "same folder" "$src" "$src"
	refused_mount "inside the source" "$src" "$src/inner"
	refused_mount "inside the mountpoint" "$src/inner" "$src"
	rmdir "$src/inner"
	refused "inside the source" "$pfs" "$src" "$mnt" \
		-o "store=$src/store,catalog=$work/c/db"
	refused "inside the store" "$pfs" "$src" "$mnt" \
		-o "store=$work/s,catalog=$work/s/db"
}

options_with_junk_are_refused() {
	local o
	refused_mount "nosuch" "$src" "$mnt" nosuch=1
	refused_mount "allowed" "$src" "$mnt" nosuch=1
	for o in chunk=3 chunk=8K chunk=2M chunk=48K chunk=64Kx chunk= \
		store_size=-1 store_size=99999999999999999999 \
		store_io=maybe verify=2 page_cache=perhaps \
		max_background=0 max_background=abc threads=17 \
		threads=1e1; do
		refused_mount "${o%%=*}" "$src" "$mnt" "$o"
	done
	refused_mount "no value" "$src" "$mnt" allow_other=1
	refused_mount "store" "$src" "$mnt" "store="
	refused "two arguments" "$pfs"
	refused "two arguments" "$pfs" "$src"
}

a_second_daemon_on_a_store_is_refused() {
	start_pfs "$src" "$mnt" store="$work/shared" || return
	mkdir -p "$work/mnt2" "$work/src2"
	refused "pid $supervisor_pid" "$pfs" "$work/src2" "$work/mnt2" \
		-o "store=$work/shared,catalog=$work/c2/db"
	refused "pid $supervisor_pid" "$pfs" "$work/src2" "$work/mnt2" \
		-o "store=$work/s2,catalog=$work/mnt.catalog/catalog.db"
	refused "mountpoint" "$pfs" "$work/src2" "$mnt" \
		-o "store=$work/s2,catalog=$work/c2/db"
	serves "$mnt"
	stop_pfs "$mnt"
}

scratch_fs() {
	mkdir -p "$1"
	mount -t tmpfs -o "$2" none "$1" || return
	extra_mounts+=("$1")
}

a_store_that_cannot_be_written() {
	is_root || { echo "  needs root"; return; }
	scratch_fs "$work/full" size=128k,mode=700 || { echo "  no tmpfs"; return; }
	head -c 1M /dev/zero >"$work/full/fill" 2>/dev/null
	# No room is no reason not to serve.
	start_pfs "$src" "$mnt" store="$work/full",store_size=16M &&
		serves "$mnt" && serves "$mnt" && stop_pfs "$mnt"

	scratch_fs "$work/readonly" ro || return
	refused "cannot be" "$pfs" "$src" "$mnt" \
		-o "store=$work/readonly/s,catalog=$work/c/db"
	mkdir "$work/theirs"
	chown 12345 "$work/theirs"
	refused "another user" "$pfs" "$src" "$mnt" \
		-o "store=$work/theirs,catalog=$work/c/db"
	mkdir -m 777 "$work/open"
	refused "anybody" "$pfs" "$src" "$mnt" \
		-o "store=$work/open,catalog=$work/c/db"
}

db=$work/mnt.catalog/catalog.db

# set_aside WORD: the catalog at $db is put away once, and pfs starts cold
set_aside() {
	start_pfs "$src" "$mnt" || return
	check "why" "$(status_of "$mnt" set_aside)" != ""
	check "starts cold" "$(status_of "$mnt" is_fresh)" = true
	serves "$mnt"
	serves "$mnt"
	stop_pfs "$mnt"
	check "kept for a look: $1" \
		"$(find "$work/mnt.catalog" -name 'catalog.db.*' | wc -l)" -ge 1
	start_pfs "$src" "$mnt" || return
	check "only once" "$(status_of "$mnt" set_aside)" = ""
	serves "$mnt"
	stop_pfs "$mnt"
	rm -rf "$work/mnt.catalog"
	mkdir -m 700 "$work/mnt.catalog"
}

a_catalog_that_is_none_is_set_aside() {
	rm -rf "$work/mnt.catalog"
	mkdir -m 700 "$work/mnt.catalog"
	head -c 100000 /dev/urandom >"$db"
	set_aside corrupt
	python3 -c "
import sqlite3
c = sqlite3.connect('$db')
c.execute('CREATE TABLE recipes(name)')
c.commit()"
	set_aside foreign
	start_pfs "$src" "$mnt" && serves "$mnt" && stop_pfs "$mnt"
	python3 -c "
import sqlite3
c = sqlite3.connect('$db')
c.execute('PRAGMA user_version = 999999')
c.commit()"
	set_aside newer
}

names_of_any_bytes_are_served() {
	start_pfs "$src" "$mnt" || return
	python3 - "$mnt" "$src" <<-'EOF' || fail "names"
	import os, sys
	mnt, src = (os.fsencode(a) for a in sys.argv[1:])
	names = [b"\xff\xfe\x80", b"new\nline", b" ", b"\\", b"'\"$`", b"-rf",
	         b"n" * 255, b"...", b"\x01\x7f", "ü".encode()]
	for n in names:
	    with open(src + b"/" + n, "wb") as f:
	        f.write(n)
	    assert open(mnt + b"/" + n, "rb").read() == n, n
	    assert n in os.listdir(mnt), n
	    os.rename(mnt + b"/" + n, mnt + b"/" + n[::-1])
	    assert open(src + b"/" + n[::-1], "rb").read() == n, n
	    os.unlink(mnt + b"/" + n[::-1])
	    assert not os.path.lexists(src + b"/" + n[::-1])
	try:
	    open(mnt + b"/" + b"n" * 256, "wb")
	    raise AssertionError("256 bytes")
	except OSError:
	    pass
	deep = mnt
	for i in range(60):
	    deep += b"/" + b"d" * 50
	    os.mkdir(deep)
	open(deep + b"/f", "wb").write(b"deep")
	assert open(deep + b"/f", "rb").read() == b"deep"
	EOF
	rm -rf "$mnt"/ddd*
	succeeds "$pfsctl" -m "$mnt" images --json
	stop_pfs "$mnt"
}

other_kinds_of_files_are_hidden_and_listed() {
	local list
	mkdir "$src/sub"
	ln -s /etc/passwd "$src/link"
	ln -s . "$src/sub/loop"
	mkfifo "$src/fifo"
	! is_root || mknod "$src/dev" c 1 5
	python3 -c "
import socket
socket.socket(socket.AF_UNIX).bind('$src/sock')"
	start_pfs "$src" "$mnt" || return
	check "listing" "$(ls "$mnt" | tr '\n' ' ')" = "image sub "
	check "listing below" "$(ls "$mnt/sub")" = ""
	refused "no such" cat "$mnt/link"
	refused "no such" timeout 5 cat "$mnt/fifo"
	refused "no such" cat "$mnt/sub/loop/image"
	# Nor can they be replaced, or written through.
	refused "exists" sh -c "echo x >$mnt/link"
	refused "exists" mkdir "$mnt/fifo"
	refused "exists" mv -T "$mnt/image" "$mnt/link"
	refused "not empty" rmdir "$mnt/sub"
	list=$("$pfsctl" -m "$mnt" images --skipped --json)
	for what in link fifo sock sub/loop; do
		check "skipped: $what" \
			"$(grep -c "\"$what\"" <<<"$list")" -ge 1
	done
	check "reason" "$(grep -c 'symbolic link' <<<"$list")" -ge 1
	check "reason" "$(grep -c 'FIFO' <<<"$list")" -ge 1
	# A folder swapped for a link to elsewhere leads nowhere.
	mkdir "$work/outside"
	echo secret >"$work/outside/f"
	mv "$src/sub" "$src/sub.was"
	ln -s "$work/outside" "$src/sub"
	refused "no such\|stale" cat "$mnt/sub/f"
	rm "$src/sub"
	stop_pfs "$mnt"
	rm -rf "$src/sub.was" "${src:?}"/{link,fifo,dev,sock}
}

far_offsets_answer_as_the_source_does() {
	start_pfs "$src" "$mnt" || return
	python3 - "$mnt/far" "$src/plain" <<-'EOF' || fail "offsets"
	import ctypes, errno, os, sys
	libc = ctypes.CDLL(None, use_errno=True)
	L = ctypes.c_long
	far = [2**63 - 1, 2**63 - 4096, 2**63 - 4097, 2**62, 2**44, 2**41]
	def tries(path):
	    fd = os.open(path, os.O_RDWR | os.O_CREAT)
	    os.pwrite(fd, b"x" * 10000, 0)
	    out = []
	    def t(what, off, fn):
	        try:
	            r = fn()
	        except OSError as e:
	            r = errno.errorcode[e.errno]
	        out.append((what, hex(off), r))
	    def fallocate(mode, off, n):
	        if libc.fallocate(fd, mode, L(off), L(n)):
	            raise OSError(ctypes.get_errno(), "")
	    for o in far:
	        t("read", o, lambda: os.pread(fd, 4096, o))
	        t("data", o, lambda: os.lseek(fd, o, os.SEEK_DATA))
	        t("write", o, lambda: os.pwrite(fd, b"y", o))
	        t("truncate", o, lambda: os.ftruncate(fd, o))
	        t("back", o, lambda: os.ftruncate(fd, 10000))
	        t("punch", o, lambda: fallocate(3, o, 4096))
	        t("size", o, lambda: os.fstat(fd).st_size)
	    t("first", 0, lambda: os.pread(fd, 4096, 0) == b"x" * 4096)
	    os.unlink(path)
	    return out
	wrong = [(a, b[2]) for a, b in zip(tries(sys.argv[1]),
	                                   tries(sys.argv[2])) if a != b]
	# The kernel's own limit for FUSE may lie beyond the source's.
	wrong = [w for w in wrong if {w[0][2], w[1]} != {"EFBIG", "EINVAL"}]
	assert not wrong, wrong
	EOF
	serves "$mnt"
	stop_pfs "$mnt"
}

run places_that_cannot_work_are_refused
run options_with_junk_are_refused
run a_second_daemon_on_a_store_is_refused
run a_store_that_cannot_be_written
run a_catalog_that_is_none_is_set_aside
run names_of_any_bytes_are_served
run other_kinds_of_files_are_hidden_and_listed
run far_offsets_answer_as_the_source_does
for m in "${extra_mounts[@]}"; do
	umount -l "$m"
done
finish
