/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * simulate: would pfs help here?  The predictor over traces, without a daemon,
 * one row for each predictor that is asked for.
 */
#include "cli.h"

#include <string.h>
#include <time.h>

#include <pfs/clock.h>
#include <pfs/eviction.h>
#include <pfs/predictor.h>
#include <pfs/sim.h>
#include <pfs/store.h>

#define ALL_PROPOSERS ((1u << PFS_PROPOSER_N) - 1)
#define TTY_NS (100 * PFS_NSEC_PER_MSEC) /* between looks on a terminal */
#define LOG_NS (2 * PFS_NSEC_PER_SEC)    /* elsewhere */

struct simulation {
	struct pfs_sim_config cfg;
	const char *test;
	const char **train;      /* owned array */
	const char **predictor;  /* owned array: names */
	struct pfs_trace *trace; /* owned: of train, then of test */
	int n_train, n_predictors;
	uint32_t without; /* mask of proposers */
	bool has_without, has_percent;
	/* --- progress --- */
	const char *running; /* which predictor */
	uint64_t said_ns;
	bool is_tty, has_said;
};

/* --- the daemon's store --- */

static void *daemon_create(void *arg, uint32_t n_chunks)
{
	struct pfs_eviction *e = NULL;

	(void)arg;
	return pfs_eviction_create(n_chunks, &e) ? NULL : e;
}

static void daemon_destroy(void *store)
{
	pfs_eviction_destroy(store);
}

static bool daemon_find(void *store, uint32_t chunk, bool is_read)
{
	return pfs_eviction_find(store, chunk, is_read);
}

static int daemon_insert(void *store, uint32_t chunk, bool is_prefetch,
			 void (*evicted)(void *arg, uint32_t chunk), void *arg)
{
	return pfs_eviction_insert(store, chunk, is_prefetch, evicted, arg);
}

static const struct pfs_sim_store daemon_store = {
	.create = daemon_create,
	.destroy = daemon_destroy,
	.find = daemon_find,
	.insert = daemon_insert,
};

/* --- values of options --- */

static bool is(const char *word, const char *name)
{
	return strcmp(word, name) == 0;
}

static int say_range(const struct cli_word *w, const char *allowed)
{
	return cli_say(STATUS_USAGE, "--%s %s: %s", w->name, w->value, allowed);
}

static bool is_number(const char *text)
{
	return (*text >= '0' && *text <= '9') || *text == '.';
}

static int take_real(const struct cli_word *w, double least, double most,
		     const char *allowed, double *out)
{
	char *end;
	double v;

	if (!is_number(w->value))
		return say_range(w, allowed);
	v = strtod(w->value, &end);
	/* Written so that no NaN passes. */
	if (*end || !(v >= least && v <= most))
		return say_range(w, allowed);
	*out = v;
	return STATUS_OK;
}

static int take_count(const struct cli_word *w, const char *allowed,
		      uint64_t *out)
{
	char *end;

	errno = 0;
	if (!is_number(w->value))
		return say_range(w, allowed);
	*out = strtoull(w->value, &end, 10);
	return *end || errno ? say_range(w, allowed) : STATUS_OK;
}

static int take_bytes(const struct cli_word *w, const char *allowed,
		      uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit = NULL;
	char *end;

	errno = 0;
	if (!is_number(w->value))
		return say_range(w, allowed);
	*out = strtoull(w->value, &end, 10);
	if (*end)
		unit = strchr(units, *end);
	if (errno || (*end && (!unit || end[1])) ||
	    (unit && pfs_mul_u64(*out, 1ull << (10 * (unit - units + 1)), out)))
		return say_range(w, allowed);
	return STATUS_OK;
}

static int take_chunk(struct simulation *sim, const struct cli_word *w)
{
	static const char allowed[] = "a power of two, 16K to 1M";
	uint64_t v = 0;
	int status = take_bytes(w, allowed, &v);

	if (status)
		return status;
	if (!pfs_is_pow2(v) || v < PFS_CHUNK_MIN || v > PFS_CHUNK_MAX)
		return say_range(w, allowed);
	sim->cfg.chunk = (uint32_t)v;
	return STATUS_OK;
}

