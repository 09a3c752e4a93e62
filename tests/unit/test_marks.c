/* SPDX-License-Identifier: GPL-3.0-or-later */
/* marks.h: what was reported as marked is found marked, whatever happens. */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <pfs/fault.h>
#include <pfs/log.h>
#include <pfs/marks.h>

#include "check.h"
#include "child.h"

#define FILE_SIZE (4096 + 4096 * 512)

static const uint8_t uuid_a[16] = "store a", uuid_b[16] = "store b";

static char scratch[64];
static char path[96];
static bool all_dirty; /* of the last open */

static void ignore_log(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static void scratch_remove(void)
{
	unlink(path);
	rmdir(scratch);
}

/* No file yet; in memory if possible, for no test here cuts the power. */
static void scratch_reset(void)
{
	if (!*scratch) {
		snprintf(scratch, sizeof(scratch), "%s/pfs-test-XXXXXX",
			 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
		if (!mkdtemp(scratch))
			abort();
		snprintf(path, sizeof(path), "%s/marks", scratch);
		atexit(scratch_remove);
		pfs_log_set_sink(ignore_log, NULL);
		pfs_fault_enable();
	}
	unlink(path);
	pfs_fault_clear();
}

static void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static struct pfs_marks *must_open_as(const char *file, const uint8_t uuid[16])
{
	struct pfs_marks *m = NULL;

	CHECK_EQ(pfs_marks_open(file, uuid, &all_dirty, &m), 0);
	if (!m)
		abort();
	return m;
}

static struct pfs_marks *must_open(void)
{
	return must_open_as(path, uuid_a);
}

/* A new file out of whose doubt somebody has taken it. */
static struct pfs_marks *settled(void)
{
	struct pfs_marks *m;

	scratch_reset();
	m = must_open();
	CHECK_EQ(pfs_marks_rebind(m, uuid_a), 0);
	return m;
}

static struct pfs_marks *reopened(struct pfs_marks *m)
{
	pfs_marks_close(m);
	return must_open();
}

static uint64_t in_ms(uint64_t ms)
{
	return pfs_now_ns() + ms * PFS_NSEC_PER_MSEC;
}

static int set(struct pfs_marks *m, uint64_t image)
{
	return pfs_marks_set(m, image, in_ms(5000));
}

static void patch(off_t off, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, data, len, off) != (ssize_t)len)
		abort();
	close(fd);
}

/* --- what a mark is ----------------------------------------------------- */

static void a_mark_is_found_at_the_next_open_until_it_is_cleared(void)
{
	struct pfs_marks *m = settled();
	uint64_t list[2] = {0};

	CHECK_EQ(set(m, 7), 0);
	CHECK_EQ(set(m, 9), 0);
	CHECK_EQ(pfs_marks_count(m), 2);
	CHECK(!pfs_marks_found(m, 7)); /* not when it was opened */

	m = reopened(m);
	CHECK(!all_dirty);
	CHECK(pfs_marks_found(m, 7) && pfs_marks_found(m, 9));
	CHECK(!pfs_marks_found(m, 8));
	CHECK_EQ(pfs_marks_count(m), 2);
	CHECK_EQ(pfs_marks_found_list(m, list, 1), 2);
	CHECK(list[0] == 7 && !list[1]);
	CHECK_EQ(pfs_marks_clear(m, 7), 0);
	CHECK(!pfs_marks_found(m, 7)); /* not any more */

	m = reopened(m);
	CHECK(!pfs_marks_found(m, 7) && pfs_marks_found(m, 9));
	CHECK_EQ(pfs_marks_count(m), 1);
	CHECK_EQ(pfs_marks_clear(m, 1234), 0);
	CHECK_EQ(pfs_marks_set(m, 0, 0), -EINVAL);
	CHECK_EQ(pfs_marks_clear(m, 0), -EINVAL);
	pfs_marks_close(m);
}

