/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attached images: their index, their holes, and the one place where changes
 * of bytes meet cached copies (I1).
 */
#include <string.h>

#include <pfs/source.h>

#include "core.h"

/* --- attach and detach --- */

static uint32_t free_place_locked(struct pfs_store *s) PFS_REQUIRES(s->lock)
{
	for (uint32_t i = 0; i < s->n_images; i++)
		if (!s->images[i])
			return i;
	return s->n_images;
}

static int place_image_locked(struct pfs_store *s, struct pfs_store_image *img)
	PFS_REQUIRES(s->lock)
{
	uint32_t no = free_place_locked(s);
	struct pfs_store_image **images = s->images;

	if (no >= STORE_IMAGES_MAX)
		return -ENOSPC;
	if (no == s->n_images) {
		images = realloc(images, (no + 1) * sizeof(*images));
		if (!images)
			return -ENOMEM;
		s->images = images;
		s->n_images++;
	}
	s->images[no] = img;
	img->no = no;
	return 0;
}

int pfs_store_image_attach(struct pfs_store *s, uint64_t id, uint64_t epoch,
			   struct pfs_source *src, struct pfs_store_image **out)
{
	struct pfs_store_image *img = pfs_zalloc(1, sizeof(*img));
	int err;

	if (!img)
		return -ENOMEM;
	img->s = s;
	img->id = id;
	img->epoch = epoch;
	img->n_refs = 1;
	img->is_attached = true;

	pfs_mutex_lock(&s->lock);
	err = place_image_locked(s, img);
	pfs_mutex_unlock(&s->lock);
	if (err) {
		free(img);
		return err;
	}
	img->src = pfs_source_get(src);
	*out = img;
	return 0;
}

void image_unref_locked(struct pfs_store_image *img)
{
	if (--img->n_refs)
		return;
	img->s->images[img->no] = NULL;
	img->next_dead = img->s->dead;
	img->s->dead = img;
	kick_locked(img->s);
}

void images_bury(struct pfs_store *s)
{
	struct pfs_store_image *list, *img;

	pfs_mutex_lock(&s->lock);
	list = s->dead;
	s->dead = NULL;
	pfs_mutex_unlock(&s->lock);
	while ((img = list)) {
		list = img->next_dead;
		index_fini(&img->ix);
		holes_fini(img);
		pfs_source_put(img->src);
		free(img);
	}
}

void slot_gone_locked(void *arg, uint32_t slot)
{
	struct pfs_store *s = arg;

	s->owner[slot].image = 0;
	s->slot_flags[slot] = 0;
	segments_live(&s->segs, slot, -1);
	s->n_chunks--;
}

/* The rows stay true, only RAM forgets: so its segments are not empty. */
static void slot_unloaded(void *arg, uint32_t slot)
{
	struct pfs_store *s = arg;

	slot_gone_locked(s, slot);
	s->segs.seg[segments_of(&s->segs, slot)].is_adopted = true;
}

void pfs_store_image_detach(struct pfs_store_image *img)
{
	struct pfs_store *s = img->s;

	store_save_rows(s, img);
	pfs_mutex_lock(&s->lock);
	img->is_attached = false;
	fetch_detach_range_locked(img, 0, UINT64_MAX - 1);
	index_del_range(&img->ix, 0, UINT64_MAX, slot_unloaded, s);
	s->n_pinned -= img->pins.n_chunks;
	pins_fini(&img->pins);
	image_unref_locked(img);
	pfs_mutex_unlock(&s->lock);
}

void note_dirty_locked(struct pfs_store *s)
{
	if (s->dirty_since)
		return;
	s->dirty_since = pfs_now_ns();
	kick_locked(s);
}

/* --- the index --- */

