/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <stdlib.h>

#include "recording.h"

#define CHUNK 65536u
#define FRAME_LEN (96u + 8u) /* of an encoded recording without its steps */

/* A session that touches n chunks from first on, one a millisecond. */
static struct step *steps_of(uint32_t first, uint32_t n)
{
	struct step *s = calloc(n, sizeof(*s));

	if (!s)
		abort();
	for (uint32_t i = 0; i < n; i++)
		s[i] = (struct step){.chunk = first + i,
				     .gap = recording_gap_class(1000000),
				     .had = 1};
	return s;
}

static struct recording_source source_of(const struct step *s, uint32_t n)
{
	return (struct recording_source){.step = s,
					 .n_steps = n,
					 .chunk = CHUNK,
					 .vm = 7,
					 .duration_ns = 1000,
					 .clock = 1};
}

/* Merge n steps into r, which is given up. */
static struct recording *merged(struct recording *r, const struct step *s,
				uint32_t n, uint64_t vm)
{
	struct recording_source src = source_of(s, n);
	struct recording *latest, *out;

	src.vm = vm;
	src.clock = r ? r->clock + 1 : 1;
	if (recording_create(&src, &latest))
		abort();
	if (!r)
		return latest;
	if (recording_merge(r, latest, &out))
		abort();
	recording_put(r);
	recording_put(latest);
	return out;
}

static struct recording *range(struct recording *r, uint32_t first, uint32_t n)
{
	PFS_AUTO_FREE struct step *s = steps_of(first, n);

	return merged(r, s, n, 7);
}

static uint32_t at(const struct recording *r, uint32_t chunk)
{
	return recording_find(r, chunk, 0, recording_hash(chunk, 0));
}

/* --- the encoded form --- */

static void check_same(const struct recording *a, const struct recording *b)
{
	CHECK_EQ(a->n_steps, b->n_steps);
	CHECK_EQ(a->n_sessions, b->n_sessions);
	CHECK_EQ(a->n_taught, b->n_taught);
	CHECK_EQ(a->taught[1], b->taught[1]);
	CHECK_EQ(a->clock, b->clock);
	CHECK_EQ(a->weight, b->weight);
	CHECK_EQ(a->flags, b->flags);
	for (uint32_t i = 0; i < a->n_steps && i < b->n_steps; i++) {
		CHECK_EQ(a->step[i].chunk, b->step[i].chunk);
		CHECK_EQ(a->step[i].gap, b->step[i].gap);
		CHECK_EQ(a->step[i].had, b->step[i].had);
		CHECK_EQ(a->step[i].again, b->step[i].again);
	}
}

static void what_is_written_is_read_again(void)
{
	struct step s[] = {{0, 0, 1, 0}, {1, 31, 1, 0}, {4000000000u, 7, 1, 0},
			   {5, 1, 1, 0}, {0, 2, 1, 1},  {0, 2, 1, 1}};
	struct recording *r = merged(NULL, s, 6, 7), *again = NULL;
	void *blob = NULL;
	size_t len = 0;

	r = merged(r, s + 1, 2, 8);
	r->flags = RECORDING_SHARED;
	CHECK_EQ(recording_encode(r, &blob, &len), 0);
	CHECK_EQ(recording_decode(blob, len, &again), 0);
	if (again)
		check_same(again, r);
	CHECK_EQ(r->n_steps, 6);
	CHECK_EQ(r->step[5].again, 2);
	recording_put(again);
	recording_put(r);
	free(blob);
}

static void a_boot_takes_few_bytes_a_step(void)
{
	struct step s[1000];
	struct recording *r;
	void *blob = NULL;
	size_t len = 0;

	for (uint32_t i = 0; i < 1000; i++) /* anywhere in 1 GiB */
		s[i] = (struct step){(i * 7919) % 16384, (uint8_t)(i % 20), 1,
				     0};
	r = merged(NULL, s, 1000, 7);
	CHECK_EQ(recording_encode(r, &blob, &len), 0);
	CHECK(len < FRAME_LEN + 1000 * 4);
	free(blob);
	recording_put(r);
	r = range(NULL, 0, 1000); /* in order */
	CHECK_EQ(recording_encode(r, &blob, &len), 0);
	CHECK_EQ(len, FRAME_LEN + 1000);
	free(blob);
	recording_put(r);
}

