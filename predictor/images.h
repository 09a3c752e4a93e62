/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/images.h - the images that are learned about, and their sessions.
 *
 * An image's learning is made when it is first opened and stays in RAM after
 * its last session; beyond IMAGES_BYTES or IMAGES_MAX those without a session
 * are dropped, the least recently used first.  (What is worth keeping was
 * handed out for the catalog before: see pfs_predictor_saved().)
 *
 * Threads  none.
 * Memory   the table at init, learning when an image is opened.
 */
#ifndef PFS_PREDICTOR_IMAGES_H
#define PFS_PREDICTOR_IMAGES_H

#include "map.h"
#include "session.h"
#include "warm.h"

#define IMAGES_MAX 8192u
#define IMAGES_BYTES                                                           \
	PFS_MIB(512) /* of learning; images in use may exceed it               \
		      */

struct image {
	uint64_t id;
	uint64_t n_chunks; /* when it was opened last */
	uint64_t used;     /* when, in openings of any image */
	struct learning learning;
	struct session *sessions; /* owned, the latest used first */
	struct warm warm;
	bool was_shared; /* two VMs had it open at once */
};

struct images {
	struct image **image; /* owned, [IMAGES_MAX], the first n are there */
	struct map by_id;     /* id -> place */
	uint32_t n;
	uint64_t clock;
	uint64_t bytes_max; /* IMAGES_BYTES, or a test's */
};

int images_init(struct images *t) PFS_MUST_CHECK;
/** Ends every session.  Accepts zeroed memory. */
void images_fini(struct images *t);

struct image *images_find(const struct images *t, uint64_t id);
/** Find or make one; others may be dropped for it.  -ENOMEM. */
int images_open(struct images *t, uint64_t id,
		const struct learning_config *cfg, bool always_wrong,
		struct image **out) PFS_MUST_CHECK;
/** With its sessions and all it learned. */
void images_drop(struct images *t, struct image *im);

/** The session of a VM, which becomes the first; NULL: none. */
struct session *image_session(struct image *im, uint64_t vm);
/** End one. */
void image_close_session(struct image *im, struct session *s);
/** How many VMs have it open. */
uint32_t image_n_open(const struct image *im);

#endif
