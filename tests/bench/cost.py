#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a read through pfs costs, beside other ways to the same bytes.

One file on a tmpfs, read by fio directly, through passthrough_ll (as libfuse
ships it, multi-threaded and with -s), bindfs, passthrough_hp where
PASSTHROUGH_HP names a build, and pfs with every chunk resident in a store on
the same tmpfs.  The ways are interleaved within each round, so a busy
neighbour hurts all alike; figures are medians over the rounds.  CPU is that of
the client and the daemon together, per operation.

usage: cost.py --bin DIR [--rounds N] [--seconds S] [--size MIB] [--only WAY,..]
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"

# name, fio arguments, CPU to pin client and daemon to (None: not pinned)
LOADS = [
    ("4K depth 1", ["--bs=4k", "--rw=randread", "--iodepth=1"], 0),
    ("4K depth 32", ["--bs=4k", "--rw=randread", "--iodepth=32"], None),
    ("4K 2 x depth 32", ["--bs=4k", "--rw=randread", "--iodepth=32",
                         "--numjobs=2", "--group_reporting"], None),
    ("64K depth 8", ["--bs=64k", "--rw=randread", "--iodepth=8"], None),
    ("1M depth 4", ["--bs=1m", "--rw=randread", "--iodepth=4"], None),
]


def fail(text):
    sys.exit("cost.py: " + text)


def cpu_of(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def pin(pids, cpu):
    cpus = [cpu] if cpu is not None else range(os.cpu_count())
    for pid in pids:
        for tid in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(tid), cpus)


def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            fail(f"{path} did not appear")
        time.sleep(0.02)


class Way:
    """One way to the bytes: a path, and the processes that serve it."""

    def __init__(self, name, path, pids=(), mount=None, child=None):
        self.name, self.path, self.pids = name, path, list(pids)
        self.mount, self.child = mount, child

    def stop(self):
        if self.mount:
            subprocess.run(["umount", self.mount], check=False)
        if self.child:
            self.child.wait(timeout=20)


def mount_child(name, argv, mnt):
    child = subprocess.Popen(argv)
    wait_for(f"{mnt}/file")
    return Way(name, f"{mnt}/file", [child.pid], mnt, child)


def pfsctl(bin_dir, mnt, *words):
    out = subprocess.run([f"{bin_dir}/pfsctl", "-m", mnt, "--json", *words],
                         check=True, capture_output=True).stdout
    return json.loads(out)


def start_pfs(opt, base):
    mnt, store = f"{base}/pfs", f"{base}/store"
    os.mkdir(mnt)
    os.mkdir(store)
    subprocess.run([f"{opt.bin}/pfs", f"{base}/src", mnt, "-o",
                    f"store={store},store_size={opt.size * 3 // 2}M,"
                    f"store_io=buffered,catalog={base}/catalog/catalog.db"],
                   check=True)
    with open(f"{mnt}/file", "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass
    status = pfsctl(opt.bin, mnt, "status")
    return Way("pfs", f"{mnt}/file", [status["worker_pid"]], mnt)


def start_ways(opt, base):
    src = f"{base}/src"
    os.mkdir(src)
    block = os.urandom(1 << 20)
    with open(f"{src}/file", "wb") as f:
        for i in range(opt.size):
            f.write(i.to_bytes(8, "little") + block[8:])
    yield Way("raw", f"{src}/file")

    if os.path.exists(EXAMPLE):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"],
                               check=True, capture_output=True, text=True)
        subprocess.run(["cc", "-O2", EXAMPLE, "-o", f"{base}/ptll",
                        "-lpthread", *flags.stdout.split()], check=True)
        for name, more in (("passthrough_ll", []),
                           ("passthrough_ll -s", ["-s"])):
            mnt = f"{base}/m{len(more)}"
            os.mkdir(mnt)
            yield mount_child(name, [f"{base}/ptll", "-f", *more, "-o",
                                     f"source={src},cache=never", mnt], mnt)
    if shutil.which("bindfs"):
        os.mkdir(f"{base}/bind")
        yield mount_child("bindfs", ["bindfs", "-f", "-o", "direct_io", src,
                                     f"{base}/bind"], f"{base}/bind")
    hp = os.environ.get("PASSTHROUGH_HP")
    if hp:
        os.mkdir(f"{base}/hp")
        yield mount_child("passthrough_hp", [hp, "--foreground", "--nocache",
                                             src, f"{base}/hp"], f"{base}/hp")
    yield start_pfs(opt, base)


