/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What was fetched ahead: found by chunk, given one fate each. */
#include "check.h"
#include "issued.h"

#define SEC PFS_NSEC_PER_SEC

static struct issued s;
static uint32_t n_fate[PFS_WHY_NOT_TAKEN + 1];

static void note_end(void *arg, const struct decision *d)
{
	(void)arg;
	n_fate[d->why.fate]++;
}

static void start(void)
{
	memset(n_fate, 0, sizeof(n_fate));
	CHECK_EQ(issued_init(&s, note_end, NULL), 0);
}

static void order(uint64_t id, uint64_t image, uint64_t chunk, uint32_t n,
		  uint64_t now)
{
	struct pfs_prefetch_order o = {.id = id,
				       .image = image,
				       .vm = 7,
				       .chunk = chunk,
				       .n_chunks = n};
	struct wish w[16];

	for (uint32_t i = 0; i < n; i++)
		w[i] = (struct wish){.image = image,
				     .vm = 7,
				     .chunk = chunk + i,
				     .p = 0.75f,
				     .proposers = 2};
	issued_order(&s, &o, w, now);
}

static bool read_at(uint64_t image, uint64_t chunk,
		    enum pfs_access_outcome outcome, uint64_t now)
{
	return issued_read(&s, image, chunk, outcome, now);
}

static void a_chunk_is_used_once_and_only_in_its_image(void)
{
	start();
	order(1, 3, 100, 4, SEC);
	issued_fetched(&s, 1, 4, SEC);

	CHECK(!read_at(4, 100, PFS_ACCESS_HIT, 2 * SEC));
	CHECK(read_at(3, 100, PFS_ACCESS_HIT, 2 * SEC));
	CHECK(!read_at(3, 100, PFS_ACCESS_HIT, 2 * SEC));

	CHECK_EQ(n_fate[PFS_WHY_USED], 1);
	CHECK_EQ(s.n_pending, 3);
	issued_fini(&s);
}

static void a_read_that_waited_is_late(void)
{
	start();
	order(1, 3, 100, 1, SEC);

	CHECK(read_at(3, 100, PFS_ACCESS_LATE, SEC));
	issued_fetched(&s, 1, 1, 2 * SEC);

	CHECK_EQ(n_fate[PFS_WHY_LATE], 1);
	CHECK_EQ(s.n_pending, 0);
	issued_fini(&s);
}

static void what_a_fetch_did_not_bring_is_not_taken(void)
{
	start();
	order(1, 3, 100, 4, SEC);
	order(2, 3, 200, 1, SEC);

	issued_fetched(&s, 1, 1, SEC);
	CHECK(read_at(3, 200, PFS_ACCESS_MISS, SEC));

	CHECK_EQ(n_fate[PFS_WHY_NOT_TAKEN], 4);
	CHECK(issued_is_pending(&s, 3, 100));
	CHECK(!issued_is_pending(&s, 3, 101));
	issued_fini(&s);
}

static void what_is_evicted_or_unread_for_a_minute_is_extra(void)
{
	start();
	order(1, 3, 100, 2, SEC);
	issued_fetched(&s, 1, 2, SEC);
	order(2, 3, 300, 1, 11 * SEC);
	issued_fetched(&s, 2, 1, 11 * SEC);

	issued_evicted(&s, 3, 101, 2 * SEC);
	CHECK_EQ(n_fate[PFS_WHY_EXTRA], 1);
	CHECK_EQ(issued_deadline(&s), 61 * SEC);
	issued_age(&s, 61 * SEC - 1);
	CHECK_EQ(n_fate[PFS_WHY_EXTRA], 1);
	issued_age(&s, 61 * SEC);
	CHECK_EQ(n_fate[PFS_WHY_EXTRA], 2);
	CHECK(read_at(3, 300, PFS_ACCESS_HIT, 62 * SEC));
	CHECK_EQ(issued_deadline(&s), UINT64_MAX);
	issued_fini(&s);
}

static void a_full_ring_gives_up_the_oldest(void)
{
	start();
	for (uint64_t i = 0; i < ISSUED_MAX + 10; i++) {
		order(i + 1, 3, 1000 + i, 1, SEC + i);
		issued_fetched(&s, i + 1, 1, SEC + i);
	}

	CHECK_EQ(n_fate[PFS_WHY_EXTRA], 10);
	CHECK_EQ(s.n_pending, ISSUED_MAX);
	CHECK(!issued_is_pending(&s, 3, 1009));
	CHECK(issued_is_pending(&s, 3, 1010));
	CHECK_EQ(issued_deadline(&s), SEC + 10 + ISSUED_WAIT_NS);
	issued_age(&s, 100 * SEC);
	CHECK_EQ(s.n_pending, 0);
	CHECK_EQ(s.tail, s.head);
	issued_fini(&s);
}

static void a_late_report_of_an_overwritten_order_harms_nothing(void)
{
	start();
	order(1, 3, 5, 1, SEC);
	for (uint64_t i = 0; i < ISSUED_MAX; i++)
		order(2, 3, 1000 + i, 1, SEC);

	issued_fetched(&s, 1, 0, 2 * SEC);

	CHECK_EQ(n_fate[PFS_WHY_NOT_TAKEN], 0);
	CHECK_EQ(s.n_pending, ISSUED_MAX);
	issued_fini(&s);
}

static void why_tells_the_newest_first(void)
{
	struct pfs_why why[4];

	start();
	order(1, 3, 100, 2, SEC);
	issued_fetched(&s, 1, 2, SEC);
	read_at(3, 100, PFS_ACCESS_HIT, 3 * SEC);
	order(2, 3, 100, 1, 4 * SEC);

	CHECK_EQ(issued_why(&s, 3, 100, why, 4), 2);
	CHECK_EQ(why[0].fate, PFS_WHY_PENDING);
	CHECK_EQ(why[0].asked_ns, 4 * SEC);
	CHECK_EQ(why[1].fate, PFS_WHY_USED);
	CHECK_EQ(why[1].ended_ns, 3 * SEC);
	CHECK_EQ(why[1].proposers, 2);
	CHECK_EQ(why[1].vm, 7);
	CHECK_EQ(issued_why(&s, 3, 100, why, 1), 1);
	CHECK_EQ(issued_why(&s, 9, 100, why, 4), 0);
	issued_fini(&s);
}

static void a_warmed_chunk_is_judged_by_nobody(void)
{
	struct pfs_prefetch_order o = {.id = 1, .image = 3, .n_chunks = 1};
	struct wish w = {.image = 3, .is_warm = true};

	start();
	issued_order(&s, &o, &w, SEC);
	issued_fetched(&s, 1, 1, SEC);

	issued_age(&s, 100 * SEC);

	CHECK_EQ(s.n_pending, 0);
	CHECK_EQ(n_fate[PFS_WHY_EXTRA], 0);
	issued_fini(&s);
}

int main(void)
{
	RUN(a_chunk_is_used_once_and_only_in_its_image);
	RUN(a_read_that_waited_is_late);
	RUN(what_a_fetch_did_not_bring_is_not_taken);
	RUN(what_is_evicted_or_unread_for_a_minute_is_extra);
	RUN(a_full_ring_gives_up_the_oldest);
	RUN(a_late_report_of_an_overwritten_order_harms_nothing);
	RUN(why_tells_the_newest_first);
	RUN(a_warmed_chunk_is_judged_by_nobody);
	return CHECK_RESULT();
}
