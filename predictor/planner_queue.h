/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner_queue.h - the wishes that wait.
 *
 * Each wish is in one lane (of its VM, or of the warming), which gives its
 * best first; over all lanes the worst and the one that waits longest are
 * found as well, and any by its chunk.  A chunk is wished for once.
 *
 * Threads  none.
 * Memory   all of it at init.
 */
#ifndef PFS_PREDICTOR_PLANNER_QUEUE_H
#define PFS_PREDICTOR_PLANNER_QUEUE_H

#include "map.h"
#include "planner.h"

#define QUEUE_NONE 0u /* an index of no wish, an empty lane */

/* Links of a pairing heap: children are a list, of which the first one's prev
 * is the parent. */
struct queue_links {
	uint16_t child, next, prev;
};

struct queued {
	struct wish wish;
	double key; /* the higher the better */
	uint64_t since_ns;
	uint16_t *lane; /* where its lane keeps its best; NULL: not queued */
	struct queue_links link[2]; /* in its lane, among all */
	uint16_t newer, older;      /* by since_ns; free: the next free one */
};

struct queue {
	struct queued *q; /* owned; [0] is none */
	struct map by_chunk;
	uint32_t n, n_max;
	uint16_t worst, oldest, newest, free;
};

/** n_max: at most 65,535. */
int queue_init(struct queue *q, uint32_t n_max) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void queue_fini(struct queue *q);

/** The wish for a chunk; QUEUE_NONE: nobody wishes for it. */
uint32_t queue_find(const struct queue *q, uint64_t image, uint64_t chunk);
/** Add a wish to a lane.  There must be room, and none of the same chunk.
 *  False: it cannot be told from another one's chunk. */
bool queue_add(struct queue *q, uint16_t *lane, const struct wish *w,
	       double key, uint64_t now);
/** It waits from now on. */
void queue_renew(struct queue *q, uint32_t i, uint64_t now);
struct wish queue_take(struct queue *q, uint32_t i);

static inline bool queue_is_full(const struct queue *q)
{
	return q->n == q->n_max;
}

#endif
