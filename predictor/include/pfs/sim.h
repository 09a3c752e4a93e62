/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/sim.h - the predictor over traces, with a model of source and store.
 *
 * What the model is and what the figures mean is said in pfsctl(8) under
 * `simulate`; both are kept stable.
 *
 * Threads  none.
 * Errors   0 or -errno.
 */
#ifndef PFS_SIM_H
#define PFS_SIM_H

#include <pfs/base.h>
#include <pfs/trace.h>

/** What the simulated store holds; LRU is built in, others are the caller's
 *  (the daemon's own eviction lives in cache/, which is not linked here).
 *  Chunks are numbered from 0 as they appear, not by their place in the image.
 */
struct pfs_sim_store {
	void *(*create)(void *arg, uint32_t n_chunks); /* NULL: no memory */
	void (*destroy)(void *store);                  /* accepts NULL */
	/** Is it there?  is_read: a guest reads it. */
	bool (*find)(void *store, uint32_t chunk, bool is_read);
	/** Put it in, or in anew; each chunk that leaves for it is told. */
	int (*insert)(void *store, uint32_t chunk, bool is_prefetch,
		      void (*evicted)(void *arg, uint32_t chunk), void *arg);
	void *arg; /* of create */
};

struct pfs_sim_config {
	uint32_t proposers;   /* bit mask; 0: no prefetch, no predictor */
	bool always_wrong;    /* see pfs/predictor.h */
	uint32_t chunk;       /* bytes, power of two, 4 KiB..1 MiB */
	double store_percent; /* of the distinct chunks of all traces, > 0 */
	uint64_t store_bytes; /* overrides it if not 0 */
	bool keeps_store;     /* between sessions */
	bool is_closed_loop;
	double source_latency_us, store_latency_us;
	double source_mbps; /* 10^6 bytes/s, > 0; of the second and later
			     * chunks of a merged prefetch */
	uint64_t seed;
	const struct pfs_sim_store *store; /* NULL: exact LRU */
	/** CPU time of this thread; may be NULL. */
	uint64_t (*cpu_ns)(void *arg);
	/** Now and then, with the share done; may be NULL. */
	void (*progress)(void *arg, double done);
	void *arg; /* of both */
};

/** Of the test session, but for train_cpu_s. */
struct pfs_sim_result {
	uint64_t chunk_reads, hits, late; /* misses are the rest */
	uint64_t prefetched, used;        /* chunks */
	uint64_t source_bytes, read_bytes;
	double coverage, precision, traffic_ratio; /* 0 where nothing was */
	double mean_latency_us, p99_latency_us;    /* of read requests */
	double cpu_us_per_read;                    /* per chunk read */
	double train_cpu_s; /* the most that one session's end took */
};

/** Train on n traces in order, then test.  -EINVAL: a value out of range. */
int pfs_simulate(const struct pfs_sim_config *cfg,
		 const struct pfs_trace *train, size_t n_train,
		 const struct pfs_trace *test,
		 struct pfs_sim_result *out) PFS_MUST_CHECK;

#endif
