/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Proposer "sequential": what lies ahead of a reader, and around it.
 *
 * A run is a stream that keeps moving by the same number of chunks: forward,
 * backward or in strides.  Once confirmed it proposes a window of twice its
 * length so far, from 4 chunks up to 2 MiB.  Each stream has two runs, so that
 * a look elsewhere does not end one.  How likely a run is to go on is counted
 * when runs end: of those that came to 2, 4, 8, ... steps, how many came to
 * twice as many.  Before anything was counted that is one in two, which is
 * Zipf's law: runs are about as rare as they are long.
 *
 * The untouched chunks around a request are judged by nearby.c, which knows
 * more; where both have an opinion, nearby's is taken.
 */
#include <math.h>
#include <string.h>

#include "candidates.h"
#include "nearby.h"

#define WINDOW_MIN 4u
#define WINDOW_MAX PFS_MIB(2)
#define RUNS 2u
#define CONFIRMED 2u        /* steps by one chunk */
#define CONFIRMED_STRIDE 3u /* steps by any other number */

#define OCTAVES 8u /* run lengths 1, 2, 4, ... 128 and more */
#define REACHED_AT_START 8.0f
#define REACHED_MAX 128.0f /* then both are halved */
#define P_MIN 0.2f         /* below that it is not worth naming */

enum kind {
	FORWARD,
	BACKWARD,
	STRIDE,
	KINDS
};

struct image {
	uint64_t n_chunks;
	uint32_t window_max; /* chunks */
	size_t memory;       /* of its sessions too */
	struct nearby_learned nearby;
	struct octave {
		float reached, doubled; /* runs that came so far, or twice */
		float slope, share;     /* log2 of doubled / reached; its sum */
	} octave[KINDS][OCTAVES];
};

struct run {
	uint64_t head;
	int64_t delta;
	uint32_t steps; /* 0: none */
	uint32_t used;  /* touches of the session */
};

struct session {
	struct image *image; /* borrowed */
	struct nearby nearby;
	struct run run[STREAMS_MAX][RUNS];
	const struct run *latest; /* of the latest touch; NULL: unconfirmed */
	uint32_t n_touches;
	size_t memory; /* as counted in the image */
};

/* --- images and sessions --- */

/* Make slopes and sums true again. */
static void sum_octaves(struct octave *o)
{
	float share = 0;

	for (uint32_t i = 0; i < OCTAVES; i++) {
		o[i].slope = log2f(o[i].doubled / o[i].reached);
		o[i].share = share;
		share += o[i].slope;
	}
}

static void octaves_init(struct image *img)
{
	for (uint32_t k = 0; k < KINDS; k++) {
		for (uint32_t i = 0; i < OCTAVES; i++)
			img->octave[k][i] = (struct octave){
				.reached = REACHED_AT_START,
				.doubled = REACHED_AT_START / 2,
			};
		sum_octaves(img->octave[k]);
	}
}

static int image_create(const struct learning_config *cfg, void **image)
{
	struct image *img = calloc(1, sizeof(*img));

	if (!img)
		return -ENOMEM;
	img->n_chunks = cfg->n_chunks;
	img->window_max =
		(uint32_t)PFS_MAX(WINDOW_MAX / cfg->chunk, (uint64_t)1);
	img->memory = sizeof(*img);
	nearby_learned_init(&img->nearby);
	octaves_init(img);
	*image = img;
	return 0;
}

static void image_destroy(void *image)
{
	free(image);
}

static size_t memory(const void *image)
{
	return ((const struct image *)image)->memory;
}

static void count_memory(struct session *s, size_t now)
{
	s->image->memory += now - s->memory;
	s->memory = now;
}

static int session_create(void *image, uint64_t vm, void **session)
{
	struct session *s = calloc(1, sizeof(*s));
	int err;

	(void)vm; /* all VMs teach the same: nothing of it names a chunk */
	if (!s)
		return -ENOMEM;
	s->image = image;
	err = nearby_init(&s->nearby, &s->image->nearby);
	if (err) {
		free(s);
		return err;
	}
	count_memory(s, sizeof(*s) + touched_memory(&s->nearby.touched));
	*session = s;
	return 0;
}

static void session_destroy(void *session)
{
	struct session *s = session;

	count_memory(s, 0);
	nearby_fini(&s->nearby);
	free(s);
}

/* --- runs --- */

static enum kind kind_of(int64_t delta)
{
	return delta == 1 ? FORWARD : delta == -1 ? BACKWARD : STRIDE;
}

/* Binary logarithm of the share of runs that come to so many steps: a straight
 * line within an octave, the last one goes on for ever. */
static float log_share(const struct octave *o, uint32_t steps)
{
	uint32_t i = PFS_MIN(31u - (uint32_t)__builtin_clz(steps), OCTAVES - 1);

	return o[i].share + o[i].slope * (log2f((float)steps) - (float)i);
}

