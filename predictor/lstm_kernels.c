/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Plain loops for the compiler to make vectors of.  This file is compiled for
 * several instruction sets: LSTM_KERNELS is the name of the table. */
#include "lstm_kernels.h"

#include <math.h>
#include <string.h>

/* Below this nothing is kept: denormal numbers take a hundred times as long. */
#define TINY 1e-30f

extern const struct lstm_kernels LSTM_KERNELS;

/* --- functions --- */

/* exp(x) to 2 ulp, x cut to +-87: 2^n * exp(r), |r| <= ln(2) / 2, with the
 * polynomial of Cephes' expf (S. Moshier, netlib.org/cephes). */
static inline float exp_fast(float x)
{
	const float shift = 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
	float n, r, p, power;
	uint32_t bits;

	x = x < -87.0f ? -87.0f : x;
	x = x > 87.0f ? 87.0f : x;
	n = x * 1.44269504f + shift;
	memcpy(&bits, &n, sizeof(bits));
	n -= shift;
	r = x - n * 0.693359375f;
	r += n * 2.12194440e-4f;
	p = 1.9875691500e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * (r * r) + r + 1.0f;
	bits = (bits + 127u) << 23; /* the rest of `shift` falls off */
	memcpy(&power, &bits, sizeof(power));
	return p * power;
}

/* tanh(x) to 3 ulp: the rational approximation that Eigen uses
 * (eigen.tuxfamily.org, generic_fast_tanh_float). */
static inline float tanh_fast(float x)
{
	float q, p, y;

	x = x < -7.9053111f ? -7.9053111f : x;
	x = x > 7.9053111f ? 7.9053111f : x;
	y = x * x;
	p = -2.76076847742355e-16f;
	p = p * y + 2.00018790482477e-13f;
	p = p * y + -8.60467152213735e-11f;
	p = p * y + 5.12229709037114e-08f;
	p = p * y + 1.48572235717979e-05f;
	p = p * y + 6.37261928875436e-04f;
	p = p * y + 4.89352455891786e-03f;
	q = 1.19825839466702e-06f;
	q = q * y + 1.18534705686654e-04f;
	q = q * y + 2.26843463243900e-03f;
	q = q * y + 4.89352518554385e-03f;
	return x * p / q;
}

static inline float sigmoid(float x)
{
	return 0.5f * tanh_fast(0.5f * x) + 0.5f;
}

/* --- kernels --- */

static void cell(uint32_t n, float *gates, const float *c_prev, float *c,
		 float *h)
{
	float *i = gates, *f = i + n, *g = f + n, *o = g + n;

#pragma omp simd
	for (uint32_t u = 0; u < n; u++) {
		i[u] = sigmoid(i[u]);
		f[u] = sigmoid(f[u]);
		g[u] = tanh_fast(g[u]);
		o[u] = sigmoid(o[u]);
		c[u] = f[u] * c_prev[u] + i[u] * g[u];
		h[u] = o[u] * tanh_fast(c[u]);
	}
}

static void cell_back(uint32_t n, float *gates, const float *c_prev,
		      const float *c, const float *dh, float *dc)
{
	float *i = gates, *f = i + n, *g = f + n, *o = g + n;

#pragma omp simd
	for (uint32_t u = 0; u < n; u++) {
		float t = tanh_fast(c[u]);
		float d = dc[u] + dh[u] * o[u] * (1 - t * t);
		float fu = f[u], gu = g[u], iu = i[u];

		o[u] = dh[u] * t * o[u] * (1 - o[u]);
		i[u] = d * gu * iu * (1 - iu);
		f[u] = d * c_prev[u] * fu * (1 - fu);
		g[u] = d * iu * (1 - gu * gu);
		dc[u] = d * fu;
	}
}

static float softmax(uint32_t n, float *y, float scale)
{
	float max = y[0], sum = 0;

#pragma omp simd reduction(max : max)
	for (uint32_t k = 0; k < n; k++)
		max = y[k] > max ? y[k] : max;
#pragma omp simd reduction(+ : sum)
	for (uint32_t k = 0; k < n; k++) {
		y[k] = exp_fast(y[k] - max);
		sum += y[k];
	}
	scale /= sum;
#pragma omp simd
	for (uint32_t k = 0; k < n; k++)
		y[k] *= scale;
	return max + logf(sum);
}

static void adam(size_t n, float *p, float *m, float *v, const float *g,
		 const struct lstm_adam_factors *a)
{
	const struct lstm_adam_factors k = *a;

#pragma omp simd
	for (size_t j = 0; j < n; j++) {
		float d = k.scale * g[j];
		float mean = k.beta1 * m[j] + (1 - k.beta1) * d;
		float square = k.beta2 * v[j] + (1 - k.beta2) * d * d;

		mean = fabsf(mean) < TINY ? 0 : mean;
		square = square < TINY ? 0 : square;
		m[j] = mean;
		v[j] = square;
		p[j] -= k.rate * mean / (sqrtf(square * k.inverse) + k.epsilon);
	}
}

static double sum_squares(size_t n, const float *x)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (size_t j = 0; j < n; j++)
		sum += (double)x[j] * (double)x[j];
	return sum;
}

static void add(size_t n, float *y, const float *x)
{
#pragma omp simd
	for (size_t j = 0; j < n; j++)
		y[j] += x[j];
}

/* Sixteen numbers; compilers split what is wider than a register. */
typedef float numbers __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));

#define LANES (sizeof(numbers) / sizeof(float))

_Static_assert(LSTM_PANEL == 4 * LANES, "a panel is four vectors");

/* Four sums that do not wait for each other. */
static void multiply_panel(uint32_t cols, const uint32_t *w, const float *x,
			   float *y)
{
	numbers sum[4] = {{0}};
	words low, high;

	for (uint32_t k = 0; k < cols; k++) {
		memcpy(&low, w, sizeof(low));
		memcpy(&high, w + LANES, sizeof(high));
		w += 2 * LANES;
		sum[0] += (numbers)(low << 16) * x[k];
		sum[1] += (numbers)(low & 0xffff0000) * x[k];
		sum[2] += (numbers)(high << 16) * x[k];
		sum[3] += (numbers)(high & 0xffff0000) * x[k];
	}
	memcpy(y, sum, sizeof(sum));
}

static void multiply_packed(uint32_t rows, uint32_t cols, const uint32_t *w,
			    const float *x, float *y)
{
	float part[LSTM_PANEL];

	for (uint32_t row = 0; row < rows; row += LSTM_PANEL) {
		multiply_panel(cols, w, x, part);
		add(PFS_MIN(LSTM_PANEL, rows - row), y + row, part);
		w += (size_t)LSTM_PANEL / 2 * cols;
	}
}

#define NAME_OF(table) NAME_OF_(table)
#define NAME_OF_(table) #table

const struct lstm_kernels LSTM_KERNELS = {
	.name = NAME_OF(LSTM_KERNELS),
	.cell = cell,
	.cell_back = cell_back,
	.softmax = softmax,
	.adam = adam,
	.sum_squares = sum_squares,
	.multiply_packed = multiply_packed,
	.add = add,
};
