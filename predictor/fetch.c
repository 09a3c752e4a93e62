/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "facade.h"

/* --- what became of them --- */

void predictor_wish_dropped(void *arg, const struct wish *w)
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

static void note_extra(struct pfs_predictor *p, const struct decision *d)
{
	struct image *im = images_find(&p->images, d->image);
	struct session *s = im ? image_session(im, d->why.vm) : NULL;

	planner_extra(p->planner, d->why.vm, 1);
	if (s)
		arbiter_evicted(&s->arbiter, d->why.chunk);
}

void predictor_decision_ended(void *arg, const struct decision *d)
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

void pfs_predictor_evicted(struct pfs_predictor *p, uint64_t image,
			   uint64_t chunk)
{
	issued_evicted(&p->issued, image, chunk, p->now);
}

/* --- orders --- */

static void feed_warm(struct pfs_predictor *p, struct image *im, uint64_t now)
{
	for (uint32_t i = 0; i < WARM_LOOK && warm_left(&im->warm); i++) {
		struct wish w = {.image = im->id,
				 .chunk = warm_take(&im->warm),
				 .p = 1.0f,
				 .is_warm = true};

		/* Also if it was fetched before: it was dropped since, or
		 * could not be stored. */
		if (p->cfg.is_absent(p->cfg.arg, w.image, w.chunk))
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
