/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <stdlib.h>

#include <pfs/hash.h>

#include "proposer.h"
#include "recording.h"
#include "replay.h"

#define CHUNK 65536u
#define N_CHUNKS 200000u
#define BOOT 500u
#define WORK 300u
#define WORK_AT(number) (10000u * (number))

/* A session under way, and how well it is foretold. */
struct played {
	void *session;
	uint8_t *state; /* of chunks: NAMED, TOUCHED */
	uint64_t now;
	uint32_t n_touches, n_foretold, n_named, n_wrong;
};

enum {
	NAMED = 1,
	TOUCHED = 2,
};

static const struct proposer *const replay = &proposer_replay;

static void *image_new(void)
{
	struct learning_config cfg = {.chunk = CHUNK, .n_chunks = N_CHUNKS};
	void *image;

	if (replay->image_create(&cfg, &image))
		abort();
	return image;
}

static struct played begin(void *image, uint64_t vm)
{
	struct played p = {.state = calloc(1, N_CHUNKS)};

	if (!p.state || replay->session_create(image, vm, &p.session))
		abort();
	return p;
}

static void end(struct played *p)
{
	replay->session_destroy(p->session);
	p->session = NULL;
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		p->n_wrong += p->state[i] == NAMED;
	free(p->state);
}

static void note_named(struct played *p)
{
	struct candidate c[CANDIDATES_MAX];
	uint32_t n = replay->propose(p->session, c, CANDIDATES_MAX);

	for (uint32_t i = 0; i < n; i++) {
		CHECK(c[i].p >= 0 && c[i].p <= 1);
		CHECK(c[i].distance >= 1);
		p->n_named += !p->state[c[i].chunk];
		p->state[c[i].chunk] |= NAMED;
	}
}

static void touch(struct played *p, uint64_t chunk,
		  enum pfs_access_outcome outcome)
{
	struct touch t = {.time_ns = p->now += 1000000,
			  .chunk = chunk,
			  .len = 4096,
			  .is_first = !(p->state[chunk] & TOUCHED),
			  .is_last = true,
			  .outcome = outcome};

	p->n_foretold += (p->state[chunk] & NAMED) != 0;
	p->n_touches++;
	p->state[chunk] |= TOUCHED;
	replay->observe(p->session, &t);
	note_named(p);
}

/* What a boot touches: runs of chunks here and there. */
static uint64_t boot_chunk(uint32_t i)
{
	return pfs_mix64(i / 4) % 1000 * 4 + i % 4;
}

static void touch_boot(struct played *p)
{
	for (uint32_t i = 0; i < BOOT; i++)
		if (!(p->state[boot_chunk(i)] & TOUCHED))
			touch(p, boot_chunk(i), PFS_ACCESS_MISS);
}

static void touch_range(struct played *p, uint64_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		touch(p, first + i, PFS_ACCESS_MISS);
}

/* A boot, and then work of a number; 0: none. */
static struct played play(void *image, uint64_t vm, uint32_t number)
{
	struct played p = begin(image, vm);

	touch_boot(&p);
	if (number)
		touch_range(&p, WORK_AT(number), WORK);
	end(&p);
	return p;
}

static uint32_t n_recordings(void *image)
{
	uint64_t chunks[1], number;
	const void *blob;
	size_t len;
	uint32_t n = 0;

	(void)replay_best(image, 0, chunks, 1);
	while (replay_saved(image, &number, &blob, &len))
		n += blob != NULL;
	return n;
}

/* --- following --- */

static void a_session_that_repeats_is_foretold(void)
{
	void *image = image_new();
	struct played p = play(image, 1, 1);

	CHECK_EQ(p.n_named, 0);
	p = play(image, 1, 1);

	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	CHECK_EQ(p.n_wrong, 0);
	replay->image_destroy(image);
}

static void disorder_nearby_does_not_matter(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	p = begin(image, 1);
	touch_boot(&p);
	for (uint32_t i = 0; i < WORK;
	     i++) /* each thirty the wrong way round */
		touch(&p, WORK_AT(1) + i / 30 * 30 + 29 - i % 30,
		      PFS_ACCESS_MISS);
	end(&p);

	CHECK(p.n_foretold * 100 >= p.n_touches * 98);
	CHECK_EQ(p.n_wrong, 0);
	replay->image_destroy(image);
}

