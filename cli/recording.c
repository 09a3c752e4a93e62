/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * recording: list, show, export, import, drop.  The daemon passes recordings
 * on as bytes; what is in them is looked at here.
 */
#include "cli.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <pfs/recording.h>

#define BLOB_MAX PFS_RECORDING_BYTES_MAX

struct blob {
	void *at; /* owned */
	size_t len;
};

static void blob_fini(struct blob *b)
{
	free(b->at);
}

static struct pfs_json *request(const struct cli *cli, const char *action)
{
	struct pfs_json *req = pfs_ctl_request("recording");

	pfs_json_set_str(req, "action", action);
	pfs_json_set_str(req, "image", cli->args[1]);
	return req;
}

/* The third argument, as the number of a recording. */
static int get_number(const struct cli *cli, uint64_t *out)
{
	const char *word = cli->n_args == 3 ? cli->args[2] : "";
	char *end;

	errno = 0;
	*out = strtoull(word, &end, 10);
	if (word[0] >= '1' && word[0] <= '9' && !*end && !errno)
		return STATUS_OK;
	return cli_say(STATUS_USAGE,
		       "recording %s takes IMAGE and the number of a "
		       "recording, as list tells",
		       cli->args[0]);
}

/* --- list --- */

static void show_one(const struct pfs_json *r)
{
	char read[32], lasted[48], vm[64], size[32];

	if (!pfs_json_is_true(r, "is_sound")) {
		(void)printf("%6llu  damaged\n",
			     (unsigned long long)pfs_json_num(r, "number"));
		return;
	}
	(void)printf(
		"%6llu %9s %8llu %8llu %12s %9s  %s\n",
		(unsigned long long)pfs_json_num(r, "number"),
		cli_size(read, pfs_json_num(r, "read_bytes")),
		(unsigned long long)pfs_json_num(r, "chunks"),
		(unsigned long long)pfs_json_num(r, "sessions"),
		cli_duration(lasted, (uint64_t)pfs_json_real(r, "duration_s")),
		cli_size(size, pfs_json_num(r, "bytes")),
		cli_vm(vm, pfs_json_get(r, "taught_by")));
}

static int list(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	const struct pfs_json *all;
	struct pfs_json *v;
	int status = cli_ask(cli, request(cli, "list"), 0, &answer, &v);

	if (status)
		return status;
	all = pfs_json_get(v, "recordings");
	if (cli->is_json)
		return cli_print_json(all);
	if (!pfs_json_len(all)) {
		(void)puts("Nothing is recorded of it yet.");
		return STATUS_OK;
	}
	(void)printf("%6s %9s %8s %8s %12s %9s  %s\n", "number", "read",
		     "chunks", "sessions", "lasting", "size", "first by");
	for (size_t i = 0; i < pfs_json_len(all); i++)
		show_one(pfs_json_at(all, i));
	return STATUS_OK;
}

/* --- show, export --- */

static int get_blob(struct cli *cli, struct blob *out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req, *v;
	uint64_t number;
	int status = get_number(cli, &number);

	if (status)
		return status;
	req = request(cli, "export");
	pfs_json_set_u64(req, "number", number);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (!status && pfs_json_data(v, "data", &out->at, &out->len))
		return cli_say(STATUS_FAILED,
			       "the daemon's answer makes no sense");
	return status;
}

static struct pfs_json *steps_json(const struct pfs_recording_step *step,
				   const struct pfs_recording_info *info)
{
	struct pfs_json *all = pfs_json_array();
	uint64_t at_ns = 0;

	for (uint32_t i = 0; i < info->n_steps; i++) {
		struct pfs_json *o = pfs_json_object();

		at_ns += step[i].gap_ns;
		pfs_json_set_u64(o, "offset", step[i].chunk * info->chunk);
		pfs_json_set_u64(o, "time_us", at_ns / 1000);
		pfs_json_set_u64(o, "sessions", step[i].n_sessions);
		pfs_json_push(all, o);
	}
	return all;
}

static int show_steps(const struct cli *cli,
		      const struct pfs_recording_step *step,
		      const struct pfs_recording_info *info)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;
	uint64_t at_ns = 0;

	if (cli->is_json) {
		v = pfs_json_object();
		pfs_json_set_u64(v, "chunk", info->chunk);
		pfs_json_set_u64(v, "sessions", info->n_sessions);
		pfs_json_set(v, "steps", steps_json(step, info));
		return cli_print_json(v);
	}
	(void)printf("%16s %12s %8s\n", "offset", "time s", "sessions");
	for (uint32_t i = 0; i < info->n_steps; i++) {
		at_ns += step[i].gap_ns;
		(void)printf("%16llu %12.6f %8u\n",
			     (unsigned long long)step[i].chunk * info->chunk,
			     (double)at_ns / 1e9, step[i].n_sessions);
	}
	return STATUS_OK;
}

