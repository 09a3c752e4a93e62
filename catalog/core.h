/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * core.h - the catalog object and its one writer thread.
 *
 * Changes are jobs.  The writer takes all that are queued, in order, and runs
 * them in one transaction, which is durable if any of them asks for it.  When
 * that transaction fails each job is run once more in one of its own, so that
 * one that does not fit cannot take its neighbours with it.
 *
 * A job's run() may therefore be called twice, and returns an error only for
 * what must undo the transaction; an answer like "no such row" goes into its
 * arg.  What it hands out counts only once the job has ended with 0.
 */
#ifndef PFS_CATALOG_CORE_H
#define PFS_CATALOG_CORE_H

#include <stdatomic.h>

#include <pfs/catalog.h>
#include <pfs/mutex.h>

#include "db.h"
#include "row.h"

/* What a job sees of its transaction. */
struct catalog_txn {
	struct catalog_db *db;
	struct catalog_meta meta; /* written at the end if changed */
	uint64_t n_rows_bad;      /* counted after the commit */
	uint64_t n_rows_stale;
};

struct catalog_job {
	struct catalog_job *next;
	int (*run)(struct catalog_txn *t, void *arg);
	/* On the writer, no lock held; may free the job. */
	void (*finish)(struct pfs_catalog *c, struct catalog_job *job, int err);
	void *arg;
	size_t n_bytes; /* held while queued; 0: not bounded, its thread waits
			 */
	bool is_durable;
	/* --- under queue lock --- */
	bool is_done;
	int err;
};

struct pfs_catalog {
	/* --- set at open, then constant --- */
	char *path; /* owned; NULL: in memory */
	void (*on_trouble)(void *arg, int err, const char *what);
	void *trouble_arg;
	pthread_t writer;
	bool has_writer;
	/* Reads go past the writer, so that they never wait for its fsync;
	 * in memory there is only one connection. */
	struct catalog_db *reads; /* &read_db or &write_db */

	struct catalog_db write_db;
	struct catalog_db read_db;

	/* The catalog has failed: corrupt while in use.  Never cleared. */
	_Atomic bool is_failed;

	struct pfs_mutex queue_lock;
	struct pfs_cond work; /* a job was queued, failed, or stop */
	struct pfs_cond done; /* a job with a waiting thread has ended */
	/* --- under queue_lock --- */
	struct catalog_job *head;
	struct catalog_job **tail;
	unsigned int n_jobs; /* of those that are bounded */
	size_t n_bytes;
	bool is_stopping;
	bool is_failure_told;
	char failure[128];
	uint8_t uuid[PFS_UUID_LEN]; /* as committed */
};

int catalog_writer_start(struct pfs_catalog *c) PFS_MUST_CHECK;
/** Run what is queued, then end the thread. */
void catalog_writer_stop(struct pfs_catalog *c);

/** Run a job on the writer and wait for its commit. */
int catalog_call(struct pfs_catalog *c, bool is_durable,
		 int (*run)(struct catalog_txn *t, void *arg),
		 void *arg) PFS_MUST_CHECK;
/** Queue a job of the caller's; -EAGAIN if there is no room. */
int catalog_queue(struct pfs_catalog *c,
		  struct catalog_job *job) PFS_MUST_CHECK;

/** What a public call returns for an error of this folder: -EUCLEAN fails the
 *  catalog and becomes -EIO. */
int catalog_result(struct pfs_catalog *c, int err) PFS_MUST_CHECK;

#endif