static int take_policy(struct simulation *sim, const struct cli_word *w)
{
	sim->cfg.store = NULL;
	if (is(w->value, "daemon"))
		sim->cfg.store = &daemon_store;
	else if (!is(w->value, "lru"))
		return say_range(w, "lru or daemon");
	return STATUS_OK;
}

static int take_store_bytes(struct simulation *sim, const struct cli_word *w)
{
	static const char allowed[] = "bytes, at least one chunk of them "
				      "(suffixes K, M, G, T)";
	int status = take_bytes(w, allowed, &sim->cfg.store_bytes);

	if (!status && sim->cfg.store_bytes < PFS_CHUNK_MIN)
		return say_range(w, allowed);
	return status;
}

static int take_test(struct simulation *sim, const struct cli_word *w)
{
	if (sim->test)
		return cli_say(STATUS_USAGE,
			       "--test is given twice: one trace is tested");
	sim->test = w->value;
	return STATUS_OK;
}

/* --- predictors --- */

/* As a mask; 0: there is none of that name. */
static uint32_t find_proposer(const char *name)
{
	for (unsigned int i = 0; i < PFS_PROPOSER_N; i++)
		if (is(name, pfs_proposer_name(i)))
			return 1u << i;
	return 0;
}

static int say_names(const struct cli_word *w, bool is_predictor)
{
	char names[128] = "";
	FILE *f = fmemopen(names, sizeof(names), "w");

	for (unsigned int i = 0; f && i < PFS_PROPOSER_N; i++)
		(void)fprintf(f, "%s%s", i || is_predictor ? ", " : "",
			      pfs_proposer_name(i));
	if (f)
		(void)fclose(f);
	return cli_say(STATUS_USAGE, "--%s %s: there are %s%s%s", w->name,
		       w->value, is_predictor ? "none" : "", names,
		       is_predictor ? ", auto" : "");
}

static int take_predictor(struct simulation *sim, const struct cli_word *w)
{
	if (is(w->value, "lstm"))
		return cli_say(STATUS_USAGE,
			       "--predictor lstm: this pfsctl is built without "
			       "the lstm");
	if (!is(w->value, "none") && !is(w->value, "auto") &&
	    !find_proposer(w->value))
		return say_names(w, true);
	sim->predictor[sim->n_predictors++] = w->value;
	return STATUS_OK;
}

static int take_without(struct simulation *sim, const struct cli_word *w)
{
	uint32_t proposer = find_proposer(w->value);

	sim->has_without = true;
	sim->without |= proposer;
	/* The lstm is not in auto as it is. */
	return proposer || is(w->value, "lstm") ? STATUS_OK
						: say_names(w, false);
}

static uint32_t proposers_of(const struct simulation *sim, const char *name)
{
	if (is(name, "none"))
		return 0;
	if (is(name, "auto"))
		return ALL_PROPOSERS & ~sim->without;
	return find_proposer(name);
}

/* --- the command line --- */

