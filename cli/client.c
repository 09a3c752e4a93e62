/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One question, one answer.  The listening socket outlives workers, so a
 * question can meet a worker that dies or is replaced before it answers; then
 * the connection ends without an answer and the question is asked again.
 */
#include "cli.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <pfs/clock.h>

#define RETRY_NS (3 * PFS_NSEC_PER_SEC)
#define RETRY_PAUSE_MS 50
#define SILENCE_MS 15000 /* a busy daemon sends a line each second */

/* What one attempt came to, beside an exit status. */
#define ATTEMPT_LOST (-1) /* the worker went away: ask again */

struct line_reader {
	int fd;
	char *buf; /* owned */
	size_t n, room;
};

static void reader_done(struct line_reader *r)
{
	free(r->buf);
}

static int PFS_PRINTF(3, 4)
	say(unsigned int flags, int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (flags & ASK_QUIET)
		return status;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return cli_say(status, "%s", text);
}

static int explain_connect(struct cli *cli, unsigned int flags, int err)
{
	struct stat st;

	if (err == -EACCES && stat(cli->socket, &st) == 0 && st.st_uid == 0)
		return say(flags, STATUS_FAILED,
			   "not permitted: the daemon of %s is root's; "
			   "run pfsctl as root",
			   cli->mountpoint);
	if (err == -EACCES || err == -EPERM)
		return say(flags, STATUS_FAILED,
			   "not permitted: the daemon of %s is another user's; "
			   "run pfsctl as that user or as root",
			   cli->mountpoint);
	if (err == -ECONNREFUSED || err == -ENOENT)
		return say(flags, STATUS_NO_DAEMON,
			   "no daemon listens for %s any more: if the mount "
			   "is still there, unmount it and mount again",
			   cli->mountpoint);
	return say(flags, STATUS_FAILED, "connect: %s", strerror(-err));
}

static int connect_to(const char *path, int *out)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	PFS_AUTO_FD fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	*out = pfs_take_fd(&fd);
	return 0;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Read more; 0 at the end of the stream, or -errno. */
static ssize_t reader_fill(struct line_reader *r)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN};
	ssize_t n;

	if (r->n == r->room) {
		size_t room = r->room ? r->room * 2 : 4096;
		char *buf = room > 2 * PFS_CTL_ANSWER_MAX
				    ? NULL
				    : realloc(r->buf, room);

		if (!buf)
			return -EMSGSIZE;
		r->buf = buf;
		r->room = room;
	}
	do
		n = poll(&p, 1, SILENCE_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	do
		n = read(r->fd, r->buf + r->n, r->room - r->n);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		r->n += (size_t)n;
	return n < 0 ? -errno : n;
}

/* The next line; *len is without the newline. */
static int reader_line(struct line_reader *r, size_t *len)
{
	for (;;) {
		char *end = r->n ? memchr(r->buf, '\n', r->n) : NULL;
		ssize_t n;

		if (end) {
			*len = (size_t)(end - r->buf);
			return 0;
		}
		n = reader_fill(r);
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
	}
}

static void reader_skip(struct line_reader *r, size_t len)
{
	r->n -= len + 1;
	memmove(r->buf, r->buf + len + 1, r->n);
}

static void show_progress(const struct pfs_json *p)
{
	uint64_t total = pfs_json_num(p, "total");

	if (total && isatty(STDERR_FILENO))
		(void)fprintf(stderr, "\r%3llu %% of %llu chunks ",
			      (unsigned long long)(pfs_json_num(p, "done") *
						   100 / total),
			      (unsigned long long)total);
}

static void end_progress(void)
{
	if (isatty(STDERR_FILENO))
		(void)fputs("\r                                      \r",
			    stderr);
}

static int explain_protocol(const struct pfs_ctl_answer_info *a,
			    unsigned int flags)
{
	if (a->protocol > PFS_CTL_PROTOCOL)
		return say(flags, STATUS_FAILED,
			   "the daemon (pfs %s) is newer than this pfsctl "
			   "(%s): use the pfsctl that came with it",
			   a->version, pfs_ctl_version());
	return say(flags, STATUS_FAILED,
		   "the daemon (pfs %s) is older than this pfsctl (%s): "
		   "use the pfsctl that came with it, or mount again",
		   a->version, pfs_ctl_version());
}

static int explain_error(const struct pfs_ctl_answer_info *a,
			 unsigned int flags)
{
	const char *code = pfs_json_str(a->value, "code");
	const char *text = pfs_json_str(a->value, "text");
	int status = STATUS_FAILED;

	if (code && !strcmp(code, "ECANCELED"))
		return ATTEMPT_LOST; /* the worker is being replaced */
	if (code && !strcmp(code, "EINVAL"))
		status = STATUS_USAGE;
	if (code && !strcmp(code, "ENOSYS"))
		return say(flags, status,
			   "%s: it is older than this pfsctl (%s), "
			   "pfsctl upgrade starts the installed pfs",
			   text ? text : code, pfs_ctl_version());
	return say(flags, status, "%s", text ? text : "the daemon refused");
}

