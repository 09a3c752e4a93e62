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

static int init(struct pfs_predictor *p)
{
	struct planner_config cfg = {
		.chunk = p->cfg.chunk,
		.level = p->cfg.level,
		.rate_max = p->cfg.rate_max,
		.is_absent = is_absent,
		.arg = p,
		.dropped = predictor_wish_dropped,
	};
	int err = planner_create(&cfg, &p->planner);

	if (!err)
		err = issued_init(&p->issued, predictor_decision_ended, p);
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
	int err;

	if (p->n_sessions == SESSIONS_MAX)
		return -ENOSPC;
	err = session_begin(&im->learning, vm, im->n_chunks, &s);
	if (err)
		return err;
	p->n_sessions++;
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
	p->n_sessions--;
}

/* A reset guest may run ahead of its boot again; a window of a long life gets
 * no new allowance. */
void predictor_renew_session(struct pfs_predictor *p, struct image *im,
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
	planner_cancel(p->planner, image, PLANNER_ANY_VM);
	replay_changed(im->learning.source[PFS_PROPOSER_REPLAY]);
}

void pfs_predictor_gone(struct pfs_predictor *p, uint64_t image)
{
	struct image *im = images_find(&p->images, image);

	if (!im)
		return;
	planner_cancel(p->planner, image, PLANNER_ANY_VM);
	while (im->sessions)
		end_session(p, im, im->sessions);
	images_drop(&p->images, im);
}

uint64_t pfs_predictor_deadline(const struct pfs_predictor *p)
{
	uint64_t due = PFS_MIN(p->closing_ns, issued_deadline(&p->issued));
	struct planner_stats n;

	due = PFS_MIN(due, planner_deadline(p->planner));
	planner_stats(p->planner, &n);
	/* None of those looked at was to be fetched, so nothing that ends
	 * brings us back. */
	if (p->is_warming && !n.n_queued)
		due = PFS_MIN(due, p->now + WARM_PAUSE_NS);
	return due;
}

void pfs_predictor_tick(struct pfs_predictor *p, uint64_t now)
{
	p->now = PFS_MAX(p->now, now);
	issued_age(&p->issued, now);
	if (p->closing_ns <= now)
		end_closed(p, now);
}
