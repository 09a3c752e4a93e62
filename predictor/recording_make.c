/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Recordings from sessions: likeness, merging, fading. */
#include "recording.h"

#include <string.h>

#define FADE 0.9 /* of a recording's weight, with each session of the image */
#define HISTORY_LATEST 0x3u /* the two latest sessions */

/* --- gaps --- */

uint8_t recording_gap_class(uint64_t ns)
{
	uint64_t us = ns / 1000;

	if (!us)
		return 0;
	return (uint8_t)PFS_MIN(64 - __builtin_clzll(us), 31);
}

/* The middle of the class. */
uint64_t recording_gap_ns(uint8_t gap)
{
	return gap ? (1500ull << gap) / 2 : 0;
}

/* --- one recording --- */

int recording_alloc(const struct recording *head, struct recording **out)
{
	struct recording *r = malloc(sizeof(*r));
	uint32_t size = 8;

	if (!r)
		return -ENOMEM;
	while (size < head->n_steps + head->n_steps / 2)
		size *= 2;
	*r = *head;
	r->n_refs = 1;
	r->n_steps = 0;
	r->mask = size - 1;
	r->step = calloc(head->n_steps, sizeof(*r->step));
	r->index = malloc(size * sizeof(*r->index));
	if (!r->step || !r->index) {
		recording_put(r);
		return -ENOMEM;
	}
	memset(r->index, 0xff, size * sizeof(*r->index)); /* RECORDING_NONE */
	*out = r;
	return 0;
}

bool recording_push(struct recording *r, const struct step *step)
{
	uint64_t hash = recording_hash(step->chunk, step->again);
	uint32_t i = (uint32_t)hash & r->mask;

	if (recording_find(r, step->chunk, step->again, hash) != RECORDING_NONE)
		return false;
	while (r->index[i] != RECORDING_NONE)
		i = (i + 1) & r->mask;
	r->index[i] = r->n_steps;
	r->step[r->n_steps++] = *step;
	return true;
}

struct recording *recording_get(struct recording *r)
{
	r->n_refs++;
	return r;
}

void recording_put(struct recording *r)
{
	if (!r || --r->n_refs)
		return;
	free(r->step);
	free(r->index);
	free(r);
}

size_t recording_memory(const struct recording *r)
{
	return sizeof(*r) + r->n_steps * sizeof(*r->step) +
	       ((size_t)r->mask + 1) * sizeof(*r->index);
}

double recording_weight(const struct recording *r, uint64_t clock)
{
	double weight = r->weight / (double)RECORDING_WEIGHT_ONE;
	uint64_t age = clock > r->clock ? clock - r->clock : 0;

	for (age = PFS_MIN(age, 64u); age; age--)
		weight *= FADE;
	return weight;
}

bool recording_is_of(const struct recording *r, uint64_t vm)
{
	bool is_known = false;

	for (uint32_t i = 0; i < RECORDING_TAUGHT_MAX; i++)
		is_known |= r->taught[i] == vm;
	return vm && is_known;
}

/* Where r has a step of another. */
static uint32_t find(const struct recording *r, const struct step *s)
{
	return recording_find(r, s->chunk, s->again,
			      recording_hash(s->chunk, s->again));
}

/* A session by itself.  A first touch that it claims twice counts once; what
 * it touched again is numbered. */
int recording_create(const struct recording_source *s, struct recording **out)
{
	struct recording head = {.chunk = s->chunk,
				 .n_steps = s->n_steps,
				 .n_sessions = 1,
				 .n_taught = s->vm != 0,
				 .taught = {s->vm},
				 .duration_ns = s->duration_ns,
				 .clock = s->clock,
				 .weight = RECORDING_WEIGHT_ONE,
				 .flags = s->flags,
				 .is_changed = true};
	int err = recording_alloc(&head, out);

	for (uint32_t i = 0; i < s->n_steps && !err; i++) {
		struct step step = s->step[i];

		step.had = 1;
		step.again = step.again != 0;
		while (!recording_push(*out, &step) && step.again &&
		       step.again < UINT8_MAX)
			step.again++;
	}
	return err;
}

/* --- likeness --- */

/* First touches in the steps from `from` on. */
static uint32_t count_first(const struct recording *r, uint32_t from)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < r->n_steps; i++)
		n += !r->step[i].again;
	return n;
}

static double share(uint32_t part, uint32_t all)
{
	return all ? (double)part / all : 0;
}

double recording_likeness(const struct recording *a, const struct recording *b)
{
	uint32_t a_half = a->n_steps / 2, b_half = b->n_steps / 2;
	uint32_t both = 0, a_later = 0, b_later = 0;
	double all, later;

	for (uint32_t i = 0; i < a->n_steps; i++) {
		uint32_t at = find(b, &a->step[i]);

		if (at == RECORDING_NONE || a->step[i].again)
			continue;
		both++;
		a_later += i >= a_half;
		b_later += at >= b_half;
	}
	all = share(both, PFS_MAX(count_first(a, 0), count_first(b, 0)));
	later = PFS_MIN(share(a_later, count_first(a, a_half)),
			share(b_later, count_first(b, b_half)));
	return PFS_MIN(all, later);
}

/* --- merging --- */

