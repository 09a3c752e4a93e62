/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a fetched chunk to a resident one: slot, checksums, write (the caller's
 * ring or the upkeep thread), insertion.  The insertion is where S1 is kept: a
 * fetch that a mutation has detached is not inserted, checked under the lock
 * that invalidation takes.
 */
#include "core.h"

static bool is_resting(struct pfs_store *s)
{
	uint64_t until = atomic_load_explicit(&s->no_fill_until_ns,
					      memory_order_relaxed);

	return until && pfs_now_ns() < until;
}

enum pfs_counter image_refusal_locked(const struct pfs_store_image *img)
{
	struct pfs_store *s = img->s;

	if (img->is_expelled || !img->is_attached)
		return PFS_C_FILL_NO_IMAGE;
	if (!store_is_ok(s) || s->is_stopping || is_resting(s))
		return PFS_C_FILL_RESTING;
	/* One for a segment to be opened and one for the slot. */
	if (s->gen + 2 > s->gen_limit)
		return PFS_C_FILL_NO_GEN;
	return FILL_OK;
}

static bool is_stale(const struct fetch *f)
{
	bool planted = f->is_detached && f->is_prefetch &&
		       pfs_fault_take(PFS_FP_PLANT_DETACHED_PREFETCH).kind !=
			       PFS_FAULT_NONE;

	return f->is_detached && !planted;
}

enum pfs_counter fill_refusal_locked(const struct fetch *f)
{
	if (is_stale(f))
		return PFS_C_FILL_STALE;
	if (f->epoch != f->img->epoch)
		return PFS_C_FILL_NO_IMAGE;
	if (f->chunk >= STORE_CHUNK_MAX)
		return PFS_C_FILL_BEYOND;
	return image_refusal_locked(f->img);
}

void fill_drop_locked(struct pfs_store *s, struct fetch *f,
		      enum pfs_counter why)
{
	pfs_count(why == FILL_OK ? PFS_C_FILL_NO_ROOM : why, 1);
	fetch_put_locked(s, f);
}

bool fill_has_room_locked(struct pfs_store *s, enum segment_class class)
{
	bool has_room = s->segs.open[class] != SEGMENT_NONE ||
			(segments_may_open(&s->segs, false) &&
			 headers_can_activate(&s->hdr));

	if (!has_room)
		kick_locked(s);
	return has_room;
}

uint32_t fill_alloc_locked(struct pfs_store *s, struct fetch **f, uint32_t n,
			   enum segment_class class, bool is_reinsertion)
{
	bool opens = s->segs.open[class] == SEGMENT_NONE;
	uint32_t first, got;

	if (opens && !headers_can_activate(&s->hdr)) {
		kick_locked(s);
		return 0;
	}
	/* One for the segment and one for each slot, all of them reserved. */
	if (s->gen + 2 > s->gen_limit)
		return 0;
	n = (uint32_t)PFS_MIN((uint64_t)n, s->gen_limit - s->gen - 1);
	got = segments_alloc(&s->segs, class, n, next_gen_locked(s),
			     is_reinsertion, &first);
	if (got && opens) {
		headers_activate(&s->hdr, segments_of(&s->segs, first));
		s->segments_dirty = true;
	}
	if (segments_want_victim(&s->segs))
		kick_locked(s);
	for (uint32_t i = 0; i < got; i++) {
		f[i]->slot = first + i;
		f[i]->gen = next_gen_locked(s);
	}
	return got;
}

void fill_sum(struct pfs_store *s, struct fetch *f)
{
	struct slot_ident id = {.image = f->img->id,
				.epoch = f->epoch,
				.chunk = f->chunk,
				.gen = f->gen};

	slot_sums(&s->g, &id, f->buf, 0, s->g.blks, f->sums);
}

/* What is known of a chunk's readers when it gets its slot. */
static void set_flags_locked(struct pfs_store *s, const struct fetch *f)
	PFS_REQUIRES(s->lock)
{
	if (!f->is_prefetch)
		return;
	if (!f->is_wanted)
		s->slot_flags[f->slot] |= SLOT_PREFETCHED;
	else if (s->segs.row[segments_of(&s->segs, f->slot)].is_probation)
		s->slot_flags[f->slot] |= SLOT_HIT; /* came too late to move */
}

/* S1: the fetch is attached, so nothing changed its bytes since.  FILL_OK, or
 * why it was not inserted. */
static enum pfs_counter insert_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock)
{
	struct slot_ident id = {.image = f->img->id,
				.epoch = f->epoch,
				.chunk = f->chunk,
				.gen = f->gen};
	enum pfs_counter why = fill_refusal_locked(f);
	struct headers_active *a;
	uint64_t since;

	/* Its generation is taken already. */
	if (why != FILL_OK && why != PFS_C_FILL_NO_GEN)
		return why;
	if (image_insert_locked(f->img, f->chunk, f->slot, f->gen))
		return PFS_C_FILL_NO_MEMORY;
	set_flags_locked(s, f);
	/* Active as long as a slot of it is being filled. */
	a = headers_active(&s->hdr, segments_of(&s->segs, f->slot));
	since = a->dirty_since;
	headers_set(&s->hdr, f->slot, &id, f->sums, pfs_now_ns());
	if (!since)
		kick_locked(s); /* it sets its alarm for these headers */
	return FILL_OK;
}

static void count_fill(const struct pfs_store *s, const struct fetch *f)
{
	pfs_count(PFS_C_FILLS, 1);
	pfs_count(PFS_C_FILL_BYTES, s->g.chunk);
	if (f->is_write)
		pfs_count(PFS_C_FILL_WRITE, 1);
	if (f->is_kept)
		pfs_count(PFS_C_EVICT_REINSERTED, 1);
}

void fill_done(struct pfs_store *s, struct fetch *f, int err)
{
	enum pfs_counter why = PFS_C_FILL_ERROR;

	if (err)
		store_write_failed(s, err);

	pfs_mutex_lock(&s->lock);
	if (!err)
		why = insert_locked(s, f);
	if (why == FILL_OK)
		count_fill(s, f);
	else
		pfs_count(why, 1);
	segments_filled(&s->segs, f->slot);
	if (segments_of(&s->segs, f->slot) == s->leaving)
		kick_locked(s);
	fetch_put_locked(s, f);
	pfs_mutex_unlock(&s->lock);
}
