/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One round of the thread: take events, take ended fetches, let the predictor
 * look at the time, start what it orders, save what it learned, wait.
 *
 * An image is named by its number in the catalog.  The struct image behind the
 * number is held from its first use in a round to the round's end, no longer:
 * a reference kept would keep the file open.
 */
#include "predict.h"

#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/io.h>
#include <pfs/lane.h>
#include <pfs/log.h>
#include <pfs/prefetch.h>
#include <pfs/recording.h>

#include "events.h"
#include "image.h"

#define ROUND_EVENTS 256u /* at most, before fetches are started */
#define NAP_NS (10 * PFS_NSEC_PER_MSEC)
#define BUSY_NS (100 * PFS_NSEC_PER_MSEC) /* after a fetch: react at once */
#define N_TRACERS 4u
#define TRACE_RECORDS 65536u

struct tracer {
	bool is_used;
	uint64_t image, start_ns, n_put, n_taken, n_dropped;
	struct trace_record *records; /* owned, TRACE_RECORDS */
	struct pfs_cond came;
};

struct predict {
	struct worker *w;
	struct events *events; /* the worker's */
	pthread_t thread;
	bool is_started;
	_Atomic bool is_stopping;
	struct pfs_prefetcher *fetcher; /* NULL: no store */
	uint32_t chunk;                 /* bytes */
	struct pfs_mutex lock;
	/* --- under lock --- */
	struct pfs_predictor *p;
	struct predict_settings set;
	struct image *img; /* held until the round ends, or NULL */
	uint64_t img_id;
	uint64_t last_order_ns;
	struct readers *readers;           /* owned */
	struct pfs_prefetch_stats counted; /* what the counters know */
	struct tracer tracers[N_TRACERS];
	struct pfs_mutex inbox_lock;
	/* --- under inbox_lock --- */
	struct pfs_prefetch_done inbox[2 * PFS_PREFETCH_FLIGHT_MAX];
	uint32_t n_inbox;
};

/* --- images by number --- */

static void let_go_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	if (pr->img)
		image_put_soon(pr->img);
	pr->img = NULL;
	pr->img_id = 0;
}

/* NULL: not in use.  Good until the round ends. */
static struct image *hold_locked(struct predict *pr, uint64_t id)
	PFS_REQUIRES(pr->lock)
{
	if (pr->img_id == id)
		return pr->img;
	let_go_locked(pr);
	pr->img = image_find(pr->w, id);
	pr->img_id = id;
	return pr->img;
}

static bool is_absent(void *arg, uint64_t id, uint64_t chunk)
{
	struct predict *pr = arg;
	struct pfs_store_image *sto;
	struct image *img;

	/* The predictor is called under the lock only. */
	pfs_mutex_is_held(&pr->lock);
	img = hold_locked(pr, id);
	sto = img ? image_store(img) : NULL;
	return sto && chunk * pfs_store_chunk(pr->w->store) < image_size(img) &&
	       pfs_store_image_is_absent(sto, chunk);
}

/* --- learning kept in the catalog --- */

struct restoring {
	struct predict *pr;
	uint64_t image;
};

static int restore_one(void *arg, uint64_t number, const void *blob, size_t len)
{
	struct restoring *r = arg;
	int err;

	pfs_mutex_is_held(&r->pr->lock);
	err = pfs_predictor_restore(r->pr->p, r->image, number, blob, len);
	if (err) {
		pfs_count(PFS_C_RECORDINGS_BAD, 1);
		pfs_log(PFS_LOG_WARNING, "predictor",
			"recording %llu of image %llu: %s; left out",
			(unsigned long long)number,
			(unsigned long long)r->image, strerror(-err));
	}
	return 0;
}

static void opened_locked(struct predict *pr, const struct event *e)
	PFS_REQUIRES(pr->lock)
{
	bool is_known = pfs_predictor_memory(pr->p, e->image) > 0;
	struct restoring r = {pr, e->image};
	int err = pfs_predictor_opened(pr->p, e->image, e->vm, e->off,
				       e->time_ns);

	if (!err && !is_known)
		err = pfs_catalog_recordings_load(pr->w->catalog, e->image,
						  restore_one, &r);
	if (e->was_changed)
		pfs_predictor_changed(pr->p, e->image);
	if (err)
		pfs_log_limited(PFS_LOG_WARNING, "predictor",
				"image %llu: %s; it starts without what was "
				"learned",
				(unsigned long long)e->image, strerror(-err));
}

