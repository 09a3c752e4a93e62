/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * agent.h - from signals to vectors.
 *
 * One thread and one loop: every TICK it collects what was sampled and looks
 * files up, every interval it makes a vector and sends it, and between them it
 * sends an early one when there are extents to tell.  DAMON's sysfs, which may
 * keep its caller waiting, has a thread of its own.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <signal.h>

#include "budget.h"
#include "counts.h"
#include "damon.h"
#include "hot.h"
#include "link.h"
#include "options.h"

struct agent {
	const struct options *options; /* borrowed */
	struct probe probe;
	struct disks disks;
	struct mounts mounts;
	struct perf perf;
	struct opens opens;
	struct damon damon;
	struct hot hot;
	struct link link;
	struct budget budget;
	int mountinfo; /* tells when mounts change; -1: cannot */
	/* --- the vector in the making --- */
	struct pfs_window window;
	struct pfs_activity before;
	uint32_t n_faults, n_inserts; /* in the window since the last one */
	struct pfs_sample last;       /* put there */
	uint64_t n_lost;              /* of all sources, at the last one */
	uint64_t cpu_ns;              /* used until then */
	struct pfs_vector v;
	/* --- when things are due --- */
	uint64_t tick_ns, vector_ns, early_ns, look_ns;
};

/** Open the sources; a->probe says what there is. */
int agent_open(struct agent *a, const struct options *o) PFS_MUST_CHECK;
void agent_close(struct agent *a);
/** Work until *stop; with only_one print the first vector and send none. */
int agent_run(struct agent *a, const volatile sig_atomic_t *stop,
	      const sigset_t *wait_mask, bool only_one) PFS_MUST_CHECK;

#endif
