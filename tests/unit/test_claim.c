/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <pfs/clock.h>

#include "check.h"
#include "claim.h"

static char path[64] = "/tmp/pfs-test-claim-XXXXXX";

/* A process that claims and then stays until it is killed; ready is a pipe. */
static pid_t claimer(int (*claim)(const char *, int *, pid_t *))
{
	int ready[2], fd;
	pid_t holder, pid;
	char byte;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = claim(path, &fd, &holder) ? 'n' : 'y';
		(void)!write(ready[1], &byte, 1);
		for (;;)
			pause();
	}
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	CHECK_EQ(byte, 'y');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void a_claim_tells_who_holds_it(void)
{
	pid_t pid = claimer(claim_file), holder = 0;
	int fd = -1;

	CHECK_EQ(claim_file(path, &fd, &holder), -EBUSY);
	CHECK_EQ(holder, pid);
	CHECK_EQ(fd, -1);
	end(pid);
	CHECK_EQ(claim_file(path, &fd, &holder), 0);
	close(fd);
}

static void so_does_one_without_a_pid_in_it(void)
{
	pid_t pid = claimer(claim_object), holder = 0;
	int fd = -1;

	CHECK_EQ(truncate(path, 0), 0);
	CHECK_EQ(claim_object(path, &fd, &holder), -EBUSY);
	CHECK_EQ(holder, pid);
	holder = 0;
	CHECK_EQ(claim_file(path, &fd, &holder), -EBUSY);
	CHECK_EQ(holder, pid);
	end(pid);
	CHECK_EQ(claim_object(path, &fd, &holder), 0);
	close(fd);
}

/* The supervisor is dead (even unreaped), its worker still ends. */
static void the_claim_of_the_dead_is_waited_for(void)
{
	int fd = -1, holding[2];
	pid_t dead, heir, holder;
	uint64_t begin;
	char byte;

	CHECK_EQ(pipe(holding), 0);
	dead = fork();
	if (dead == 0) {
		if (claim_file(path, &fd, &holder))
			_exit(1);
		heir = fork();
		if (heir == 0) {
			(void)!write(holding[1], "h", 1);
			pfs_sleep_ms(200);
			_exit(0);
		}
		_exit(0);
	}
	CHECK_EQ(read(holding[0], &byte, 1), 1);
	siginfo_t si;
	CHECK_EQ(waitid(P_PID, (id_t)dead, &si, WEXITED | WNOWAIT), 0);
	begin = pfs_now_ns();

	CHECK_EQ(claim_file(path, &fd, &holder), 0);
	CHECK(pfs_now_ns() - begin >= 50 * PFS_NSEC_PER_MSEC);
	CHECK(pfs_now_ns() - begin < 10 * PFS_NSEC_PER_SEC);
	waitpid(dead, NULL, 0);
	close(fd);
	close(holding[0]);
	close(holding[1]);
}

static void a_link_is_not_followed(void)
{
	char link[96];
	pid_t holder;
	int fd;

	snprintf(link, sizeof(link), "%s.link", path);
	CHECK_EQ(symlink(path, link), 0);
	CHECK_EQ(claim_file(link, &fd, &holder), -ELOOP);
	unlink(link);
}

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	RUN(a_claim_tells_who_holds_it);
	RUN(so_does_one_without_a_pid_in_it);
	RUN(the_claim_of_the_dead_is_waited_for);
	RUN(a_link_is_not_followed);
	unlink(path);
	return CHECK_RESULT();
}