static int save_one(struct predict *pr, const struct pfs_saved *saved)
{
	struct pfs_catalog_batch *b;
	int err = pfs_catalog_batch_create(pr->w->catalog, &b);

	if (err)
		return err;
	err = pfs_catalog_batch_recording(b, saved->image, saved->number,
					  saved->blob, saved->len);
	if (err) {
		pfs_catalog_batch_destroy(b);
		return err;
	}
	return pfs_catalog_submit(pr->w->catalog, b, false, NULL, NULL);
}

/* The catalog counts and logs what it fails to write. */
static void save_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	struct pfs_saved saved;

	while (pfs_predictor_saved(pr->p, &saved)) {
		int err = save_one(pr, &saved);

		if (!err)
			continue;
		pfs_count(PFS_C_RECORDINGS_LOST, 1);
		pfs_log_limited(PFS_LOG_WARNING, "predictor",
				"a recording of image %llu is not kept: %s",
				(unsigned long long)saved.image,
				strerror(-err));
	}
}

/* --- events --- */

static void trace_locked(struct predict *pr, const struct event *e)
	PFS_REQUIRES(pr->lock)
{
	for (uint32_t i = 0; i < N_TRACERS; i++) {
		struct tracer *t = &pr->tracers[i];

		if (!t->is_used || t->image != e->image ||
		    e->time_ns < t->start_ns || e->len > EVENT_DATA_MAX)
			continue;
		if (t->n_put - t->n_taken == TRACE_RECORDS) {
			t->n_dropped++;
			continue;
		}
		t->records[t->n_put++ % TRACE_RECORDS] = (struct trace_record){
			.time_ns = e->time_ns - t->start_ns,
			.off = e->off,
			.len = (uint32_t)e->len,
			.is_write = e->kind == EVENT_WRITE,
		};
		pfs_cond_signal(&t->came);
	}
}

static const enum pfs_access_outcome outcomes[] = {
	[PFS_READ_HIT] = PFS_ACCESS_HIT,
	[PFS_READ_LATE] = PFS_ACCESS_LATE,
	[PFS_READ_MISS] = PFS_ACCESS_MISS,
	[PFS_READ_HOLE] = PFS_ACCESS_HOLE,
	[PFS_READ_DIRECT] = PFS_ACCESS_DIRECT,
};

static struct pfs_access access_of(const struct event *e)
{
	return (struct pfs_access){
		.time_ns = e->time_ns,
		.latency_ns = e->latency_ns,
		.image = e->image,
		.vm = e->vm,
		.off = e->off,
		.len = (uint32_t)PFS_MIN(e->len, UINT32_MAX),
		.handle = e->handle,
		.is_write = e->kind == EVENT_WRITE,
		.outcome = e->kind == EVENT_READ ? outcomes[e->outcome]
						 : PFS_ACCESS_DIRECT,
	};
}

static void take_event_locked(struct predict *pr, const struct event *e)
	PFS_REQUIRES(pr->lock)
{
	struct pfs_access a;

	switch ((enum event_kind)e->kind) {
	case EVENT_OPENED:
		opened_locked(pr, e);
		return;
	case EVENT_CLOSED:
		pfs_predictor_closed(pr->p, e->image, e->vm, e->time_ns);
		return;
	case EVENT_CHANGED:
		pfs_predictor_changed(pr->p, e->image);
		return;
	case EVENT_UNREAD:
		pfs_predictor_evicted(pr->p, e->image, e->off);
		return;
	case EVENT_READ:
	case EVENT_WRITE:
		trace_locked(pr, e);
		readers_note(pr->readers, e);
		a = access_of(e);
		pfs_predictor_observe(pr->p, &a, e->time_ns + e->latency_ns);
		return;
	}
}

static uint32_t take_events_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	struct event e;
	uint32_t n = 0;

	while (n < ROUND_EVENTS && events_take(pr->events, &e)) {
		take_event_locked(pr, &e);
		n++;
	}
	return n;
}

/* --- fetches --- */

/* On the prefetcher's thread. */
static void fetch_done(void *arg, const struct pfs_prefetch_done *d)
{
	struct predict *pr = arg;

	pfs_mutex_lock(&pr->inbox_lock);
	/* There is room: no more are in flight than half of it. */
	if (pr->n_inbox < PFS_ARRAY_SIZE(pr->inbox))
		pr->inbox[pr->n_inbox++] = *d;
	pfs_mutex_unlock(&pr->inbox_lock);
	events_wake(pr->events);
}

