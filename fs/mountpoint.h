/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/mountpoint.h - mounting, unmounting, and mounts left by the dead.
 *
 * Nothing here asks our own mount anything: it would wait for ourselves.
 */
#ifndef PFS_FS_MOUNTPOINT_H
#define PFS_FS_MOUNTPOINT_H

#include "options.h"

/** Look at the mountpoint: a dead mount of an earlier pfs is unmounted with a
 *  message.  -EBUSY after a message: another living pfs, or the dead mount of
 *  something else, is there. */
int mountpoint_clear(const char *path) PFS_MUST_CHECK;

/** Mount; *out_fd is the mount's /dev/fuse. */
int mountpoint_mount(const struct options *o, int *out_fd) PFS_MUST_CHECK;

/** Another /dev/fuse descriptor of the mount. */
int mountpoint_clone(int dev_fd, int *out_fd) PFS_MUST_CHECK;

/** True once the mount was unmounted or its connection aborted. */
bool mountpoint_is_cut(int dev_fd);

/** Unmount lazily if (and only if) a pfs is mounted there; true if so. */
bool mountpoint_detach(const char *path);

#endif
