/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/lane_core.h - the inside of a lane, shared by its files.
 *
 *   lane.c        requests, planning, completion, the past-the-store read
 *   lane_hit.c    reading slots and checking them; stalls
 *   lane_fetch.c  reading chunks from the source and storing them
 *   prefetch.c    a lane without reads, for fetches that others start
 *
 * A read is cut into one part for each chunk it touches.  n_pending counts the
 * asynchronous parts under way and one for the planner; whoever brings it to 0,
 * on whichever lane, completes the read there and hands it to the reply of its
 * home lane.
 */
#ifndef PFS_CACHE_LANE_CORE_H
#define PFS_CACHE_LANE_CORE_H

#include <pfs/lane.h>

#include "core.h"
#include "ring.h"
#include "source.h"

#define LANE_SMALL_LEN PFS_KIB(64)
/* Neighbouring chunks in one source read. */
#define FETCH_GROUP_MAX ((uint32_t)(PFS_READ_MAX / PFS_CHUNK_MIN))

enum part_kind {
	PART_HIT,  /* resident: read its slot */
	PART_WAIT, /* another read fetches it: it delivers */
	PART_COPY, /* fetched, not yet stored: copy */
	PART_HOLE, /* zeros */
	PART_OWN,  /* we fetch it */
	PART_NONE, /* no buffer to fetch with */
};

struct part {
	enum part_kind kind;
	uint64_t chunk;
	uint8_t *data;     /* where its bytes go */
	uint32_t off, len; /* in the chunk, whole blocks */
	struct fetch *fetch;
	struct fetch_wait wait;
	/* --- hits --- */
	uint32_t slot;
	struct slot_ident ident;
	uint32_t *sums; /* len / 4096 of them */
	uint8_t *page;  /* header page to be read, or NULL: sums are set */
	bool owns_page; /* the first of its neighbours that share it */
	bool is_bad;
};

/* One read of the store: neighbouring slots, or one page of headers. */
struct store_run {
	struct ring_op op;
	struct store_run *next, **prevp; /* lane's list, oldest first */
	struct lane_read *read;
	uint32_t len;
	uint64_t start_ns;
};

struct lane_read {
	struct pfs_read pub;
	struct pfs_lane *home;
	struct lane_read *next; /* free list */
	uint8_t *mem;           /* PFS_READ_HEAD bytes, then data, then pages */
	uint32_t data_len;      /* room for data */
	bool is_big;
	bool is_twin;    /* made to stand in for one left behind */
	bool is_adopted; /* a twin that replaces it until it is back */
	bool is_pinning; /* holds hits' segments busy */
	_Atomic uint32_t n_pending;
	_Atomic bool wants_direct;
	_Atomic bool is_claimed; /* answered, or about to be */
	_Atomic bool is_quarantined;
	uint32_t n_parts, max_parts, n_runs;
	struct part *parts;     /* owned, max_parts */
	struct store_run *runs; /* owned, 2 * max_parts */
	uint32_t *sums;         /* owned, one for each block of data */
	/* --- past the store --- */
	struct ring_op direct;
	struct iovec direct_iov;
};

/* Neighbouring chunks to be fetched ahead. */
struct prefetch_job {
	struct prefetch_job *next; /* free list; queue */
	struct pfs_prefetcher *home;
	uint64_t tag;
	uint32_t n;
	struct fetch *f[FETCH_GROUP_MAX];
};

/* One read of the source, then one write of the store, for a group. */
struct fetch_io {
	struct ring_op op;
	struct fetch_io *next; /* free list */
	struct pfs_lane *lane;
	struct pfs_source *src;   /* borrowed from the image, which is held */
	struct prefetch_job *job; /* NULL: a guest waits */
	uint64_t start_ns;
	uint32_t n;
	struct fetch *f[FETCH_GROUP_MAX];
	struct iovec iov[FETCH_GROUP_MAX], left[FETCH_GROUP_MAX];
	uint32_t n_left;
	uint64_t off;
	uint32_t len, n_done; /* bytes */
};

struct pfs_lane {
	struct pfs_store *s;                                   /* may be NULL */
	void (*reply)(void *arg, struct pfs_read *r, int err); /* its reads' */
	void *arg;
	struct ring ring;
	uint8_t *mem; /* all reads' buffers */
	size_t mem_len;
	struct lane_read *reads; /* owned array */
	uint32_t n_small, n_big;
	struct lane_read *free_small, *free_big;
	/* By is_big: reads left behind, and twins in their place. */
	uint32_t n_missing[2], n_adopted[2];
	struct fetch_io *ios, *free_io;
	uint32_t n_ios;
	struct store_run *runs, **runs_tail; /* in the ring, oldest first */
	struct ring_op poll;
	bool is_polling;
	_Atomic uint32_t n_reads;
	struct pfs_mutex lock;
	/* --- under lock --- */
	struct lane_read *returned; /* by other lanes */
};

static inline struct lane_read *read_of(struct pfs_read *pub)
{
	return PFS_CONTAINER_OF(pub, struct lane_read, pub);
}

/* --- lane.c --- */
/** A lane with room for so many reads, maybe none, and no reply yet. */
int lane_create(struct pfs_store *s, uint32_t n_small, uint32_t n_big,
		struct pfs_lane **out) PFS_MUST_CHECK;
/** One asynchronous part of r is over; l is the lane of this thread. */
void read_part_done(struct pfs_lane *l, struct lane_read *r);
void read_direct(struct pfs_lane *l, struct lane_read *r);
/** A stand-in with its own buffer for a read whose buffer the store may still
 *  write to; NULL without memory. */
struct lane_read *read_twin(struct pfs_lane *l, struct lane_read *r);

/* --- lane_hit.c --- */
/** Called with the store locked: the chunk is resident in slot. */
void hit_plan_locked(struct pfs_lane *l, struct lane_read *r, struct part *p,
		     uint32_t slot, uint64_t gen) PFS_REQUIRES(l->s->lock);
void hits_start(struct pfs_lane *l, struct lane_read *r);
/** All store reads of r have ended: check them and let go of their segments.
 *  False: at least one is not what it should be. */
bool hits_check(struct pfs_lane *l, struct lane_read *r);
/** When the oldest store read stalls; UINT64_MAX: none under way. */
uint64_t hits_deadline(const struct pfs_lane *l);
void hits_check_stall(struct pfs_lane *l);

/* --- lane_fetch.c --- */
int fetch_ios_init(struct pfs_lane *l) PFS_MUST_CHECK;
/** Start reading the chunks that r has to fetch itself. */
void fetches_start(struct pfs_lane *l, struct lane_read *r);
/** Start reading the job's chunks, which are registered. */
void fetches_start_job(struct pfs_lane *l, struct prefetch_job *job);
/** Chunks that one source read may bring. */
static inline uint32_t fetch_group_max(const struct pfs_store *s)
{
	return (uint32_t)(PFS_READ_MAX / s->g.chunk);
}

/* --- prefetch.c --- */
/** The job's source read is over, its readers are answered; frees the job. */
void prefetch_ended(struct prefetch_job *job, int err, uint64_t latency_ns);

#endif
