/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * disks.h - the guest's disks, and where on them a partition lies.
 *
 * Disks are what sysfs shows with a device behind it, in the order of their
 * names: not loop, zram or device mapper.  A file system on one of those has
 * no place on a disk that could be told in a number.
 *
 * Numbers  a device is (major << 20 | minor), as tracepoints show it.
 */
#ifndef AGENT_DISKS_H
#define AGENT_DISKS_H

#include <sys/types.h>

#include <pfs/vector.h>

#define DISKS_PARTS 64u

struct disk_part {
	uint32_t dev;
	uint32_t disk;
	uint64_t start, len; /* bytes */
};

struct disks {
	uint32_t n, n_parts;
	uint64_t bytes[PFS_VECTOR_DISKS];
	struct disk_part part[DISKS_PARTS]; /* whole disks among them */
};

int disks_scan(struct disks *d) PFS_MUST_CHECK;
/** The partition or whole disk, NULL: not on one of the disks. */
const struct disk_part *disks_find(const struct disks *d, uint32_t dev);
uint32_t disks_dev(dev_t dev);

#endif
