/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images in use: a table by file, and who holds a reference.  An image that
 * comes into use is in the table before it is loaded, so that nobody loads it
 * twice; its openers wait, others do not.
 */
#include "image_priv.h"

#include <string.h>

#include <pfs/clock.h>
#include <pfs/hash.h>
#include <pfs/io.h>

#include "events.h"

#define N_BUCKETS 1024u
/* A guest's tools open an image several times in a row, and fetches under way
 * at a close would be lost. */
#define LINGER_NS (2 * PFS_NSEC_PER_SEC)

struct image_table {
	struct pfs_mutex lock;
	struct pfs_cond loaded; /* an image's is_loading fell */
	/* --- under lock --- */
	struct image *bucket[N_BUCKETS];
	uint32_t n;
};

/* --- the table --- */

int image_table_create(struct worker *w)
{
	struct image_table *t = pfs_zalloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pfs_mutex_init(&t->lock, PFS_RANK_IMAGES);
	pfs_cond_init(&t->loaded);
	w->images = t;
	return 0;
}

void image_table_destroy(struct worker *w)
{
	if (!w->images)
		return;
	image_unload_unused(w, true);
	pfs_cond_fini(&w->images->loaded);
	pfs_mutex_fini(&w->images->lock);
	free(w->images);
	w->images = NULL;
}

static struct image **bucket_of(struct image_table *t, uint64_t dev,
				uint64_t ino)
{
	return &t->bucket[pfs_mix64(dev ^ pfs_mix64(ino)) % N_BUCKETS];
}

static struct image *find_locked(struct image_table *t, uint64_t dev,
				 uint64_t ino) PFS_REQUIRES(t->lock)
{
	struct image *img = *bucket_of(t, dev, ino);

	while (img && (img->dev != dev || img->ino != ino))
		img = img->next;
	return img;
}

static void add_locked(struct image_table *t, struct image *img)
	PFS_REQUIRES(t->lock)
{
	struct image **bucket = bucket_of(t, img->dev, img->ino);

	img->next = *bucket;
	*bucket = img;
	t->n++;
}

static void remove_locked(struct image_table *t, struct image *img)
	PFS_REQUIRES(t->lock)
{
	struct image **at = bucket_of(t, img->dev, img->ino);

	while (*at != img)
		at = &(*at)->next;
	*at = img->next;
	t->n--;
}

static bool is_known(void *arg, uint64_t dev, uint64_t ino)
{
	struct image_table *t = arg;
	bool is_found;

	pfs_mutex_lock(&t->lock);
	is_found = find_locked(t, dev, ino) != NULL;
	pfs_mutex_unlock(&t->lock);
	return is_found;
}

void image_table_recovered(struct worker *w)
{
	state_images_keep_open(w->state, is_known, w->images);
}

/* It lingered: as if it were opened anew, but for what is still in RAM.  The
 * caller looks at its identity next. */
static void come_back(struct image *img)
{
	for (int o = 0; o <= PFS_READ_DIRECT; o++)
		atomic_store(&img->n_by_outcome[o], 0);
	atomic_store(&img->read_bytes, 0);
	atomic_store(&img->write_bytes, 0);
	img->bytes_seen = 0;
	if (img->sto && !state_image_opened(img->w->state, img->id, img->epoch,
					    img->dev, img->ino))
		pfs_store_image_expel(img->sto);
}

/* Bring a new image into use, no lock held: other images come and go, other
 * openers of this one wait for it.  The one that failed leaves the table; who
 * waits finds load_err, and the last frees it. */
static void load(struct image *img, int fd)
{
	struct image_table *t = img->w->images;
	int err = image_bring_in(img, fd);

	pfs_mutex_lock(&t->lock);
	if (err)
		remove_locked(t, img);
	img->load_err = err;
	img->is_loading = false;
	pfs_cond_broadcast(&t->loaded);
	pfs_mutex_unlock(&t->lock);
}

/* The image of a file, loaded, with a reference more. */
static int take_loaded(struct image_table *t, struct image *img)
{
	bool is_last = false;
	int err;

	pfs_mutex_lock(&t->lock);
	while (img->is_loading)
		pfs_cond_wait(&t->loaded, &t->lock);
	err = img->load_err;
	if (err)
		is_last = !--img->n_refs;
	pfs_mutex_unlock(&t->lock);
	if (is_last)
		image_free(img);
	return err;
}

static struct image *find_or_add(struct worker *w, const struct stat *st,
				 const char *path, bool *is_new)
{
	struct image_table *t = w->images;
	struct image *img;

	pfs_mutex_lock(&t->lock);
	img = find_locked(t, st->st_dev, st->st_ino);
	*is_new = !img;
	if (img) {
		if (!img->n_refs++)
			come_back(img);
	} else {
		img = image_new(w, st, path);
		if (img)
			add_locked(t, img);
	}
	pfs_mutex_unlock(&t->lock);
	return img;
}

