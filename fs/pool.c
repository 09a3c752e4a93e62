/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pool.c - the job queue, its buffers and its timers.
 *
 * Jobs, small buffers and big buffers come from arrays made at the start, so
 * nothing is allocated per request.  Big buffers beyond n_big belong to those
 * who got one by pool_buf_get(); swapping keeps that number.
 *
 * A thread with nothing to do waits for a job.  While timers are set one such
 * thread, the timekeeper, waits for a job or for the next timer.
 */
#include "pool.h"

#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>
#include <pfs/log.h>
#include <pfs/mutex.h>

#define MAX_TASKS 4096u /* tasks and timers queued at once */

struct job {
	struct job *next;
	void *buf; /* a request's; NULL for a task */
	size_t len;
	int reply_fd;
	bool is_small;
	pool_fn fn;
	void *arg;
	uint64_t when_ns; /* of a timer */
};

/* A free buffer or job is linked through its first word. */
struct free_item {
	struct free_item *next;
};

struct pool {
	/* --- set at create, then constant --- */
	struct pool_config cfg;
	void *small_mem;
	struct job *jobs;
	pthread_t *threads; /* [max_threads] */

	struct pfs_mutex lock;
	struct pfs_cond work;  /* a job was queued, or stop */
	struct pfs_cond timer; /* the same for the timekeeper; next changed */
	struct pfs_cond room;  /* a buffer or job became free */
	struct pfs_cond idle;  /* nothing queued, nothing running */
	/* --- under lock --- */
	struct job *head, **tail;
	struct job *timers; /* by when_ns */
	struct free_item *free_small, *free_big, *free_jobs;
	unsigned int n_threads;
	unsigned int n_waiting; /* threads waiting for work */
	unsigned int n_running;
	unsigned int n_tasks;
	bool has_timekeeper;
	bool is_stopping;
};

static void push(struct free_item **list, void *mem)
{
	struct free_item *item = mem;

	item->next = *list;
	*list = item;
}

static void *pop(struct free_item **list)
{
	struct free_item *item = *list;

	if (item)
		*list = item->next;
	return item;
}

/* --- threads --- */

static void *thread_main(void *arg);

static bool start_thread_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	if (p->n_threads == p->cfg.max_threads ||
	    pfs_thread_start(&p->threads[p->n_threads], "pfs-pool", thread_main,
			     p))
		return false;
	p->n_threads++;
	return true;
}

/* See that somebody looks at the queue and the timers soon.  When every thread
 * is busy and no more may be started, the next to finish does. */
static void call_thread_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	if (p->n_waiting)
		pfs_cond_signal(&p->work);
	else if (p->has_timekeeper)
		pfs_cond_signal(&p->timer);
	else
		start_thread_locked(p);
}

static void queue_locked(struct pool *p, struct job *job) PFS_REQUIRES(p->lock)
{
	job->next = NULL;
	*p->tail = job;
	p->tail = &job->next;
	call_thread_locked(p);
}

static struct job *take_due_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	struct job *job = p->timers;

	if (!job || job->when_ns > pfs_now_ns())
		return NULL;
	p->timers = job->next;
	return job;
}

static struct job *take_queued_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	struct job *job = p->head;

	if (!job)
		return NULL;
	p->head = job->next;
	if (!p->head)
		p->tail = &p->head;
	return job;
}

static void wait_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	if (p->timers && !p->has_timekeeper) {
		p->has_timekeeper = true;
		/* Timed out or not: the caller looks. */
		(void)pfs_cond_wait_until(&p->timer, &p->lock,
					  p->timers->when_ns);
		p->has_timekeeper = false;
	} else {
		p->n_waiting++;
		pfs_cond_wait(&p->work, &p->lock);
		p->n_waiting--;
	}
}

/* The next job, or NULL at the end. */
static struct job *take_locked(struct pool *p) PFS_REQUIRES(p->lock)
{
	struct job *job;

	for (;;) {
		job = take_due_locked(p);
		if (!job)
			job = take_queued_locked(p);
		if (job || p->is_stopping)
			break;
		wait_locked(p);
	}
	/* Whoever leaves the wait may have been the timekeeper, or have taken
	 * a signal meant for one of two jobs. */
	if (job && (p->head || (p->timers && !p->has_timekeeper)))
		call_thread_locked(p);
	return job;
}

