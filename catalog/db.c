/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "db.h"

#include <stdio.h>
#include <string.h>

static const char *const stmt_sql[CATALOG_N_STMTS] = {
#define STMT(id, sql) [CATALOG_##id] = (sql),
#include "statements.def"
#undef STMT
};

static int io_err(sqlite3 *h, int rc)
{
	int sys = h ? sqlite3_system_errno(h) : 0;

	if (rc == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	if (rc == SQLITE_IOERR_CORRUPTFS)
		return -EUCLEAN;
	/* EDQUOT and ENOSPC ask for the same remedy. */
	if (sys == ENOSPC || sys == EDQUOT)
		return -ENOSPC;
	return sys == EROFS ? -EROFS : -EIO;
}

int catalog_err(sqlite3 *h, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EAGAIN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CANTOPEN:
		if (h && sqlite3_system_errno(h))
			return -sqlite3_system_errno(h);
		return -ENOENT;
	case SQLITE_IOERR:
		return io_err(h, rc);
	case SQLITE_TOOBIG:
		return -EFBIG;
	/* Our own statements fit our own schema and break none of its
	 * constraints: if one does, the database is not what it was. */
	case SQLITE_ERROR:
	case SQLITE_SCHEMA:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

void catalog_db_init(struct catalog_db *db)
{
	memset(db, 0, sizeof(*db));
	pfs_mutex_init(&db->lock, PFS_RANK_CATALOG);
}

void catalog_db_fini(struct catalog_db *db)
{
	catalog_db_close(db);
	pfs_mutex_fini(&db->lock);
}

/* "file:PATH?immutable=1" with what a URI gives a meaning escaped. */
static char *immutable_uri(const char *path)
{
	static const char hex[] = "0123456789abcdef";
	static const char query[] = "?immutable=1";
	char *uri = malloc(3 * strlen(path) + sizeof("file:") + sizeof(query));
	char *p = uri;

	if (!uri)
		return NULL;
	p = stpcpy(p, "file:");
	for (; *path; path++) {
		if (strchr("%?#", *path)) {
			*p++ = '%';
			*p++ = hex[(unsigned char)*path >> 4];
			*p++ = hex[*path & 15];
		} else {
			*p++ = *path;
		}
	}
	memcpy(p, query, sizeof(query));
	return uri;
}

static int open_handle(sqlite3 **h, const char *path,
		       enum catalog_open_mode mode)
{
	PFS_AUTO_FREE char *uri = NULL;
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	flags |= mode == CATALOG_READ_WRITE ? SQLITE_OPEN_READWRITE
					    : SQLITE_OPEN_READONLY;
	if (mode == CATALOG_IMMUTABLE) {
		uri = immutable_uri(path);
		if (!uri)
			return SQLITE_NOMEM;
		path = uri;
		flags |= SQLITE_OPEN_URI;
	}
	if (!path)
		flags |= SQLITE_OPEN_MEMORY;
	return sqlite3_open_v2(path ? path : ":memory:", h, flags, NULL);
}

/* Settings of a connection, none of which reads the file: it may not be ours.
 * Debian builds SQLite with secure_delete on, which would write zeros over
 * each deleted zone; cell_size_check finds damage before it is walked into. */
static int configure(struct catalog_db *db)
{
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	return catalog_db_exec(db, "PRAGMA cell_size_check = ON;"
				   "PRAGMA temp_store = MEMORY");
}

int catalog_db_open(struct catalog_db *db, const char *path,
		    enum catalog_open_mode mode, uint32_t wait_ms)
{
	int rc = open_handle(&db->h, path, mode);
	int err = catalog_err(db->h, rc);

	db->is_full = true; /* SQLite's default */
	if (!err) {
		catalog_db_set_wait(db, wait_ms);
		err = configure(db);
	}
	if (err)
		catalog_db_close(db);
	return err;
}

void catalog_db_close(struct catalog_db *db)
{
	for (size_t i = 0; i < CATALOG_N_STMTS; i++) {
		sqlite3_finalize(db->stmts[i]);
		db->stmts[i] = NULL;
	}
	/* With its statements gone a connection always closes; the result is
	 * that of a checkpoint, which the next open makes up for. */
	(void)sqlite3_close(db->h);
	db->h = NULL;
}

void catalog_db_leave(struct catalog_db *db, bool leave)
{
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave, NULL);
}

void catalog_db_set_wait(struct catalog_db *db, uint32_t wait_ms)
{
	sqlite3_busy_timeout(db->h, (int)PFS_MIN(wait_ms, 60000u));
}

int catalog_db_exec(struct catalog_db *db, const char *sql)
{
	return catalog_err(db->h, sqlite3_exec(db->h, sql, NULL, NULL, NULL));
}

int catalog_db_set(struct catalog_db *db, const char *pragma, int64_t v)
{
	char sql[80];

	(void)snprintf(sql, sizeof(sql), "PRAGMA %s = %lld", pragma,
		       (long long)v);
	return catalog_db_exec(db, sql);
}

static void finalize(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}

int catalog_db_get(struct catalog_db *db, const char *sql, int64_t *v)
{
	PFS_AUTO(finalize) sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db->h, sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return catalog_err(db->h, rc);
	rc = catalog_stmt_step(st);
	if (rc == 0)
		return -EUCLEAN;
	if (rc > 0)
		*v = sqlite3_column_int64(st, 0);
	return rc < 0 ? rc : 0;
}

int catalog_db_text(struct catalog_db *db, const char *sql, char **out)
{
	PFS_AUTO(finalize) sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db->h, sql, -1, &st, NULL);
	const char *text;

	if (rc != SQLITE_OK)
		return catalog_err(db->h, rc);
	rc = catalog_stmt_step(st);
	if (rc <= 0)
		return rc < 0 ? rc : -EUCLEAN;
	text = (const char *)sqlite3_column_text(st, 0);
	*out = strdup(text ? text : "");
	return *out ? 0 : -ENOMEM;
}

