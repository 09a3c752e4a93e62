/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "arbiter.h"

#include <string.h>

#include <pfs/hash.h>

#define MIX SOURCES /* its place among the shadows */

/* Trials that a shadow remembers: enough to judge all that is named within the
 * horizon.  The mix's also tells what was wasted, and that shows late. */
#define SOURCE_TRIALS 1024u
#define MIX_TRIALS 2048u

/* Trials that a claim is worth before there is evidence: a proposer's own p,
 * and what the proposers' rates make of a pick. */
#define CLAIM_WEIGHT 10.0f
#define MIX_WEIGHT 8.0f

#define PRECISION_PRIOR 0.5f
#define PRECISION_WEIGHT 16.0f
#define PROBE_P 0.5f /* what a probe is let through with */

#define SIGHT_WINDOW 32.0f /* chunks needed: who loses his way is noticed */
#define SIGHT_MAX 0.9f     /* the best is late now and then */

/* A session whose fetches come true can afford doubtful ones; one that wastes
 * a third cannot, since extra bytes are limited.  Remembered for nearly all of
 * a session: what was saved up may be spent. */
#define TAKEN_HIGH 0.77f
#define TAKEN_LOW 0.65f
#define STRICTEST 0.7f /* then: from the link's floor to certainty */
#define TAKEN_WEIGHT 16.0f
#define TAKEN_WINDOW 2048.0f

#define KEEP 0.25f /* of a session's evidence, for the next one */

static uint32_t us(uint64_t ns)
{
	return (uint32_t)(ns / 1000);
}

/* --- what is known of a source --- */

static uint32_t bucket_of(float p)
{
	if (!(p > 0))
		return 0;
	return PFS_MIN((uint32_t)(p * (float)ARBITER_BUCKETS),
		       ARBITER_BUCKETS - 1);
}

/* What is known at p: of the two buckets whose middles it lies between, each as
 * far as it is near.  What p claims counts as `weight` trials. */
static float rate_at(const struct rate *bucket, float p, float claim,
		     float weight)
{
	float at = PFS_MAX(p * (float)ARBITER_BUCKETS - 0.5f, 0.0f);
	uint32_t i = PFS_MIN((uint32_t)at, ARBITER_BUCKETS - 2);
	float way = PFS_MIN(at - (float)i, 1.0f);
	struct rate r = {
		.came = bucket[i].came +
			way * (bucket[i + 1].came - bucket[i].came),
		.wrong = bucket[i].wrong +
			 way * (bucket[i + 1].wrong - bucket[i].wrong),
	};

	return rate_of(&r, claim, weight);
}

double board_precision(const struct board *b)
{
	return (double)rate_of(&b->precision, PRECISION_PRIOR,
			       PRECISION_WEIGHT);
}

bool board_is_off(const struct board *b)
{
	return board_precision(b) < (double)ARBITER_FLOOR;
}

/* --- what happens --- */

/* Mean over the last n, or over all while there are fewer. */
static void blend(float *mean, float x, uint32_t n_seen, float n)
{
	*mean += (x - *mean) / PFS_MIN((float)n_seen, n);
}

static void needed_by(struct arbiter *a, uint32_t source, uint64_t chunk,
		      uint64_t source_ns, uint64_t now)
{
	struct board *b = &a->boards.source[source];
	uint32_t ahead_us = 0;
	bool was_named =
		shadow_needed(&a->shadow[source], chunk, us(now), &ahead_us);
	float saved_ns = (float)PFS_MIN(ahead_us * 1000ull, source_ns);

	a->came[source] += was_named;
	b->coverage += ((float)was_named - b->coverage) / ARBITER_WINDOW;
	b->saved_ns += (saved_ns - b->saved_ns) / ARBITER_WINDOW;
	blend(&a->sight[source], saved_ns / (float)source_ns, a->n_needed,
	      SIGHT_WINDOW);
}

void arbiter_needed(struct arbiter *a, uint64_t chunk, uint64_t source_ns,
		    uint64_t now)
{
	uint32_t ahead_us;

	a->n_needed++;
	for (uint32_t i = 0; i < SOURCES; i++)
		needed_by(a, i, chunk, source_ns, now);
	shadow_needed(&a->shadow[MIX], chunk, us(now), &ahead_us);
}

