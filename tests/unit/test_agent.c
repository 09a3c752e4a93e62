/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parts of pfs-agent that need no kernel to answer: its budget, tracepoint
 * records, options, and which extents are told. */
#include <pfs/log.h>

#include "budget.h"
#include "check.h"
#include "hot_look.h"
#include "options.h"
#include "tracepoint.h"

#define SEC PFS_NSEC_PER_SEC
#define MSEC PFS_NSEC_PER_MSEC

/* --- budget --- */

static void what_costs_too_much_is_halved(void)
{
	struct budget b = {.limit_ppm = 5000};

	budget_note(&b, 6 * MSEC, SEC);
	CHECK_EQ(budget_samples(&b, 256), 128);
	CHECK_EQ(budget_stretch(&b, SEC), SEC);
	for (int i = 0; i < 100; i++)
		budget_note(&b, 6 * MSEC, SEC);
	CHECK_EQ(b.level, BUDGET_LEVELS - 1);
	CHECK_EQ(budget_samples(&b, 256), 8);
	CHECK(budget_stretch(&b, SEC) > 4 * SEC);
}

static void a_calm_time_brings_samples_back(void)
{
	struct budget b = {.limit_ppm = 5000, .level = 2};

	for (uint32_t i = 0; i < BUDGET_CALM - 1; i++)
		budget_note(&b, MSEC, SEC);
	CHECK_EQ(b.level, 2);
	budget_note(&b, MSEC, SEC);
	CHECK_EQ(b.level, 1);
	/* Near the limit it stays as it is. */
	for (uint32_t i = 0; i < 3 * BUDGET_CALM; i++)
		budget_note(&b, 4 * MSEC, SEC);
	CHECK_EQ(b.level, 1);
}

/* A guest whose samples cost 2 % of a CPU settles below the limit. */
static void the_budget_is_kept(void)
{
	struct budget b = {.limit_ppm = 5000};
	uint64_t spent = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t cpu = 20 * MSEC * budget_samples(&b, 256) / 256;

		spent += cpu;
		budget_note(&b, cpu, SEC);
	}
	CHECK(spent < 5 * MSEC * 1000);
}

/* --- tracepoints --- */

static const char format[] =
	"name: block_rq_issue\nID: 2104\nformat:\n"
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
	"\tfield:dev_t dev;\toffset:8;\tsize:4;\tsigned:0;\n"
	"\tfield:sector_t sector;\toffset:16;\tsize:8;\tsigned:0;\n"
	"\tfield:char rwbs[10];\toffset:34;\tsize:10;\tsigned:0;\n"
	"\nprint fmt: \"%d,%d %s\", REC->dev, REC->sector\n";

static void fields_are_found_by_name(void)
{
	uint8_t record[64] = {0};

	record[9] = 1;
	record[16] = 7;
	record[34] = 'R';

	CHECK_EQ(tp_get(tp_find(format, "dev"), record, 64), 256);
	CHECK_EQ(tp_get(tp_find(format, "sector"), record, 64), 7);
	CHECK_EQ(tp_get(tp_find(format, "rwbs"), record, 64), 'R');
	CHECK_EQ(tp_find(format, "order").len, 0);
	CHECK_EQ(tp_find(format, "ev").len, 0);
	CHECK_EQ(tp_get(tp_find(format, "order"), record, 64), 0);
	CHECK_EQ(tp_get(tp_find(format, "sector"), record, 23), 0);
	CHECK_EQ(tp_find("field:int dev;", "dev").len, 0);
	CHECK_EQ(tp_find("", "dev").len, 0);
}

/* --- extents --- */

static const struct disks disks = {
	.n = 1,
	.n_parts = 2,
	.bytes = {PFS_GIB(1)},
	.part = {{.dev = 100, .len = PFS_GIB(1)},
		 {.dev = 101, .start = PFS_MIB(1), .len = PFS_MIB(100)}},
};
static const struct mounts mounts;
static struct hot h;

