/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/lock.h - fcntl locks, forwarded to the source.
 *
 * POSIX and OFD locks reach us alike: a node, an owner, a range.  Each (node,
 * owner) has one open file description of the source file, and its locks are
 * OFD locks on that; the supervisor keeps the description, so they outlive a
 * worker.  It is dropped by FLUSH with that owner (POSIX: closing any
 * descriptor of a file drops the owner's locks) and by RELEASE of the handle
 * it was last taken through (OFD).
 *
 * RELEASE is asynchronous: a client that closes a file and locks it again may
 * meet its own old lock.  So a SETLK that one of ours may stand in the way of
 * is tried again for a little while, whenever one of ours goes.
 *
 * An OFD owner is named after its file's place in the kernel's memory, which a
 * new file may have while the RELEASE of the old one is still on its way: that
 * RELEASE must not take the new one's locks.  A POSIX owner may come through
 * several handles, but never through one that it has closed without a FLUSH of
 * its own having dropped its locks.
 *
 * What may wait does so on a thread of its own, so that it cannot keep the
 * pool from the very request that would let it go on.
 *
 * flock(2) is left to the kernel: it acts between clients of this mount only.
 * EDEADLK is not reported: OFD locks have no owner a cycle could be found by.
 *
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_FS_LOCK_H
#define PFS_FS_LOCK_H

#include <pfs/base.h>

#include "worker.h"

struct lock_table; /* opaque */

#define LOCK_RETRY_NS (100 * PFS_NSEC_PER_MSEC)
#define LOCK_MAX_WAITERS 256

int lock_table_create(struct lock_table **out) PFS_MUST_CHECK;
void lock_table_destroy(struct lock_table *t);

void lock_drop_owner(struct worker *w, uint32_t node, uint64_t owner);
/** A descriptor of the handle was closed: perhaps its last. */
void lock_handle_flushed(struct worker *w, uint32_t handle);
void lock_drop_handle(struct worker *w, uint32_t handle);

/** FUSE_INTERRUPT: end the wait of this request with EINTR, now or when it
 *  begins. */
void lock_interrupt(struct worker *w, uint64_t unique);

/** Take up the locks the state says are held; see ops_recover(). */
int lock_recover(struct worker *w, int *kept_fd) PFS_MUST_CHECK;
/** End all waits without a reply: the kernel sends those requests to the next
 *  worker.  Closes this process's part of the descriptions. */
void lock_close_all(struct worker *w);

#endif
