/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The whole loop over a source that answers in 5 ms and a store that keeps
 * everything until told otherwise. */
#include <pfs/hash.h>
#include <pfs/predictor.h>
#include <pfs/recording.h>

#include "check.h"

#define MSEC PFS_NSEC_PER_MSEC
#define SEC PFS_NSEC_PER_SEC
#define CHUNK PFS_KIB(64)
#define N_CHUNKS 4096u /* of an image */
#define N_IMAGES 4u
#define FLIGHT 64u
#define ALL ((1u << PFS_PROPOSER_N) - 1)

enum place {
	ABSENT,
	ASKED,
	HERE
};

static struct world {
	struct pfs_predictor *p;
	uint64_t now;
	uint8_t place[N_IMAGES][N_CHUNKS];
	struct pfs_prefetch_order flight[FLIGHT];
	uint64_t due[FLIGHT];
	uint32_t n_flight;
	uint64_t n_ordered, n_hits, n_reads;
} w;

static bool is_absent(void *arg, uint64_t image, uint64_t chunk)
{
	(void)arg;
	return chunk < N_CHUNKS && w.place[image][chunk] == ABSENT;
}

static void start(uint32_t proposers, bool always_wrong)
{
	struct pfs_predictor_config cfg = {.chunk = CHUNK,
					   .level = PFS_PREFETCH_BALANCED,
					   .proposers = proposers,
					   .always_wrong = always_wrong,
					   .seed = 1,
					   .is_absent = is_absent};

	memset(&w, 0, sizeof(w));
	w.now = SEC;
	CHECK_EQ(pfs_predictor_create(&cfg, &w.p), 0);
}

static void stop(void)
{
	pfs_predictor_destroy(w.p);
}

static void pull(void)
{
	struct pfs_prefetch_order o;

	while (w.n_flight < FLIGHT && pfs_predictor_next(w.p, w.now, &o)) {
		for (uint32_t i = 0; i < o.n_chunks; i++)
			w.place[o.image][o.chunk + i] = ASKED;
		w.n_ordered += o.n_chunks;
		w.flight[w.n_flight] = o;
		w.due[w.n_flight++] = w.now + 5 * MSEC;
	}
}

static void land(uint32_t i)
{
	struct pfs_prefetch_order o = w.flight[i];

	for (uint32_t k = 0; k < o.n_chunks; k++)
		w.place[o.image][o.chunk + k] = HERE;
	w.flight[i] = w.flight[--w.n_flight];
	w.due[i] = w.due[w.n_flight];
	pfs_predictor_fetched(w.p, o.id, o.n_chunks, 5 * MSEC, w.now);
}

static void pass(uint64_t ns)
{
	w.now += ns;
	for (uint32_t i = w.n_flight; i-- > 0;)
		if (w.due[i] <= w.now)
			land(i);
	if (pfs_predictor_deadline(w.p) <= w.now)
		pfs_predictor_tick(w.p, w.now);
	pull();
}

static void read_chunk(uint64_t image, uint64_t vm, uint64_t chunk)
{
	uint8_t *place = &w.place[image][chunk];
	struct pfs_access a = {
		.time_ns = w.now,
		.image = image,
		.vm = vm,
		.off = chunk * CHUNK,
		.len = 4096,
		.handle = 1,
		.outcome = *place == HERE    ? PFS_ACCESS_HIT
			   : *place == ASKED ? PFS_ACCESS_LATE
					     : PFS_ACCESS_MISS,
	};

	a.latency_ns = a.outcome == PFS_ACCESS_HIT ? MSEC / 10 : 5 * MSEC;
	w.n_reads++;
	w.n_hits += a.outcome != PFS_ACCESS_MISS;
	pass(a.latency_ns);
	*place = HERE;
	pfs_predictor_observe(w.p, &a, w.now);
	pull();
}

static void open_image(uint64_t image, uint64_t vm)
{
	CHECK_EQ(pfs_predictor_opened(w.p, image, vm, N_CHUNKS * CHUNK, w.now),
		 0);
}

