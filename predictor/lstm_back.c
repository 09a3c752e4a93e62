/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Backpropagation through time (Werbos 1990), top layer first.
 *
 * Per cell, with d the gradient of c and t = tanh(c):
 *   d += dh * o * (1 - t^2)
 *   da_o = dh * t * o (1 - o)      da_i = d * g * i (1 - i)
 *   da_f = d * c_prev * f (1 - f)  da_g = d * i (1 - g^2)
 *   d of c_prev = d * f            dh of h_prev = W_h^T da
 *   dW = sum of da [x | h_prev]^T  dx = W_in^T da
 */
#include "lstm_trainer.h"

#include <string.h>

/* Add what the step after wants of this one's h and c, unless it begins
 * another sequence. */
static void add_from_after(struct lstm_trainer *t, const struct lstm_batch *b,
			   struct lstm_layer *l, uint32_t step)
{
	uint32_t n = b->n_lanes, n_hid = t->shape.n_hid;
	gsl_matrix_float after = rows_of(&l->gates, (step + 1) * n, n);
	gsl_matrix_float wanted = rows_of(&t->d_after, 0, n);

	multiply_nn(&after, &l->w_h, 0, &wanted);
	for (uint32_t i = 0; i < n; i++) {
		if (b->sample[(step + 1) * n + i].is_start)
			memset(row_of(&t->d_c, i), 0, n_hid * sizeof(float));
		else
			t->k->add(n_hid, row_of(&t->d_h, step * n + i),
				  row_of(&wanted, i));
	}
}

/* d_h of all rows is that from above.  Gradients of the sums replace gates. */
static void go_back(struct lstm_trainer *t, const struct lstm_batch *b,
		    struct lstm_layer *l)
{
	uint32_t n = b->n_lanes;

	gsl_matrix_float_set_zero(&t->d_c);
	for (uint32_t step = b->n_steps; step-- > 0;) {
		if (step + 1 < b->n_steps)
			add_from_after(t, b, l, step);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t row = step * n + i;

			t->k->cell_back(
				t->shape.n_hid, row_of(&l->gates, row),
				lstm_c_before(t, b, l, row), row_of(&l->c, row),
				row_of(&t->d_h, row), row_of(&t->d_c, i));
		}
	}
}

static void learn_weights(struct lstm_trainer *t, struct lstm_layer *l)
{
	multiply_tn(&l->gates, &l->in, 1, &l->d_w);
	for (size_t row = 0; row < l->gates.size1; row++)
		t->k->add(l->gates.size2, l->d_bias.data,
			  row_of(&l->gates, row));
}

static const float *learn_row(struct lstm_trainer *t, enum lstm_block b,
			      uint32_t row, const float *d)
{
	gsl_matrix_float *g = &t->grad.at[b];

	t->k->add(g->size2, row_of(g, row), d);
	return d + g->size2;
}

/* d: gradient of x of one input. */
static void learn_input(struct lstm_trainer *t, const struct lstm_input *in,
			const float *d)
{
	t->is_row_learned[0][in->chunk] = true;
	t->is_row_learned[1][in->delta] = true;
	d = learn_row(t, LSTM_CHUNK_EMBED, in->chunk, d);
	d = learn_row(t, LSTM_DELTA_EMBED, in->delta, d);
	d = learn_row(t, LSTM_SIZE_EMBED, in->size, d);
	d = learn_row(t, LSTM_GAP_EMBED, in->gap, d);
	d += LSTM_PHASES; /* nothing to learn */
	if (in->vector && t->shape.n_vector)
		multiply_outer(d, in->vector, &t->grad.at[LSTM_VECTOR]);
}

void lstm_learn_layers(struct lstm_trainer *t, const struct lstm_batch *b,
		       struct lstm_layer layer[LSTM_LAYERS])
{
	struct lstm_layer *one = &layer[0], *two = &layer[1];
	gsl_matrix_float d_h = rows_of(&t->d_h, 0, two->in.size1);

	go_back(t, b, two);
	learn_weights(t, two);
	multiply_nn(&two->gates, &two->w_in, 0, &d_h);
	go_back(t, b, one);
	learn_weights(t, one);
	/* Nobody needs x any more: its gradient takes its place. */
	multiply_nn(&one->gates, &one->w_in, 0, &one->x);
	for (size_t row = 0; row < one->x.size1; row++)
		learn_input(t, &b->sample[row].in, row_of(&one->x, row));
	for (enum lstm_block k = 0; k <= LSTM_GATES_2_BIAS; k++)
		t->is_learned[k] = true;
}
