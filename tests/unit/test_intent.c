/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <linux/fuse.h>

#include <pfs/clock.h>

#include "intent.h"

static _Atomic uint64_t now_ns = PFS_NSEC_PER_SEC;
static struct pfs_mutex lock = PFS_MUTEX_INIT(PFS_RANK_MOUNT);

struct fixture {
	struct state *s;
	struct intent_log *log;
};

static void take_up(struct fixture *f)
{
	intent_log_destroy(f->log);
	if (intent_log_create(f->s, &lock, &f->log))
		abort();
}

static struct fixture fresh(void)
{
	struct fixture f = {NULL, NULL};

	f.s = mmap(NULL, sizeof(*f.s), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f.s == MAP_FAILED)
		abort();
	take_up(&f);
	return f;
}

static void done(struct fixture *f)
{
	intent_log_destroy(f->log);
	munmap(f->s, sizeof(*f->s));
}

static struct state_intent *begin(struct fixture *f, uint64_t unique)
{
	struct state_intent what = {
		.opcode = FUSE_MKDIR, .unique = unique, .name = "d"};
	struct state_intent *i = NULL;

	return intent_begin(f->log, &what, &i) ? NULL : i;
}

static void the_next_worker_finds_an_intent_by_its_request(void)
{
	struct fixture f = fresh();
	struct state_intent *i = begin(&f, 100);

	take_up(&f);

	CHECK(intent_find(f.log, 100, FUSE_MKDIR) == i);
	CHECK_STR(i->name, "d");
	CHECK(!intent_find(f.log, 100, FUSE_RMDIR));
	CHECK(!intent_find(f.log, 102, FUSE_MKDIR));
	intent_end(f.log, i);
	CHECK(!intent_find(f.log, 100, FUSE_MKDIR));
	done(&f);
}

static void a_half_written_intent_is_void(void)
{
	struct fixture f = fresh();
	struct state_intent *i = begin(&f, 100);

	i->use = STATE_FILLING;
	take_up(&f);

	CHECK(!intent_find(f.log, 100, FUSE_MKDIR));
	CHECK_EQ(i->use, STATE_FREE);
	done(&f);
}

static void count_one(void *arg, struct state_intent *i)
{
	(void)i;
	++*(int *)arg;
}

static void a_full_log_refuses_until_old_ones_age_out(void)
{
	struct fixture f = fresh();
	int n_old = 0;

	for (uint64_t u = 0; u < STATE_MAX_INTENTS; u++)
		CHECK(begin(&f, 2 * u) != NULL);
	CHECK(!begin(&f, 9999));
	now_ns += 2 * INTENT_MAX_AGE_NS;
	CHECK(!begin(&f, 9999)); /* of this worker: never too old */

	take_up(&f);
	intent_each_old(f.log, count_one, &n_old);
	CHECK_EQ(n_old, STATE_MAX_INTENTS);
	CHECK(!begin(&f, 9999)); /* its request may still come again */
	CHECK(intent_find(f.log, 0, FUSE_MKDIR) != NULL);
	now_ns += 2 * INTENT_MAX_AGE_NS;
	CHECK(begin(&f, 9999) != NULL);
	CHECK(intent_find(f.log, 0, FUSE_MKDIR) != NULL); /* taken up */
	CHECK(!intent_find(f.log, 2, FUSE_MKDIR)); /* its place was used */
	done(&f);
}

static void workers_that_die_one_after_the_other_do_not_keep_an_intent(void)
{
	struct fixture f = fresh();

	for (uint64_t u = 0; u < STATE_MAX_INTENTS; u++)
		CHECK(begin(&f, 2 * u) != NULL);
	for (uint64_t age = 0; age < INTENT_MAX_AGE_NS;
	     age += 10 * PFS_NSEC_PER_SEC) {
		take_up(&f);
		CHECK(!begin(&f, 9999));
		now_ns += 10 * PFS_NSEC_PER_SEC;
	}
	take_up(&f);
	CHECK(!begin(&f, 9999)); /* its own requests may be on their way */
	now_ns += 2 * INTENT_GRACE_NS;
	CHECK(begin(&f, 9999) != NULL);
	CHECK(!intent_find(f.log, 0, FUSE_MKDIR));

	/* One taken up is of a living worker again. */
	CHECK(intent_find(f.log, 2, FUSE_MKDIR) != NULL);
	now_ns += 2 * INTENT_MAX_AGE_NS;
	take_up(&f);
	now_ns += 2 * INTENT_GRACE_NS;
	CHECK(intent_find(f.log, 2, FUSE_MKDIR) != NULL);
	CHECK(begin(&f, 8888) != NULL);
	CHECK(intent_find(f.log, 2, FUSE_MKDIR) != NULL);
	done(&f);
}

static const struct intent_file none, ours = {1, 10}, other = {1, 11};

static bool is_done(uint32_t opcode, struct intent_file before,
		    struct intent_file new_before, struct intent_file now,
		    struct intent_file new_now)
{
	const struct state_intent i = {.opcode = opcode,
				       .dev = before.dev,
				       .ino = before.ino,
				       .new_dev = new_before.dev,
				       .new_ino = new_before.ino};

	return intent_is_done(&i, now, new_now);
}

static void making_is_done_when_a_free_name_is_taken(void)
{
	const uint32_t ops[] = {FUSE_CREATE, FUSE_MKNOD, FUSE_MKDIR};

	for (size_t n = 0; n < PFS_ARRAY_SIZE(ops); n++) {
		CHECK(is_done(ops[n], none, none, ours, none));
		CHECK(!is_done(ops[n], none, none, none, none));
		/* It was there before: EEXIST, then as now. */
		CHECK(!is_done(ops[n], ours, none, ours, none));
	}
}

static void removing_is_done_when_the_file_is_not_there(void)
{
	const uint32_t ops[] = {FUSE_UNLINK, FUSE_RMDIR};

	for (size_t n = 0; n < PFS_ARRAY_SIZE(ops); n++) {
		CHECK(is_done(ops[n], ours, none, none, none));
		CHECK(is_done(ops[n], ours, none, other, none));
		CHECK(!is_done(ops[n], ours, none, ours, none));
		CHECK(!is_done(ops[n], none, none, none, none)); /* ENOENT */
	}
}

static void renaming_is_done_when_the_file_has_only_the_new_name(void)
{
	CHECK(is_done(FUSE_RENAME, ours, none, none, ours));
	CHECK(is_done(FUSE_RENAME, ours, other, none, ours));
	CHECK(is_done(FUSE_RENAME, ours, other, other, ours));
	CHECK(!is_done(FUSE_RENAME, ours, other, ours, other));
	CHECK(!is_done(FUSE_RENAME, ours, none, ours, none));
	/* Two links of one file: the call does nothing, at any time. */
	CHECK(!is_done(FUSE_RENAME, ours, ours, ours, ours));
	CHECK(!is_done(FUSE_RENAME, none, none, none, none));
}

int main(void)
{
	pfs_clock_fake(&now_ns);
	RUN(the_next_worker_finds_an_intent_by_its_request);
	RUN(a_half_written_intent_is_void);
	RUN(a_full_log_refuses_until_old_ones_age_out);
	RUN(workers_that_die_one_after_the_other_do_not_keep_an_intent);
	RUN(making_is_done_when_a_free_name_is_taken);
	RUN(removing_is_done_when_the_file_is_not_there);
	RUN(renaming_is_done_when_the_file_has_only_the_new_name);
	return CHECK_RESULT();
}