/* Judge one line.  *is_final is left false for a progress line. */
static int take_answer(const struct line_reader *r, size_t len,
		       unsigned int flags, bool *is_final,
		       struct pfs_json **out, struct pfs_json **value)
{
	struct pfs_ctl_answer_info a;
	int status = STATUS_OK;

	*is_final = true;
	if (pfs_ctl_answer_parse(r->buf, len, &a))
		return say(flags, STATUS_FAILED,
			   "the daemon's answer makes no sense: is it a pfs "
			   "that listens there?");
	if (a.protocol != PFS_CTL_PROTOCOL) {
		status = explain_protocol(&a, flags);
	} else if (a.kind == PFS_CTL_ERROR) {
		status = explain_error(&a, flags);
	} else if (a.kind == PFS_CTL_PROGRESS) {
		*is_final = false;
		if (flags & ASK_PROGRESS)
			show_progress(a.value);
	} else {
		*out = a.body;
		*value = a.value;
		return STATUS_OK;
	}
	pfs_json_free(a.body);
	return status;
}

static int wait_answer(struct cli *cli, int fd, unsigned int flags,
		       struct pfs_json **out, struct pfs_json **value)
{
	PFS_AUTO(reader_done) struct line_reader r = {.fd = fd};
	bool is_final = false;
	int status = STATUS_OK;

	while (!is_final) {
		size_t len = 0;
		int err = reader_line(&r, &len);

		if (err == -ECONNRESET || err == -EPIPE)
			return ATTEMPT_LOST;
		if (err == -ETIMEDOUT)
			return say(flags, STATUS_FAILED,
				   "the daemon of %s does not answer: its "
				   "worker is starting or hangs; see its log",
				   cli->mountpoint);
		if (err)
			return say(flags, STATUS_FAILED, "answer: %s",
				   strerror(-err));
		status = take_answer(&r, len, flags, &is_final, out, value);
		reader_skip(&r, len);
	}
	if (flags & ASK_PROGRESS)
		end_progress();
	return status;
}

static int attempt(struct cli *cli, const char *line, unsigned int flags,
		   struct pfs_json **out, struct pfs_json **value)
{
	PFS_AUTO_FD fd = -1;
	int err = connect_to(cli->socket, &fd);

	if (err)
		return explain_connect(cli, flags, err);
	/* Even when sending fails there may be an answer: a refusal. */
	err = send_all(fd, line, strlen(line));
	if (err && err != -EPIPE && err != -ECONNRESET)
		return say(flags, STATUS_FAILED, "send: %s", strerror(-err));
	return wait_answer(cli, fd, flags, out, value);
}

static char *request_line(struct pfs_json *req)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *owned = req;
	PFS_AUTO_FREE char *text = NULL;
	char *line;

	if (pfs_json_text(owned, false, &text) ||
	    asprintf(&line, "%s\n", text) < 0)
		return NULL;
	return line;
}

int cli_ask(struct cli *cli, struct pfs_json *req, unsigned int flags,
	    struct pfs_json **out, struct pfs_json **value)
{
	PFS_AUTO_FREE char *line = request_line(req);
	uint64_t give_up_ns = 0;
	int status;

	if (!line)
		return cli_say(STATUS_FAILED, "out of memory");
	if (strlen(line) > PFS_CTL_REQUEST_MAX)
		return cli_say(STATUS_USAGE, "the arguments are too long");
	for (;;) {
		status = attempt(cli, line, flags, out, value);
		if (status != ATTEMPT_LOST)
			return status;
		if (flags & ASK_LOSABLE)
			return STATUS_OK;
		if (flags & ASK_ONCE)
			break;
		if (!give_up_ns) {
			give_up_ns = pfs_now_ns() + RETRY_NS;
			(void)say(flags, 0,
				  "the worker of %s went away before it "
				  "answered: asking again",
				  cli->mountpoint);
		}
		if (pfs_now_ns() > give_up_ns)
			break;
		pfs_sleep_ms(RETRY_PAUSE_MS);
	}
	return say(flags, STATUS_FAILED,
		   "the worker of %s went away before it answered; the "
		   "supervisor starts another: try again",
		   cli->mountpoint);
}

int cli_ask_verb(struct cli *cli, const char *verb, struct pfs_json **out,
		 struct pfs_json **value)
{
	return cli_ask(cli, pfs_ctl_request(verb), 0, out, value);
}
