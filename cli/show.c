/* SPDX-License-Identifier: GPL-3.0-or-later */
/* status. */
#include "cli.h"

#include <string.h>

static const char *or_none(const char *text)
{
	return text && text[0] ? text : "-";
}

static void show_life(const struct pfs_json *v)
{
	char up[48];
	uint64_t n_deaths = pfs_json_num(v, "worker_deaths");

	(void)printf("  serving   %s; supervisor pid %llu, worker pid %llu\n",
		     cli_duration(up, pfs_json_num(v, "uptime_s")),
		     (unsigned long long)pfs_json_num(v, "supervisor_pid"),
		     (unsigned long long)pfs_json_num(v, "worker_pid"));
	(void)printf("  workers   %llu started, %llu died; this one %s ago\n",
		     (unsigned long long)pfs_json_num(v, "worker_starts"),
		     (unsigned long long)n_deaths,
		     cli_duration(up, pfs_json_num(v, "worker_uptime_s")));
	(void)printf("  version   %s, %s\n",
		     or_none(pfs_json_str(v, "version")),
		     or_none(pfs_json_str(v, "binary")));
}

static void show_store(const struct pfs_json *s)
{
	const char *state = or_none(pfs_json_str(s, "state"));
	char used[32], size[32], chunk[32], index[32];

	if (!strcmp(state, "none")) {
		(void)puts(
			"  store     none: everything comes from the source");
		return;
	}
	(void)printf("  store     %s%s, %s; %s of images in use resident\n",
		     state,
		     strcmp(state, "bypassed")
			     ? ""
			     : " after faults (probed now and then)",
		     cli_size(size, pfs_json_num(s, "size")),
		     cli_size(used, pfs_json_num(s, "resident_bytes")));
	(void)printf("            %s chunks, %s I/O, %llu of %llu segments "
		     "free, index %s\n",
		     cli_size(chunk, pfs_json_num(s, "chunk")),
		     or_none(pfs_json_str(s, "io")),
		     (unsigned long long)pfs_json_num(s, "free_segments"),
		     (unsigned long long)pfs_json_num(s, "segments"),
		     cli_size(index, pfs_json_num(s, "index_bytes")));
	if (pfs_json_num(s, "quarantined"))
		(void)printf(
			"            %llu buffers wait for a hung read\n",
			(unsigned long long)pfs_json_num(s, "quarantined"));
}

static void show_catalog(const struct pfs_json *c)
{
	const char *aside = pfs_json_str(c, "set_aside");

	(void)printf("  catalog   %s", or_none(pfs_json_str(c, "state")));
	if (aside && aside[0])
		(void)printf(" (the earlier one was set aside: %s)", aside);
	(void)printf("\n");
}

static void show_option(void *arg, const char *key, const char *text,
			const struct pfs_json *v)
{
	(void)arg;
	(void)v;
	(void)printf("            %s=%s\n", key, text);
}

static void show_proposer(void *arg, const char *key, const char *text,
			  const struct pfs_json *v)
{
	(void)arg;
	(void)v;
	if (strcmp(text, "true") != 0)
		(void)printf("; %s off", key);
}

static void show_prefetch(const struct pfs_json *p)
{
	char rate[32];

	if (!p)
		return; /* an older daemon */
	(void)printf("  prefetch  %s, trust %s",
		     or_none(pfs_json_str(p, "level")),
		     or_none(pfs_json_str(p, "trust")));
	if (pfs_json_num(p, "rate_max"))
		(void)printf(", at most %s/s",
			     cli_size(rate, pfs_json_num(p, "rate_max")));
	pfs_json_each(pfs_json_get(p, "proposers"), show_proposer, NULL);
	(void)puts("");
}

static void show_status(const struct pfs_json *v)
{
	const struct pfs_json *use = pfs_json_get(v, "in_use");

	(void)printf("%s\n  source    %s\n",
		     or_none(pfs_json_str(v, "mountpoint")),
		     or_none(pfs_json_str(v, "source")));
	show_life(v);
	show_store(pfs_json_get(v, "store"));
	show_catalog(pfs_json_get(v, "catalog"));
	(void)printf("  in use    %llu images, %llu handles, %llu of them "
		     "writing\n",
		     (unsigned long long)pfs_json_num(use, "images"),
		     (unsigned long long)pfs_json_num(use, "handles"),
		     (unsigned long long)pfs_json_num(use, "writers"));
	show_prefetch(pfs_json_get(v, "prefetch"));
	(void)printf("  log       %s%s\n", or_none(pfs_json_str(v, "log")),
		     pfs_json_is_true(v, "faults_enabled")
			     ? ", fault points enabled"
			     : "");
	(void)puts("  options");
	pfs_json_each(pfs_json_get(v, "options"), show_option, NULL);
}

int verb_status(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *v;
	int status = cli_ask_verb(cli, "status", &answer, &v);

	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	show_status(v);
	return STATUS_OK;
}
