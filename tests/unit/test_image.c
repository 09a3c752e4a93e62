/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fs/image.h: what must not wait for what, and the size under changes that run
 * at the same time.  A worker with a catalog in memory and a small
 * store; its data threads and its mount are not needed. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/log.h>

#include "child.h"
#include "events.h"
#include "image.h"
#include "inval.h"
#include "worker.h"

/* --- a worker ----------------------------------------------------------- */

struct fixture {
	struct worker *w;
	char dir[40], store[64], marks[64];
};

static void must(bool claim, const char *what)
{
	if (claim)
		return;
	perror(what);
	exit(2);
}

static void no_request(void *arg, void *buf, size_t len, int reply_fd)
{
	(void)arg;
	(void)buf;
	(void)len;
	(void)reply_fd;
}

static void quiet(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static void open_store(struct fixture *f)
{
	struct pfs_store_config cfg = {
		.path = f->store,
		.size = PFS_MIB(8),
		.chunk = PFS_CHUNK_MIN,
		.io = PFS_STORE_IO_BUFFERED,
		.verify = true,
		.catalog = f->w->catalog,
		.gens = &f->w->state->gens,
		.zone_saved = image_zone_saved,
		.arg = f->w,
	};

	must(pfs_store_open(&cfg, &f->w->store) == 0, "store");
}

static struct fixture started(void)
{
	struct fixture f = {.w = calloc(1, sizeof(*f.w))};
	struct pool_config pool = {.max_threads = 8,
				   .n_small = 4,
				   .n_big = 2,
				   .request = no_request};
	struct pfs_catalog_config catalog = {.path = NULL};
	uint8_t uuid[PFS_UUID_LEN];
	bool all_dirty;
	int fd;

	strcpy(f.dir, "/tmp/pfs-image-XXXXXX");
	must(f.w && mkdtemp(f.dir), "set up");
	(void)snprintf(f.store, sizeof(f.store), "%s/store", f.dir);
	(void)snprintf(f.marks, sizeof(f.marks), "%s/marks", f.dir);
	f.w->opt.source = strdup(f.dir);
	must(state_create(&fd) == 0 && state_map(fd, &f.w->state) == 0,
	     "state");
	close(fd);
	must(pool_create(&pool, &f.w->pool) == 0, "pool");
	must(events_create(&f.w->events) == 0, "events");
	must(pfs_catalog_open(&catalog, &f.w->catalog_state, &f.w->catalog) ==
		     0,
	     "catalog");
	pfs_catalog_store_uuid(f.w->catalog, uuid);
	must(pfs_marks_open(f.marks, uuid, &all_dirty, &f.w->marks) == 0,
	     "marks");
	must(image_table_create(f.w) == 0, "images");
	return f;
}

static struct fixture started_with_store(void)
{
	struct fixture f = started();

	open_store(&f);
	return f;
}

static void ended(struct fixture *f)
{
	pfs_fault_clear();
	pool_destroy(f->w->pool);
	image_table_destroy(f->w);
	pfs_store_close(f->w->store);
	pfs_marks_close(f->w->marks);
	pfs_catalog_close(f->w->catalog);
	events_destroy(f->w->events);
	state_unmap(f->w->state);
	options_fini(&f->w->opt);
	free(f->w);
	unlink(f->store);
	unlink(f->marks);
	rmdir(f->dir);
}

static void arm(const char *spec)
{
	CHECK_EQ(pfs_fault_arm(spec, NULL), 0);
}

static uint32_t n_paused(enum pfs_fault_point p)
{
	uint32_t n = 0;
	uint64_t n_fired;

	pfs_fault_stat(p, &n, &n_fired);
	return n;
}

static uint64_t counter(enum pfs_counter which)
{
	uint64_t sums[PFS_C_N];

	pfs_counters_read(sums);
	return sums[which];
}

/* --- image files -------------------------------------------------------- */

/* A file without a name: images are told apart by inode. */
static int file(const struct fixture *f, off_t size)
{
	int fd = open(f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	must(fd >= 0 && ftruncate(fd, size) == 0, "O_TMPFILE");
	return fd;
}

static struct image *must_get(struct fixture *f, int fd, const char *name)
{
	struct image *img = NULL;

	CHECK_EQ(image_get(f->w, fd, name, &img), 0);
	if (!img)
		abort();
	return img;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0, "fstat");
	return (uint64_t)st.st_size;
}

static void write_at(struct image *img, int fd, uint64_t off)
{
	struct image_mutation m;

	image_mutate_begin(img, off, 4, &m);
	CHECK_EQ(pwrite(fd, "data", 4, (off_t)off), 4);
	image_mutate_end(img, &m, "data", 4);
}

static void truncate_to(struct image *img, int fd, uint64_t size)
{
	struct image_mutation m;

	image_mutate_begin(img, size, UINT64_MAX, &m);
	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	image_mutate_end(img, &m, NULL, 0);
}

static int copy_info(void *arg, const struct image_info *info)
{
	*(struct image_info *)arg = *info;
	return 1;
}

/* Of the only image in use. */
static struct image_info info_of(struct fixture *f)
{
	static struct image_info info;

	info = (struct image_info){0};
	(void)image_each(f->w, copy_info, &info);
	return info;
}

/* --- size --------------------------------------------------------------- */

static void the_size_is_what_the_file_says(void)
{
	struct fixture f = started();
	int fd = file(&f, 100);
	struct image *img = must_get(&f, fd, "disk");

	CHECK_EQ(image_size(img), 100);
	write_at(img, fd, 50);
	CHECK_EQ(image_size(img), 100);
	write_at(img, fd, 98);
	CHECK_EQ(image_size(img), 102);
	truncate_to(img, fd, 10);
	CHECK_EQ(image_size(img), 10);
	image_put(img);
	close(fd);
	ended(&f);
}

static void of_two_changes_at_once_the_size_is_that_of_the_later_call(void)
{
	struct fixture f = started();
	int fd = file(&f, 100);
	struct image *img = must_get(&f, fd, "disk");
	struct image_mutation m;

	image_mutate_begin(img, 200, 4, &m);
	CHECK_EQ(pwrite(fd, "data", 4, 200), 4);
	truncate_to(img, fd, 8);
	image_mutate_end(img, &m, "data", 4);
	CHECK_EQ(image_size(img), 8);

	image_mutate_begin(img, 4, UINT64_MAX, &m);
	CHECK_EQ(ftruncate(fd, 4), 0);
	write_at(img, fd, 50);
	image_mutate_end(img, &m, NULL, 0);
	CHECK_EQ(image_size(img), 54);
	image_put(img);
	close(fd);
	ended(&f);
}

struct race {
	struct image *img;
	int fd;
	int n;
	pthread_barrier_t start, end;
};

static void *truncate_again_and_again(void *arg)
{
	struct race *r = arg;

	for (int i = 0; i < r->n; i++) {
		pthread_barrier_wait(&r->start);
		truncate_to(r->img, r->fd, 8);
		pthread_barrier_wait(&r->end);
	}
	return NULL;
}

/* As through two hard links: the kernel keeps calls on one node apart. */
static void growing_and_truncating_at_once_leave_the_size_of_the_file(void)
{
	struct fixture f = started();
	struct race r = {.fd = file(&f, 100), .n = 4000};
	pthread_t thread;

	r.img = must_get(&f, r.fd, "disk");
	pthread_barrier_init(&r.start, NULL, 2);
	pthread_barrier_init(&r.end, NULL, 2);
	CHECK_EQ(pthread_create(&thread, NULL, truncate_again_and_again, &r),
		 0);
	for (int i = 0; i < r.n; i++) {
		pthread_barrier_wait(&r.start);
		write_at(r.img, r.fd, (uint64_t)(i % 3) * 50);
		pthread_barrier_wait(&r.end);
		CHECK_EQ(image_size(r.img), size_of(r.fd));
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&r.start);
	pthread_barrier_destroy(&r.end);
	image_put(r.img);
	close(r.fd);
	ended(&f);
}

/* --- write sessions ----------------------------------------------------- */

static void *close_writer(void *img)
{
	image_writer_closed(img);
	return NULL;
}

static pthread_t start_closing(struct image *img)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, close_writer, img) == 0, "thread");
	return thread;
}

