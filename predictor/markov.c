/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Proposer "markov": what has followed here before.
 *
 * Five kinds of context are learned as touches come, so that a second pass
 * over something new already profits:
 *   the last one or two chunks that the session touched for the first time,
 *   the last two chunks of the stream,
 *   the last one or two steps of the stream, as distances.
 * The first kind repeats exactly when a boot does, the second survives several
 * readers and serves reads that come again, the third works where nobody has
 * been.  As in PPM the coarse ones are asked only if the fine ones know
 * nothing: distances if no chunk context is sure.
 *
 * How often a follower of its kind, frequency and share really came within
 * the next touches is counted, and that is its confidence; before anything was
 * counted it is a guess that grows with the share.  Chains follow the likeliest
 * follower of the likeliest follower, with the product of the confidences.
 */
#include "markov.h"

#include <string.h>

#include <pfs/hash.h>

#define SEEN_AT_START 8.0f
#define SEEN_MAX 128.0f /* then both are halved */

/* --- images and sessions --- */

static void rates_init(struct markov_image *img)
{
	/* Of what a single sight of a context promises. */
	static const float worth[KINDS] = {
		[FIRST_1] = 0.8f, [FIRST_2] = 0.9f, [STREAM_2] = 0.8f,
		[DELTA_1] = 0.3f, [DELTA_2] = 0.4f,
	};

	for (uint32_t k = 0; k < KINDS; k++)
		for (uint32_t f = 0; f < FREQUENCIES; f++)
			for (uint32_t s = 0; s < SHARES; s++)
				img->rate[k][f][s] = (struct markov_rate){
					.seen = SEEN_AT_START,
					.came = SEEN_AT_START * worth[k] *
						((float)s + 1) / SHARES,
				};
}

static int image_create(const struct learning_config *cfg, void **image)
{
	struct markov_image *img = calloc(1, sizeof(*img));
	int err;

	if (!img)
		return -ENOMEM;
	err = transitions_init(&img->transitions);
	if (err) {
		free(img);
		return err;
	}
	img->n_chunks = cfg->n_chunks;
	rates_init(img);
	*image = img;
	return 0;
}

static void image_destroy(void *image)
{
	struct markov_image *img = image;

	if (!img)
		return;
	transitions_fini(&img->transitions);
	free(img);
}

static size_t memory(const void *image)
{
	const struct markov_image *img = image;

	return sizeof(*img) + transitions_memory(&img->transitions) +
	       img->n_sessions * sizeof(struct markov_session);
}

static void reader_init(struct markov_reader *r)
{
	*r = (struct markov_reader){.chunk = {NOWHERE, NOWHERE}};
}

static int session_create(void *image, uint64_t vm, void **session)
{
	struct markov_session *s = calloc(1, sizeof(*s));

	(void)vm;
	if (!s)
		return -ENOMEM;
	s->image = image;
	s->image->n_sessions++;
	s->latest = NOWHERE;
	s->first = (struct markov_pair){NOWHERE, NOWHERE};
	for (uint32_t i = 0; i < STREAMS_MAX; i++)
		reader_init(&s->reader[i]);
	memset(s->guessed, 0xff, sizeof(s->guessed));
	*session = s;
	return 0;
}

static void session_destroy(void *session)
{
	struct markov_session *s = session;

	s->image->n_sessions--;
	free(s);
}

/* --- contexts --- */

uint64_t markov_context(enum markov_kind kind, uint64_t last, uint64_t before)
{
	return pfs_mix64(last * KINDS + kind) + before;
}

