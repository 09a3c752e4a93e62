/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/intent.h - calls that must not be carried out twice.
 *
 * CREATE, MKNOD, MKDIR, UNLINK, RMDIR and RENAME write down what they are
 * about to do and what the names stood for before.  When the worker dies, the
 * kernel sends the request again, and its successor decides by comparing: what
 * was done is answered as done, what was not is done now.
 *
 * An intent ends after the reply.  One that a dead worker left after its reply
 * is never asked for again (the kernel does not use a `unique` twice): it ages
 * out.
 *
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_FS_INTENT_H
#define PFS_FS_INTENT_H

#include <sys/stat.h>

#include <pfs/base.h>
#include <pfs/mutex.h>

#include "state.h"

struct intent_log; /* opaque */

/* Longer than any request waits to be sent again.  It counts from the first
 * worker that found the intent, or workers that die one after the other would
 * keep it for ever; but each gets INTENT_GRACE_NS, since the kernel sends anew
 * to each. */
#define INTENT_MAX_AGE_NS (60 * PFS_NSEC_PER_SEC)
#define INTENT_GRACE_NS (5 * PFS_NSEC_PER_SEC)

/** lock: worker.mount_lock (borrowed).  Half-written intents are freed; the
 *  others are a dead worker's, and kept for the requests to come again. */
int intent_log_create(struct state *s, struct pfs_mutex *lock,
		      struct intent_log **out) PFS_MUST_CHECK;
void intent_log_destroy(struct intent_log *log);

/** Write an intent down: all of *what but `use` counts.  *out stays valid
 *  until intent_end().  -ENOSPC: STATE_MAX_INTENTS calls are under way. */
int intent_begin(struct intent_log *log, const struct state_intent *what,
		 struct state_intent **out) PFS_MUST_CHECK;
/** The intent of a request that is sent again, or NULL. */
struct state_intent *intent_find(struct intent_log *log, uint64_t unique,
				 uint32_t opcode);
void intent_end(struct intent_log *log, struct state_intent *i);

/** Call fn for each intent a dead worker left. */
void intent_each_old(struct intent_log *log,
		     void (*fn)(void *arg, struct state_intent *i), void *arg);

/** What a name stands for: {0, 0} for nothing. */
struct intent_file {
	uint64_t dev, ino;
};

/** Was it carried out?  now: what the (old) name stands for, new_now: what
 *  the new name of a RENAME does. */
bool intent_is_done(const struct state_intent *i, struct intent_file now,
		    struct intent_file new_now);

#endif