int image_insert_locked(struct pfs_store_image *img, uint64_t chunk,
			uint32_t slot, uint64_t gen)
{
	struct pfs_store *s = img->s;
	uint32_t old;
	int err = index_put(&img->ix, chunk, slot, gen, &old);

	if (err)
		return err;
	s->slot_flags[slot] = 0;
	if (old != FORMAT_SLOT_NONE) {
		/* Moved, and still not read by anybody. */
		s->slot_flags[slot] = s->slot_flags[old] & SLOT_PREFETCHED;
		slot_gone_locked(s, old);
	}
	s->owner[slot] = (struct slot_owner){.image = img->no + 1,
					     .chunk = (uint32_t)chunk};
	segments_live(&s->segs, slot, 1);
	s->n_chunks++;
	note_dirty_locked(s);
	return 0;
}

void image_drop_slot_locked(struct pfs_store_image *img, uint64_t chunk,
			    uint32_t slot)
{
	struct fetch *f;
	uint32_t now;
	uint64_t gen;

	if (!index_find(&img->ix, chunk, &now, &gen) || now != slot)
		return;
	index_del(&img->ix, chunk);
	slot_gone_locked(img->s, slot);
	note_dirty_locked(img->s);
	/* Only a reinsertion fetches what is resident, and it answers nobody:
	 * now that readers look for a fetch, they must not find it. */
	f = fetch_find_locked(img->s, img, chunk);
	if (f)
		fetch_detach_locked(img->s, f);
}

uint64_t pfs_store_generation(struct pfs_store *s)
{
	uint64_t gen;

	pfs_mutex_lock(&s->lock);
	gen = s->gen;
	pfs_mutex_unlock(&s->lock);
	return gen;
}

/* --- mutations --- */

static void mark_zones_locked(struct pfs_store_image *img, uint64_t first,
			      uint64_t last, uint64_t gen)
{
	const struct index *ix = &img->ix;
	uint64_t no = first / PFS_ZONE_CHUNKS;

	if (no > UINT32_MAX)
		return; /* no zone has such a number */
	for (uint32_t i = index_zone_pos(ix, (uint32_t)no);
	     i < ix->n_zones && ix->zones[i]->no <= last / PFS_ZONE_CHUNKS; i++)
		ix->zones[i]->mut_gen = gen;
}

/* The one invalidation: drop, detach, and note the generation. */
static void invalidate_locked(struct pfs_store_image *img, uint64_t first,
			      uint64_t last, uint64_t gen)
	PFS_REQUIRES(img->s->lock)
{
	struct pfs_store *s = img->s;
	uint64_t before = s->n_chunks;

	index_del_range(&img->ix, first, last, slot_gone_locked, s);
	fetch_detach_range_locked(img, first, last);
	holes_end_locked(img, first, last);
	mark_zones_locked(img, first, last, gen);
	img->hole_gen = gen;
	if (before != s->n_chunks) {
		pfs_count(PFS_C_INVALIDATED, before - s->n_chunks);
		note_dirty_locked(s);
	}
}

/* Mutations that overlap in time and range leave it open whose bytes won. */
static void note_company_locked(struct pfs_mutation *m)
	PFS_REQUIRES(m->img->s->lock)
{
	struct pfs_mutation *o;

	for (o = m->img->s->mutations; o; o = o->next) {
		if (o == m || o->img != m->img || o->last < m->first ||
		    o->first > m->last)
			continue;
		o->has_company = true;
		m->has_company = true;
	}
}

void pfs_store_mutate_begin(struct pfs_store_image *img, uint64_t off,
			    uint64_t len, struct pfs_mutation *m)
{
	struct pfs_store *s = img->s;
	uint64_t last = off + len - 1;

	if (!len || last < off)
		last = len ? UINT64_MAX : off;
	*m = (struct pfs_mutation){.img = img,
				   .first = off / s->g.chunk,
				   .last = last / s->g.chunk};
	pfs_mutex_lock(&s->lock);
	m->gen = next_gen_locked(s);
	invalidate_locked(img, m->first, m->last, m->gen);
	m->next = s->mutations;
	m->prevp = &s->mutations;
	if (m->next)
		m->next->prevp = &m->next;
	s->mutations = m;
	note_company_locked(m);
	pfs_mutex_unlock(&s->lock);
	(void)pfs_fault_check(PFS_FP_MUTATE_BEGIN);
}