int catalog_db_stmt(struct catalog_db *db, enum catalog_stmt id,
		    sqlite3_stmt **out)
{
	if (!db->stmts[id]) {
		int rc = sqlite3_prepare_v3(db->h, stmt_sql[id], -1,
					    SQLITE_PREPARE_PERSISTENT,
					    &db->stmts[id], NULL);

		if (rc != SQLITE_OK)
			return catalog_err(db->h, rc);
	}
	*out = db->stmts[id];
	return 0;
}

int catalog_stmt_step(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	return catalog_err(sqlite3_db_handle(st), rc);
}

void catalog_stmt_done(sqlite3_stmt **st)
{
	if (!*st)
		return;
	sqlite3_reset(*st); /* repeats the error of the last step */
	sqlite3_clear_bindings(*st);
}

int catalog_stmt_run(sqlite3_stmt *st)
{
	int rc = catalog_stmt_step(st);

	return rc > 0 ? 0 : rc;
}

static int run(struct catalog_db *db, enum catalog_stmt id)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, id, &st);

	return err ? err : catalog_stmt_run(st);
}

int catalog_db_begin(struct catalog_db *db, bool is_durable)
{
	/* Settable outside transactions only. */
	if (is_durable != db->is_full) {
		int err = catalog_db_exec(
			db, is_durable ? "PRAGMA synchronous = FULL"
				       : "PRAGMA synchronous = NORMAL");

		if (err)
			return err;
		db->is_full = is_durable;
	}
	return run(db, CATALOG_BEGIN);
}

int catalog_db_commit(struct catalog_db *db)
{
	return run(db, CATALOG_COMMIT);
}

void catalog_db_rollback(struct catalog_db *db)
{
	/* Some errors have rolled back already. */
	if (!sqlite3_get_autocommit(db->h))
		(void)sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
}
