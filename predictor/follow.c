/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "follow.h"

#include <math.h>
#include <string.h>

/* Reasons for the constants.  A session that repeats another confirms nearly
 * every touch, so trust starts high for alignments at the start of a recording
 * and is moved by a sixteenth: one odd step in a boot does no harm, a tail that
 * differs is noticed within a window.  A touch that happens to be in a
 * recording says little: such an alignment is followed in silence until two
 * more touches came close behind it, which by chance takes about
 * (steps / FOLLOW_CLOSE)^2 touches. */
#define TRUST_START 0.75f
#define TRUST_FOUND 0.5f
#define TRUST_STEP (1.0f / 16)
#define PROVEN_HITS 3u
#define FOLLOW_CLOSE 8u
/* Named again when so near, should the fetch have been dropped. */
#define RENAME_NEAR 4u
/* A way that is not twice as likely as not is named only UNSURE_WINDOW ahead:
 * of two recordings that part, neither is fetched for until a touch has
 * decided.  The same goes for a step by itself that is less likely than not. */
#define SURE (2.0f / 3)
#define LIKELY 0.5f
#define UNSURE_WINDOW 8u
#define REST 64u /* touches without a hit: its place may be taken */

/* Steps at which the chunk of the latest touch is, by recording. */
struct found {
	uint32_t at[PFS_RECORDINGS_MAX];
};

/* --- recordings --- */

static void begin(struct alignment *a, uint8_t rec, uint32_t next)
{
	*a = (struct alignment){
		.is_used = true,
		.rec = rec,
		.next = next,
		.named = next,
		.named_near = next,
		.swept = next,
		.window = FOLLOW_WINDOW_MIN,
	};
}

int follow_add(struct follow *f, struct recording *r, float weight,
	       bool is_trusted)
{
	uint32_t i = 0;
	struct followed *rec;

	while (i < PFS_RECORDINGS_MAX && f->rec[i].r)
		i++;
	if (i == PFS_RECORDINGS_MAX)
		return -ENOSPC;
	rec = &f->rec[i];
	*rec = (struct followed){.weight = weight, .is_trusted = is_trusted};
	rec->seen = calloc(r->n_steps / 64 + 1, sizeof(*rec->seen));
	if (!rec->seen)
		return -ENOMEM;
	rec->r = recording_get(r);
	begin(&f->align[i], (uint8_t)i, 0);
	f->align[i].n_hits = PROVEN_HITS;
	f->align[i].trust = TRUST_START;
	return 0;
}

void follow_trust(struct follow *f, const struct recording *r, bool is_trusted)
{
	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++) {
		struct followed *rec = &f->rec[i];

		if (rec->r != r || rec->is_trusted == is_trusted)
			continue;
		rec->is_trusted = is_trusted;
		rec->is_heard = false;
		rec->n_came = rec->n_gone = 0;
	}
}

static void forget(struct followed *rec)
{
	recording_put(rec->r);
	free(rec->seen);
	*rec = (struct followed){0};
}

void follow_remove(struct follow *f, const struct recording *r)
{
	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++) {
		if (f->rec[i].r != r)
			continue;
		forget(&f->rec[i]);
		for (uint32_t a = 0; a < FOLLOW_ALIGNMENTS; a++)
			if (f->align[a].rec == i)
				f->align[a].is_used = false;
	}
}

void follow_fini(struct follow *f)
{
	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++)
		forget(&f->rec[i]);
	*f = (struct follow){0};
}

size_t follow_memory(const struct follow *f)
{
	size_t n = 0;

	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++)
		if (f->rec[i].r)
			n += (f->rec[i].r->n_steps / 64 + 1) * sizeof(uint64_t);
	return n;
}

static bool is_seen(const struct followed *rec, uint32_t step)
{
	return rec->seen[step / 64] >> (step % 64) & 1;
}

/* --- touches --- */

static bool is_proven(const struct alignment *a)
{
	return a->n_hits >= PROVEN_HITS;
}

static bool is_near(const struct alignment *a, uint32_t at)
{
	uint32_t back = is_proven(a) ? FOLLOW_NEAR : 0;
	uint32_t ahead = is_proven(a) ? FOLLOW_NEAR : FOLLOW_CLOSE;

	return at != RECORDING_NONE && at + back >= a->next &&
	       at < a->next + ahead;
}

/* Steps that lie FOLLOW_NEAR behind and were not touched will not come. */
static void sweep(struct followed *rec, struct alignment *a)
{
	for (; a->swept + FOLLOW_NEAR < a->next; a->swept++) {
		/* One that is not read again needed no fetch. */
		if (is_seen(rec, a->swept) || rec->r->step[a->swept].again)
			continue;
		a->trust -= a->trust * TRUST_STEP *
			    recording_share(rec->r, a->swept);
		a->window -= (a->window - FOLLOW_WINDOW_MIN + 7) / 8;
		rec->n_gone += a->swept < a->named;
	}
}

/* The window doubles with each confirmation.  Touches since the last one that
 * nothing explained say that the session goes its own way: two halve it. */
