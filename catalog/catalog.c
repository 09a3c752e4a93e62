/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/io.h>
#include <pfs/log.h>

#include "aside.h"
#include "schema.h"

#define MAX_BYTES_DEFAULT PFS_GIB(4)
#define MAX_BYTES_IN_MEMORY PFS_MIB(256)
#define OPEN_WAIT_MS 2000u
/* In use: what a short reader of somebody else's may hold us up. */
#define WAIT_MS 500u

/* Walking the pages after an unclean end finds damage while setting aside is
 * still possible; later it costs the store until the next start.  Only damage
 * by the disk is looked for (SQLite survives a kill), so a file too large to
 * be walked in some 20 ms is opened without. */
#define WALK_MAX_BYTES PFS_MIB(64)

/* --- opening a file --- */

static bool is_walkable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (uint64_t)st.st_size <= WALK_MAX_BYTES;
}

static int prepare_file(const char *path)
{
	int err = pfs_fault_check(PFS_FP_CATALOG_OPEN);

	if (!err)
		err = catalog_make_folder(path);
	return err ? err : catalog_make_file(path);
}

static void close_dbs(struct pfs_catalog *c)
{
	catalog_db_close(&c->read_db);
	catalog_db_close(&c->write_db);
}

/* Open the file and find out whether it can be used.  -errno: not even that;
 * unless it is usable the connections are closed. */
static int attach(struct pfs_catalog *c, const struct pfs_catalog_config *cfg,
		  struct catalog_schema_info *info)
{
	uint32_t wait_ms = cfg->lock_wait_ms ? cfg->lock_wait_ms : OPEN_WAIT_MS;
	uint64_t max_bytes =
		cfg->max_bytes ? cfg->max_bytes : MAX_BYTES_DEFAULT;
	bool was_unclean = catalog_was_unclean(cfg->path);
	int err = prepare_file(cfg->path);

	if (!err)
		err = catalog_db_open(&c->write_db, cfg->path,
				      CATALOG_READ_WRITE, wait_ms);
	if (err)
		return err;
	err = catalog_schema_open(&c->write_db, max_bytes,
				  was_unclean && is_walkable(cfg->path), info);
	if (!err && !info->verdict)
		err = catalog_db_open(&c->read_db, cfg->path, CATALOG_READ_ONLY,
				      WAIT_MS);
	if (err || info->verdict) {
		/* A log that was found there stays as it was found. */
		catalog_db_leave(&c->write_db, was_unclean);
		close_dbs(c);
		return err;
	}
	catalog_db_set_wait(&c->write_db, WAIT_MS);
	c->reads = &c->read_db;
	return 0;
}

static const char *kind_of(enum catalog_verdict verdict)
{
	switch (verdict) {
	case CATALOG_FOREIGN:
		return "foreign";
	case CATALOG_NEWER:
		return "newer";
	default:
		return "corrupt";
	}
}

static const char *remedy_of(enum catalog_verdict verdict)
{
	switch (verdict) {
	case CATALOG_FOREIGN:
		return "if it is somebody's, move it back and give pfs "
		       "another catalog=";
	case CATALOG_NEWER:
		return "to use it again, run the later pfs and move it back";
	default:
		return "nothing needs to be done; it may be deleted";
	}
}

static int move_away(const char *path, const struct catalog_schema_info *info)
{
	char moved[PATH_MAX];
	int err = catalog_set_aside(path, kind_of(info->verdict), moved,
				    sizeof(moved));

	if (err)
		return pfs_log_fail(err, "catalog",
				    "%s is %s (%s) and cannot be moved away",
				    path, kind_of(info->verdict), info->why);
	pfs_count(PFS_C_CATALOG_SET_ASIDE, 1);
	pfs_log(PFS_LOG_WARNING, "catalog",
		"%s is %s (%s): moved to %s, starting cold; %s", path,
		kind_of(info->verdict), info->why, moved,
		remedy_of(info->verdict));
	return 0;
}

/* The file as it is, or a new one in its place, once. */
static int open_file(struct pfs_catalog *c,
		     const struct pfs_catalog_config *cfg,
		     struct pfs_catalog_state *state,
		     struct catalog_schema_info *info)
{
	int err;

	if (catalog_has_failure_note(cfg->path)) {
		*info = (struct catalog_schema_info){
			.verdict = CATALOG_CORRUPT,
			.why = "damage was met while it was in use",
		};
	} else {
		err = attach(c, cfg, info);
		if (err || !info->verdict)
			return err;
	}
	(void)snprintf(state->set_aside, sizeof(state->set_aside),
		       "%.7s: %.54s", kind_of(info->verdict), info->why);
	err = move_away(cfg->path, info);
	if (!err)
		err = attach(c, cfg, info);
	/* At most once per start: a new file that is bad at once is a bad
	 * disk, and moving files about on it helps nobody. */
	return !err && info->verdict ? -EIO : err;
}

static int open_memory(struct pfs_catalog *c, struct catalog_schema_info *info)
{
	int err = catalog_db_open(&c->write_db, NULL, CATALOG_READ_WRITE, 0);

	if (!err)
		err = catalog_schema_open(&c->write_db, MAX_BYTES_IN_MEMORY,
					  false, info);
	if (!err && info->verdict)
		err = -EIO;
	c->reads = &c->write_db;
	return err;
}

