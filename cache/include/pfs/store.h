/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/store.h - chunks of VM images kept on the local NVMe device.
 *
 * A store is a file or a block device cut into segments of slots, one chunk
 * each.  It holds copies only: whatever happens to it costs speed, never a
 * byte.  It knows nothing about FUSE or prediction; reads go through a lane
 * (pfs/lane.h), changes of image bytes through pfs_store_mutate_begin() and
 * pfs_store_mutate_end().
 *
 * Currency (I1)  A generation is the next value of one store-wide counter.
 *          Every mutation takes one before and one after the source call; both
 *          times resident chunks of the range are dropped and fetches in
 *          flight are detached, under the one lock that insertion takes too.
 *          A reader joins only a fetch that is not detached, and only such a
 *          fetch is inserted.
 * Units    offsets and lengths are bytes; chunk numbers count from 0 in an
 *          image; a zone is 1024 chunks.
 * Errors   0 or -errno.  No error here may become a guest's error.
 * Threads  every call is safe from any thread unless it says otherwise.
 * Memory   pointers passed in are borrowed for the length of the call.
 */
#ifndef PFS_STORE_H
#define PFS_STORE_H

#include <pfs/base.h>

#define PFS_BLOCK_SIZE 4096u  /* unit of checksums */
#define PFS_ZONE_CHUNKS 1024u /* chunks in a zone */
#define PFS_CHUNK_MIN PFS_KIB(16)
#define PFS_CHUNK_MAX PFS_MIB(1)
#define PFS_CHUNK_DEFAULT PFS_KIB(64)

struct pfs_catalog;
struct pfs_identity;
struct pfs_source;
struct pfs_store;       /* opaque; owned by whoever opened it */
struct pfs_store_image; /* opaque; an attached image */

enum pfs_store_io {
	PFS_STORE_IO_AUTO,     /* direct where the file system takes it */
	PFS_STORE_IO_DIRECT,   /* O_DIRECT or fail */
	PFS_STORE_IO_BUFFERED, /* page cache; a hung device is not bypassed */
};

/** Reserved generations, in memory that outlives this process: the next one
 *  goes on with them instead of waiting for a durable reservation. */
struct pfs_store_gens {
	uint8_t uuid[16];       /* the store they belong to */
	_Atomic uint64_t last;  /* used */
	_Atomic uint64_t limit; /* last one reserved; 0: none */
};

struct pfs_store_config {
	const char *path; /* file (made if missing) or block device; copied */
	uint64_t size;    /* bytes, a file is made this long; 0 for a device:
			   * all of it */
	uint32_t chunk;   /* bytes, power of two, PFS_CHUNK_MIN..MAX */
	enum pfs_store_io io;
	bool verify; /* check checksums of hits; off only for benchmarks */
	uint64_t header_cache; /* bytes of RAM for slot headers; 0: 32 MiB */
	uint32_t n_fetch;      /* chunk buffers for fetches; 0: 32 MiB worth */
	struct pfs_catalog *catalog; /* borrowed until close */
	struct pfs_store_gens *gens; /* borrowed until close; may be NULL */
	/* A zone's row was saved and nothing changed the zone since.  Called
	 * from the catalog's writer thread; may be NULL. */
	void (*zone_saved)(void *arg, uint64_t image, uint32_t zone);
	/* A prefetched chunk that no guest has read was evicted (not: dropped
	 * by a mutation).  Called with the store locked: it may not wait, nor
	 * call the store; may be NULL. */
	void (*unread)(void *arg, uint64_t image, uint64_t chunk);
	void *arg;
};

/** Open or make a store bound to the catalog's store uuid; one that carries
 *  another uuid or geometry is formatted anew (the catalog's zone rows are
 *  forgotten then).  Starts the upkeep thread.  -EINVAL config, -ENOSPC fewer
 *  than 4 segments of room, or what the system said. */
int pfs_store_open(const struct pfs_store_config *cfg,
		   struct pfs_store **out) PFS_MUST_CHECK;
/** Save what is worth saving and close.  No lane may exist any more. */
void pfs_store_close(struct pfs_store *s);

uint32_t pfs_store_chunk(const struct pfs_store *s);

/* --- images --- */

/** Attach an image by its catalog id and epoch, without chunks.  Takes a
 *  reference of its own on src. */
int pfs_store_image_attach(struct pfs_store *s, uint64_t id, uint64_t epoch,
			   struct pfs_source *src,
			   struct pfs_store_image **out) PFS_MUST_CHECK;
/** Add the chunks of one saved zone row.  -EBADMSG: the row is unreadable and
 *  its chunks count as absent. */
int pfs_store_image_load(struct pfs_store_image *img, uint32_t zone,
			 const void *blob, size_t len) PFS_MUST_CHECK;
/** A saved row that must not be believed: its zone starts out empty, and the
 *  row is rewritten. */
int pfs_store_image_void(struct pfs_store_image *img,
			 uint32_t zone) PFS_MUST_CHECK;
/** Save dirty zones (queued, not waited for) and forget the image in RAM.  No
 *  read or mutation of it may be under way. */
void pfs_store_image_detach(struct pfs_store_image *img);

