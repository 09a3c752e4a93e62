/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Clipping and Adam (Kingma & Ba 2015, algorithm 1).
 *
 * Lazy where a gradient is 0 by construction: blocks that the batch did not
 * teach and embeddings of tokens that were not in it keep their parameters and
 * their moments.  The correction of the bias counts all steps.
 */
#include "lstm_trainer.h"

#include <math.h>
#include <string.h>

#define ALIGN 64u /* bytes */
#define BETA_1 0.9
#define BETA_2 0.999
#define EPSILON 1e-8f
#define RATE 1e-3f
#define CLIP 1.0f

/* --- moments --- */

int lstm_adam_create(const struct lstm_shape *s, struct lstm_adam **out)
{
	struct lstm_adam *a;
	float *all;
	size_t n;

	if (!lstm_shape_is_sound(s))
		return -EINVAL;
	n = lstm_params_len(s);
	a = calloc(1, sizeof(*a));
	all = aligned_alloc(ALIGN, 2 * n * sizeof(*all));
	if (!a || !all) {
		free(a);
		free(all);
		return -ENOMEM;
	}
	memset(all, 0, 2 * n * sizeof(*all));
	lstm_params_over(&a->m, s, all);
	lstm_params_over(&a->v, s, all + n);
	*out = a;
	return 0;
}

void lstm_adam_destroy(struct lstm_adam *a)
{
	if (!a)
		return;
	free(a->m.all);
	free(a);
}

size_t lstm_adam_memory(const struct lstm_adam *a)
{
	return sizeof(*a) + 2 * a->m.n * sizeof(*a->m.all);
}

int lstm_adam_remap(const struct lstm_adam *old, const struct lstm_shape *s,
		    const uint32_t *from, struct lstm_adam **out)
{
	int err = lstm_adam_create(s, out);

	if (err)
		return err;
	(*out)->n_steps = old->n_steps;
	lstm_params_remap(&(*out)->m, &old->m, from);
	lstm_params_remap(&(*out)->v, &old->v, from);
	return 0;
}

/* --- runs of parameters with a gradient --- */

/* Numbers first..first + n - 1 of a block. */
typedef void (*run_fn)(struct lstm_trainer *t, enum lstm_block b, size_t first,
		       size_t n, void *arg);

static void for_rows(struct lstm_trainer *t, enum lstm_block b, run_fn fn,
		     void *arg)
{
	const bool *is_learned = t->is_row_learned[b - LSTM_CHUNK_EMBED];
	size_t n = t->grad.at[b].size2;

	for (size_t i = 0; i < t->grad.at[b].size1; i++)
		if (is_learned[i])
			fn(t, b, i * n, n, arg);
}

static void for_learned(struct lstm_trainer *t, run_fn fn, void *arg)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		const gsl_matrix_float *g = &t->grad.at[b];

		if (!t->is_learned[b])
			continue;
		if (b == LSTM_CHUNK_EMBED || b == LSTM_DELTA_EMBED)
			for_rows(t, b, fn, arg);
		else
			fn(t, b, 0, g->size1 * g->size2, arg);
	}
}

/* --- one step --- */

struct step {
	struct lstm *model;
	struct lstm_adam *adam;
	struct lstm_adam_factors factors;
};

static void add_squares(struct lstm_trainer *t, enum lstm_block b, size_t first,
			size_t n, void *arg)
{
	double *sum = arg;

	*sum += t->k->sum_squares(n, t->grad.at[b].data + first);
}

static void clear(struct lstm_trainer *t, enum lstm_block b, size_t first,
		  size_t n, void *arg)
{
	(void)arg;
	memset(t->grad.at[b].data + first, 0, n * sizeof(float));
}

static void update(struct lstm_trainer *t, enum lstm_block b, size_t first,
		   size_t n, void *arg)
{
	struct step *s = arg;

	t->k->adam(n, s->model->p.at[b].data + first,
		   s->adam->m.at[b].data + first, s->adam->v.at[b].data + first,
		   t->grad.at[b].data + first, &s->factors);
}

static void clear_gradient(struct lstm_trainer *t)
{
	for_learned(t, clear, NULL);
	memset(t->is_learned, 0, sizeof(t->is_learned));
	memset(t->is_row_learned[0], 0, t->shape.n_chunk);
	memset(t->is_row_learned[1], 0, t->shape.n_delta);
	t->weight = 0;
}

static struct lstm_adam_factors factors_of(double step, double scale,
					   float rate)
{
	return (struct lstm_adam_factors){
		.beta1 = (float)BETA_1,
		.beta2 = (float)BETA_2,
		.rate = (float)((double)rate / (1 - pow(BETA_1, step))),
		.inverse = (float)(1 / (1 - pow(BETA_2, step))),
		.epsilon = EPSILON,
		.scale = (float)scale,
	};
}

int lstm_apply(struct lstm_trainer *t, struct lstm *m, struct lstm_adam *a,
	       const struct lstm_rate *r)
{
	struct step step = {.model = m, .adam = a};
	double squares = 0, clip = (double)(r->clip > 0 ? r->clip : CLIP);
	double norm, scale;

	if (!(t->weight > 0))
		return -ENODATA;
	for_learned(t, add_squares, &squares);
	scale = 1 / t->weight;
	norm = sqrt(squares) * scale;
	if (!isfinite(norm)) {
		clear_gradient(t);
		return -ERANGE;
	}
	if (norm > clip)
		scale *= clip / norm;
	a->n_steps++;
	step.factors = factors_of((double)a->n_steps, scale,
				  r->rate > 0 ? r->rate : RATE);
	for_learned(t, update, &step);
	m->is_packed = false;
	clear_gradient(t);
	return 0;
}

void lstm_trainer_reset(struct lstm_trainer *t)
{
	clear_gradient(t);
	for (uint32_t l = 0; l < LSTM_LAYERS; l++) {
		gsl_matrix_float_set_zero(&t->h_end[l]);
		gsl_matrix_float_set_zero(&t->c_end[l]);
	}
}
