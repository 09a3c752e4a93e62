/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of operations, attributes and statfs; a worker's start and
 * end.  Not in the table on purpose: READ (data threads answer it), xattr
 * calls and ACCESS (ENOSYS tells the kernel never to ask again; it checks
 * permissions itself), READDIRPLUS, and FLOCK (see lock.h).
 */
#include "ops.h"

#include <limits.h>
#include <string.h>
#include <sys/time.h>

#include <linux/fuse.h>

#include <pfs/clock.h>
#include <pfs/log.h>

#include "ops_priv.h"
#include "proto.h"
#include "resolve.h"
#include "session.h"

#ifndef FUSE_UNIQUE_RESEND
#define FUSE_UNIQUE_RESEND (1ull << 63)
#endif

static _Thread_local struct ops_request this_request;

const struct ops_request *ops_request(void)
{
	return &this_request;
}

bool ops_before(struct worker *w, const void *buf, size_t len)
{
	const struct fuse_in_header *h = buf;
	const struct fuse_interrupt_in *intr = (const void *)(h + 1);

	if (len < sizeof(*h))
		return true; /* the kernel sends none: nothing to answer */
	this_request.unique = h->unique & ~FUSE_UNIQUE_RESEND;
	this_request.is_resent = h->unique & FUSE_UNIQUE_RESEND;
	if (this_request.is_resent)
		pfs_count(PFS_C_RESENDS, 1);
	if (h->opcode != FUSE_INTERRUPT)
		return false;
	if (len >= sizeof(*h) + sizeof(*intr))
		lock_interrupt(w, intr->unique & ~FUSE_UNIQUE_RESEND);
	return true;
}

/* --- replies --- */

void ops_reply(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
}

void ops_fix_size(struct worker *w, uint32_t row, struct stat *st)
{
	uint64_t size;

	if (S_ISREG(st->st_mode) && handle_node_size(w, row, &size))
		st->st_size = (off_t)size;
}

void ops_reply_entry(fuse_req_t req, struct worker *w, uint32_t row,
		     const struct stat *st)
{
	struct fuse_entry_param e = {
		.ino = (fuse_ino_t)row + 1,
		.generation = w->state->node[row].serial,
		.attr = *st,
		.attr_timeout = OPS_TIMEOUT_S,
		.entry_timeout = OPS_TIMEOUT_S,
	};

	ops_fix_size(w, row, &e.attr);
	fuse_reply_entry(req, &e);
}

static struct fuse_open_out open_out(const struct worker *w, uint64_t fh)
{
	uint32_t flags = FOPEN_DIRECT_IO;

	if (w->opt.page_cache)
		flags = 0; /* no FOPEN_KEEP_CACHE: an open starts afresh */
#ifdef FOPEN_PARALLEL_DIRECT_WRITES
	flags |= FOPEN_PARALLEL_DIRECT_WRITES;
#endif
	return (struct fuse_open_out){.fh = fh, .open_flags = flags};
}

