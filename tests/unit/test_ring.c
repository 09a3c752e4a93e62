/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <pfs/clock.h>
#include <pfs/mutex.h>

#include "check.h"
#include "child.h"
#include "ring.h"

#define SIZE 65536u

static uint8_t model[SIZE]; /* what the file holds */

struct rig {
	struct ring ring;
	int fd;
};

/* One op and how it ended. */
struct io {
	struct ring_op op;
	bool is_done;
	int res;
	uint64_t done_ns;
	int order; /* 1: the first that ended */
};

static int n_ended;

static void note_end(struct ring_op *op, int res)
{
	struct io *io = PFS_CONTAINER_OF(op, struct io, op);

	io->is_done = true;
	io->res = res;
	io->done_ns = pfs_now_ns();
	io->order = ++n_ended;
}

static void refill(int fd)
{
	for (uint32_t i = 0; i < SIZE; i++)
		model[i] = (uint8_t)(i * 7 + i / 256);
	CHECK_EQ(pwrite(fd, model, SIZE, 0), SIZE);
}

static struct rig *rig_start(void)
{
	static struct rig g; /* a ring must stay where it is */
	char name[] = "/tmp/pfs-test-XXXXXX";

	pfs_fault_clear();
	n_ended = 0;
	g.fd = mkstemp(name);
	CHECK(g.fd >= 0);
	unlink(name);
	refill(g.fd);
	CHECK_EQ(ring_init(&g.ring, 8), 0);
	return &g;
}

static void rig_end(struct rig *g)
{
	CHECK_EQ(g->ring.n_inflight, 0);
	ring_fini(&g->ring);
	close(g->fd);
	pfs_fault_clear();
}

static void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static struct io fresh_io(void)
{
	return (struct io){.op.done = note_end};
}

static int finish(struct rig *g, struct io *io)
{
	uint64_t limit = pfs_now_ns() + 5 * PFS_NSEC_PER_SEC;

	while (!io->is_done && pfs_now_ns() < limit) {
		ring_wait(&g->ring, limit);
		ring_submit(&g->ring);
		while (ring_reap(&g->ring))
			ring_submit(&g->ring);
	}
	CHECK(io->is_done);
	return io->res;
}

static int read_at(struct rig *g, void *buf, uint32_t len, uint64_t off)
{
	struct io io = fresh_io();

	ring_read(&g->ring, &io.op, PFS_FP_STORE_READ, g->fd, buf, len, off);
	return finish(g, &io);
}

static int write_at(struct rig *g, const void *buf, uint32_t len, uint64_t off)
{
	struct iovec iov[2] = {
		{.iov_base = (void *)buf, .iov_len = len / 2},
		{.iov_base = (uint8_t *)buf + len / 2,
		 .iov_len = len - len / 2},
	};
	struct io io = fresh_io();

	ring_writev(&g->ring, &io.op, PFS_FP_STORE_WRITE, g->fd, iov, 2, off);
	return finish(g, &io);
}

static bool file_holds(struct rig *g, const void *want, uint32_t len,
		       uint64_t off)
{
	uint8_t now[SIZE];

	return pread(g->fd, now, len, (off_t)off) == (ssize_t)len &&
	       !memcmp(now, want, len);
}

/* --- without faults --- */

static void bytes_are_read_and_written(void)
{
	struct rig *g = rig_start();
	uint8_t buf[9000], new[9000];

	memset(new, 0x5a, sizeof(new));
	CHECK_EQ(read_at(g, buf, sizeof(buf), 100), sizeof(buf));
	CHECK(!memcmp(buf, model + 100, sizeof(buf)));
	CHECK_EQ(write_at(g, new, sizeof(new), 333), sizeof(new));
	CHECK(file_holds(g, new, sizeof(new), 333));
	CHECK_EQ(read_at(g, buf, 100, SIZE - 40), 40);
	CHECK_EQ(read_at(g, buf, 100, SIZE), 0);
	rig_end(g);
}

