/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/lstm.h - a network that says which chunks and steps come next.
 *
 *   x = [chunk embedding | delta embedding | size | gap | phase | vector]
 *   two LSTM layers of n_hid units over x, one step per new chunk
 *   chunk head, delta head: softmax over tokens and over delta classes
 *
 * It knows tokens and classes, not chunks: dictionaries are the caller's.  All
 * parameters lie in one flat array, so that gradients, Adam's moments and the
 * saved form have the same layout.  Matrices are row major; a weight matrix is
 * [outputs][inputs].
 *
 * Memory   all of it is taken at create; nothing is allocated in a step.
 * Errors   0 or -errno.
 * Threads  none: one thread at a time; a model may be read by several.
 */
#ifndef PFS_PREDICTOR_LSTM_H
#define PFS_PREDICTOR_LSTM_H

#include <string.h>

#include <gsl/gsl_matrix_float.h>

#include <pfs/base.h>

#include "lstm_kernels.h"

#define LSTM_LAYERS 2u
#define LSTM_PHASES                                                            \
	2u /* log2 of reads and of seconds, scaled by the caller               \
	    */
#define LSTM_TOKENS_MAX 65536u

/** Sizes.  A dictionary has at least one entry: 0 means "none of the others".
 *  n_vector may be 0: then there is no vector input. */
struct lstm_shape {
	uint32_t n_chunk, chunk_dim; /* tokens, numbers each is embedded in */
	uint32_t n_delta, delta_dim;
	uint32_t n_size, size_dim;
	uint32_t n_gap, gap_dim;
	uint32_t n_vector, vector_dim; /* numbers of a vector, projected to */
	uint32_t n_hid;                /* units of each layer */
};

enum lstm_block {
	LSTM_CHUNK_EMBED,     /* [n_chunk][chunk_dim] */
	LSTM_DELTA_EMBED,     /* [n_delta][delta_dim] */
	LSTM_SIZE_EMBED,      /* [n_size][size_dim] */
	LSTM_GAP_EMBED,       /* [n_gap][gap_dim] */
	LSTM_VECTOR,          /* [vector_dim][n_vector], no bias: absent is 0 */
	LSTM_GATES_1,         /* [4 * n_hid][n_in + n_hid]: of [x | h1] */
	LSTM_GATES_1_BIAS,    /* [1][4 * n_hid], gates in order i, f, g, o */
	LSTM_GATES_2,         /* [4 * n_hid][2 * n_hid]: of [h1 | h2] */
	LSTM_GATES_2_BIAS,    /* [1][4 * n_hid] */
	LSTM_CHUNK_HEAD,      /* [n_chunk][n_hid] */
	LSTM_CHUNK_HEAD_BIAS, /* [1][n_chunk] */
	LSTM_DELTA_HEAD,      /* [n_delta][n_hid] */
	LSTM_DELTA_HEAD_BIAS, /* [1][n_delta] */
	LSTM_BLOCKS
};

enum lstm_head {
	LSTM_CHUNK,
	LSTM_DELTA,
	LSTM_HEADS
};

/** Anything that has the layout of the parameters. */
struct lstm_params {
	float *all;                       /* aligned to 64 bytes */
	size_t n;                         /* numbers, with padding */
	gsl_matrix_float at[LSTM_BLOCKS]; /* views */
};

struct lstm {
	struct lstm_shape shape;
	struct lstm_params p; /* owned */
	const struct lstm_kernels *k;
	/* Weight matrices packed for serving, or NULL; both owned. */
	uint32_t *packed, *packed_at[LSTM_BLOCKS];
	bool is_packed; /* they are those of p */
};

/** What is known of one new chunk. */
struct lstm_input {
	uint16_t chunk, delta; /* token, class */
	uint8_t size, gap;     /* classes */
	float phase[LSTM_PHASES];
	const float *vector; /* [n_vector], borrowed; NULL: none */
};

/* --- shape and layout (lstm.c) --- */

/** What a new image begins with: 2 x 96 units. */
struct lstm_shape lstm_shape_default(uint32_t n_chunk, uint32_t n_delta,
				     uint32_t n_vector);
