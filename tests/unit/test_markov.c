/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proposer_fixture.h"
#include "transitions.h"

#define WALK 200u

/* A walk that looks like nothing: chunks all over the image. */
static uint64_t walk(uint64_t seed, uint32_t i)
{
	uint64_t state = seed * 1000003 + i;

	return next_random(&state) % N_CHUNKS;
}

static void walk_all(struct fixture *f, uint64_t seed)
{
	for (uint32_t i = 0; i < WALK; i++)
		read_chunk(f, walk(seed, i));
}

/* --- transitions --- */

static void followers_come_most_frequent_first(void)
{
	struct transitions t;
	struct followers f;

	CHECK_EQ(transitions_init(&t), 0);
	transitions_learn(&t, 1, 10);
	for (uint32_t i = 0; i < 3; i++)
		transitions_learn(&t, 1, 30);
	transitions_learn(&t, 1, 20);
	transitions_learn(&t, 1, 20);

	transitions_find(&t, 1, &f);

	CHECK_EQ(f.n, 3);
	CHECK_EQ(f.total, 6);
	CHECK_EQ(f.at[0].next, 30);
	CHECK_EQ(f.at[0].count, 3);
	CHECK_EQ(f.at[1].next, 20);
	CHECK_EQ(f.at[2].next, 10);
	transitions_find(&t, 2, &f);
	CHECK_EQ(f.n, 0);
	transitions_fini(&t);
}

static void a_context_keeps_four_followers(void)
{
	struct transitions t;
	struct followers f;

	CHECK_EQ(transitions_init(&t), 0);
	for (uint64_t i = 0; i < 100; i++) {
		transitions_learn(&t, 1, i);
		transitions_learn(&t, 1, 7);
	}

	transitions_find(&t, 1, &f);

	CHECK_EQ(f.n, TRANSITIONS_NEXT);
	CHECK_EQ(f.at[0].next, 7);
	transitions_fini(&t);
}

static void a_new_habit_overtakes_an_old_one(void)
{
	struct transitions t;
	struct followers f;

	CHECK_EQ(transitions_init(&t), 0);
	for (uint32_t i = 0; i < 10000; i++)
		transitions_learn(&t, 1, 10);
	for (uint32_t i = 0; i < 100; i++)
		transitions_learn(&t, 1, 20);

	transitions_find(&t, 1, &f);

	CHECK_EQ(f.at[0].next, 20);
	transitions_fini(&t);
}

static void growing_loses_little(void)
{
	struct transitions t;
	uint32_t n_found = 0;

	CHECK_EQ(transitions_init(&t), 0);
	CHECK_EQ(transitions_memory(&t), PFS_KIB(32));
	for (uint64_t c = 0; c < 20000; c++)
		transitions_learn(&t, c, c + 1);

	for (uint64_t c = 0; c < 20000; c++) {
		struct followers f;

		transitions_find(&t, c, &f);
		n_found += f.n == 1 && f.at[0].next == c + 1;
	}

	CHECK(n_found > 17000);
	CHECK(transitions_memory(&t) <= PFS_MIB(1));
	transitions_fini(&t);
}

static void a_full_table_takes_what_is_new(void)
{
	struct transitions t;
	uint32_t n_found = 0;

	CHECK_EQ(transitions_init(&t), 0);
	for (uint64_t c = 0; c < 500000; c++)
		for (uint32_t k = 0; k < 2; k++)
			transitions_learn(&t, c, c + 1);
	CHECK_EQ(transitions_memory(&t), PFS_MIB(2));

	/* Learned twice each, as the others: the old ones have to go. */
	for (uint64_t c = 499000; c < 500000; c++) {
		struct followers f;

		transitions_find(&t, c, &f);
		n_found += f.n == 1;
	}

	CHECK(n_found > 900);
	transitions_fini(&t);
}

/* A table full of pairs that were frequent once, and others that come in turns
 * now. */
