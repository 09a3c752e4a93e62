/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/transitions.h - what followed what, and how often.
 *
 * A table of (context, next) pairs with counts.  A context is any 64-bit number
 * of the caller's; up to TRANSITIONS_NEXT of its followers are kept.  Buckets
 * are two cache lines; a new pair takes the place of the weakest and oldest.
 *
 * Threads  none.
 * Memory   32 KiB at init, doubled as it fills, 2 MiB at most (3 MiB for the
 *          moment of the last doubling).
 */
#ifndef PFS_PREDICTOR_TRANSITIONS_H
#define PFS_PREDICTOR_TRANSITIONS_H

#include <pfs/base.h>

#define TRANSITIONS_NEXT 4u

struct transitions {
	struct transition {
		uint32_t context; /* hashed */
		uint16_t count;   /* 0: free */
		uint16_t used;    /* when, wraps */
		uint64_t next;
	} * entry;          /* owned */
	uint32_t n_buckets; /* power of two */
	uint32_t n_lost;    /* pairs that gave way to others' since it grew */
	uint32_t clock;
};

struct follower {
	uint64_t next;
	uint16_t count;
};

/** Followers of a context, most frequent first. */
struct followers {
	struct follower at[TRANSITIONS_NEXT];
	uint32_t n;
	uint32_t total; /* their counts */
};

/** -ENOMEM. */
int transitions_init(struct transitions *t) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void transitions_fini(struct transitions *t);
/** next has followed context once more. */
void transitions_learn(struct transitions *t, uint64_t context, uint64_t next);
void transitions_find(const struct transitions *t, uint64_t context,
		      struct followers *out);
size_t transitions_memory(const struct transitions *t);

#endif
