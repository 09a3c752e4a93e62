/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was learned of an image.  Rows are written by batches (zones.c), since
 * losing the last of them costs only what one session taught.
 */
#include "recordings.h"

#include <pfs/counters.h>

static int run_for(struct catalog_db *db, enum catalog_stmt id, uint64_t image,
		   uint64_t v)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, id, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)image);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)v);
	return catalog_stmt_run(st);
}

int catalog_recording_delete(struct catalog_txn *t, uint64_t image,
			     uint64_t number)
{
	return run_for(t->db, CATALOG_RECORDING_DELETE, image, number);
}

/* Damaged rows count too and leave in their turn: a number is read from the
 * key. */
int catalog_recordings_prune(struct catalog_txn *t, uint64_t image)
{
	return run_for(t->db, CATALOG_RECORDINGS_PRUNE, image,
		       PFS_CATALOG_RECORDINGS_KEPT);
}

/* --- inheriting --- */

/* Stand on the first row of an image: 1, or 0 if it has none.  The blob is
 * valid until st is done. */
static int first_of(struct catalog_db *db, uint64_t image, sqlite3_stmt **st)
{
	int err = catalog_db_stmt(db, CATALOG_RECORDINGS_LOAD, st);

	if (err)
		return err;
	sqlite3_bind_int64(*st, 1, (sqlite3_int64)image);
	return catalog_stmt_step(*st);
}

static int has_any(struct catalog_txn *t, uint64_t image)
{
	CATALOG_AUTO_STMT *st = NULL;

	return first_of(t->db, image, &st);
}

/* 1: one was moved, 0: there are no more. */
static int move_first(struct catalog_txn *t, uint64_t from, uint64_t heir)
{
	struct catalog_recording r;
	CATALOG_AUTO_STMT *st = NULL;
	int err = first_of(t->db, from, &st);

	if (err <= 0)
		return err;
	if (!catalog_recording_read(st, &r)) {
		err = catalog_recording_move(t->db, &r, heir);
	} else {
		t->n_rows_bad++;
		err = catalog_recording_delete(t, from, r.number);
	}
	return err ? err : 1;
}

int catalog_recordings_inherit(struct catalog_txn *t, uint64_t from,
			       uint64_t heir)
{
	int err = has_any(t, heir);

	if (err)
		return err < 0 ? err : 0;
	/* Bounded: a torn index, which names rows that cannot be reached, must
	 * not hold us here. */
	for (uint32_t i = 0; i < PFS_CATALOG_RECORDINGS_KEPT; i++) {
		err = move_first(t, from, heir);
		if (err <= 0)
			return err;
	}
	return 0;
}

/* --- loading --- */

static int load_locked(struct catalog_db *db, uint64_t image,
		       int (*fn)(void *arg, uint64_t number, const void *blob,
				 size_t len),
		       void *arg) PFS_REQUIRES(db->lock)
{
	struct catalog_recording r;
	CATALOG_AUTO_STMT *st = NULL;
	int err = first_of(db, image, &st);

	for (; err > 0; err = catalog_stmt_step(st)) {
		if (catalog_recording_read(st, &r) || r.image != image)
			pfs_count(PFS_C_ROWS_BAD, 1);
		else if (fn(arg, r.number, r.blob, r.len))
			return 0;
	}
	return err;
}

int pfs_catalog_recordings_load(struct pfs_catalog *c, uint64_t image,
				int (*fn)(void *arg, uint64_t number,
					  const void *blob, size_t len),
				void *arg)
{
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->reads->lock);
	err = load_locked(c->reads, image, fn, arg);
	pfs_mutex_unlock(&c->reads->lock);
	return catalog_result(c, err);
}
