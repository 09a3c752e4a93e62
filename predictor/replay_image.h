/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/replay_image.h - what the files of replay share: the recordings
 * of an image, and the sessions that follow them.
 */
#ifndef PFS_PREDICTOR_REPLAY_IMAGE_H
#define PFS_PREDICTOR_REPLAY_IMAGE_H

#include "follow.h"
#include "recording.h"

#define REPLAY_OLD_MAX 8u      /* old versions that sessions still follow */
#define REPLAY_GONE_MAX 64u    /* numbers to be deleted, remembered */
#define REPLAY_WRITTEN_MAX 64u /* extents written whole, by one session */

struct replay_session {
	struct replay_session *next; /* of the image */
	struct replay_image *image;  /* borrowed */
	uint64_t vm;
	struct follow follow;
	bool is_following; /* from the first touch on */
	/* --- what it leaves --- */
	struct step *step; /* owned */
	uint32_t n_steps, n_room, n_reads;
	uint64_t first_ns, last_ns; /* of its steps */
	struct extent {
		uint64_t first, n;
	} written[REPLAY_WRITTEN_MAX]; /* the latest; a ring */
	uint32_t n_written;            /* of all time */
};

struct replay_image {
	uint32_t chunk;
	struct recording *rec[PFS_RECORDINGS_MAX]; /* one reference each */
	uint32_t n_recs;
	struct recording *old[REPLAY_OLD_MAX]; /* the same; the latest last */
	uint32_t n_old;
	uint64_t clock; /* sessions that left something */
	uint64_t last_number;
	uint64_t gone[REPLAY_GONE_MAX];
	uint32_t n_gone;
	bool is_shared, trusts_shared;
	struct replay_session *sessions; /* owned by who created them */
	void *blob; /* owned; what replay_saved() gave last */
};

/** May a session replay a recording at once? */
bool replay_trusts(const struct replay_session *s, const struct recording *r);
/** Keep what a session left, merged into what it resembles; takes over the
 *  reference.  Without memory it is dropped. */
void replay_keep(struct replay_image *img, struct recording *r);

#endif
