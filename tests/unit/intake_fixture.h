/* SPDX-License-Identifier: GPL-3.0-or-later */
/* intake_fixture.h - an intake with hybrid sockets in a folder of its own, and
 * guests that connect to them. */
#ifndef PFS_TEST_INTAKE_FIXTURE_H
#define PFS_TEST_INTAKE_FIXTURE_H

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <pfs/intake.h>

#include "check.h"
#include "child.h"

#define RIG_VMS 8

/* What the callback saw of a VM, by the last letter of its name: "vm-a" is
 * the first. */
struct heard {
	_Atomic uint64_t n;
	_Atomic uint64_t last_seq, last_ns;
};

struct rig {
	char dir[64];
	struct pfs_intake *in;
	struct heard of[RIG_VMS];
	_Atomic uint64_t first_cpu_ns, cpu_ns; /* of the intake's thread */
};

static inline uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * PFS_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline void hear(void *arg, const struct pfs_intake_frame *f)
{
	struct rig *g = arg;
	struct heard *h = &g->of[f->vm[strlen(f->vm) - 1] - 'a'];
	uint64_t cpu_ns = thread_cpu_ns();

	h->last_seq = f->vector->seq;
	h->last_ns = f->time_ns;
	h->n++;
	if (!g->first_cpu_ns)
		g->first_cpu_ns = cpu_ns;
	g->cpu_ns = cpu_ns;
}

static inline void rig_make_dir(struct rig *g)
{
	(void)snprintf(g->dir, sizeof(g->dir), "/tmp/pfs_intake_XXXXXX");
	if (!mkdtemp(g->dir))
		abort();
}

static inline void rig_start(struct rig *g, struct pfs_intake_config cfg)
{
	memset(g, 0, sizeof(*g));
	rig_make_dir(g);
	cfg.uds_dir = g->dir;
	cfg.take = hear;
	cfg.arg = g;
	if (pfs_intake_start(&cfg, &g->in))
		abort();
}

static inline void rig_stop(struct rig *g)
{
	pfs_intake_stop(g->in);
	CHECK(!rmdir(g->dir)); /* the sockets are gone */
}

static inline void must_add(struct rig *g, const char *name)
{
	CHECK_EQ(pfs_intake_add_vm(g->in, name), 0);
}

static inline struct sockaddr_un address(const struct rig *g, const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if ((size_t)snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s_%u",
			     g->dir, name,
			     PFS_VECTOR_PORT) >= sizeof(at.sun_path))
		abort();
	return at;
}

/* -errno, or a connected socket. */
static inline int try_connect(const struct rig *g, const char *name, int flags)
{
	struct sockaddr_un at = address(g, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static inline int must_connect(const struct rig *g, const char *name)
{
	int fd = try_connect(g, name, 0);

	if (fd < 0) {
		fprintf(stderr, "connect to %s: %s\n", name, strerror(-fd));
		abort();
	}
	return fd;
}

static inline void make_frame(uint8_t frame[PFS_VECTOR_LEN], uint8_t agent,
			      uint64_t seq)
{
	struct pfs_vector v = {.seq = seq, .time_ns = seq, .interval_ms = 100};

	v.nonce[0] = agent;
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		v.feature[i] = pfs_feature_max(i) / (i + 1);
	pfs_vector_encode(&v, frame);
}

static inline bool push(int fd, const void *bytes, size_t len)
{
	return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline bool push_frame(int fd, uint8_t agent, uint64_t seq)
{
	uint8_t frame[PFS_VECTOR_LEN];

	make_frame(frame, agent, seq);
	return push(fd, frame, sizeof(frame));
}

static inline struct pfs_intake_vm known(struct rig *g, const char *name)
{
	struct pfs_intake_vm vm = {0};

	CHECK_EQ(pfs_intake_vm(g->in, name, &vm), 0);
	return vm;
}

static inline uint64_t counted(struct rig *g, const char *name,
			       enum pfs_intake_count c)
{
	return known(g, name).n[c];
}

/* The other side closed it. */
static inline bool is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	return !n || (n < 0 && errno != EAGAIN);
}

#endif
