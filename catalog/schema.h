/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * schema.h - bring an open database file to our schema, or say why not.
 */
#ifndef PFS_CATALOG_SCHEMA_H
#define PFS_CATALOG_SCHEMA_H

#include "db.h"
#include "row.h"

/* "PfsC" in the file's header: tells our databases from other people's. */
#define CATALOG_APPLICATION_ID 0x50667343

/** The version this build writes. */
unsigned int catalog_schema_version(void);

enum catalog_verdict {
	CATALOG_USABLE,
	CATALOG_CORRUPT,
	CATALOG_FOREIGN, /* somebody else's database */
	CATALOG_NEWER,   /* made by a later version of pfs */
};

struct catalog_schema_info {
	enum catalog_verdict verdict;
	bool is_fresh;        /* made just now */
	unsigned int version; /* that was found (verify only) */
	struct catalog_meta meta;
	char why[64]; /* what is wrong, if it is not usable */
};

/** Recognise, create or migrate, switch to WAL and verify.  A file that is
 *  not usable is 0 with another verdict and is left as it was; -errno when
 *  that could not be found out (locked, no permission, disk error, full).
 *  check_pages: also walk the b-trees. */
int catalog_schema_open(struct catalog_db *db, uint64_t max_bytes,
			bool check_pages,
			struct catalog_schema_info *info) PFS_MUST_CHECK;

/** Verify without writing: header, tables as this build makes them for the
 *  version of the file, meta row.  Not usable is told as above. */
int catalog_schema_verify(struct catalog_db *db,
			  struct catalog_schema_info *info) PFS_MUST_CHECK;

#endif
