/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "lane_core.h"

#include <string.h>

#define N_SMALL_DEFAULT 64u
#define N_BIG_DEFAULT 8u
#define RING_ENTRIES 256u

/* --- requests --- */

static uint32_t max_parts(const struct pfs_lane *l, uint32_t len)
{
	uint32_t chunk = l->s ? l->s->g.chunk : PFS_CHUNK_DEFAULT;

	/* A read that starts and ends inside blocks grows by one block. */
	return (len + PFS_BLOCK_SIZE) / chunk + 2;
}

static size_t read_mem_len(const struct pfs_lane *l, uint32_t len)
{
	return PFS_READ_HEAD + len + PFS_BLOCK_SIZE +
	       (size_t)max_parts(l, len) * PFS_BLOCK_SIZE;
}

static int read_init(struct pfs_lane *l, struct lane_read *r, uint8_t *mem,
		     uint32_t len)
{
	uint32_t n = max_parts(l, len);

	r->home = l;
	r->mem = mem;
	r->data_len = len + PFS_BLOCK_SIZE;
	r->is_big = len > LANE_SMALL_LEN;
	r->max_parts = n;
	r->parts = pfs_zalloc(n, sizeof(*r->parts));
	r->runs = pfs_zalloc(2 * (size_t)n, sizeof(*r->runs));
	r->sums = pfs_zalloc(r->data_len / PFS_BLOCK_SIZE, sizeof(*r->sums));
	return r->parts && r->runs && r->sums ? 0 : -ENOMEM;
}

static void read_fini(struct lane_read *r)
{
	free(r->parts);
	free(r->runs);
	free(r->sums);
}

static void push_free(struct pfs_lane *l, struct lane_read *r)
{
	struct lane_read **list = r->is_big ? &l->free_big : &l->free_small;

	r->next = *list;
	*list = r;
}

static void destroy_twin(struct pfs_lane *l, struct lane_read *r)
{
	read_fini(r);
	pfs_pages_free(r->mem, read_mem_len(l, PFS_READ_MAX));
	free(r);
}

/* Home again.  While a read is left behind its twin takes its place, so that a
 * hung store never leaves a lane without requests to serve the source with. */
static void take_back(struct pfs_lane *l, struct lane_read *r)
{
	uint32_t *missing = &l->n_missing[r->is_big];
	uint32_t *adopted = &l->n_adopted[r->is_big];

	if (atomic_load(&r->is_quarantined)) {
		atomic_store(&r->is_quarantined, false);
		atomic_fetch_sub(&l->s->n_quarantined, 1);
		(*missing)--;
	}
	if (r->is_twin && !r->is_adopted && *adopted < *missing) {
		r->is_adopted = true;
		(*adopted)++;
	} else if (r->is_twin && (!r->is_adopted || *adopted > *missing)) {
		*adopted -= r->is_adopted;
		destroy_twin(l, r);
		return;
	}
	push_free(l, r);
}

static void take_returned(struct pfs_lane *l)
{
	struct lane_read *list;

	pfs_mutex_lock(&l->lock);
	list = l->returned;
	l->returned = NULL;
	pfs_mutex_unlock(&l->lock);
	while (list) {
		struct lane_read *r = list;

		list = r->next;
		take_back(l, r);
	}
}

bool pfs_lane_has_room(struct pfs_lane *l)
{
	if (!l->free_small || !l->free_big)
		take_returned(l);
	return l->free_small && l->free_big;
}

struct pfs_read *pfs_lane_get(struct pfs_lane *l, uint32_t len)
{
	struct lane_read **list =
		len <= LANE_SMALL_LEN ? &l->free_small : &l->free_big;
	struct lane_read *r;

	if (len > PFS_READ_MAX)
		return NULL;
	if (!*list)
		take_returned(l);
	r = *list;
	if (!r)
		return NULL;
	*list = r->next;
	atomic_fetch_add_explicit(&l->n_reads, 1, memory_order_relaxed);
	return &r->pub;
}

/* The request is over: back to its home, wherever we are. */
static void release(struct pfs_lane *l, struct lane_read *r)
{
	struct pfs_lane *home = r->home;

	if (home == l) {
		atomic_fetch_sub_explicit(&home->n_reads, 1,
					  memory_order_relaxed);
		take_back(l, r);
		return;
	}
	/* A lane may be destroyed once it has no reads: pfs_lane_destroy()
	 * waits for the end of this. */
	pfs_mutex_lock(&home->lock);
	atomic_fetch_sub_explicit(&home->n_reads, 1, memory_order_relaxed);
	if (!home->returned)
		pfs_lane_wake(home);
	r->next = home->returned;
	home->returned = r;
	pfs_mutex_unlock(&home->lock);
}