static int take_word(struct simulation *sim, const struct cli_word *w)
{
	static const char latency[] = "microseconds, 0 to 1e9";
	struct pfs_sim_config *cfg = &sim->cfg;
	const char *name = w->name;

	if (is(name, "train")) {
		sim->train[sim->n_train++] = w->value;
		return STATUS_OK;
	}
	if (is(name, "test"))
		return take_test(sim, w);
	if (is(name, "predictor"))
		return take_predictor(sim, w);
	if (is(name, "without"))
		return take_without(sim, w);
	if (is(name, "chunk"))
		return take_chunk(sim, w);
	if (is(name, "store-bytes"))
		return take_store_bytes(sim, w);
	if (is(name, "store-policy"))
		return take_policy(sim, w);
	if (is(name, "source-latency-us"))
		return take_real(w, 0, 1e9, latency, &cfg->source_latency_us);
	if (is(name, "store-latency-us"))
		return take_real(w, 0, 1e9, latency, &cfg->store_latency_us);
	if (is(name, "source-mbps"))
		return take_real(w, 1e-3, 1e9, "10^6 bytes/s, 0.001 to 1e9",
				 &cfg->source_mbps);
	if (is(name, "seed"))
		return take_count(w, "a whole number", &cfg->seed);
	if (is(name, "keep-store"))
		cfg->keeps_store = true;
	else if (is(name, "closed-loop"))
		cfg->is_closed_loop = true;
	else { /* store-percent */
		sim->has_percent = true;
		return take_real(w, 1e-6, 1e6, "percent, over 0 to 1e6",
				 &cfg->store_percent);
	}
	return STATUS_OK;
}

static int check_together(struct simulation *sim)
{
	bool has_auto = false;

	if (!sim->test)
		return cli_say(STATUS_USAGE,
			       "simulate needs --test TRACE: see pfsctl "
			       "simulate --help");
	if (sim->has_percent && sim->cfg.store_bytes)
		return cli_say(STATUS_USAGE, "--store-percent and "
					     "--store-bytes: one of them");
	if (!sim->n_predictors) {
		sim->predictor[sim->n_predictors++] = "none";
		sim->predictor[sim->n_predictors++] = "auto";
	}
	for (int i = 0; i < sim->n_predictors; i++)
		has_auto |= is(sim->predictor[i], "auto");
	if (sim->has_without && !has_auto)
		return cli_say(STATUS_USAGE,
			       "--without takes a part of the predictor auto, "
			       "which is not asked for");
	if (!proposers_of(sim, "auto"))
		return cli_say(STATUS_USAGE,
			       "--without leaves nothing of auto: that is the "
			       "predictor none");
	return STATUS_OK;
}

static int take_words(struct simulation *sim, const struct cli *cli)
{
	size_t n = (size_t)cli->n_words + 2; /* predictors if none is given */
	int status = STATUS_OK;

	sim->train = calloc(n, sizeof(*sim->train));
	sim->predictor = calloc(n, sizeof(*sim->predictor));
	sim->trace = calloc(n, sizeof(*sim->trace));
	if (!sim->train || !sim->predictor || !sim->trace)
		return cli_say(STATUS_FAILED, "out of memory");
	for (int i = 0; i < cli->n_words && !status; i++)
		status = take_word(sim, &cli->words[i]);
	return status ? status : check_together(sim);
}

/* --- progress --- */

static void progress(void *arg, double done)
{
	struct simulation *sim = arg;
	uint64_t now = pfs_now_ns();

	if (now - sim->said_ns < (sim->is_tty ? TTY_NS : LOG_NS))
		return;
	sim->said_ns = now;
	sim->has_said = true;
	(void)fprintf(stderr, "%ssimulate: %s %3.0f %%%s",
		      sim->is_tty ? "\r" : "", sim->running, done * 100,
		      sim->is_tty ? " " : "\n");
}

static void end_progress(const struct simulation *sim)
{
	if (sim->is_tty && sim->has_said)
		(void)fputs("\r                                   \r", stderr);
}

