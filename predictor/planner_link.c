/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The window is steered by delay, as in TCP Vegas and LEDBAT (RFC 6817): by
 * the shortest wait of each round, so that single slow fetches count for
 * nothing.
 */
#include "planner_link.h"

#include <math.h>
#include <string.h>

#define WINDOW_START PFS_MIB(2)
#define WINDOW_MAX (PFS_PREFETCH_FLIGHT_MAX * PFS_PREFETCH_MAX)
#define FIRST_ORDER PFS_KIB(256) /* of a size that was not tried yet */

/* Waits as parts of the base. */
#define WAIT_GROW 0.2
#define WAIT_SHRINK 0.4
#define WAIT_SLACK_NS (500 * 1000ull) /* what is noise anyway */
#define ROUND_MIN 2u /* fetches; one may have been slow by itself */
#define SHRINK 0.7
#define GROW_PART 16u /* of the window, once it was full */

#define BEST_NS (15 * PFS_NSEC_PER_SEC)
#define STALE_NS (60 * PFS_NSEC_PER_SEC)
#define LOAD_NS (250 * PFS_NSEC_PER_MSEC)

/* A demand read takes so many times as long because of us: less, or none. */
#define DEMAND_SHRINK 1.5
#define DEMAND_PAUSE 3.0
#define PAUSE_BASES 4u
#define PAUSE_MAX_NS PFS_NSEC_PER_SEC

void link_init(struct link *lk, uint32_t chunk)
{
	*lk = (struct link){.chunk = chunk,
			    .window = PFS_MAX(WINDOW_START, (uint64_t)chunk)};
}

static uint64_t mean(uint64_t was, uint64_t x, uint32_t n)
{
	return was ? was - was / n + x / n : x;
}

/* --- base --- */

static uint32_t class_of(uint32_t n_chunks)
{
	uint32_t c = 0;

	while (c + 1 < LINK_CLASSES && 1u << c < n_chunks)
		c++;
	return c;
}

static double best_rate(const struct link *lk)
{
	return PFS_MAX(lk->best, lk->best_before);
}

/* The smallest size that was fetched alone; NULL: none was. */
static const struct delay *smallest(const struct link *lk)
{
	for (const struct delay *d = lk->delay; d < lk->delay + LINK_CLASSES;
	     d++)
		if (d->alone)
			return d;
	return NULL;
}

/* Of what was alone, unless even with others it takes less by now. */
static uint64_t learned(const struct delay *d)
{
	return PFS_MIN(d->alone, d->any);
}

/* Of the smallest size known; 0: none is. */
static uint64_t shortest(const struct link *lk)
{
	const struct delay *d = smallest(lk);

	return d ? learned(d) : 0;
}

/* What n chunks take.  If so many were never fetched alone: as long as the
 * smallest size does and the transfer of the rest. */
static uint64_t base(const struct link *lk, uint32_t n)
{
	const struct delay *d = &lk->delay[class_of(n)], *s = smallest(lk);
	uint64_t guess;
	double rest;

	if (!s || d->alone)
		return s ? learned(d) : d->any;
	guess = learned(s);
	if (d > s && best_rate(lk) > 0) {
		rest = (double)n - (double)(1u << (s - lk->delay));
		guess += (uint64_t)(rest * lk->chunk *
				    (double)PFS_NSEC_PER_SEC / best_rate(lk));
	}
	return d->any ? PFS_MIN(d->any, guess) : guess;
}

static void note_delay(struct delay *d, uint64_t latency_ns, bool is_alone,
		       uint64_t now)
{
	if (now - d->seen_ns > STALE_NS)
		*d = (struct delay){0};
	d->seen_ns = now;
	d->any = mean(d->any, latency_ns, 16);
	if (is_alone)
		d->alone = mean(d->alone, latency_ns, 8);
}

/* --- window --- */

static void shrink(struct link *lk, uint64_t latency_ns, uint64_t now)
{
	uint64_t window = (uint64_t)((double)lk->window * SHRINK);

	lk->window = PFS_MAX(window, (uint64_t)lk->chunk);
	lk->is_full = true;
	lk->full_ns = now;
	/* What is in flight now says nothing about the new window. */
	lk->round_ns = now + latency_ns;
}

static void grow(struct link *lk)
{
	uint64_t part = PFS_MAX(lk->window / GROW_PART, (uint64_t)lk->chunk);
	uint64_t more = lk->round_bytes;

	if (lk->most < lk->window / 2)
		return; /* it was not the window that held us back */
	if (lk->is_full)
		more = PFS_MIN(more, part);
	lk->window = PFS_MIN(lk->window + more, WINDOW_MAX);
}

static void end_round(struct link *lk, uint64_t latency_ns, uint64_t now)
{
	double shortest_ns = (double)shortest(lk);
	double wait = (double)lk->round_wait_ns - (double)WAIT_SLACK_NS;

	lk->round_ns = now;
	if (wait > WAIT_SHRINK * shortest_ns)
		shrink(lk, latency_ns, now);
	else if (wait < WAIT_GROW * shortest_ns)
		grow(lk);
	lk->most = lk->in_flight;
	lk->round_n = 0;
	lk->round_bytes = 0;
}

static void note_round(struct link *lk, uint64_t n_bytes, uint64_t wait_ns,
		       uint64_t latency_ns, uint64_t now)
{
	if (now < lk->round_ns)
		return;
	if (!lk->round_n++ || wait_ns < lk->round_wait_ns)
		lk->round_wait_ns = wait_ns;
	lk->round_bytes += n_bytes;
	if (lk->round_n >= ROUND_MIN && now - lk->round_ns >= shortest(lk))
		end_round(lk, latency_ns, now);
}

/* --- throughput --- */

