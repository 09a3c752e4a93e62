/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "link.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <pfs/log.h>

#define BACKOFF_FIRST_NS PFS_NSEC_PER_SEC
#define BACKOFF_LAST_NS (60 * PFS_NSEC_PER_SEC)

void link_addr_vsock(struct link_addr *a, uint32_t cid, uint32_t port)
{
	*a = (struct link_addr){.len = sizeof(a->u.vm)};
	a->u.vm = (struct sockaddr_vm){
		.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

int link_addr_unix(struct link_addr *a, const char *path)
{
	*a = (struct link_addr){.len = sizeof(a->u.un)};
	if (strlen(path) >= sizeof(a->u.un.sun_path))
		return -ENAMETOOLONG;
	a->u.un.sun_family = AF_UNIX;
	strcpy(a->u.un.sun_path, path);
	return 0;
}

void link_init(struct link *l, const struct link_addr *addr)
{
	*l = (struct link){
		.addr = *addr, .fd = -1, .backoff_ns = BACKOFF_FIRST_NS};
}

void link_fini(struct link *l)
{
	pfs_fd_done(&l->fd);
	l->fd = -1;
}

/* --- up and down --- */

/* An error is said once, not with every try. */
static void go_down(struct link *l, uint64_t now_ns, int err)
{
	if (err != l->said)
		pfs_log(PFS_LOG_WARNING, "agent", "host: %s; trying again",
			strerror(-err));
	l->said = err;
	link_fini(l);
	l->state = LINK_DOWN;
	l->n_left = 0;
	l->retry_ns = now_ns + l->backoff_ns;
	l->backoff_ns = PFS_MIN(2 * l->backoff_ns, BACKOFF_LAST_NS);
}

static void go_up(struct link *l)
{
	l->state = LINK_UP;
	l->said = 0;
	pfs_log(PFS_LOG_INFO, "agent", "connected to the host");
}

static void start_connect(struct link *l, uint64_t now_ns)
{
	l->fd = socket(l->addr.u.sa.sa_family,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		go_down(l, now_ns, -errno);
		return;
	}
	l->state = LINK_CONNECTING;
	l->retry_ns = now_ns + l->backoff_ns;
	if (!connect(l->fd, &l->addr.u.sa, l->addr.len))
		go_up(l);
	else if (errno != EINPROGRESS)
		go_down(l, now_ns, -errno);
}

static void end_connect(struct link *l, uint64_t now_ns)
{
	struct pollfd p = {.fd = l->fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int err = 0;

	if (poll(&p, 1, 0) <= 0) {
		if (now_ns >= l->retry_ns)
			go_down(l, now_ns, -ETIMEDOUT);
		return;
	}
	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (err)
		go_down(l, now_ns, -err);
	else
		go_up(l);
}

/* --- frames --- */

static int send_rest(struct link *l)
{
	while (l->n_left) {
		ssize_t n = send(l->fd, l->frame + PFS_VECTOR_LEN - l->n_left,
				 l->n_left, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		l->n_left -= (size_t)n;
		l->n_sent += !l->n_left;
	}
	return 0;
}

/* The host says nothing: what can be read is the end. */
static int look_for_end(struct link *l)
{
	char byte;
	ssize_t n = recv(l->fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n ? -EPROTO : -ECONNRESET;
}

void link_work(struct link *l, uint64_t now_ns)
{
	int err = 0;

	if (l->state == LINK_DOWN && now_ns >= l->retry_ns)
		start_connect(l, now_ns);
	else if (l->state == LINK_CONNECTING)
		end_connect(l, now_ns);
	if (l->state != LINK_UP)
		return;
	err = send_rest(l);
	if (!err)
		err = look_for_end(l);
	if (err)
		go_down(l, now_ns, err);
	else if (l->n_sent)
		l->backoff_ns = BACKOFF_FIRST_NS; /* it takes what we say */
}

void link_send(struct link *l, const uint8_t frame[PFS_VECTOR_LEN])
{
	if (l->state != LINK_UP || l->n_left) {
		l->n_dropped++;
		return;
	}
	memcpy(l->frame, frame, PFS_VECTOR_LEN);
	l->n_left = PFS_VECTOR_LEN;
	if (send_rest(l)) /* link_work() finds out why */
		l->n_dropped++;
}

short link_events(const struct link *l)
{
	if (l->state == LINK_UP)
		return l->n_left ? POLLIN | POLLOUT : POLLIN;
	return l->state == LINK_CONNECTING ? POLLOUT : 0;
}
