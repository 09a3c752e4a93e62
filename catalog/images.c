/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <stdio.h>
#include <string.h>

#include <pfs/counters.h>
#include <pfs/log.h>

#include "images.h"
#include "recordings.h"

#define NAMELESS_KEPT 1024

/* Time stamps move in steps of a kernel tick, at most 10 ms, and two clocks are
 * read; a file changed that shortly before it was looked at may change once
 * more and keep its ctime. */
#define CTIME_SETTLED_NS (20 * (int64_t)PFS_NSEC_PER_MSEC)

static bool is_settled(const struct pfs_identity *r)
{
	int64_t age;

	return !__builtin_sub_overflow(r->recorded_ns, r->ctime_ns, &age) &&
	       age >= CTIME_SETTLED_NS;
}

bool pfs_identity_holds(const struct pfs_identity *recorded,
			const struct pfs_identity *now)
{
	const struct pfs_identity *r = recorded;

	if (r->present != now->present)
		return false;
	if ((r->present & PFS_IDENT_FS) &&
	    memcmp(r->fs_id, now->fs_id, sizeof(r->fs_id)) != 0)
		return false;
	if ((r->present & PFS_IDENT_BTIME) && r->btime_ns != now->btime_ns)
		return false;
	return r->ino == now->ino && r->size == now->size &&
	       r->mtime_ns == now->mtime_ns && r->ctime_ns == now->ctime_ns &&
	       is_settled(r);
}

static int check_name(const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return -EINVAL;
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* --- rows inside a transaction --- */

static int run_for(struct catalog_db *db, enum catalog_stmt id, uint64_t v)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, id, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)v);
	return catalog_stmt_run(st);
}

static int drop_zones(struct catalog_txn *t, uint64_t image)
{
	return run_for(t->db, CATALOG_ZONES_DROP, image);
}

static int find(struct catalog_db *db, enum catalog_stmt by, const char *name,
		uint64_t id, struct catalog_image *img)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, by, &st);

	img->row = (struct pfs_image_row){0};
	if (err)
		return err;
	if (name)
		sqlite3_bind_blob(st, 1, name, (int)strlen(name),
				  SQLITE_STATIC);
	else
		sqlite3_bind_int64(st, 1, (sqlite3_int64)id);
	err = catalog_stmt_step(st);
	if (err <= 0)
		return err;
	err = catalog_image_read(st, img);
	return err ? err : 1;
}

/* A damaged row leaves together with its zone rows (they cascade).  The image
 * gets a new id when it is seen next, so nothing in the store is taken for
 * its. */
static int discard_bad(struct catalog_txn *t, uint64_t id)
{
	pfs_log_limited(PFS_LOG_WARNING, "catalog",
			"row of image %llu is damaged: forgotten, its image "
			"starts cold",
			(unsigned long long)id);
	t->n_rows_bad++;
	return run_for(t->db, CATALOG_IMAGE_DELETE, id);
}

/* 1: found, 0: there is none (any more). */
static int find_by_name(struct catalog_txn *t, const char *name,
			struct catalog_image *img)
{
	int err = find(t->db, CATALOG_IMAGE_BY_NAME, name, 0, img);

	return err == -EBADMSG ? discard_bad(t, img->row.id) : err;
}

int catalog_image_find(struct catalog_txn *t, uint64_t id,
		       struct catalog_image *img)
{
	int err = find(t->db, CATALOG_IMAGE_BY_ID, NULL, id, img);

	return err == -EBADMSG ? discard_bad(t, id) : err;
}

static void set_name(struct catalog_image *img, const char *name)
{
	memcpy(img->name, name, strlen(name) + 1);
	img->row.name = img->name;
}

/* What the row describes is gone from its name: chunks saved for it would
 * never be used, and the raised epoch keeps late ones out. */
static int take_name(struct catalog_txn *t, struct catalog_image *img)
{
	int err = drop_zones(t, img->row.id);

	img->row.name = NULL;
	img->row.epoch++;
	if (!err)
		err = catalog_image_put(t->db, img);
	return err ? err
		   : run_for(t->db, CATALOG_NAMELESS_PRUNE, NAMELESS_KEPT);
}

