/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "intake_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/vm_sockets.h>

/* So much may wait in the kernel for each connection of AF_VSOCK. */
#define VSOCK_BUFFER PFS_KIB(8)
#define VSOCK_BACKLOG 128
#define UNIX_BACKLOG 8
/* A VMM needs no more than to connect; who may is for the folder, its group
 * and whoever gives the socket away to say. */
#define UNIX_MODE 0660

/* --- AF_VSOCK --- */

static int bind_vsock(int fd, uint32_t port)
{
	struct sockaddr_vm at = {.svm_family = AF_VSOCK,
				 .svm_port = port,
				 .svm_cid = VMADDR_CID_ANY};
	uint64_t size = VSOCK_BUFFER;

	/* Accepted connections inherit it.  A transport that does not know it
	 * bounds what waits by itself. */
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size,
			 sizeof(size));
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(fd, VSOCK_BACKLOG) < 0)
		return -errno;
	return 0;
}

int intake_listen_vsock(uint32_t port, int *out)
{
	PFS_AUTO_FD fd =
		socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = fd < 0 ? -errno : bind_vsock(fd, port);

	if (!err)
		*out = pfs_take_fd(&fd);
	return err;
}

/* --- hybrid sockets --- */

static int new_socket(int *out)
{
	*out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *out < 0 ? -errno : 0;
}

/* 0: nothing is there any more. */
static int remove_stale(const struct intake_path *path)
{
	PFS_AUTO_FD probe = -1;
	struct stat st;
	int err;

	if (lstat(path->at.sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	err = new_socket(&probe);
	if (err)
		return err;
	if (!connect(probe, (const struct sockaddr *)&path->at,
		     sizeof(path->at)) ||
	    errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(path->at.sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_unix(int fd, struct intake_path *path)
{
	struct stat st;

	if (bind(fd, (const struct sockaddr *)&path->at, sizeof(path->at)) < 0)
		return -errno;
	/* Nobody can connect before listen(). */
	if (lstat(path->at.sun_path, &st) < 0 ||
	    chmod(path->at.sun_path, UNIX_MODE) < 0 ||
	    listen(fd, UNIX_BACKLOG) < 0)
		return -errno;
	path->dev = st.st_dev;
	path->ino = st.st_ino;
	return 0;
}

int intake_listen_unix(struct intake_path *path, int *out)
{
	PFS_AUTO_FD fd = -1;
	int err = remove_stale(path);

	if (!err)
		err = new_socket(&fd);
	if (!err)
		err = bind_unix(fd, path);
	if (!err)
		*out = pfs_take_fd(&fd);
	return err;
}

void intake_path_remove(const struct intake_path *path)
{
	struct stat st;

	if (!lstat(path->at.sun_path, &st) && st.st_dev == path->dev &&
	    st.st_ino == path->ino)
		(void)unlink(path->at.sun_path);
}

/* --- peers --- */

/* What the kernel says of the other side, which no guest can forge. */
static int read_peer(int fd, const struct sockaddr *at,
		     struct intake_peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*peer = (struct intake_peer){0};
	if (at->sa_family == AF_VSOCK) {
		peer->cid =
			((const struct sockaddr_vm *)(const void *)at)->svm_cid;
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	peer->pid = cred.pid;
	return 0;
}

int intake_accept(int listen_fd, int *out, struct intake_peer *peer)
{
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at);
	PFS_AUTO_FD fd = accept4(listen_fd, (struct sockaddr *)&at, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);
	int err = fd < 0 ? -errno
			 : read_peer(fd, (const struct sockaddr *)&at, peer);

	if (!err)
		*out = pfs_take_fd(&fd);
	return err;
}