void ops_reply_open(fuse_req_t req, struct worker *w, uint64_t fh)
{
	struct fuse_open_out out = open_out(w, fh);

	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static struct fuse_attr attr_out(const struct stat *st)
{
	return (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.blksize = (uint32_t)st->st_blksize,
	};
}

void ops_reply_create(fuse_req_t req, struct worker *w, uint32_t row,
		      const struct stat *st, uint64_t fh)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {
		.entry = {.nodeid = (uint64_t)row + 1,
			  .generation = w->state->node[row].serial,
			  .entry_valid = OPS_TIMEOUT_S,
			  .attr_valid = OPS_TIMEOUT_S},
		.open = open_out(w, fh),
	};
	struct stat fixed = *st;

	ops_fix_size(w, row, &fixed);
	out.entry.attr = attr_out(&fixed);
	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void init(void *worker, struct fuse_conn_info *conn)
{
	session_conn_init(worker, conn);
}

/* --- attributes --- */

/* A descriptor of the node: of the handle if the request names one, else of
 * any open handle (the node may have no name left), else by its path. */
static int open_for_meta(struct worker *w, uint32_t row,
			 const struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_get(w, fi->fh) : NULL;
	int fd;

	if (h) {
		fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	if (row >= STATE_MAX_NODES)
		return -ESTALE;
	fd = handle_dup_of(w, row);
	return fd == -ESTALE ? resolve_node(w, row) : fd;
}

static int look(struct worker *w, uint32_t row, int fd, struct stat *st)
{
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	if (fstat(fd, st))
		return -errno;
	ops_fix_size(w, row, st);
	return 0;
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	uint32_t row = ops_row(ino);
	PFS_AUTO_FD fd = open_for_meta(w, row, fi);
	struct stat st;
	int err = fd < 0 ? fd : look(w, row, fd, &st);

	if (err)
		ops_reply(req, err);
	else
		fuse_reply_attr(req, &st, OPS_TIMEOUT_S);
}

/* truncate(2) by name: there may be no handle, or only readers'. */
static int set_size(struct worker *w, uint32_t row, int any_fd, uint64_t size)
{
	PFS_AUTO_FD fd = resolve_reopen(any_fd, O_RDWR);
	struct image *img;
	int err;

	if (fd == -EACCES)
		fd = resolve_reopen(any_fd, O_WRONLY);
	if (fd < 0)
		return fd;
	err = ops_image_get(w, row, fd, &img);
	if (err)
		return err;
	image_writer_opened(img);
	err = ops_truncate(img, fd, size);
	image_writer_closed(img);
	image_put(img);
	return err;
}

static int set_owner(const char *path, const struct stat *to, int what)
{
	uid_t uid = what & FUSE_SET_ATTR_UID ? to->st_uid : (uid_t)-1;
	gid_t gid = what & FUSE_SET_ATTR_GID ? to->st_gid : (gid_t)-1;

	return chown(path, uid, gid) ? -errno : 0;
}

static struct timespec time_to_set(const struct timespec *t, bool is_set,
				   bool is_now)
{
	if (is_now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (!is_set)
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	return *t;
}

static int set_times(const char *path, const struct stat *to, int what)
{
	const struct timespec times[2] = {
		time_to_set(&to->st_atim, what & FUSE_SET_ATTR_ATIME,
			    what & FUSE_SET_ATTR_ATIME_NOW),
		time_to_set(&to->st_mtim, what & FUSE_SET_ATTR_MTIME,
			    what & FUSE_SET_ATTR_MTIME_NOW),
	};

	return utimensat(AT_FDCWD, path, times, 0) ? -errno : 0;
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES                                                              \
	(FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | \
	 FUSE_SET_ATTR_MTIME_NOW)

/* An image whose chunks would be lost with the change of its ctime. */
static struct image *known_image(struct worker *w, uint32_t row, int fd)
{
	char path[PATH_MAX];

	if (resolve_path(w, row, path, sizeof(path)))
		return NULL;
	return image_get_known(w, fd, path);
}

/* Owner before mode: a change of owner takes setuid bits away. */
static int set_meta(int fd, const struct stat *to, int what)
{
	char path[RESOLVE_PROC_LEN];
	int err = 0;

	resolve_proc_path(fd, path);
	if (what & SET_OWNER)
		err = set_owner(path, to, what);
	if (!err && what & FUSE_SET_ATTR_MODE)
		err = chmod(path, to->st_mode & 07777) ? -errno : 0;
	if (!err && what & SET_TIMES)
		err = set_times(path, to, what);
	return err;
}

static int set_attr(struct worker *w, uint32_t row, int fd,
		    const struct stat *to, int what)
{
	int err = pfs_fault_check(PFS_FP_SOURCE_META);
	struct image *img;

	if (!err && what & FUSE_SET_ATTR_SIZE)
		err = to->st_size < 0
			      ? -EINVAL
			      : set_size(w, row, fd, (uint64_t)to->st_size);
	if (err || !(what & (SET_OWNER | FUSE_SET_ATTR_MODE | SET_TIMES)))
		return err;
	img = known_image(w, row, fd);
	err = set_meta(fd, to, what);
	if (img) {
		image_meta_changed(img);
		image_put(img);
	}
	return err;
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to,
			int what, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	uint32_t row = ops_row(ino);
	PFS_AUTO_FD fd = w->opt.ro ? -EROFS : open_for_meta(w, row, fi);
	struct stat st;
	int err = fd < 0 ? fd : set_attr(w, row, fd, to, what);

	if (!err)
		err = look(w, row, fd, &st);
	if (err)
		ops_reply(req, err);
	else
		fuse_reply_attr(req, &st, OPS_TIMEOUT_S);
}

/* --- statfs: from memory, so that df does not hang with the source --- */

static int look_at_space(struct worker *w)
{
	struct statvfs now;

	if (fstatvfs(w->root_fd, &now))
		return -errno;
	pfs_mutex_lock(&w->mount_lock);
	w->ops->statfs = now;
	pfs_mutex_unlock(&w->mount_lock);
	return 0;
}

static void space_timer(void *arg)
{
	struct worker *w = arg;
	bool is_closed;

	/* An error leaves the last known values. */
	(void)look_at_space(w);
	pfs_mutex_lock(&w->mount_lock);
	is_closed = w->ops->is_closed;
	pfs_mutex_unlock(&w->mount_lock);
	if (!is_closed && pool_task_at(w->pool, pfs_now_ns() + PFS_NSEC_PER_SEC,
				       space_timer, w))
		pfs_log(PFS_LOG_WARNING, "fs",
			"no timer: free space is no longer followed");
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct worker *w = ops_worker(req);
	struct statvfs now;

	(void)ino;
	pfs_mutex_lock(&w->mount_lock);
	now = w->ops->statfs;
	pfs_mutex_unlock(&w->mount_lock);
	fuse_reply_statfs(req, &now);
}

/* --- what is refused --- */

static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		     const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	ops_reply(req, -EPERM);
}

static void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
			const char *name)
{
	(void)target;
	(void)parent;
	(void)name;
	ops_reply(req, -EPERM);
}

const struct fuse_lowlevel_ops *ops_table(void)
{
	static const struct fuse_lowlevel_ops table = {
		.init = init,
		.lookup = ops_lookup,
		.forget = ops_forget,
		.forget_multi = ops_forget_multi,
		.getattr = ops_getattr,
		.setattr = ops_setattr,
		.mknod = ops_mknod,
		.mkdir = ops_mkdir,
		.unlink = ops_unlink,
		.rmdir = ops_rmdir,
		.rename = ops_rename,
		.link = ops_link,
		.symlink = ops_symlink,
		.open = ops_open,
		.create = ops_create,
		.write = ops_write,
		.flush = ops_flush,
		.release = ops_release,
		.fsync = ops_fsync,
		.opendir = ops_opendir,
		.readdir = ops_readdir,
		.releasedir = ops_release,
		.fsyncdir = ops_fsyncdir,
		.statfs = ops_statfs,
		.getlk = ops_getlk,
		.setlk = ops_setlk,
		.fallocate = ops_fallocate,
		.copy_file_range = ops_copy_file_range,
		.lseek = ops_lseek,
	};

	return &table;
}

/* --- a worker's start and end --- */

void ops_destroy(struct worker *w)
{
	struct ops *o = pfs_take(&w->ops);

	if (!o)
		return;
	intent_log_destroy(o->intents);
	lock_table_destroy(o->locks);
	handle_table_destroy(o->handles);
	node_table_destroy(o->nodes);
	pfs_cond_fini(&o->move_done);
	free(o);
}

static int create_tables(struct worker *w)
{
	struct ops *o = pfs_zalloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	w->ops = o;
	pfs_cond_init(&o->move_done);
	err = node_table_create(w->state, &o->nodes);
	if (!err)
		err = handle_table_create(&o->handles);
	if (!err)
		err = lock_table_create(&o->locks);
	if (!err)
		err = intent_log_create(w->state, &w->mount_lock, &o->intents);
	if (err)
		ops_destroy(w);
	return err;
}

/* Descriptors that no row in use claims: a worker died before it published
 * them. */
static void drop_unclaimed(struct worker *w, int *kept_fd)
{
	const struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	for (uint32_t slot = 0; slot < STATE_FD_SLOTS; slot++) {
		struct flock l = all;

		if (kept_fd[slot] < 0)
			continue;
		(void)fcntl(kept_fd[slot], F_OFD_SETLK, &l);
		close(pfs_take_fd(&kept_fd[slot]));
		if (proto_send(w->sup_fd, PROTO_FD_DROP, &slot, sizeof(slot),
			       NULL, 0))
			return; /* no supervisor, no descriptors */
	}
}

int ops_recover(struct worker *w, int *kept_fd)
{
	int err = create_tables(w);

	if (err)
		return err;
	/* Names first: handles are opened under their present ones. */
	ops_settle_intents(w);
	err = handle_recover(w, kept_fd);
	if (!err)
		err = lock_recover(w, kept_fd);
	if (!err)
		err = look_at_space(w);
	if (err)
		return pfs_log_fail(err, "fs", "take up the mount's state");
	drop_unclaimed(w, kept_fd);
	pfs_mutex_lock(&w->mount_lock);
	node_recovered(w->ops->nodes);
	pfs_mutex_unlock(&w->mount_lock);
	return pool_task_at(w->pool, pfs_now_ns() + PFS_NSEC_PER_SEC,
			    space_timer, w);
}

void ops_close_all(struct worker *w)
{
	if (!w->ops)
		return;
	pfs_mutex_lock(&w->mount_lock);
	w->ops->is_closed = true;
	pfs_mutex_unlock(&w->mount_lock);
	lock_close_all(w);
	handle_close_all(w);
}
