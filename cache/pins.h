/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/pins.h - ranges of chunks that shall stay in the store.
 *
 * A short sorted list of ranges that neither overlap nor touch.
 *
 * Threads  none of its own: the caller holds the store lock.
 */
#ifndef PFS_CACHE_PINS_H
#define PFS_CACHE_PINS_H

#include <pfs/base.h>
#include <pfs/store.h>

#define PINS_MAX 1024u /* ranges of one image */

struct pins {
	struct pfs_pin *at; /* owned */
	uint32_t n, cap;
	uint64_t n_chunks;
};

void pins_fini(struct pins *p);
bool pins_has(const struct pins *p, uint64_t chunk);
/** How many of chunks first..last are pinned. */
uint64_t pins_count(const struct pins *p, uint64_t first, uint64_t last);
/** -ENOMEM, -E2BIG over PINS_MAX ranges: nothing has changed then. */
int pins_add(struct pins *p, uint64_t first, uint64_t last) PFS_MUST_CHECK;
int pins_del(struct pins *p, uint64_t first, uint64_t last) PFS_MUST_CHECK;

#endif
