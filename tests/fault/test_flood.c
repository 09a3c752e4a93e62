/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One guest does its worst to the intake for a second at a time, beside seven
 * honest ones: none of their vectors is lost or late, and the intake's thread
 * costs next to nothing.  Then 10,000 connections at once, 100,000 forged
 * frames, and a full house.
 */
#include "intake_fixture.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <pfs/clock.h>

#define SETTLE_MS 300 /* the burst that each may have */
#define FLOOD_MS 600
#define PERIOD_MS 70 /* of an honest guest: within 20 a second */
#define LATE_NS (500 * PFS_NSEC_PER_MSEC) /* the test machine may be busy */
#define MANY 50                           /* frames sent in one piece */
#define SHARE_MAX 0.02                    /* of a core */

struct flood {
	struct rig *g;
	void (*attack)(struct flood *f);
	_Atomic bool is_over;
	uint64_t n_tried; /* frames, bytes or connections */
};

/* --- the flooder, always vm-a --- */

/* Connected anew as often as it takes; gives up when it is over.  No read or
 * write waits longer than 10 ms. */
static int connect_flooder(struct flood *f)
{
	struct timeval brief = {.tv_usec = 10000};

	while (!f->is_over) {
		int fd = try_connect(f->g, "vm-a", SOCK_NONBLOCK);

		if (fd >= 0) {
			int flags = 0;

			(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &brief,
					 sizeof(brief));
			(void)ioctl(fd, FIONBIO, &flags);
			return fd;
		}
		pfs_sleep_ms(1);
	}
	return -1;
}

/* MANY frames in one piece. */
static bool push_many(int fd, uint8_t agent, uint64_t first_seq)
{
	uint8_t frames[MANY * PFS_VECTOR_LEN];

	for (uint32_t i = 0; i < MANY; i++)
		make_frame(&frames[i * PFS_VECTOR_LEN], agent, first_seq + i);
	return push(fd, frames, sizeof(frames));
}

static void send_frames(struct flood *f)
{
	int fd = connect_flooder(f);
	uint64_t seq = 1;

	while (!f->is_over) {
		(void)push_many(fd, 1, seq);
		seq += MANY;
		f->n_tried += MANY;
	}
	close(fd);
}

static void send_junk(struct flood *f)
{
	uint8_t junk[MANY * PFS_VECTOR_LEN] = {0};

	while (!f->is_over) {
		int fd = connect_flooder(f);

		while (!f->is_over && push(fd, junk, sizeof(junk)))
			f->n_tried += MANY;
		close(fd);
	}
}

static void send_drops(struct flood *f)
{
	uint8_t frame[PFS_VECTOR_LEN];
	int fd = connect_flooder(f);

	for (uint64_t seq = 1; !f->is_over; seq++) {
		make_frame(frame, 1, seq);
		for (uint32_t i = 0; i < sizeof(frame) && !f->is_over; i++)
			f->n_tried += push(fd, &frame[i], 1);
	}
	close(fd);
}

static void send_halves(struct flood *f)
{
	uint8_t frame[PFS_VECTOR_LEN];

	make_frame(frame, 1, 1);
	while (!f->is_over) {
		int fd = connect_flooder(f);

		(void)!push(fd, frame, sizeof(frame) / 2);
		close(fd);
		f->n_tried++;
	}
}

static void *flood_main(void *arg)
{
	struct flood *f = arg;

	f->attack(f);
	return NULL;
}

/* --- the honest, vm-b to vm-h --- */

static const char *const names[RIG_VMS] = {"vm-a", "vm-b", "vm-c", "vm-d",
					   "vm-e", "vm-f", "vm-g", "vm-h"};

/* Each sends one and sees it arrive.  The longest wait. */
static uint64_t honest_round(struct rig *g, const int *fd, uint64_t seq)
{
	uint64_t sent_ns[RIG_VMS], worst_ns = 0;

	for (int i = 1; i < RIG_VMS; i++) {
		sent_ns[i] = pfs_now_ns();
		CHECK(push_frame(fd[i], 1, seq));
	}
	for (int i = 1; i < RIG_VMS; i++) {
		CHECK(EVENTUALLY(g->of[i].last_seq == seq));
		worst_ns = PFS_MAX(worst_ns,
				   g->of[i].last_ns > sent_ns[i]
					   ? g->of[i].last_ns - sent_ns[i]
					   : 0);
	}
	return worst_ns;
}