static void past_merits_wear_off(void)
{
	struct transitions t;
	uint32_t n_found = 0;

	CHECK_EQ(transitions_init(&t), 0);
	for (uint64_t c = 0; c < 150000; c++)
		for (uint32_t k = 0; k < 8; k++)
			transitions_learn(&t, c, c + 1);
	for (uint32_t k = 0; k < 12; k++)
		for (uint64_t c = 500000; c < 540000; c++)
			transitions_learn(&t, c, c + 1);

	for (uint64_t c = 500000; c < 540000; c++) {
		struct followers f;

		transitions_find(&t, c, &f);
		n_found += f.n == 1;
	}

	CHECK(n_found > 25000);
	transitions_fini(&t);
}

/* --- markov --- */

static void the_second_time_it_is_known(void)
{
	struct fixture f = start(&proposer_markov);
	uint32_t n_next = 0, n_later = 0;

	walk_all(&f, 1);
	session_again(&f);
	for (uint32_t i = 0; i + 8 < WALK; i++) {
		read_chunk(&f, walk(1, i));
		n_next += chance_of(&f, walk(1, i + 1)) > 0.5f;
		n_later += chance_of(&f, walk(1, i + 8)) > 0.25f;
	}

	CHECK(n_next >= WALK * 9 / 10);
	CHECK(n_later >= WALK * 7 / 10);
	stop(&f);
}

static void within_a_session_it_is_known_too(void)
{
	struct fixture f = start(&proposer_markov);
	uint32_t n_next = 0;

	/* Near one another: one stream. */
	for (uint32_t round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 100; i++) {
			read_chunk(&f, walk(1, i) % 200);
			n_next += round == 1 &&
				  chance_of(&f, walk(1, i + 1) % 200) > 0.4f;
		}

	CHECK(n_next >= 85);
	stop(&f);
}

/* a b c, a b c, ... and x b d, x b d: what follows b depends. */
static void two_chunks_tell_what_one_does_not(void)
{
	struct fixture f = start(&proposer_markov);

	for (uint32_t i = 0; i < 40; i++) {
		read_chunk(&f, 100);
		read_chunk(&f, 110);
		read_chunk(&f, 125);
		read_chunk(&f, 140);
		read_chunk(&f, 110);
		read_chunk(&f, 161);
	}
	read_chunk(&f, 100);
	read_chunk(&f, 110);

	CHECK(chance_of(&f, 125) > 0.6f);
	CHECK(chance_of(&f, 161) < chance_of(&f, 125));
	stop(&f);
}

static void two_first_touches_tell_which_session_it_is(void)
{
	struct fixture f = start(&proposer_markov);

	for (uint64_t i = 0; i < 10; i++) {
		read_chunk(&f, i % 2 ? 100000 : 200000);
		read_chunk(&f, 300000);
		read_chunk(&f, i % 2 ? 400000 : 500000);
		session_again(&f);
	}
	read_chunk(&f, 100000);
	read_chunk(&f, 300000);

	CHECK(chance_of(&f, 400000) > 0.6f);
	CHECK(!is_named(&f, 500000));
	stop(&f);
}

static void a_chunk_nobody_knew_does_not_break_the_chain(void)
{
	struct fixture f = start(&proposer_markov);

	walk_all(&f, 1);
	session_again(&f);
	for (uint32_t i = 0; i < 50; i++)
		read_chunk(&f, walk(1, i));
	read_chunk(&f, 777);

	CHECK(chance_of(&f, walk(1, 50)) > 0.25f);
	stop(&f);
}

static void readers_in_turns_do_not_confuse_it(void)
{
	struct fixture f = start(&proposer_markov);
	uint32_t n_next = 0;

	/* Each walks its own 200 chunks, the second in bursts of its own. */
	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = 0, k = 0; i < 100; i++) {
			if (next_random(&(uint64_t){round * 100 + i}) % 3 == 0)
				read_bytes(&f, 2,
					   (5000 + walk(2, k++) % 200) * CHUNK,
					   CHUNK);
			read_chunk(&f, walk(1, i) % 200);
			n_next += round == 2 &&
				  chance_of(&f, walk(1, i + 1) % 200) > 0.4f;
		}

	CHECK(n_next >= 85);
	stop(&f);
}

