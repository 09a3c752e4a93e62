/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/lstm_trainer.h - the inside of a trainer.
 *
 * lstm_train.c goes forward through the layers, lstm_heads.c through the heads
 * and back, lstm_back.c back through the layers, lstm_adam.c applies the
 * gradient.
 *
 * Row t * n_lanes + b of a matrix is step t of lane b.  What a step needs lies
 * in one row of `in`, [inputs | h of the step before], so that one product
 * makes the gradient of a layer's weights.
 */
#ifndef PFS_PREDICTOR_LSTM_TRAINER_H
#define PFS_PREDICTOR_LSTM_TRAINER_H

#include "lstm_blas.h"
#include "lstm_train.h"

#define LSTM_SLICE 64u /* rows whose logits are held at one time */

struct lstm_trainer {
	struct lstm_shape shape;
	uint32_t lanes_max, steps_max;
	const struct lstm_kernels *k;
	size_t len; /* bytes of `all` */
	float *all; /* owned, what the matrices lie in */

	struct lstm_params grad;
	/* Blocks with a gradient; of embeddings: their rows. */
	bool is_learned[LSTM_BLOCKS];
	bool *is_row_learned[2]; /* owned: of LSTM_CHUNK_EMBED, _DELTA_EMBED */
	double weight;           /* of the samples in the gradient */

	/* --- of all rows --- */
	gsl_matrix_float in[LSTM_LAYERS];    /* [inputs + n_hid] */
	gsl_matrix_float gates[LSTM_LAYERS]; /* [4 * n_hid] */
	gsl_matrix_float c[LSTM_LAYERS];     /* [n_hid] */
	gsl_matrix_float top;                /* [n_hid]: h of the last layer */
	gsl_matrix_float d_h; /* [n_hid]: gradient of a layer's h */

	/* --- of a slice of rows --- */
	gsl_matrix_float logits; /* [tokens of the larger head] */

	/* --- of lanes --- */
	gsl_matrix_float h_end[LSTM_LAYERS]; /* [n_hid]: where lanes stand */
	gsl_matrix_float c_end[LSTM_LAYERS];
	gsl_matrix_float d_c;     /* [n_hid]: of c, on its way back */
	gsl_matrix_float d_after; /* [n_hid]: of h, from the step after */
	float *zero;              /* [n_hid]: c before a sequence */
};

/** One layer of a batch: parts of model and trainer. */
struct lstm_layer {
	uint32_t number, n_in;
	gsl_matrix_float w_in, w_h; /* of the inputs, of h before */
	gsl_matrix_float bias;
	gsl_matrix_float d_w, d_bias;
	gsl_matrix_float in, x; /* [x | h before]; x of it */
	gsl_matrix_float gates, c;
	gsl_matrix_float h; /* the first layer's: inputs of the second */
};

/** c before a row. */
const float *lstm_c_before(const struct lstm_trainer *t,
			   const struct lstm_batch *b,
			   const struct lstm_layer *l, uint32_t row);

/** Loss of the heads; their gradient, and d_h of the last layer if the batch is
 *  not frozen. */
void lstm_learn_heads(struct lstm_trainer *t, const struct lstm *m,
		      const struct lstm_batch *b, struct lstm_loss *loss);

/** From d_h of the last layer down to the embeddings. */
void lstm_learn_layers(struct lstm_trainer *t, const struct lstm_batch *b,
		       struct lstm_layer layer[LSTM_LAYERS]);

#endif
