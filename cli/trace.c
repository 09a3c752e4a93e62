/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * trace: take from the daemon what an image's guests did, again and again, and
 * write it as CSV.  When the worker is replaced a trace is begun anew in the
 * next one, and the times go on.
 */
#include "cli.h"

#include <signal.h>
#include <string.h>

#include <zlib.h>

#include <pfs/clock.h>

#define RESTART_PAUSE_MS 50
#define NUMBERS 4 /* of a record: time, is it a write, offset, length */

struct tracing {
	struct cli *cli;
	gzFile out;
	uint64_t end_ns;   /* UINT64_MAX: none */
	uint64_t start_ns; /* of the whole */
	uint64_t id;       /* of the trace in the daemon */
	uint64_t at_us;    /* where that began */
	uint64_t n_reads, n_writes, n_dropped, n_restarts;
	uint64_t dropped_now; /* of the present trace */
};

static volatile sig_atomic_t is_over;

static void on_signal(int sig)
{
	(void)sig;
	is_over = 1;
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGHUP, &sa, NULL);
	/* A reader that goes away shows as a failed write. */
	sa.sa_handler = SIG_IGN;
	(void)sigaction(SIGPIPE, &sa, NULL);
}

/* --- the file --- */

static int say_failed(const struct tracing *t)
{
	const char *name = t->cli->output;

	return cli_say(STATUS_FAILED, "%s: %s", name ? name : "the output",
		       errno ? strerror(errno) : "cannot be written");
}

/* zlib writes both kinds alike; "T" is plain text. */
static int open_output(struct tracing *t)
{
	const char *name = t->cli->output;
	size_t len = name ? strlen(name) : 0;
	bool is_packed = len > 3 && !strcmp(name + len - 3, ".gz");
	int fd;

	errno = 0;
	if (name) {
		t->out = gzopen(name, is_packed ? "wbe" : "wbeT");
	} else {
		fd = dup(STDOUT_FILENO);
		t->out = fd < 0 ? NULL : gzdopen(fd, "wbT");
		if (!t->out && fd >= 0)
			close(fd);
	}
	if (!t->out)
		return say_failed(t);
	return STATUS_OK;
}

static int write_head(struct tracing *t)
{
	errno = 0;
	if (gzputs(t->out, "time_us,op,offset,length\n") < 0 ||
	    gzflush(t->out, Z_SYNC_FLUSH) != Z_OK)
		return say_failed(t);
	return STATUS_OK;
}

static int close_output(struct tracing *t)
{
	return gzclose(pfs_take(&t->out)) == Z_OK ? STATUS_OK : say_failed(t);
}

static int write_record(struct tracing *t, const struct pfs_json *r, size_t i)
{
	bool is_write = pfs_json_num_at(r, i + 1);
	unsigned long long at_us = t->at_us + pfs_json_num_at(r, i);
	int n = gzprintf(t->out, "%llu,%c,%llu,%llu\n", at_us,
			 is_write ? 'W' : 'R',
			 (unsigned long long)pfs_json_num_at(r, i + 2),
			 (unsigned long long)pfs_json_num_at(r, i + 3));

	*(is_write ? &t->n_writes : &t->n_reads) += 1;
	return n > 0 ? STATUS_OK : say_failed(t);
}

/* --- the daemon --- */

static int begin(struct tracing *t)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("trace");
	struct pfs_json *v;
	int status;

	pfs_json_set_str(req, "action", "begin");
	pfs_json_set_str(req, "image", t->cli->args[0]);
	status = cli_ask(t->cli, req, 0, &answer, &v);
	if (status)
		return status;
	t->id = pfs_json_num(v, "id");
	t->at_us = (pfs_now_ns() - t->start_ns) / 1000;
	t->n_dropped += t->dropped_now;
	t->dropped_now = 0;
	return STATUS_OK;
}

