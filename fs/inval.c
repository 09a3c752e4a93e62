/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inval.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pfs/io.h>
#include <pfs/log.h>

#define QUEUE_MAX 64u /* more files at once: all are invalidated */

struct inval {
	struct worker *w;
	int child; /* socket: node ids for the process that tells the kernel */
	pthread_t thread;
	struct pfs_mutex lock;
	struct pfs_cond work; /* a file was queued, or stop */
	/* --- under lock --- */
	struct {
		uint64_t dev, ino;
	} file[QUEUE_MAX];
	unsigned int n;
	bool is_all;
	bool is_stopping;
};

/* --- the child ---
 *
 * The kernel waits for the pages of READs under way, and no signal ends that.
 * If a thread of the worker waited so, a killed worker could not be reaped, and
 * the successor that is to answer those READs would never start.
 */

static void tell_kernel(int dev_fd, uint64_t node)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out what;
	} msg = {
		.head = {.len = sizeof(msg), .error = FUSE_NOTIFY_INVAL_INODE},
		.what = {.ino = node},
	};

	/* ENOENT: the kernel does not know the node any more. */
	(void)!write(dev_fd, &msg, sizeof(msg));
}

/* Nothing but system calls here: other threads' locks may be held.  Ends when
 * the worker does. */
static void child_main(int sock, int dev_fd)
{
	uint64_t node;

	if (dup2(sock, 0) < 0 || dup2(dev_fd, 1) < 0 ||
	    close_range(2, ~0u, 0) < 0)
		_exit(1);
	while (recv(0, &node, sizeof(node), 0) == sizeof(node))
		tell_kernel(1, node);
	_exit(0);
}

static int start_child(struct inval *q)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	pid = fork();
	if (!pid)
		child_main(fds[1], q->w->dev_fd);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return -EAGAIN;
	}
	q->child = fds[0];
	return 0;
}

/* --- the thread --- */

static bool matches(const struct inval *q, const struct state_node *node)
{
	if (atomic_load(&node->use) != STATE_USED || node->is_dir)
		return false;
	for (unsigned int i = 0; i < q->n; i++)
		if (q->file[i].dev == node->dev && q->file[i].ino == node->ino)
			return true;
	return q->is_all;
}

/* The first row from here on that is meant, or STATE_MAX_NODES. */
static uint32_t next_match(const struct inval *batch, uint32_t row)
{
	struct worker *w = batch->w;

	pfs_mutex_lock(&w->mount_lock);
	while (row < STATE_MAX_NODES && !matches(batch, &w->state->node[row]))
		/* Rows without a serial were never used, nor those behind. */
		row = w->state->node[row].serial ? row + 1 : STATE_MAX_NODES;
	pfs_mutex_unlock(&w->mount_lock);
	return row;
}

/* The batch is the thread's own copy.  A node that goes or is reused meanwhile
 * costs a needless invalidation. */
static void carry_out(const struct inval *batch)
{
	uint32_t row = 0; /* the root is no image */

	while ((row = next_match(batch, row + 1)) < STATE_MAX_NODES) {
		uint64_t node = (uint64_t)row + 1;

		if (send(batch->child, &node, sizeof(node), MSG_NOSIGNAL) < 0)
			pfs_log_limited(PFS_LOG_ERROR, "inval",
					"kernel pages stay: %s",
					strerror(errno));
	}
}

static void *inval_main(void *arg)
{
	struct inval *q = arg, batch;

	for (;;) {
		pfs_mutex_lock(&q->lock);
		while (!q->n && !q->is_all && !q->is_stopping)
			pfs_cond_wait(&q->work, &q->lock);
		batch = *q;
		q->n = 0;
		q->is_all = false;
		pfs_mutex_unlock(&q->lock);
		if (batch.is_stopping)
			return NULL;
		carry_out(&batch);
	}
}

int inval_start(struct worker *w)
{
	struct inval *q;
	int err;

	if (!w->opt.page_cache)
		return 0;
	q = pfs_zalloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->w = w;
	pfs_mutex_init(&q->lock, PFS_RANK_LANE);
	pfs_cond_init(&q->work);
	err = start_child(q);
	if (err) {
		free(q);
		return err;
	}
	err = pfs_thread_start(&q->thread, "pfs-inval", inval_main, q);
	if (err) {
		close(q->child);
		free(q);
		return err;
	}
	w->inval = q;
	return 0;
}

void inval_stop(struct worker *w)
{
	struct inval *q = w->inval;

	if (!q)
		return;
	pfs_mutex_lock(&q->lock);
	q->is_stopping = true;
	pfs_cond_signal(&q->work);
	pfs_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
}

void inval_destroy(struct worker *w)
{
	struct inval *q = pfs_take(&w->inval);

	if (!q)
		return;
	close(q->child);
	pfs_cond_fini(&q->work);
	pfs_mutex_fini(&q->lock);
	free(q);
}

void inval_file(struct worker *w, uint64_t dev, uint64_t ino)
{
	struct inval *q = w->inval;

	if (!q)
		return;
	pfs_mutex_lock(&q->lock);
	if (q->n < QUEUE_MAX) {
		q->file[q->n].dev = dev;
		q->file[q->n++].ino = ino;
	} else {
		q->is_all = true;
	}
	pfs_cond_signal(&q->work);
	pfs_mutex_unlock(&q->lock);
}

void inval_all(struct worker *w)
{
	struct inval *q = w->inval;

	if (!q)
		return;
	pfs_mutex_lock(&q->lock);
	q->is_all = true;
	pfs_cond_signal(&q->work);
	pfs_mutex_unlock(&q->lock);
}