/* Twenty places with two steps of 50, each with an end of its own. */
static void where_steps_are_alike_chunks_tell(void)
{
	struct fixture f = start(&proposer_markov);
	uint32_t n_told = 0;

	for (uint32_t round = 0; round < 3; round++)
		for (uint64_t i = 0; i < 20; i++) {
			uint64_t c = 1000 + 2 * i, end = 1050 + 3 * i;

			read_chunk(&f, c);
			read_chunk(&f, c + 50);
			read_chunk(&f, c + 100);
			n_told += round == 2 && chance_of(&f, end) > 0.5f;
			read_chunk(&f, end);
		}

	CHECK(n_told >= 18);
	stop(&f);
}

/* Steps of 3, 3, 5, 3, 3, 5, ... through a place that was never read. */
static void a_pattern_of_steps_works_where_nobody_has_been(void)
{
	struct fixture f = start(&proposer_markov);
	uint64_t c = 1000;

	for (uint32_t i = 0; i < 150; i++)
		read_chunk(&f, c += i % 3 ? 3 : 5);
	c = 600000;
	read_chunk(&f, c);
	read_chunk(&f, c += 5);
	read_chunk(&f, c += 3);
	read_chunk(&f, c += 3);

	CHECK(chance_of(&f, c + 5) > 0.5f);
	CHECK(chance_of(&f, c + 8) > 0.25f);
	CHECK(chance_of(&f, c + 3) < 0.5f);
	stop(&f);
}

static void steps_are_not_asked_where_chunks_are_known(void)
{
	struct fixture f = start(&proposer_markov);

	for (uint32_t round = 0; round < 2; round++) {
		for (uint64_t c = 1000; c < 1100; c++)
			read_chunk(&f, c);
		if (round == 0) {
			CHECK(chance_of(&f, 1100) > 0.5f);
			read_chunk(&f, 2000);
			session_again(&f);
		}
	}

	CHECK(chance_of(&f, 2000) > 0.5f);
	CHECK(!is_named(&f, 1100));
	stop(&f);
}

static void what_was_wholly_written_is_not_named_until_read(void)
{
	struct fixture f = start(&proposer_markov);

	walk_all(&f, 1);
	session_again(&f);
	f.proposer->wrote(f.session, walk(1, 11), 1, true);
	f.proposer->wrote(f.session, walk(1, 12), 1, false);
	for (uint32_t i = 0; i <= 10; i++)
		read_chunk(&f, walk(1, i));

	CHECK(!is_named(&f, walk(1, 11)));
	CHECK(chance_of(&f, walk(1, 12)) > 0);

	read_chunk(&f, walk(1, 11));
	session_again(&f);
	for (uint32_t i = 0; i <= 10; i++)
		read_chunk(&f, walk(1, i));
	CHECK(chance_of(&f, walk(1, 11)) > 0);
	stop(&f);
}

static void a_long_write_is_taken_in(void)
{
	struct fixture f = start(&proposer_markov);

	f.proposer->wrote(f.session, 0, UINT64_MAX / 2, true);
	read_chunk(&f, 1);

	CHECK_EQ(f.n, 0);
	stop(&f);
}

static void a_repeat_names_nothing(void)
{
	struct fixture f = start(&proposer_markov);

	walk_all(&f, 1);
	session_again(&f);
	read_chunk(&f, walk(1, 0));
	CHECK(f.n > 0);
	read_chunk(&f, walk(1, 0));

	CHECK_EQ(f.n, 0);
	stop(&f);
}

