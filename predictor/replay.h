/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/replay.h - what the rest of the predictor asks of replay beyond
 * the proposer interface.
 *
 * `image` is what proposer_replay.image_create() gave.  Recordings have
 * numbers of their own within an image, never 0 and never reused while it is
 * in memory.
 *
 * Trust    a recording is replayed to a VM at once if the VM taught it, or if
 *          the image was never used by two VMs at a time, or if the operator
 *          trusts what others taught.  Else, and after the image's bytes
 *          were replaced or the recording was imported, it is on probation:
 *          each session follows it in silence, until half of at least 64
 *          steps it would have named came.
 * Threads  none: one thread at a time.
 */
#ifndef PFS_PREDICTOR_REPLAY_H
#define PFS_PREDICTOR_REPLAY_H

#include <pfs/base.h>

/** is_shared: two VMs had the image open at once; it sticks, and recordings
 *  remember it.  trusts_shared: the operator does not mind. */
void replay_set_trust(void *image, bool is_shared, bool trusts_shared);
/** Was it ever shared, as far as its recordings know? */
bool replay_is_shared(const void *image);
/** The image's bytes are others now: all recordings go on probation. */
void replay_changed(void *image);

/** A recording that changed since it was last asked.  *blob NULL: it is gone.
 *  The bytes are valid until the next call for this image.  False: nothing
 *  (more), or no memory for it now. */
bool replay_saved(void *image, uint64_t *number, const void **blob,
		  size_t *len);
/** Give back what was kept; a number that is there is replaced.
 *  -EBADMSG: damaged; -EINVAL: of another chunk size; -ENOMEM. */
int replay_restore(void *image, uint64_t number, const void *blob,
		   size_t len) PFS_MUST_CHECK;
/** Forget one, or all (number 0).  -ENOENT: none. */
int replay_drop(void *image, uint64_t number) PFS_MUST_CHECK;

/** Distinct chunks of the recording that is most used, in order, but for the
 *  first `from`; how many (<= max), 0: no more, or no recording. */
uint32_t replay_best(const void *image, uint32_t from, uint64_t *chunks,
		     uint32_t max);

#endif