/* Chance that a run takes so many steps more. */
static float run_chance(const struct image *img, const struct run *r,
			uint32_t more)
{
	const struct octave *o = img->octave[kind_of(r->delta)];

	return exp2f(log_share(o, r->steps + more) - log_share(o, r->steps));
}

static void count_octave(struct octave *o, bool has_doubled)
{
	if (o->reached >= REACHED_MAX) {
		o->reached /= 2;
		o->doubled /= 2;
	}
	o->reached++;
	o->doubled += has_doubled ? 1 : 0;
}

/* Most "runs" are one step long: those are no news. */
static void run_end(struct image *img, const struct run *r)
{
	struct octave *o = img->octave[kind_of(r->delta)];

	for (uint32_t i = 1; i < OCTAVES && r->steps >> i; i++)
		count_octave(&o[i], r->steps >> (i + 1));
	if (r->steps > 1)
		sum_octaves(o);
}

static bool is_confirmed(const struct run *r)
{
	return r->steps >=
	       (kind_of(r->delta) == STRIDE ? CONFIRMED_STRIDE : CONFIRMED);
}

/* The run of the stream that a touch carries on, or the one that it ends by
 * starting over. */
static struct run *run_of(struct session *s, const struct touch *t)
{
	struct run *runs = s->run[t->stream], *r = &runs[0];

	for (uint32_t i = 0; i < RUNS; i++)
		if (runs[i].steps &&
		    t->chunk == runs[i].head + (uint64_t)runs[i].delta) {
			runs[i].steps++;
			return &runs[i];
		}
	for (uint32_t i = 1; i < RUNS; i++)
		if (runs[i].used < r->used)
			r = &runs[i];
	run_end(s->image, r);
	*r = (struct run){.delta = t->delta, .steps = 1};
	return r;
}

static void runs_forget(struct session *s, uint32_t stream)
{
	for (uint32_t i = 0; i < RUNS; i++) {
		run_end(s->image, &s->run[stream][i]);
		s->run[stream][i] = (struct run){0};
	}
}

static void runs_observe(struct session *s, const struct touch *t)
{
	struct run *r;

	if (t->is_new_stream)
		runs_forget(s, t->stream);
	s->latest = NULL;
	if (t->is_new_stream || t->delta == 0)
		return;
	r = run_of(s, t);
	r->head = t->chunk;
	r->used = s->n_touches;
	if (is_confirmed(r))
		s->latest = r;
}

static void observe(void *session, const struct touch *t)
{
	struct session *s = session;

	s->n_touches++;
	s->image->n_chunks = PFS_MAX(s->image->n_chunks, t->chunk + 1);
	runs_observe(s, t);
	nearby_observe(&s->nearby, t);
	count_memory(s, sizeof(*s) + touched_memory(&s->nearby.touched));
}

/* What a guest wrote it may read as well as before. */
static void wrote(void *session, uint64_t first, uint64_t n, bool whole)
{
	(void)session;
	(void)first;
	(void)n;
	(void)whole;
}

/* --- proposing --- */

/* The window of the latest run, after out[0..n - 1]; what is there already
 * keeps its chance, but a run knows better when.  How many there are now. */
static uint32_t propose_run(const struct session *s, struct candidate *out,
			    uint32_t n, uint32_t max)
{
	const struct run *r = s->latest;
	uint32_t n_known = n, window;
	uint64_t chunk;

	if (!r)
		return n;
	window = PFS_MAX(WINDOW_MIN, 2 * r->steps);
	window = PFS_MIN(window, s->image->window_max);
	chunk = r->head;
	for (uint32_t i = 1; i <= window && n < max; i++) {
		struct candidate *known;
		float p = run_chance(s->image, r, i);

		chunk += (uint64_t)r->delta; /* below 0 it wraps to the end */
		if (chunk >= s->image->n_chunks || p < P_MIN)
			break;
		known = candidates_find(out, n_known, chunk);
		if (known)
			known->distance = i;
		else
			out[n++] = (struct candidate){
				.chunk = chunk, .p = p, .distance = i};
	}
	return n;
}

static uint32_t propose(void *session, struct candidate *out, uint32_t max)
{
	const struct session *s = session;
	struct candidate all[NEARBY_MAX + CANDIDATES_MAX];
	uint32_t n_near = nearby_propose(&s->nearby, all), n = 0;

	for (uint32_t i = 0; i < n_near; i++)
		if (all[i].chunk < s->image->n_chunks && all[i].p >= P_MIN)
			all[n++] = all[i];
	n = propose_run(s, all, n, PFS_ARRAY_SIZE(all));
	candidates_sort(all, n);
	n = PFS_MIN(n, max);
	memcpy(out, all, n * sizeof(*out));
	return n;
}

const struct proposer proposer_sequential = {
	.name = "sequential",
	.image_create = image_create,
	.image_destroy = image_destroy,
	.session_create = session_create,
	.session_destroy = session_destroy,
	.observe = observe,
	.wrote = wrote,
	.propose = propose,
	.memory = memory,
};
