/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/claim.h - this store, catalog or mountpoint is mine.
 *
 * A claim is a flock(2), held as long as a descriptor of it is open in
 * supervisor or worker.  A lock file also tells the holder's pid.
 */
#ifndef PFS_FS_CLAIM_H
#define PFS_FS_CLAIM_H

#include <sys/types.h>

#include <pfs/base.h>

/** Take a lock file, made if need be.  Waits up to 20 s while the pid in it is
 *  of a dead process: then its worker is about to end.  -EBUSY: held; *holder
 *  is the pid, 0 if unknown. */
int claim_file(const char *path, int *out_fd, pid_t *holder) PFS_MUST_CHECK;
/** Lock a file or device itself; nothing is written to it. */
int claim_object(const char *path, int *out_fd, pid_t *holder) PFS_MUST_CHECK;

#endif
