/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pthread.h>
#include <stdatomic.h>

#include <pfs/clock.h>
#include <pfs/counters.h>

#include "check.h"
#include "pool.h"

#define MAX_THREADS 4
#define N_SMALL 8
#define N_BIG 2

/* A gate that jobs wait at until the test opens it. */
static atomic_int gate_is_open, n_at_gate;

static void wait_at_gate(void)
{
	atomic_fetch_add(&n_at_gate, 1);
	while (!atomic_load(&gate_is_open))
		pfs_sleep_ms(1);
	atomic_fetch_sub(&n_at_gate, 1);
}

/* Up to 5 s, which no case needs unless it fails. */
static bool comes_to(atomic_int *value, int want)
{
	for (int i = 0; i < 5000 && atomic_load(value) != want; i++)
		pfs_sleep_ms(1);
	return atomic_load(value) == want;
}

struct seen {
	atomic_int n, n_bad, n_big;
	atomic_int last_fd;
	bool waits;
};

/* A request is len bytes, each of them (uint8_t)len. */
static void on_request(void *arg, void *buf, size_t len, int reply_fd)
{
	struct seen *seen = arg;
	const uint8_t *bytes = buf;

	if (seen->waits)
		wait_at_gate();
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != (uint8_t)len) {
			atomic_fetch_add(&seen->n_bad, 1);
			break;
		}
	}
	if (len > POOL_SMALL_BUF)
		atomic_fetch_add(&seen->n_big, 1);
	atomic_store(&seen->last_fd, reply_fd);
	atomic_fetch_add(&seen->n, 1);
}

static struct pool *pool_for(struct seen *seen)
{
	struct pool_config cfg = {
		.max_threads = MAX_THREADS,
		.n_small = N_SMALL,
		.n_big = N_BIG,
		.request = on_request,
		.arg = seen,
	};
	struct pool *p = NULL;

	atomic_store(&gate_is_open, 0);
	CHECK_EQ(pool_create(&cfg, &p), 0);
	return p;
}

static void fill(void *buf, size_t len)
{
	memset(buf, (int)(uint8_t)len, len);
}

static void requests_arrive_with_their_bytes(void)
{
	static const size_t lens[] = {40, 4096, POOL_SMALL_BUF,
				      POOL_SMALL_BUF + 1, PFS_MIB(1)};
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);
	void *buf = pool_buf_get(p);

	for (int i = 0; i < 100; i++) {
		size_t len = lens[(size_t)i % PFS_ARRAY_SIZE(lens)];

		fill(buf, len);
		pool_request(p, &buf, len, 12);
	}
	pool_wait_idle(p);

	CHECK_EQ(seen.n, 100);
	CHECK_EQ(seen.n_bad, 0);
	CHECK_EQ(seen.n_big, 40);
	CHECK_EQ(seen.last_fd, 12);
	pool_buf_put(p, buf);
	pool_destroy(p);
}

static void a_small_request_leaves_the_buffer_a_big_one_takes_it(void)
{
	struct seen seen = {.waits = true};
	struct pool *p = pool_for(&seen);
	void *buf = pool_buf_get(p), *before = buf;

	fill(buf, 100);
	pool_request(p, &buf, 100, 0);
	CHECK(buf == before);
	memset(buf, 0xee, 100); /* the job has its own copy */
	fill(buf, 20000);
	pool_request(p, &buf, 20000, 0);
	CHECK(buf != before);
	memset(buf, 0xee, 20000);
	atomic_store(&gate_is_open, 1);
	pool_wait_idle(p);

	CHECK_EQ(seen.n, 2);
	CHECK_EQ(seen.n_bad, 0);
	pool_buf_put(p, buf);
	pool_destroy(p);
}

static void *request_one_more(void *arg)
{
	struct pool *p = arg;
	void *buf = pool_buf_get(p);

	fill(buf, 64);
	pool_request(p, &buf, 64, 0);
	pool_buf_put(p, buf);
	return NULL;
}

static uint64_t queue_full_count(void)
{
	uint64_t all[PFS_C_N];

	pfs_counters_read(all);
	return all[PFS_C_QUEUE_FULL];
}

