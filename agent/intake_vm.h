/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * agent/intake_vm.h - how one VM's frames are rationed, judged and kept.
 *
 * Pure code: time is passed in, nothing here knows of sockets or locks.
 */
#ifndef PFS_AGENT_INTAKE_VM_H
#define PFS_AGENT_INTAKE_VM_H

#include <pfs/intake.h>

/* --- ration --- */

#define INTAKE_RATE_MAX 10000000u /* a token is 100 ns then */

/* Tokens, measured by the time in which they come. */
struct intake_bucket {
	uint64_t token_ns; /* one more each */
	uint64_t room_ns;  /* all that it holds */
	uint64_t level_ns, at_ns;
};

/** Full at now_ns; per_s and at_once: 1 to INTAKE_RATE_MAX. */
void intake_bucket_init(struct intake_bucket *b, uint32_t per_s,
			uint32_t at_once, uint64_t now_ns);
/** False: it is empty. */
bool intake_bucket_take(struct intake_bucket *b, uint64_t now_ns);
bool intake_bucket_has(struct intake_bucket *b, uint64_t now_ns);
/** How long until it holds n tokens, or is full. */
uint64_t intake_bucket_wait_ns(struct intake_bucket *b, uint32_t n,
			       uint64_t now_ns);

/* --- judgement --- */

#define INTAKE_AGENTS 8u

/* The agents heard of last.  The newest speaks; a guest that has used up the
 * places can make an old one new again, and fools nobody but itself. */
struct intake_agents {
	uint8_t nonce[INTAKE_AGENTS][PFS_VECTOR_NONCE_LEN];
	uint32_t newest; /* index of nonce */
	uint64_t seq;    /* of its last frame */
};

struct intake_verdict {
	enum pfs_intake_count is; /* TAKEN, or why it is not */
	bool is_new_agent, is_jump;
};

struct intake_verdict intake_judge(struct intake_agents *a,
				   const struct pfs_vector *v);

/* --- history --- */

struct intake_past {
	uint64_t time_ns;
	uint32_t n_extents;
	uint16_t feature[PFS_FEATURES]; /* of 65535 */
};

struct intake_history {
	uint32_t room;
	uint64_t n_ever; /* the next goes to n_ever % room */
	struct intake_past *past;
};

void intake_history_add(struct intake_history *h, const struct pfs_vector *v,
			uint64_t now_ns);
/** As pfs_intake_history(). */
size_t intake_history_copy(const struct intake_history *h,
			   struct pfs_intake_sample *out, size_t n);

#endif
