/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "core.h"

void pins_fini(struct pins *p)
{
	free(p->at);
	*p = (struct pins){0};
}

/* The first range that ends at chunk or behind it. */
static uint32_t range_at(const struct pins *p, uint64_t chunk)
{
	uint32_t lo = 0, hi = p->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (p->at[mid].last < chunk)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool pins_has(const struct pins *p, uint64_t chunk)
{
	uint32_t i = range_at(p, chunk);

	return i < p->n && p->at[i].first <= chunk;
}

uint64_t pins_count(const struct pins *p, uint64_t first, uint64_t last)
{
	uint64_t n = 0;

	for (uint32_t i = range_at(p, first);
	     i < p->n && p->at[i].first <= last; i++)
		n += PFS_MIN(last, p->at[i].last) -
		     PFS_MAX(first, p->at[i].first) + 1;
	return n;
}

/* Put the n_new ranges in the place of ranges [from, to). */
static int replace(struct pins *p, uint32_t from, uint32_t to,
		   const struct pfs_pin *new, uint32_t n_new)
{
	uint32_t n = p->n - (to - from) + n_new;
	struct pfs_pin *at = p->at;

	if (n > PINS_MAX)
		return -E2BIG;
	if (n > p->cap) {
		uint32_t cap = PFS_MAX(2 * p->cap, 8u);

		at = realloc(at, cap * sizeof(*at));
		if (!at)
			return -ENOMEM;
		p->at = at;
		p->cap = cap;
	}
	if (p->n > to)
		memmove(at + from + n_new, at + to, (p->n - to) * sizeof(*at));
	for (uint32_t i = 0; i < n_new; i++)
		at[from + i] = new[i];
	p->n = n;
	return 0;
}

int pins_add(struct pins *p, uint64_t first, uint64_t last)
{
	uint64_t n_new = last - first + 1 - pins_count(p, first, last);
	/* Ranges that touch it become one with it. */
	uint32_t from = range_at(p, first ? first - 1 : 0), to = from;
	struct pfs_pin one = {first, last};
	int err;

	for (; to < p->n && p->at[to].first <= last + 1; to++) {
		one.first = PFS_MIN(one.first, p->at[to].first);
		one.last = PFS_MAX(one.last, p->at[to].last);
	}
	err = replace(p, from, to, &one, 1);
	if (!err)
		p->n_chunks += n_new;
	return err;
}

int pins_del(struct pins *p, uint64_t first, uint64_t last)
{
	uint64_t n_old = pins_count(p, first, last);
	uint32_t from = range_at(p, first), to = from, n = 0;
	struct pfs_pin rest[2];
	int err;

	while (to < p->n && p->at[to].first <= last)
		to++;
	if (from == to)
		return 0;
	if (p->at[from].first < first)
		rest[n++] = (struct pfs_pin){p->at[from].first, first - 1};
	if (p->at[to - 1].last > last)
		rest[n++] = (struct pfs_pin){last + 1, p->at[to - 1].last};
	err = replace(p, from, to, rest, n);
	if (!err)
		p->n_chunks -= n_old;
	return err;
}

/* --- of an image --- */

static int pin_locked(struct pfs_store_image *img, uint64_t first,
		      uint64_t last) PFS_REQUIRES(img->s->lock)
{
	struct pfs_store *s = img->s;
	uint64_t n_new = last - first + 1 - pins_count(&img->pins, first, last);

	if (s->n_pinned + n_new > geometry_n_slots(&s->g) / 2)
		return -ENOSPC;
	return pins_add(&img->pins, first, last);
}

int pfs_store_image_pin(struct pfs_store_image *img, uint64_t first,
			uint64_t last, bool on)
{
	struct pfs_store *s = img->s;
	uint64_t before;
	int err;

	if (first > last || last >= STORE_CHUNK_MAX)
		return -EINVAL;
	pfs_mutex_lock(&s->lock);
	before = img->pins.n_chunks;
	err = on ? pin_locked(img, first, last)
		 : pins_del(&img->pins, first, last);
	s->n_pinned += img->pins.n_chunks - before;
	pfs_mutex_unlock(&s->lock);
	return err;
}

size_t pfs_store_image_pins(struct pfs_store_image *img, struct pfs_pin *out,
			    size_t n)
{
	size_t n_all;

	pfs_mutex_lock(&img->s->lock);
	n_all = img->pins.n;
	if (n_all && n)
		memcpy(out, img->pins.at, PFS_MIN(n, n_all) * sizeof(*out));
	pfs_mutex_unlock(&img->s->lock);
	return n_all;
}
