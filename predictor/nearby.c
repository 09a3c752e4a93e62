/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nearby.h"

#include <math.h>

#define REACH NEARBY_REACH
#define RATE 0.001f     /* of learning, per fact */
#define WEIGHT_MAX 8.0f /* e^-(8 * 8) is still a float */

#define NO_SIZE 5u /* after the classes of request sizes */
#define WAYS 4u    /* classes of ways from one request to the next */
#define LEAP_MAX 32

/* Where a chunk that may be proposed lies in a window of 64: 24 before it and
 * 24 behind it must be in there too. */
#define MARGIN 24u

void nearby_learned_init(struct nearby_learned *l)
{
	for (uint32_t f = 0; f < NEARBY_FACTS; f++)
		for (uint32_t c = 0; c < NEARBY_CODES; c++)
			l->weight[f][c] = (float)nearby_start[f][c] / 16;
}

int nearby_init(struct nearby *n, struct nearby_learned *l)
{
	*n = (struct nearby){.learned = l};
	for (uint32_t i = 0; i < STREAMS_MAX; i++)
		n->reader[i].size = NO_SIZE;
	return touched_init(&n->touched);
}

void nearby_fini(struct nearby *n)
{
	touched_fini(&n->touched);
}

/* --- facts --- */

/* All that the facts of the chunks on one side of a request share. */
struct side {
	struct touched_window window;
	uint32_t request, run, before;
	int64_t leap; /* of the reader to this request, away from the side */
};

static uint32_t size_class(uint64_t bytes)
{
	return bytes <= PFS_KIB(4)    ? 0
	       : bytes <= PFS_KIB(16) ? 1
	       : bytes <= PFS_KIB(64) ? 2
	       : bytes < PFS_KIB(128) ? 3
				      : 4;
}

static uint32_t run_class(uint64_t bytes)
{
	return bytes <= PFS_KIB(128)   ? 0
	       : bytes <= PFS_KIB(256) ? 1
	       : bytes <= PFS_MIB(1)   ? 2
	       : bytes <= PFS_MIB(4)   ? 3
				       : 4;
}

static uint32_t way_class(int64_t delta)
{
	return delta == 0                        ? 0
	       : delta > 0 && delta <= LEAP_MAX  ? 1
	       : delta < 0 && delta >= -LEAP_MAX ? 2
						 : 3;
}

/* 0 untouched, 1 fresh, 2 touched longer ago. */
static uint32_t state(const struct touched_window *w, uint32_t bit)
{
	if (w->fresh >> bit & 1)
		return 1;
	return w->kept >> bit & 1 ? 2 : 0;
}

static uint32_t ones(uint64_t bits, uint32_t low, uint32_t n)
{
	return (uint32_t)__builtin_popcountll(bits >> low & ((1ull << n) - 1));
}

/* The facts of the chunk `d` away on a side, `bit` in the side's window. */
static struct nearby_facts facts_of(const struct side *s, uint32_t bit,
				    uint32_t d, bool is_behind)
{
	uint32_t step = PFS_MIN(d, 5u);
	uint32_t run = !is_behind ? 0 : d <= 2 ? 1 : 2;
	uint32_t between = 0;

	if (s->leap > (int64_t)d)
		between = is_behind ? 3 : 1 + (s->run > 0);
	return (struct nearby_facts){
		.code = {
			[NEARBY_REQUEST] =
				(uint8_t)(s->request * 10 +
					  (is_behind ? 4 + step : 5 - step)),
			[NEARBY_RUN] = (uint8_t)(s->run * 3 + run),
			[NEARBY_BESIDE] =
				(uint8_t)(state(&s->window, bit - 1) +
					  3 * state(&s->window, bit + 1)),
			[NEARBY_BEYOND] =
				(uint8_t)(state(&s->window, bit - 2) +
					  3 * state(&s->window, bit + 2)),
			[NEARBY_RECENT] = (uint8_t)PFS_MIN(
				ones(s->window.fresh, bit - 16, 33), 15u),
			[NEARBY_FAR] =
				(uint8_t)((ones(s->window.kept, bit - 24, 16) +
					   ones(s->window.kept, bit + 9, 16)) /
					  4),
			[NEARBY_BETWEEN] = (uint8_t)between,
			[NEARBY_BEFORE] =
				(uint8_t)(s->before + (is_behind ? WAYS : 0)),
		}};
}

/* --- learning --- */

static float chance(const struct nearby_learned *l,
		    const struct nearby_facts *f)
{
	float odds = 0;

	for (uint32_t i = 0; i < NEARBY_FACTS; i++)
		odds += l->weight[i][f->code[i]];
	return 1 / (1 + expf(-odds));
}

/* One step down the gradient of the cross entropy. */
static void learn(struct nearby_learned *l, const struct nearby_facts *f,
		  bool is_right)
{
	float step = RATE * ((is_right ? 1.0f : 0.0f) - chance(l, f));

	for (uint32_t i = 0; i < NEARBY_FACTS; i++) {
		float *w = &l->weight[i][f->code[i]];

		*w = fmaxf(fminf(*w + step, WEIGHT_MAX), -WEIGHT_MAX);
	}
}

