/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ring.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include <pfs/clock.h>
#include <pfs/io.h>
#include <pfs/log.h>

/* Buffered reads of a slow source park one io-wq thread each; the kernel's
 * default for two cores is 8, too few for a queue depth of 32. */
#define IOWQ_BOUNDED 64u

static void wake_done(struct ring_op *op, int res);

static void arm_wake(struct ring *r)
{
	r->wake_op.done = wake_done;
	ring_poll(r, &r->wake_op, r->wake_fd);
}

static void wake_done(struct ring_op *op, int res)
{
	struct ring *r = PFS_CONTAINER_OF(op, struct ring, wake_op);
	uint64_t n;

	(void)res;
	if (read(r->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		pfs_log_limited(PFS_LOG_ERROR, "ring", "eventfd: %s",
				strerror(errno));
	arm_wake(r);
}

int ring_init(struct ring *r, unsigned int entries)
{
	struct io_uring_params prm = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
		.cq_entries = entries * 4,
	};
	unsigned int workers[2] = {IOWQ_BOUNDED, 0};
	int err;

	memset(r, 0, sizeof(*r));
	r->fixed_fd = -1;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0)
		return -errno;

	err = io_uring_queue_init_params(entries, &r->u, &prm);
	if (err == -EINVAL) { /* kernels before 6.1 */
		prm = (struct io_uring_params){
			.flags = IORING_SETUP_CQSIZE,
			.cq_entries = entries * 4,
		};
		err = io_uring_queue_init_params(entries, &r->u, &prm);
	}
	if (err) {
		close(r->wake_fd);
		return pfs_log_fail(err, "ring", "io_uring_setup");
	}
	err = io_uring_register_iowq_max_workers(&r->u, workers);
	if (err)
		pfs_log(PFS_LOG_DEBUG, "ring", "io-wq limit not set: %s",
			strerror(-err));
	r->ready_tail = &r->ready; /* from here on ring_fini() has work */
	arm_wake(r);
	return 0;
}

void ring_fini(struct ring *r)
{
	if (!r->ready_tail)
		return;
	io_uring_queue_exit(&r->u);
	close(r->wake_fd);
	r->ready_tail = NULL;
}

void ring_register(struct ring *r, void *mem, size_t len, int fd)
{
	struct iovec iov = {.iov_base = mem, .iov_len = len};

	if (mem && !io_uring_register_buffers(&r->u, &iov, 1)) {
		r->fixed = mem;
		r->fixed_len = len;
	}
	if (fd >= 0 && !io_uring_register_files(&r->u, &fd, 1))
		r->fixed_fd = fd;
}

static struct io_uring_sqe *get_sqe(struct ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);

	while (!sqe) {
		io_uring_submit(&r->u);
		sqe = io_uring_get_sqe(&r->u);
	}
	return sqe;
}

static bool is_fixed(const struct ring *r, const struct iovec *iov)
{
	const uint8_t *base = r->fixed, *p = iov->iov_base;

	return base && p >= base && p + iov->iov_len <= base + r->fixed_len;
}