static void scan_task(void *arg)
{
	struct image *img = arg;

	image_scan_holes(img);
	image_put(img);
}

static void start_scan(struct image *img)
{
	image_ref(img);
	if (pool_task(img->w->pool, scan_task, img))
		image_put(img); /* busy: holes are read as data */
}

int image_get(struct worker *w, int fd, const char *path, struct image **out)
{
	struct image *img;
	struct stat st;
	bool is_new;
	int err;

	if (fstat(fd, &st))
		return -errno;
	img = find_or_add(w, &st, path, &is_new);
	if (!img)
		return -ENOMEM;
	if (is_new)
		load(img, fd);
	err = take_loaded(w->images, img);
	if (err)
		return err;
	if (is_new && img->sto)
		start_scan(img);
	else if (!is_new && image_look_again(img, fd) && img->sto)
		pfs_store_image_expel(img->sto);
	*out = img;
	return 0;
}

void image_ref(struct image *img)
{
	struct image_table *t = img->w->images;

	pfs_mutex_lock(&t->lock);
	img->n_refs++;
	pfs_mutex_unlock(&t->lock);
}

struct image *image_find(struct worker *w, uint64_t id)
{
	struct image_table *t = w->images;
	struct image *found = NULL;

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < N_BUCKETS && !found; i++)
		for (struct image *img = t->bucket[i]; img; img = img->next)
			if (!img->is_loading && img->n_refs && img->id == id)
				found = img;
	if (found)
		found->n_refs++;
	pfs_mutex_unlock(&t->lock);
	return found;
}

struct image *image_get_known(struct worker *w, int fd, const char *path)
{
	struct pfs_image_row row;
	struct image *img = NULL;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (!is_known(w->images, st.st_dev, st.st_ino) &&
	     pfs_catalog_image_find(w->catalog, path, &row)))
		return NULL;
	return image_get(w, fd, path, &img) ? NULL : img;
}

static bool is_last_user(struct image *img)
{
	bool is_last;

	pfs_mutex_lock(&img->w->images->lock);
	is_last = img->n_refs == 1;
	pfs_mutex_unlock(&img->w->images->lock);
	return is_last;
}

/* From now on the file may be changed by others without our knowing: the next
 * worker must not take the image over unseen. */
static void note_unused(struct image *img)
{
	img->idle_ns = pfs_now_ns();
	if (!img->w->is_handover && img->id)
		state_image_closed(img->w->state, img->id);
}

static void drop_ref(struct image *img)
{
	struct image_table *t = img->w->images;

	pfs_mutex_lock(&t->lock);
	if (!--img->n_refs)
		note_unused(img);
	pfs_mutex_unlock(&t->lock);
}

void image_put(struct image *img)
{
	/* While somebody still holds it: the lock below is the table's, and
	 * ending a session takes its time. */
	if (!img->w->is_handover && atomic_load(&img->is_marked) &&
	    !atomic_load(&img->n_writers))
		image_end_session(img);
	if (!img->w->is_handover && is_last_user(img))
		image_settle_identity(img);
	drop_ref(img);
}

static void put_task(void *arg)
{
	image_put(arg);
}

/* Write sessions are ended by those who wrote, so what is left is what only the
 * last user does; without a place in the pool it is left out, which costs the
 * chunks of an image whose owner or mode was changed. */
void image_put_soon(struct image *img)
{
	struct pool *pool = img->w->pool;

	if (!pool || !is_last_user(img) || pool_task(pool, put_task, img))
		drop_ref(img);
}

/* Under the table's lock: who opens the file next must find its rows saved, or
 * in the queue that it waits for. */
static void unload_locked(struct image_table *t, struct image **at)
	PFS_REQUIRES(t->lock)
{
	struct image *img = *at;

	*at = img->next;
	t->n--;
	if (img->sto)
		pfs_store_image_detach(img->sto);
	image_free(img);
}

void image_unload_unused(struct worker *w, bool all)
{
	struct image_table *t = w->images;
	uint64_t now = pfs_now_ns();

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < N_BUCKETS && t->n; i++) {
		struct image **at = &t->bucket[i];

		while (*at) {
			struct image *img = *at;

			if (!img->n_refs &&
			    (all || now - img->idle_ns >= LINGER_NS))
				unload_locked(t, at);
			else
				at = &img->next;
		}
	}
	pfs_mutex_unlock(&t->lock);
}

/* Those that fn picks, each with a reference; *out is malloc'ed. */
static uint32_t take_some(struct image_table *t, bool (*fn)(struct image *img),
			  struct image ***out)
{
	uint32_t got = 0;

	pfs_mutex_lock(&t->lock);
	*out = t->n ? calloc(t->n, sizeof(struct image *)) : NULL;
	for (uint32_t i = 0; i < N_BUCKETS && *out; i++)
		for (struct image *img = t->bucket[i]; img; img = img->next) {
			if (img->is_loading || !fn(img))
				continue;
			img->n_refs++;
			(*out)[got++] = img;
		}
	pfs_mutex_unlock(&t->lock);
	return got;
}

