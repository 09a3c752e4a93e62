/* SPDX-License-Identifier: GPL-3.0-or-later */
/* child.c - starting and ending a worker process. */
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <pfs/clock.h>
#include <pfs/log.h>

#include "daemon.h"

#define READY_NS (10 * PFS_NSEC_PER_SEC)
#define DRAIN_NS (30 * PFS_NSEC_PER_SEC)
#define SEND_TIMEOUT_S 10

void child_init(struct child *c)
{
	*c = (struct child){.pid = -1, .pidfd = -1, .sock = -1, .log_fd = -1};
}

/* The caller of a daemon must not wait for our end of its pipes. */
static bool redirect(const struct child *c)
{
	int null;

	if (c->log_fd < 0)
		return true;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	return null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
	       dup2(null, STDOUT_FILENO) >= 0 &&
	       dup2(c->log_fd, STDERR_FILENO) >= 0;
}

/* Between fork and exec. */
_Noreturn static void become_worker(const struct child *c, int exe_fd, int sock,
				    bool is_verbose)
{
	extern char **environ;
	char fd_arg[32];
	char *argv[5] = {(char *)"pfs", fd_arg};
	int n = 2;
	sigset_t none;

	/* A Ctrl-C is for the supervisor, which then ends us in good order. */
	setpgid(0, 0);
	(void)signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	(void)snprintf(fd_arg, sizeof(fd_arg), "--worker=%d", sock);
	if (is_verbose)
		argv[n++] = (char *)"-v";
	if (c->log_fd >= 0)
		argv[n++] = (char *)"--syslog";
	if (fcntl(sock, F_SETFD, 0) == 0 && redirect(c))
		execveat(exe_fd, "", argv, environ, AT_EMPTY_PATH);
	_exit(127);
}

/* A worker that does not read must not hold up its supervisor for ever. */
static void limit_sends(int sock)
{
	struct timeval tv = {.tv_sec = SEND_TIMEOUT_S};

	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int spawn(struct child *c, int exe_fd, int theirs, bool is_verbose)
{
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (c->pid == 0)
		become_worker(c, exe_fd, theirs, is_verbose);
	/* Nobody reaps it before us, so the pid is still its. */
	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd < 0) {
		int err = -errno;

		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		return err;
	}
	return 0;
}

static void close_all(struct child *c)
{
	pfs_fd_done(&c->pidfd);
	pfs_fd_done(&c->sock);
	pfs_fd_done(&c->log_fd);
	child_init(c);
}

int child_start(struct child *c, int exe_fd, bool foreground, bool is_verbose)
{
	PFS_AUTO_FD theirs = -1;
	int ends[2], err;

	child_init(c);
	err = proto_pair(ends);
	if (err)
		return pfs_log_fail(err, "supervisor", "socketpair");
	c->sock = ends[0];
	theirs = ends[1];
	limit_sends(c->sock);
	if (!foreground)
		err = daemon_early_log_create(&c->log_fd);
	if (!err)
		err = spawn(c, exe_fd, theirs, is_verbose);
	if (err) {
		close_all(c);
		return pfs_log_fail(err, "supervisor", "start a worker");
	}
	c->is_sock_open = true;
	c->phase = CHILD_STARTED;
	c->started_ns = pfs_now_ns();
	c->deadline_ns = c->started_ns + READY_NS;
	return 0;
}

void child_kill(struct child *c)
{
	if (c->phase != CHILD_NONE)
		kill(c->pid, SIGKILL);
	c->deadline_ns = 0;
}

int child_go(struct child *c, bool is_successor, uint64_t limit_ns)
{
	uint32_t others = is_successor;

	c->phase = CHILD_RUNNING;
	c->deadline_ns = pfs_now_ns() + limit_ns;
	return proto_send(c->sock, PROTO_GO, &others, sizeof(others), NULL, 0);
}

void child_drain(struct child *c, enum proto_drain how)
{
	uint32_t word = how;

	/* One that does not run holds nothing that needs saving. */
	if (c->phase != CHILD_RUNNING ||
	    proto_send(c->sock, PROTO_DRAIN, &word, sizeof(word), NULL, 0))
		child_kill(c);
	else
		c->deadline_ns = pfs_now_ns() + DRAIN_NS;
	if (c->phase != CHILD_NONE)
		c->phase = CHILD_DRAINING;
}

int child_reap(struct child *c)
{
	int status = 0;

	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	close_all(c);
	return status;
}

bool child_is_fault(int status)
{
	return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
}
