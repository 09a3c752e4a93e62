/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What of an image is asked to stay in the store. */
#include <pfs/counters.h>

#include "images.h"

struct pinning {
	struct catalog_pin pin;
	int err; /* of the answer, not of the transaction */
};

static int check_range(uint64_t first, uint64_t last)
{
	/* SQLite's integers are signed, and are compared as such. */
	return first > last || last > INT64_MAX ? -EINVAL : 0;
}

static int start_load(struct catalog_db *db, uint64_t image, sqlite3_stmt **st)
{
	int err = catalog_db_stmt(db, CATALOG_PINS_LOAD, st);

	if (!err)
		sqlite3_bind_int64(*st, 1, (sqlite3_int64)image);
	return err;
}

/* Those that lie elsewhere, damaged ones too: they are rows all the same. */
static int count_others(struct catalog_txn *t, const struct catalog_pin *pin,
			uint32_t *n)
{
	struct catalog_pin p;
	CATALOG_AUTO_STMT *st = NULL;
	int err = start_load(t->db, pin->image, &st);

	*n = 0;
	if (err)
		return err;
	while ((err = catalog_stmt_step(st)) > 0)
		*n += catalog_pin_read(st, &p) || p.first != pin->first ||
		      p.last != pin->last;
	return err;
}

static int pin_in_txn(struct catalog_txn *t, void *arg)
{
	struct pinning *p = arg;
	struct catalog_image img;
	uint32_t n;
	int err = catalog_image_find(t, p->pin.image, &img);

	p->err = err ? 0 : -ENOENT;
	if (err <= 0)
		return err;
	err = count_others(t, &p->pin, &n);
	if (err)
		return err;
	if (n >= PFS_CATALOG_PINS_MAX) {
		p->err = -ENOSPC;
		return 0;
	}
	return catalog_pin_put(t->db, &p->pin);
}

int pfs_catalog_pin(struct pfs_catalog *c, uint64_t image, uint64_t first,
		    uint64_t last)
{
	struct pinning p = {.pin = {image, first, last}};
	int err = check_range(first, last);

	if (!err)
		err = catalog_call(c, true, pin_in_txn, &p);
	return err ? err : p.err;
}

static int unpin_in_txn(struct catalog_txn *t, void *arg)
{
	struct pinning *p = arg;
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(t->db, CATALOG_PINS_DELETE, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)p->pin.image);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)p->pin.first);
	sqlite3_bind_int64(st, 3, (sqlite3_int64)p->pin.last);
	err = catalog_stmt_run(st);
	p->err = !err && !sqlite3_changes(t->db->h) ? -ENOENT : 0;
	return err;
}

int pfs_catalog_unpin(struct pfs_catalog *c, uint64_t image, uint64_t first,
		      uint64_t last)
{
	struct pinning p = {.pin = {image, first, last}};
	int err = check_range(first, last);

	if (!err)
		err = catalog_call(c, true, unpin_in_txn, &p);
	return err ? err : p.err;
}

/* --- loading --- */

static int load_locked(struct catalog_db *db, uint64_t image,
		       int (*fn)(void *arg, uint64_t first, uint64_t last),
		       void *arg) PFS_REQUIRES(db->lock)
{
	struct catalog_pin p;
	CATALOG_AUTO_STMT *st = NULL;
	int err = start_load(db, image, &st);

	if (err)
		return err;
	while ((err = catalog_stmt_step(st)) > 0) {
		if (catalog_pin_read(st, &p) || p.image != image)
			pfs_count(PFS_C_ROWS_BAD, 1);
		else if (fn(arg, p.first, p.last))
			return 0;
	}
	return err;
}

int pfs_catalog_pins_load(struct pfs_catalog *c, uint64_t image,
			  int (*fn)(void *arg, uint64_t first, uint64_t last),
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
