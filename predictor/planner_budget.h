/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner_budget.h - what a VM may have fetched ahead.
 *
 * Credit   bytes that may turn out to be extra: an allowance for a session,
 *          then a share of what the VM reads.  Extra bytes are taken off it;
 *          those still unread count as far as they were doubted (1 - p).
 * Proof    whoever is sure of himself has no doubts to pay for, so of the
 *          latest chunks fetched as many must have been read as the level's
 *          floor promises, but for the first few.
 *
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_PLANNER_BUDGET_H
#define PFS_PREDICTOR_PLANNER_BUDGET_H

#include "planner.h"

struct budget {
	int64_t credit; /* bytes */
	uint32_t chunk; /* bytes */
	bool is_unknown;
	uint64_t session_ns;
	uint64_t aged_ns;
	uint32_t pending;    /* chunks fetched and not read yet */
	double doubt;        /* chunks of them thought extra */
	double issued, used; /* of the latest; decayed, as of aged_ns */
};

void budget_init(struct budget *b, uint32_t chunk, bool is_unknown,
		 uint64_t now);
void budget_session(struct budget *b, uint64_t now);
void budget_demand(struct budget *b, uint64_t n_bytes, uint64_t now);
/** Chunks that may be ordered now; floor: share that must have been read. */
uint32_t budget_room(const struct budget *b, double floor, uint64_t now);
void budget_order(struct budget *b, uint32_t n_chunks, double doubt,
		  uint64_t now);
/** Of those ordered, n were read; are extra; were not fetched. */
void budget_used(struct budget *b, uint32_t n);
void budget_extra(struct budget *b, uint32_t n);
void budget_not_fetched(struct budget *b, uint32_t n);

/** Bytes per second; 0: no limit. */
struct token_bucket {
	uint64_t rate;
	uint64_t burst;
	double tokens; /* bytes */
	uint64_t filled_ns;
};

void tokens_init(struct token_bucket *t, uint64_t rate, uint32_t chunk);
/** Bytes that may be ordered now. */
uint64_t tokens_room(struct token_bucket *t, uint64_t now);
void tokens_take(struct token_bucket *t, uint64_t n_bytes);
/** When there will be n_bytes; UINT64_MAX: they are not what is lacking. */
uint64_t tokens_due(const struct token_bucket *t, uint64_t n_bytes);

#endif
