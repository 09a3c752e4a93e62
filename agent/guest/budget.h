/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * budget.h - how much the agent looks at, so that it costs what it may.
 *
 * Level 0 is everything; each further one halves the samples, and from level 4
 * on the agent also wakes up and speaks half as often.  A level goes up as soon
 * as a vector's time cost too much, down when BUDGET_CALM of them in a row cost
 * less than a third of what they might have.
 */
#ifndef AGENT_BUDGET_H
#define AGENT_BUDGET_H

#include <pfs/base.h>

#define BUDGET_LEVELS 8u
#define BUDGET_CALM 8u

struct budget {
	uint32_t limit_ppm; /* of one CPU, in millionths */
	uint32_t level;
	uint32_t n_calm;
};

/** What the last vector cost: CPU time out of the time it is about. */
void budget_note(struct budget *b, uint64_t cpu_ns, uint64_t wall_ns);
/** Of n samples at level 0; at least 8. */
uint32_t budget_samples(const struct budget *b, uint32_t n);
/** Of a time between two wake-ups at level 0. */
uint64_t budget_stretch(const struct budget *b, uint64_t ns);

#endif
