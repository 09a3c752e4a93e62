/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * recordings.h - rows of recordings, for the other jobs of the catalog.
 */
#ifndef PFS_CATALOG_RECORDINGS_H
#define PFS_CATALOG_RECORDINGS_H

#include "core.h"

/** None there is no error. */
int catalog_recording_delete(struct catalog_txn *t, uint64_t image,
			     uint64_t number) PFS_MUST_CHECK;
/** Hold the limit of an image. */
int catalog_recordings_prune(struct catalog_txn *t,
			     uint64_t image) PFS_MUST_CHECK;
/** The recordings of `from` go to `heir`, unless that has any. */
int catalog_recordings_inherit(struct catalog_txn *t, uint64_t from,
			       uint64_t heir) PFS_MUST_CHECK;

#endif
