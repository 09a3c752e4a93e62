/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A batch is a list of changes in the order they were made; it is a job of the
 * writer itself, so queueing it allocates nothing.
 */
#include "core.h"

#include <string.h>

#include <pfs/counters.h>
#include <pfs/io.h>

#include "images.h"
#include "recordings.h"

struct change {
	struct change *next;
	int (*apply)(struct catalog_txn *t, const struct change *ch);
	struct catalog_zone zone; /* blob: data, or NULL to delete */
	uint64_t number;          /* of a recording */
	struct pfs_identity ident;
	uint8_t data[];
};

struct pfs_catalog_batch {
	struct catalog_job job;
	struct change *head; /* owned */
	struct change **tail;
	size_t n_bytes;
	void (*done)(void *arg, int err);
	void *arg;
};

/* --- filling a batch --- */

int pfs_catalog_batch_create(struct pfs_catalog *c,
			     struct pfs_catalog_batch **out)
{
	struct pfs_catalog_batch *b = pfs_zalloc(1, sizeof(*b));

	(void)c; /* batches of all catalogs are alike, for now */
	if (!b)
		return -ENOMEM;
	b->tail = &b->head;
	b->n_bytes = sizeof(*b);
	*out = b;
	return 0;
}

void pfs_catalog_batch_destroy(struct pfs_catalog_batch *b)
{
	if (!b)
		return;
	while (b->head) {
		struct change *next = b->head->next;

		free(b->head);
		b->head = next;
	}
	free(b);
}

static struct change *add(struct pfs_catalog_batch *b, const void *blob,
			  size_t len)
{
	struct change *ch = NULL;
	uint64_t size;

	if (!pfs_add_u64(sizeof(*ch), len, &size))
		ch = pfs_zalloc(1, size);
	if (!ch)
		return NULL;
	if (len) {
		memcpy(ch->data, blob, len);
		ch->zone.blob = ch->data;
		ch->zone.len = len;
	}
	*b->tail = ch;
	b->tail = &ch->next;
	b->n_bytes += size;
	return ch;
}

/* 0: the image's epoch is another, the statement did nothing. */
static void note_changes(struct catalog_txn *t)
{
	if (!sqlite3_changes(t->db->h))
		t->n_rows_stale++;
}

static int put_zone(struct catalog_txn *t, const struct change *ch)
{
	int err = catalog_zone_put(t->db, &ch->zone);

	if (!err)
		note_changes(t);
	return err;
}

/* One that is not there was never saved, or left with its epoch: as wished. */
static int delete_zone(struct catalog_txn *t, const struct change *ch)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(t->db, CATALOG_ZONE_DELETE, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)ch->zone.image);
	sqlite3_bind_int64(st, 2, ch->zone.zone);
	sqlite3_bind_int64(st, 3, (sqlite3_int64)ch->zone.epoch);
	return catalog_stmt_run(st);
}

int pfs_catalog_batch_zone(struct pfs_catalog_batch *b, uint64_t image,
			   uint64_t epoch, uint32_t zone, const void *blob,
			   size_t len, uint32_t n_chunks)
{
	struct change *ch;

	if (n_chunks && !len)
		return -EINVAL;
	ch = add(b, blob, n_chunks ? len : 0);
	if (!ch)
		return -ENOMEM;
	ch->apply = n_chunks ? put_zone : delete_zone;
	ch->zone.image = image;
	ch->zone.epoch = epoch;
	ch->zone.zone = zone;
	ch->zone.n_chunks = n_chunks;
	return 0;
}

static int put_identity(struct catalog_txn *t, const struct change *ch)
{
	struct catalog_image img;
	int found = catalog_image_find(t, ch->zone.image, &img);

	if (found < 0)
		return found;
	if (!found || img.row.epoch != ch->zone.epoch) {
		t->n_rows_stale++;
		return 0;
	}
	img.row.ident = ch->ident;
	return catalog_image_put(t->db, &img);
}

int pfs_catalog_batch_identity(struct pfs_catalog_batch *b, uint64_t image,
			       uint64_t epoch, const struct pfs_identity *now)
{
	struct change *ch = add(b, NULL, 0);

	if (!ch)
		return -ENOMEM;
	ch->apply = put_identity;
	ch->zone.image = image;
	ch->zone.epoch = epoch;
	ch->ident = *now;
	return 0;
}

static int put_recording(struct catalog_txn *t, const struct change *ch)
{
	struct catalog_recording r = {
		.image = ch->zone.image,
		.number = ch->number,
		.blob = ch->zone.blob,
		.len = ch->zone.len,
	};
	int err = catalog_recording_put(t->db, &r);

	if (err)
		return err;
	note_changes(t);
	return catalog_recordings_prune(t, r.image);
}

static int delete_recording(struct catalog_txn *t, const struct change *ch)
{
	return catalog_recording_delete(t, ch->zone.image, ch->number);
}