/* Whole chunks inside a write, copied into fetches that nobody sees yet. */
static struct fetch *copy_whole_chunks(struct pfs_mutation *m, uint64_t off,
				       const uint8_t *bytes, size_t n_bytes)
{
	struct pfs_store_image *img = m->img;
	struct pfs_store *s = img->s;
	uint64_t first = (off + s->g.chunk - 1) / s->g.chunk;
	uint64_t end = (off + n_bytes) / s->g.chunk;
	struct fetch *list = NULL;

	for (uint64_t c = first; c < end; c++) {
		enum pfs_counter why = PFS_C_FILL_NO_ROOM;
		struct fetch *f = NULL;

		pfs_mutex_lock(&s->lock);
		if (img->is_expelled)
			why = PFS_C_FILL_NO_IMAGE;
		else
			f = fetch_get_locked(s, img, c, false);
		pfs_mutex_unlock(&s->lock);
		if (!f) {
			pfs_count(why, end - c);
			break;
		}
		memcpy(f->buf, bytes + (c * s->g.chunk - off), s->g.chunk);
		f->state = FETCH_READY;
		f->is_write = true;
		f->queued = list;
		list = f;
	}
	return list;
}

/* They become joinable and go to the upkeep thread for storing. */
static void offer_chunks_locked(struct pfs_store *s, struct fetch *list,
				bool is_wanted) PFS_REQUIRES(s->lock)
{
	while (list) {
		struct fetch *f = list;

		enum pfs_counter why = fill_refusal_locked(f);

		list = f->queued;
		f->queued = NULL;
		if (!is_wanted || why != FILL_OK) {
			fill_drop_locked(s, f,
					 is_wanted ? why : PFS_C_FILL_STALE);
			continue;
		}
		fetch_register_locked(s, f);
		*s->fill_tail = f;
		s->fill_tail = &f->queued;
	}
	if (s->fill_queue)
		kick_locked(s);
}

void pfs_store_mutate_end(struct pfs_mutation *m, uint64_t off,
			  const void *bytes, size_t n_bytes)
{
	struct pfs_store_image *img = m->img;
	struct pfs_store *s = img->s;
	bool planted = pfs_fault_take(PFS_FP_PLANT_ONE_INVALIDATION).kind !=
		       PFS_FAULT_NONE;
	struct fetch *list = NULL;

	if (bytes && n_bytes >= s->g.chunk && store_is_ok(s))
		list = copy_whole_chunks(m, off, bytes, n_bytes);
	(void)pfs_fault_check(PFS_FP_MUTATE_END);

	pfs_mutex_lock(&s->lock);
	note_company_locked(m);
	if (!planted)
		invalidate_locked(img, m->first, m->last, next_gen_locked(s));
	*m->prevp = m->next;
	if (m->next)
		m->next->prevp = m->prevp;
	offer_chunks_locked(s, list, !m->has_company);
	pfs_mutex_unlock(&s->lock);
}

void image_forget_locked(struct pfs_store_image *img)
{
	invalidate_locked(img, 0, UINT64_MAX - 1, next_gen_locked(img->s));
}

void pfs_store_image_reset(struct pfs_store_image *img, uint64_t epoch)
{
	struct pfs_store *s = img->s;

	pfs_mutex_lock(&s->lock);
	image_forget_locked(img);
	img->epoch = epoch;
	pfs_mutex_unlock(&s->lock);
}

void pfs_store_image_expel(struct pfs_store_image *img)
{
	struct pfs_store *s = img->s;

	pfs_mutex_lock(&s->lock);
	image_forget_locked(img);
	img->is_expelled = true;
	pfs_mutex_unlock(&s->lock);
}

bool pfs_store_image_expelled(const struct pfs_store_image *img)
{
	bool is_expelled;

	pfs_mutex_lock(&img->s->lock);
	is_expelled = img->is_expelled;
	pfs_mutex_unlock(&img->s->lock);
	return is_expelled;
}
