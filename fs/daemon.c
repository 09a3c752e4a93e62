/* SPDX-License-Identifier: GPL-3.0-or-later */
/* daemon.c - background, syslog, systemd. */
#include "daemon.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>

#include <pfs/log.h>

#define EARLY_LOG_MAX PFS_KIB(64)

static bool has_caller; /* in the background, the mount does not answer yet */

static void log_to_stderr(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	(void)fprintf(stderr, "pfs: %s\n", line);
}

static void log_to_syslog(enum pfs_log_level level, const char *line, void *arg)
{
	static const int priority[] = {
		[PFS_LOG_ERROR] = LOG_ERR,
		[PFS_LOG_WARNING] = LOG_WARNING,
		[PFS_LOG_INFO] = LOG_INFO,
		[PFS_LOG_DEBUG] = LOG_DEBUG,
	};

	syslog(priority[level], "%s", line);
	if (has_caller && level <= PFS_LOG_WARNING)
		log_to_stderr(level, line, arg);
}

void daemon_log_setup(bool to_syslog, bool is_verbose)
{
	pfs_log_set_level(is_verbose ? PFS_LOG_DEBUG : PFS_LOG_INFO);
	has_caller = to_syslog;
	if (to_syslog)
		openlog("pfs", LOG_PID, LOG_DAEMON);
	pfs_log_set_sink(to_syslog ? log_to_syslog : log_to_stderr, NULL);
}

_Noreturn static void wait_as_caller(int fd, pid_t child)
{
	uint8_t status = 1;
	ssize_t n;

	do
		n = read(fd, &status, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1) {
		int how = 0;

		waitpid(child, &how, 0);
		(void)fprintf(stderr, "pfs: ended while starting (%s %d)\n",
			      WIFSIGNALED(how) ? "signal" : "exit status",
			      WIFSIGNALED(how) ? WTERMSIG(how)
					       : WEXITSTATUS(how));
	}
	_exit(status);
}

int daemon_start(int *report_fd)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return pfs_log_fail(-errno, "daemon", "pipe");
	child = fork();
	if (child < 0) {
		int err = -errno;

		close(ends[0]);
		close(ends[1]);
		return pfs_log_fail(err, "daemon", "fork");
	}
	if (child) {
		close(ends[1]);
		wait_as_caller(ends[0], child);
	}
	close(ends[0]);
	setsid();
	if (chdir("/"))
		pfs_log(PFS_LOG_WARNING, "daemon", "chdir /: %s",
			strerror(errno));
	*report_fd = ends[1];
	return 0;
}

static void drop_stdio(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

void daemon_report(int *report_fd, int status)
{
	uint8_t byte = (uint8_t)status;

	if (*report_fd < 0)
		return;
	/* The caller may have been killed: then nobody wants to know. */
	(void)!write(*report_fd, &byte, 1);
	close(*report_fd);
	*report_fd = -1;
	if (status)
		return;
	has_caller = false;
	drop_stdio();
}

void daemon_notify(const char *state)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	PFS_AUTO_FD fd = -1;
	socklen_t len;

	if (!path || strlen(path) >= sizeof(to.sun_path))
		return;
	strcpy(to.sun_path, path);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			  strlen(path));
	if (path[0] == '@')
		to.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* systemd will time out on its own and say so. */
	if (fd >= 0)
		(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL,
			      (struct sockaddr *)&to, len);
}

int daemon_early_log_create(int *out_fd)
{
	PFS_AUTO_FD fd =
		memfd_create("pfs-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* Sealed, it is full at its end: writes beyond fail and hurt nobody. */
	if (fd < 0 || ftruncate(fd, (off_t)EARLY_LOG_MAX) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK))
		return pfs_log_fail(-errno, "daemon", "memfd for early log");
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

void daemon_early_log_show(int fd)
{
	PFS_AUTO_FREE char *text = calloc(1, EARLY_LOG_MAX + 1);

	if (fd >= 0 && text && pread(fd, text, EARLY_LOG_MAX, 0) > 0)
		(void)fputs(text, stderr);
}