void arbiter_evicted(struct arbiter *a, uint64_t chunk)
{
	for (uint32_t i = 0; i <= MIX; i++)
		shadow_evicted(&a->shadow[i], chunk);
}

/* A fetch in vain costs the link what a floor of 1 in 4 says: a third of what
 * one in time saves. */
void arbiter_age(struct arbiter *a, uint64_t source_ns, uint64_t now)
{
	for (uint32_t i = 0; i <= MIX; i++) {
		struct shadow *s = &a->shadow[i];

		shadow_age(s, a->n_needed, us(now));
		if (i != MIX)
			a->boards.source[i].saved_ns -= (float)source_ns / 3 *
							(float)s->n_lapsed /
							ARBITER_WINDOW;
		s->n_lapsed = 0;
	}
}

/* --- asking --- */

/* From the link's floor up. */
static float strict(const struct arbiter *a, float floor)
{
	float precision = rate_of(&a->boards.taken, TAKEN_LOW, TAKEN_WEIGHT);
	float low = (TAKEN_HIGH - precision) / (TAKEN_HIGH - TAKEN_LOW);

	low = PFS_MIN(low, 1.0f);
	low = PFS_MAX(low, 0.0f);
	return floor + low * (1.0f - floor) * STRICTEST;
}

void arbiter_begin(const struct arbiter *a, struct ballot *b, float floor)
{
	b->n = 0;
	b->floor = strict(a, floor);
	memset(b->slot, 0, sizeof(b->slot));
}

static struct pick *pick_of(struct ballot *b, uint64_t chunk)
{
	uint32_t i = (uint32_t)pfs_mix64(chunk) % PFS_ARRAY_SIZE(b->slot);

	for (; b->slot[i]; i = (i + 1) % PFS_ARRAY_SIZE(b->slot))
		if (b->pick[b->slot[i] - 1].chunk == chunk)
			return &b->pick[b->slot[i] - 1];
	b->pick[b->n] = (struct pick){.chunk = chunk,
				      .miss = 1.0f,
				      .said = 1.0f,
				      .distance = UINT32_MAX};
	b->slot[i] = (uint16_t)++b->n;
	return &b->pick[b->n - 1];
}

/* A trial is void when a fetch would bring nothing. */
static struct trial *try(struct arbiter *a, struct ballot *b, uint32_t source,
			 const struct candidate *c, uint64_t now)
{
	uint32_t bucket = bucket_of(c->p);
	struct shadow *s = &a->shadow[source];
	struct trial *t = shadow_find(s, c->chunk, bucket);

	if (!t) {
		t = shadow_add(s, c->chunk, a->n_needed + c->distance, us(now));
		if (b->is_worth(b->arg, c->chunk)) {
			a->proposed[source]++;
			t->is_believed =
				++a->n_named[source] % ARBITER_PROBE == 0;
		} else {
			t->state = TRIAL_VOID;
		}
	}
	t->cells |= 1ull << bucket;
	return t;
}

static void vote(struct pick *k, const struct candidate *c, uint32_t source,
		 float p)
{
	k->miss *= 1.0f - p;
	k->said *= 1.0f - PFS_MIN(c->p, 1.0f);
	k->distance = PFS_MIN(k->distance, c->distance);
	k->proposers |= 1u << source;
}

void arbiter_hear(struct arbiter *a, struct ballot *b, uint32_t source,
		  const struct candidate *c, uint32_t n, uint64_t now)
{
	const struct board *board = &a->boards.source[source];
	bool is_off = board_is_off(board);

	for (uint32_t i = 0; i < n; i++) {
		struct trial *t = try(a, b, source, &c[i], now);
		float said = PFS_MIN(c[i].p, 1.0f);
		float p = rate_at(board->bucket, said, said, CLAIM_WEIGHT);
		bool is_probe = t->is_believed;

		if (t->state == TRIAL_VOID)
			continue;
		if (p >= b->floor)
			t->is_believed = true;
		if (is_off && is_probe)
			p = PFS_MAX(p, PROBE_P);
		if (!is_off || is_probe)
			vote(pick_of(b, c[i].chunk), &c[i], source, p);
	}
}

