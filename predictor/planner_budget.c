/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "planner_budget.h"

#include <math.h>

/* Of the demanded bytes so many may be extra: as a boot begins, later, and
 * whenever nobody knows who reads. */
#define SHARE_BOOT 0.5
#define SHARE 0.25
#define SHARE_UNKNOWN 0.125
#define BOOT_NS (60 * PFS_NSEC_PER_SEC)

/* A long honest life does not save up for one big mistake. */
#define CREDIT_MAX ((int64_t)PFS_MIB(64))

#define PROOF_WINDOW 256.0 /* chunks remembered */
#define PROOF_FREE PFS_MIB(1)
#define PROOF_AGE_NS (30 * PFS_NSEC_PER_SEC) /* half is forgotten */

#define UNKNOWN_PART 4 /* of what others get without proof */

void budget_init(struct budget *b, uint32_t chunk, bool is_unknown,
		 uint64_t now)
{
	*b = (struct budget){.chunk = chunk,
			     .is_unknown = is_unknown,
			     .session_ns = now,
			     .aged_ns = now};
}

void budget_session(struct budget *b, uint64_t now)
{
	int64_t allowance = PLANNER_ALLOWANCE;

	if (b->is_unknown)
		allowance /= UNKNOWN_PART;
	/* Debts stay, and sessions begun at once do not add up. */
	if (b->credit < 0)
		b->credit += allowance;
	else
		b->credit = PFS_MAX(b->credit, allowance);
	b->session_ns = now;
	b->issued = b->used = 0;
}

static double share(const struct budget *b, uint64_t now)
{
	if (b->is_unknown)
		return SHARE_UNKNOWN;
	return now - b->session_ns < BOOT_NS ? SHARE_BOOT : SHARE;
}

void budget_demand(struct budget *b, uint64_t n_bytes, uint64_t now)
{
	int64_t more = (int64_t)((double)n_bytes * share(b, now));

	b->credit = PFS_MIN(b->credit + more, CREDIT_MAX);
}

/* What is left of the counts by now. */
static double remembered(const struct budget *b, uint64_t now)
{
	return exp2(-(double)(now - b->aged_ns) / PROOF_AGE_NS);
}

static double proof_free(const struct budget *b)
{
	uint64_t whole = PROOF_FREE / b->chunk;
	double n = (double)whole;

	return PFS_MAX(b->is_unknown ? n / UNKNOWN_PART : n, 1.0);
}

uint32_t budget_room(const struct budget *b, double floor, uint64_t now)
{
	double by_credit, by_proof, room;

	by_credit = (double)b->credit / b->chunk - b->doubt;
	by_proof = proof_free(b) +
		   (b->used / floor - b->issued) * remembered(b, now);
	room = PFS_MIN(by_credit, by_proof);
	if (room < 1)
		return 0;
	return (uint32_t)PFS_MIN(room, PFS_PREFETCH_MAX * 1.0);
}

void budget_order(struct budget *b, uint32_t n_chunks, double doubt,
		  uint64_t now)
{
	double part = remembered(b, now);

	if (b->issued * part > PROOF_WINDOW)
		part /= 2;
	b->issued = b->issued * part + n_chunks;
	b->used *= part;
	b->aged_ns = now;
	b->pending += n_chunks;
	b->doubt += doubt;
}

/* Nobody remembers how much each was doubted: all alike. */
static void end_pending(struct budget *b, uint32_t n)
{
	n = PFS_MIN(n, b->pending);
	if (n)
		b->doubt -= b->doubt * n / b->pending;
	b->pending -= n;
}

void budget_used(struct budget *b, uint32_t n)
{
	end_pending(b, n);
	b->used = PFS_MIN(b->used + n, b->issued);
}

void budget_extra(struct budget *b, uint32_t n)
{
	end_pending(b, n);
	b->credit -= (int64_t)n * b->chunk;
}

void budget_not_fetched(struct budget *b, uint32_t n)
{
	end_pending(b, n);
	b->issued = PFS_MAX(b->issued - n, b->used);
}

/* --- bytes per second --- */

#define BURST_PER_SEC 20 /* what 50 ms bring may be had at once */

void tokens_init(struct token_bucket *t, uint64_t rate, uint32_t chunk)
{
	uint64_t burst = PFS_MAX(rate / BURST_PER_SEC, (uint64_t)chunk);

	*t = (struct token_bucket){
		.rate = rate, .burst = burst, .tokens = (double)burst};
}

uint64_t tokens_room(struct token_bucket *t, uint64_t now)
{
	if (!t->rate)
		return UINT64_MAX;
	if (now > t->filled_ns) {
		double more = (double)t->rate * (double)(now - t->filled_ns) /
			      (double)PFS_NSEC_PER_SEC;

		t->tokens = PFS_MIN(t->tokens + more, (double)t->burst);
	}
	t->filled_ns = now;
	return (uint64_t)t->tokens;
}

void tokens_take(struct token_bucket *t, uint64_t n_bytes)
{
	if (t->rate)
		t->tokens -= (double)n_bytes;
}

uint64_t tokens_due(const struct token_bucket *t, uint64_t n_bytes)
{
	double missing = (double)n_bytes - t->tokens;

	if (!t->rate || missing <= 0)
		return UINT64_MAX;
	return t->filled_ns + 1 +
	       (uint64_t)(missing * (double)PFS_NSEC_PER_SEC / (double)t->rate);
}
