/* SPDX-License-Identifier: GPL-3.0-or-later */
/* child.h - what more than one test of base needs: code that is to die runs
 * in a child, and things other threads do are waited for with a limit. */
#ifndef PFS_TEST_CHILD_H
#define PFS_TEST_CHILD_H

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pfs/clock.h>

/* Run fn in a child; returns its wait status, and what it wrote to stderr. */
static inline int in_child(void (*fn)(void), char *said, size_t size)
{
	int status = -1;
	int pipe_fd[2];
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(pipe_fd) || (pid = fork()) < 0)
		return -1;
	if (!pid) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		dup2(pipe_fd[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(pipe_fd[1]);
	while (len < size - 1 &&
	       (n = read(pipe_fd[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(pipe_fd[0]);
	waitpid(pid, &status, 0);
	return status;
}

/* True once cond holds; false if it does not within 5 s. */
#define EVENTUALLY(cond)                                                       \
	({                                                                     \
		int tries_ = 0;                                                \
		while (!(cond) && tries_++ < 5000)                             \
			pfs_sleep_ms(1);                                       \
		(cond);                                                        \
	})

#endif
