/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/recording.h - recordings in memory: made from sessions, merged,
 * compared, searched, written and read.
 *
 * A recording is a list of steps in the order of the latest session that was
 * merged into it, with an index from chunk to step.  It never changes once it
 * is made: merging makes another one, so that sessions may go on following
 * the old.  Only the fields under "may change" are exceptions.
 *
 * Memory   14..20 bytes a step.
 * Errors   -ENOMEM leaves everything as it was.
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_RECORDING_H
#define PFS_PREDICTOR_RECORDING_H

#include <pfs/hash.h>
#include <pfs/recording.h>

#define RECORDING_TAUGHT_MAX 4u   /* VMs remembered by id */
#define RECORDING_HISTORY 8u      /* sessions that a step remembers */
#define RECORDING_NONE UINT32_MAX /* no such step */
#define RECORDING_ALIKE 0.5       /* likeness from which sessions merge */
#define RECORDING_WEIGHT_ONE 256u /* one session, just now */
#define RECORDING_WEIGHT_MAX (16 * RECORDING_WEIGHT_ONE)
/* Flags: the image was used by several VMs; nobody's word, as it was imported
 * or the image was replaced. */
#define RECORDING_SHARED (1u << 0)
#define RECORDING_PROBATION (1u << 1)

/* A chunk that was read again after it had left the store is a step again;
 * `again` counts them, so that chunk and again together name a step. */
struct step {
	uint32_t chunk;
	uint8_t gap;   /* class of the time since the step before */
	uint8_t had;   /* bit i: the i-th latest session had it */
	uint8_t again; /* 0: the first touch */
};

struct recording {
	struct step *step; /* owned */
	uint32_t *index;   /* owned; hash table of step numbers */
	uint32_t mask;     /* of the index */
	uint32_t n_steps;
	uint32_t chunk; /* bytes */
	uint32_t n_sessions;
	uint32_t n_taught; /* VMs, about: those forgotten count again */
	uint64_t taught[RECORDING_TAUGHT_MAX];
	uint64_t duration_ns;
	uint64_t clock;  /* sessions of the image until it was made */
	uint32_t weight; /* sessions like it, faded, at `clock` */
	/* --- may change --- */
	uint32_t flags;
	uint32_t n_refs;
	uint64_t number;
	bool is_changed; /* since it was last saved */
};

/** A session as it is handed to recording_create(). */
struct recording_source {
	const struct step *step; /* in order; of `again` only whether it is 0
				  * counts, `had` not at all */
	uint32_t n_steps;
	uint32_t chunk;
	uint64_t vm; /* 0: unknown */
	uint64_t duration_ns;
	uint64_t clock;
	uint32_t flags;
};

/** Class of a gap, 0..31: octaves of a microsecond. */
uint8_t recording_gap_class(uint64_t ns);
uint64_t recording_gap_ns(uint8_t gap);

/** A copy of *head without its steps, but with room for as many.  One reference
 *  is the caller's, as for all that are made here. */
int recording_alloc(const struct recording *head,
		    struct recording **out) PFS_MUST_CHECK;
/** Append a step.  False: it is there already. */
bool recording_push(struct recording *r, const struct step *step);

/** What a session leaves, by itself. */
int recording_create(const struct recording_source *s,
		     struct recording **out) PFS_MUST_CHECK;
/** How much two are like each other, 0..1: the least of the shares that each
 *  has of the other's chunks, over all and over the later halves. */
double recording_likeness(const struct recording *a, const struct recording *b);
/** `old` and what a session alike has left, with the number of `old`. */
int recording_merge(const struct recording *old, const struct recording *latest,
		    struct recording **out) PFS_MUST_CHECK;
/** Weight of a recording at a later clock. */
double recording_weight(const struct recording *r, uint64_t clock);
/** Did this VM teach it? */
bool recording_is_of(const struct recording *r, uint64_t vm);

struct recording *recording_get(struct recording *r);
/** Accepts NULL; frees with the last reference. */
void recording_put(struct recording *r);
size_t recording_memory(const struct recording *r);

int recording_decode(const void *blob, size_t len,
		     struct recording **out) PFS_MUST_CHECK;
int recording_encode(const struct recording *r, void **blob,
		     size_t *len) PFS_MUST_CHECK;

/** Where the search for a chunk begins. */
static inline uint64_t recording_hash(uint32_t chunk, uint8_t again)
{
	return pfs_mix64((uint64_t)again << 32 | chunk);
}

/** The number of a step, RECORDING_NONE: there is no such step. */
static inline uint32_t recording_find(const struct recording *r, uint32_t chunk,
				      uint8_t again, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & r->mask;

	for (; r->index[i] != RECORDING_NONE; i = (i + 1) & r->mask) {
		const struct step *s = &r->step[r->index[i]];

		if (s->chunk == chunk && s->again == again)
			break;
	}
	return r->index[i];
}

/** Share of the merged sessions that had a step, of the latest eight. */
static inline float recording_share(const struct recording *r, uint32_t i)
{
	uint32_t n = PFS_MIN(r->n_sessions, RECORDING_HISTORY);

	return (float)__builtin_popcount(r->step[i].had) / (float)n;
}

#endif
