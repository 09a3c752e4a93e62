/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/predictor.h - reads and writes in, fetches to make out.
 *
 * A predictor watches what guests read of their images, lets its proposers
 * name what they will read next, scores each proposer by what really came, and
 * plans the fetches that pay.  It is pure computation: time is passed in, and
 * nothing here waits, reads a clock or knows a descriptor, so the daemon and
 * `pfsctl simulate` run the same code.
 *
 * The caller's loop
 *   pfs_predictor_opened()    a VM has opened an image (each handle)
 *   pfs_predictor_observe()   each read and write, after it was answered
 *   pfs_predictor_next()      until it has nothing more: fetches to start now
 *   pfs_predictor_fetched()   one of them has ended
 *   pfs_predictor_closed()    a handle is closed
 *   pfs_predictor_tick()      when pfs_predictor_deadline() has come
 *   pfs_predictor_saved()     take what was learned, to be kept
 *
 * Words    a session is one life of one VM on one image; a stream is what one
 *          handle reads, split by nearness; extra bytes are those prefetched
 *          and evicted unread, or still unread after 60 s.
 * Units    bytes; times are ns on any monotonic clock; chunk numbers count
 *          from 0 in an image; shares are 0..1.
 * Errors   0 or -errno; -ENOMEM costs learning, never anything else.
 * Threads  none: one thread at a time.
 * Memory   bounded: PFS_PREDICTOR_IMAGE_BYTES for each image with learning in
 *          RAM; nothing is allocated in observe or next once a session runs.
 */
#ifndef PFS_PREDICTOR_H
#define PFS_PREDICTOR_H

#include <pfs/base.h>

#define PFS_PREDICTOR_IMAGE_BYTES PFS_MIB(8)
#define PFS_PREFETCH_MAX PFS_MIB(1) /* bytes in one fetch */
#define PFS_PREFETCH_FLIGHT_MAX 32u /* fetches under way */
#define PFS_VM_UNKNOWN 0u

struct pfs_predictor; /* opaque; owned by whoever created it */

/** What the operator asks for; the thresholds are in planner.h. */
enum pfs_prefetch_level {
	PFS_PREFETCH_OFF, /* learn, propose in shadow, fetch nothing */
	PFS_PREFETCH_CONSERVATIVE,
	PFS_PREFETCH_BALANCED,
	PFS_PREFETCH_AGGRESSIVE,
};

/** Proposers, in the order of their names in pfs_proposer_name(). */
enum pfs_proposer {
	PFS_PROPOSER_SEQUENTIAL,
	PFS_PROPOSER_REPLAY,
	PFS_PROPOSER_MARKOV,
	PFS_PROPOSER_N,
};

/** "sequential", ...; NULL beyond the last. */
const char *pfs_proposer_name(unsigned int proposer);

struct pfs_predictor_config {
	uint32_t chunk; /* bytes, power of two */
	enum pfs_prefetch_level level;
	uint32_t proposers; /* bit mask of 1 << enum pfs_proposer */
	bool trusts_shared; /* replay what other VMs taught without proof */
	bool always_wrong;  /* planted: proposes chunks nobody reads, sure of
			     * itself; for tests of "do no harm" */
	uint64_t rate_max;  /* bytes/s fetched ahead, all VMs; 0: no cap */
	uint64_t seed;
	/** Is it worth fetching?  False for what is resident, being fetched, a
	 *  hole or past the end.  Must not call the predictor. */
	bool (*is_absent)(void *arg, uint64_t image, uint64_t chunk);
	void *arg;
};