static void behind_a_fork_only_what_comes_true_is_named(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	(void)play(image, 1, 2);
	(void)play(image, 1, 3);
	p = play(image, 1, 2);

	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	CHECK(p.n_wrong <= 2 * 8);
	replay->image_destroy(image);
	image = image_new();
	(void)play(image, 1, 1);
	(void)play(image, 1, 2); /* the likelier one, but not by far */
	p = play(image, 1, 1);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	CHECK(p.n_wrong <= 8);
	replay->image_destroy(image);
}

static void where_the_known_ends_little_is_wasted(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	p = play(image, 1, 9);

	CHECK(p.n_wrong <= 64);
	CHECK(p.n_foretold >= BOOT / 2);
	replay->image_destroy(image);
}

static void it_is_found_again_in_the_middle(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	p = begin(image, 1);
	touch_range(&p, WORK_AT(7), 100); /* something new first */
	touch_range(&p, WORK_AT(1) + 50, 200);
	end(&p);

	CHECK(p.n_foretold >= 190);
	replay->image_destroy(image);
}

static void programs_side_by_side_are_all_followed(void)
{
	void *image = image_new();
	struct played p = begin(image, 1);

	for (uint32_t i = 0; i < WORK; i++)
		for (uint32_t k = 1; k <= 2; k++)
			touch(&p, WORK_AT(k) + i, PFS_ACCESS_MISS);
	end(&p);
	p = begin(image, 1); /* now one is far ahead of the other */
	touch_range(&p, WORK_AT(1), 150);
	for (uint32_t i = 0; i < 150; i++) {
		touch(&p, WORK_AT(1) + 150 + i, PFS_ACCESS_MISS);
		touch(&p, WORK_AT(2) + i, PFS_ACCESS_MISS);
	}
	end(&p);

	CHECK(p.n_foretold * 100 >= p.n_touches * 95);
	replay->image_destroy(image);
}

static void random_touches_call_forth_next_to_nothing(void)
{
	void *image = image_new();
	struct played p;

	for (uint32_t s = 1; s <= 2; s++) {
		p = begin(image, 1);
		for (uint32_t i = 0; i < 5000; i++)
			touch(&p, pfs_mix64(i + s * 10000) % 16384,
			      PFS_ACCESS_MISS);
		end(&p);
	}
	CHECK(p.n_wrong <= 5000 / 50);
	replay->image_destroy(image);
}

/* --- what is recorded --- */

static void a_short_session_leaves_nothing(void)
{
	void *image = image_new();
	struct played p = begin(image, 1);

	touch_range(&p, 0, 63);
	end(&p);
	CHECK_EQ(n_recordings(image), 0);
	p = begin(image, 1);
	touch_range(&p, 0, 64);
	end(&p);
	CHECK_EQ(n_recordings(image), 1);
	replay->image_destroy(image);
}

static void what_the_guest_wrote_itself_is_left_out(void)
{
	void *image = image_new();
	struct played p = begin(image, 1);
	uint64_t chunks[200];

	replay->wrote(p.session, 50, 10, true);
	replay->wrote(p.session, 60, 5, true);
	replay->wrote(p.session, 70, 1, false); /* in part: the rest is read */
	touch_range(&p, 0, 100);
	replay->wrote(p.session, 90, 1, true); /* it had been read before */
	end(&p);

	CHECK_EQ(replay_best(image, 0, chunks, 200), 85);
	CHECK_EQ(chunks[49], 49);
	CHECK_EQ(chunks[50], 65);
	CHECK_EQ(replay_best(image, 80, chunks, 200), 5);
	replay->image_destroy(image);
}

static void holes_are_left_out(void)
{
	void *image = image_new();
	struct played p = begin(image, 1);
	uint64_t chunks[200];

	touch(&p, 150, PFS_ACCESS_HOLE);
	touch_range(&p, 0, 100);
	end(&p);

	CHECK_EQ(replay_best(image, 0, chunks, 200), 100);
	replay->image_destroy(image);
}

/* Chunk 0 and a long way later chunk 0 again, gone by then or not. */
static struct played play_again(void *image, enum pfs_access_outcome outcome)
{
	struct played p = begin(image, 1);

	touch_range(&p, 0, 400);
	p.state[0] = TOUCHED; /* what was named before is forgotten */
	touch(&p, 0, outcome);
	touch_range(&p, 400, 100);
	end(&p);
	return p;
}

