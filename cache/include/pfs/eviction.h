/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/eviction.h - what a store would hold: its eviction without its bytes.
 *
 * The same segments as in the daemon (cache/segments.h) decide what leaves:
 * first in, first out by whole segments; what was hit since it came is put in
 * again; prefetched chunks that nobody asked for are on probation.
 *
 * Threads  none: one thread at a time.
 * Errors   0 or -errno (-ENOMEM).
 */
#ifndef PFS_EVICTION_H
#define PFS_EVICTION_H

#include <pfs/base.h>

struct pfs_eviction; /* opaque; owned by whoever created it */

/** An empty store of n_chunks slots, at least 8. */
int pfs_eviction_create(uint32_t n_chunks,
			struct pfs_eviction **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void pfs_eviction_destroy(struct pfs_eviction *e);

/** Is a chunk there?  is_hit: because a guest reads it.  Chunks are small
 *  numbers: memory is proportional to the largest. */
bool pfs_eviction_find(struct pfs_eviction *e, uint32_t chunk, bool is_hit);
/** A chunk was filled (again, when it is there: the old copy goes).  fn is
 *  told each one that left for it. */
int pfs_eviction_insert(struct pfs_eviction *e, uint32_t chunk,
			bool is_prefetch, void (*fn)(void *arg, uint32_t chunk),
			void *arg) PFS_MUST_CHECK;

#endif
