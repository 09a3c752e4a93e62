/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/core.h - the store's inside, shared by its files.
 *
 *   store.c    open, format, close, status
 *   image.c    attached images, mutations
 *   rows.c     zone rows
 *   holes.c    holes of sparse sources
 *   fetch.c    fetches in flight: single flight, joining, detaching
 *   fill.c     from a fetched chunk to a resident one
 *   lane.c     the read path of one thread
 *   prefetch.c fetches that nobody waits for, on a thread of their own
 *   pins.c     chunks that stay
 *   mapped.c   hits in a store on a tmpfs
 *   upkeep.c   the thread that evicts, writes headers, saves rows, probes
 *   verify.c   reading every chunk on request
 *
 * One mutex, `lock`, guards index, segments, headers and fetches.  It is held
 * for memory operations only, never across I/O or a call to the catalog.
 *
 * Invariants cited as S1.. in the code:
 *  S1  A chunk is in the index only if no mutation touched it since the fetch
 *      that brought it was registered.
 *  S2  A slot in the index holds exactly the bytes its header describes once
 *      both reached the device; until then the header is active in RAM.
 *  S3  A segment is freed only when none of its slots is in the index and no
 *      I/O in it is under way.
 *  S4  Whatever is read from the device is checked against {store, image,
 *      epoch, chunk, generation} before it is believed.
 *
 * S1 allows a fetch that begins between a mutation's two invalidations to be
 * inserted before the second.  Readers in between may see bytes from before the
 * change, as they may on any disk while a write is not acknowledged; never
 * bytes older than an acknowledged one: what was acknowledged before the fetch
 * was registered is in the source that it reads, and a mutation acknowledged
 * later drops the chunk first.
 */
#ifndef PFS_CACHE_CORE_H
#define PFS_CACHE_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <pfs/catalog.h>
#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/fault.h>
#include <pfs/io.h>
#include <pfs/log.h>
#include <pfs/mutex.h>
#include <pfs/store.h>

#include "format.h"
#include "headers.h"
#include "index.h"
#include "pins.h"
#include "segments.h"

#define STORE_STALL_NS (50 * PFS_NSEC_PER_MSEC)
#define STORE_ERRORS_MAX 8u /* in a row, then the store is put aside */
#define STORE_PROBE_NS (1 * PFS_NSEC_PER_SEC)
#define STORE_SAVE_NS (5 * PFS_NSEC_PER_SEC)   /* age of a dirty zone row */
#define STORE_HEADER_NS (1 * PFS_NSEC_PER_SEC) /* age of a dirty header */
#define STORE_GENS (1u << 20) /* generations reserved at a time */
#define STORE_IMAGES_MAX 65535u
#define STORE_CHUNK_MAX UINT32_MAX /* chunk numbers kept per slot */

struct lane_read;
struct part;

struct pfs_store_image {
	struct pfs_store *s;
	uint64_t id, epoch;     /* epoch: under lock */
	uint32_t no;            /* place in s->images */
	struct pfs_source *src; /* one reference */
	/* --- under lock --- */
	struct index ix;
	uint32_t n_refs; /* attached, and one for each fetch of it */
	bool is_attached;
	bool is_expelled;
	uint8_t **holes;   /* owned, see holes.c; NULL: none known */
	uint64_t hole_gen; /* counter when the whole image last changed */
	struct pins pins;
	struct pfs_store_image *next_dead;
};

/* state     in table  waiters  buf          leaves by
 * FREE      no        -        -            fetch_get
 * READING   yes (*)   yes      being filled fetch_arrived (READY)
 * READY     yes (*)   no       valid        fetch_put of the last reference
 * (*) until a mutation detaches it or it ends.                              */
enum fetch_state {
	FETCH_FREE,
	FETCH_READING,
	FETCH_READY,
};

/* One read's wait for one chunk. */
struct fetch_wait {
	struct fetch_wait *next;
	struct lane_read *read;
	struct part *part;
};

