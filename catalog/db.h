/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * db.h - a SQLite connection with its prepared statements, and the translation
 * of SQLite's codes.  No other header of this folder shows a SQLite code.
 *
 * Errors   0 or -errno.  -EUCLEAN means, everywhere in this folder, "the
 *          database does not hold together": corrupt, not a database, a
 *          statement that no longer fits, a broken constraint.  It turns into
 *          -EIO at the folder's edge.
 * Threads  a connection is used under its lock only.
 */
#ifndef PFS_CATALOG_DB_H
#define PFS_CATALOG_DB_H

#include <sqlite3.h>

#include <pfs/base.h>
#include <pfs/mutex.h>

enum catalog_stmt {
#define STMT(id, sql) CATALOG_##id,
#include "statements.def"
#undef STMT
	CATALOG_N_STMTS,
};

struct catalog_db {
	sqlite3 *h;                           /* NULL: closed */
	sqlite3_stmt *stmts[CATALOG_N_STMTS]; /* prepared at first use */
	struct pfs_mutex lock;
	bool is_full; /* synchronous=FULL now, else NORMAL */
};

enum catalog_open_mode {
	CATALOG_READ_WRITE,
	CATALOG_READ_ONLY,
	CATALOG_IMMUTABLE, /* nobody writes it and nothing is written */
};

void catalog_db_init(struct catalog_db *db);
/** path NULL: in memory.  On error the connection is closed. */
int catalog_db_open(struct catalog_db *db, const char *path,
		    enum catalog_open_mode mode,
		    uint32_t wait_ms) PFS_MUST_CHECK;
/** Accepts a closed connection.  The last one of a file checkpoints, unless
 *  catalog_db_leave() was called. */
void catalog_db_close(struct catalog_db *db);
void catalog_db_fini(struct catalog_db *db);

/** Leave the write-ahead log alone at close: for a file that is not ours, or
 *  damaged. */
void catalog_db_leave(struct catalog_db *db, bool leave);
/** How long a lock of another process is waited for. */
void catalog_db_set_wait(struct catalog_db *db, uint32_t wait_ms);

/** Run SQL that returns nothing of interest. */
int catalog_db_exec(struct catalog_db *db, const char *sql) PFS_MUST_CHECK;
/** Set a PRAGMA to a number. */
int catalog_db_set(struct catalog_db *db, const char *pragma,
		   int64_t v) PFS_MUST_CHECK;
/** The first column of the first row as a number; no row: -EUCLEAN. */
int catalog_db_get(struct catalog_db *db, const char *sql,
		   int64_t *v) PFS_MUST_CHECK;
/** The same as text: *out is malloc'ed, the caller's. */
int catalog_db_text(struct catalog_db *db, const char *sql,
		    char **out) PFS_MUST_CHECK;

/** A statement ready for binding; give it back by catalog_stmt_done(). */
int catalog_db_stmt(struct catalog_db *db, enum catalog_stmt id,
		    sqlite3_stmt **out) PFS_MUST_CHECK;
/** 1: a row, 0: no more, or -errno. */
int catalog_stmt_step(sqlite3_stmt *st) PFS_MUST_CHECK;
void catalog_stmt_done(sqlite3_stmt **st);
/** Step a statement that returns no rows. */
int catalog_stmt_run(sqlite3_stmt *st) PFS_MUST_CHECK;

#define CATALOG_AUTO_STMT PFS_AUTO(catalog_stmt_done) sqlite3_stmt

/** Begin a write transaction that is, once committed, durable or not.  Waits
 *  for other processes as set. */
int catalog_db_begin(struct catalog_db *db, bool is_durable) PFS_MUST_CHECK;
int catalog_db_commit(struct catalog_db *db) PFS_MUST_CHECK;
void catalog_db_rollback(struct catalog_db *db);

/** Translate a code; db may be NULL. */
int catalog_err(sqlite3 *h, int rc);

#endif
