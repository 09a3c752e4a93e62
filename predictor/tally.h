/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/tally.h - counts for each pair of image and VM, and for all.
 *
 * Only the counting members of struct pfs_prefetch_stats are kept here.  There
 * is room for TALLY_PAIRS; the least recently opened goes for a new one, and
 * stays in the sum of all.
 *
 * Threads  none.
 * Memory   all of it at init.
 */
#ifndef PFS_PREDICTOR_TALLY_H
#define PFS_PREDICTOR_TALLY_H

#include <pfs/predictor.h>

#include "map.h"

#define TALLY_PAIRS 2048u

struct tallies {
	struct tally {
		uint64_t image, vm, opened;
		struct pfs_prefetch_stats n;
	} * pair;          /* owned */
	struct map by_key; /* image and VM -> place */
	uint32_t n_pairs;
	uint64_t clock;
	struct pfs_prefetch_stats all;
};

int tally_init(struct tallies *t) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void tally_fini(struct tallies *t);

/** A session begins: find or make its pair. */
void tally_open(struct tallies *t, uint64_t image, uint64_t vm);
/** Add to a pair (if it is still there) and to the sum. */
void tally_add(struct tallies *t, uint64_t image, uint64_t vm,
	       const struct pfs_prefetch_stats *n);
/** What belongs to an image and a VM; 0: to any. */
void tally_sum(const struct tallies *t, uint64_t image, uint64_t vm,
	       struct pfs_prefetch_stats *out);

#endif