int pfs_predictor_create(const struct pfs_predictor_config *cfg,
			 struct pfs_predictor **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void pfs_predictor_destroy(struct pfs_predictor *p);

/** Change level, proposers or trust while it runs. */
void pfs_predictor_set(struct pfs_predictor *p, enum pfs_prefetch_level level,
		       uint32_t proposers, bool trusts_shared);

/* --- what happens --- */

enum pfs_access_outcome {
	PFS_ACCESS_HIT,    /* from the store */
	PFS_ACCESS_LATE,   /* waited on a fetch in flight */
	PFS_ACCESS_MISS,   /* had to start its own fetch */
	PFS_ACCESS_HOLE,   /* zeros */
	PFS_ACCESS_DIRECT, /* past the store */
};

/** One read or write of a guest, as it was answered. */
struct pfs_access {
	uint64_t time_ns;    /* of the request */
	uint64_t latency_ns; /* until the answer */
	uint64_t image;      /* not 0 */
	uint64_t vm;
	uint64_t off;
	uint32_t len;    /* at least 1 */
	uint32_t handle; /* of the reader: streams do not mix over it */
	bool is_write;   /* or a punch, a truncation, ...: len may be cut */
	enum pfs_access_outcome outcome; /* of a read */
};

/** A VM has opened a handle on an image.  size: in bytes now.  -ENOSPC: too
 *  many sessions run already; what this one reads is passed over. */
int pfs_predictor_opened(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			 uint64_t size, uint64_t now) PFS_MUST_CHECK;
/** It has closed one: the session ends 2 s after the last, unless the VM opens
 *  another by then. */
void pfs_predictor_closed(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			  uint64_t now);
/** Bytes of the image are others now than those learned: its file was replaced
 *  or changed behind the mount.  Recordings go on probation. */
void pfs_predictor_changed(struct pfs_predictor *p, uint64_t image);
/** The image is gone for good: forget all about it. */
void pfs_predictor_gone(struct pfs_predictor *p, uint64_t image);

/** An access was answered at `now`.  A read by a VM that has not opened the
 *  image is ignored; a write concerns every session of the image. */
void pfs_predictor_observe(struct pfs_predictor *p, const struct pfs_access *a,
			   uint64_t now);
/** A chunk that was prefetched and never read has left the store. */
void pfs_predictor_evicted(struct pfs_predictor *p, uint64_t image,
			   uint64_t chunk);
/** When pfs_predictor_tick() is due; UINT64_MAX: when something happens. */
uint64_t pfs_predictor_deadline(const struct pfs_predictor *p);
/** End sessions that are over, age what waits. */
void pfs_predictor_tick(struct pfs_predictor *p, uint64_t now);

/* --- what to fetch --- */

/** Neighbouring chunks to be fetched in one piece. */
struct pfs_prefetch_order {
	uint64_t id; /* for pfs_predictor_fetched() */
	uint64_t image, vm;
	uint64_t chunk;
	uint32_t n_chunks; /* bytes at most PFS_PREFETCH_MAX */
};

/** The next fetch to start now; false: none.  What it hands out counts as in
 *  flight until pfs_predictor_fetched(). */
bool pfs_predictor_next(struct pfs_predictor *p, uint64_t now,
			struct pfs_prefetch_order *out);
/** An order has ended at `now`: n_fetched of its first chunks were brought
 *  (others were resident by then, or failed); latency_ns of the source read,
 *  0: none was made. */
void pfs_predictor_fetched(struct pfs_predictor *p, uint64_t id,
			   uint32_t n_fetched, uint64_t latency_ns,
			   uint64_t now);
/** Bring an image, or what its best recording holds of it, at the lowest
 *  priority.  Not counted against proposers.  -ENOENT: not open, or nothing
 *  recorded. */
int pfs_predictor_warm(struct pfs_predictor *p, uint64_t image,
		       uint64_t first_chunk, uint64_t n_chunks,
		       bool from_recording, uint64_t now) PFS_MUST_CHECK;
/** Chunks still to be brought by that. */
uint64_t pfs_predictor_warming(const struct pfs_predictor *p, uint64_t image);

/* --- learning, to be kept --- */

/** Recordings are opaque bytes (pfs/recording.h), each with a number of its
 *  own within its image. */
struct pfs_saved {
	uint64_t image;
	uint64_t number;
	const void *blob; /* NULL: delete it; valid until the next call */
	size_t len;
};
/** What changed since it was last asked; false: nothing more. */
bool pfs_predictor_saved(struct pfs_predictor *p, struct pfs_saved *out);
/** Give back what was kept, right after the image was opened.  -EBADMSG:
 *  damaged, left out. */
int pfs_predictor_restore(struct pfs_predictor *p, uint64_t image,
			  uint64_t number, const void *blob,
			  size_t len) PFS_MUST_CHECK;
/** Forget one recording of an image, or all (number 0). -ENOENT: none. */
int pfs_predictor_drop(struct pfs_predictor *p, uint64_t image,
		       uint64_t number) PFS_MUST_CHECK;
/** End every session now, so that all is learned (before the end). */
void pfs_predictor_finish(struct pfs_predictor *p, uint64_t now);

/* --- looking at it --- */

struct pfs_score {
	uint64_t proposed, came; /* chunks, in shadow: named; named and read */
	uint64_t asked;          /* chunks read for the first time meanwhile */
	uint64_t issued, used;   /* chunks, really fetched on its word */
	double precision;        /* of the last 256 issued or probed */
	double coverage;         /* came / asked, of late */
	double saved_ns;         /* net, of late, per chunk asked */
	bool is_off;             /* below the floor: probes only */
};

struct pfs_prefetch_stats {
	uint64_t issued, used, late, extra, pending;        /* chunks */
	uint64_t dropped_old, dropped_budget, dropped_full; /* proposals */
	uint64_t saved_ns; /* guests did not wait this long */
	uint32_t in_flight;
	uint64_t source_ns; /* latency of a demand fetch, EWMA */
	struct pfs_score score[PFS_PROPOSER_N];
};

/** image 0: all; vm 0: all. */
void pfs_predictor_stats(const struct pfs_predictor *p, uint64_t image,
			 uint64_t vm, struct pfs_prefetch_stats *out);
/** Call fn for each (image, vm) with a session now; nonzero stops. */
int pfs_predictor_each(const struct pfs_predictor *p,
		       int (*fn)(void *arg, uint64_t image, uint64_t vm),
		       void *arg);

enum pfs_why_fate {
	PFS_WHY_PENDING,   /* fetched, not read yet */
	PFS_WHY_USED,      /* read, and it was there */
	PFS_WHY_LATE,      /* read while its fetch was under way */
	PFS_WHY_EXTRA,     /* evicted unread, or unread for 60 s */
	PFS_WHY_NOT_TAKEN, /* resident by then, or the fetch failed */
};

/** Why a chunk was fetched ahead. */
struct pfs_why {
	uint64_t chunk, vm;
	uint32_t proposers; /* bit mask: who named it */
	double confidence;
	uint64_t asked_ns, ended_ns; /* ended: read, or given up; 0: not yet */
	enum pfs_why_fate fate;
};
/** The latest decisions on a chunk, newest first, at most n; how many. */
size_t pfs_predictor_why(const struct pfs_predictor *p, uint64_t image,
			 uint64_t chunk, struct pfs_why *out, size_t n);

size_t pfs_predictor_memory(const struct pfs_predictor *p, uint64_t image);

#endif
