/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading folders.  Offsets are the source's own d_off, so a listing goes on
 * after a worker's death where it was, on the descriptor the supervisor kept.
 */
#include <dirent.h>
#include <string.h>
#include <sys/syscall.h>

#include "ops_priv.h"
#include "resolve.h"

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static int open_folder(struct worker *w, uint32_t row, fuse_req_t req,
		       uint64_t *fh)
{
	PFS_AUTO_FD path_fd = resolve_dir(w, row);
	struct handle_open what = {
		.node = row,
		.unique = ops_request()->unique,
		.pid = fuse_req_ctx(req)->pid,
	};
	int err;

	if (path_fd < 0)
		return path_fd;
	what.fd = resolve_reopen(path_fd, O_RDONLY | O_DIRECTORY);
	if (what.fd < 0)
		return what.fd;
	err = handle_open(w, &what, fh);
	if (err)
		close(what.fd);
	return err;
}

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct worker *w = ops_worker(req);
	uint32_t row = ops_row(ino), node;
	int err = 0;

	fi->fh = 0;
	if (ops_request()->is_resent)
		fi->fh = handle_of_request(w, ops_request()->unique, &node);
	if (!fi->fh)
		err = open_folder(w, row, req, &fi->fh);
	if (err)
		ops_reply(req, err);
	else
		fuse_reply_open(req, fi);
}

static mode_t mode_of(int dir, const struct linux_dirent64 *d)
{
	struct stat st;

	if (d->d_type != DT_UNKNOWN)
		return DTTOIF(d->d_type);
	return resolve_stat(dir, d->d_name, &st) ? 0 : st.st_mode;
}

/* A reply under way. */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t size, len;
};

/* False: it does not fit any more. */
static bool add_entry(struct listing *l, int dir,
		      const struct linux_dirent64 *d)
{
	struct stat st = {.st_ino = d->d_ino, .st_mode = mode_of(dir, d)};
	size_t len;

	if (!ops_is_served(st.st_mode)) {
		pfs_count(PFS_C_SKIPPED_FILES, 1);
		return true;
	}
	len = fuse_add_direntry(l->req, l->buf + l->len, l->size - l->len,
				d->d_name, &st, d->d_off);
	if (len > l->size - l->len)
		return false;
	l->len += len;
	return true;
}

/* Entries of one getdents64() call.  1: go on, 0: full or at the end. */
static int add_batch(struct listing *l, int dir)
{
	char raw[8192] __attribute__((aligned(8)));
	long n = syscall(SYS_getdents64, dir, raw, sizeof(raw));

	if (n <= 0)
		return n ? -errno : 0;
	for (long at = 0; at < n;) {
		const struct linux_dirent64 *d = (const void *)(raw + at);

		if (!add_entry(l, dir, d))
			return 0;
		at += d->d_reclen;
	}
	return 1;
}

static int list(struct listing *l, int dir, off_t off)
{
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	if (lseek(dir, off, SEEK_SET) < 0)
		return -errno;
	do
		err = add_batch(l, dir);
	while (err > 0);
	return l->len ? 0 : err; /* the error comes again with the next call */
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	struct handle *h = handle_get(ops_worker(req), fi->fh);
	PFS_AUTO_FREE char *buf = malloc(size);
	struct listing l = {.req = req, .buf = buf, .size = size};
	int err = -EBADF;

	(void)ino;
	if (h)
		err = buf ? list(&l, h->fd, off) : -ENOMEM;
	if (err)
		ops_reply(req, err);
	else
		fuse_reply_buf(req, l.buf, l.len);
}

void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		  struct fuse_file_info *fi)
{
	struct handle *h = handle_get(ops_worker(req), fi->fh);

	(void)ino;
	(void)datasync;
	ops_reply(req, h ? pfs_io_fsync(PFS_FP_SOURCE_FSYNC, h->fd) : -EBADF);
}
