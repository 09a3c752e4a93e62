/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/predict.h - the predictor's place in the daemon.
 *
 * The thread pfs-predictor takes events from the queue, feeds the predictor
 * (pure code), and has the prefetcher make the fetches it orders.  Nothing a
 * guest waits for runs here, and nothing here can fail a read.  What was
 * learned is saved in the catalog when sessions end, and loaded when an image
 * comes into use.
 *
 * Threads  predict_start() and predict_stop() from the main thread; the rest
 *          from any thread that may wait a little (control): they take the
 *          predictor's lock, which is held for memory operations and now and
 *          then for loading an image's recordings.
 * Errors   0 or -errno.
 */
#ifndef PFS_FS_PREDICT_H
#define PFS_FS_PREDICT_H

#include <pfs/predictor.h>

#include "readers.h"
#include "worker.h"

struct predict;
struct tracer; /* opaque: one who listens to an image's reads and writes */

/** After the images, before the data threads.  Without a store it learns and
 *  fetches nothing. */
int predict_start(struct worker *w) PFS_MUST_CHECK;
/** No more fetches, no more uses of images.  It waits for the fetches in
 *  flight, so guests are better served meanwhile: data threads and pool may
 *  work still. */
void predict_halt(struct worker *w);
/** After predict_halt(): end all sessions, save them.  Data and pool threads
 *  are idle by now, the store and the catalog are open still. */
void predict_stop(struct worker *w);

/** What is in force; the change holds until the worker ends. */
struct predict_settings {
	enum pfs_prefetch_level level;
	uint32_t proposers; /* bit mask */
	bool trusts_shared;
};
void predict_settings(struct worker *w, struct predict_settings *out);
void predict_set(struct worker *w, const struct predict_settings *s);

void predict_stats(struct worker *w, uint64_t image, uint64_t vm,
		   struct pfs_prefetch_stats *out);
int predict_each(struct worker *w,
		 int (*fn)(void *arg, uint64_t image, uint64_t vm), void *arg);
/** What VMs read and wrote of images (READERS_ANY: of any), and call fn for
 *  each pair of which something is known; since this worker's start. */
void predict_reads(struct worker *w, uint64_t image, uint64_t vm,
		   struct reader_counts *out);
int predict_each_reader(struct worker *w,
			int (*fn)(void *arg, uint64_t image, uint64_t vm),
			void *arg);
/** Bring the counters up to date (also done once a second). */
void predict_count(struct worker *w);
size_t predict_memory(struct worker *w, uint64_t image);
size_t predict_why(struct worker *w, uint64_t image, uint64_t chunk,
		   struct pfs_why *out, size_t n);
/** What was learned of an image that no guest has open is needed: it may be
 *  warmed then, as long as somebody holds the image. */
void predict_load(struct worker *w, uint64_t image, uint64_t size);
int predict_warm(struct worker *w, uint64_t image, uint64_t first_chunk,
		 uint64_t n_chunks, bool from_recording) PFS_MUST_CHECK;
uint64_t predict_warming(struct worker *w, uint64_t image);

/* --- recordings --- */

/** Call fn for each recording kept of an image, saved ones included of which
 *  the image is not in use. */
int predict_recordings(struct worker *w, uint64_t image,
		       int (*fn)(void *arg, uint64_t number, const void *blob,
				 size_t len),
		       void *arg) PFS_MUST_CHECK;
/** Keep one that was made elsewhere; *number: what it got.  -EBADMSG: damaged,
 *  -EINVAL: of other chunks than this mount's, -ENOSPC: it has as many as it
 *  may. */
int predict_import(struct worker *w, uint64_t image, const void *blob,
		   size_t len, uint64_t *number) PFS_MUST_CHECK;
/** number 0: all of them. */
int predict_drop(struct worker *w, uint64_t image,
		 uint64_t number) PFS_MUST_CHECK;

/* --- traces --- */

struct trace_record {
	uint64_t time_ns; /* since the trace began */
	uint64_t off;
	uint32_t len;
	bool is_write;
};

/** -EBUSY: enough are made already. */
int predict_trace_start(struct worker *w, uint64_t image,
			struct tracer **out) PFS_MUST_CHECK;
/** What came, at most n, waiting up to wait_ns for the first; how many.
 *  *dropped: lost so far, because this was called too late. */
size_t predict_trace_take(struct worker *w, struct tracer *t,
			  struct trace_record *out, size_t n, uint64_t wait_ns,
			  uint64_t *dropped);
void predict_trace_stop(struct worker *w, struct tracer *t);

#endif