static void the_file_is_private_and_has_its_full_size_from_the_start(void)
{
	mode_t old = umask(0);
	struct stat st = {0};

	pfs_marks_close(settled());

	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK_EQ(st.st_size, FILE_SIZE);
	CHECK(st.st_blocks * 512 >= FILE_SIZE);
	umask(old);
}

static void marks_in_memory_need_no_file(void)
{
	struct pfs_marks *m = must_open_as(NULL, uuid_a);

	CHECK(!all_dirty);
	CHECK_EQ(set(m, 7), 0);
	CHECK_EQ(set(m, 7), 0);
	CHECK_EQ(pfs_marks_count(m), 1);
	CHECK_EQ(pfs_marks_clear(m, 7), 0);
	CHECK_EQ(pfs_marks_count(m), 0);
	CHECK_EQ(pfs_marks_rebind(m, uuid_b), 0);
	pfs_marks_close(m);
	pfs_marks_close(NULL);
}

static void marking_again_costs_no_write(void)
{
	struct pfs_marks *m = settled();

	CHECK_EQ(set(m, 7), 0);
	arm("mark.write:eio");
	CHECK_EQ(set(m, 7), 0);
	CHECK_EQ(set(m, 8), -EIO);
	pfs_fault_clear();

	m = reopened(m);
	arm("mark.write:eio"); /* nor for one from an earlier life */
	CHECK_EQ(set(m, 7), 0);
	pfs_fault_clear();
	pfs_marks_close(m);
}

static void there_is_room_for_so_many_and_cleared_ones_make_room(void)
{
	struct pfs_marks *m = settled();

	for (uint64_t i = 1; i <= PFS_MARKS_MAX; i++)
		CHECK_EQ(set(m, i), 0);
	CHECK_EQ(set(m, 5000), -ENOSPC);
	CHECK_EQ(set(m, 4096), 0);
	CHECK_EQ(pfs_marks_clear(m, 17), 0);
	CHECK_EQ(set(m, 5000), 0);
	CHECK_EQ(pfs_marks_count(m), PFS_MARKS_MAX);

	m = reopened(m);
	CHECK(!all_dirty);
	CHECK_EQ(pfs_marks_found_list(m, NULL, 0), PFS_MARKS_MAX);
	CHECK(pfs_marks_found(m, 1) && pfs_marks_found(m, 4096));
	CHECK(pfs_marks_found(m, 5000) && !pfs_marks_found(m, 17));
	pfs_marks_close(m);
}

/* --- a slow or failing disk --------------------------------------------- */

static void a_mark_that_is_late_says_so_and_may_still_come(void)
{
	struct pfs_marks *m = settled();
	uint64_t took;

	arm("mark.write:stall=60@1x1");
	took = pfs_now_ns();
	CHECK_EQ(pfs_marks_set(m, 7, in_ms(20)), -ETIMEDOUT);
	took = pfs_now_ns() - took;
	CHECK(took >= 19 * PFS_NSEC_PER_MSEC);
	CHECK_EQ(pfs_marks_count(m), 1);
	CHECK_EQ(set(m, 7), 0); /* joins the write under way */

	m = reopened(m);
	CHECK(pfs_marks_found(m, 7));
	pfs_marks_close(m);
}

static void a_failed_mark_is_an_error_and_is_written_when_asked_again(void)
{
	struct pfs_marks *m = settled();

	arm("mark.write:eio@1x1"); /* the write */
	CHECK_EQ(set(m, 7), -EIO);
	arm("mark.write:enospc@2x1"); /* the fdatasync */
	CHECK_EQ(set(m, 8), -ENOSPC);
	CHECK_EQ(pfs_marks_count(m), 2);
	CHECK_EQ(set(m, 7), 0);
	CHECK_EQ(set(m, 8), 0);

	m = reopened(m);
	CHECK(pfs_marks_found(m, 7) && pfs_marks_found(m, 8));
	pfs_marks_close(m);
}