bool lstm_shape_is_sound(const struct lstm_shape *s);
bool lstm_shape_is_same(const struct lstm_shape *a, const struct lstm_shape *b);
/** Numbers in x. */
uint32_t lstm_n_in(const struct lstm_shape *s);
/** Rows and columns of a block; without columns it is empty. */
void lstm_block_size(const struct lstm_shape *s, enum lstm_block b,
		     uint32_t *rows, uint32_t *cols);
/** Numbers of all blocks, each aligned to 64 bytes. */
size_t lstm_params_len(const struct lstm_shape *s);
/** Lay the blocks out over an array of lstm_params_len() numbers, borrowed. */
void lstm_params_over(struct lstm_params *p, const struct lstm_shape *s,
		      float *all);
bool lstm_params_are_finite(const struct lstm_params *p);

/** Embeddings of variance 1, weights uniform in +-1 / sqrt(n_hid), forget gates
 *  open.  -EINVAL: the shape; -ENOMEM. */
int lstm_create(const struct lstm_shape *s, uint64_t seed,
		struct lstm **out) PFS_MUST_CHECK;
/** The same with all parameters 0: for one who fills them in. */
int lstm_create_empty(const struct lstm_shape *s,
		      struct lstm **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void lstm_destroy(struct lstm *m);
size_t lstm_memory(const struct lstm *m);

/** Another dictionary: token t of the new model, of n_chunk, was from[t] of the
 *  old one; LSTM_FRESH: it is new.  All else is copied. */
#define LSTM_FRESH UINT32_MAX
int lstm_remap(const struct lstm *old, const uint32_t *from, uint32_t n_chunk,
	       uint64_t seed, struct lstm **out) PFS_MUST_CHECK;
/** Copy what concerns the dictionary, row by row; fresh rows stay. */
void lstm_params_remap(struct lstm_params *to, const struct lstm_params *old,
		       const uint32_t *from);

/* --- serving (lstm_pack.c, lstm_step.c) --- */

/** Pack the weights as half as many bytes, upper halves of floats: a step then
 *  takes half the time or less.  Learning undoes it; without it all works, too.
 *  -ENOMEM, the first time. */
int lstm_pack(struct lstm *m) PFS_MUST_CHECK;
/** Bytes that it takes. */
size_t lstm_packed_len(const struct lstm_shape *s);

struct lstm_scratch; /* of steps of up to n_max streams together */

int lstm_scratch_create(const struct lstm_shape *s, uint32_t n_max,
			struct lstm_scratch **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void lstm_scratch_destroy(struct lstm_scratch *w);
size_t lstm_scratch_memory(const struct lstm_scratch *w);

/** Numbers in the state of a stream: h1, c1, h2, c2.  All 0: nothing seen. */
size_t lstm_state_len(const struct lstm_shape *s);

/** One step of n streams: in[i] moves state[i].  Classes beyond the shape count
 *  as 0, so that no input can lead astray. */
void lstm_step(const struct lstm *m, struct lstm_scratch *w, uint32_t n,
	       const struct lstm_input *in, float *const *state);

/** Logits of a head for n streams, out is [n][tokens]. */
void lstm_logits(const struct lstm *m, struct lstm_scratch *w,
		 enum lstm_head head, uint32_t n, float *const *state,
		 float *out);

/** Logits of a few tokens for one stream, for dictionaries too large to score
 *  whole.  Tokens are below the dictionary's size. */
void lstm_score(const struct lstm *m, enum lstm_head head, const float *state,
		uint32_t n, const uint16_t *token, float *out);

/** x of one input, [lstm_n_in()]. */
void lstm_embed(const struct lstm *m, const struct lstm_input *in, float *x);

/** The upper half of a finite float, rounded to even: 2^-9 of it at most. */
static inline uint16_t lstm_upper_half(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint32_t lstm_n_tokens(const struct lstm_shape *s,
				     enum lstm_head head)
{
	return head == LSTM_CHUNK ? s->n_chunk : s->n_delta;
}

#endif
