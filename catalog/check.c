/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The offline check.  It goes on after each finding as far as it can, and
 * opens the file so that nothing on disk changes: without a log beside it,
 * nobody has it open and it is read as immutable.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "aside.h"
#include "schema.h"

struct checker {
	struct catalog_db db;
	struct catalog_meta meta;
	void (*report)(void *arg, const char *line);
	void *arg;
	unsigned int n_bad;
};

static void PFS_PRINTF(2, 3) complain(struct checker *k, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	k->n_bad++;
	if (k->report)
		k->report(k->arg, line);
}

static void finalize(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}

/* One complaint for each row of a pragma, unless it is "ok". */
static int check_pragma(struct checker *k, const char *sql, const char *what)
{
	PFS_AUTO(finalize) sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(k->db.h, sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return catalog_err(k->db.h, rc);
	while ((rc = catalog_stmt_step(st)) > 0) {
		const char *text = (const char *)sqlite3_column_text(st, 0);

		if (!text || strcmp(text, "ok") != 0)
			complain(k, "%s: %s", what, text ? text : "?");
	}
	return rc;
}

static void check_image(struct checker *k, sqlite3_stmt *st)
{
	struct catalog_image img;

	if (catalog_image_read(st, &img))
		complain(k, "image %llu: checksum does not match",
			 (unsigned long long)img.row.id);
	else if (img.row.id >= k->meta.next_image)
		complain(k, "image %llu: above the high-water mark",
			 (unsigned long long)img.row.id);
}

static void check_zone(struct checker *k, sqlite3_stmt *st)
{
	struct catalog_zone z;

	if (catalog_zone_read(st, &z))
		complain(k, "image %llu zone %u: checksum does not match",
			 (unsigned long long)z.image, z.zone);
}

static void check_recording(struct checker *k, sqlite3_stmt *st)
{
	struct catalog_recording r;

	if (catalog_recording_read(st, &r))
		complain(k,
			 "image %llu recording %llu: checksum does not match",
			 (unsigned long long)r.image,
			 (unsigned long long)r.number);
}

static void check_pin(struct checker *k, sqlite3_stmt *st)
{
	struct catalog_pin p;

	if (catalog_pin_read(st, &p))
		complain(k, "image %llu pin at %llu: checksum does not match",
			 (unsigned long long)p.image,
			 (unsigned long long)p.first);
}

static void check_segments(struct checker *k, sqlite3_stmt *st)
{
	const void *blob = sqlite3_column_blob(st, 0);
	size_t len = (size_t)sqlite3_column_bytes(st, 0);

	if (!blob || (uint64_t)sqlite3_column_int64(st, 1) !=
			     catalog_segments_sum(blob, len))
		complain(k, "segment table: checksum does not match");
}

static int for_each_row(struct checker *k, enum catalog_stmt id,
			void (*fn)(struct checker *k, sqlite3_stmt *st))
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(&k->db, id, &st);

	if (err)
		return err;
	while ((err = catalog_stmt_step(st)) > 0)
		fn(k, st);
	return err;
}

static int check_open(struct checker *k)
{
	struct catalog_schema_info info = {0};
	int err = catalog_schema_verify(&k->db, &info);

	if (err)
		return err;
	if (info.verdict) {
		complain(k, "not a catalog of this pfs: %s", info.why);
		return 0;
	}
	if (info.is_fresh)
		return 0; /* empty: its making was cut short */
	k->meta = info.meta;
	err = check_pragma(k, "PRAGMA integrity_check", "integrity_check");
	if (!err)
		err = check_pragma(k, "PRAGMA foreign_key_check",
				   "row without its image, in table");
	if (!err)
		err = for_each_row(k, CATALOG_IMAGE_ALL, check_image);
	if (!err)
		err = for_each_row(k, CATALOG_ZONES_ALL, check_zone);
	if (!err)
		err = for_each_row(k, CATALOG_SEGMENTS_GET, check_segments);
	if (err || info.version < 2)
		return err;
	err = for_each_row(k, CATALOG_RECORDINGS_ALL, check_recording);
	return err ? err : for_each_row(k, CATALOG_PINS_ALL, check_pin);
}

static int open_to_check(struct checker *k, const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	return catalog_db_open(&k->db, path,
			       catalog_was_unclean(path) ? CATALOG_READ_ONLY
							 : CATALOG_IMMUTABLE,
			       500);
}

int pfs_catalog_check(const char *path,
		      void (*report)(void *arg, const char *line), void *arg,
		      unsigned int *n_bad)
{
	struct checker k = {.report = report, .arg = arg};
	int err;

	catalog_db_init(&k.db);
	err = open_to_check(&k, path);
	if (!err) {
		err = check_open(&k);
		catalog_db_leave(&k.db, true);
	}
	if (err == -EUCLEAN) {
		complain(&k, "%s",
			 k.db.h ? sqlite3_errmsg(k.db.h) : "not a database");
		err = 0;
	}
	if (!err && catalog_has_failure_note(path))
		complain(&k, "was found corrupt while in use: the next start "
			     "sets it aside");
	catalog_db_fini(&k.db);
	if (!err)
		*n_bad = k.n_bad;
	return err;
}
