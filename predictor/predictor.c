/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "facade.h"

#include <string.h>

#include <pfs/hash.h>

#include "replay.h"

const char *pfs_proposer_name(unsigned int proposer)
{
	return proposer < PFS_PROPOSER_N ? session_sources[proposer]->name
					 : NULL;
}

/* --- life --- */

static bool is_absent(void *arg, uint64_t image, uint64_t chunk)
{
	struct pfs_predictor *p = arg;

	return p->cfg.is_absent(p->cfg.arg, image, chunk);
}

static void wish_dropped(void *arg, const struct wish *w)
{
	struct pfs_predictor *p = arg;

	if (!w->is_warm)
		tally_add(&p->tallies, w->image, w->vm,
			  &(struct pfs_prefetch_stats){.dropped_old = 1});
}

/* The credit of one decision, for all who named the chunk. */
static void credit(struct pfs_prefetch_stats *n, uint32_t proposers,
		   bool is_used)
{
	for (uint32_t i = 0; i < PFS_PROPOSER_N; i++) {
		if (!(proposers & 1u << i))
			continue;
		if (is_used)
			n->score[i].used++;
		else
			n->score[i].issued++;
	}
}

static uint64_t source_latency(const struct pfs_predictor *p)
{
	struct planner_stats n;

	planner_stats(p->planner, &n);
	return n.source_ns ? n.source_ns : SOURCE_NS_GUESS;
}

static void note_extra(struct pfs_predictor *p, const struct decision *d)
{
	struct image *im = images_find(&p->images, d->image);
	struct session *s = im ? image_session(im, d->why.vm) : NULL;

	planner_extra(p->planner, d->why.vm, 1);
	if (s)
		arbiter_evicted(&s->arbiter, d->why.chunk);
}

static void decision_ended(void *arg, const struct decision *d)
{
	struct pfs_predictor *p = arg;
	struct pfs_prefetch_stats n = {.pending = UINT64_MAX}; /* one less */
	bool is_used =
		d->why.fate == PFS_WHY_USED || d->why.fate == PFS_WHY_LATE;

	n.used = is_used;
	n.late = d->why.fate == PFS_WHY_LATE;
	n.extra = d->why.fate == PFS_WHY_EXTRA;
	if (is_used) {
		credit(&n, d->why.proposers, true);
		planner_used(p->planner, d->why.vm, 1);
	}
	if (d->why.fate == PFS_WHY_NOT_TAKEN)
		n.issued = UINT64_MAX;
	tally_add(&p->tallies, d->image, d->why.vm, &n);
	if (d->why.fate == PFS_WHY_EXTRA)
		note_extra(p, d);
}

static int init(struct pfs_predictor *p)
{
	struct planner_config cfg = {
		.chunk = p->cfg.chunk,
		.level = p->cfg.level,
		.rate_max = p->cfg.rate_max,
		.is_absent = is_absent,
		.arg = p,
		.dropped = wish_dropped,
	};
	int err = planner_create(&cfg, &p->planner);

	if (!err)
		err = issued_init(&p->issued, decision_ended, p);
	if (!err)
		err = tally_init(&p->tallies);
	if (!err)
		err = images_init(&p->images);
	return err;
}

int pfs_predictor_create(const struct pfs_predictor_config *cfg,
			 struct pfs_predictor **out)
{
	struct pfs_predictor *p;
	int err;

	if (!pfs_is_pow2(cfg->chunk) || cfg->chunk > PFS_PREFETCH_MAX ||
	    !cfg->is_absent)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->cfg = *cfg;
	p->closing_ns = UINT64_MAX;
	err = init(p);
	if (err) {
		pfs_predictor_destroy(p);
		return err;
	}
	*out = p;
	return 0;
}

void pfs_predictor_destroy(struct pfs_predictor *p)
{
	if (!p)
		return;
	images_fini(&p->images);
	tally_fini(&p->tallies);
	issued_fini(&p->issued);
	planner_destroy(p->planner);
	free(p);
}

static void tell_trust(struct pfs_predictor *p, struct image *im)
{
	replay_set_trust(im->learning.source[PFS_PROPOSER_REPLAY],
			 im->was_shared, p->cfg.trusts_shared);
}

void pfs_predictor_set(struct pfs_predictor *p, enum pfs_prefetch_level level,
		       uint32_t proposers, bool trusts_shared)
{
	p->cfg.level = level;
	p->cfg.proposers = proposers;
	p->cfg.trusts_shared = trusts_shared;
	planner_set_level(p->planner, level);
	for (uint32_t i = 0; i < p->images.n; i++)
		tell_trust(p, p->images.image[i]);
}

/* --- sessions --- */

