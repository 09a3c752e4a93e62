/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <math.h>

#include "lstm_fixture.h"

static double loss_of(struct fixture *f)
{
	struct lstm_loss loss = {0};

	lstm_trainer_reset(f->t);
	CHECK_EQ(lstm_learn(f->t, f->m, &f->b, &loss), 0);
	return (double)f->b.weight[0] * loss.sum[0] +
	       (double)f->b.weight[1] * loss.sum[1];
}

static int learn_and_apply(struct fixture *f)
{
	struct lstm_rate rate = {0};
	struct lstm_loss loss = {0};

	CHECK_EQ(lstm_learn(f->t, f->m, &f->b, &loss), 0);
	return lstm_apply(f->t, f->m, f->a, &rate);
}

/* --- gradients --- */

/* How much the loss grows along a direction: of a step either way. */
static double slope(struct fixture *f, enum lstm_block b, const float *along)
{
	gsl_matrix_float *w = &f->m->p.at[b];
	size_t n = w->size1 * w->size2;
	PFS_AUTO_FREE float *old = calloc(n, sizeof(*old));
	const float step = 0.01f;
	double up, down;

	if (!old)
		abort();
	memcpy(old, w->data, n * sizeof(*old));
	for (size_t i = 0; i < n; i++)
		w->data[i] = old[i] + step * along[i];
	up = loss_of(f);
	for (size_t i = 0; i < n; i++)
		w->data[i] = old[i] - step * along[i];
	down = loss_of(f);
	memcpy(w->data, old, n * sizeof(*old));
	return (up - down) / (2 * (double)step);
}

static void normalise(float *x, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	for (size_t i = 0; i < n; i++)
		x[i] /= (float)sqrt(sum);
}

/* Along the gradient itself its size is seen, along anywhere what it lacks. */
static void check_block(struct fixture *f, enum lstm_block b)
{
	const gsl_matrix_float *w = &f->m->p.at[b];
	size_t n = w->size1 * w->size2;
	PFS_AUTO_FREE float *g = calloc(n, sizeof(*g));
	PFS_AUTO_FREE float *along = calloc(n, sizeof(*along));
	uint64_t seed = b;

	(void)loss_of(f);
	if (!g || !along)
		abort();
	memcpy(g, lstm_gradient(f->t)->at[b].data, n * sizeof(*g));
	for (uint32_t round = 0; round < 3; round++) {
		double want, got = 0;

		for (size_t i = 0; i < n; i++)
			along[i] = round ? random_real(&seed) : g[i];
		normalise(along, n);
		for (size_t i = 0; i < n; i++)
			got += (double)g[i] * (double)along[i];
		want = slope(f, b, along);
		if (fabs(got - want) <= 2e-3 * fabs(want) + 2e-3)
			continue;
		check_failures++;
		fprintf(stderr, "block %d, round %u: %g, differences: %g\n", b,
			round, got, want);
	}
}

static void gradients_are_those_of_finite_differences(void)
{
	struct fixture f;

	setup(&f, 1);
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		check_block(&f, b);
	teardown(&f);
}

static void gradients_of_two_halves_add_up(void)
{
	struct fixture f;
	PFS_AUTO_FREE float *whole = NULL;
	struct lstm_loss loss = {0};
	size_t n;

	setup(&f, 2);
	for (uint32_t i = 0; i < ROWS; i++)
		f.sample[i].is_start = true; /* so that halves are alone */
	(void)loss_of(&f);
	n = f.m->p.n;
	whole = malloc(n * sizeof(*whole));
	if (!whole)
		abort();
	memcpy(whole, lstm_gradient(f.t)->all, n * sizeof(*whole));
	lstm_trainer_reset(f.t);
	f.b.n_steps = STEPS / 2;
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	f.b.sample += ROWS / 2;
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	for (size_t i = 0; i < n; i++)
		CHECK(fabsf(lstm_gradient(f.t)->all[i] - whole[i]) < 1e-4f);
	teardown(&f);
}

/* --- what moves --- */

static bool is_block_same(const struct lstm_params *a,
			  const struct lstm_params *b, enum lstm_block k)
{
	return memcmp(a->at[k].data, b->at[k].data,
		      a->at[k].size1 * a->at[k].size2 * sizeof(float)) == 0;
}

static void frozen_layers_stay(void)
{
	struct fixture f, before;

	setup(&f, 3);
	setup(&before, 3);
	f.b.is_frozen = true;
	f.b.weight[LSTM_CHUNK] = 0;
	CHECK_EQ(learn_and_apply(&f), 0);
	CHECK_EQ(learn_and_apply(&f), 0);
	for (enum lstm_block k = 0; k < LSTM_BLOCKS; k++)
		CHECK_EQ(is_block_same(&f.m->p, &before.m->p, k),
			 k < LSTM_DELTA_HEAD);
	teardown(&before);
	teardown(&f);
}

