/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <stdio.h>
#include <string.h>

#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/log.h>

#include "aside.h"

/* Bounds of what may wait: at 18 KB a zone, two seconds of a busy writer.  The
 * same again may be in the transaction that is running. */
#define QUEUE_MAX_JOBS 256u
#define QUEUE_MAX_BYTES ((size_t)32 << 20)

/* --- failing as a whole --- */

static void fail(struct pfs_catalog *c, const char *why)
{
	if (atomic_exchange(&c->is_failed, true))
		return;
	pfs_count(PFS_C_CATALOG_ERROR, 1);
	pfs_log(PFS_LOG_ERROR, "catalog",
		"%s is corrupt (%s): nothing more is kept there; the next "
		"start sets it aside and begins cold",
		c->path ? c->path : "(in memory)", why);
	if (c->path)
		catalog_note_failure(c->path, why);

	pfs_mutex_lock(&c->queue_lock);
	(void)snprintf(c->failure, sizeof(c->failure), "catalog is corrupt: %s",
		       why);
	pfs_cond_signal(&c->work); /* the writer tells */
	pfs_mutex_unlock(&c->queue_lock);
}

int catalog_result(struct pfs_catalog *c, int err)
{
	if (err != -EUCLEAN)
		return err;
	fail(c, "damage met while in use");
	return -EIO;
}

/* On the writer. */
static void tell(struct pfs_catalog *c, int err, const char *what)
{
	if (c->on_trouble)
		c->on_trouble(c->trouble_arg, err, what);
}

static void tell_failure(struct pfs_catalog *c)
{
	bool is_news;

	pfs_mutex_lock(&c->queue_lock);
	is_news = c->failure[0] && !c->is_failure_told;
	c->is_failure_told |= is_news;
	pfs_mutex_unlock(&c->queue_lock);
	if (is_news)
		tell(c, -EIO, c->failure); /* constant from here on */
}

/* --- one transaction --- */

static bool any_durable(const struct catalog_job *jobs)
{
	for (; jobs; jobs = jobs->next)
		if (jobs->is_durable)
			return true;
	return false;
}

/* A durable transaction always writes: one that found nothing to change, e.g.
 * a row that an earlier, not yet durable one has deleted, must not return
 * before that is on disk too. */
static int put_meta(struct catalog_txn *t, const struct catalog_meta *was,
		    bool is_durable)
{
	t->meta.n_durable += is_durable;
	if (!memcmp(&t->meta, was, sizeof(*was)))
		return 0;
	return catalog_meta_put(t->db, &t->meta);
}

/* The meta row is read in each transaction, not kept, so that two processes
 * that have the file open cannot hand out the same number. */
static int run_jobs(struct catalog_txn *t, struct catalog_job *jobs,
		    bool is_durable)
{
	struct catalog_meta was;
	int err = catalog_meta_get(t->db, &t->meta);

	was = t->meta;
	for (; jobs && !err; jobs = jobs->next)
		err = jobs->run(t, jobs->arg);
	if (!err)
		err = put_meta(t, &was, is_durable);
	return err ? err : pfs_fault_check(PFS_FP_CATALOG_COMMIT);
}

static int transact_locked(struct catalog_txn *t, struct catalog_job *jobs)
	PFS_REQUIRES(t->db->lock)
{
	bool is_durable = any_durable(jobs);
	int err = catalog_db_begin(t->db, is_durable);

	if (err)
		return err;
	err = run_jobs(t, jobs, is_durable);
	if (!err)
		err = catalog_db_commit(t->db);
	if (err)
		catalog_db_rollback(t->db);
	return err;
}

static void note_commit(struct pfs_catalog *c, const struct catalog_txn *t)
{
	if (t->n_rows_bad)
		pfs_count(PFS_C_ROWS_BAD, t->n_rows_bad);
	if (t->n_rows_stale)
		pfs_count(PFS_C_ROWS_STALE, t->n_rows_stale);
	pfs_mutex_lock(&c->queue_lock);
	memcpy(c->uuid, t->meta.uuid, sizeof(c->uuid));
	pfs_mutex_unlock(&c->queue_lock);
}

static int transact(struct pfs_catalog *c, struct catalog_job *jobs)
{
	struct catalog_txn t = {.db = &c->write_db};
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&t.db->lock);
	err = transact_locked(&t, jobs);
	pfs_mutex_unlock(&t.db->lock);
	if (!err) {
		note_commit(c, &t);
		return 0;
	}
	if (err != -EUCLEAN) /* else counted and logged as a failure */
		pfs_count(PFS_C_CATALOG_ERROR, 1);
	return catalog_result(c, err);
}

/* --- the writer thread --- */

static void finish_all(struct pfs_catalog *c, struct catalog_job *jobs, int err)
{
	while (jobs) {
		struct catalog_job *next = jobs->next;

		jobs->finish(c, jobs, err);
		jobs = next;
	}
}

