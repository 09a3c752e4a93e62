/* SPDX-License-Identifier: GPL-3.0-or-later */
/** counts.h - the kernel's counts in /proc: vmstat, diskstats, pressure. */
#ifndef AGENT_COUNTS_H
#define AGENT_COUNTS_H

#include <pfs/features.h>

#include "disks.h"
#include "probe.h"

/** Read what there is; the rest of *out is 0, and p says what it is. */
void counts_read(struct probe *p, const struct disks *d, uint64_t now_ns,
		 struct pfs_activity *out);

#endif
