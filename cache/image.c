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
	index_fini(&img->ix);
	pfs_source_put(img->src);
	free(img->holes);
	free(img);
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
	image_unref_locked(img);
	pfs_mutex_unlock(&s->lock);
}

static void note_dirty_locked(struct pfs_store *s) PFS_REQUIRES(s->lock)
{
	if (s->dirty_since)
		return;
	s->dirty_since = pfs_now_ns();
	kick_locked(s);
}

/* Is a saved entry's slot still its own? */
static bool entry_is_good_locked(struct pfs_store *s,
				 const struct zone_entry *e)
	PFS_REQUIRES(s->lock)
{
	return segments_holds(&s->segs, e->slot, e->gen) &&
	       !s->owner[e->slot].image;
}

int pfs_store_image_void(struct pfs_store_image *img, uint32_t zone)
{
	struct pfs_store *s = img->s;
	struct zone *z;

	pfs_mutex_lock(&s->lock);
	z = index_zone_make(&img->ix, zone);
	if (z) {
		z->is_dirty = true;
		z->mut_gen = s->gen;
		note_dirty_locked(s);
	}
	pfs_mutex_unlock(&s->lock);
	return z ? 0 : -ENOMEM;
}

int pfs_store_image_load(struct pfs_store_image *img, uint32_t zone,
			 const void *blob, size_t len)
{
	struct pfs_store *s = img->s;
	PFS_AUTO_FREE struct zone_entry *e =
		pfs_zalloc(PFS_ZONE_CHUNKS, sizeof(*e));
	uint64_t base = (uint64_t)zone * PFS_ZONE_CHUNKS;
	struct zone *z;
	uint32_t n;
	int err;

	if (!e)
		return -ENOMEM;
	err = zone_decode(&s->g, img->id, img->epoch, zone, blob, len, e, &n);
	if (err) {
		pfs_count(PFS_C_ROWS_BAD, 1);
		(void)!pfs_store_image_void(img, zone);
		return err;
	}
	pfs_mutex_lock(&s->lock);
	/* Made even if nothing in it is good: every row has its zone in RAM,
	 * so that a mutation finds what it must keep from being saved. */
	if (!index_zone_make(&img->ix, zone))
		err = -ENOMEM;
	for (uint32_t i = 0; i < n && !err; i++)
		if (base + e[i].idx < STORE_CHUNK_MAX &&
		    entry_is_good_locked(s, &e[i]))
			err = image_insert_locked(img, base + e[i].idx,
						  e[i].slot, e[i].gen);
	z = index_zone(&img->ix, zone);
	if (z && z->n == n)
		z->is_dirty = false; /* as saved */
	pfs_mutex_unlock(&s->lock);
	return err;
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
	if (old != FORMAT_SLOT_NONE)
		slot_gone_locked(s, old);
	s->owner[slot] = (struct slot_owner){.image = img->no + 1,
					     .chunk = (uint32_t)chunk};
	s->slot_flags[slot] = 0;
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

bool image_is_hole_locked(const struct pfs_store_image *img, uint64_t chunk)
{
	return img->holes && chunk < img->n_hole_chunks &&
	       (img->holes[chunk / 8] >> chunk % 8 & 1);
}

static void end_holes_locked(struct pfs_store_image *img, uint64_t first,
			     uint64_t last)
{
	if (!img->holes || first >= img->n_hole_chunks)
		return;
	last = PFS_MIN(last, img->n_hole_chunks - 1);
	for (uint64_t c = first; c <= last; c++)
		img->holes[c / 8] &= (uint8_t) ~(1u << c % 8);
}

static int make_hole_map_locked(struct pfs_store_image *img, uint64_t n_chunks)
	PFS_REQUIRES(img->s->lock)
{
	size_t len = (n_chunks + 7) / 8, old = (img->n_hole_chunks + 7) / 8;
	uint8_t *map;

	if (n_chunks <= img->n_hole_chunks)
		return 0;
	map = realloc(img->holes, len);
	if (!map)
		return -ENOMEM;
	memset(map + old, 0, len - old);
	img->holes = map;
	img->n_hole_chunks = n_chunks;
	return 0;
}

static bool is_mutating_locked(const struct pfs_store_image *img)
{
	const struct pfs_mutation *m = img->s->mutations;

	while (m && m->img != img)
		m = m->next;
	return m;
}

void pfs_store_image_holes(struct pfs_store_image *img, uint64_t off,
			   uint64_t len, uint64_t valid_gen)
{
	struct pfs_store *s = img->s;
	uint64_t first = (off + s->g.chunk - 1) / s->g.chunk;
	uint64_t end = (off + len) / s->g.chunk;

	if (first >= end || end > STORE_CHUNK_MAX)
		return;
	pfs_mutex_lock(&s->lock);
	/* A mutation since the question was asked, or still under way: the
	 * answer may be old. */
	if (img->hole_gen <= valid_gen && !is_mutating_locked(img) &&
	    !make_hole_map_locked(img, end))
		for (uint64_t c = first; c < end; c++)
			img->holes[c / 8] |= (uint8_t)(1u << c % 8);
	pfs_mutex_unlock(&s->lock);
}

uint64_t pfs_store_generation(struct pfs_store *s)
{
	uint64_t gen;

	pfs_mutex_lock(&s->lock);
	gen = s->gen;
	pfs_mutex_unlock(&s->lock);
	return gen;
}

/* --- zone rows --- */

/* Zones of one batch, remembered until it is committed. */
struct saving {
	struct pfs_store *s;
	uint32_t n;
	struct {
		struct pfs_store_image *img; /* one reference */
		uint32_t zone;
		uint64_t gen; /* value of the counter at the snapshot */
	} row[];
};

static struct pfs_store_image *by_id_locked(struct pfs_store *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->n_images; i++)
		if (s->images[i] && s->images[i]->id == id &&
		    s->images[i]->is_attached)
			return s->images[i];
	return NULL;
}