static void a_mark_whose_clearing_failed_counts_as_set(void)
{
	struct pfs_marks *m = settled();

	CHECK_EQ(set(m, 7), 0);
	arm("mark.write:eio@1x1");
	CHECK_EQ(pfs_marks_clear(m, 7), -EIO);
	CHECK_EQ(pfs_marks_count(m), 1);

	/* Marked again it must be written, for nobody knows what is there. */
	arm("mark.write:eio@2x1");
	CHECK_EQ(pfs_marks_clear(m, 7), -EIO);
	CHECK_EQ(set(m, 7), 0);
	m = reopened(m);
	CHECK(pfs_marks_found(m, 7));
	CHECK_EQ(pfs_marks_clear(m, 7), 0);
	CHECK_EQ(pfs_marks_count(m), 0);
	m = reopened(m);
	CHECK(!pfs_marks_found(m, 7));
	pfs_marks_close(m);
}

static void a_disk_that_fails_at_open_is_an_error(void)
{
	struct pfs_marks *m = NULL;

	pfs_marks_close(settled());
	arm("mark.write:eio@2x1");
	CHECK_EQ(pfs_marks_open(path, uuid_a, &all_dirty, &m), -EIO);
	arm("alloc:enomem@1x1");
	CHECK_EQ(pfs_marks_open(path, uuid_a, &all_dirty, &m), -ENOMEM);
	arm("alloc:enomem@2x1");
	CHECK_EQ(pfs_marks_open(path, uuid_a, &all_dirty, &m), -ENOMEM);
	CHECK(!m);
}

struct setter {
	struct pfs_marks *m;
	pthread_t thread;
	uint64_t image;
	int err;
};

static void *set_one(void *arg)
{
	struct setter *s = arg;

	s->err = set(s->m, s->image);
	return NULL;
}

static void marks_that_wait_together_share_one_fdatasync(void)
{
	struct setter s[8];
	struct pfs_marks *m = settled();
	uint32_t n_paused = 0;
	uint64_t fired;

	arm("mark.write:pause@1x1");
	for (uint64_t i = 0; i < 8; i++) {
		s[i] = (struct setter){.m = m, .image = i + 1};
		CHECK_EQ(pthread_create(&s[i].thread, NULL, set_one, &s[i]), 0);
	}
	CHECK(EVENTUALLY((pfs_fault_stat(PFS_FP_MARK_WRITE, &n_paused, &fired),
			  n_paused == 1 && pfs_marks_count(m) == 8)));
	arm("mark.write:stall=0"); /* counts what passes */
	pfs_fault_resume(PFS_FP_MARK_WRITE);
	for (int i = 0; i < 8; i++) {
		pthread_join(s[i].thread, NULL);
		CHECK_EQ(s[i].err, 0);
	}

	/* At the pause, 1 to 8 were collected; each group adds one sync. */
	pfs_fault_stat(PFS_FP_MARK_WRITE, &n_paused, &fired);
	CHECK(fired >= 8 + 1 && fired <= 8 + 2);
	pfs_marks_close(m);
}

static void *set_and_clear(void *arg)
{
	struct setter *s = arg;

	for (uint64_t i = 0; i < 50 && !s->err; i++) {
		s->err = set(s->m, s->image + i % 3);
		if (!s->err)
			s->err = pfs_marks_clear(s->m, s->image + i % 3);
	}
	if (!s->err)
		s->err = set(s->m, s->image);
	return NULL;
}

static void threads_do_not_get_into_each_others_way(void)
{
	struct setter s[4];
	struct pfs_marks *m = settled();

	for (uint64_t i = 0; i < 4; i++) {
		s[i] = (struct setter){.m = m, .image = 100 * (i + 1)};
		CHECK_EQ(pthread_create(&s[i].thread, NULL, set_and_clear,
					&s[i]),
			 0);
	}
	CHECK_EQ(pfs_marks_rebind(m, uuid_a), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(s[i].thread, NULL);
		CHECK_EQ(s[i].err, 0);
	}

	m = reopened(m);
	CHECK(!all_dirty);
	CHECK_EQ(pfs_marks_found_list(m, NULL, 0), 4);
	for (uint64_t i = 0; i < 4; i++)
		CHECK(pfs_marks_found(m, 100 * (i + 1)));
	pfs_marks_close(m);
}

