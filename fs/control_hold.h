/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control_hold.h - an image kept in use for the time of a request.
 *
 * An image that no guest has open is opened in the source, as a guest's open
 * would: so one that was never used here can be warmed, pinned or given a
 * recording.
 */
#ifndef PFS_FS_CONTROL_HOLD_H
#define PFS_FS_CONTROL_HOLD_H

#include "control_verbs.h"

struct control_held {
	struct image *img;           /* one reference */
	struct pfs_store_image *sto; /* the image's */
	uint64_t id;                 /* in the catalog */
	uint64_t size;               /* bytes, when it was taken */
	char *name;                  /* as the request has it; owned */
	bool was_in_use;             /* by others */
};

/** The image that the request names as "image", in the store.  Errors with a
 *  sentence. */
int control_hold(struct control_call *call,
		 struct control_held *out) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void control_held_done(struct control_held *h); /* for PFS_AUTO */

#endif
