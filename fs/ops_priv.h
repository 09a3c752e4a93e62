/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/ops_priv.h - what the files behind ops.h share.
 *
 *   ops.c          the table, INIT, attributes, statfs, recovery
 *   ops_name.c     lookup, create, mkdir, unlink, rmdir, rename
 *   ops_file.c     open, write, sync, truncate, fallocate, seek, copy
 *   ops_dir.c      opendir, readdir
 *   ops_skipped.c  the list of what is not served
 *   lock.c         locks forwarded to the source
 */
#ifndef PFS_FS_OPS_PRIV_H
#define PFS_FS_OPS_PRIV_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <sys/statvfs.h>

#include <pfs/io.h>

#include "handle.h"
#include "intent.h"
#include "lock.h"
#include "node.h"
#include "worker.h"

/* Names and attributes are believed for a second.  Longer would save calls
 * only for clients that stat() in a loop, while a file copied into the source
 * behind the mount would stay unseen; what this mount changes itself the
 * kernel knows at once, whatever the time-out.  A name that does not exist is
 * not remembered at all. */
#define OPS_TIMEOUT_S 1

struct ops {
	struct node_table *nodes;
	struct handle_table *handles;
	struct lock_table *locks;
	struct intent_log *intents;

	/* --- under worker.mount_lock --- */
	uint64_t n_moves_begun, n_moves_done; /* renames: see resolve.c */
	struct pfs_cond move_done;            /* n_moves_done has grown */
	struct statvfs statfs;
	bool is_closed; /* ops_close_all() was called: no timer goes on */
};

/* The request this thread works on. */
struct ops_request {
	uint64_t unique; /* without the resend bit */
	bool is_resent;
};

const struct ops_request *ops_request(void);

static inline struct worker *ops_worker(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* FUSE node id to row; NODE_NONE for 0. */
static inline uint32_t ops_row(fuse_ino_t ino)
{
	return ino > STATE_MAX_NODES ? NODE_NONE : (uint32_t)ino - 1;
}

/** Reply with 0 or a -errno. */
void ops_reply(fuse_req_t req, int err);
/** Attributes as replied: st_size of an image in use is the acknowledged. */
void ops_fix_size(struct worker *w, uint32_t row, struct stat *st);
/** Reply to LOOKUP and those like it; the lookup was counted before. */
void ops_reply_entry(fuse_req_t req, struct worker *w, uint32_t row,
		     const struct stat *st);
/** By hand, since libfuse 3.14 cannot say FOPEN_PARALLEL_DIRECT_WRITES. */
void ops_reply_open(fuse_req_t req, struct worker *w, uint64_t fh);
void ops_reply_create(fuse_req_t req, struct worker *w, uint32_t row,
		      const struct stat *st, uint64_t fh);

/** Only regular files and folders are served. */
static inline bool ops_is_served(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode);
}

/** Open an image of a node from any descriptor of it: descriptor, image,
 *  handle row.  Takes over path_fd.  Truncates as flags say. */
int ops_open_handle(struct worker *w, uint32_t row, int path_fd, int flags,
		    pid_t pid, uint64_t *fh) PFS_MUST_CHECK;
/** The image of an opened source file, under the node's present path. */
int ops_image_get(struct worker *w, uint32_t row, int fd,
		  struct image **out) PFS_MUST_CHECK;
int ops_truncate(struct image *img, int fd, uint64_t size) PFS_MUST_CHECK;

/* ops_name.c */
void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void ops_forget_multi(fuse_req_t req, size_t count,
		      struct fuse_forget_data *forgets);
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		mode_t mode, struct fuse_file_info *fi);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
	       mode_t mode);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		fuse_ino_t new_parent, const char *new_name,
		unsigned int flags);
/** Bring tables and catalog in step with what a dead worker had begun. */
void ops_settle_intents(struct worker *w);

/* ops_file.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	       struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi);
void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	       struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			 struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			 off_t off_out, struct fuse_file_info *fi_out,
			 size_t len, int flags);

/* ops_dir.c */
void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		  struct fuse_file_info *fi);

/* lock.c */
void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock);
void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock, int sleep);

#endif