static void close_image(uint64_t image, uint64_t vm)
{
	pfs_predictor_closed(w.p, image, vm, w.now);
	pass(3 * SEC);
}

/* Chunk i of a way through an image that has no strides but goes on for ever,
 * each chunk once in N_CHUNKS. */
static uint64_t way(uint64_t seed, uint64_t i)
{
	uint64_t c = (i + pfs_mix64(seed)) % N_CHUNKS;

	for (int round = 0; round < 3; round++) {
		c = c * 2749 % N_CHUNKS;
		c ^= c >> 5;
	}
	return c;
}

static void walk(uint64_t image, uint64_t vm, uint64_t seed, uint32_t from,
		 uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		read_chunk(image, vm, way(seed, i));
		pass(2 * MSEC);
	}
}

static void cold_store(void)
{
	memset(w.place, ABSENT, sizeof(w.place));
	w.n_hits = w.n_reads = w.n_ordered = 0;
}

static struct pfs_prefetch_stats stats(uint64_t image, uint64_t vm)
{
	struct pfs_prefetch_stats n;

	pfs_predictor_stats(w.p, image, vm, &n);
	return n;
}

static void a_sequential_reader_is_run_ahead_of(void)
{
	start(1u << PFS_PROPOSER_SEQUENTIAL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 300; c++) {
		read_chunk(1, 5, c);
		pass(2 * MSEC);
	}

	CHECK(w.n_hits > 250);
	CHECK(stats(1, 5).used > 250);
	CHECK_EQ(stats(1, 6).used, 0);
	CHECK(stats(0, 0).saved_ns > 200 * 4 * MSEC);
	stop();
}

static void a_known_way_is_run_ahead_of_on_a_cold_store(void)
{
	start(ALL, false);
	open_image(1, 5);
	walk(1, 5, 1, 0, 500);
	close_image(1, 5);
	cold_store();

	open_image(1, 5);
	walk(1, 5, 1, 0, 500);

	CHECK(w.n_hits > 450);
	CHECK(w.n_ordered < 520);
	CHECK(stats(1, 5).score[PFS_PROPOSER_REPLAY].precision > 0.8);
	stop();
}

/* Beside what the planner's budget would stop. */
static void what_nobody_reads_is_soon_no_longer_fetched(void)
{
	start(0, true);
	open_image(1, 5);
	for (uint32_t i = 0; i < 2000; i++) {
		read_chunk(1, 5, i % 300);
		pass(2 * MSEC);
	}

	CHECK(w.n_ordered > 0);
	CHECK(w.n_ordered < 64);
	stop();
}

static void nothing_is_fetched_when_it_is_off_but_all_is_scored(void)
{
	start(ALL, false);
	pfs_predictor_set(w.p, PFS_PREFETCH_OFF, ALL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 300; c++)
		read_chunk(1, 5, c);

	CHECK_EQ(w.n_ordered, 0);
	CHECK(stats(1, 5).score[PFS_PROPOSER_SEQUENTIAL].came > 100);
	stop();
}

static void a_reset_guest_begins_a_new_session(void)
{
	struct pfs_recording_info info;
	struct pfs_saved saved;

	start(ALL, false);
	open_image(1, 5);
	walk(1, 5, 1, 0, 500);
	cold_store();

	CHECK(!pfs_predictor_saved(w.p, &saved));
	walk(1, 5, 1, 0, 500); /* nothing was closed */

	CHECK(w.n_hits > 400);
	CHECK(pfs_predictor_saved(w.p, &saved));
	CHECK_EQ(pfs_recording_info(saved.blob, saved.len, &info), 0);
	CHECK(info.n_steps >= 500 && info.n_steps < 520); /* not both */
	CHECK_EQ(info.n_sessions, 1);
	stop();
}

