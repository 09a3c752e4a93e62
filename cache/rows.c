/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Zone rows: the index of an image as the catalog keeps it.  Rows are written
 * late and in batches; a row that is committed may clear its zone's mark only
 * if nothing has changed the zone since the snapshot (I5).
 */
#include <string.h>

#include "core.h"

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

/* Zones of one batch, remembered until it is committed. */
struct saving {
	struct pfs_store *s;
	bool has_segments; /* the segment table went along */
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
		if (v->has_segments) {
			s->segments_dirty = true;
			note_dirty_locked(s);
		}
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
	if (!err) {
		v->has_segments = v->n || s->segments_dirty;
		s->segments_dirty = false;
	}
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
