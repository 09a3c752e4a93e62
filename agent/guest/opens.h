/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * opens.h - files as they are opened and executed, by fanotify.
 *
 * Events name files by handles: a file nobody wants to know more about is not
 * opened for it, and the queue, which the kernel bounds, holds nothing open.
 */
#ifndef AGENT_OPENS_H
#define AGENT_OPENS_H

#include "mounts.h"
#include "probe.h"

#define OPENS_HANDLE_MAX 32u

/* What open_by_handle_at(2) wants, with the room of most file systems. */
struct opens_handle {
	uint32_t len;
	int32_t type;
	uint8_t bytes[OPENS_HANDLE_MAX];
};

struct opens {
	int fd;          /* -1: no such signal */
	uint64_t n_lost; /* times the queue was full */
};

typedef void (*opens_fn)(const struct mount *m, const struct opens_handle *h,
			 bool is_exec, void *arg);

void opens_open(struct opens *o, const struct mounts *m, struct probe *p);
/** After the mounts have changed. */
void opens_remark(struct opens *o, const struct mounts *m, struct probe *p);
void opens_close(struct opens *o);
/** Hand on some of what is there, but for what this process opened itself.
 *  Returns how many events there were, 0: no more. */
uint32_t opens_read(struct opens *o, const struct mounts *m, opens_fn fn,
		    void *arg) PFS_MUST_CHECK;

#endif
