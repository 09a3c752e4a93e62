#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""agent.py SOCKET COUNT [SECONDS]: listens at a Unix socket, reads COUNT frames
of pfs-vector(5) from the first who connects and prints one line of JSON each.
Written from the page, not from the codec."""
import json
import os
import socket
import struct
import sys

LEN = 512
KINDS = {1: "open", 2: "exec", 3: "ahead", 4: "refault"}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def decode(frame):
    magic, major, minor, length, signals = struct.unpack_from("<8sBBHI", frame)
    seq, time_ns, interval, flags, n_disks, n_extents, n_samples, zero = (
        struct.unpack_from("<QQIHBBII", frame, 32))
    (crc,) = struct.unpack_from("<I", frame, LEN - 4)
    assert magic == b"PFSVECTR" and (major, minor, length) == (1, 0, LEN)
    assert crc == crc32c(frame[:-4]) and zero == 0
    disks = struct.unpack_from("<4Q", frame, 192)
    extents = []
    for i in range(n_extents):
        off, size, age, kind, disk = struct.unpack_from("<QIHBB", frame,
                                                        224 + 16 * i)
        assert off + size <= disks[disk]
        extents.append({"off": off, "len": size, "age_ms": age,
                        "kind": KINDS[kind], "disk": disk})
    return {"nonce": frame[16:32].hex(), "seq": seq, "time_ns": time_ns,
            "interval_ms": interval, "signals": signals, "flags": flags,
            "samples": n_samples, "disks": disks[:n_disks],
            "features": struct.unpack_from("<32I", frame, 64),
            "extents": extents}


def main():
    path, count = sys.argv[1], int(sys.argv[2])
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(float(sys.argv[3]) if len(sys.argv) > 3 else 20)
    server.bind(path)
    server.listen()
    connection, _ = server.accept()
    connection.settimeout(server.gettimeout())
    stream = connection.makefile("rb")
    for _ in range(count):
        frame = stream.read(LEN)
        assert len(frame) == LEN, "the agent went away"
        print(json.dumps(decode(frame)), flush=True)


main()