struct fetch {
	struct fetch *next;   /* hash chain; free list */
	struct fetch *queued; /* fill queue */
	struct pfs_store_image *img;
	uint64_t epoch; /* of the image when the fetch began */
	uint64_t chunk;
	uint8_t *buf;   /* one chunk, page aligned; the store's */
	uint32_t *sums; /* g.blks of them */
	struct fetch_wait *waiters;
	enum fetch_state state;
	bool is_in_table;
	bool is_detached; /* a mutation went past: answer, do not insert */
	bool is_write;    /* its bytes are a guest's write */
	bool is_kept;     /* its bytes are those of a leaving slot */
	bool is_prefetch; /* began before anybody asked ... */
	bool is_wanted;   /* ... and somebody has, since */
	uint32_t n_refs;
	uint32_t slot; /* once allocated, else FORMAT_SLOT_NONE */
	uint64_t gen;  /* of the slot */
};

struct slot_owner {
	uint32_t
		image; /* place in s->images + 1; 0: slot is not in the index */
	uint32_t chunk;
};

#define SLOT_HIT 1u        /* read since it was inserted */
#define SLOT_PREFETCHED 2u /* brought ahead, and never read yet */

enum fetch_kind {
	FETCH_DEMAND,
	FETCH_AHEAD,
	FETCH_KINDS,
};

struct pfs_store {
	/* --- set at open, then constant --- */
	char *path;
	struct geometry g;
	int fd;
	bool is_direct;
	bool is_nowait; /* buffered, and RWF_NOWAIT works or is not needed */
	int nowait_flags;
	const uint8_t *map; /* a store in memory; NULL: read it */
	bool is_device;
	bool verify;
	struct pfs_catalog *catalog;
	struct pfs_store_gens *gens; /* may be NULL */
	void (*zone_saved)(void *arg, uint64_t image, uint32_t zone);
	void (*unread)(void *arg, uint64_t image, uint64_t chunk);
	void *arg;
	uint32_t n_fetch;
	uint8_t *fetch_mem;
	size_t fetch_mem_len;

	/* --- atomic --- */
	_Atomic int health;        /* enum pfs_store_health */
	_Atomic uint32_t n_errors; /* of reads, in a row */
	_Atomic uint64_t no_fill_until_ns;
	/* Source reads by kind and log2 of their ns. */
	_Atomic uint64_t latency[FETCH_KINDS][PFS_LATENCY_BUCKETS];

	struct pfs_mutex lock;
	/* --- under lock --- */
	uint64_t gen, gen_limit; /* last one used; last one reserved */
	struct segments segs;
	struct headers hdr;
	struct slot_owner *owner;        /* owned, one for each slot */
	uint8_t *slot_flags;             /* owned, likewise */
	struct pfs_store_image **images; /* owned array, places may be NULL */
	uint32_t n_images;               /* length in use */
	struct pfs_store_image *dead;    /* the upkeep thread frees them */
	uint64_t n_pinned;               /* chunks, of all images */
	uint64_t n_chunks;
	struct fetch *fetches; /* owned array of n_fetch */
	struct fetch *fetch_free;
	struct fetch **table; /* owned, table_mask + 1 chains */
	uint32_t table_mask, n_in_table, n_fetching;
	uint32_t n_ahead; /* of those: prefetches */
	uint32_t *sums_mem;
	struct pfs_mutation *mutations;
	struct fetch *fill_queue, **fill_tail; /* writes' bytes for upkeep */
	bool is_stopping, is_kicked;
	uint32_t leaving; /* segment being evicted, or SEGMENT_NONE */
	bool segments_dirty;
	uint64_t dirty_since; /* ns; oldest unsaved zone; 0: none */
	uint32_t n_saving;    /* batches on their way to the catalog */
	uint32_t n_save_failures;
	int save_err; /* of the last of them */
	_Atomic uint32_t n_quarantined;

