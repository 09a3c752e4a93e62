/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Wishes wait in lanes, one for each VM and one for warming.  The lanes of VMs
 * are served by turns; warming goes when none of them can.  What may go is the
 * least of what the link, the VM's budget and the operator's cap have room for.
 */
#include "planner_core.h"

/* Lowest p that pays: with the link idle, and half full of demand.  At p = 1/4
 * it does if a fetch in vain costs a third of what one in time saves. */
static const struct {
	double idle, half;
} floors[] = {
	[PFS_PREFETCH_OFF] = {NO_WISH_PAYS, NO_WISH_PAYS},
	[PFS_PREFETCH_CONSERVATIVE] = {0.5,
				       0.75}, /* as much: links that cost */
	[PFS_PREFETCH_BALANCED] = {0.25, 0.5},
	[PFS_PREFETCH_AGGRESSIVE] = {0.15, 0.35}, /* next to nothing */
};
#define LOAD_HALF 0.5
#define LOAD_FULL 0.9

int planner_create(const struct planner_config *cfg, struct planner **out)
{
	struct planner *pl = calloc(1, sizeof(*pl));

	if (!pl)
		return -ENOMEM;
	pl->cfg = *cfg;
	link_init(&pl->link, cfg->chunk);
	tokens_init(&pl->tokens, cfg->rate_max, cfg->chunk);
	if (queue_init(&pl->queue, QUEUE_MAX) ||
	    vms_init(&pl->vms, cfg->chunk)) {
		planner_destroy(pl);
		return -ENOMEM;
	}
	*out = pl;
	return 0;
}

void planner_destroy(struct planner *pl)
{
	if (!pl)
		return;
	queue_fini(&pl->queue);
	vms_fini(&pl->vms);
	free(pl);
}

/* --- the queue --- */

/* What comes true sooner, and surer, goes first.  The next few reads weigh
 * about alike: their order is not known well. */
static double key_of(struct planner *pl, const struct wish *w)
{
	if (w->is_warm)
		return -(double)++pl->n_warm;
	return (double)w->p / (8.0 + w->distance);
}

static bool enqueue(struct planner *pl, const struct wish *w, double key)
{
	struct vm *v;

	if (w->is_warm)
		return queue_add(&pl->queue, &pl->warm_lane, w, key, pl->now);
	v = vms_get(&pl->vms, w->vm, pl->now);
	if (!queue_add(&pl->queue, &v->lane, w, key, pl->now))
		return false;
	vms_has_wishes(&pl->vms, v);
	return true;
}

struct wish planner_take(struct planner *pl, uint32_t i)
{
	uint16_t *lane = pl->queue.q[i].lane;
	struct wish w = queue_take(&pl->queue, i);

	if (!*lane && lane != &pl->warm_lane)
		vms_has_none(&pl->vms, PFS_CONTAINER_OF(lane, struct vm, lane));
	return w;
}

void planner_drop(struct planner *pl, uint32_t i, uint64_t *reason)
{
	struct wish w = planner_take(pl, i);

	++*reason;
	if (pl->cfg.dropped)
		pl->cfg.dropped(pl->cfg.arg, &w);
}

/* What a wish has waited for in vain. */
static uint64_t *why_old(struct planner *pl, const struct queued *e)
{
	const struct vm *v = PFS_CONTAINER_OF(e->lane, struct vm, lane);

	return planner_vm_room(pl, v, pl->now) ? &pl->stats.dropped_old
					       : &pl->stats.dropped_budget;
}

/* Waiting counts since a wish was added or raised, so the queue's order by age
 * is that of their deadlines.  Warm ones have none: they step back. */
void planner_drop_old(struct planner *pl)
{
	struct queue *q = &pl->queue;

	while (q->oldest) {
		uint32_t i = q->oldest;
		const struct queued *e = &q->q[i];

		if (pl->now - e->since_ns < PLANNER_WAIT_NS)
			return;
		if (e->wish.is_warm)
			queue_renew(q, i, pl->now);
		else
			planner_drop(pl, i, why_old(pl, e));
	}
}

/* --- what is worth a fetch --- */

/* By load: from idle to half in a line, and on to certainty at full. */
double planner_load_floor(const struct planner *pl, uint64_t now)
{
	double load = link_load(&pl->link, now);
	double idle = floors[pl->cfg.level].idle;
	double half = floors[pl->cfg.level].half;

	if (load > LOAD_FULL || idle >= NO_WISH_PAYS)
		return NO_WISH_PAYS;
	if (load <= LOAD_HALF)
		return idle + (half - idle) * load / LOAD_HALF;
	return half + (1 - half) * (load - LOAD_HALF) / (LOAD_FULL - LOAD_HALF);
}

uint32_t planner_vm_room(const struct planner *pl, const struct vm *v,
			 uint64_t now)
{
	return budget_room(&v->budget, floors[pl->cfg.level].idle, now);
}

double planner_floor(const struct planner *pl, uint64_t vm, uint64_t now)
{
	const struct vm *v = vms_find(&pl->vms, vm);

	if (!v || !planner_vm_room(pl, v, now))
		return NO_WISH_PAYS;
	return planner_load_floor(pl, now);
}