/** Forget all chunks of an image and go on under a new epoch. */
void pfs_store_image_reset(struct pfs_store_image *img, uint64_t epoch);
/** Keep an image out of the store from now on (its chunks are dropped):
 *  its mark could not be made durable, or it was unlinked. */
void pfs_store_image_expel(struct pfs_store_image *img);
bool pfs_store_image_expelled(const struct pfs_store_image *img);

/** Queue and commit all dirty zone rows of an image together with an identity
 *  (may be NULL), durably; waits.  Used at the end of a write session. */
int pfs_store_image_save(struct pfs_store_image *img,
			 const struct pfs_identity *ident) PFS_MUST_CHECK;

/** Mark ranges known to be holes of the source: reads there are zeros and are
 *  never fetched.  Any mutation of a chunk ends its being a hole.
 *  valid_gen is a value of pfs_store_generation() taken before the source was
 *  asked: chunks mutated since are left alone. */
void pfs_store_image_holes(struct pfs_store_image *img, uint64_t off,
			   uint64_t len, uint64_t valid_gen);
uint64_t pfs_store_generation(struct pfs_store *s);

/* --- pins --- */

/** Chunks that eviction keeps, like those that were hit; inclusive. */
struct pfs_pin {
	uint64_t first, last;
};

/** Pin chunks, resident or not, or let go of them.  Pins hold while the image
 *  is attached; nothing is fetched for them.  -ENOSPC: over half of the store
 *  would be pinned, over all images.  -E2BIG: over 1024 ranges of one image. */
int pfs_store_image_pin(struct pfs_store_image *img, uint64_t first,
			uint64_t last, bool on) PFS_MUST_CHECK;
/** Its pinned ranges in order, at most n of them into out; how many it has. */
size_t pfs_store_image_pins(struct pfs_store_image *img, struct pfs_pin *out,
			    size_t n);

/* --- mutations --- */

/** A change of bytes under way; on the caller's stack, linked while active. */
struct pfs_mutation {
	struct pfs_mutation *next, **prevp;
	struct pfs_store_image *img;
	uint64_t first, last; /* chunks, inclusive */
	uint64_t gen;
	bool has_company; /* another mutation of the range overlapped in time */
};

/** Before the source call: drop and detach [off, off + len); len may be
 *  UINT64_MAX for "to the end". */
void pfs_store_mutate_begin(struct pfs_store_image *img, uint64_t off,
			    uint64_t len, struct pfs_mutation *m);
/** After it: drop and detach again.  bytes/n_bytes at off: what a successful
 *  write put there, so that whole chunks of it may be stored (copied before
 *  this returns); NULL otherwise. */
void pfs_store_mutate_end(struct pfs_mutation *m, uint64_t off,
			  const void *bytes, size_t n_bytes);

/* --- looking at it --- */

enum pfs_store_health {
	PFS_STORE_OK,
	PFS_STORE_BYPASSED, /* put aside after faults, probed now and then */
};

struct pfs_store_status {
	enum pfs_store_health health;
	bool is_direct; /* O_DIRECT in use */
	uint64_t size;  /* bytes of slots */
	uint32_t chunk;
	uint32_t n_segments, n_free_segments, segment_slots;
	uint64_t n_chunks;    /* resident and attached */
	uint64_t index_bytes; /* RAM for index and slot table */
	uint64_t n_pinned;    /* chunks, resident or not */
	uint32_t n_fetching;  /* fetches in flight */
	uint32_t n_quarantined;
	uint64_t generation;
	char uuid[37];
};

void pfs_store_status(struct pfs_store *s, struct pfs_store_status *out);

#define PFS_LATENCY_BUCKETS 32u

/** Reads of the source that brought chunks, counted by how long they took:
 *  bucket i from 2^i ns on, the last one without end. */
struct pfs_store_latency {
	uint64_t demand[PFS_LATENCY_BUCKETS], prefetch[PFS_LATENCY_BUCKETS];
};

void pfs_store_latency(struct pfs_store *s, struct pfs_store_latency *out);

/** Resident chunks of an image in n equal parts of n_chunks chunks: counts
 *  are stored in out[n].  Also for images that are not attached (read from
 *  the catalog).  -ENOENT: no such image. */
int pfs_store_residency(struct pfs_store *s, uint64_t image, uint64_t n_chunks,
			uint32_t *out, uint32_t n) PFS_MUST_CHECK;

/** Forget the chunks of one image (attached or not), or of all (id 0);
 *  *n_dropped: how many of the attached ones. */
int pfs_store_drop(struct pfs_store *s, uint64_t image,
		   uint64_t *n_dropped) PFS_MUST_CHECK;

struct pfs_verify_result {
	uint64_t n_chunks, n_bad; /* bad ones were dropped */
};

/** Read and check every resident chunk of an attached image (id 0: of all);
 *  stops early when *stop becomes true. */
int pfs_store_verify(struct pfs_store *s, uint64_t image,
		     const _Atomic bool *stop,
		     struct pfs_verify_result *out) PFS_MUST_CHECK;

/** Offline check of a store file against a catalog; problems are reported one
 *  by one, *n_bad is their number. */
int pfs_store_check(const char *store, const char *catalog,
		    void (*report)(void *arg, const char *line), void *arg,
		    uint64_t *n_bad) PFS_MUST_CHECK;

#endif
