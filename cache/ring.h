/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/ring.h - one io_uring of one thread, with fault points.
 *
 * LD_PRELOAD tools cannot see io_uring, so every operation names a fault point
 * and this layer makes it fail, stall, tear or lose as armed.
 *
 * Threads  a ring belongs to the thread that made it; ring_wake() alone may be
 *          called from others.
 * Memory   an op and its buffers belong to the ring until op->done is called.
 */
#ifndef PFS_CACHE_RING_H
#define PFS_CACHE_RING_H

#include <sys/uio.h>

#include <liburing.h>

#include <pfs/base.h>
#include <pfs/fault.h>

struct ring_op {
	/* Called by ring_reap() with bytes done or -errno. */
	void (*done)(struct ring_op *op, int res);
	void *user; /* the caller's */
	/* --- the ring's own --- */
	struct ring_op *next;
	uint64_t due_ns; /* held back until then (stall) */
	struct pfs_fault fault;
	enum pfs_fault_point point;
	bool is_write;
	uint8_t n_iov;
	int fd;
	uint64_t off;
	const struct iovec *iov;
	struct iovec one; /* for single buffers */
	int synthetic;    /* result to deliver when held back */
	uint32_t len;     /* bytes asked for */
};

struct ring {
	struct io_uring u;
	struct ring_op *held, *ready; /* held: by due time */
	struct ring_op **ready_tail;
	struct ring_op wake_op;
	int wake_fd;         /* eventfd */
	uint32_t n_inflight; /* ops in the kernel or held back */
	void *fixed;         /* registered buffer region or NULL */
	size_t fixed_len;
	int fixed_fd; /* registered as file 0, or -1 */
};

int ring_init(struct ring *r, unsigned int entries) PFS_MUST_CHECK;
void ring_fini(struct ring *r);

/** Register one buffer region (or NULL) and one file (or -1) for cheaper reads;
 *  refused registrations are not an error. */
void ring_register(struct ring *r, void *mem, size_t len, int fd);

/** Start an operation; it reaches the kernel with the next ring_submit().
 *  op->done must be set; iov must stay valid. */
void ring_read(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
	       int fd, void *buf, uint32_t len, uint64_t off);
void ring_readv(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
		int fd, const struct iovec *iov, unsigned int n, uint64_t off);
void ring_writev(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
		 int fd, const struct iovec *iov, unsigned int n, uint64_t off);
/** op->done once fd is readable (not counted in n_inflight). */
void ring_poll(struct ring *r, struct ring_op *op, int fd);

void ring_submit(struct ring *r);
/** Deliver what has completed; how many. */
unsigned int ring_reap(struct ring *r);
/** Submit, then wait until something completes, ring_wake() is called or
 *  until_ns (pfs_now_ns() clock; UINT64_MAX: no limit) passes. */
void ring_wait(struct ring *r, uint64_t until_ns);
/** From any thread. */
void ring_wake(struct ring *r);

#endif