static void widen(const struct follow *f, struct alignment *a)
{
	uint32_t explained = f->n_explained - a->explained;
	uint32_t strange = f->n_touches - a->touched - explained;

	a->window >>= PFS_MIN(strange / 2, 4u);
	a->window = PFS_MAX(a->window * 2, FOLLOW_WINDOW_MIN);
	a->window = PFS_MIN(a->window, FOLLOW_WINDOW_MAX);
}

static void confirm(struct follow *f, struct alignment *a, uint32_t at)
{
	struct followed *rec = &f->rec[a->rec];

	rec->n_came += at < a->named;
	a->n_hits++;
	widen(f, a);
	a->touched = f->n_touches;
	a->explained = f->n_explained;
	a->trust += (1 - a->trust) * TRUST_STEP;
	if (at >= a->next)
		a->next = at + 1;
	sweep(rec, a);
}

/* Two on one recording that explain the same touch are one: the younger
 * ends. */
static void join(struct follow *f, const bool *near, const struct alignment *a)
{
	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		struct alignment *b = &f->align[i];

		if (b != a && near[i] && b->rec == a->rec &&
		    b->n_hits <= a->n_hits)
			b->is_used = false;
	}
}

/* Where a new alignment may go: a free place, else the one longest without a
 * hit of those not proven, or proven but long at rest. */
static struct alignment *vacate(struct follow *f)
{
	struct alignment *best = NULL;

	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		struct alignment *a = &f->align[i];

		if (!a->is_used)
			return a;
		if (is_proven(a) && f->n_touches - a->touched < REST)
			continue;
		if (!best || a->touched < best->touched)
			best = a;
	}
	return best;
}

static void start(struct follow *f, uint8_t rec, uint32_t at)
{
	struct alignment *a = vacate(f);

	if (!a)
		return;
	begin(a, rec, at + 1);
	a->n_hits = 1;
	a->touched = f->n_touches;
	a->explained = f->n_explained;
	a->trust = TRUST_FOUND;
}

/* The first step with the chunk, or the first again that is to come. */
static uint32_t find_in(const struct followed *rec, uint32_t chunk,
			uint64_t hash, bool is_again)
{
	uint32_t at = recording_find(rec->r, chunk, 0, hash);

	for (uint8_t again = 1; is_again && again < UINT8_MAX; again++) {
		at = recording_find(rec->r, chunk, again,
				    recording_hash(chunk, again));
		if (at == RECORDING_NONE || !is_seen(rec, at))
			break;
	}
	return at;
}

static void find(struct follow *f, uint32_t chunk, bool is_again,
		 struct found *found)
{
	uint64_t hash = recording_hash(chunk, 0);

	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++) {
		struct followed *rec = &f->rec[i];
		uint32_t at = RECORDING_NONE;

		if (rec->r)
			at = find_in(rec, chunk, hash, is_again);
		if (at != RECORDING_NONE)
			rec->seen[at / 64] |= 1ull << (at % 64);
		found->at[i] = at;
	}
}

void follow_touch(struct follow *f, uint32_t chunk, bool is_again)
{
	struct found found;
	bool near[FOLLOW_ALIGNMENTS], is_explained = false;

	find(f, chunk, is_again, &found);
	f->n_touches++;
	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		struct alignment *a = &f->align[i];

		near[i] = a->is_used && is_near(a, found.at[a->rec]);
		is_explained |= near[i];
	}
	f->n_explained += is_explained;
	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		struct alignment *a = &f->align[i];

		if (!near[i] || !a->is_used)
			continue;
		confirm(f, a, found.at[a->rec]);
		join(f, near, a);
	}
	for (uint32_t i = 0; i < PFS_RECORDINGS_MAX && !is_explained; i++)
		if (found.at[i] != RECORDING_NONE)
			start(f, (uint8_t)i, found.at[i]);
}

bool follow_named_again(struct follow *f, uint32_t chunk)
{
	uint32_t n = PFS_MIN(f->n_again, FOLLOW_AGAIN);

	for (uint32_t i = 0; i < n; i++)
		if (f->again[i] == chunk) {
			f->again[i] = RECORDING_NONE;
			return true;
		}
	return false;
}

/* --- proposals --- */

/* How much an alignment's word counts beside others': less by half with each
 * touch that others explained since it did. */
static float weigh(const struct follow *f, const struct alignment *a)
{
	uint32_t lag = f->n_explained - a->explained;

	return f->rec[a->rec].weight * a->trust *
	       ldexpf(1, -(int)PFS_MIN(lag, 60u));
}

/* Does it expect a step like this one, now or later? */
static bool expects(const struct follow *f, const struct alignment *a,
		    const struct step *s, uint64_t hash)
{
	const struct followed *rec = &f->rec[a->rec];
	uint32_t at = recording_find(rec->r, s->chunk, s->again, hash);

	return at != RECORDING_NONE && at + FOLLOW_NEAR >= a->next;
}

/* The share of weight that is for a step, among the alignment that names it
 * and the rivals. */
