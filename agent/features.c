/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What steps tell.  The samples are put in order of their streams first, so
 * that a stream is a range of by_stream[] and its steps a range of delta[];
 * everything after that is a pass over ranges.  A bucket of the hash table is
 * an index + 1, 0 where it is empty; it is twice as large as what goes in.
 *
 * Time     about 130,000 multiplications for the autocorrelation of a full
 *          window, a few thousand operations for the rest.
 */
#include <pfs/features.h>

#include <string.h>

#include <pfs/hash.h>

#define LOOP_STEPS_MIN 32u

/* A stream: samples first to end - 1, steps first + 1 to end - 1. */
struct range {
	uint32_t first, end;
};

/* What all steps together add up to. */
struct totals {
	uint32_t n_steps, n_distinct, top, n_revisits, n_commonest;
	uint64_t top_pages, dist_sum;
	uint64_t loop_sum; /* of scores times steps */
	uint64_t loop_best;
};

/* --- order of streams --- */

static const struct pfs_sample *sample_at(const struct pfs_window *w,
					  uint32_t i)
{
	return &w->ring[(w->head + i) % PFS_WINDOW];
}

/* The bucket of the first sample of a stream, or the empty one where it is to
 * go. */
static uint16_t *stream_bucket(struct pfs_window *w, uint32_t stream)
{
	uint64_t at = pfs_mix64(stream);
	uint16_t *bucket = w->scratch.bucket;

	while (bucket[at % PFS_WINDOW_BUCKETS]) {
		uint32_t i = bucket[at % PFS_WINDOW_BUCKETS] - 1u;

		if (sample_at(w, i)->stream == stream)
			break;
		at++;
	}
	return &bucket[at % PFS_WINDOW_BUCKETS];
}

/* Chain the samples of each stream, latest first: what was in the bucket comes
 * next. */
static void chain_streams(struct pfs_window *w)
{
	memset(w->scratch.bucket, 0, sizeof(w->scratch.bucket));
	for (uint32_t i = 0; i < w->n; i++) {
		uint16_t *b = stream_bucket(w, sample_at(w, i)->stream);

		w->scratch.next[i] = *b;
		*b = (uint16_t)(i + 1);
	}
}

/* Unroll the chains from the back, which puts each in order of time. */
static void sort_by_stream(struct pfs_window *w)
{
	uint32_t to = w->n;

	chain_streams(w);
	for (uint32_t b = 0; b < PFS_WINDOW_BUCKETS; b++) {
		uint32_t i = w->scratch.bucket[b];

		while (i) {
			w->scratch.by_stream[--to] = *sample_at(w, i - 1);
			i = w->scratch.next[i - 1];
		}
	}
}

/* The stream behind *r; false: there is no more. */
static bool next_stream(const struct pfs_window *w, struct range *r)
{
	const struct pfs_sample *s = w->scratch.by_stream;

	r->first = r->end;
	if (r->first == w->n)
		return false;
	while (r->end < w->n && s[r->end].stream == s[r->first].stream)
		r->end++;
	return true;
}

/* --- steps --- */

static uint64_t magnitude(int64_t d)
{
	return d < 0 ? -(uint64_t)d : (uint64_t)d;
}

static void find_deltas(struct pfs_window *w, const struct range *r)
{
	const struct pfs_sample *s = w->scratch.by_stream;

	for (uint32_t i = r->first + 1; i < r->end; i++) {
		uint64_t last = s[i - 1].page + s[i - 1].n_pages - 1;

		w->scratch.delta[i] = (int64_t)(s[i].page - last);
	}
}

static void count_stride(int64_t d, uint32_t count[PFS_FEATURES])
{
	static const uint16_t from[] = {1, 2, 4, 8, 16, 64, 512, 4096};
	uint64_t pages = magnitude(d);
	uint32_t class = 0;

	count[PFS_F_SEQUENTIAL] += d == 1;
	count[PFS_F_BACKWARD] += d < 0;
	if (!pages)
		return;
	while (class + 1 < PFS_ARRAY_SIZE(from) && pages >= from[class + 1])
		class ++;
	count[PFS_F_STRIDE_1 + class]++;
}