static void tokens_that_were_not_there_stay(void)
{
	struct fixture f, before;
	bool was_read[64] = {false};

	setup(&f, 4);
	setup(&before, 4);
	for (uint32_t i = 0; i < ROWS; i++)
		was_read[f.sample[i].in.chunk] = true;
	for (uint32_t r = 0; r < 3; r++)
		CHECK_EQ(learn_and_apply(&f), 0);
	for (uint32_t t = 0; t < small.n_chunk; t++)
		CHECK_EQ(memcmp(f.m->p.at[LSTM_CHUNK_EMBED].data +
					t * small.chunk_dim,
				before.m->p.at[LSTM_CHUNK_EMBED].data +
					t * small.chunk_dim,
				small.chunk_dim * sizeof(float)) != 0,
			 was_read[t]);
	teardown(&before);
	teardown(&f);
}

static void nothing_to_learn_moves_nothing(void)
{
	struct fixture f, before;

	setup(&f, 5);
	setup(&before, 5);
	for (uint32_t i = 0; i < ROWS; i++)
		f.sample[i].weight = 0;
	CHECK_EQ(learn_and_apply(&f), -ENODATA);
	CHECK_EQ(memcmp(f.m->p.all, before.m->p.all, f.m->p.n * sizeof(float)),
		 0);
	teardown(&before);
	teardown(&f);
}

static void a_step_is_no_longer_than_the_clip(void)
{
	struct fixture f;
	struct lstm_rate rate = {.clip = 0.001f};
	struct lstm_loss loss = {0};
	double sum = 0;

	setup(&f, 6);
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	CHECK_EQ(lstm_apply(f.t, f.m, f.a, &rate), 0);
	for (size_t i = 0; i < f.a->m.n; i++)
		sum += (double)f.a->m.all[i] * (double)f.a->m.all[i];
	/* After one step m is a tenth of the gradient. */
	CHECK(fabs(sqrt(sum) - 0.1 * 0.001) < 1e-7);
	teardown(&f);
}

/* --- bad numbers --- */

static void what_is_not_finite_is_not_applied(void)
{
	struct fixture f;
	PFS_AUTO_FREE float *before = NULL;
	float *weight;
	size_t len;

	setup(&f, 7);
	weight = &f.m->p.at[LSTM_GATES_2].data[5];
	*weight = NAN;
	len = f.m->p.n * sizeof(*before);
	before = malloc(len);
	if (!before)
		abort();
	memcpy(before, f.m->p.all, len);
	CHECK(!lstm_params_are_finite(&f.m->p));
	CHECK_EQ(learn_and_apply(&f), -ERANGE);
	CHECK_EQ(memcmp(before, f.m->p.all, len), 0);
	CHECK_EQ(f.a->n_steps, 0);
	*weight = 0;
	lstm_trainer_reset(f.t);
	CHECK_EQ(learn_and_apply(&f), 0);
	CHECK(lstm_params_are_finite(&f.m->p));
	teardown(&f);
}

static void bad_batches_are_refused(void)
{
	struct fixture f;
	struct lstm_loss loss = {0};

	setup(&f, 8);
#define REFUSED(field, bad)                                                    \
	do {                                                                   \
		__typeof__(field) good_ = (field);                             \
		(field) = (bad);                                               \
		CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), -EINVAL);          \
		(field) = good_;                                               \
	} while (0)
	REFUSED(f.sample[3].in.chunk, (uint16_t)small.n_chunk);
	REFUSED(f.sample[3].in.delta, UINT16_MAX);
	REFUSED(f.sample[3].in.size, (uint8_t)small.n_size);
	REFUSED(f.sample[3].in.gap, (uint8_t)small.n_gap);
	REFUSED(f.sample[3].in.phase[1], INFINITY);
	REFUSED(f.sample[3].weight, -1);
	REFUSED(f.sample[3].weight, NAN);
	REFUSED(f.sample[3].next[0].n, LSTM_NEXT_MAX + 1);
	REFUSED(f.b.n_lanes, LANES + 1);
	REFUSED(f.b.n_steps, 0);
	REFUSED(f.b.weight[1], NAN);
	f.sample[3].in.vector = f.vector[3];
	REFUSED(f.vector[3][N_VECTOR - 1], NAN);
	f.sample[3].next[1].n = 1;
	REFUSED(f.sample[3].next[1].token[0], (uint16_t)small.n_delta);
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	teardown(&f);
}

/* --- learning --- */

static void the_same_seed_learns_the_same(void)
{
	struct fixture f, g, other;

	setup(&f, 9);
	setup(&g, 9);
	setup(&other, 10);
	CHECK(memcmp(f.m->p.all, other.m->p.all, f.m->p.n * sizeof(float)) !=
	      0);
	for (uint32_t r = 0; r < 5; r++) {
		CHECK_EQ(learn_and_apply(&f), 0);
		CHECK_EQ(learn_and_apply(&g), 0);
	}
	CHECK_EQ(memcmp(f.m->p.all, g.m->p.all, f.m->p.n * sizeof(float)), 0);
	teardown(&other);
	teardown(&g);
	teardown(&f);
}

