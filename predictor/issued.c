/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "issued.h"

#include <pfs/hash.h>

/* The ring is there from init to fini, which the analyzer cannot see. */
static struct decision *at(const struct issued *s, uint64_t number)
{
	if (!s->ring)
		__builtin_unreachable();
	return &s->ring[number % ISSUED_MAX];
}

/* Two chunks may share a key, once in an age: the later one is not found. */
static uint64_t key_of(uint64_t image, uint64_t chunk)
{
	return (pfs_mix64(image) + chunk) & INT64_MAX;
}

int issued_init(struct issued *s,
		void (*ended)(void *arg, const struct decision *d), void *arg)
{
	*s = (struct issued){.ended = ended, .arg = arg};
	s->ring = calloc(ISSUED_MAX, sizeof(*s->ring));
	if (!s->ring)
		return -ENOMEM;
	return map_init(&s->pending, ISSUED_MAX);
}

void issued_fini(struct issued *s)
{
	free(s->ring);
	map_fini(&s->pending);
	*s = (struct issued){0};
}

static struct decision *find(const struct issued *s, uint64_t image,
			     uint64_t chunk)
{
	uint64_t *number = map_find(&s->pending, key_of(image, chunk));
	struct decision *d = number ? at(s, *number) : NULL;

	return d && d->image == image && d->why.chunk == chunk ? d : NULL;
}

static void end(struct issued *s, struct decision *d, enum pfs_why_fate fate,
		uint64_t now)
{
	map_del(&s->pending, key_of(d->image, d->why.chunk));
	d->is_pending = false;
	d->why.fate = fate;
	d->why.ended_ns = now;
	s->n_pending--;
	if (!d->is_warm)
		s->ended(s->arg, d);
}

static void skip_ended(struct issued *s)
{
	while (s->tail < s->head && !at(s, s->tail)->is_pending)
		s->tail++;
}

static void add(struct issued *s, const struct wish *w, uint64_t now)
{
	struct decision *d = at(s, s->head), *old = find(s, w->image, w->chunk);
	uint64_t *number;

	if (d->is_pending) { /* then it is the oldest */
		end(s, d, PFS_WHY_EXTRA, now);
		s->tail++;
	}
	if (old && old->is_pending) /* fetched again: it left unnoticed */
		end(s, old, PFS_WHY_EXTRA, now);
	*d = (struct decision){
		.image = w->image,
		.why = {.chunk = w->chunk,
			.vm = w->vm,
			.proposers = w->proposers,
			.confidence = w->p,
			.asked_ns = now,
			.fate = PFS_WHY_PENDING},
		.is_warm = w->is_warm,
	};
	number = map_add(&s->pending, key_of(w->image, w->chunk));
	if (number) {
		*number = s->head;
		d->is_pending = true;
		s->n_pending++;
	}
	s->head++;
	skip_ended(s);
}

static struct issued_order *order_of(struct issued *s, uint64_t id)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(s->order); i++)
		if (s->order[i].id == id)
			return &s->order[i];
	return NULL;
}

void issued_order(struct issued *s, const struct pfs_prefetch_order *o,
		  const struct wish *w, uint64_t now)
{
	struct issued_order *slot = order_of(s, 0);

	if (slot)
		*slot = (struct issued_order){
			.id = o->id, .first = s->head, .n = o->n_chunks};
	for (uint32_t i = 0; i < o->n_chunks; i++)
		add(s, &w[i], now);
}

void issued_fetched(struct issued *s, uint64_t id, uint32_t n_fetched,
		    uint64_t now)
{
	struct issued_order *o = id ? order_of(s, id) : NULL;

	if (!o)
		return;
	for (uint32_t i = 0; i < o->n; i++) {
		struct decision *d = at(s, o->first + i);

		if (o->first + i + ISSUED_MAX < s->head)
			continue; /* the ring has come round */
		d->is_here = true;
		if (i >= n_fetched && d->is_pending)
			end(s, d, PFS_WHY_NOT_TAKEN, now);
	}
	o->id = 0;
	skip_ended(s);
}

/* A reader that had to start its own fetch got nothing from ours. */
static enum pfs_why_fate fate_of(const struct decision *d,
				 enum pfs_access_outcome outcome)
{
	switch (outcome) {
	case PFS_ACCESS_HIT:
		return PFS_WHY_USED;
	case PFS_ACCESS_LATE:
		return PFS_WHY_LATE;
	default:
		return d->is_here ? PFS_WHY_EXTRA : PFS_WHY_NOT_TAKEN;
	}
}

const struct decision *issued_read(struct issued *s, uint64_t image,
				   uint64_t chunk,
				   enum pfs_access_outcome outcome,
				   uint64_t now)
{
	struct decision *d = s->n_pending ? find(s, image, chunk) : NULL;

	if (!d)
		return NULL;
	end(s, d, fate_of(d, outcome), now);
	skip_ended(s);
	return d;
}

void issued_evicted(struct issued *s, uint64_t image, uint64_t chunk,
		    uint64_t now)
{
	struct decision *d = find(s, image, chunk);

	if (d)
		end(s, d, PFS_WHY_EXTRA, now);
	skip_ended(s);
}

static bool is_overdue(const struct decision *d, uint64_t now)
{
	return now >= d->why.asked_ns + ISSUED_WAIT_NS;
}

void issued_age(struct issued *s, uint64_t now)
{
	while (s->tail < s->head && is_overdue(at(s, s->tail), now)) {
		end(s, at(s, s->tail), PFS_WHY_EXTRA, now);
		skip_ended(s);
	}
}

uint64_t issued_deadline(const struct issued *s)
{
	if (s->tail == s->head)
		return UINT64_MAX;
	return at(s, s->tail)->why.asked_ns + ISSUED_WAIT_NS;
}

bool issued_is_pending(const struct issued *s, uint64_t image, uint64_t chunk)
{
	return s->n_pending && find(s, image, chunk);
}

size_t issued_why(const struct issued *s, uint64_t image, uint64_t chunk,
		  struct pfs_why *out, size_t n)
{
	uint64_t oldest = s->head > ISSUED_MAX ? s->head - ISSUED_MAX : 0;
	size_t found = 0;

	for (uint64_t i = s->head; i > oldest && found < n; i--) {
		const struct decision *d = at(s, i - 1);

		if (d->image == image && d->why.chunk == chunk)
			out[found++] = d->why;
	}
	return found;
}