/* Two chunks in turns, either next or the one after: both come soon. */
static void what_comes_soon_is_likely(void)
{
	struct fixture f = start(&proposer_markov);
	uint64_t seed = 1;
	double said = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < 4000; i++) {
		bool is_left = next_random(&seed) & 1;

		read_chunk(&f, 100);
		read_chunk(&f, 200);
		if (i > 2000) {
			said += (double)chance_of(&f, 300);
			n++;
		}
		read_chunk(&f, is_left ? 300 : 400);
	}

	CHECK(said / n > 0.6);
	stop(&f);
}

/* What followed in the first session never does in the second. */
static void what_does_not_come_true_is_believed_less(void)
{
	struct fixture f = start(&proposer_markov);
	float p_at_first = 0, p = 0;

	for (uint32_t i = 0; i < 300; i++) {
		read_chunk(&f, walk(1, i));
		read_chunk(&f, walk(2, i));
	}
	session_again(&f);
	for (uint32_t i = 0; i < 300; i++) {
		read_chunk(&f, walk(1, i));
		p = chance_of(&f, walk(2, i));
		if (i == 10)
			p_at_first = p;
		read_chunk(&f, walk(3, i));
	}

	CHECK(p_at_first > 0.4f);
	CHECK(p < 0.25f);
	stop(&f);
}

static uint64_t digest_of(uint64_t seed)
{
	struct fixture f = start(&proposer_markov);
	uint64_t digest = 0;

	for (uint32_t i = 0; i < 10000; i++) {
		uint64_t r = next_random(&seed);

		read_bytes(&f, (uint32_t)(r % 3), (r >> 40) % 500 * PFS_KIB(40),
			   1 + (r >> 8) % PFS_KIB(200));
		if (r % 50 == 0)
			f.proposer->wrote(f.session, (r >> 30) % 300, 3, true);
		for (uint32_t k = 0; k < f.n; k++)
			digest = digest * 31 + f.named[k].chunk +
				 (uint64_t)(f.named[k].p * 1e6f);
	}
	stop(&f);
	return digest;
}

static void the_same_reads_name_the_same(void)
{
	uint64_t digest = digest_of(3);

	CHECK(digest != 0);
	CHECK(digest == digest_of(3));
}

static void memory_begins_small_and_stays_bounded(void)
{
	struct fixture f = start(&proposer_markov);
	uint64_t seed = 1;

	CHECK(f.proposer->memory(f.image) < PFS_KIB(64));

	for (uint32_t i = 0; i < 300000; i++)
		touch(&f, 1, next_random(&seed) % N_CHUNKS, 0, 4096, true);

	CHECK(f.proposer->memory(f.image) > PFS_MIB(1));
	CHECK(f.proposer->memory(f.image) < PFS_MIB(3));
	stop(&f);
}

int main(void)
{
	RUN(followers_come_most_frequent_first);
	RUN(a_context_keeps_four_followers);
	RUN(a_new_habit_overtakes_an_old_one);
	RUN(growing_loses_little);
	RUN(a_full_table_takes_what_is_new);
	RUN(past_merits_wear_off);
	RUN(the_second_time_it_is_known);
	RUN(within_a_session_it_is_known_too);
	RUN(two_chunks_tell_what_one_does_not);
	RUN(two_first_touches_tell_which_session_it_is);
	RUN(a_chunk_nobody_knew_does_not_break_the_chain);
	RUN(readers_in_turns_do_not_confuse_it);
	RUN(where_steps_are_alike_chunks_tell);
	RUN(a_pattern_of_steps_works_where_nobody_has_been);
	RUN(steps_are_not_asked_where_chunks_are_known);
	RUN(what_was_wholly_written_is_not_named_until_read);
	RUN(a_long_write_is_taken_in);
	RUN(a_repeat_names_nothing);
	RUN(what_comes_soon_is_likely);
	RUN(what_does_not_come_true_is_believed_less);
	RUN(the_same_reads_name_the_same);
	RUN(memory_begins_small_and_stays_bounded);
	return CHECK_RESULT();
}
