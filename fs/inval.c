/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inval.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <pfs/io.h>

#define QUEUE_MAX 64u /* more files at once: all are invalidated */

struct inval {
	struct worker *w;
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

	while ((row = next_match(batch, row + 1)) < STATE_MAX_NODES)
		(void)fuse_lowlevel_notify_inval_inode(batch->w->se, row + 1, 0,
						       0);
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
	err = pfs_thread_start(&q->thread, "pfs-inval", inval_main, q);
	if (err) {
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
