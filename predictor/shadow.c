/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "shadow.h"

#include <pfs/hash.h>

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

static void count(struct shadow *s, const struct trial *t, bool came)
{
	for (uint64_t left = t->cells; left; left &= left - 1)
		rate_add(&s->cell[__builtin_ctzll(left)], came, s->cell_window);
	if (t->is_believed)
		rate_add(s->precision, came, s->precision_window);
}

static void amend(struct shadow *s, const struct trial *t)
{
	for (uint64_t left = t->cells; left; left &= left - 1)
		rate_amend(&s->cell[__builtin_ctzll(left)]);
	if (t->is_believed)
		rate_amend(s->precision);
}

/* --- the hash --- */

static struct trial *trial_at(struct shadow *s, uint32_t number)
{
	return &s->ring[number % SHADOW_TRIALS];
}

static uint16_t *chain_of(struct shadow *s, uint64_t chunk)
{
	return &s->chain[pfs_mix64(chunk) % SHADOW_TRIALS];
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
	count(s, t, false);
	t->state = TRIAL_OVERDUE;
	s->n_lapsed += t->is_believed;
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

	if (!t || t->state != TRIAL_FAILED || t->cells & 1ull << cell)
		return t;
	forget(s, t);
	return NULL;
}

struct trial *shadow_add(struct shadow *s, uint64_t chunk, uint32_t due,
			 uint32_t now_us)
{
	struct trial *t = trial_at(s, s->head);
	uint16_t *chain = chain_of(s, chunk);

	if (s->head - s->tail == SHADOW_TRIALS) {
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
			    .state = TRIAL_OPEN};
	*chain = (uint16_t)(t - s->ring + 1);
	s->head++;
	return t;
}
