/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>

#include "check.h"
#include "segments.h"

static const uint8_t uuid[PFS_UUID_LEN] = {9};

static uint64_t now_gen;

/* A store of n segments of 8 slots, all free. */
static struct segments segments_of_8(uint32_t n)
{
	struct geometry g = {.segment_slots = 8, .n_segments = n};
	struct segments s = {0};

	memcpy(g.uuid, uuid, sizeof(uuid));
	CHECK_EQ(segments_init(&s, &g), 0);
	now_gen = 100;
	return s;
}

/* One slot whose I/O is over at once and which is in the index then. */
static uint32_t take(struct segments *s, enum segment_class class)
{
	uint32_t slot = FORMAT_SLOT_NONE;

	if (!segments_alloc(s, class, 1, ++now_gen, false, &slot))
		return FORMAT_SLOT_NONE;
	segments_idle(s, slot);
	segments_live(s, slot, 1);
	return slot;
}

static void fill_segment(struct segments *s, enum segment_class class)
{
	for (int i = 0; i < 8; i++)
		CHECK(take(s, class) != FORMAT_SLOT_NONE);
}

/* All of a segment's chunks leave the index. */
static void empty_segment(struct segments *s, uint32_t seg)
{
	s->seg[seg].n_live = 0;
}

static void slots_come_in_log_order(void)
{
	struct segments s = segments_of_8(8);
	uint32_t first;

	CHECK_EQ(segments_alloc(&s, CLASS_MAIN, 5, 1, false, &first), 5);
	CHECK_EQ(first, 0);
	CHECK_EQ(s.row[0].state, SEGMENT_OPEN);
	/* A run does not cross into the next segment. */
	CHECK_EQ(segments_alloc(&s, CLASS_MAIN, 5, 2, false, &first), 3);
	CHECK_EQ(first, 5);
	CHECK_EQ(s.row[0].state, SEGMENT_SEALED);
	CHECK_EQ(segments_alloc(&s, CLASS_MAIN, 5, 3, false, &first), 5);
	CHECK_EQ(first, 8);
	CHECK_EQ(s.n_free, 6);
	segments_fini(&s);
}

static void classes_do_not_share_segments(void)
{
	struct segments s = segments_of_8(8);
	uint32_t a = take(&s, CLASS_MAIN), b = take(&s, CLASS_PROBATION);

	CHECK(segments_of(&s, a) != segments_of(&s, b));
	CHECK_EQ(take(&s, CLASS_MAIN), a + 1);
	CHECK_EQ(s.n_probation, 1);
	segments_fini(&s);
}

static void the_last_free_segment_is_for_reinsertion(void)
{
	struct segments s = segments_of_8(4);
	uint32_t slot;

	for (int i = 0; i < 3; i++)
		fill_segment(&s, CLASS_MAIN);

	CHECK_EQ(take(&s, CLASS_MAIN), FORMAT_SLOT_NONE);
	CHECK_EQ(segments_alloc(&s, CLASS_MAIN, 1, 1, true, &slot), 1);
	CHECK_EQ(s.n_free, 0);
	/* The rest of it, too; others have segments of their own. */
	CHECK_EQ(take(&s, CLASS_MAIN), FORMAT_SLOT_NONE);
	CHECK_EQ(segments_alloc(&s, CLASS_MAIN, 9, 1, true, &slot), 7);
	segments_fini(&s);
}

static void the_oldest_sealed_segment_leaves_first(void)
{
	struct segments s = segments_of_8(8);

	for (int i = 0; i < 6; i++)
		fill_segment(&s, CLASS_MAIN);

	CHECK(segments_want_victim(&s));
	CHECK_EQ(segments_victim(&s), 0);
	CHECK_EQ(s.row[0].state, SEGMENT_LEAVING);
	CHECK_EQ(segments_victim(&s), 1);
	segments_fini(&s);
}

static void an_empty_segment_leaves_before_an_older_one(void)
{
	struct segments s = segments_of_8(8);

	for (int i = 0; i < 6; i++)
		fill_segment(&s, CLASS_MAIN);
	empty_segment(&s, 3);

	CHECK_EQ(segments_victim(&s), 3);
	segments_fini(&s);
}

static void a_busy_or_open_segment_does_not_leave(void)
{
	struct segments s = segments_of_8(4);

	fill_segment(&s, CLASS_MAIN);
	(void)take(&s, CLASS_MAIN); /* opens segment 1 */
	segments_busy(&s, 2);

	CHECK_EQ(segments_victim(&s), SEGMENT_NONE);
	segments_idle(&s, 2);
	CHECK_EQ(segments_victim(&s), 0);
	segments_fini(&s);
}