static void others_can_read_it(void)
{
	struct recording *r = range(NULL, 100, 50);
	struct pfs_recording_info info = {0};
	struct pfs_recording_step step[51] = {0};
	void *blob = NULL;
	size_t len = 0;

	r = range(r, 100, 40);
	CHECK_EQ(recording_encode(r, &blob, &len), 0);
	CHECK_EQ(pfs_recording_info(blob, len, &info), 0);
	CHECK_EQ(info.n_steps, 50);
	CHECK_EQ(info.n_sessions, 2);
	CHECK_EQ(info.taught_by, 7);
	CHECK_EQ(info.read_bytes, 50 * CHUNK);
	CHECK_EQ(pfs_recording_steps(blob, len, step, 50), 0);
	CHECK_EQ(step[39].chunk, 139);
	CHECK_EQ(step[39].n_sessions, 2);
	CHECK_EQ(step[49].n_sessions, 1);
	CHECK(step[49].gap_ns > 500000 && step[49].gap_ns < 2000000);
	CHECK_EQ(pfs_recording_steps(blob, len, step, 51), -EINVAL);
	free(blob);
	recording_put(r);
}

static void damage_is_noticed(void)
{
	struct recording *r = range(NULL, 0, 20), *again = NULL;
	uint8_t *blob = NULL;
	size_t len = 0;

	CHECK_EQ(recording_encode(r, (void **)&blob, &len), 0);
	for (size_t i = 0; i < len; i++) {
		blob[i] ^= 1;
		CHECK_EQ(recording_decode(blob, len, &again), -EBADMSG);
		blob[i] ^= 1;
		CHECK_EQ(recording_decode(blob, i, &again), -EBADMSG);
	}
	CHECK_EQ(recording_decode(blob, len, &again), 0);
	recording_put(again);
	recording_put(r);
	free(blob);
}

static void gaps_keep_their_size(void)
{
	for (uint64_t ns = 1000; ns < 1000 * PFS_NSEC_PER_SEC; ns *= 3) {
		double ratio =
			(double)recording_gap_ns(recording_gap_class(ns)) /
			(double)ns;

		CHECK(ratio > 0.7 && ratio < 1.6);
	}
	CHECK_EQ(recording_gap_class(999), 0);
	CHECK_EQ(recording_gap_class(UINT64_MAX), 31);
}

/* --- merging --- */

static void order_follows_the_latest_session(void)
{
	struct step a[] = {
		{1, 0, 1, 0}, {2, 0, 1, 0}, {3, 0, 1, 0}, {4, 0, 1, 0}};
	struct step b[] = {
		{3, 0, 1, 0}, {1, 0, 1, 0}, {9, 0, 1, 0}, {4, 0, 1, 0}};
	const uint32_t want[] = {3, 1, 2, 9, 4}; /* 2 stays behind 1 */
	struct recording *r = merged(NULL, a, 4, 7);

	r = merged(r, b, 4, 7);

	CHECK_EQ(r->n_steps, 5);
	for (uint32_t i = 0; i < 5 && i < r->n_steps; i++)
		CHECK_EQ(r->step[i].chunk, want[i]);
	CHECK(recording_share(r, at(r, 1)) > 0.99f);
	CHECK(recording_share(r, at(r, 2)) < 0.51f);
	recording_put(r);
}

static void what_sessions_no_longer_touch_fades_out(void)
{
	struct recording *r = range(NULL, 0, 100);
	uint32_t n = 1;

	r = range(r, 0, 90);
	CHECK(at(r, 95) != RECORDING_NONE);
	while (at(r, 95) != RECORDING_NONE && n < 20) {
		r = range(r, 0, 90);
		n++;
	}
	CHECK(n >= 3 && n <= 8);
	CHECK_EQ(r->n_steps, 90);
	recording_put(r);
}

