/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "facade.h"

#define QUIET_READS 256u
#define QUIET_ASK 64u /* of so many fresh reads one is asked about */

/* --- reads --- */

static uint64_t source_latency(const struct pfs_predictor *p)
{
	struct planner_stats n;

	planner_stats(p->planner, &n);
	return n.source_ns ? n.source_ns : SOURCE_NS_GUESS;
}

/* What is the planner's business with a read: bytes that passed the link, and
 * how long the source took when it was asked. */
static void tell_planner(struct pfs_predictor *p, const struct pfs_access *a,
			 uint64_t now)
{
	bool from_source = a->outcome == PFS_ACCESS_MISS ||
			   a->outcome == PFS_ACCESS_DIRECT;

	planner_demand(p->planner, a->vm, a->len, from_source, a->latency_ns,
		       now);
}

/* Whose candidates are judged. */
struct asking {
	struct pfs_predictor *p;
	uint64_t image;
};

static bool is_worth(void *arg, uint64_t chunk)
{
	struct asking *q = arg;
	struct pfs_predictor *p = q->p;

	return issued_is_pending(&p->issued, q->image, chunk) ||
	       p->cfg.is_absent(p->cfg.arg, q->image, chunk);
}

static void plan(struct pfs_predictor *p, const struct image *im,
		 const struct session *s, uint64_t now)
{
	for (uint32_t i = 0; i < p->ballot.n; i++) {
		const struct pick *k = &p->ballot.pick[i];
		struct wish w = {.image = im->id,
				 .vm = s->vm,
				 .chunk = k->chunk,
				 .p = k->p,
				 .distance = k->distance,
				 .proposers = k->proposers};

		if (k->worth >= p->ballot.floor &&
		    !issued_is_pending(&p->issued, im->id, k->chunk))
			planner_add(p->planner, &w, now);
	}
}

static void hear_all(struct pfs_predictor *p, struct session *s, uint64_t now)
{
	struct candidate c[CANDIDATES_MAX];

	for (uint32_t i = 0; i < SOURCES; i++) {
		uint32_t n;

		if (!s->state[i] || !is_on(p, i))
			continue;
		n = session_sources[i]->propose(s->state[i], c, CANDIDATES_MAX);
		arbiter_hear(&s->arbiter, &p->ballot, i, c, n, now);
	}
}

/* When nothing can be fetched now it is scored as if the link were idle. */
static void ask(struct pfs_predictor *p, struct image *im, struct session *s,
		uint64_t source_ns, uint64_t now)
{
	struct asking q = {.p = p, .image = im->id};
	double floor = planner_floor(p->planner, s->vm, now);
	bool has_room = floor <= 1;

	p->ballot.is_worth = is_worth;
	p->ballot.arg = &q;
	arbiter_age(&s->arbiter, source_ns, now);
	arbiter_begin(&s->arbiter, &p->ballot,
		      has_room ? (float)floor : FLOOR_IDLE);
	hear_all(p, s, now);
	arbiter_mix(&s->arbiter, &p->ballot, now);
	if (has_room)
		plan(p, im, s, now);
}

/* While all a session reads is there, and none of it because it was fetched
 * ahead, there is nothing to gain: it is looked at with half an eye, so that a
 * guest that reads from the store as fast as it can costs next to nothing. */
static bool is_quiet(const struct session *s, const struct pfs_access *a)
{
	return s->n_quiet >= QUIET_READS && a->outcome == PFS_ACCESS_HIT;
}

/* The outcome is that of the whole request: in one of several chunks a chunk
 * of ours need not be the one that was missing. */
static enum pfs_access_outcome outcome_of(const struct pfs_access *a,
					  bool is_single)
{
	if (is_single || a->outcome == PFS_ACCESS_HIT)
		return a->outcome;
	return PFS_ACCESS_LATE;
}

/* One chunk of a read.  True: it was fetched ahead and of use. */
static bool read_chunk(struct pfs_predictor *p, struct image *im,
		       struct session *s, const struct pfs_access *a,
		       struct touch *t, bool is_single, uint64_t source_ns)
{
	const struct decision *d;
	bool is_missing =
		a->outcome == PFS_ACCESS_MISS || a->outcome == PFS_ACCESS_LATE;

