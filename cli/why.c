/* SPDX-License-Identifier: GPL-3.0-or-later */
/* why and warm. */
#include "cli.h"

#include <string.h>

/* --- why --- */

/* "replay and markov" */
static void print_names(const struct pfs_json *decision)
{
	const struct pfs_json *names = pfs_json_get(decision, "proposers");
	size_t n = pfs_json_len(names);

	if (!n)
		(void)printf("a probe"); /* nobody named it */
	for (size_t i = 0; i < n; i++)
		(void)printf("%s%s",
			     !i           ? ""
			     : i + 1 == n ? " and "
					  : ", ",
			     pfs_json_str_at(names, i));
}

/* "1.5 s", "20 ms", "5 min 3 s" */
static const char *span(char buf[48], double seconds)
{
	if (seconds < 1)
		(void)snprintf(buf, 48, "%.0f ms", seconds * 1000);
	else if (seconds < 60)
		(void)snprintf(buf, 48, "%.1f s", seconds);
	else
		cli_duration(buf, (uint64_t)seconds);
	return buf;
}

static void show_fate(const struct pfs_json *d)
{
	const char *fate = pfs_json_str(d, "fate");
	double after = pfs_json_real(d, "ended_after_s");
	char buf[48];

	if (!fate)
		fate = "";
	span(buf, after);
	if (!strcmp(fate, "used"))
		(void)printf("Used: it was there when it was read %s later.\n",
			     buf);
	else if (!strcmp(fate, "late"))
		(void)printf("Late: it was read %s later, while its fetch was "
			     "under way.\n",
			     buf);
	else if (!strcmp(fate, "wasted"))
		(void)printf("Wasted: not read in %s, or evicted unread.\n",
			     buf);
	else if (!strcmp(fate, "pending"))
		(void)puts("Pending: not read so far.");
	else
		(void)puts("Not taken: it was there already, or its fetch "
			   "failed.");
}

static void show_decision(const struct pfs_json *d)
{
	char ago[48], vm[64], share[16];

	(void)printf("%s ago, for %s: ",
		     span(ago, pfs_json_real(d, "asked_ago_s")), cli_vm(vm, d));
	print_names(d);
	(void)printf(" expected it, confidence %s.\n  ",
		     cli_percent(share, pfs_json_real(d, "confidence")));
	show_fate(d);
}

static void show_why(const struct pfs_json *v)
{
	const struct pfs_json *all = pfs_json_get(v, "decisions");
	char size[32];

	(void)printf("%s, chunk %llu (%s from byte %llu on): %s.\n",
		     pfs_json_str(v, "image"),
		     (unsigned long long)pfs_json_num(v, "number"),
		     cli_size(size, pfs_json_num(v, "chunk")),
		     (unsigned long long)pfs_json_num(v, "offset"),
		     pfs_json_is_true(v, "is_resident") ? "resident"
							: "not resident");
	for (size_t i = 0; i < pfs_json_len(all); i++)
		show_decision(pfs_json_at(all, i));
	if (!pfs_json_len(all))
		(void)puts("It was not fetched ahead, as far as is remembered "
			   "(the latest few thousand decisions).");
}

int verb_why(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req, *v;
	uint64_t off;
	int status;

	if (!cli_bytes(cli->args[1], &off))
		return STATUS_USAGE;
	req = pfs_ctl_request("why");
	pfs_json_set_str(req, "image", cli->args[0]);
	pfs_json_set_u64(req, "offset", off);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	show_why(v);
	return STATUS_OK;
}

/* --- warm --- */

int verb_warm(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("warm");
	struct pfs_json *v;
	char size[32];
	int status;

	pfs_json_set_str(req, "image", cli->args[0]);
	if (cli->from_recording)
		pfs_json_set_bool(req, "recording", true);
	if (cli->waits)
		pfs_json_set_bool(req, "wait", true);
	status =
		cli_ask(cli, req, cli->is_json ? 0 : ASK_PROGRESS, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	cli_size(size,
		 pfs_json_num(v, "resident_chunks") * pfs_json_num(v, "chunk"));
	(void)printf("%llu of %llu chunks (%s) are resident",
		     (unsigned long long)pfs_json_num(v, "resident_chunks"),
		     (unsigned long long)pfs_json_num(v, "chunks"), size);
	(void)puts(cli->waits ? "."
			      : "; the rest is brought when nothing more "
				"urgent is to be fetched.");
	return STATUS_OK;
}
