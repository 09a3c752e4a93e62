/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The prefetcher: a lane without reads of its own, on a thread of its own.
 *
 * pfs_prefetch_start() registers the fetches in its caller's thread, so that a
 * guest's read that comes right after joins them, and queues the job.  The
 * thread takes it from there with the code that serves misses: source read,
 * waiters answered (on behalf of their home lanes), slots, insertion.  A job
 * ends, and done() is called, once the source has delivered; its chunks may
 * still be on their way into the store then.
 */
#include <pfs/prefetch.h>

#include "lane_core.h"

#define N_JOBS 32u /* half of the lane's fetch_ios: the rest is for stores */

struct pfs_prefetcher {
	/* --- set at create, then constant --- */
	struct pfs_store *s;
	void (*done)(void *arg, const struct pfs_prefetch_done *d);
	void *arg;
	pthread_t thread;
	struct pfs_lane *lane; /* the thread's own but for waking */

	struct pfs_mutex lock;
	/* --- under lock --- */
	struct prefetch_job jobs[N_JOBS];
	struct prefetch_job *free_job, *queue, **tail;
	uint32_t n_jobs; /* not free */
	bool is_up, is_stopping;
	int start_err;
	struct pfs_cond up; /* is_up was set */
};

/* --- jobs --- */

static struct prefetch_job *job_get(struct pfs_prefetcher *p)
{
	struct prefetch_job *job;

	pfs_mutex_lock(&p->lock);
	job = p->free_job;
	if (job) {
		p->free_job = job->next;
		p->n_jobs++;
	}
	pfs_mutex_unlock(&p->lock);
	return job;
}

static void job_put(struct prefetch_job *job)
{
	struct pfs_prefetcher *p = job->home;

	pfs_mutex_lock(&p->lock);
	job->next = p->free_job;
	p->free_job = job;
	p->n_jobs--;
	pfs_mutex_unlock(&p->lock);
}

static void job_queue(struct prefetch_job *job)
{
	struct pfs_prefetcher *p = job->home;
	bool was_empty;

	job->next = NULL;
	pfs_mutex_lock(&p->lock);
	was_empty = !p->queue;
	*p->tail = job;
	p->tail = &job->next;
	pfs_mutex_unlock(&p->lock);
	if (was_empty)
		pfs_lane_wake(p->lane);
}

static struct prefetch_job *take_queue(struct pfs_prefetcher *p)
{
	struct prefetch_job *list;

	pfs_mutex_lock(&p->lock);
	list = p->queue;
	p->queue = NULL;
	p->tail = &p->queue;
	pfs_mutex_unlock(&p->lock);
	return list;
}

void prefetch_ended(struct prefetch_job *job, int err, uint64_t latency_ns)
{
	struct pfs_prefetcher *p = job->home;
	struct pfs_prefetch_done d = {
		.tag = job->tag,
		.n_chunks = err ? 0 : job->n,
		.err = err,
		.latency_ns = latency_ns,
	};

	job_put(job);
	p->done(p->arg, &d);
}

/* --- starting a fetch --- */

static bool is_absent_locked(struct pfs_store_image *img, uint64_t chunk)
	PFS_REQUIRES(img->s->lock)
{
	uint32_t slot;
	uint64_t gen;

	return chunk < STORE_CHUNK_MAX &&
	       !index_find(&img->ix, chunk, &slot, &gen) &&
	       !fetch_find_locked(img->s, img, chunk) &&
	       !image_is_hole_locked(img, chunk);
}

bool pfs_store_image_is_absent(struct pfs_store_image *img, uint64_t chunk)
{
	bool is_absent;

	pfs_mutex_lock(&img->s->lock);
	is_absent = image_refusal_locked(img) == FILL_OK &&
		    is_absent_locked(img, chunk);
	pfs_mutex_unlock(&img->s->lock);
	return is_absent;
}

/* Registers fetches of the leading absent chunks of first .. first + n - 1. */
static int take_fetches_locked(struct pfs_store_image *img, uint64_t first,
			       uint32_t n, struct prefetch_job *job)
	PFS_REQUIRES(img->s->lock)
{
	struct pfs_store *s = img->s;

	job->n = 0;
	if (image_refusal_locked(img) != FILL_OK)
		return -ESTALE;
	while (job->n < n && is_absent_locked(img, first + job->n)) {
		struct fetch *f = NULL;

		if (fill_has_room_locked(s, CLASS_PROBATION))
			f = fetch_get_ahead_locked(s, img, first + job->n);
		if (!f)
			return job->n ? 0 : -EAGAIN;
		job->f[job->n++] = f;
	}
	return 0;
}

