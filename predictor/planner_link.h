/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner_link.h - how much the source can take.
 *
 * Nobody says how fast the source is.  What is in flight ahead of demand is
 * held below a window of bytes, which grows while a fetch takes no longer than
 * one of its size used to and shrinks when it does: what waits at the source
 * is then short, and a demand read that comes behind it is not kept long.
 *
 * Base     what a fetch of that size takes when nothing of ours is in its way,
 *          learned from those that were alone in flight: what waits because of
 *          us does not become the new base.
 * Load     demand against the capacity, the highest throughput of the last 30
 * s. Capacity shows when the link is full: if it was not within 15 s, load is
 * nothing.
 *
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_PLANNER_LINK_H
#define PFS_PREDICTOR_PLANNER_LINK_H

#include "planner.h"

#define LINK_CLASSES 7u /* of sizes: 1, 2, 3-4, 5-8, ... 33-64 chunks */
#define LINK_ORDER_MAX (1u << (LINK_CLASSES - 1)) /* chunks */

/* Latency of fetches of one size, smoothed.  0: not known. */
struct delay {
	uint64_t any;
	uint64_t alone; /* nothing else of ours was in flight */
	uint64_t seen_ns;
};

struct link {
	uint32_t chunk;                   /* bytes */
	uint64_t window, in_flight, most; /* bytes; most: in this round */
	bool is_full;                     /* it once was: grow with care */
	uint64_t idle_ns;                 /* nothing was left in flight */
	uint64_t paused_until_ns;
	struct delay delay[LINK_CLASSES];

	/* One round is about as long as a fetch takes. */
	uint64_t round_ns, round_bytes, round_wait_ns;
	uint32_t round_n;

	/* Throughput. */
	uint64_t delivered;       /* bytes, demanded ones too */
	double best, best_before; /* bytes/s; in this window, the one before */
	uint64_t best_ns;         /* this window began */
	uint64_t full_ns;         /* it was last found to be full */
	double demand;            /* bytes, decayed */
	uint64_t demand_ns;

	/* Latency of demand reads: any, with nothing of ours in flight, and
	 * with it. */
	uint64_t demand_mean, alone, with;
};

/** A fetch in flight. */
struct link_fetch {
	uint64_t bytes, started_ns, delivered;
	bool is_alone; /* nothing else of ours was in flight at its start */
};

void link_init(struct link *lk, uint32_t chunk);
/** A demand read was answered by the source. */
void link_demand(struct link *lk, uint64_t n_bytes, uint64_t latency_ns,
		 uint64_t now);
void link_start(struct link *lk, uint32_t n_chunks, uint64_t now,
		struct link_fetch *f);
/** It has ended, and brought n_fetched; latency_ns 0: nothing was read. */
void link_done(struct link *lk, const struct link_fetch *f, uint32_t n_fetched,
	       uint64_t latency_ns, uint64_t now);

/** Chunks that may be put in flight now; at most one order's. */
uint32_t link_room(const struct link *lk, uint64_t now);
/** Share of the capacity that demand takes. */
double link_load(const struct link *lk, uint64_t now);

#endif
