/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What happens: requests, their answers and the ends of prefetches, in the
 * order of their times, and a predictor that is told what the daemon would tell
 * it, when the daemon would.
 *
 * What a request costs is known when it arrives, as no fetch is ever held up;
 * its answer is an event, and only then does the predictor see it.  A chunk
 * that is missed counts as in the store from its request on, so that the LRU
 * has the order of the reads, but until its fetch has ended later reads wait
 * for that.
 */
#include "sim_core.h"

#include <math.h>

static uint64_t cpu_now(const struct sim *s)
{
	return s->p && s->cfg->cpu_ns ? s->cfg->cpu_ns(s->cfg->arg) : 0;
}

/* --- the store --- */

static void evicted(void *arg, uint32_t i)
{
	struct sim *s = arg;
	struct sim_chunk *c = &s->chunks.c[i];
	uint64_t begin;

	if (!c->unread)
		return;
	c->unread = 0;
	begin = cpu_now(s);
	pfs_predictor_evicted(s->p, SIM_IMAGE, c->chunk);
	s->cpu_ns += cpu_now(s) - begin;
}

static int store_insert(struct sim *s, uint32_t i, bool is_prefetch)
{
	return s->policy->insert(s->store, i, is_prefetch, evicted, s);
}

int sim_store_empty(struct sim *s)
{
	for (uint32_t i = 0; i < s->chunks.n; i++)
		evicted(s, i);
	s->policy->destroy(s->store);
	s->store = s->policy->create(s->policy->arg, s->capacity);
	return s->store ? 0 : -ENOMEM;
}

bool sim_is_absent(void *arg, uint64_t image, uint64_t chunk)
{
	struct sim *s = arg;
	uint32_t i;

	(void)image; /* there is one */
	if (chunk >= s->image_bytes / s->cfg->chunk)
		return false;
	if (!sim_chunks_find(&s->chunks, chunk, &i))
		return true;
	return s->chunks.c[i].ready_ns <= s->now &&
	       !s->policy->find(s->store, i, false);
}

/* --- prefetches --- */

static struct sim_order *free_order(struct sim *s)
{
	struct sim_order *o = s->order;

	while (o->serial)
		o++; /* in_flight says that there is one */
	return o;
}

static int mark_chunks(struct sim *s, const struct sim_order *o)
{
	for (uint32_t k = 0; k < o->n; k++) {
		uint32_t i;
		int err = sim_chunks_number(&s->chunks, o->first + k, &i);

		if (err)
			return err;
		s->chunks.c[i].order = o->serial;
		s->chunks.c[i].ready_ns = s->now + o->latency_ns;
	}
	return 0;
}

/* As the daemon does, fetch the part in front that is still absent. */
static int start_order(struct sim *s, const struct pfs_prefetch_order *po)
{
	struct sim_order *o = free_order(s);
	struct sim_event e = {.kind = SIM_FETCHED,
			      .order = (uint32_t)(o - s->order)};
	uint32_t n = 0;
	int err;

	while (n < po->n_chunks && sim_is_absent(s, po->image, po->chunk + n))
		n++;
	if (!n) {
		pfs_predictor_fetched(s->p, po->id, 0, 0, s->now);
		return 0;
	}
	*o = (struct sim_order){
		.serial = ++s->serial,
		.id = po->id,
		.first = po->chunk,
		.n = n,
		.latency_ns = s->source_ns +
			      (uint64_t)llround((n - 1) * s->per_chunk_ns),
	};
	s->in_flight++;
	s->r.prefetched += n;
	e.time_ns = s->now + o->latency_ns;
	err = mark_chunks(s, o);
	return err ? err : sim_queue_add(&s->queue, &e);
}

/* Something has changed: what does it want fetched?  Nothing once the session
 * has nothing to read any more. */
static int ask(struct sim *s)
{
	struct pfs_prefetch_order po;
	int err = 0;

	while (!err && !(s->is_ending && !s->n_unanswered) &&
	       s->in_flight < PFS_PREFETCH_FLIGHT_MAX &&
	       pfs_predictor_next(s->p, s->now, &po))
		err = start_order(s, &po);
	s->tick_ns = pfs_predictor_deadline(s->p);
	return err;
}

static int end_order(struct sim *s, struct sim_order *o)
{
	uint64_t begin;
	int err = 0;

	for (uint32_t k = 0; k < o->n && !err; k++) {
		struct sim_chunk *c;
		uint32_t i;

		if (!sim_chunks_find(&s->chunks, o->first + k, &i))
			continue; /* never: start_order() has met it */
		c = &s->chunks.c[i];
		if (c->order != o->serial)
			continue; /* read or written meanwhile */
		c->order = 0;
		c->unread = o->serial;
		err = store_insert(s, i, true);
	}
	s->in_flight--;
	begin = cpu_now(s);
	pfs_predictor_fetched(s->p, o->id, o->n, o->latency_ns, s->now);
	*o = (struct sim_order){0};
	if (!err)
		err = ask(s);
	s->cpu_ns += cpu_now(s) - begin;
	return err;
}

/* --- requests --- */

/* A prefetch that a read has now found.  Those of an earlier session are not
 * counted: its figures are its own. */
static void note_used(struct sim *s, uint64_t serial)
{
	s->r.used += serial >= s->first_serial;
}

