/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/node.h - the files and folders the kernel knows, as rows of the state.
 *
 * A node is a name in a folder: FUSE node id = row + 1, generation = the row's
 * serial.  Rows lie in shared memory; what finds them (a hash over parent and
 * name) is this worker's own and rebuilt at its start.
 *
 * A row is kept while the kernel counts lookups on it or it is pinned: by the
 * nodes below it, by open handles and locks.  The kernel's FORGETs of a folder
 * and of its files may be worked on in any order, so counts alone would free a
 * parent too early.
 *
 * A dead worker may leave a lookup counted that was never answered (the
 * request is sent again and counted again).  Such a row stays until the mount
 * ends: a few hundred bytes for a kill at the right microsecond.
 *
 * Crash    rows are taken lowest first and a used row's serial is never 0, so
 *          the first row of serial 0 ends the part in use.
 * Locking  the caller holds worker.mount_lock for every call.
 */
#ifndef PFS_FS_NODE_H
#define PFS_FS_NODE_H

#include <sys/stat.h>

#include <pfs/base.h>

#include "state.h"

#define NODE_NONE UINT32_MAX
#define NODE_ROOT 0u
#define NODE_NAME_MAX 255u

struct node_table; /* opaque */

/** Make the index of what the state holds: half-filled rows and rows nobody
 *  looked up are freed once node_recovered() is called. */
int node_table_create(struct state *s, struct node_table **out) PFS_MUST_CHECK;
void node_table_destroy(struct node_table *t);
/** All pins of the last worker's handles and locks are set again: free what
 *  nothing holds. */
void node_recovered(struct node_table *t);

/** The row of a used node, or NULL for an index out of bounds or free. */
struct state_node *node_at(struct node_table *t, uint32_t row);
/** Its valid name; "" for the root. */
const char *node_name(const struct state_node *n);
/** Is this the file the node stands for? */
bool node_is(const struct state_node *n, const struct stat *st);

uint32_t node_find(struct node_table *t, uint32_t parent, const char *name);
/** The node of this file under this name; made if there is none.  A node of
 *  that name that stands for another file is gone from now on.
 *  -ENFILE: STATE_MAX_NODES are in use.  -ESTALE: no such parent. */
int node_get(struct node_table *t, uint32_t parent, const char *name,
	     const struct stat *st, uint32_t *row) PFS_MUST_CHECK;

void node_looked_up(struct node_table *t, uint32_t row);
void node_forget(struct node_table *t, uint32_t row, uint64_t n);
void node_pin(struct node_table *t, uint32_t row);
void node_unpin(struct node_table *t, uint32_t row);

/** The name is no longer this file's; open handles go on. */
void node_gone(struct node_table *t, uint32_t row);
/** Follow a rename.  A node that has the new name is gone. */
void node_move(struct node_table *t, uint32_t row, uint32_t parent,
	       const char *name);

/** Path below the source root ("." for the root) into buf[size].
 *  -ESTALE: the node or a folder above it is gone.  -ENAMETOOLONG. */
int node_path(struct node_table *t, uint32_t row, char *buf,
	      size_t size) PFS_MUST_CHECK;

#endif
