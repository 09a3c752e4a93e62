/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/counters.h - every drop, refusal, fallback and outcome has a counter.
 *
 * counters.def is the one place where a counter is declared; pfsctl stats,
 * its JSON and the man page come from it.  A counter only grows during a
 * worker's life and is carried over to its successor in the supervisor's
 * shared memory.
 *
 * Threads  pfs_count() is safe from any thread and takes no lock: a thread
 *          adds to its own row, which stays when the thread ends.
 */
#ifndef PFS_COUNTERS_H
#define PFS_COUNTERS_H

#include <pfs/base.h>

enum pfs_counter {
#define PFS_COUNTER(id, name, unit, help) PFS_C_##id,
#include <pfs/counters.def>
#undef PFS_COUNTER
	PFS_C_N,
};

struct pfs_counter_info {
	const char *name;
	const char *unit; /* "reads", "bytes", ... */
	const char *help;
};

extern const struct pfs_counter_info pfs_counter_info[PFS_C_N];

void pfs_count(enum pfs_counter c, uint64_t n);
/** Sum over all threads plus what was carried over, into out[PFS_C_N]. */
void pfs_counters_read(uint64_t *out);
/** Where the sums start, e.g. a predecessor's (PFS_C_N values, copied); takes
 *  the place of what was carried before. */
void pfs_counters_carry(const uint64_t *base);

#endif
