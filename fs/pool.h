/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/pool.h - threads for calls that may block.
 *
 * The data threads answer READ and hand every other request to this pool:
 * its threads decode it with libfuse and make plain synchronous system calls
 * on the source.  Synchronous on purpose: a dead worker's system calls are
 * over once waitpid() returns, an O_DIRECT io_uring write is not.
 *
 * Buffers  the kernel copies requests into them, so they are populated and
 *          locked: a SIGKILL in that copy would otherwise fail the request.
 *          Small requests are copied into a job; large ones change hands by
 *          swapping the whole buffer.
 */
#ifndef PFS_FS_POOL_H
#define PFS_FS_POOL_H

#include <pfs/base.h>

#define POOL_BIG_BUF (PFS_MIB(1) + PFS_KIB(64)) /* one request, max_write */
#define POOL_SMALL_BUF PFS_KIB(8)

struct pool;

/** A task of our own (not a FUSE request). */
typedef void (*pool_fn)(void *arg);

/** fn(arg, request, len, reply_fd) runs on a pool thread for each request. */
struct pool_config {
	unsigned int max_threads;    /* started as needed */
	unsigned int n_small, n_big; /* requests held at once */
	void (*request)(void *arg, void *buf, size_t len, int reply_fd);
	void *arg;
};

int pool_create(const struct pool_config *cfg,
		struct pool **out) PFS_MUST_CHECK;
/** Runs everything that is queued, then joins the threads.  Timers that are not
 *  due are dropped.  Accepts NULL. */
void pool_destroy(struct pool *p);

/** A big buffer to read requests into, beside the n_big ones; NULL if there is
 *  no memory. */
void *pool_buf_get(struct pool *p);
void pool_buf_put(struct pool *p, void *buf);

/** Queue a request of len bytes in *buf (a big buffer).  A big request takes
 *  the buffer and *buf is another one afterwards.  Waits while the pool is
 *  full (counted). */
void pool_request(struct pool *p, void **buf, size_t len, int reply_fd);

/** Queue a task; -EAGAIN when too many are queued. */
int pool_task(struct pool *p, pool_fn fn, void *arg) PFS_MUST_CHECK;

/** Queue a task to run at pfs_now_ns() >= when_ns. */
int pool_task_at(struct pool *p, uint64_t when_ns, pool_fn fn,
		 void *arg) PFS_MUST_CHECK;

/** Wait until nothing is queued and nothing runs (timers not counted).  Not
 *  from a pool thread. */
void pool_wait_idle(struct pool *p);

#endif
