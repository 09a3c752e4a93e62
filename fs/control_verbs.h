/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control_verbs.h - what the control socket can be asked.
 */
#ifndef PFS_FS_CONTROL_VERBS_H
#define PFS_FS_CONTROL_VERBS_H

#include <pfs/ctl.h>

#include "worker.h"

struct control_held;
struct control_traces;

/** One request being answered. */
struct control_call {
	struct worker *w;              /* borrowed */
	struct control_traces *traces; /* borrowed: those being made */
	const struct pfs_json *req;    /* borrowed */
	struct pfs_json *result;       /* the verb fills this object; owned */
	char why[512];                 /* or says here what was wrong */
	_Atomic bool stop;             /* end early, with -ECANCELED */
	_Atomic uint64_t n_done, n_total; /* progress; n_total 0: none */
};

enum control_class {
	CONTROL_INLINE,  /* never waits: on the control thread */
	CONTROL_JOB,     /* may wait for store or catalog: own thread */
	CONTROL_LONG,    /* may take minutes: own thread, few at once */
	CONTROL_UPGRADE, /* answered by control_upgrade_result() */
};

struct control_verb {
	const char *name;
	enum control_class class;
	/* 0 with call->result filled, or -errno with call->why (else strerror
	 * speaks).  CONTROL_UPGRADE: 0 means the supervisor was asked. */
	int (*run)(struct control_call *call);
};

/** NULL: there is no such verb. */
const struct control_verb *control_verb_find(const char *name);

/** Put a sentence in call->why and return err. */
int control_fail(struct control_call *call, int err, const char *fmt, ...)
	PFS_PRINTF(3, 4);

/** Bytes of a chunk of this mount. */
uint64_t control_chunk(const struct worker *w);

/** error, warning, ...: what is logged now. */
const char *control_log_level(void);

/** Bring chunks of an image ahead of guests, or those of its best recording;
 *  errors with a sentence. */
int control_warm_start(struct control_call *call, const struct control_held *h,
		       uint64_t first, uint64_t n,
		       bool from_recording) PFS_MUST_CHECK;

/* Verbs, each in the file of its name. */
int control_stats(struct control_call *call) PFS_MUST_CHECK;
int control_set(struct control_call *call) PFS_MUST_CHECK;
int control_why(struct control_call *call) PFS_MUST_CHECK;
int control_warm(struct control_call *call) PFS_MUST_CHECK;
int control_pin(struct control_call *call) PFS_MUST_CHECK;
int control_unpin(struct control_call *call) PFS_MUST_CHECK;
int control_pins(struct control_call *call) PFS_MUST_CHECK;
int control_recording(struct control_call *call) PFS_MUST_CHECK;
int control_trace(struct control_call *call) PFS_MUST_CHECK;
/* Verbs about images (control_images.c). */
int control_images(struct control_call *call) PFS_MUST_CHECK;
int control_skipped(struct control_call *call) PFS_MUST_CHECK;
int control_map(struct control_call *call) PFS_MUST_CHECK;
int control_drop(struct control_call *call) PFS_MUST_CHECK;
int control_verify(struct control_call *call) PFS_MUST_CHECK;

#endif
