/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which files are due, and what is told of them; hot_look.c looks them up. */
#include "hot.h"

#include <string.h>

#include <pfs/hash.h>

#include "hot_look.h"

#define PAGE 4096u
#define SERIAL_MIN 64u            /* pages: more than one read-ahead */
#define AGAIN_NS PFS_NSEC_PER_SEC /* two looks at random reads of a file */
/* Headers and libraries are opened all the time.  What is in the page cache
 * stays there for a while; what was told and not read, neither is it the next
 * time. */
#define CACHED_NS (5 * PFS_NSEC_PER_SEC)
#define TOLD_NS (30 * PFS_NSEC_PER_SEC)
#define READ_NS PFS_NSEC_PER_SEC
#define MSEC PFS_NSEC_PER_MSEC

void hot_init(struct hot *h, const struct disks *d, const struct mounts *m)
{
	memset(h, 0, sizeof(*h));
	h->disks = d;
	h->mounts = m;
}

/* --- files --- */

/* Files that are due count as the newest. */
static bool is_older(const struct hot_file *a, const struct hot_file *b)
{
	return a->is_due != b->is_due ? b->is_due : a->used_ns < b->used_ns;
}

static struct hot_file *take_oldest(struct hot *h)
{
	struct hot_file *oldest = &h->file[0];

	for (uint32_t i = 1; i < HOT_FILES; i++) {
		if (is_older(&h->file[i], oldest))
			oldest = &h->file[i];
	}
	memset(oldest, 0, sizeof(*oldest));
	return oldest;
}

static struct hot_file *by_handle(struct hot *h, uint32_t dev,
				  const struct opens_handle *handle)
{
	for (uint32_t i = 0; i < HOT_FILES; i++) {
		struct hot_file *f = &h->file[i];

		if (f->used_ns && f->dev == dev &&
		    !memcmp(&f->handle, handle, sizeof(*handle)))
			return f;
	}
	return NULL;
}

struct hot_file *hot_by_ino(struct hot *h, uint32_t dev, uint64_t ino)
{
	for (uint32_t i = 0; i < HOT_FILES; i++) {
		struct hot_file *f = &h->file[i];

		if (f->used_ns && f->dev == dev && f->ino == ino)
			return f;
	}
	return NULL;
}

/* The place of a file among those known, whosever it is now. */
static struct hot_known *known_at(struct hot *h, uint32_t dev,
				  const struct opens_handle *handle,
				  uint64_t *key)
{
	*key = pfs_mix64(dev) | 1;
	for (uint32_t i = 0; i < OPENS_HANDLE_MAX; i += 8) {
		uint64_t word;

		memcpy(&word, handle->bytes + i, sizeof(word));
		*key = pfs_mix64(*key ^ word) | 1;
	}
	return &h->known[*key >> 32 & (HOT_KNOWN - 1)];
}

static void forget(struct hot *h, const struct hot_file *f)
{
	uint64_t key;
	struct hot_known *k = known_at(h, f->dev, &f->handle, &key);

	if (k->key == key)
		k->key = 0;
}

void hot_looked(struct hot *h, const struct hot_file *f, bool has_told,
		uint64_t now_ns)
{
	uint64_t key;
	struct hot_known *k = known_at(h, f->dev, &f->handle, &key);

	*k = (struct hot_known){.key = key,
				.until_ns = now_ns +
					    (has_told ? TOLD_NS : CACHED_NS)};
}

static void make_due(struct hot_file *f, enum pfs_extent_kind kind,
		     uint64_t now_ns)
{
	f->kind = (uint8_t)kind;
	f->is_due = true;
	f->hot_ns = now_ns;
}

void hot_opened(struct hot *h, const struct mount *m,
		const struct opens_handle *handle, bool is_exec,
		uint64_t now_ns)
{
	uint64_t key;
	struct hot_known *k = known_at(h, m->dev, handle, &key);
	struct hot_file *f;

	if (k->key == key && now_ns < k->until_ns)
		return;
	f = by_handle(h, m->dev, handle);
	if (!f) {
		f = take_oldest(h);
		f->dev = m->dev;
		f->handle = *handle;
	}
	f->used_ns = now_ns;
	if (f->is_due && f->kind == PFS_EXTENT_EXEC)
		return;
	f->at = f->told = f->n_serial = 0;
	make_due(f, is_exec ? PFS_EXTENT_EXEC : PFS_EXTENT_OPEN, now_ns);
}

/* --- pages put into the page cache --- */

/* The pages of a chunk that r is about, of those in the chunk of its first. */
static uint64_t page_mask(const struct perf_record *r)
{
	uint64_t first = r->page % 64, n = PFS_MIN(r->n_pages, 64 - first);

	return (n == 64 ? UINT64_MAX : (1ull << n) - 1) << first;
}

