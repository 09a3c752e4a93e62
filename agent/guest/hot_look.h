/* SPDX-License-Identifier: GPL-3.0-or-later */
/** hot_look.h - between hot.c and hot_look.c. */
#ifndef AGENT_HOT_LOOK_H
#define AGENT_HOT_LOOK_H

#include "hot.h"

#define HOT_AHEAD PFS_MIB(4) /* of a file, at a time */

struct hot_file *hot_by_ino(struct hot *h, uint32_t dev, uint64_t ino);
/** It was looked up, and something told of it or nothing. */
void hot_looked(struct hot *h, const struct hot_file *f, bool has_told,
		uint64_t now_ns);
void hot_found(struct hot *h, const struct pfs_vector_extent *e,
	       uint64_t hot_ns);

#endif