void pfs_lane_put(struct pfs_lane *l, struct pfs_read *pub)
{
	release(l, read_of(pub));
}

struct lane_read *read_twin(struct pfs_lane *l, struct lane_read *r)
{
	size_t len = read_mem_len(l, PFS_READ_MAX);
	struct lane_read *t = pfs_zalloc(1, sizeof(*t));
	uint8_t *mem = t ? pfs_pages_alloc(len, false, NULL) : NULL;

	if (!mem || read_init(l, t, mem, PFS_READ_MAX)) {
		if (t)
			read_fini(t);
		if (mem)
			pfs_pages_free(mem, len);
		free(t);
		return NULL;
	}
	t->is_twin = true;
	t->is_big = r->is_big;
	t->pub = r->pub;
	t->pub.data = mem + (r->pub.data - r->mem);
	atomic_store(&t->is_claimed, true);
	atomic_fetch_add_explicit(&l->n_reads, 1, memory_order_relaxed);
	return t;
}

static void finish(struct pfs_lane *l, struct lane_read *r, int err)
{
	/* Its home's: a prefetcher's lane has none of its own. */
	r->home->reply(r->home->arg, &r->pub, err);
	release(l, r);
}

/* --- past the store --- */

static void direct_done(struct ring_op *op, int res);

static void direct_start(struct pfs_lane *l, struct lane_read *r)
{
	struct pfs_read *p = &r->pub;
	uint64_t done = (uint64_t)((uint8_t *)r->direct_iov.iov_base - p->data);

	r->direct.done = direct_done;
	r->direct.user = l;
	source_readv(p->src, &l->ring, &r->direct, &r->direct_iov, 1,
		     p->off + done);
}

/* A source may return less than asked; nothing at all means the end, and what
 * the size table promises beyond it is zeros. */
static void direct_done(struct ring_op *op, int res)
{
	struct lane_read *r = PFS_CONTAINER_OF(op, struct lane_read, direct);
	struct pfs_lane *l = op->user;

	if (res < 0) {
		finish(l, r, res);
		return;
	}
	if (!res)
		memset(r->direct_iov.iov_base, 0, r->direct_iov.iov_len);
	if (!res || (size_t)res == r->direct_iov.iov_len) {
		finish(l, r, 0);
		return;
	}
	r->direct_iov.iov_base = (uint8_t *)r->direct_iov.iov_base + res;
	r->direct_iov.iov_len -= (size_t)res;
	direct_start(l, r);
}

void read_direct(struct pfs_lane *l, struct lane_read *r)
{
	r->pub.outcome = PFS_READ_DIRECT;
	r->direct_iov =
		(struct iovec){.iov_base = r->pub.data, .iov_len = r->pub.len};
	direct_start(l, r);
}

/* --- planning and completion --- */

static void complete(struct pfs_lane *l, struct lane_read *r)
{
	bool is_good = !r->is_pinning || hits_check(l, r);

	if (atomic_exchange(&r->is_claimed, true)) {
		release(l, r); /* its twin has answered */
		return;
	}
	if (!is_good ||
	    atomic_load_explicit(&r->wants_direct, memory_order_relaxed))
		read_direct(l, r);
	else
		finish(l, r, 0);
}

void read_part_done(struct pfs_lane *l, struct lane_read *r)
{
	/* Release what this part wrote, acquire what the others did. */
	if (atomic_fetch_sub_explicit(&r->n_pending, 1, memory_order_acq_rel) ==
	    1)
		complete(l, r);
}

/* Which bytes of which chunk go where. */
static void cut_parts(struct pfs_lane *l, struct lane_read *r)
{
	uint32_t chunk = l->s->g.chunk;
	uint64_t at = pfs_align_down(r->pub.off, PFS_BLOCK_SIZE);
	uint64_t end = pfs_align_up(r->pub.off + r->pub.len, PFS_BLOCK_SIZE);
	uint8_t *data = r->mem + PFS_READ_HEAD;
	uint32_t *sums = r->sums;

	r->n_parts = 0;
	while (at < end) {
		struct part *p = &r->parts[r->n_parts++];

		p->chunk = at / chunk;
		p->off = (uint32_t)(at % chunk);
		p->len = (uint32_t)PFS_MIN(end - at, (uint64_t)chunk - p->off);
		p->data = data;
		p->sums = sums;
		p->page = NULL;
		p->owns_page = false;
		p->is_bad = false;
		at += p->len;
		data += p->len;
		sums += p->len / PFS_BLOCK_SIZE;
	}
}

