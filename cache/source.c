/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source.h"

#include <fcntl.h>

#include <pfs/io.h>

struct file_source {
	struct pfs_source base;
	int fd; /* owned */
};

static void file_readv(struct pfs_source *src, struct ring *r,
		       struct ring_op *op, const struct iovec *iov,
		       unsigned int n, uint64_t off)
{
	struct file_source *f = PFS_CONTAINER_OF(src, struct file_source, base);

	ring_readv(r, op, PFS_FP_SOURCE_READ, f->fd, iov, n, off);
}

static void file_close(struct pfs_source *src)
{
	struct file_source *f = PFS_CONTAINER_OF(src, struct file_source, base);

	close(f->fd);
	free(f);
}

static const struct source_ops file_ops = {
	.readv = file_readv,
	.close = file_close,
};

int pfs_source_from_fd(int fd, struct pfs_source **out)
{
	struct file_source *f = pfs_zalloc(1, sizeof(*f));
	int flags;

	if (!f)
		return -ENOMEM;
	f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (f->fd < 0) {
		int err = -errno;

		free(f);
		return err;
	}
	/* io_uring takes O_NONBLOCK by its word even on a regular file: a read
	 * that has to wait would fail with EAGAIN. */
	flags = fcntl(f->fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK))
		(void)fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK);
	f->base.ops = &file_ops;
	atomic_store(&f->base.n_refs, 1);
	*out = &f->base;
	return 0;
}

struct pfs_source *pfs_source_get(struct pfs_source *src)
{
	atomic_fetch_add_explicit(&src->n_refs, 1, memory_order_relaxed);
	return src;
}

void pfs_source_put(struct pfs_source *src)
{
	if (src && atomic_fetch_sub_explicit(&src->n_refs, 1,
					     memory_order_acq_rel) == 1)
		src->ops->close(src);
}
