// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * slowfs_ops.c - the passthrough: a folder served as it is.
 *
 * A node is an O_PATH descriptor of a source file that the kernel knows; its
 * address is the node id.  The open descriptor keeps the inode number from
 * being used again while the node lives.  Attributes are those of the source,
 * inode number and times included, and by default never cached by the kernel.
 *
 * Files are always opened for direct I/O, so that each read at the mount is a
 * request.  O_DIRECT itself is not handed on: the delay is ours, not that of
 * the source's disk, and sources such as tmpfs refuse it.
 *
 * Locks are not implemented, so the kernel keeps POSIX, OFD and flock locks
 * itself: they hold among all users of the mount, not against users of the
 * source folder.  Extended attributes, symlinks, hard links and device nodes
 * cannot be made; links that exist are shown.
 *
 * Faults strike after the delay, before the source is touched.
 */
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "slowfs.h"

#define N_BUCKETS 4096
#define CTL_TEXT_MAX 4096

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

struct node {
	int fd; /* O_PATH; owned */
	dev_t dev;
	ino_t ino;
	uint64_t lookups; /* that the kernel has not forgotten; under lock */
	struct node *next;
};

/* An open control file: what a read from offset 0 saw, for the reads that
 * follow it. */
struct ctl_file {
	size_t len;
	char text[CTL_TEXT_MAX];
};

struct dir {
	DIR *stream;
	struct dirent *entry; /* read but not yet sent */
	off_t pos;
};

static struct {
	struct node root;
	double attr_timeout; /* s */
	pthread_mutex_t lock;
	struct node *buckets[N_BUCKETS]; /* under lock */
} fs = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- nodes --- */

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &fs.root : (struct node *)(uintptr_t)ino;
}

static struct node **bucket_of(dev_t dev, ino_t ino)
{
	uint64_t h = (ino ^ dev << 32) * 0x9e3779b97f4a7c15ULL;

	return &fs.buckets[h >> 52];
}

static struct node *find_locked(dev_t dev, ino_t ino)
{
	struct node *n = *bucket_of(dev, ino);

	while (n && (n->dev != dev || n->ino != ino))
		n = n->next;
	return n;
}

/* Takes fd over.  NULL: no memory. */
static struct node *node_get(int fd, const struct stat *st)
{
	struct node *fresh = calloc(1, sizeof(*fresh));
	struct node *n;

	pthread_mutex_lock(&fs.lock);
	n = find_locked(st->st_dev, st->st_ino);
	if (!n && fresh) {
		struct node **bucket = bucket_of(st->st_dev, st->st_ino);

		*fresh = (struct node){.fd = fd,
				       .dev = st->st_dev,
				       .ino = st->st_ino,
				       .next = *bucket};
		*bucket = n = fresh;
		fresh = NULL;
		fd = -1;
	}
	if (n)
		n->lookups++;
	pthread_mutex_unlock(&fs.lock);
	free(fresh);
	if (fd >= 0)
		close(fd);
	return n;
}

static void node_forget(fuse_ino_t ino, uint64_t lookups)
{
	struct node *n = node_of(ino);
	struct node **at;

	if (n == &fs.root || ino == SLOW_CTL_NODE)
		return;
	pthread_mutex_lock(&fs.lock);
	n->lookups -= lookups;
	if (n->lookups) {
		pthread_mutex_unlock(&fs.lock);
		return;
	}
	at = bucket_of(n->dev, n->ino);
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	pthread_mutex_unlock(&fs.lock);
	close(n->fd);
	free(n);
}

/* A node by a path, for calls that refuse an O_PATH descriptor. */
struct fd_path {
	char s[40];
};

static struct fd_path path_of(fuse_ino_t ino)
{
	struct fd_path p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", node_of(ino)->fd);
	return p;
}

static int fd_of(const struct fuse_file_info *fi)
{
	return (int)fi->fh;
}