static void a_leaving_segment_is_freed_once_idle(void)
{
	struct segments s = segments_of_8(4);

	fill_segment(&s, CLASS_MAIN);
	CHECK_EQ(segments_victim(&s), 0);
	segments_busy(&s, 0);
	empty_segment(&s, 0);

	CHECK(!segments_free(&s, 0));
	segments_idle(&s, 0);
	CHECK(segments_free(&s, 0));
	CHECK_EQ(s.n_free, 4);
	CHECK_EQ(s.row[0].state, SEGMENT_FREE);
	segments_fini(&s);
}

static void freed_segments_are_used_in_turn(void)
{
	struct segments s = segments_of_8(8);
	uint32_t slot;

	fill_segment(&s, CLASS_MAIN);
	CHECK_EQ(segments_victim(&s), 0);
	empty_segment(&s, 0);
	CHECK(segments_free(&s, 0));

	slot = take(&s, CLASS_MAIN);
	CHECK_EQ(segments_of(&s, slot), 1);
	segments_fini(&s);
}

static void probation_leaves_first_once_over_its_share(void)
{
	struct segments s = segments_of_8(20);

	fill_segment(&s, CLASS_MAIN); /* the oldest */
	fill_segment(&s, CLASS_PROBATION);
	fill_segment(&s, CLASS_PROBATION);
	CHECK_EQ(segments_victim(&s), 0); /* 2 of 20 is its share */
	fill_segment(&s, CLASS_MAIN);
	fill_segment(&s, CLASS_PROBATION);

	CHECK_EQ(segments_victim(&s), 1);
	segments_fini(&s);
}

static void entries_of_an_earlier_use_are_not_held(void)
{
	struct segments s = segments_of_8(4);
	uint32_t slot;
	uint64_t old;

	fill_segment(&s, CLASS_MAIN);
	old = now_gen;
	CHECK(segments_holds(&s, 3, old));
	CHECK_EQ(segments_victim(&s), 0);
	CHECK(!segments_holds(&s, 3, old)); /* leaving */
	empty_segment(&s, 0);
	CHECK(segments_free(&s, 0));
	CHECK(!segments_holds(&s, 3, old)); /* free */
	s.free_hint = 0;
	slot = take(&s, CLASS_MAIN);
	CHECK_EQ(segments_of(&s, slot), 0);

	CHECK(!segments_holds(&s, 3, old)); /* open again */
	CHECK(segments_holds(&s, 3, now_gen));
	segments_fini(&s);
}

static void adopted_segments_are_sealed_and_not_empty(void)
{
	struct segments s = segments_of_8(20);
	struct segment_row rows[20] = {
		[1] = {.open_gen = 50, .state = SEGMENT_OPEN},
		[2] = {.open_gen = 40, .state = SEGMENT_SEALED},
		[3] = {.open_gen = 30,
		       .state = SEGMENT_LEAVING,
		       .is_probation = 1},
	};

	segments_adopt(&s, rows);

	CHECK_EQ(s.n_free, 17);
	CHECK_EQ(s.n_probation, 1);
	for (uint32_t i = 1; i <= 3; i++)
		CHECK_EQ(s.row[i].state, SEGMENT_SEALED);
	CHECK(segments_holds(&s, 8, 50));
	CHECK_EQ(segments_victim(&s), 2); /* the older one of its class */
	segments_fini(&s);
}

static void sealing_closes_what_is_open(void)
{
	struct segments s = segments_of_8(8);
	uint32_t a = take(&s, CLASS_MAIN), b = take(&s, CLASS_PROBATION);

	segments_seal_all(&s);

	CHECK_EQ(s.row[segments_of(&s, a)].state, SEGMENT_SEALED);
	CHECK_EQ(s.row[segments_of(&s, b)].state, SEGMENT_SEALED);
	CHECK(segments_of(&s, take(&s, CLASS_MAIN)) != segments_of(&s, a));
	segments_fini(&s);
}

int main(void)
{
	RUN(slots_come_in_log_order);
	RUN(classes_do_not_share_segments);
	RUN(the_last_free_segment_is_for_reinsertion);
	RUN(the_oldest_sealed_segment_leaves_first);
	RUN(an_empty_segment_leaves_before_an_older_one);
	RUN(a_busy_or_open_segment_does_not_leave);
	RUN(a_leaving_segment_is_freed_once_idle);
	RUN(freed_segments_are_used_in_turn);
	RUN(probation_leaves_first_once_over_its_share);
	RUN(entries_of_an_earlier_use_are_not_held);
	RUN(adopted_segments_are_sealed_and_not_empty);
	RUN(sealing_closes_what_is_open);
	return CHECK_RESULT();
}
