/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fetches in flight.  A fixed number of them, each with its chunk buffer, is
 * all the memory that fetching can use; a reader that finds none free reads
 * its own bytes past the store.
 *
 * A registered fetch is what later readers of its chunk join.  Detaching takes
 * it out of the table: those who joined before still get its bytes (they were
 * under way when the mutation was), those who come later start their own.
 */
#include <string.h>

#include <pfs/hash.h>

#include "core.h"

int fetch_table_init(struct pfs_store *s, uint32_t n)
{
	uint32_t chains = 1;

	while (chains < 2 * n)
		chains *= 2;
	s->n_fetch = n;
	s->table_mask = chains - 1;
	s->fetch_mem_len = (size_t)n * s->g.chunk;
	s->fetches = pfs_zalloc(n, sizeof(*s->fetches));
	s->table = pfs_zalloc(chains, sizeof(struct fetch *));
	s->sums_mem = pfs_zalloc((size_t)n * s->g.blks, sizeof(*s->sums_mem));
	s->fetch_mem = pfs_pages_alloc(s->fetch_mem_len, false, NULL);
	if (!s->fetches || !s->table || !s->sums_mem || !s->fetch_mem)
		return -ENOMEM;

	for (uint32_t i = 0; i < n; i++) {
		struct fetch *f = &s->fetches[i];

		f->buf = s->fetch_mem + (size_t)i * s->g.chunk;
		f->sums = s->sums_mem + (size_t)i * s->g.blks;
		f->next = s->fetch_free;
		s->fetch_free = f;
	}
	return 0;
}

void fetch_table_fini(struct pfs_store *s)
{
	free(s->fetches);
	free(s->table);
	free(s->sums_mem);
	if (s->fetch_mem)
		pfs_pages_free(s->fetch_mem, s->fetch_mem_len);
}

static struct fetch **
chain_of(struct pfs_store *s, const struct pfs_store_image *img, uint64_t chunk)
{
	return &s->table[pfs_mix64(img->id ^ pfs_mix64(chunk)) & s->table_mask];
}

struct fetch *fetch_find_locked(struct pfs_store *s,
				const struct pfs_store_image *img,
				uint64_t chunk)
{
	struct fetch *f = *chain_of(s, img, chunk);

	while (f && (f->img != img || f->chunk != chunk))
		f = f->next;
	return f;
}

void fetch_register_locked(struct pfs_store *s, struct fetch *f)
{
	struct fetch **chain = chain_of(s, f->img, f->chunk);

	f->next = *chain;
	*chain = f;
	f->is_in_table = true;
	s->n_in_table++;
}

static void unregister_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock)
{
	struct fetch **at = chain_of(s, f->img, f->chunk);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->next = NULL;
	f->is_in_table = false;
	s->n_in_table--;
}

struct fetch *fetch_get_locked(struct pfs_store *s, struct pfs_store_image *img,
			       uint64_t chunk, bool is_registered)
{
	struct fetch *f = s->fetch_free;

	if (!f)
		return NULL;
	s->fetch_free = f->next;
	s->n_fetching++;
	img->n_refs++;
	f->next = NULL;
	f->queued = NULL;
	f->img = img;
	f->epoch = img->epoch;
	f->chunk = chunk;
	f->waiters = NULL;
	f->state = FETCH_READING;
	f->is_in_table = false;
	f->is_detached = false;
	f->is_write = false;
	f->is_kept = false;
	f->is_prefetch = false;
	f->is_wanted = false;
	f->n_refs = 1;
	f->slot = FORMAT_SLOT_NONE;
	if (is_registered)
		fetch_register_locked(s, f);
	return f;
}

/* Half of the buffers at most, and never the last eighth: a demand read finds
 * one, also while others hold many. */
struct fetch *fetch_get_ahead_locked(struct pfs_store *s,
				     struct pfs_store_image *img,
				     uint64_t chunk)
{
	struct fetch *f;

	if (s->n_ahead >= s->n_fetch / 2 ||
	    s->n_fetch - s->n_fetching <= s->n_fetch / 8)
		return NULL;
	f = fetch_get_locked(s, img, chunk, true);
	f->is_prefetch = true;
	s->n_ahead++;
	return f;
}

void fetch_joined_locked(struct fetch *f)
{
	if (!f->is_prefetch || f->is_wanted)
		return;
	f->is_wanted = true;
	pfs_count(f->state == FETCH_READY ? PFS_C_PREFETCH_HIT
					  : PFS_C_PREFETCH_JOINED,
		  1);
}

void fetch_detach_locked(struct pfs_store *s, struct fetch *f)
{
	f->is_detached = true;
	if (f->is_in_table) {
		unregister_locked(s, f);
		pfs_count(PFS_C_FETCH_DETACHED, 1);
	}
}

static void detach_all_within_locked(struct pfs_store_image *img,
				     uint64_t first, uint64_t last)
	PFS_REQUIRES(img->s->lock)
{
	struct pfs_store *s = img->s;

	for (uint32_t i = 0; i < s->n_fetch; i++) {
		struct fetch *f = &s->fetches[i];

		if (f->is_in_table && f->img == img && f->chunk >= first &&
		    f->chunk <= last)
			fetch_detach_locked(s, f);
	}
}

void fetch_detach_range_locked(struct pfs_store_image *img, uint64_t first,
			       uint64_t last)
{
	struct pfs_store *s = img->s;

	if (!s->n_in_table)
		return;
	if (last - first >= 32) {
		detach_all_within_locked(img, first, last);
		return;
	}
	for (uint64_t c = first; c <= last; c++) {
		struct fetch *f = fetch_find_locked(s, img, c);

		if (f)
			fetch_detach_locked(s, f);
	}
}

void fetch_put_locked(struct pfs_store *s, struct fetch *f)
{
	if (--f->n_refs)
		return;
	if (f->is_in_table)
		unregister_locked(s, f);
	s->n_ahead -= f->is_prefetch;
	image_unref_locked(f->img);
	f->state = FETCH_FREE;
	f->img = NULL;
	f->next = s->fetch_free;
	s->fetch_free = f;
	s->n_fetching--;
}
