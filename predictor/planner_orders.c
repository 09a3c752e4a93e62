/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "planner_core.h"

/* Orders in flight. */
#define FLIGHT_SHARED (PFS_PREFETCH_FLIGHT_MAX / 2) /* of a VM among others */
#define FLIGHT_UNKNOWN 4u
#define FLIGHT_WARM (PFS_PREFETCH_FLIGHT_MAX / 2)

/* What an order may hold, and what has gone into it. */
struct basket {
	uint32_t room; /* chunks */
	float floor;
	double doubt;
	uint64_t first;
	uint32_t n;
};

/* Is a queued wish worth its fetch now?  If not, it is dropped. */
static bool is_wanted(struct planner *pl, uint32_t i, float floor)
{
	const struct wish *w = &pl->queue.q[i].wish;

	if (!w->is_warm && w->p < floor)
		planner_drop(pl, i, &pl->stats.dropped_floor);
	else if (!pl->cfg.is_absent(pl->cfg.arg, w->image, w->chunk))
		planner_drop(pl, i, &pl->stats.dropped_present);
	else
		return true;
	return false;
}

/* The queued wish for a chunk beside w, of the same VM; QUEUE_NONE: none. */
static uint32_t beside(struct planner *pl, const struct wish *w, uint64_t chunk,
		       float floor)
{
	uint32_t i = queue_find(&pl->queue, w->image, chunk);

	if (!i || pl->queue.q[i].wish.vm != w->vm ||
	    pl->queue.q[i].wish.is_warm != w->is_warm ||
	    !is_wanted(pl, i, floor))
		return QUEUE_NONE;
	return i;
}

/* From the wish outwards: first back to where the neighbours begin, then on. */
static void fill_basket(struct planner *pl, struct basket *b, uint32_t best)
{
	struct wish w = pl->queue.q[best].wish;
	uint64_t end = w.chunk + 1;

	b->first = w.chunk;
	for (b->n = 1; b->n < b->room && b->first; b->n++) {
		if (!beside(pl, &w, b->first - 1, b->floor))
			break;
		b->first--;
	}
	for (; b->n < b->room && beside(pl, &w, end, b->floor); b->n++)
		end++;
	for (uint32_t k = 0; k < b->n; k++) {
		uint32_t i = queue_find(&pl->queue, w.image, b->first + k);

		pl->ordered[k] = planner_take(pl, i);
		b->doubt += 1 - (double)pl->ordered[k].p;
	}
}

static struct order *free_order(struct planner *pl)
{
	for (uint32_t i = 0; i < PFS_PREFETCH_FLIGHT_MAX; i++)
		if (!pl->order[i].id)
			return &pl->order[i];
	return NULL;
}

static void send_order(struct planner *pl, struct vm *v, const struct basket *b,
		       struct pfs_prefetch_order *out)
{
	const struct wish *w = &pl->ordered[0];
	struct order *o = free_order(pl);

	/* Its place in the table is found again by its id. */
	*o = (struct order){.id = ++pl->n_orders * PFS_PREFETCH_FLIGHT_MAX +
				  (uint64_t)(o - pl->order),
			    .vm = v,
			    .n_chunks = b->n};
	link_start(&pl->link, b->n, pl->now, &o->fetch);
	tokens_take(&pl->tokens, o->fetch.bytes);
	pl->in_flight++;
	if (v) {
		v->in_flight++;
		budget_order(&v->budget, b->n, b->doubt, pl->now);
	} else {
		pl->warm_in_flight++;
	}
	pl->stats.n_orders++;
	pl->stats.n_chunks += b->n;
	*out = (struct pfs_prefetch_order){.id = o->id,
					   .image = w->image,
					   .vm = w->vm,
					   .chunk = b->first,
					   .n_chunks = b->n};
}

/* Order the best of a lane that is still wanted; v NULL: warming. */
static bool serve(struct planner *pl, struct vm *v, uint32_t room,
		  struct pfs_prefetch_order *out)
{
	const uint16_t *lane = v ? &v->lane : &pl->warm_lane;
	struct basket b = {.room = room,
			   .floor = (float)planner_load_floor(pl, pl->now)};

	while (*lane && !is_wanted(pl, *lane, b.floor))
		;
	if (!*lane)
		return false;
	fill_basket(pl, &b, *lane);
	send_order(pl, v, &b, out);
	return true;
}

static uint32_t flight_max(const struct vm *v)
{
	if (v->budget.is_unknown)
		return FLIGHT_UNKNOWN;
	return v->next == v ? PFS_PREFETCH_FLIGHT_MAX : FLIGHT_SHARED;
}

static bool serve_vms(struct planner *pl, uint32_t room,
		      struct pfs_prefetch_order *out)
{
	for (uint32_t n = pl->vms.n_ring; n && pl->vms.turn; n--) {
		struct vm *v = pl->vms.turn;
		uint32_t its_room;

		pl->vms.turn = v->next;
		if (v->in_flight >= flight_max(v))
			continue;
		its_room = planner_vm_room(pl, v, pl->now);
		if (its_room && serve(pl, v, PFS_MIN(its_room, room), out))
			return true;
	}
	return false;
}

/* Chunks that the next order may have; 0: none may go. */
static uint32_t room_now(struct planner *pl)
{
	uint64_t tokens = tokens_room(&pl->tokens, pl->now) / pl->cfg.chunk;

	if (pl->in_flight == PFS_PREFETCH_FLIGHT_MAX ||
	    planner_load_floor(pl, pl->now) >= NO_WISH_PAYS)
		return 0;
	return (uint32_t)PFS_MIN((uint64_t)link_room(&pl->link, pl->now),
				 tokens);
}

bool planner_next(struct planner *pl, uint64_t now,
		  struct pfs_prefetch_order *out)
{
	uint32_t room;

	planner_step(pl, now);
	planner_drop_old(pl);
	room = pl->queue.n ? room_now(pl) : 0;
	if (!room)
		return false;
	if (serve_vms(pl, room, out))
		return true;
	return pl->warm_in_flight < FLIGHT_WARM && serve(pl, NULL, room, out);
}

const struct wish *planner_ordered(const struct planner *pl)
{
	return pl->ordered;
}

void planner_fetched(struct planner *pl, uint64_t id, uint32_t n_fetched,
		     uint64_t latency_ns, uint64_t now)
{
	struct order *o = &pl->order[id % PFS_PREFETCH_FLIGHT_MAX];

	if (!id || o->id != id)
		return;
	planner_step(pl, now);
	n_fetched = PFS_MIN(n_fetched, o->n_chunks);
	link_done(&pl->link, &o->fetch, n_fetched, latency_ns, pl->now);
	pl->in_flight--;
	o->id = 0;
	if (!o->vm) {
		pl->warm_in_flight--;
		return;
	}
	o->vm->in_flight--;
	budget_not_fetched(&o->vm->budget, o->n_chunks - n_fetched);
}
