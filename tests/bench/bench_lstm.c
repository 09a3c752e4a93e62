/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The LSTM: CPU time of an inference and of learning, beside what the same core
 * does with nothing but the arithmetic and with nothing but the reading.
 *
 * CPU time of this thread, so that others on the machine count less; the best
 * of several rounds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pfs/clock.h>

#include "lstm_blas.h"
#include "lstm_train.h"

#define DIE(...)                                                               \
	do {                                                                   \
		fprintf(stderr, "bench_lstm: " __VA_ARGS__);                   \
		fputc('\n', stderr);                                           \
		exit(1);                                                       \
	} while (0)

#define ROUNDS 7u
#define N_DELTA 1002u
#define N_VECTOR 40u
#define LANES 64u
#define STEPS 32u

static double cpu_us(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t))
		DIE("no CPU clock");
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* CPU time of a call of fn, us: the least of ROUNDS means. */
static double best_of(void (*fn)(void *), void *arg, uint32_t n)
{
	double best = 1e12;

	fn(arg);
	for (uint32_t r = 0; r < ROUNDS; r++) {
		double t0 = cpu_us();

		for (uint32_t i = 0; i < n; i++)
			fn(arg);
		best = PFS_MIN(best, (cpu_us() - t0) / n);
	}
	return best;
}

/* --- floors --- */

struct product {
	gsl_matrix_float a, b, c;
};

static void multiply(void *arg)
{
	struct product *p = arg;

	multiply_nt(&p->a, &p->b, 0, &p->c);
}

/* Multiply-adds per us of a product of the size that learning has. */
static double peak(void)
{
	static float a[1024 * 256], b[1024 * 256], c[1024 * 1024];
	struct product p = {matrix_of(a, 1024, 256), matrix_of(b, 1024, 256),
			    matrix_of(c, 1024, 1024)};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(a); i++)
		a[i] = b[i] = (float)(i % 17) - 8;
	return 1024.0 * 1024 * 256 / best_of(multiply, &p, 20);
}

static void read_all(void *arg)
{
	gsl_vector_float *v = arg;
	float sum;

	if (gsl_blas_sdot(v, v, &sum))
		DIE("dot product");
}

/* CPU time of reading so many bytes again and again, us. */
static double reading(double bytes)
{
	static float at[1 << 20];
	gsl_vector_float v = {
		.size = (size_t)bytes / sizeof(float), .stride = 1, .data = at};

	if (v.size > PFS_ARRAY_SIZE(at))
		DIE("more weights than expected");
	return best_of(read_all, &v, 200);
}

/* --- inference --- */

struct serving {
	struct lstm *m;
	struct lstm_scratch *w;
	uint32_t n;
	struct lstm_input in[32];
	float *state[32];
	float *out;
	bool with_delta;
};

static void infer(void *arg)
{
	struct serving *s = arg;

	lstm_step(s->m, s->w, s->n, s->in, s->state);
	lstm_logits(s->m, s->w, LSTM_CHUNK, s->n, s->state, s->out);
	for (uint32_t i = 0; i < s->n; i++)
		(void)s->m->k->softmax(s->m->shape.n_chunk,
				       s->out + i * s->m->shape.n_chunk, 1);
	if (s->with_delta)
		lstm_logits(s->m, s->w, LSTM_DELTA, s->n, s->state, s->out);
}

static struct lstm_shape shape_of(uint32_t n_hid, uint32_t n_chunk)
{
	struct lstm_shape s = lstm_shape_default(n_chunk, N_DELTA, N_VECTOR);

	s.n_hid = n_hid;
	return s;
}

static void make_serving(struct serving *s, const struct lstm_shape *shape)
{
	static float vector[N_VECTOR];
	size_t n_out = PFS_MAX(shape->n_chunk, shape->n_delta);

	if (lstm_create(shape, 1, &s->m) ||
	    lstm_scratch_create(shape, 32, &s->w))
		DIE("memory");
	s->out = calloc(32 * n_out, sizeof(float));
	for (uint32_t i = 0; i < 32; i++) {
		s->state[i] = calloc(lstm_state_len(shape), sizeof(float));
		if (!s->state[i] || !s->out)
			DIE("memory");
		s->in[i] = (struct lstm_input){.chunk = (uint16_t)(i * 31 + 1),
					       .delta = (uint16_t)(i + 1),
					       .phase = {0.5f, 0.3f},
					       .vector = vector};
	}
}

static void end_serving(struct serving *s)
{
	for (uint32_t i = 0; i < 32; i++)
		free(s->state[i]);
	free(s->out);
	lstm_scratch_destroy(s->w);
	lstm_destroy(s->m);
}

/* Multiply-adds of the two layers for one token. */
static double layer_products(const struct lstm_shape *s)
{
	return 4.0 * s->n_hid * (lstm_n_in(s) + s->n_hid) +
	       4.0 * s->n_hid * 2 * s->n_hid;
}