/* NULL: welcome; else what to count. */
static uint64_t *why_refused(struct planner *pl, const struct wish *w)
{
	struct vm *v;

	if (pl->cfg.level == PFS_PREFETCH_OFF)
		return &pl->stats.dropped_full;
	if (w->is_warm)
		return NULL;
	if (w->p < (float)planner_load_floor(pl, pl->now))
		return &pl->stats.dropped_floor;
	v = vms_find(&pl->vms, w->vm);
	if (!v || !planner_vm_room(pl, v, pl->now))
		return &pl->stats.dropped_budget;
	return NULL;
}

/* --- wishes --- */

/* A better wish takes the place of the one that is there. */
static void raise_wish(struct planner *pl, uint32_t i, const struct wish *w,
		       double key)
{
	if (w->is_warm)
		return;
	if (key <= pl->queue.q[i].key) {
		pl->queue.q[i].wish.proposers |= w->proposers;
		queue_renew(&pl->queue, i, pl->now);
		return;
	}
	planner_take(pl, i);
	enqueue(pl, w, key);
}

static bool make_room(struct planner *pl, double key)
{
	if (queue_is_full(&pl->queue))
		planner_drop_old(pl);
	if (!queue_is_full(&pl->queue))
		return true;
	if (pl->queue.q[pl->queue.worst].key >= key)
		return false;
	planner_drop(pl, pl->queue.worst, &pl->stats.dropped_full);
	return true;
}

bool planner_add(struct planner *pl, const struct wish *w, uint64_t now)
{
	uint32_t there = queue_find(&pl->queue, w->image, w->chunk);
	uint64_t *reason;
	double key;

	planner_step(pl, now);
	reason = why_refused(pl, w);
	if (reason) {
		++*reason;
		return false;
	}
	key = key_of(pl, w);
	if (there) {
		raise_wish(pl, there, w, key);
		return true;
	}
	if (make_room(pl, key) && enqueue(pl, w, key))
		return true;
	pl->stats.dropped_full++;
	return false;
}

void planner_cancel(struct planner *pl, uint64_t image, uint64_t vm)
{
	for (uint32_t i = 1; i <= QUEUE_MAX; i++) {
		const struct queued *e = &pl->queue.q[i];

		if (e->lane && e->wish.image == image &&
		    (vm == PLANNER_ANY_VM || e->wish.vm == vm))
			planner_drop(pl, i, &pl->stats.dropped_cancelled);
	}
}

void planner_cancel_chunk(struct planner *pl, uint64_t image, uint64_t chunk)
{
	uint32_t i = queue_find(&pl->queue, image, chunk);

	if (i)
		planner_drop(pl, i, &pl->stats.dropped_cancelled);
}

bool planner_is_queued(const struct planner *pl, uint64_t image, uint64_t chunk)
{
	return queue_find(&pl->queue, image, chunk) != QUEUE_NONE;
}

void planner_set_level(struct planner *pl, enum pfs_prefetch_level level)
{
	pl->cfg.level = level;
	while (level == PFS_PREFETCH_OFF && pl->queue.oldest)
		planner_drop(pl, pl->queue.oldest,
			     &pl->stats.dropped_cancelled);
}

/* --- what happens --- */

void planner_demand(struct planner *pl, uint64_t vm, uint64_t n_bytes,
		    bool from_source, uint64_t latency_ns, uint64_t now)
{
	struct vm *v = vms_get(&pl->vms, vm, planner_step(pl, now));

	budget_demand(&v->budget, n_bytes, pl->now);
	if (from_source)
		link_demand(&pl->link, n_bytes, latency_ns, pl->now);
}

void planner_session(struct planner *pl, uint64_t vm, uint64_t now)
{
	struct vm *v = vms_get(&pl->vms, vm, planner_step(pl, now));

	budget_session(&v->budget, pl->now);
}

void planner_used(struct planner *pl, uint64_t vm, uint32_t n_chunks)
{
	struct vm *v = vms_find(&pl->vms, vm);

	if (v)
		budget_used(&v->budget, n_chunks);
}

void planner_extra(struct planner *pl, uint64_t vm, uint32_t n_chunks)
{
	struct vm *v = vms_find(&pl->vms, vm);

	if (v)
		budget_extra(&v->budget, n_chunks);
}

/* Besides, a fetch that ends and a chunk that is read make room. */
uint64_t planner_deadline(const struct planner *pl)
{
	const struct queue *q = &pl->queue;
	uint64_t due, pause = pl->link.paused_until_ns;

	if (!q->oldest)
		return UINT64_MAX;
	due = q->q[q->oldest].since_ns + PLANNER_WAIT_NS;
	if (pause > pl->now)
		due = PFS_MIN(due, pause);
	else
		due = PFS_MIN(due, tokens_due(&pl->tokens, pl->cfg.chunk));
	return PFS_MAX(due, pl->now + 1);
}

void planner_stats(const struct planner *pl, struct planner_stats *out)
{
	*out = pl->stats;
	out->n_queued = pl->queue.n;
	out->in_flight = pl->in_flight;
	out->source_ns = pl->link.demand_mean;
}
