/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * session.c - libfuse decodes and encodes; reading and writing is ours.
 *
 * The session never reads: threads read requests from their clones and hand
 * them to session_process().  It writes through write_reply(), to the clone
 * the request came from, as the thread has it noted.
 *
 * INIT is answered once in the life of a mount.  Request and reply are kept in
 * the mount's state before the reply is sent; a later worker feeds the request
 * to its own session, with the reply caught, so that both sides of the
 * protocol are as negotiated.
 */
#define FUSE_USE_VERSION 314

#include "session.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>

#include <pfs/io.h>
#include <pfs/log.h>

#include "ops.h"

#define NOTIFY_RESEND 7 /* FUSE_NOTIFY_RESEND of Linux 6.9 */

struct caught {
	uint8_t bytes[STATE_INIT_MAX];
	size_t len; /* more than there is room for: overflow */
};

static _Thread_local int reply_to = -1;
static _Thread_local struct caught *catching;

void session_reply_to(int fd)
{
	reply_to = fd;
}

int session_reply_fd(void)
{
	return reply_to;
}

static ssize_t catch_reply(struct caught *c, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		if (c->len + len + iov[i].iov_len <= sizeof(c->bytes))
			memcpy(c->bytes + c->len + len, iov[i].iov_base,
			       iov[i].iov_len);
		len += iov[i].iov_len;
	}
	c->len += len;
	return (ssize_t)len;
}

/* fd is the mount's own descriptor: notifications go there. */
static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct worker *w = userdata;

	if (catching)
		return catch_reply(catching, iov, count);
	PFS_GIVES_WAY(&w->handles);
	return writev(reply_to >= 0 ? reply_to : fd, iov, count);
}

static ssize_t never_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)fd;
	(void)buf;
	(void)len;
	(void)userdata;
	errno = ENOSYS;
	return -1;
}

void session_conn_init(const struct worker *w, struct fuse_conn_info *conn)
{
	const unsigned int wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
				    FUSE_CAP_PARALLEL_DIROPS;
	/* With the writeback cache a killed worker would lose acknowledged
	 * writes (I4); without ATOMIC_O_TRUNC every truncation is a SETATTR. */
	const unsigned int unwanted =
		FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV |
		FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
		FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;

	conn->want |= wanted & conn->capable;
	conn->want &= ~unwanted;
	conn->max_write = (unsigned int)SESSION_MAX_IO;
	conn->max_read = (unsigned int)SESSION_MAX_IO;
	conn->max_readahead = 0;
	conn->max_background = w->opt.max_background;
	conn->congestion_threshold = w->opt.max_background;
}

int session_create(struct worker *w)
{
	static const struct fuse_custom_io io = {
		.writev = write_reply,
		.read = never_read,
	};
	char max_read[48];
	char *argv[] = {(char *)"pfs", max_read, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	PFS_AUTO_FD fd = fcntl(w->dev_fd, F_DUPFD_CLOEXEC, 3);
	int err;

	if (fd < 0)
		return pfs_log_fail(-errno, "session", "dup");
	/* libfuse wants to hear here what conn->max_read will be. */
	(void)snprintf(max_read, sizeof(max_read), "-omax_read=%u",
		       (unsigned int)SESSION_MAX_IO);
	w->se = fuse_session_new(&args, ops_table(),
				 sizeof(struct fuse_lowlevel_ops), w);
	fuse_opt_free_args(&args);
	if (!w->se)
		return pfs_log_fail(-ENOMEM, "session", "fuse_session_new");
	err = fuse_session_custom_io(w->se, &io, fd);
	if (err) {
		session_destroy(w);
		return pfs_log_fail(-ENOMEM, "session", "custom_io");
	}
	/* The session closes it. */
	(void)pfs_take_fd(&fd);
	return 0;
}

void session_destroy(struct worker *w)
{
	if (w->se)
		fuse_session_destroy(w->se);
	w->se = NULL;
}

/* Let libfuse answer, and keep the answer to ourselves. */
static int answer_init(struct worker *w, void *req, size_t len,
		       struct caught *c)
{
	const struct fuse_out_header *out = (const void *)c->bytes;
	struct fuse_buf buf = {.mem = req, .size = len};

	c->len = 0;
	catching = c;
	fuse_session_process_buf(w->se, &buf);
	catching = NULL;
	if (c->len < sizeof(*out) || c->len > sizeof(c->bytes))
		return pfs_log_fail(-EPROTO, "session",
				    "INIT gave a reply of %zu bytes", c->len);
	if (out->error)
		return pfs_log_fail(-EPROTO, "session",
				    "INIT was answered with error %d",
				    out->error);
	return 0;
}

static void save_init(struct state *s, const void *req, size_t len,
		      const struct caught *c)
{
	memcpy(s->init, req, len);
	memcpy(s->init_reply, c->bytes, c->len);
	atomic_store(&s->init_reply_len, (uint32_t)c->len);
	/* Last: from here on there is a saved INIT. */
	atomic_store(&s->init_len, (uint32_t)len);
}

static int send_saved_reply(const struct state *s, uint64_t unique, int fd)
{
	struct fuse_out_header out;
	struct iovec iov[2];
	uint32_t len = atomic_load(&s->init_reply_len);

	if (len < sizeof(out) || len > sizeof(s->init_reply))
		return pfs_log_fail(-EPROTO, "session", "saved INIT is void");
	memcpy(&out, s->init_reply, sizeof(out));
	out.unique = unique;
	iov[0] = (struct iovec){&out, sizeof(out)};
	iov[1] = (struct iovec){(void *)(s->init_reply + sizeof(out)),
				len - sizeof(out)};
	if (writev(fd, iov, 2) < 0)
		return pfs_log_fail(-errno, "session", "answer INIT");
	return 0;
}

static ssize_t read_init(struct worker *w, void *buf)
{
	ssize_t n;

	do
		n = read(w->dev_fd, buf, POOL_BIG_BUF);
	while (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN));
	return n < 0 ? -errno : n;
}

