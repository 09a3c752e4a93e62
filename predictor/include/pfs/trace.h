/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/trace.h - block traces: lists of reads and writes of one image.
 *
 * Formats
 *   CSV       `time_us,op,offset,length` (microseconds, R or W, bytes), with
 *             or without that header
 *   blkparse  its default text: the events Q that read or write are taken, in
 *             sectors of 512 bytes; flushes and discards carry no data and are
 *             left out, as are notices and the summary
 * Which one it is shows in the first line.  Empty lines are skipped.
 */
#ifndef PFS_TRACE_H
#define PFS_TRACE_H

#include <pfs/base.h>

/* Beyond these a line is bad: times fit uint64_t as ns, ends of ranges too. */
#define PFS_TRACE_TIME_MAX 9000000000000000ull /* us */
#define PFS_TRACE_OFF_MAX (1ull << 62)

struct pfs_trace_op {
	uint64_t time_us;
	uint64_t off;
	uint32_t len; /* at least 1 */
	bool is_write;
};

struct pfs_trace {
	struct pfs_trace_op *ops; /* owned; ascending times */
	size_t n;
};

/** Parse text (not NUL-terminated).  Times may go back: they are sorted, order
 *  of equals kept.  No operation at all is no error.  -EBADMSG: *line is the
 *  first bad one, from 1, and *why says what is wrong with it (a constant);
 *  -ENOMEM. */
int pfs_trace_parse(const char *text, size_t len, struct pfs_trace *out,
		    uint64_t *line, const char **why) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void pfs_trace_fini(struct pfs_trace *t);

#endif
