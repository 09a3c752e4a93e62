/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control_trace.h - traces being made for clients of the control socket.
 *
 * A client begins one, takes what came again and again, and ends it.  One that
 * was not taken from for a while (its client is gone) makes room for a new one.
 *
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_FS_CONTROL_TRACE_H
#define PFS_FS_CONTROL_TRACE_H

#include <pfs/mutex.h>

#include "control_verbs.h"

#define CONTROL_TRACES 4u

struct control_traces {
	struct pfs_mutex lock;
	/* --- under lock --- */
	uint64_t last_id;
	struct control_trace {
		uint64_t id;           /* 0: unused */
		bool is_busy;          /* somebody takes from it now */
		struct tracer *tracer; /* owned */
		uint64_t taken_ns;     /* when it was last */
		uint64_t n_lost;       /* events, when it began */
	} at[CONTROL_TRACES];
};

void control_traces_init(struct control_traces *t);
/** End them all; nobody takes any more. */
void control_traces_fini(struct control_traces *t, struct worker *w);

#endif