static uint32_t take_done_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	struct pfs_prefetch_done done[PFS_ARRAY_SIZE(pr->inbox)];
	uint64_t now = pfs_now_ns();
	uint32_t n;

	pfs_mutex_lock(&pr->inbox_lock);
	n = pr->n_inbox;
	memcpy(done, pr->inbox, n * sizeof(*done));
	pr->n_inbox = 0;
	pfs_mutex_unlock(&pr->inbox_lock);
	for (uint32_t i = 0; i < n; i++)
		pfs_predictor_fetched(pr->p, done[i].tag, done[i].n_chunks,
				      done[i].latency_ns, now);
	return n;
}

static void start_locked(struct predict *pr, const struct pfs_prefetch_order *o,
			 uint64_t now) PFS_REQUIRES(pr->lock)
{
	struct image *img = hold_locked(pr, o->image);
	struct pfs_store_image *sto = img ? image_store(img) : NULL;
	int n = 0;

	if (pr->fetcher && sto)
		n = pfs_prefetch_start(pr->fetcher, sto, image_size(img),
				       o->chunk, o->n_chunks, o->id);
	if (n > 0)
		pr->last_order_ns = now;
	else
		pfs_predictor_fetched(pr->p, o->id, 0, 0, now);
}

static void start_all_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	struct pfs_prefetch_order o;
	uint64_t now = pfs_now_ns();

	while (pfs_predictor_next(pr->p, now, &o))
		start_locked(pr, &o, now);
}

/* --- counters --- */

static void count_up(enum pfs_counter c, uint64_t *counted, uint64_t now,
		     uint64_t unit)
{
	if (now > *counted)
		pfs_count(c, (now - *counted) * unit);
	*counted = PFS_MAX(*counted, now);
}

/* The predictor knows no counters. */
static void count_locked(struct predict *pr) PFS_REQUIRES(pr->lock)
{
	uint64_t chunk = pr->chunk;
	struct pfs_prefetch_stats now, *was = &pr->counted;

	pfs_predictor_stats(pr->p, 0, 0, &now);
	count_up(PFS_C_PREFETCH_USED, &was->used, now.used, chunk);
	count_up(PFS_C_PREFETCH_LATE, &was->late, now.late, chunk);
	count_up(PFS_C_PREFETCH_EXTRA, &was->extra, now.extra, chunk);
	count_up(PFS_C_PREFETCH_OLD, &was->dropped_old, now.dropped_old, 1);
	count_up(PFS_C_PREFETCH_BUDGET, &was->dropped_budget,
		 now.dropped_budget, 1);
	count_up(PFS_C_PREFETCH_FULL, &was->dropped_full, now.dropped_full, 1);
	now.saved_ns /= 1000;
	count_up(PFS_C_PREFETCH_SAVED, &was->saved_ns, now.saved_ns, 1);
}

/* --- the thread --- */

/* Returns how much there was to do. */
static uint32_t do_round(struct predict *pr, uint64_t *deadline, bool *may_nap)
{
	uint64_t now;
	uint32_t n;

	pfs_mutex_lock(&pr->lock);
	n = take_events_locked(pr);
	n += take_done_locked(pr);
	now = pfs_now_ns();
	pfs_predictor_tick(pr->p, now);
	start_all_locked(pr);
	save_locked(pr);
	*deadline = pfs_predictor_deadline(pr->p);
	*may_nap = now - pr->last_order_ns > BUSY_NS;
	let_go_locked(pr);
	pfs_mutex_unlock(&pr->lock);
	return n;
}

static void *predict_main(void *arg)
{
	struct predict *pr = arg;

	while (!atomic_load_explicit(&pr->is_stopping, memory_order_acquire)) {
		uint64_t deadline, now;
		bool may_nap;
		uint32_t n = do_round(pr, &deadline, &may_nap);

		if (n >= ROUND_EVENTS)
			continue;
		now = pfs_now_ns();
		if (n && may_nap)
			events_wait(pr->events, PFS_MIN(deadline, now + NAP_NS),
				    true);
		else
			events_wait(pr->events, deadline, false);
	}
	return NULL;
}

/* What is left after the data threads, and the end of all sessions. */
static void finish(struct predict *pr)
{
	pfs_mutex_lock(&pr->lock);
	while (take_events_locked(pr) == ROUND_EVENTS)
		;
	take_done_locked(pr);
	pfs_predictor_finish(pr->p, pfs_now_ns());
	save_locked(pr);
	count_locked(pr);
	let_go_locked(pr);
	pfs_mutex_unlock(&pr->lock);
}