static void find(uint64_t off, uint32_t len)
{
	hot_found(&h,
		  &(struct pfs_vector_extent){
			  .off = off, .len = len, .kind = PFS_EXTENT_OPEN},
		  SEC);
}

static void was_read(uint64_t off, uint64_t len, uint64_t now)
{
	hot_record(&h, &(struct perf_record){.kind = PERF_BLOCK,
					     .dev = 100,
					     .off = off,
					     .len = len,
					     .time_ns = now});
}

static void what_was_just_read_is_not_told(void)
{
	struct pfs_vector v = {0};

	hot_init(&h, &disks, &mounts);
	find(0, 8192);
	find(65536, 8192);
	find(131072, 8192);
	was_read(65536, 4096, 10 * SEC);
	was_read(131072, 4096, 10 * SEC);
	was_read(135168, 65536, 10 * SEC);
	hot_take(&h, 10 * SEC + SEC / 2, &v);

	CHECK_EQ(v.n_extents, 2);
	CHECK_EQ(v.extent[0].off, 0);
	CHECK_EQ(v.extent[0].age_ms, 9500);
	CHECK_EQ(v.extent[1].off, 65536 + 4096);
	CHECK_EQ(v.extent[1].len, 4096);
}

static void what_was_read_long_ago_is_told(void)
{
	struct pfs_vector v = {0};

	hot_init(&h, &disks, &mounts);
	was_read(0, 8192, 10 * SEC);
	find(0, 8192);
	hot_take(&h, 11 * SEC + 1, &v);
	CHECK_EQ(v.n_extents, 1);
	CHECK_EQ(v.extent[0].len, 8192);
	/* Once. */
	hot_take(&h, 11 * SEC + 2, &v);
	CHECK_EQ(v.n_extents, 0);
}

static void neighbours_become_one_extent(void)
{
	struct pfs_vector v = {0};

	hot_init(&h, &disks, &mounts);
	for (uint32_t i = 0; i < 40; i++)
		find(4096ull * i, 4096);
	hot_take(&h, 2 * SEC, &v);
	CHECK_EQ(v.n_extents, 1);
	CHECK_EQ(v.extent[0].len, 40 * 4096);
	for (uint32_t i = 0; i < 40; i++)
		find(8192ull * i, 4096);
	hot_take(&h, 2 * SEC, &v);
	CHECK_EQ(v.n_extents, PFS_VECTOR_EXTENTS);
	CHECK_EQ(h.n_dropped, 40 - PFS_VECTOR_EXTENTS);
}

static void insert(uint64_t page, uint64_t n_pages, uint64_t now)
{
	hot_record(&h, &(struct perf_record){.kind = PERF_INSERT,
					     .dev = 101,
					     .ino = 5,
					     .page = page,
					     .n_pages = n_pages,
					     .time_ns = now});
}

static const struct hot_file *file(void)
{
	return hot_by_ino(&h, 101, 5);
}

static void a_file_read_in_order_becomes_due(void)
{
	hot_init(&h, &disks, &mounts);
	for (uint64_t i = 0; i < 63; i++)
		insert(i, 1, SEC);
	CHECK(!file()->is_due);
	insert(63, 16, SEC);
	CHECK(file()->is_due);
	CHECK_EQ(file()->kind, PFS_EXTENT_AHEAD);
	CHECK_EQ(file()->at, 79 * 4096);
}

static void pages_here_and_there_do_not(void)
{
	hot_init(&h, &disks, &mounts);
	for (uint64_t i = 0; i < 500; i++)
		insert(i * 7919 % 100000, 1, SEC);
	CHECK(!file()->is_due);
}

static void a_page_that_comes_back_is_a_refault(void)
{
	hot_init(&h, &disks, &mounts);
	insert(1000, 1, 10 * SEC);
	CHECK(!file()->is_due);
	insert(5000, 1, 11 * SEC);
	insert(1000, 1, 12 * SEC);
	CHECK(file()->is_due);
	CHECK_EQ(file()->kind, PFS_EXTENT_REFAULT);
}

