/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The two heads: softmax cross entropy against a target that is uniform over
 * the n tokens that come next,
 *
 *   loss = -1/n sum_k log p_k,   d loss / d logit_j = p_j - [j is next] / n
 *
 * A slice of rows at a time, so that the logits stay in the cache.
 */
#include "lstm_trainer.h"

#include <string.h>

struct head {
	enum lstm_head head;
	gsl_matrix_float w, bias, d_w, d_bias;
};

static struct head head_of(struct lstm_trainer *t, const struct lstm *m,
			   enum lstm_head head)
{
	enum lstm_block b =
		head == LSTM_CHUNK ? LSTM_CHUNK_HEAD : LSTM_DELTA_HEAD;

	t->is_learned[b] = t->is_learned[b + 1] = true;
	return (struct head){
		.head = head,
		.w = m->p.at[b],
		.bias = m->p.at[b + 1],
		.d_w = t->grad.at[b],
		.d_bias = t->grad.at[b + 1],
	};
}

/* Logits of one row become their gradient.  The loss, not yet weighted. */
static double row_loss(const struct lstm_trainer *t, uint32_t n, float *y,
		       const struct lstm_next *next, float weight)
{
	float share = 1.0f / (float)next->n;
	float log_sum, target = 0;

	for (uint32_t k = 0; k < next->n; k++)
		target += y[next->token[k]];
	log_sum = t->k->softmax(n, y, weight);
	for (uint32_t k = 0; k < next->n; k++)
		y[next->token[k]] -= weight * share;
	return (double)(log_sum - target * share);
}

static void learn_slice(struct lstm_trainer *t, const struct lstm_batch *b,
			struct head *h, uint32_t first, uint32_t n,
			struct lstm_loss *loss)
{
	gsl_matrix_float top = rows_of(&t->top, first, n);
	gsl_matrix_float d_top = rows_of(&t->d_h, first, n);
	gsl_matrix_float y = matrix_of(t->logits.data, n, h->w.size1);

	for (uint32_t i = 0; i < n; i++)
		memcpy(row_of(&y, i), h->bias.data, y.size2 * sizeof(*y.data));
	multiply_nt(&top, &h->w, 1, &y);
	for (uint32_t i = 0; i < n; i++) {
		const struct lstm_sample *s = &b->sample[first + i];
		const struct lstm_next *next = &s->next[h->head];
		float *row = row_of(&y, i);

		if (!next->n || s->weight == 0) {
			memset(row, 0, y.size2 * sizeof(*row));
			continue;
		}
		loss->sum[h->head] += (double)s->weight *
				      row_loss(t, (uint32_t)y.size2, row, next,
					       s->weight * b->weight[h->head]);
		loss->weight[h->head] += (double)s->weight;
		t->k->add(y.size2, h->d_bias.data, row);
	}
	multiply_tn(&y, &top, 1, &h->d_w);
	if (!b->is_frozen)
		multiply_nn(&y, &h->w, 1, &d_top);
}

void lstm_learn_heads(struct lstm_trainer *t, const struct lstm *m,
		      const struct lstm_batch *b, struct lstm_loss *loss)
{
	uint32_t n_rows = b->n_lanes * b->n_steps;

	memset(t->d_h.data, 0, n_rows * t->d_h.tda * sizeof(*t->d_h.data));
	for (enum lstm_head k = 0; k < LSTM_HEADS; k++) {
		struct head h;

		if (b->weight[k] == 0)
			continue;
		h = head_of(t, m, k);
		for (uint32_t i = 0; i < n_rows; i += LSTM_SLICE)
			learn_slice(t, b, &h, i,
				    PFS_MIN(LSTM_SLICE, n_rows - i), loss);
	}
}