/* --- start and stop --- */

static void predict_free(struct predict *pr)
{
	pfs_prefetcher_destroy(pr->fetcher);
	pfs_predictor_destroy(pr->p);
	readers_destroy(pr->readers);
	for (uint32_t i = 0; i < N_TRACERS; i++) {
		pfs_cond_fini(&pr->tracers[i].came);
		free(pr->tracers[i].records);
	}
	pfs_mutex_fini(&pr->inbox_lock);
	pfs_mutex_fini(&pr->lock);
	free(pr);
}

/* Without it guests wait, but they are served. */
static void create_fetcher(struct predict *pr)
{
	struct pfs_prefetcher_config cfg = {
		.store = pr->w->store,
		.done = fetch_done,
		.arg = pr,
	};
	int err = pfs_prefetcher_create(&cfg, &pr->fetcher);

	if (err)
		pfs_log(PFS_LOG_WARNING, "predictor",
			"nothing is fetched ahead: %s", strerror(-err));
}

static int create(struct predict *pr)
{
	const struct options *o = &pr->w->opt;
	struct pfs_predictor_config cfg = {
		.chunk = pr->chunk,
		.level = pr->set.level,
		.proposers = pr->set.proposers,
		.trusts_shared = pr->set.trusts_shared,
		.always_wrong =
			pfs_fault_take(PFS_FP_PLANT_WRONG_PREFETCH).kind ==
			PFS_FAULT_ERRNO,
		.rate_max = o->prefetch_rate,
		.seed = pfs_wall_ns(),
		.is_absent = is_absent,
		.arg = pr,
	};
	int err;

	pr->readers = readers_create();
	if (!pr->readers)
		return -ENOMEM;
	err = pfs_predictor_create(&cfg, &pr->p);
	if (!err && pr->w->store)
		create_fetcher(pr);
	return err;
}

int predict_start(struct worker *w)
{
	struct predict *pr = pfs_zalloc(1, sizeof(*pr));
	int err;

	if (!pr)
		return -ENOMEM;
	pr->w = w;
	pr->events = w->events;
	pr->chunk = w->store ? pfs_store_chunk(w->store) : w->opt.chunk;
	pr->set = (struct predict_settings){
		.level = (enum pfs_prefetch_level)w->opt.prefetch,
		.proposers = (1u << PFS_PROPOSER_N) - 1,
		.trusts_shared = w->opt.trust == TRUST_SHARED,
	};
	pfs_mutex_init(&pr->lock, PFS_RANK_PREDICT);
	pfs_mutex_init(&pr->inbox_lock, PFS_RANK_INBOX);
	for (uint32_t i = 0; i < N_TRACERS; i++)
		pfs_cond_init(&pr->tracers[i].came);
	err = create(pr);
	if (!err)
		err = pfs_thread_start(&pr->thread, "pfs-predictor",
				       predict_main, pr);
	if (err) {
		predict_free(pr);
		return pfs_log_fail(err, "predictor", "start");
	}
	w->predict = pr;
	return 0;
}

void predict_halt(struct worker *w)
{
	struct predict *pr = w->predict;

	if (!pr)
		return;
	atomic_store_explicit(&pr->is_stopping, true, memory_order_release);
	events_wake(pr->events);
	pthread_join(pr->thread, NULL);
	/* What it has in flight still ends in our inbox. */
	pfs_prefetcher_destroy(pfs_take(&pr->fetcher));
}

void predict_stop(struct worker *w)
{
	struct predict *pr = w->predict;

	if (!pr)
		return;
	finish(pr);
	w->predict = NULL;
	predict_free(pr);
}

/* --- for the control socket --- */

void predict_settings(struct worker *w, struct predict_settings *out)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	*out = pr->set;
	pfs_mutex_unlock(&pr->lock);
}

void predict_set(struct worker *w, const struct predict_settings *s)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	pr->set = *s;
	pfs_predictor_set(pr->p, s->level, s->proposers, s->trusts_shared);
	pfs_mutex_unlock(&pr->lock);
}

void predict_stats(struct worker *w, uint64_t image, uint64_t vm,
		   struct pfs_prefetch_stats *out)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	pfs_predictor_stats(pr->p, image, vm, out);
	pfs_mutex_unlock(&pr->lock);
}

