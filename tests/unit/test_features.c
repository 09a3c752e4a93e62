/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Features of synthetic streams.  Each kind has parameters that are drawn
 * anew for each seed and a second stream beside it now and then; with an
 * argument it is the number of seeds, else it is small.
 */
#include <math.h>
#include <stdlib.h>

#include <pfs/features.h>
#include <pfs/hash.h>

#include "check.h"

#define SEEDS_SHORT 40u
#define WINDOWS 3u /* of a run; the last one is judged */
#define LIST_MAX 200u

static uint32_t n_seeds = SEEDS_SHORT;
static struct pfs_window w;

/* --- chance --- */

static uint64_t rng_state;

static uint64_t rng(void)
{
	return pfs_mix64(rng_state++);
}

static uint64_t between(uint64_t low, uint64_t high)
{
	return low + rng() % (high - low + 1);
}

static bool chance(unsigned int percent)
{
	return rng() % 100 < percent;
}

/* --- streams of a kind --- */

enum kind {
	SEQUENTIAL,
	STRIDED,
	LOOPING,
	TREE,
	LIST,
	RANDOM,
	MIXED,
	KINDS,
};

static const char *const kind_names[KINDS] = {
	"sequential", "strided", "looping", "tree", "list", "random", "mixed",
};

struct stream {
	enum kind kind;
	uint64_t base, range, at;
	int64_t stride;
	uint32_t period, step, depth, fanout;
	uint64_t body[LIST_MAX];
};

/* A loop's body: runs over a few arrays, with strides of their own. */
static void draw_body(struct stream *s)
{
	uint64_t page = s->base, stride = 1;

	s->period = (uint32_t)between(6, LIST_MAX);
	for (uint32_t i = 0; i < s->period; i++) {
		if (i == 0 || chance(8)) {
			page = s->base + rng() % (1 << 20);
			stride = chance(60) ? 1 : between(2, 64);
		}
		s->body[i] = page;
		page += stride;
	}
}

/* Nodes in no order, the next of the last being the first. */
static void draw_list(struct stream *s)
{
	s->period = (uint32_t)between(8, LIST_MAX);
	for (uint32_t i = 0; i < s->period; i++)
		s->body[i] = s->base + rng() % (1 << 20);
}

static void draw_tree(struct stream *s)
{
	static const struct {
		uint32_t fanout, depth_min, depth_max;
	} shape[] = {{2, 8, 20}, {16, 4, 6}, {64, 3, 4}, {256, 3, 3}};
	uint32_t i = (uint32_t)between(0, PFS_ARRAY_SIZE(shape) - 1);

	s->fanout = shape[i].fanout;
	s->depth = (uint32_t)between(shape[i].depth_min, shape[i].depth_max);
}

static void draw(struct stream *s, enum kind kind)
{
	*s = (struct stream){
		.kind = kind,
		.base = between(1 << 20, 1ull << 34),
		.range = 1ull << between(9, 26),
		.stride = (int64_t)between(2, 5000),
	};
	s->at = s->base;
	if (chance(30))
		s->stride = -s->stride;
	if (kind == LOOPING)
		draw_body(s);
	else if (kind == LIST)
		draw_list(s);
	else if (kind == TREE)
		draw_tree(s);
}

/* A node's page depends on the path to it alone. */
static uint64_t tree_page(struct stream *s)
{
	if (s->step++ % s->depth == 0)
		s->at = s->base;
	else
		s->at = pfs_mix64(s->at + rng() % s->fanout);
	return s->base + s->at % (1 << 22);
}

static uint64_t next_page(struct stream *s)
{
	switch (s->kind) {
	case SEQUENTIAL:
		/* Another place once in a while: the next file. */
		s->at = chance(3) ? s->base + rng() % (1 << 24) : s->at + 1;
		return s->at;
	case STRIDED:
		s->at += (uint64_t)s->stride;
		if (chance(3))
			s->at = s->base + rng() % (1 << 24);
		return s->at;
	case LOOPING:
	case LIST:
		return s->body[s->step++ % s->period];
	case TREE:
		return tree_page(s);
	default:
		return s->base + rng() % s->range;
	}
}

static void add(uint64_t page, uint32_t stream)
{
	pfs_window_add(&w, &(struct pfs_sample){.page = page,
						.stream = stream,
						.n_pages = 1});
}

