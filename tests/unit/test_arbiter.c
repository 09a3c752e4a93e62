/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Proposers are believed by what came true of what they said. */
#include "arbiter.h"
#include "check.h"

#define MSEC PFS_NSEC_PER_MSEC
#define SOURCE_NS (5 * MSEC)

static const struct boards unknown;
static struct arbiter arb;
static struct ballot ballot;
static uint64_t now, resident_from;

static bool is_worth(void *arg, uint64_t chunk)
{
	(void)arg;
	return chunk < resident_from;
}

static void start(const struct boards *boards)
{
	now = PFS_NSEC_PER_SEC;
	resident_from = UINT64_MAX;
	ballot.is_worth = is_worth;
	CHECK_EQ(arbiter_init(&arb, boards), 0);
}

static void begin(void)
{
	now += 10 * MSEC;
	arbiter_age(&arb, SOURCE_NS, now);
	arbiter_begin(&arb, &ballot, 0.25f);
}

static void hear(uint32_t source, uint64_t chunk, uint32_t n, float p)
{
	struct candidate c[CANDIDATES_MAX];

	for (uint32_t i = 0; i < n; i++)
		c[i] = (struct candidate){
			.chunk = chunk + i, .p = p, .distance = i + 1};
	arbiter_hear(&arb, &ballot, source, c, n, now);
}

static const struct pick *picked(uint64_t chunk)
{
	arbiter_mix(&arb, &ballot, now);
	for (uint32_t i = 0; i < ballot.n; i++)
		if (ballot.pick[i].chunk == chunk)
			return &ballot.pick[i];
	return NULL;
}

/* Chunks are needed one after the other; a source names the next one, or one
 * that nobody will need. */
static void run(uint32_t source, uint64_t first, uint32_t n, float p,
		bool is_right)
{
	for (uint64_t c = first; c < first + n; c++) {
		begin();
		hear(source, is_right ? c : c + 1000000, 1, p);
		now += 10 * MSEC;
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}
}

static void what_came_true_counts_and_not_what_was_claimed(void)
{
	start(&unknown);
	run(0, 0, 200, 0.3f, true);

	begin();
	hear(0, 5000, 1, 0.3f);

	CHECK(picked(5000)->p > 0.9f);
	CHECK(arb.boards.source[0].coverage > 0.5f);
	CHECK_EQ(arb.came[0], 200);
	arbiter_fini(&arb);
}

static void a_source_that_is_sure_and_wrong_is_silenced(void)
{
	start(&unknown);
	run(1, 0, SHADOW_OVERDUE + 40, 0.99f, false);

	CHECK(board_is_off(&arb.boards.source[1]));
	CHECK(arb.boards.source[1].saved_ns < 0);
	CHECK_EQ(arb.came[1], 0);
	arbiter_fini(&arb);
}

static void a_flood_of_wrong_names_is_silenced_sooner(void)
{
	uint32_t n_picks = 0;

	start(&unknown);
	for (uint64_t c = 0; c < 40; c++) {
		begin();
		hear(SOURCE_WRONG, 100000 + 64 * c, 64, 1.0f);
		n_picks += ballot.n;
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}

	CHECK(board_is_off(&arb.boards.source[SOURCE_WRONG]));
	CHECK(n_picks < 18 * 64);
	arbiter_fini(&arb);
}

static void a_silenced_source_probes_one_in_64(void)
{
	uint32_t n_picks = 0;

	start(&unknown);
	run(1, 0, 200, 0.99f, false);
	for (uint64_t c = 0; c < 256; c++) {
		begin();
		hear(1, 500000 + c, 1, 0.99f);
		n_picks += ballot.n;
		arbiter_needed(&arb, 1000 + c, SOURCE_NS, now);
	}

	CHECK_EQ(n_picks, 256 / ARBITER_PROBE);
	arbiter_fini(&arb);
}

static void a_silenced_source_that_is_right_again_is_heard_again(void)
{
	start(&unknown);
	run(1, 0, 300, 0.99f, false);
	CHECK(board_is_off(&arb.boards.source[1]));

	run(1, 5000, 400, 0.99f, true);

	CHECK(!board_is_off(&arb.boards.source[1]));
	arbiter_fini(&arb);
}

static void agreement_raises_p(void)
{
	start(&unknown);
	begin();
	hear(0, 10, 1, 0.55f);
	hear(2, 10, 2, 0.55f);

	CHECK_EQ(ballot.n, 2);
	CHECK(picked(10)->p > picked(11)->p + 0.1f);
	CHECK_EQ(picked(10)->proposers, 1u << 0 | 1u << 2);
	CHECK_EQ(picked(10)->distance, 1);
	arbiter_fini(&arb);
}