static void a_session_survives_a_short_close(void)
{
	start(ALL, false);
	open_image(1, 5);
	walk(1, 5, 1, 0, 100);
	pfs_predictor_closed(w.p, 1, 5, w.now);
	pass(SEC);
	open_image(1, 5);
	pass(5 * SEC);
	CHECK_EQ(stats(1, 5).score[PFS_PROPOSER_REPLAY].asked, 100);
	walk(1, 5, 1, 100, 100);

	CHECK_EQ(stats(1, 5).score[PFS_PROPOSER_REPLAY].asked, 200);
	stop();
}

static int count_pair(void *arg, uint64_t image, uint64_t vm)
{
	(void)image;
	(void)vm;
	++*(int *)arg;
	return 0;
}

static void sessions_end_two_seconds_after_the_close(void)
{
	int n = 0;

	start(ALL, false);
	open_image(1, 5);
	open_image(1, 6);
	open_image(2, 5);
	pfs_predictor_closed(w.p, 1, 5, w.now);
	CHECK_EQ(pfs_predictor_deadline(w.p), w.now + 2 * SEC);
	pass(2 * SEC);

	pfs_predictor_each(w.p, count_pair, &n);
	CHECK_EQ(n, 2);
	pfs_predictor_finish(w.p, w.now);
	n = 0;
	pfs_predictor_each(w.p, count_pair, &n);
	CHECK_EQ(n, 0);
	CHECK_EQ(pfs_predictor_deadline(w.p), UINT64_MAX);
	stop();
}

static void a_long_life_is_cut_into_windows(void)
{
	struct pfs_saved saved;

	start(ALL, false);
	open_image(1, 5);
	for (uint32_t i = 0; i < 33000; i++)
		read_chunk(1, 5, way(1, i / 9));

	CHECK(pfs_predictor_saved(w.p, &saved)); /* while it goes on */
	CHECK_EQ(saved.image, 1);
	CHECK(stats(1, 5).score[PFS_PROPOSER_REPLAY].asked >= 3600);
	stop();
}

static void learning_survives_being_saved_and_given_back(void)
{
	struct pfs_saved saved;
	uint8_t blob[65536];
	size_t len;

	start(ALL, false);
	open_image(1, 5);
	walk(1, 5, 1, 0, 500);
	pfs_predictor_finish(w.p, w.now);
	CHECK(pfs_predictor_saved(w.p, &saved));
	CHECK(saved.blob && saved.len <= sizeof(blob));
	len = PFS_MIN(saved.len, sizeof(blob));
	memcpy(blob, saved.blob, len);
	CHECK(!pfs_predictor_saved(w.p, &saved));
	stop();

	start(ALL, false);
	open_image(1, 5);
	CHECK_EQ(pfs_predictor_restore(w.p, 1, 1, blob, len), 0);
	walk(1, 5, 1, 0, 500);
	CHECK(w.n_hits > 450);
	blob[len / 2] ^= 1;
	CHECK_EQ(pfs_predictor_restore(w.p, 1, 2, blob, len), -EBADMSG);
	CHECK_EQ(pfs_predictor_restore(w.p, 9, 1, blob, len), -ENOENT);
	CHECK_EQ(pfs_predictor_drop(w.p, 1, 0), 0);
	CHECK_EQ(pfs_predictor_drop(w.p, 1, 0), -ENOENT);
	stop();
}

static void why_says_who_named_a_chunk_and_what_became_of_it(void)
{
	struct pfs_why why[2];

	start(1u << PFS_PROPOSER_SEQUENTIAL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 100; c++) {
		read_chunk(1, 5, c);
		pass(10 * MSEC);
	}

	CHECK_EQ(pfs_predictor_why(w.p, 1, 90, why, 2), 1);
	CHECK_EQ(why[0].vm, 5);
	CHECK_EQ(why[0].fate, PFS_WHY_USED);
	CHECK_EQ(why[0].proposers, 1u << PFS_PROPOSER_SEQUENTIAL);
	CHECK(why[0].ended_ns > why[0].asked_ns);
	stop();
}

