/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <sys/mman.h>

#include <pfs/clock.h>
#include <pfs/io.h>

#include "check.h"
#include "child.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

/* A file in memory that holds "0123456789". */
static int ten_bytes(void)
{
	int fd = memfd_create("ten", MFD_CLOEXEC);

	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		abort();
	return fd;
}

static const char *text_of(int fd)
{
	static char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static void a_read_across_the_end_of_a_file_returns_what_there_is(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	char buf[16] = "";

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 16, 6), 4);
	CHECK_STR(buf, "6789");
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 16, 10), 0);
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 16, 1000), 0);
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 0, 0), 0);
}

static void offsets_beyond_what_a_file_can_have_are_refused(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	char buf[1] = "x";

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 1, 1ull << 63),
		 -EINVAL);
	CHECK(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, buf, 1, INT64_MAX) < 0);
	CHECK_EQ(pfs_io_ftruncate(PFS_FP_SOURCE_WRITE, fd, 1ull << 63),
		 -EINVAL);
	CHECK_EQ(pfs_io_fallocate(PFS_FP_SOURCE_WRITE, fd, 0, 0, 1ull << 63),
		 -EINVAL);
	CHECK_STR(text_of(fd), "0123456789");
}

static void a_direct_read_stops_at_the_end_inside_a_sector(void)
{
	char path[] = "pfs-test-XXXXXX";
	PFS_AUTO_FD out = mkstemp(path);
	PFS_AUTO_FD fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	PFS_AUTO_FREE void *buf = aligned_alloc(4096, 16384);

	unlink(path);
	CHECK_EQ(ftruncate(out, 5000), 0);
	if (fd < 0) {
		fprintf(stderr, "note: no O_DIRECT here, case left out\n");
		return;
	}

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 16384, 0), 5000);
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 16384, 4096), 904);
}

static void errors_of_the_system_come_back_negative(void)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
	char buf[4] = "abc";

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, -1, buf, 4, 0), -EBADF);
	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, -1, buf, 4, 0), -EBADF);
	CHECK_EQ(pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, -1), -EBADF);
	CHECK_EQ(pfs_io_fsync(PFS_FP_SOURCE_FSYNC, -1), -EBADF);
	CHECK_EQ(pfs_io_openat2(PFS_FP_SOURCE_OPEN, AT_FDCWD, "/nowhere/at/all",
				&how),
		 -ENOENT);
}

static void a_write_puts_every_byte_where_it_belongs(void)
{
	PFS_AUTO_FD fd = ten_bytes();

	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, "abcd", 4, 8), 4);

	CHECK_STR(text_of(fd), "01234567abcd");
	CHECK_EQ(pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, fd), 0);
	CHECK_EQ(pfs_io_fsync(PFS_FP_SOURCE_FSYNC, fd), 0);
	CHECK_EQ(pfs_io_ftruncate(PFS_FP_SOURCE_WRITE, fd, 3), 0);
	CHECK_STR(text_of(fd), "012");
}

static void a_hole_is_punched_by_fallocate(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	char buf[10];

	CHECK_EQ(pfs_io_fallocate(PFS_FP_SOURCE_WRITE, fd,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2,
				  3),
		 0);

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 0), 10);
	CHECK(!memcmp(buf,
		      "01\0\0\0"
		      "56789",
		      10));
}

static void openat2_does_not_leave_the_folder(void)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH};
	PFS_AUTO_FD root = open("/proc/self", O_PATH | O_CLOEXEC);
	int inside = pfs_io_openat2(PFS_FP_SOURCE_OPEN, root, "status", &how);

	CHECK(inside >= 0);
	pfs_fd_done(&inside);
	CHECK_EQ(pfs_io_openat2(PFS_FP_SOURCE_OPEN, root, "../stat", &how),
		 -EXDEV);
	CHECK_EQ(pfs_io_openat2(PFS_FP_SOURCE_OPEN, root, "/proc/stat", &how),
		 -EXDEV);
}

