/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "proto.h"

static struct proto_msg msg;

struct pair {
	int fd[2];
};

static struct pair connected(void)
{
	struct pair p;

	CHECK_EQ(proto_pair(p.fd), 0);
	return p;
}

static void hang_up(struct pair *p)
{
	close(p->fd[0]);
	close(p->fd[1]);
}

static int null_fd(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void a_message_arrives_whole(void)
{
	struct pair p = connected();

	CHECK_EQ(proto_send(p.fd[0], PROTO_CONFIG, "abc", 4, NULL, 0), 0);
	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);

	CHECK_EQ(msg.type, PROTO_CONFIG);
	CHECK_EQ(msg.len, 4);
	CHECK_STR((char *)msg.data, "abc");
	CHECK_EQ(msg.n_fds, 0);
	hang_up(&p);
}

static void messages_keep_their_bounds(void)
{
	struct pair p = connected();
	uint32_t slot = 7;

	CHECK_EQ(proto_send(p.fd[0], PROTO_FD_DROP, &slot, 4, NULL, 0), 0);
	CHECK_EQ(proto_send(p.fd[0], PROTO_READY, NULL, 0, NULL, 0), 0);

	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);
	CHECK_EQ(msg.type, PROTO_FD_DROP);
	CHECK_EQ(msg.len, 4);
	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);
	CHECK_EQ(msg.type, PROTO_READY);
	CHECK_EQ(msg.len, 0);
	hang_up(&p);
}

static void descriptors_arrive_in_order_and_close_on_exec(void)
{
	struct pair p = connected();
	int null = null_fd(), fds[2] = {null, p.fd[0]};
	struct stat st;

	CHECK_EQ(proto_send(p.fd[0], PROTO_FIXED_FDS, NULL, 0, fds, 2), 0);
	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);

	CHECK_EQ(msg.n_fds, 2);
	CHECK_EQ(fstat(msg.fds[0], &st), 0);
	CHECK(S_ISCHR(st.st_mode));
	CHECK_EQ(fstat(msg.fds[1], &st), 0);
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_EQ(fcntl(msg.fds[0], F_GETFD), FD_CLOEXEC);
	proto_close_fds(&msg);
	close(null);
	hang_up(&p);
}

static void the_largest_message_fits(void)
{
	static uint8_t big[PROTO_MAX + 1];
	int null = null_fd(), fds[PROTO_FDS + 1];
	struct pair p = connected();

	for (int i = 0; i <= PROTO_FDS; i++)
		fds[i] = null;
	big[PROTO_MAX - 1] = 42;

	CHECK_EQ(proto_send(p.fd[0], 1, big, PROTO_MAX, fds, PROTO_FDS), 0);
	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);
	CHECK_EQ(msg.len, PROTO_MAX);
	CHECK_EQ(msg.data[PROTO_MAX - 1], 42);
	CHECK_EQ(msg.n_fds, PROTO_FDS);
	proto_close_fds(&msg);

	CHECK_EQ(proto_send(p.fd[0], 1, big, PROTO_MAX + 1, NULL, 0), -EINVAL);
	CHECK_EQ(proto_send(p.fd[0], 1, NULL, 0, fds, PROTO_FDS + 1), -EINVAL);
	close(null);
	hang_up(&p);
}

static void what_a_dead_sender_sent_is_still_received(void)
{
	struct pair p = connected();
	uint32_t slot = 3;
	int null = null_fd();

	/* It dies with a message of ours unread, which would hide its own
	 * behind a reset. */
	CHECK_EQ(proto_send(p.fd[1], PROTO_GO, &slot, 4, NULL, 0), 0);
	CHECK_EQ(proto_send(p.fd[0], PROTO_FD_PUT, &slot, 4, &null, 1), 0);
	close(p.fd[0]);
	close(null);

	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);
	CHECK_EQ(msg.type, PROTO_FD_PUT);
	CHECK_EQ(msg.n_fds, 1);
	CHECK(fcntl(msg.fds[0], F_GETFD) >= 0);
	proto_close_fds(&msg);
	CHECK_EQ(proto_recv(p.fd[1], &msg), -ENOTCONN);
	close(p.fd[1]);
}

static void sending_to_the_dead_is_told_not_signalled(void)
{
	struct pair p = connected();

	close(p.fd[0]);

	CHECK_EQ(proto_send(p.fd[1], PROTO_GO, NULL, 0, NULL, 0), -ENOTCONN);
	close(p.fd[1]);
}

#define MANY_FDS (PROTO_FDS + 50)

static void send_raw(int sock, const void *data, size_t len, int fd, int n_fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * MANY_FDS)];
	} c = {0};
	struct iovec iov = {(void *)data, len};
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fds),
	};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fds);
	for (int i = 0; i < n_fds; i++)
		memcpy(CMSG_DATA(cm) + sizeof(int) * (size_t)i, &fd,
		       sizeof(fd));
	CHECK_EQ(sendmsg(sock, &mh, 0), len);
}

static void malformed_messages_are_refused_without_leaking(void)
{
	static const uint32_t lies[] = {PROTO_READY, 400};
	static const uint32_t honest[] = {PROTO_READY, 0};
	static uint8_t huge[PROTO_MAX + 100];
	struct pair p = connected();
	int before = count_fds();

	send_raw(p.fd[0], "x", 1, p.fd[0], 1); /* shorter than a header */
	send_raw(p.fd[0], lies, sizeof(lies), p.fd[0], 1);
	send_raw(p.fd[0], huge, sizeof(huge), p.fd[0], 1);
	send_raw(p.fd[0], honest, sizeof(honest), p.fd[0], MANY_FDS);

	for (int i = 0; i < 4; i++) {
		CHECK_EQ(proto_recv(p.fd[1], &msg), -EPROTO);
		CHECK_EQ(msg.n_fds, 0);
	}
	CHECK_EQ(count_fds(), before);
	hang_up(&p);
}

static void a_taken_descriptor_is_not_closed(void)
{
	struct pair p = connected();
	int null = null_fd(), fds[2] = {null, null}, taken, left;

	CHECK_EQ(proto_send(p.fd[0], 1, NULL, 0, fds, 2), 0);
	CHECK_EQ(proto_recv(p.fd[1], &msg), 0);
	taken = pfs_take_fd(&msg.fds[0]);
	left = msg.fds[1];
	proto_close_fds(&msg);

	CHECK(fcntl(taken, F_GETFD) >= 0);
	CHECK_EQ(fcntl(left, F_GETFD), -1);
	close(taken);
	close(null);
	hang_up(&p);
}

int main(void)
{
	RUN(a_message_arrives_whole);
	RUN(messages_keep_their_bounds);
	RUN(descriptors_arrive_in_order_and_close_on_exec);
	RUN(the_largest_message_fits);
	RUN(what_a_dead_sender_sent_is_still_received);
	RUN(sending_to_the_dead_is_told_not_signalled);
	RUN(malformed_messages_are_refused_without_leaking);
	RUN(a_taken_descriptor_is_not_closed);
	return CHECK_RESULT();
}