static void what_is_fetched_and_evicted_is_extra(void)
{
	uint64_t n_pending;

	start(1u << PFS_PROPOSER_SEQUENTIAL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 100; c++) {
		read_chunk(1, 5, c);
		pass(10 * MSEC);
	}
	n_pending = stats(1, 5).pending;
	CHECK(n_pending > 0);

	for (uint64_t c = 100; c < N_CHUNKS; c++)
		pfs_predictor_evicted(w.p, 1, c);

	CHECK_EQ(stats(1, 5).extra, n_pending);
	CHECK_EQ(stats(1, 5).pending, 0);
	CHECK_EQ(stats(1, 5).issued, stats(1, 5).used + n_pending);
	stop();
}

static void warming_brings_it_all_and_blames_nobody(void)
{
	start(ALL, false);
	CHECK_EQ(pfs_predictor_warm(w.p, 1, 0, 64, false, w.now), -ENOENT);
	open_image(1, 5);
	CHECK_EQ(pfs_predictor_warm(w.p, 1, 0, 64, true, w.now), -ENOENT);
	CHECK_EQ(pfs_predictor_warm(w.p, 1, 100, 600, false, w.now), 0);
	for (int i = 0; i < 1000; i++)
		pass(5 * MSEC);

	CHECK_EQ(pfs_predictor_warming(w.p, 1), 0);
	for (uint64_t c = 100; c < 700; c++)
		CHECK_EQ(w.place[1][c], HERE);
	CHECK_EQ(w.n_ordered, 600);
	CHECK_EQ(stats(0, 0).issued, 0);
	pass(100 * SEC);
	CHECK_EQ(stats(0, 0).extra, 0);
	stop();
}

/* Nothing is in flight that would bring the caller back: its deadlines do. */
static void warming_gets_past_what_is_there(void)
{
	start(ALL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 4000; c++)
		w.place[1][c] = HERE;

	CHECK_EQ(pfs_predictor_warm(w.p, 1, 0, N_CHUNKS, false, w.now), 0);
	pull();
	while (!w.n_flight && pfs_predictor_deadline(w.p) < w.now + SEC)
		pass(pfs_predictor_deadline(w.p) - w.now);

	CHECK(w.n_flight);
	CHECK(w.place[1][4000] == ASKED);
	stop();
}

static void a_recording_can_be_warmed(void)
{
	start(ALL, false);
	open_image(1, 5);
	walk(1, 5, 1, 0, 200);
	close_image(1, 5);
	cold_store();
	open_image(1, 5);

	CHECK_EQ(pfs_predictor_warm(w.p, 1, 0, 0, true, w.now), 0);
	for (int i = 0; i < 500; i++)
		pass(5 * MSEC);

	CHECK_EQ(w.n_ordered, 200);
	CHECK_EQ(w.place[1][way(1, 199)], HERE);
	stop();
}

static void what_a_guest_wrote_itself_is_not_replayed(void)
{
	struct pfs_access a = {
		.image = 1, .vm = 5, .len = CHUNK, .is_write = true};
	struct pfs_why why;

	start(1u << PFS_PROPOSER_REPLAY, false);
	open_image(1, 5);
	for (uint32_t i = 0; i < 20; i++) {
		a.off = way(1, i) * CHUNK;
		a.time_ns = w.now;
		pfs_predictor_observe(w.p, &a, w.now);
	}
	walk(1, 5, 1, 0, 200); /* the first are its own bytes */
	close_image(1, 5);
	cold_store();
	open_image(1, 5);
	walk(1, 5, 1, 0, 70);

	CHECK_EQ(pfs_predictor_why(w.p, 1, way(1, 69), &why, 1), 1);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQ(pfs_predictor_why(w.p, 1, way(1, i), &why, 1), 0);
	stop();
}

static void what_one_vm_taught_is_proved_before_others_follow(void)
{
	uint64_t first;

	start(1u << PFS_PROPOSER_REPLAY, false);
	open_image(1, 5);
	open_image(1, 6); /* so the image is shared */
	walk(1, 5, 1, 0, 1000);
	close_image(1, 5);
	cold_store();

	walk(1, 6, 1, 0, 60);
	first = w.n_ordered;
	walk(1, 6, 1, 60, 900);

	CHECK_EQ(first, 0);
	CHECK(w.n_hits > 500);
	stop();
}