/* The first step with this d among those that went in before. */
static uint16_t *delta_bucket(struct pfs_window *w, int64_t d)
{
	uint64_t at = pfs_mix64((uint64_t)d);
	uint16_t *bucket = w->scratch.bucket;

	while (bucket[at % PFS_WINDOW_BUCKETS] &&
	       w->scratch.delta[bucket[at % PFS_WINDOW_BUCKETS] - 1] != d)
		at++;
	return &bucket[at % PFS_WINDOW_BUCKETS];
}

/* Count in n_same[] of the first step of each d how often it occurs. */
static void count_deltas(struct pfs_window *w, const struct range *r,
			 struct totals *t)
{
	for (uint32_t i = r->first + 1; i < r->end; i++) {
		uint16_t *b = delta_bucket(w, w->scratch.delta[i]);

		w->scratch.n_same[i] = 0;
		if (!*b) {
			*b = (uint16_t)(i + 1);
			t->n_distinct++;
		}
		if (++w->scratch.n_same[*b - 1] > t->top) {
			t->top = w->scratch.n_same[*b - 1];
			t->top_pages = magnitude(w->scratch.delta[i]);
		}
	}
	t->n_steps += r->end - r->first - 1;
}

/* log2 N - (1/N) sum c log2 c, over log2 of the different pages.  Steps that
 * are not the first of their d, or unique, add nothing to the sum. */
static uint32_t entropy(const struct pfs_window *w, const struct totals *t)
{
	uint64_t all = (uint64_t)t->n_steps * pfs_q16_log2(t->n_steps - 1);
	uint32_t n_pages = w->n - t->n_revisits;
	struct range r = {0};
	uint64_t sum = 0;

	while (next_stream(w, &r)) {
		for (uint32_t i = r.first + 1; i < r.end; i++) {
			uint32_t c = w->scratch.n_same[i];

			if (c > 1)
				sum += (uint64_t)c * pfs_q16_log2(c - 1);
		}
	}
	return pfs_q16_share(all - PFS_MIN(sum, all),
			     (uint64_t)t->n_steps * pfs_q16_log2(n_pages - 1));
}

/* --- loops --- */

/* x of each step that counts, less their mean; 0 is missing.  Returns how many
 * count. */
static uint32_t centre(struct pfs_window *w, const struct range *r)
{
	struct pfs_window_scratch *s = &w->scratch;
	int64_t sum = 0;
	int32_t n = 0;

	for (uint32_t i = r->first + 1; i < r->end; i++) {
		uint16_t first = *delta_bucket(w, s->delta[i]);
		int32_t x =
			(int32_t)(pfs_q16_log2(magnitude(s->delta[i])) >> 8);

		s->x[i] = INT32_MIN;
		if (s->n_same[first - 1] < 2)
			continue;
		s->x[i] = s->delta[i] < 0 ? -x : x;
		sum += s->x[i];
		n++;
	}
	if (n)
		sum /= n;
	for (uint32_t i = r->first + 1; i < r->end; i++) {
		if (s->x[i] == INT32_MIN)
			s->x[i] = 0;
		else
			s->x[i] -= (int32_t)sum;
	}
	return (uint32_t)n;
}

static int64_t correlate(const int32_t *x, uint32_t n, uint32_t lag)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i + lag < n; i++)
		sum += (int64_t)x[i] * x[i + lag];
	return sum;
}

/* The lag of the highest local maximum, 0 if there is none. */
static uint32_t best_lag(const int32_t *x, uint32_t n, int64_t *best)
{
	int64_t before = correlate(x, n, 1), at = correlate(x, n, 2);
	uint32_t found = 0;

	*best = 0;
	for (uint32_t lag = 2; lag <= n / 2; lag++) {
		int64_t after = correlate(x, n, lag + 1);

		if (at > before && at >= after && at > *best) {
			*best = at;
			found = lag;
		}
		before = at;
		at = after;
	}
	return found;
}