/* True if they were there before. */
static bool note_pages(struct hot *h, const struct perf_record *r)
{
	uint64_t key = pfs_mix64(pfs_mix64(r->dev + 1ull) ^ pfs_mix64(r->ino) ^
				 r->page / 64) |
		       1;
	struct hot_chunk *c = &h->chunk[key >> 32 & (HOT_CHUNKS - 1)];
	uint64_t mask = page_mask(r);
	bool was_there = c->key == key && c->pages & mask;

	if (c->key != key)
		*c = (struct hot_chunk){.key = key};
	c->pages |= mask;
	return was_there;
}

/* Follow where the file is being read.  Read-ahead of several readers mixes
 * runs; the latest counts. */
static void follow(struct hot_file *f, const struct perf_record *r)
{
	uint64_t from = r->page * PAGE, end = from + r->n_pages * PAGE;

	if (from == f->at) {
		f->n_serial += (uint32_t)r->n_pages;
	} else if (from > f->at || end + HOT_AHEAD < f->at) {
		f->n_serial = (uint32_t)r->n_pages;
		if (from > f->told || end < f->at)
			f->told = end;
	} else {
		return; /* a page or two, out of order */
	}
	f->at = end;
}

static void inserted(struct hot *h, const struct perf_record *r)
{
	struct hot_file *f;
	bool is_refault;

	if (!disks_find(h->disks, r->dev) || !r->ino)
		return;
	is_refault = note_pages(h, r);
	f = hot_by_ino(h, r->dev, r->ino);
	if (!f) {
		f = take_oldest(h);
		f->dev = r->dev;
		f->ino = r->ino;
	}
	f->used_ns = r->time_ns;
	follow(f, r);
	forget(h, f);
	if (f->is_due || f->told > f->at + HOT_AHEAD / 2)
		return;
	if (is_refault &&
	    (f->n_serial >= SERIAL_MIN || r->time_ns - f->looked_ns > AGAIN_NS))
		make_due(f, PFS_EXTENT_REFAULT, r->time_ns);
	else if (f->n_serial >= SERIAL_MIN)
		make_due(f, PFS_EXTENT_AHEAD, r->time_ns);
}

/* --- reads of the disk --- */

/* The next one goes on where this one ended more often than not. */
static void was_read(struct hot *h, const struct perf_record *r)
{
	struct hot_read *last =
		&h->read[(h->next_read + HOT_READS - 1) % HOT_READS];

	if (last->dev == r->dev && last->end == r->off) {
		last->end += r->len;
		last->time_ns = r->time_ns;
		return;
	}
	h->read[h->next_read] = (struct hot_read){.dev = r->dev,
						  .off = r->off,
						  .end = r->off + r->len,
						  .time_ns = r->time_ns};
	h->next_read = (h->next_read + 1) % HOT_READS;
}

static uint32_t disk_of(const struct hot *h, uint32_t dev)
{
	const struct disk_part *p = disks_find(h->disks, dev);

	return p ? p->disk : UINT32_MAX;
}

/* Cut off the front of e that was read lately; false: nothing is left. */
static bool cut_read(const struct hot *h, uint64_t now_ns,
		     struct pfs_vector_extent *e)
{
	bool was_cut;

	do {
		was_cut = false;
		for (uint32_t i = 0; i < HOT_READS; i++) {
			const struct hot_read *r = &h->read[i];
			uint64_t n;

			if (r->end <= e->off || r->off > e->off ||
			    r->time_ns + READ_NS < now_ns ||
			    disk_of(h, r->dev) != e->disk)
				continue;
			n = PFS_MIN(r->end - e->off, (uint64_t)e->len);
			e->off += n;
			e->len -= (uint32_t)n;
			was_cut = e->len > 0;
		}
	} while (was_cut);
	return e->len > 0;
}

void hot_record(struct hot *h, const struct perf_record *r)
{
	if (r->kind == PERF_INSERT)
		inserted(h, r);
	else if (r->kind == PERF_BLOCK)
		was_read(h, r);
}

/* --- extents --- */

void hot_found(struct hot *h, const struct pfs_vector_extent *e,
	       uint64_t hot_ns)
{
	struct hot_extent *last = h->found + h->n_found - 1;

	if (h->n_found && last->e.disk == e->disk && last->e.kind == e->kind &&
	    last->e.off + last->e.len == e->off &&
	    (uint64_t)last->e.len + e->len <= PFS_VECTOR_EXTENT_MAX) {
		last->e.len += e->len;
	} else if (h->n_found < PFS_VECTOR_EXTENTS) {
		h->found[h->n_found++] = (struct hot_extent){*e, hot_ns};
	} else {
		h->n_dropped++;
	}
}

void hot_take(struct hot *h, uint64_t now_ns, struct pfs_vector *v)
{
	v->n_extents = 0;
	for (uint32_t i = 0; i < h->n_found; i++) {
		struct pfs_vector_extent e = h->found[i].e;
		uint64_t hot_ns = PFS_MIN(h->found[i].hot_ns, now_ns);
		uint64_t age_ms = (now_ns - hot_ns) / MSEC;

		e.age_ms = (uint16_t)PFS_MIN(age_ms,
					     (uint64_t)PFS_VECTOR_AGE_MAX_MS);
		if (cut_read(h, now_ns, &e))
			v->extent[v->n_extents++] = e;
	}
	h->n_found = 0;
}