static int session_open(struct pfs_predictor *p, struct image *im, uint64_t vm,
			uint64_t now)
{
	struct session *s;
	int err = session_begin(&im->learning, vm, im->n_chunks, &s);

	if (err)
		return err;
	s->next = im->sessions;
	im->sessions = s;
	tally_open(&p->tallies, im->id, vm);
	planner_session(p->planner, vm, now);
	return 0;
}

static uint64_t n_chunks_of(const struct pfs_predictor *p, uint64_t size)
{
	return size / p->cfg.chunk + (size % p->cfg.chunk != 0);
}

int pfs_predictor_opened(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			 uint64_t size, uint64_t now)
{
	struct learning_config cfg = {
		.chunk = p->cfg.chunk,
		.n_chunks = n_chunks_of(p, size),
		.seed = pfs_mix64(p->cfg.seed ^ image),
	};
	struct image *im;
	struct session *s;
	int err =
		images_open(&p->images, image, &cfg, p->cfg.always_wrong, &im);

	if (err)
		return err;
	if (!image_session(im, vm))
		err = session_open(p, im, vm, now);
	if (err)
		return err;
	s = image_session(im, vm);
	s->n_handles++;
	s->closed_ns = UINT64_MAX;
	im->was_shared |= image_n_open(im) > 1;
	tell_trust(p, im);
	return 0;
}

void pfs_predictor_closed(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			  uint64_t now)
{
	struct image *im = images_find(&p->images, image);
	struct session *s = im ? image_session(im, vm) : NULL;

	if (!s || --s->n_handles)
		return;
	s->closed_ns = now;
	p->closing_ns = PFS_MIN(p->closing_ns, now + SESSION_CLOSE_NS);
}

/* What its arbiter has counted moves into the tallies. */
static void tally_session(struct pfs_predictor *p, const struct image *im,
			  const struct session *s)
{
	struct pfs_prefetch_stats n = {0};

	session_count(s, &n);
	tally_add(&p->tallies, im->id, s->vm, &n);
}

static void end_session(struct pfs_predictor *p, struct image *im,
			struct session *s)
{
	tally_session(p, im, s);
	planner_cancel(p->planner, im->id, s->vm);
	image_close_session(im, s);
}

/* A reset guest may run ahead of its boot again; a window of a long life gets
 * no new allowance. */
static void renew_session(struct pfs_predictor *p, struct image *im,
			  struct session *s, uint64_t now)
{
	bool was_reset = session_was_reset(s);

	tally_session(p, im, s);
	session_renew(s);
	if (!was_reset)
		return;
	planner_cancel(p->planner, im->id, s->vm);
	planner_session(p->planner, s->vm, now);
}

static void end_closed(struct pfs_predictor *p, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (uint32_t i = 0; i < p->images.n; i++) {
		struct image *im = p->images.image[i];
		struct session *s, *after;

		for (s = im->sessions; s; s = after) {
			after = s->next;
			if (s->closed_ns == UINT64_MAX)
				continue;
			if (s->closed_ns + SESSION_CLOSE_NS <= now)
				end_session(p, im, s);
			else
				next = PFS_MIN(next,
					       s->closed_ns + SESSION_CLOSE_NS);
		}
	}
	p->closing_ns = next;
}

void pfs_predictor_finish(struct pfs_predictor *p, uint64_t now)
{
	p->now = PFS_MAX(p->now, now);
	for (uint32_t i = 0; i < p->images.n; i++) {
		struct image *im = p->images.image[i];

		while (im->sessions)
			end_session(p, im, im->sessions);
	}
	p->closing_ns = UINT64_MAX;
}

void pfs_predictor_changed(struct pfs_predictor *p, uint64_t image)
{
	struct image *im = images_find(&p->images, image);

	if (!im)
		return;
	planner_cancel(p->planner, image, 0);
	replay_changed(im->learning.source[PFS_PROPOSER_REPLAY]);
}

void pfs_predictor_gone(struct pfs_predictor *p, uint64_t image)
{
	struct image *im = images_find(&p->images, image);

	if (!im)
		return;
	planner_cancel(p->planner, image, 0);
	images_drop(&p->images, im);
}

uint64_t pfs_predictor_deadline(const struct pfs_predictor *p)
{
	uint64_t due = PFS_MIN(p->closing_ns, issued_deadline(&p->issued));

	return PFS_MIN(due, planner_deadline(p->planner));
}

void pfs_predictor_tick(struct pfs_predictor *p, uint64_t now)
{
	p->now = PFS_MAX(p->now, now);
	issued_age(&p->issued, now);
	if (p->closing_ns <= now)
		end_closed(p, now);
}

/* --- reads and writes --- */

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
	bool was_used = false, is_fresh = false;

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
	}
	s->n_reads++;
	if (was_used && source_ns > a->latency_ns)
		tally_add(&p->tallies, im->id, s->vm,
			  &(struct pfs_prefetch_stats){
				  .saved_ns = source_ns - a->latency_ns});
	if (session_was_reset(s) || session_is_full(s))
		renew_session(p, im, s, now);
	if (is_fresh)
		ask(p, im, s, source_ns, now);
}

