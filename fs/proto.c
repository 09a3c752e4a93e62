/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proto.c - messages with descriptors over a SOCK_SEQPACKET pair. */
#include "proto.h"

#include <string.h>
#include <sys/socket.h>

/* On the wire: this, then len bytes.  Both ends are one machine. */
struct header {
	uint32_t type;
	uint32_t len;
};

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * PROTO_FDS)];
};

int proto_pair(int out[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out))
		return -errno;
	return 0;
}

static void attach(struct msghdr *mh, union control *c, const int *fds,
		   int n_fds)
{
	size_t len = sizeof(int) * (size_t)n_fds;
	struct cmsghdr *cm;

	memset(c, 0, sizeof(*c));
	mh->msg_control = c;
	mh->msg_controllen = CMSG_SPACE(len);
	cm = CMSG_FIRSTHDR(mh);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cm), fds, len);
}

int proto_send(int sock, uint32_t type, const void *data, size_t len,
	       const int *fds, int n_fds)
{
	struct header h = {.type = type, .len = (uint32_t)len};
	struct iovec iov[2] = {
		{.iov_base = &h, .iov_len = sizeof(h)},
		{.iov_base = (void *)data, .iov_len = len},
	};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	union control c;
	ssize_t n;

	if (len > PROTO_MAX || n_fds < 0 || n_fds > PROTO_FDS)
		return -EINVAL;
	if (n_fds)
		attach(&mh, &c, fds, n_fds);
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
}

static void take_fds(struct msghdr *mh, struct proto_msg *msg)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm;
	     cm = CMSG_NXTHDR(mh, cm)) {
		size_t len = cm->cmsg_len - CMSG_LEN(0);

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(msg->fds + msg->n_fds, CMSG_DATA(cm), len);
		msg->n_fds += (int)(len / sizeof(int));
	}
}

/* A peer that dies with unread messages of ours makes the first receive fail
 * with ECONNRESET though what it had sent is still queued: once more then. */
static ssize_t receive(int sock, struct msghdr *mh)
{
	ssize_t n;

	do
		n = recvmsg(sock, mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	return n;
}

int proto_recv(int sock, struct proto_msg *msg)
{
	struct header h = {0};
	struct iovec iov[2] = {
		{.iov_base = &h, .iov_len = sizeof(h)},
		{.iov_base = msg->data, .iov_len = PROTO_MAX},
	};
	union control c;
	struct msghdr mh = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &c,
		.msg_controllen = sizeof(c),
	};
	ssize_t n;

	msg->n_fds = 0;
	n = receive(sock, &mh);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ENOTCONN;
	take_fds(&mh, msg);
	if (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (size_t)n < sizeof(h) ||
	    h.len != (size_t)n - sizeof(h)) {
		proto_close_fds(msg);
		return -EPROTO;
	}
	msg->type = h.type;
	msg->len = h.len;
	return 0;
}

void proto_close_fds(struct proto_msg *msg)
{
	for (int i = 0; i < msg->n_fds; i++) {
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
	}
	msg->n_fds = 0;
}
