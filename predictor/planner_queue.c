/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two pairing heaps over the same wishes: in LANE the highest key is first,
 * among ALL the lowest.  Adding is one comparison, taking one out O(log n)
 * amortised, and neither needs memory of its own.
 */
#include "planner_queue.h"

#include <assert.h>

#include <pfs/hash.h>

enum {
	LANE,
	ALL
};

int queue_init(struct queue *q, uint32_t n_max)
{
	int err;

	assert(n_max && n_max <= UINT16_MAX);
	*q = (struct queue){.n_max = n_max, .free = 1};
	err = map_init(&q->by_chunk, n_max);
	if (err)
		return err;
	q->q = calloc((size_t)n_max + 1, sizeof(*q->q));
	if (!q->q)
		return -ENOMEM;
	for (uint32_t i = 1; i < n_max; i++)
		q->q[i].older = (uint16_t)(i + 1);
	return 0;
}

void queue_fini(struct queue *q)
{
	map_fini(&q->by_chunk);
	free(q->q);
	*q = (struct queue){0};
}

/* --- pairing heaps --- */

static bool is_before(const struct queue *q, int h, uint16_t a, uint16_t b)
{
	return h == LANE ? q->q[a].key > q->q[b].key
			 : q->q[a].key < q->q[b].key;
}

/* Both are roots, or none; their next and prev are set anew. */
static uint16_t meld(struct queue *q, int h, uint16_t a, uint16_t b)
{
	struct queue_links *first, *child;

	if (!a || !b)
		return a ? a : b;
	if (is_before(q, h, b, a)) {
		uint16_t was = a;

		a = b;
		b = was;
	}
	first = &q->q[a].link[h];
	child = &q->q[b].link[h];
	child->prev = a;
	child->next = first->child;
	if (first->child)
		q->q[first->child].link[h].prev = b;
	first->child = b;
	return a;
}

/* Make one heap of a list of them: pairs from the left, then all from the
 * right. */
static uint16_t meld_list(struct queue *q, int h, uint16_t first)
{
	uint16_t pairs = QUEUE_NONE, all = QUEUE_NONE, next;

	for (uint16_t a = first; a; a = next) {
		uint16_t b = q->q[a].link[h].next;

		next = b ? q->q[b].link[h].next : QUEUE_NONE;
		a = meld(q, h, a, b);
		q->q[a].link[h].next = pairs;
		pairs = a;
	}
	for (; pairs; pairs = next) {
		next = q->q[pairs].link[h].next;
		all = meld(q, h, all, pairs);
	}
	if (all)
		q->q[all].link[h].next = q->q[all].link[h].prev = QUEUE_NONE;
	return all;
}

static void heap_add(struct queue *q, int h, uint16_t *root, uint16_t i)
{
	q->q[i].link[h] = (struct queue_links){0};
	*root = meld(q, h, *root, i);
}

static void heap_del(struct queue *q, int h, uint16_t *root, uint16_t i)
{
	struct queue_links *l = &q->q[i].link[h];
	uint16_t below = meld_list(q, h, l->child);

	if (*root == i) {
		*root = below;
		return;
	}
	if (q->q[l->prev].link[h].child == i)
		q->q[l->prev].link[h].child = l->next;
	else
		q->q[l->prev].link[h].next = l->next;
	if (l->next)
		q->q[l->next].link[h].prev = l->prev;
	*root = meld(q, h, *root, below);
}

/* --- by age --- */

static void age_add(struct queue *q, uint16_t i)
{
	q->q[i].newer = QUEUE_NONE;
	q->q[i].older = q->newest;
	if (q->newest)
		q->q[q->newest].newer = i;
	else
		q->oldest = i;
	q->newest = i;
}

static void age_del(struct queue *q, uint16_t i)
{
	const struct queued *e = &q->q[i];

	if (e->newer)
		q->q[e->newer].older = e->older;
	else
		q->newest = e->older;
	if (e->older)
		q->q[e->older].newer = e->newer;
	else
		q->oldest = e->newer;
}

/* --- all of it --- */

static uint64_t map_key(uint64_t image, uint64_t chunk)
{
	return pfs_mix64(image) + chunk;
}

uint32_t queue_find(const struct queue *q, uint64_t image, uint64_t chunk)
{
	const uint64_t *i = map_find(&q->by_chunk, map_key(image, chunk));
	const struct wish *w;

	if (!i)
		return QUEUE_NONE;
	w = &q->q[*i].wish;
	return w->image == image && w->chunk == chunk ? (uint32_t)*i
						      : QUEUE_NONE;
}

bool queue_add(struct queue *q, uint16_t *lane, const struct wish *w,
	       double key, uint64_t now)
{
	uint64_t *place = map_add(&q->by_chunk, map_key(w->image, w->chunk));
	uint16_t i = q->free;

	assert(i && place);
	if (*place)
		return false; /* two images share a key: one in 2^60 */
	*place = i;
	q->free = q->q[i].older;
	q->q[i] = (struct queued){
		.wish = *w, .key = key, .since_ns = now, .lane = lane};
	heap_add(q, LANE, lane, i);
	heap_add(q, ALL, &q->worst, i);
	age_add(q, i);
	q->n++;
	return true;
}

void queue_renew(struct queue *q, uint32_t i, uint64_t now)
{
	age_del(q, (uint16_t)i);
	q->q[i].since_ns = now;
	age_add(q, (uint16_t)i);
}

struct wish queue_take(struct queue *q, uint32_t i)
{
	struct queued *e = &q->q[i];

	map_del(&q->by_chunk, map_key(e->wish.image, e->wish.chunk));
	heap_del(q, LANE, e->lane, (uint16_t)i);
	heap_del(q, ALL, &q->worst, (uint16_t)i);
	age_del(q, (uint16_t)i);
	e->lane = NULL;
	e->older = q->free;
	q->free = (uint16_t)i;
	q->n--;
	return e->wish;
}
