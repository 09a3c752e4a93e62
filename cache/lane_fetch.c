/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Misses: neighbouring chunks are read from the source in one piece, readers
 * are answered from the buffer as soon as it has arrived, and only then is the
 * chunk written to a slot and inserted (fill.c).
 */
#include "lane_core.h"

#include <string.h>

#define N_IOS 64u

int fetch_ios_init(struct pfs_lane *l)
{
	l->n_ios = N_IOS;
	l->ios = pfs_zalloc(N_IOS, sizeof(*l->ios));
	if (!l->ios)
		return -ENOMEM;
	for (uint32_t i = 0; i < N_IOS; i++) {
		l->ios[i].lane = l;
		l->ios[i].next = l->free_io;
		l->free_io = &l->ios[i];
	}
	return 0;
}

static struct fetch_io *io_get(struct pfs_lane *l)
{
	struct fetch_io *io = l->free_io;

	if (io)
		l->free_io = io->next;
	return io;
}

static void io_put(struct fetch_io *io)
{
	io->next = io->lane->free_io;
	io->lane->free_io = io;
}

/* --- storing --- */

static void store_done(struct ring_op *op, int res)
{
	struct fetch_io *io = PFS_CONTAINER_OF(op, struct fetch_io, op);
	struct pfs_store *s = io->lane->s;
	int err = res == (int)io->len ? 0 : res < 0 ? res : -EIO;

	(void)pfs_fault_check(PFS_FP_FETCH_STORED);
	for (uint32_t i = 0; i < io->n; i++)
		fill_done(s, io->f[i], err);
	(void)pfs_fault_check(PFS_FP_FETCH_INSERT);
	io_put(io);
}

static void store_run(struct fetch_io *io, struct fetch **f, uint32_t n)
{
	struct pfs_store *s = io->lane->s;

	io->n = n;
	io->len = n * s->g.chunk;
	for (uint32_t i = 0; i < n; i++) {
		io->f[i] = f[i];
		io->iov[i] = (struct iovec){.iov_base = f[i]->buf,
					    .iov_len = s->g.chunk};
		fill_sum(s, f[i]);
	}
	io->op.done = store_done;
	ring_writev(&io->lane->ring, &io->op, PFS_FP_STORE_WRITE, s->fd,
		    io->iov, n, geometry_slot_off(&s->g, f[0]->slot));
}

static void drop_fetch_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock)
{
	pfs_count(f->is_detached ? PFS_C_FILL_STALE : PFS_C_FILL_NO_ROOM, 1);
	fetch_put_locked(s, f);
}

/* Store as many neighbours at a time as one run of free slots takes. */
static void store_group(struct pfs_lane *l, struct fetch **f, uint32_t n)
{
	struct pfs_store *s = l->s;
	uint32_t i = 0;

	while (i < n) {
		struct fetch_io *io = io_get(l);
		uint32_t got = 0, want = 0;

		pfs_mutex_lock(&s->lock);
		while (i + want < n && fill_allowed_locked(s, f[i + want]))
			want++;
		if (io && want)
			got = fill_alloc_locked(s, f + i, want, CLASS_MAIN,
						false);
		if (!got)
			drop_fetch_locked(s, f[i]);
		pfs_mutex_unlock(&s->lock);
		if (got)
			store_run(io, f + i, got);
		else if (io)
			io_put(io);
		i += got ? got : 1;
	}
}

/* --- fetching --- */

static struct fetch_wait *take_waiters_locked(struct fetch *f)
{
	struct fetch_wait *list = f->waiters;

	f->waiters = NULL;
	return list;
}

/* Every reader of one chunk gets its bytes, or the word to read them itself. */
static void answer(struct pfs_lane *l, struct fetch_wait *list,
		   const struct fetch *f)
{
	while (list) {
		struct fetch_wait *w = list;
		struct lane_read *r = w->read;

		list = w->next;
		if (f)
			memcpy(w->part->data, f->buf + w->part->off,
			       w->part->len);
		else
			atomic_store_explicit(&r->wants_direct, true,
					      memory_order_relaxed);
		read_part_done(l, r); /* w is gone after this */
	}
}

static void fetch_failed(struct fetch_io *io, int err)
{
	struct pfs_lane *l = io->lane;
	struct pfs_store *s = l->s;

	pfs_log_limited(PFS_LOG_WARNING, "fetch",
			"image %llu chunk %llu: %s; readers go to the source",
			(unsigned long long)io->f[0]->img->id,
			(unsigned long long)io->f[0]->chunk, strerror(-err));
	for (uint32_t i = 0; i < io->n; i++) {
		struct fetch *f = io->f[i];
		struct fetch_wait *list;

		pfs_count(PFS_C_FETCH_ERROR, 1);
		pfs_mutex_lock(&s->lock);
		fetch_detach_locked(s, f);
		list = take_waiters_locked(f);
		pfs_mutex_unlock(&s->lock);
		answer(l, list, NULL);
		pfs_mutex_lock(&s->lock);
		fetch_put_locked(s, f);
		pfs_mutex_unlock(&s->lock);
	}
	io_put(io);
}

