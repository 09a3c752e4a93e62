/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The simulator from outside: one session after the other, the last of them
 * measured.
 */
#include "sim_core.h"

#include <math.h>

#define STORE_MIN 16u /* chunks */
#define STORE_MAX (UINT32_MAX / 4)
#define GAP_NS (10 * PFS_NSEC_PER_SEC) /* between sessions */
#define PROGRESS_OPS 4096u

/* --- a session --- */

static void tell_progress(struct sim *s)
{
	if (s->cfg->progress && s->n_ops_done++ % PROGRESS_OPS == 0)
		s->cfg->progress(s->cfg->arg,
				 (double)s->n_ops_done / (double)s->n_ops);
}

static int begin_session(struct sim *s, const struct pfs_trace *t)
{
	free(s->latency_ns);
	s->latency_ns = calloc(t->n + 1, sizeof(*s->latency_ns));
	s->n_latencies = 0;
	s->r = (struct pfs_sim_result){0};
	s->first_serial = s->serial + 1;
	s->delay_ns = 0;
	s->last_answer_ns = s->now;
	s->is_ending = false;
	s->cpu_ns = 0;
	if (!s->latency_ns)
		return -ENOMEM;
	if (!s->p)
		return 0;
	return pfs_predictor_opened(s->p, SIM_IMAGE, SIM_VM, s->image_bytes,
				    s->now);
}

static int play(struct sim *s, const struct pfs_trace *t)
{
	uint64_t begin = s->now;
	int err = 0;

	for (size_t i = 0; i < t->n && !err; i++) {
		uint64_t at = (t->ops[i].time_us - t->ops[0].time_us) * 1000;

		err = sim_advance(s, begin + at + s->delay_ns);
		s->is_ending = i + 1 == t->n;
		if (!err)
			err = sim_request(s, &t->ops[i]);
		tell_progress(s);
	}
	return err ? err : sim_advance(s, s->last_answer_ns);
}

/* The image is closed; what the predictor learns from the session, it learns
 * in the time until the next one. */
static int end_session(struct sim *s)
{
	uint64_t spent = s->cpu_ns;
	int err;

	if (s->p)
		sim_close(s);
	err = sim_advance(s, s->now + GAP_NS);
	while (!err && s->queue.n) /* a very slow source */
		err = sim_advance(s, sim_queue_time(&s->queue));
	if (s->p && !err)
		err = sim_tick(s);
	s->train_ns = PFS_MAX(s->train_ns, s->cpu_ns - spent);
	s->cpu_ns = spent;
	return err;
}

static int run_session(struct sim *s, const struct pfs_trace *t)
{
	int err = 0;

	if (!s->store || !s->cfg->keeps_store)
		err = sim_store_empty(s);
	if (!err)
		err = begin_session(s, t);
	if (!err)
		err = play(s, t);
	return err ? err : end_session(s);
}

/* --- figures --- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double share(double num, double den)
{
	return den > 0 ? num / den : 0;
}

static void sum_up(struct sim *s, struct pfs_sim_result *r)
{
	uint64_t *l = s->latency_ns, sum = 0;
	size_t n = s->n_latencies;
	/* The smallest one that 99 % are not above. */
	size_t at = n - n / 100 - 1;

	qsort(l, n, sizeof(*l), compare);
	for (size_t i = 0; i < n; i++)
		sum += l[i];
	*r = s->r;
	r->source_bytes += r->prefetched * s->cfg->chunk;
	r->coverage =
		share((double)(r->hits + r->late), (double)r->chunk_reads);
	r->precision = share((double)r->used, (double)r->prefetched);
	r->traffic_ratio =
		share((double)r->source_bytes, (double)r->read_bytes);
	r->mean_latency_us = share((double)sum / 1e3, (double)n);
	r->p99_latency_us = n ? (double)l[at] / 1e3 : 0;
	r->cpu_us_per_read =
		share((double)s->cpu_ns / 1e3, (double)r->chunk_reads);
	r->train_cpu_s = (double)s->train_ns / 1e9;
}

/* --- all of it --- */