static void find_loop(struct pfs_window *w, const struct range *r,
		      struct totals *t, uint32_t *period)
{
	const int32_t *x = &w->scratch.x[r->first + 1];
	uint32_t n = r->end - r->first - 1, lag, n_present;
	int64_t variance, best;
	uint64_t score;

	if (n < LOOP_STEPS_MIN)
		return;
	n_present = centre(w, r);
	variance = correlate(x, n, 0);
	lag = best_lag(x, n, &best);
	if (!lag)
		return;
	score = (uint64_t)n_present *
		pfs_q16_share((uint64_t)best, (uint64_t)variance);
	t->loop_sum += score;
	if (score > t->loop_best) {
		t->loop_best = score;
		*period = lag * PFS_Q16_ONE;
	}
}

/* --- revisits and the working set --- */

/* The latest sample of this stream with the page of sample i. */
static uint16_t *page_bucket(struct pfs_window *w, uint32_t i)
{
	const struct pfs_sample *s = w->scratch.by_stream;
	uint64_t at = pfs_mix64(s[i].page ^ (uint64_t)s[i].stream << 32);
	uint16_t *bucket = w->scratch.bucket;
	uint32_t j;

	while ((j = bucket[at % PFS_WINDOW_BUCKETS])) {
		if (s[j - 1].page == s[i].page &&
		    s[j - 1].stream == s[i].stream)
			break;
		at++;
	}
	return &bucket[at % PFS_WINDOW_BUCKETS];
}

static void note_seen(struct pfs_window *w, const struct pfs_sample *s)
{
	uint64_t bit = pfs_mix64(s->page ^ (uint64_t)s->stream << 32) >> 52;

	w->scratch.seen[bit / 64] |= 1ull << bit % 64;
}

/* Returns the pages of the working set. */
static uint64_t find_revisits(struct pfs_window *w, struct totals *t)
{
	uint64_t n_pages = 0;

	memset(w->scratch.bucket, 0, sizeof(w->scratch.bucket));
	memset(w->scratch.dist, 0, sizeof(w->scratch.dist));
	memset(w->scratch.seen, 0, sizeof(w->scratch.seen));
	for (uint32_t i = 0; i < w->n; i++) {
		uint16_t *b = page_bucket(w, i);

		if (*b) {
			uint32_t dist = i + 1 - *b;
			uint32_t n_same = ++w->scratch.dist[dist];

			t->n_revisits++;
			t->dist_sum += dist;
			t->n_commonest = PFS_MAX(t->n_commonest, n_same);
		} else {
			n_pages += w->scratch.by_stream[i].n_pages;
			note_seen(w, &w->scratch.by_stream[i]);
		}
		*b = (uint16_t)(i + 1);
	}
	return n_pages;
}

static uint32_t growth(const struct pfs_window *w)
{
	uint32_t n = 0, n_new = 0;

	for (uint32_t i = 0; i < PFS_SIGNATURE_WORDS; i++) {
		uint64_t seen = w->scratch.seen[i];

		n += (uint32_t)__builtin_popcountll(seen);
		n_new += (uint32_t)__builtin_popcountll(seen &
							~w->seen_before[i]);
	}
	return w->has_before ? pfs_q16_share(n_new, n) : 0;
}

/* --- the vector before --- */

static uint32_t apart(const uint32_t *a, const uint32_t *b, enum pfs_feature i)
{
	return a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
}

static uint32_t phase(const struct pfs_window *w, const uint32_t *f)
{
	static const enum pfs_feature others[] = {PFS_F_LOOP, PFS_F_ENTROPY,
						  PFS_F_CHASE};
	uint32_t most = 0;

	if (!w->has_before)
		return 0;
	for (enum pfs_feature i = PFS_F_STRIDE_1; i <= PFS_F_STRIDE_4096; i++)
		most += apart(f, w->before, i);
	most /= 2;
	for (uint32_t i = 0; i < PFS_ARRAY_SIZE(others); i++)
		most = PFS_MAX(most, apart(f, w->before, others[i]));
	return PFS_MIN(most, PFS_Q16_ONE);
}