static int write_records(struct tracing *t, const struct pfs_json *v)
{
	const struct pfs_json *r = pfs_json_get(v, "records");
	size_t n = pfs_json_len(r);
	int status = STATUS_OK;

	errno = 0;
	t->dropped_now = pfs_json_num(v, "dropped");
	for (size_t i = 0; i + NUMBERS <= n && !status; i += NUMBERS)
		status = write_record(t, r, i);
	if (!status && n && gzflush(t->out, Z_SYNC_FLUSH) != Z_OK)
		status = say_failed(t);
	return status;
}

/* *is_lost: the worker that made the trace is gone, and with it what was not
 * taken yet. */
static int take(struct tracing *t, const char *action, bool *is_lost)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("trace");
	struct pfs_json *v = NULL;
	int status;

	pfs_json_set_str(req, "action", action);
	pfs_json_set_u64(req, "id", t->id);
	status = cli_ask(t->cli, req, ASK_ONCE | ASK_QUIET | ASK_LOSABLE,
			 &answer, &v);
	*is_lost = status != STATUS_OK || !v;
	return *is_lost ? STATUS_OK : write_records(t, v);
}

static int run(struct tracing *t)
{
	int status = begin(t);
	bool is_lost = false;

	/* Who waits for this line knows that recording has begun. */
	if (!status)
		status = write_head(t);
	while (!status && !is_over && pfs_now_ns() < t->end_ns) {
		status = take(t, "take", &is_lost);
		if (status || !is_lost)
			continue;
		t->n_restarts++;
		pfs_sleep_ms(RESTART_PAUSE_MS);
		status = begin(t); /* says why, if there is nobody */
	}
	/* Also when the file cannot be written: the daemon need not go on. */
	if (t->id) {
		int last = take(t, "end", &is_lost);

		status = status ? status : last;
	}
	t->n_dropped += t->dropped_now;
	return status;
}

/* --- the verb --- */

static int tell(const struct tracing *t)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;

	if (t->n_restarts)
		(void)cli_say(STATUS_OK,
			      "the worker was replaced %llu times: what was "
			      "done meanwhile is missing",
			      (unsigned long long)t->n_restarts);
	if (t->n_dropped)
		(void)cli_say(STATUS_OK,
			      "%llu reads and writes are missing: they came "
			      "faster than they could be recorded",
			      (unsigned long long)t->n_dropped);
	if (!t->cli->is_json) {
		(void)fprintf(stderr, "%llu reads and %llu writes recorded\n",
			      (unsigned long long)t->n_reads,
			      (unsigned long long)t->n_writes);
		return STATUS_OK;
	}
	v = pfs_json_object();
	pfs_json_set_u64(v, "reads", t->n_reads);
	pfs_json_set_u64(v, "writes", t->n_writes);
	pfs_json_set_u64(v, "dropped", t->n_dropped);
	pfs_json_set_u64(v, "restarts", t->n_restarts);
	return cli_print_json(v);
}

static int take_options(struct tracing *t)
{
	const char *word = t->cli->seconds;
	char *end;
	double s;

	if (t->cli->is_json && !t->cli->output)
		return cli_say(STATUS_USAGE,
			       "--json tells how it went, so the trace needs a "
			       "file: -o FILE");
	if (!word)
		return STATUS_OK;
	s = strtod(word, &end);
	if (*end || !(s > 0 && s <= 1e9))
		return cli_say(STATUS_USAGE,
			       "--seconds is a number above 0, not '%s'", word);
	t->end_ns = t->start_ns + (uint64_t)(s * 1e9);
	return STATUS_OK;
}

int verb_trace(struct cli *cli)
{
	struct tracing t = {
		.cli = cli,
		.start_ns = pfs_now_ns(),
		.end_ns = UINT64_MAX,
	};
	int status = take_options(&t), closed;

	if (status)
		return status;
	catch_signals();
	status = open_output(&t);
	if (!status)
		status = run(&t);
	closed = t.out ? close_output(&t) : STATUS_OK;
	status = status ? status : closed;
	return status ? status : tell(&t);
}