static void registered_memory_and_files_work_alike(void)
{
	struct rig *g = rig_start();
	uint8_t *mem = aligned_alloc(4096, 8192), other[64];

	ring_register(&g->ring, mem, 8192, g->fd);
	CHECK_EQ(read_at(g, mem + 4096, 4096, 512), 4096);
	CHECK(!memcmp(mem + 4096, model + 512, 4096));
	CHECK_EQ(read_at(g, other, sizeof(other), 512), sizeof(other));
	CHECK(!memcmp(other, model + 512, sizeof(other)));
	rig_end(g);
	free(mem);
}

static void more_ops_than_entries_all_end(void)
{
	struct rig *g = rig_start();
	static struct io io[100];
	static uint8_t buf[100][64];

	for (uint32_t i = 0; i < 100; i++) {
		io[i] = fresh_io();
		ring_read(&g->ring, &io[i].op, PFS_FP_STORE_READ, g->fd, buf[i],
			  64, i * 64);
	}
	for (uint32_t i = 0; i < 100; i++) {
		CHECK_EQ(finish(g, &io[i]), 64);
		CHECK(!memcmp(buf[i], model + i * 64, 64));
	}
	rig_end(g);
}

static void *wake_soon(void *arg)
{
	pfs_sleep_ms(5);
	ring_wake(arg);
	return NULL;
}

static void a_wake_ends_the_wait_each_time(void)
{
	struct rig *g = rig_start();

	for (int i = 0; i < 3; i++) {
		uint64_t start = pfs_now_ns();
		pthread_t t;

		CHECK_EQ(pfs_thread_start(&t, "wake", wake_soon, &g->ring), 0);
		ring_wait(&g->ring, start + 5 * PFS_NSEC_PER_SEC);
		(void)ring_reap(&g->ring);
		CHECK(pfs_now_ns() - start < 4 * PFS_NSEC_PER_SEC);
		pthread_join(t, NULL);
	}
	rig_end(g);
}

static void a_wait_ends_when_the_time_is_up(void)
{
	struct rig *g = rig_start();
	uint64_t start = pfs_now_ns();

	ring_wait(&g->ring, start + 20 * PFS_NSEC_PER_MSEC);

	CHECK(pfs_now_ns() - start >= 19 * PFS_NSEC_PER_MSEC);
	rig_end(g);
}

static void a_readable_descriptor_is_told(void)
{
	struct rig *g = rig_start();
	struct io io = fresh_io();
	int fd[2];

	CHECK_EQ(pipe(fd), 0);
	ring_poll(&g->ring, &io.op, fd[0]);
	ring_submit(&g->ring);
	(void)ring_reap(&g->ring);
	CHECK(!io.is_done);
	CHECK_EQ(g->ring.n_inflight, 0);
	CHECK_EQ(write(fd[1], "x", 1), 1);
	(void)finish(g, &io);
	close(fd[0]);
	close(fd[1]);
	rig_end(g);
}

/* --- faults --- */

static void an_error_is_delivered_and_nothing_is_done(void)
{
	struct rig *g = rig_start();
	uint8_t buf[64] = {0};

	arm("store.read:eiox1,store.write:enospcx1");
	CHECK_EQ(read_at(g, buf, sizeof(buf), 0), -EIO);
	CHECK_EQ(write_at(g, buf, sizeof(buf), 0), -ENOSPC);
	CHECK(file_holds(g, model, 64, 0));
	CHECK_EQ(read_at(g, buf, sizeof(buf), 0), 64);
	rig_end(g);
}

static void a_stalled_op_ends_late_and_others_pass_it(void)
{
	struct rig *g = rig_start();
	struct io slow = fresh_io(), quick = fresh_io();
	uint64_t start = pfs_now_ns();
	uint8_t a[64], b[64];

	arm("store.read:stall=30x1");
	ring_read(&g->ring, &slow.op, PFS_FP_STORE_READ, g->fd, a, 64, 0);
	ring_read(&g->ring, &quick.op, PFS_FP_STORE_READ, g->fd, b, 64, 64);
	CHECK_EQ(g->ring.n_inflight, 2);
	CHECK_EQ(finish(g, &slow), 64);
	CHECK_EQ(finish(g, &quick), 64);
	CHECK(quick.order < slow.order);
	CHECK(slow.done_ns - start >= 29 * PFS_NSEC_PER_MSEC);
	CHECK(!memcmp(a, model, 64));
	rig_end(g);
}

