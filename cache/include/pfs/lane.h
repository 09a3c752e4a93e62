/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/lane.h - the read path of one thread.
 *
 * A lane is a ring and a fixed set of read requests with their buffers.  Its
 * thread starts reads and reaps completions; no thread is parked per request
 * and nothing is allocated per read.  A read is answered from the store where
 * its chunks are resident, waits on fetches that are in flight already, starts
 * fetches for the rest, and falls back to reading its own bytes from the
 * source whenever anything about the store is doubtful.
 *
 * Units    bytes; durations ns on CLOCK_MONOTONIC.
 * Threads  a lane belongs to the thread that created it, but for
 *          pfs_lane_wake().  config.reply may run on any lane's thread, and
 *          on a prefetcher's, with the arg of the lane the read is from.
 */
#ifndef PFS_LANE_H
#define PFS_LANE_H

#include <pfs/base.h>
#include <pfs/source.h>
#include <pfs/store.h>

#define PFS_READ_MAX PFS_MIB(1) /* bytes in one read */
#define PFS_READ_HEAD 4096u     /* room before the bytes, see pfs_read.data */

struct pfs_lane;

enum pfs_read_outcome {
	PFS_READ_HIT,    /* wholly from the store */
	PFS_READ_LATE,   /* waited on a fetch already in flight */
	PFS_READ_MISS,   /* had to start a fetch */
	PFS_READ_HOLE,   /* zeros, known without asking */
	PFS_READ_DIRECT, /* past the store */
};

/** One read request, got from pfs_lane_get(). */
struct pfs_read {
	/* --- the caller fills in --- */
	struct pfs_store_image *img; /* NULL: past the store */
	struct pfs_source *src;      /* borrowed until the reply */
	uint64_t off;
	uint32_t len; /* at least 1; off + len within the image's size */
	uint64_t unique;
	int reply_fd;
	void *owner; /* the caller's */
	/* --- for the reply --- */
	uint8_t *data; /* the len bytes; at least 16 bytes of memory before it
			* are the caller's to overwrite */
	enum pfs_read_outcome outcome;
	uint64_t start_ns;
};

struct pfs_lane_config {
	struct pfs_store *store; /* NULL: every read goes to the source */
	uint32_t n_small;        /* reads of up to 64 KiB at once; 0: 64 */
	uint32_t n_big;          /* larger ones; 0: 8 */
	/** Answer a read: err is 0 or the source's -errno.  The read is the
	 *  lane's again when this returns. */
	void (*reply)(void *arg, struct pfs_read *r, int err);
	void *arg;
};

int pfs_lane_create(const struct pfs_lane_config *cfg,
		    struct pfs_lane **out) PFS_MUST_CHECK;
/** No read may be under way. */
void pfs_lane_destroy(struct pfs_lane *l);

/** True when a read of any size can be got now. */
bool pfs_lane_has_room(struct pfs_lane *l);
/** A request for len bytes, NULL when none of that size is free. */
struct pfs_read *pfs_lane_get(struct pfs_lane *l, uint32_t len);
/** Give back one that was not started. */
void pfs_lane_put(struct pfs_lane *l, struct pfs_read *r);
/** Start it.  May reply before it returns. */
void pfs_lane_read(struct pfs_lane *l, struct pfs_read *r);

/** Submit what was started and deliver what has completed. */
void pfs_lane_poll(struct pfs_lane *l);
/** The same, but wait until fd (-1: none) is readable, something completes or
 *  pfs_lane_wake() is called. */
void pfs_lane_wait(struct pfs_lane *l, int fd);
/** Nothing of this lane is in the kernel's hands. */
bool pfs_lane_is_idle(const struct pfs_lane *l);
/** Reads got and not replied yet (also those that wait on other lanes). */
uint32_t pfs_lane_n_reads(const struct pfs_lane *l);
void pfs_lane_wake(struct pfs_lane *l);

#endif
