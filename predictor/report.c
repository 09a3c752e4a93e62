/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "facade.h"
#include "replay.h"

/* --- learning, to be kept --- */

static void *replay_of(const struct image *im)
{
	return im->learning.source[PFS_PROPOSER_REPLAY];
}

bool pfs_predictor_saved(struct pfs_predictor *p, struct pfs_saved *out)
{
	for (uint32_t n = 0; n < p->images.n; n++) {
		struct image *im;

		if (p->save_next >= p->images.n)
			p->save_next = 0;
		im = p->images.image[p->save_next];
		out->image = im->id;
		if (replay_saved(replay_of(im), &out->number, &out->blob,
				 &out->len))
			return true;
		p->save_next++;
	}
	return false;
}

int pfs_predictor_restore(struct pfs_predictor *p, uint64_t image,
			  uint64_t number, const void *blob, size_t len)
{
	struct image *im = images_find(&p->images, image);
	int err;

	if (!im)
		return -ENOENT;
	err = replay_restore(replay_of(im), number, blob, len);
	im->was_shared |= replay_is_shared(replay_of(im));
	return err;
}

int pfs_predictor_drop(struct pfs_predictor *p, uint64_t image, uint64_t number)
{
	struct image *im = images_find(&p->images, image);

	return im ? replay_drop(replay_of(im), number) : -ENOENT;
}

/* --- looking at it --- */

/* How a proposer is doing, averaged over sessions by what they asked for. */
struct mean {
	double weight, precision, coverage, saved_ns;
};

static void mean_add(struct mean *m, const struct board *b, double weight)
{
	m->weight += weight;
	m->precision += weight * board_precision(b);
	m->coverage += weight * (double)b->coverage;
	m->saved_ns += weight * (double)b->saved_ns;
}

static void mean_put(const struct mean *m, struct pfs_score *out)
{
	if (m->weight <= 0)
		return;
	out->precision = m->precision / m->weight;
	out->coverage = m->coverage / m->weight;
	out->saved_ns = m->saved_ns / m->weight;
	out->is_off = out->precision < (double)ARBITER_FLOOR;
}

static void add_boards(const struct board *b, double weight, struct mean *m)
{
	for (uint32_t i = 0; i < PFS_PROPOSER_N; i++)
		mean_add(&m[i], &b[i], weight);
}

/* Of an image without a session what its last ones left counts, little. */
static void add_image(const struct image *im, uint64_t vm,
		      struct pfs_prefetch_stats *out, struct mean *m)
{
	if (!im->sessions && !vm)
		add_boards(im->learning.boards.source, 1.0, m);
	for (const struct session *s = im->sessions; s; s = s->next) {
		if (vm && s->vm != vm)
			continue;
		session_count(s, out);
		add_boards(s->arbiter.boards.source, 1.0 + s->arbiter.n_needed,
			   m);
	}
}

void pfs_predictor_stats(const struct pfs_predictor *p, uint64_t image,
			 uint64_t vm, struct pfs_prefetch_stats *out)
{
	struct mean m[PFS_PROPOSER_N] = {0};
	struct planner_stats n;

	tally_sum(&p->tallies, image, vm, out);
	for (uint32_t i = 0; i < p->images.n; i++)
		if (!image || p->images.image[i]->id == image)
			add_image(p->images.image[i], vm, out, m);
	for (uint32_t i = 0; i < PFS_PROPOSER_N; i++)
		mean_put(&m[i], &out->score[i]);
	planner_stats(p->planner, &n);
	out->source_ns = n.source_ns;
	if (image || vm)
		return;
	out->dropped_old = n.dropped_old;
	out->dropped_budget = n.dropped_budget;
	out->dropped_full = n.dropped_full;
	out->in_flight = n.in_flight;
}

int pfs_predictor_each(const struct pfs_predictor *p,
		       int (*fn)(void *arg, uint64_t image, uint64_t vm),
		       void *arg)
{
	for (uint32_t i = 0; i < p->images.n; i++) {
		const struct image *im = p->images.image[i];

		for (struct session *s = im->sessions; s; s = s->next) {
			int stop = fn(arg, im->id, s->vm);

			if (stop)
				return stop;
		}
	}
	return 0;
}

size_t pfs_predictor_why(const struct pfs_predictor *p, uint64_t image,
			 uint64_t chunk, struct pfs_why *out, size_t n)
{
	return issued_why(&p->issued, image, chunk, out, n);
}

size_t pfs_predictor_memory(const struct pfs_predictor *p, uint64_t image)
{
	const struct image *im = images_find(&p->images, image);
	size_t sum = 0;

	if (!im)
		return 0;
	for (const struct session *s = im->sessions; s; s = s->next)
		sum += session_memory(s);
	return sum + learning_memory(&im->learning);
}
