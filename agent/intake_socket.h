/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * agent/intake_socket.h - the sockets of the intake.
 *
 * Errors   0 or -errno, not logged here.  Descriptors are non-blocking.
 */
#ifndef PFS_AGENT_INTAKE_SOCKET_H
#define PFS_AGENT_INTAKE_SOCKET_H

#include <sys/un.h>

#include <pfs/base.h>

/* A socket in the file system, and which one it was when we made it. */
struct intake_path {
	struct sockaddr_un at;
	uint64_t dev, ino;
};

struct intake_peer {
	uint32_t cid; /* 0: over a Unix socket */
	int32_t pid;  /* 0: over AF_VSOCK */
};

/** -EAFNOSUPPORT, -ENODEV, ...: the host has no AF_VSOCK. */
int intake_listen_vsock(uint32_t port, int *out) PFS_MUST_CHECK;
/** path->at is set; errors as pfs_intake_add_vm(). */
int intake_listen_unix(struct intake_path *path, int *out) PFS_MUST_CHECK;
/** Remove it, unless another took its place. */
void intake_path_remove(const struct intake_path *path);
/** -EAGAIN: nobody waits. */
int intake_accept(int listen_fd, int *out,
		  struct intake_peer *peer) PFS_MUST_CHECK;

#endif