/* One full window, in which another process may have a share. */
static void fill(struct stream *s, unsigned int percent_other,
		 uint32_t feature[PFS_FEATURES])
{
	uint64_t other = between(1 << 20, 1 << 30);

	for (uint32_t i = 0; i < PFS_WINDOW; i++) {
		if (chance(percent_other))
			add(other + rng() % 100000, 2);
		else
			add(next_page(s), 1);
	}
	(void)pfs_window_features(&w, 0, feature);
}

/* The judgement on the last window of a run.  A mixed one changes before. */
static enum pfs_pattern run(enum kind kind, uint64_t seed,
			    uint32_t feature[PFS_FEATURES], struct stream *s)
{
	unsigned int other;
	enum kind first = kind;

	rng_state = seed << 32 | (uint64_t)kind << 24;
	other = chance(50) ? (unsigned int)between(0, 8) : 0;
	if (kind == MIXED)
		first = (enum kind)between(0, MIXED - 1);
	pfs_window_init(&w);
	draw(s, first);
	for (uint32_t i = 0; i + 1 < WINDOWS; i++)
		fill(s, other, feature);
	if (kind == MIXED) {
		/* A tree and a list are of one kind, a chase. */
		do {
			draw(s, (enum kind)between(0, MIXED - 1));
		} while (s->kind == first ||
			 (s->kind == TREE && first == LIST) ||
			 (s->kind == LIST && first == TREE));
	}
	fill(s, other, feature);
	return pfs_features_pattern(feature);
}

static void each_kind_is_told_from_the_others(void)
{
	static const enum pfs_pattern want[KINDS] = {
		PFS_PATTERN_SEQUENTIAL, PFS_PATTERN_STRIDED, PFS_PATTERN_LOOP,
		PFS_PATTERN_CHASE,      PFS_PATTERN_CHASE,   PFS_PATTERN_RANDOM,
		PFS_PATTERN_CHANGE,
	};

	for (enum kind k = 0; k < KINDS; k++) {
		uint32_t told[PFS_PATTERNS] = {0}, f[PFS_FEATURES];
		struct stream s;

		for (uint32_t seed = 0; seed < n_seeds; seed++)
			told[run(k, seed, f, &s)]++;
		printf("%-10s", kind_names[k]);
		for (enum pfs_pattern p = 0; p < PFS_PATTERNS; p++)
			printf("  %s %u", pfs_pattern_name(p), told[p]);
		printf("\n");
		CHECK(told[want[k]] * 100 >= n_seeds * 95);
	}
}

static void the_period_of_a_loop_is_found(void)
{
	uint32_t n_found = 0, f[PFS_FEATURES];

	for (uint32_t seed = 0; seed < n_seeds; seed++) {
		struct stream s;

		run(seed % 2 ? LOOPING : LIST, seed, f, &s);
		n_found += f[PFS_F_PERIOD] == s.period * PFS_Q16_ONE;
	}
	printf("period found %u of %u\n", n_found, n_seeds);
	/* Samples of the other stream do not shift it: it has its own. */
	CHECK(n_found * 100 >= n_seeds * 95);
}

/* --- single features --- */

static void fill_sequence(uint64_t from, int64_t stride, uint32_t n)
{
	pfs_window_init(&w);
	for (uint32_t i = 0; i < n; i++)
		add(from + (uint64_t)(stride * i), 1);
}

static void strides_are_counted_by_length(void)
{
	static const struct {
		int64_t stride;
		enum pfs_feature class;
	} cases[] = {
		{1, PFS_F_STRIDE_1},       {-1, PFS_F_STRIDE_1},
		{3, PFS_F_STRIDE_2},       {4, PFS_F_STRIDE_4},
		{15, PFS_F_STRIDE_8},      {-16, PFS_F_STRIDE_16},
		{511, PFS_F_STRIDE_64},    {512, PFS_F_STRIDE_512},
		{4096, PFS_F_STRIDE_4096}, {1 << 30, PFS_F_STRIDE_4096},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		uint32_t f[PFS_FEATURES] = {0};
		uint64_t pages = (uint64_t)llabs(cases[i].stride);

		fill_sequence(1ull << 40, cases[i].stride, 100);
		CHECK_EQ(pfs_window_features(&w, 0, f), 100);

		CHECK_EQ(f[cases[i].class], PFS_Q16_ONE);
		CHECK_EQ(f[PFS_F_TOP_STRIDE], PFS_Q16_ONE);
		CHECK_EQ(f[PFS_F_TOP_PAGES], pfs_q16_log2(pages));
		CHECK_EQ(f[PFS_F_BACKWARD],
			 cases[i].stride < 0 ? PFS_Q16_ONE : 0);
		CHECK_EQ(f[PFS_F_SEQUENTIAL],
			 cases[i].stride == 1 ? PFS_Q16_ONE : 0);
		CHECK_EQ(f[PFS_F_ENTROPY], 0);
		CHECK_EQ(f[PFS_F_LOOP], 0);
		CHECK_EQ(f[PFS_F_WORKING_SET], pfs_q16_log2(100));
	}
}