static void what_was_evicted_and_read_again_is_named_again(void)
{
	void *image = image_new();
	struct played p = play_again(image, PFS_ACCESS_MISS);

	for (int i = 0; i < 8; i++) { /* and stays known when it was of use */
		p = begin(image, 1);
		touch_range(&p, 0, 390);
		p.state[0] = TOUCHED;
		touch_range(&p, 390, 10);
		CHECK(p.state[0] & NAMED);
		touch(&p, 0, PFS_ACCESS_HIT);
		touch_range(&p, 400, 100);
		end(&p);
	}
	replay->image_destroy(image);
	image = image_new();
	(void)play_again(image, PFS_ACCESS_HIT);
	p = play_again(image, PFS_ACCESS_HIT);
	CHECK_EQ(p.n_foretold, 499); /* chunks 1 to 499 */
	replay->image_destroy(image);
}

static void workloads_are_kept_apart_and_the_least_used_leaves(void)
{
	void *image = image_new();
	struct played p;

	for (uint32_t number = 0; number < 8; number++)
		(void)play(image, 1, number);
	CHECK_EQ(n_recordings(image), 8);
	(void)play(image, 1, 0);
	CHECK_EQ(n_recordings(image), 1); /* one of them has changed */
	(void)play(image, 1, 8);
	p = play(image, 1, 1);
	CHECK(p.n_foretold < BOOT + 10);
	p = play(image, 1, 2);
	CHECK(p.n_foretold < BOOT + 10); /* which had to go for the first */
	p = play(image, 1, 8);
	CHECK(p.n_foretold > BOOT / 2 + WORK);
	replay->image_destroy(image);
}

static void memory_is_bounded(void)
{
	void *image = image_new();

	for (uint32_t number = 0; number < 6; number++) {
		struct played p = begin(image, 1);

		touch_range(&p, number * 30000, 50000);
		if (number == 5)
			CHECK(replay->memory(image) <= PFS_MIB(4));
		end(&p);
		CHECK(replay->memory(image) <= PFS_MIB(4));
	}
	replay->image_destroy(image);
	image = image_new();
	CHECK(replay->memory(image) <= 4096);
	replay->image_destroy(image);
}

static void a_session_goes_on_while_others_end(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	p = begin(image, 1);
	touch_boot(&p);
	for (int i = 0; i < 20; i++) /* each makes a new version */
		(void)play(image, 1, 1);
	touch_range(&p, WORK_AT(1), WORK);
	end(&p);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	p = play(image, 1, 1);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	replay->image_destroy(image);
}

/* --- trust --- */

static void what_another_vm_taught_is_proved_first(void)
{
	void *image = image_new();
	struct played p;

	replay_set_trust(image, true, false);
	(void)play(image, 1, 1);
	p = begin(image, 2);
	touch_boot(&p);
	CHECK(p.n_foretold > 0);
	CHECK(p.n_foretold + 64 <= p.n_touches);
	touch_range(&p, WORK_AT(1), WORK);
	end(&p);
	CHECK(p.n_foretold + 150 >= p.n_touches);
	p = play(image, 2, 1); /* now it has taught it too */
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	p = play(image, 0, 1); /* nobody knows who that is */
	CHECK(p.n_foretold + 64 <= p.n_touches);
	replay_set_trust(image, true, true);
	p = play(image, 3, 1);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	replay->image_destroy(image);
}

/* A recording that begins like the boot and then lures elsewhere. */
static void poison_costs_others_nothing(void)
{
	void *image = image_new();
	struct played p;

	replay_set_trust(image, true, false);
	p = begin(image, 66);
	for (uint32_t i = 0; i < BOOT; i++) {
		touch(&p, boot_chunk(i), PFS_ACCESS_MISS);
		touch(&p, WORK_AT(3) + 3 * i, PFS_ACCESS_MISS);
		touch(&p, WORK_AT(3) + 3 * i + 1, PFS_ACCESS_MISS);
	}
	end(&p);
	p = play(image, 1, 0);
	CHECK_EQ(p.n_wrong, 0);
	replay->image_destroy(image);
}

static void other_bytes_put_all_on_probation(void)
{
	void *image = image_new();
	struct played p;

	(void)play(image, 1, 1);
	replay_changed(image);
	p = play(image, 1, 1);
	CHECK(p.n_foretold + 64 <= p.n_touches);
	CHECK(p.n_foretold > 0);
	p = play(image, 1, 1); /* confirmed meanwhile */
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	replay->image_destroy(image);
}

/* --- saving --- */