static bool zone_is_mutating_locked(const struct pfs_store_image *img,
				    uint32_t zone)
{
	const struct pfs_mutation *m;

	for (m = img->s->mutations; m; m = m->next)
		if (m->img == img && m->first / PFS_ZONE_CHUNKS <= zone &&
		    m->last / PFS_ZONE_CHUNKS >= zone)
			return true;
	return false;
}

/* The row is committed, or not.  True: it tells the whole truth about the
 * zone, so the caller may forget that it was written to. */
static bool row_saved_locked(struct pfs_store_image *img, uint32_t no,
			     uint64_t gen, int err) PFS_REQUIRES(img->s->lock)
{
	/* Zones outlive a detach until the last reference, so that what was
	 * written after the snapshot is still known. */
	struct zone *z = index_zone(&img->ix, no);

	if (!z)
		return false;
	z->n_saving--;
	if (err)
		z->is_dirty = true;
	if (z->is_dirty && img->is_attached)
		note_dirty_locked(img->s);
	/* Attached anew: that one's marks are not ours to clear. */
	if (err || (!img->is_attached && by_id_locked(img->s, img->id)))
		return false;
	return z->mut_gen <= gen && !zone_is_mutating_locked(img, no);
}

static void zones_saved(void *arg, int err)
{
	struct saving *v = arg;
	struct pfs_store *s = v->s;

	if (err)
		pfs_count(PFS_C_CATALOG_ERROR, 1);
	for (uint32_t i = 0; i < v->n; i++) {
		struct pfs_store_image *img = v->row[i].img;
		uint32_t zone = v->row[i].zone;

		pfs_mutex_lock(&s->lock);
		/* Under the lock, so that no mutation marks the zone between
		 * the question and the answer. */
		if (row_saved_locked(img, zone, v->row[i].gen, err) &&
		    s->zone_saved)
			s->zone_saved(s->arg, img->id, zone);
		image_unref_locked(img);
		pfs_mutex_unlock(&s->lock);
	}
	pfs_mutex_lock(&s->lock);
	s->n_saving--;
	if (err) {
		s->n_save_failures++;
		s->save_err = err;
	}
	pfs_cond_broadcast(&s->saved);
	kick_locked(s); /* it may have waited for this to save more */
	pfs_mutex_unlock(&s->lock);
	free(v);
}

/* Copy one dirty zone into the batch. */
static int save_zone_locked(struct pfs_store_image *img, struct zone *z,
			    struct pfs_catalog_batch *b, struct saving *v,
			    struct zone_entry *e, uint8_t *blob)
	PFS_REQUIRES(img->s->lock)
{
	uint32_t n = index_zone_entries(z, e);
	size_t len =
		zone_encode(&img->s->g, img->id, img->epoch, z->no, e, n, blob);
	int err = pfs_catalog_batch_zone(b, img->id, img->epoch, z->no, blob,
					 len, n);

	if (err)
		return err;
	z->is_dirty = false;
	z->n_saving++;
	z->save_gen = img->s->gen;
	img->n_refs++;
	v->row[v->n].img = img;
	v->row[v->n].zone = z->no;
	v->row[v->n].gen = img->s->gen;
	v->n++;
	return 0;
}

static int collect_locked(struct pfs_store *s, struct pfs_store_image *only,
			  uint32_t max, struct pfs_catalog_batch *b,
			  struct saving *v, struct zone_entry *e, uint8_t *blob)
	PFS_REQUIRES(s->lock)
{
	for (uint32_t i = 0; i < s->n_images; i++) {
		struct pfs_store_image *img = s->images[i];

		if (!img || !img->is_attached || (only && img != only))
			continue;
		for (uint32_t j = 0; j < img->ix.n_zones; j++) {
			struct zone *z = img->ix.zones[j];
			int err;

			if (!z->is_dirty)
				continue;
			if (v->n == max)
				return 0;
			err = save_zone_locked(img, z, b, v, e, blob);
			if (err)
				return err;
		}
	}
	return 0;
}