static void reply_result(fuse_req_t req, int ret)
{
	fuse_reply_err(req, ret < 0 ? errno : 0);
}

/* --- the control file --- */

static bool is_ctl_name(fuse_ino_t parent, const char *name)
{
	return parent == FUSE_ROOT_ID && !strcmp(name, SLOW_CTL_NAME);
}

static struct stat ctl_stat(void)
{
	return (struct stat){.st_ino = UINT64_MAX,
			     .st_mode = S_IFREG | 0600,
			     .st_nlink = 1,
			     .st_uid = geteuid(),
			     .st_gid = getegid()};
}

static void ctl_open(fuse_req_t req, struct fuse_file_info *fi)
{
	struct ctl_file *f = calloc(1, sizeof(*f));

	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)f;
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi))
		free(f);
}

static void ctl_read(fuse_req_t req, size_t size, off_t off,
		     const struct fuse_file_info *fi)
{
	struct ctl_file *f = (struct ctl_file *)(uintptr_t)fi->fh;
	char text[CTL_TEXT_MAX];
	size_t at = (size_t)off;

	if (at == 0)
		f->len = slow_ctl_print(f->text, sizeof(f->text));
	if (at > f->len)
		at = f->len;
	if (size > f->len - at)
		size = f->len - at;
	/* A copy: RELEASE may free f before the reply has returned, which
	 * AddressSanitizer, looking at the buffer once more, resents. */
	memcpy(text, f->text + at, size);
	fuse_reply_buf(req, text, size);
}

static void ctl_write(fuse_req_t req, const char *buf, size_t size)
{
	int err = slow_ctl_apply(buf, size);

	if (err) {
		fuse_reply_err(req, err == -ENOMEM ? ENOMEM : EINVAL);
		return;
	}
	slow_queue_steer();
	fuse_reply_write(req, size);
}

/* --- names and attributes --- */

static int lookup(fuse_ino_t parent, const char *name,
		  struct fuse_entry_param *e)
{
	struct node *n;
	int fd;

	*e = (struct fuse_entry_param){.attr_timeout = fs.attr_timeout,
				       .entry_timeout = fs.attr_timeout};
	if (is_ctl_name(parent, name)) {
		e->ino = SLOW_CTL_NODE;
		e->attr = ctl_stat();
		return 0;
	}
	fd = openat(node_of(parent)->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &e->attr) < 0) {
		close(fd);
		return -EIO;
	}
	n = node_get(fd, &e->attr);
	if (!n)
		return -ENOMEM;
	e->ino = (fuse_ino_t)(uintptr_t)n;
	return 0;
}

static void reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	int err = lookup(parent, name, &e);

	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &e);
}

static int stat_node(fuse_ino_t ino, struct stat *st)
{
	if (ino != SLOW_CTL_NODE)
		return fstat(node_of(ino)->fd, st);
	*st = ctl_stat();
	return 0;
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
	struct stat st;

	if (stat_node(ino, &st) < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_attr(req, &st, fs.attr_timeout);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)fi;
	reply_attr(req, ino);
}

static int ctl_statx(struct statx *out)
{
	struct stat st = ctl_stat();

	*out = (struct statx){.stx_mask = STATX_BASIC_STATS,
			      .stx_ino = st.st_ino,
			      .stx_mode = (uint16_t)st.st_mode,
			      .stx_nlink = 1,
			      .stx_uid = st.st_uid,
			      .stx_gid = st.st_gid};
	return 0;
}

int slow_ops_statx(uint64_t nodeid, struct statx *out)
{
	if (nodeid == SLOW_CTL_NODE)
		return ctl_statx(out);
	if (statx(node_of(nodeid)->fd, "", AT_EMPTY_PATH,
		  STATX_BASIC_STATS | STATX_BTIME, out) < 0)
		return -errno;
	return 0;
}

static struct timespec time_to_set(int which, int now, int valid,
				   struct timespec t)
{
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (!(valid & which))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	return t;
}

