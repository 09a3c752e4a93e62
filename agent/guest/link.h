/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * link.h - the connection to the host, which is never waited for.
 *
 * A frame that cannot be sent is dropped: the next one says more.  Only one
 * whose first bytes are out is kept until the rest is, as the stream has no
 * other borders.  When the host is not there it is tried again after 1 s, 2 s,
 * and so on up to a minute.
 */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include <sys/un.h>

#include <linux/vm_sockets.h>

#include <pfs/vector.h>

struct link_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_vm vm;
		struct sockaddr_un un;
	} u;
	socklen_t len;
};

enum link_state {
	LINK_DOWN,       /* until retry_ns */
	LINK_CONNECTING, /* until retry_ns at the latest */
	LINK_UP,
};

struct link {
	struct link_addr addr;
	enum link_state state;
	int fd;
	uint64_t retry_ns, backoff_ns;
	int said; /* the error last logged */
	uint8_t frame[PFS_VECTOR_LEN];
	size_t n_left;              /* of the frame, to be sent */
	uint64_t n_sent, n_dropped; /* frames */
};

void link_addr_vsock(struct link_addr *a, uint32_t cid, uint32_t port);
/** -ENAMETOOLONG */
int link_addr_unix(struct link_addr *a, const char *path) PFS_MUST_CHECK;

void link_init(struct link *l, const struct link_addr *addr);
void link_fini(struct link *l);
/** Connect, look whether that worked, send what is left: as far as it goes. */
void link_work(struct link *l, uint64_t now_ns);
void link_send(struct link *l, const uint8_t frame[PFS_VECTOR_LEN]);
/** What to wait for on fd, 0: nothing. */
short link_events(const struct link *l);

#endif
