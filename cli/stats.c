/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats: of the mount, of an image, of a VM. */
#include "cli.h"

#include <string.h>

#include <pfs/counters.h>

/* --- counters --- */

/* Each group goes on to the first counter of the next. */
static const struct group {
	enum pfs_counter first;
	const char *title;
} groups[] = {
	{PFS_C_READS, "Reads"},
	{PFS_C_WRITES, "Writes"},
	{PFS_C_FETCHES, "Fetches from the source"},
	{PFS_C_PREFETCH_FETCHES, "Prefetch"},
	{PFS_C_FILLS, "Fills of the store"},
	{PFS_C_INVALIDATED, "Chunks that left the store"},
	{PFS_C_BAD_CHECKSUM, "Faults of the store"},
	{PFS_C_CATALOG_SET_ASIDE, "Catalog and marks"},
	{PFS_C_SKIPPED_FILES, "Files and locks"},
	{PFS_C_WORKER_STARTS, "Workers"},
	{PFS_C_BUF_UNLOCKED, "Limits"},
};

static void show_counter(const struct pfs_counter_info *info, uint64_t n)
{
	char size[32];

	if (!strcmp(info->unit, "bytes"))
		(void)printf("  %-23s %9s  %s\n", info->name, cli_size(size, n),
			     info->help);
	else
		(void)printf("  %-23s %9llu  %s\n", info->name,
			     (unsigned long long)n, info->help);
}

static bool is_known(const char *name)
{
	for (unsigned int c = 0; c < PFS_C_N; c++)
		if (!strcmp(pfs_counter_info[c].name, name))
			return true;
	return false;
}

/* A newer daemon may count more than we know. */
static void show_unknown(void *arg, const char *key, const char *text,
			 const struct pfs_json *v)
{
	bool *has_title = arg;

	(void)v;
	if (is_known(key) || !strcmp(key, "hit_share") || strchr("{[", *text))
		return; /* the last: no number */
	if (!*has_title)
		(void)puts("Others");
	*has_title = true;
	(void)printf("  %-23s %9s\n", key, text);
}

static void show_counters(const struct pfs_json *v)
{
	bool has_title = false;
	size_t g = 0;

	for (unsigned int c = 0; c < PFS_C_N; c++) {
		const struct pfs_counter_info *info = &pfs_counter_info[c];
		uint64_t n;

		if (g < PFS_ARRAY_SIZE(groups) && groups[g].first == c)
			(void)puts(groups[g++].title);
		if (pfs_json_u64(v, info->name, &n) == 0)
			show_counter(info, n);
	}
	pfs_json_each(v, show_unknown, &has_title);
}

/* --- latency of the source --- */

const char *cli_bucket(char buf[32], unsigned int i)
{
	double us = (double)(1ull << i) / 1e3;

	if (us < 1000)
		(void)snprintf(buf, 32, "%.0f us", us);
	else if (us < 1e6)
		(void)snprintf(buf, 32, "%.0f ms", us / 1e3);
	else
		(void)snprintf(buf, 32, "%.0f s", us / 1e6);
	return buf;
}

static void show_latency(const struct pfs_json *v)
{
	const struct pfs_json *demand = pfs_json_get(v, "demand");
	const struct pfs_json *prefetch = pfs_json_get(v, "prefetch");
	bool has_title = false;

	for (unsigned int i = 0; i < pfs_json_len(demand); i++) {
		uint64_t d = pfs_json_num_at(demand, i);
		uint64_t p = pfs_json_num_at(prefetch, i);
		char from[32];

		if (!d && !p)
			continue;
		if (!has_title)
			(void)printf("Reads of the source that took\n"
				     "  %-12s %10s %10s\n",
				     "at least", "demand", "prefetch");
		has_title = true;
		(void)printf("  %-12s %10llu %10llu\n", cli_bucket(from, i),
			     (unsigned long long)d, (unsigned long long)p);
	}
}

/* --- images, VMs, proposers --- */

static void show_use_head(const char *title)
{
	(void)printf("%s\n  %10s %7s %7s %7s %9s %9s %9s %8s\n", title, "reads",
		     "hit", "late", "miss", "prefetch", "used", "wasted",
		     "saved s");
}

