/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/warm.h - an image, or its best recording, still to be brought.
 *
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_WARM_H
#define PFS_PREDICTOR_WARM_H

#include <pfs/base.h>

struct warm {
	uint64_t next, end; /* chunks, or places in the list */
	uint64_t *chunks;   /* owned; NULL: a range */
};

/** A range of chunks takes the place of what was left. */
void warm_range(struct warm *w, uint64_t first, uint64_t n);
/** So does the best recording in an image's replay learning.  -ENOENT: none,
 *  -ENOMEM. */
int warm_recording(struct warm *w, const void *replay) PFS_MUST_CHECK;
void warm_fini(struct warm *w);

static inline uint64_t warm_left(const struct warm *w)
{
	return w->end - w->next;
}

/** Take the next chunk; there must be one. */
uint64_t warm_take(struct warm *w);

#endif
