/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "candidates.h"
#include "markov.h"

#define STREAM_STEPS 8u /* ahead of a stream */
#define DELTA_STEPS 4u

struct list {
	struct candidate *at;
	uint32_t n, max;
};

/* The best word on each chunk counts. */
static void name(struct markov_session *s, struct list *l, uint64_t chunk,
		 float p, uint32_t distance)
{
	struct candidate *known;

	if (p < P_MIN || chunk >= s->image->n_chunks || chunk == s->latest ||
	    *markov_written(s->image, chunk) == chunk + 1)
		return;
	known = candidates_find(l->at, l->n, chunk);
	if (known)
		known->p = PFS_MAX(known->p, p);
	else if (l->n < l->max)
		l->at[l->n++] = (struct candidate){
			.chunk = chunk, .p = p, .distance = distance};
}

/* All followers of a context at `base`, each p times as likely as there. */
static void name_all(struct markov_session *s, struct list *l,
		     enum markov_kind kind, const struct followers *f,
		     uint64_t base, float p, uint32_t distance)
{
	for (uint32_t i = 0; i < f->n; i++)
		name(s, l, base + f->at[i].next,
		     p * markov_confidence(s->image, kind, f, i), distance);
}

static void propose_chain(struct markov_session *s, struct list *l)
{
	enum markov_kind kind = s->now[FIRST_2].n ? FIRST_2 : FIRST_1;
	float p = 1;

	for (uint32_t i = 0; i < s->n_chain; i++) {
		p *= s->chain[i].p;
		name(s, l, s->chain[i].chunk, p, i + 1);
	}
	name_all(s, l, kind, &s->now[kind], 0, 1, 1);
}

static void propose_stream(struct markov_session *s, struct list *l)
{
	struct markov_pair p = s->current->chunk;
	struct followers f = s->now[STREAM_2];
	float chance = 1;

	for (uint32_t i = 1; i <= STREAM_STEPS && f.n; i++) {
		name_all(s, l, STREAM_2, &f, 0, chance, i);
		chance *= markov_confidence(s->image, STREAM_2, &f, 0);
		if (chance < P_MIN)
			break;
		p = (struct markov_pair){f.at[0].next, p.last};
		transitions_find(&s->image->transitions,
				 markov_context(STREAM_2, p.last, p.before),
				 &f);
	}
}

/* The steps after two steps if both are known together, else after the last. */
static enum markov_kind find_delta(const struct markov_session *s,
				   const struct markov_reader *r,
				   struct followers *out)
{
	const struct transitions *t = &s->image->transitions;
	uint64_t ctx;

	out->n = 0;
	if (markov_context_now(s, DELTA_2, r, &ctx))
		transitions_find(t, ctx, out);
	if (out->n)
		return DELTA_2;
	if (markov_context_now(s, DELTA_1, r, &ctx))
		transitions_find(t, ctx, out);
	return DELTA_1;
}

static void propose_delta(struct markov_session *s, struct list *l)
{
	enum markov_kind kind = s->now[DELTA_2].n ? DELTA_2 : DELTA_1;
	struct followers f = s->now[kind];
	struct markov_reader r = *s->current;
	float chance = 1;

	for (uint32_t i = 1; i <= DELTA_STEPS && f.n; i++) {
		name_all(s, l, kind, &f, r.chunk.last, chance, i);
		chance *= markov_confidence(s->image, kind, &f, 0);
		if (chance < P_MIN)
			break;
		r.step_before = r.step;
		r.step = (int64_t)f.at[0].next;
		r.chunk.last += f.at[0].next;
		kind = find_delta(s, &r, &f);
	}
}

uint32_t markov_propose(void *session, struct candidate *out, uint32_t max)
{
	struct markov_session *s = session;
	struct list l = {.at = out, .max = max};
	float best = 0;

	if (!s->is_fresh)
		return 0;
	propose_chain(s, &l);
	propose_stream(s, &l);
	for (uint32_t i = 0; i < l.n; i++)
		best = PFS_MAX(best, out[i].p);
	if (best < P_SURE)
		propose_delta(s, &l);
	candidates_sort(out, l.n);
	return l.n;
}
