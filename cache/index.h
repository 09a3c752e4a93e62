/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/index.h - which chunks of one image are resident, and in which slot.
 *
 * Zones are kept in an array sorted by number; the entries of a zone in three
 * parallel arrays sorted by chunk (14 bytes an entry), which stay compact for
 * a scattered boot and for a full zone alike.
 *
 * Threads  none of its own: the caller holds the store lock.
 */
#ifndef PFS_CACHE_INDEX_H
#define PFS_CACHE_INDEX_H

#include "format.h"

struct zone {
	uint32_t no;
	uint16_t n, cap;
	bool is_dirty;     /* differs from its saved row */
	uint16_t n_saving; /* snapshots on their way to the catalog */
	uint64_t mut_gen;  /* of the last mutation in it; 0: none */
	uint64_t save_gen; /* value of the counter at the last snapshot */
	/* One block of memory: gen[cap], slot[cap], idx[cap]. */
	uint64_t *gen; /* owned */
	uint32_t *slot;
	uint16_t *idx;
};

struct index {
	struct zone **zones; /* owned, sorted by no */
	uint32_t n_zones, cap;
	uint64_t n_chunks;
	uint64_t bytes; /* RAM of all of it */
};

void index_fini(struct index *ix);

/** First position in zones whose number is not below no. */
uint32_t index_zone_pos(const struct index *ix, uint32_t no);
struct zone *index_zone(const struct index *ix, uint32_t no);
/** The zone, made if missing; NULL without memory. */
struct zone *index_zone_make(struct index *ix, uint32_t no);

bool index_find(const struct index *ix, uint64_t chunk, uint32_t *slot,
		uint64_t *gen);
/** Add or replace; *old_slot is the slot replaced or FORMAT_SLOT_NONE. */
int index_put(struct index *ix, uint64_t chunk, uint32_t slot, uint64_t gen,
	      uint32_t *old_slot) PFS_MUST_CHECK;
/** Remove; returns the slot or FORMAT_SLOT_NONE. */
uint32_t index_del(struct index *ix, uint64_t chunk);
/** Remove chunks first..last, calling fn for each slot that becomes free. */
void index_del_range(struct index *ix, uint64_t first, uint64_t last,
		     void (*fn)(void *arg, uint32_t slot), void *arg);
/** Copy a zone's entries; returns how many. */
uint32_t index_zone_entries(const struct zone *z, struct zone_entry *out);

#endif
