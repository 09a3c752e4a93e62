/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control.h - answers pfsctl on the mount's control socket.
 *
 * One thread; requests and answers are lines of JSON (fs/ctl).  A call may
 * block on catalog and store, never on a guest.
 */
#ifndef PFS_FS_CONTROL_H
#define PFS_FS_CONTROL_H

#include "worker.h"

int control_start(struct worker *w) PFS_MUST_CHECK;
/** Stop listening (the socket itself is the supervisor's) and join. */
void control_stop(struct worker *w);
/** What the supervisor said to an upgrade request (main thread calls). */
void control_upgrade_result(struct worker *w, int err, const char *text);

#endif