int predict_each(struct worker *w,
		 int (*fn)(void *arg, uint64_t image, uint64_t vm), void *arg)
{
	struct predict *pr = w->predict;
	int err;

	pfs_mutex_lock(&pr->lock);
	err = pfs_predictor_each(pr->p, fn, arg);
	pfs_mutex_unlock(&pr->lock);
	return err;
}

void predict_reads(struct worker *w, uint64_t image, uint64_t vm,
		   struct reader_counts *out)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	readers_sum(pr->readers, image, vm, out);
	pfs_mutex_unlock(&pr->lock);
}

int predict_each_reader(struct worker *w,
			int (*fn)(void *arg, uint64_t image, uint64_t vm),
			void *arg)
{
	struct predict *pr = w->predict;
	int stop;

	pfs_mutex_lock(&pr->lock);
	stop = readers_each(pr->readers, fn, arg);
	pfs_mutex_unlock(&pr->lock);
	return stop;
}

void predict_count(struct worker *w)
{
	struct predict *pr = w->predict;

	if (!pr)
		return; /* not started yet */
	pfs_mutex_lock(&pr->lock);
	count_locked(pr);
	pfs_mutex_unlock(&pr->lock);
}

size_t predict_memory(struct worker *w, uint64_t image)
{
	struct predict *pr = w->predict;
	size_t n;

	pfs_mutex_lock(&pr->lock);
	n = pfs_predictor_memory(pr->p, image);
	pfs_mutex_unlock(&pr->lock);
	return n;
}

size_t predict_why(struct worker *w, uint64_t image, uint64_t chunk,
		   struct pfs_why *out, size_t n)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	n = pfs_predictor_why(pr->p, image, chunk, out, n);
	pfs_mutex_unlock(&pr->lock);
	return n;
}

static int is_same_image(void *arg, uint64_t image, uint64_t vm)
{
	const uint64_t *wanted = arg;

	(void)vm;
	return image == *wanted;
}

/* A session of nobody that is over at once: what is loaded stays.  Not beside
 * another session, which would count as sharing the image. */
void predict_load(struct worker *w, uint64_t image, uint64_t size)
{
	struct predict *pr = w->predict;
	const struct event e = {
		.kind = EVENT_OPENED,
		.time_ns = pfs_now_ns(),
		.image = image,
		.vm = PFS_VM_UNKNOWN,
		.off = size,
	};

	pfs_mutex_lock(&pr->lock);
	if (!pfs_predictor_each(pr->p, is_same_image, &image)) {
		opened_locked(pr, &e);
		pfs_predictor_closed(pr->p, image, e.vm, e.time_ns);
	}
	pfs_mutex_unlock(&pr->lock);
}

int predict_warm(struct worker *w, uint64_t image, uint64_t first_chunk,
		 uint64_t n_chunks, bool from_recording)
{
	struct predict *pr = w->predict;
	int err;

	pfs_mutex_lock(&pr->lock);
	err = pfs_predictor_warm(pr->p, image, first_chunk, n_chunks,
				 from_recording, pfs_now_ns());
	let_go_locked(pr);
	pfs_mutex_unlock(&pr->lock);
	events_wake(pr->events);
	return err;
}

uint64_t predict_warming(struct worker *w, uint64_t image)
{
	struct predict *pr = w->predict;
	uint64_t n;

	pfs_mutex_lock(&pr->lock);
	n = pfs_predictor_warming(pr->p, image);
	pfs_mutex_unlock(&pr->lock);
	return n;
}

/* --- recordings --- */

int predict_recordings(struct worker *w, uint64_t image,
		       int (*fn)(void *arg, uint64_t number, const void *blob,
				 size_t len),
		       void *arg)
{
	/* All that is learned is queued by now; what is in use is in both. */
	int err = pfs_catalog_flush(w->catalog);

	return err ? err
		   : pfs_catalog_recordings_load(w->catalog, image, fn, arg);
}

struct numbers {
	uint64_t largest;
	uint32_t n;
};

static int look_at_number(void *arg, uint64_t number, const void *blob,
			  size_t len)
{
	struct numbers *all = arg;

	(void)blob;
	(void)len;
	all->largest = PFS_MAX(all->largest, number);
	all->n++;
	return 0;
}

static int keep_locked(struct predict *pr, uint64_t image, uint64_t number,
		       const void *blob, size_t len) PFS_REQUIRES(pr->lock)
{
	struct pfs_saved saved = {image, number, blob, len};
	int err = 0;

	if (pfs_predictor_memory(pr->p, image))
		err = pfs_predictor_restore(pr->p, image, number, blob, len);
	return err ? err : save_one(pr, &saved);
}

