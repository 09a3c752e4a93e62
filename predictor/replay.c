/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The proposer `replay`: a session follows the recordings of its image and
 * leaves one itself.  follow.c says where it is in them. */
#include "proposer.h"
#include "replay_image.h"

#define READS_MIN 64u    /* a shorter session leaves nothing */
#define STEPS_FIRST 256u /* room at first; doubled as needed */

/* --- image --- */

static int image_create(const struct learning_config *cfg, void **image)
{
	struct replay_image *img = calloc(1, sizeof(*img));

	if (!img)
		return -ENOMEM;
	img->chunk = cfg->chunk;
	*image = img;
	return 0;
}

static void image_destroy(void *image)
{
	struct replay_image *img = image;

	if (!img)
		return;
	for (uint32_t i = 0; i < img->n_recs; i++)
		recording_put(img->rec[i]);
	for (uint32_t i = 0; i < img->n_old; i++)
		recording_put(img->old[i]);
	free(img->blob);
	free(img);
}

static size_t memory(const void *image)
{
	const struct replay_image *img = image;
	size_t n = sizeof(*img);

	for (uint32_t i = 0; i < img->n_recs; i++)
		n += recording_memory(img->rec[i]);
	for (uint32_t i = 0; i < img->n_old; i++)
		n += recording_memory(img->old[i]);
	for (const struct replay_session *s = img->sessions; s; s = s->next)
		n += sizeof(*s) + s->n_room * sizeof(*s->step) +
		     follow_memory(&s->follow);
	return n;
}

/* --- session --- */

static int session_create(void *image, uint64_t vm, void **session)
{
	struct replay_image *img = image;
	struct replay_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->image = img;
	s->vm = vm;
	s->next = img->sessions;
	img->sessions = s;
	*session = s;
	return 0;
}

/* Recordings may be given back after the session was created, so it looks for
 * them at its first touch. */
static void start_following(struct replay_session *s)
{
	struct replay_image *img = s->image;

	s->is_following = true;
	for (uint32_t i = 0; i < img->n_recs; i++) {
		struct recording *r = img->rec[i];

		/* -ENOMEM costs what this one would have said. */
		(void)!follow_add(&s->follow, r,
				  (float)recording_weight(r, img->clock),
				  replay_trusts(s, r));
	}
}

static bool is_written(const struct replay_session *s, uint64_t chunk)
{
	uint32_t n = PFS_MIN(s->n_written, REPLAY_WRITTEN_MAX);

	for (uint32_t i = 0; i < n; i++)
		if (chunk - s->written[i].first < s->written[i].n)
			return true;
	return false;
}

/* Room for one step more; false: none, or long enough. */
static bool has_room(struct replay_session *s)
{
	uint32_t n = s->n_room ? s->n_room * 2 : STEPS_FIRST;
	struct step *step;

	if (s->n_steps < s->n_room)
		return true;
	if (s->n_steps == PFS_RECORDING_STEPS_MAX)
		return false;
	step = realloc(s->step, n * sizeof(*step));
	if (!step)
		return false;
	s->step = step;
	s->n_room = n;
	return true;
}

static void record(struct replay_session *s, const struct touch *t)
{
	uint64_t gap_ns;

	if (is_written(s, t->chunk) || !has_room(s))
		return;
	if (!s->n_steps)
		s->first_ns = s->last_ns = t->time_ns;
	gap_ns = t->time_ns > s->last_ns ? t->time_ns - s->last_ns : 0;
	s->last_ns = PFS_MAX(s->last_ns, t->time_ns);
	s->step[s->n_steps++] = (struct step){
		.chunk = (uint32_t)t->chunk,
		.gap = recording_gap_class(gap_ns),
		.again = !t->is_first,
	};
}

/* A chunk read again is a step when it had to be fetched again, or would have
 * been had replay not named it. */
static bool is_step(struct replay_session *s, const struct touch *t)
{
	return t->is_first ||
	       follow_named_again(&s->follow, (uint32_t)t->chunk) ||
	       t->outcome == PFS_ACCESS_MISS || t->outcome == PFS_ACCESS_LATE;
}

static void observe(void *session, const struct touch *t)
{
	struct replay_session *s = session;

	s->n_reads += t->is_last;
	/* Chunks beyond are served past the store, holes never fetched. */
	if (t->chunk >= UINT32_MAX || t->outcome == PFS_ACCESS_HOLE ||
	    !is_step(s, t))
		return;
	if (!s->is_following)
		start_following(s);
	follow_touch(&s->follow, (uint32_t)t->chunk, !t->is_first);
	record(s, t);
}

/* What the guest wrote whole before it read it is no part of a recording: a
 * later session would find other bytes, if it reads there at all. */
static void wrote(void *session, uint64_t first, uint64_t n, bool whole)
{
	struct replay_session *s = session;
	struct extent *last;

	if (!whole || !n)
		return;
	last = &s->written[(s->n_written - 1) % REPLAY_WRITTEN_MAX];
	if (s->n_written && last->first + last->n == first)
		last->n += n;
	else
		s->written[s->n_written++ % REPLAY_WRITTEN_MAX] =
			(struct extent){first, n};
}

static uint32_t propose(void *session, struct candidate *out, uint32_t max)
{
	struct replay_session *s = session;

	return follow_propose(&s->follow, out, max);
}

/* --- learning --- */

static void learn(struct replay_image *img, const struct replay_session *s)
{
	struct recording_source src = {
		.step = s->step,
		.n_steps = s->n_steps,
		.chunk = img->chunk,
		.vm = s->vm,
		.duration_ns = s->last_ns - s->first_ns,
		.clock = img->clock + 1,
		.flags = img->is_shared ? RECORDING_SHARED : 0,
	};
	struct recording *r;

	if (!recording_create(&src, &r)) /* else it leaves nothing */
		replay_keep(img, r);
}

static void session_destroy(void *session)
{
	struct replay_session *s = session;
	struct replay_image *img = s->image;
	struct replay_session **at = &img->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	follow_fini(&s->follow);
	if (s->n_reads >= READS_MIN && s->n_steps)
		learn(img, s);
	free(s->step);
	free(s);
}

/* --- the proposer --- */

const struct proposer proposer_replay = {
	.name = "replay",
	.image_create = image_create,
	.image_destroy = image_destroy,
	.session_create = session_create,
	.session_destroy = session_destroy,
	.observe = observe,
	.wrote = wrote,
	.propose = propose,
	.memory = memory,
};
