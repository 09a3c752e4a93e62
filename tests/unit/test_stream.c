/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What one handle reads is split by nearness. */
#include "check.h"
#include "stream.h"

#define CHUNK PFS_KIB(64)
#define NEAR (STREAM_NEAR / CHUNK)

static struct touch touched(struct streams *s, uint32_t handle, uint64_t chunk)
{
	struct touch t = {.chunk = chunk};

	streams_touch(s, handle, &t);
	CHECK(t.stream < STREAMS_MAX);
	return t;
}

static void the_first_touch_starts_a_stream(void)
{
	struct streams s;
	struct touch t;

	streams_init(&s, CHUNK);

	t = touched(&s, 1, 0);

	CHECK(t.is_new_stream);
	CHECK(t.delta == DELTA_NONE);
}

static void a_near_touch_goes_on(void)
{
	struct streams s;
	struct touch a, b, c;

	streams_init(&s, CHUNK);

	a = touched(&s, 1, 5000);
	b = touched(&s, 1, 5000 + NEAR);
	c = touched(&s, 1, 5000);

	CHECK(!b.is_new_stream && !c.is_new_stream);
	CHECK_EQ(b.stream, a.stream);
	CHECK_EQ(c.stream, a.stream);
	CHECK_EQ(b.delta, NEAR);
	CHECK_EQ(c.delta, -(int64_t)NEAR);
}

static void a_far_touch_starts_another(void)
{
	struct streams s;
	struct touch a, b;

	streams_init(&s, CHUNK);

	a = touched(&s, 1, 5000);
	b = touched(&s, 1, 5000 + NEAR + 1);

	CHECK(b.is_new_stream);
	CHECK(b.stream != a.stream);
}

static void handles_do_not_mix(void)
{
	struct streams s;
	struct touch a, b;

	streams_init(&s, CHUNK);

	a = touched(&s, 1, 100);
	b = touched(&s, 2, 101);

	CHECK(b.is_new_stream);
	CHECK(b.stream != a.stream);
	CHECK_EQ(touched(&s, 1, 102).delta, 2);
	CHECK_EQ(touched(&s, 2, 102).delta, 1);
}

static void the_nearest_head_is_taken(void)
{
	struct streams s;
	struct touch low, high;

	streams_init(&s, CHUNK);
	low = touched(&s, 1, 1000);
	high = touched(&s, 1, 1000 + NEAR + 10);

	CHECK_EQ(touched(&s, 1, 1000 + NEAR).stream, high.stream);
	CHECK_EQ(touched(&s, 1, 1001).stream, low.stream);
}

/* Two readers that have come to the same place: the one that goes on is the
 * one that read last. */
static void of_two_equally_near_the_latest_is_taken(void)
{
	struct streams s;
	uint32_t low, high;

	streams_init(&s, CHUNK);
	low = touched(&s, 1, 1000).stream;
	high = touched(&s, 1, 1000 + 2 * NEAR).stream;
	for (uint64_t d = NEAR; d > 1; d = (d + 1) / 2)
		CHECK_EQ(touched(&s, 1, 1000 + d).stream, high);

	CHECK_EQ(touched(&s, 1, 1001).stream, high);
	CHECK(low != high);
}

static void readers_far_apart_keep_their_streams(void)
{
	struct streams s;
	uint32_t stream[STREAMS_MAX];

	streams_init(&s, CHUNK);
	for (uint32_t i = 0; i < STREAMS_MAX; i++)
		stream[i] = touched(&s, 1, i * 1000ull).stream;

	for (uint64_t step = 1; step < 100; step++)
		for (uint32_t i = 0; i < STREAMS_MAX; i++) {
			struct touch t = touched(&s, 1, i * 1000ull + step);

			CHECK_EQ(t.stream, stream[i]);
			CHECK_EQ(t.delta, 1);
		}
}

static void one_too_many_takes_the_place_of_the_least_used(void)
{
	struct streams s;
	uint32_t second;

	streams_init(&s, CHUNK);
	touched(&s, 1, 0);
	second = touched(&s, 1, 1000).stream;
	for (uint64_t i = 2; i < STREAMS_MAX; i++)
		touched(&s, 1, i * 1000);
	touched(&s, 1, 1); /* the first one is in use again */

	CHECK_EQ(touched(&s, 1, 1000000).stream, second);
	CHECK(!touched(&s, 1, 2).is_new_stream);
	CHECK(touched(&s, 1, 1001).is_new_stream);
}

static void huge_chunks_have_near_ones_too(void)
{
	struct streams s;

	streams_init(&s, 4u * (uint32_t)STREAM_NEAR);
	touched(&s, 1, 10);

	CHECK(!touched(&s, 1, 11).is_new_stream);
	CHECK(touched(&s, 1, 13).is_new_stream);
}

int main(void)
{
	RUN(the_first_touch_starts_a_stream);
	RUN(a_near_touch_goes_on);
	RUN(a_far_touch_starts_another);
	RUN(handles_do_not_mix);
	RUN(the_nearest_head_is_taken);
	RUN(of_two_equally_near_the_latest_is_taken);
	RUN(readers_far_apart_keep_their_streams);
	RUN(one_too_many_takes_the_place_of_the_least_used);
	RUN(huge_chunks_have_near_ones_too);
	return CHECK_RESULT();
}
