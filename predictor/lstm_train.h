/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/lstm_train.h - teaching an LSTM.
 *
 * Lanes are sequences learned side by side.  One call of lstm_learn() takes
 * n_steps of each (truncated backpropagation through time, Werbos 1990): it
 * goes on where the last call left the lanes, but gradients end at its start.
 * Gradients add up until lstm_apply() clips them and lets Adam take a step.
 *
 * A trainer serves any number of models, one after the other, so a process
 * needs just one; Adam's moments belong to the model.
 *
 * Memory   taken at create.
 * Errors   0 or -errno; -EINVAL: the batch, before anything has changed.
 * Threads  none.
 */
#ifndef PFS_PREDICTOR_LSTM_TRAIN_H
#define PFS_PREDICTOR_LSTM_TRAIN_H

#include "lstm.h"

#define LSTM_NEXT_MAX 8u /* distinct tokens that may be right */

/** Tokens or classes that come next: the target is uniform over them. */
struct lstm_next {
	uint8_t n; /* 0: unknown, nothing is learned */
	uint16_t token[LSTM_NEXT_MAX];
};

struct lstm_sample {
	struct lstm_input in;
	bool is_start; /* the lane begins a sequence: its state is forgotten */
	float weight;  /* of what is learned here; 1: as much as others */
	struct lstm_next next[LSTM_HEADS];
};

struct lstm_batch {
	uint32_t n_lanes, n_steps;
	const struct lstm_sample *sample; /* [n_steps][n_lanes], borrowed */
	float weight[LSTM_HEADS]; /* of each head's loss; 0: not learned */
	bool is_frozen; /* only the heads learn, not what is below them */
};

/** What a batch was worth. */
struct lstm_loss {
	double sum[LSTM_HEADS];    /* cross entropy in nats, as weighted */
	double weight[LSTM_HEADS]; /* of the samples: sum / weight is a mean */
};

/** Adam's moments of a model. */
struct lstm_adam {
	uint64_t n_steps;
	struct lstm_params m, v; /* m's array is owned, v lies behind it */
};

struct lstm_rate {
	float rate; /* alpha; 0: 0.001 */
	float clip; /* of the gradient's norm; 0: 1.0 */
};

/* --- Adam (lstm_adam.c) --- */

int lstm_adam_create(const struct lstm_shape *s,
		     struct lstm_adam **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void lstm_adam_destroy(struct lstm_adam *a);
size_t lstm_adam_memory(const struct lstm_adam *a);
/** As lstm_remap(): fresh tokens begin with moments of 0. */
int lstm_adam_remap(const struct lstm_adam *old, const struct lstm_shape *s,
		    const uint32_t *from,
		    struct lstm_adam **out) PFS_MUST_CHECK;

/* --- the trainer (lstm_train.c, lstm_heads.c) --- */

struct lstm_trainer;

/** For batches of up to n_lanes x n_steps. */
int lstm_trainer_create(const struct lstm_shape *s, uint32_t n_lanes,
			uint32_t n_steps,
			struct lstm_trainer **out) PFS_MUST_CHECK;
/** Accepts NULL. */
void lstm_trainer_destroy(struct lstm_trainer *t);
size_t lstm_trainer_memory(const struct lstm_trainer *t);
/** From now on for models of another shape; as after lstm_trainer_reset().
 * Takes more memory if it has to.  -ENOMEM: then it can only be destroyed. */
int lstm_trainer_reshape(struct lstm_trainer *t,
			 const struct lstm_shape *s) PFS_MUST_CHECK;
/** Forget all lanes and gradients, for another model or sequence. */
void lstm_trainer_reset(struct lstm_trainer *t);

/** Forward and backward; *loss is added to. */
int lstm_learn(struct lstm_trainer *t, const struct lstm *m,
	       const struct lstm_batch *b,
	       struct lstm_loss *loss) PFS_MUST_CHECK;

/** The gradient of what lstm_learn() saw since lstm_apply(): of the sum of its
 *  losses, not of the mean. */
const struct lstm_params *lstm_gradient(const struct lstm_trainer *t);

/** Mean of the gradient, clipped; one step of Adam with it on what was learned;
 *  then the gradient is 0.  -ERANGE: it was not finite, and *m is as before;
 *  -ENODATA: there was none. */
int lstm_apply(struct lstm_trainer *t, struct lstm *m, struct lstm_adam *a,
	       const struct lstm_rate *r) PFS_MUST_CHECK;

#endif