static int set_times(fuse_ino_t ino, const struct stat *attr, int valid)
{
	const struct timespec t[2] = {
		time_to_set(FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, valid,
			    attr->st_atim),
		time_to_set(FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, valid,
			    attr->st_mtim),
	};

	return utimensat(AT_FDCWD, path_of(ino).s, t, 0);
}

static int set_owner(fuse_ino_t ino, const struct stat *attr, int valid)
{
	uid_t uid = valid & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = valid & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

	return fchownat(node_of(ino)->fd, "", uid, gid, AT_EMPTY_PATH);
}

static int set_attr(fuse_ino_t ino, const struct stat *attr, int valid,
		    const struct fuse_file_info *fi)
{
	int ret = 0;

	if (valid & FUSE_SET_ATTR_MODE)
		ret = chmod(path_of(ino).s, attr->st_mode & 07777);
	if (!ret && valid & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		ret = set_owner(ino, attr, valid);
	if (!ret && valid & FUSE_SET_ATTR_SIZE)
		ret = fi ? ftruncate(fd_of(fi), attr->st_size)
			 : truncate(path_of(ino).s, attr->st_size);
	if (!ret && valid & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
			     FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
		ret = set_times(ino, attr, valid);
	return ret;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int valid, struct fuse_file_info *fi)
{
	/* A shell truncates the control file before it writes to it. */
	if (ino != SLOW_CTL_NODE && set_attr(ino, attr, valid, fi) < 0)
		fuse_reply_err(req, errno);
	else
		reply_attr(req, ino);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_entry(req, parent, name);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	node_forget(ino, lookups);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t n,
			    struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < n; i++)
		node_forget(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static bool is_full(void)
{
	return slow_fault_hits(&slow_settings()->enospc, 0, 0);
}

/* A daemon run by root makes files for others: they become theirs. */
static void give_to_caller(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (geteuid() || (!ctx->uid && !ctx->gid))
		return;
	if (fchownat(node_of(parent)->fd, name, ctx->uid, ctx->gid,
		     AT_SYMLINK_NOFOLLOW) < 0)
		fprintf(stderr, "slowfs: chown %s: %m\n", name);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode)
{
	if (is_full()) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	if (mkdirat(node_of(parent)->fd, name, mode) < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	give_to_caller(req, parent, name);
	reply_entry(req, parent, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, unlinkat(node_of(parent)->fd, name, 0));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, unlinkat(node_of(parent)->fd, name, AT_REMOVEDIR));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name,
		      unsigned int flags)
{
	if (is_ctl_name(parent, name) || is_ctl_name(new_parent, new_name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	reply_result(req, renameat2(node_of(parent)->fd, name,
				    node_of(new_parent)->fd, new_name, flags));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4096];
	ssize_t n = readlinkat(node_of(ino)->fd, "", target, sizeof(target));

	if (n < 0 || (size_t)n == sizeof(target)) {
		fuse_reply_err(req, n < 0 ? errno : ENAMETOOLONG);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs sv;

	(void)ino;
	if (fstatvfs(fs.root.fd, &sv) < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &sv);
}

/* --- folders --- */

static struct dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct dir *)(uintptr_t)fi->fh;
}

static void dir_close(struct dir *d)
{
	if (d->stream)
		closedir(d->stream);
	free(d);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct dir *d = calloc(1, sizeof(*d));
	int fd;

	if (!d) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fd = open(path_of(ino).s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d->stream = fd < 0 ? NULL : fdopendir(fd);
	if (!d->stream) {
		fuse_reply_err(req, errno);
		if (fd >= 0)
			close(fd);
		dir_close(d);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)d;
	if (fuse_reply_open(req, fi))
		dir_close(d);
}

static struct dirent *dir_peek(struct dir *d)
{
	if (!d->entry) {
		errno = 0; /* tells the end from an error */
		d->entry = readdir(d->stream);
	}
	return d->entry;
}

static void dir_next(struct dir *d)
{
	d->pos = d->entry->d_off;
	d->entry = NULL;
}

static void dir_seek(struct dir *d, off_t pos)
{
	if (pos == d->pos)
		return;
	seekdir(d->stream, pos);
	d->entry = NULL;
	d->pos = pos;
}

static size_t add_entry(fuse_req_t req, const struct dirent *ent, char *buf,
			size_t room)
{
	struct stat st = {.st_ino = ent->d_ino,
			  .st_mode = (mode_t)DTTOIF(ent->d_type)};

	return fuse_add_direntry(req, buf, room, ent->d_name, &st, ent->d_off);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct dir *d = dir_of(fi);
	char *buf = malloc(size);
	struct dirent *ent;
	size_t len = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	dir_seek(d, off);
	while ((ent = dir_peek(d))) {
		/* Hides a source's own file behind the control file. */
		if (!is_ctl_name(ino, ent->d_name)) {
			size_t n = add_entry(req, ent, buf + len, size - len);

			if (n > size - len)
				break;
			len += n;
		}
		dir_next(d);
	}
	if (!ent && errno && !len)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, buf, len);
	free(buf);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	(void)ino;
	dir_close(dir_of(fi));
	fuse_reply_err(req, 0);
}

static int sync_fd(int fd, int datasync)
{
	if (slow_fault_hits(&slow_settings()->fsync_eio, 0, 0)) {
		errno = EIO;
		return -1;
	}
	return datasync ? fdatasync(fd) : fsync(fd);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
			struct fuse_file_info *fi)
{
	(void)ino;
	reply_result(req, sync_fd(dirfd(dir_of(fi)->stream), datasync));
}

/* --- files --- */

/* O_APPEND would make pwrite() ignore the offset that the kernel chose. */
static int source_flags(int flags)
{
	return (flags & ~(O_APPEND | O_DIRECT | O_NOFOLLOW)) | O_CLOEXEC;
}

/* libfuse 3.14 has no field for the flag that lets writes to one file run at
 * once, so the reply is laid out by hand. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO |
						  FOPEN_PARALLEL_DIRECT_WRITES};
	int fd;

	if (ino == SLOW_CTL_NODE) {
		ctl_open(req, fi);
		return;
	}
	fd = open(path_of(ino).s, source_flags(fi->flags));
	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	out.fh = (uint64_t)fd;
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)))
		close(fd);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int err;
	int fd;

	if (is_full()) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	fd = openat(node_of(parent)->fd, name,
		    source_flags(fi->flags) | O_CREAT | O_NOFOLLOW, mode);
	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	give_to_caller(req, parent, name);
	err = lookup(parent, name, &e);
	if (err) {
		fuse_reply_err(req, -err);
		close(fd);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->direct_io = 1;
	if (fuse_reply_create(req, &e, fi)) {
		node_forget(e.ino, 1);
		close(fd);
	}
}

static void op_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	if (ino == SLOW_CTL_NODE)
		free((void *)(uintptr_t)fi->fh);
	else
		close(fd_of(fi));
	fuse_reply_err(req, 0);
}

/* Closing a copy tells what close() of the source would tell its caller. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	reply_result(req, ino == SLOW_CTL_NODE ? 0 : close(dup(fd_of(fi))));
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	reply_result(req,
		     ino == SLOW_CTL_NODE ? 0 : sync_fd(fd_of(fi), datasync));
}

static bool is_bad_range(const struct slow_fault *f, off_t off, size_t len)
{
	return slow_fault_hits(f, (uint64_t)off, len) ||
	       slow_fault_hits(&slow_settings()->eio_range, (uint64_t)off, len);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static _Thread_local char buf[SLOW_MAX_IO]; /* 12 threads have it */
	const struct slow_settings *s = slow_settings();
	ssize_t n;

	if (ino == SLOW_CTL_NODE) {
		ctl_read(req, size, off, fi);
		return;
	}
	if (is_bad_range(&s->read_eio, off, size)) {
		fuse_reply_err(req, EIO);
		return;
	}
	if (size > 1 && slow_fault_hits(&s->short_reads, (uint64_t)off, size))
		size /= 2;
	if (size > sizeof(buf))
		size = sizeof(buf);
	n = pread(fd_of(fi), buf, size, off);
	if (n < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	slow_count(SLOW_READ_BYTES, (uint64_t)n);
	fuse_reply_buf(req, buf, (size_t)n);
}

static void write_source(fuse_req_t req, const char *buf, size_t size,
			 off_t off, int fd)
{
	size_t done = 0;
	ssize_t n = 0;

	while (done < size) {
		n = pwrite(fd, buf + done, size - done, off + (off_t)done);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	slow_count(SLOW_WRITE_BYTES, done);
	if (n < 0 && !done)
		fuse_reply_err(req, errno);
	else
		fuse_reply_write(req, done);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	if (ino == SLOW_CTL_NODE)
		ctl_write(req, buf, size);
	else if (is_bad_range(&slow_settings()->write_eio, off, size))
		fuse_reply_err(req, EIO);
	else if (is_full())
		fuse_reply_err(req, ENOSPC);
	else
		write_source(req, buf, size, off, fd_of(fi));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
			 off_t len, struct fuse_file_info *fi)
{
	if (ino == SLOW_CTL_NODE)
		fuse_reply_err(req, EOPNOTSUPP);
	else if (is_bad_range(&slow_settings()->write_eio, off, (size_t)len))
		fuse_reply_err(req, EIO);
	else if (!(mode & FALLOC_FL_PUNCH_HOLE) && is_full())
		fuse_reply_err(req, ENOSPC);
	else
		reply_result(req, fallocate(fd_of(fi), mode, off, len));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	off_t pos;

	if (ino == SLOW_CTL_NODE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	pos = lseek(fd_of(fi), off, whence);
	if (pos < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, pos);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			       off_t off_out, struct fuse_file_info *fi_out,
			       size_t len, int flags)
{
	const struct slow_settings *s = slow_settings();
	ssize_t n;

	if (ino_in == SLOW_CTL_NODE || ino_out == SLOW_CTL_NODE) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	if (is_bad_range(&s->read_eio, off_in, len) ||
	    is_bad_range(&s->write_eio, off_out, len)) {
		fuse_reply_err(req, EIO);
		return;
	}
	if (is_full()) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	n = copy_file_range(fd_of(fi_in), &off_in, fd_of(fi_out), &off_out, len,
			    (unsigned int)flags);
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_write(req, (size_t)n);
}

/* --- set-up --- */

/* As many requests in the background as anybody may want outstanding. */
static void op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	conn->max_background = 1024;
	conn->congestion_threshold = 1024;
	conn->max_write = SLOW_MAX_IO;
}

const struct fuse_lowlevel_ops slow_fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.statfs = op_statfs,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.open = op_open,
	.create = op_create,
	.release = op_release,
	.flush = op_flush,
	.fsync = op_fsync,
	.read = op_read,
	.write = op_write,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
};

double slow_ops_attr_timeout(void)
{
	return fs.attr_timeout;
}

int slow_ops_init(int source_fd, double attr_timeout)
{
	struct stat st;

	if (fstat(source_fd, &st) < 0)
		return -errno;
	fs.attr_timeout = attr_timeout;
	fs.root.fd = source_fd;
	fs.root.dev = st.st_dev;
	fs.root.ino = st.st_ino;
	return 0;
}

void slow_ops_fini(void)
{
	for (size_t i = 0; i < N_BUCKETS; i++)
		while (fs.buckets[i])
			node_forget((uintptr_t)fs.buckets[i],
				    fs.buckets[i]->lookups);
	close(fs.root.fd);
}