static int adopt_locked(struct predict *pr, uint64_t image, uint64_t number,
			const void *blob, size_t len) PFS_REQUIRES(pr->lock)
{
	PFS_AUTO_FREE void *adopted = NULL;
	int err = pfs_recording_adopt(blob, len, &adopted, &len);

	return err ? err : keep_locked(pr, image, number, adopted, len);
}

int predict_import(struct worker *w, uint64_t image, const void *blob,
		   size_t len, uint64_t *number)
{
	struct predict *pr = w->predict;
	struct pfs_recording_info info;
	struct numbers have = {0};
	int err = pfs_recording_info(blob, len, &info);

	if (err)
		return err;
	if (w->store && info.chunk != pfs_store_chunk(w->store))
		return -EINVAL;
	err = predict_recordings(w, image, look_at_number, &have);
	if (!err && have.n >= PFS_RECORDINGS_MAX)
		err = -ENOSPC;
	if (err)
		return err;
	*number = have.largest + 1;
	pfs_mutex_lock(&pr->lock);
	err = adopt_locked(pr, image, *number, blob, len);
	pfs_mutex_unlock(&pr->lock);
	return err;
}

/* The catalog is not called from its own callback. */
struct dropping {
	uint64_t number; /* 0: all */
	uint64_t numbers[PFS_CATALOG_RECORDINGS_KEPT];
	uint32_t n;
};

static int note_number(void *arg, uint64_t number, const void *blob, size_t len)
{
	struct dropping *d = arg;

	(void)blob;
	(void)len;
	if ((!d->number || d->number == number) &&
	    d->n < PFS_ARRAY_SIZE(d->numbers))
		d->numbers[d->n++] = number;
	return 0;
}

int predict_drop(struct worker *w, uint64_t image, uint64_t number)
{
	struct predict *pr = w->predict;
	struct dropping d = {.number = number};
	bool was_there;
	int err;

	pfs_mutex_lock(&pr->lock);
	/* Not in use: then the catalog alone has it. */
	was_there = !pfs_predictor_drop(pr->p, image, number);
	save_locked(pr);
	pfs_mutex_unlock(&pr->lock);
	err = predict_recordings(w, image, note_number, &d);
	for (uint32_t i = 0; i < d.n && !err; i++) {
		struct pfs_saved gone = {image, d.numbers[i], NULL, 0};

		err = save_one(pr, &gone);
	}
	if (!err && !was_there && !d.n && number)
		err = -ENOENT;
	return err;
}

/* --- traces --- */

int predict_trace_start(struct worker *w, uint64_t image, struct tracer **out)
{
	struct predict *pr = w->predict;
	struct trace_record *records = malloc(TRACE_RECORDS * sizeof(*records));
	struct tracer *t = NULL;

	if (!records)
		return -ENOMEM;
	pfs_mutex_lock(&pr->lock);
	for (uint32_t i = 0; i < N_TRACERS && !t; i++)
		if (!pr->tracers[i].is_used)
			t = &pr->tracers[i];
	if (t) {
		t->is_used = true;
		t->image = image;
		t->start_ns = pfs_now_ns();
		t->n_put = t->n_taken = t->n_dropped = 0;
		t->records = pfs_take(&records);
	}
	pfs_mutex_unlock(&pr->lock);
	free(records);
	*out = t;
	return t ? 0 : -EBUSY;
}

size_t predict_trace_take(struct worker *w, struct tracer *t,
			  struct trace_record *out, size_t n, uint64_t wait_ns,
			  uint64_t *dropped)
{
	uint64_t deadline = pfs_now_ns() + wait_ns;
	struct predict *pr = w->predict;
	size_t got = 0;

	pfs_mutex_lock(&pr->lock);
	while (t->n_put == t->n_taken &&
	       !pfs_cond_wait_until(&t->came, &pr->lock, deadline))
		;
	while (got < n && t->n_taken < t->n_put)
		out[got++] = t->records[t->n_taken++ % TRACE_RECORDS];
	*dropped = t->n_dropped;
	pfs_mutex_unlock(&pr->lock);
	return got;
}

void predict_trace_stop(struct worker *w, struct tracer *t)
{
	struct predict *pr = w->predict;

	pfs_mutex_lock(&pr->lock);
	free(pfs_take(&t->records));
	t->is_used = false;
	pfs_mutex_unlock(&pr->lock);
}
