/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "index.h"

#include <string.h>

#include <pfs/io.h>

#define ENTRY_BYTES (sizeof(uint64_t) + sizeof(uint32_t) + sizeof(uint16_t))

static void zone_destroy(struct zone *z)
{
	free(z->gen);
	free(z);
}

void index_fini(struct index *ix)
{
	for (uint32_t i = 0; i < ix->n_zones; i++)
		zone_destroy(ix->zones[i]);
	free(ix->zones);
	*ix = (struct index){0};
}

uint32_t index_zone_pos(const struct index *ix, uint32_t no)
{
	uint32_t lo = 0, hi = ix->n_zones;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ix->zones[mid]->no < no)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct zone *index_zone(const struct index *ix, uint32_t no)
{
	uint32_t pos = index_zone_pos(ix, no);

	if (pos < ix->n_zones && ix->zones[pos]->no == no)
		return ix->zones[pos];
	return NULL;
}

/* A sparse image may be so long that its zones have no number here. */
static struct zone *zone_of(const struct index *ix, uint64_t chunk)
{
	uint64_t no = chunk / PFS_ZONE_CHUNKS;

	return no <= UINT32_MAX ? index_zone(ix, (uint32_t)no) : NULL;
}

static int grow_zones(struct index *ix)
{
	uint32_t cap = ix->cap ? ix->cap * 2 : 8;
	struct zone **zones = realloc(ix->zones, cap * sizeof(*zones));

	if (!zones)
		return -ENOMEM;
	ix->bytes += (cap - ix->cap) * sizeof(*zones);
	ix->zones = zones;
	ix->cap = cap;
	return 0;
}

struct zone *index_zone_make(struct index *ix, uint32_t no)
{
	uint32_t pos = index_zone_pos(ix, no);
	struct zone *z;

	if (pos < ix->n_zones && ix->zones[pos]->no == no)
		return ix->zones[pos];
	if (ix->n_zones == ix->cap && grow_zones(ix))
		return NULL;
	z = pfs_zalloc(1, sizeof(*z));
	if (!z)
		return NULL;

	z->no = no;
	memmove(ix->zones + pos + 1, ix->zones + pos,
		(ix->n_zones - pos) * sizeof(*ix->zones));
	ix->zones[pos] = z;
	ix->n_zones++;
	ix->bytes += sizeof(*z);
	return z;
}