static void unknown_images_and_vms_are_ignored(void)
{
	struct pfs_access a = {.image = 1, .vm = 5, .len = 4096};

	start(ALL, false);
	pfs_predictor_observe(w.p, &a, w.now);
	pfs_predictor_closed(w.p, 1, 5, w.now);
	pfs_predictor_evicted(w.p, 1, 5);
	pfs_predictor_changed(w.p, 1);
	pfs_predictor_gone(w.p, 1);
	pfs_predictor_fetched(w.p, 77, 1, MSEC, w.now);
	open_image(1, 5);
	a.vm = 6;
	pfs_predictor_observe(w.p, &a, w.now);

	CHECK_EQ(stats(0, 0).score[PFS_PROPOSER_REPLAY].asked, 0);
	stop();
}

static void a_gone_image_is_forgotten_while_fetches_are_under_way(void)
{
	start(ALL, false);
	open_image(1, 5);
	for (uint64_t c = 0; c < 50; c++)
		read_chunk(1, 5, c);
	CHECK(w.n_flight > 0);

	pfs_predictor_gone(w.p, 1);
	pass(100 * SEC);

	CHECK_EQ(pfs_predictor_memory(w.p, 1), 0);
	CHECK_EQ(stats(0, 0).pending, 0);
	stop();
}

static void the_same_events_give_the_same_orders(void)
{
	uint64_t n[2];

	for (int i = 0; i < 2; i++) {
		start(ALL, true);
		open_image(1, 5);
		walk(1, 5, 3, 0, 300);
		n[i] = w.n_ordered * 1000 + w.n_hits;
		stop();
	}
	CHECK_EQ(n[0], n[1]);
}

/* Each VM that opens an image has a session: there must be an end to it. */
static void sessions_are_bounded(void)
{
	uint64_t size = N_CHUNKS * CHUNK;
	uint64_t vm = 1;
	int err = 0;

	start(1u << PFS_PROPOSER_SEQUENTIAL, false);
	while (!err && vm < 5000)
		err = pfs_predictor_opened(w.p, 1, vm++, size, w.now);
	CHECK_EQ(err, -ENOSPC);
	pfs_predictor_closed(w.p, 1, 1, w.now);
	pass(3 * SEC);
	CHECK_EQ(pfs_predictor_opened(w.p, 1, vm, size, w.now), 0);
	pfs_predictor_gone(w.p, 1);
	CHECK_EQ(pfs_predictor_opened(w.p, 1, vm, size, w.now), 0);
	stop();
}

int main(void)
{
	RUN(a_sequential_reader_is_run_ahead_of);
	RUN(a_known_way_is_run_ahead_of_on_a_cold_store);
	RUN(what_nobody_reads_is_soon_no_longer_fetched);
	RUN(nothing_is_fetched_when_it_is_off_but_all_is_scored);
	RUN(a_reset_guest_begins_a_new_session);
	RUN(a_session_survives_a_short_close);
	RUN(sessions_end_two_seconds_after_the_close);
	RUN(a_long_life_is_cut_into_windows);
	RUN(learning_survives_being_saved_and_given_back);
	RUN(why_says_who_named_a_chunk_and_what_became_of_it);
	RUN(what_is_fetched_and_evicted_is_extra);
	RUN(warming_brings_it_all_and_blames_nobody);
	RUN(warming_gets_past_what_is_there);
	RUN(a_recording_can_be_warmed);
	RUN(what_a_guest_wrote_itself_is_not_replayed);
	RUN(what_one_vm_taught_is_proved_before_others_follow);
	RUN(unknown_images_and_vms_are_ignored);
	RUN(a_gone_image_is_forgotten_while_fetches_are_under_way);
	RUN(the_same_events_give_the_same_orders);
	RUN(sessions_are_bounded);
	return CHECK_RESULT();
}