/* Every session of the image hears of it: its recordings of what was there
 * are worth nothing now. */
static void write_chunks(struct pfs_predictor *p, struct image *im,
			 const struct pfs_access *a)
{
	uint64_t end = a->off + a->len, chunk_size = p->cfg.chunk;
	uint64_t first = a->off / chunk_size, last = (end - 1) / chunk_size;
	bool is_whole = a->off % chunk_size == 0 && end % chunk_size == 0;

	for (struct session *s = im->sessions; s; s = s->next)
		session_wrote(s, first, last - first + 1, is_whole);
	for (uint64_t c = first; c <= last; c++)
		planner_cancel_chunk(p->planner, im->id, c);
}

void pfs_predictor_observe(struct pfs_predictor *p, const struct pfs_access *a,
			   uint64_t now)
{
	struct image *im = images_find(&p->images, a->image);
	struct session *s = im ? image_session(im, a->vm) : NULL;

	p->now = PFS_MAX(p->now, now);
	if (!s || !a->len)
		return;
	issued_age(&p->issued, now);
	if (a->is_write) {
		write_chunks(p, im, a);
	} else {
		tell_planner(p, a, now);
		read_chunks(p, im, s, a, now);
	}
}

void pfs_predictor_evicted(struct pfs_predictor *p, uint64_t image,
			   uint64_t chunk)
{
	issued_evicted(&p->issued, image, chunk, p->now);
}

/* --- fetches --- */

static void feed_warm(struct pfs_predictor *p, struct image *im, uint64_t now)
{
	for (uint32_t i = 0; i < WARM_LOOK && warm_left(&im->warm); i++) {
		struct wish w = {.image = im->id,
				 .chunk = warm_take(&im->warm),
				 .p = 1.0f,
				 .is_warm = true};

		if (p->cfg.is_absent(p->cfg.arg, w.image, w.chunk) &&
		    !issued_is_pending(&p->issued, w.image, w.chunk))
			planner_add(p->planner, &w, now);
	}
}

/* Only into an idle queue: warming waits for all else. */
static void warm_some(struct pfs_predictor *p, uint64_t now)
{
	struct planner_stats n;

	planner_stats(p->planner, &n);
	if (n.n_queued)
		return;
	p->is_warming = false;
	for (uint32_t i = 0; i < p->images.n && !n.n_queued; i++) {
		struct image *im = p->images.image[i];

		if (!warm_left(&im->warm))
			continue;
		feed_warm(p, im, now);
		p->is_warming = true;
		planner_stats(p->planner, &n);
	}
}

static void note_order(struct pfs_predictor *p,
		       const struct pfs_prefetch_order *o, uint64_t now)
{
	const struct wish *w = planner_ordered(p->planner);

	issued_order(&p->issued, o, w, now);
	for (uint32_t i = 0; i < o->n_chunks; i++) {
		struct pfs_prefetch_stats n = {.issued = 1, .pending = 1};

		if (w[i].is_warm)
			continue;
		credit(&n, w[i].proposers, false);
		tally_add(&p->tallies, w[i].image, w[i].vm, &n);
	}
}

bool pfs_predictor_next(struct pfs_predictor *p, uint64_t now,
			struct pfs_prefetch_order *out)
{
	if (p->is_warming)
		warm_some(p, now);
	if (!planner_next(p->planner, now, out))
		return false;
	note_order(p, out, now);
	return true;
}

void pfs_predictor_fetched(struct pfs_predictor *p, uint64_t id,
			   uint32_t n_fetched, uint64_t latency_ns,
			   uint64_t now)
{
	p->now = PFS_MAX(p->now, now);
	planner_fetched(p->planner, id, n_fetched, latency_ns, now);
	issued_fetched(&p->issued, id, n_fetched, now);
}

int pfs_predictor_warm(struct pfs_predictor *p, uint64_t image,
		       uint64_t first_chunk, uint64_t n_chunks,
		       bool from_recording, uint64_t now)
{
	struct image *im = images_find(&p->images, image);
	int err = 0;

	p->now = PFS_MAX(p->now, now);
	if (!im || !im->sessions)
		return -ENOENT;
	if (from_recording)
		err = warm_recording(&im->warm,
				     im->learning.source[PFS_PROPOSER_REPLAY]);
	else if (first_chunk < im->n_chunks)
		warm_range(&im->warm, first_chunk,
			   PFS_MIN(n_chunks, im->n_chunks - first_chunk));
	p->is_warming |= warm_left(&im->warm) != 0;
	return err;
}

uint64_t pfs_predictor_warming(const struct pfs_predictor *p, uint64_t image)
{
	const struct image *im = images_find(&p->images, image);

	return im ? warm_left(&im->warm) : 0;
}
