/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights laid out for matrix by vector products: lstm_kernels.h says how. */
#include "lstm.h"

#include "lstm_blas.h"

#define ALIGN 64u /* bytes */

static const enum lstm_block packed_blocks[] = {
	LSTM_GATES_1,
	LSTM_GATES_2,
	LSTM_CHUNK_HEAD,
	LSTM_DELTA_HEAD,
};

/* Words of a packed block. */
static size_t block_len(const struct lstm_shape *s, enum lstm_block b)
{
	uint32_t rows, cols;

	lstm_block_size(s, b, &rows, &cols);
	return pfs_align_up(rows, LSTM_PANEL) / 2 * cols;
}

size_t lstm_packed_len(const struct lstm_shape *s)
{
	size_t n = 0;

	for (size_t i = 0; i < PFS_ARRAY_SIZE(packed_blocks); i++)
		n += block_len(s, packed_blocks[i]);
	return n * sizeof(uint32_t);
}

static int take_memory(struct lstm *m)
{
	size_t len = lstm_packed_len(&m->shape);
	uint32_t *at = aligned_alloc(ALIGN, len); /* whole panels */

	if (!at)
		return -ENOMEM;
	m->packed = at;
	for (size_t i = 0; i < PFS_ARRAY_SIZE(packed_blocks); i++) {
		m->packed_at[packed_blocks[i]] = at;
		at += block_len(&m->shape, packed_blocks[i]);
	}
	return 0;
}

static void pack_row(uint32_t *panel, uint32_t row, const float *from,
		     size_t cols)
{
	uint32_t at = row / 32 * 16 + row % 16, shift = row & 16;

	for (size_t k = 0; k < cols; k++)
		panel[k * LSTM_PANEL / 2 + at] |=
			(uint32_t)lstm_upper_half(from[k]) << shift;
}

int lstm_pack(struct lstm *m)
{
	int err = m->packed ? 0 : take_memory(m);

	if (err)
		return err;
	memset(m->packed, 0, lstm_packed_len(&m->shape));
	for (size_t i = 0; i < PFS_ARRAY_SIZE(packed_blocks); i++) {
		const gsl_matrix_float *w = &m->p.at[packed_blocks[i]];
		uint32_t *to = m->packed_at[packed_blocks[i]];

		for (uint32_t row = 0; row < w->size1; row++)
			pack_row(to + row / LSTM_PANEL * LSTM_PANEL / 2 *
						 w->size2,
				 row % LSTM_PANEL, row_of(w, row), w->size2);
	}
	m->is_packed = true;
	return 0;
}
