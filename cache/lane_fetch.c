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

/* How many of the first of n belong into one run of slots.  0: the first is
 * not to be stored, for that reason. */
static uint32_t storable_locked(struct fetch **f, uint32_t n,
				enum pfs_counter *why)
	PFS_REQUIRES(f[0]->img->s->lock)
{
	uint32_t got = 0;

	*why = fill_refusal_locked(f[0]);
	while (got < n && fill_refusal_locked(f[got]) == FILL_OK &&
	       fill_class(f[got]) == fill_class(f[0]))
		got++;
	return got;
}

/* Store as many neighbours at a time as one run of free slots takes. */
static void store_group(struct pfs_lane *l, struct fetch **f, uint32_t n)
{
	struct pfs_store *s = l->s;

	while (n) {
		struct fetch_io *io = io_get(l);
		uint32_t got = 0, want;
		enum pfs_counter why;

		pfs_mutex_lock(&s->lock);
		want = storable_locked(f, n, &why);
		if (io && want)
			got = fill_alloc_locked(s, f, want, fill_class(f[0]),
						false);
		if (!got)
			fill_drop_locked(s, f[0], why);
		pfs_mutex_unlock(&s->lock);
		if (got)
			store_run(io, f, got);
		else if (io)
			io_put(io);
		got = PFS_MAX(got, 1u);
		f += got;
		n -= got;
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

/* Nothing will come of them: readers go to the source. */
static void give_up(struct pfs_lane *l, struct fetch **f, uint32_t n,
		    enum pfs_counter why)
{
	struct pfs_store *s = l->s;

	for (uint32_t i = 0; i < n; i++) {
		struct fetch_wait *list;

		pfs_count(why, 1);
		pfs_mutex_lock(&s->lock);
		fetch_detach_locked(s, f[i]);
		list = take_waiters_locked(f[i]);
		pfs_mutex_unlock(&s->lock);
		answer(l, list, NULL);
		pfs_mutex_lock(&s->lock);
		fetch_put_locked(s, f[i]);
		pfs_mutex_unlock(&s->lock);
	}
}

static void fetch_failed(struct fetch_io *io, int err)
{
	struct prefetch_job *job = io->job;

	pfs_log_limited(PFS_LOG_WARNING, "fetch",
			"image %llu chunk %llu: %s; readers go to the source",
			(unsigned long long)io->f[0]->img->id,
			(unsigned long long)io->f[0]->chunk, strerror(-err));
	give_up(io->lane, io->f, io->n, PFS_C_FETCH_ERROR);
	if (job)
		prefetch_ended(job, err, pfs_now_ns() - io->start_ns);
	io_put(io);
}

static void note_latency(struct pfs_store *s, enum fetch_kind kind, uint64_t ns)
{
	unsigned int log2 = 63u - (unsigned int)__builtin_clzll(ns | 1);

	atomic_fetch_add_explicit(
		&s->latency[kind][PFS_MIN(log2, PFS_LATENCY_BUCKETS - 1)], 1,
		memory_order_relaxed);
}

static void fetch_arrived(struct fetch_io *io)
{
	struct fetch_wait *list[FETCH_GROUP_MAX];
	struct fetch *f[FETCH_GROUP_MAX];
	struct prefetch_job *job = io->job;
	struct pfs_lane *l = io->lane;
	struct pfs_store *s = l->s;
	uint64_t ns = pfs_now_ns() - io->start_ns;
	uint32_t n = io->n;

	note_latency(s, job ? FETCH_AHEAD : FETCH_DEMAND, ns);
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
	if (job)
		prefetch_ended(job, 0, ns);
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
	if (io->job)
		pfs_count(PFS_C_PREFETCH_FETCHED, (uint64_t)res);
	io->n_done += (uint32_t)res;
	if (res && io->n_done < io->len) {
		read_rest(io);
		return;
	}
	pad(io);
	fetch_arrived(io);
}

/* Read n registered neighbours in one piece; job may be NULL.  False: too much
 * is in flight. */
static bool fetch_group(struct pfs_lane *l, struct fetch **f, uint32_t n,
			struct prefetch_job *job)
{
	uint32_t chunk = l->s->g.chunk;
	struct fetch_io *io = io_get(l);

	if (!io) {
		give_up(l, f, n, PFS_C_FETCH_CROWDED);
		return false;
	}
	io->job = job;
	io->start_ns = pfs_now_ns();
	io->n = n;
	io->n_done = 0;
	io->len = n * chunk;
	io->off = f[0]->chunk * chunk;
	io->src = f[0]->img->src;
	for (uint32_t i = 0; i < n; i++) {
		io->f[i] = f[i];
		io->iov[i] =
			(struct iovec){.iov_base = f[i]->buf, .iov_len = chunk};
	}
	pfs_count(job ? PFS_C_PREFETCH_FETCHES : PFS_C_FETCHES, n);
	read_rest(io);
	return true;
}

void fetches_start(struct pfs_lane *l, struct lane_read *r)
{
	uint32_t max = fetch_group_max(l->s), n_parts = r->n_parts, i = 0;

	(void)pfs_fault_check(PFS_FP_FETCH_BEGIN);
	while (i < n_parts) {
		struct fetch *f[FETCH_GROUP_MAX];
		uint32_t n = 0;

		for (; i < n_parts && n < max && r->parts[i].kind == PART_OWN;
		     i++)
			f[n++] = r->parts[i].fetch;
		if (n)
			(void)fetch_group(l, f, n, NULL);
		else
			i++;
	}
}

void fetches_start_job(struct pfs_lane *l, struct prefetch_job *job)
{
	(void)pfs_fault_check(PFS_FP_FETCH_BEGIN);
	if (!fetch_group(l, job->f, job->n, job))
		prefetch_ended(job, -EBUSY, 0);
}
