/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/nearby.h - which chunks around a read will be read too.
 *
 * Whoever reads at one place of a disk mostly reads on around it: the rest of
 * a file, the files unpacked beside it.  How likely that is for one untouched
 * chunk is told by facts: how large the request was and how far the chunk is
 * from it, how long the reader has been going on, what of the neighbourhood was
 * touched before and how lately.  Each fact adds its weight to the log odds
 * (logistic regression).  Weights belong to the image.  They start with what
 * boots of several images have in common and are corrected by what came true
 * of each request that touched something new, so a novel workload is learned
 * while it runs.
 *
 * Threads  none.
 * Memory   6 KiB of weights; a session has 11 KiB, and its bitmaps.
 */
#ifndef PFS_PREDICTOR_NEARBY_H
#define PFS_PREDICTOR_NEARBY_H

#include "proposer.h"
#include "touched.h"

#define NEARBY_REACH 8u /* chunks on either side of a request */
#define NEARBY_MAX (2 * NEARBY_REACH)
#define NEARBY_WHEN 12u /* first touches until half of what comes has come */

enum nearby_fact {
	NEARBY_REQUEST, /* its size, the way to it; how far the chunk is */
	NEARBY_RUN,     /* bytes read on end; how far */
	NEARBY_BESIDE,  /* the chunks on both sides: untouched, fresh, old */
	NEARBY_BEYOND,  /* the chunks behind those */
	NEARBY_RECENT,  /* how many of 16 on either side were just touched */
	NEARBY_FAR,     /* how many of those 9 to 24 away were ever touched */
	NEARBY_BETWEEN, /* it lies where the reader has just leapt over */
	NEARBY_BEFORE,  /* size of the reader's request before, the way */
	NEARBY_FACTS,
};
#define NEARBY_CODES 200u /* values of one fact, at most */

struct nearby_learned {
	float weight[NEARBY_FACTS][NEARBY_CODES]; /* log odds */
};

/** What is known of one chunk: a value for each fact. */
struct nearby_facts {
	uint8_t code[NEARBY_FACTS];
};

#define NEARBY_OPEN 64u /* requests whose outcome is still open */

struct nearby {
	struct nearby_learned *learned; /* borrowed from the image */
	struct touched touched;
	struct nearby_reader {
		uint64_t on_end; /* bytes */
		uint8_t size;    /* class of its latest request */
	} reader[STREAMS_MAX];
	struct nearby_request {
		uint64_t first, last;
		uint64_t bytes;
		int64_t delta;
		uint32_t stream;
		bool is_new_stream, is_under_way, has_news;
	} request; /* being put together from its touches */
	/* The latest requests with news, a ring. */
	struct nearby_span {
		uint64_t from, n; /* with what is around */
	} span[NEARBY_OPEN];
	struct nearby_outcome {
		uint16_t asked, came; /* bit: a chunk around, lowest first */
		struct nearby_facts facts[NEARBY_MAX];
	} outcome[NEARBY_OPEN];
	uint64_t n_requests; /* with news */
	bool is_fresh;       /* the latest of them is the latest touch's */
};

/** Sixteenths of log odds. */
extern const int8_t nearby_start[NEARBY_FACTS][NEARBY_CODES];

void nearby_learned_init(struct nearby_learned *l);

/** -ENOMEM. */
int nearby_init(struct nearby *n, struct nearby_learned *l) PFS_MUST_CHECK;
/** Accepts zeroed memory.  What is open is forgotten. */
void nearby_fini(struct nearby *n);
void nearby_observe(struct nearby *n, const struct touch *t);
/** The untouched chunks around the request that has just ended, if it touched
 *  something new; how many, NEARBY_MAX at most. */
uint32_t nearby_propose(const struct nearby *n, struct candidate *out);

#endif
