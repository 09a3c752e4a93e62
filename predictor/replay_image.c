/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The recordings of an image: which are kept, believed, saved. */
#include "replay_image.h"

#include <string.h>

#include "replay.h"

/* Steps of an image's recordings together, old versions that sessions still
 * follow included: at most 20 bytes each, 2.5 MiB. */
#define STEPS_ALL (2 * PFS_RECORDING_STEPS_MAX)

/* --- keeping --- */

static uint32_t slot_of(const struct replay_image *img, uint64_t number)
{
	uint32_t i = 0;

	while (i < img->n_recs && img->rec[i]->number != number)
		i++;
	return i;
}

/* Let go of a recording that the image had, and let no session follow it. */
static void discard(struct replay_image *img, struct recording *r)
{
	for (struct replay_session *s = img->sessions; s; s = s->next)
		follow_remove(&s->follow, r);
	recording_put(r);
}

static void remove_old(struct replay_image *img, uint32_t i)
{
	struct recording *r = img->old[i];

	img->n_old--;
	memmove(&img->old[i], &img->old[i + 1],
		(img->n_old - i) * sizeof(img->old[0]));
	discard(img, r);
}

static void remove_slot(struct replay_image *img, uint32_t i)
{
	struct recording *r = img->rec[i];

	/* With a full list the saved form stays: one to be evicted later. */
	if (img->n_gone < REPLAY_GONE_MAX)
		img->gone[img->n_gone++] = r->number;
	img->rec[i] = img->rec[--img->n_recs];
	discard(img, r);
}

static uint32_t least_used(const struct replay_image *img)
{
	uint32_t least = 0;

	for (uint32_t i = 1; i < img->n_recs; i++)
		if (recording_weight(img->rec[i], img->clock) <
		    recording_weight(img->rec[least], img->clock))
			least = i;
	return least;
}

static uint32_t most_used(const struct replay_image *img)
{
	uint32_t most = 0;

	for (uint32_t i = 1; i < img->n_recs; i++)
		if (recording_weight(img->rec[i], img->clock) >
		    recording_weight(img->rec[most], img->clock))
			most = i;
	return most;
}

static uint32_t steps_of_all(const struct replay_image *img)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < img->n_recs; i++)
		n += img->rec[i]->n_steps;
	for (uint32_t i = 0; i < img->n_old; i++)
		n += img->old[i]->n_steps;
	return n;
}

/* Room for n steps more: old versions go first, then what is used least. */
static void make_room(struct replay_image *img, uint32_t n)
{
	for (uint32_t i = img->n_old; i--;)
		if (img->old[i]->n_refs == 1)
			remove_old(img, i);
	while (img->n_old && steps_of_all(img) + n > STEPS_ALL)
		remove_old(img, 0);
	while (img->n_recs && steps_of_all(img) + n > STEPS_ALL)
		remove_slot(img, least_used(img));
}

/* Takes over the reference. */
static void add(struct replay_image *img, struct recording *r)
{
	make_room(img, r->n_steps);
	if (img->n_recs == PFS_RECORDINGS_MAX)
		remove_slot(img, least_used(img));
	img->rec[img->n_recs++] = r;
}

/* Put a new version in the place of a recording. */
static void supersede(struct replay_image *img, uint32_t i, struct recording *r)
{
	struct recording *old = img->rec[i];

	img->rec[i] = img->rec[--img->n_recs];
	if (img->n_old == REPLAY_OLD_MAX)
		remove_old(img, 0);
	img->old[img->n_old++] = old;
	add(img, r);
}

/* The recording a session is most like; n_recs: none enough. */
static uint32_t most_like(const struct replay_image *img,
			  const struct recording *r)
{
	uint32_t best = img->n_recs;
	double most = RECORDING_ALIKE;

	for (uint32_t i = 0; i < img->n_recs; i++) {
		double likeness = recording_likeness(r, img->rec[i]);

		if (likeness >= most) {
			most = likeness;
			best = i;
		}
	}
	return best;
}