/* Its first of the mix's cells.  Who is wrong on purpose has none of his own.
 */
static uint32_t cells_of(const struct pick *k)
{
	uint32_t who = k->proposers & ((1u << PFS_PROPOSER_N) - 1);

	return who * ARBITER_BUCKETS;
}

/* The odds of p, times the chance that the silent ones would miss it. */
static float worth(const struct arbiter *a, const struct pick *k)
{
	float odds = k->p / PFS_MAX(1.0f - k->p, 0.001f);

	for (uint32_t i = 0; i < SOURCES; i++)
		if (!(k->proposers & 1u << i))
			odds *= 1.0f - SIGHT_MAX * a->sight[i];
	return odds / (1.0f + odds);
}

void arbiter_mix(struct arbiter *a, struct ballot *b, uint64_t now)
{
	struct shadow *s = &a->shadow[MIX];

	for (uint32_t i = 0; i < b->n; i++) {
		struct pick *k = &b->pick[i];
		float said = 1.0f - k->said;
		uint32_t cells = cells_of(k), cell = cells + bucket_of(said);
		struct trial *t = shadow_find(s, k->chunk, cell);

		if (!t)
			t = shadow_add(s, k->chunk, a->n_needed + k->distance,
				       us(now));
		t->cells |= 1ull << cell;
		k->p = rate_at(&a->boards.mix[cells], said, 1.0f - k->miss,
			       MIX_WEIGHT);
		k->worth = worth(a, k);
		if (k->worth >= b->floor)
			t->is_believed = true;
	}
}

/* --- a session's share in what the image knows --- */

/* Each shadow counts into the boards beside it. */
static void join(struct arbiter *a)
{
	for (uint32_t i = 0; i < SOURCES; i++) {
		struct board *b = &a->boards.source[i];

		a->shadow[i].cell = b->bucket;
		a->shadow[i].precision = &b->precision;
		a->shadow[i].cell_window = ARBITER_WINDOW;
		a->shadow[i].precision_window = ARBITER_WINDOW;
	}
	a->shadow[MIX].cell = a->boards.mix;
	a->shadow[MIX].precision = &a->boards.taken;
	a->shadow[MIX].cell_window = ARBITER_WINDOW;
	a->shadow[MIX].precision_window = TAKEN_WINDOW;
}

int arbiter_init(struct arbiter *a, const struct boards *boards)
{
	*a = (struct arbiter){.boards = *boards};
	for (uint32_t i = 0; i <= MIX; i++) {
		uint32_t size = i == MIX ? MIX_TRIALS : SOURCE_TRIALS;

		if (shadow_init(&a->shadow[i], size) != 0) {
			arbiter_fini(a);
			return -ENOMEM;
		}
	}
	join(a);
	return 0;
}

void arbiter_renew(struct arbiter *a, const struct boards *boards)
{
	struct arbiter fresh = {.boards = *boards};

	for (uint32_t i = 0; i <= MIX; i++)
		shadow_renew(&a->shadow[i]);
	memcpy(fresh.shadow, a->shadow, sizeof(fresh.shadow));
	*a = fresh;
	join(a);
}

void arbiter_fini(struct arbiter *a)
{
	for (uint32_t i = 0; i <= MIX; i++)
		shadow_fini(&a->shadow[i]);
}

static void shrink(struct rate *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		r[i].came *= KEEP;
		r[i].wrong *= KEEP;
	}
}

void arbiter_teach(const struct arbiter *a, struct boards *boards)
{
	*boards = a->boards;
	for (uint32_t i = 0; i < SOURCES; i++) {
		shrink(boards->source[i].bucket, ARBITER_BUCKETS);
		shrink(&boards->source[i].precision, 1);
	}
	shrink(boards->mix, ARBITER_CELLS);
	shrink(&boards->taken, 1);
}
