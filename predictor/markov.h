/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/markov.h - the inside of proposer "markov".
 *
 * markov.c learns, markov_ask.c says what comes.
 */
#ifndef PFS_PREDICTOR_MARKOV_H
#define PFS_PREDICTOR_MARKOV_H

#include "proposer.h"
#include "transitions.h"

#define P_MIN 0.2f    /* below that it is not worth naming */
#define P_SURE 0.5f   /* then distances are not asked */
#define CHAIN_MAX 32u /* steps ahead of the session */
#define GUESSES 128u  /* still open */
#define WRITTEN 256u  /* chunks remembered as overwritten */
#define NOWHERE UINT64_MAX

enum markov_kind {
	FIRST_1,
	FIRST_2,
	STREAM_2,
	DELTA_1,
	DELTA_2,
	KINDS
};

#define FREQUENCIES 4u /* of the context: once, 2 or 3, 4 to 8, more */
#define SHARES 4u      /* of the follower in its context: quarters */

struct markov_rate {
	float came, seen;
};

struct markov_image {
	uint64_t n_chunks;
	uint32_t n_sessions;
	struct transitions transitions;
	struct markov_rate rate[KINDS][FREQUENCIES][SHARES];
	uint64_t written[WRITTEN]; /* chunk + 1, by hash */
};

/* The two latest chunks somewhere; NOWHERE: none yet. */
struct markov_pair {
	uint64_t last, before;
};

struct markov_reader {
	struct markov_pair chunk;
	int64_t step, step_before; /* 0: none yet */
};

struct markov_step {
	uint64_t chunk;
	float p; /* given the step before */
};

struct markov_session {
	struct markov_image *image; /* borrowed */
	uint64_t latest;            /* chunk touched */
	struct markov_pair first;   /* touches */
	struct markov_reader reader[STREAMS_MAX];
	const struct markov_reader *current; /* whose touch was the latest */
	bool is_fresh;                       /* it was no repeat */
	struct followers now[KINDS];         /* of the contexts as they are */
	/* Of first touches, the next one first. */
	struct markov_step chain[CHAIN_MAX];
	uint32_t n_chain;
	/* Best followers of late, a ring: did they come? */
	uint64_t guessed[GUESSES]; /* chunk; NOWHERE: settled */
	struct markov_rate *guess_rate[GUESSES];
	uint32_t n_guesses; /* ever */
};

/* --- markov.c, for markov_ask.c --- */

/** A context as a key of the table. */
uint64_t markov_context(enum markov_kind kind, uint64_t last, uint64_t before);
/** The context of a kind right now; false: there is none yet. */
bool markov_context_now(const struct markov_session *s, enum markov_kind kind,
			const struct markov_reader *r, uint64_t *out);
/** Measured chance that the i-th follower comes soon. */
float markov_confidence(struct markov_image *img, enum markov_kind kind,
			const struct followers *f, uint32_t i);
/** Where it is noted that a chunk was overwritten: as chunk + 1. */
uint64_t *markov_written(struct markov_image *img, uint64_t chunk);

/* --- markov_ask.c --- */

uint32_t markov_propose(void *session, struct candidate *out, uint32_t max);

#endif