static void a_session_is_marked_until_its_last_writer_has_closed(void)
{
	struct fixture f = started_with_store();
	int fd = file(&f, PFS_MIB(1));
	struct image *img = must_get(&f, fd, "disk");

	image_writer_opened(img);
	CHECK(!info_of(&f).is_marked);
	write_at(img, fd, 0);
	CHECK(info_of(&f).is_marked);
	CHECK_EQ(pfs_marks_count(f.w->marks), 1);
	image_writer_closed(img);
	CHECK(!info_of(&f).is_marked);
	CHECK_EQ(pfs_marks_count(f.w->marks), 0);
	image_put(img);
	close(fd);
	ended(&f);
}

static void a_write_does_not_wait_for_the_session_before_to_be_saved(void)
{
	struct fixture f = started_with_store();
	int fd = file(&f, PFS_MIB(1));
	struct image *img = must_get(&f, fd, "disk");
	pthread_t thread;

	image_writer_opened(img);
	write_at(img, fd, 0);
	arm("source.fsync:pause");
	thread = start_closing(img);
	CHECK(EVENTUALLY(n_paused(PFS_FP_SOURCE_FSYNC) == 1));

	image_writer_opened(img);
	write_at(img, fd, 4096); /* hangs here if it waits */
	CHECK(!info_of(&f).is_expelled);
	pfs_fault_resume(PFS_FP_SOURCE_FSYNC);
	pthread_join(thread, NULL);

	/* What was written last was not synced: the mark has stayed. */
	CHECK(info_of(&f).is_marked);
	CHECK_EQ(pfs_marks_count(f.w->marks), 1);
	image_writer_closed(img);
	CHECK(!info_of(&f).is_marked);
	image_put(img);
	close(fd);
	ended(&f);
}