/* First position in z whose chunk is not below idx. */
static uint32_t entry_pos(const struct zone *z, uint16_t idx)
{
	uint32_t lo = 0, hi = z->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (z->idx[mid] < idx)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int grow_entries(struct index *ix, struct zone *z)
{
	uint32_t cap = z->cap < 4 ? 4u
				  : PFS_MIN(z->cap + z->cap / 4u + 2u,
					    PFS_ZONE_CHUNKS);
	uint8_t *mem = pfs_zalloc(cap, ENTRY_BYTES);
	uint64_t *gen = (uint64_t *)(void *)mem;
	uint32_t *slot = (uint32_t *)(void *)(mem + cap * sizeof(*gen));
	uint16_t *idx = (uint16_t *)(void *)(mem + cap * (sizeof(*gen) +
							  sizeof(*slot)));

	if (!mem)
		return -ENOMEM;
	if (z->n) {
		memcpy(gen, z->gen, z->n * sizeof(*gen));
		memcpy(slot, z->slot, z->n * sizeof(*slot));
		memcpy(idx, z->idx, z->n * sizeof(*idx));
	}
	free(z->gen);
	z->gen = gen;
	z->slot = slot;
	z->idx = idx;
	ix->bytes += (cap - z->cap) * ENTRY_BYTES;
	z->cap = (uint16_t)cap;
	return 0;
}

bool index_find(const struct index *ix, uint64_t chunk, uint32_t *slot,
		uint64_t *gen)
{
	const struct zone *z = zone_of(ix, chunk);
	uint16_t idx = (uint16_t)(chunk % PFS_ZONE_CHUNKS);
	uint32_t pos;

	if (!z)
		return false;
	pos = entry_pos(z, idx);
	if (pos == z->n || z->idx[pos] != idx)
		return false;
	*slot = z->slot[pos];
	*gen = z->gen[pos];
	return true;
}

int index_put(struct index *ix, uint64_t chunk, uint32_t slot, uint64_t gen,
	      uint32_t *old_slot)
{
	struct zone *z =
		index_zone_make(ix, (uint32_t)(chunk / PFS_ZONE_CHUNKS));
	uint16_t idx = (uint16_t)(chunk % PFS_ZONE_CHUNKS);
	uint32_t pos, tail;

	if (!z)
		return -ENOMEM;
	*old_slot = FORMAT_SLOT_NONE;
	pos = entry_pos(z, idx);
	if (pos < z->n && z->idx[pos] == idx) {
		*old_slot = z->slot[pos];
	} else {
		if (z->n == z->cap && grow_entries(ix, z))
			return -ENOMEM;
		tail = z->n - pos;
		memmove(z->gen + pos + 1, z->gen + pos, tail * sizeof(*z->gen));
		memmove(z->slot + pos + 1, z->slot + pos,
			tail * sizeof(*z->slot));
		memmove(z->idx + pos + 1, z->idx + pos, tail * sizeof(*z->idx));
		z->n++;
		ix->n_chunks++;
	}
	z->idx[pos] = idx;
	z->slot[pos] = slot;
	z->gen[pos] = gen;
	z->is_dirty = true;
	return 0;
}

/* Remove entries [pos, pos + n) of a zone. */
static void cut(struct index *ix, struct zone *z, uint32_t pos, uint32_t n)
{
	uint32_t tail = z->n - pos - n;

	memmove(z->gen + pos, z->gen + pos + n, tail * sizeof(*z->gen));
	memmove(z->slot + pos, z->slot + pos + n, tail * sizeof(*z->slot));
	memmove(z->idx + pos, z->idx + pos + n, tail * sizeof(*z->idx));
	z->n = (uint16_t)(z->n - n);
	ix->n_chunks -= n;
	z->is_dirty = true;
}

uint32_t index_del(struct index *ix, uint64_t chunk)
{
	struct zone *z = zone_of(ix, chunk);
	uint16_t idx = (uint16_t)(chunk % PFS_ZONE_CHUNKS);
	uint32_t pos, slot;

	if (!z)
		return FORMAT_SLOT_NONE;
	pos = entry_pos(z, idx);
	if (pos == z->n || z->idx[pos] != idx)
		return FORMAT_SLOT_NONE;
	slot = z->slot[pos];
	cut(ix, z, pos, 1);
	return slot;
}

void index_del_range(struct index *ix, uint64_t first, uint64_t last,
		     void (*fn)(void *arg, uint32_t slot), void *arg)
{
	uint64_t zone_max =
		PFS_MIN(last / PFS_ZONE_CHUNKS, (uint64_t)UINT32_MAX);
	uint32_t zi;

	if (first / PFS_ZONE_CHUNKS > UINT32_MAX)
		return;
	zi = index_zone_pos(ix, (uint32_t)(first / PFS_ZONE_CHUNKS));
	for (; zi < ix->n_zones && ix->zones[zi]->no <= zone_max; zi++) {
		struct zone *z = ix->zones[zi];
		uint64_t base = (uint64_t)z->no * PFS_ZONE_CHUNKS;
		uint32_t from = first > base
					? entry_pos(z, (uint16_t)(first - base))
					: 0;
		uint32_t to = from;

		while (to < z->n && base + z->idx[to] <= last)
			fn(arg, z->slot[to++]);
		if (to > from)
			cut(ix, z, from, to - from);
	}
}

uint32_t index_zone_entries(const struct zone *z, struct zone_entry *out)
{
	for (uint32_t i = 0; i < z->n; i++)
		out[i] = (struct zone_entry){
			.idx = z->idx[i], .slot = z->slot[i], .gen = z->gen[i]};
	return z->n;
}
