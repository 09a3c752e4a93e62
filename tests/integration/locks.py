# SPDX-License-Identifier: GPL-3.0-or-later
"""fcntl locks through a mount.  locks.py MNT SRC [PID_COMMAND]

Each case is a function; its name says what must hold.  SRC is the folder
behind the mount: "another host" locks there.  PID_COMMAND prints the pid of
the worker, for the cases that kill it.
"""
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import time

MNT, SRC = sys.argv[1:3]
PID_COMMAND = sys.argv[3] if len(sys.argv) > 3 else None
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
RD, WR, UN = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
BUSY = (errno.EAGAIN, errno.EACCES)


def flock(kind, start=0, length=0):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def lock(fd, kind, start=0, length=0, cmd=OFD_SETLK):
    """0 or an errno."""
    try:
        fcntl.fcntl(fd, cmd, flock(kind, start, length))
        return 0
    except OSError as e:
        return e.errno


def kind_seen(fd, kind, start=0, length=0, cmd=OFD_GETLK):
    return struct.unpack_from(
        "h", fcntl.fcntl(fd, cmd, flock(kind, start, length)))[0]


def want(got, expected, what):
    ok = got in expected if isinstance(expected, tuple) else got == expected
    if not ok:
        raise AssertionError(f"{what}: got {got}, want {expected}")


def opened(name="locked", where=MNT, flags=os.O_RDWR | os.O_CREAT):
    return os.open(os.path.join(where, name), flags, 0o644)


def in_child(fn):
    """Run fn in another process; its int result."""
    pid = os.fork()
    if not pid:
        os._exit(fn())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def two_ofd_owners_exclude_each_other():
    a, b = opened(), opened()
    want(lock(a, WR, 100, 1), 0, "first")
    want(lock(b, WR, 100, 1), BUSY, "second on the same byte")
    want(lock(b, RD, 100, 1), BUSY, "reader on a written byte")
    want(lock(b, WR, 101, 1), 0, "second on another byte")
    want(kind_seen(b, WR, 100, 1), WR, "what stands in the way")
    want(kind_seen(b, WR, 102, 1), UN, "free byte")
    want(lock(a, UN, 100, 1), 0, "unlock")
    want(lock(b, WR, 100, 1), 0, "after unlock")
    os.close(a)
    os.close(b)


def readers_share():
    a, b = opened(), opened(flags=os.O_RDONLY)
    want(lock(a, RD), 0, "first reader")
    want(lock(b, RD), 0, "second reader")
    want(lock(a, WR), BUSY, "a writer while others read")
    os.close(a)
    os.close(b)


def one_owner_changes_its_own_lock():
    a = opened()
    want(lock(a, WR), 0, "write")
    want(lock(a, RD), 0, "to read")
    want(lock(a, WR), 0, "and back")
    want(kind_seen(a, WR), UN, "own lock is not in the way")
    os.close(a)


def the_source_sees_our_locks_and_we_see_its():
    a, host = opened(), opened(where=SRC)
    want(lock(a, WR, 0, 10), 0, "through the mount")
    want(lock(host, WR, 0, 10), BUSY, "on the source")
    want(lock(a, UN), 0, "unlock")
    want(lock(host, WR, 0, 10), 0, "on the source")
    start = time.monotonic()
    want(lock(a, WR, 0, 10), BUSY, "through the mount")
    # Nobody of this mount stands in the way: there is no sense in waiting.
    want(time.monotonic() - start < 0.09, True, "refused at once")
    os.close(a)
    os.close(host)


def posix_locks_go_with_any_close():
    a, b = opened(), opened()
    want(lock(a, WR, cmd=fcntl.F_SETLK), 0, "lock")
    want(in_child(lambda: lock(opened(), WR, cmd=fcntl.F_SETLK)), BUSY,
         "another process")
    os.close(b)
    want(in_child(lambda: lock(opened(), WR, cmd=fcntl.F_SETLK)), 0,
         "another process after a close")
    os.close(a)


def a_process_that_dies_leaves_no_lock():
    def locks_and_dies():
        want(lock(opened(), WR, cmd=fcntl.F_SETLK), 0, "POSIX")
        want(lock(opened("locked2"), WR), 0, "OFD")
        return 0
    want(in_child(locks_and_dies), 0, "child")
    a, b = opened(), opened("locked2")
    want(lock(a, WR), 0, "after the death")
    want(lock(b, WR), 0, "after the death")
    os.close(a)
    os.close(b)


def reopen_and_lock_is_never_refused():
    for i in range(1000):
        a = opened()
        want(lock(a, WR, 100, 3), 0, f"round {i}")
        os.close(a)


def a_dup_keeps_the_lock_of_its_file():
    a = opened()
    want(lock(a, WR), 0, "lock")
    d = os.dup(a)
    os.close(a)
    time.sleep(0.15)
    b = opened()
    want(lock(b, WR), BUSY, "the duplicate is still open")
    os.close(d)
    want(lock(b, WR), 0, "after the last close")
    os.close(b)


