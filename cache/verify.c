/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading slots with plain calls: pfsctl verify, reinsertion. */
#include <string.h>

#include "core.h"

static int read_header(int fd, const struct geometry *g, uint32_t slot,
		       uint8_t *page, struct slot_ident *id, uint32_t *sums)
{
	uint64_t off = geometry_header_off(g, slot);
	uint32_t at = (uint32_t)(off % PFS_BLOCK_SIZE);
	ssize_t n = pfs_io_pread(PFS_FP_STORE_HEADER_READ, fd, page,
				 PFS_BLOCK_SIZE, off - at);

	if (n != PFS_BLOCK_SIZE)
		return n < 0 ? (int)n : -EBADMSG;
	return slot_header_decode(g, slot, page + at, id, sums);
}

static int check_bytes(int fd, const struct geometry *g, uint32_t slot,
		       const struct slot_ident *id, uint8_t *buf,
		       const uint32_t *sums)
{
	ssize_t n = pfs_io_pread(PFS_FP_STORE_READ, fd, buf, g->chunk,
				 geometry_slot_off(g, slot));
	uint32_t sum;

	if (n != g->chunk)
		return n < 0 ? (int)n : -EBADMSG;
	for (uint32_t i = 0; i < g->blks; i++) {
		slot_sums(g, id, buf + (size_t)i * PFS_BLOCK_SIZE, i, 1, &sum);
		if (sum != sums[i])
			return -EBADMSG;
	}
	return 0;
}

int slot_check_file(int fd, const struct geometry *g, uint32_t slot,
		    const struct slot_ident *want, uint8_t *buf, uint8_t *page,
		    uint32_t *sums)
{
	struct slot_ident id;
	int err = read_header(fd, g, slot, page, &id, sums);

	if (err)
		return err;
	return slot_ident_same(&id, want)
		       ? check_bytes(fd, g, slot, &id, buf, sums)
		       : -EBADMSG;
}

int slot_read_checked(struct pfs_store *s, uint32_t slot,
		      const struct slot_ident *want, uint8_t *buf,
		      uint8_t *page, uint32_t *sums)
{
	struct slot_ident id;
	const uint8_t *h;
	int err = 0;

	pfs_mutex_lock(&s->lock);
	h = headers_get(&s->hdr, slot);
	if (h)
		err = slot_header_decode(&s->g, slot, h, &id, sums);
	pfs_mutex_unlock(&s->lock);
	if (err)
		return err;
	if (!h)
		return slot_check_file(s->fd, &s->g, slot, want, buf, page,
				       sums);
	return slot_ident_same(&id, want)
		       ? check_bytes(s->fd, &s->g, slot, &id, buf, sums)
		       : -EBADMSG;
}

/* What lies in a slot according to the index; pins its segment. */
static bool pin_slot(struct pfs_store *s, uint32_t slot, uint64_t image,
		     struct slot_ident *id)
{
	struct pfs_store_image *img = NULL;
	uint32_t at = FORMAT_SLOT_NONE;

	pfs_mutex_lock(&s->lock);
	if (s->owner[slot].image)
		img = s->images[s->owner[slot].image - 1];
	if (img && image && img->id != image)
		img = NULL;
	if (img && index_find(&img->ix, s->owner[slot].chunk, &at, &id->gen)) {
		id->image = img->id;
		id->epoch = img->epoch;
		id->chunk = s->owner[slot].chunk;
	}
	if (at == slot)
		segments_busy(&s->segs, slot);
	pfs_mutex_unlock(&s->lock);
	return at == slot;
}

static void unpin_slot(struct pfs_store *s, uint32_t slot, bool drop)
{
	pfs_mutex_lock(&s->lock);
	if (drop && s->owner[slot].image)
		image_drop_slot_locked(s->images[s->owner[slot].image - 1],
				       s->owner[slot].chunk, slot);
	segments_idle(&s->segs, slot);
	if (segments_of(&s->segs, slot) == s->leaving)
		kick_locked(s);
	pfs_mutex_unlock(&s->lock);
}

int pfs_store_verify(struct pfs_store *s, uint64_t image,
		     const _Atomic bool *stop, struct pfs_verify_result *out)
{
	PFS_AUTO_FREE uint8_t *buf = aligned_alloc(PFS_BLOCK_SIZE, s->g.chunk);
	PFS_AUTO_FREE uint8_t *page =
		aligned_alloc(PFS_BLOCK_SIZE, PFS_BLOCK_SIZE);
	PFS_AUTO_FREE uint32_t *sums = pfs_zalloc(s->g.blks, sizeof(*sums));

	*out = (struct pfs_verify_result){0};
	if (!buf || !page || !sums)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < geometry_n_slots(&s->g); slot++) {
		struct slot_ident id;
		int err;

		if (stop && atomic_load(stop))
			return -ECANCELED;
		if (!pin_slot(s, slot, image, &id))
			continue;
		err = slot_read_checked(s, slot, &id, buf, page, sums);
		unpin_slot(s, slot, err == -EBADMSG || err == -ENOENT);
		out->n_chunks++;
		if (err == -EBADMSG || err == -ENOENT) {
			out->n_bad++;
			pfs_count(PFS_C_BAD_CHECKSUM, 1);
		} else if (err) {
			return err;
		}
	}
	return 0;
}