def run_fio(way, args, cpu, seconds):
    argv = ["fio", "--name=x", f"--filename={way.path}", "--ioengine=io_uring",
            "--direct=1", "--time_based", f"--runtime={seconds}",
            "--output-format=json", "--readonly", "--randrepeat=0", *args]
    if way.name == "raw":
        argv[argv.index("--direct=1")] = "--direct=0"  # tmpfs before 6.6
    if cpu is not None:
        argv = ["taskset", "-c", str(cpu), *argv]
    pin(way.pids, cpu)
    before = cpu_of(way.pids)
    out = subprocess.run(argv, check=True, capture_output=True).stdout
    daemon = cpu_of(way.pids) - before
    job = json.loads(out)["jobs"][0]
    read = job["read"]
    run_s = job["job_runtime"] / 1000  # summed over the jobs of a group
    client = (job["usr_cpu"] + job["sys_cpu"]) / 100 * run_s
    return (client + daemon) / read["total_ios"] * 1e6, read["iops"]


def check_hits(opt, way, before):
    now = pfsctl(opt.bin, way.mount, "stats")
    reads = now["reads"] - before["reads"]
    hits = now["reads_hit"] - before["reads_hit"]
    print(f"pfs: {reads} reads, {hits} hits ({100 * hits / reads:.2f} %), "
          f"blocks verified {now['blocks_verified']}, "
          f"read {now['blocks_read']}, "
          f"access events {now['access_events'] - before['access_events']}")


def report(results, ways):
    base = "passthrough_ll"
    print(f"\n{'load':16} {'way':18} {'CPU us/op':>10} {'x ptll':>7} "
          f"{'IOPS':>9} {'x ptll':>7}")
    for load, _, _ in LOADS:
        ref = results.get((load, base))
        for way in ways:
            runs = results[(load, way.name)]
            cpu = statistics.median(r[0] for r in runs)
            iops = statistics.median(r[1] for r in runs)
            line = f"{load:16} {way.name:18} {cpu:10.2f}"
            if ref:
                rc = statistics.median(r[0] for r in ref)
                ri = statistics.median(r[1] for r in ref)
                line += f" {cpu / rc:7.2f} {iops:9.0f} {iops / ri:7.2f}"
            else:
                line += f" {'':7} {iops:9.0f}"
            print(line)


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((x.split(":")[1].strip() for x in f
                      if x.startswith("model name")), "?")
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    print(f"{time.strftime('%F')}, {os.cpu_count()} x {model}, "
          f"Linux {os.uname().release}, load {load} at the start")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--bin", required=True, help="where pfs and pfsctl are")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=4, help="of each run")
    p.add_argument("--size", type=int, default=512, help="of the file, MiB")
    p.add_argument("--only", help="ways, by comma")
    opt = p.parse_args()
    base = tempfile.mkdtemp(prefix="pfs-cost-", dir="/dev/shm")
    ways, results = [], {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine()
    try:
        for way in start_ways(opt, base):
            ways.append(way)
        before = pfsctl(opt.bin, f"{base}/pfs", "stats")
        chosen = [w for w in ways
                  if not opt.only or w.name in opt.only.split(",")]
        for n in range(opt.rounds):
            for load, args, cpu in LOADS:
                for way in chosen:
                    results.setdefault((load, way.name), []).append(
                        run_fio(way, args, cpu, opt.seconds))
            print(f"round {n + 1} of {opt.rounds} done", file=sys.stderr)
        check_hits(opt, ways[-1], before)
        report(results, chosen)
    finally:
        for way in reversed(ways):
            way.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