static void interleaved_streams_are_kept_apart(void)
{
	uint32_t f[PFS_FEATURES];

	pfs_window_init(&w);
	for (uint32_t i = 0; i < 50; i++) {
		for (uint32_t s = 0; s < 8; s++)
			add(1000000 * (s % 3) + i, s * 77);
	}
	(void)pfs_window_features(&w, 0, f);

	CHECK_EQ(f[PFS_F_SEQUENTIAL], PFS_Q16_ONE);
	CHECK_EQ(f[PFS_F_REVISIT], 0);
}

static void large_folios_follow_each_other(void)
{
	uint32_t f[PFS_FEATURES];

	pfs_window_init(&w);
	for (uint32_t i = 0; i < 64; i++)
		pfs_window_add(&w, &(struct pfs_sample){.page = i * 16ull,
							.n_pages = 16});
	(void)pfs_window_features(&w, 0, f);

	CHECK_EQ(f[PFS_F_SEQUENTIAL], PFS_Q16_ONE);
	CHECK_EQ(f[PFS_F_WORKING_SET], pfs_q16_log2(1024));
}

static void revisits_have_a_distance(void)
{
	uint32_t f[PFS_FEATURES];

	pfs_window_init(&w);
	for (uint32_t i = 0; i < 101; i++)
		add(i % 10 * 1000, 1);
	(void)pfs_window_features(&w, 0, f);

	CHECK_EQ(f[PFS_F_REVISIT], pfs_q16_share(91, 100));
	CHECK_EQ(f[PFS_F_REVISIT_STEPS], pfs_q16_log2(10));
	CHECK_EQ(f[PFS_F_PERIOD], 10 * PFS_Q16_ONE);
}

/* A stack, a signal: a page elsewhere now and then. */
static void a_loop_is_found_through_noise(void)
{
	uint32_t f[PFS_FEATURES];

	rng_state = 7;
	pfs_window_init(&w);
	for (uint32_t i = 0; i < PFS_WINDOW; i++)
		add(chance(3) ? rng() % (1 << 30) : i % 40 * 3 % 41, 1);
	(void)pfs_window_features(&w, 0, f);

	CHECK_EQ(f[PFS_F_PERIOD], 40 * PFS_Q16_ONE);
	CHECK(f[PFS_F_LOOP] > PFS_Q16_ONE / 2);
}

static void a_change_of_stride_is_no_loop(void)
{
	uint32_t f[PFS_FEATURES];

	pfs_window_init(&w);
	for (uint32_t i = 0; i < PFS_WINDOW / 2; i++)
		add(i, 1);
	for (uint32_t i = 0; i < PFS_WINDOW / 2; i++)
		add(100000 + i * 64, 1);
	(void)pfs_window_features(&w, 0, f);

	CHECK_EQ(f[PFS_F_LOOP], 0);
	CHECK_EQ(f[PFS_F_PERIOD], 0);
}

static void growth_is_what_is_new(void)
{
	uint32_t f[PFS_FEATURES];

	fill_sequence(0, 1, 200);
	(void)pfs_window_features(&w, 0, f);
	CHECK_EQ(f[PFS_F_GROWTH], 0);
	(void)pfs_window_features(&w, 0, f);
	CHECK_EQ(f[PFS_F_GROWTH], 0);

	pfs_window_clear(&w);
	for (uint32_t i = 0; i < 200; i++)
		add(100 + i, 1);
	(void)pfs_window_features(&w, 0, f);
	/* Half of it, but for pages that share a bit. */
	CHECK(f[PFS_F_GROWTH] > PFS_Q16_ONE * 4 / 10);
	CHECK(f[PFS_F_GROWTH] < PFS_Q16_ONE * 6 / 10);
	CHECK_EQ(f[PFS_F_PHASE], 0);
}