static int raise_epoch(struct catalog_txn *t, struct catalog_image *img,
		       const struct pfs_identity *now)
{
	int err = drop_zones(t, img->row.id);

	img->row.epoch++;
	if (now)
		img->row.ident = *now;
	return err ? err : catalog_image_put(t->db, img);
}

/* --- opening an image --- */

struct opening {
	const char *name;
	const struct pfs_identity *now;
	bool drop;
	struct pfs_image_row row;
	enum pfs_image_verdict verdict;
};

static void give(struct opening *o, const struct catalog_image *img,
		 enum pfs_image_verdict verdict)
{
	o->row = img->row;
	o->row.name = NULL;
	o->verdict = verdict;
}

/* One read on the connection that never waits for the writer.  A bad row, or
 * changes still in the queue, are sorted out on the slow way. */
static int open_fast(struct pfs_catalog *c, struct opening *o)
{
	struct catalog_image img;
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->reads->lock);
	err = find(c->reads, CATALOG_IMAGE_BY_NAME, o->name, 0, &img);
	pfs_mutex_unlock(&c->reads->lock);
	if (err == -EBADMSG)
		return 0;
	if (err == 1 && pfs_identity_holds(&img.row.ident, o->now))
		give(o, &img, PFS_IMAGE_SAME);
	else if (err == 1)
		err = 0;
	return err;
}

/* The row, under another name, of the very file that was opened. */
static int find_moved(struct catalog_txn *t, const struct opening *o,
		      struct catalog_image *img)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(t->db, CATALOG_IMAGE_BY_INO, &st);

	if (err)
		return err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)o->now->ino);
	while ((err = catalog_stmt_step(st)) > 0) {
		/* A bad one is met again under its own name, if ever. */
		if (catalog_image_read(st, img))
			continue;
		if (img->row.name && strcmp(img->row.name, o->name) != 0 &&
		    pfs_identity_holds(&img->row.ident, o->now))
			return 1;
	}
	return err;
}

/* Another row has the name of `old` now, which was found under it.  What was
 * learned under the name stays with it, unless the other brings its own. */
static int replace(struct catalog_txn *t, struct catalog_image *old,
		   uint64_t heir)
{
	int err = catalog_recordings_inherit(t, old->row.id, heir);

	return err ? err : take_name(t, old);
}

/* Let the moved row have the name; `img` becomes it. */
static int take_over(struct catalog_txn *t, const char *name, bool has_old,
		     struct catalog_image *img,
		     const struct catalog_image *moved)
{
	int err = has_old ? replace(t, img, moved->row.id) : 0;

	if (err)
		return err;
	img->row = moved->row;
	set_name(img, name);
	return catalog_image_put(t->db, img);
}

static int make_new(struct catalog_txn *t, struct opening *o,
		    struct catalog_image *img)
{
	img->row = (struct pfs_image_row){
		.id = t->meta.next_image++,
		.epoch = 1,
		.ident = *o->now,
	};
	set_name(img, o->name);
	give(o, img, PFS_IMAGE_NEW);
	return catalog_image_put(t->db, img);
}

static int open_in_txn(struct catalog_txn *t, void *arg)
{
	struct opening *o = arg;
	struct catalog_image img = {0}, moved = {0};
	int found = find_by_name(t, o->name, &img);
	int err;

	if (found < 0)
		return found;
	if (!found || !pfs_identity_holds(&img.row.ident, o->now)) {
		err = find_moved(t, o, &moved);
		if (err > 0)
			err = take_over(t, o->name, found, &img, &moved);
		else if (!err && !found)
			return make_new(t, o, &img);
		if (err)
			return err;
	}
	if (!o->drop && pfs_identity_holds(&img.row.ident, o->now)) {
		give(o, &img, PFS_IMAGE_SAME);
		return 0;
	}
	err = raise_epoch(t, &img, o->now);
	give(o, &img, PFS_IMAGE_CHANGED);
	return err;
}

int pfs_catalog_image_open(struct pfs_catalog *c, const char *name,
			   const struct pfs_identity *now, bool drop,
			   struct pfs_image_row *row,
			   enum pfs_image_verdict *verdict)
{
	struct opening o = {.name = name, .now = now, .drop = drop};
	int err = check_name(name);

