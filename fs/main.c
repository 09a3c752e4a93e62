/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c - pfs is supervisor or worker, by its first argument. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include <pfs/fault.h>
#include <pfs/log.h>

#include "daemon.h"
#include "options.h"
#include "supervisor.h"
#include "worker.h"

/* The number behind NAME= if arg is that, else -1. */
static int inner_arg(const char *arg, const char *name)
{
	size_t len = strlen(name);

	return strncmp(arg, name, len) == 0 ? atoi(arg + len) : -1;
}

static bool has_arg(int argc, char **argv, const char *arg)
{
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], arg))
			return true;
	}
	return false;
}

/* Faults are for tests, and for the worker alone. */
static void arm_faults(void)
{
	const char *spec = getenv("PFS_FAULTS"), *bad = NULL;

	if (!spec)
		return;
	pfs_fault_enable();
	if (*spec && pfs_fault_arm(spec, &bad))
		pfs_log(PFS_LOG_ERROR, "main", "PFS_FAULTS: bad at \"%s\"",
			bad ? bad : spec);
}

/* Else a descriptor of ours could become standard error. */
static void open_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct options o;
	bool stop;
	int fd;

	open_stdio();
	/* Started through a descriptor the kernel would name us after it. */
	prctl(PR_SET_NAME, "pfs");
	if (argc > 1 && (fd = inner_arg(argv[1], "--worker=")) >= 0) {
		daemon_log_setup(has_arg(argc, argv, "--syslog"),
				 has_arg(argc, argv, "-v"));
		arm_faults();
		return worker_main(fd);
	}
	if (argc > 1 && (fd = inner_arg(argv[1], "--supervisor=")) >= 0)
		return supervisor_resume(fd, has_arg(argc, argv, "--returned"));
	if (options_parse(argc, argv, &o, &stop, stdout, stderr))
		return 2;
	return stop ? 0 : supervisor_main(&o);
}
