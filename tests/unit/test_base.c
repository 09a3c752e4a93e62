/* SPDX-License-Identifier: GPL-3.0-or-later */
/* base.h, clock.h, log.h, mutex.h, counters.h, hash.h */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include <pfs/base.h>
#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/hash.h>
#include <pfs/log.h>
#include <pfs/mutex.h>

#include "check.h"
#include "child.h"

/* --- base.h --- */

static void sums_and_products_that_would_wrap_are_refused(void)
{
	uint64_t v = 0;

	CHECK_EQ(pfs_add_u64(UINT64_MAX - 1, 1, &v), 0);
	CHECK(v == UINT64_MAX);
	CHECK_EQ(pfs_add_u64(UINT64_MAX, 1, &v), -EOVERFLOW);
	CHECK_EQ(pfs_mul_u64(1ull << 32, (1ull << 32) - 1, &v), 0);
	CHECK(v == ((1ull << 32) - 1) << 32);
	CHECK_EQ(pfs_mul_u64(1ull << 32, 1ull << 32, &v), -EOVERFLOW);
}

static void alignment_rounds_to_the_nearest_multiple_either_way(void)
{
	CHECK_EQ(pfs_align_down(4097, 4096), 4096);
	CHECK_EQ(pfs_align_down(4096, 4096), 4096);
	CHECK_EQ(pfs_align_up(4097, 4096), 8192);
	CHECK_EQ(pfs_align_up(4096, 4096), 4096);
	CHECK_EQ(pfs_align_up(0, 4096), 0);
	CHECK(pfs_is_pow2(1) && pfs_is_pow2(65536));
	CHECK(!pfs_is_pow2(0) && !pfs_is_pow2(65537));
}

static void taking_leaves_nothing_to_clean_up(void)
{
	char *owned = malloc(1);
	int fd = 7;

	char *taken = pfs_take(&owned);
	int taken_fd = pfs_take_fd(&fd);

	CHECK(taken && !owned);
	CHECK_EQ(taken_fd, 7);
	CHECK_EQ(fd, -1);
	free(taken);
}

static void closing_by_scope_keeps_errno(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int raw = fd;

	errno = EXDEV;
	pfs_fd_done(&fd);

	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(fcntl(raw, F_GETFD), -1);
}

/* --- clock.h --- */

static void both_clocks_follow_the_fake_one(void)
{
	_Atomic uint64_t t = 42;

	pfs_clock_fake(&t);
	CHECK_EQ(pfs_now_ns(), 42);
	CHECK_EQ(pfs_wall_ns(), 42);
	t = 43;
	CHECK_EQ(pfs_now_ns(), 43);
	pfs_clock_fake(NULL);

	CHECK(pfs_wall_ns() > 1500000000 * PFS_NSEC_PER_SEC);
	CHECK(pfs_now_ns() != 43);
}

static void sleeping_takes_at_least_the_time_asked_for(void)
{
	uint64_t start = pfs_now_ns();

	pfs_sleep_ms(20);

	CHECK(pfs_now_ns() - start >= 20 * PFS_NSEC_PER_MSEC);
}

/* --- log.h --- */

struct lines {
	char last[2048];
	enum pfs_log_level level;
	int n;
};

static void keep_line(enum pfs_log_level level, const char *line, void *arg)
{
	struct lines *l = arg;

	snprintf(l->last, sizeof(l->last), "%s", line);
	l->level = level;
	l->n++;
}

static void the_sink_gets_level_and_line_with_area(void)
{
	struct lines l = {.n = 0};

	pfs_log_set_sink(keep_line, &l);
	pfs_log(PFS_LOG_WARNING, "store", "image %d blk %d", 7, 1931);
	pfs_log_set_sink(NULL, NULL);

	CHECK_EQ(l.n, 1);
	CHECK_EQ(l.level, PFS_LOG_WARNING);
	CHECK_STR(l.last, "store: image 7 blk 1931");
}

static int count_evaluation(int *n)
{
	return ++*n;
}

static void arguments_of_a_level_that_is_off_are_not_evaluated(void)
{
	struct lines l = {.n = 0};
	int n = 0;

	pfs_log_set_sink(keep_line, &l);
	pfs_log(PFS_LOG_DEBUG, "fs", "%d", count_evaluation(&n));
	CHECK_EQ(l.n, 0);
	CHECK_EQ(n, 0);
	pfs_log_set_level(PFS_LOG_DEBUG);
	pfs_log(PFS_LOG_DEBUG, "fs", "%d", count_evaluation(&n));
	pfs_log_set_level(PFS_LOG_INFO);
	pfs_log_set_sink(NULL, NULL);

	CHECK_EQ(l.n, 1);
	CHECK_EQ(n, 1);
}