/* The context of a kind right now; false: there is none yet. */
bool markov_context_now(const struct markov_session *s, enum markov_kind kind,
			const struct markov_reader *r, uint64_t *out)
{
	bool is_there = false;

	switch (kind) {
	case FIRST_1:
		is_there = s->first.last != NOWHERE;
		*out = markov_context(kind, s->first.last, 0);
		break;
	case FIRST_2:
		is_there = s->first.before != NOWHERE;
		*out = markov_context(kind, s->first.last, s->first.before);
		break;
	case STREAM_2:
		is_there = r->chunk.before != NOWHERE;
		*out = markov_context(kind, r->chunk.last, r->chunk.before);
		break;
	case DELTA_1:
		is_there = r->step;
		*out = markov_context(kind, (uint64_t)r->step, 0);
		break;
	case DELTA_2:
		is_there = r->step_before;
		*out = markov_context(kind, (uint64_t)r->step,
				      (uint64_t)r->step_before);
		break;
	case KINDS:
		break;
	}
	return is_there;
}

/* --- confidence --- */

static uint32_t frequency_class(uint32_t total)
{
	return total == 1 ? 0 : total <= 3 ? 1 : total <= 8 ? 2 : 3;
}

static struct markov_rate *rate_of(struct markov_image *img,
				   enum markov_kind kind,
				   const struct followers *f, uint32_t i)
{
	uint32_t share = f->at[i].count * SHARES / (f->total + 1);

	return &img->rate[kind][frequency_class(f->total)][share];
}

float markov_confidence(struct markov_image *img, enum markov_kind kind,
			const struct followers *f, uint32_t i)
{
	const struct markov_rate *r = rate_of(img, kind, f, i);

	return r->came / r->seen;
}

static void count(struct markov_rate *r, bool came)
{
	if (r->seen >= SEEN_MAX) {
		r->seen /= 2;
		r->came /= 2;
	}
	r->seen++;
	r->came += came ? 1 : 0;
}

static void settle_guesses(struct markov_session *s, uint64_t chunk)
{
	for (uint32_t i = 0; i < GUESSES; i++)
		if (s->guessed[i] == chunk) {
			count(s->guess_rate[i], true);
			s->guessed[i] = NOWHERE;
		}
}

static void guess(struct markov_session *s, uint64_t chunk,
		  struct markov_rate *r)
{
	uint32_t i = s->n_guesses++ % GUESSES;

	if (s->guessed[i] != NOWHERE)
		count(s->guess_rate[i], false);
	s->guessed[i] = chunk;
	s->guess_rate[i] = r;
}

/* --- observing --- */

static bool is_delta(enum markov_kind kind)
{
	return kind == DELTA_1 || kind == DELTA_2;
}

static bool is_first_kind(enum markov_kind kind)
{
	return kind == FIRST_1 || kind == FIRST_2;
}

static void learn(struct markov_session *s, const struct markov_reader *r,
		  const struct touch *t)
{
	for (enum markov_kind k = 0; k < KINDS; k++) {
		uint64_t ctx, next = t->chunk;

		if (is_first_kind(k) && !t->is_first)
			continue;
		if (!markov_context_now(s, k, r, &ctx))
			continue;
		if (is_delta(k))
			next -= r->chunk.last;
		transitions_learn(&s->image->transitions, ctx, next);
	}
}

/* Look up what follows now, and see whether it will.  What has not moved was
 * looked up before. */
static void look(struct markov_session *s, const struct markov_reader *r,
		 const struct touch *t)
{
	for (enum markov_kind k = 0; k < KINDS; k++) {
		struct followers *f = &s->now[k];
		uint64_t ctx;

		if (is_first_kind(k) && !t->is_first)
			continue;
		f->n = 0;
		if (!markov_context_now(s, k, r, &ctx))
			continue;
		transitions_find(&s->image->transitions, ctx, f);
		if (f->n)
			guess(s, f->at[0].next + (is_delta(k) ? t->chunk : 0),
			      rate_of(s->image, k, f, 0));
	}
}

static void advance(struct markov_session *s, struct markov_reader *r,
		    const struct touch *t)
{
	if (t->is_first)
		s->first = (struct markov_pair){t->chunk, s->first.last};
	if (r->chunk.last != NOWHERE) {
		r->step_before = r->step;
		r->step = (int64_t)(t->chunk - r->chunk.last);
	}
	r->chunk = (struct markov_pair){t->chunk, r->chunk.last};
	s->latest = t->chunk;
	s->current = r;
}