static void a_trainer_goes_on_with_another_shape(void)
{
	struct lstm_shape large = small;
	struct fixture f, g;
	size_t len;

	setup(&f, 12);
	setup(&g, 12);
	large.n_chunk = 500;
	CHECK_EQ(learn_and_apply(&f), 0);
	CHECK_EQ(learn_and_apply(&g), 0);
	CHECK_EQ(lstm_trainer_reshape(g.t, &large), 0);
	len = lstm_trainer_memory(g.t);
	CHECK(len > lstm_trainer_memory(f.t));
	CHECK_EQ(lstm_trainer_reshape(g.t, &small), 0);
	CHECK(lstm_trainer_memory(g.t) + 500 > len);
	lstm_trainer_reset(f.t);
	CHECK_EQ(learn_and_apply(&f), 0);
	CHECK_EQ(learn_and_apply(&g), 0);
	CHECK_EQ(memcmp(f.m->p.all, g.m->p.all, f.m->p.n * sizeof(float)), 0);
	teardown(&g);
	teardown(&f);
}

/* 1 2 3 0 5 6 7 0 ...: what follows 0 depends on what was before it. */
#define PERIOD 24u
#define CYCLE_LANES 8u
#define CYCLE_STEPS 16u

static uint16_t token_at(uint32_t i)
{
	return i % 4 == 3 ? 0 : (uint16_t)(1 + i % PERIOD);
}

static void make_cycle(struct lstm_sample *s, uint32_t round)
{
	for (uint32_t i = 0; i < CYCLE_LANES * CYCLE_STEPS; i++) {
		uint32_t at = i % CYCLE_LANES * 5 + i / CYCLE_LANES +
			      round * CYCLE_STEPS;

		s[i] = (struct lstm_sample){.in = {.chunk = token_at(at)},
					    .is_start =
						    !round && i < CYCLE_LANES,
					    .weight = 1,
					    .next = {{1, {token_at(at + 1)}}}};
	}
}

/* Of PERIOD steps of the cycle, how many were foreseen. */
static uint32_t foreseen(const struct lstm *m)
{
	float state_of[4 * 64] = {0}, out[64], *state = state_of;
	struct lstm_scratch *w;
	uint32_t n = 0;

	if (lstm_scratch_create(&m->shape, 1, &w))
		abort();
	for (uint32_t i = 0; i < 2 * PERIOD; i++) {
		struct lstm_input in = {.chunk = token_at(i)};
		uint16_t best = 0;

		lstm_step(m, w, 1, &in, &state);
		lstm_logits(m, w, LSTM_CHUNK, 1, &state, out);
		for (uint16_t t = 1; t < m->shape.n_chunk; t++)
			best = out[t] > out[best] ? t : best;
		n += i >= PERIOD && best == token_at(i + 1);
	}
	lstm_scratch_destroy(w);
	return n;
}

static void a_cycle_is_learned_by_heart(void)
{
	static struct lstm_sample sample[CYCLE_LANES * CYCLE_STEPS];
	struct lstm_batch b = {.n_lanes = CYCLE_LANES,
			       .n_steps = CYCLE_STEPS,
			       .sample = sample,
			       .weight = {1, 0}};
	struct lstm_rate rate = {.rate = 0.01f};
	struct fixture f;
	struct lstm_trainer *t;

	setup(&f, 11);
	CHECK(foreseen(f.m) < PERIOD / 2);
	if (lstm_trainer_create(&small, CYCLE_LANES, CYCLE_STEPS, &t))
		abort();
	for (uint32_t r = 0; r < 300; r++) {
		struct lstm_loss loss = {0};

		make_cycle(sample, r);
		CHECK_EQ(lstm_learn(t, f.m, &b, &loss), 0);
		CHECK_EQ(lstm_apply(t, f.m, f.a, &rate), 0);
	}
	CHECK(foreseen(f.m) * 100 > PERIOD * 95);
	lstm_trainer_destroy(t);
	teardown(&f);
}

int main(void)
{
	RUN(gradients_are_those_of_finite_differences);
	RUN(gradients_of_two_halves_add_up);
	RUN(frozen_layers_stay);
	RUN(tokens_that_were_not_there_stay);
	RUN(nothing_to_learn_moves_nothing);
	RUN(a_step_is_no_longer_than_the_clip);
	RUN(what_is_not_finite_is_not_applied);
	RUN(bad_batches_are_refused);
	RUN(the_same_seed_learns_the_same);
	RUN(a_trainer_goes_on_with_another_shape);
	RUN(a_cycle_is_learned_by_heart);
	return CHECK_RESULT();
}