	session_touch(s, a->handle, t);
	d = issued_read(&p->issued, im->id, t->chunk, outcome_of(a, is_single),
			p->now);
	if ((t->is_first || is_missing || d) && a->outcome != PFS_ACCESS_HOLE)
		arbiter_needed(&s->arbiter, t->chunk, source_ns, a->time_ns);
	if (t->is_first || d || !is_quiet(s, a))
		session_tell(s, t);
	return d &&
	       (d->why.fate == PFS_WHY_USED || d->why.fate == PFS_WHY_LATE);
}

static void read_chunks(struct pfs_predictor *p, struct image *im,
			struct session *s, const struct pfs_access *a,
			uint64_t now)
{
	uint64_t end = a->off + a->len, chunk_size = p->cfg.chunk;
	uint64_t first = a->off / chunk_size, last = (end - 1) / chunk_size;
	uint64_t source_ns = source_latency(p);
	bool was_used = false, is_fresh = false, is_new = false;

	for (uint64_t c = first; c <= last; c++) {
		uint64_t off = c == first ? a->off % chunk_size : 0;
		uint64_t stop = c == last ? end - c * chunk_size : chunk_size;
		struct touch t = {.time_ns = a->time_ns,
				  .chunk = c,
				  .off = (uint32_t)off,
				  .len = (uint32_t)(stop - off),
				  .is_last = c == last,
				  .outcome = a->outcome};

		was_used |=
			read_chunk(p, im, s, a, &t, first == last, source_ns);
		is_fresh |= t.delta != 0;
		is_new |= t.is_first;
	}
	s->n_reads += is_new || !is_quiet(s, a);
	if (was_used && source_ns > a->latency_ns)
		tally_add(&p->tallies, im->id, s->vm,
			  &(struct pfs_prefetch_stats){
				  .saved_ns = source_ns - a->latency_ns});
	if (session_was_reset(s) || session_is_full(s))
		predictor_renew_session(p, im, s, now);
	s->n_quiet =
		was_used || a->outcome != PFS_ACCESS_HIT ? 0 : s->n_quiet + 1;
	if (is_fresh && (!is_quiet(s, a) || s->n_quiet % QUIET_ASK == 0))
		ask(p, im, s, source_ns, now);
}

/* --- writes --- */

/* Every session of the image hears of it: what it would name there was of
 * other bytes. */
static void tell_written(struct image *im, uint64_t first, uint64_t end,
			 bool is_whole)
{
	if (first >= end)
		return;
	for (struct session *s = im->sessions; s; s = s->next)
		session_wrote(s, first, end - first, is_whole);
}

static void write_chunks(struct pfs_predictor *p, struct image *im,
			 const struct pfs_access *a)
{
	uint64_t chunk_size = p->cfg.chunk, stop = a->off + a->len;
	uint64_t first = a->off / chunk_size;
	uint64_t end = (stop - 1) / chunk_size + 1;
	/* Those written from end to end. */
	uint64_t whole = (a->off + chunk_size - 1) / chunk_size;
	uint64_t whole_end = PFS_MAX(stop / chunk_size, whole);

	tell_written(im, first, PFS_MIN(whole, end), false);
	tell_written(im, whole, whole_end, true);
	tell_written(im, PFS_MAX(whole_end, first), end, false);
	if (end - first > CANCEL_EACH) {
		planner_cancel(p->planner, im->id, PLANNER_ANY_VM);
		return;
	}
	for (uint64_t c = first; c < end; c++)
		planner_cancel_chunk(p->planner, im->id, c);
}

/* --- both --- */

void pfs_predictor_observe(struct pfs_predictor *p, const struct pfs_access *a,
			   uint64_t now)
{
	struct image *im = images_find(&p->images, a->image);
	struct session *s = im ? image_session(im, a->vm) : NULL;

	p->now = PFS_MAX(p->now, now);
	if (!im || !a->len)
		return;
	issued_age(&p->issued, now);
	if (a->is_write) {
		write_chunks(p, im, a);
	} else if (s) {
		tell_planner(p, a, now);
		read_chunks(p, im, s, a, now);
	}
}
