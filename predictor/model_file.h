/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/model_file.h - an LSTM as bytes.
 *
 * Little endian:
 *
 *   offset  bytes
 *        0  8   magic "PFSMODEL"
 *        8  4   version, 1
 *       12  4   flags: bit 0, moments follow
 *       16  44  shape: eleven words in the order of struct lstm_shape
 *       60  4   bytes of what the caller added
 *       64  8   steps that Adam has taken
 *       72      parameters, 32-bit floats, block after block without padding
 *               moments m, then v, likewise as the upper halves of floats
 *               what the caller added
 *            8  XXH3 64 of all before, seeded with the magic
 *
 * Moments are averages over a hundred steps and more: eight bits are enough of
 * them, and a third of the bytes is saved.
 *
 * Errors   -EBADMSG: damaged, or numbers that a model cannot have; -ENOTSUP:
 *          another version; -ENOMEM.
 * Threads  pure functions.
 */
#ifndef PFS_PREDICTOR_MODEL_FILE_H
#define PFS_PREDICTOR_MODEL_FILE_H

#include "lstm_train.h"

#define MODEL_EXTRA_MAX PFS_MIB(1)
#define MODEL_WEIGHT_MAX 1e4f /* of a parameter, either way */

struct model_file {
	struct lstm *model;     /* owned */
	struct lstm_adam *adam; /* owned; NULL: none was saved */
	const void *extra;      /* borrowed from the blob, not aligned */
	size_t extra_len;
};

/** *blob: to be freed.  adam may be NULL.  -ERANGE: parameters that would not
 *  be read again; -EINVAL: too much is added. */
int model_encode(const struct lstm *m, const struct lstm_adam *adam,
		 const void *extra, size_t extra_len, void **blob,
		 size_t *len) PFS_MUST_CHECK;
/** *out is set only on success. */
int model_decode(const void *blob, size_t len,
		 struct model_file *out) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void model_file_fini(struct model_file *f);

#endif
