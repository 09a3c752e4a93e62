/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/issued.h - what was fetched ahead, why, and what became of it.
 *
 * A ring of the latest decisions, one for each chunk of each order.  Those
 * whose chunk nobody has read yet are pending and found by chunk; 60 s after
 * the order, or when the ring comes round to them, they are given up as extra.
 *
 * Threads  none.
 * Memory   all of it at init: 80 bytes and 2 map entries for each decision.
 */
#ifndef PFS_PREDICTOR_ISSUED_H
#define PFS_PREDICTOR_ISSUED_H

#include "map.h"
#include "planner.h"

#define ISSUED_MAX 8192u                       /* decisions remembered */
#define ISSUED_WAIT_NS (60 * PFS_NSEC_PER_SEC) /* unread for longer: extra */
#define ISSUED_ORDERS_MAX (2 * PFS_PREFETCH_FLIGHT_MAX)

struct decision {
	uint64_t image;
	struct pfs_why why;
	bool is_pending, is_here; /* not read yet; its fetch has ended */
	bool is_warm;             /* asked for by the operator: not judged */
};

struct issued {
	struct decision *ring; /* owned */
	uint64_t head, tail; /* decisions made; older than tail: none pending */
	struct map pending;  /* image and chunk -> decision */
	struct issued_order {
		uint64_t id, first; /* id 0: free */
		uint32_t n;
	} order[ISSUED_ORDERS_MAX];
	uint32_t n_pending;
	/** A pending decision has got its fate (not for warm ones). */
	void (*ended)(void *arg, const struct decision *d);
	void *arg;
};

int issued_init(struct issued *s,
		void (*ended)(void *arg, const struct decision *d),
		void *arg) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void issued_fini(struct issued *s);

/** An order goes out; w: its n_chunks wishes. */
void issued_order(struct issued *s, const struct pfs_prefetch_order *o,
		  const struct wish *w, uint64_t now);
/** It has ended: those not fetched are not taken. */
void issued_fetched(struct issued *s, uint64_t id, uint32_t n_fetched,
		    uint64_t now);
/** A chunk was read.  NULL: it was not pending. */
const struct decision *issued_read(struct issued *s, uint64_t image,
				   uint64_t chunk,
				   enum pfs_access_outcome outcome,
				   uint64_t now);
void issued_evicted(struct issued *s, uint64_t image, uint64_t chunk,
		    uint64_t now);
/** Give up what waits for more than ISSUED_WAIT_NS. */
void issued_age(struct issued *s, uint64_t now);
/** When issued_age() is due; UINT64_MAX: nothing is pending. */
uint64_t issued_deadline(const struct issued *s);
bool issued_is_pending(const struct issued *s, uint64_t image, uint64_t chunk);
size_t issued_why(const struct issued *s, uint64_t image, uint64_t chunk,
		  struct pfs_why *out, size_t n);

#endif