/* What a read waits for one chunk beyond the store's own latency. */
static int read_chunk(struct sim *s, uint64_t chunk, uint64_t *wait_ns,
		      enum pfs_access_outcome *outcome)
{
	struct sim_chunk *c;
	uint32_t i;
	int err = sim_chunks_number(&s->chunks, chunk, &i);

	if (err)
		return err;
	c = &s->chunks.c[i];
	s->r.chunk_reads++;
	*wait_ns = 0;
	if (c->ready_ns > s->now) {
		s->r.late++;
		*outcome = PFS_ACCESS_LATE;
		*wait_ns = PFS_MIN(c->ready_ns - s->now, s->source_ns);
		c->ready_ns = s->now + *wait_ns;
		if (c->order)
			note_used(s, c->order);
		c->order = 0;
		return store_insert(s, i, false);
	}
	if (s->policy->find(s->store, i, true)) {
		s->r.hits++;
		*outcome = PFS_ACCESS_HIT;
		if (c->unread)
			note_used(s, c->unread);
		c->unread = 0;
		return 0;
	}
	*outcome = PFS_ACCESS_MISS;
	*wait_ns = s->source_ns;
	c->ready_ns = s->now + s->source_ns;
	s->r.source_bytes += s->cfg->chunk;
	return store_insert(s, i, false);
}

static int read_all(struct sim *s, const struct pfs_trace_op *op,
		    struct pfs_access *a)
{
	uint64_t last = (op->off + op->len - 1) / s->cfg->chunk, longest = 0;

	a->outcome = PFS_ACCESS_HIT;
	for (uint64_t c = op->off / s->cfg->chunk; c <= last; c++) {
		enum pfs_access_outcome outcome = PFS_ACCESS_HIT;
		uint64_t wait = 0;
		int err = read_chunk(s, c, &wait, &outcome);

		if (err)
			return err;
		a->outcome = PFS_MAX(a->outcome, outcome);
		longest = PFS_MAX(longest, wait);
	}
	a->latency_ns = longest + s->store_ns;
	if (s->cfg->is_closed_loop)
		s->delay_ns += longest;
	s->r.read_bytes += op->len;
	s->latency_ns[s->n_latencies++] = a->latency_ns;
	return 0;
}

/* Chunks written wholly enter the store; others stay as they are. */
static int write_all(struct sim *s, const struct pfs_trace_op *op)
{
	uint64_t end = (op->off + op->len) / s->cfg->chunk;
	uint64_t c = (op->off + s->cfg->chunk - 1) / s->cfg->chunk;

	for (; c < end; c++) {
		uint32_t i;
		int err = sim_chunks_number(&s->chunks, c, &i);

		if (err)
			return err;
		s->chunks.c[i].ready_ns = 0;
		s->chunks.c[i].order = 0;
		s->chunks.c[i].unread = 0;
		err = store_insert(s, i, false);
		if (err)
			return err;
	}
	return 0;
}

int sim_request(struct sim *s, const struct pfs_trace_op *op)
{
	struct sim_event e = {.kind = SIM_ANSWERED,
			      .access = {.time_ns = s->now,
					 .image = SIM_IMAGE,
					 .vm = SIM_VM,
					 .off = op->off,
					 .len = op->len,
					 .is_write = op->is_write}};
	int err = op->is_write ? write_all(s, op) : read_all(s, op, &e.access);

	if (err)
		return err;
	e.time_ns = s->now + e.access.latency_ns;
	s->last_answer_ns = PFS_MAX(s->last_answer_ns, e.time_ns);
	s->n_unanswered++;
	return sim_queue_add(&s->queue, &e);
}

static int answer(struct sim *s, const struct pfs_access *a)
{
	uint64_t begin;
	int err;

	s->n_unanswered--;
	if (!s->p)
		return 0;
	begin = cpu_now(s);
	pfs_predictor_observe(s->p, a, s->now);
	err = ask(s);
	s->cpu_ns += cpu_now(s) - begin;
	return err;
}

/* --- time --- */

int sim_tick(struct sim *s)
{
	uint64_t begin = cpu_now(s);
	int err;

	pfs_predictor_tick(s->p, s->now);
	err = ask(s);
	if (s->tick_ns <= s->now)
		s->tick_ns = s->now + PFS_NSEC_PER_MSEC;
	s->cpu_ns += cpu_now(s) - begin;
	return err;
}

void sim_close(struct sim *s)
{
	uint64_t begin = cpu_now(s);

	pfs_predictor_closed(s->p, SIM_IMAGE, SIM_VM, s->now);
	s->tick_ns = pfs_predictor_deadline(s->p);
	s->cpu_ns += cpu_now(s) - begin;
}

static int happen(struct sim *s, const struct sim_event *e)
{
	switch (e->kind) {
	case SIM_FETCHED:
		return end_order(s, &s->order[e->order]);
	case SIM_ANSWERED:
		return answer(s, &e->access);
	}
	return 0;
}

int sim_advance(struct sim *s, uint64_t until)
{
	int err = 0;

	while (!err) {
		uint64_t due = sim_queue_time(&s->queue);
		uint64_t next = PFS_MIN(due, s->tick_ns);
		struct sim_event e;

		if (next > until)
			break;
		s->now = PFS_MAX(s->now, next);
		if (s->tick_ns < due) {
			err = sim_tick(s);
			continue;
		}
		e = sim_queue_take(&s->queue);
		err = happen(s, &e);
	}
	s->now = PFS_MAX(s->now, until);
	return err;
}
