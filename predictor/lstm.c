/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shapes, the layout of the parameters, making and remapping models. */
#include "lstm.h"

#include <math.h>
#include <string.h>

#include <gsl/gsl_rng.h>

#include "lstm_blas.h"

#define ALIGN 64u /* bytes */
#define DIM_MAX 512u
#define CLASSES_MAX 256u /* of sizes and gaps: they are bytes */

/* --- shape --- */

struct lstm_shape lstm_shape_default(uint32_t n_chunk, uint32_t n_delta,
				     uint32_t n_vector)
{
	return (struct lstm_shape){
		.n_chunk = n_chunk,
		.chunk_dim = 64,
		.n_delta = n_delta,
		.delta_dim = 32,
		.n_size = 16,
		.size_dim = 6,
		.n_gap = 32,
		.gap_dim = 8,
		.n_vector = n_vector,
		.vector_dim = n_vector ? 16 : 0,
		.n_hid = 96,
	};
}

static bool is_between(uint32_t v, uint32_t min, uint32_t max)
{
	return v >= min && v <= max;
}

bool lstm_shape_is_sound(const struct lstm_shape *s)
{
	return is_between(s->n_chunk, 1, LSTM_TOKENS_MAX) &&
	       is_between(s->n_delta, 1, LSTM_TOKENS_MAX) &&
	       is_between(s->n_size, 1, CLASSES_MAX) &&
	       is_between(s->n_gap, 1, CLASSES_MAX) && s->n_vector <= DIM_MAX &&
	       s->vector_dim <= DIM_MAX && !s->n_vector == !s->vector_dim &&
	       is_between(s->chunk_dim, 1, DIM_MAX) &&
	       is_between(s->delta_dim, 1, DIM_MAX) &&
	       is_between(s->size_dim, 1, DIM_MAX) &&
	       is_between(s->gap_dim, 1, DIM_MAX) &&
	       is_between(s->n_hid, 1, DIM_MAX);
}

bool lstm_shape_is_same(const struct lstm_shape *a, const struct lstm_shape *b)
{
	return memcmp(a, b, sizeof(*a)) == 0; /* all words, no padding */
}

uint32_t lstm_n_in(const struct lstm_shape *s)
{
	return s->chunk_dim + s->delta_dim + s->size_dim + s->gap_dim +
	       LSTM_PHASES + s->vector_dim;
}

void lstm_block_size(const struct lstm_shape *s, enum lstm_block b,
		     uint32_t *rows, uint32_t *cols)
{
	const uint32_t size[LSTM_BLOCKS][2] = {
		[LSTM_CHUNK_EMBED] = {s->n_chunk, s->chunk_dim},
		[LSTM_DELTA_EMBED] = {s->n_delta, s->delta_dim},
		[LSTM_SIZE_EMBED] = {s->n_size, s->size_dim},
		[LSTM_GAP_EMBED] = {s->n_gap, s->gap_dim},
		[LSTM_VECTOR] = {s->vector_dim, s->n_vector},
		[LSTM_GATES_1] = {4 * s->n_hid, lstm_n_in(s) + s->n_hid},
		[LSTM_GATES_1_BIAS] = {1, 4 * s->n_hid},
		[LSTM_GATES_2] = {4 * s->n_hid, 2 * s->n_hid},
		[LSTM_GATES_2_BIAS] = {1, 4 * s->n_hid},
		[LSTM_CHUNK_HEAD] = {s->n_chunk, s->n_hid},
		[LSTM_CHUNK_HEAD_BIAS] = {1, s->n_chunk},
		[LSTM_DELTA_HEAD] = {s->n_delta, s->n_hid},
		[LSTM_DELTA_HEAD_BIAS] = {1, s->n_delta},
	};

	*rows = size[b][0];
	*cols = size[b][1];
}

/* --- layout --- */

static size_t block_len(const struct lstm_shape *s, enum lstm_block b)
{
	uint32_t rows, cols;

	lstm_block_size(s, b, &rows, &cols);
	return pfs_align_up((size_t)rows * cols, ALIGN / sizeof(float));
}

size_t lstm_params_len(const struct lstm_shape *s)
{
	size_t n = 0;

	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		n += block_len(s, b);
	return n;
}

void lstm_params_over(struct lstm_params *p, const struct lstm_shape *s,
		      float *all)
{
	p->all = all;
	p->n = lstm_params_len(s);
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		uint32_t rows, cols;

		lstm_block_size(s, b, &rows, &cols);
		p->at[b] = matrix_of(all, rows, cols);
		all += block_len(s, b);
	}
}

