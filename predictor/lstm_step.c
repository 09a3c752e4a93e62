/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Serving: the network moves on by one chunk.
 *
 * Packed weights serve streams one by one: they are half the bytes, and up to
 * dozens of streams that is faster than a product of matrices, which lays the
 * weights out anew each time.
 */
#include "lstm.h"

#include <string.h>

#include "lstm_blas.h"

#define ALIGN 64u /* bytes */

/* All rows are streams. */
struct lstm_scratch {
	uint32_t n_max;
	size_t len;             /* bytes of `all` */
	float *all;             /* owned, what the others lie in */
	gsl_matrix_float in[2]; /* [n][inputs + n_hid] of each layer */
	gsl_matrix_float gates; /* [n][4 * n_hid] */
	gsl_matrix_float h;     /* [n][n_hid] */
};

/* --- scratch --- */

int lstm_scratch_create(const struct lstm_shape *s, uint32_t n_max,
			struct lstm_scratch **out)
{
	size_t n_1 = lstm_n_in(s) + s->n_hid, n_2 = 2 * s->n_hid;
	size_t n_gates = 4 * s->n_hid;
	size_t n = n_max * (n_1 + n_2 + n_gates + s->n_hid);
	struct lstm_scratch *w = calloc(1, sizeof(*w));
	float *at;

	if (!w)
		return -ENOMEM;
	w->n_max = n_max;
	w->len = pfs_align_up(n * sizeof(*at), ALIGN);
	w->all = at = aligned_alloc(ALIGN, w->len);
	if (!at) {
		free(w);
		return -ENOMEM;
	}
	w->gates = matrix_of(at, n_max, n_gates);
	at += n_max * n_gates;
	w->in[1] = matrix_of(at, n_max, n_2);
	at += n_max * n_2;
	w->h = matrix_of(at, n_max, s->n_hid);
	w->in[0] = matrix_of(at + n_max * s->n_hid, n_max, n_1);
	*out = w;
	return 0;
}

void lstm_scratch_destroy(struct lstm_scratch *w)
{
	if (!w)
		return;
	free(w->all);
	free(w);
}

size_t lstm_scratch_memory(const struct lstm_scratch *w)
{
	return sizeof(*w) + w->len;
}

size_t lstm_state_len(const struct lstm_shape *s)
{
	return (size_t)2 * LSTM_LAYERS * s->n_hid;
}

/* --- input --- */

static float *put_row(float *x, const gsl_matrix_float *embed, uint32_t row)
{
	memcpy(x, row_of(embed, row < embed->size1 ? row : 0),
	       embed->size2 * sizeof(*x));
	return x + embed->size2;
}

void lstm_embed(const struct lstm *m, const struct lstm_input *in, float *x)
{
	const gsl_matrix_float *at = m->p.at;

	x = put_row(x, &at[LSTM_CHUNK_EMBED], in->chunk);
	x = put_row(x, &at[LSTM_DELTA_EMBED], in->delta);
	x = put_row(x, &at[LSTM_SIZE_EMBED], in->size);
	x = put_row(x, &at[LSTM_GAP_EMBED], in->gap);
	memcpy(x, in->phase, sizeof(in->phase));
	x += LSTM_PHASES;
	memset(x, 0, m->shape.vector_dim * sizeof(*x));
	if (in->vector && m->shape.n_vector)
		multiply_add(&at[LSTM_VECTOR], in->vector, x);
}

/* --- layers --- */

/* y = b + W x of each row; each bias follows its weights. */
static void affine(const struct lstm *m, enum lstm_block b,
		   const gsl_matrix_float *x, gsl_matrix_float *y)
{
	const gsl_matrix_float *w = &m->p.at[b], *bias = w + 1;

	for (size_t i = 0; i < y->size1; i++)
		memcpy(row_of(y, i), bias->data,
		       y->size2 * sizeof(*bias->data));
	if (m->is_packed)
		for (size_t i = 0; i < y->size1; i++)
			m->k->multiply_packed(
				(uint32_t)w->size1, (uint32_t)w->size2,
				m->packed_at[b], row_of(x, i), row_of(y, i));
	else if (y->size1 == 1)
		multiply_add(w, x->data, y->data);
	else
		multiply_nt(x, w, 1, y);
}

/* The inputs of a layer stand in the first columns of *in. */
static void step_layer(const struct lstm *m, struct lstm_scratch *w,
		       uint32_t layer, uint32_t n, float *const *state)
{
	static const enum lstm_block weights[] = {LSTM_GATES_1, LSTM_GATES_2};
	uint32_t n_hid = m->shape.n_hid;
	gsl_matrix_float in = rows_of(&w->in[layer], 0, n);
	gsl_matrix_float gates = rows_of(&w->gates, 0, n);

	for (uint32_t i = 0; i < n; i++)
		memcpy(row_of(&in, i) + in.size2 - n_hid,
		       state[i] + (size_t)2 * layer * n_hid,
		       n_hid * sizeof(float));
	affine(m, weights[layer], &in, &gates);
	for (uint32_t i = 0; i < n; i++) {
		float *h = state[i] + (size_t)2 * layer * n_hid;
		float *c = h + n_hid;

		m->k->cell(n_hid, row_of(&gates, i), c, c, h);
	}
}

void lstm_step(const struct lstm *m, struct lstm_scratch *w, uint32_t n,
	       const struct lstm_input *in, float *const *state)
{
	assert(n && n <= w->n_max);
	for (uint32_t i = 0; i < n; i++)
		lstm_embed(m, &in[i], row_of(&w->in[0], i));
	step_layer(m, w, 0, n, state);
	for (uint32_t i = 0; i < n; i++)
		memcpy(row_of(&w->in[1], i), state[i],
		       m->shape.n_hid * sizeof(float));
	step_layer(m, w, 1, n, state);
}

/* --- heads --- */

static const enum lstm_block head_weights[LSTM_HEADS] = {
	[LSTM_CHUNK] = LSTM_CHUNK_HEAD,
	[LSTM_DELTA] = LSTM_DELTA_HEAD,
};

/* h of the second layer. */
static const float *top_of(const struct lstm *m, const float *state)
{
	return state + (size_t)2 * m->shape.n_hid;
}

void lstm_logits(const struct lstm *m, struct lstm_scratch *w,
		 enum lstm_head head, uint32_t n, float *const *state,
		 float *out)
{
	gsl_matrix_float y = matrix_of(out, n, lstm_n_tokens(&m->shape, head));
	gsl_matrix_float h = rows_of(&w->h, 0, n);

	for (uint32_t i = 0; i < n; i++)
		memcpy(row_of(&h, i), top_of(m, state[i]),
		       m->shape.n_hid * sizeof(*out));
	affine(m, head_weights[head], &h, &y);
}

void lstm_score(const struct lstm *m, enum lstm_head head, const float *state,
		uint32_t n, const uint16_t *token, float *out)
{
	const gsl_matrix_float *at = &m->p.at[head_weights[head]];
	gsl_vector_float h = {.size = m->shape.n_hid,
			      .stride = 1,
			      .data = (float *)top_of(m, state)};

	for (uint32_t i = 0; i < n; i++) {
		gsl_vector_float row = {.size = h.size,
					.stride = 1,
					.data = row_of(at, token[i])};

		(void)gsl_blas_sdot(&h, &row, &out[i]); /* of equal length */
		out[i] += at[1].data[token[i]];
	}
}
