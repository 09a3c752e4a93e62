/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "intake_vm.h"

#include <string.h>

#define PAST_MAX UINT16_MAX

/* --- ration --- */

void intake_bucket_init(struct intake_bucket *b, uint32_t per_s,
			uint32_t at_once, uint64_t now_ns)
{
	b->token_ns = PFS_NSEC_PER_SEC / per_s;
	b->room_ns = b->token_ns * at_once;
	b->level_ns = b->room_ns;
	b->at_ns = now_ns;
}

static void fill_up(struct intake_bucket *b, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns > b->at_ns ? now_ns - b->at_ns : 0;

	b->level_ns += PFS_MIN(passed_ns, b->room_ns - b->level_ns);
	b->at_ns = PFS_MAX(b->at_ns, now_ns);
}

bool intake_bucket_has(struct intake_bucket *b, uint64_t now_ns)
{
	fill_up(b, now_ns);
	return b->level_ns >= b->token_ns;
}

bool intake_bucket_take(struct intake_bucket *b, uint64_t now_ns)
{
	if (!intake_bucket_has(b, now_ns))
		return false;
	b->level_ns -= b->token_ns;
	return true;
}

uint64_t intake_bucket_wait_ns(struct intake_bucket *b, uint32_t n,
			       uint64_t now_ns)
{
	uint64_t want_ns = PFS_MIN(b->token_ns * n, b->room_ns);

	fill_up(b, now_ns);
	return want_ns > b->level_ns ? want_ns - b->level_ns : 0;
}

/* --- judgement --- */

static bool is_newest(const struct intake_agents *a, const uint8_t *nonce)
{
	return memcmp(a->nonce[a->newest], nonce, PFS_VECTOR_NONCE_LEN) == 0;
}

static bool is_known(const struct intake_agents *a, const uint8_t *nonce)
{
	for (uint32_t i = 0; i < INTAKE_AGENTS; i++) {
		if (!memcmp(a->nonce[i], nonce, PFS_VECTOR_NONCE_LEN))
			return true;
	}
	return false;
}

static void follow(struct intake_agents *a, const uint8_t *nonce)
{
	a->newest = (a->newest + 1) % INTAKE_AGENTS;
	memcpy(a->nonce[a->newest], nonce, PFS_VECTOR_NONCE_LEN);
}

/* No vector has a nonce of zeros, which is what free places hold. */
struct intake_verdict intake_judge(struct intake_agents *a,
				   const struct pfs_vector *v)
{
	struct intake_verdict out = {.is = PFS_INTAKE_TAKEN};

	if (!is_known(a, v->nonce)) {
		follow(a, v->nonce);
		out.is_new_agent = true;
	} else if (!is_newest(a, v->nonce)) {
		out.is = PFS_INTAKE_OLD_AGENT;
	} else if (v->seq == a->seq) {
		out.is = PFS_INTAKE_DUPLICATE;
	} else if (v->seq < a->seq) {
		out.is = PFS_INTAKE_REPLAYED;
	} else {
		/* What is missing says nothing against what has come. */
		out.is_jump = v->seq - a->seq > 1;
	}
	if (out.is == PFS_INTAKE_TAKEN)
		a->seq = v->seq;
	return out;
}

/* --- history --- */

void intake_history_add(struct intake_history *h, const struct pfs_vector *v,
			uint64_t now_ns)
{
	struct intake_past *p = &h->past[h->n_ever++ % h->room];

	p->time_ns = now_ns;
	p->n_extents = v->n_extents;
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		p->feature[i] = (uint16_t)((uint64_t)v->feature[i] * PAST_MAX /
					   pfs_feature_max(i));
}

static void expand(const struct intake_past *p, struct pfs_intake_sample *out)
{
	out->time_ns = p->time_ns;
	out->n_extents = p->n_extents;
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		out->feature[i] = (uint32_t)((uint64_t)p->feature[i] *
					     pfs_feature_max(i) / PAST_MAX);
}

size_t intake_history_copy(const struct intake_history *h,
			   struct pfs_intake_sample *out, size_t n)
{
	uint64_t n_kept = PFS_MIN(h->n_ever, (uint64_t)h->room);

	n = PFS_MIN(n, n_kept);
	for (size_t i = 0; i < n; i++)
		expand(&h->past[(h->n_ever - n + i) % h->room], &out[i]);
	return n;
}
