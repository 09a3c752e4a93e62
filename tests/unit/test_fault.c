/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pthread.h>
#include <signal.h>

#include <pfs/clock.h>
#include <pfs/fault.h>
#include <pfs/mutex.h>

#include "check.h"
#include "child.h"

static void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static uint64_t n_fired(enum pfs_fault_point p)
{
	uint64_t fired;
	uint32_t paused;

	pfs_fault_stat(p, &paused, &fired);
	return fired;
}

static uint32_t n_paused(enum pfs_fault_point p)
{
	uint64_t fired;
	uint32_t paused;

	pfs_fault_stat(p, &paused, &fired);
	return paused;
}

static void arm_unasked(void)
{
	if (pfs_fault_arm("alloc:enomem", NULL) != -EPERM ||
	    pfs_fault_enabled() || pfs_fault_check(PFS_FP_ALLOC))
		_exit(1);
}

static void nothing_can_be_armed_before_faults_are_enabled(void)
{
	char said[64];

	CHECK_EQ(in_child(arm_unasked, said, sizeof(said)), 0);
}

static void points_are_found_by_their_whole_name(void)
{
	CHECK_EQ(pfs_fault_find("store.read", 10), PFS_FP_STORE_READ);
	CHECK_EQ(pfs_fault_find("store.readx", 10), PFS_FP_STORE_READ);
	CHECK_EQ(pfs_fault_find("store.rea", 9), PFS_FP_N);
	CHECK_EQ(pfs_fault_find("", 0), PFS_FP_N);
	for (int p = 0; p < PFS_FP_N; p++) {
		const char *name = pfs_fault_name((enum pfs_fault_point)p);

		CHECK_EQ(pfs_fault_find(name, strlen(name)), p);
	}
}

static void junk_is_refused_and_pointed_at(void)
{
	static const struct {
		const char *spec;
		size_t bad; /* offset of the offending place */
	} cases[] = {
		{"", 0},
		{"nowhere:eio", 0},
		{"alloc", 5},
		{"alloc:", 6},
		{"alloc:efoo", 6},
		{"alloc:eiof", 6},
		{"alloc:eiox", 9},
		{"alloc:eio ", 6},
		{"alloc:eio=3", 9},
		{"alloc:eio@", 9},
		{"alloc:eio@0", 9},
		{"alloc:eio@-1", 9},
		{"alloc:eiox0", 9},
		{"alloc:eiox2@3", 11},
		{"alloc:eio@1@2", 11},
		{"alloc:eio@18446744073709551616", 9},
		{"alloc:stall", 11},
		{"alloc:stall=", 12},
		{"alloc:stall=ten", 12},
		{"alloc:flip=1", 10},
		{"alloc:eio,", 10},
		{"alloc:eio,,alloc:eio", 10},
		{"alloc:eio,nowhere:eio", 10},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		const char *spec = cases[i].spec;
		const char *bad = NULL;
		int before = check_failures;

		CHECK_EQ(pfs_fault_arm(spec, &bad), -EINVAL);
		CHECK_EQ(bad - spec, cases[i].bad);
		if (check_failures != before)
			fprintf(stderr, "  spec was \"%s\"\n", spec);
	}
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0); /* all rules or none */
	pfs_fault_clear();
}

static void any_errno_name_can_be_asked_for(void)
{
	arm("alloc:enospcx1,source.read:exdevx1,store.read:EBADFx1,"
	    "store.write:enxiox1,source.fsync:ehwpoisonx1,"
	    "mark.write:e2bigx1,source.meta:etimedoutx1");

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -ENOSPC);
	CHECK_EQ(pfs_fault_check(PFS_FP_SOURCE_READ), -EXDEV);
	CHECK_EQ(pfs_fault_check(PFS_FP_STORE_READ), -EBADF);
	CHECK_EQ(pfs_fault_check(PFS_FP_STORE_WRITE), -ENXIO);
	CHECK_EQ(pfs_fault_check(PFS_FP_SOURCE_FSYNC), -EHWPOISON);
	CHECK_EQ(pfs_fault_check(PFS_FP_MARK_WRITE), -E2BIG);
	CHECK_EQ(pfs_fault_check(PFS_FP_SOURCE_META), -ETIMEDOUT);
	CHECK_EQ(pfs_fault_check(PFS_FP_SOURCE_META), 0);
	pfs_fault_clear();
}

static void a_rule_fires_from_its_nth_pass_for_its_count(void)
{
	arm("alloc:eio@3x2");

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_STORE_READ), 0); /* no pass of it */
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(n_fired(PFS_FP_ALLOC), 2);
	CHECK(!pfs_fault_armed_); /* back to one load a pass */
	pfs_fault_clear();
}

static void without_a_count_a_rule_fires_until_it_is_cleared(void)
{
	arm("alloc:eio@2");

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	pfs_fault_clear();

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(n_fired(PFS_FP_ALLOC), 0);
}

static void of_two_rules_due_at_once_the_older_decides(void)
{
	arm("alloc:eio@2x1,alloc:enospcx3");

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -ENOSPC);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -ENOSPC);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0); /* it counted the 2nd */
	pfs_fault_clear();
}