static float agreement(const struct follow *f, const struct alignment *a,
		       const struct step *s)
{
	uint64_t hash = recording_hash(s->chunk, s->again);
	float for_it = weigh(f, a), all = for_it;

	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		const struct alignment *b = &f->align[i];
		float weight;

		if (!b->is_used || b->rec == a->rec || !is_proven(b) ||
		    !f->rec[b->rec].is_heard)
			continue;
		weight = weigh(f, b);
		all += weight;
		if (expects(f, b, s, hash))
			for_it += weight;
	}
	return all > 0 ? for_it / all : 0;
}

struct list {
	struct candidate *out;
	uint32_t n, max;
};

/* Insert by p; a chunk that is there already stays as it is. */
static void put(struct list *l, const struct candidate *c)
{
	uint32_t i;

	for (uint32_t k = 0; k < l->n; k++)
		if (l->out[k].chunk == c->chunk)
			return;
	if (l->n == l->max && l->out[l->n - 1].p >= c->p)
		return;
	if (l->n < l->max)
		l->n++;
	for (i = l->n - 1; i && l->out[i - 1].p < c->p; i--)
		l->out[i] = l->out[i - 1];
	l->out[i] = *c;
}

/* To be read again, and not yet read? */
static bool is_too_early(const struct followed *rec, const struct step *s)
{
	uint32_t at;

	if (!s->again)
		return false;
	at = recording_find(rec->r, s->chunk, 0, recording_hash(s->chunk, 0));
	return at != RECORDING_NONE && !is_seen(rec, at);
}

/* Name a step; false: the way is too unsure to go on that far. */
static bool name_step(struct follow *f, const struct alignment *a, uint32_t at,
		      struct list *l)
{
	const struct followed *rec = &f->rec[a->rec];
	const struct step *s = &rec->r->step[at];
	uint32_t distance = at < a->next ? 1 : at - a->next + 1;
	float way, p;

	if (is_seen(rec, at) || is_too_early(rec, s))
		return true;
	way = a->trust * agreement(f, a, s);
	p = way * recording_share(rec->r, at);
	if (way < SURE && distance > UNSURE_WINDOW)
		return false;
	if (!rec->is_heard || (p < LIKELY && distance > UNSURE_WINDOW))
		return true;
	put(l, &(struct candidate){s->chunk, p, distance});
	if (s->again)
		f->again[f->n_again++ % FOLLOW_AGAIN] = s->chunk;
	return true;
}

/* From near what was named before, then what the window has not reached yet;
 * steps that the session jumped over may still come. */
static void name_from(struct follow *f, struct alignment *a, struct list *l)
{
	const struct followed *rec = &f->rec[a->rec];
	uint32_t end = PFS_MIN(a->next + a->window, rec->r->n_steps);
	uint32_t near_end = PFS_MIN(a->next + RENAME_NEAR, a->named);
	uint32_t i = PFS_MAX(a->named_near, a->next);

	for (; i < near_end; i++)
		(void)name_step(f, a, i, l);
	a->named_near = PFS_MAX(a->named_near, a->next + RENAME_NEAR);
	if (a->named + FOLLOW_NEAR < a->next)
		a->named = a->next - FOLLOW_NEAR;
	while (a->named < end && name_step(f, a, a->named, l))
		a->named++;
}

/* Named steps that were passed over, but may still come. */
static uint32_t n_waiting(const struct follow *f, uint8_t i)
{
	const struct followed *rec = &f->rec[i];
	uint32_t n = 0;

	for (uint32_t k = 0; k < FOLLOW_ALIGNMENTS; k++) {
		const struct alignment *a = &f->align[k];
		uint32_t end = PFS_MIN(a->next, a->named);

		if (!a->is_used || a->rec != i)
			continue;
		for (uint32_t at = a->swept; at < end; at++)
			n += !is_seen(rec, at) && !rec->r->step[at].again;
	}
	return n;
}

static bool is_off_probation(const struct follow *f, uint8_t i)
{
	const struct followed *rec = &f->rec[i];
	uint32_t n_not = rec->n_gone + n_waiting(f, i);

	return rec->n_came + n_not >= FOLLOW_PROBES && rec->n_came >= n_not;
}

/* What it named in silence is named aloud once it is heard. */
static void hear(struct follow *f, uint8_t i)
{
	struct followed *rec = &f->rec[i];

	if (!rec->r || rec->is_heard)
		return;
	rec->is_heard = rec->is_trusted || is_off_probation(f, i);
	if (!rec->is_heard)
		return;
	for (uint32_t k = 0; k < FOLLOW_ALIGNMENTS; k++)
		if (f->align[k].rec == i)
			f->align[k].named = f->align[k].next;
}

uint32_t follow_propose(struct follow *f, struct candidate *out, uint32_t max)
{
	struct list l = {.out = out, .max = max};

	for (uint8_t i = 0; i < PFS_RECORDINGS_MAX; i++)
		hear(f, i);
	for (uint32_t i = 0; i < FOLLOW_ALIGNMENTS; i++) {
		struct alignment *a = &f->align[i];

		if (a->is_used && a->touched > f->n_proposed && is_proven(a))
			name_from(f, a, &l);
	}
	f->n_proposed = f->n_touches;
	return l.n;
}
