/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The schema is made by migrations only: a new file runs all of them, an older
 * one those it lacks.  So the text that SQLite keeps of each table is the same
 * in every sound file of a version, and comparing it with that of a database
 * made in memory just now tells a damaged schema, in some 0.3 ms.
 *
 * Rowid tables and 4 KiB pages: with 1,000 zone rows of 18 KB, WITHOUT ROWID
 * costs 15-40 % more on insert and update, and pages of 16 KiB save 20 % there
 * but quadruple what each small durable commit writes to the log.
 */
#include "schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGE_SIZE 4096u

/* Step i takes a database from version i to i + 1.  Never edit a step that was
 * released; append.  Every row has a checksum in `sum` (row.h). */
static const char *const migrations[] = {
	/* 0 -> 1 */
	"CREATE TABLE meta(\n"
	"  one INTEGER PRIMARY KEY CHECK(one = 1),\n"
	"  uuid BLOB NOT NULL,\n"
	"  next_gen INTEGER NOT NULL,\n"
	"  next_image INTEGER NOT NULL,\n"
	"  n_durable INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE images(\n"
	"  id INTEGER PRIMARY KEY,\n"
	"  epoch INTEGER NOT NULL,\n"
	"  name BLOB,\n"
	"  fs_id BLOB,\n"
	"  ino INTEGER NOT NULL,\n"
	"  size INTEGER NOT NULL,\n"
	"  btime INTEGER,\n"
	"  mtime INTEGER NOT NULL,\n"
	"  ctime INTEGER NOT NULL,\n"
	"  recorded INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX images_name ON images(name)\n"
	"  WHERE name IS NOT NULL;\n"
	"CREATE INDEX images_nameless ON images(id) WHERE name IS NULL;\n"
	"CREATE INDEX images_ino ON images(ino) WHERE name IS NOT NULL;\n"
	"CREATE TABLE zones(\n"
	"  image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,\n"
	"  zone INTEGER NOT NULL,\n"
	"  epoch INTEGER NOT NULL,\n"
	"  n_chunks INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL,\n"
	"  blob BLOB NOT NULL,\n"
	"  PRIMARY KEY(image, zone)\n"
	") STRICT;\n"
	"CREATE TABLE segments(\n"
	"  one INTEGER PRIMARY KEY CHECK(one = 1),\n"
	"  blob BLOB NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n",
	/* 1 -> 2: what is learned of an image, and what is asked for it */
	"CREATE TABLE recordings(\n"
	"  image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,\n"
	"  number INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL,\n"
	"  blob BLOB NOT NULL,\n"
	"  PRIMARY KEY(image, number)\n"
	") STRICT;\n"
	"CREATE TABLE pins(\n"
	"  image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,\n"
	"  first INTEGER NOT NULL,\n"
	"  last INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL,\n"
	"  PRIMARY KEY(image, first, last)\n"
	") STRICT;\n",
};

unsigned int catalog_schema_version(void)
{
	return PFS_ARRAY_SIZE(migrations);
}

static int PFS_PRINTF(3, 4)
	refuse(struct catalog_schema_info *info, enum catalog_verdict verdict,
	       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(info->why, sizeof(info->why), fmt, ap);
	va_end(ap);
	info->verdict = verdict;
	return 0;
}

/* Inside a transaction. */
static int migrate(struct catalog_db *db, int64_t from, int64_t to)
{
	for (int64_t i = from; i < to; i++) {
		int err = catalog_db_exec(db, migrations[i]);

		if (err)
			return err;
	}
	return catalog_db_set(db, "user_version", to);
}

/* --- comparing schemas --- */

/* sqlite_% leaves out what SQLite makes by itself, e.g. for ANALYZE. */
#define SCHEMA_TEXT                                                            \
	"SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM "            \
	"sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name)"

