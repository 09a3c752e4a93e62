/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/lstm_kernels.h - what the LSTM computes number by number.
 *
 * Everything that is no matrix product: gate functions, softmax, Adam.  The
 * file is compiled once for every machine and, on x86-64, again for AVX2 and
 * AVX-512, as a build for all machines would run it at a quarter of the speed.
 *
 * Same machine and input, same bits; machines differ in the last ones.
 */
#ifndef PFS_PREDICTOR_LSTM_KERNELS_H
#define PFS_PREDICTOR_LSTM_KERNELS_H

#include <pfs/base.h>

/** What one step of Adam multiplies with (Kingma & Ba 2015, algorithm 1). */
struct lstm_adam_factors {
	float beta1, beta2;
	float rate;    /* alpha / (1 - beta1^t) */
	float inverse; /* 1 / (1 - beta2^t) */
	float epsilon;
	float scale; /* of the gradient: clipping and averaging */
};

#define LSTM_PANEL 64u /* rows that lie together in a packed matrix */

struct lstm_kernels {
	const char *name;

	/** A cell of n units (Hochreiter & Schmidhuber 1997 with the forget
	 *  gate of Gers et al. 2000):
	 *    i, f, o = sigmoid(gates), g = tanh(gates)
	 *    c = f * c_prev + i * g,  h = o * tanh(c)
	 *  gates is [4 * n] in order i, f, g, o; activations replace sums.  c
	 * may be c_prev. */
	void (*cell)(uint32_t n, float *gates, const float *c_prev, float *c,
		     float *h);

	/** Backward: gates as cell() left them, dh the whole gradient of h, dc
	 *  that of c from the step after.  Gradients of the sums replace gates;
	 *  dc becomes that of c_prev. */
	void (*cell_back)(uint32_t n, float *gates, const float *c_prev,
			  const float *c, const float *dh, float *dc);

	/** y becomes scale * softmax(y).  Returns log(sum(exp(y))). */
	float (*softmax)(uint32_t n, float *y, float scale);

	/** One step of Adam on n parameters. */
	void (*adam)(size_t n, float *p, float *m, float *v, const float *g,
		     const struct lstm_adam_factors *a);

	double (*sum_squares)(size_t n, const float *x);

	/** y += W x with W packed: panels of LSTM_PANEL rows, the last one
	 *  filled up with 0; in a panel column after column; of each number
	 *  the upper half (bfloat16).  Word j of the 32 of a column holds rows
	 *  j and, above it, j + 16 if j < 16, else rows j + 16 and j + 32. */
	void (*multiply_packed)(uint32_t rows, uint32_t cols, const uint32_t *w,
				const float *x, float *y);

	/** y += x */
	void (*add)(size_t n, float *y, const float *x);
};

/** The fastest that this machine runs. */
const struct lstm_kernels *lstm_kernels(void);

#endif
