/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Chunks around a read, and which were touched before. */
#include "nearby.h"
#include "proposer_fixture.h"

/* --- touched --- */

#define MODEL_CHUNKS 700u /* over several patches */

static bool bit_of(uint64_t bits, uint32_t i)
{
	return bits >> i & 1;
}

static void windows_show_what_was_touched(void)
{
	uint8_t model[MODEL_CHUNKS] = {0};
	struct touched t;
	uint64_t seed = 1;

	CHECK_EQ(touched_init(&t), 0);

	for (uint32_t i = 0; i < 300; i++) {
		uint64_t c = next_random(&seed) % MODEL_CHUNKS;

		CHECK_EQ(touched_add(&t, c, false), !model[c]);
		model[c] = 1;
	}

	for (int64_t first = -63; first + 64 < (int64_t)MODEL_CHUNKS; first++) {
		struct touched_window w = touched_window(&t, first);

		for (uint32_t i = 0; i < 64; i++)
			CHECK_EQ(bit_of(w.kept, i),
				 first + i < 0 ? 0 : model[first + i]);
	}
	touched_fini(&t);
}

static void add_elsewhere(struct touched *t, uint32_t n)
{
	for (uint64_t c = 100000; n > 0; c++)
		n -= touched_add(t, c, false);
}

static void what_was_just_touched_is_fresh_for_a_while(void)
{
	struct touched t;

	CHECK_EQ(touched_init(&t), 0);
	touched_add(&t, 10, false);
	CHECK(bit_of(touched_window(&t, 0).fresh, 10));

	add_elsewhere(&t, 2 * TOUCHED_MOMENT);

	CHECK(!bit_of(touched_window(&t, 0).fresh, 10));
	CHECK(bit_of(touched_window(&t, 0).kept, 10));
	touched_fini(&t);
}

static void what_was_touched_long_ago_is_forgotten(void)
{
	struct touched t;

	CHECK_EQ(touched_init(&t), 0);
	touched_add(&t, 10, false);

	add_elsewhere(&t, TOUCHED_ERA - TOUCHED_MOMENT);
	CHECK(bit_of(touched_window(&t, 0).kept, 10));
	add_elsewhere(&t, TOUCHED_ERA + 2 * TOUCHED_MOMENT);
	CHECK(bit_of(touched_window(&t, 0).kept, 10) == false);

	CHECK(touched_add(&t, 10, false));
	touched_fini(&t);
}

static void what_the_store_lost_is_forgotten_with_its_old_neighbours(void)
{
	struct touched t;

	CHECK_EQ(touched_init(&t), 0);
	touched_add(&t, 10, false);
	touched_add(&t, 11, false);
	add_elsewhere(&t, 2 * TOUCHED_MOMENT);
	touched_add(&t, 12, false);

	CHECK(touched_add(&t, 10, true));

	CHECK(bit_of(touched_window(&t, 0).kept, 10));
	CHECK(!bit_of(touched_window(&t, 0).kept, 11));
	CHECK(bit_of(touched_window(&t, 0).kept, 12));
	CHECK(!touched_add(&t, 10, true)); /* fresh: the store is just small */
	touched_fini(&t);
}

static void a_large_set_grows_only_so_far(void)
{
	struct touched t;
	uint64_t seed = 3;

	CHECK_EQ(touched_init(&t), 0);
	CHECK(touched_memory(&t) < PFS_KIB(4));

	for (uint32_t i = 0; i < 50000; i++)
		touched_add(&t, next_random(&seed) >> 20, false);

	CHECK_EQ(touched_memory(&t), PFS_KIB(192));
	touched_fini(&t);
}

static void growing_loses_little(void)
{
	struct touched t;
	uint32_t n_lost = 0;

	CHECK_EQ(touched_init(&t), 0);
	for (uint64_t i = 0; i < 1000; i++)
		touched_add(&t, i * 64, false);
	CHECK(touched_memory(&t) > PFS_KIB(32));

	for (int64_t i = 0; i < 1000; i++)
		n_lost += !(touched_window(&t, i * 64).kept & 1);
	CHECK(n_lost <= 10);
	touched_fini(&t);
}

/* --- nearby, through its proposer --- */

static void what_lies_around_a_read_is_named(void)
{
	struct fixture f = start(&proposer_sequential);

	read_bytes(&f, 1, 1020 * CHUNK + 8192, PFS_KIB(128));
	read_bytes(&f, 1, 1000 * CHUNK + 8192, PFS_KIB(128));

	CHECK(chance_of(&f, 1003) > 0.25f);
	CHECK(chance_of(&f, 1004) > 0);
	CHECK(chance_of(&f, 999) > 0);
	CHECK(!is_named(&f, 1000)); /* it was touched */
	CHECK(!is_named(&f, 1003 + NEARBY_REACH));
	stop(&f);
}

