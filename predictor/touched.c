/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "touched.h"

#include <pfs/hash.h>

#define PATCHES_MIN 64u
#define PATCHES_MAX 4096u /* 48 bytes each; 16 GiB touched at 64 KiB chunks */
#define PROBES 8u

int touched_init(struct touched *t)
{
	*t = (struct touched){.size = PATCHES_MIN};
	t->patch = calloc(t->size, sizeof(*t->patch));
	return t->patch ? 0 : -ENOMEM;
}

void touched_fini(struct touched *t)
{
	free(t->patch);
	*t = (struct touched){0};
}

static uint64_t moment_now(const struct touched *t)
{
	return t->news / TOUCHED_MOMENT;
}

static uint64_t era_of(uint64_t moment)
{
	return moment / (TOUCHED_ERA / TOUCHED_MOMENT);
}

/* The bits of two generations as they are `age` generations later. */
static void grow_old(uint64_t bits[2], uint64_t age)
{
	if (!age)
		return;
	bits[1] = age == 1 ? bits[0] : 0;
	bits[0] = 0;
}

static struct patch as_of(struct patch p, uint64_t moment)
{
	grow_old(p.fresh, moment - p.moment);
	grow_old(p.kept, era_of(moment) - era_of(p.moment));
	p.moment = moment;
	return p;
}

/* Its place, or the one it should take: free, or else touched longest ago. */
static struct patch *place(const struct touched *t, uint64_t number)
{
	uint64_t home = pfs_mix64(number);
	struct patch *oldest = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct patch *p = &t->patch[(home + i) & (t->size - 1)];

		if (p->number == number || !p->number)
			return p;
		if (!oldest || p->moment < oldest->moment)
			oldest = p;
	}
	return oldest;
}

/* Without memory it stays as it is: then patches are replaced early. */
static void grow(struct touched *t)
{
	struct touched bigger = *t;

	bigger.size = t->size * 2;
	bigger.patch = calloc(bigger.size, sizeof(*t->patch));
	if (!bigger.patch)
		return;
	for (uint32_t i = 0; i < t->size; i++)
		if (t->patch[i].number)
			*place(&bigger, t->patch[i].number) = t->patch[i];
	free(t->patch);
	*t = bigger;
}

static struct patch *patch_for(struct touched *t, uint64_t number)
{
	struct patch *p = place(t, number);

	if (p->number == number)
		return p;
	if (p->number && t->size < PATCHES_MAX) {
		grow(t);
		p = place(t, number);
	}
	*p = (struct patch){.number = number, .moment = moment_now(t)};
	return p;
}

static void forget_old(struct patch *p)
{
	p->kept[0] = p->fresh[0] | p->fresh[1];
	p->kept[1] = 0;
}

bool touched_add(struct touched *t, uint64_t chunk, bool is_missing)
{
	struct patch *p = patch_for(t, chunk / 64 + 1);
	uint64_t bit = 1ull << (chunk % 64);
	bool is_new;

	*p = as_of(*p, moment_now(t));
	if (is_missing)
		forget_old(p);
	is_new = !((p->kept[0] | p->kept[1]) & bit);
	p->kept[0] |= bit;
	p->fresh[0] |= bit;
	t->news += is_new;
	return is_new;
}

static struct touched_window look(const struct touched *t, uint64_t number)
{
	const struct patch *p = place(t, number);
	struct patch now;

	if (p->number != number)
		return (struct touched_window){0};
	now = as_of(*p, moment_now(t));
	return (struct touched_window){.kept = now.kept[0] | now.kept[1],
				       .fresh = now.fresh[0] | now.fresh[1]};
}

struct touched_window touched_window(const struct touched *t, int64_t first)
{
	uint64_t from = first < 0 ? 0 : (uint64_t)first;
	uint32_t shift = first < 0 ? (uint32_t)-first : from % 64;
	struct touched_window low = look(t, from / 64 + 1), high;

	if (first < 0)
		return (struct touched_window){.kept = low.kept << shift,
					       .fresh = low.fresh << shift};
	if (!shift)
		return low;
	high = look(t, from / 64 + 2);
	return (struct touched_window){
		.kept = low.kept >> shift | high.kept << (64 - shift),
		.fresh = low.fresh >> shift | high.fresh << (64 - shift)};
}
