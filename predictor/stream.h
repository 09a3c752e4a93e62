/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/stream.h - which reads of a session belong together.
 *
 * What one handle reads is split into streams by the nearest head within
 * STREAM_NEAR; beyond that the least recently used stream starts over.
 *
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_STREAM_H
#define PFS_PREDICTOR_STREAM_H

#include "proposer.h"

struct streams {
	struct stream {
		uint64_t head; /* last chunk touched */
		uint64_t used; /* when, in touches; 0: free */
		uint32_t handle;
	} stream[STREAMS_MAX];
	uint64_t clock;
	uint64_t near; /* chunks */
};

void streams_init(struct streams *s, uint32_t chunk);
/** Find or start the stream of a touch; sets t->stream, t->delta and
 *  t->is_new_stream from t->chunk. */
void streams_touch(struct streams *s, uint32_t handle, struct touch *t);

#endif
