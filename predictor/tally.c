/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tally.h"

#include <assert.h>

#include <pfs/hash.h>

/* Two pairs may share a key, once in an age: then they share the counts. */
static uint64_t key_of(uint64_t image, uint64_t vm)
{
	return pfs_mix64(pfs_mix64(image) + vm) >> 1;
}

int tally_init(struct tallies *t)
{
	*t = (struct tallies){0};
	t->pair = calloc(TALLY_PAIRS, sizeof(*t->pair));
	if (!t->pair)
		return -ENOMEM;
	return map_init(&t->by_key, TALLY_PAIRS);
}

void tally_fini(struct tallies *t)
{
	free(t->pair);
	map_fini(&t->by_key);
	*t = (struct tallies){0};
}

static struct tally *find(const struct tallies *t, uint64_t image, uint64_t vm)
{
	uint64_t *place = map_find(&t->by_key, key_of(image, vm));

	return place ? &t->pair[*place] : NULL;
}

__attribute__((returns_nonnull)) static struct tally *
pair_at(const struct tallies *t, uint32_t i)
{
	return &t->pair[i];
}

static struct tally *oldest(const struct tallies *t)
{
	struct tally *old = pair_at(t, 0);

	for (uint32_t i = 1; i < t->n_pairs; i++)
		if (pair_at(t, i)->opened < old->opened)
			old = pair_at(t, i);
	return old;
}

static struct tally *add(struct tallies *t, uint64_t image, uint64_t vm)
{
	struct tally *p;
	uint64_t *place;

	if (t->n_pairs < TALLY_PAIRS) {
		p = pair_at(t, t->n_pairs++);
	} else {
		p = oldest(t);
		map_del(&t->by_key, key_of(p->image, p->vm));
	}
	*p = (struct tally){.image = image, .vm = vm};
	place = map_add(&t->by_key, key_of(image, vm));
	assert(place); /* it has as much room as there are pairs */
	*place = (uint64_t)(p - t->pair);
	return p;
}

void tally_open(struct tallies *t, uint64_t image, uint64_t vm)
{
	struct tally *p = find(t, image, vm);

	if (!p)
		p = add(t, image, vm);
	p->opened = ++t->clock;
}

static void sum(struct pfs_prefetch_stats *to,
		const struct pfs_prefetch_stats *n)
{
	to->issued += n->issued;
	to->used += n->used;
	to->late += n->late;
	to->extra += n->extra;
	to->pending += n->pending;
	to->dropped_old += n->dropped_old;
	to->saved_ns += n->saved_ns;
	for (uint32_t i = 0; i < PFS_PROPOSER_N; i++) {
		to->score[i].proposed += n->score[i].proposed;
		to->score[i].came += n->score[i].came;
		to->score[i].asked += n->score[i].asked;
		to->score[i].issued += n->score[i].issued;
		to->score[i].used += n->score[i].used;
	}
}

void tally_add(struct tallies *t, uint64_t image, uint64_t vm,
	       const struct pfs_prefetch_stats *n)
{
	struct tally *p = find(t, image, vm);

	if (p)
		sum(&p->n, n);
	sum(&t->all, n);
}

void tally_sum(const struct tallies *t, uint64_t image, uint64_t vm,
	       struct pfs_prefetch_stats *out)
{
	*out = (struct pfs_prefetch_stats){0};
	if (!image && !vm) {
		*out = t->all;
		return;
	}
	for (uint32_t i = 0; i < t->n_pairs; i++)
		if ((!image || t->pair[i].image == image) &&
		    (!vm || t->pair[i].vm == vm))
			sum(out, &t->pair[i].n);
}