static int reference_text(int64_t version, char **out)
{
	struct catalog_db ref;
	int err;

	catalog_db_init(&ref);
	err = catalog_db_open(&ref, NULL, CATALOG_READ_WRITE, 0);
	if (!err)
		err = migrate(&ref, 0, version);
	if (!err)
		err = catalog_db_text(&ref, SCHEMA_TEXT, out);
	catalog_db_fini(&ref);
	return err;
}

static int compare_schema(struct catalog_db *db, int64_t version,
			  struct catalog_schema_info *info)
{
	PFS_AUTO_FREE char *ours = NULL, *theirs = NULL;
	int err = reference_text(version, &ours);

	if (!err)
		err = catalog_db_text(db, SCHEMA_TEXT, &theirs);
	if (err)
		return err;
	if (strcmp(ours, theirs) != 0)
		return refuse(info, CATALOG_CORRUPT,
			      "its tables are not those of version %lld",
			      (long long)version);
	return 0;
}

/* --- recognising --- */

struct header {
	int64_t application_id;
	int64_t version;
	int64_t n_objects; /* tables and the like */
};

static int read_header(struct catalog_db *db, struct header *h)
{
	int err =
		catalog_db_get(db, "PRAGMA application_id", &h->application_id);

	if (!err)
		err = catalog_db_get(db, "PRAGMA user_version", &h->version);
	if (!err)
		err = catalog_db_get(db, "SELECT count(*) FROM sqlite_schema",
				     &h->n_objects);
	return err;
}

/* An empty database belongs to nobody: a creation that was cut short. */
static bool is_empty(const struct header *h)
{
	return !h->application_id && !h->version && !h->n_objects;
}

static void recognise(const struct header *h, struct catalog_schema_info *info)
{
	if (h->application_id != CATALOG_APPLICATION_ID)
		refuse(info, CATALOG_FOREIGN,
		       "application_id is 0x%08x, not 0x%08x",
		       (unsigned int)h->application_id, CATALOG_APPLICATION_ID);
	else if (h->version > (int64_t)catalog_schema_version())
		refuse(info, CATALOG_NEWER,
		       "its version is %lld, this pfs knows up to %u",
		       (long long)h->version, catalog_schema_version());
	else if (h->version < 1)
		refuse(info, CATALOG_CORRUPT, "its version is %lld",
		       (long long)h->version);
}

static int find_out(struct catalog_db *db, struct header *h,
		    struct catalog_schema_info *info)
{
	int err = read_header(db, h);

	if (err)
		return err;
	info->is_fresh = is_empty(h);
	if (!info->is_fresh)
		recognise(h, info);
	return 0;
}

/* --- opening --- */

static int create(struct catalog_db *db)
{
	struct catalog_meta m = {.next_gen = 1, .next_image = 1};
	int err = catalog_new_uuid(m.uuid);

	if (!err)
		err = catalog_db_set(db, "application_id",
				     CATALOG_APPLICATION_ID);
	if (!err)
		err = migrate(db, 0, catalog_schema_version());
	return err ? err : catalog_meta_put(db, &m);
}

/* Is an image id above the high-water mark?  Then the meta row is from an
 * older state than the images: a write that a disk claimed but lost. */
static int check_high_water(struct catalog_db *db,
			    struct catalog_schema_info *info)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_IMAGE_MAX, &st);

	if (!err)
		err = catalog_stmt_step(st);
	if (err < 0)
		return err;
	if ((uint64_t)sqlite3_column_int64(st, 0) >= info->meta.next_image)
		return refuse(info, CATALOG_CORRUPT,
			      "an image id is above the high-water mark");
	return 0;
}

static int verify(struct catalog_db *db, int64_t version,
		  struct catalog_schema_info *info)
{
	int err = compare_schema(db, version, info);

	if (err || info->verdict)
		return err;
	err = catalog_meta_get(db, &info->meta);
	if (err == -EUCLEAN)
		return refuse(info, CATALOG_CORRUPT,
			      "the store's own row is missing or damaged");
	return err ? err : check_high_water(db, info);
}