static void wait_for_locked(struct lane_read *r, struct part *p)
{
	p->wait = (struct fetch_wait){
		.next = p->fetch->waiters, .read = r, .part = p};
	p->fetch->waiters = &p->wait;
	atomic_fetch_add_explicit(&r->n_pending, 1, memory_order_relaxed);
}

static void plan_part_locked(struct pfs_lane *l, struct lane_read *r,
			     struct part *p) PFS_REQUIRES(l->s->lock)
{
	struct pfs_store_image *img = r->pub.img;
	struct pfs_store *s = l->s;
	uint32_t slot;
	uint64_t gen;

	if (index_find(&img->ix, p->chunk, &slot, &gen)) {
		p->kind = PART_HIT;
		hit_plan_locked(l, r, p, slot, gen);
		return;
	}
	p->fetch = fetch_find_locked(s, img, p->chunk);
	if (p->fetch)
		fetch_joined_locked(p->fetch);
	if (p->fetch && p->fetch->state == FETCH_READY) {
		p->kind = PART_COPY;
		p->fetch->n_refs++;
		return;
	}
	if (p->fetch) {
		p->kind = PART_WAIT;
		wait_for_locked(r, p);
		return;
	}
	if (image_is_hole_locked(img, p->chunk)) {
		p->kind = PART_HOLE;
		return;
	}
	p->fetch = fetch_get_locked(s, img, p->chunk, true);
	p->kind = p->fetch ? PART_OWN : PART_NONE;
	if (p->fetch)
		wait_for_locked(r, p);
}

static bool has_kind(const struct lane_read *r, enum part_kind k)
{
	for (uint32_t i = 0; i < r->n_parts; i++)
		if (r->parts[i].kind == k)
			return true;
	return false;
}

static enum pfs_read_outcome judge(const struct lane_read *r)
{
	if (has_kind(r, PART_NONE))
		return PFS_READ_DIRECT;
	if (has_kind(r, PART_OWN))
		return PFS_READ_MISS;
	if (has_kind(r, PART_WAIT) || has_kind(r, PART_COPY))
		return PFS_READ_LATE;
	return has_kind(r, PART_HIT) ? PFS_READ_HIT : PFS_READ_HOLE;
}

/* Parts whose bytes are in memory already. */
static void serve_from_memory(struct pfs_lane *l, struct lane_read *r)
{
	for (uint32_t i = 0; i < r->n_parts; i++) {
		struct part *p = &r->parts[i];

		if (p->kind == PART_HOLE)
			memset(p->data, 0, p->len);
		if (p->kind != PART_COPY)
			continue;
		memcpy(p->data, p->fetch->buf + p->off, p->len);
		pfs_mutex_lock(&l->s->lock);
		fetch_put_locked(l->s, p->fetch);
		pfs_mutex_unlock(&l->s->lock);
	}
}

static bool goes_past_store(const struct pfs_lane *l, const struct lane_read *r)
{
	return !l->s || !r->pub.img || !store_is_ok(l->s);
}

void pfs_lane_read(struct pfs_lane *l, struct pfs_read *pub)
{
	struct lane_read *r = read_of(pub);
	bool is_expelled;

	pub->data = r->mem + PFS_READ_HEAD + pub->off % PFS_BLOCK_SIZE;
	atomic_store_explicit(&r->is_claimed, false, memory_order_relaxed);
	atomic_store_explicit(&r->wants_direct, false, memory_order_relaxed);
	r->is_pinning = false;
	r->n_runs = 0;
	r->n_parts = 0;
	if (goes_past_store(l, r)) {
		read_direct(l, r);
		return;
	}

	cut_parts(l, r);
	atomic_store_explicit(&r->n_pending, 1, memory_order_relaxed);
	pfs_mutex_lock(&l->s->lock);
	is_expelled = pub->img->is_expelled;
	for (uint32_t i = 0; i < r->n_parts && !is_expelled; i++)
		plan_part_locked(l, r, &r->parts[i]);
	pfs_mutex_unlock(&l->s->lock);
	if (is_expelled) {
		read_direct(l, r);
		return;
	}

	pub->outcome = judge(r);
	if (pub->outcome == PFS_READ_DIRECT)
		atomic_store_explicit(&r->wants_direct, true,
				      memory_order_relaxed);
	serve_from_memory(l, r);
	hits_start(l, r);
	if (has_kind(r, PART_OWN))
		fetches_start(l, r);
	read_part_done(l, r);
}

/* --- the loop's calls --- */

