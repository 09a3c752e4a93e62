/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/shadow.h - what was named lately, and whether it came true.
 *
 * A shadow follows one source of names.  Each chunk named that was worth a
 * fetch (absent, or fetched ahead and not read yet) is a trial, whether it is
 * fetched or not.  A trial belongs to the cells it was named in (the source
 * chooses them: how sure it was); how it ends is counted in each.
 *
 * Time goes by chunks needed: read for the first time by the session, or
 * missing in the store.  A trial that is SHADOW_OVERDUE later than was said
 * counts as wrong for now, so that a flood of wrong names is noticed soon; it
 * is forgiven until SHADOW_HORIZON, or for 60 s.  What comes later than that
 * need not have been fetched then, but if it was, it was not wasted: precision
 * takes that back for as long as the trial is remembered.
 *
 * Threads  none.
 * Memory   34 bytes for each trial that is remembered.
 */
#ifndef PFS_PREDICTOR_SHADOW_H
#define PFS_PREDICTOR_SHADOW_H

#include <pfs/base.h>

#define SHADOW_OVERDUE 20
#define SHADOW_HORIZON 80
#define SHADOW_WAIT_US 60000000u

/** Decayed counts of how trials ended. */
struct rate {
	float came, wrong;
};

void rate_add(struct rate *r, bool came, float window);
/** Share that came true; prior counts as much as `weight` trials. */
static inline float rate_of(const struct rate *r, float prior, float weight)
{
	return (r->came + prior * weight) / (r->came + r->wrong + weight);
}

/* state    hashed  counted        leaves by
 * DONE     no      -              its place is taken
 * OPEN     yes     no             chunk needed (DONE), overdue (OVERDUE)
 * OVERDUE  yes     wrong for now  chunk needed (DONE), horizon (FAILED)
 * FAILED   yes     wrong          chunk needed (DONE), named anew in another
 *                                 cell (DONE): who repeats himself is wrong
 *                                 once
 * VOID     yes     never          chunk needed (DONE), horizon (DONE) */
enum trial_state {
	TRIAL_DONE, /* so in zeroed memory */
	TRIAL_OPEN,
	TRIAL_OVERDUE,
	TRIAL_FAILED,
	TRIAL_VOID,
};

struct trial {
	uint64_t chunk;
	uint64_t cells;    /* named in: bit set */
	uint32_t due;      /* chunks needed until then, it was said */
	uint32_t named_us; /* wraps */
	uint16_t next;     /* of the same hash, + 1 */
	uint8_t state;     /* enum trial_state */
	bool is_believed;  /* counts for precision too */
	bool is_wasted;    /* ... and is counted there as wrong */
};

struct shadow {
	struct trial *ring;           /* owned */
	uint16_t *chain;              /* trial + 1; as many, behind the ring */
	uint32_t size;                /* power of two */
	uint32_t head, tail, overdue; /* counted on */
	uint32_t n_lapsed;            /* believed, and overdue */
	/* --- where results are counted, borrowed --- */
	struct rate *cell, *precision;
	float cell_window, precision_window;
};

/** size: trials to remember, a power of two up to 32768; the oldest goes for a
 *  new one.  -ENOMEM. */
int shadow_init(struct shadow *s, uint32_t size) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void shadow_fini(struct shadow *s);
/** Forget all trials. */
void shadow_renew(struct shadow *s);
/** The trial that a chunk named in a cell belongs to; NULL: a new one is due.
 */
struct trial *shadow_find(struct shadow *s, uint64_t chunk, uint32_t cell);
/** Begin one, OPEN, in place of one that has FAILED.  Valid until the next
 *  call. */
struct trial *shadow_add(struct shadow *s, uint64_t chunk, uint32_t due,
			 uint32_t now_us);
/** A chunk was needed.  True: it was named, *ahead_us before. */
bool shadow_needed(struct shadow *s, uint64_t chunk, uint32_t now_us,
		   uint32_t *ahead_us);
/** A chunk fetched ahead left the store unread: to have named it was wrong,
 *  whatever comes later. */
void shadow_evicted(struct shadow *s, uint64_t chunk);
/** n_needed chunks were needed by now. */
void shadow_age(struct shadow *s, uint32_t n_needed, uint32_t now_us);

#endif