/* So many bytes came while one fetch was under way. */
static void note_rate(struct link *lk, uint64_t n_bytes, uint64_t ns,
		      uint64_t now)
{
	double rate = (double)n_bytes * (double)PFS_NSEC_PER_SEC / (double)ns;

	if (ns < shortest(lk) / 2)
		return; /* out of somebody's cache */
	if (now - lk->best_ns >= BEST_NS) {
		lk->best_before = lk->best;
		lk->best = 0;
		lk->best_ns = now;
	}
	lk->best = PFS_MAX(lk->best, rate);
}

static double decay(const struct link *lk, uint64_t now)
{
	return exp(-(double)(now - lk->demand_ns) / (double)LOAD_NS);
}

static bool was_full(const struct link *lk, uint64_t now)
{
	return lk->is_full && now - lk->full_ns < BEST_NS;
}

double link_load(const struct link *lk, uint64_t now)
{
	double demand;

	if (!was_full(lk, now))
		return 0;
	demand = lk->demand * decay(lk, now) *
		 ((double)PFS_NSEC_PER_SEC / (double)LOAD_NS);
	return demand / PFS_MAX(best_rate(lk), demand);
}

/* --- what happens --- */

/* How long demand reads take with fetches of ours in flight, against without:
 * whatever else makes the source slow does that to both. */
static void compare(struct link *lk, uint64_t n_bytes, uint64_t latency_ns,
		    uint64_t now)
{
	uint32_t c = class_of((uint32_t)(n_bytes / lk->chunk));
	uint64_t limit, pause;

	if (!lk->in_flight && lk->idle_ns + latency_ns <= now) {
		note_delay(&lk->delay[c], latency_ns, true, now);
		lk->alone = mean(lk->alone, latency_ns, 8);
		return;
	}
	if (!lk->alone)
		return;
	lk->with = mean(lk->with ? lk->with : lk->alone, latency_ns, 8);
	limit = (uint64_t)((double)lk->alone * DEMAND_SHRINK) + WAIT_SLACK_NS;
	if (lk->with <= limit)
		return;
	if (lk->with > (uint64_t)((double)lk->alone * DEMAND_PAUSE)) {
		pause = PFS_MIN(PAUSE_BASES * lk->alone, PAUSE_MAX_NS);
		lk->paused_until_ns = now + pause;
		lk->window = lk->chunk;
		lk->with = lk->alone;
	}
	if (now >= lk->round_ns)
		shrink(lk, latency_ns, now);
}

void link_demand(struct link *lk, uint64_t n_bytes, uint64_t latency_ns,
		 uint64_t now)
{
	lk->demand = lk->demand * decay(lk, now) + (double)n_bytes;
	lk->demand_ns = now;
	lk->delivered += n_bytes;
	if (!latency_ns)
		return;
	lk->demand_mean = mean(lk->demand_mean, latency_ns, 8);
	note_rate(lk, n_bytes, latency_ns, now);
	compare(lk, n_bytes, latency_ns, now);
}

void link_start(struct link *lk, uint32_t n_chunks, uint64_t now,
		struct link_fetch *f)
{
	*f = (struct link_fetch){.bytes = (uint64_t)n_chunks * lk->chunk,
				 .started_ns = now,
				 .delivered = lk->delivered,
				 .is_alone = !lk->in_flight};
	lk->in_flight += f->bytes;
	lk->most = PFS_MAX(lk->most, lk->in_flight);
}

static void note_fetched(struct link *lk, const struct link_fetch *f,
			 uint32_t n, uint64_t latency_ns, uint64_t now)
{
	uint64_t n_bytes = (uint64_t)n * lk->chunk, expected;

	lk->delivered += n_bytes;
	note_delay(&lk->delay[class_of(n)], latency_ns, f->is_alone, now);
	note_rate(lk, lk->delivered - f->delivered,
		  PFS_MAX(now - f->started_ns, latency_ns), now);
	expected = base(lk, n);
	note_round(lk, n_bytes,
		   latency_ns > expected ? latency_ns - expected : 0,
		   latency_ns, now);
}

void link_done(struct link *lk, const struct link_fetch *f, uint32_t n_fetched,
	       uint64_t latency_ns, uint64_t now)
{
	if (n_fetched && latency_ns)
		note_fetched(lk, f, n_fetched, latency_ns, now);
	lk->in_flight -= f->bytes;
	if (!lk->in_flight)
		lk->idle_ns = now;
}

/* An order may take twice as long as one chunk: beyond that it only keeps
 * others waiting.  Sizes never tried are gone up to by steps. */
static uint32_t order_max(const struct link *lk, uint64_t now)
{
	uint64_t shortest_ns = shortest(lk);
	uint32_t n = 1, n_untried = 0;

	for (uint32_t c = 0; c < LINK_CLASSES; c++) {
		const struct delay *d = &lk->delay[c];
		bool is_known = d->any && now - d->seen_ns <= STALE_NS;

		if ((uint64_t)lk->chunk << c > PFS_PREFETCH_MAX)
			break;
		if ((is_known || was_full(lk, now)) &&
		    base(lk, 1u << c) > 2 * shortest_ns)
			break;
		n_untried = is_known ? 0 : n_untried + 1;
		if (n_untried > 1 && (uint64_t)lk->chunk << c > FIRST_ORDER)
			break;
		n = 1u << c;
	}
	return n;
}

uint32_t link_room(const struct link *lk, uint64_t now)
{
	uint64_t room = lk->window / lk->chunk; /* at least 1 */

	if (now < lk->paused_until_ns)
		return 0;
	if (lk->in_flight && lk->in_flight + lk->chunk > lk->window)
		return 0;
	room -= lk->in_flight / lk->chunk;
	return (uint32_t)PFS_MIN(room, (uint64_t)order_max(lk, now));
}