static void be_honest(struct rig *g, const int *fd, uint64_t *worst_ns)
{
	uint64_t end_ns = pfs_now_ns() + FLOOD_MS * PFS_NSEC_PER_MSEC;
	uint64_t seq = 0;

	while (pfs_now_ns() < end_ns) {
		uint64_t ns = honest_round(g, fd, ++seq);

		*worst_ns = PFS_MAX(*worst_ns, ns);
		pfs_sleep_ms(PERIOD_MS);
	}
	for (int i = 1; i < RIG_VMS; i++) {
		CHECK_EQ(g->of[i].n, seq);
		CHECK_EQ(counted(g, names[i], PFS_INTAKE_JUMPED), 0);
		CHECK_EQ(counted(g, names[i], PFS_INTAKE_THROTTLED), 0);
	}
}

static void withstand(const char *what, void (*attack)(struct flood *f))
{
	struct rig g;
	struct flood f = {.g = &g, .attack = attack};
	uint64_t worst_ns = 0, start_ns;
	int fd[RIG_VMS];
	pthread_t flooder;
	double share;

	rig_start(&g, (struct pfs_intake_config){0});
	for (int i = 0; i < RIG_VMS; i++) {
		must_add(&g, names[i]);
		fd[i] = i ? must_connect(&g, names[i]) : -1;
	}
	if (pthread_create(&flooder, NULL, flood_main, &f))
		abort();
	pfs_sleep_ms(SETTLE_MS);
	g.first_cpu_ns = 0; /* hear() sets it anew */
	start_ns = pfs_now_ns();
	be_honest(&g, fd, &worst_ns);
	share = (double)(g.cpu_ns - g.first_cpu_ns) /
		(double)(pfs_now_ns() - start_ns);
	f.is_over = true;
	pthread_join(flooder, NULL);

	printf("%s: %llu tried, %llu taken, %.2f %% of a core, honest within "
	       "%.1f ms\n",
	       what, (unsigned long long)f.n_tried,
	       (unsigned long long)g.of[0].n, 100 * share,
	       (double)worst_ns / 1e6);
	CHECK(share <= SHARE_MAX);
	CHECK(worst_ns < LATE_NS);
	CHECK(g.of[0].n <= 40 + 20 * 3);
	for (int i = 1; i < RIG_VMS; i++)
		close(fd[i]);
	rig_stop(&g);
}

static void frames_at_full_speed(void)
{
	withstand("frames", send_frames);
}

static void junk_at_full_speed(void)
{
	withstand("junk", send_junk);
}

static void bytes_one_by_one(void)
{
	withstand("drops", send_drops);
}

static void half_frames_and_new_connections(void)
{
	withstand("halves", send_halves);
}

/* --- connections --- */

#define CONNECTIONS 10000

/* Each takes a descriptor here and, for a moment, one there. */
static bool may_open(rlim_t n)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return false;
	lim.rlim_cur = PFS_MAX(n, lim.rlim_cur);
	lim.rlim_max = PFS_MAX(lim.rlim_cur, lim.rlim_max);
	return !setrlimit(RLIMIT_NOFILE, &lim);
}

static uint64_t sum(struct rig *g, enum pfs_intake_count c)
{
	uint64_t n = 0;

	for (int i = 0; i < RIG_VMS; i++)
		n += counted(g, names[i], c);
	return n;
}

