/* SPDX-License-Identifier: GPL-3.0-or-later */
/* list, and the words that the shell's completion asks for. */
#include "cli.h"

#include <string.h>

static int list_one(void *arg, const struct pfs_ctl_mount *m)
{
	struct pfs_json *o = pfs_json_object();

	pfs_json_set_str(o, "id", m->id);
	pfs_json_set_str(o, "mountpoint", m->mountpoint);
	pfs_json_set_str(o, "source", m->source);
	pfs_json_set_u64(o, "supervisor_pid", (uint64_t)m->supervisor_pid);
	pfs_json_set_bool(o, "is_alive", m->is_alive);
	pfs_json_set_str(o, "socket", m->socket);
	pfs_json_push(arg, o);
	return 0;
}

static void show_list(const struct pfs_json *mounts)
{
	for (size_t i = 0; i < pfs_json_len(mounts); i++) {
		const struct pfs_json *m = pfs_json_at(mounts, i);

		(void)printf(
			"%s from %s, pid %llu%s\n",
			pfs_json_str(m, "mountpoint"),
			pfs_json_str(m, "source"),
			(unsigned long long)pfs_json_num(m, "supervisor_pid"),
			pfs_json_is_true(m, "is_alive")
				? ""
				: " (has ended: mount again)");
	}
	if (!pfs_json_len(mounts))
		(void)puts("No pfs is mounted.");
}

int verb_list(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *mounts = pfs_json_array();
	int err = pfs_ctl_mounts(list_one, mounts);

	if (err)
		return cli_say(STATUS_FAILED, "looking for mounts: %s",
			       strerror(-err));
	if (cli->is_json)
		return cli_print_json(mounts);
	show_list(mounts);
	return STATUS_OK;
}

/* --- completion --- */

/* Words are given as bytes, since that is what the shell passes back. */
static int print_mount(void *arg, const struct pfs_ctl_mount *m)
{
	(void)arg;
	if (m->is_alive)
		(void)puts(m->mountpoint);
	return 0;
}

static int print_images(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	const struct pfs_json *images;
	struct pfs_json *v;

	if (cli_pick(cli) ||
	    cli_ask(cli, pfs_ctl_request("images"), ASK_QUIET, &answer, &v))
		return STATUS_FAILED;
	images = pfs_json_get(v, "images");
	for (size_t i = 0; i < pfs_json_len(images); i++) {
		PFS_AUTO_FREE char *name = NULL;

		if (!pfs_json_bytes(pfs_json_at(images, i), "name", &name))
			(void)puts(name);
	}
	return STATUS_OK;
}

int verb_complete(struct cli *cli)
{
	if (!strcmp(cli->args[0], "images"))
		return print_images(cli);
	return pfs_ctl_mounts(print_mount, NULL) ? STATUS_FAILED : STATUS_OK;
}