static void a_name_with_a_newline_stays_inside_its_line(void)
{
	struct lines l = {.n = 0};

	pfs_log_set_sink(keep_line, &l);
	pfs_log(PFS_LOG_INFO, "fs", "image %s", "a\nfs: \x1b[2Jb\x7f\xc3\xa4");
	pfs_log_set_sink(NULL, NULL);

	CHECK_STR(l.last, "fs: image a?fs: ?[2Jb?\xc3\xa4");
}

static void a_line_too_long_is_cut_and_says_so(void)
{
	struct lines l = {.n = 0};
	char name[3000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	pfs_log_set_sink(keep_line, &l);
	pfs_log(PFS_LOG_INFO, "fs", "%s", name);
	pfs_log_set_sink(NULL, NULL);

	CHECK_EQ(strlen(l.last), 1023);
	CHECK_STR(l.last + 1018, "nn...");
}

static void a_failure_is_logged_with_its_reason_and_handed_on(void)
{
	struct lines l = {.n = 0};
	int err;

	pfs_log_set_sink(keep_line, &l);
	errno = EXDEV;
	err = pfs_log_fail(-ENOSPC, "store", "open %s", "/x");
	pfs_log_set_sink(NULL, NULL);

	CHECK_EQ(err, -ENOSPC);
	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(l.level, PFS_LOG_ERROR);
	CHECK_STR(l.last, "store: open /x: No space left on device");
}

static void say_hello(void)
{
	pfs_log(PFS_LOG_ERROR, "fs", "hello");
	pfs_log(PFS_LOG_INFO, "fs", "still here");
}

static void without_a_sink_lines_go_to_stderr(void)
{
	char said[256];

	CHECK_EQ(in_child(say_hello, said, sizeof(said)), 0);

	CHECK_STR(said, "pfs: error: fs: hello\npfs: fs: still here\n");
}

static void a_site_logs_five_lines_in_ten_seconds_then_tells_how_many_more(void)
{
	_Atomic uint64_t t = PFS_NSEC_PER_SEC;
	struct lines l = {.n = 0};

	pfs_clock_fake(&t);
	pfs_log_set_sink(keep_line, &l);
	for (int i = 0; i < 13; i++) {
		if (i == 8) {
			CHECK_EQ(l.n, 5);
			CHECK_STR(l.last, "fs: line 4");
			t += 10 * PFS_NSEC_PER_SEC - 1;
		}
		if (i == 12) {
			CHECK_EQ(l.n, 5);
			t += 1;
		}
		pfs_log_limited(PFS_LOG_INFO, "fs", "line %d", i);
	}
	pfs_log_set_sink(NULL, NULL);
	pfs_clock_fake(NULL);

	CHECK_EQ(l.n, 6);
	CHECK_STR(l.last, "fs: line 12 (7 like it held back)");
}

/* --- mutex.h --- */

static void locks_may_be_taken_upwards_and_released_in_any_order(void)
{
	struct pfs_mutex low = PFS_MUTEX_INIT(PFS_RANK_STORE);
	struct pfs_mutex high = PFS_MUTEX_INIT(PFS_RANK_POOL);

	pfs_mutex_lock(&low);
	pfs_mutex_lock(&high);
	pfs_mutex_unlock(&low);
	pfs_mutex_unlock(&high);
	pfs_mutex_lock(&low); /* a stale note of high would abort here */
	pfs_mutex_unlock(&low);

	CHECK_EQ(pthread_mutex_trylock(&low.m), 0);
	CHECK_EQ(pthread_mutex_trylock(&high.m), 0);
	pthread_mutex_unlock(&low.m);
	pthread_mutex_unlock(&high.m);
}

#ifndef NDEBUG
/* The misuses below are what the static analysis would refuse, too. */
PFS_TSA(no_thread_safety_analysis) static void invert_ranks(void)
{
	struct pfs_mutex store = PFS_MUTEX_INIT(PFS_RANK_STORE);
	struct pfs_mutex mount = PFS_MUTEX_INIT(PFS_RANK_MOUNT);

	pfs_mutex_lock(&store);
	pfs_mutex_lock(&mount);
}

PFS_TSA(no_thread_safety_analysis) static void lock_two_of_one_rank(void)
{
	struct pfs_mutex a = PFS_MUTEX_INIT(PFS_RANK_STORE);
	struct pfs_mutex b = PFS_MUTEX_INIT(PFS_RANK_STORE);

	pfs_mutex_lock(&a);
	pfs_mutex_lock(&b);
}

PFS_TSA(no_thread_safety_analysis) static void unlock_what_is_not_held(void)
{
	struct pfs_mutex a = PFS_MUTEX_INIT(PFS_RANK_STORE);

	pfs_mutex_unlock(&a);
}

static void a_lock_order_inversion_aborts_and_names_both_ranks(void)
{
	char said[512];
	int status = in_child(invert_ranks, said, sizeof(said));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK_STR(said, "pfs: lock order: MOUNT (10) taken under STORE (30)\n");
}

static void two_locks_of_one_rank_abort(void)
{
	char said[512];
	int status = in_child(lock_two_of_one_rank, said, sizeof(said));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void unlocking_what_is_not_held_aborts(void)
{
	char said[512];
	int status = in_child(unlock_what_is_not_held, said, sizeof(said));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK(strstr(said, "STORE (30) is not held"));
}
#endif

struct meeting {
	struct pfs_mutex lock;
	struct pfs_cond came; /* here: false -> true */
	bool here;
};

static void *come(void *arg)
{
	struct meeting *m = arg;

	pfs_mutex_lock(&m->lock);
	m->here = true;
	pfs_cond_signal(&m->came);
	pfs_mutex_unlock(&m->lock);
	return NULL;
}

static void a_waiter_wakes_when_another_thread_signals(void)
{
	struct meeting m = {.lock = PFS_MUTEX_INIT(PFS_RANK_STORE)};
	uint64_t deadline = pfs_now_ns() + 10 * PFS_NSEC_PER_SEC;
	pthread_t thread;
	int err = 0;

	pfs_cond_init(&m.came);
	CHECK_EQ(pfs_thread_start(&thread, "comer", come, &m), 0);
	pfs_mutex_lock(&m.lock);
	while (!m.here && !err)
		err = pfs_cond_wait_until(&m.came, &m.lock, deadline);
	pfs_mutex_unlock(&m.lock);
	pthread_join(thread, NULL);

	CHECK(m.here);
	CHECK_EQ(err, 0);
	pfs_cond_fini(&m.came);
	pfs_mutex_fini(&m.lock);
}

static void a_wait_ends_at_its_deadline(void)
{
	struct meeting m = {.lock = PFS_MUTEX_INIT(PFS_RANK_STORE)};
	uint64_t deadline = pfs_now_ns() + 20 * PFS_NSEC_PER_MSEC;
	int err = 0;

	pfs_cond_init(&m.came);
	pfs_mutex_lock(&m.lock);
	while (!err)
		err = pfs_cond_wait_until(&m.came, &m.lock, deadline);
	pfs_mutex_unlock(&m.lock);

	CHECK_EQ(err, -ETIMEDOUT);
	CHECK(pfs_now_ns() >= deadline);
	CHECK(pfs_now_ns() < deadline + 5 * PFS_NSEC_PER_SEC);
	pfs_cond_fini(&m.came);
}

static void *read_thread_state(void *arg)
{
	char *name = arg;
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1))
		return NULL;
	(void)EVENTUALLY(!pthread_getname_np(pthread_self(), name, 16) &&
			 !strcmp(name, "lane-0"));
	return name;
}