static void a_full_pool_makes_the_producer_wait(void)
{
	struct seen seen = {.waits = true};
	struct pool *p = pool_for(&seen);
	void *buf = pool_buf_get(p);
	uint64_t before = queue_full_count();
	pthread_t t;

	for (int i = 0; i < N_SMALL; i++) {
		fill(buf, 64);
		pool_request(p, &buf, 64, 0);
	}
	CHECK_EQ(queue_full_count(), before);
	CHECK_EQ(pthread_create(&t, NULL, request_one_more, p), 0);
	for (int i = 0; i < 5000 && queue_full_count() == before; i++)
		pfs_sleep_ms(1);
	CHECK_EQ(queue_full_count(), before + 1);
	CHECK_EQ(seen.n, 0);
	atomic_store(&gate_is_open, 1);
	pthread_join(t, NULL);
	pool_wait_idle(p);

	CHECK_EQ(seen.n, N_SMALL + 1);
	CHECK_EQ(seen.n_bad, 0);
	pool_buf_put(p, buf);
	pool_destroy(p);
}

static atomic_int n_tasks_run;

static void count_task(void *arg)
{
	(void)arg;
	atomic_fetch_add(&n_tasks_run, 1);
}

static void block_task(void *arg)
{
	(void)arg;
	wait_at_gate();
}

static void blocked_calls_do_not_hold_up_others(void)
{
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);

	atomic_store(&n_tasks_run, 0);
	for (int i = 0; i < MAX_THREADS - 1; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	CHECK(comes_to(&n_at_gate, MAX_THREADS - 1));
	CHECK_EQ(pool_task(p, count_task, NULL), 0);

	CHECK(comes_to(&n_tasks_run, 1));
	atomic_store(&gate_is_open, 1);
	pool_destroy(p);
}

static void no_more_threads_run_than_allowed(void)
{
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);

	for (int i = 0; i < 2 * MAX_THREADS; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	CHECK(comes_to(&n_at_gate, MAX_THREADS));
	pfs_sleep_ms(20);

	CHECK_EQ(n_at_gate, MAX_THREADS);
	atomic_store(&gate_is_open, 1);
	pool_destroy(p);
}

static void destroy_runs_what_is_queued(void)
{
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);

	atomic_store(&n_tasks_run, 0);
	for (int i = 0; i < MAX_THREADS; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(pool_task(p, count_task, NULL), 0);
	atomic_store(&gate_is_open, 1);
	pool_destroy(p);

	CHECK_EQ(n_tasks_run, 50);
}

static void too_many_tasks_are_refused(void)
{
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);
	int n = 0;

	for (int i = 0; i < MAX_THREADS; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	atomic_store(&n_tasks_run, 0);
	while (n < 20000 && !pool_task(p, count_task, NULL))
		n++;
	CHECK(n > 100 && n < 20000);
	CHECK_EQ(pool_task(p, count_task, NULL), -EAGAIN);
	CHECK_EQ(pool_task_at(p, 0, count_task, NULL), -EAGAIN);
	atomic_store(&gate_is_open, 1);
	pool_wait_idle(p);

	CHECK_EQ(n_tasks_run, n);
	CHECK_EQ(pool_task(p, count_task, NULL), 0);
	pool_destroy(p);
}

/* --- timers --- */

struct timed {
	uint64_t due_ns, ran_ns;
	int order;
};

static atomic_int n_timed;

static void note_time(void *arg)
{
	struct timed *t = arg;

	t->ran_ns = pfs_now_ns();
	t->order = atomic_fetch_add(&n_timed, 1);
}

static void timers_run_in_time_and_in_order(void)
{
	static const int ms[] = {60, 20, 40, 1, 0};
	static const int order[] = {4, 2, 3, 1, 0};
	struct timed t[5] = {0};
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);
	uint64_t now = pfs_now_ns();

	atomic_store(&n_timed, 0);
	for (size_t i = 0; i < 5; i++) {
		t[i].due_ns = now + (uint64_t)ms[i] * 10 * PFS_NSEC_PER_MSEC;
		CHECK_EQ(pool_task_at(p, t[i].due_ns, note_time, &t[i]), 0);
	}
	CHECK(comes_to(&n_timed, 5));

	for (size_t i = 0; i < 5; i++) {
		CHECK(t[i].ran_ns >= t[i].due_ns);
		CHECK_EQ(t[i].order, order[i]);
	}
	pool_destroy(p);
}

