/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/ops.h - everything the kernel may ask but READ, on pool threads.
 */
#ifndef PFS_FS_OPS_H
#define PFS_FS_OPS_H

#include "worker.h"

struct fuse_lowlevel_ops;

/** The table libfuse calls; its userdata is the struct worker. */
const struct fuse_lowlevel_ops *ops_table(void);

/** Rebuild this worker's handles and locks from the state table.  kept_fd has
 *  STATE_FD_SLOTS entries, -1 where the supervisor kept none; what is used is
 *  taken (set to -1).  Rows a dead worker left half-filled are freed, intents
 *  are settled as far as they can be without the resent request. */
int ops_recover(struct worker *w, int *kept_fd) PFS_MUST_CHECK;

/** Look at a raw request before libfuse sees it: remembers whether it was
 *  resent (bit 63 of unique) and which one this thread works on, handles
 *  INTERRUPT (which has no reply) itself.  True: nothing left to do. */
bool ops_before(struct worker *w, const void *buf, size_t len);

/** Close all handles of this process (drain): image references are put. */
void ops_close_all(struct worker *w);
/** Free the tables, once no thread uses them. */
void ops_destroy(struct worker *w);

/** Call fn(arg, path, reason) for each file of the source that is not served
 *  (pfsctl images --skipped); bounded walk. */
int ops_skipped(struct worker *w,
		int (*fn)(void *arg, const char *path, const char *reason),
		void *arg) PFS_MUST_CHECK;

#endif
