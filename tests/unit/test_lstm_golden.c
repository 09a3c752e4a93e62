/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Against tests/golden/lstm.txt, which tests/golden/lstm.py wrote: outputs and
 * losses of ten steps of learning, two gradients, and the parameters at the
 * end.  The first segment begins three sequences, the second goes on with them
 * and they take turns; a lane starts over in the middle of each.
 *
 * Numbers agree if they differ by 1e-4 of the wanted one, or by 1e-5 of the
 * largest of their block where they are small against it.
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "lstm_train.h"

#define LANES 3u
#define STEPS 5u
#define ROWS (LANES * STEPS)
#define N_VECTOR 6u
#define ROUNDS 10u
#define NUMBERS_MAX 8192u

static FILE *golden;
static struct lstm_shape shape;
static struct lstm_sample segment[2][ROWS];
static float vectors[2][ROWS][N_VECTOR];

/* --- the file --- */

static void must(bool claim)
{
	if (!claim) {
		fprintf(stderr, "%s: not as expected\n", PFS_GOLDEN);
		abort();
	}
}

static double read_number(void)
{
	double v = 0;

	must(fscanf(golden, "%lf", &v) == 1);
	return v;
}

static uint32_t read_count(uint32_t max)
{
	double v = read_number();

	must(v >= 0 && v <= max);
	return (uint32_t)v;
}

static void expect(const char *name)
{
	char word[32];

	must(fscanf(golden, "%31s", word) == 1 && !strcmp(word, name));
}

static uint32_t read_numbers(const char *name, double *out, uint32_t max)
{
	uint32_t n;

	expect(name);
	n = read_count(max);
	for (uint32_t i = 0; i < n; i++)
		out[i] = read_number();
	return n;
}

static void read_next(struct lstm_next *next)
{
	expect("next");
	next->n = (uint8_t)read_count(LSTM_NEXT_MAX);
	for (uint32_t k = 0; k < next->n; k++)
		next->token[k] = (uint16_t)read_count(UINT16_MAX);
}

static void read_sample(struct lstm_sample *s, float *vector)
{
	double number[N_VECTOR];
	uint32_t n;

	expect("sample");
	s->in.chunk = (uint16_t)read_count(UINT16_MAX);
	s->in.delta = (uint16_t)read_count(UINT16_MAX);
	s->in.size = (uint8_t)read_count(UINT8_MAX);
	s->in.gap = (uint8_t)read_count(UINT8_MAX);
	s->is_start = read_count(1);
	s->weight = (float)read_number();
	s->in.phase[0] = (float)read_number();
	s->in.phase[1] = (float)read_number();
	n = read_numbers("vector", number, N_VECTOR);
	for (uint32_t i = 0; i < n; i++)
		vector[i] = (float)number[i];
	s->in.vector = n ? vector : NULL;
	read_next(&s->next[LSTM_CHUNK]);
	read_next(&s->next[LSTM_DELTA]);
}

static void read_head(void)
{
	golden = fopen(PFS_GOLDEN, "re");
	must(golden);
	expect("shape");
	shape = (struct lstm_shape){
		.n_chunk = read_count(100),
		.chunk_dim = read_count(100),
		.n_delta = read_count(100),
		.delta_dim = read_count(100),
		.n_size = read_count(100),
		.size_dim = read_count(100),
		.n_gap = read_count(100),
		.gap_dim = read_count(100),
		.n_vector = read_count(N_VECTOR),
		.vector_dim = read_count(100),
		.n_hid = read_count(100),
	};
	for (uint32_t k = 0; k < 2; k++)
		for (uint32_t i = 0; i < ROWS; i++)
			read_sample(&segment[k][i], vectors[k][i]);
}

/* --- comparing --- */

static double largest(const double *want, size_t n)
{
	double max = 0;

	for (size_t i = 0; i < n; i++)
		max = fmax(max, fabs(want[i]));
	return max;
}

