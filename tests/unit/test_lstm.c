/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Serving, dictionaries, memory and the kernels; learning has a test of its
 * own.  Calls of malloc() and the like are counted by the linker's --wrap. */
#include "check.h"

#include <math.h>

#include "lstm_fixture.h"

#define STREAMS 5u

static uint32_t n_allocated;

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);

void *__wrap_malloc(size_t len)
{
	n_allocated++;
	return __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	n_allocated++;
	return __real_calloc(n, len);
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	n_allocated++;
	return __real_aligned_alloc(align, len);
}

/* --- kernels --- */

#define N 61u

extern const struct lstm_kernels lstm_kernels_generic, lstm_kernels_avx2;

/* Those that are for this machine or a lesser one. */
static uint32_t all_kernels(const struct lstm_kernels *out[3])
{
	uint32_t n = 0;

	out[n++] = &lstm_kernels_generic;
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		out[n++] = &lstm_kernels_avx2;
#endif
	out[n++] = lstm_kernels();
	return n;
}

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static void check_gates(const struct lstm_kernels *kernels)
{
	float gates[4 * N], before[N], c[N], h[N], sum[4 * N];
	uint64_t seed = 1;

	for (uint32_t i = 0; i < 4 * N; i++)
		sum[i] = gates[i] = 12 * random_real(&seed);
	for (uint32_t i = 0; i < N; i++)
		before[i] = 3 * random_real(&seed);
	kernels->cell(N, gates, before, c, h);
	for (uint32_t i = 0; i < N; i++) {
		double in = sigmoid((double)sum[i]);
		double forget = sigmoid((double)sum[N + i]);
		double cell = tanh((double)sum[2 * N + i]);
		double out = sigmoid((double)sum[3 * N + i]);
		double want = forget * (double)before[i] + in * cell;

		CHECK(fabs((double)gates[i] - in) < 1e-6);
		CHECK(fabs((double)gates[2 * N + i] - cell) < 1e-6);
		CHECK(fabs((double)c[i] - want) < 2e-6);
		CHECK(fabs((double)h[i] - out * tanh(want)) < 2e-6);
	}
}

static void check_softmax(const struct lstm_kernels *kernels)
{
	float y[N], logit[N];
	double sum = 0, log_sum;
	uint64_t seed = 2;

	for (uint32_t i = 0; i < N; i++) {
		logit[i] = y[i] = 1000 + 40 * random_real(&seed);
		sum += exp((double)y[i] - 1000);
	}
	log_sum = (double)kernels->softmax(N, y, 2);
	CHECK(fabs(log_sum - 1000 - log(sum)) < 2e-4);
	for (uint32_t i = 0; i < N; i++) {
		double want = 2 * exp((double)logit[i] - 1000) / sum;

		CHECK(fabs((double)y[i] - want) < 1e-5 * want + 1e-30);
	}
}

#define PACKED_ROWS 70u /* no whole number of panels */
#define PACKED_COLS 3u

static void check_packed(const struct lstm_kernels *kernels)
{
	uint32_t w[2 * LSTM_PANEL / 2 * PACKED_COLS] = {0};
	float x[PACKED_COLS] = {1, 2, -3}, y[PACKED_ROWS + 1];

	for (uint32_t i = 0; i <= PACKED_ROWS; i++)
		y[i] = 0.5f;
	/* 1.0 is 0x3f80: row 48 of column 1, row 64 of column 2. */
	w[1 * LSTM_PANEL / 2 + 16] = 0x3f800000;
	w[LSTM_PANEL / 2 * PACKED_COLS + 2 * LSTM_PANEL / 2] = 0x3f80;
	kernels->multiply_packed(PACKED_ROWS, PACKED_COLS, w, x, y);
	for (uint32_t i = 0; i <= PACKED_ROWS; i++)
		CHECK(y[i] == (i == 48 ? 2.5f : i == 64 ? -2.5f : 0.5f));
}

static void kernels_are_those_of_the_math_library(void)
{
	const struct lstm_kernels *all[3];

	for (uint32_t n = all_kernels(all); n-- > 0;) {
		int before = check_failures;

		check_gates(all[n]);
		check_softmax(all[n]);
		check_packed(all[n]);
		if (check_failures != before)
			fprintf(stderr, "of %s\n", all[n]->name);
	}
}