static void a_thread_starts_named_and_with_signals_blocked(void)
{
	char name[16] = "";
	sigset_t mine;
	void *result = NULL;
	pthread_t thread;

	CHECK_EQ(pfs_thread_start(&thread, "lane-0", read_thread_state, name),
		 0);
	pthread_join(thread, &result);
	pthread_sigmask(SIG_SETMASK, NULL, &mine);

	CHECK(result);
	CHECK_STR(name, "lane-0");
	CHECK(!sigismember(&mine, SIGTERM));
}

/* --- counters.h --- */

static uint64_t sum_of(enum pfs_counter c)
{
	uint64_t sums[PFS_C_N];

	pfs_counters_read(sums);
	return sums[c];
}

static pthread_barrier_t at_once;
static _Atomic int n_started;

/* Side by side from the start: four threads that a barrier wakes tend to run
 * one after the other on the core of the last to come. */
static void spread_over_cores(void)
{
	int core = n_started++ % (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	/* Where that core is not ours the test is only less sharp. */
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	pthread_barrier_wait(&at_once);
}

static void *count_reads(void *arg)
{
	spread_over_cores();
	for (int i = 0; i < *(int *)arg; i++)
		pfs_count(PFS_C_READS, 3);
	return NULL;
}

static void count_in_4_threads(int n_each)
{
	pthread_t threads[4];

	pthread_barrier_init(&at_once, NULL, 4);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pfs_thread_start(&threads[i], "counter", count_reads,
					  &n_each),
			 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&at_once);
}

static void counts_of_ended_threads_stay_in_the_sum(void)
{
	uint64_t before = sum_of(PFS_C_READS);
	uint64_t other = sum_of(PFS_C_WRITES);

	count_in_4_threads(1000);
	pfs_count(PFS_C_READS, 5);

	CHECK_EQ(sum_of(PFS_C_READS) - before, 4 * 1000 * 3 + 5);
	CHECK_EQ(sum_of(PFS_C_WRITES), other);
}

