/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/session.h - one life of one VM on one image.
 *
 * A session turns reads into touches, hands them to its proposers' states and
 * keeps the arbiter that scores them.  It starts over by itself when the guest
 * was reset (what it read first is read again) or after SESSION_READS reads
 * (a window of a long life).
 *
 * Threads  none.
 * Memory   all of it at open and when it starts over: about 64 KiB, one bit
 *          for each chunk of the image up to SESSION_BITS_MAX, and what the
 *          proposers ask for.
 */
#ifndef PFS_PREDICTOR_SESSION_H
#define PFS_PREDICTOR_SESSION_H

#include "arbiter.h"
#include "proposer.h"
#include "stream.h"

#define SESSION_READS 32768u /* then a new window begins */
#define SESSION_CLOSE_NS (2 * PFS_NSEC_PER_SEC)
#define SESSION_BITS_MIN (1u << 14)
#define SESSION_BITS_MAX (1u << 20) /* more chunks share bits by hash */

/* A guest was reset when RESET_SAME of the RESET_BOOT chunks that its session
 * touched first are read again, from the very first on, within RESET_TOUCHES
 * touches and RESET_NS.  Sessions shorter than RESET_MIN touches go on: a boot
 * loader reads its own sectors more than once. */
#define RESET_BOOT 16u
#define RESET_SAME 12u
#define RESET_TOUCHES 96u
#define RESET_MIN 256u
#define RESET_NS (30 * PFS_NSEC_PER_SEC)

/** What an image's learning consists of: one for each source; NULL: none. */
struct learning {
	void *source[SOURCES]; /* owned */
	struct boards boards;
	uint32_t chunk; /* bytes */
};

extern const struct proposer *const session_sources[SOURCES];

int learning_create(struct learning *l, const struct learning_config *cfg,
		    bool always_wrong) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void learning_destroy(struct learning *l);
size_t learning_memory(const struct learning *l);

struct session {
	struct session *next; /* of the image */
	uint64_t vm;
	uint32_t n_handles;        /* the VM has open on the image */
	uint64_t closed_ns;        /* the last of them; UINT64_MAX: not yet */
	struct learning *learning; /* borrowed from the image */
	void *state[SOURCES];      /* owned; NULL: without that proposer */
	struct streams streams;
	struct arbiter arbiter;
	uint64_t *touched; /* bit set of chunks, owned */
	uint64_t bit_mask;
	uint32_t n_reads; /* but those that nothing could be learned from */
	uint32_t n_touches;
	uint32_t n_quiet; /* reads since one found something missing, or
			   * something fetched ahead */
	uint32_t n_boot, n_watch, seen;
	uint64_t boot[RESET_BOOT];         /* touched first */
	struct touch watch[RESET_TOUCHES]; /* since it may have been reset */
	uint32_t watch_handle[RESET_TOUCHES];
};

int session_begin(struct learning *l, uint64_t vm, uint64_t n_chunks,
		  struct session **out) PFS_MUST_CHECK;
/** Its proposers learn from it.  Accepts NULL. */
void session_finish(struct session *s);

/** A chunk was read: fills in all of t that the caller did not. */
void session_touch(struct session *s, uint32_t handle, struct touch *t);
/** Let the proposers see it. */
void session_tell(struct session *s, const struct touch *t);
void session_wrote(struct session *s, uint64_t first, uint64_t n, bool whole);

/** Add what its arbiter has counted to a sum's score members. */
void session_count(const struct session *s, struct pfs_prefetch_stats *sum);
/** Of its own, without its proposers' states. */
size_t session_memory(const struct session *s);

/** After each read. */
bool session_was_reset(const struct session *s);
bool session_is_full(const struct session *s);
/** End it and begin anew in place; after a reset the new one has seen what
 *  was read since.  Without memory it goes on with fewer proposers. */
void session_renew(struct session *s);

#endif
