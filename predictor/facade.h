/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/facade.h - the inside of struct pfs_predictor.
 *
 * predictor.c has images and sessions, access.c reads and writes, fetch.c what
 * is fetched, report.c what is kept and looked at.
 */
#ifndef PFS_PREDICTOR_FACADE_H
#define PFS_PREDICTOR_FACADE_H

#include "arbiter.h"
#include "images.h"
#include "issued.h"
#include "planner.h"
#include "tally.h"

#define WARM_LOOK 256u     /* chunks looked at in one call */
#define SESSIONS_MAX 2048u /* of all images: some 200 KiB each */
#define CANCEL_EACH 1024u  /* chunks; a longer write cancels for the image */
#define FLOOR_IDLE 0.25f   /* p worth a fetch over an idle link */
#define SOURCE_NS_GUESS (5 * PFS_NSEC_PER_MSEC) /* before the first miss */
/* Between two looks that found nothing to fetch. */
#define WARM_PAUSE_NS (PFS_NSEC_PER_MSEC / 5)

struct pfs_predictor {
	struct pfs_predictor_config cfg;
	struct planner *planner; /* owned */
	struct images images;
	struct issued issued;
	struct tallies tallies;
	struct ballot ballot;
	uint32_t n_sessions;
	uint64_t now;        /* the latest that was passed in */
	uint64_t closing_ns; /* when the first closed session is over */
	bool is_warming;     /* some image may be */
	uint32_t save_next;  /* image to ask next for what changed */
};

static inline bool is_on(const struct pfs_predictor *p, uint32_t source)
{
	return source == SOURCE_WRONG || p->cfg.proposers & 1u << source;
}

/** A session ends and the next begins in its place. */
void predictor_renew_session(struct pfs_predictor *p, struct image *im,
			     struct session *s, uint64_t now);

/* For planner_config and issued_init(). */
void predictor_wish_dropped(void *arg, const struct wish *w);
void predictor_decision_ended(void *arg, const struct decision *d);

#endif