	struct pfs_cond kick;  /* upkeep has work, or is to stop */
	struct pfs_cond saved; /* n_saving fell */
	pthread_t upkeep;
	bool has_upkeep;
};

static inline bool store_is_ok(struct pfs_store *s)
{
	return atomic_load_explicit(&s->health, memory_order_relaxed) ==
	       PFS_STORE_OK;
}

static inline void kick_locked(struct pfs_store *s) PFS_REQUIRES(s->lock)
{
	s->is_kicked = true;
	pfs_cond_signal(&s->kick);
}

static inline uint64_t next_gen_locked(struct pfs_store *s)
	PFS_REQUIRES(s->lock)
{
	if (s->gen + STORE_GENS / 2 == s->gen_limit)
		kick_locked(s); /* it reserves more */
	s->gen++;
	if (s->gens)
		atomic_store_explicit(&s->gens->last, s->gen,
				      memory_order_relaxed);
	return s->gen;
}

/* --- store.c --- */
/** Account for the outcome of store reads; too many errors in a row, or a
 *  stall, put the store aside. */
void store_io_failed(struct pfs_store *s, int err);
void store_io_worked(struct pfs_store *s);
/** A write failed (full, read-only, ...): hits go on, fills rest a second. */
void store_write_failed(struct pfs_store *s, int err);
void store_bypass(struct pfs_store *s, const char *why);
/** Read superblock of fd; see super_decode(). */
int store_read_super(int fd, struct geometry *g) PFS_MUST_CHECK;
/** Open a store file or device as configured; size in bytes in *size. */
int store_open_fd(const char *path, bool direct, bool write,
		  int *fd) PFS_MUST_CHECK;

/** Reserve generations durably and go on with them if they lie ahead. */
int store_reserve_gens(struct pfs_store *s) PFS_MUST_CHECK;

/* --- holes.c --- */
void holes_fini(struct pfs_store_image *img);
bool image_is_hole_locked(const struct pfs_store_image *img, uint64_t chunk);
/** Chunks that were written are holes no more. */
void holes_end_locked(struct pfs_store_image *img, uint64_t first,
		      uint64_t last);

/* --- image.c --- */
/** Rows have to be saved some time. */
void note_dirty_locked(struct pfs_store *s) PFS_REQUIRES(s->lock);
void image_unref_locked(struct pfs_store_image *img) PFS_REQUIRES(img->s->lock);
/** Free images without references.  Closes their sources, which may block. */
void images_bury(struct pfs_store *s);
/** Remove a chunk from the index if it still is in this slot. */
void image_drop_slot_locked(struct pfs_store_image *img, uint64_t chunk,
			    uint32_t slot) PFS_REQUIRES(img->s->lock);
/** Put a chunk into the index; takes over the slot's place in it. */
int image_insert_locked(struct pfs_store_image *img, uint64_t chunk,
			uint32_t slot, uint64_t gen)
	PFS_REQUIRES(img->s->lock) PFS_MUST_CHECK;
/** A slot's chunk left the index (the store is arg: index_del_range's fn). */
void slot_gone_locked(void *arg, uint32_t slot);
/** The image moves on under another generation: all of it is dropped. */
void image_forget_locked(struct pfs_store_image *img)
	PFS_REQUIRES(img->s->lock);
/** Queue dirty zone rows: of one image, or of all (NULL).  max_zones bounds
 *  the batch; *n says how many it took.  ident may be NULL. */
int store_save_zones(struct pfs_store *s, struct pfs_store_image *img,
		     const struct pfs_identity *ident, bool is_durable,
		     uint32_t max_zones, uint32_t *n) PFS_MUST_CHECK;
/** Queue all dirty rows, of one image or of all (NULL), until one of them
 *  could not be saved: what fails now would fail again. */
void store_save_rows(struct pfs_store *s, struct pfs_store_image *img);