static void huge_and_missing_numbers_show(void)
{
	float y[N] = {0}, c[N] = {0}, h[N], gates[4 * N] = {0};
	const struct lstm_kernels *k = lstm_kernels();

	gates[3] = INFINITY;
	gates[N + 3] = -1e30f;
	k->cell(N, gates, c, c, h);
	for (uint32_t i = 0; i < N; i++)
		CHECK(isfinite(h[i]));
	y[7] = NAN;
	CHECK(isnan(k->softmax(N, y, 1)));
	CHECK(isnan(y[0]));
}

/* --- serving --- */

struct streams {
	float number[STREAMS][4 * 27];
	float *state[STREAMS];
	struct lstm_input in[STREAMS];
	float out[STREAMS][37];
};

static void make_streams(struct streams *s, const struct fixture *f)
{
	memset(s, 0, sizeof(*s));
	for (uint32_t i = 0; i < STREAMS; i++) {
		s->state[i] = s->number[i];
		s->in[i] = f->sample[i].in;
	}
}

static bool is_same_state(const struct streams *s, uint32_t a, uint32_t b)
{
	for (uint32_t i = 0; i < PFS_ARRAY_SIZE(s->number[a]); i++)
		if (s->number[a][i] != s->number[b][i])
			return false;
	return true;
}

static void streams_together_are_streams_alone(void)
{
	struct fixture f;
	struct streams all, one;
	struct lstm_scratch *w = NULL;

	setup(&f, 1);
	make_streams(&all, &f);
	make_streams(&one, &f);
	CHECK_EQ(lstm_scratch_create(&small, STREAMS, &w), 0);
	for (uint32_t t = 0; t < 20; t++) {
		lstm_step(f.m, w, STREAMS, all.in, all.state);
		for (uint32_t i = 0; i < STREAMS; i++)
			lstm_step(f.m, w, 1, &one.in[i], &one.state[i]);
	}
	lstm_logits(f.m, w, LSTM_CHUNK, STREAMS, all.state, all.out[0]);
	for (uint32_t i = 0; i < STREAMS; i++) {
		lstm_logits(f.m, w, LSTM_CHUNK, 1, &one.state[i], one.out[i]);
		for (uint32_t k = 0; k < small.n_chunk; k++)
			CHECK(fabsf(all.out[i][k] - one.out[i][k]) < 1e-5f);
	}
	CHECK(all.out[0][0] != all.out[1][0]);
	lstm_scratch_destroy(w);
	teardown(&f);
}

/* Eight bits of each weight are left. */
static void packed_weights_say_nearly_the_same(void)
{
	struct fixture f;
	struct streams all, packed;
	struct lstm_scratch *w = NULL;
	struct lstm_loss loss = {0};
	struct lstm_rate rate = {0};
	float most = 0;

	setup(&f, 7);
	make_streams(&all, &f);
	make_streams(&packed, &f);
	CHECK_EQ(lstm_scratch_create(&small, STREAMS, &w), 0);
	lstm_step(f.m, w, STREAMS, all.in, all.state);
	lstm_logits(f.m, w, LSTM_CHUNK, STREAMS, all.state, all.out[0]);
	CHECK_EQ(lstm_pack(f.m), 0);
	CHECK(f.m->is_packed);
	lstm_step(f.m, w, STREAMS, packed.in, packed.state);
	lstm_logits(f.m, w, LSTM_CHUNK, STREAMS, packed.state, packed.out[0]);
	for (uint32_t i = 0; i < STREAMS; i++)
		for (uint32_t k = 0; k < small.n_chunk; k++)
			most = fmaxf(most,
				     fabsf(all.out[i][k] - packed.out[i][k]));
	CHECK(most > 0 && most < 2e-3f);
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	CHECK_EQ(lstm_apply(f.t, f.m, f.a, &rate), 0);
	CHECK(!f.m->is_packed);
	lstm_scratch_destroy(w);
	teardown(&f);
}

