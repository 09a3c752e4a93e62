/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs of one stream; what lies around a read is test_nearby's. */
#include "proposer_fixture.h"

#define FAR_AWAY 500000ull

/* How many chunks in a row, `step` apart, are named after one. */
static uint32_t ahead(const struct fixture *f, uint64_t chunk, int64_t step)
{
	uint32_t n = 0;

	while (chance_of(f, chunk + (uint64_t)(step * (int64_t)(n + 1))) > 0)
		n++;
	return n;
}

static void a_reader_that_goes_on_is_run_ahead_of_up_to_2_mib(void)
{
	struct fixture f = start(&proposer_sequential);
	uint32_t widest = 0, at_8 = 0;

	for (uint64_t c = 1000; c < 1100; c++) {
		read_chunk(&f, c);
		at_8 = c == 1007 ? ahead(&f, c, 1) : at_8;
		widest = PFS_MAX(widest, ahead(&f, c, 1));
	}

	CHECK(at_8 >= 4 && at_8 <= 16);
	CHECK_EQ(widest, PFS_MIB(2) / CHUNK);
	CHECK(chance_of(&f, 1100) > 0.8f);
	stop(&f);
}

static void the_next_chunk_is_the_likeliest(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 1000; c < 1016; c++)
		read_chunk(&f, c);

	CHECK(chance_of(&f, 1016) >= chance_of(&f, 1030));
	CHECK(chance_of(&f, 1016) > 0);
	stop(&f);
}

static void a_reader_backward_is_run_ahead_of_too(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 1000; c > 960; c--)
		read_chunk(&f, c);

	CHECK(ahead(&f, 961, -1) >= 16);
	stop(&f);
}

static void nothing_below_the_first_chunk_is_named(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 40; c > 0; c--)
		read_chunk(&f, c - 1); /* check_named() looks */

	CHECK_EQ(ahead(&f, 0, -1), 0);
	stop(&f);
}

static void a_stride_is_followed_once_seen_three_times(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t i = 0; i < 3; i++)
		read_chunk(&f, 1000 + 20 * i);
	CHECK_EQ(ahead(&f, 1040, 20), 0);

	read_chunk(&f, 1060);

	CHECK(ahead(&f, 1060, 20) >= 2);
	stop(&f);
}

static void a_jump_starts_anew(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 1000; c < 1064; c++)
		read_chunk(&f, c);
	CHECK(ahead(&f, 1063, 1) > 16);

	read_chunk(&f, FAR_AWAY);

	CHECK(ahead(&f, FAR_AWAY, 1) <= 8);
	CHECK(!is_named(&f, 1064));
	stop(&f);
}

/* Within one stream: some metadata is read in between. */
static void a_look_elsewhere_does_not_end_a_run(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 1000; c < 1032; c++) {
		read_chunk(&f, c);
		if (c % 4 == 0)
			read_bytes(&f, 1, (900 + c % 7) * CHUNK, 4096);
	}
	read_chunk(&f, 1032);

	CHECK(ahead(&f, 1032, 1) >= 16);
	stop(&f);
}

static void a_run_read_again_is_run_ahead_of_again(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t c = 1000; c < 1100; c++)
		read_chunk(&f, c);
	read_chunk(&f, FAR_AWAY);
	for (uint64_t c = 1000; c < 1032; c++)
		read_chunk(&f, c);

	CHECK(ahead(&f, 1031, 1) >= 16);
	stop(&f);
}

/* Many runs of n whole chunks each, after gaps. */
static float chance_after_runs_of(uint64_t n, uint64_t at)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t seed = 1, base = 0;
	float p;

	for (uint32_t i = 0; i < 300; i++) {
		base = next_random(&seed) % (N_CHUNKS - 1000);
		for (uint64_t c = 0; c < n; c++)
			read_chunk(&f, base + c);
	}
	base = next_random(&seed) % (N_CHUNKS - 1000);
	for (uint64_t c = 0; c < at; c++)
		read_chunk(&f, base + c);
	p = chance_of(&f, base + at + 11); /* too far for nearby.c */
	stop(&f);
	return p;
}

static void how_far_runs_go_is_learned(void)
{
	CHECK(chance_after_runs_of(64, 16) > 0.6f);
	CHECK(chance_after_runs_of(17, 16) < 0.4f);
}

/* "Do no harm": reads that go nowhere. */
static void random_reads_are_soon_left_alone(void)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t seed = 5;
	uint32_t worth = 0;

	for (uint32_t i = 0; i < 4000; i++) {
		read_bytes(&f, 1, next_random(&seed) % N_CHUNKS * CHUNK, 4096);
		for (uint32_t k = 0; i >= 1000 && k < f.n; k++)
			worth += f.named[k].p >= 0.25f;
	}

	CHECK(worth * 100 <= 3000);
	stop(&f);
}

/* Whatever is read, what is named is sound (check_named() looks), and the same
 * reads name the same. */
static uint64_t digest_of(uint64_t seed)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t digest = 0, at = 0;

	for (uint32_t i = 0; i < 5000; i++) {
		uint64_t r = next_random(&seed);

		at = r % 8 == 0 ? (r >> 8) % (N_CHUNKS * CHUNK - PFS_MIB(2))
				: at + (r >> 8) % PFS_KIB(200);
		at %= N_CHUNKS * CHUNK - PFS_MIB(2);
		read_bytes(&f, (uint32_t)(r >> 5) % 3, at,
			   1 + (r >> 32) % PFS_MIB(1));
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

static void an_image_with_few_reads_costs_little(void)
{
	struct fixture f = start(&proposer_sequential);

	for (uint64_t i = 0; i < 50; i++)
		read_chunk(&f, i * 100);

	CHECK(f.proposer->memory(f.image) < PFS_KIB(64));
	stop(&f);
}

static void memory_is_bounded_and_given_back(void)
{
	struct fixture f = start(&proposer_sequential);
	uint64_t seed = 9;
	size_t empty;

	for (uint32_t i = 0; i < 100000; i++)
		touch(&f, 1, next_random(&seed) % N_CHUNKS, 0, 4096, true);
	CHECK(f.proposer->memory(f.image) > PFS_KIB(128));
	CHECK(f.proposer->memory(f.image) < PFS_KIB(512));

	f.proposer->session_destroy(f.session);
	empty = f.proposer->memory(f.image);
	CHECK(empty < PFS_KIB(8));
	f.proposer->session_create(f.image, 1, &f.session);
	stop(&f);
}

int main(void)
{
	RUN(a_reader_that_goes_on_is_run_ahead_of_up_to_2_mib);
	RUN(the_next_chunk_is_the_likeliest);
	RUN(a_reader_backward_is_run_ahead_of_too);
	RUN(nothing_below_the_first_chunk_is_named);
	RUN(a_stride_is_followed_once_seen_three_times);
	RUN(a_jump_starts_anew);
	RUN(a_look_elsewhere_does_not_end_a_run);
	RUN(a_run_read_again_is_run_ahead_of_again);
	RUN(how_far_runs_go_is_learned);
	RUN(random_reads_are_soon_left_alone);
	RUN(the_same_reads_name_the_same);
	RUN(an_image_with_few_reads_costs_little);
	RUN(memory_is_bounded_and_given_back);
	return CHECK_RESULT();
}
