/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/arbiter.h - which proposer is believed, and how much.
 *
 * Each proposer of a session has a shadow (shadow.h) that tells how often what
 * it named came true, by how sure it said it was: 8 buckets of its own p, and
 * in between a straight line.  That measured rate is all that counts later.
 * Chunks that several named are mixed (1 - the product of 1 - p), and the mix
 * has a shadow of its own with a cell for each set of proposers and bucket,
 * since proposers that learned from the same past agree even when they are
 * wrong.
 *
 * A pick's worth is less than its p when a proposer that has seen nearly all
 * coming of late is silent about it: what he will name in time is no gain.
 *
 * Threads  none.
 * Memory   struct arbiter, and 204 KiB for each session (5 shadows).
 */
#ifndef PFS_PREDICTOR_ARBITER_H
#define PFS_PREDICTOR_ARBITER_H

#include "proposer.h"
#include "shadow.h"

#define SOURCES (PFS_PROPOSER_N + 1u) /* the last one is planted */
#define SOURCE_WRONG PFS_PROPOSER_N
#define PICKS_MAX (SOURCES * CANDIDATES_MAX)

#define ARBITER_BUCKETS 8u                                       /* of p */
#define ARBITER_CELLS ((1u << PFS_PROPOSER_N) * ARBITER_BUCKETS) /* 64 */
#define ARBITER_WINDOW 256.0f /* results that a measure remembers */
#define ARBITER_FLOOR 0.3f    /* precision below which a source is off */
#define ARBITER_PROBE 64u     /* 1 in so many of its names passes then */

/** What is known of one source. */
struct board {
	struct rate bucket[ARBITER_BUCKETS]; /* by its own p */
	struct rate precision; /* of what was worth fetching, or a probe */
	float coverage;        /* of chunks needed, of late */
	float saved_ns;        /* net for each chunk needed, of late */
};

/** What an image keeps of a session for the next. */
struct boards {
	struct board source[SOURCES];
	struct rate mix[ARBITER_CELLS]; /* by who named it and how sure */
	struct rate taken;              /* of what was worth a fetch */
};

/** Of one session; must not be moved. */
struct arbiter {
	struct boards boards;
	struct shadow shadow[SOURCES + 1]; /* the last: the mix */
	float sight[SOURCES]; /* share of the waiting it saved just now */
	uint32_t n_needed;
	uint32_t n_named[SOURCES]; /* trials: every so many is a probe */
	uint64_t proposed[SOURCES], came[SOURCES];
};

/** A chunk named now, by one proposer or several. */
struct pick {
	uint64_t chunk;
	float p;     /* measured chance that it will be needed */
	float worth; /* ... and that nobody else will name it in time */
	float miss;  /* chance that none of them is right, as measured */
	float said;  /* ... as they say themselves */
	uint32_t distance;
	uint32_t proposers;
};

/** What is named at one moment; scratch that all sessions share. */
struct ballot {
	struct pick pick[PICKS_MAX];
	uint32_t n;
	float floor;                  /* a worth below it is not enough */
	uint16_t slot[4 * PICKS_MAX]; /* hash: pick + 1 */
	/** Absent, or fetched ahead and unread? */
	bool (*is_worth)(void *arg, uint64_t chunk);
	void *arg;
};

/** boards: what the image knows. */
int arbiter_init(struct arbiter *a, const struct boards *boards) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void arbiter_fini(struct arbiter *a);
/** Begin anew in place with what the image knows. */
void arbiter_renew(struct arbiter *a, const struct boards *boards);
/** What the session has found out, for the image's next one. */
void arbiter_teach(const struct arbiter *a, struct boards *boards);

/** A chunk was needed; source_ns: what a fetch on demand takes. */
void arbiter_needed(struct arbiter *a, uint64_t chunk, uint64_t source_ns,
		    uint64_t now);
/** One fetched ahead left the store unread. */
void arbiter_evicted(struct arbiter *a, uint64_t chunk);
/** Give up trials that are over. */
void arbiter_age(struct arbiter *a, uint64_t source_ns, uint64_t now);

/** Ask: begin, hear each source, mix; then the picks whose worth is b->floor
 *  at least are worth a fetch.  floor: what the link asks for; the more of the
 *  session's fetches were wrong, the surer must the next be. */
void arbiter_begin(const struct arbiter *a, struct ballot *b, float floor);
void arbiter_hear(struct arbiter *a, struct ballot *b, uint32_t source,
		  const struct candidate *c, uint32_t n, uint64_t now);
void arbiter_mix(struct arbiter *a, struct ballot *b, uint64_t now);

bool board_is_off(const struct board *b);
double board_precision(const struct board *b);

#endif
