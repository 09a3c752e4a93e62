/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/touched.h - which chunks a session has touched, and how lately.
 *
 * Bitmaps of 64 chunks in a hash table with replacement.  Time is counted in
 * news, chunks that were not in it: bits are forgotten one to two eras after
 * they were set, or when the store is seen to have evicted one of them, and
 * count as fresh for one to two moments.
 *
 * Threads  none.
 * Memory   3 KiB at init, doubled when it gets full, at most 192 KiB; then
 *          what was touched longest ago is replaced.
 */
#ifndef PFS_PREDICTOR_TOUCHED_H
#define PFS_PREDICTOR_TOUCHED_H

#include <pfs/base.h>

#define TOUCHED_MOMENT 32u /* news */
#define TOUCHED_ERA 2048u  /* news, whole moments */

struct touched {
	struct patch {
		uint64_t number;   /* chunk / 64 + 1; 0: free */
		uint64_t moment;   /* of its latest touch */
		uint64_t fresh[2]; /* touched in that moment, the one before */
		uint64_t kept[2];  /* in its era, in the one before */
	} * patch;                 /* owned */
	uint32_t size;             /* power of two */
	uint64_t news;
};

/** Bits of 64 neighbouring chunks, the lowest chunk's first. */
struct touched_window {
	uint64_t kept, fresh;
};

/** -ENOMEM. */
int touched_init(struct touched *t) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void touched_fini(struct touched *t);
/** True: it is news.  is_missing: the store had lost it; then it will have lost
 *  what else was touched around there long ago, which is forgotten. */
bool touched_add(struct touched *t, uint64_t chunk, bool is_missing);
/** 64 chunks from `first` on, which may be up to 63 below 0. */
struct touched_window touched_window(const struct touched *t, int64_t first);

static inline size_t touched_memory(const struct touched *t)
{
	return t->size * sizeof(*t->patch);
}

#endif
