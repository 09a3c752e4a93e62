/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/readers.h - what each VM has read and written of each image.
 *
 * Counted from events, off the read path, so what is lost there is missing
 * here.  There is room for READERS_MAX pairs of image and VM; a new pair takes
 * the place of one that was quiet for long.
 *
 * Threads  none: the predictor's lock guards it.
 */
#ifndef PFS_FS_READERS_H
#define PFS_FS_READERS_H

#include <pfs/base.h>

#include "events.h"

#define READERS_MAX 1024u
#define READERS_ANY UINT64_MAX /* in place of an image or a VM */

struct readers; /* opaque */

struct reader_counts {
	uint64_t n_hits, n_late, n_misses, n_holes, n_direct;
	uint64_t n_writes, read_bytes, write_bytes;
};

struct readers *readers_create(void);
void readers_destroy(struct readers *r); /* accepts NULL */

/** A read or a write. */
void readers_note(struct readers *r, const struct event *e);
/** The sum over the pairs that fit. */
void readers_sum(const struct readers *r, uint64_t image, uint64_t vm,
		 struct reader_counts *out);
/** Call fn for each pair; nonzero stops. */
int readers_each(const struct readers *r,
		 int (*fn)(void *arg, uint64_t image, uint64_t vm), void *arg);

#endif
