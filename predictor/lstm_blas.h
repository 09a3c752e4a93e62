/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/lstm_blas.h - parts of GSL matrices, and their products.
 *
 * GSL's own views are calls that check; the LSTM makes hundreds of them in a
 * step of known shapes, so these only fill in the struct.
 */
#ifndef PFS_PREDICTOR_LSTM_BLAS_H
#define PFS_PREDICTOR_LSTM_BLAS_H

#include <assert.h>

#include <gsl/gsl_blas.h>

#include <pfs/base.h>

static inline gsl_matrix_float matrix_of(float *at, size_t rows, size_t cols)
{
	return (gsl_matrix_float){
		.size1 = rows, .size2 = cols, .tda = cols, .data = at};
}

static inline float *row_of(const gsl_matrix_float *m, size_t row)
{
	assert(row < m->size1);
	return m->data + row * m->tda;
}

/** Rows first..first + n - 1 of a matrix. */
static inline gsl_matrix_float rows_of(const gsl_matrix_float *m, size_t first,
				       size_t n)
{
	gsl_matrix_float part = *m;

	assert(first + n <= m->size1);
	part.data += first * m->tda;
	part.size1 = n;
	return part;
}

/** Columns first..first + n - 1 of a matrix. */
static inline gsl_matrix_float cols_of(const gsl_matrix_float *m, size_t first,
				       size_t n)
{
	gsl_matrix_float part = *m;

	assert(first + n <= m->size2);
	part.data += first;
	part.size2 = n;
	return part;
}

/** c = a * b^T + beta * c */
static inline void multiply_nt(const gsl_matrix_float *a,
			       const gsl_matrix_float *b, float beta,
			       gsl_matrix_float *c)
{
	int err = gsl_blas_sgemm(CblasNoTrans, CblasTrans, 1, a, b, beta, c);

	assert(!err);
	(void)err;
}

/** c = a * b + beta * c */
static inline void multiply_nn(const gsl_matrix_float *a,
			       const gsl_matrix_float *b, float beta,
			       gsl_matrix_float *c)
{
	int err = gsl_blas_sgemm(CblasNoTrans, CblasNoTrans, 1, a, b, beta, c);

	assert(!err);
	(void)err;
}

/** c = a^T * b + beta * c */
static inline void multiply_tn(const gsl_matrix_float *a,
			       const gsl_matrix_float *b, float beta,
			       gsl_matrix_float *c)
{
	int err = gsl_blas_sgemm(CblasTrans, CblasNoTrans, 1, a, b, beta, c);

	assert(!err);
	(void)err;
}

/** y = a * x + y */
static inline void multiply_add(const gsl_matrix_float *a, const float *x,
				float *y)
{
	gsl_vector_float in = {
		.size = a->size2, .stride = 1, .data = (float *)x};
	gsl_vector_float out = {.size = a->size1, .stride = 1, .data = y};
	int err = gsl_blas_sgemv(CblasNoTrans, 1, a, &in, 1, &out);

	assert(!err);
	(void)err;
}

/** a += x * y^T */
static inline void multiply_outer(const float *x, const float *y,
				  gsl_matrix_float *a)
{
	gsl_vector_float left = {
		.size = a->size1, .stride = 1, .data = (float *)x};
	gsl_vector_float right = {
		.size = a->size2, .stride = 1, .data = (float *)y};
	int err = gsl_blas_sger(1, &left, &right, a);

	assert(!err);
	(void)err;
}

#endif
