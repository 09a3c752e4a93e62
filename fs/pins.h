/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/pins.h - the catalog's pins of an image, put in force in the store.
 *
 * The catalog keeps pins as ranges of bytes, as they were asked for; the store
 * knows chunks, and only of images in use.
 *
 * Threads  every call is safe from any thread; they wait for the catalog.
 */
#ifndef PFS_FS_PINS_H
#define PFS_FS_PINS_H

#include "worker.h"

/* The last byte of a pin on the whole of an image, however large it gets. */
#define PINS_WHOLE ((uint64_t)INT64_MAX)

/** An image of size bytes comes into use: what does not fit is logged and left
 *  out. */
void pins_load(struct worker *w, uint64_t image, uint64_t size,
	       struct pfs_store_image *sto);
/** The same after a change: those that are gone end. */
void pins_renew(struct worker *w, uint64_t image, uint64_t size,
		struct pfs_store_image *sto);
/** Put one in force.  -ENOSPC, -E2BIG: as pfs_store_image_pin(). */
int pins_apply(struct worker *w, uint64_t size, struct pfs_store_image *sto,
	       uint64_t first, uint64_t last) PFS_MUST_CHECK;

#endif
