/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "budget.h"

#define SAMPLES_MIN 8u
#define HALVINGS 4u /* levels that save samples only */

void budget_note(struct budget *b, uint64_t cpu_ns, uint64_t wall_ns)
{
	uint64_t ppm = cpu_ns * 1000000 / PFS_MAX(wall_ns, 1ull);

	if (ppm >= b->limit_ppm) {
		b->n_calm = 0;
		if (b->level + 1 < BUDGET_LEVELS)
			b->level++;
	} else if (ppm >= b->limit_ppm / 3) {
		b->n_calm = 0;
	} else if (++b->n_calm >= BUDGET_CALM) {
		b->n_calm = 0;
		if (b->level)
			b->level--;
	}
}

uint32_t budget_samples(const struct budget *b, uint32_t n)
{
	return PFS_MAX(n >> b->level, SAMPLES_MIN);
}

uint64_t budget_stretch(const struct budget *b, uint64_t ns)
{
	return b->level < HALVINGS ? ns : ns << (b->level - HALVINGS + 1);
}