static void old_samples_are_left_out(void)
{
	uint32_t f[PFS_FEATURES];

	pfs_window_init(&w);
	for (uint32_t i = 0; i < 100; i++)
		pfs_window_add(&w, &(struct pfs_sample){.page = i,
							.time_ns = i,
							.n_pages = 1});
	CHECK_EQ(pfs_window_features(&w, 40, f), 60);
	CHECK_EQ(pfs_window_features(&w, 95, f), 5);
	CHECK_EQ(f[PFS_F_SEQUENTIAL], 0); /* too few steps to say */
	CHECK_EQ(f[PFS_F_WORKING_SET], pfs_q16_log2(5));
	CHECK_EQ(pfs_window_features(&w, 1000, f), 0);
	CHECK_EQ(f[PFS_F_WORKING_SET], 0);
	CHECK_EQ(pfs_features_pattern(f), PFS_PATTERN_NONE);
}

/* Whatever the samples are, what comes out can be sent. */
static void features_keep_to_their_ranges(void)
{
	static const uint64_t odd[] = {
		0, 1, INT64_MAX, UINT64_MAX - 1, UINT64_MAX, 1ull << 63};

	rng_state = 1;
	for (uint32_t run_no = 0; run_no < 50; run_no++) {
		uint32_t f[PFS_FEATURES] = {0};

		if (chance(20))
			pfs_window_init(&w);
		for (uint32_t i = 0; i < 600; i++)
			pfs_window_add(
				&w,
				&(struct pfs_sample){
					.page = chance(50) ? odd[rng() % 6]
							   : rng(),
					.stream = (uint32_t)(rng() % 600),
					.n_pages =
						chance(50) ? 1 : UINT32_MAX});
		(void)pfs_window_features(&w, 0, f);
		for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
			CHECK(f[i] <= pfs_feature_max(i));
	}
}

static void counts_become_rates(void)
{
	uint32_t f[PFS_FEATURES] = {0};
	struct pfs_activity before = {.time_ns = 5, .faults = 100};
	struct pfs_activity now = {
		.time_ns = 5 + 500 * PFS_NSEC_PER_MSEC,
		.faults = 600,
		.reads = 30,
		.writes = 10,
		.read_bytes = PFS_MIB(4),
		.stall_io_us = 50000,
		.stall_memory_us = 9999999,
	};

	pfs_activity_features(&before, &now, f);

	CHECK_EQ(f[PFS_F_FAULTS], pfs_q16_log2(1000));
	CHECK_EQ(f[PFS_F_READ_BYTES], pfs_q16_log2(PFS_MIB(8)));
	CHECK_EQ(f[PFS_F_READ_SHARE], PFS_Q16_ONE * 3 / 4);
	CHECK_EQ(f[PFS_F_STALL_IO], PFS_Q16_ONE / 10);
	CHECK_EQ(f[PFS_F_STALL_MEMORY], PFS_Q16_ONE);
	/* A count that went back: the disk is another. */
	pfs_activity_features(&now, &before, f);
	CHECK_EQ(f[PFS_F_FAULTS], 0);
	now.faults = UINT64_MAX;
	pfs_activity_features(&before, &now, f);
	CHECK_EQ(f[PFS_F_FAULTS], PFS_FEATURE_LOG_MAX);
}

static void logarithms_are_right(void)
{
	for (uint32_t i = 0; i < 2000; i++) {
		uint64_t v = pfs_mix64(i) >> i % 64;
		double want = log2((double)v + 1);
		double got = (double)pfs_q16_log2(v) / PFS_Q16_ONE;

		CHECK(fabs(got - want) < 0x1p-15);
		if (v >> 13 == 0)
			CHECK_EQ(pfs_q16_exp2(pfs_q16_log2(v)), v);
	}
	CHECK_EQ(pfs_q16_log2(0), 0);
	CHECK_EQ(pfs_q16_log2(1), PFS_Q16_ONE);
	CHECK_EQ(pfs_q16_log2(UINT64_MAX), 64 * PFS_Q16_ONE);
	CHECK_EQ(pfs_q16_share(1ull << 62, 1ull << 63), PFS_Q16_ONE / 2);
	CHECK_EQ(pfs_q16_share(7, 0), 0);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		n_seeds = (uint32_t)strtoul(argv[1], NULL, 10);
	RUN(each_kind_is_told_from_the_others);
	RUN(the_period_of_a_loop_is_found);
	RUN(strides_are_counted_by_length);
	RUN(interleaved_streams_are_kept_apart);
	RUN(large_folios_follow_each_other);
	RUN(revisits_have_a_distance);
	RUN(a_loop_is_found_through_noise);
	RUN(a_change_of_stride_is_no_loop);
	RUN(growth_is_what_is_new);
	RUN(old_samples_are_left_out);
	RUN(features_keep_to_their_ranges);
	RUN(counts_become_rates);
	RUN(logarithms_are_right);
	return CHECK_RESULT();
}