static void check_close(const char *what, const float *got, const double *want,
			size_t n)
{
	double small = 1e-5 * largest(want, n);

	for (size_t i = 0; i < n; i++) {
		double off = fabs((double)got[i] - want[i]);

		if (off <= fmax(1e-4 * fabs(want[i]), small))
			continue;
		check_failures++;
		fprintf(stderr, "%s %zu is %g, should be %g\n", what, i,
			(double)got[i], want[i]);
		return;
	}
}

/* The script's numbers lie without padding. */
static void check_params(const char *what, const struct lstm_params *p)
{
	static double want[NUMBERS_MAX];
	uint32_t n = read_numbers(what, want, NUMBERS_MAX), at = 0;

	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		size_t len = p->at[b].size1 * p->at[b].size2;
		char name[64];

		must(at + len <= n);
		(void)snprintf(name, sizeof(name), "%s, block %d,", what, b);
		check_close(name, p->at[b].data, want + at, len);
		at += (uint32_t)len;
	}
	CHECK_EQ(at, n);
}

/* --- ours --- */

/* The script's generator. */
static struct lstm *make_model(void)
{
	struct lstm *m = NULL;
	uint32_t x = 7;

	must(!lstm_create_empty(&shape, &m));
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0; i < m->p.at[b].size1 * m->p.at[b].size2;
		     i++) {
			x = 1664525u * x + 1013904223u;
			m->p.at[b].data[i] =
				(float)(x >> 8) / (float)(1u << 24) - 0.5f;
		}
	return m;
}

/* Through the serving path: the first lane, whose state goes on. */
static void check_logits(const struct lstm *m, float *state, uint32_t round)
{
	struct lstm_scratch *w = NULL;
	double want[64];
	float got[64];

	must(!lstm_scratch_create(&shape, 1, &w));
	for (uint32_t t = 0; t < STEPS; t++) {
		const struct lstm_sample *s = &segment[round % 2][t * LANES];

		if (s->is_start)
			memset(state, 0,
			       lstm_state_len(&shape) * sizeof(*state));
		lstm_step(m, w, 1, &s->in, &state);
	}
	for (enum lstm_head k = 0; k < LSTM_HEADS; k++) {
		uint32_t n = read_numbers("logits", want, 64);

		CHECK_EQ(n, lstm_n_tokens(&shape, k));
		lstm_logits(m, w, k, 1, &state, got);
		check_close("logit", got, want, n);
	}
	lstm_scratch_destroy(w);
}

static void check_loss(const struct lstm_loss *loss)
{
	float got[2] = {(float)loss->sum[0], (float)loss->sum[1]};
	double want[2];

	CHECK_EQ(read_numbers("loss", want, 2), 2);
	check_close("loss", got, want, 2);
}

static void ten_steps_are_those_of_the_reference(void)
{
	struct lstm_rate rate = {.rate = 0.01f, .clip = 0.1f};
	struct lstm *m = make_model();
	PFS_AUTO_FREE float *state =
		calloc(lstm_state_len(&shape), sizeof(*state));
	struct lstm_trainer *t = NULL;
	struct lstm_adam *a = NULL;

	must(state && !lstm_adam_create(&shape, &a));
	must(!lstm_trainer_create(&shape, LANES, STEPS, &t));
	for (uint32_t r = 0; r < ROUNDS; r++) {
		struct lstm_batch b = {.n_lanes = LANES,
				       .n_steps = STEPS,
				       .sample = segment[r % 2],
				       .weight = {1, 0.5f}};
		struct lstm_loss loss = {0};

		CHECK_EQ(lstm_learn(t, m, &b, &loss), 0);
		check_loss(&loss);
		check_logits(m, state, r);
		if (r < 2)
			check_params("gradient", lstm_gradient(t));
		CHECK_EQ(lstm_apply(t, m, a, &rate), 0);
	}
	check_params("parameters", &m->p);
	lstm_trainer_destroy(t);
	lstm_adam_destroy(a);
	lstm_destroy(m);
}

int main(void)
{
	read_head();
	RUN(ten_steps_are_those_of_the_reference);
	(void)fclose(golden);
	return CHECK_RESULT();
}
