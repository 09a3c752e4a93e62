/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "shadow.h"

#include <string.h>

#include <pfs/hash.h>

/* --- life --- */

int shadow_init(struct shadow *s, uint32_t size)
{
	*s = (struct shadow){.size = size};
	s->ring = calloc(size, sizeof(*s->ring) + sizeof(*s->chain));
	if (!s->ring)
		return -ENOMEM;
	s->chain = (uint16_t *)(s->ring + size);
	return 0;
}

void shadow_fini(struct shadow *s)
{
	free(s->ring);
	*s = (struct shadow){0};
}

void shadow_renew(struct shadow *s)
{
	memset(s->ring, 0, s->size * (sizeof(*s->ring) + sizeof(*s->chain)));
	s->head = s->tail = s->overdue = s->n_lapsed = 0;
}

/* --- rates --- */

void rate_add(struct rate *r, bool came, float window)
{
	float keep = 1.0f - 1.0f / window;

	r->came = r->came * keep + (came ? 1.0f : 0.0f);
	r->wrong = r->wrong * keep + (came ? 0.0f : 1.0f);
}

/* What was called wrong has come true after all. */
static void rate_amend(struct rate *r)
{
	r->wrong = PFS_MAX(r->wrong - 1.0f, 0.0f);
	r->came += 1.0f;
}

/* A fetch is wasted once, however often its chunk is named, and not at all if
 * it is of use in the end. */
static void count_precision(struct shadow *s, struct trial *t, bool came)
{
	if (!t->is_believed)
		return;
	if (!t->is_wasted)
		rate_add(s->precision, came, s->precision_window);
	else if (came)
		rate_amend(s->precision);
	t->is_wasted = !came;
}

static void count(struct shadow *s, struct trial *t, bool came)
{
	for (uint64_t left = t->cells; left; left &= left - 1)
		rate_add(&s->cell[__builtin_ctzll(left)], came, s->cell_window);
	count_precision(s, t, came);
}

static void amend(struct shadow *s, struct trial *t)
{
	for (uint64_t left = t->cells; left; left &= left - 1)
		rate_amend(&s->cell[__builtin_ctzll(left)]);
	count_precision(s, t, true);
}

/* --- the hash --- */

static struct trial *trial_at(struct shadow *s, uint32_t number)
{
	return &s->ring[number & (s->size - 1)];
}

static uint16_t *chain_of(struct shadow *s, uint64_t chunk)
{
	return &s->chain[pfs_mix64(chunk) & (s->size - 1)];
}

static struct trial *look_up(struct shadow *s, uint64_t chunk)
{
	for (uint16_t i = *chain_of(s, chunk); i; i = s->ring[i - 1].next)
		if (s->ring[i - 1].chunk == chunk)
			return &s->ring[i - 1];
	return NULL;
}

static void forget(struct shadow *s, struct trial *t)
{
	uint16_t *i = chain_of(s, t->chunk);

	if (t->state == TRIAL_DONE)
		return;
	while (*i != t - s->ring + 1)
		i = &s->ring[*i - 1].next;
	*i = t->next;
	t->state = TRIAL_DONE;
}

/* --- how trials end --- */

static void lapse(struct shadow *s, struct trial *t)
{
	s->n_lapsed += t->is_believed && !t->is_wasted;
	count(s, t, false);
	t->state = TRIAL_OVERDUE;
}

static void give_up(struct shadow *s, struct trial *t)
{
	if (t->state == TRIAL_OPEN)
		lapse(s, t);
	if (t->state == TRIAL_OVERDUE)
		t->state = TRIAL_FAILED;
	if (t->state == TRIAL_VOID)
		forget(s, t);
}

static bool is_over(const struct trial *t, uint32_t n_needed, uint32_t now_us)
{
	return t->state == TRIAL_DONE ||
	       (int32_t)(n_needed - t->due) >= SHADOW_HORIZON ||
	       now_us - t->named_us >= SHADOW_WAIT_US;
}

/* Oldest names first: one said to come much later holds up those behind it,
 * a little. */
void shadow_age(struct shadow *s, uint32_t n_needed, uint32_t now_us)
{
	for (; s->tail != s->head; s->tail++) {
		struct trial *t = trial_at(s, s->tail);

		if (!is_over(t, n_needed, now_us))
			break;
		give_up(s, t);
	}
	if ((int32_t)(s->overdue - s->tail) < 0)
		s->overdue = s->tail;
	for (; s->overdue != s->head; s->overdue++) {
		struct trial *t = trial_at(s, s->overdue);

		if ((int32_t)(n_needed - t->due) < SHADOW_OVERDUE)
			break;
		if (t->state == TRIAL_OPEN)
			lapse(s, t);
	}
}

bool shadow_needed(struct shadow *s, uint64_t chunk, uint32_t now_us,
		   uint32_t *ahead_us)
{
	struct trial *t = look_up(s, chunk);
	bool was_named = t && t->state != TRIAL_FAILED;

	if (!t)
		return false;
	if (t->state == TRIAL_OPEN)
		count(s, t, true);
	else if (t->state == TRIAL_OVERDUE)
		amend(s, t);
	else if (t->state == TRIAL_FAILED)
		count_precision(s, t, true);
	if (was_named)
		*ahead_us = now_us - t->named_us;
	forget(s, t);
	return was_named;
}

void shadow_evicted(struct shadow *s, uint64_t chunk)
{
	struct trial *t = look_up(s, chunk);

	if (!t)
		return;
	give_up(s, t);
	forget(s, t);
}

/* --- names --- */

struct trial *shadow_find(struct shadow *s, uint64_t chunk, uint32_t cell)
{
	struct trial *t = look_up(s, chunk);

	if (t && t->state == TRIAL_FAILED && !(t->cells & 1ull << cell))
		return NULL;
	return t;
}

struct trial *shadow_add(struct shadow *s, uint64_t chunk, uint32_t due,
			 uint32_t now_us)
{
	struct trial *t = trial_at(s, s->head), *failed = look_up(s, chunk);
	uint16_t *chain = chain_of(s, chunk);
	bool is_wasted = failed && failed->is_wasted;

	if (failed)
		forget(s, failed);
	if (s->head - s->tail == s->size) {
		give_up(s, t);
		s->tail++;
		if (s->overdue + 1 == s->tail)
			s->overdue = s->tail;
	}
	forget(s, t);
	*t = (struct trial){.chunk = chunk,
			    .due = due,
			    .named_us = now_us,
			    .next = *chain,
			    .state = TRIAL_OPEN,
			    .is_believed = is_wasted,
			    .is_wasted = is_wasted};
	*chain = (uint16_t)(t - s->ring + 1);
	s->head++;
	return t;
}