/* 0 * x is 0 for every number and NaN for Inf and NaN. */
bool lstm_params_are_finite(const struct lstm_params *p)
{
	float sum = 0;

	for (size_t i = 0; i < p->n; i++)
		sum += 0 * p->all[i];
	return sum == 0;
}

/* --- making --- */

static void fill_uniform(gsl_rng *rng, const gsl_matrix_float *w, float range)
{
	for (size_t i = 0; i < w->size1 * w->size2; i++)
		w->data[i] = (float)(2 * gsl_rng_uniform(rng) - 1) * range;
}

/* Open forget gates let gradients through from the first step on (Gers et al.
 * 2000; Jozefowicz et al. 2015). */
static void open_forget_gates(struct lstm *m, enum lstm_block bias)
{
	uint32_t n = m->shape.n_hid;

	for (uint32_t u = 0; u < n; u++)
		m->p.at[bias].data[n + u] = 1;
}

static int init(struct lstm *m, uint64_t seed)
{
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
	float range;

	if (!rng)
		return -ENOMEM;
	gsl_rng_set(rng, (unsigned long)(uint32_t)(seed ^ seed >> 32));
	range = sqrtf(3); /* a variance of 1, so that they differ enough */
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		if (b == LSTM_VECTOR)
			range = 1 / sqrtf((float)m->shape.n_hid);
		if (m->p.at[b].size1 > 1)
			fill_uniform(rng, &m->p.at[b], range);
	}
	gsl_rng_free(rng);
	open_forget_gates(m, LSTM_GATES_1_BIAS);
	open_forget_gates(m, LSTM_GATES_2_BIAS);
	return 0;
}

int lstm_create_empty(const struct lstm_shape *s, struct lstm **out)
{
	struct lstm *m;
	float *all;
	size_t len;

	if (!lstm_shape_is_sound(s))
		return -EINVAL;
	len = lstm_params_len(s) * sizeof(*all);
	m = calloc(1, sizeof(*m));
	all = aligned_alloc(ALIGN, len);
	if (!m || !all) {
		free(m);
		free(all);
		return -ENOMEM;
	}
	memset(all, 0, len);
	m->shape = *s;
	m->k = lstm_kernels();
	lstm_params_over(&m->p, s, all);
	*out = m;
	return 0;
}

int lstm_create(const struct lstm_shape *s, uint64_t seed, struct lstm **out)
{
	struct lstm *m;
	int err = lstm_create_empty(s, &m);

	if (err)
		return err;
	err = init(m, seed);
	if (err) {
		lstm_destroy(m);
		return err;
	}
	*out = m;
	return 0;
}

void lstm_destroy(struct lstm *m)
{
	if (!m)
		return;
	free(m->p.all);
	free(m->packed);
	free(m);
}

size_t lstm_memory(const struct lstm *m)
{
	return sizeof(*m) + m->p.n * sizeof(*m->p.all) +
	       (m->packed ? lstm_packed_len(&m->shape) : 0);
}

/* --- another dictionary --- */

static void remap_rows(gsl_matrix_float *to, const gsl_matrix_float *old,
		       const uint32_t *from)
{
	for (size_t t = 0; t < to->size1; t++)
		if (from[t] < old->size1)
			memcpy(row_of(to, t), row_of(old, from[t]),
			       to->size2 * sizeof(*to->data));
}

static void remap_cols(gsl_matrix_float *to, const gsl_matrix_float *old,
		       const uint32_t *from)
{
	for (size_t t = 0; t < to->size2; t++)
		if (from[t] < old->size2)
			to->data[t] = old->data[from[t]];
}

void lstm_params_remap(struct lstm_params *to, const struct lstm_params *old,
		       const uint32_t *from)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		const gsl_matrix_float *w = &old->at[b];

		if (b == LSTM_CHUNK_EMBED || b == LSTM_CHUNK_HEAD)
			remap_rows(&to->at[b], w, from);
		else if (b == LSTM_CHUNK_HEAD_BIAS)
			remap_cols(&to->at[b], w, from);
		else
			memcpy(to->at[b].data, w->data,
			       w->size1 * w->size2 * sizeof(*w->data));
	}
}

int lstm_remap(const struct lstm *old, const uint32_t *from, uint32_t n_chunk,
	       uint64_t seed, struct lstm **out)
{
	struct lstm_shape shape = old->shape;
	int err;

	shape.n_chunk = n_chunk;
	err = lstm_create(&shape, seed, out);
	if (!err)
		lstm_params_remap(&(*out)->p, &old->p, from);
	return err;
}