static void the_size_is_capped_and_what_most_had_stays(void)
{
	struct recording *r = range(NULL, 100000, 30000);
	PFS_AUTO_FREE struct step *s = steps_of(0, 70000);
	uint32_t n = 0;

	for (uint32_t i = 40000; i < 70000; i++)
		s[i].chunk += 60000; /* what both have comes last */
	r = merged(r, s, 70000, 7);

	CHECK_EQ(r->n_steps, PFS_RECORDING_STEPS_MAX);
	for (uint32_t chunk = 100000; chunk < 130000; chunk++)
		n += at(r, chunk) != RECORDING_NONE;
	CHECK_EQ(n, 30000);
	CHECK(at(r, 0) != RECORDING_NONE);
	CHECK_EQ(at(r, 39999), RECORDING_NONE);
	recording_put(r);
}

static void a_chunk_is_recorded_once(void)
{
	struct step s[] = {{1, 0, 1, 0}, {2, 0, 1, 0}, {1, 0, 1, 0}};
	struct recording *r = merged(NULL, s, 3, 7);

	CHECK_EQ(r->n_steps, 2);
	r = merged(r, s, 3, 7);
	CHECK_EQ(r->n_steps, 2);
	recording_put(r);
}

static void teachers_are_counted_and_the_first_remembered(void)
{
	struct step s[] = {{1, 0, 1, 0}};
	struct recording *r = merged(NULL, s, 1, 1);

	CHECK(!recording_is_of(r, 0)); /* unknown: anybody */
	for (uint64_t vm = 0; vm < 7; vm++)
		r = merged(r, s, 1, vm);
	CHECK_EQ(r->n_taught, 6);
	CHECK(recording_is_of(r, 4));
	CHECK(!recording_is_of(r, 5));
	recording_put(r);
}

/* --- likeness --- */

/* A boot of n chunks and a workload of m, elsewhere for each number. */
static double likeness(uint32_t n, uint32_t m, uint32_t number,
		       const struct recording *r)
{
	PFS_AUTO_FREE struct step *s = steps_of(0, n + m);
	struct recording_source src = source_of(s, n + m);
	struct recording *session;
	double like;

	for (uint32_t i = n; i < n + m; i++)
		s[i].chunk += number * 10000;
	if (recording_create(&src, &session))
		abort();
	like = recording_likeness(session, r);
	recording_put(session);
	return like;
}

static void another_tail_is_another_workload(void)
{
	struct recording *boot = range(NULL, 0, 500);
	struct recording *work = range(NULL, 0, 900);

	CHECK(likeness(500, 0, 0, boot) > 0.99);
	CHECK(likeness(450, 0, 0, boot) > 0.6);
	CHECK(likeness(500, 400, 0, boot) < RECORDING_ALIKE);
	CHECK(likeness(500, 0, 0, work) < RECORDING_ALIKE);
	CHECK(likeness(500, 400, 1, work) < RECORDING_ALIKE);
	CHECK(likeness(500, 380, 0, work) > 0.9);
	CHECK(likeness(500, 300, 0, work) > RECORDING_ALIKE);
	recording_put(boot);
	recording_put(work);
}

int main(void)
{
	RUN(what_is_written_is_read_again);
	RUN(a_boot_takes_few_bytes_a_step);
	RUN(others_can_read_it);
	RUN(damage_is_noticed);
	RUN(gaps_keep_their_size);
	RUN(order_follows_the_latest_session);
	RUN(what_sessions_no_longer_touch_fades_out);
	RUN(the_size_is_capped_and_what_most_had_stays);
	RUN(a_chunk_is_recorded_once);
	RUN(teachers_are_counted_and_the_first_remembered);
	RUN(another_tail_is_another_workload);
	return CHECK_RESULT();
}
