/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/identity.h - what an image file is, as far as stat can tell (I6).
 */
#ifndef PFS_FS_IDENTITY_H
#define PFS_FS_IDENTITY_H

#include "worker.h"

/** Look at an open source file. */
int identity_of(struct worker *w, int fd,
		struct pfs_identity *id) PFS_MUST_CHECK;
/** Same file, same size and times: unchanged as far as can be told. */
bool identity_same_file(const struct pfs_identity *a,
			const struct pfs_identity *b);
/** Wait until the file's change time is old enough to be trusted: 20 ms at the
 *  most.  Only time can do that; for pool threads nobody waits for. */
void identity_let_age(const struct pfs_identity *id);

#endif
