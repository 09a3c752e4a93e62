/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files: everything but READ.
 *
 * Source writes are plain synchronous calls: once waitpid() has returned a
 * dead worker they are over, so its successor's writes cannot be overtaken by
 * its own.
 */
#include <limits.h>
#include <string.h>
#include <sys/wait.h>

#include <linux/falloc.h>

#include <pfs/clock.h>

#include "ops_priv.h"
#include "resolve.h"

/* --- open --- */

int ops_image_get(struct worker *w, uint32_t row, int fd, struct image **out)
{
	char path[PATH_MAX];
	int err = resolve_path(w, row, path, sizeof(path));

	/* A gone file is known by its last name; it is past the store. */
	if (err)
		snprintf(path, sizeof(path), "%s",
			 node_name(&w->state->node[row]));
	return image_get(w, fd, path, out);
}

static void announce(struct image *img, int flags)
{
	if (handle_is_writer(flags))
		image_writer_opened(img);
}

static void unannounce(struct image *img, int flags)
{
	if (handle_is_writer(flags))
		image_writer_closed(img);
	image_put(img);
}

/* What the client opens write-only is read by the store's fills too. */
static int open_source(int path_fd, int flags)
{
	int fd = resolve_reopen(path_fd,
				handle_is_writer(flags) ? O_RDWR : O_RDONLY);

	if (fd == -EACCES && (flags & O_ACCMODE) == O_WRONLY)
		fd = resolve_reopen(path_fd, O_WRONLY);
	return fd;
}

int ops_open_handle(struct worker *w, uint32_t row, int path_fd, int flags,
		    pid_t pid, uint64_t *fh)
{
	PFS_AUTO_FD fd = open_source(path_fd, flags);
	struct handle_open what = {
		.node = row,
		.flags = flags,
		.unique = ops_request()->unique,
		.pid = pid,
	};
	int err;

	close(path_fd);
	if (fd < 0)
		return fd;
	what.fd = fd;
	err = ops_image_get(w, row, fd, &what.img);
	if (err)
		return err;
	announce(what.img, flags);
	if (flags & O_TRUNC)
		err = ops_truncate(what.img, fd, 0);
	if (!err)
		err = handle_open(w, &what, fh);
	if (err) {
		unannounce(what.img, flags);
		return err;
	}
	(void)pfs_take_fd(&fd); /* the handle's now */
	return 0;
}

static int open_row(struct worker *w, uint32_t row, int flags, pid_t pid,
		    uint64_t *fh)
{
	struct stat st;
	int fd;

	if (w->opt.ro && (handle_is_writer(flags) || flags & O_TRUNC))
		return -EROFS;
	fd = resolve_node(w, row);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -ESTALE;
	}
	return ops_open_handle(w, row, fd, flags, pid, fh);
}

/* Had a dead worker opened it already?  Then without truncating again: what
 * was written since must stay. */
static bool opened_before(struct worker *w, uint32_t row, uint64_t *fh)
{
	uint32_t node;

	if (!ops_request()->is_resent)
		return false;
	*fh = handle_of_request(w, ops_request()->unique, &node);
	return *fh && node == row;
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	uint32_t row = ops_row(ino);
	uint64_t fh;
	int err = 0;

	if (!opened_before(w, row, &fh))
		err = open_row(w, row, fi->flags, fuse_req_ctx(req)->pid, &fh);
	if (err)
		ops_reply(req, err);
	else
		ops_reply_open(req, w, fh);
}

void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);

	/* POSIX: closing any descriptor of a file drops the owner's locks. */
	lock_drop_owner(w, ops_row(ino), fi->lock_owner);
	lock_handle_flushed(w, (uint32_t)fi->fh);
	fuse_reply_err(req, 0);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	struct handle *h;
	int flags;

	(void)ino;
	if (handle_get(w, fi->fh))
		lock_drop_handle(w, (uint32_t)fi->fh);
	h = handle_release(w, fi->fh, &flags);
	/* A stale one was released by a worker that died before its reply. */
	fuse_reply_err(req, 0);
	if (h)
		handle_finish(w, h, flags);
}

/* --- changes of bytes --- */

int ops_truncate(struct image *img, int fd, uint64_t size)
{
	uint64_t from = PFS_MIN(size, image_size(img));
	uint64_t start = pfs_now_ns();
	struct image_mutation m;
	int err;

	image_mutate_begin(img, from, UINT64_MAX, &m);
	err = pfs_io_ftruncate(PFS_FP_SOURCE_WRITE, fd, size);
	image_mutate_end(img, &m, NULL, 0);
	image_note_write(img, 0, 0, from, UINT64_MAX - from, start);
	return err;
}

/* Planted bug: a write that outlives its worker, as O_DIRECT io_uring writes
 * were seen to.  Nothing but system calls here: other threads' locks may be
 * held in the child. */
static ssize_t write_by_child(int fd, const char *buf, size_t len, off_t off)
{
	const struct timespec second = {.tv_sec = 1};
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid) {
		dup2(fd, 0);
		close_range(1, ~0u, 0);
		nanosleep(&second, NULL);
		_exit(pwrite(0, buf, len, off) != (ssize_t)len);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return -EIO;
	return (ssize_t)len;
}

/* What was written before an error is reported as a short write, as a local
 * file system does; the client meets the error when it goes on. */
