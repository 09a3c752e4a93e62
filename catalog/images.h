/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * images.h - image rows, for the other jobs of the catalog.
 */
#ifndef PFS_CATALOG_IMAGES_H
#define PFS_CATALOG_IMAGES_H

#include "core.h"

/** 1: found.  0: there is none, or it was damaged and is deleted. */
int catalog_image_find(struct catalog_txn *t, uint64_t id,
		       struct catalog_image *img) PFS_MUST_CHECK;

#endif