int pfs_catalog_batch_recording(struct pfs_catalog_batch *b, uint64_t image,
				uint64_t number, const void *blob, size_t len)
{
	struct change *ch;

	if (number > INT64_MAX ||
	    (blob && (!len || len > PFS_CATALOG_RECORDING_MAX)))
		return -EINVAL;
	ch = add(b, blob, blob ? len : 0);
	if (!ch)
		return -ENOMEM;
	ch->apply = blob ? put_recording : delete_recording;
	ch->zone.image = image;
	ch->number = number;
	return 0;
}

static int put_segments(struct catalog_txn *t, const struct change *ch)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(t->db,
				  ch->zone.len ? CATALOG_SEGMENTS_PUT
					       : CATALOG_SEGMENTS_DELETE,
				  &st);

	if (err)
		return err;
	if (ch->zone.len) {
		uint64_t sum =
			catalog_segments_sum(ch->zone.blob, ch->zone.len);

		sqlite3_bind_blob64(st, 1, ch->zone.blob, ch->zone.len,
				    SQLITE_STATIC);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)sum);
	}
	return catalog_stmt_run(st);
}

int pfs_catalog_batch_segments(struct pfs_catalog_batch *b, const void *blob,
			       size_t len)
{
	struct change *ch = add(b, blob, len);

	if (!ch)
		return -ENOMEM;
	ch->apply = put_segments;
	return 0;
}

/* --- the batch as a job --- */

static int apply_all(struct catalog_txn *t, void *arg)
{
	const struct pfs_catalog_batch *b = arg;
	int err = 0;

	for (const struct change *ch = b->head; ch && !err; ch = ch->next)
		err = ch->apply(t, ch);
	return err;
}

static void finish(struct pfs_catalog *c, struct catalog_job *job, int err)
{
	struct pfs_catalog_batch *b =
		PFS_CONTAINER_OF(job, struct pfs_catalog_batch, job);

	(void)c;
	if (b->done)
		b->done(b->arg, err);
	pfs_catalog_batch_destroy(b);
}

int pfs_catalog_submit(struct pfs_catalog *c, struct pfs_catalog_batch *b,
		       bool is_durable, void (*done)(void *arg, int err),
		       void *arg)
{
	int err;

	b->done = done;
	b->arg = arg;
	b->job = (struct catalog_job){
		.run = apply_all,
		.finish = finish,
		.arg = b,
		.n_bytes = b->n_bytes,
		.is_durable = is_durable,
	};
	err = catalog_queue(c, &b->job);
	if (err)
		pfs_catalog_batch_destroy(b);
	return err;
}

/* --- loading --- */

static int load_zones_locked(struct catalog_db *db, uint64_t image,
			     uint64_t epoch,
			     int (*fn)(void *arg, uint32_t zone,
				       const void *blob, size_t len),
			     void *arg) PFS_REQUIRES(db->lock)
{
	struct catalog_zone z;
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_ZONES_LOAD, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)image);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)epoch);
	while ((err = catalog_stmt_step(st)) > 0) {
		if (catalog_zone_read(st, &z))
			pfs_count(PFS_C_ROWS_BAD, 1);
		else if (fn(arg, z.zone, z.blob, z.len))
			return 0;
	}
	return err;
}

int pfs_catalog_zones_load(struct pfs_catalog *c, uint64_t image,
			   uint64_t epoch,
			   int (*fn)(void *arg, uint32_t zone, const void *blob,
				     size_t len),
			   void *arg)
{
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->reads->lock);
	err = load_zones_locked(c->reads, image, epoch, fn, arg);
	pfs_mutex_unlock(&c->reads->lock);
	return catalog_result(c, err);
}

static int load_segments_locked(struct catalog_db *db, void **blob, size_t *len)
	PFS_REQUIRES(db->lock)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_SEGMENTS_GET, &st);
	const void *data;
	size_t n;

	*blob = NULL;
	*len = 0;
	if (!err)
		err = catalog_stmt_step(st);
	if (err <= 0)
		return err;
	data = sqlite3_column_blob(st, 0);
	n = (size_t)sqlite3_column_bytes(st, 0);
	if (!data || (uint64_t)sqlite3_column_int64(st, 1) !=
			     catalog_segments_sum(data, n)) {
		pfs_count(PFS_C_ROWS_BAD, 1);
		return 0;
	}
	*blob = malloc(n);
	if (!*blob)
		return -ENOMEM;
	memcpy(*blob, data, n);
	*len = n;
	return 0;
}

int pfs_catalog_segments_load(struct pfs_catalog *c, void **blob, size_t *len)
{
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->reads->lock);
	err = load_segments_locked(c->reads, blob, len);
	pfs_mutex_unlock(&c->reads->lock);
	return catalog_result(c, err);
}
