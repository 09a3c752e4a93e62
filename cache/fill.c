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

bool fill_allowed_locked(struct pfs_store *s, const struct fetch *f)
{
	return !f->is_detached && !f->img->is_expelled && f->img->is_attached &&
	       f->epoch == f->img->epoch && store_is_ok(s) && !s->is_stopping &&
	       s->gen < s->gen_limit && f->chunk < STORE_CHUNK_MAX &&
	       !is_resting(s);
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
	if (s->gen + n >= s->gen_limit)
		return 0;
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

/* S1: the fetch is attached, so nothing changed its bytes since. */
static int insert_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock)
{
	struct slot_ident id = {.image = f->img->id,
				.epoch = f->epoch,
				.chunk = f->chunk,
				.gen = f->gen};
	struct headers_active *a;
	uint64_t since;
	int err;

	if (!fill_allowed_locked(s, f))
		return -ESTALE;
	a = headers_active(&s->hdr, segments_of(&s->segs, f->slot));
	if (!a)
		return -ESTALE; /* the store was reset meanwhile */
	err = image_insert_locked(f->img, f->chunk, f->slot, f->gen);
	if (err)
		return err;
	since = a->dirty_since;
	headers_set(&s->hdr, f->slot, &id, f->sums, pfs_now_ns());
	if (!since)
		kick_locked(s); /* it sets its alarm for these headers */
	return 0;
}

void fill_done(struct pfs_store *s, struct fetch *f, int err)
{
	if (err)
		store_write_failed(s, err);

	pfs_mutex_lock(&s->lock);
	if (err) {
		pfs_count(PFS_C_FILL_ERROR, 1);
	} else if (insert_locked(s, f)) {
		pfs_count(PFS_C_FILL_STALE, 1);
	} else {
		pfs_count(PFS_C_FILLS, 1);
		pfs_count(PFS_C_FILL_BYTES, s->g.chunk);
		if (f->is_write)
			pfs_count(PFS_C_FILL_WRITE, 1);
	}
	segments_filled(&s->segs, f->slot);
	if (segments_of(&s->segs, f->slot) == s->leaving)
		kick_locked(s);
	fetch_put_locked(s, f);
	pfs_mutex_unlock(&s->lock);
}