static void a_few_tokens_score_as_in_the_whole(void)
{
	static const uint16_t token[] = {0, 20, 7};
	struct fixture f;
	struct streams s;
	struct lstm_scratch *w = NULL;
	float score[3];

	setup(&f, 2);
	make_streams(&s, &f);
	CHECK_EQ(lstm_scratch_create(&small, 1, &w), 0);
	lstm_step(f.m, w, 1, s.in, s.state);
	for (enum lstm_head k = 0; k < LSTM_HEADS; k++) {
		lstm_logits(f.m, w, k, 1, s.state, s.out[0]);
		lstm_score(f.m, k, s.state[0], 3, token, score);
		for (uint32_t i = 0; i < 3; i++)
			CHECK(fabsf(score[i] - s.out[0][token[i]]) < 1e-5f);
	}
	lstm_scratch_destroy(w);
	teardown(&f);
}

static void an_unknown_class_counts_as_none(void)
{
	struct fixture f;
	struct streams s;
	struct lstm_scratch *w = NULL;

	setup(&f, 3);
	make_streams(&s, &f);
	CHECK_EQ(lstm_scratch_create(&small, 2, &w), 0);
	s.in[0] = (struct lstm_input){
		.chunk = 37, .delta = UINT16_MAX, .size = 99, .gap = 4};
	s.in[1] = (struct lstm_input){0};
	lstm_step(f.m, w, 2, s.in, s.state);
	CHECK(is_same_state(&s, 0, 1));
	lstm_scratch_destroy(w);
	teardown(&f);
}

static void a_vector_makes_a_difference_and_its_absence_is_zero(void)
{
	static const float zero[N_VECTOR], some[N_VECTOR] = {1, -1, 0.5f};
	struct fixture f;
	struct streams s;
	struct lstm_scratch *w = NULL;

	setup(&f, 4);
	make_streams(&s, &f);
	CHECK_EQ(lstm_scratch_create(&small, 3, &w), 0);
	for (uint32_t i = 0; i < 3; i++)
		s.in[i] = s.in[0];
	s.in[0].vector = NULL;
	s.in[1].vector = zero;
	s.in[2].vector = some;
	lstm_step(f.m, w, 3, s.in, s.state);
	CHECK(is_same_state(&s, 0, 1));
	CHECK(!is_same_state(&s, 0, 2));
	lstm_scratch_destroy(w);
	teardown(&f);
}

/* --- another dictionary --- */

static void tokens_keep_what_they_learned_under_another_number(void)
{
	static const uint32_t from[] = {0, 5, LSTM_FRESH, 36, 37};
	struct fixture f;
	struct streams s;
	struct lstm *m = NULL;
	struct lstm_adam *a = NULL;
	struct lstm_scratch *w = NULL;
	float out[5];

	setup(&f, 5);
	f.a->n_steps = 9;
	f.a->v.at[LSTM_CHUNK_HEAD].data[5 * small.n_hid] = 3;
	CHECK_EQ(lstm_remap(f.m, from, 5, 1, &m), 0);
	CHECK_EQ(lstm_adam_remap(f.a, &m->shape, from, &a), 0);
	CHECK_EQ(lstm_scratch_create(&small, 2, &w), 0);
	make_streams(&s, &f);
	s.in[0].chunk = 5;
	s.in[1] = s.in[0];
	s.in[1].chunk = 1;
	lstm_step(f.m, w, 1, &s.in[0], &s.state[0]);
	lstm_step(m, w, 1, &s.in[1], &s.state[1]);
	CHECK(is_same_state(&s, 0, 1));
	lstm_logits(f.m, w, LSTM_CHUNK, 1, s.state, s.out[0]);
	lstm_logits(m, w, LSTM_CHUNK, 1, s.state, out);
	CHECK(fabsf(out[0] - s.out[0][0]) < 1e-6f);
	CHECK(fabsf(out[1] - s.out[0][5]) < 1e-6f);
	CHECK(fabsf(out[3] - s.out[0][36]) < 1e-6f);
	CHECK_EQ(a->n_steps, 9);
	CHECK(a->v.at[LSTM_CHUNK_HEAD].data[small.n_hid] == 3);
	CHECK(a->v.at[LSTM_CHUNK_HEAD].data[2 * small.n_hid] == 0);
	lstm_scratch_destroy(w);
	lstm_adam_destroy(a);
	lstm_destroy(m);
	teardown(&f);
}

