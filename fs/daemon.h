/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/daemon.h - going to the background, and where messages go.
 *
 * Until the mount answers, a daemon's warnings and errors go to its caller's
 * standard error as well as to syslog; then to syslog alone.  In front they go
 * to standard error.
 */
#ifndef PFS_FS_DAEMON_H
#define PFS_FS_DAEMON_H

#include <pfs/base.h>

/** Install the log sink. */
void daemon_log_setup(bool to_syslog, bool is_verbose);

/** Fork: the child returns with a descriptor for daemon_report(); the parent
 *  stays until that is called or the child is gone, and exits with the
 *  status. */
int daemon_start(int *report_fd) PFS_MUST_CHECK;
/** Let go of the caller: status is its exit status.  Closes *report_fd, and
 *  after success the standard descriptors too. */
void daemon_report(int *report_fd, int status);

/** Tell systemd (Type=notify) our state, e.g. "READY=1".  Without systemd,
 *  nothing. */
void daemon_notify(const char *state);

/** Descriptor to be standard error of a worker in the background: keeps the
 *  first 64 KiB of what it says. */
int daemon_early_log_create(int *out_fd) PFS_MUST_CHECK;
/** Print what was kept on standard error. */
void daemon_early_log_show(int fd);

#endif