static void files_elsewhere_are_left_alone(void)
{
	hot_init(&h, &disks, &mounts);
	hot_record(&h, &(struct perf_record){.kind = PERF_INSERT,
					     .dev = 7, /* a tmpfs */
					     .ino = 5,
					     .n_pages = 512,
					     .time_ns = SEC});
	CHECK(!hot_by_ino(&h, 7, 5));
	/* It is due, but nothing of that name is there. */
	insert(0, 100, SEC);
	CHECK_EQ(hot_look(&h, 10, SEC), 1);
	CHECK(!file()->is_due);
	CHECK_EQ(h.n_found, 0);
}

static void what_was_told_is_not_looked_up_again(void)
{
	const struct mount m = {.dev = 101};
	struct opens_handle handle = {.len = 8, .bytes = {1, 2, 3}};

	hot_init(&h, &disks, &mounts);
	hot_opened(&h, &m, &handle, false, SEC);
	hot_opened(&h, &m, &handle, true, SEC);
	CHECK_EQ(h.file[0].kind, PFS_EXTENT_EXEC);
	hot_opened(&h, &m, &handle, false, SEC);
	CHECK_EQ(h.file[0].kind, PFS_EXTENT_EXEC);
	hot_looked(&h, &h.file[0], true, SEC);
	h.file[0].is_due = false;
	hot_opened(&h, &m, &handle, false, 30 * SEC);
	CHECK(!h.file[0].is_due);
	hot_opened(&h, &m, &handle, false, 32 * SEC);
	CHECK(h.file[0].is_due);
	CHECK_EQ(h.file[1].used_ns, 0);
}

/* --- options --- */

static int options(struct options *o, const char *name, const char *value)
{
	char *argv[] = {(char *)"pfs-agent", (char *)name, (char *)value, NULL};

	return options_read(o, value ? 3 : 2, argv);
}

static void values_are_read_to_the_letter(void)
{
	struct options o;

	CHECK_EQ(options(&o, "--budget", "0.25"), 0);
	CHECK_EQ(o.budget_ppm, 2500);
	CHECK_EQ(options(&o, "--budget", "1.5"), 0);
	CHECK_EQ(o.budget_ppm, 15000);
	CHECK_EQ(options(&o, "--budget", "100"), 0);
	CHECK_EQ(options(&o, "--vsock", "3:99"), 0);
	CHECK_EQ(o.host.u.vm.svm_cid, 3);
	CHECK_EQ(o.host.u.vm.svm_port, 99);
	CHECK_EQ(options(&o, "--without", "damon,opens"), 0);
	CHECK_EQ(o.unwanted, PFS_SIGNAL_DAMON | PFS_SIGNAL_OPENS);
	CHECK_EQ(options(&o, "--once", NULL), 0);
	CHECK(o.once);

	CHECK_EQ(options(&o, "--budget", "1."), -EINVAL);
	CHECK_EQ(options(&o, "--budget", "1.234"), -EINVAL);
	CHECK_EQ(options(&o, "--budget", "-1"), -EINVAL);
	CHECK_EQ(options(&o, "--interval", "99999999999"), -EINVAL);
	CHECK_EQ(options(&o, "--vsock", "2:"), -EINVAL);
	CHECK_EQ(options(&o, "--without", "damon,opens,x"), -EINVAL);
}

static void say_nothing(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

int main(void)
{
	pfs_log_set_sink(say_nothing, NULL);
	RUN(what_costs_too_much_is_halved);
	RUN(a_calm_time_brings_samples_back);
	RUN(the_budget_is_kept);
	RUN(fields_are_found_by_name);
	RUN(what_was_just_read_is_not_told);
	RUN(what_was_read_long_ago_is_told);
	RUN(neighbours_become_one_extent);
	RUN(a_file_read_in_order_becomes_due);
	RUN(pages_here_and_there_do_not);
	RUN(a_page_that_comes_back_is_a_refault);
	RUN(files_elsewhere_are_left_alone);
	RUN(what_was_told_is_not_looked_up_again);
	RUN(values_are_read_to_the_letter);
	return CHECK_RESULT();
}
