/* SPDX-License-Identifier: GPL-3.0-or-later */
/* catalog_fixture.h - a scratch folder, a catalog in it, and the few images
 * and zones that the tests of catalog/ put there. */
#ifndef PFS_TEST_CATALOG_FIXTURE_H
#define PFS_TEST_CATALOG_FIXTURE_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <pfs/catalog.h>
#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/log.h>

#include "check.h"
#include "child.h"

static char scratch[64]; /* the folder */
static char db_path[96];

static _Atomic int warnings; /* lines logged at warning or error */
static char last_warning[512];

static void keep_warning(enum pfs_log_level level, const char *line, void *arg)
{
	(void)arg;
	if (level > PFS_LOG_WARNING)
		return;
	snprintf(last_warning, sizeof(last_warning), "%s", line);
	atomic_fetch_add(&warnings, 1);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void scratch_remove(void)
{
	nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A fresh, empty folder; in memory where there is such a place, since these
 * tests make thousands of durable commits and none of them cuts the power. */
static inline void scratch_reset(void)
{
	if (!*scratch) {
		snprintf(scratch, sizeof(scratch), "%s/pfs-test-XXXXXX",
			 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
		if (!mkdtemp(scratch))
			abort();
		atexit(scratch_remove);
		snprintf(db_path, sizeof(db_path), "%s/catalog.db", scratch);
		pfs_log_set_sink(keep_warning, NULL);
		pfs_fault_enable();
	}
	scratch_remove();
	if (mkdir(scratch, 0700))
		abort();
	pfs_fault_clear();
	atomic_store(&warnings, 0);
}

/* --- catalogs --- */

static struct pfs_catalog_state state; /* of the last open */
static _Atomic int troubles;

static inline void count_trouble(void *arg, int err, const char *what)
{
	(void)arg;
	(void)what;
	CHECK(err < 0);
	atomic_fetch_add(&troubles, 1);
}

static inline struct pfs_catalog *must_open_at(const char *path)
{
	struct pfs_catalog_config cfg = {
		.path = path,
		.lock_wait_ms = 50,
		.on_trouble = count_trouble,
	};
	struct pfs_catalog *c = NULL;

	atomic_store(&troubles, 0);
	CHECK_EQ(pfs_catalog_open(&cfg, &state, &c), 0);
	if (!c)
		abort();
	return c;
}

static inline struct pfs_catalog *must_open(void)
{
	return must_open_at(db_path);
}

static inline struct pfs_catalog *reopened(struct pfs_catalog *c)
{
	pfs_catalog_close(c);
	return must_open();
}

static inline void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static inline uint64_t counter(enum pfs_counter which)
{
	uint64_t sums[PFS_C_N];

	pfs_counters_read(sums);
	return sums[which];
}

/* --- images and zones --- */

/* The settled identity of an image file, told apart by n. */
static inline struct pfs_identity ident(uint64_t n)
{
	return (struct pfs_identity){
		.present = PFS_IDENT_FS | PFS_IDENT_BTIME,
		.fs_id = {1, 2, 3, 4},
		.ino = 1000 + n,
		.size = n << 20,
		.btime_ns = 10,
		.mtime_ns = (int64_t)(20 + n),
		.ctime_ns = (int64_t)(30 + n),
		.recorded_ns = 60ll * 1000000000,
	};
}

struct opened {
	int err;
	enum pfs_image_verdict verdict;
	uint64_t id;
	uint64_t epoch;
};

static inline struct opened open_as(struct pfs_catalog *c, const char *name,
				    struct pfs_identity now, bool drop)
{
	struct pfs_image_row row = {0};
	struct opened o = {0};

	o.err = pfs_catalog_image_open(c, name, &now, drop, &row, &o.verdict);
	o.id = row.id;
	o.epoch = row.epoch;
	return o;
}

static inline struct opened must_open_image(struct pfs_catalog *c,
					    const char *name, uint64_t n)
{
	struct opened o = open_as(c, name, ident(n), false);

	CHECK_EQ(o.err, 0);
	return o;
}

#define BLOB_SIZE 3000

/* What a zone row of an image holds. */
static inline void fill_blob(uint8_t blob[BLOB_SIZE], uint64_t image,
			     uint32_t zone, uint64_t stamp)
{
	for (size_t i = 0; i < BLOB_SIZE; i++)
		blob[i] = (uint8_t)(image * 31 + zone * 7 + stamp + i);
}

static inline struct pfs_catalog_batch *must_batch(struct pfs_catalog *c)
{
	struct pfs_catalog_batch *b = NULL;

	CHECK_EQ(pfs_catalog_batch_create(c, &b), 0);
	return b;
}

static inline void batch_zone(struct pfs_catalog_batch *b, struct opened o,
			      uint32_t zone, uint64_t stamp)
{
	uint8_t blob[BLOB_SIZE];

	fill_blob(blob, o.id, zone, stamp);
	CHECK_EQ(pfs_catalog_batch_zone(b, o.id, o.epoch, zone, blob,
					sizeof(blob), 100 + zone),
		 0);
}

/* Save n zones of an image and wait. */
static inline int save_zones(struct pfs_catalog *c, struct opened o, uint32_t n)
{
	struct pfs_catalog_batch *b = must_batch(c);
	int err;

	for (uint32_t i = 0; i < n; i++)
		batch_zone(b, o, i, 0);
	err = pfs_catalog_submit(c, b, false, NULL, NULL);
	return err ? err : pfs_catalog_flush(c);
}

struct seen {
	uint64_t image;
	unsigned int n;
	uint64_t stamp;  /* of the first zone */
	bool is_same;    /* all zones have that stamp */
	bool is_altered; /* a blob is none that we wrote */
};

static inline int see_zone(void *arg, uint32_t zone, const void *blob,
			   size_t len)
{
	struct seen *s = arg;
	uint8_t want[BLOB_SIZE];
	uint64_t stamp =
		(uint8_t)(*(const uint8_t *)blob - s->image * 31 - zone * 7);

	fill_blob(want, s->image, zone, stamp);
	s->is_altered |= len != BLOB_SIZE || memcmp(want, blob, len) != 0;
	if (!s->n++) {
		s->stamp = stamp;
		s->is_same = true;
	}
	s->is_same &= stamp == s->stamp;
	return 0;
}

static inline int see_zones(struct pfs_catalog *c, struct opened o,
			    struct seen *s)
{
	*s = (struct seen){.image = o.id};
	return pfs_catalog_zones_load(c, o.id, o.epoch, see_zone, s);
}

static inline unsigned int count_zones(struct pfs_catalog *c, struct opened o)
{
	struct seen s;

	CHECK_EQ(see_zones(c, o, &s), 0);
	CHECK(!s.is_altered);
	return s.n;
}

#endif