static void a_mark_that_cannot_be_had_in_50_ms_costs_the_image_its_chunks(void)
{
	struct fixture f = started_with_store();
	int fd = file(&f, PFS_MIB(1));
	struct image *img = must_get(&f, fd, "disk");
	uint64_t late = counter(PFS_C_MARK_LATE), took;
	pthread_t thread;

	image_writer_opened(img);
	write_at(img, fd, 0);
	/* At the end of the session, in the very clearing of the mark. */
	arm("mark.write:pause");
	thread = start_closing(img);
	CHECK(EVENTUALLY(n_paused(PFS_FP_MARK_WRITE) == 1));

	took = pfs_now_ns();
	write_at(img, fd, 4096);
	took = pfs_now_ns() - took;

	CHECK(took >= 40 * PFS_NSEC_PER_MSEC && took < 5 * PFS_NSEC_PER_SEC);
	CHECK(info_of(&f).is_expelled);
	CHECK_EQ(counter(PFS_C_MARK_LATE), late + 1);
	write_at(img, fd, 8192); /* now without waiting */
	CHECK_EQ(counter(PFS_C_MARK_LATE), late + 1);
	pfs_fault_resume(PFS_FP_MARK_WRITE);
	pthread_join(thread, NULL);
	image_put(img);
	close(fd);
	ended(&f);
}

