/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c of pfs-agent(8). */
#include <stdio.h>
#include <string.h>

#include <pfs/log.h>

#include "agent.h"
#include "say.h"

static volatile sig_atomic_t stop;

static void on_signal(int signo)
{
	(void)signo;
	stop = 1;
}

/* Signals come while the loop waits, and only then. */
static void take_signals(sigset_t *wait_mask)
{
	struct sigaction act = {.sa_handler = on_signal};
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGINT);
	sigprocmask(SIG_BLOCK, &block, wait_mask);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
}

static void to_stderr(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	if (!strncmp(line, "agent: ", 7))
		line += 7;
	(void)fprintf(stderr, "pfs-agent: %s\n", line);
}

static int run(const struct options *o)
{
	static struct agent a;
	sigset_t wait_mask;
	int err;

	take_signals(&wait_mask);
	err = agent_open(&a, o);
	if (!err && o->probe)
		say_probe(&a.probe, &a.disks, o->json);
	else if (!err)
		err = agent_run(&a, &stop, &wait_mask, o->once);
	agent_close(&a);
	return err;
}

int main(int argc, char **argv)
{
	struct options o;
	int err;

	pfs_log_set_sink(to_stderr, NULL);
	err = options_read(&o, argc, argv);
	if (err)
		return 2;
	if (o.help) {
		options_help();
		return 0;
	}
	if (o.version) {
		printf("pfs-agent %s\n", PFS_VERSION);
		return 0;
	}
	err = run(&o);
	if (err)
		(void)pfs_log_fail(err, "agent", "cannot go on");
	return err ? 1 : 0;
}
