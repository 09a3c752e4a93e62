/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Holes of a sparse source: chunks that are zeros without being read. */
#include <string.h>

#include "core.h"

bool image_is_hole_locked(const struct pfs_store_image *img, uint64_t chunk)
{
	return img->holes && chunk < img->n_hole_chunks &&
	       (img->holes[chunk / 8] >> chunk % 8 & 1);
}

void holes_end_locked(struct pfs_store_image *img, uint64_t first,
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