static void log_fallback(const char *path, int err)
{
	pfs_log(PFS_LOG_WARNING, "catalog",
		"cannot use %s: %s; going on in memory, so the next start is "
		"cold; %s",
		path,
		err == -EAGAIN ? "another process holds it locked"
			       : strerror(-err),
		err == -EAGAIN ? "end that process (e.g. a sqlite3 shell)"
			       : "make its folder writable or give pfs another "
				 "catalog=");
}

static int open_any(struct pfs_catalog *c, const struct pfs_catalog_config *cfg,
		    struct pfs_catalog_state *state)
{
	struct catalog_schema_info info;
	int err = -ENOENT;

	if (cfg->path) {
		err = open_file(c, cfg, state, &info);
		if (err == -ENOMEM)
			return err;
		if (err)
			log_fallback(cfg->path, err);
	}
	state->is_in_memory = err != 0;
	if (err)
		err = open_memory(c, &info);
	if (err)
		return err;
	state->is_fresh = info.is_fresh;
	memcpy(c->uuid, info.meta.uuid, sizeof(c->uuid));
	return 0;
}

static struct pfs_catalog *create(const struct pfs_catalog_config *cfg)
{
	struct pfs_catalog *c = pfs_zalloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->on_trouble = cfg->on_trouble;
	c->trouble_arg = cfg->arg;
	c->tail = &c->head;
	catalog_db_init(&c->write_db);
	catalog_db_init(&c->read_db);
	pfs_mutex_init(&c->queue_lock, PFS_RANK_CATALOG);
	pfs_cond_init(&c->work);
	pfs_cond_init(&c->done);
	return c;
}

static void catalog_done(struct pfs_catalog **c)
{
	pfs_catalog_close(*c);
}

int pfs_catalog_open(const struct pfs_catalog_config *cfg,
		     struct pfs_catalog_state *state, struct pfs_catalog **out)
{
	PFS_AUTO(catalog_done) struct pfs_catalog *c = create(cfg);
	struct pfs_catalog_state st = {0};
	int err;

	if (!c)
		return -ENOMEM;
	err = open_any(c, cfg, &st);
	if (err)
		return err;
	if (!st.is_in_memory) {
		c->path = strdup(cfg->path);
		if (!c->path)
			return -ENOMEM;
	}
	err = catalog_writer_start(c);
	if (err)
		return err;
	*state = st;
	*out = pfs_take(&c);
	return 0;
}

void pfs_catalog_close(struct pfs_catalog *c)
{
	if (!c)
		return;
	catalog_writer_stop(c);
	if (atomic_load(&c->is_failed)) {
		/* A checkpoint would only spread the damage. */
		catalog_db_leave(&c->write_db, true);
		if (c->read_db.h)
			catalog_db_leave(&c->read_db, true);
	}
	catalog_db_fini(&c->read_db);
	catalog_db_fini(&c->write_db);
	pfs_cond_fini(&c->done);
	pfs_cond_fini(&c->work);
	pfs_mutex_fini(&c->queue_lock);
	free(c->path);
	free(c);
}

/* --- the store's own row --- */

void pfs_catalog_store_uuid(struct pfs_catalog *c, uint8_t out[PFS_UUID_LEN])
{
	pfs_mutex_lock(&c->queue_lock);
	memcpy(out, c->uuid, PFS_UUID_LEN);
	pfs_mutex_unlock(&c->queue_lock);
}

static int run_stmt(struct catalog_db *db, enum catalog_stmt id)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, id, &st);

	return err ? err : catalog_stmt_run(st);
}

static int renew(struct catalog_txn *t, void *arg)
{
	int err = run_stmt(t->db, CATALOG_ZONES_CLEAR);

	if (!err)
		err = run_stmt(t->db, CATALOG_SEGMENTS_DELETE);
	memcpy(t->meta.uuid, arg, sizeof(t->meta.uuid));
	return err;
}

int pfs_catalog_renew_store(struct pfs_catalog *c, uint8_t out[PFS_UUID_LEN])
{
	uint8_t uuid[PFS_UUID_LEN];
	int err = catalog_new_uuid(uuid);

	if (!err)
		err = catalog_call(c, true, renew, uuid);
	if (!err)
		memcpy(out, uuid, sizeof(uuid));
	return err;
}

struct reservation {
	uint64_t n;
	uint64_t first;
	int err;
};

static int reserve(struct catalog_txn *t, void *arg)
{
	struct reservation *r = arg;
	uint64_t next;

	r->first = t->meta.next_gen;
	r->err = pfs_add_u64(r->first, r->n, &next);
	if (!r->err && next > INT64_MAX)
		r->err = -EOVERFLOW; /* SQLite's integers are signed */
	if (!r->err)
		t->meta.next_gen = next;
	return 0;
}

int pfs_catalog_reserve_gens(struct pfs_catalog *c, uint64_t n, uint64_t *first)
{
	struct reservation r = {.n = n};
	int err = n ? catalog_call(c, true, reserve, &r) : -EINVAL;

	if (!err)
		err = r.err;
	if (!err)
		*first = r.first;
	return err;
}

static int nothing(struct catalog_txn *t, void *arg)
{
	(void)t;
	(void)arg;
	return 0;
}

int pfs_catalog_flush(struct pfs_catalog *c)
{
	return catalog_call(c, false, nothing, NULL);
}
