/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The trainer's memory, what a batch may be, and forward through the layers.
 *
 * What does not wait for the step before is one product over all rows: the
 * inputs' part of the sums, every weight's gradient and the gradient that goes
 * to the layer below.  Only the recurrent part goes step by step.
 */
#include "lstm_trainer.h"

#include <math.h>
#include <string.h>

#define ALIGN 64u /* bytes */
#define LANES_MAX 4096u
#define STEPS_MAX 4096u

/* --- memory --- */

/* Lay everything out, in units of a float; with all == NULL just count. */
static size_t lay_out(struct lstm_trainer *t, float *all)
{
	const struct lstm_shape *s = &t->shape;
	size_t rows = (size_t)t->lanes_max * t->steps_max, n_hid = s->n_hid;
	size_t lanes = t->lanes_max, at = lstm_params_len(s);
	const struct {
		gsl_matrix_float *m;
		size_t rows, cols;
	} part[] = {
		{&t->in[0], rows, lstm_n_in(s) + n_hid},
		{&t->in[1], rows, 2 * n_hid},
		{&t->gates[0], rows, 4 * n_hid},
		{&t->gates[1], rows, 4 * n_hid},
		{&t->c[0], rows, n_hid},
		{&t->c[1], rows, n_hid},
		{&t->top, rows, n_hid},
		{&t->d_h, rows, n_hid},
		{&t->logits, LSTM_SLICE, PFS_MAX(s->n_chunk, s->n_delta)},
		{&t->h_end[0], lanes, n_hid},
		{&t->h_end[1], lanes, n_hid},
		{&t->c_end[0], lanes, n_hid},
		{&t->c_end[1], lanes, n_hid},
		{&t->d_c, lanes, n_hid},
		{&t->d_after, lanes, n_hid},
	};

	if (all)
		lstm_params_over(&t->grad, s, all);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(part); i++) {
		if (all)
			*part[i].m =
				matrix_of(all + at, part[i].rows, part[i].cols);
		at += pfs_align_up(part[i].rows * part[i].cols,
				   ALIGN / sizeof(*all));
	}
	if (all)
		t->zero = all + at;
	return at + pfs_align_up(n_hid, ALIGN / sizeof(*all));
}

/* Room for t->shape, in what there is if that is enough. */
static int take_memory(struct lstm_trainer *t)
{
	size_t len = lay_out(t, NULL) * sizeof(*t->all);

	if (len > t->len) {
		free(t->all);
		t->len = 0;
		t->all = aligned_alloc(ALIGN, len);
		if (!t->all)
			return -ENOMEM;
		t->len = len;
	}
	free(t->is_row_learned[0]);
	free(t->is_row_learned[1]);
	t->is_row_learned[0] = calloc(t->shape.n_chunk, sizeof(bool));
	t->is_row_learned[1] = calloc(t->shape.n_delta, sizeof(bool));
	if (!t->is_row_learned[0] || !t->is_row_learned[1])
		return -ENOMEM;
	memset(t->all, 0, len);
	lay_out(t, t->all);
	return 0;
}

int lstm_trainer_create(const struct lstm_shape *s, uint32_t n_lanes,
			uint32_t n_steps, struct lstm_trainer **out)
{
	struct lstm_trainer *t;
	int err;

	if (!lstm_shape_is_sound(s) || !n_lanes || n_lanes > LANES_MAX ||
	    !n_steps || n_steps > STEPS_MAX)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->shape = *s;
	t->lanes_max = n_lanes;
	t->steps_max = n_steps;
	t->k = lstm_kernels();
	err = take_memory(t);
	if (err) {
		lstm_trainer_destroy(t);
		return err;
	}
	*out = t;
	return 0;
}

int lstm_trainer_reshape(struct lstm_trainer *t, const struct lstm_shape *s)
{
	if (!lstm_shape_is_sound(s))
		return -EINVAL;
	t->shape = *s;
	memset(t->is_learned, 0, sizeof(t->is_learned));
	t->weight = 0;
	return take_memory(t);
}

void lstm_trainer_destroy(struct lstm_trainer *t)
{
	if (!t)
		return;
	free(t->is_row_learned[0]);
	free(t->is_row_learned[1]);
	free(t->all);
	free(t);
}

size_t lstm_trainer_memory(const struct lstm_trainer *t)
{
	return sizeof(*t) + t->len + t->shape.n_chunk + t->shape.n_delta;
}

const struct lstm_params *lstm_gradient(const struct lstm_trainer *t)
{
	return &t->grad;
}

/* --- what comes in --- */