static uint64_t cpu_ns(void *arg)
{
	struct timespec ts = {0};

	(void)arg;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * PFS_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* --- output --- */

static struct pfs_json *row_json(const char *name,
				 const struct pfs_sim_result *r)
{
	struct pfs_json *o = pfs_json_object();

	pfs_json_set_str(o, "predictor", name);
	pfs_json_set_u64(o, "chunk_reads", r->chunk_reads);
	pfs_json_set_real(o, "coverage", r->coverage);
	pfs_json_set_u64(o, "late", r->late);
	pfs_json_set_real(o, "precision", r->precision);
	pfs_json_set_u64(o, "prefetched", r->prefetched);
	pfs_json_set_u64(o, "used", r->used);
	pfs_json_set_real(o, "traffic_ratio", r->traffic_ratio);
	pfs_json_set_real(o, "mean_latency_us", r->mean_latency_us);
	pfs_json_set_real(o, "p99_latency_us", r->p99_latency_us);
	pfs_json_set_real(o, "cpu_us_per_read", r->cpu_us_per_read);
	pfs_json_set_real(o, "train_cpu_s", r->train_cpu_s);
	return o;
}

static void print_head(const struct pfs_sim_result *r)
{
	(void)printf("%llu chunk reads\n\n",
		     (unsigned long long)r->chunk_reads);
	(void)printf("%-10s %8s %6s %9s %10s %7s %8s %8s %6s\n", "predictor",
		     "covered", "late", "precision", "prefetched", "traffic",
		     "mean us", "p99 us", "CPU us");
}

static void print_row(const char *name, const struct pfs_sim_result *r)
{
	char covered[16], precision[16] = "-";

	if (r->prefetched)
		(void)cli_percent(precision, r->precision);
	(void)printf("%-10s %8s %6llu %9s %10llu %7.3f %8.0f %8.0f %6.2f\n",
		     name, cli_percent(covered, r->coverage),
		     (unsigned long long)r->late, precision,
		     (unsigned long long)r->prefetched, r->traffic_ratio,
		     r->mean_latency_us, r->p99_latency_us, r->cpu_us_per_read);
}

/* --- the runs --- */

static int read_traces(struct simulation *sim)
{
	int status = STATUS_OK;

	for (int i = 0; i < sim->n_train && !status; i++)
		status = cli_read_trace(sim->train[i], &sim->trace[i]);
	return status ? status
		      : cli_read_trace(sim->test, &sim->trace[sim->n_train]);
}

static int run_one(struct simulation *sim, const char *name,
		   struct pfs_sim_result *r)
{
	int err;

	sim->running = name;
	sim->cfg.proposers = proposers_of(sim, name);
	err = pfs_simulate(&sim->cfg, sim->trace, (size_t)sim->n_train,
			   &sim->trace[sim->n_train], r);
	end_progress(sim);
	return err ? cli_say(STATUS_FAILED, "predictor %s: %s", name,
			     strerror(-err))
		   : STATUS_OK;
}

static int run_all(struct simulation *sim, bool is_json)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *rows = NULL;

	if (is_json)
		rows = pfs_json_array();
	for (int i = 0; i < sim->n_predictors; i++) {
		const char *name = sim->predictor[i];
		struct pfs_sim_result r;
		int status = run_one(sim, name, &r);

		if (status)
			return status;
		if (is_json) {
			pfs_json_push(rows, row_json(name, &r));
			continue;
		}
		if (i == 0)
			print_head(&r);
		print_row(name, &r);
		(void)fflush(stdout); /* the next one may take its time */
	}
	return is_json ? cli_print_json(rows) : STATUS_OK;
}

static void simulation_fini(struct simulation *sim)
{
	for (int i = 0; sim->trace && i <= sim->n_train; i++)
		pfs_trace_fini(&sim->trace[i]);
	free(sim->trace);
	free(sim->train);
	free(sim->predictor);
}

int verb_simulate(struct cli *cli)
{
	PFS_AUTO(simulation_fini)
	struct simulation sim = {
		.cfg = {.chunk = (uint32_t)PFS_KIB(64),
			.store_percent = 50,
			.source_latency_us = 5000,
			.store_latency_us = 100,
			.source_mbps = 400,
			.seed = 1,
			.cpu_ns = cpu_ns,
			.progress = progress,
			.arg = &sim},
		.is_tty = isatty(STDERR_FILENO),
		.said_ns = pfs_now_ns(),
	};
	int status = take_words(&sim, cli);

	if (!status)
		status = read_traces(&sim);
	return status ? status : run_all(&sim, cli->is_json);
}