static void armed_errors_reach_the_caller_and_nothing_is_done(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
	char buf[10];

	arm("source.read:eiox1,source.write:enospc,source.fsync:eio,"
	    "source.open:eacces");

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 0), -EIO);
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 0), 10);
	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, "ab", 2, 0), -ENOSPC);
	CHECK_EQ(pfs_io_ftruncate(PFS_FP_SOURCE_WRITE, fd, 1), -ENOSPC);
	CHECK_EQ(pfs_io_fallocate(PFS_FP_SOURCE_WRITE, fd, 0, 0, 20), -ENOSPC);
	CHECK_EQ(pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, fd), -EIO);
	CHECK_EQ(pfs_io_fsync(PFS_FP_SOURCE_FSYNC, fd), -EIO);
	CHECK_EQ(pfs_io_openat2(PFS_FP_SOURCE_OPEN, AT_FDCWD, "/", &how),
		 -EACCES);
	CHECK_STR(text_of(fd), "0123456789");
	pfs_fault_clear();
}

static void a_short_read_ends_early(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	char buf[10] = "";

	arm("source.read:short=3");

	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 0), 3);
	CHECK_STR(buf, "012");
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 2, 0), 2);
	pfs_fault_clear();
}

static void a_short_write_leaves_its_beginning_and_fails(void)
{
	PFS_AUTO_FD fd = ten_bytes();

	arm("source.write:short=3");

	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, "abcdef", 6, 1),
		 -ENOSPC);
	CHECK_STR(text_of(fd), "0abc456789");
	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, "xyz", 3, 0), 3);
	CHECK_STR(text_of(fd), "xyzc456789");
	pfs_fault_clear();
}

static void a_torn_write_keeps_its_beginning_and_claims_success(void)
{
	PFS_AUTO_FD fd = ten_bytes();

	arm("store.write:torn=2");

	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, "abcdef", 6, 0), 6);
	CHECK_STR(text_of(fd), "ab23456789");
	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, "XYZ", 1, 5), 1);
	CHECK_STR(text_of(fd), "ab234X6789");
	pfs_fault_clear();
}

static void a_lost_write_or_sync_does_nothing_and_claims_success(void)
{
	PFS_AUTO_FD fd = ten_bytes();

	arm("store.write:lost,source.fsync:lost");

	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, "abcdef", 6, 0), 6);
	CHECK_EQ(pfs_io_ftruncate(PFS_FP_STORE_WRITE, fd, 2), 0);
	CHECK_EQ(pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, -1), 0);
	CHECK_STR(text_of(fd), "0123456789");
	pfs_fault_clear();
}

/* The writer's buffer and descriptor are gone by the time it lands. */
static void a_late_write_lands_after_success_was_claimed(void)
{
	PFS_AUTO_FD look = ten_bytes();
	uint64_t start = pfs_now_ns();
	int fd = dup(look);
	char buf[] = "abcdef";

	arm("store.write:late=50x1");
	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, buf, 6, 4), 6);
	memset(buf, '!', sizeof(buf));
	close(fd);

	CHECK_STR(text_of(look), "0123456789");
	CHECK(EVENTUALLY(!strcmp(text_of(look), "0123abcdef")));
	CHECK(pfs_now_ns() - start >= 50 * PFS_NSEC_PER_MSEC);
	pfs_fault_clear();
}

static void late_writes_can_land_in_another_order(void)
{
	PFS_AUTO_FD fd = ten_bytes();

	arm("store.write:late=50x1");
	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, "first", 5, 0), 5);
	CHECK_EQ(pfs_io_pwrite(PFS_FP_STORE_WRITE, fd, "later", 5, 0), 5);

	CHECK_STR(text_of(fd), "later56789");
	CHECK(EVENTUALLY(!strcmp(text_of(fd), "first56789")));
	pfs_fault_clear();
}

static void a_stalled_call_is_done_after_its_time(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	uint64_t start = pfs_now_ns();
	char buf[10] = "";

	arm("source.read:stall=20,source.write:stall=20,source.fsync:stall=20,"
	    "source.open:stall=20");
	CHECK_EQ(pfs_io_pwrite(PFS_FP_SOURCE_WRITE, fd, "ab", 2, 0), 2);
	CHECK(pfs_now_ns() - start >= 20 * PFS_NSEC_PER_MSEC);
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 2, 0), 2);
	CHECK(pfs_now_ns() - start >= 40 * PFS_NSEC_PER_MSEC);
	CHECK_EQ(pfs_io_fsync(PFS_FP_SOURCE_FSYNC, fd), 0);
	CHECK(pfs_now_ns() - start >= 60 * PFS_NSEC_PER_MSEC);
	CHECK_EQ(pfs_fault_check(PFS_FP_SOURCE_OPEN), 0);
	CHECK(pfs_now_ns() - start >= 80 * PFS_NSEC_PER_MSEC);

	CHECK_STR(buf, "ab");
	pfs_fault_clear();
}

