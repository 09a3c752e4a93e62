/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session.h"

#include <string.h>

#include <pfs/hash.h>

#include "wrong.h"

const struct proposer *const session_sources[SOURCES] = {
	[PFS_PROPOSER_SEQUENTIAL] = &proposer_sequential,
	[PFS_PROPOSER_REPLAY] = &proposer_replay,
	[PFS_PROPOSER_MARKOV] = &proposer_markov,
	[SOURCE_WRONG] = &proposer_wrong,
};

/* --- learning --- */

int learning_create(struct learning *l, const struct learning_config *cfg,
		    bool always_wrong)
{
	*l = (struct learning){.chunk = cfg->chunk};
	for (uint32_t i = 0; i < SOURCES; i++) {
		int err;

		if (i == SOURCE_WRONG && !always_wrong)
			continue;
		err = session_sources[i]->image_create(cfg, &l->source[i]);
		if (err) {
			learning_destroy(l);
			return err;
		}
	}
	return 0;
}

void learning_destroy(struct learning *l)
{
	for (uint32_t i = 0; i < SOURCES; i++)
		if (l->source[i])
			session_sources[i]->image_destroy(l->source[i]);
	*l = (struct learning){0};
}

size_t learning_memory(const struct learning *l)
{
	size_t sum = sizeof(*l);

	for (uint32_t i = 0; i < SOURCES; i++)
		if (l->source[i])
			sum += session_sources[i]->memory(l->source[i]);
	return sum;
}

/* --- life --- */

/* A proposer that has no memory for a session sits it out. */
static void begin(struct session *s)
{
	for (uint32_t i = 0; i < SOURCES; i++) {
		void *image = s->learning->source[i];

		s->state[i] = NULL;
		if (image && session_sources[i]->session_create(
				     image, s->vm, &s->state[i]) != 0)
			s->state[i] = NULL;
	}
}

static void end(struct session *s)
{
	for (uint32_t i = 0; i < SOURCES; i++)
		if (s->state[i])
			session_sources[i]->session_destroy(s->state[i]);
	memset(s->state, 0, sizeof(s->state));
	arbiter_teach(&s->arbiter, &s->learning->boards);
}

static size_t touched_bytes(const struct session *s)
{
	return (s->bit_mask + 1) / 8;
}

int session_begin(struct learning *l, uint64_t vm, uint64_t n_chunks,
		  struct session **out)
{
	struct session *s = calloc(1, sizeof(*s));
	uint64_t n_bits = SESSION_BITS_MIN;

	if (!s)
		return -ENOMEM;
	while (n_bits < n_chunks && n_bits < SESSION_BITS_MAX)
		n_bits *= 2;
	s->bit_mask = n_bits - 1;
	s->learning = l;
	s->vm = vm;
	s->closed_ns = UINT64_MAX;
	streams_init(&s->streams, l->chunk);
	s->touched = calloc(1, touched_bytes(s));
	if (!s->touched || arbiter_init(&s->arbiter, &l->boards) != 0) {
		free(s->touched);
		free(s);
		return -ENOMEM;
	}
	begin(s);
	*out = s;
	return 0;
}

void session_finish(struct session *s)
{
	if (!s)
		return;
	end(s);
	arbiter_fini(&s->arbiter);
	free(s->touched);
	free(s);
}

/* --- touches --- */

static bool touch_first(struct session *s, uint64_t chunk)
{
	uint64_t bit =
		chunk <= s->bit_mask ? chunk : pfs_mix64(chunk) & s->bit_mask;
	uint64_t *word = &s->touched[bit / 64], mask = 1ull << bit % 64;
	bool is_first = !(*word & mask);

	*word |= mask;
	return is_first;
}

static bool begins_boot(const struct session *s, const struct touch *t)
{
	return s->n_boot && t->chunk == s->boot[0] && t->off < 4096 &&
	       s->n_touches >= RESET_MIN;
}

static void watch_for_reset(struct session *s, uint32_t handle,
			    const struct touch *t)
{
	if (s->n_watch == RESET_TOUCHES ||
	    (s->n_watch && t->time_ns - s->watch[0].time_ns > RESET_NS))
		s->n_watch = 0;
	if (begins_boot(s, t) && __builtin_popcount(s->seen) <= 2)
		s->n_watch = 0; /* that is where it would start */
	else if (!s->n_watch)
		return;
	if (!s->n_watch)
		s->seen = 0;
	s->watch[s->n_watch] = *t;
	s->watch_handle[s->n_watch++] = handle;
	for (uint32_t i = 0; i < s->n_boot; i++)
		if (s->boot[i] == t->chunk)
			s->seen |= 1u << i;
}

void session_touch(struct session *s, uint32_t handle, struct touch *t)
{
	streams_touch(&s->streams, handle, t);
	t->seq = s->n_touches++;
	t->is_first = touch_first(s, t->chunk);
	if (t->is_first && s->n_boot < RESET_BOOT)
		s->boot[s->n_boot++] = t->chunk;
	else
		watch_for_reset(s, handle, t);
}

void session_tell(struct session *s, const struct touch *t)
{
	for (uint32_t i = 0; i < SOURCES; i++)
		if (s->state[i])
			session_sources[i]->observe(s->state[i], t);
}

void session_wrote(struct session *s, uint64_t first, uint64_t n, bool whole)
{
	for (uint32_t i = 0; i < SOURCES; i++)
		if (s->state[i])
			session_sources[i]->wrote(s->state[i], first, n, whole);
}

void session_count(const struct session *s, struct pfs_prefetch_stats *sum)
{
	for (uint32_t i = 0; i < PFS_PROPOSER_N; i++) {
		sum->score[i].proposed += s->arbiter.proposed[i];
		sum->score[i].came += s->arbiter.came[i];
		sum->score[i].asked += s->arbiter.n_needed;
	}
}

size_t session_memory(const struct session *s)
{
	return sizeof(*s) + touched_bytes(s) +
	       (SOURCES + 1) * sizeof(struct shadow);
}

/* --- starting over --- */

bool session_was_reset(const struct session *s)
{
	return s->n_watch && (uint32_t)__builtin_popcount(s->seen) >=
				     PFS_MIN(RESET_SAME, s->n_boot);
}

bool session_is_full(const struct session *s)
{
	return s->n_reads >= SESSION_READS;
}

void session_renew(struct session *s)
{
	uint32_t n_watch = session_was_reset(s) ? s->n_watch : 0;

	end(s);
	arbiter_renew(&s->arbiter, &s->learning->boards);
	memset(s->touched, 0, touched_bytes(s));
	s->n_reads = s->n_touches = 0;
	s->n_boot = s->n_watch = s->seen = 0;
	begin(s);
	streams_init(&s->streams, s->learning->chunk);
	for (uint32_t i = 0; i < n_watch; i++) {
		struct touch t = s->watch[i];

		session_touch(s, s->watch_handle[i], &t);
		session_tell(s, &t);
	}
}
