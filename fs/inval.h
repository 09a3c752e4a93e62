/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/inval.h - tells the kernel to forget pages (page_cache=on only).
 *
 * By a thread and a process of their own: an invalidation waits for pages that
 * are being read, and the READ it waits for may be in the hands of the very
 * thread that would invalidate, or of a worker that was killed.
 */
#ifndef PFS_FS_INVAL_H
#define PFS_FS_INVAL_H

#include "worker.h"

/** Does nothing without page_cache=on. */
int inval_start(struct worker *w) PFS_MUST_CHECK;
/** While the lanes still serve: it may wait for a READ. */
void inval_stop(struct worker *w);
/** Once no thread calls inval_file() any more. */
void inval_destroy(struct worker *w);

/** The file's bytes were changed behind this mount.  Never waits. */
void inval_file(struct worker *w, uint64_t dev, uint64_t ino);
/** Another worker served before: whatever it would have noticed. */
void inval_all(struct worker *w);

#endif