static ssize_t write_part(int fd, const char *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n =
			pwrite(fd, buf + done, len - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 && !done)
			return n < 0 ? -errno : -EIO;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t write_source(int fd, const char *buf, size_t len, off_t off)
{
	uint64_t armed =
		atomic_load_explicit(&pfs_fault_armed_, memory_order_relaxed);

	/* Not when sent again: a device is slow with one write, not with all,
	 * and so the dead worker's comes after its successor's. */
	if (!ops_request()->is_resent &&
	    pfs_fault_take(PFS_FP_PLANT_DIRECT_WRITE).kind == PFS_FAULT_ERRNO)
		return write_by_child(fd, buf, len, off);
	if (armed >> PFS_FP_SOURCE_WRITE & 1)
		return pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, buf, len,
				     (uint64_t)off);
	return write_part(fd, buf, len, off);
}

static ssize_t write_image(const struct handle *h, const char *buf, size_t len,
			   off_t off)
{
	uint64_t start = pfs_now_ns();
	struct image_mutation m;
	ssize_t n;

	if (!h->img)
		return -EIO;
	if (off < 0)
		return -EINVAL;
	image_mutate_begin(h->img, (uint64_t)off, len, &m);
	n = write_source(h->fd, buf, len, off);
	image_mutate_end(h->img, &m, n == (ssize_t)len ? buf : NULL, len);
	image_note_write(h->img, h->vm, h->row, (uint64_t)off, len, start);
	return n;
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
	       off_t off, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	struct handle *h = handle_get(w, fi->fh);
	ssize_t n = h ? write_image(h, buf, size, off) : -EBADF;

	(void)ino;
	if (n < 0) {
		pfs_count(PFS_C_WRITE_ERROR, 1);
		ops_reply(req, (int)n);
		return;
	}
	pfs_count(PFS_C_WRITES, 1);
	pfs_count(PFS_C_WRITE_BYTES, (uint64_t)n);
	fuse_reply_write(req, (size_t)n);
}

static bool is_known_mode(int mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return true;
	default:
		return false;
	}
}

static int allocate(const struct handle *h, int mode, off_t off, off_t len)
{
	uint64_t start = pfs_now_ns();
	struct image_mutation m;
	int err;

	if (!is_known_mode(mode))
		return -EOPNOTSUPP;
	if (!h->img)
		return -EIO;
	if (off < 0 || len <= 0)
		return -EINVAL;
	image_mutate_begin(h->img, (uint64_t)off, (uint64_t)len, &m);
	err = pfs_io_fallocate(PFS_FP_SOURCE_WRITE, h->fd, mode, (uint64_t)off,
			       (uint64_t)len);
	image_mutate_end(h->img, &m, NULL, 0);
	image_note_write(h->img, h->vm, h->row, (uint64_t)off, (uint64_t)len,
			 start);
	return err;
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		   off_t len, struct fuse_file_info *fi)
{
	struct handle *h = handle_get(ops_worker(req), fi->fh);

	(void)ino;
	ops_reply(req, h ? allocate(h, mode, off, len) : -EBADF);
}

static ssize_t copy(const struct handle *in, off_t off_in,
		    const struct handle *out, off_t off_out, size_t len)
{
	uint64_t start = pfs_now_ns(), at = (uint64_t)off_out;
	int err = pfs_fault_check(PFS_FP_SOURCE_WRITE);
	struct image_mutation m;
	ssize_t n;

	if (err)
		return err;
	if (!in->img || !out->img)
		return -EIO;
	if (off_in < 0 || off_out < 0)
		return -EINVAL;
	image_mutate_begin(out->img, at, len, &m);
	n = copy_file_range(in->fd, &off_in, out->fd, &off_out, len, 0);
	if (n < 0) /* the kernel copies by reading and writing on EOPNOTSUPP */
		n = errno == ENOSYS ? -EOPNOTSUPP : -errno;
	image_mutate_end(out->img, &m, NULL, 0);
	image_note_write(out->img, out->vm, out->row, at, len, start);
	return n;
}

void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			 struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			 off_t off_out, struct fuse_file_info *fi_out,
			 size_t len, int flags)
{
	struct worker *w = ops_worker(req);
	struct handle *in = handle_get(w, fi_in->fh);
	struct handle *out = handle_get(w, fi_out->fh);
	ssize_t n = -EBADF;

	(void)ino_in;
	(void)ino_out;
	if (flags)
		n = -EINVAL;
	else if (in && out)
		n = copy(in, off_in, out, off_out, len);
	if (n < 0)
		ops_reply(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* --- the rest --- */

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
	       struct fuse_file_info *fi)
{
	struct handle *h = handle_get(ops_worker(req), fi->fh);

	(void)ino;
	(void)datasync; /* size and bytes either way; times may lag (I4) */
	if (!h) {
		ops_reply(req, -EBADF);
		return;
	}
	pfs_count(PFS_C_FSYNCS, 1);
	ops_reply(req, pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, h->fd));
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	       struct fuse_file_info *fi)
{
	struct handle *h = handle_get(ops_worker(req), fi->fh);
	off_t to;

	(void)ino;
	if (!h || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		ops_reply(req, h ? -EINVAL : -EBADF);
		return;
	}
	/* Moves the position of the source descriptor, which nobody uses. */
	to = lseek(h->fd, off, whence);
	if (to < 0)
		ops_reply(req, -errno);
	else
		fuse_reply_lseek(req, to);
}