/* Work space of a merge.  Steps that only the old recording has keep their
 * place behind the step they followed: behind[i] is the first old step that
 * goes after step i - 1 of the new one, next[] the old one after that. */
struct merge {
	const struct recording *old, *latest;
	struct step *step; /* result */
	uint32_t n;        /* steps in it */
	uint32_t *behind, *last, *next;
};

static void merge_fini(struct merge *m)
{
	free(m->step);
	free(m->behind);
	free(m->last);
	free(m->next);
}

static int merge_init(struct merge *m)
{
	size_t n_old = m->old->n_steps, n_latest = m->latest->n_steps;

	m->step = calloc(n_latest + n_old, sizeof(*m->step));
	m->behind = malloc((n_latest + 1) * sizeof(*m->behind));
	m->last = calloc(n_latest + 1, sizeof(*m->last));
	m->next = malloc(n_old * sizeof(*m->next));
	if (!m->step || !m->behind || !m->last || !m->next)
		return -ENOMEM;
	memset(m->behind, 0xff, (n_latest + 1) * sizeof(*m->behind));
	return 0;
}

/* A step that neither of the two latest sessions had stays while a quarter of
 * the latest eight had it. */
static bool has_faded(uint8_t had, uint32_t n_sessions)
{
	uint32_t n = PFS_MIN(n_sessions, RECORDING_HISTORY);

	return !(had & HISTORY_LATEST) &&
	       4 * (uint32_t)__builtin_popcount(had) < n;
}

/* Chain old steps that the new one does not have behind their predecessors. */
static void place_old(struct merge *m)
{
	const struct recording *old = m->old;
	uint32_t slot = 0;

	for (uint32_t i = 0; i < old->n_steps; i++) {
		uint32_t at = find(m->latest, &old->step[i]);

		if (at != RECORDING_NONE) {
			slot = at + 1;
			continue;
		}
		if (has_faded((uint8_t)(old->step[i].had << 1),
			      old->n_sessions + 1))
			continue;
		m->next[i] = RECORDING_NONE;
		if (m->behind[slot] == RECORDING_NONE)
			m->behind[slot] = i;
		else
			m->next[m->last[slot]] = i;
		m->last[slot] = i;
	}
}

static void put_old(struct merge *m, uint32_t slot)
{
	uint32_t i = m->behind[slot];

	for (; i != RECORDING_NONE; i = m->next[i]) {
		m->step[m->n] = m->old->step[i];
		m->step[m->n].had = (uint8_t)(m->old->step[i].had << 1);
		m->n++;
	}
}

static void put_all(struct merge *m)
{
	put_old(m, 0);
	for (uint32_t i = 0; i < m->latest->n_steps; i++) {
		struct step *to = &m->step[m->n++];
		uint32_t at = find(m->old, &m->latest->step[i]);

		*to = m->latest->step[i];
		if (at != RECORDING_NONE)
			to->had = (uint8_t)(m->old->step[at].had << 1 | 1);
		put_old(m, i + 1);
	}
}

/* Drop what the fewest sessions had, from the end, until it fits. */
static void cap(struct merge *m)
{
	uint32_t excess, n = m->n;

	for (int few = 1; m->n > PFS_RECORDING_STEPS_MAX; few++) {
		excess = m->n - PFS_RECORDING_STEPS_MAX;
		for (uint32_t i = n; i-- && excess;)
			if (__builtin_popcount(m->step[i].had) == few) {
				m->step[i].had = 0;
				excess--;
				m->n--;
			}
	}
	for (uint32_t i = 0, to = 0; to < m->n; i++)
		if (m->step[i].had)
			m->step[to++] = m->step[i];
}

static void teach(struct recording *r, uint64_t vm)
{
	if (!vm || recording_is_of(r, vm))
		return;
	for (uint32_t i = 0; i < RECORDING_TAUGHT_MAX; i++)
		if (!r->taught[i]) {
			r->taught[i] = vm;
			break;
		}
	if (r->n_taught < r->n_sessions)
		r->n_taught++;
}

/* What is known of both together; the steps are to come. */
static struct recording head_of(const struct merge *m)
{
	struct recording head = *m->latest;
	const struct recording *old = m->old;

	head.n_steps = m->n;
	head.n_sessions = old->n_sessions;
	if (head.n_sessions < UINT32_MAX)
		head.n_sessions++;
	head.n_taught = old->n_taught;
	memcpy(head.taught, old->taught, sizeof(head.taught));
	head.weight += (uint32_t)(recording_weight(old, head.clock) *
				  RECORDING_WEIGHT_ONE);
	head.weight = PFS_MIN(head.weight, RECORDING_WEIGHT_MAX);
	head.number = old->number;
	return head;
}

int recording_merge(const struct recording *old, const struct recording *latest,
		    struct recording **out)
{
	PFS_AUTO(merge_fini) struct merge m = {.old = old, .latest = latest};
	struct recording head;
	int err = merge_init(&m);

	if (err)
		return err;
	place_old(&m);
	put_all(&m);
	cap(&m);
	head = head_of(&m);
	for (uint32_t i = 0; i < RECORDING_TAUGHT_MAX; i++)
		teach(&head, latest->taught[i]);
	err = recording_alloc(&head, out);
	for (uint32_t i = 0; i < m.n && !err; i++)
		(void)recording_push(*out, &m.step[i]); /* each is there once */
	return err;
}