static void recordings_survive_being_saved(void)
{
	void *image = image_new(), *again = image_new();
	uint64_t number = 0, none;
	const void *blob;
	struct played p;
	size_t len;

	replay_set_trust(image, true, false);
	(void)play(image, 1, 1);
	CHECK(replay_saved(image, &number, &blob, &len));
	CHECK(number != 0);
	CHECK_EQ(replay_restore(again, number, blob, len - 1), -EBADMSG);
	CHECK_EQ(replay_restore(again, number, blob, len), 0);
	CHECK_EQ(replay_restore(again, number, blob, len),
		 0); /* in its place */
	CHECK(replay_is_shared(again));
	CHECK(!replay_saved(again, &none, &blob, &len)); /* as it was kept */
	CHECK(!replay_saved(image, &none, &blob, &len));
	p = play(again, 1, 1);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	replay->image_destroy(again);
	replay->image_destroy(image);
}

static void an_import_has_to_prove_itself(void)
{
	void *image = image_new(), *again = image_new(), *adopted;
	uint64_t number;
	const void *blob;
	struct played p;
	size_t len;

	(void)play(image, 1, 1);
	CHECK(replay_saved(image, &number, &blob, &len));
	CHECK_EQ(pfs_recording_adopt(blob, len, &adopted, &len), 0);
	CHECK_EQ(replay_restore(again, 5, adopted, len), 0);
	p = play(again, 1, 1);
	CHECK(p.n_foretold + 64 <= p.n_touches);
	CHECK(replay_saved(again, &number, &blob, &len));
	CHECK_EQ(number, 5);
	p = play(again, 1, 1);
	CHECK(p.n_foretold * 100 >= p.n_touches * 99);
	free(adopted);
	replay->image_destroy(again);
	replay->image_destroy(image);
}

static void a_recording_of_other_chunks_is_refused(void)
{
	struct learning_config cfg = {.chunk = 2 * CHUNK, .n_chunks = 1000};
	void *image = image_new(), *again;
	uint64_t number;
	const void *blob;
	size_t len;

	CHECK_EQ(replay->image_create(&cfg, &again), 0);
	(void)play(image, 1, 1);
	CHECK(replay_saved(image, &number, &blob, &len));
	CHECK_EQ(replay_restore(again, number, blob, len), -EINVAL);
	replay->image_destroy(again);
	replay->image_destroy(image);
}

static void what_is_dropped_is_forgotten_at_once(void)
{
	void *image = image_new();
	uint64_t number = 0, gone = 0;
	const void *blob;
	struct played p;
	size_t len;

	(void)play(image, 1, 1);
	CHECK(replay_saved(image, &number, &blob, &len));
	p = begin(image, 1);
	touch_boot(&p);
	CHECK_EQ(replay_drop(image, number), 0);
	p.n_foretold = 0;
	memset(p.state, 0, N_CHUNKS);
	touch_range(&p, WORK_AT(1), WORK);
	CHECK_EQ(p.n_foretold, 0);
	CHECK_EQ(replay_drop(image, number), -ENOENT);
	CHECK(replay_saved(image, &gone, &blob, &len));
	CHECK_EQ(gone, number);
	CHECK(!blob);
	CHECK_EQ(replay_drop(image, 0), -ENOENT);
	end(&p);
	CHECK_EQ(replay_drop(image, 0), 0);
	replay->image_destroy(image);
}

int main(void)
{
	RUN(a_session_that_repeats_is_foretold);
	RUN(disorder_nearby_does_not_matter);
	RUN(behind_a_fork_only_what_comes_true_is_named);
	RUN(where_the_known_ends_little_is_wasted);
	RUN(it_is_found_again_in_the_middle);
	RUN(programs_side_by_side_are_all_followed);
	RUN(random_touches_call_forth_next_to_nothing);
	RUN(a_short_session_leaves_nothing);
	RUN(what_the_guest_wrote_itself_is_left_out);
	RUN(holes_are_left_out);
	RUN(what_was_evicted_and_read_again_is_named_again);
	RUN(workloads_are_kept_apart_and_the_least_used_leaves);
	RUN(memory_is_bounded);
	RUN(a_session_goes_on_while_others_end);
	RUN(what_another_vm_taught_is_proved_first);
	RUN(poison_costs_others_nothing);
	RUN(other_bytes_put_all_on_probation);
	RUN(recordings_survive_being_saved);
	RUN(an_import_has_to_prove_itself);
	RUN(a_recording_of_other_chunks_is_refused);
	RUN(what_is_dropped_is_forgotten_at_once);
	return CHECK_RESULT();
}