static bool config_ok(const struct pfs_sim_config *cfg)
{
	return pfs_is_pow2(cfg->chunk) && cfg->chunk >= PFS_KIB(4) &&
	       cfg->chunk <= PFS_PREFETCH_MAX &&
	       (cfg->store_bytes || cfg->store_percent > 0) &&
	       cfg->source_latency_us >= 0 && cfg->source_latency_us <= 1e9 &&
	       cfg->store_latency_us >= 0 && cfg->store_latency_us <= 1e9 &&
	       cfg->source_mbps > 0;
}

static int count_chunks(struct sim *s, struct sim_chunks *seen,
			const struct pfs_trace *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct pfs_trace_op *op = &t->ops[i];
		uint64_t end = op->off + op->len, c = op->off / s->cfg->chunk;
		uint32_t unused;

		s->image_bytes = PFS_MAX(s->image_bytes, end);
		for (; c <= (end - 1) / s->cfg->chunk; c++) {
			int err = sim_chunks_number(seen, c, &unused);

			if (err)
				return err;
		}
	}
	s->n_ops += t->n;
	return 0;
}

/* Sizes that follow from the traces.  An image's size is known before it is
 * read, but no trace has it: the next whole GiB above all of them tells nothing
 * of where this one ends. */
static int measure(struct sim *s, const struct pfs_trace *train, size_t n_train,
		   const struct pfs_trace *test)
{
	PFS_AUTO(sim_chunks_fini) struct sim_chunks seen = {0};
	double n;
	int err = sim_chunks_init(&seen);

	for (size_t i = 0; i < n_train && !err; i++)
		err = count_chunks(s, &seen, &train[i]);
	if (!err)
		err = count_chunks(s, &seen, test);
	if (err)
		return err;
	n = floor(seen.n * s->cfg->store_percent / 100);
	if (s->cfg->store_bytes)
		n = floor((double)s->cfg->store_bytes / s->cfg->chunk);
	n = PFS_MAX(n, (double)STORE_MIN);
	s->capacity = (uint32_t)PFS_MIN(n, (double)STORE_MAX);
	s->image_bytes =
		pfs_align_up(PFS_MAX(s->image_bytes, 1ull), PFS_GIB(1));
	return 0;
}

static int start_predictor(struct sim *s)
{
	struct pfs_predictor_config pc = {
		.chunk = s->cfg->chunk,
		.level = PFS_PREFETCH_BALANCED,
		.proposers = s->cfg->proposers,
		.always_wrong = s->cfg->always_wrong,
		.seed = s->cfg->seed,
		.is_absent = sim_is_absent,
		.arg = s,
	};

	if (!s->cfg->proposers && !s->cfg->always_wrong)
		return 0;
	return pfs_predictor_create(&pc, &s->p);
}

static void sim_fini(struct sim *s)
{
	pfs_predictor_destroy(s->p);
	s->policy->destroy(s->store);
	sim_chunks_fini(&s->chunks);
	sim_queue_fini(&s->queue);
	free(s->latency_ns);
}

int pfs_simulate(const struct pfs_sim_config *cfg,
		 const struct pfs_trace *train, size_t n_train,
		 const struct pfs_trace *test, struct pfs_sim_result *out)
{
	PFS_AUTO(sim_fini)
	struct sim s = {
		.cfg = cfg,
		.policy = cfg->store ? cfg->store : &sim_lru,
		.source_ns = (uint64_t)llround(cfg->source_latency_us * 1e3),
		.store_ns = (uint64_t)llround(cfg->store_latency_us * 1e3),
		.per_chunk_ns = cfg->chunk / cfg->source_mbps * 1e3,
		.tick_ns = UINT64_MAX,
		.now = GAP_NS,
	};
	int err;

	if (!config_ok(cfg))
		return -EINVAL;
	err = sim_chunks_init(&s.chunks);
	if (!err)
		err = measure(&s, train, n_train, test);
	if (!err)
		err = start_predictor(&s);
	for (size_t i = 0; i < n_train && !err; i++)
		err = run_session(&s, &train[i]);
	if (!err)
		err = run_session(&s, test);
	if (!err)
		sum_up(&s, out);
	return err;
}