/* Followers of two chunks if both are known together, else of the last. */
static enum markov_kind find_first(const struct markov_session *s,
				   struct markov_pair p, struct followers *out)
{
	const struct transitions *t = &s->image->transitions;

	out->n = 0;
	if (p.before != NOWHERE)
		transitions_find(t, markov_context(FIRST_2, p.last, p.before),
				 out);
	if (out->n)
		return FIRST_2;
	transitions_find(t, markov_context(FIRST_1, p.last, 0), out);
	return FIRST_1;
}

/* Go on from the end of the chain as far as it is likely enough. */
static void chain_extend(struct markov_session *s)
{
	struct markov_pair end = s->first;
	float p = 1;

	for (uint32_t i = 0; i < s->n_chain; i++) {
		p *= s->chain[i].p;
		end = (struct markov_pair){s->chain[i].chunk, end.last};
	}
	while (s->n_chain < CHAIN_MAX && p >= P_MIN) {
		struct markov_step *next = &s->chain[s->n_chain];
		struct followers f;
		enum markov_kind kind = find_first(s, end, &f);

		if (!f.n)
			break;
		*next = (struct markov_step){
			.chunk = f.at[0].next,
			.p = markov_confidence(s->image, kind, &f, 0)};
		p *= next->p;
		end = (struct markov_pair){next->chunk, end.last};
		s->n_chain++;
	}
}

/* A first touch: the chain moves up, or starts over.  It survives a chunk that
 * nobody has seen before. */
static void chain_advance(struct markov_session *s, uint64_t chunk)
{
	uint32_t i = 0;

	while (i < s->n_chain && s->chain[i].chunk != chunk)
		i++;
	if (i < s->n_chain) {
		s->n_chain -= i + 1;
		memmove(s->chain, s->chain + i + 1,
			s->n_chain * sizeof(*s->chain));
	} else if (s->now[FIRST_2].n || s->now[FIRST_1].n) {
		s->n_chain = 0;
	} else if (s->n_chain) {
		s->chain[0].p *= P_SURE;
	}
	chain_extend(s);
}

uint64_t *markov_written(struct markov_image *img, uint64_t chunk)
{
	return &img->written[pfs_mix64(chunk) % WRITTEN];
}

static void observe(void *session, const struct touch *t)
{
	struct markov_session *s = session;
	struct markov_reader *r = &s->reader[t->stream];
	uint64_t *written = markov_written(s->image, t->chunk);

	s->is_fresh = false;
	if (t->is_new_stream)
		reader_init(r);
	else if (t->chunk == s->latest || t->chunk == r->chunk.last)
		return;
	s->is_fresh = true;
	if (*written == t->chunk + 1)
		*written = 0;
	s->image->n_chunks = PFS_MAX(s->image->n_chunks, t->chunk + 1);
	settle_guesses(s, t->chunk);
	learn(s, r, t);
	advance(s, r, t);
	look(s, r, t);
	if (t->is_first)
		chain_advance(s, t->chunk);
}

/* The bytes it would bring are not those that were read then; a read makes it
 * eligible again. */
static void wrote(void *session, uint64_t first, uint64_t n, bool whole)
{
	struct markov_session *s = session;

	if (!whole)
		return;
	for (uint64_t c = n > WRITTEN ? first + n - WRITTEN : first;
	     c < first + n; c++)
		*markov_written(s->image, c) = c + 1;
}

const struct proposer proposer_markov = {
	.name = "markov",
	.image_create = image_create,
	.image_destroy = image_destroy,
	.session_create = session_create,
	.session_destroy = session_destroy,
	.observe = observe,
	.wrote = wrote,
	.propose = markov_propose,
	.memory = memory,
};