/* --- fetch.c --- */
int fetch_table_init(struct pfs_store *s, uint32_t n) PFS_MUST_CHECK;
void fetch_table_fini(struct pfs_store *s);
struct fetch *fetch_find_locked(struct pfs_store *s,
				const struct pfs_store_image *img,
				uint64_t chunk) PFS_REQUIRES(s->lock);
/** A free fetch for a chunk, registered if wanted; one reference.  NULL: all
 *  are in use. */
struct fetch *fetch_get_locked(struct pfs_store *s, struct pfs_store_image *img,
			       uint64_t chunk, bool is_registered)
	PFS_REQUIRES(s->lock);
/** The same for a prefetch, which may not use the last buffers. */
struct fetch *fetch_get_ahead_locked(struct pfs_store *s,
				     struct pfs_store_image *img,
				     uint64_t chunk) PFS_REQUIRES(s->lock);
/** A guest asks for a chunk that is being fetched. */
void fetch_joined_locked(struct fetch *f);
void fetch_register_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock);
/** No later reader joins it. */
void fetch_detach_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock);
void fetch_detach_range_locked(struct pfs_store_image *img, uint64_t first,
			       uint64_t last) PFS_REQUIRES(img->s->lock);
void fetch_put_locked(struct pfs_store *s, struct fetch *f)
	PFS_REQUIRES(s->lock);

/* --- fill.c --- */
#define FILL_OK PFS_C_N
/** Why no chunk of an image may be stored right now; FILL_OK: it may. */
enum pfs_counter image_refusal_locked(const struct pfs_store_image *img)
	PFS_REQUIRES(img->s->lock);
/** Why this one may not be stored. */
enum pfs_counter fill_refusal_locked(const struct fetch *f)
	PFS_REQUIRES(f->img->s->lock);
/** Not stored for that reason, or FILL_OK: for want of room; drops the owner's
 *  reference. */
void fill_drop_locked(struct pfs_store *s, struct fetch *f,
		      enum pfs_counter why) PFS_REQUIRES(s->lock);
/** Which log a fetched chunk belongs to. */
static inline enum segment_class fill_class(const struct fetch *f)
{
	return f->is_prefetch && !f->is_wanted ? CLASS_PROBATION : CLASS_MAIN;
}
/** May fill_alloc_locked() find a slot? */
bool fill_has_room_locked(struct pfs_store *s, enum segment_class class)
	PFS_REQUIRES(s->lock);
/** Slots for up to n neighbouring fetches; each gets slot and generation.
 *  Returns how many (0: no room). */
uint32_t fill_alloc_locked(struct pfs_store *s, struct fetch **f, uint32_t n,
			   enum segment_class class, bool is_reinsertion)
	PFS_REQUIRES(s->lock);
/** Compute checksums (not under lock). */
void fill_sum(struct pfs_store *s, struct fetch *f);
/** The bytes are on the device, or err: insert, or count why not; ends the
 *  fetch's time in the table and drops its owner's reference. */
void fill_done(struct pfs_store *s, struct fetch *f, int err);

/* --- upkeep.c --- */
int upkeep_start(struct pfs_store *s) PFS_MUST_CHECK;
void upkeep_stop(struct pfs_store *s);

/* --- verify.c --- */
/** Read one slot with plain calls and check it: buf has a chunk, page one
 *  block of room, both aligned.  -EBADMSG when it is not what ident says. */
int slot_read_checked(struct pfs_store *s, uint32_t slot,
		      const struct slot_ident *want, uint8_t *buf,
		      uint8_t *page, uint32_t *sums) PFS_MUST_CHECK;

/** The same on a store file that nobody has open: headers from the file. */
int slot_check_file(int fd, const struct geometry *g, uint32_t slot,
		    const struct slot_ident *want, uint8_t *buf, uint8_t *page,
		    uint32_t *sums) PFS_MUST_CHECK;

#endif
