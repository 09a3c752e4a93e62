// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Shell commands that do to the file system under test what pfsx cannot: kill
 * its worker, arm its fault points, drop its residency.
 *
 * A helper process runs them, forked before pfsx opens anything at the mount.
 * A child of pfsx itself would inherit descriptors of the mount and close
 * them at exec; each close sends a FLUSH, and a command that is there to end a
 * hang would wait for the hang to end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pfsx.h"

/* So many failures in a row mean that the command itself is wrong. */
#define MAX_FAILURES 50

static long first_number(const char *text)
{
	const char *digit = strpbrk(text, "0123456789");

	return digit ? strtol(digit, NULL, 10) : -1;
}

struct request {
	bool wants_number;
	char line[4096];
};

struct reply {
	int status;
	long number;
};

/* --- under mutex --- */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int helper = -1; /* -1: not started, or no longer to be trusted */

/* ---- in the helper process ---- */

static int exit_status(int status)
{
	if (status < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static int run_reading(const char *line, long *number)
{
	FILE *p = popen(line, "re");
	char out[1024];
	size_t n;

	if (!p)
		return -errno;
	n = fread(out, 1, sizeof(out) - 1, p);
	out[n] = '\0';
	*number = first_number(out);
	return exit_status(pclose(p));
}

static void serve(int fd)
{
	struct request req;
	struct reply rep;

	while (recv(fd, &req, sizeof(req), 0) == sizeof(req)) {
		rep.number = -1;
		/* Without a number to read there is no pipe: a daemon that the
		 * command starts may keep its output open. */
		rep.status = req.wants_number
				     ? run_reading(req.line, &rep.number)
				     : exit_status(system(req.line));
		if (send(fd, &rep, sizeof(rep), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

/* ---- in pfsx ---- */

int cmd_start(unsigned timeout_s)
{
	struct timeval tv = {.tv_sec = timeout_s};
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		serve(fds[1]);
	}
	close(fds[1]);
	if (pid < 0 ||
	    setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0) {
		close(fds[0]);
		return -errno;
	}
	helper = fds[0];
	return 0;
}

static int ask_locked(const struct request *req, struct reply *rep)
{
	int err;

	if (helper < 0)
		return -EPIPE;
	if (send(helper, req, sizeof(*req), MSG_NOSIGNAL) == sizeof(*req) &&
	    recv(helper, rep, sizeof(*rep), 0) == sizeof(*rep))
		return rep->status;
	err = errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
	/* A late answer would be taken for the answer to the next request. */
	close(helper);
	helper = -1;
	return err;
}

int cmd_run(const char *cmd, const char *arg, long *number)
{
	struct request req = {.wants_number = number};
	struct reply rep = {.number = -1};
	int n = snprintf(req.line, sizeof(req.line), "{ %s%s%s%s\n}%s", cmd,
			 arg ? " '" : "", arg ? arg : "", arg ? "'" : "",
			 number ? "" : " >&2"); /* stdout is for the result */
	int status;

	if (n < 0 || (size_t)n >= sizeof(req.line))
		return -E2BIG;
	pthread_mutex_lock(&mutex);
	status = ask_locked(&req, &rep);
	pthread_mutex_unlock(&mutex);
	if (number)
		*number = rep.number;
	return status;
}

/* ---- kills ---- */

static unsigned pause_of(const struct options *o, struct rng *r)
{
	uint64_t span = o->kill_max_ms - o->kill_min_ms + 1;

	return o->kill_min_ms + (unsigned)rng_below(r, span);
}

/* Run the kill command at random intervals until enough succeeded. */
void *kill_thread(void *arg)
{
	struct pfsx *px = arg;
	const struct options *o = &px->o;
	struct rng r = {o->seed + 0x6b696c6c};
	unsigned failures = 0;

	while (!px->stop && (!o->kills || px->kills_done < o->kills)) {
		sleep_ms(pause_of(o, &r));
		if (px->stop)
			break;
		if (cmd_run(o->kill_cmd, NULL, NULL) == 0) {
			px->kills_done++;
			failures = 0;
			continue;
		}
		px->kills_failed++;
		if (++failures < MAX_FAILURES)
			continue;
		fprintf(stderr,
			"pfsx: ERROR: the kill command keeps failing\n");
		px->errors++;
		px->stop = true;
	}
	return NULL;
}
