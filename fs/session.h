/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/session.h - the parts of the libfuse session beyond worker.h.
 *
 * Life     session_create(), then session_init_first() or, when the state has
 *          a saved INIT, session_init_replay(); session_resend() once the
 *          threads are ready to read; session_destroy().
 */
#ifndef PFS_FS_SESSION_H
#define PFS_FS_SESSION_H

#include "worker.h"

struct fuse_conn_info;

#define SESSION_MAX_IO PFS_MIB(1) /* max_read and max_write */

/** What is negotiated with the kernel: the init operation calls it. */
void session_conn_init(const struct worker *w, struct fuse_conn_info *conn);

/** Have the kernel queue again what dead workers had read and not answered.
 *  -ENOTSUP: it cannot (before Linux 6.9); the supervisor has made new clones
 *  then, which aborted those requests. */
int session_resend(struct worker *w) PFS_MUST_CHECK;

/** Accepts a worker without session. */
void session_destroy(struct worker *w);

#endif