/* Since it was last asked.  Reads from the kernel's pages are not seen here. */
static bool was_read(struct image *img)
{
	uint64_t bytes = atomic_load(&img->read_bytes);
	bool is_more = bytes != img->bytes_seen;

	img->bytes_seen = bytes;
	return img->n_refs && (is_more || img->w->opt.page_cache);
}

void image_revalidate_some(struct worker *w)
{
	PFS_AUTO_FREE struct image **img = NULL;
	uint32_t n = take_some(w->images, was_read, &img);

	for (uint32_t i = 0; i < n; i++) {
		image_revalidate(img[i], img[i]->fd);
		image_put_soon(img[i]);
	}
}

static void retry_task(void *arg)
{
	struct image *img = arg;

	image_end_session(img);
	atomic_store(&img->is_retrying, false);
	drop_ref(img);
}

static bool has_unended_session(struct image *img)
{
	return atomic_load(&img->is_marked) && !atomic_load(&img->n_writers) &&
	       !atomic_load(&img->n_active) && !atomic_load(&img->is_retrying);
}

/* In tasks of their own: a source that hangs must not stop the timer. */
void image_retry_sessions(struct worker *w)
{
	PFS_AUTO_FREE struct image **img = NULL;
	uint32_t n = take_some(w->images, has_unended_session, &img);

	for (uint32_t i = 0; i < n; i++) {
		if (atomic_exchange(&img[i]->is_retrying, true) ||
		    pool_task(w->pool, retry_task, img[i]))
			image_put(img[i]);
	}
}

void image_zone_saved(void *worker, uint64_t image, uint32_t zone)
{
	struct worker *w = worker;

	state_zone_clear(w->state, image, zone);
}

/* --- for the data threads --- */

uint64_t image_size(const struct image *img)
{
	return atomic_load(&img->size);
}

bool image_take_changed(struct image *img)
{
	return atomic_exchange(&img->was_changed, false);
}

uint64_t image_id(const struct image *img)
{
	return img->id;
}

struct pfs_store_image *image_store(const struct image *img)
{
	return img->sto;
}

struct pfs_source *image_source(const struct image *img)
{
	return img->src;
}

void image_note_read(struct image *img, const struct pfs_read *r)
{
	atomic_fetch_add_explicit(&img->n_by_outcome[r->outcome], 1,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&img->read_bytes, r->len,
				  memory_order_relaxed);
}

void image_note_write(struct image *img, uint64_t vm, uint32_t handle,
		      uint64_t off, uint64_t len, uint64_t start_ns)
{
	const struct event e = {
		.kind = EVENT_WRITE,
		.time_ns = start_ns,
		.latency_ns = pfs_now_ns() - start_ns,
		.image = img->id,
		.vm = vm,
		.off = off,
		.len = len,
		.handle = handle,
	};

	events_put(img->w->events, &e, false);
}

/* --- looking at it --- */

static uint64_t by_outcome(const struct image *img, enum pfs_read_outcome o)
{
	return atomic_load_explicit(&img->n_by_outcome[o],
				    memory_order_relaxed);
}

static void describe(const struct image *img, struct image_info *info)
{
	*info = (struct image_info){
		.id = img->id,
		.epoch = img->epoch,
		.size = atomic_load(&img->size),
		.n_hits = by_outcome(img, PFS_READ_HIT),
		.n_late = by_outcome(img, PFS_READ_LATE),
		.n_misses = by_outcome(img, PFS_READ_MISS),
		.read_bytes = atomic_load(&img->read_bytes),
		.write_bytes = atomic_load(&img->write_bytes),
		.n_handles = img->n_refs,
		.n_writers = atomic_load(&img->n_writers),
		.is_marked = atomic_load(&img->is_marked),
		.is_expelled = img->sto && pfs_store_image_expelled(img->sto),
	};
	for (int o = 0; o <= PFS_READ_DIRECT; o++)
		info->n_reads += by_outcome(img, (enum pfs_read_outcome)o);
	(void)snprintf(info->path, sizeof(info->path), "%s", img->path);
}

int image_each(struct worker *w,
	       int (*fn)(void *arg, const struct image_info *info), void *arg)
{
	struct image_table *t = w->images;
	struct image_info *info = malloc(sizeof(*info));
	int stop = info ? 0 : -ENOMEM;

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < N_BUCKETS && !stop; i++)
		for (struct image *img = t->bucket[i]; img && !stop;
		     img = img->next) {
			if (!img->n_refs || img->is_loading)
				continue; /* lingers, or is not here yet */
			describe(img, info);
			stop = fn(arg, info);
		}
	pfs_mutex_unlock(&t->lock);
	free(info);
	return stop;
}
