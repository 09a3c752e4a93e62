/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/proposer.h - what names the chunks that will be read soon.
 *
 * A proposer keeps learning for an image and a state for each session of it.
 * It sees each touch of a session after the read was answered and may then be
 * asked what comes next.  It neither knows what is resident nor whether it is
 * believed: it is scored on what it says.
 *
 * Threads  none: one thread at a time.
 * Memory   sized when an image or a session is opened; observe() and propose()
 *          allocate nothing, but image learning may grow in steps up to its
 *          share of PFS_PREDICTOR_IMAGE_BYTES.
 */
#ifndef PFS_PREDICTOR_PROPOSER_H
#define PFS_PREDICTOR_PROPOSER_H

#include <pfs/predictor.h>

#define STREAMS_MAX 32u
#define STREAM_NEAR PFS_MIB(16) /* a read further off starts a new stream */
#define CANDIDATES_MAX 64u      /* of one proposer at one time */
#define DELTA_NONE INT64_MIN    /* the first touch of a stream */

/** One chunk read by a session. */
struct touch {
	uint64_t time_ns; /* of the request */
	uint64_t chunk;
	int64_t delta;      /* to the last touched chunk of the same stream */
	uint32_t stream;    /* 0..STREAMS_MAX - 1; numbers are reused */
	uint32_t seq;       /* touches of the session before this one */
	uint32_t off, len;  /* bytes touched in the chunk */
	bool is_new_stream; /* the stream's number starts over here */
	bool is_first;      /* first touch of this chunk by the session */
	bool is_last;       /* last chunk of its request */
	enum pfs_access_outcome outcome;
};

/** One chunk that will be read, it says. */
struct candidate {
	uint64_t chunk;
	float p; /* its own estimate, 0..1 */
	uint32_t
		distance; /* first touches of the session until then, 1: next */
};

/** What an image's learning is made with. */
struct learning_config {
	uint32_t chunk;    /* bytes */
	uint64_t n_chunks; /* of the image, when opened */
	uint64_t seed;
};

struct proposer {
	const char *name;
	int (*image_create)(const struct learning_config *cfg, void **image);
	void (*image_destroy)(void *image); /* accepts NULL */
	/** A session of a VM begins. */
	int (*session_create)(void *image, uint64_t vm, void **session);
	/** It is over: learn from it (unless it was too short), then free. */
	void (*session_destroy)(void *session);
	void (*observe)(void *session, const struct touch *t);
	/** The guest has written n chunks from first on, `whole`: entirely. */
	void (*wrote)(void *session, uint64_t first, uint64_t n, bool whole);
	/** What comes after the latest touch, best first; how many (<= max). */
	uint32_t (*propose)(void *session, struct candidate *out, uint32_t max);
	size_t (*memory)(const void *image);
};

extern const struct proposer proposer_sequential;
extern const struct proposer proposer_replay;
extern const struct proposer proposer_markov;

#endif