static void the_table_of_rules_refuses_what_does_not_fit(void)
{
	for (int i = 0; i < 63; i++)
		arm("alloc:eio@1000");

	CHECK_EQ(pfs_fault_arm("alloc:eio,alloc:eio", NULL), -ENOSPC);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(pfs_fault_arm("alloc:eio", NULL), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	pfs_fault_clear();
}

static void the_caller_is_told_kind_and_argument(void)
{
	struct pfs_fault f;

	arm("store.read:short=512x1,store.write:torn=4096x1,"
	    "store.open:late=7x1");

	f = pfs_fault_take(PFS_FP_STORE_READ);
	CHECK_EQ(f.kind, PFS_FAULT_SHORT);
	CHECK_EQ(f.arg, 512);
	f = pfs_fault_take(PFS_FP_STORE_WRITE);
	CHECK_EQ(f.kind, PFS_FAULT_TORN);
	CHECK_EQ(f.arg, 4096);
	f = pfs_fault_take(PFS_FP_STORE_OPEN);
	CHECK_EQ(f.kind, PFS_FAULT_LATE);
	CHECK_EQ(f.arg, 7);
	CHECK_EQ(pfs_fault_take(PFS_FP_STORE_OPEN).kind, PFS_FAULT_NONE);
	pfs_fault_clear();
}

static void run_into_kill(void)
{
	if (pfs_fault_arm("op.done:kill@2", NULL))
		_exit(1);
	pfs_fault_take(PFS_FP_OP_DONE);
	fputs("first pass\n", stderr);
	pfs_fault_take(PFS_FP_OP_DONE);
	fputs("second pass\n", stderr);
}

static void kill_ends_the_process_at_the_pass_named(void)
{
	char said[64];
	int status = in_child(run_into_kill, said, sizeof(said));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_STR(said, "first pass\n");
}

static _Atomic int n_through;

static void *pass_insert(void *arg)
{
	(void)arg;
	if (!pfs_fault_check(PFS_FP_FETCH_INSERT))
		n_through++;
	return NULL;
}

/* Start n threads that run into a pause at fetch.insert. */
static void park(pthread_t *threads, int n)
{
	n_through = 0;
	for (int i = 0; i < n; i++)
		CHECK_EQ(pfs_thread_start(&threads[i], "parked", pass_insert,
					  NULL),
			 0);
	CHECK(EVENTUALLY(n_paused(PFS_FP_FETCH_INSERT) == (uint32_t)n));
	CHECK_EQ(n_through, 0);
}

static void join_all(pthread_t *threads, int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static void paused_threads_wait_for_the_resume_of_their_point(void)
{
	pthread_t threads[2];

	arm("fetch.insert:pause");
	park(threads, 2);
	pfs_fault_resume(PFS_FP_FETCH_READ); /* somebody else's */
	pfs_sleep_ms(10);
	CHECK_EQ(n_paused(PFS_FP_FETCH_INSERT), 2);
	pfs_fault_resume(PFS_FP_FETCH_INSERT);
	join_all(threads, 2);

	CHECK_EQ(n_through, 2);
	CHECK_EQ(n_paused(PFS_FP_FETCH_INSERT), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_FETCH_INSERT), 0); /* pause is gone */
	pfs_fault_clear();
}

static void other_points_work_while_a_thread_is_paused(void)
{
	pthread_t thread;

	arm("fetch.insert:pausex1,alloc:eiox1");
	park(&thread, 1);

	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -EIO);
	arm("alloc:enomemx1");
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), -ENOMEM);
	CHECK_EQ(pfs_fault_check(PFS_FP_FETCH_INSERT), 0); /* x1 is spent */
	pfs_fault_resume(PFS_FP_N);
	join_all(&thread, 1);
	CHECK_EQ(n_through, 1);
	pfs_fault_clear();
}

static void resuming_drops_pauses_and_nothing_else(void)
{
	arm("fetch.insert:pause,fetch.insert:eio,fetch.read:pause,alloc:pause");

	pfs_fault_resume(PFS_FP_FETCH_INSERT);
	CHECK_EQ(pfs_fault_check(PFS_FP_FETCH_INSERT), -EIO);
	CHECK(pfs_fault_armed_ >> PFS_FP_FETCH_READ & 1);
	pfs_fault_resume(PFS_FP_N);
	CHECK_EQ(pfs_fault_check(PFS_FP_FETCH_READ), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_ALLOC), 0);
	CHECK_EQ(pfs_fault_check(PFS_FP_FETCH_INSERT), -EIO);
	pfs_fault_clear();
}

static void clearing_lets_paused_threads_go_on(void)
{
	pthread_t thread;

	arm("fetch.insert:pause");
	park(&thread, 1);
	pfs_fault_clear();
	join_all(&thread, 1);

	CHECK_EQ(n_through, 1);
}

int main(void)
{
	RUN(nothing_can_be_armed_before_faults_are_enabled);
	pfs_fault_enable();
	RUN(points_are_found_by_their_whole_name);
	RUN(junk_is_refused_and_pointed_at);
	RUN(any_errno_name_can_be_asked_for);
	RUN(a_rule_fires_from_its_nth_pass_for_its_count);
	RUN(without_a_count_a_rule_fires_until_it_is_cleared);
	RUN(of_two_rules_due_at_once_the_older_decides);
	RUN(the_table_of_rules_refuses_what_does_not_fit);
	RUN(the_caller_is_told_kind_and_argument);
	RUN(kill_ends_the_process_at_the_pass_named);
	RUN(paused_threads_wait_for_the_resume_of_their_point);
	RUN(other_points_work_while_a_thread_is_paused);
	RUN(resuming_drops_pauses_and_nothing_else);
	RUN(clearing_lets_paused_threads_go_on);
	return CHECK_RESULT();
}
