/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/map.h - a map from 64-bit keys to 64-bit values.
 *
 * Open addressing with linear probing; its room is fixed at init, so nothing
 * is allocated later.  Key UINT64_MAX is not a key.
 */
#ifndef PFS_PREDICTOR_MAP_H
#define PFS_PREDICTOR_MAP_H

#include <pfs/base.h>

struct map {
	struct map_entry {
		uint64_t key, val;
	} * entry; /* owned */
	uint32_t mask, n, n_max;
};

/** Room for n_max entries.  -ENOMEM. */
int map_init(struct map *m, uint32_t n_max) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void map_fini(struct map *m);
void map_clear(struct map *m);
/** The value of a key, NULL: not there.  Valid until the next add or del. */
uint64_t *map_find(const struct map *m, uint64_t key);
/** The same; a missing key is added with value 0.  NULL: full. */
uint64_t *map_add(struct map *m, uint64_t key);
void map_del(struct map *m, uint64_t key);

static inline size_t map_memory(const struct map *m)
{
	return m->entry ? ((size_t)m->mask + 1) * sizeof(*m->entry) : 0;
}

#endif
