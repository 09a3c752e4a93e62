/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/follow.h - where a session is in recordings of earlier ones.
 *
 * An alignment says that the session goes along a recording and expects its
 * step `next` now.  Up to FOLLOW_ALIGNMENTS are kept: one at the start of each
 * recording when the session begins, others where a touch is found that none
 * explains.  A touch of a step near `next` confirms an alignment: sessions
 * never repeat each other in exact order, so FOLLOW_NEAR steps either way are
 * near.  Steps the session has touched anywhere are not named again.
 *
 * Alignments of different recordings that have explained the same touches are
 * rivals: each says how the session goes on.  What they agree on is likely,
 * what only one says is as likely as that one is, so behind the point where
 * recordings part little is fetched until touches have decided.  Alignments of
 * one recording are not rivals but guests' programs that run side by side.
 *
 * Threads  none.
 * Memory   a bit a step of each recording followed.
 */
#ifndef PFS_PREDICTOR_FOLLOW_H
#define PFS_PREDICTOR_FOLLOW_H

#include "proposer.h"
#include "recording.h"

#define FOLLOW_ALIGNMENTS 8u
#define FOLLOW_NEAR 64u      /* steps of disorder allowed */
#define FOLLOW_WINDOW_MIN 4u /* steps named ahead */
#define FOLLOW_WINDOW_MAX 64u
#define FOLLOW_PROBES 64u /* decided before a recording is off probation */
#define FOLLOW_AGAIN 64u

struct followed {
	struct recording *r; /* one reference; NULL: slot unused */
	uint64_t *seen;      /* owned; a bit a step: touched by the session */
	float weight;        /* how often sessions went like it */
	bool is_trusted;     /* else on probation: names steps in silence */
	bool is_heard;       /* what it names is proposed */
	uint32_t n_came;     /* named steps that were touched, */
	uint32_t n_gone;     /* and those passed without a touch */
};

struct alignment {
	bool is_used;
	uint8_t rec;         /* index of followed */
	uint32_t next;       /* step behind the furthest confirmed one */
	uint32_t named;      /* steps before it were named */
	uint32_t named_near; /* ... once more, from near */
	uint32_t swept;      /* steps before it count as passed */
	uint32_t window;
	uint32_t n_hits;
	float trust; /* share of its steps that come, measured */
	/* --- of struct follow, when it was confirmed last --- */
	uint32_t touched, explained;
};

struct follow {
	struct followed rec[PFS_RECORDINGS_MAX];
	struct alignment align[FOLLOW_ALIGNMENTS];
	uint32_t n_touches;           /* that were told */
	uint32_t n_explained;         /* those that confirmed something */
	uint32_t n_proposed;          /* n_touches at the latest proposals */
	uint32_t again[FOLLOW_AGAIN]; /* chunks named again; a ring */
	uint32_t n_again;             /* of all time */
};

/** Follow a recording from its start.  Takes a reference.  On probation
 *  (not is_trusted) it is heard when FOLLOW_PROBES named steps are decided and
 *  half of them came.  -ENOMEM. */
int follow_add(struct follow *f, struct recording *r, float weight,
	       bool is_trusted) PFS_MUST_CHECK;
/** Believe it from now on, or put it on probation (again). */
void follow_trust(struct follow *f, const struct recording *r, bool is_trusted);
/** Stop following one. */
void follow_remove(struct follow *f, const struct recording *r);
void follow_fini(struct follow *f);
size_t follow_memory(const struct follow *f);

/** The session touched a chunk for the first time, or again after it had left
 *  the store. */
void follow_touch(struct follow *f, uint32_t chunk, bool is_again);
/** Was it named of late as one that is read again?  If so, not any more. */
bool follow_named_again(struct follow *f, uint32_t chunk);
/** What comes next by those that touches since the last call confirmed, best
 *  first. */
uint32_t follow_propose(struct follow *f, struct candidate *out, uint32_t max);

#endif
