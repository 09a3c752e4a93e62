/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * upgrade: the answer may come from the old worker, or be lost with it, so
 * what counts is who serves afterwards: another pid without a death between.
 */
#include "cli.h"

#include <string.h>

#include <pfs/clock.h>

#define HANDOVER_NS (30 * PFS_NSEC_PER_SEC)

struct serving {
	uint64_t worker_pid, n_deaths;
	char *version; /* owned */
};

static void serving_done(struct serving *s)
{
	free(s->version);
}

static int ask_serving(struct cli *cli, unsigned int flags, struct serving *out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *v;
	int status =
		cli_ask(cli, pfs_ctl_request("status"), flags, &answer, &v);
	const char *version;

	if (status)
		return status;
	version = pfs_json_str(v, "version");
	free(out->version);
	out->version = strdup(version ? version : "?");
	out->worker_pid = pfs_json_num(v, "worker_pid");
	out->n_deaths = pfs_json_num(v, "worker_deaths");
	return STATUS_OK;
}

/* True: *now is another worker than *before. */
static bool wait_successor(struct cli *cli, const struct serving *before,
			   uint64_t patience_ns, struct serving *now)
{
	uint64_t give_up_ns = pfs_now_ns() + patience_ns;

	do {
		if (ask_serving(cli, ASK_QUIET, now) == STATUS_OK &&
		    now->worker_pid != before->worker_pid)
			return true;
		pfs_sleep_ms(20);
	} while (pfs_now_ns() < give_up_ns);
	return false;
}

static struct pfs_json *upgrade_request(struct cli *cli)
{
	struct pfs_json *req = pfs_ctl_request("upgrade");
	PFS_AUTO_FREE char *path = NULL;

	if (cli->n_args) {
		path = realpath(cli->args[0], NULL);
		/* One that is not there is the daemon's to refuse. */
		pfs_json_set_str(req, "binary", path ? path : cli->args[0]);
	}
	if (cli->is_supervisor)
		pfs_json_set_bool(req, "supervisor", true);
	return req;
}

static int tell(struct cli *cli, const struct serving *before,
		const struct serving *now)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;

	if (!cli->is_json) {
		(void)printf("%s is served by pfs %s now, worker pid %llu "
			     "after %llu\n",
			     cli->mountpoint, now->version,
			     (unsigned long long)now->worker_pid,
			     (unsigned long long)before->worker_pid);
		return STATUS_OK;
	}
	v = pfs_json_object();
	pfs_json_set_u64(v, "worker_pid", now->worker_pid);
	pfs_json_set_u64(v, "old_worker_pid", before->worker_pid);
	pfs_json_set_str(v, "version", now->version);
	return cli_print_json(v);
}

int verb_upgrade(struct cli *cli)
{
	PFS_AUTO(serving_done) struct serving before = {.version = NULL};
	PFS_AUTO(serving_done) struct serving now = {.version = NULL};
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *v;
	int status = ask_serving(cli, 0, &before);

	if (status)
		return status;
	status = cli_ask(cli, upgrade_request(cli), ASK_LOSABLE, &answer, &v);
	if (status)
		return status;
	if (!wait_successor(cli, &before, HANDOVER_NS, &now))
		return cli_say(STATUS_FAILED,
			       "no new worker serves %s after 30 s: see the "
			       "daemon's log; pid %llu goes on",
			       cli->mountpoint,
			       (unsigned long long)before.worker_pid);
	if (now.n_deaths != before.n_deaths)
		return cli_say(STATUS_FAILED,
			       "the worker died during the upgrade; what "
			       "serves now is pfs %s, pid %llu: try again",
			       now.version, (unsigned long long)now.worker_pid);
	return tell(cli, &before, &now);
}