/* The segment table goes with the rows: entries are judged by it at load. */
static int add_segments_locked(struct pfs_store *s, struct pfs_catalog_batch *b)
	PFS_REQUIRES(s->lock)
{
	size_t len = segments_blob_len(s->g.n_segments);
	PFS_AUTO_FREE uint8_t *blob = malloc(len);

	if (!blob)
		return -ENOMEM;
	segments_encode(&s->g, s->segs.row, blob);
	return pfs_catalog_batch_segments(b, blob, len);
}

int store_save_zones(struct pfs_store *s, struct pfs_store_image *img,
		     const struct pfs_identity *ident, bool is_durable,
		     uint32_t max_zones, uint32_t *n)
{
	PFS_AUTO_FREE struct zone_entry *e =
		pfs_zalloc(PFS_ZONE_CHUNKS, sizeof(*e));
	PFS_AUTO_FREE uint8_t *blob = malloc(ZONE_BLOB_MAX);
	struct saving *v =
		pfs_zalloc(1, sizeof(*v) + max_zones * sizeof(v->row[0]));
	struct pfs_catalog_batch *b = NULL;
	int err = e && blob && v ? pfs_catalog_batch_create(s->catalog, &b)
				 : -ENOMEM;

	*n = 0;
	if (err)
		goto out;
	v->s = s;
	pfs_mutex_lock(&s->lock);
	err = collect_locked(s, img, max_zones, b, v, e, blob);
	if (!err && (v->n || s->segments_dirty))
		err = add_segments_locked(s, b);
	if (!err && img && ident)
		err = pfs_catalog_batch_identity(b, img->id, img->epoch, ident);
	if (!err && !v->n && !ident && !s->segments_dirty) {
		pfs_mutex_unlock(&s->lock);
		goto out;
	}
	if (!err)
		s->segments_dirty = false;
	s->n_saving++;
	*n = v->n;
	pfs_mutex_unlock(&s->lock);

	if (!err) {
		err = pfs_catalog_submit(s->catalog, pfs_take(&b), is_durable,
					 zones_saved, v);
		if (!err)
			return 0;
	}
	zones_saved(v, err); /* frees v, makes the zones dirty again */
	v = NULL;
out:
	pfs_catalog_batch_destroy(b);
	free(v);
	return err;
}

static uint32_t n_save_failures(struct pfs_store *s)
{
	uint32_t n;

	pfs_mutex_lock(&s->lock);
	n = s->n_save_failures;
	pfs_mutex_unlock(&s->lock);
	return n;
}

void store_save_rows(struct pfs_store *s, struct pfs_store_image *img)
{
	uint32_t before = n_save_failures(s), n = 1;

	while (n && n_save_failures(s) == before)
		if (store_save_zones(s, img, NULL, false, 64, &n))
			return;
}

/* Zones that no snapshot was taken of since gen, or whose snapshot is still on
 * its way.  What is filled after that does not make a row untrue. */
static bool has_unsaved_locked(struct pfs_store_image *img, uint64_t gen)
{
	for (uint32_t i = 0; i < img->ix.n_zones; i++) {
		const struct zone *z = img->ix.zones[i];

		if (z->n_saving || (z->is_dirty && z->save_gen < gen))
			return true;
	}
	return false;
}

int pfs_store_image_save(struct pfs_store_image *img,
			 const struct pfs_identity *ident)
{
	struct pfs_store *s = img->s;
	uint64_t gen = pfs_store_generation(s);
	uint32_t failures = n_save_failures(s);
	bool again = true;
	int err = 0;

	while (again && !err) {
		uint32_t n;

		err = store_save_zones(s, img, ident, true, 256, &n);
		if (!err)
			err = pfs_catalog_flush(s->catalog);
		pfs_mutex_lock(&s->lock);
		again = has_unsaved_locked(img, gen);
		/* Whoever's it was: be on the safe side. */
		if (!err && s->n_save_failures != failures)
			err = s->save_err;
		pfs_mutex_unlock(&s->lock);
		ident = again ? ident : NULL;
	}
	return err;
}

/* --- mutations --- */

static void mark_zones_locked(struct pfs_store_image *img, uint64_t first,
			      uint64_t last, uint64_t gen)
{
	for (uint32_t i = 0; i < img->ix.n_zones; i++) {
		struct zone *z = img->ix.zones[i];
		uint64_t base = (uint64_t)z->no * PFS_ZONE_CHUNKS;

		if (base <= last && base + PFS_ZONE_CHUNKS > first)
			z->mut_gen = gen;
	}
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
	end_holes_locked(img, first, last);
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
		struct fetch *f;

		pfs_mutex_lock(&s->lock);
		f = img->is_expelled ? NULL
				     : fetch_get_locked(s, img, c, false);
		pfs_mutex_unlock(&s->lock);
		if (!f)
			break;
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

		list = f->queued;
		f->queued = NULL;
		if (!is_wanted || !fill_allowed_locked(s, f)) {
			fetch_put_locked(s, f);
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
