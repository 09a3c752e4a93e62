/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * agent/intake_priv.h - the intake from inside.
 *
 * intake.c starts, stops, and answers other threads; intake_loop.c is the
 * thread, and intake_serve.c what it does with those who are ready.  The thread
 * owns everything but what is said to be under the lock: other threads put VMs
 * into the table and mark them as leaving, only the thread takes them out.
 */
#ifndef PFS_AGENT_INTAKE_PRIV_H
#define PFS_AGENT_INTAKE_PRIV_H

#include <stdatomic.h>

#include <pfs/intake.h>
#include <pfs/mutex.h>

#include "intake_socket.h"
#include "intake_vm.h"

enum intake_watch_kind {
	INTAKE_WAKE,
	INTAKE_LISTENER,
	INTAKE_CONN,
};

/* state    fd   in the epoll set   leaves by
 * CLOSED   -1   no                 accept, add_vm (PAUSED)
 * PAUSED   yes  no                 resume_ns (WATCHED), close
 * WATCHED  yes  yes                nothing may be read yet (PAUSED), close */
struct intake_watch {
	enum intake_watch_kind kind;
	int fd; /* owned */
	bool is_watched;
	uint64_t resume_ns; /* if not: when */
	struct intake_vm *vm;
};

struct intake_listener {
	struct intake_watch watch; /* vm NULL: AF_VSOCK */
	struct intake_bucket bucket;
};

struct intake_conn {
	struct intake_watch watch;
	uint64_t heard_ns;   /* of last */
	uint64_t partial_ns; /* when the first byte of frame came */
	uint32_t n_in;
	uint8_t frame[PFS_VECTOR_LEN];
};

struct intake_vm {
	_Atomic bool is_leaving;
	struct intake_path path;         /* of a hybrid socket, constant */
	struct intake_listener listener; /* of a hybrid socket */
	struct intake_bucket bucket;
	struct intake_agents agents;
	struct intake_conn conn[PFS_INTAKE_VM_CONNS];
	/* --- under lock: the thread writes, all read --- */
	struct pfs_intake_vm known;
	struct intake_history history;
};

struct pfs_intake {
	struct pfs_intake_config cfg; /* defaults filled in */
	char *uds_dir;                /* owned; NULL: none */
	int vsock_error;
	pthread_t thread;
	int epoll_fd;
	_Atomic bool is_stopping;
	/* --- intake thread only --- */
	struct intake_watch wake; /* an eventfd */
	struct intake_listener vsock;
	uint32_t n_conns;
	bool needs_room; /* in the table */
	uint64_t due_ns, swept_ns;
	struct pfs_mutex lock;
	/* --- under lock --- */
	struct intake_vm *vm[PFS_INTAKE_VMS]; /* owned */
	uint32_t n_slots;                     /* of vm[], used so far */
};

/** cid 0: hybrid, and name is its name.  The VM has no socket yet. */
struct intake_vm *intake_vm_new(const struct pfs_intake *in, uint32_t cid,
				const char *name);
/** Closes what is open, without counting; accepts NULL. */
void intake_vm_destroy(struct intake_vm *vm);

/** NULL: none; one that is leaving is not found. */
struct intake_vm *intake_find_locked(struct pfs_intake *in, const char *name)
	PFS_REQUIRES(in->lock);
/** -ENOSPC.  The table owns vm then. */
int intake_enter_locked(struct pfs_intake *in, struct intake_vm *vm)
	PFS_REQUIRES(in->lock) PFS_MUST_CHECK;

void *intake_main(void *arg);

/* --- the thread only --- */

#define INTAKE_PARTIAL_NS (5 * PFS_NSEC_PER_SEC) /* patience with a frame */

/** vm NULL: one there was no room for; the daemon's totals have it alone. */
void intake_count(struct pfs_intake *in, struct intake_vm *vm,
		  enum pfs_intake_count c);
/** There will be something to do then. */
void intake_be_swept(struct pfs_intake *in, uint64_t at_ns);
/** Watch it again if its time has come. */
void intake_resume(struct pfs_intake *in, struct intake_watch *w, uint64_t now);
void intake_close_conn(struct pfs_intake *in, struct intake_conn *c);
/** One step of one that is ready. */
void intake_accept_some(struct pfs_intake *in, struct intake_listener *l,
			uint64_t now);
void intake_read_some(struct pfs_intake *in, struct intake_conn *c,
		      uint64_t now);

#endif