int catalog_schema_verify(struct catalog_db *db,
			  struct catalog_schema_info *info)
{
	struct header h;
	int err = find_out(db, &h, info);

	if (err || info->verdict)
		return err;
	info->version = (unsigned int)h.version;
	return verify(db, h.version, info);
}

/* Walks every page but compares no index with its table: 5 ms for 18 MB that
 * are in the page cache. */
static int quick_check(struct catalog_db *db, struct catalog_schema_info *info)
{
	PFS_AUTO_FREE char *text = NULL;
	int err = catalog_db_text(db, "PRAGMA quick_check(1)", &text);

	if (err)
		return err;
	if (strcmp(text, "ok") != 0)
		return refuse(info, CATALOG_CORRUPT, "quick_check: %.40s",
			      text);
	return 0;
}

/* The write lock is taken also when there is nothing to write: a catalog that
 * cannot be written is no use, and now is the time to know.  FULL, because
 * what a fresh file promises (its uuid) must be durable. */
static int create_or_migrate(struct catalog_db *db,
			     struct catalog_schema_info *info)
{
	struct header h;
	int err = catalog_db_begin(db, true);

	if (err)
		return err;
	err = find_out(db, &h, info); /* again: nobody else may change it now */
	if (!err && !info->verdict && info->is_fresh)
		err = create(db);
	else if (!err && !info->verdict &&
		 h.version < (int64_t)catalog_schema_version())
		err = migrate(db, h.version, catalog_schema_version());
	if (!err && !info->verdict)
		err = catalog_db_commit(db);
	catalog_db_rollback(db); /* no effect after a commit */
	return err;
}

/* The pragma answers with the mode it ended in.  In memory that is "memory";
 * a file system without shared mmap keeps "delete", which would let readers
 * and the writer block each other. */
static int switch_to_wal(struct catalog_db *db)
{
	PFS_AUTO_FREE char *mode = NULL;
	int err = catalog_db_text(db, "PRAGMA journal_mode = WAL", &mode);

	if (err)
		return err;
	return strcmp(mode, "delete") ? 0 : -EOPNOTSUPP;
}

static int set_limits(struct catalog_db *db, uint64_t max_bytes)
{
	int64_t page_size;
	int err = catalog_db_get(db, "PRAGMA page_size", &page_size);

	if (err)
		return err;
	if (page_size <= 0)
		return -EUCLEAN;
	err = catalog_db_set(
		db, "max_page_count",
		(int64_t)PFS_MAX(max_bytes / (uint64_t)page_size, 16u));
	/* The log shrinks to this after a checkpoint. */
	return err ? err : catalog_db_set(db, "journal_size_limit", 16 << 20);
}

static int bring_up(struct catalog_db *db, uint64_t max_bytes, bool check_pages,
		    struct catalog_schema_info *info)
{
	struct header h;
	int err = find_out(db, &h, info);

	if (err || info->verdict)
		return err;
	if (info->is_fresh)
		err = catalog_db_set(db, "page_size", PAGE_SIZE);
	if (!err)
		err = switch_to_wal(db);
	if (!err)
		err = set_limits(db, max_bytes);
	if (!err && check_pages)
		err = quick_check(db, info);
	if (!err && !info->verdict)
		err = create_or_migrate(db, info);
	if (!err && !info->verdict)
		err = verify(db, catalog_schema_version(), info);
	return err;
}

int catalog_schema_open(struct catalog_db *db, uint64_t max_bytes,
			bool check_pages, struct catalog_schema_info *info)
{
	int err;

	memset(info, 0, sizeof(*info));
	err = bring_up(db, max_bytes, check_pages, info);
	if (err == -EUCLEAN)
		err = refuse(info, CATALOG_CORRUPT, "%.60s",
			     sqlite3_errmsg(db->h));
	return err;
}
