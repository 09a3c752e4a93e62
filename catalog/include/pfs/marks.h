/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/marks.h - one durable mark per image that is open for writing (I5).
 *
 * Zone rows are written late.  After a crash they may describe bytes that have
 * been overwritten since, so an image found marked at start is dropped whole.
 * Marks live in their own small preallocated file with their own thread, never
 * behind a catalog transaction.
 *
 * A file that is missing or damaged could have held any mark.  Then every
 * image counts as marked, at this and every later start, until the store was
 * renewed and the marks bound to its new uuid:
 *
 *   pfs_marks_open(path, uuid, &all_dirty, &m);
 *   if (all_dirty && !state.is_fresh)
 *           pfs_catalog_renew_store(c, uuid);
 *   if (all_dirty)
 *           pfs_marks_rebind(m, uuid);
 *
 * File     a header block and PFS_MARKS_MAX records of 512 bytes each (one
 *          sector: written atomically), see pfs-catalog(5).
 * Errors   0 or -errno.
 * Threads  every call is safe from any thread; calls that wait for the disk
 *          say so.  set and clear of one image are ordered by the caller.
 */
#ifndef PFS_MARKS_H
#define PFS_MARKS_H

#include <pfs/base.h>

struct pfs_marks; /* opaque */

#define PFS_MARKS_MAX 4096 /* images open for writing at once */

/** Open or create the file (path NULL: in memory, for a catalog in memory).
 *  uuid is the store's: marks of another uuid are void.  *all_dirty: every
 *  image counts as marked, see above.  An error of the disk is returned, and
 *  then nothing of the store can be trusted. */
int pfs_marks_open(const char *path, const uint8_t uuid[16], bool *all_dirty,
		   struct pfs_marks **out) PFS_MUST_CHECK;
/** Finish what was asked for and close; waits for the disk.  Accepts NULL. */
void pfs_marks_close(struct pfs_marks *m);

/** Was this image marked in the file as it was found at open, or do all count
 *  as marked, and was it not cleared since?  A mark stays in the file until it
 *  is cleared. */
bool pfs_marks_found(struct pfs_marks *m, uint64_t image);

/** Copy up to max of the images that were found marked; returns how many there
 *  are.  To clear those that no longer exist. */
unsigned int pfs_marks_found_list(struct pfs_marks *m, uint64_t *images,
				  unsigned int max);

/** Mark an image (>= 1) and wait until the mark is durable.  -ETIMEDOUT when
 *  it is not by deadline_ns (pfs_now_ns() clock): it may become so later.
 *  -ENOSPC: PFS_MARKS_MAX images are marked.  After other errors the image
 *  still counts as marked until it is cleared.  Cheap when already marked. */
int pfs_marks_set(struct pfs_marks *m, uint64_t image,
		  uint64_t deadline_ns) PFS_MUST_CHECK;

/** Clear a mark; durable on return, however long the disk takes.  On error it
 *  counts as set. */
int pfs_marks_clear(struct pfs_marks *m, uint64_t image) PFS_MUST_CHECK;

/** The store has a new uuid and holds nothing: single marks are kept, all_dirty
 *  ends.  Durable on return; call it
 *  before a chunk is stored under the new uuid.  On error the store must not
 *  be used. */
int pfs_marks_rebind(struct pfs_marks *m,
		     const uint8_t uuid[16]) PFS_MUST_CHECK;

/** Images marked now. */
unsigned int pfs_marks_count(struct pfs_marks *m);

#endif