static void what_is_there_anyway_proves_nothing(void)
{
	start(&unknown);
	resident_from = 0;
	run(0, 0, 200, 0.9f, true);

	CHECK_EQ(arb.proposed[0], 0);
	CHECK(board_precision(&arb.boards.source[0]) < 0.6);
	CHECK_EQ(ballot.n, 0);
	arbiter_fini(&arb);
}

static void a_name_that_comes_late_after_all_is_forgiven(void)
{
	float wrong;

	start(&unknown);
	begin();
	hear(0, 7777, 1, 0.9f);
	for (uint64_t c = 0; c < SHADOW_OVERDUE + 1; c++)
		arbiter_needed(&arb, c, SOURCE_NS, now);
	begin();
	wrong = arb.boards.source[0].precision.wrong;
	CHECK(wrong > 0.9f);

	arbiter_needed(&arb, 7777, SOURCE_NS, now);

	CHECK(arb.boards.source[0].precision.wrong < 0.1f);
	CHECK(arb.boards.source[0].precision.came > 0.9f);
	arbiter_fini(&arb);
}

static void time_saved_is_no_more_than_the_time_ahead(void)
{
	float in_time;

	start(&unknown);
	run(0, 0, 100, 0.9f, true);
	in_time = arb.boards.source[0].saved_ns;
	arbiter_fini(&arb);

	start(&unknown);
	for (uint64_t c = 0; c < 100; c++) {
		begin();
		hear(0, c, 1, 0.9f);
		arbiter_needed(&arb, c, SOURCE_NS, now + MSEC);
	}
	CHECK(arb.boards.source[0].saved_ns < in_time / 4);
	CHECK(arb.boards.source[0].saved_ns > in_time / 6);
	arbiter_fini(&arb);
}

static void the_next_session_remembers_and_is_quick_to_change(void)
{
	struct boards boards;

	start(&unknown);
	run(0, 0, 300, 0.9f, true);
	run(1, 1000, 300, 0.9f, false);
	arbiter_teach(&arb, &boards);
	arbiter_fini(&arb);

	start(&boards);
	CHECK(board_precision(&arb.boards.source[0]) > 0.8);
	begin();
	hear(0, 9000, 1, 0.9f);
	hear(1, 9001, 1, 0.9f);
	CHECK(picked(9000)->worth > 0.9f);
	CHECK(picked(9001)->worth < ballot.floor);
	run(1, 5000, 100, 0.9f, true);
	begin();
	hear(1, 9001, 1, 0.9f);
	CHECK(picked(9001)->p > 0.5f);
	arbiter_fini(&arb);
}

static void what_a_proposer_who_sees_all_leaves_out_is_worth_little(void)
{
	start(&unknown);
	for (uint64_t c = 0; c < 100; c++) {
		begin();
		hear(0, c, 1, 0.6f);
		hear(1, c, 1, 0.9f);
		now += 10 * MSEC;
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}

	begin();
	hear(0, 5000, 2, 0.6f);
	hear(1, 5000, 1, 0.9f);
	CHECK(picked(5000)->worth > 0.9f);
	CHECK(picked(5001)->worth < picked(5001)->p - 0.05f);

	/* He has lost his way: others are heard as before. */
	for (uint64_t c = 1000; c < 1100; c++)
		arbiter_needed(&arb, c, SOURCE_NS, now);
	begin();
	hear(0, 6001, 1, 0.6f);
	CHECK(picked(6001)->worth > picked(6001)->p - 0.05f);
	arbiter_fini(&arb);
}

/* Taken or not, a mixed trial counts when it was worth it at that time. */
static void a_session_that_wastes_must_be_surer(void)
{
	float at_first;

	start(&unknown);
	begin();
	at_first = ballot.floor;
	for (uint64_t c = 0; c < 300; c++) {
		begin();
		hear(0, c, 1, 0.9f);
		arbiter_mix(&arb, &ballot, now);
		arbiter_needed(&arb, c, SOURCE_NS, now + 10 * MSEC);
	}
	begin();
	CHECK(ballot.floor < at_first);
	CHECK(ballot.floor < 0.26f);

	for (uint64_t c = 1000; c < 2000; c++) {
		begin();
		hear(0, 100000 + c, 1, 0.9f);
		hear(2, 100000 + c, 1, 0.9f);
		arbiter_mix(&arb, &ballot, now);
		arbiter_needed(&arb, c, SOURCE_NS, now + 10 * MSEC);
	}
	begin();
	CHECK(ballot.floor > 0.26f);
	arbiter_fini(&arb);
}

