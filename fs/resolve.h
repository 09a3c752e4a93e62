/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/resolve.h - from node to source file, never out of the source.
 *
 * Paths are walked with openat2() from the source root: no symbolic links, no
 * magic links, not above the root.  The file found must be the one the node
 * stands for.  Files are opened O_PATH first and looked at, then opened for
 * use by that descriptor: a FIFO that would block or a device whose open has
 * effects is never opened at all.
 *
 * A rename of a folder may cut a walk below it short.  Renames are therefore
 * bracketed, and a walk that failed while one was under way is tried again;
 * holding a lock over them would let one slow call on the source stop all.
 */
#ifndef PFS_FS_RESOLVE_H
#define PFS_FS_RESOLVE_H

#include <sys/stat.h>

#include <pfs/base.h>

#include "worker.h"

/** An O_PATH descriptor of the node's file; if its name is gone, a duplicate
 *  of an open handle's.  -ESTALE: neither. */
int resolve_node(struct worker *w, uint32_t row) PFS_MUST_CHECK;
/** An O_PATH descriptor of a folder; never by an open handle. */
int resolve_dir(struct worker *w, uint32_t row) PFS_MUST_CHECK;
/** Open the file of a descriptor anew: flags as for open(2). */
int resolve_reopen(int fd, int flags) PFS_MUST_CHECK;
/** The same for reading, and for writing if it may be written. */
int resolve_reopen_widest(int fd) PFS_MUST_CHECK;

/** Look at a name in a folder, links not followed. */
int resolve_stat(int dir, const char *name, struct stat *st) PFS_MUST_CHECK;

/** Path of a node, or of a name in a folder, below the source root. */
int resolve_path(struct worker *w, uint32_t row, char *buf,
		 size_t size) PFS_MUST_CHECK;
int resolve_child_path(struct worker *w, uint32_t parent, const char *name,
		       char *buf, size_t size) PFS_MUST_CHECK;

/** Around a rename on the source and its change to the node table. */
void resolve_move_begin(struct worker *w);
void resolve_move_end(struct worker *w);

/* "/proc/self/fd/N": names the file of any descriptor for calls that refuse
 * O_PATH ones. */
#define RESOLVE_PROC_LEN 32
void resolve_proc_path(int fd, char out[RESOLVE_PROC_LEN]);

#endif
