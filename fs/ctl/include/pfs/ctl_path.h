/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/ctl_path.h - where a mount's control socket is found.
 *
 * Each mount has files in the run folder, named by its id (a hash of the
 * mountpoint's resolved path):
 *   ID.sock  the control socket, mode 0600
 *   ID.json  {"mountpoint":"...","source":"...","supervisor_pid":N}
 *   ID.lock  locked (flock) by the supervisor as long as it lives
 * A supervisor that died may leave them: is_alive tells.
 *
 * The run folder is $PFS_RUN_DIR; else /run/pfs for root; else
 * $XDG_RUNTIME_DIR/pfs, /run/user/UID/pfs or /tmp/pfs-UID, the first that is
 * there.
 *
 * Errors   0 or -errno.
 * Memory   pointers passed in are borrowed for the length of the call.
 */
#ifndef PFS_CTL_PATH_H
#define PFS_CTL_PATH_H

#include <limits.h>
#include <sys/types.h>

#include <pfs/base.h>

struct pfs_ctl_mount {
	char id[17];      /* 16 hex digits */
	char *mountpoint; /* resolved */
	char *source;     /* resolved */
	char *socket;     /* path; only when reading */
	pid_t supervisor_pid;
	bool is_alive; /* only when reading */
};

int pfs_ctl_dir(char out[PATH_MAX]) PFS_MUST_CHECK;
/** Make it if need be.  -EPERM: it is not ours alone to write to. */
int pfs_ctl_dir_make(char out[PATH_MAX]) PFS_MUST_CHECK;
/** -ENAMETOOLONG: no socket can have so long a path. */
int pfs_ctl_socket_path(const char *id, char out[PATH_MAX]) PFS_MUST_CHECK;

/** Write ID.json, for the supervisor. */
int pfs_ctl_mount_publish(const struct pfs_ctl_mount *m) PFS_MUST_CHECK;
/** Remove ID.json and ID.sock. */
void pfs_ctl_mount_retract(const char *id);

/** Call fn for each mount that is published where this user looks (root: in
 *  the folders of all users); fn returns nonzero to stop. */
int pfs_ctl_mounts(int (*fn)(void *arg, const struct pfs_ctl_mount *m),
		   void *arg) PFS_MUST_CHECK;

#endif