static void what_left_the_store_unread_was_wrong_whatever_comes(void)
{
	start(&unknown);
	begin();
	hear(0, 10, 1, 0.9f);

	arbiter_evicted(&arb, 10);
	arbiter_needed(&arb, 10, SOURCE_NS, now + 10 * MSEC);

	CHECK(arb.boards.source[0].bucket[7].wrong > 0.9f);
	CHECK_EQ(arb.came[0], 0);
	arbiter_fini(&arb);
}

static void the_same_wrong_name_counts_once(void)
{
	start(&unknown);
	for (uint64_t c = 0; c < 1000; c++) {
		begin();
		hear(0, 7777, 1, 0.9f);
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}

	CHECK(arb.boards.source[0].bucket[7].wrong < 1.1f);
	CHECK_EQ(arb.proposed[0], 1);
	arbiter_fini(&arb);
}

/* A believed name lapses once, whatever is said of it later, and is taken back
 * when it comes after all. */
static void a_fetch_is_wasted_once_and_not_if_it_comes_late(void)
{
	struct shadow *mix;

	start(&unknown);
	mix = &arb.shadow[SOURCES];
	begin();
	ballot.floor = 0;
	hear(0, 7777, 1, 0.9f);
	arbiter_mix(&arb, &ballot, now);
	for (uint64_t c = 0; c < 3 * SHADOW_HORIZON; c++) {
		begin();
		hear(0, 7777, 1, c < SHADOW_HORIZON ? 0.9f : 0.1f);
		arbiter_mix(&arb, &ballot, now);
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}
	CHECK(mix->precision->wrong > 0.9f && mix->precision->wrong < 1.1f);
	CHECK(mix->precision->came < 0.1f);

	arbiter_needed(&arb, 7777, SOURCE_NS, now);

	CHECK(mix->precision->wrong < 0.1f);
	CHECK(mix->precision->came > 0.9f);
	arbiter_fini(&arb);
}

/* Two claims that share a bucket are not worth the same. */
static void between_buckets_belief_goes_by_a_straight_line(void)
{
	float low, high;

	start(&unknown);
	for (uint64_t c = 0; c < 200; c++) {
		bool is_sure = c % 2;

		begin();
		hear(0, is_sure || c % 8 == 0 ? c : 9000 + c, 1,
		     is_sure ? 0.7f : 0.55f);
		arbiter_mix(&arb, &ballot, now);
		arbiter_needed(&arb, c, SOURCE_NS, now);
	}
	begin();
	hear(0, 5000, 1, 0.57f);
	low = picked(5000)->p;
	begin();
	hear(0, 5001, 1, 0.62f);
	high = picked(5001)->p;

	CHECK(high > low + 0.1f);
	arbiter_fini(&arb);
}

/* Names far more than is remembered, again and again, in an order that makes
 * chains of the hash long and trials of every state be dropped. */
static void the_memory_of_trials_stays_sound_when_full(void)
{
	start(&unknown);
	for (uint64_t c = 0; c < 3000; c++) {
		begin();
		resident_from = c % 3 ? UINT64_MAX : 0;
		hear(2, (c * 7) % 900, 60, 0.1f * (float)(c % 10));
		arbiter_mix(&arb, &ballot, now);
		arbiter_evicted(&arb, (c * 11) % 900);
		arbiter_needed(&arb, (c * 13) % 1000, SOURCE_NS, now);
	}
	CHECK(arb.shadow[2].head - arb.shadow[2].tail <= arb.shadow[2].size);
	CHECK(arb.came[2] > 0 && arb.came[2] <= arb.n_needed);
	arbiter_fini(&arb);
}

int main(void)
{
	RUN(what_came_true_counts_and_not_what_was_claimed);
	RUN(a_source_that_is_sure_and_wrong_is_silenced);
	RUN(a_flood_of_wrong_names_is_silenced_sooner);
	RUN(a_silenced_source_probes_one_in_64);
	RUN(a_silenced_source_that_is_right_again_is_heard_again);
	RUN(agreement_raises_p);
	RUN(what_is_there_anyway_proves_nothing);
	RUN(a_name_that_comes_late_after_all_is_forgiven);
	RUN(time_saved_is_no_more_than_the_time_ahead);
	RUN(the_next_session_remembers_and_is_quick_to_change);
	RUN(what_a_proposer_who_sees_all_leaves_out_is_worth_little);
	RUN(a_session_that_wastes_must_be_surer);
	RUN(what_left_the_store_unread_was_wrong_whatever_comes);
	RUN(the_same_wrong_name_counts_once);
	RUN(a_fetch_is_wasted_once_and_not_if_it_comes_late);
	RUN(between_buckets_belief_goes_by_a_straight_line);
	RUN(the_memory_of_trials_stays_sound_when_full);
	return CHECK_RESULT();
}