static void a_timer_goes_off_while_other_threads_are_blocked(void)
{
	struct timed t = {0};
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);

	atomic_store(&n_timed, 0);
	for (int i = 0; i < MAX_THREADS - 1; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	CHECK(comes_to(&n_at_gate, MAX_THREADS - 1));
	CHECK_EQ(pool_task_at(p, pfs_now_ns() + 10 * PFS_NSEC_PER_MSEC,
			      note_time, &t),
		 0);

	CHECK(comes_to(&n_timed, 1));
	atomic_store(&gate_is_open, 1);
	pool_destroy(p);
}

/* The only idle thread waits for a timer far away: it must still take work. */
static void the_timekeeper_takes_jobs_too(void)
{
	struct timed t = {0};
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);

	atomic_store(&n_tasks_run, 0);
	CHECK_EQ(pool_task_at(p, pfs_now_ns() + 3600 * PFS_NSEC_PER_SEC,
			      note_time, &t),
		 0);
	for (int i = 0; i < MAX_THREADS - 1; i++)
		CHECK_EQ(pool_task(p, block_task, NULL), 0);
	CHECK(comes_to(&n_at_gate, MAX_THREADS - 1));
	for (int i = 1; i <= 20; i++) {
		CHECK_EQ(pool_task(p, count_task, NULL), 0);
		CHECK(comes_to(&n_tasks_run, i));
	}
	atomic_store(&gate_is_open, 1);
	pool_wait_idle(p); /* does not wait for the timer */

	CHECK_EQ(t.ran_ns, 0);
	pool_destroy(p);
	CHECK_EQ(t.ran_ns, 0);
}

/* The timekeeper is lost to a slow timer: another takes its place. */
static void a_slow_timer_does_not_hold_up_the_next(void)
{
	struct timed t = {0};
	struct seen seen = {0};
	struct pool *p = pool_for(&seen);
	uint64_t now = pfs_now_ns();

	atomic_store(&n_timed, 0);
	CHECK_EQ(pool_task(p, count_task, NULL), 0); /* a second thread */
	CHECK_EQ(pool_task(p, count_task, NULL), 0);
	CHECK_EQ(
		pool_task_at(p, now + 20 * PFS_NSEC_PER_MSEC, block_task, NULL),
		0);
	CHECK_EQ(pool_task_at(p, now + 40 * PFS_NSEC_PER_MSEC, note_time, &t),
		 0);

	CHECK(comes_to(&n_timed, 1));
	CHECK_EQ(n_at_gate, 1);
	atomic_store(&gate_is_open, 1);
	pool_destroy(p);
}

static void a_pool_of_nothing_is_refused(void)
{
	struct pool_config cfg = {.max_threads = 0, .n_small = 1, .n_big = 1};
	struct pool *p;

	CHECK_EQ(pool_create(&cfg, &p), -EINVAL);
	pool_destroy(NULL);
}

int main(void)
{
	RUN(requests_arrive_with_their_bytes);
	RUN(a_small_request_leaves_the_buffer_a_big_one_takes_it);
	RUN(a_full_pool_makes_the_producer_wait);
	RUN(blocked_calls_do_not_hold_up_others);
	RUN(no_more_threads_run_than_allowed);
	RUN(destroy_runs_what_is_queued);
	RUN(too_many_tasks_are_refused);
	RUN(timers_run_in_time_and_in_order);
	RUN(a_timer_goes_off_while_other_threads_are_blocked);
	RUN(the_timekeeper_takes_jobs_too);
	RUN(a_slow_timer_does_not_hold_up_the_next);
	RUN(a_pool_of_nothing_is_refused);
	return CHECK_RESULT();
}
