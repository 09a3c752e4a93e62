/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/child.h - one worker process as its supervisor sees it.
 *
 * phase      entered by                  leaves by
 * NONE       -                           child_start
 * STARTED    child_start                 HELLO (CONFIGURED)
 * CONFIGURED all was sent                READY
 * READY      READY of the worker         child_go
 * RUNNING    GO was sent                 child_drain, its death
 * DRAINING   DRAIN was sent              its end
 * Every phase is left by death too (NONE).
 */
#ifndef PFS_FS_CHILD_H
#define PFS_FS_CHILD_H

#include <sys/types.h>

#include <pfs/base.h>

#include "proto.h"

enum child_phase {
	CHILD_NONE,
	CHILD_STARTED,
	CHILD_CONFIGURED,
	CHILD_READY,
	CHILD_RUNNING,
	CHILD_DRAINING,
};

struct child {
	enum child_phase phase;
	pid_t pid;
	int pidfd;
	int sock;
	bool is_sock_open; /* false: the other end is closed */
	bool is_serving;   /* said SERVING */
	uint64_t started_ns;
	uint64_t deadline_ns; /* of this phase; 0: none */
	int log_fd;           /* early log; -1 in front */
};

void child_init(struct child *c);

/** Start a worker from the binary open at exe_fd. */
int child_start(struct child *c, int exe_fd, bool foreground,
		bool is_verbose) PFS_MUST_CHECK;

void child_kill(struct child *c);

/** It has limit_ns to say SERVING. */
int child_go(struct child *c, bool is_successor,
	     uint64_t limit_ns) PFS_MUST_CHECK;
void child_drain(struct child *c, enum proto_drain how);

/** After its pidfd became readable: reap it, and be ready for another.  Its
 *  wait status is returned. */
int child_reap(struct child *c);

/** It died by its own fault (not by a SIGKILL from outside), or could not do
 *  its work. */
bool child_is_fault(int status);

#endif
