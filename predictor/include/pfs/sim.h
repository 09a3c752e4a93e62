/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/sim.h - the predictor over traces, with a model of source and store.
 *
 * What the model is and what the figures mean is said in pfsctl(8) under
 * `simulate`; both are kept stable.
 */
#ifndef PFS_SIM_H
#define PFS_SIM_H

#include <pfs/base.h>
#include <pfs/trace.h>

/** What the simulated store holds; LRU is built in, others are the caller's
 *  (the daemon's own eviction lives in cache/, which is not linked here). */
struct pfs_sim_store {
	void *(*create)(void *arg, uint64_t n_chunks); /* NULL: no memory */
	void (*destroy)(void *store);
	/** Is it there?  is_read: a guest reads it. */
	bool (*find)(void *store, uint64_t chunk, bool is_read);
	void (*insert)(void *store, uint64_t chunk, bool is_prefetch,
		       void (*evicted)(void *arg, uint64_t chunk), void *arg);
	void *arg;
};

struct pfs_sim_config {
	uint32_t proposers;   /* bit mask; 0: no prefetch */
	bool always_wrong;    /* see pfs/predictor.h */
	uint32_t chunk;       /* bytes */
	double store_percent; /* of the distinct chunks of all traces */
	uint64_t store_bytes; /* overrides it if not 0 */
	bool keeps_store;     /* between sessions */
	bool is_closed_loop;
	double source_latency_us, store_latency_us;
	double source_mbps; /* 10^6 bytes/s, of the second and later chunks of a
			     * merged prefetch */
	uint64_t seed;
	const struct pfs_sim_store *store; /* NULL: exact LRU */
	/** Now and then, with the share done; may be NULL. */
	void (*progress)(void *arg, double done);
	void *arg;
};

struct pfs_sim_result {
	uint64_t chunk_reads, hits, late, prefetched, used;
	double coverage, precision, traffic_ratio;
	double mean_latency_us, p99_latency_us;
	double cpu_us_per_read, train_cpu_s;
	uint64_t source_bytes, read_bytes;
};

/** Train on n traces in order, then test. */
int pfs_simulate(const struct pfs_sim_config *cfg,
		 const struct pfs_trace *train, size_t n_train,
		 const struct pfs_trace *test,
		 struct pfs_sim_result *out) PFS_MUST_CHECK;

#endif
