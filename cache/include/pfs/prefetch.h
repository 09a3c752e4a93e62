/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/prefetch.h - fetches that nobody waits for yet.
 *
 * A prefetcher is a thread with a ring of its own that reads neighbouring
 * chunks from a source into the store.  From pfs_prefetch_start() on its
 * fetches are joined by demand reads like any other; they never use the last
 * free fetch buffers, so a demand read finds one.  Chunks it brings are on
 * probation until a guest reads them.
 *
 * Threads  every call is safe from any thread.
 * Errors   none becomes a guest's: what fails is not fetched.
 */
#ifndef PFS_PREFETCH_H
#define PFS_PREFETCH_H

#include <pfs/base.h>
#include <pfs/store.h>

struct pfs_prefetcher; /* opaque */

/** A fetch has ended. */
struct pfs_prefetch_done {
	uint64_t tag;        /* the caller's */
	uint32_t n_chunks;   /* that were read; 0 on error */
	int err;             /* the source's, -EBUSY, or 0 */
	uint64_t latency_ns; /* of the source read */
};

struct pfs_prefetcher_config {
	struct pfs_store *store; /* borrowed until destroy */
	/** On the prefetcher's thread, no lock held; maybe before
	 *  pfs_prefetch_start() returns.  The source has delivered and who
	 *  waited is answered; the chunks are stored a moment later. */
	void (*done)(void *arg, const struct pfs_prefetch_done *d);
	void *arg;
};

int pfs_prefetcher_create(const struct pfs_prefetcher_config *cfg,
			  struct pfs_prefetcher **out) PFS_MUST_CHECK;
/** Waits for what is in flight.  To be called once the lanes have stopped,
 * whose reads it may have to answer, and before the store is closed.  Accepts
 * NULL.
 */
void pfs_prefetcher_destroy(struct pfs_prefetcher *p);

/** Start fetching chunks first .. first + n - 1: the leading part of them that
 *  is absent (not resident, not in flight, no hole, within the image's
 *  size_bytes) and contiguous, at most 1 MiB.  Returns its length; done() is
 *  called once if that is not 0.  -EAGAIN: no buffer or slot to spare now;
 * -ESTALE: image or store take no chunks now. */
int pfs_prefetch_start(struct pfs_prefetcher *p, struct pfs_store_image *img,
		       uint64_t size_bytes, uint64_t first, uint32_t n,
		       uint64_t tag) PFS_MUST_CHECK;

/** Would pfs_prefetch_start() take this chunk (but for buffers)? */
bool pfs_store_image_is_absent(struct pfs_store_image *img, uint64_t chunk);

#endif
