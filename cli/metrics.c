/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * metrics: the Prometheus text format (version 0.0.4), all lines of one
 * metric together, one for each mount.  Without -m for all mounts, so that
 * one scrape covers a host.
 */
#include "cli.h"

#include <string.h>

#include <pfs/counters.h>

#define MOUNTS_MAX 256

struct sample {
	char *mountpoint;                /* owned, as in a label */
	struct pfs_json *stats, *status; /* owned: whole answers */
	struct pfs_json *s, *st;         /* results inside */
};

struct samples {
	struct cli *cli;
	struct sample at[MOUNTS_MAX];
	size_t n;
	int status;
};

/* Backslash, quote and newline are escaped in a label; controls are not left
 * after pfs_ctl_escape(). */
static char *label(const char *bytes)
{
	PFS_AUTO_FREE char *text = NULL;
	char *out, *o;

	if (pfs_ctl_escape(bytes, strlen(bytes), &text))
		return NULL;
	out = o = malloc(strlen(text) * 2 + 1);
	for (const char *t = text; out && *t; t++) {
		if (*t == '\\' || *t == '"')
			*o++ = '\\';
		*o++ = *t;
	}
	if (out)
		*o = '\0';
	return out;
}

static int take_sample(struct samples *all)
{
	struct sample *m = &all->at[all->n];
	int status = cli_ask_verb(all->cli, "stats", &m->stats, &m->s);

	if (!status)
		status = cli_ask_verb(all->cli, "status", &m->status, &m->st);
	m->mountpoint = label(all->cli->mountpoint);
	all->n++;
	if (!m->mountpoint)
		return cli_say(STATUS_FAILED, "out of memory");
	return status;
}

static int sample_mount(void *arg, const struct pfs_ctl_mount *m)
{
	struct samples *all = arg;
	int status;

	if (!m->is_alive || all->n == MOUNTS_MAX)
		return 0;
	status = cli_use(all->cli, m);
	if (!status)
		status = take_sample(all);
	if (status)
		all->status = status; /* the others are told all the same */
	return 0;
}

