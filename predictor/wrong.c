/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wrong.h"

#include <pfs/hash.h>

struct wrong {
	uint64_t n_chunks, seed, drawn;
};

static int image_create(const struct learning_config *cfg, void **image)
{
	struct wrong *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct wrong){.n_chunks = PFS_MAX(cfg->n_chunks, 1u),
			    .seed = cfg->seed};
	*image = w;
	return 0;
}

static int session_create(void *image, uint64_t vm, void **session)
{
	(void)vm;
	*session = image;
	return 0;
}

static void session_destroy(void *session)
{
	(void)session;
}

static void observe(void *session, const struct touch *t)
{
	(void)session;
	(void)t;
}

static void wrote(void *session, uint64_t first, uint64_t n, bool whole)
{
	(void)session;
	(void)first;
	(void)n;
	(void)whole;
}

static uint32_t propose(void *session, struct candidate *out, uint32_t max)
{
	struct wrong *w = session;

	for (uint32_t i = 0; i < max; i++)
		out[i] = (struct candidate){
			.chunk = pfs_mix64(w->seed + w->drawn++) % w->n_chunks,
			.p = 1.0f,
			.distance = i + 1};
	return max;
}

static size_t memory(const void *image)
{
	(void)image;
	return sizeof(struct wrong);
}

const struct proposer proposer_wrong = {
	.name = "wrong",
	.image_create = image_create,
	.image_destroy = free,
	.session_create = session_create,
	.session_destroy = session_destroy,
	.observe = observe,
	.wrote = wrote,
	.propose = propose,
	.memory = memory,
};