/* Such is the first look at a file: its rest follows. */
static void a_small_read_says_more_of_what_follows_than_a_page(void)
{
	struct fixture f = start(&proposer_sequential);
	float page, start_of_file;

	read_bytes(&f, 1, 1000 * CHUNK, 4096);
	page = chance_of(&f, 1001);
	read_bytes(&f, 1, 9000 * CHUNK, 16384);
	start_of_file = chance_of(&f, 9001);

	CHECK(start_of_file > page);
	stop(&f);
}

static void holes_in_a_dense_region_are_likelier_than_around_a_lone_read(void)
{
	struct fixture f = start(&proposer_sequential);
	float lone;

	read_bytes(&f, 1, 5008 * CHUNK, PFS_KIB(32));
	lone = chance_of(&f, 5010);

	for (uint64_t c = 1000; c < 1008; c++)
		read_bytes(&f, 1, c * CHUNK, PFS_KIB(32));
	for (uint64_t c = 1012; c < 1016; c++)
		read_bytes(&f, 1, c * CHUNK, PFS_KIB(32));
	read_bytes(&f, 1, 1008 * CHUNK, PFS_KIB(32));

	CHECK(chance_of(&f, 1010) > lone);
	CHECK(chance_of(&f, 1010) > 0.3f);
	for (uint64_t c = 1000; c < 1016; c++) /* not what was touched */
		CHECK((c >= 1009 && c < 1012) || !is_named(&f, c));
	stop(&f);
}

static void a_repeat_names_nothing(void)
{
	struct fixture f = start(&proposer_sequential);

	read_bytes(&f, 1, 1000 * CHUNK, 16384);
	CHECK(f.n > 0);
	read_bytes(&f, 1, 1000 * CHUNK + 16384, 4096);

	CHECK_EQ(f.n, 0);
	stop(&f);
}

/* Every fourth request is followed by the chunk two before it. */
static float chance_two_before(bool has_habit)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t seed = 7, c = 0;
	float p;

	for (uint32_t i = 0; i < 3000; i++) {
		c = 10 + next_random(&seed) % (N_CHUNKS - 20);
		read_bytes(&f, 1, c * CHUNK, PFS_KIB(40));
		if (has_habit)
			read_bytes(&f, 1, (c - 2) * CHUNK, 4096);
	}
	read_bytes(&f, 1, 3000 * CHUNK, PFS_KIB(40));
	p = chance_of(&f, 2998);
	stop(&f);
	return p;
}

static void habits_are_learned_while_they_last(void)
{
	CHECK(chance_two_before(true) > 0.6f);
	CHECK(chance_two_before(false) < 0.2f);
}

/* What is said on average of the chunk after a read, where one read in
 * `one_in` goes on to it. */
static double said_where(uint32_t one_in)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t seed = 11;
	double said = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < 6000; i++) {
		uint64_t r = next_random(&seed);
		uint64_t c = 10 + (r >> 8) % (N_CHUNKS - 20);

		read_bytes(&f, 1, c * CHUNK, PFS_KIB(40));
		if (i >= 3000) {
			said += (double)chance_of(&f, c + 1);
			n++;
		}
		if (r % one_in == 0)
			read_bytes(&f, 1, (c + 1) * CHUNK, PFS_KIB(40));
	}
	stop(&f);
	return said / n;
}

static void chances_are_about_right(void)
{
	CHECK(said_where(2) > 0.33 && said_where(2) < 0.67);
	CHECK(said_where(6) < 0.25);
}

int main(void)
{
	RUN(windows_show_what_was_touched);
	RUN(what_was_just_touched_is_fresh_for_a_while);
	RUN(what_was_touched_long_ago_is_forgotten);
	RUN(what_the_store_lost_is_forgotten_with_its_old_neighbours);
	RUN(a_large_set_grows_only_so_far);
	RUN(growing_loses_little);
	RUN(what_lies_around_a_read_is_named);
	RUN(a_small_read_says_more_of_what_follows_than_a_page);
	RUN(holes_in_a_dense_region_are_likelier_than_around_a_lone_read);
	RUN(a_repeat_names_nothing);
	RUN(habits_are_learned_while_they_last);
	RUN(chances_are_about_right);
	return CHECK_RESULT();
}