/* --- death -------------------------------------------------------------- */

/* Marks images 1, 2, ... and clears each odd one right after; reports what it
 * knows to be so. */
static void mark_for_ever(int fd)
{
	struct pfs_marks *m = must_open();

	for (uint64_t i = 1;; i++) {
		if (set(m, i) || (i % 2 && pfs_marks_clear(m, i)) ||
		    write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

static void what_was_reported_as_marked_is_found_after_a_kill(void)
{
	for (unsigned int round = 0; round < 10; round++) {
		uint64_t v, last = 0;
		struct pfs_marks *m;
		int fds[2];
		pid_t pid;

		pfs_marks_close(settled());
		CHECK_EQ(pipe(fds), 0);
		pid = fork();
		if (!pid)
			mark_for_ever(fds[1]);
		close(fds[1]);
		while (read(fds[0], &v, sizeof(v)) == sizeof(v)) {
			last = v;
			if (v == 5 + 7 * (uint64_t)round)
				kill(pid, SIGKILL);
		}
		close(fds[0]);
		waitpid(pid, NULL, 0);

		m = must_open();
		CHECK(!all_dirty && last >= 5);
		for (uint64_t i = 1; i <= last; i++)
			CHECK_EQ(pfs_marks_found(m, i), i % 2 == 0);
		pfs_marks_close(m);
	}
}

/* --- doubt -------------------------------------------------------------- */

static void expect_doubt_until_rebound(uint64_t marked)
{
	struct pfs_marks *m = must_open();

	CHECK(all_dirty);
	CHECK(pfs_marks_found(m, 424242)); /* any image counts as marked */
	CHECK_EQ(set(m, 50), 0);
	m = reopened(m);
	CHECK(all_dirty); /* one start does not end it */
	CHECK(pfs_marks_found(m, marked));

	CHECK_EQ(pfs_marks_rebind(m, uuid_b), 0);
	CHECK(!pfs_marks_found(m, 424242));
	pfs_marks_close(m);
	m = must_open_as(path, uuid_b);
	CHECK(!all_dirty);
	CHECK(pfs_marks_found(m, 50));
	CHECK(!pfs_marks_found(m, 424242));
	pfs_marks_close(m);
}

static struct pfs_marks *with_marks(void)
{
	struct pfs_marks *m = settled();

	for (uint64_t i = 1; i <= 20; i++)
		CHECK_EQ(set(m, i), 0);
	return m;
}

static void a_missing_file_could_have_held_any_mark(void)
{
	scratch_reset();
	expect_doubt_until_rebound(50);
}

static void a_truncated_file_could_have_held_any_mark(void)
{
	pfs_marks_close(with_marks());
	CHECK_EQ(truncate(path, 4096 + 512 * 10), 0);
	expect_doubt_until_rebound(3);

	pfs_marks_close(with_marks());
	CHECK_EQ(truncate(path, 100), 0);
	expect_doubt_until_rebound(50);
}

static void a_lost_sector_could_have_held_any_mark(void)
{
	static const uint8_t zeros[512];

	pfs_marks_close(with_marks());
	patch(4096 + 512 * 3, zeros, 512); /* set */
	expect_doubt_until_rebound(3);

	pfs_marks_close(with_marks());
	patch(4096 + 512 * 4000, zeros, 512); /* never used */
	expect_doubt_until_rebound(3);

	pfs_marks_close(with_marks());
	patch(0, zeros, 512);
	expect_doubt_until_rebound(3);
}

static void a_record_in_another_slot_is_damage(void)
{
	char sector[512];
	int fd;

	pfs_marks_close(with_marks());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_EQ(pread(fd, sector, 512, 4096 + 512 * 30), 512); /* clear */
	close(fd);
	patch(4096 + 512 * 3, sector, 512);
	expect_doubt_until_rebound(5);
}

static void a_torn_mark_is_damage(void)
{
	struct pfs_marks *m = with_marks();

	arm("mark.write:torn=100@1x1");
	CHECK_EQ(set(m, 21), 0); /* the disk lied */
	pfs_marks_close(m);
	expect_doubt_until_rebound(20);
}

static void no_flipped_bit_hides_a_mark(void)
{
	uint8_t head[4096 + 20 * 512]; /* with all that is set */
	uint64_t seed = 3;
	int fd;

	pfs_marks_close(with_marks());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_EQ(read(fd, head, sizeof(head)), (ssize_t)sizeof(head));
	close(fd);

	for (int i = 0; i < 60; i++) {
		struct pfs_marks *m;
		size_t at;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = (size_t)(seed >> 20) % ((size_t)21 * 512);
		at += at < 512 ? 0 : 4096 - 512;
		head[at] ^= (uint8_t)(1u << (seed >> 60 & 7));
		patch(0, head, sizeof(head));
		head[at] ^= (uint8_t)(1u << (seed >> 60 & 7));

		m = must_open();
		CHECK(all_dirty);
		for (uint64_t k = 1; k <= 20; k++)
			CHECK(pfs_marks_found(m, k));
		pfs_marks_close(m);
	}
}

/* --- other stores ------------------------------------------------------- */

static void marks_of_another_store_are_void(void)
{
	struct pfs_marks *m;

	pfs_marks_close(with_marks());
	m = must_open_as(path, uuid_b);
	CHECK(!all_dirty);
	CHECK(!pfs_marks_found(m, 3));
	CHECK_EQ(pfs_marks_count(m), 0);
	CHECK_EQ(set(m, 77), 0);
	pfs_marks_close(m);

	m = must_open_as(path, uuid_b);
	CHECK(!all_dirty);
	CHECK(pfs_marks_found(m, 77) && !pfs_marks_found(m, 3));
	pfs_marks_close(m);
}

static void a_rebind_that_failed_leaves_nothing_that_looks_clean(void)
{
	for (int n = 1; n <= 4; n++) {
		struct pfs_marks *m = with_marks();
		char spec[32];

		snprintf(spec, sizeof(spec), "mark.write:eio@%dx1", n);
		arm(spec);
		CHECK_EQ(pfs_marks_rebind(m, uuid_b), -EIO);
		pfs_fault_clear();

		m = reopened(m); /* as if the store had kept its uuid */
		CHECK(pfs_marks_found(m, 3) || n == 4);
		pfs_marks_close(m);
	}
}

int main(void)
{
	RUN(a_mark_is_found_at_the_next_open_until_it_is_cleared);
	RUN(the_file_is_private_and_has_its_full_size_from_the_start);
	RUN(marks_in_memory_need_no_file);
	RUN(marking_again_costs_no_write);
	RUN(there_is_room_for_so_many_and_cleared_ones_make_room);
	RUN(a_mark_that_is_late_says_so_and_may_still_come);
	RUN(a_failed_mark_is_an_error_and_is_written_when_asked_again);
	RUN(a_mark_whose_clearing_failed_counts_as_set);
	RUN(a_disk_that_fails_at_open_is_an_error);
	RUN(marks_that_wait_together_share_one_fdatasync);
	RUN(threads_do_not_get_into_each_others_way);
	RUN(what_was_reported_as_marked_is_found_after_a_kill);
	RUN(a_missing_file_could_have_held_any_mark);
	RUN(a_truncated_file_could_have_held_any_mark);
	RUN(a_lost_sector_could_have_held_any_mark);
	RUN(a_record_in_another_slot_is_damage);
	RUN(a_torn_mark_is_damage);
	RUN(no_flipped_bit_hides_a_mark);
	RUN(marks_of_another_store_are_void);
	RUN(a_rebind_that_failed_leaves_nothing_that_looks_clean);
	return CHECK_RESULT();
}