static void a_session_whose_end_failed_is_ended_later(void)
{
	struct fixture f = started_with_store();
	int fd = file(&f, PFS_MIB(1));
	struct image *img = must_get(&f, fd, "disk");

	image_writer_opened(img);
	write_at(img, fd, 0);
	arm("source.fsync:eio@1x1");
	image_writer_closed(img);
	CHECK(info_of(&f).is_marked);

	image_retry_sessions(f.w);

	CHECK(EVENTUALLY(pfs_marks_count(f.w->marks) == 0));
	CHECK(!info_of(&f).is_marked);
	image_put(img);
	close(fd);
	ended(&f);
}

/* --- coming into use ---------------------------------------------------- */

struct getter {
	struct fixture *f;
	int fd;
	struct image *img;
	int err;
	pthread_t thread;
	_Atomic bool is_done;
};

static void *get(void *arg)
{
	struct getter *g = arg;

	g->err = image_get(g->f->w, g->fd, "slow", &g->img);
	atomic_store(&g->is_done, true);
	return NULL;
}

static void start_getting(struct getter *g, struct fixture *f, int fd)
{
	*g = (struct getter){.f = f, .fd = fd};
	must(pthread_create(&g->thread, NULL, get, g) == 0, "thread");
}

static void an_image_slow_to_open_holds_up_none_but_its_own_openers(void)
{
	struct fixture f = started_with_store();
	int slow = file(&f, PFS_MIB(1)), fast = file(&f, PFS_MIB(2));
	struct getter first, second;
	struct image *other;

	arm("source.meta:pause@1x1");
	start_getting(&first, &f, slow);
	CHECK(EVENTUALLY(n_paused(PFS_FP_SOURCE_META) == 1));
	start_getting(&second, &f, slow);

	other = must_get(&f, fast, "fast"); /* hangs here if it waits */
	CHECK_EQ(image_size(other), PFS_MIB(2));
	CHECK_EQ(info_of(&f).size, PFS_MIB(2)); /* the only one to be seen */
	image_unload_unused(f.w, true);
	image_revalidate_some(f.w);
	image_retry_sessions(f.w);
	CHECK(!first.is_done && !second.is_done);
	pfs_fault_resume(PFS_FP_SOURCE_META);
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);

	CHECK(!first.err && !second.err && first.img == second.img);
	CHECK_EQ(image_size(first.img), PFS_MIB(1));
	image_put(first.img);
	image_put(second.img);
	image_put(other);
	close(slow);
	close(fast);
	ended(&f);
}

static void an_image_that_cannot_be_opened_leaves_nothing_behind(void)
{
	struct fixture f = started();
	int fd = file(&f, 100);

	for (int i = 0; i < 100; i++) {
		struct getter first, second;

		arm("source.meta:eio@1x1");
		start_getting(&first, &f, fd);
		start_getting(&second, &f, fd);
		pthread_join(first.thread, NULL);
		pthread_join(second.thread, NULL);
		pfs_fault_clear();

		/* Whether the other waited for it or came after it. */
		CHECK(first.err == -EIO || second.err == -EIO);
		if (!first.err)
			image_put(first.img);
		if (!second.err)
			image_put(second.img);
		image_put(must_get(&f, fd, "slow"));
		CHECK(!info_of(&f).size);
		image_unload_unused(f.w, true);
	}
	close(fd);
	ended(&f);
}

int main(void)
{
	pfs_fault_enable();
	pfs_log_set_sink(quiet, NULL);
	RUN(the_size_is_what_the_file_says);
	RUN(of_two_changes_at_once_the_size_is_that_of_the_later_call);
	RUN(growing_and_truncating_at_once_leave_the_size_of_the_file);
	RUN(a_session_is_marked_until_its_last_writer_has_closed);
	RUN(a_write_does_not_wait_for_the_session_before_to_be_saved);
	RUN(a_mark_that_cannot_be_had_in_50_ms_costs_the_image_its_chunks);
	RUN(a_session_whose_end_failed_is_ended_later);
	RUN(an_image_slow_to_open_holds_up_none_but_its_own_openers);
	RUN(an_image_that_cannot_be_opened_leaves_nothing_behind);
	return CHECK_RESULT();
}