static const char *share_of(char buf[16], const struct pfs_json *v,
			    const char *key)
{
	uint64_t n = pfs_json_num(v, "reads");

	if (!n)
		return "-";
	return cli_percent(buf, (double)pfs_json_num(v, key) / (double)n);
}

/* One line of figures, the name after it. */
static void show_use(const struct pfs_json *v, const char *name)
{
	const struct pfs_json *p = pfs_json_get(v, "prefetch");
	char hit[16], late[16], miss[16], all[32], used[32], extra[32];

	(void)printf("  %10llu %7s %7s %7s %9s %9s %9s %8.1f  %s\n",
		     (unsigned long long)pfs_json_num(v, "reads"),
		     share_of(hit, v, "reads_hit"),
		     share_of(late, v, "reads_late"),
		     share_of(miss, v, "reads_miss"),
		     cli_size(all, pfs_json_num(p, "bytes")),
		     cli_size(used, pfs_json_num(p, "used_bytes")),
		     cli_size(extra, pfs_json_num(p, "extra_bytes")),
		     pfs_json_real(p, "saved_s"), name);
}

static void show_images(const struct pfs_json *images)
{
	if (pfs_json_len(images))
		show_use_head("Images, since the worker's start");
	for (size_t i = 0; i < pfs_json_len(images); i++) {
		const struct pfs_json *one = pfs_json_at(images, i);

		show_use(one, pfs_json_str(one, "name"));
	}
}

static void show_vms(const struct pfs_json *vms)
{
	if (pfs_json_len(vms))
		show_use_head("VMs, since the worker's start");
	for (size_t i = 0; i < pfs_json_len(vms); i++) {
		const struct pfs_json *one = pfs_json_at(vms, i);
		char vm[64];

		show_use(one, cli_vm(vm, one));
	}
}

static void show_proposers(const struct pfs_json *prefetch)
{
	const struct pfs_json *all = pfs_json_get(prefetch, "proposers");

	if (!pfs_json_len(all))
		return;
	(void)printf("Proposers\n  %-12s %10s %10s %10s %9s %9s\n", "",
		     "proposed", "fetched", "used", "precision", "coverage");
	for (size_t i = 0; i < pfs_json_len(all); i++) {
		const struct pfs_json *p = pfs_json_at(all, i);
		char precision[16] = "-", coverage[16] = "-";

		if (pfs_json_num(p, "proposed")) {
			cli_percent(precision, pfs_json_real(p, "precision"));
			cli_percent(coverage, pfs_json_real(p, "coverage"));
		}

		(void)printf("  %-12s %10llu %10llu %10llu %9s %9s%s\n",
			     pfs_json_str(p, "name"),
			     (unsigned long long)pfs_json_num(p, "proposed"),
			     (unsigned long long)pfs_json_num(p, "fetched"),
			     (unsigned long long)pfs_json_num(p, "used"),
			     precision, coverage,
			     !pfs_json_is_true(p, "is_on") ? "  off"
			     : pfs_json_is_true(p, "is_probing")
				     ? "  probes only"
				     : "");
	}
}

static void show_mount(const struct pfs_json *v)
{
	char share[16];

	show_counters(v);
	show_latency(pfs_json_get(v, "source_latency"));
	show_proposers(pfs_json_get(v, "prefetch"));
	show_images(pfs_json_get(v, "images"));
	show_vms(pfs_json_get(v, "vms"));
	(void)printf("Hit share %s of the reads that needed bytes\n",
		     cli_percent(share, pfs_json_real(v, "hit_share")));
}

/* An image, a VM, or what one has to do with the other. */
static void show_some(const struct pfs_json *v)
{
	const char *name = pfs_json_str(v, "name");
	char vm[64] = "";

	if (pfs_json_get(v, "vm"))
		cli_vm(vm, v);
	show_use_head("Since the worker's start");
	show_use(v, name ? name : vm);
	show_proposers(pfs_json_get(v, "prefetch"));
	show_images(pfs_json_get(v, "images"));
	show_vms(pfs_json_get(v, "vms"));
}

int verb_stats(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("stats");
	struct pfs_json *v;
	int status;

	if (cli->n_args)
		pfs_json_set_str(req, "image", cli->args[0]);
	if (cli->vm)
		pfs_json_set_str(req, "vm", cli->vm);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	if (cli->n_args || cli->vm)
		show_some(v);
	else
		show_mount(v);
	return STATUS_OK;
}
