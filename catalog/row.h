/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * row.h - rows in memory, and the checksum each carries on disk.
 *
 * SQLite notices damage to its pages' structure, but not a flipped bit in a
 * value.  So every row has a column `sum`: XXH3 over its other values, each as
 * 8 bytes little endian, followed by its bytes if it has any; see
 * pfs-catalog(5).  The key is among the values, so a row found under a wrong
 * key does not pass either.
 *
 * Errors   reading a row returns 0, or -EBADMSG when the sum does not match.
 */
#ifndef PFS_CATALOG_ROW_H
#define PFS_CATALOG_ROW_H

#include <limits.h>

#include <pfs/catalog.h>

#include "db.h"

/* The one row that describes the store and what was ever handed out. */
struct catalog_meta {
	uint8_t uuid[PFS_UUID_LEN];
	uint64_t next_gen;   /* generations below were reserved */
	uint64_t next_image; /* ids below were used */
	uint64_t n_durable;  /* transactions that were made durable */
};

/* An image row with room for its name. */
struct catalog_image {
	struct pfs_image_row row; /* row.name: NULL or name */
	char name[PATH_MAX];
};

struct catalog_zone {
	uint64_t image;
	uint64_t epoch;
	uint32_t zone;
	uint32_t n_chunks;
	const void *blob; /* borrowed */
	size_t len;
};

struct catalog_recording {
	uint64_t image;
	uint64_t number;
	const void *blob; /* borrowed */
	size_t len;
};

struct catalog_pin {
	uint64_t image;
	uint64_t first;
	uint64_t last;
};

/** -EUCLEAN: missing or bad. */
int catalog_meta_get(struct catalog_db *db,
		     struct catalog_meta *m) PFS_MUST_CHECK;
int catalog_meta_put(struct catalog_db *db,
		     const struct catalog_meta *m) PFS_MUST_CHECK;

/** A random uuid for a store. */
int catalog_new_uuid(uint8_t uuid[PFS_UUID_LEN]) PFS_MUST_CHECK;

/** The row a statement over IMAGE_COLS stands on.  When it is bad, row.id is
 *  the id it was found under all the same. */
int catalog_image_read(sqlite3_stmt *st,
		       struct catalog_image *img) PFS_MUST_CHECK;
int catalog_image_put(struct catalog_db *db,
		      const struct catalog_image *img) PFS_MUST_CHECK;

/** The row that ZONES_LOAD or ZONES_ALL stands on; blob is valid until the
 *  next step. */
int catalog_zone_read(sqlite3_stmt *st, struct catalog_zone *z) PFS_MUST_CHECK;
int catalog_zone_put(struct catalog_db *db,
		     const struct catalog_zone *z) PFS_MUST_CHECK;

/** The row that RECORDINGS_LOAD or RECORDINGS_ALL stands on; blob is valid
 *  until the next step. */
int catalog_recording_read(sqlite3_stmt *st,
			   struct catalog_recording *r) PFS_MUST_CHECK;
int catalog_recording_put(struct catalog_db *db,
			  const struct catalog_recording *r) PFS_MUST_CHECK;
/** Give a row that was read just now to another image. */
int catalog_recording_move(struct catalog_db *db,
			   const struct catalog_recording *r,
			   uint64_t image) PFS_MUST_CHECK;

/** The row that PINS_LOAD or PINS_ALL stands on. */
int catalog_pin_read(sqlite3_stmt *st, struct catalog_pin *p) PFS_MUST_CHECK;
int catalog_pin_put(struct catalog_db *db,
		    const struct catalog_pin *p) PFS_MUST_CHECK;

uint64_t catalog_segments_sum(const void *blob, size_t len);

#endif