static void free_job_locked(struct pool *p, struct job *job)
	PFS_REQUIRES(p->lock)
{
	if (job->buf)
		push(job->is_small ? &p->free_small : &p->free_big, job->buf);
	else
		p->n_tasks--;
	push(&p->free_jobs, job);
	pfs_cond_broadcast(&p->room);
	if (!p->n_running && !p->head)
		pfs_cond_broadcast(&p->idle);
}

static void run(struct pool *p, struct job *job)
{
	if (job->buf)
		p->cfg.request(p->cfg.arg, job->buf, job->len, job->reply_fd);
	else
		job->fn(job->arg);
}

static void *thread_main(void *arg)
{
	struct pool *p = arg;
	struct job *job;

	pfs_mutex_lock(&p->lock);
	while ((job = take_locked(p))) {
		p->n_running++;
		pfs_mutex_unlock(&p->lock);
		run(p, job);
		pfs_mutex_lock(&p->lock);
		p->n_running--;
		free_job_locked(p, job);
	}
	pfs_mutex_unlock(&p->lock);
	return NULL;
}

/* --- create and destroy --- */

static void *big_alloc(void)
{
	bool locked = false;
	void *mem = pfs_pages_alloc(POOL_BIG_BUF, true, &locked);

	if (mem && !locked) {
		pfs_count(PFS_C_BUF_UNLOCKED, 1);
		pfs_log_limited(PFS_LOG_WARNING, "pool",
				"request buffer cannot be locked in memory: a "
				"killed worker may fail requests; raise the "
				"memlock limit");
	}
	return mem;
}

static int fill_big(struct pool *p)
{
	for (unsigned int i = 0; i < p->cfg.n_big; i++) {
		void *mem = big_alloc();

		if (!mem)
			return -ENOMEM;
		push(&p->free_big, mem);
	}
	return 0;
}