static bool are_finite(const float *x, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

static bool next_is_sound(const struct lstm_next *next, uint32_t n_tokens)
{
	if (next->n > LSTM_NEXT_MAX)
		return false;
	for (uint32_t k = 0; k < next->n; k++)
		if (next->token[k] >= n_tokens)
			return false;
	return true;
}

static bool sample_is_sound(const struct lstm_shape *s,
			    const struct lstm_sample *p)
{
	return p->in.chunk < s->n_chunk && p->in.delta < s->n_delta &&
	       p->in.size < s->n_size && p->in.gap < s->n_gap &&
	       are_finite(p->in.phase, LSTM_PHASES) &&
	       (!p->in.vector || are_finite(p->in.vector, s->n_vector)) &&
	       p->weight >= 0 && isfinite(p->weight) &&
	       next_is_sound(&p->next[LSTM_CHUNK], s->n_chunk) &&
	       next_is_sound(&p->next[LSTM_DELTA], s->n_delta);
}

static bool batch_is_sound(const struct lstm_trainer *t,
			   const struct lstm_batch *b)
{
	if (!b->n_lanes || b->n_lanes > t->lanes_max || !b->n_steps ||
	    b->n_steps > t->steps_max || !are_finite(b->weight, LSTM_HEADS))
		return false;
	for (uint32_t i = 0; i < b->n_lanes * b->n_steps; i++)
		if (!sample_is_sound(&t->shape, &b->sample[i]))
			return false;
	return true;
}

/* Samples that teach any head. */
static double weight_of(const struct lstm_batch *b)
{
	double sum = 0;

	for (uint32_t i = 0; i < b->n_lanes * b->n_steps; i++) {
		const struct lstm_sample *s = &b->sample[i];
		bool is_used = false;

		for (enum lstm_head k = 0; k < LSTM_HEADS; k++)
			is_used |= b->weight[k] != 0 && s->next[k].n;
		sum += is_used ? (double)s->weight : 0;
	}
	return sum;
}

/* --- forward --- */

static struct lstm_layer layer_of(struct lstm_trainer *t, const struct lstm *m,
				  uint32_t number, uint32_t n_rows)
{
	enum lstm_block b = number ? LSTM_GATES_2 : LSTM_GATES_1;
	uint32_t n_hid = m->shape.n_hid;
	uint32_t n_in = number ? n_hid : lstm_n_in(&m->shape);
	struct lstm_layer l = {
		.number = number,
		.n_in = n_in,
		.w_in = cols_of(&m->p.at[b], 0, n_in),
		.w_h = cols_of(&m->p.at[b], n_in, n_hid),
		.bias = m->p.at[b + 1],
		.d_w = t->grad.at[b],
		.d_bias = t->grad.at[b + 1],
		.in = rows_of(&t->in[number], 0, n_rows),
		.gates = rows_of(&t->gates[number], 0, n_rows),
		.c = rows_of(&t->c[number], 0, n_rows),
		.h = rows_of(number ? &t->top : &t->in[1], 0, n_rows),
	};

	l.x = cols_of(&l.in, 0, n_in);
	l.h = cols_of(&l.h, 0, n_hid);
	return l;
}

const float *lstm_c_before(const struct lstm_trainer *t,
			   const struct lstm_batch *b,
			   const struct lstm_layer *l, uint32_t row)
{
	if (b->sample[row].is_start)
		return t->zero;
	if (row < b->n_lanes)
		return row_of(&t->c_end[l->number], row);
	return row_of(&l->c, row - b->n_lanes);
}

static const float *h_before(const struct lstm_trainer *t,
			     const struct lstm_batch *b,
			     const struct lstm_layer *l, uint32_t row)
{
	if (b->sample[row].is_start)
		return t->zero;
	if (row < b->n_lanes)
		return row_of(&t->h_end[l->number], row);
	return row_of(&l->h, row - b->n_lanes);
}

static void forward_step(struct lstm_trainer *t, const struct lstm_batch *b,
			 struct lstm_layer *l, uint32_t step)
{
	uint32_t n = b->n_lanes, n_hid = t->shape.n_hid, row;
	gsl_matrix_float gates = rows_of(&l->gates, step * n, n);
	gsl_matrix_float before = rows_of(&l->in, step * n, n);

	before = cols_of(&before, l->n_in, n_hid);
	for (uint32_t i = 0; i < n; i++)
		memcpy(row_of(&before, i), h_before(t, b, l, step * n + i),
		       n_hid * sizeof(float));
	multiply_nt(&before, &l->w_h, 1, &gates);
	for (uint32_t i = 0; i < n; i++) {
		row = step * n + i;
		t->k->cell(n_hid, row_of(&l->gates, row),
			   lstm_c_before(t, b, l, row), row_of(&l->c, row),
			   row_of(&l->h, row));
	}
}

static void forward(struct lstm_trainer *t, const struct lstm_batch *b,
		    struct lstm_layer *l)
{
	for (size_t i = 0; i < l->gates.size1; i++)
		memcpy(row_of(&l->gates, i), l->bias.data,
		       l->gates.size2 * sizeof(float));
	multiply_nt(&l->x, &l->w_in, 1, &l->gates);
	for (uint32_t step = 0; step < b->n_steps; step++)
		forward_step(t, b, l, step);
}

/* Where the lanes stand now: last of all, as going back needs where they
 * stood. */
static void keep_ends(struct lstm_trainer *t, const struct lstm_batch *b,
		      const struct lstm_layer *l)
{
	uint32_t last = (b->n_steps - 1) * b->n_lanes;
	size_t len = t->shape.n_hid * sizeof(float);

	for (uint32_t i = 0; i < b->n_lanes; i++) {
		memcpy(row_of(&t->h_end[l->number], i), row_of(&l->h, last + i),
		       len);
		memcpy(row_of(&t->c_end[l->number], i), row_of(&l->c, last + i),
		       len);
	}
}

int lstm_learn(struct lstm_trainer *t, const struct lstm *m,
	       const struct lstm_batch *b, struct lstm_loss *loss)
{
	uint32_t n_rows = b->n_lanes * b->n_steps;
	struct lstm_layer layer[LSTM_LAYERS];

	if (!lstm_shape_is_same(&t->shape, &m->shape) || !batch_is_sound(t, b))
		return -EINVAL;
	for (uint32_t i = 0; i < n_rows; i++)
		lstm_embed(m, &b->sample[i].in, row_of(&t->in[0], i));
	for (uint32_t l = 0; l < LSTM_LAYERS; l++) {
		layer[l] = layer_of(t, m, l, n_rows);
		forward(t, b, &layer[l]);
	}
	lstm_learn_heads(t, m, b, loss);
	if (!b->is_frozen)
		lstm_learn_layers(t, b, layer);
	for (uint32_t l = 0; l < LSTM_LAYERS; l++)
		keep_ends(t, b, &layer[l]);
	t->weight += weight_of(b);
	return 0;
}
