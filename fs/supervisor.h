/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/supervisor.h - the process that holds a mount while workers come and go.
 *
 * Holds /dev/fuse and its clones, the listening socket, the claims, the source
 * descriptors of all open files and the mount's memfd; starts the worker that
 * does all the work, and the next one when it dies or is replaced.  One
 * thread, one poll loop, and no access to the source's data: there is little
 * in it that could fail.
 */
#ifndef PFS_FS_SUPERVISOR_H
#define PFS_FS_SUPERVISOR_H

#include "child.h"
#include "options.h"
#include "state.h"
#include "worker.h"

#define SUPERVISOR_FAULTS 5 /* within 10 s without backing off */

enum supervisor_claim {
	CLAIM_MOUNTPOINT, /* stays with the supervisor */
	CLAIM_CATALOG,    /* these two are shared with the workers */
	CLAIM_STORE,
	CLAIM_N,
};

struct supervisor {
	/* --- set at the start, then constant --- */
	struct options opt;
	char mount_id[17]; /* hash of the mountpoint: names the socket */
	int root_fd, dev_fd, listen_fd, state_fd;
	int claim_fd[CLAIM_N]; /* -1: none */
	struct state *state;   /* header only */
	unsigned int n_clones;

	/* --- event loop --- */
	int signal_fd;
	int report_fd;   /* to the caller until the mount answers, or -1 */
	int exe_fd;      /* what workers are started from */
	int next_exe_fd; /* of the standby */
	int old_exe_fd;  /* of before an upgrade, to go back to */
	int clone_fd[WORKER_MAX_LANES];
	int kept[STATE_FD_SLOTS]; /* descriptors kept for the worker, or -1 */
	struct child worker;
	struct child standby; /* worker to be, during an upgrade */
	bool is_up;           /* the mount has answered once */
	bool is_ending;
	bool is_upgrading; /* the worker waits for a result */
	bool shall_reexec; /* once the standby serves */
	bool is_hung;      /* the worker was killed for not coming up */
	int exit_status;
	uint64_t start_at_ns; /* back-off: start the worker then; 0: not due */
	uint64_t backoff_ns;
	uint64_t fault_ns[SUPERVISOR_FAULTS]; /* when the last ones died */
	unsigned int n_faults;        /* all in all: index of the ring */
	unsigned int n_faults_in_row; /* without 10 s of service between */
};

/** Serve the mount; returns the exit status.  Goes to the background first
 *  unless o->foreground.  Takes over *o. */
int supervisor_main(struct options *o);

/** Carry on after supervisor_reexec() of an earlier binary. */
int supervisor_resume(int table_fd, bool is_returned);

/* --- setup.c --- */

/** Everything before the mount: limits, signals, claims, source, socket. */
int setup_before_mount(struct supervisor *s) PFS_MUST_CHECK;
/** Mount and make the clones. */
int setup_mount(struct supervisor *s) PFS_MUST_CHECK;
/** Have SIGTERM and the like come through s->signal_fd. */
int setup_signals(struct supervisor *s) PFS_MUST_CHECK;

/* --- reexec.c --- */

/** Replace this process by the binary at exe_fd, which carries on with our
 *  descriptors and children.  Returns only if that failed. */
int reexec_into(struct supervisor *s, int exe_fd) PFS_MUST_CHECK;
/** Take over what reexec_into() passed on. */
int reexec_take(struct supervisor *s, int table_fd) PFS_MUST_CHECK;
/** The binary that passed it on, or -1. */
int reexec_origin(int table_fd);
/** Give up: back into the binary the table came from. */
void reexec_return(int table_fd);

#endif