static void remember(struct pfs_window *w, const uint32_t *f)
{
	w->has_before = true;
	memcpy(w->before, f, sizeof(w->before));
	memcpy(w->seen_before, w->scratch.seen, sizeof(w->seen_before));
}

/* --- all of it --- */

static void forget_before(struct pfs_window *w, uint64_t since_ns)
{
	while (w->n && sample_at(w, 0)->time_ns < since_ns) {
		w->head = (w->head + 1) % PFS_WINDOW;
		w->n--;
	}
}

static uint32_t q16_times(uint32_t a, uint32_t b)
{
	return (uint32_t)((uint64_t)a * b >> 16);
}

/* What the totals tell; N is above 0. */
static void tell_steps(struct pfs_window *w, const struct totals *t,
		       const uint32_t count[PFS_FEATURES], uint32_t *f)
{
	for (enum pfs_feature i = PFS_F_SEQUENTIAL; i <= PFS_F_BACKWARD; i++)
		f[i] = pfs_q16_share(count[i], t->n_steps);
	f[PFS_F_TOP_STRIDE] = pfs_q16_share(t->top, t->n_steps);
	f[PFS_F_TOP_PAGES] =
		PFS_MIN(pfs_q16_log2(t->top_pages), PFS_FEATURE_LOG_MAX);
	f[PFS_F_LOOP] = (uint32_t)(t->loop_sum / t->n_steps);
	f[PFS_F_ENTROPY] = entropy(w, t);
	f[PFS_F_REVISIT] = pfs_q16_share(t->n_revisits, t->n_steps);
	if (t->n_revisits)
		f[PFS_F_REVISIT_STEPS] =
			pfs_q16_log2(t->dist_sum / t->n_revisits);
	f[PFS_F_CHASE] =
		q16_times(q16_times(f[PFS_F_ENTROPY], f[PFS_F_REVISIT]),
			  pfs_q16_share(t->n_commonest, t->n_revisits));
	f[PFS_F_PHASE] = phase(w, f);
}

static void take_steps(struct pfs_window *w, struct totals *t,
		       uint32_t count[PFS_FEATURES], uint32_t *period)
{
	struct range r = {0};

	memset(w->scratch.bucket, 0, sizeof(w->scratch.bucket));
	while (next_stream(w, &r)) {
		find_deltas(w, &r);
		count_deltas(w, &r, t);
		for (uint32_t i = r.first + 1; i < r.end; i++)
			count_stride(w->scratch.delta[i], count);
	}
	r = (struct range){0};
	while (next_stream(w, &r))
		find_loop(w, &r, t, period);
}

uint32_t pfs_window_features(struct pfs_window *w, uint64_t since_ns,
			     uint32_t feature[PFS_FEATURES])
{
	uint32_t count[PFS_FEATURES] = {0}, period = 0;
	struct totals t = {0};
	uint64_t pages;

	forget_before(w, since_ns);
	for (enum pfs_feature i = PFS_F_SEQUENTIAL; i <= PFS_F_GROWTH; i++)
		feature[i] = 0;
	feature[PFS_F_PHASE] = 0;
	sort_by_stream(w);
	take_steps(w, &t, count, &period);
	pages = find_revisits(w, &t);
	feature[PFS_F_WORKING_SET] =
		PFS_MIN(pfs_q16_log2(pages), PFS_FEATURE_LOG_MAX);
	if (t.n_steps < PFS_WINDOW_STEPS_MIN)
		return w->n;
	feature[PFS_F_GROWTH] = growth(w);
	feature[PFS_F_PERIOD] = period;
	tell_steps(w, &t, count, feature);
	remember(w, feature);
	return w->n;
}

/* --- the ring --- */

void pfs_window_init(struct pfs_window *w)
{
	memset(w, 0, sizeof(*w));
}

void pfs_window_add(struct pfs_window *w, const struct pfs_sample *s)
{
	uint32_t at = (w->head + w->n) % PFS_WINDOW;

	w->ring[at] = *s;
	if (w->n < PFS_WINDOW)
		w->n++;
	else
		w->head = (w->head + 1) % PFS_WINDOW;
}

void pfs_window_clear(struct pfs_window *w)
{
	w->n = 0;
}
