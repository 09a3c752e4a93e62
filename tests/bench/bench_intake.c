/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What guests' vectors cost the daemon: CPU time of the intake's thread, with
 * the real callers' part left out.
 *
 *   frame     of one taken, at as many as it can take
 *   idle      share of a core with 1,000 connections and nothing said
 *   honest    share of a core, 8 VMs with 10 vectors a second each
 *   flood     the same, and one that sends as fast as it can
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <pfs/clock.h>
#include <pfs/intake.h>

#include "intake_priv.h"

#define VMS 8
#define CONNS 1000
#define FRAMES 200000
#define SECONDS 5

struct bench {
	char dir[32];
	struct pfs_intake *in;
	_Atomic uint64_t n_taken;
	_Atomic bool is_over;
	uint64_t n_flooded;
};

static void take(void *arg, const struct pfs_intake_frame *frame)
{
	struct bench *b = arg;

	(void)frame;
	b->n_taken++;
}

static void open_bench(struct bench *b, struct pfs_intake_config cfg)
{
	memset(b, 0, sizeof(*b));
	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/pfs_bench_XXXXXX");
	if (!mkdtemp(b->dir))
		abort();
	cfg.uds_dir = b->dir;
	cfg.take = take;
	cfg.arg = b;
	if (pfs_intake_start(&cfg, &b->in))
		abort();
}

static void close_bench(struct bench *b)
{
	pfs_intake_stop(b->in);
	(void)rmdir(b->dir);
}

static int add_guest(struct bench *b, int i, bool is_new)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char name[16];

	(void)snprintf(name, sizeof(name), "vm%d", i);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s_%u", b->dir,
		       name, PFS_VECTOR_PORT);
	if (fd < 0 || (is_new && pfs_intake_add_vm(b->in, name)) ||
	    connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		perror("bench_intake: guest");
		exit(1);
	}
	return fd;
}

static void say(int fd, uint64_t seq)
{
	struct pfs_vector v = {.seq = seq, .interval_ms = 100, .nonce = {1}};
	uint8_t frame[PFS_VECTOR_LEN];

	pfs_vector_encode(&v, frame);
	if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) != sizeof(frame))
		abort();
}

static double cpu_s(struct bench *b)
{
	struct timespec ts;
	clockid_t id;

	if (pthread_getcpuclockid(b->in->thread, &id) || clock_gettime(id, &ts))
		abort();
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- the four --- */

static void bench_frame(void)
{
	struct bench b;
	double before;
	int fd;

	open_bench(&b, (struct pfs_intake_config){.frames_per_s = 10000000,
						  .frames_at_once = 1000000});
	fd = add_guest(&b, 0, true);
	before = cpu_s(&b);
	for (uint64_t seq = 1; seq <= FRAMES; seq++)
		say(fd, seq);
	while (b.n_taken < FRAMES)
		pfs_sleep_ms(1);
	printf("frame   %.2f us\n", 1e6 * (cpu_s(&b) - before) / FRAMES);
	close(fd);
	close_bench(&b);
}

static void bench_idle(void)
{
	static int fd[CONNS];
	struct rlimit lim = {.rlim_cur = 4 * CONNS, .rlim_max = 4 * CONNS};
	struct bench b;
	double before;

	if (setrlimit(RLIMIT_NOFILE, &lim))
		perror("bench_intake: more descriptors");
	open_bench(&b, (struct pfs_intake_config){0});
	for (int i = 0; i < CONNS; i++)
		fd[i] = add_guest(&b, i / 2, !(i % 2));
	pfs_sleep_ms(100);
	before = cpu_s(&b);
	pfs_sleep_ms(SECONDS * 1000);
	printf("idle    %.4f %%\n", 100 * (cpu_s(&b) - before) / SECONDS);
	for (int i = 0; i < CONNS; i++)
		close(fd[i]);
	close_bench(&b);
}

struct flooder {
	struct bench *b;
	int fd;
};

static void *flood(void *arg)
{
	struct flooder *f = arg;
	struct timeval brief = {.tv_usec = 10000};
	struct pfs_vector v = {.interval_ms = 100, .nonce = {1}};
	uint8_t frame[PFS_VECTOR_LEN];

	(void)setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof(brief));
	while (!f->b->is_over) {
		v.seq++;
		pfs_vector_encode(&v, frame);
		f->b->n_flooded += send(f->fd, frame, sizeof(frame),
					MSG_NOSIGNAL) == sizeof(frame);
	}
	return NULL;
}

static void bench_share(const char *what, bool has_flood)
{
	struct flooder f;
	struct bench b;
	pthread_t thread;
	double before;
	int fd[VMS];

	open_bench(&b, (struct pfs_intake_config){0});
	for (int i = 0; i < VMS; i++)
		fd[i] = add_guest(&b, i, true);
	f = (struct flooder){.b = &b, .fd = fd[0]};
	if (has_flood && pthread_create(&thread, NULL, flood, &f))
		abort();
	before = cpu_s(&b);
	for (uint64_t seq = 1; seq <= SECONDS * 10; seq++) {
		for (int i = has_flood ? 1 : 0; i < VMS; i++)
			say(fd[i], seq);
		pfs_sleep_ms(100);
	}
	printf("%-7s %.3f %%, %llu vectors taken", what,
	       100 * (cpu_s(&b) - before) / SECONDS,
	       (unsigned long long)b.n_taken);
	b.is_over = true;
	if (has_flood) {
		pthread_join(thread, NULL);
		printf(", %llu got rid of by the flooder",
		       (unsigned long long)b.n_flooded);
	}
	printf("\n");
	for (int i = 0; i < VMS; i++)
		close(fd[i]);
	close_bench(&b);
}

int main(void)
{
	printf("memory  %zu bytes a VM, %zu of them history\n",
	       sizeof(struct intake_vm) + 600 * sizeof(struct intake_past),
	       600 * sizeof(struct intake_past));
	bench_frame();
	bench_idle();
	bench_share("honest", false);
	bench_share("flood", true);
	return 0;
}
