/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/lane.h - the data threads: they read requests and answer READ.
 *
 * Each has its own clone of /dev/fuse and its own cache lane.  READ is parsed
 * here, without libfuse, because it must not allocate; everything else goes to
 * the pool.
 */
#ifndef PFS_FS_LANE_H
#define PFS_FS_LANE_H

#include "worker.h"

/** Start a thread for each clone.  gone_fd (an eventfd, borrowed) is written
 *  to when the kernel says that the mount is gone. */
int lanes_start(struct worker *w, int gone_fd) PFS_MUST_CHECK;
/** No more requests are read; those in flight are answered; joins. */
void lanes_stop(struct worker *w);

#endif
