/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Holes of a sparse source: chunks that are zeros without being read.  A bit
 * for each chunk, in pages that are there only where holes are known, so that
 * no call holds the lock for longer than a page takes and a long image costs
 * little.  Chunks beyond the last page are read as data.
 */
#include <string.h>

#include "core.h"

#define PAGE_BYTES 4096u
#define PAGE_CHUNKS (8ull * PAGE_BYTES)
#define PAGES 1024u /* 4 MiB of RAM; 2 TiB of image at 64 KiB */

bool image_is_hole_locked(const struct pfs_store_image *img, uint64_t chunk)
{
	const uint8_t *page = NULL;

	if (img->holes && chunk / PAGE_CHUNKS < PAGES)
		page = img->holes[chunk / PAGE_CHUNKS];
	return page && (page[chunk % PAGE_CHUNKS / 8] >> chunk % 8 & 1);
}

static void set_bit(uint8_t *page, uint32_t i, bool on)
{
	unsigned int bit = 1u << i % 8;

	page[i / 8] = (uint8_t)(on ? page[i / 8] | bit : page[i / 8] & ~bit);
}

/* Set bits [first, end) of a page to on. */
static void set_bits(uint8_t *page, uint32_t first, uint32_t end, bool on)
{
	uint32_t from = (first + 7) / 8, to = end / 8; /* whole bytes */

	for (; first < end && first % 8; first++)
		set_bit(page, first, on);
	if (from < to)
		memset(page + from, on ? 0xff : 0, to - from);
	for (first = PFS_MAX(first, 8 * to); first < end; first++)
		set_bit(page, first, on);
}

void holes_end_locked(struct pfs_store_image *img, uint64_t first,
		      uint64_t last)
{
	uint64_t n = first / PAGE_CHUNKS;

	for (; img->holes && n < PAGES && n <= last / PAGE_CHUNKS; n++) {
		uint64_t base = n * PAGE_CHUNKS;
		uint64_t from = PFS_MAX(first, base) - base;
		uint64_t to = PFS_MIN(last - base, PAGE_CHUNKS - 1) + 1;

		if (!img->holes[n])
			continue;
		if (from || to < PAGE_CHUNKS) {
			set_bits(img->holes[n], (uint32_t)from, (uint32_t)to,
				 false);
			continue;
		}
		free(img->holes[n]);
		img->holes[n] = NULL;
	}
}

void holes_fini(struct pfs_store_image *img)
{
	for (uint32_t i = 0; img->holes && i < PAGES; i++)
		free(img->holes[i]);
	free(img->holes);
}

static uint8_t *page_locked(struct pfs_store_image *img, uint64_t n)
	PFS_REQUIRES(img->s->lock)
{
	if (!img->holes)
		img->holes = pfs_zalloc(PAGES, sizeof(*img->holes));
	if (img->holes && !img->holes[n])
		img->holes[n] = pfs_zalloc(1, PAGE_BYTES);
	return img->holes ? img->holes[n] : NULL;
}

static bool is_mutating_locked(const struct pfs_store_image *img)
{
	const struct pfs_mutation *m = img->s->mutations;

	while (m && m->img != img)
		m = m->next;
	return m;
}

/* Holes [first, end) of one page.  False: the answer may be old, because of a
 * mutation since the question was asked or still under way. */
static bool note_holes(struct pfs_store_image *img, uint64_t first,
		       uint64_t end, uint64_t valid_gen)
{
	struct pfs_store *s = img->s;
	uint64_t n = first / PAGE_CHUNKS;
	bool is_valid;
	uint8_t *page;

	pfs_mutex_lock(&s->lock);
	is_valid = img->hole_gen <= valid_gen && !is_mutating_locked(img);
	page = is_valid ? page_locked(img, n) : NULL;
	if (page)
		set_bits(page, (uint32_t)(first - n * PAGE_CHUNKS),
			 (uint32_t)(end - n * PAGE_CHUNKS), true);
	pfs_mutex_unlock(&s->lock);
	return is_valid;
}

void pfs_store_image_holes(struct pfs_store_image *img, uint64_t off,
			   uint64_t len, uint64_t valid_gen)
{
	uint32_t chunk = img->s->g.chunk;
	uint64_t at = off / chunk + (off % chunk != 0);
	uint64_t end = PFS_MIN((off + len) / chunk, PAGES * PAGE_CHUNKS);

	while (at < end) {
		uint64_t next =
			PFS_MIN(end, (at / PAGE_CHUNKS + 1) * PAGE_CHUNKS);

		if (!note_holes(img, at, next, valid_gen))
			return;
		at = next;
	}
}
