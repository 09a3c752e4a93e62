/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner.h - which fetch is made, and when.
 *
 * A queue of wishes with priority and deadline.  Neighbours are merged into one
 * order, wishes that waited too long are dropped, orders in flight and bytes
 * per second are limited for each VM and for all, and nothing starts while
 * demand reads wait or the source has become slow.
 *
 * Threads  none: one thread at a time.  Time is passed in.
 * Memory   all of it at create.
 */
#ifndef PFS_PREDICTOR_PLANNER_H
#define PFS_PREDICTOR_PLANNER_H

#include <pfs/predictor.h>

#define PLANNER_ANY_VM UINT64_MAX
#define PLANNER_WAIT_NS (50 * 1000000ull) /* then a wish is dropped */
#define PLANNER_ALLOWANCE                                                      \
	PFS_MIB(8) /* extra bytes a session may cost at first */

/** What is asked of it. */
struct wish {
	uint64_t image, vm, chunk;
	float p;           /* measured chance that it is read */
	uint32_t distance; /* first touches until then */
	uint32_t proposers;
	bool is_warm; /* lowest priority, no deadline, not charged */
};

struct planner; /* opaque */

struct planner_config {
	uint32_t chunk;
	enum pfs_prefetch_level level;
	uint64_t rate_max; /* bytes/s; 0: no cap */
	/** Asked when an order is made, not when a wish is added. */
	bool (*is_absent)(void *arg, uint64_t image, uint64_t chunk);
	void *arg;
	/** A queued wish was dropped before it was ordered (cancelled ones
	 *  too, refused ones not).  Must not call the planner; may be NULL. */
	void (*dropped)(void *arg, const struct wish *w);
};

int planner_create(const struct planner_config *cfg,
		   struct planner **out) PFS_MUST_CHECK;
void planner_destroy(struct planner *pl);
void planner_set_level(struct planner *pl, enum pfs_prefetch_level level);

/** Lowest p worth a fetch right now for a VM; above 1: none is (its budget is
 *  used up, or demand takes more than 90 % of the link).
 *              link idle   half full of demand
 *  conservative     0.5    0.75
 *  balanced         0.25   0.5
 *  aggressive       0.15   0.35 */
double planner_floor(const struct planner *pl, uint64_t vm, uint64_t now);
/** Queue a wish; one of the same chunk is raised instead.  False: refused
 *  (below the floor, over budget, no room: counted). */
bool planner_add(struct planner *pl, const struct wish *w, uint64_t now);
/** Drop what is queued for an image (of one VM, or PLANNER_ANY_VM): session
 * over, stream gone elsewhere, chunk written. */
void planner_cancel(struct planner *pl, uint64_t image, uint64_t vm);
void planner_cancel_chunk(struct planner *pl, uint64_t image, uint64_t chunk);
bool planner_is_queued(const struct planner *pl, uint64_t image,
		       uint64_t chunk);

bool planner_next(struct planner *pl, uint64_t now,
		  struct pfs_prefetch_order *out);
/** The wishes that planner_next() merged into the order it gave last, by chunk,
 *  n_chunks of them (who named each, how sure).  Valid until the next call. */
const struct wish *planner_ordered(const struct planner *pl);
void planner_fetched(struct planner *pl, uint64_t id, uint32_t n_fetched,
		     uint64_t latency_ns, uint64_t now);
/** A demand read of n_bytes was answered: how the link is loaded, how slow the
 *  source is (latency_ns only for those that went there). */
void planner_demand(struct planner *pl, uint64_t vm, uint64_t n_bytes,
		    bool from_source, uint64_t latency_ns, uint64_t now);
/** A new session of a VM: its allowance starts over. */
void planner_session(struct planner *pl, uint64_t vm, uint64_t now);
/** Prefetched chunks were read, by whomever; vm: who had them fetched.  Must be
 *  told: what is fetched and not read holds back what may be fetched next. */
void planner_used(struct planner *pl, uint64_t vm, uint32_t n_chunks);
/** Prefetched chunks turned out to be extra. */
void planner_extra(struct planner *pl, uint64_t vm, uint32_t n_chunks);

/** When planner_next() may have something it did not have before. */
uint64_t planner_deadline(const struct planner *pl);

struct planner_stats {
	/* Wishes refused or dropped, by reason: waited too long; over the
	 * VM's budget; no room, or prefetch is off; below the floor; chunk no
	 * more absent; cancelled. */
	uint64_t dropped_old, dropped_budget, dropped_full;
	uint64_t dropped_floor, dropped_present, dropped_cancelled;
	uint64_t n_orders, n_chunks;
	uint32_t n_queued, in_flight;
	uint64_t source_ns; /* latency of a demand fetch, EWMA */
};
void planner_stats(const struct planner *pl, struct planner_stats *out);

#endif