static void more_threads_than_rows_lose_no_count(void)
{
	uint64_t before = sum_of(PFS_C_READS);

	for (int i = 0; i < 70; i++)
		count_in_4_threads(1);
	count_in_4_threads(1000000); /* by now all four share a row */

	CHECK_EQ(sum_of(PFS_C_READS) - before, (280 + 4000000) * 3);
}

static void what_a_predecessor_counted_is_carried_over_once(void)
{
	uint64_t base[PFS_C_N] = {[PFS_C_READS] = 1000, [PFS_C_FILLS] = 7};
	uint64_t reads = sum_of(PFS_C_READS), fills = sum_of(PFS_C_FILLS);

	pfs_counters_carry(base);
	base[PFS_C_READS] = 5; /* copied, so without effect */
	CHECK_EQ(sum_of(PFS_C_READS), reads + 1000);
	pfs_count(PFS_C_READS, 1);
	CHECK_EQ(sum_of(PFS_C_READS), reads + 1001);
	CHECK_EQ(sum_of(PFS_C_FILLS), fills + 7);
	memset(base, 0, sizeof(base));
	pfs_counters_carry(base);

	CHECK_EQ(sum_of(PFS_C_READS), reads + 1);
	CHECK_EQ(sum_of(PFS_C_FILLS), fills);
}

static void every_counter_has_a_name_of_its_own(void)
{
	CHECK_STR(pfs_counter_info[PFS_C_READ_LATE].name, "reads_late");
	CHECK_STR(pfs_counter_info[PFS_C_READ_LATE].unit, "reads");
	for (int a = 0; a < PFS_C_N; a++) {
		const struct pfs_counter_info *i = &pfs_counter_info[a];

		CHECK(i->name && i->unit && i->help && *i->help);
		for (int b = 0; i->name && b < a; b++) {
			const char *other = pfs_counter_info[b].name;

			CHECK(other && strcmp(i->name, other) != 0);
		}
	}
}

/* --- hash.h --- */

/* Values of xxhsum -H3, the seeded one of xxHash's portable code.  Checksums
 * on disk depend on them. */
static void the_hash_is_xxh3_whatever_code_computes_it(void)
{
	char data[4096];
	uint64_t seeds[2];

	memset(data, 'x', sizeof(data));
	CHECK(pfs_hash64("", 0, 0) == 0x2d06800538d394c2ull);
	CHECK(pfs_hash64("abc", 3, 0) == 0x78af5f94892f3950ull);
	CHECK(pfs_hash64(data, sizeof(data), 0) == 0x854c667088efe093ull);
	CHECK(pfs_hash64(data, sizeof(data), 1) == 0x1f607ffe430fa5b2ull);
	seeds[0] = pfs_mix64(0);
	seeds[1] = pfs_mix64(1);
	CHECK(seeds[0] == 0xe220a8397b1dcdafull); /* splitmix64 from 0 */
	CHECK(seeds[1] != seeds[0]);
}

int main(void)
{
	RUN(sums_and_products_that_would_wrap_are_refused);
	RUN(alignment_rounds_to_the_nearest_multiple_either_way);
	RUN(taking_leaves_nothing_to_clean_up);
	RUN(closing_by_scope_keeps_errno);
	RUN(both_clocks_follow_the_fake_one);
	RUN(sleeping_takes_at_least_the_time_asked_for);
	RUN(the_sink_gets_level_and_line_with_area);
	RUN(arguments_of_a_level_that_is_off_are_not_evaluated);
	RUN(a_name_with_a_newline_stays_inside_its_line);
	RUN(a_line_too_long_is_cut_and_says_so);
	RUN(a_failure_is_logged_with_its_reason_and_handed_on);
	RUN(without_a_sink_lines_go_to_stderr);
	RUN(a_site_logs_five_lines_in_ten_seconds_then_tells_how_many_more);
	RUN(locks_may_be_taken_upwards_and_released_in_any_order);
#ifndef NDEBUG
	RUN(a_lock_order_inversion_aborts_and_names_both_ranks);
	RUN(two_locks_of_one_rank_abort);
	RUN(unlocking_what_is_not_held_aborts);
#endif
	RUN(a_waiter_wakes_when_another_thread_signals);
	RUN(a_wait_ends_at_its_deadline);
	RUN(a_thread_starts_named_and_with_signals_blocked);
	RUN(counts_of_ended_threads_stay_in_the_sum);
	RUN(more_threads_than_rows_lose_no_count);
	RUN(what_a_predecessor_counted_is_carried_over_once);
	RUN(every_counter_has_a_name_of_its_own);
	RUN(the_hash_is_xxh3_whatever_code_computes_it);
	return CHECK_RESULT();
}
