/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * mounts.h - the file systems that lie on the guest's disks.
 *
 * No descriptor is kept: it would make their unmounting fail.
 */
#ifndef AGENT_MOUNTS_H
#define AGENT_MOUNTS_H

#include <sys/vfs.h>

#include "disks.h"

#define MOUNTS_MAX 8u
#define MOUNTS_PATH_MAX 128u

struct mount {
	uint32_t dev; /* as in disks.h */
	fsid_t fsid;
	char path[MOUNTS_PATH_MAX];
};

struct mounts {
	uint32_t n;
	struct mount mount[MOUNTS_MAX];
};

/** Those mounted now; one of each file system. */
int mounts_scan(struct mounts *m, const struct disks *d) PFS_MUST_CHECK;
/** A descriptor of the mount's root, to be closed soon. */
int mounts_open(const struct mount *m) PFS_MUST_CHECK;
const struct mount *mounts_by_dev(const struct mounts *m, uint32_t dev);
const struct mount *mounts_by_fsid(const struct mounts *m, const fsid_t *fsid);

#endif