	if (!err && !drop)
		err = catalog_result(c, open_fast(c, &o));
	if (err < 0)
		return err;
	if (!err)
		err = catalog_call(c, true, open_in_txn, &o);
	if (err < 0)
		return err;
	*row = o.row;
	*verdict = o.verdict;
	return 0;
}

int pfs_catalog_image_find(struct pfs_catalog *c, const char *name,
			   struct pfs_image_row *row)
{
	struct catalog_image img;
	int err = atomic_load(&c->is_failed) ? -EIO : check_name(name);

	if (err)
		return err;
	pfs_mutex_lock(&c->reads->lock);
	err = find(c->reads, CATALOG_IMAGE_BY_NAME, name, 0, &img);
	pfs_mutex_unlock(&c->reads->lock);
	if (err == -EBADMSG) /* pfs_catalog_image_open() discards it */
		err = 0;
	err = catalog_result(c, err);
	if (err < 0)
		return err;
	if (!err)
		return -ENOENT;
	*row = img.row;
	row->name = NULL;
	return 0;
}

static int drop_in_txn(struct catalog_txn *t, void *arg)
{
	uint64_t id = *(uint64_t *)arg;
	CATALOG_AUTO_STMT *st = NULL;
	int err;

	if (id)
		return drop_zones(t, id);
	err = catalog_db_stmt(t->db, CATALOG_ZONES_CLEAR, &st);
	return err ? err : catalog_stmt_run(st);
}

int pfs_catalog_zones_drop(struct pfs_catalog *c, uint64_t image)
{
	return catalog_call(c, false, drop_in_txn, &image);
}

/* --- epochs --- */

struct bump {
	uint64_t id;
	const struct pfs_identity *now;
	uint64_t epoch;
	int err;
};

static int bump_in_txn(struct catalog_txn *t, void *arg)
{
	struct bump *b = arg;
	struct catalog_image img;
	int found = catalog_image_find(t, b->id, &img);
	int err;

	b->err = found ? 0 : -ENOENT;
	if (found <= 0)
		return found;
	err = raise_epoch(t, &img, b->now);
	b->epoch = img.row.epoch;
	return err;
}

int pfs_catalog_image_bump(struct pfs_catalog *c, uint64_t id,
			   const struct pfs_identity *now, uint64_t *epoch)
{
	struct bump b = {.id = id, .now = now};
	int err = catalog_call(c, true, bump_in_txn, &b);

	if (!err)
		err = b.err;
	if (!err)
		*epoch = b.epoch;
	return err;
}

static int forget_in_txn(struct catalog_txn *t, void *arg)
{
	return run_for(t->db, CATALOG_IMAGE_DELETE, *(uint64_t *)arg);
}

int pfs_catalog_image_forget(struct pfs_catalog *c, uint64_t id)
{
	return catalog_call(c, false, forget_in_txn, &id);
}

/* --- names --- */

struct names {
	const char *from;
	const char *to;
};

static int unlink_name(struct catalog_txn *t, const char *name)
{
	struct catalog_image img;
	int found = find_by_name(t, name, &img);

	return found > 0 ? take_name(t, &img) : found;
}

static int rename_one(struct catalog_txn *t, const char *from, const char *to)
{
	struct catalog_image img, old;
	int found = find_by_name(t, from, &img);
	int err;

	if (found < 0)
		return found;
	err = find_by_name(t, to, &old);
	if (err > 0)
		err = found ? replace(t, &old, img.row.id) : take_name(t, &old);
	if (err || !found)
		return err;
	set_name(&img, to);
	return catalog_image_put(t->db, &img);
}

static int rename_in_txn(struct catalog_txn *t, void *arg)
{
	struct names *n = arg;

	return rename_one(t, n->from, n->to);
}

int pfs_catalog_image_renamed(struct pfs_catalog *c, const char *from,
			      const char *to)
{
	struct names n = {from, to};
	int err = check_name(from);

	if (!err)
		err = check_name(to);
	if (err || !strcmp(from, to))
		return err;
	return catalog_call(c, false, rename_in_txn, &n);
}