def a_blocking_lock_waits_for_its_turn():
    a = opened()
    want(lock(a, WR), 0, "lock")
    results = []
    b = opened()
    t = threading.Thread(
        target=lambda: results.append(lock(b, WR, cmd=OFD_SETLKW)))
    t.start()
    time.sleep(0.3)
    want(results, [], "while it is held")
    want(lock(a, UN), 0, "unlock")
    t.join(5)
    want(results, [0], "afterwards")
    os.close(a)
    os.close(b)


def a_blocking_lock_waits_for_the_source_too():
    host, b = opened(where=SRC), opened()
    # The case before has closed its files, which is known a little later.
    want(lock(host, WR, cmd=OFD_SETLKW), 0, "on the source")
    results = []
    t = threading.Thread(
        target=lambda: results.append(lock(b, WR, cmd=OFD_SETLKW)))
    t.start()
    time.sleep(0.2)
    want(results, [], "while the source is locked")
    os.close(host)
    t.join(5)
    want(results, [0], "afterwards")
    os.close(b)


def a_signal_ends_a_blocking_lock():
    a = opened()
    want(lock(a, WR), 0, "lock")

    def waits():
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(
            InterruptedError(errno.EINTR, "alarm")))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        return lock(opened(), WR, cmd=OFD_SETLKW)
    start = time.monotonic()
    want(in_child(waits), errno.EINTR, "interrupted")
    want(time.monotonic() - start < 2, True, "in time")

    pid = os.fork()
    if not pid:
        lock(opened(), WR, cmd=OFD_SETLKW)
        os._exit(0)
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(a)
    b = opened()
    want(lock(b, WR), 0, "no dead waiter holds it")
    os.close(b)


def many_waiters_all_get_their_turn():
    a = opened()
    want(lock(a, WR), 0, "lock")
    results = []

    def turn():
        fd = opened()
        results.append(lock(fd, WR, cmd=OFD_SETLKW))
        os.close(fd)
    threads = [threading.Thread(target=turn) for _ in range(40)]
    for t in threads:
        t.start()
    time.sleep(0.3)
    # The waits must not keep other requests from being served.
    want(os.stat(os.path.join(MNT, "locked")).st_nlink, 1, "stat")
    os.close(a)
    for t in threads:
        t.join(20)
    want(results, [0] * 40, "turns")


def locks_outlive_an_unlink():
    a = opened("short-lived")
    b = opened("short-lived")
    os.unlink(os.path.join(MNT, "short-lived"))
    want(lock(a, WR), 0, "lock")
    want(lock(b, WR), BUSY, "the other")
    os.close(a)
    want(lock(b, WR), 0, "after close")
    os.close(b)


# --- with a worker that dies ---

def worker_pid():
    return int(subprocess.check_output(PID_COMMAND, shell=True))


def kill_worker():
    pid = worker_pid()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            now = worker_pid()
            if now and now != pid:
                return
        except (subprocess.CalledProcessError, ValueError):
            pass
        time.sleep(0.02)
    raise AssertionError("no new worker")


def locks_survive_the_worker():
    a, b, host = opened(), opened(), opened(where=SRC)
    want(lock(a, WR, 5, 5), 0, "lock")
    for _ in range(3):
        kill_worker()
        want(lock(host, WR, 5, 5), BUSY, "on the source")
        want(lock(b, WR, 5, 5), BUSY, "by another")
        want(kind_seen(a, WR, 5, 5), UN, "own")
    want(lock(a, UN, 5, 5), 0, "unlock")
    want(lock(b, WR, 5, 5), 0, "after unlock")
    os.close(b)
    os.close(a)
    time.sleep(0.1)
    want(lock(host, WR, 5, 5), 0, "after close")
    os.close(host)


def a_blocking_lock_survives_the_worker():
    a, b = opened(), opened()
    want(lock(a, WR), 0, "lock")
    results = []
    t = threading.Thread(
        target=lambda: results.append(lock(b, WR, cmd=OFD_SETLKW)))
    t.start()
    time.sleep(0.2)
    for _ in range(3):
        kill_worker()
    time.sleep(0.2)
    want(results, [], "still held")
    os.close(a)
    t.join(5)
    want(results, [0], "its turn")
    os.close(b)


CASES = [
    two_ofd_owners_exclude_each_other,
    readers_share,
    one_owner_changes_its_own_lock,
    the_source_sees_our_locks_and_we_see_its,
    posix_locks_go_with_any_close,
    a_process_that_dies_leaves_no_lock,
    reopen_and_lock_is_never_refused,
    a_dup_keeps_the_lock_of_its_file,
    a_blocking_lock_waits_for_its_turn,
    a_blocking_lock_waits_for_the_source_too,
    a_signal_ends_a_blocking_lock,
    many_waiters_all_get_their_turn,
    locks_outlive_an_unlink,
]
if PID_COMMAND:
    CASES += [locks_survive_the_worker, a_blocking_lock_survives_the_worker]

failed = 0
for case in CASES:
    try:
        case()
        print("ok", case.__name__, flush=True)
    except (AssertionError, OSError) as e:
        failed += 1
        print("FAILED", case.__name__, "-", e, flush=True)
sys.exit(1 if failed else 0)
