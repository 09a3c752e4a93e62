/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PFS_CACHE_SOURCE_H
#define PFS_CACHE_SOURCE_H

#include <stdatomic.h>

#include <pfs/source.h>

#include "ring.h"

/* What a backend provides. */
struct source_ops {
	/** Start reading; op->done gets bytes read (fewer than asked at the
	 *  end or at the source's whim, 0 at the end only) or -errno. */
	void (*readv)(struct pfs_source *src, struct ring *r,
		      struct ring_op *op, const struct iovec *iov,
		      unsigned int n, uint64_t off);
	void (*close)(struct pfs_source *src);
};

struct pfs_source {
	const struct source_ops *ops;
	_Atomic uint32_t n_refs;
};

static inline void source_readv(struct pfs_source *src, struct ring *r,
				struct ring_op *op, const struct iovec *iov,
				unsigned int n, uint64_t off)
{
	src->ops->readv(src, r, op, iov, n, off);
}

#endif