static void a_flip_inverts_exactly_one_bit_of_what_is_read(void)
{
	PFS_AUTO_FD fd = ten_bytes();
	int n_bits = 0;
	char buf[10];

	arm("source.read:flip");
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 0), 10);
	for (int i = 0; i < 10; i++)
		n_bits += __builtin_popcount(
			(unsigned char)(buf[i] ^ "0123456789"[i]));

	CHECK_EQ(n_bits, 1);
	CHECK_STR(text_of(fd), "0123456789");
	memset(buf, 'x', sizeof(buf));
	CHECK_EQ(pfs_io_pread(PFS_FP_SOURCE_READ, fd, buf, 10, 99), 0);
	CHECK(!memcmp(buf, "xxxxxxxxxx", 10)); /* nothing read, no flip */
	pfs_fault_clear();
}

static void the_nth_allocation_can_be_made_to_fail(void)
{
	bool locked = true;
	void *mem;

	arm("alloc:enomem@2x2");

	mem = pfs_zalloc(3, 5);
	CHECK(mem);
	CHECK(!pfs_zalloc(3, 5));
	CHECK(!pfs_pages_alloc(4096, false, &locked));
	free(mem);
	mem = pfs_zalloc(3, 5);
	CHECK(mem && !memcmp(mem, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15));
	free(mem);
	pfs_fault_clear();
}

static void pages_are_aligned_zeroed_and_there(void)
{
	unsigned char there[4] = {0};
	bool locked = true;
	char *mem = pfs_pages_alloc(16384, false, &locked);

	CHECK(mem && !((uintptr_t)mem % 4096));
	if (!mem)
		return;
	CHECK(!locked);
	CHECK_EQ(mincore(mem, 16384, there), 0);
	CHECK(there[0] & there[3] & 1);
	CHECK(!mem[0] && !memcmp(mem, mem + 1, 16383));
	pfs_pages_free(mem, 16384);
	pfs_pages_free(NULL, 16384);
}

/* The sanitizers turn mlock() into nothing, so there is nothing to see. */
#ifndef SANITIZED
/* What the kernel says this process has locked. */
static long locked_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmLck:", 6))
			kib = strtol(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static void pages_said_to_be_locked_are_locked(void)
{
	long before = locked_kib();
	bool locked = false;
	void *mem = pfs_pages_alloc(16384, true, &locked);

	CHECK(mem);
	CHECK_EQ(locked_kib() - before, locked ? 16 : 0);
	pfs_pages_free(mem, 16384);
}

/* Exits 0 if pages come unlocked, rather than not at all. */
static void lock_without_a_limit(void)
{
	bool locked = true;

	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0});
	if (!geteuid() && setresuid(65534, 65534, 65534))
		_exit(2);
	if (!pfs_pages_alloc(16384, true, &locked) || locked)
		_exit(1);
}

static void pages_come_unlocked_when_the_limit_forbids_locking(void)
{
	char said[64];

	CHECK_EQ(in_child(lock_without_a_limit, said, sizeof(said)), 0);
}
#endif

int main(void)
{
	pfs_fault_enable();
	RUN(a_read_across_the_end_of_a_file_returns_what_there_is);
	RUN(offsets_beyond_what_a_file_can_have_are_refused);
	RUN(a_direct_read_stops_at_the_end_inside_a_sector);
	RUN(errors_of_the_system_come_back_negative);
	RUN(a_write_puts_every_byte_where_it_belongs);
	RUN(a_hole_is_punched_by_fallocate);
	RUN(openat2_does_not_leave_the_folder);
	RUN(armed_errors_reach_the_caller_and_nothing_is_done);
	RUN(a_short_read_ends_early);
	RUN(a_short_write_leaves_its_beginning_and_fails);
	RUN(a_torn_write_keeps_its_beginning_and_claims_success);
	RUN(a_lost_write_or_sync_does_nothing_and_claims_success);
	RUN(a_late_write_lands_after_success_was_claimed);
	RUN(late_writes_can_land_in_another_order);
	RUN(a_stalled_call_is_done_after_its_time);
	RUN(a_flip_inverts_exactly_one_bit_of_what_is_read);
	RUN(the_nth_allocation_can_be_made_to_fail);
	RUN(pages_are_aligned_zeroed_and_there);
#ifndef SANITIZED
	RUN(pages_said_to_be_locked_are_locked);
	RUN(pages_come_unlocked_when_the_limit_forbids_locking);
#endif
	return CHECK_RESULT();
}