/* Hand an op to the kernel. */
static void issue(struct ring *r, struct ring_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(r);

	if (op->is_write)
		io_uring_prep_writev(sqe, op->fd, op->iov, op->n_iov, op->off);
	else if (op->n_iov == 1 && is_fixed(r, op->iov))
		io_uring_prep_read_fixed(sqe, op->fd, op->iov->iov_base,
					 (unsigned int)op->iov->iov_len,
					 op->off, 0);
	else
		io_uring_prep_readv(sqe, op->fd, op->iov, op->n_iov, op->off);
	if (op->fd == r->fixed_fd) {
		sqe->fd = 0;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	io_uring_sqe_set_data(sqe, op);
}

/* --- faults --- */

static void make_ready(struct ring *r, struct ring_op *op, int res)
{
	op->synthetic = res;
	op->next = NULL;
	*r->ready_tail = op;
	r->ready_tail = &op->next;
}

static void hold(struct ring *r, struct ring_op *op, uint64_t ms)
{
	struct ring_op **at = &r->held;

	op->due_ns = pfs_now_ns() + ms * PFS_NSEC_PER_MSEC;
	while (*at && (*at)->due_ns <= op->due_ns)
		at = &(*at)->next;
	op->next = *at;
	*at = op;
}

/* Cut the first buffers to len bytes in all; the op then has its own iovec. */
static void shorten(struct ring_op *op, uint64_t len)
{
	op->one = op->iov[0];
	op->one.iov_len = PFS_MIN((uint64_t)op->one.iov_len, len);
	op->iov = &op->one;
	op->n_iov = 1;
}

/* A write that claims success now and reaches the disk later: the I/O layer
 * owns a copy of the bytes. */
static void write_late(struct ring_op *op)
{
	uint64_t off = op->off;

	for (unsigned int i = 0; i < op->n_iov; i++) {
		ssize_t n = pfs_io_pwrite_late(op->fd, op->iov[i].iov_base,
					       op->iov[i].iov_len, off,
					       op->fault.arg);
		(void)n; /* lost is what this fault is about */
		off += op->iov[i].iov_len;
	}
}

/* True when the fault has settled the op: it must not be issued. */
static bool apply_fault(struct ring *r, struct ring_op *op)
{
	switch (op->fault.kind) {
	case PFS_FAULT_ERRNO:
		make_ready(r, op, -(int)op->fault.arg);
		return true;
	case PFS_FAULT_LOST:
		make_ready(r, op, (int)op->len);
		return true;
	case PFS_FAULT_LATE:
		write_late(op);
		make_ready(r, op, (int)op->len);
		return true;
	case PFS_FAULT_STALL:
		hold(r, op, op->fault.arg);
		return true;
	case PFS_FAULT_SHORT:
	case PFS_FAULT_TORN:
		shorten(op, op->fault.arg);
		if (op->one.iov_len)
			return false;
		make_ready(r, op,
			   op->fault.kind == PFS_FAULT_TORN ? (int)op->len : 0);
		return true;
	default:
		return false;
	}
}

static void flip(struct ring_op *op, size_t at)
{
	const struct iovec *v = op->iov;

	for (; at >= v->iov_len; v++)
		at -= v->iov_len;
	((uint8_t *)v->iov_base)[at] ^= 1;
}

/* What the caller is told of a finished op. */
static int result_of(struct ring_op *op, int res)
{
	if (res > 0 && op->fault.kind == PFS_FAULT_TORN)
		return (int)op->len;
	if (res > 0 && op->fault.kind == PFS_FAULT_FLIP && !op->is_write)
		flip(op, (uint32_t)res / 2);
	return res;
}

/* --- operations --- */

static void start(struct ring *r, struct ring_op *op)
{
	op->len = 0;
	for (unsigned int i = 0; i < op->n_iov; i++)
		op->len += (uint32_t)op->iov[i].iov_len;
	op->fault = pfs_fault_take(op->point);
	r->n_inflight++;
	if (op->fault.kind == PFS_FAULT_NONE || !apply_fault(r, op))
		issue(r, op);
}

void ring_read(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
	       int fd, void *buf, uint32_t len, uint64_t off)
{
	op->one = (struct iovec){.iov_base = buf, .iov_len = len};
	op->iov = &op->one;
	op->n_iov = 1;
	op->fd = fd;
	op->off = off;
	op->point = p;
	op->is_write = false;
	start(r, op);
}

static void start_vector(struct ring *r, struct ring_op *op,
			 enum pfs_fault_point p, int fd,
			 const struct iovec *iov, unsigned int n, uint64_t off,
			 bool is_write)
{
	op->iov = iov;
	op->n_iov = (uint8_t)n;
	op->fd = fd;
	op->off = off;
	op->point = p;
	op->is_write = is_write;
	start(r, op);
}

void ring_readv(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
		int fd, const struct iovec *iov, unsigned int n, uint64_t off)
{
	start_vector(r, op, p, fd, iov, n, off, false);
}

void ring_writev(struct ring *r, struct ring_op *op, enum pfs_fault_point p,
		 int fd, const struct iovec *iov, unsigned int n, uint64_t off)
{
	start_vector(r, op, p, fd, iov, n, off, true);
}

void ring_poll(struct ring *r, struct ring_op *op, int fd)
{
	struct io_uring_sqe *sqe = get_sqe(r);

	op->fault.kind = PFS_FAULT_NONE;
	op->is_write = false;
	op->n_iov = 0;
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data(sqe, op);
}

void ring_submit(struct ring *r)
{
	int n;

	if (!io_uring_sq_ready(&r->u))
		return;
	n = io_uring_submit(&r->u);
	if (n < 0 && n != -EBUSY && n != -EINTR && n != -EAGAIN)
		pfs_log_limited(PFS_LOG_ERROR, "ring", "submit: %s",
				strerror(-n));
}

static unsigned int reap_ready(struct ring *r)
{
	struct ring_op *op = r->ready;
	unsigned int n = 0;

	r->ready = NULL;
	r->ready_tail = &r->ready;
	while (op) {
		struct ring_op *next = op->next;

		r->n_inflight--;
		op->done(op, op->synthetic);
		op = next;
		n++;
	}
	return n;
}

static void issue_due(struct ring *r)
{
	uint64_t now;

	if (!r->held)
		return;
	now = pfs_now_ns();
	while (r->held && r->held->due_ns <= now) {
		struct ring_op *op = r->held;

		r->held = op->next;
		issue(r, op);
	}
}

unsigned int ring_reap(struct ring *r)
{
	struct io_uring_cqe *cqe;
	unsigned int n = 0;

	issue_due(r);
	if (r->ready)
		n = reap_ready(r);
	while (!io_uring_peek_cqe(&r->u, &cqe)) {
		struct ring_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&r->u, cqe);
		if (op->n_iov) {
			r->n_inflight--;
			res = result_of(op, res);
		}
		op->done(op, res);
		n++;
	}
	return n;
}

void ring_wait(struct ring *r, uint64_t until_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	uint64_t now;

	if (r->ready)
		return;
	if (r->held)
		until_ns = PFS_MIN(until_ns, r->held->due_ns);
	if (until_ns == UINT64_MAX) {
		io_uring_submit_and_wait(&r->u, 1);
		return;
	}
	now = pfs_now_ns();
	if (until_ns <= now) {
		ring_submit(r);
		return;
	}
	ts.tv_sec = (int64_t)((until_ns - now) / PFS_NSEC_PER_SEC);
	ts.tv_nsec = (long long)((until_ns - now) % PFS_NSEC_PER_SEC);
	io_uring_submit_and_wait_timeout(&r->u, &cqe, 1, &ts, NULL);
}

void ring_wake(struct ring *r)
{
	uint64_t one = 1;
	ssize_t n = write(r->wake_fd, &one, sizeof(one));

	(void)n; /* full means a wake-up is pending already */
}