static void fetch_arrived(struct fetch_io *io)
{
	struct fetch_wait *list[FETCH_GROUP_MAX];
	struct fetch *f[FETCH_GROUP_MAX];
	struct pfs_lane *l = io->lane;
	struct pfs_store *s = l->s;
	uint32_t n = io->n;

	(void)pfs_fault_check(PFS_FP_FETCH_READ);
	memcpy(f, io->f, n * sizeof(*f));
	io_put(io);
	pfs_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < n; i++) {
		f[i]->state = FETCH_READY;
		list[i] = take_waiters_locked(f[i]);
	}
	pfs_mutex_unlock(&s->lock);
	for (uint32_t i = 0; i < n; i++)
		answer(l, list[i], f[i]);
	(void)pfs_fault_check(PFS_FP_FETCH_REPLIED);
	store_group(l, f, n);
}

static void fetch_done(struct ring_op *op, int res);

/* Ask for the bytes that have not arrived yet. */
static void read_rest(struct fetch_io *io)
{
	struct geometry *g = &io->lane->s->g;
	uint32_t first = io->n_done / g->chunk, in = io->n_done % g->chunk;

	io->n_left = io->n - first;
	memcpy(io->left, io->iov + first, io->n_left * sizeof(*io->left));
	io->left[0].iov_base = (uint8_t *)io->left[0].iov_base + in;
	io->left[0].iov_len -= in;
	io->op.done = fetch_done;
	source_readv(io->src, &io->lane->ring, &io->op, io->left, io->n_left,
		     io->off + io->n_done);
}

/* Beyond the end of the image a slot is zeros. */
static void pad(struct fetch_io *io)
{
	uint32_t chunk = io->lane->s->g.chunk;

	for (uint32_t i = io->n_done / chunk; i < io->n; i++) {
		uint32_t in = i == io->n_done / chunk ? io->n_done % chunk : 0;

		memset(io->f[i]->buf + in, 0, chunk - in);
	}
}

static void fetch_done(struct ring_op *op, int res)
{
	struct fetch_io *io = PFS_CONTAINER_OF(op, struct fetch_io, op);

	if (res < 0) {
		fetch_failed(io, res);
		return;
	}
	pfs_count(PFS_C_FETCH_BYTES, (uint64_t)res);
	io->n_done += (uint32_t)res;
	if (res && io->n_done < io->len) {
		read_rest(io);
		return;
	}
	pad(io);
	fetch_arrived(io);
}

static void fetch_group(struct pfs_lane *l, struct part *p, uint32_t n)
{
	struct pfs_store *s = l->s;
	struct fetch_io *io = io_get(l);

	if (!io) {
		/* Too much in flight: the reader goes to the source. */
		for (uint32_t i = 0; i < n; i++) {
			struct fetch_wait *list;

			pfs_mutex_lock(&s->lock);
			fetch_detach_locked(s, p[i].fetch);
			list = take_waiters_locked(p[i].fetch);
			pfs_mutex_unlock(&s->lock);
			answer(l, list, NULL);
			pfs_mutex_lock(&s->lock);
			drop_fetch_locked(s, p[i].fetch);
			pfs_mutex_unlock(&s->lock);
		}
		return;
	}
	io->n = n;
	io->n_done = 0;
	io->len = n * s->g.chunk;
	io->off = p->chunk * s->g.chunk;
	io->src = p->fetch->img->src;
	for (uint32_t i = 0; i < n; i++) {
		io->f[i] = p[i].fetch;
		io->iov[i] = (struct iovec){.iov_base = p[i].fetch->buf,
					    .iov_len = s->g.chunk};
	}
	pfs_count(PFS_C_FETCHES, n);
	read_rest(io);
}

void fetches_start(struct pfs_lane *l, struct lane_read *r)
{
	uint32_t max = PFS_MIN((uint32_t)(PFS_READ_MAX / l->s->g.chunk),
			       FETCH_GROUP_MAX);
	uint32_t n_parts = r->n_parts, i = 0;

	(void)pfs_fault_check(PFS_FP_FETCH_BEGIN);
	while (i < n_parts) {
		uint32_t n = 0;

		while (i + n < n_parts && n < max &&
		       r->parts[i + n].kind == PART_OWN)
			n++;
		if (n)
			fetch_group(l, &r->parts[i], n);
		i += n ? n : 1;
	}
}