static int unlink_in_txn(struct catalog_txn *t, void *arg)
{
	return unlink_name(t, arg);
}

int pfs_catalog_image_unlinked(struct pfs_catalog *c, const char *name)
{
	int err = check_name(name);

	return err ? err : catalog_call(c, false, unlink_in_txn, (void *)name);
}

/* The first name below a folder: from "folder/" up to "folder0", '0' being
 * the byte after '/'. */
static int first_below(struct catalog_txn *t, const char *folder,
		       char name[PATH_MAX])
{
	char low[PATH_MAX + 1], high[PATH_MAX + 1];
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(t->db, CATALOG_IMAGE_BELOW, &st);
	size_t n;

	if (err)
		return err;
	n = (size_t)snprintf(low, sizeof(low), "%s/", folder);
	(void)snprintf(high, sizeof(high), "%s%c", folder, '/' + 1);
	sqlite3_bind_blob(st, 1, low, (int)n, SQLITE_STATIC);
	sqlite3_bind_blob(st, 2, high, (int)n, SQLITE_STATIC);
	err = catalog_stmt_step(st);
	if (err <= 0)
		return err;
	n = (size_t)sqlite3_column_bytes(st, 0);
	if (n >= PATH_MAX)
		return -EUCLEAN;
	memcpy(name, sqlite3_column_blob(st, 0), n);
	name[n] = '\0';
	return 1;
}

/* A name that would grow too long cannot be opened through us any more. */
static int move_below(struct catalog_txn *t, const struct names *n,
		      const char *name)
{
	const char *rest = name + strlen(n->from);
	size_t len = strlen(n->to);
	char to[PATH_MAX];

	if (len + strlen(rest) >= sizeof(to))
		return unlink_name(t, name);
	memcpy(to, n->to, len);
	memcpy(to + len, rest, strlen(rest) + 1);
	return rename_one(t, name, to);
}

static int rename_folder_in_txn(struct catalog_txn *t, void *arg)
{
	const struct names *n = arg;
	char name[PATH_MAX], last[PATH_MAX] = "";
	int err;

	while ((err = first_below(t, n->from, name)) > 0) {
		/* It must be gone by now; a torn index would keep us here. */
		if (!strcmp(name, last))
			return -EUCLEAN;
		memcpy(last, name, strlen(name) + 1);
		err = move_below(t, n, name);
		if (err)
			break;
	}
	return err;
}

int pfs_catalog_folder_renamed(struct pfs_catalog *c, const char *from,
			       const char *to)
{
	struct names n = {from, to};
	size_t len = strlen(from);
	int err = check_name(from);

	if (!err)
		err = check_name(to);
	if (err || !strcmp(from, to))
		return err;
	if (!strncmp(to, from, len) && to[len] == '/')
		return -EINVAL;
	return catalog_call(c, false, rename_folder_in_txn, &n);
}

/* --- listing --- */

static int list_locked(struct catalog_db *db,
		       int (*fn)(void *arg, const struct pfs_image_row *row,
				 uint64_t n_zones, uint64_t n_chunks),
		       void *arg) PFS_REQUIRES(db->lock)
{
	struct catalog_image img;
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_IMAGE_LIST, &st);

	if (err)
		return err;
	while ((err = catalog_stmt_step(st)) > 0) {
		/* A bad one is dealt with when its image is opened. */
		if (catalog_image_read(st, &img))
			continue;
		if (fn(arg, &img.row, (uint64_t)sqlite3_column_int64(st, 11),
		       (uint64_t)sqlite3_column_int64(st, 12)))
			return 0;
	}
	return err;
}

int pfs_catalog_images(struct pfs_catalog *c,
		       int (*fn)(void *arg, const struct pfs_image_row *row,
				 uint64_t n_zones, uint64_t n_chunks),
		       void *arg)
{
	int err;

	if (atomic_load(&c->is_failed))
		return -EIO;
	pfs_mutex_lock(&c->reads->lock);
	err = list_locked(c->reads, fn, arg);
	pfs_mutex_unlock(&c->reads->lock);
	return catalog_result(c, err);
}
