/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/candidates.h - short lists of what is named.
 */
#ifndef PFS_PREDICTOR_CANDIDATES_H
#define PFS_PREDICTOR_CANDIDATES_H

#include "proposer.h"

/** The one of a chunk; NULL: none. */
static inline struct candidate *candidates_find(struct candidate *c, uint32_t n,
						uint64_t chunk)
{
	for (uint32_t i = 0; i < n; i++)
		if (c[i].chunk == chunk)
			return &c[i];
	return NULL;
}

/** Best first; equals stay in order.  (By insertion: they nearly are.) */
static inline void candidates_sort(struct candidate *c, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		struct candidate x = c[i];
		uint32_t k = i;

		for (; k > 0 && c[k - 1].p < x.p; k--)
			c[k] = c[k - 1];
		c[k] = x;
	}
}

#endif