/* The first n of these chunks lie within the image. */
static uint32_t n_within(const struct pfs_store *s, uint64_t size_bytes,
			 uint64_t first, uint32_t n)
{
	uint64_t n_chunks =
		size_bytes / s->g.chunk + (size_bytes % s->g.chunk != 0);

	if (first >= n_chunks)
		return 0;
	n = PFS_MIN(n, fetch_group_max(s));
	return (uint32_t)PFS_MIN((uint64_t)n, n_chunks - first);
}

static int refused(int err)
{
	pfs_count(err == -EAGAIN ? PFS_C_PREFETCH_REFUSED
				 : PFS_C_PREFETCH_NO_STORE,
		  1);
	return err;
}

int pfs_prefetch_start(struct pfs_prefetcher *p, struct pfs_store_image *img,
		       uint64_t size_bytes, uint64_t first, uint32_t n,
		       uint64_t tag)
{
	struct prefetch_job *job = job_get(p);
	uint32_t got;
	int err;

	if (!job)
		return refused(-EAGAIN);
	n = n_within(p->s, size_bytes, first, n);
	pfs_mutex_lock(&p->s->lock);
	err = take_fetches_locked(img, first, n, job);
	pfs_mutex_unlock(&p->s->lock);
	got = job->n;
	if (!got) {
		job_put(job);
		return err ? refused(err) : 0;
	}
	job->tag = tag;
	job_queue(job); /* it is the thread's from here on */
	return (int)got;
}

/* --- the thread --- */

static void start_queued(struct pfs_prefetcher *p)
{
	struct prefetch_job *job = take_queue(p);

	while (job) {
		struct prefetch_job *next = job->next;

		fetches_start_job(p->lane, job);
		job = next;
	}
}

static bool goes_on(struct pfs_prefetcher *p)
{
	bool is_over;

	pfs_mutex_lock(&p->lock);
	is_over = p->is_stopping && !p->n_jobs;
	pfs_mutex_unlock(&p->lock);
	return !is_over || !pfs_lane_is_idle(p->lane);
}

static void run(struct pfs_prefetcher *p)
{
	/* Right after the wait, which takes wake-ups: none is for a job that
	 * was queued behind a look at the queue. */
	while (goes_on(p)) {
		start_queued(p);
		pfs_lane_wait(p->lane, -1);
	}
}

static void *prefetch_main(void *arg)
{
	struct pfs_prefetcher *p = arg;
	/* A ring belongs to the thread that makes it. */
	int err = lane_create(p->s, 0, 0, &p->lane);

	pfs_mutex_lock(&p->lock);
	p->start_err = err;
	p->is_up = true;
	pfs_cond_signal(&p->up);
	pfs_mutex_unlock(&p->lock);
	if (!err)
		run(p);
	return NULL;
}

/* --- create and destroy --- */

static void prefetcher_free(struct pfs_prefetcher *p)
{
	pfs_cond_fini(&p->up);
	pfs_mutex_fini(&p->lock);
	free(p);
}

static int start_thread(struct pfs_prefetcher *p)
{
	int err =
		pfs_thread_start(&p->thread, "pfs-prefetch", prefetch_main, p);

	if (err)
		return err;
	pfs_mutex_lock(&p->lock);
	while (!p->is_up)
		pfs_cond_wait(&p->up, &p->lock);
	err = p->start_err;
	pfs_mutex_unlock(&p->lock);
	if (err)
		pthread_join(p->thread, NULL);
	return err;
}

int pfs_prefetcher_create(const struct pfs_prefetcher_config *cfg,
			  struct pfs_prefetcher **out)
{
	struct pfs_prefetcher *p = pfs_zalloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->s = cfg->store;
	p->done = cfg->done;
	p->arg = cfg->arg;
	p->tail = &p->queue;
	pfs_mutex_init(&p->lock, PFS_RANK_LANE);
	pfs_cond_init(&p->up);
	for (uint32_t i = 0; i < N_JOBS; i++) {
		p->jobs[i].home = p;
		p->jobs[i].next = p->free_job;
		p->free_job = &p->jobs[i];
	}
	err = start_thread(p);
	if (err) {
		prefetcher_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void pfs_prefetcher_destroy(struct pfs_prefetcher *p)
{
	if (!p)
		return;
	pfs_mutex_lock(&p->lock);
	p->is_stopping = true;
	pfs_mutex_unlock(&p->lock);
	pfs_lane_wake(p->lane);
	pthread_join(p->thread, NULL);
	pfs_lane_destroy(p->lane);
	prefetcher_free(p);
}
