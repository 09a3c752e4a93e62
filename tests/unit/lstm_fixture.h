/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A small LSTM with a trainer, and batches of made-up samples. */
#ifndef PFS_LSTM_FIXTURE_H
#define PFS_LSTM_FIXTURE_H

#include <stdlib.h>

#include <pfs/hash.h>

#include "lstm_train.h"

#define LANES 12u
#define STEPS 6u /* more rows than a slice of logits has */
#define ROWS (LANES * STEPS)
#define N_VECTOR 5u

/* Sizes are no multiples of what a vector register holds. */
static const struct lstm_shape small = {
	.n_chunk = 37,
	.chunk_dim = 9,
	.n_delta = 21,
	.delta_dim = 5,
	.n_size = 3,
	.size_dim = 2,
	.n_gap = 4,
	.gap_dim = 3,
	.n_vector = N_VECTOR,
	.vector_dim = 4,
	.n_hid = 27,
};

struct fixture {
	struct lstm *m;
	struct lstm_adam *a;
	struct lstm_trainer *t;
	struct lstm_sample sample[ROWS];
	float vector[ROWS][N_VECTOR];
	struct lstm_batch b;
};

static uint32_t random_below(uint64_t *seed, uint32_t n)
{
	*seed = pfs_mix64(*seed);
	return (uint32_t)(*seed >> 33) % n;
}

static float random_real(uint64_t *seed)
{
	return (float)random_below(seed, 2001) / 1000 - 1;
}

static void make_sample(struct lstm_sample *s, float *vector, uint64_t *seed)
{
	*s = (struct lstm_sample){
		.in = {.chunk = (uint16_t)random_below(seed, small.n_chunk),
		       .delta = (uint16_t)random_below(seed, small.n_delta),
		       .size = (uint8_t)random_below(seed, small.n_size),
		       .gap = (uint8_t)random_below(seed, small.n_gap),
		       .phase = {random_real(seed), random_real(seed)},
		       .vector = random_below(seed, 2) ? vector : NULL},
		.weight = random_below(seed, 4) ? 1 : 0.5f,
	};
	for (uint32_t i = 0; i < N_VECTOR; i++)
		vector[i] = random_real(seed);
	for (enum lstm_head k = 0; k < LSTM_HEADS; k++) {
		s->next[k].n = (uint8_t)random_below(seed, LSTM_NEXT_MAX + 1);
		for (uint32_t i = 0; i < s->next[k].n; i++)
			s->next[k].token[i] = (uint16_t)random_below(
				seed, lstm_n_tokens(&small, k));
	}
}

static void setup(struct fixture *f, uint64_t seed)
{
	*f = (struct fixture){0};
	if (lstm_create(&small, seed, &f->m) ||
	    lstm_adam_create(&small, &f->a) ||
	    lstm_trainer_create(&small, LANES, STEPS, &f->t))
		abort();
	for (uint32_t i = 0; i < ROWS; i++) {
		make_sample(&f->sample[i], f->vector[i], &seed);
		f->sample[i].is_start = i < LANES || i == 2 * LANES + 1;
	}
	f->b = (struct lstm_batch){.n_lanes = LANES,
				   .n_steps = STEPS,
				   .sample = f->sample,
				   .weight = {1, 0.7f}};
}

static void teardown(struct fixture *f)
{
	lstm_trainer_destroy(f->t);
	lstm_adam_destroy(f->a);
	lstm_destroy(f->m);
}

#endif
