/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner_core.h - what the files of the planner share.
 *
 * planner.c keeps the wishes, planner_orders.c makes orders of them.
 */
#ifndef PFS_PREDICTOR_PLANNER_CORE_H
#define PFS_PREDICTOR_PLANNER_CORE_H

#include "planner.h"
#include "planner_budget.h"
#include "planner_link.h"
#include "planner_queue.h"
#include "planner_vms.h"

#define QUEUE_MAX 1024u

#define NO_WISH_PAYS 2.0 /* a floor above any p */

struct order {
	uint64_t id;   /* 0: free */
	struct vm *vm; /* NULL: warm */
	uint32_t n_chunks;
	struct link_fetch fetch;
};

struct planner {
	struct planner_config cfg;
	uint64_t now; /* the latest */
	struct queue queue;
	struct link link;
	struct token_bucket tokens;

	struct vms vms;
	uint16_t warm_lane;
	uint64_t n_warm; /* wishes so far: the first goes first */
	uint32_t warm_in_flight;

	struct order order[PFS_PREFETCH_FLIGHT_MAX];
	uint32_t in_flight;
	uint64_t n_orders;
	struct wish ordered[LINK_ORDER_MAX];

	struct planner_stats stats;
};

/** Take a wish from the queue. */
struct wish planner_take(struct planner *pl, uint32_t i);
/** The same, and tell who wished; reason: what of the stats to count. */
void planner_drop(struct planner *pl, uint32_t i, uint64_t *reason);
/** Drop what has waited too long. */
void planner_drop_old(struct planner *pl);

/** Lowest p that pays at this load. */
double planner_load_floor(const struct planner *pl, uint64_t now);
/** Chunks that a VM's budget has room for. */
uint32_t planner_vm_room(const struct planner *pl, const struct vm *v,
			 uint64_t now);
/** Time does not go back. */
static inline uint64_t planner_step(struct planner *pl, uint64_t now)
{
	return pl->now = PFS_MAX(pl->now, now);
}

#endif