static void ten_thousand_connections(void)
{
	static int fd[CONNECTIONS];
	struct rig g;
	int honest;

	if (!may_open(2 * CONNECTIONS)) {
		printf("connections: not run, too few descriptors\n");
		return;
	}
	rig_start(&g, (struct pfs_intake_config){.conns_per_s = 100000});
	for (int i = 0; i < RIG_VMS; i++)
		must_add(&g, names[i]);
	honest = must_connect(&g, "vm-b");
	CHECK(push_frame(honest, 1, 1));
	CHECK(EVENTUALLY(g.of[1].n == 1));
	for (int i = 0; i < CONNECTIONS; i++)
		fd[i] = must_connect(&g, names[i % RIG_VMS]);

	CHECK(EVENTUALLY(sum(&g, PFS_INTAKE_REFUSED) ==
			 CONNECTIONS + 1 - RIG_VMS * PFS_INTAKE_VM_CONNS));
	CHECK_EQ(sum(&g, PFS_INTAKE_ACCEPTED), RIG_VMS * PFS_INTAKE_VM_CONNS);
	CHECK(push_frame(honest, 1, 2));
	CHECK(EVENTUALLY(g.of[1].n == 2));
	for (int i = 0; i < CONNECTIONS; i++)
		close(fd[i]);
	fd[0] = must_connect(&g, "vm-a");
	CHECK(EVENTUALLY(known(&g, "vm-a").n_conns == 1));
	CHECK(push_frame(fd[0], 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(fd[0]);
	close(honest);
	rig_stop(&g);
}

/* --- forgery --- */

#define FORGED (2000 * MANY)

/* vm-a speaks as vm-b does, with its nonce and the numbers to come. */
static void forged_frames_harm_nobody_else(void)
{
	struct rig g;
	struct pfs_intake_vm before, after;
	int a, b;

	rig_start(&g, (struct pfs_intake_config){.frames_per_s = 10000000,
						 .frames_at_once = 1000000});
	must_add(&g, "vm-a");
	must_add(&g, "vm-b");
	a = must_connect(&g, "vm-a");
	b = must_connect(&g, "vm-b");
	CHECK(push_frame(b, 7, 1));
	CHECK(EVENTUALLY(g.of[1].n == 1));
	before = known(&g, "vm-b");

	for (uint64_t seq = 1; seq <= FORGED; seq += MANY)
		CHECK(push_many(a, 7, seq));
	CHECK(EVENTUALLY(g.of[0].n == FORGED));
	after = known(&g, "vm-b");
	CHECK(!memcmp(before.n, after.n, sizeof(before.n)));
	CHECK(!memcmp(before.n_bad, after.n_bad, sizeof(before.n_bad)));
	CHECK_EQ(before.last_ns, after.last_ns);
	CHECK_EQ(before.n_conns, after.n_conns);
	CHECK_EQ(g.of[1].n, 1);
	CHECK(push_frame(b, 7, 2));
	CHECK(EVENTUALLY(g.of[1].n == 2));
	CHECK_EQ(counted(&g, "vm-b", PFS_INTAKE_JUMPED), 0);
	close(a);
	close(b);
	rig_stop(&g);
}

/* --- a full house --- */

/* Two of each of 512 VMs are as many as there may be. */
static void one_more_than_all_is_refused(void)
{
	static int fd[PFS_INTAKE_CONNS];
	char name[PFS_INTAKE_NAME_LEN];
	struct rig g;
	int late;

	if (!may_open(PFS_INTAKE_VMS * 4)) {
		printf("full house: not run, too few descriptors\n");
		return;
	}
	rig_start(&g, (struct pfs_intake_config){0});
	for (uint32_t i = 0; i < PFS_INTAKE_VMS; i++) {
		(void)snprintf(name, sizeof(name), "%u-a", i);
		must_add(&g, name);
		if (i < PFS_INTAKE_CONNS / 2) {
			fd[2 * i] = must_connect(&g, name);
			fd[2 * i + 1] = must_connect(&g, name);
		}
	}
	CHECK_EQ(pfs_intake_add_vm(g.in, "one-more"), -ENOSPC);
	CHECK(EVENTUALLY(known(&g, "511-a").n_conns == 2));
	late = must_connect(&g, name);
	CHECK(EVENTUALLY(is_closed(late)));
	close(late);
	CHECK_EQ(counted(&g, name, PFS_INTAKE_REFUSED), 1);

	close(fd[0]);
	CHECK(EVENTUALLY(known(&g, "0-a").n_conns == 1));
	late = must_connect(&g, name);
	CHECK(push_frame(late, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(late);
	for (uint32_t i = 1; i < PFS_INTAKE_CONNS; i++)
		close(fd[i]);
	rig_stop(&g);
}

int main(void)
{
	RUN(frames_at_full_speed);
	RUN(junk_at_full_speed);
	RUN(bytes_one_by_one);
	RUN(half_frames_and_new_connections);
	RUN(ten_thousand_connections);
	RUN(forged_frames_harm_nobody_else);
	RUN(one_more_than_all_is_refused);
	return CHECK_RESULT();
}