static void a_torn_write_keeps_its_head_and_claims_success(void)
{
	struct rig *g = rig_start();
	uint8_t new[4096];

	memset(new, 0xee, sizeof(new));
	arm("store.write:torn=512x1");
	CHECK_EQ(write_at(g, new, sizeof(new), 0), sizeof(new));
	CHECK(file_holds(g, new, 512, 0));
	CHECK(file_holds(g, model + 512, sizeof(new) - 512, 512));
	arm("store.write:torn=0x1");
	CHECK_EQ(write_at(g, new, sizeof(new), 8192), sizeof(new));
	CHECK(file_holds(g, model + 8192, sizeof(new), 8192));
	rig_end(g);
}

static void a_short_transfer_says_so(void)
{
	struct rig *g = rig_start();
	uint8_t buf[4096];

	arm("store.read:short=512x1,store.write:short=512x1");
	CHECK_EQ(read_at(g, buf, sizeof(buf), 0), 512);
	CHECK_EQ(write_at(g, model, sizeof(buf), 0), 512);
	rig_end(g);
}

static void a_lost_write_claims_success(void)
{
	struct rig *g = rig_start();
	uint8_t new[64] = {0};

	arm("store.write:lostx1");
	CHECK_EQ(write_at(g, new, sizeof(new), 0), sizeof(new));
	CHECK(file_holds(g, model, sizeof(new), 0));
	rig_end(g);
}

static void a_late_write_lands_after_it_was_answered(void)
{
	struct rig *g = rig_start();
	uint8_t new[4096], want[4096];

	memset(new, 0xcc, sizeof(new));
	memset(want, 0xcc, sizeof(want));
	arm("store.write:late=40x1"); /* one op is one pass */
	CHECK_EQ(write_at(g, new, sizeof(new), 0), sizeof(new));
	CHECK(file_holds(g, model, sizeof(new), 0));
	memset(new, 0, sizeof(new)); /* the buffer is ours again */
	CHECK(EVENTUALLY(file_holds(g, want, sizeof(want), 0)));
	rig_end(g);
}

/* The bit was once looked for in the first buffer, wherever that ended. */
static void a_flip_inverts_one_bit_of_the_right_buffer(void)
{
	struct rig *g = rig_start();
	uint8_t mem[8192] = {0}, far[8192];
	struct iovec iov[3] = {
		{.iov_base = mem, .iov_len = 1024},
		{.iov_base = mem + 2048, .iov_len = 1024},
		{.iov_base = far, .iov_len = sizeof(far)},
	};
	struct io io = fresh_io();
	unsigned int n_bad = 0;

	arm("source.read:flipx1");
	ring_readv(&g->ring, &io.op, PFS_FP_SOURCE_READ, g->fd, iov, 3, 0);
	CHECK_EQ(finish(g, &io), 10240);
	for (uint32_t i = 0; i < 3; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			n_bad += ((uint8_t *)iov[i].iov_base)[k] !=
				 model[(i < 2 ? i * 1024 : 2048) + k];
	CHECK_EQ(n_bad, 1);
	for (uint32_t k = 0; k < sizeof(mem); k++)
		CHECK(!mem[k] || k % 2048 < 1024); /* beside the buffers */
	for (uint32_t k = 3072; k < sizeof(mem); k++)
		CHECK(!mem[k]);
	rig_end(g);
}

int main(void)
{
	pfs_fault_enable();
	RUN(bytes_are_read_and_written);
	RUN(registered_memory_and_files_work_alike);
	RUN(more_ops_than_entries_all_end);
	RUN(a_wake_ends_the_wait_each_time);
	RUN(a_wait_ends_when_the_time_is_up);
	RUN(a_readable_descriptor_is_told);
	RUN(an_error_is_delivered_and_nothing_is_done);
	RUN(a_stalled_op_ends_late_and_others_pass_it);
	RUN(a_torn_write_keeps_its_head_and_claims_success);
	RUN(a_short_transfer_says_so);
	RUN(a_lost_write_claims_success);
	RUN(a_late_write_lands_after_it_was_answered);
	RUN(a_flip_inverts_one_bit_of_the_right_buffer);
	return CHECK_RESULT();
}
