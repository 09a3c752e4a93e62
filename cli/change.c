/* SPDX-License-Identifier: GPL-3.0-or-later */
/* drop, verify, set, stop and debug. */
#include "cli.h"

#include <string.h>

#include <pfs/clock.h>

#define STOP_NS (30 * PFS_NSEC_PER_SEC)

int verb_drop(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req, *v;
	int status;

	if (cli->is_all == (cli->n_args == 1))
		return cli_say(STATUS_USAGE, "drop takes an IMAGE or --all");
	req = pfs_ctl_request("drop");
	if (cli->is_all)
		pfs_json_set_bool(req, "all", true);
	else
		pfs_json_set_str(req, "image", cli->args[0]);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	(void)printf("Dropped %llu chunks in use, and all that were saved.\n",
		     (unsigned long long)pfs_json_num(v, "chunks"));
	return STATUS_OK;
}

int verb_verify(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("verify");
	unsigned long long n_bad, n_idle;
	struct pfs_json *v;
	int status;

	if (cli->n_args)
		pfs_json_set_str(req, "image", cli->args[0]);
	status =
		cli_ask(cli, req, cli->is_json ? 0 : ASK_PROGRESS, &answer, &v);
	if (status)
		return status;
	n_bad = pfs_json_num(v, "bad");
	n_idle = pfs_json_num(v, "images_not_loaded");
	if (cli->is_json) {
		status = cli_print_json(v);
	} else {
		(void)printf("%llu chunks read, %llu bad%s\n",
			     (unsigned long long)pfs_json_num(v, "chunks"),
			     n_bad, n_bad ? " (dropped)" : "");
		if (n_idle)
			(void)printf("%llu images are not in use: their "
				     "chunks were not read\n",
				     n_idle);
	}
	return n_bad ? STATUS_FAILED : status;
}

int verb_set(struct cli *cli)
{
	static const char *const keys[] = {"log",
					   "max_background",
					   "prefetch",
					   "proposer.sequential",
					   "proposer.replay",
					   "proposer.markov",
					   "trust",
					   NULL};
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	PFS_AUTO_FREE char *key = strdup(cli->args[0]);
	char *value = key ? strchr(key, '=') : NULL;
	const char *meant;
	struct pfs_json *req, *v;
	int status;

	if (!value)
		return cli_say(STATUS_USAGE,
			       "set takes KEY=VALUE, for example log=debug");
	*value++ = '\0';
	meant = cli_suggest(key, keys);
	if (meant && strcmp(meant, key) != 0)
		return cli_say(STATUS_USAGE,
			       "there is no setting '%s': did you mean '%s'?",
			       key, meant);
	req = pfs_ctl_request("set");
	pfs_json_set_str(req, "key", key);
	pfs_json_set_str(req, "value", value);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return meant ? status : STATUS_USAGE;
	if (cli->is_json)
		return cli_print_json(v);
	(void)printf("%s is now %s until the worker is replaced\n", key, value);
	return STATUS_OK;
}

/* --- stop --- */

/* A zombie is over: whose child it is may not care. */
static bool is_running(uint64_t pid)
{
	char path[64], text[512] = "";
	const char *state;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%llu/stat",
		       (unsigned long long)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	state = strrchr(text, ')'); /* "PID (NAME) STATE ..." */
	return state && strncmp(state, ") Z", 3) != 0 &&
	       strncmp(state, ") X", 3) != 0;
}

/* The supervisor first: after it nobody starts another worker. */
static bool has_ended(const struct cli *cli, const struct pfs_json *v)
{
	return !is_running((uint64_t)cli->supervisor_pid) &&
	       !is_running(pfs_json_num(v, "worker_pid"));
}

int verb_stop(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	uint64_t give_up_ns = pfs_now_ns() + STOP_NS;
	struct pfs_json *req = pfs_ctl_request("stop");
	struct pfs_json *v;
	int status;

	if (cli->is_forced)
		pfs_json_set_bool(req, "force", true);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	while (!has_ended(cli, v)) {
		if (pfs_now_ns() > give_up_ns)
			return cli_say(STATUS_FAILED,
				       "the daemon of %s has not ended after "
				       "30 s: perhaps the source hangs; see "
				       "the daemon's log",
				       cli->mountpoint);
		pfs_sleep_ms(20);
	}
	if (cli->is_json)
		return cli_print_json(v);
	(void)printf("%s is unmounted\n", cli->mountpoint);
	return STATUS_OK;
}

/* --- debug --- */

static int show_points(struct cli *cli, const struct pfs_json *points)
{
	if (cli->is_json)
		return cli_print_json(points);
	for (size_t i = 0; i < pfs_json_len(points); i++) {
		const struct pfs_json *p = pfs_json_at(points, i);

		(void)printf("%s %llu %llu\n", pfs_json_str(p, "name"),
			     (unsigned long long)pfs_json_num(p, "paused"),
			     (unsigned long long)pfs_json_num(p, "fired"));
	}
	return STATUS_OK;
}

/* debug fault SPEC|clear|resume [POINT]|status */
int verb_debug(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	const char *what = cli->n_args > 1 ? cli->args[1] : "";
	bool is_resume = !strcmp(what, "resume");
	bool is_word =
		is_resume || !strcmp(what, "clear") || !strcmp(what, "status");
	struct pfs_json *req, *v;
	int status;

	if (strcmp(cli->args[0], "fault") != 0 || !what[0] ||
	    (cli->n_args > 2 && !is_resume))
		return cli_say(STATUS_USAGE,
			       "debug fault SPEC|clear|resume [POINT]|status");
	req = pfs_ctl_request("debug");
	pfs_json_set_str(req, "action", is_word ? what : "arm");
	if (!is_word)
		pfs_json_set_str(req, "spec", what);
	if (cli->n_args > 2)
		pfs_json_set_str(req, "point", cli->args[2]);
	/* What was armed may kill the worker before it answers. */
	status = cli_ask(cli, req, is_word ? 0 : ASK_ONCE, &answer, &v);
	if (status)
		return status;
	if (!strcmp(what, "status"))
		return show_points(cli, pfs_json_get(v, "points"));
	return cli->is_json ? cli_print_json(v) : STATUS_OK;
}