static void run_one(struct pfs_catalog *c, struct catalog_job *job)
{
	int err;

	job->next = NULL;
	err = transact(c, job);
	if (err && !atomic_load(&c->is_failed)) {
		pfs_log_limited(PFS_LOG_WARNING, "catalog",
				"a transaction failed: %s", strerror(-err));
		tell(c, err, "a catalog transaction failed");
	}
	job->finish(c, job, err);
}

static void run_apart(struct pfs_catalog *c, struct catalog_job *jobs)
{
	while (jobs) {
		struct catalog_job *next = jobs->next;

		run_one(c, jobs);
		jobs = next;
	}
}

static void run_together(struct pfs_catalog *c, struct catalog_job *jobs)
{
	int err;

	if (!jobs->next) {
		run_one(c, jobs);
		return;
	}
	err = transact(c, jobs);
	if (!err || atomic_load(&c->is_failed)) {
		finish_all(c, jobs, err);
	} else if (err == -EAGAIN) {
		/* Somebody holds the file: each would wait as long again. */
		tell(c, err, "the catalog is locked by another process");
		finish_all(c, jobs, err);
	} else {
		run_apart(c, jobs);
	}
}

static struct catalog_job *take_all_locked(struct pfs_catalog *c)
	PFS_REQUIRES(c->queue_lock)
{
	struct catalog_job *jobs = c->head;

	c->head = NULL;
	c->tail = &c->head;
	c->n_jobs = 0;
	c->n_bytes = 0;
	return jobs;
}

/* NULL: there is no more work, ever. */
static bool wait_for_work(struct pfs_catalog *c, struct catalog_job **jobs)
{
	bool is_over;

	pfs_mutex_lock(&c->queue_lock);
	while (!c->head && !c->is_stopping &&
	       !(c->failure[0] && !c->is_failure_told))
		pfs_cond_wait(&c->work, &c->queue_lock);
	*jobs = take_all_locked(c);
	is_over = !*jobs && c->is_stopping;
	pfs_mutex_unlock(&c->queue_lock);
	return !is_over;
}

static void *writer_main(void *arg)
{
	struct pfs_catalog *c = arg;
	struct catalog_job *jobs;

	while (wait_for_work(c, &jobs)) {
		if (jobs)
			run_together(c, jobs);
		tell_failure(c);
	}
	return NULL;
}

int catalog_writer_start(struct pfs_catalog *c)
{
	int err = pfs_thread_start(&c->writer, "pfs-catalog", writer_main, c);

	c->has_writer = !err;
	return err;
}

void catalog_writer_stop(struct pfs_catalog *c)
{
	if (!c->has_writer)
		return;
	pfs_mutex_lock(&c->queue_lock);
	c->is_stopping = true;
	pfs_cond_signal(&c->work);
	pfs_mutex_unlock(&c->queue_lock);
	pthread_join(c->writer, NULL);
	c->has_writer = false;
}

/* --- giving it work --- */

static void append_locked(struct pfs_catalog *c, struct catalog_job *job)
	PFS_REQUIRES(c->queue_lock)
{
	job->next = NULL;
	*c->tail = job;
	c->tail = &job->next;
	if (job->n_bytes) {
		c->n_jobs++;
		c->n_bytes += job->n_bytes;
	}
	pfs_cond_signal(&c->work);
}

/* A job larger than the whole bound still passes when it is alone. */
static bool has_room_locked(const struct pfs_catalog *c, size_t n_bytes)
	PFS_REQUIRES(c->queue_lock)
{
	if (!c->n_jobs)
		return true;
	return c->n_jobs < QUEUE_MAX_JOBS && n_bytes <= QUEUE_MAX_BYTES &&
	       c->n_bytes <= QUEUE_MAX_BYTES - n_bytes;
}

int catalog_queue(struct pfs_catalog *c, struct catalog_job *job)
{
	int err = 0;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->queue_lock);
	if (has_room_locked(c, job->n_bytes))
		append_locked(c, job);
	else
		err = -EAGAIN;
	pfs_mutex_unlock(&c->queue_lock);
	if (err)
		pfs_count(PFS_C_QUEUE_FULL, 1);
	return err;
}

static void wake_caller(struct pfs_catalog *c, struct catalog_job *job, int err)
{
	pfs_mutex_lock(&c->queue_lock);
	job->err = err;
	job->is_done = true;
	pfs_cond_broadcast(&c->done);
	pfs_mutex_unlock(&c->queue_lock);
}

int catalog_call(struct pfs_catalog *c, bool is_durable,
		 int (*run)(struct catalog_txn *t, void *arg), void *arg)
{
	struct catalog_job job = {
		.run = run,
		.finish = wake_caller,
		.arg = arg,
		.is_durable = is_durable,
	};

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->queue_lock);
	append_locked(c, &job);
	while (!job.is_done)
		pfs_cond_wait(&c->done, &c->queue_lock);
	pfs_mutex_unlock(&c->queue_lock);
	return job.err;
}
