/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/handle.h - open files and folders: rows of the state with a descriptor
 * that the supervisor holds too.
 *
 * A FUSE file handle is serial << 32 | row.  Order at open: row FILLING,
 * descriptor to the supervisor, row USED, reply.  Order at release: row out
 * of this worker's table, supervisor drops, row FREE, reply: a RELEASE that is
 * sent again finds a stale serial and is ignored.
 *
 * Who reads is fixed at open: a VM is the opener's thread group and the time it
 * started, as one number.
 *
 * Crash    as for nodes, the first row of serial 0 ends the part in use.
 * Threads  every call is safe from any thread but where it says otherwise.
 */
#ifndef PFS_FS_HANDLE_H
#define PFS_FS_HANDLE_H

#include <fcntl.h>

#include <pfs/base.h>

#include "worker.h"

struct handle_table; /* opaque */

int handle_table_create(struct handle_table **out) PFS_MUST_CHECK;
void handle_table_destroy(struct handle_table *t);

/* What an OPEN, CREATE or OPENDIR has found out. */
struct handle_open {
	uint32_t node;
	int fd;            /* taken over on success */
	struct image *img; /* one reference, taken on success; NULL: folder.
			    * A writer is announced to it already. */
	int flags;         /* the client's */
	uint64_t unique;   /* of the request */
	pid_t pid;         /* of the request: a thread id, 0: unknown */
};

/** -ENFILE: STATE_MAX_HANDLES are open. */
int handle_open(struct worker *w, const struct handle_open *what,
		uint64_t *fh) PFS_MUST_CHECK;

/** NULL if fh is not one we gave out and still have. */
struct handle *handle_get(struct worker *w, uint64_t fh);

/** The handle a request that is sent again had made; 0: none. */
uint64_t handle_of_request(struct worker *w, uint64_t unique, uint32_t *node);

/** Take the handle out of the tables and let the supervisor drop it; then
 *  reply, then handle_finish() with the same flags.  NULL for a stale fh. */
struct handle *handle_release(struct worker *w, uint64_t fh, int *flags);
/** Ends the write session if it was the last writer: may be slow. */
void handle_finish(struct worker *w, struct handle *h, int flags);

/** A new descriptor (same open file) of any open handle of this node, or
 *  -ESTALE. */
int handle_dup_of(struct worker *w, uint32_t node) PFS_MUST_CHECK;
/** The size of the node's image as acknowledged; false: it is not open. */
bool handle_node_size(struct worker *w, uint32_t node, uint64_t *size);
/** The image of the node, with a reference, or NULL if it is not open. */
struct image *handle_node_image(struct worker *w, uint32_t node);

/** Take up what the state says is open; see ops_recover(). */
int handle_recover(struct worker *w, int *kept_fd) PFS_MUST_CHECK;
/** Close this process's part of all handles; rows and the supervisor's
 *  descriptors stay for the next worker. */
void handle_close_all(struct worker *w);

static inline bool handle_is_writer(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

#endif
