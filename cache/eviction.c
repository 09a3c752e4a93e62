/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store without bytes.  Slots are filled at once, and a victim leaves as soon
 * as the policy wants one, where the daemon's upkeep thread (upkeep.c) takes a
 * moment; otherwise this does what evict() does there.
 */
#include <pfs/eviction.h>
#include <pfs/store.h>

#include "segments.h"

#define SEGMENTS_LEAST 4u
#define NO_SLOT UINT32_MAX

struct pfs_eviction {
	struct segments segs;
	struct evict_slot {
		uint32_t chunk; /* plus 1; 0: none */
		bool is_hit;    /* since it was filled */
	} * slot;               /* owned, of all segments */
	uint32_t *slot_of;      /* owned: plus 1, of each chunk; 0: not there */
	uint32_t n_chunks;      /* in slot_of */
	uint64_t gen;
};

static void eviction_done(struct pfs_eviction **e)
{
	pfs_eviction_destroy(*e);
}

/* As many slots in a segment as a store of that size has. */
static void shape(struct geometry *g, uint32_t n_chunks)
{
	static const uint8_t no_uuid[PFS_UUID_LEN];
	uint64_t size = FORMAT_DATA_OFF + (uint64_t)n_chunks * PFS_CHUNK_MAX;

	if (geometry_plan(g, no_uuid, size, PFS_CHUNK_MAX))
		*g = (struct geometry){.segment_slots =
					       n_chunks / SEGMENTS_LEAST};
	g->n_segments = n_chunks / g->segment_slots;
}

int pfs_eviction_create(uint32_t n_chunks, struct pfs_eviction **out)
{
	PFS_AUTO(eviction_done) struct pfs_eviction *e = NULL;
	struct geometry g;

	if (n_chunks < 2 * SEGMENTS_LEAST)
		return -EINVAL;
	shape(&g, n_chunks);
	e = calloc(1, sizeof(*e));
	if (!e || segments_init(&e->segs, &g))
		return -ENOMEM;
	e->slot = calloc(geometry_n_slots(&g), sizeof(*e->slot));
	if (!e->slot)
		return -ENOMEM;
	*out = pfs_take(&e);
	return 0;
}

void pfs_eviction_destroy(struct pfs_eviction *e)
{
	if (!e)
		return;
	segments_fini(&e->segs);
	free(e->slot);
	free(e->slot_of);
	free(e);
}

static uint32_t find(const struct pfs_eviction *e, uint32_t chunk)
{
	if (chunk >= e->n_chunks || !e->slot_of[chunk])
		return NO_SLOT;
	return e->slot_of[chunk] - 1;
}

bool pfs_eviction_find(struct pfs_eviction *e, uint32_t chunk, bool is_hit)
{
	uint32_t slot = find(e, chunk);

	if (slot == NO_SLOT)
		return false;
	e->slot[slot].is_hit |= is_hit;
	return true;
}

/* The slot's chunk is not there any more. */
static uint32_t drop(struct pfs_eviction *e, uint32_t slot)
{
	uint32_t chunk = e->slot[slot].chunk - 1;

	e->slot[slot] = (struct evict_slot){0};
	e->slot_of[chunk] = 0;
	segments_live(&e->segs, slot, -1);
	return chunk;
}

static bool fill(struct pfs_eviction *e, uint32_t chunk,
		 enum segment_class class, bool is_reinsertion)
{
	uint32_t slot;

	if (!segments_alloc(&e->segs, class, 1, ++e->gen, is_reinsertion,
			    &slot))
		return false;
	segments_filled(&e->segs, slot);
	segments_live(&e->segs, slot, 1);
	e->slot[slot] = (struct evict_slot){.chunk = chunk + 1};
	e->slot_of[chunk] = slot + 1;
	return true;
}

/* One segment leaves; of its chunks those that were hit, at most half of them
 * all, are filled in again. */
static bool evict(struct pfs_eviction *e, void (*fn)(void *arg, uint32_t chunk),
		  void *arg)
{
	uint32_t seg = segments_victim(&e->segs);
	uint32_t n = e->segs.g.segment_slots, n_kept = 0;

	if (seg == SEGMENT_NONE)
		return false;
	for (uint32_t slot = seg * n; slot < (seg + 1) * n; slot++) {
		bool stays = e->slot[slot].is_hit && n_kept < n / 2;
		uint32_t chunk;

		if (!e->slot[slot].chunk)
			continue;
		chunk = drop(e, slot);
		if (stays && fill(e, chunk, CLASS_MAIN, true))
			n_kept++;
		else
			fn(arg, chunk);
	}
	return segments_free(&e->segs, seg);
}

static int make_room(struct pfs_eviction *e, uint32_t chunk)
{
	uint32_t n = PFS_MAX(2 * e->n_chunks, 1024u), *more;

	if (chunk < e->n_chunks)
		return 0;
	n = PFS_MAX(n, chunk + 1);
	more = reallocarray(e->slot_of, n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	for (uint32_t i = e->n_chunks; i < n; i++)
		more[i] = 0;
	e->slot_of = more;
	e->n_chunks = n;
	return 0;
}

int pfs_eviction_insert(struct pfs_eviction *e, uint32_t chunk,
			bool is_prefetch, void (*fn)(void *arg, uint32_t chunk),
			void *arg)
{
	uint32_t old = find(e, chunk);
	int err = make_room(e, chunk);

	if (err)
		return err;
	if (old != NO_SLOT)
		(void)drop(e, old);
	while (segments_want_victim(&e->segs) && evict(e, fn, arg))
		;
	/* No room even so: as in the daemon, it is not stored. */
	if (!fill(e, chunk, is_prefetch ? CLASS_PROBATION : CLASS_MAIN, false))
		fn(arg, chunk);
	return 0;
}
