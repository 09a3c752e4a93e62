/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <math.h>

#include "lstm_fixture.h"
#include "model_file.h"

#define EXTRA "a dictionary"
#define MAGIC 0x4c45444f4d534650ull
#define VERSION_AT 8u
#define FLAGS_AT 12u
#define SHAPE_AT 16u
#define EXTRA_AT 60u
#define N_STEPS_AT 64u
#define NUMBERS_AT 72u

struct blob {
	uint8_t *at;
	size_t len;
};

/* As a trained model has them. */
static void make_moments(struct fixture *f)
{
	uint64_t seed = 3;

	f->a->n_steps = 1234567890123ull;
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0;
		     i < f->a->m.at[b].size1 * f->a->m.at[b].size2; i++) {
			f->a->m.at[b].data[i] = random_real(&seed) / 100;
			f->a->v.at[b].data[i] =
				fabsf(random_real(&seed)) / 1e5f;
		}
}

static struct blob encoded(const struct fixture *f)
{
	struct blob b = {0};

	CHECK_EQ(model_encode(f->m, f->a, EXTRA, sizeof(EXTRA), (void **)&b.at,
			      &b.len),
		 0);
	return b;
}

/* The checksum put right again. */
static void seal(struct blob *b)
{
	uint64_t sum = pfs_hash64(b->at, b->len - 8, MAGIC);

	for (int i = 0; i < 8; i++)
		b->at[b->len - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

static int decoded(const struct blob *b)
{
	struct model_file f = {0};
	int err = model_decode(b->at, b->len, &f);

	if (!err)
		model_file_fini(&f);
	return err;
}

/* What comes of it if the word at `at` is another, under a right checksum. */
static int with_word(struct blob *b, size_t at, uint32_t word)
{
	uint8_t old[4];
	int err;

	memcpy(old, b->at + at, 4);
	for (int i = 0; i < 4; i++)
		b->at[at + (size_t)i] = (uint8_t)(word >> 8 * i);
	seal(b);
	err = decoded(b);
	memcpy(b->at + at, old, 4);
	seal(b);
	return err;
}

static void what_is_written_is_read_again(void)
{
	struct model_file got = {0};
	struct fixture f;
	struct blob b;

	setup(&f, 1);
	make_moments(&f);
	b = encoded(&f);
	CHECK_EQ(model_decode(b.at, b.len, &got), 0);
	CHECK(lstm_shape_is_same(&got.model->shape, &small));
	CHECK_EQ(memcmp(got.model->p.all, f.m->p.all, f.m->p.n * sizeof(float)),
		 0);
	CHECK_EQ(got.adam->n_steps, f.a->n_steps);
	for (size_t i = 0; i < f.a->m.n; i++) {
		CHECK(fabsf(got.adam->m.all[i] - f.a->m.all[i]) <=
		      fabsf(f.a->m.all[i]) / 256);
		CHECK(fabsf(got.adam->v.all[i] - f.a->v.all[i]) <=
		      f.a->v.all[i] / 256);
	}
	CHECK_EQ(got.extra_len, sizeof(EXTRA));
	CHECK_EQ(memcmp(got.extra, EXTRA, sizeof(EXTRA)), 0);
	model_file_fini(&got);
	free(b.at);
	teardown(&f);
}

static void moments_may_be_left_out(void)
{
	struct model_file got = {0};
	struct fixture f;
	struct blob b;
	void *blob = NULL;
	size_t len = 0;

	setup(&f, 2);
	CHECK_EQ(model_encode(f.m, NULL, NULL, 0, &blob, &len), 0);
	CHECK_EQ(model_decode(blob, len, &got), 0);
	CHECK(!got.adam);
	/* Then nobody took steps. */
	b = (struct blob){blob, len};
	CHECK_EQ(with_word(&b, N_STEPS_AT, 1), -EBADMSG);
	CHECK_EQ(got.extra_len, 0);
	model_file_fini(&got);
	free(blob);
	teardown(&f);
}

static void every_cut_and_every_flipped_bit_is_noticed(void)
{
	struct fixture f;
	struct blob b;

	setup(&f, 3);
	b = encoded(&f);
	for (size_t i = 0; i < b.len; i += i < 100 ? 1 : 997) {
		struct blob cut = {b.at, i};

		CHECK_EQ(decoded(&cut), -EBADMSG);
		b.at[i] ^= (uint8_t)(1 << i % 8);
		CHECK_EQ(decoded(&b), -EBADMSG);
		b.at[i] ^= (uint8_t)(1 << i % 8);
	}
	CHECK_EQ(decoded(&b), 0);
	free(b.at);
	teardown(&f);
}

static void numbers_that_no_model_has_are_refused(void)
{
	static const uint32_t bad[] = {
		0x7f800000 /* Inf */,    0xff800000,
		0x7fc00000 /* NaN */,    0x7f800001,
		0x60000000 /* 3.7e19 */,
	};
	struct fixture f;
	struct blob b;
	size_t moments_at;

	setup(&f, 4);
	b = encoded(&f);
	moments_at = b.len - 8 - sizeof(EXTRA);
	for (uint32_t i = 0; i < PFS_ARRAY_SIZE(bad); i++) {
		CHECK_EQ(with_word(&b, NUMBERS_AT, bad[i]), -EBADMSG);
		CHECK_EQ(with_word(&b, NUMBERS_AT + 4000, bad[i]), -EBADMSG);
		CHECK_EQ(with_word(&b, moments_at - 4, bad[i]), -EBADMSG);
	}
	/* The last two numbers are of v, which is no less than 0. */
	CHECK_EQ(with_word(&b, moments_at - 4, 0x3f803f80), 0);
	CHECK_EQ(with_word(&b, moments_at - 4, 0xbf803f80), -EBADMSG);
	free(b.at);
	teardown(&f);
}

static void other_shapes_and_versions_are_refused(void)
{
	struct fixture f;
	struct blob b;

	setup(&f, 5);
	b = encoded(&f);
	CHECK_EQ(with_word(&b, 0, 0x44434241), -EBADMSG);
	CHECK_EQ(with_word(&b, VERSION_AT, 2), -ENOTSUP);
	CHECK_EQ(with_word(&b, FLAGS_AT, 0), -EBADMSG);
	CHECK_EQ(with_word(&b, FLAGS_AT, 3), -EBADMSG);
	for (size_t i = 0; i < 11; i++) {
		CHECK_EQ(with_word(&b, SHAPE_AT + 4 * i, 0), -EBADMSG);
		CHECK_EQ(with_word(&b, SHAPE_AT + 4 * i, 8), -EBADMSG);
		CHECK_EQ(with_word(&b, SHAPE_AT + 4 * i, UINT32_MAX), -EBADMSG);
	}
	CHECK_EQ(with_word(&b, EXTRA_AT, UINT32_MAX), -EBADMSG);
	CHECK_EQ(with_word(&b, EXTRA_AT, 0), -EBADMSG);
	CHECK_EQ(decoded(&b), 0);
	free(b.at);
	teardown(&f);
}

static void what_would_be_refused_is_not_written(void)
{
	struct fixture f;
	void *blob = NULL;
	size_t len = 0;

	setup(&f, 6);
	f.m->p.at[LSTM_DELTA_HEAD].data[3] = NAN;
	CHECK_EQ(model_encode(f.m, f.a, NULL, 0, &blob, &len), -ERANGE);
	f.m->p.at[LSTM_DELTA_HEAD].data[3] = 0;
	f.a->v.at[LSTM_DELTA_HEAD].data[3] = INFINITY;
	CHECK_EQ(model_encode(f.m, f.a, NULL, 0, &blob, &len), -ERANGE);
	CHECK_EQ(model_encode(f.m, NULL, EXTRA, MODEL_EXTRA_MAX + 1, &blob,
			      &len),
		 -EINVAL);
	CHECK(!blob);
	teardown(&f);
}

/* 4 MiB are promised for an image with 1,100 tokens. */
static void a_model_takes_few_bytes(void)
{
	struct lstm_shape s = lstm_shape_default(1100, 1078, 40);
	struct lstm *m = NULL;
	struct lstm_adam *a = NULL;
	void *blob = NULL;
	size_t len = 0;

	CHECK_EQ(lstm_create(&s, 1, &m), 0);
	CHECK_EQ(lstm_adam_create(&s, &a), 0);
	CHECK_EQ(model_encode(m, a, NULL, 0, &blob, &len), 0);
	CHECK(len + 1100 * 16 < PFS_MIB(4)); /* with a dictionary */
	free(blob);
	lstm_adam_destroy(a);
	lstm_destroy(m);
}

int main(void)
{
	RUN(what_is_written_is_read_again);
	RUN(moments_may_be_left_out);
	RUN(every_cut_and_every_flipped_bit_is_noticed);
	RUN(numbers_that_no_model_has_are_refused);
	RUN(other_shapes_and_versions_are_refused);
	RUN(what_would_be_refused_is_not_written);
	RUN(a_model_takes_few_bytes);
	return CHECK_RESULT();
}