void pfs_lane_poll(struct pfs_lane *l)
{
	ring_submit(&l->ring);
	while (ring_reap(&l->ring))
		ring_submit(&l->ring);
	hits_check_stall(l);
}

static void poll_done(struct ring_op *op, int res)
{
	struct pfs_lane *l = PFS_CONTAINER_OF(op, struct pfs_lane, poll);

	(void)res;
	l->is_polling = false;
}

void pfs_lane_wait(struct pfs_lane *l, int fd)
{
	if (fd >= 0 && !l->is_polling) {
		l->poll.done = poll_done;
		ring_poll(&l->ring, &l->poll, fd);
		l->is_polling = true;
	}
	ring_wait(&l->ring, hits_deadline(l));
	pfs_lane_poll(l);
}

bool pfs_lane_is_idle(const struct pfs_lane *l)
{
	return !l->ring.n_inflight;
}

uint32_t pfs_lane_n_reads(const struct pfs_lane *l)
{
	return atomic_load_explicit(&l->n_reads, memory_order_relaxed);
}

void pfs_lane_wake(struct pfs_lane *l)
{
	ring_wake(&l->ring);
}

/* --- create and destroy --- */

static int init_reads(struct pfs_lane *l)
{
	size_t small = read_mem_len(l, LANE_SMALL_LEN);
	size_t big = read_mem_len(l, PFS_READ_MAX);
	uint32_t n = l->n_small + l->n_big;
	bool is_locked = false;
	uint8_t *mem;

	l->mem_len = l->n_small * small + l->n_big * big;
	/* Locked: the kernel copies replies out of these buffers, and a page
	 * fault in that copy is an error for the guest if we die just then. */
	l->mem = pfs_pages_alloc(l->mem_len, true, &is_locked);
	l->reads = pfs_zalloc(n, sizeof(*l->reads));
	if (!l->mem || !l->reads)
		return -ENOMEM;
	if (!is_locked)
		pfs_count(PFS_C_BUF_UNLOCKED, n);
	mem = l->mem;
	for (uint32_t i = 0; i < n; i++) {
		bool is_big = i >= l->n_small;
		int err = read_init(l, &l->reads[i], mem,
				    is_big ? PFS_READ_MAX : LANE_SMALL_LEN);

		if (err)
			return err;
		push_free(l, &l->reads[i]);
		mem += is_big ? big : small;
	}
	return 0;
}

static void lane_done(struct pfs_lane **l)
{
	pfs_lane_destroy(*l);
}

int lane_create(struct pfs_store *s, uint32_t n_small, uint32_t n_big,
		struct pfs_lane **out)
{
	PFS_AUTO(lane_done) struct pfs_lane *l = pfs_zalloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->s = s;
	l->n_small = n_small;
	l->n_big = n_big;
	l->runs_tail = &l->runs;
	pfs_mutex_init(&l->lock, PFS_RANK_LANE);
	err = ring_init(&l->ring, RING_ENTRIES);
	if (!err && n_small + n_big)
		err = init_reads(l);
	if (!err && l->s)
		err = fetch_ios_init(l);
	if (err)
		return err;
	if (l->s && l->s->is_direct)
		ring_register(&l->ring, l->mem, l->mem_len, l->s->fd);
	*out = pfs_take(&l);
	return 0;
}

int pfs_lane_create(const struct pfs_lane_config *cfg, struct pfs_lane **out)
{
	int err = lane_create(cfg->store,
			      cfg->n_small ? cfg->n_small : N_SMALL_DEFAULT,
			      cfg->n_big ? cfg->n_big : N_BIG_DEFAULT, out);

	if (err)
		return err;
	(*out)->reply = cfg->reply;
	(*out)->arg = cfg->arg;
	return 0;
}

static void free_twins(struct pfs_lane *l, struct lane_read *list)
{
	while (list) {
		struct lane_read *next = list->next;

		if (list->is_twin)
			destroy_twin(l, list);
		list = next;
	}
}

void pfs_lane_destroy(struct pfs_lane *l)
{
	if (!l)
		return;
	pfs_mutex_lock(&l->lock);
	pfs_mutex_unlock(&l->lock);
	ring_fini(&l->ring);
	free_twins(l, l->free_small);
	free_twins(l, l->free_big);
	for (uint32_t i = 0; l->reads && i < l->n_small + l->n_big; i++)
		read_fini(&l->reads[i]);
	if (l->mem)
		pfs_pages_free(l->mem, l->mem_len);
	pfs_mutex_fini(&l->lock);
	free(l->reads);
	free(l->ios);
	free(l);
}