static int init_first(struct worker *w, void *buf)
{
	const struct fuse_in_header *in = buf;
	struct caught c;
	ssize_t n = read_init(w, buf);
	int err;

	if (n < 0)
		return pfs_log_fail((int)n, "session", "read INIT");
	if ((size_t)n < sizeof(*in) || n > STATE_INIT_MAX ||
	    in->opcode != FUSE_INIT)
		return pfs_log_fail(-EPROTO, "session",
				    "the kernel's first request is no INIT");
	err = answer_init(w, buf, (size_t)n, &c);
	if (err)
		return err;
	save_init(w->state, buf, (size_t)n, &c);
	return send_saved_reply(w->state, in->unique, w->dev_fd);
}

int session_init_first(struct worker *w)
{
	bool locked;
	void *buf;
	int err;

	/* A worker before us may have died with the INIT in its hands. */
	if (w->state->n_starts > 1)
		(void)!session_resend(w);
	buf = pfs_pages_alloc(POOL_BIG_BUF, true, &locked);
	if (!buf)
		return -ENOMEM;
	err = init_first(w, buf);
	pfs_pages_free(buf, POOL_BIG_BUF);
	return err;
}

int session_init_replay(struct worker *w, void *reply, size_t *len)
{
	uint8_t req[STATE_INIT_MAX];
	uint32_t n = atomic_load(&w->state->init_len);
	struct caught c;
	int err;

	if (n < sizeof(struct fuse_in_header) || n > sizeof(req))
		return pfs_log_fail(-EPROTO, "session", "saved INIT is void");
	memcpy(req, w->state->init, n);
	err = answer_init(w, req, n, &c);
	if (err)
		return err;
	memcpy(reply, c.bytes, c.len);
	*len = c.len;
	return 0;
}

int session_resend(struct worker *w)
{
	struct fuse_out_header h = {
		.len = sizeof(h),
		.error = NOTIFY_RESEND,
	};

	if (write(w->dev_fd, &h, sizeof(h)) == sizeof(h))
		return 0;
	if (errno == EINVAL)
		return -ENOTSUP;
	/* ENODEV: unmounted meanwhile; who reads next will see it. */
	return errno == ENODEV ? 0 : -errno;
}

void session_process(void *worker, void *buf, size_t len, int reply_fd)
{
	const struct fuse_in_header *in = buf;
	struct fuse_buf fb = {.mem = buf, .size = len};
	struct worker *w = worker;

	session_reply_to(reply_fd);
	/* Its reply was saved but never written: a worker died in between. */
	if (in->opcode == FUSE_INIT)
		(void)!send_saved_reply(w->state, in->unique, reply_fd);
	else if (!ops_before(w, buf, len))
		fuse_session_process_buf(w->se, &fb);
}
