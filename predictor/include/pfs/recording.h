/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/recording.h - the order in which sessions first touched their chunks.
 *
 * A recording is a list of steps (chunk, time since the step before, how many
 * of the merged sessions had it), small enough for a row of the catalog.  The
 * encoded form is portable (little endian, versioned, with a CRC) and is what
 * `pfsctl recording export` writes; pfs-recording(5) describes it.
 *
 * Threads  pure functions.
 * Errors   0 or -errno; -EBADMSG: not a sound recording.
 */
#ifndef PFS_RECORDING_H
#define PFS_RECORDING_H

#include <pfs/base.h>

#define PFS_RECORDING_STEPS_MAX 65536u
#define PFS_RECORDING_BYTES_MAX PFS_MIB(1)
#define PFS_RECORDINGS_MAX 8u /* kept for an image */

struct pfs_recording_info {
	uint32_t chunk; /* bytes */
	uint32_t n_steps;
	uint32_t n_sessions; /* merged into it */
	uint32_t n_taught;   /* VMs that taught it, as far as known */
	uint64_t taught_by;  /* the first of them */
	uint64_t duration_ns;
	uint64_t read_bytes; /* n_steps * chunk */
};

struct pfs_recording_step {
	uint64_t chunk;
	uint64_t gap_ns;     /* since the step before */
	uint32_t n_sessions; /* that had it */
};

/** Check the whole of an encoded recording. */
int pfs_recording_info(const void *blob, size_t len,
		       struct pfs_recording_info *out) PFS_MUST_CHECK;
/** Its steps, n = info.n_steps of them.  A chunk that was read again after it
 *  had left the store is there again. */
int pfs_recording_steps(const void *blob, size_t len,
			struct pfs_recording_step *out,
			uint32_t n) PFS_MUST_CHECK;

/** What a recording from elsewhere becomes when it is given to an image: its
 *  VMs and the count of sessions are not those of here, so it belongs to none
 *  and every VM follows it on probation first.  *out: to be freed. */
int pfs_recording_adopt(const void *blob, size_t len, void **out,
			size_t *out_len) PFS_MUST_CHECK;

#endif
