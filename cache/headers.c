/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "headers.h"

#include <string.h>

#include <pfs/io.h>

#define PAGE PFS_BLOCK_SIZE
#define NO_FRAME SIZE_MAX

int headers_init(struct headers *h, const struct geometry *g,
		 uint64_t cache_bytes)
{
	uint64_t frames = PFS_MAX(cache_bytes / PAGE, (uint64_t)HEADERS_WAYS);
	uint32_t pages = g->headers_len / PAGE;

	*h = (struct headers){.g = *g, .pages_per_segment = pages};
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++)
		h->active[i].seg = SEGMENT_NONE;
	/* A small store needs no more frames than it has header pages. */
	frames = PFS_MIN(frames, pfs_align_up((uint64_t)pages * g->n_segments,
					      HEADERS_WAYS));
	h->n_sets = (uint32_t)(frames / HEADERS_WAYS);
	h->key = pfs_zalloc((size_t)h->n_sets * HEADERS_WAYS, sizeof(*h->key));
	h->turn = pfs_zalloc(h->n_sets, 1);
	h->mem_len = (size_t)h->n_sets * HEADERS_WAYS * PAGE;
	/* Not populated: frames cost RAM once used. */
	h->mem = aligned_alloc(PAGE, h->mem_len);
	if (!h->key || !h->turn || !h->mem)
		goto fail;
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++) {
		struct headers_active *a = &h->active[i];

		a->mem = aligned_alloc(PAGE, g->headers_len);
		a->dirty = pfs_zalloc((pages + 63) / 64, sizeof(*a->dirty));
		if (!a->mem || !a->dirty)
			goto fail;
	}
	return 0;
fail:
	headers_fini(h);
	return -ENOMEM;
}

void headers_fini(struct headers *h)
{
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++) {
		free(h->active[i].mem);
		free(h->active[i].dirty);
	}
	free(h->key);
	free(h->turn);
	free(h->mem);
	*h = (struct headers){0};
}

struct headers_active *headers_active(struct headers *h, uint32_t seg)
{
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++)
		if (h->active[i].seg == seg)
			return &h->active[i];
	return NULL;
}

static uint32_t byte_in_segment(const struct headers *h, uint32_t slot)
{
	return slot % h->g.segment_slots * h->g.header_size;
}

static uint64_t page_no(const struct headers *h, uint32_t slot)
{
	return (uint64_t)(slot / h->g.segment_slots) * h->pages_per_segment +
	       byte_in_segment(h, slot) / PAGE;
}

static uint32_t set_of(const struct headers *h, uint64_t page)
{
	/* Not hashed: a cache as large as the store's headers holds them all,
	 * and neighbours never push each other out. */
	return (uint32_t)(page % h->n_sets);
}

/* The frame that holds a page, or NO_FRAME. */
static size_t frame_find(const struct headers *h, uint64_t page)
{
	size_t first = (size_t)set_of(h, page) * HEADERS_WAYS;

	for (size_t i = first; i < first + HEADERS_WAYS; i++)
		if (h->key[i] == page + 1)
			return i;
	return NO_FRAME;
}

const uint8_t *headers_get(struct headers *h, uint32_t slot)
{
	struct headers_active *a = headers_active(h, slot / h->g.segment_slots);
	size_t frame;

	if (a)
		return a->mem + byte_in_segment(h, slot);
	frame = frame_find(h, page_no(h, slot));
	if (frame == NO_FRAME)
		return NULL;
	return h->mem + frame * PAGE + byte_in_segment(h, slot) % PAGE;
}

static void keep_page(struct headers *h, uint64_t page, const uint8_t *data)
{
	uint32_t set = set_of(h, page);
	size_t i = (size_t)set * HEADERS_WAYS + h->turn[set];

	if (frame_find(h, page) != NO_FRAME)
		return;
	h->turn[set] = (uint8_t)((h->turn[set] + 1) % HEADERS_WAYS);
	h->key[i] = page + 1;
	memcpy(h->mem + i * PAGE, data, PAGE);
}

void headers_keep(struct headers *h, uint32_t slot, const uint8_t *page)
{
	if (!headers_active(h, slot / h->g.segment_slots))
		keep_page(h, page_no(h, slot), page);
}

void headers_forget(struct headers *h, uint32_t seg)
{
	uint64_t first = (uint64_t)seg * h->pages_per_segment;

	for (uint64_t p = first; p < first + h->pages_per_segment; p++) {
		size_t frame = frame_find(h, p);

		if (frame != NO_FRAME)
			h->key[frame] = 0;
	}
}

bool headers_can_activate(const struct headers *h)
{
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++)
		if (h->active[i].seg == SEGMENT_NONE)
			return true;
	return false;
}

void headers_activate(struct headers *h, uint32_t seg)
{
	struct headers_active *a = headers_active(h, SEGMENT_NONE);

	headers_forget(h, seg);
	a->seg = seg;
	a->dirty_since = 0;
	memset(a->mem, 0, h->g.headers_len);
	memset(a->dirty, 0, (h->pages_per_segment + 63) / 64 * 8);
}

static void set_dirty(struct headers_active *a, uint32_t page, uint64_t now_ns)
{
	a->dirty[page / 64] |= 1ull << page % 64;
	if (!a->dirty_since)
		a->dirty_since = now_ns;
}

void headers_set(struct headers *h, uint32_t slot, const struct slot_ident *id,
		 const uint32_t *sums, uint64_t now_ns)
{
	struct headers_active *a = headers_active(h, slot / h->g.segment_slots);
	uint32_t at = byte_in_segment(h, slot);

	slot_header_encode(&h->g, slot, id, sums, a->mem + at);
	set_dirty(a, at / PAGE, now_ns);
}

static bool is_dirty(const struct headers_active *a, uint32_t page)
{
	return a->dirty[page / 64] >> page % 64 & 1;
}

uint32_t headers_take_dirty(struct headers *h, struct headers_active *a,
			    uint32_t *first, uint8_t *out)
{
	uint32_t lo = 0, hi;

	while (lo < h->pages_per_segment && !is_dirty(a, lo))
		lo++;
	if (lo == h->pages_per_segment)
		return 0;
	hi = h->pages_per_segment - 1;
	while (!is_dirty(a, hi))
		hi--;

	memcpy(out, a->mem + (size_t)lo * PAGE, (size_t)(hi - lo + 1) * PAGE);
	memset(a->dirty, 0, (h->pages_per_segment + 63) / 64 * 8);
	a->dirty_since = 0;
	*first = lo;
	return hi - lo + 1;
}

void headers_still_dirty(struct headers_active *a, uint32_t first, uint32_t n,
			 uint64_t now_ns)
{
	for (uint32_t p = first; p < first + n; p++)
		set_dirty(a, p, now_ns);
}

void headers_retire(struct headers *h, struct headers_active *a)
{
	uint64_t page = (uint64_t)a->seg * h->pages_per_segment;

	for (uint32_t p = 0; p < h->pages_per_segment; p++)
		keep_page(h, page + p, a->mem + (size_t)p * PAGE);
	a->seg = SEGMENT_NONE;
	a->dirty_since = 0;
}