static void settle(struct nearby *n, struct nearby_outcome *o)
{
	for (uint32_t i = 0; i < NEARBY_MAX; i++)
		if (o->asked >> i & 1)
			learn(n->learned, &o->facts[i], o->came >> i & 1);
	o->asked = 0;
}

/* A chunk was touched for the first time: it came true wherever it was
 * asked. */
static void came(struct nearby *n, uint64_t chunk)
{
	for (uint32_t i = 0; i < NEARBY_OPEN; i++) {
		uint64_t at = chunk - n->span[i].from;

		if (at < REACH)
			n->outcome[i].came |= (uint16_t)(1u << at);
		else if (at < n->span[i].n && n->span[i].n - at <= REACH)
			n->outcome[i].came |=
				(uint16_t)(1u
					   << (NEARBY_MAX + at - n->span[i].n));
	}
}

/* --- a request --- */

static struct side side_of(const struct nearby *n, int64_t window_first,
			   int64_t leap)
{
	const struct nearby_request *r = &n->request;
	const struct nearby_reader *reader = &n->reader[r->stream];

	return (struct side){
		.window = touched_window(&n->touched, window_first),
		.request = size_class(r->bytes) * WAYS + way_class(r->delta),
		.run = run_class(reader->on_end),
		.before = reader->size * 2 * WAYS + way_class(r->delta),
		.leap = leap <= LEAP_MAX ? leap : 0,
	};
}

/* Ask for the untouched chunks around a request with news. */
static void ask(struct nearby *n)
{
	const struct nearby_request *r = &n->request;
	uint32_t slot = n->n_requests++ % NEARBY_OPEN;
	struct nearby_outcome *o = &n->outcome[slot];
	struct side before = side_of(
		n, (int64_t)r->first - (int64_t)(REACH + MARGIN), r->delta);
	struct side behind =
		side_of(n, (int64_t)r->last + 1 - (int64_t)MARGIN, -r->delta);

	settle(n, o);
	n->span[slot] = (struct nearby_span){
		r->first - REACH, r->last - r->first + 1 + NEARBY_MAX};
	o->came = 0;
	for (uint32_t i = 0; i < REACH; i++) {
		uint32_t bit = MARGIN + i;

		if (!state(&before.window, bit) && r->first + i >= REACH) {
			o->asked |= (uint16_t)(1u << i);
			o->facts[i] = facts_of(&before, bit, REACH - i, false);
		}
		if (!state(&behind.window, bit)) {
			o->asked |= (uint16_t)(1u << (REACH + i));
			o->facts[REACH + i] =
				facts_of(&behind, bit, i + 1, true);
		}
	}
}

static void request_begin(struct nearby *n, const struct touch *t)
{
	n->request = (struct nearby_request){
		.first = t->chunk,
		.delta = t->delta == DELTA_NONE ? 0 : t->delta,
		.stream = t->stream,
		.is_new_stream = t->is_new_stream,
		.is_under_way = true,
	};
}

static void request_end(struct nearby *n)
{
	struct nearby_request *r = &n->request;
	struct nearby_reader *reader = &n->reader[r->stream];

	if (r->is_new_stream)
		*reader = (struct nearby_reader){.size = NO_SIZE};
	if (r->delta != 0 && r->delta != 1)
		reader->on_end = 0;
	reader->on_end += r->bytes;
	n->is_fresh = r->has_news;
	if (r->has_news)
		ask(n);
	reader->size = (uint8_t)size_class(r->bytes);
	r->is_under_way = false;
}

void nearby_observe(struct nearby *n, const struct touch *t)
{
	struct nearby_request *r = &n->request;

	if (!r->is_under_way)
		request_begin(n, t);
	r->last = t->chunk;
	r->bytes += t->len;
	n->is_fresh = false;
	if (touched_add(&n->touched, t->chunk, t->outcome == PFS_ACCESS_MISS)) {
		r->has_news = true;
		came(n, t->chunk);
	}
	if (t->is_last)
		request_end(n);
}

uint32_t nearby_propose(const struct nearby *n, struct candidate *out)
{
	uint32_t slot = (n->n_requests - 1) % NEARBY_OPEN, n_out = 0;
	const struct nearby_outcome *o = &n->outcome[slot];
	const struct nearby_span *s = &n->span[slot];

	if (!n->is_fresh)
		return 0;
	for (uint32_t i = 0; i < NEARBY_MAX; i++) {
		bool is_behind = i >= REACH;

		if (!(o->asked >> i & 1))
			continue;
		out[n_out++] = (struct candidate){
			.chunk = s->from + i +
				 (is_behind ? s->n - NEARBY_MAX : 0),
			.p = chance(n->learned, &o->facts[i]),
			.distance = NEARBY_WHEN,
		};
	}
	return n_out;
}