static int fill_jobs(struct pool *p)
{
	size_t n = p->cfg.n_small + p->cfg.n_big + MAX_TASKS;

	p->jobs = pfs_zalloc(n, sizeof(*p->jobs));
	if (!p->jobs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		push(&p->free_jobs, &p->jobs[i]);
	return 0;
}

static size_t small_len(const struct pool *p)
{
	return p->cfg.n_small * (size_t)POOL_SMALL_BUF;
}

static int fill_small(struct pool *p)
{
	bool locked; /* requests are copied in by us: no need */

	p->small_mem = pfs_pages_alloc(small_len(p), false, &locked);
	if (!p->small_mem)
		return -ENOMEM;
	for (unsigned int i = 0; i < p->cfg.n_small; i++)
		push(&p->free_small, (char *)p->small_mem + i * POOL_SMALL_BUF);
	return 0;
}

static void init(struct pool *p, const struct pool_config *cfg)
{
	p->cfg = *cfg;
	p->tail = &p->head;
	pfs_mutex_init(&p->lock, PFS_RANK_POOL);
	pfs_cond_init(&p->work);
	pfs_cond_init(&p->timer);
	pfs_cond_init(&p->room);
	pfs_cond_init(&p->idle);
}

/* One thread at once, so that the pool makes progress when later ones cannot
 * be started. */
static int start_first(struct pool *p)
{
	bool ok;

	p->threads = pfs_zalloc(p->cfg.max_threads, sizeof(*p->threads));
	if (!p->threads)
		return -ENOMEM;
	pfs_mutex_lock(&p->lock);
	ok = start_thread_locked(p);
	pfs_mutex_unlock(&p->lock);
	return ok ? 0 : -EAGAIN;
}

int pool_create(const struct pool_config *cfg, struct pool **out)
{
	struct pool *p;
	int err;

	if (!cfg->max_threads || !cfg->n_small || !cfg->n_big)
		return -EINVAL;
	p = pfs_zalloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	init(p, cfg);
	err = fill_jobs(p);
	if (!err)
		err = fill_small(p);
	if (!err)
		err = fill_big(p);
	if (!err)
		err = start_first(p);
	if (err) {
		pool_destroy(p);
		return err;
	}
	*out = p;
	return 0;
}

static void stop_threads(struct pool *p)
{
	pfs_mutex_lock(&p->lock);
	p->is_stopping = true;
	p->timers = NULL;
	pfs_cond_broadcast(&p->work);
	pfs_cond_broadcast(&p->timer);
	pfs_mutex_unlock(&p->lock);
	/* No thread is started from now on but by jobs that queue jobs; those
	 * are joined too, the count is read anew. */
	for (unsigned int i = 0;; i++) {
		bool is_last;

		pfs_mutex_lock(&p->lock);
		is_last = i == p->n_threads;
		pfs_mutex_unlock(&p->lock);
		if (is_last)
			break;
		pthread_join(p->threads[i], NULL);
	}
}

void pool_destroy(struct pool *p)
{
	void *mem;

	if (!p)
		return;
	stop_threads(p);
	while ((mem = pop(&p->free_big)))
		pfs_pages_free(mem, POOL_BIG_BUF);
	pfs_pages_free(p->small_mem, small_len(p));
	pfs_cond_fini(&p->idle);
	pfs_cond_fini(&p->room);
	pfs_cond_fini(&p->timer);
	pfs_cond_fini(&p->work);
	pfs_mutex_fini(&p->lock);
	free(p->threads);
	free(p->jobs);
	free(p);
}

/* --- callers --- */

void *pool_buf_get(struct pool *p)
{
	(void)p;
	return big_alloc();
}

void pool_buf_put(struct pool *p, void *buf)
{
	(void)p;
	pfs_pages_free(buf, POOL_BIG_BUF);
}

static void *wait_for_locked(struct pool *p, struct free_item **list)
	PFS_REQUIRES(p->lock)
{
	void *mem = pop(list);

	if (!mem)
		pfs_count(PFS_C_QUEUE_FULL, 1);
	while (!mem) {
		pfs_cond_wait(&p->room, &p->lock);
		mem = pop(list);
	}
	return mem;
}

void pool_request(struct pool *p, void **buf, size_t len, int reply_fd)
{
	bool is_small = len <= POOL_SMALL_BUF;
	struct job *job;
	void *mem;

	pfs_mutex_lock(&p->lock);
	mem = wait_for_locked(p, is_small ? &p->free_small : &p->free_big);
	/* There are as many jobs as buffers and tasks. */
	job = pop(&p->free_jobs);
	if (is_small) {
		memcpy(mem, *buf, len);
	} else {
		void *full = *buf;

		*buf = mem;
		mem = full;
	}
	*job = (struct job){
		.buf = mem,
		.len = len,
		.reply_fd = reply_fd,
		.is_small = is_small,
	};
	queue_locked(p, job);
	pfs_mutex_unlock(&p->lock);
}

static struct job *task_make_locked(struct pool *p, pool_fn fn, void *arg)
	PFS_REQUIRES(p->lock)
{
	struct job *job;

	if (p->n_tasks == MAX_TASKS)
		return NULL;
	p->n_tasks++;
	job = pop(&p->free_jobs);
	*job = (struct job){.fn = fn, .arg = arg};
	return job;
}

int pool_task(struct pool *p, pool_fn fn, void *arg)
{
	struct job *job;

	pfs_mutex_lock(&p->lock);
	job = task_make_locked(p, fn, arg);
	if (job)
		queue_locked(p, job);
	pfs_mutex_unlock(&p->lock);
	return job ? 0 : -EAGAIN;
}

static void set_timer_locked(struct pool *p, struct job *job)
	PFS_REQUIRES(p->lock)
{
	struct job **at = &p->timers;

	while (*at && (*at)->when_ns <= job->when_ns)
		at = &(*at)->next;
	job->next = *at;
	*at = job;
	/* A new first one: the timekeeper must wait for it instead. */
	if (p->timers == job && p->has_timekeeper)
		pfs_cond_signal(&p->timer);
	else if (p->timers == job)
		call_thread_locked(p);
}

int pool_task_at(struct pool *p, uint64_t when_ns, pool_fn fn, void *arg)
{
	struct job *job;

	pfs_mutex_lock(&p->lock);
	job = task_make_locked(p, fn, arg);
	if (job) {
		job->when_ns = when_ns;
		set_timer_locked(p, job);
	}
	pfs_mutex_unlock(&p->lock);
	return job ? 0 : -EAGAIN;
}

void pool_wait_idle(struct pool *p)
{
	pfs_mutex_lock(&p->lock);
	while (p->head || p->n_running)
		pfs_cond_wait(&p->idle, &p->lock);
	pfs_mutex_unlock(&p->lock);
}
