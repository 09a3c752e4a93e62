/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/worker.h - the process that answers the kernel.
 *
 * Its threads: data threads (lane.c) that answer READ; pool threads (pool.c)
 * for every other request; the catalog's writer and marks threads; a control
 * thread (control.c); the main thread, which listens to the supervisor.
 */
#ifndef PFS_FS_WORKER_H
#define PFS_FS_WORKER_H

#include <stdatomic.h>

#include <pfs/base.h>
#include <pfs/catalog.h>
#include <pfs/marks.h>
#include <pfs/mutex.h>
#include <pfs/store.h>

#include "image.h"
#include "options.h"
#include "pool.h"
#include "state.h"

struct fuse_session;
struct image_table;
struct lane;
struct control;
struct events;
struct inval;
struct ops;
struct predict;

#define WORKER_MAX_LANES 16

/* An open file of this worker's life; made at open or from the state table at
 * start.  Found by row through worker.handles without a lock: the kernel ends
 * all use of a handle before it sends RELEASE. */
struct handle {
	int fd; /* owned: the source file as the client opened it */
	uint32_t row;
	uint64_t vm;       /* who opened it: see handle.h; 0: unknown */
	struct image *img; /* one reference; NULL: a folder, or a file that
			    * could not be taken up: calls on it get EIO */
};

struct worker {
	/* --- set before the threads start, then constant --- */
	struct options opt;
	struct state *state;
	int sup_fd;  /* to the supervisor */
	int root_fd; /* the source's root folder, O_PATH */
	int dev_fd;  /* the mount's own /dev/fuse: notifications only */
	int clone_fd[WORKER_MAX_LANES];
	unsigned int n_clones;
	bool has_few_cores; /* below 4 */
	int control_fd;     /* listening socket */
	struct fuse_session *se;
	struct pfs_catalog *catalog;
	struct pfs_catalog_state catalog_state;
	struct pfs_marks *marks;
	struct pfs_store *store; /* NULL: served past the store */
	struct pool *pool;
	struct image_table *images;
	struct ops *ops; /* nodes, handles, locks, intents (ops.c) */
	struct control *control;
	struct inval *inval; /* NULL: the kernel caches no pages */
	struct events *events;
	struct predict *predict;
	struct lane *lanes[WORKER_MAX_LANES];
	uint64_t start_ns;
	/* draining for a successor: write sessions go on */
	_Atomic bool is_handover;

	/* --- one slot per state row, atomic --- */
	_Atomic(struct handle *) handles[STATE_MAX_HANDLES];

	/* --- guards the state tables within this worker --- */
	struct pfs_mutex mount_lock;
};

/** The worker's main: sock is the supervisor's.  Returns the exit status. */
int worker_main(int sock);

/* The FUSE session of this thread writes its replies to this descriptor:
 * the clone that the request was read from (session.c). */
void session_reply_to(int fd);
/* What this thread last gave to session_reply_to(), for a reply that another
 * thread will send. */
int session_reply_fd(void);

/** Make the libfuse session with our operations (ops.c) and custom I/O. */
int session_create(struct worker *w) PFS_MUST_CHECK;
/** First worker: read INIT from the mount's descriptor, answer, save both. */
int session_init_first(struct worker *w) PFS_MUST_CHECK;
/** Later workers: replay the saved INIT; what would have been the reply is in
 *  reply (at most STATE_INIT_MAX bytes). */
int session_init_replay(struct worker *w, void *reply,
			size_t *len) PFS_MUST_CHECK;
/** Decode and carry out one request (pool threads). */
void session_process(void *worker, void *buf, size_t len, int reply_fd);

#endif
