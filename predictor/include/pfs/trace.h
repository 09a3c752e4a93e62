/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/trace.h - block traces: lists of reads and writes of one image.
 *
 * Formats  CSV `time_us,op,offset,length` (microseconds, R or W, bytes), with
 *          or without that header; text of blkparse (default output: the
 *          queue events Q are taken, sectors of 512 bytes).
 */
#ifndef PFS_TRACE_H
#define PFS_TRACE_H

#include <pfs/base.h>

struct pfs_trace_op {
	uint64_t time_us;
	uint64_t off;
	uint32_t len;
	bool is_write;
};

struct pfs_trace {
	struct pfs_trace_op *ops; /* owned */
	size_t n;
};

/** Parse text (not NUL-terminated).  Times may go back: they are sorted, order
 *  of equals kept.  -EBADMSG: *line is the first bad one, *why says what is
 *  wrong with it (a constant). */
int pfs_trace_parse(const char *text, size_t len, struct pfs_trace *out,
		    uint64_t *line, const char **why) PFS_MUST_CHECK;
void pfs_trace_fini(struct pfs_trace *t);

#endif