static void print_head(const char *name, const char *help, const char *type)
{
	(void)printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_counter(const struct samples *all, enum pfs_counter c)
{
	const struct pfs_counter_info *info = &pfs_counter_info[c];
	char name[96];

	(void)snprintf(name, sizeof(name), "pfs_%s_total", info->name);
	print_head(name, info->help, "counter");
	for (size_t i = 0; i < all->n; i++) {
		uint64_t n;

		if (pfs_json_u64(all->at[i].s, info->name, &n) == 0)
			(void)printf("%s{mount=\"%s\"} %llu\n", name,
				     all->at[i].mountpoint,
				     (unsigned long long)n);
	}
}

static const struct gauge {
	const char *name, *help;
	const char *part, *key; /* in the status answer */
} gauges[] = {
	{"pfs_uptime_seconds", "since the mount", NULL, "uptime_s"},
	{"pfs_store_size_bytes", "room for chunks", "store", "size"},
	{"pfs_store_resident_bytes", "chunks of images in use", "store",
	 "resident_bytes"},
	{"pfs_store_index_bytes", "memory of index and slot table", "store",
	 "index_bytes"},
	{"pfs_images_in_use", "images with open handles", "in_use", "images"},
};

static void print_gauge(const struct samples *all, const struct gauge *g)
{
	print_head(g->name, g->help, "gauge");
	for (size_t i = 0; i < all->n; i++) {
		const struct pfs_json *v = all->at[i].st;

		if (g->part)
			v = pfs_json_get(v, g->part);
		(void)printf("%s{mount=\"%s\"} %llu\n", g->name,
			     all->at[i].mountpoint,
			     (unsigned long long)pfs_json_num(v, g->key));
	}
}

static void print_health(const struct samples *all)
{
	print_head("pfs_store_ok", "1: the store is in use, 0: it is not",
		   "gauge");
	for (size_t i = 0; i < all->n; i++) {
		const char *state = pfs_json_str(
			pfs_json_get(all->at[i].st, "store"), "state");

		(void)printf("pfs_store_ok{mount=\"%s\"} %d\n",
			     all->at[i].mountpoint,
			     state && !strcmp(state, "ok"));
	}
}

/* --- prefetch --- */

static void print_in_flight(const struct samples *all)
{
	print_head("pfs_prefetch_in_flight", "prefetches under way", "gauge");
	for (size_t i = 0; i < all->n; i++)
		(void)printf("pfs_prefetch_in_flight{mount=\"%s\"} %llu\n",
			     all->at[i].mountpoint,
			     (unsigned long long)pfs_json_num(
				     pfs_json_get(all->at[i].s, "prefetch"),
				     "in_flight"));
}

static const struct gauge scores[] = {
	{"pfs_proposer_precision", "share of its latest guesses that came true",
	 NULL, "precision"},
	{"pfs_proposer_coverage", "share of chunks read of late that it named",
	 NULL, "coverage"},
};

static void print_score(const struct samples *all, const struct gauge *g)
{
	print_head(g->name, g->help, "gauge");
	for (size_t i = 0; i < all->n; i++) {
		const struct pfs_json *list = pfs_json_get(
			pfs_json_get(all->at[i].s, "prefetch"), "proposers");

		for (size_t p = 0; p < pfs_json_len(list); p++) {
			const struct pfs_json *one = pfs_json_at(list, p);

			(void)printf("%s{mount=\"%s\",proposer=\"%s\"} "
				     "%.4f\n",
				     g->name, all->at[i].mountpoint,
				     pfs_json_str(one, "name"),
				     pfs_json_real(one, g->key));
		}
	}
}

#define LATENCY "pfs_source_latency_seconds"
#define BUCKET_FIRST 14 /* from 2^14 ns on: 16 us and more are told apart */

/* Counts of a histogram are cumulative.  The daemon tells no sum. */
static void print_histogram(const struct sample *m, const char *kind)
{
	const struct pfs_json *n =
		pfs_json_get(pfs_json_get(m->s, "source_latency"), kind);
	unsigned long long sum = 0;
	size_t n_buckets = pfs_json_len(n);

	for (size_t i = 0; i < n_buckets; i++) {
		sum += pfs_json_num_at(n, i);
		if (i >= BUCKET_FIRST && i + 1 < n_buckets)
			(void)printf(LATENCY "_bucket{mount=\"%s\","
					     "kind=\"%s\",le=\"%.9g\"} "
					     "%llu\n",
				     m->mountpoint, kind,
				     (double)(2ull << i) / 1e9, sum);
	}
	if (!n_buckets)
		return;
	(void)printf(LATENCY "_bucket{mount=\"%s\",kind=\"%s\",le=\"+Inf\"} "
			     "%llu\n",
		     m->mountpoint, kind, sum);
	(void)printf(LATENCY "_count{mount=\"%s\",kind=\"%s\"} %llu\n",
		     m->mountpoint, kind, sum);
}

static void print_latency(const struct samples *all)
{
	print_head(LATENCY, "how long reads of the source took", "histogram");
	for (size_t i = 0; i < all->n; i++) {
		print_histogram(&all->at[i], "demand");
		print_histogram(&all->at[i], "prefetch");
	}
}

static int print_metrics(const struct samples *all)
{
	for (unsigned int c = 0; c < PFS_C_N; c++)
		print_counter(all, (enum pfs_counter)c);
	for (size_t g = 0; g < PFS_ARRAY_SIZE(gauges); g++)
		print_gauge(all, &gauges[g]);
	print_health(all);
	print_in_flight(all);
	for (size_t g = 0; g < PFS_ARRAY_SIZE(scores); g++)
		print_score(all, &scores[g]);
	print_latency(all);
	return STATUS_OK;
}

static int print_json(const struct samples *all)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_array();

	for (size_t i = 0; i < all->n; i++) {
		struct pfs_json *one = pfs_json_object();

		pfs_json_set(one, "status", pfs_json_ref(all->at[i].st));
		pfs_json_set(one, "stats", pfs_json_ref(all->at[i].s));
		pfs_json_push(v, one);
	}
	return cli_print_json(v);
}

static void samples_fini(struct samples *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->at[i].mountpoint);
		pfs_json_free(all->at[i].stats);
		pfs_json_free(all->at[i].status);
	}
}

int verb_metrics(struct cli *cli)
{
	PFS_AUTO(samples_fini) struct samples all = {.cli = cli};
	int status, err;

	if (cli->mount) {
		all.status = take_sample(&all);
	} else {
		err = pfs_ctl_mounts(sample_mount, &all);
		if (err)
			return cli_say(STATUS_FAILED, "looking for mounts: %s",
				       strerror(-err));
		if (!all.n && !all.status)
			return cli_pick(cli); /* says why there is none */
	}
	status = cli->is_json ? print_json(&all) : print_metrics(&all);
	return all.status ? all.status : status;
}