/* A merged recording is off probation: a session has confirmed it. */
void replay_keep(struct replay_image *img, struct recording *r)
{
	uint32_t like = most_like(img, r);
	struct recording *merged;

	img->clock++;
	if (like == img->n_recs) {
		r->number = ++img->last_number;
		add(img, r);
		return;
	}
	if (!recording_merge(img->rec[like], r, &merged))
		supersede(img, like, merged);
	recording_put(r);
}

/* --- trust --- */

bool replay_trusts(const struct replay_session *s, const struct recording *r)
{
	const struct replay_image *img = s->image;

	if (r->flags & RECORDING_PROBATION)
		return false;
	return !img->is_shared || img->trusts_shared ||
	       recording_is_of(r, s->vm);
}

static void review_trust(struct replay_image *img)
{
	for (struct replay_session *s = img->sessions; s; s = s->next)
		for (uint32_t i = 0; i < PFS_RECORDINGS_MAX; i++) {
			const struct recording *r = s->follow.rec[i].r;

			if (r)
				follow_trust(&s->follow, r,
					     replay_trusts(s, r));
		}
}

void replay_set_trust(void *image, bool is_shared, bool trusts_shared)
{
	struct replay_image *img = image;

	img->is_shared |= is_shared;
	img->trusts_shared = trusts_shared;
	review_trust(img);
}

bool replay_is_shared(const void *image)
{
	const struct replay_image *img = image;

	return img->is_shared;
}

void replay_changed(void *image)
{
	struct replay_image *img = image;

	for (uint32_t i = 0; i < img->n_recs; i++) {
		img->rec[i]->flags |= RECORDING_PROBATION;
		img->rec[i]->is_changed = true;
	}
	for (uint32_t i = 0; i < img->n_old; i++)
		img->old[i]->flags |= RECORDING_PROBATION;
	review_trust(img);
}

/* --- saving --- */

bool replay_saved(void *image, uint64_t *number, const void **blob, size_t *len)
{
	struct replay_image *img = image;

	free(img->blob);
	img->blob = NULL;
	*blob = NULL;
	*len = 0;
	if (img->n_gone) {
		*number = img->gone[--img->n_gone];
		return true;
	}
	for (uint32_t i = 0; i < img->n_recs; i++) {
		struct recording *r = img->rec[i];

		if (!r->is_changed)
			continue;
		if (recording_encode(r, &img->blob, len))
			return false; /* later, then */
		r->is_changed = false;
		*number = r->number;
		*blob = img->blob;
		return true;
	}
	return false;
}

int replay_restore(void *image, uint64_t number, const void *blob, size_t len)
{
	struct replay_image *img = image;
	struct recording *r;
	int err = recording_decode(blob, len, &r);

	if (err)
		return err;
	if (r->chunk != img->chunk) {
		recording_put(r);
		return -EINVAL;
	}
	r->number = number;
	if (slot_of(img, number) < img->n_recs) {
		remove_slot(img, slot_of(img, number));
		img->n_gone -=
			img->n_gone && img->gone[img->n_gone - 1] == number;
	}
	img->last_number = PFS_MAX(img->last_number, number);
	img->clock = PFS_MAX(img->clock, r->clock);
	img->is_shared |= !!(r->flags & RECORDING_SHARED);
	add(img, r);
	return 0;
}

int replay_drop(void *image, uint64_t number)
{
	struct replay_image *img = image;
	bool is_any = false;

	for (uint32_t i = img->n_recs; i--;)
		if (!number || img->rec[i]->number == number) {
			remove_slot(img, i);
			is_any = true;
		}
	return is_any ? 0 : -ENOENT;
}

uint32_t replay_best(const void *image, uint32_t from, uint64_t *chunks,
		     uint32_t max)
{
	const struct replay_image *img = image;
	const struct recording *r;
	uint32_t n = 0;

	if (!img->n_recs)
		return 0;
	r = img->rec[most_used(img)];
	for (uint32_t i = 0; i < r->n_steps && n < max; i++) {
		if (r->step[i].again)
			continue;
		if (from)
			from--;
		else
			chunks[n++] = r->step[i].chunk;
	}
	return n;
}