static void bench_inference(uint32_t n_hid, uint32_t n_chunk, double peak_rate)
{
	struct lstm_shape shape = shape_of(n_hid, n_chunk);
	double products = layer_products(&shape) + (double)n_chunk * n_hid;
	struct serving s = {.n = 1};
	double plain, together, one, both, eight;

	make_serving(&s, &shape);
	plain = best_of(infer, &s, 200);
	s.n = 8;
	together = best_of(infer, &s, 50) / 8;
	if (lstm_pack(s.m))
		DIE("memory");
	eight = best_of(infer, &s, 50) / 8;
	s.n = 1;
	one = best_of(infer, &s, 200);
	s.with_delta = true;
	both = best_of(infer, &s, 200);
	printf("inference 2 x %u, %4u tokens: %.1f us, with delta head %.1f, "
	       "eight streams together %.1f each\n"
	       "   not packed %.1f us, eight together %.1f each\n",
	       n_hid, n_chunk, one, both, eight, plain, together);
	printf("   %.0f k multiply-adds, %.1f us at the product's rate; %.2f MB"
	       " of packed weights, %.1f us to read\n",
	       products / 1e3, products / peak_rate, products * 2 / 1e6,
	       reading(products * 2));
	end_serving(&s);
}

/* --- learning --- */

struct learning {
	struct lstm *m;
	struct lstm_adam *a;
	struct lstm_trainer *t;
	struct lstm_batch b;
	bool is_applied;
};

static void learn(void *arg)
{
	struct learning *l = arg;
	struct lstm_loss loss = {0};
	struct lstm_rate rate = {0};

	if (lstm_learn(l->t, l->m, &l->b, &loss) ||
	    (l->is_applied && lstm_apply(l->t, l->m, l->a, &rate)))
		DIE("learning");
}

static void make_samples(struct lstm_sample *s, uint32_t n, uint32_t n_chunk)
{
	for (uint32_t i = 0; i < n; i++) {
		s[i] = (struct lstm_sample){
			.in = {.chunk = (uint16_t)(i * 7919 % n_chunk),
			       .delta = (uint16_t)(i * 31 % N_DELTA),
			       .phase = {0.1f, 0.2f}},
			.weight = 1,
		};
		for (uint32_t h = 0; h < LSTM_HEADS; h++)
			s[i].next[h].n = LSTM_NEXT_MAX;
		for (uint32_t k = 0; k < LSTM_NEXT_MAX; k++) {
			s[i].next[LSTM_CHUNK].token[k] =
				(uint16_t)((i + k + 1) * 7919 % n_chunk);
			s[i].next[LSTM_DELTA].token[k] =
				(uint16_t)((i + k + 1) * 31 % N_DELTA);
		}
	}
}

static void bench_learning(uint32_t n_hid, uint32_t n_chunk, uint32_t n_lanes,
			   uint32_t n_steps, double peak_rate)
{
	static struct lstm_sample sample[LANES * STEPS];
	struct lstm_shape shape = shape_of(n_hid, n_chunk);
	struct learning l = {.is_applied = true};
	double both, heads, tokens = n_lanes * n_steps;
	double products = 3 * (layer_products(&shape) +
			       (double)n_hid * (n_chunk + N_DELTA));

	make_samples(sample, LANES * STEPS, n_chunk);
	l.b = (struct lstm_batch){.n_lanes = n_lanes,
				  .n_steps = n_steps,
				  .sample = sample,
				  .weight = {1, 1}};
	if (lstm_create(&shape, 1, &l.m) || lstm_adam_create(&shape, &l.a) ||
	    lstm_trainer_create(&shape, n_lanes, n_steps, &l.t))
		DIE("memory");
	both = best_of(learn, &l, 2 * LANES / n_lanes);
	l.b.is_frozen = true;
	l.b.weight[LSTM_CHUNK] = 0;
	heads = best_of(learn, &l, 2 * LANES / n_lanes);
	printf("learning 2 x %u, %4u tokens, %u deltas, %u x %u: %.0f tokens/s,"
	       " delta head alone %.0f\n",
	       n_hid, n_chunk, N_DELTA, n_lanes, n_steps, tokens / both * 1e6,
	       tokens / heads * 1e6);
	printf("   %.2f M multiply-adds a token: %.0f tokens/s at the product's"
	       " rate\n",
	       products / 1e6, peak_rate / products * 1e6);
	printf("   bytes: model %zu, moments %zu, trainer %zu (of gradients "
	       "%zu)\n",
	       lstm_memory(l.m), lstm_adam_memory(l.a),
	       lstm_trainer_memory(l.t),
	       lstm_params_len(&shape) * sizeof(float));
	lstm_trainer_destroy(l.t);
	lstm_adam_destroy(l.a);
	lstm_destroy(l.m);
}

int main(void)
{
	struct lstm_shape tiny = shape_of(1, 1);
	struct lstm *m;
	double rate;

	/* OpenBLAS is told to use one thread when a model is made. */
	if (lstm_create(&tiny, 1, &m))
		DIE("memory");
	rate = peak();
	printf("%s, product %.0f G multiply-adds/s\n", m->k->name, rate / 1e3);
	lstm_destroy(m);
	bench_inference(96, 1077, rate);
	bench_inference(128, 4096, rate);
	bench_learning(96, 1077, LANES, STEPS, rate);
	bench_learning(96, 1077, 8, STEPS, rate);
	bench_learning(128, 4096, LANES, STEPS, rate);
	return 0;
}