static int show(struct cli *cli)
{
	PFS_AUTO(blob_fini) struct blob b = {.at = NULL};
	PFS_AUTO_FREE struct pfs_recording_step *step = NULL;
	struct pfs_recording_info info;
	int status = get_blob(cli, &b);

	if (status)
		return status;
	if (pfs_recording_info(b.at, b.len, &info))
		return cli_say(STATUS_FAILED,
			       "that recording is damaged: drop it");
	step = calloc(info.n_steps + 1, sizeof(*step));
	if (!step)
		return cli_say(STATUS_FAILED, "out of memory");
	if (pfs_recording_steps(b.at, b.len, step, info.n_steps))
		return cli_say(STATUS_FAILED,
			       "that recording is damaged: drop it");
	return show_steps(cli, step, &info);
}

static int export(struct cli *cli)
{
	PFS_AUTO(blob_fini) struct blob b = {.at = NULL};
	FILE *f;
	int status;
	bool is_good;

	if (!cli->output)
		return cli_say(STATUS_USAGE, "export needs -o FILE");
	status = get_blob(cli, &b);
	if (status)
		return status;
	f = fopen(cli->output, "we");
	if (!f)
		return cli_say(STATUS_FAILED, "%s: %s", cli->output,
			       strerror(errno));
	is_good = fwrite(b.at, 1, b.len, f) == b.len;
	if (fclose(f) || !is_good)
		return cli_say(STATUS_FAILED, "%s: %s", cli->output,
			       strerror(errno));
	if (!cli->is_json)
		(void)printf("%zu bytes\n", b.len);
	return STATUS_OK;
}

/* --- import, drop --- */

static int read_file(const char *path, struct blob *out)
{
	PFS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	PFS_AUTO_FREE char *at = malloc(BLOB_MAX + 1);
	ssize_t n = 1;

	if (fd < 0)
		return cli_say(STATUS_FAILED, "%s: %s", path, strerror(errno));
	if (!at)
		return cli_say(STATUS_FAILED, "out of memory");
	while (n > 0 && out->len <= BLOB_MAX) {
		n = read(fd, at + out->len, BLOB_MAX + 1 - out->len);
		out->len += (size_t)PFS_MAX(n, 0);
	}
	if (n < 0)
		return cli_say(STATUS_FAILED, "%s: %s", path, strerror(errno));
	if (out->len > BLOB_MAX)
		return cli_say(STATUS_FAILED,
			       "%s: over 1 MiB, so it is no recording", path);
	out->at = pfs_take(&at);
	return STATUS_OK;
}

static int import(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	PFS_AUTO(blob_fini) struct blob b = {.at = NULL};
	struct pfs_json *req, *v;
	int status;

	if (cli->n_args != 3)
		return cli_say(STATUS_USAGE,
			       "recording import takes IMAGE and FILE");
	status = read_file(cli->args[2], &b);
	if (status)
		return status;
	req = request(cli, "import");
	pfs_json_set_data(req, "data", b.at, b.len);
	/* Asked twice, it might be there twice. */
	status = cli_ask(cli, req, ASK_ONCE, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	(void)printf("It is recording %llu of %s now.\n",
		     (unsigned long long)pfs_json_num(v, "number"),
		     cli->args[1]);
	return STATUS_OK;
}

static int drop(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req, *v;
	uint64_t number = 0;
	int status;

	if (cli->is_all && cli->n_args == 3)
		return cli_say(STATUS_USAGE,
			       "recording drop takes a number or --all");
	status = cli->is_all ? STATUS_OK : get_number(cli, &number);
	if (status)
		return status;
	req = request(cli, "drop");
	if (cli->is_all)
		pfs_json_set_bool(req, "all", true);
	else
		pfs_json_set_u64(req, "number", number);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status || !cli->is_json)
		return status;
	return cli_print_json(v);
}

/* --- the verb --- */

static const struct action {
	const char *name;
	int (*run)(struct cli *cli);
	bool takes_output, takes_all;
} actions[] = {
	{"list", list, false, false},    {"show", show, false, false},
	{"export", export, true, false}, {"import", import, false, false},
	{"drop", drop, false, true},
};

static int run(struct cli *cli, const struct action *a)
{
	if (cli->output && !a->takes_output)
		return cli_say(STATUS_USAGE, "recording %s takes no -o",
			       a->name);
	if (cli->is_all && !a->takes_all)
		return cli_say(STATUS_USAGE, "recording %s takes no --all",
			       a->name);
	return a->run(cli);
}

int verb_recording(struct cli *cli)
{
	const char *names[PFS_ARRAY_SIZE(actions) + 1] = {NULL};
	const char *meant;

	for (size_t i = 0; i < PFS_ARRAY_SIZE(actions); i++) {
		if (!strcmp(cli->args[0], actions[i].name))
			return run(cli, &actions[i]);
		names[i] = actions[i].name;
	}
	meant = cli_suggest(cli->args[0], names);
	return cli_say(STATUS_USAGE,
		       "recording list, show, export, import or drop: '%s' is "
		       "none of them%s%s%s",
		       cli->args[0], meant ? "; did you mean '" : "",
		       meant ? meant : "", meant ? "'?" : "");
}