/* --- memory --- */

static void steps_allocate_nothing(void)
{
	struct lstm_loss loss = {0};
	struct lstm_rate rate = {0};
	struct fixture f;
	struct streams s;
	struct lstm_scratch *w = NULL;

	setup(&f, 6);
	make_streams(&s, &f);
	CHECK_EQ(lstm_scratch_create(&small, STREAMS, &w), 0);
	CHECK_EQ(lstm_pack(f.m), 0);
	CHECK(n_allocated > 0);
	n_allocated = 0;
	lstm_step(f.m, w, STREAMS, s.in, s.state);
	lstm_logits(f.m, w, LSTM_CHUNK, STREAMS, s.state, s.out[0]);
	CHECK_EQ(lstm_learn(f.t, f.m, &f.b, &loss), 0);
	CHECK_EQ(lstm_apply(f.t, f.m, f.a, &rate), 0);
	CHECK_EQ(lstm_pack(f.m), 0);
	CHECK_EQ(n_allocated, 0);
	lstm_scratch_destroy(w);
	teardown(&f);
}

/* What an image with 1,100 tokens takes, and one at the default cap. */
static void a_model_is_as_small_as_promised(void)
{
	struct lstm_shape s = lstm_shape_default(1100, 1078, 40);
	struct lstm *m = NULL;
	struct lstm_adam *a = NULL;

	CHECK_EQ(lstm_n_in(&s), 128);
	CHECK_EQ(lstm_create(&s, 1, &m), 0);
	CHECK_EQ(lstm_adam_create(&s, &a), 0);
	CHECK_EQ(lstm_pack(m), 0);
	CHECK(lstm_memory(m) + lstm_adam_memory(a) < PFS_MIB(8));
	lstm_adam_destroy(a);
	lstm_destroy(m);
	s.n_chunk = 4096;
	CHECK_EQ(lstm_create(&s, 1, &m), 0);
	CHECK_EQ(lstm_adam_create(&s, &a), 0);
	CHECK_EQ(lstm_pack(m), 0);
	CHECK(lstm_memory(m) + lstm_adam_memory(a) < PFS_MIB(20));
	lstm_adam_destroy(a);
	lstm_destroy(m);
}

static void impossible_shapes_are_refused(void)
{
	struct lstm_shape s = small;
	struct lstm_trainer *t = NULL;
	struct lstm *m = NULL;

	s.n_hid = 0;
	CHECK_EQ(lstm_create(&s, 1, &m), -EINVAL);
	CHECK_EQ(lstm_trainer_create(&s, 1, 1, &t), -EINVAL);
	s = small;
	s.n_chunk = LSTM_TOKENS_MAX + 1;
	CHECK_EQ(lstm_create(&s, 1, &m), -EINVAL);
	s = small;
	s.vector_dim = 0;
	CHECK_EQ(lstm_create(&s, 1, &m), -EINVAL);
	s.n_vector = 0;
	CHECK_EQ(lstm_create(&s, 1, &m), 0);
	lstm_destroy(m);
	CHECK_EQ(lstm_trainer_create(&small, 0, 1, &t), -EINVAL);
}

int main(void)
{
	RUN(kernels_are_those_of_the_math_library);
	RUN(huge_and_missing_numbers_show);
	RUN(streams_together_are_streams_alone);
	RUN(packed_weights_say_nearly_the_same);
	RUN(a_few_tokens_score_as_in_the_whole);
	RUN(an_unknown_class_counts_as_none);
	RUN(a_vector_makes_a_difference_and_its_absence_is_zero);
	RUN(tokens_keep_what_they_learned_under_another_number);
	RUN(steps_allocate_nothing);
	RUN(a_model_is_as_small_as_promised);
	RUN(impossible_shapes_are_refused);
	return CHECK_RESULT();
}
