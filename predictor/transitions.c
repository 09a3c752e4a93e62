/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transitions.h"

#include <string.h>

#include <pfs/hash.h>

#define WAYS 8u /* of 16 bytes: two cache lines */
#define BUCKETS_MIN 256u
#define BUCKETS_MAX 16384u
#define COUNT_MAX 64u   /* then all of a context are halved */
#define CLOCK_SHIFT 10u /* learned pairs in one tick of `used` */

/* Buckets begin with a cache line. */
static struct transition *entries(uint32_t n_buckets)
{
	size_t size = (size_t)n_buckets * WAYS * sizeof(struct transition);
	struct transition *e = aligned_alloc(64, size);

	return e ? memset(e, 0, size) : NULL;
}

int transitions_init(struct transitions *t)
{
	*t = (struct transitions){.n_buckets = BUCKETS_MIN};
	t->entry = entries(t->n_buckets);
	return t->entry ? 0 : -ENOMEM;
}

void transitions_fini(struct transitions *t)
{
	free(t->entry);
	*t = (struct transitions){0};
}

size_t transitions_memory(const struct transitions *t)
{
	return (size_t)t->n_buckets * WAYS * sizeof(*t->entry);
}

static uint32_t hash(uint64_t context)
{
	return (uint32_t)(pfs_mix64(context) >> 32);
}

static struct transition *bucket(const struct transitions *t, uint32_t hashed)
{
	return &t->entry[(size_t)(hashed & (t->n_buckets - 1)) * WAYS];
}

static uint16_t now(const struct transitions *t)
{
	return (uint16_t)(t->clock >> CLOCK_SHIFT);
}

/* Entries go to one of two buckets each, so all of them find room.  Without
 * memory it stays as it is: then pairs are replaced early. */
static void grow(struct transitions *t)
{
	struct transitions bigger = *t;

	bigger.n_buckets = t->n_buckets * 2;
	bigger.n_lost = 0;
	bigger.entry = entries(bigger.n_buckets);
	if (!bigger.entry)
		return;
	for (size_t i = 0; i < (size_t)t->n_buckets * WAYS; i++) {
		const struct transition *e = &t->entry[i];

		if (e->count)
			bucket(&bigger, e->context)[i % WAYS] = *e;
	}
	free(t->entry);
	*t = bigger;
}

/* Which of two entries of a bucket to give up first. */
static bool is_weaker(const struct transitions *t, const struct transition *a,
		      const struct transition *b)
{
	if (a->count != b->count)
		return a->count < b->count;
	return (uint16_t)(now(t) - a->used) > (uint16_t)(now(t) - b->used);
}

/* The entry that a new pair takes: a context that has its followers gives up
 * one of its own. */
static struct transition *victim(const struct transitions *t,
				 struct transition *b, uint32_t hashed)
{
	struct transition *worst = NULL, *own = NULL;
	uint32_t n_own = 0;

	for (struct transition *e = b; e < b + WAYS; e++) {
		if (!worst || is_weaker(t, e, worst))
			worst = e;
		if (!e->count || e->context != hashed)
			continue;
		n_own++;
		if (!own || is_weaker(t, e, own))
			own = e;
	}
	return n_own < TRANSITIONS_NEXT ? worst : own;
}

/* Whatever has not been used for longest loses one, so that nothing stays for
 * ever on past merits. */
static void wear(const struct transitions *t, struct transition *b)
{
	struct transition *oldest = b;

	for (struct transition *e = b + 1; e < b + WAYS; e++)
		if ((uint16_t)(now(t) - e->used) >
		    (uint16_t)(now(t) - oldest->used))
			oldest = e;
	if (oldest->count > 1)
		oldest->count--;
}

static void strengthen(struct transitions *t, struct transition *b,
		       struct transition *found)
{
	found->used = now(t);
	if (++found->count < COUNT_MAX)
		return;
	for (struct transition *e = b; e < b + WAYS; e++)
		if (e->context == found->context)
			e->count = (uint16_t)((e->count + 1) / 2);
}

void transitions_learn(struct transitions *t, uint64_t context, uint64_t next)
{
	uint32_t hashed = hash(context);
	struct transition *b = bucket(t, hashed), *e;

	t->clock++;
	for (e = b; e < b + WAYS; e++)
		if (e->count && e->context == hashed && e->next == next) {
			strengthen(t, b, e);
			return;
		}
	e = victim(t, b, hashed);
	if (e->count && e->context != hashed) {
		t->n_lost++;
		wear(t, b);
	}
	*e = (struct transition){
		.context = hashed, .count = 1, .used = now(t), .next = next};
	if (t->n_lost > t->n_buckets / 4 && t->n_buckets < BUCKETS_MAX)
		grow(t);
}

static void insert(struct followers *f, const struct transition *e)
{
	uint32_t i = f->n;

	for (; i > 0 && f->at[i - 1].count < e->count; i--)
		f->at[i] = f->at[i - 1];
	f->at[i] = (struct follower){.next = e->next, .count = e->count};
	f->n++;
	f->total += e->count;
}

void transitions_find(const struct transitions *t, uint64_t context,
		      struct followers *out)
{
	uint32_t hashed = hash(context);
	const struct transition *b = bucket(t, hashed);

	out->n = out->total = 0;
	for (const struct transition *e = b; e < b + WAYS; e++)
		if (e->count && e->context == hashed)
			insert(out, e);
}
