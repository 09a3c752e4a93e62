/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/reader.h - who opened a file.
 *
 * The FUSE header carries a thread id, and threads come and go, so who reads
 * is looked up once, at OPEN, and named by what outlives the thread: thread
 * group and its start time (a pid alone is reused), and the cgroup.
 */
#ifndef PFS_FS_READER_H
#define PFS_FS_READER_H

#include <sys/types.h>

#include <pfs/base.h>

struct reader {
	int32_t tgid;        /* 0: unknown */
	uint64_t start_time; /* clock ticks since boot; 0: unknown */
	uint64_t cgroup;     /* inode of its cgroup folder; 0: unknown */
};

/** Never fails: what /proc does not tell stays 0. */
void reader_of(pid_t tid, struct reader *out);

/** Field 22 of /proc/PID/stat, whose second field may hold any byte. */
uint64_t reader_parse_start_time(const char *stat_line);

#endif
