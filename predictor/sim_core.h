/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/sim_core.h - what the files of the simulator share.
 *
 * Chunks of the image are numbered as they appear, so that what is known of
 * them lies in arrays that grow, and events are ordered by time.
 *
 * Errors   0 or -errno (-ENOMEM).
 */
#ifndef PFS_PREDICTOR_SIM_CORE_H
#define PFS_PREDICTOR_SIM_CORE_H

#include <pfs/predictor.h>
#include <pfs/sim.h>

#include "map.h"

/* --- sim_chunks.c: the chunks that were met --- */

struct sim_chunk {
	uint64_t chunk;    /* in the image */
	uint64_t ready_ns; /* a fetch brings it then; past: none does */
	uint64_t order;    /* serial of the prefetch that brings it; 0: none, or
			    * somebody waits for it by now */
	uint64_t unread;   /* serial of the prefetch that brought it and that
			    * nobody has read yet, in the store; 0: none */
};

struct sim_chunks {
	struct sim_chunk *c; /* owned */
	uint32_t n, n_max;
	struct map number; /* chunk to index in c */
};

int sim_chunks_init(struct sim_chunks *t) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void sim_chunks_fini(struct sim_chunks *t);
/** Its number, given now if it has none yet.  Pointers into t->c go stale. */
int sim_chunks_number(struct sim_chunks *t, uint64_t chunk,
		      uint32_t *out) PFS_MUST_CHECK;
/** False: it has none. */
bool sim_chunks_find(const struct sim_chunks *t, uint64_t chunk, uint32_t *out);

/* --- sim_lru.c --- */

extern const struct pfs_sim_store sim_lru;

/* --- sim_queue.c: what will happen --- */

/* Of events at one time the first kind goes first, and all before a new
 * request. */
enum sim_kind {
	SIM_FETCHED,  /* a prefetch has ended */
	SIM_ANSWERED, /* a request */
};

struct sim_event {
	uint64_t time_ns;
	uint64_t seq; /* of equals the first queued goes first */
	enum sim_kind kind;
	uint32_t order;           /* SIM_FETCHED: which */
	struct pfs_access access; /* SIM_ANSWERED */
};

struct sim_queue {
	struct sim_event *heap; /* owned */
	size_t n, n_max;
	uint64_t seq;
};

void sim_queue_fini(struct sim_queue *q);
/** Takes a copy; e->seq is set here. */
int sim_queue_add(struct sim_queue *q,
		  const struct sim_event *e) PFS_MUST_CHECK;
/** When the first is due; UINT64_MAX: none is. */
uint64_t sim_queue_time(const struct sim_queue *q);
/** Take the first; there must be one. */
struct sim_event sim_queue_take(struct sim_queue *q);

/* --- sim_model.c: what happens --- */

#define SIM_IMAGE 1u
#define SIM_VM 1u

/* A prefetch under way; serial 0: none. */
struct sim_order {
	uint64_t serial;
	uint64_t id, first; /* the predictor's, chunk of the image */
	uint32_t n;
	uint64_t latency_ns;
};

struct sim {
	/* --- constant --- */
	const struct pfs_sim_config *cfg;
	const struct pfs_sim_store *policy;
	uint64_t source_ns, store_ns;
	double per_chunk_ns; /* of the second and later ones of a prefetch */
	uint64_t image_bytes;
	uint32_t capacity; /* chunks */
	uint64_t n_ops;    /* of all traces, for progress */
	/* --- now --- */
	struct pfs_predictor *p; /* owned; NULL: none wanted */
	void *store;             /* owned */
	struct sim_chunks chunks;
	struct sim_queue queue;
	struct sim_order order[PFS_PREFETCH_FLIGHT_MAX];
	uint32_t in_flight;
	uint64_t serial; /* of prefetches */
	uint64_t now, tick_ns;
	uint64_t n_ops_done;
	uint64_t train_ns; /* most of a session's end */
	/* --- of this session --- */
	uint64_t first_serial; /* prefetches from here on are its own */
	uint64_t delay_ns;     /* by which its requests are late by now */
	uint64_t last_answer_ns;
	uint32_t n_unanswered;
	bool is_ending; /* its last request was made */
	uint64_t cpu_ns;
	struct pfs_sim_result r; /* counts only */
	uint64_t *latency_ns;    /* owned: of each read request */
	size_t n_latencies;
};

/** Anew, and empty. */
int sim_store_empty(struct sim *s) PFS_MUST_CHECK;
/** For pfs/predictor.h; arg is the struct sim. */
bool sim_is_absent(void *arg, uint64_t image, uint64_t chunk);
/** A request arrives now. */
int sim_request(struct sim *s, const struct pfs_trace_op *op) PFS_MUST_CHECK;
/** All that happens until then, and at that time. */
int sim_advance(struct sim *s, uint64_t until) PFS_MUST_CHECK;
/** Let the predictor see to what is due; not without one. */
int sim_tick(struct sim *s) PFS_MUST_CHECK;
/** The image is closed; not without a predictor. */
void sim_close(struct sim *s);

#endif
