/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * slowfs.h - what the parts of slowfs share.
 *
 *   slowfs.c        command line, mount, threads that receive requests
 *   slowfs_queue.c  requests that wait: latency, the shared link, hangs
 *   slowfs_ops.c    the passthrough itself
 *   slowfs_ctl.c    settings, counters, the text of the control file
 *
 * Units    durations end in _us or _ns (CLOCK_MONOTONIC), the rest is bytes.
 * Errors   0 or -errno.
 * Threads  every call is safe from any thread, save for start and stop.
 */
#ifndef SLOWFS_H
#define SLOWFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* --- settings and counters (slowfs_ctl.c) --- */

/* When a request is to go wrong: each time with probability prob or, where
 * len is not 0, whenever it touches the bytes [off, off + len). */
struct slow_fault {
	double prob;
	uint64_t off;
	uint64_t len;
};

/* Immutable once published, so that a request sees one set of values. */
struct slow_settings {
	uint64_t latency_us;       /* READ */
	uint64_t write_latency_us; /* WRITE, FALLOCATE, COPY_FILE_RANGE */
	uint64_t fsync_latency_us; /* FSYNC, FSYNCDIR */
	uint64_t meta_latency_us;  /* all else that somebody waits for */
	uint64_t rate;             /* bytes/s of the shared link, 0: endless */
	struct slow_fault read_eio;
	struct slow_fault write_eio;
	struct slow_fault fsync_eio;
	struct slow_fault eio_range; /* reads and writes alike */
	struct slow_fault enospc;    /* what needs room, not only data */
	struct slow_fault short_reads;
	bool hang;
	const struct slow_settings *prev; /* owned; freed at the end */
};

/** The values in force; valid until slow_ctl_fini(). */
const struct slow_settings *slow_settings(void);

/** Obey lines of key=value: all of them or, if one is bad, none.
 *  -ENOENT a key nobody knows, -EINVAL a value that is not allowed. */
int slow_ctl_apply(const char *text, size_t len);

/** Settings and counters as lines of "key value"; returns their length. */
size_t slow_ctl_print(char *buf, size_t size);

/** Seed of the dice that probabilities are thrown with. */
void slow_ctl_seed(uint64_t seed);
void slow_ctl_fini(void);

/** Is this request to fail?  Counts it if so. */
bool slow_fault_hits(const struct slow_fault *f, uint64_t off, uint64_t len);

enum slow_counter {
	SLOW_READ_BYTES,
	SLOW_WRITE_BYTES,
	SLOW_FAULTS,
	SLOW_COUNTERS,
};
void slow_count(enum slow_counter c, uint64_t n);

enum slow_delay {
	SLOW_NEVER, /* nobody waits for it: RELEASE, FORGET, INTERRUPT ... */
	SLOW_META,
	SLOW_READ,
	SLOW_WRITE,
	SLOW_FSYNC,
};
/** Count one arrival of a FUSE opcode and say how it is to be delayed. */
enum slow_delay slow_count_op(uint32_t opcode);

/* --- waiting requests (slowfs_queue.c) --- */

/** A raw FUSE request, copied out of the buffer it was received in. */
struct slow_job {
	uint64_t due_ns;
	uint64_t seq; /* order of arrival among equals */
	struct slow_job *next;
	size_t len;
	_Alignas(16) char mem[];
};

/** Begin to serve the queue: run() is called for each job that is due, from
 *  any of a few threads.  The queue frees the job afterwards. */
int slow_queue_start(void (*run)(struct slow_job *job));

/** Drops what still waits, joins the threads. */
void slow_queue_stop(void);

/** Queue a copy of mem.  -ENOMEM */
int slow_queue_push(const void *mem, size_t len, uint64_t due_ns);

/** Settings changed: let go what hangs, unless it is to hang on. */
void slow_queue_steer(void);

/** When a transfer of len bytes, begun now, leaves the shared link. */
uint64_t slow_link_reserve(uint64_t now_ns, uint64_t len, uint64_t rate);

struct slow_queue_state {
	uint64_t waiting; /* now, hung ones included */
	uint64_t hung;    /* now */
	uint64_t most;    /* waiting at once since the last reset */
};
struct slow_queue_state slow_queue_state(void);
void slow_queue_reset_most(void);

uint64_t slow_now_ns(void);

/* --- passthrough (slowfs_ops.c) --- */

#define SLOW_CTL_NAME ".slowfs"
#define SLOW_CTL_NODE 2 /* all other node ids are 1 or addresses */
#define SLOW_MAX_IO (1U << 20)

struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops slow_fuse_ops;

/** Serve the folder source_fd (owned from now on). */
int slow_ops_init(int source_fd, double attr_timeout);
void slow_ops_fini(void);

/** FUSE_STATX, which libfuse 3.14 has no operation for: it carries btime. */
int slow_ops_statx(uint64_t nodeid, struct statx *out);
double slow_ops_attr_timeout(void);

#endif
