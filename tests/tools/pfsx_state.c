// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The expected state: a file, mapped shared, so that it holds whatever was
 * stored last when pfsx, the file system or both are killed.
 *
 *   header | image_state[images] | sector_state[images * sectors_per_image]
 *
 * Host endianness and struct layout: the file is read by the program that
 * wrote it.
 *
 * Order of stores, which makes the state true at every instant:
 *   S1  the zero bit of version k is set before `next` becomes k
 *   S2  `next` becomes k before the call that writes k is made
 *   S3  `acked` becomes k after that call returned
 * A reader loads the lower bound before its call and the upper one after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pfsx.h"

#define STATE_MAGIC "PFSXST\n"
#define STATE_FORMAT 1

static size_t layout(struct state *st, uint32_t images, uint64_t image_size)
{
	char *base = (char *)st->hdr;
	size_t at = 4096;

	st->sectors_per_image = image_size / SECTOR;
	if (base)
		st->images = (struct image_state *)(base + at);
	at += images * sizeof(*st->images);
	at = (at + 4095) & ~(size_t)4095;
	if (base)
		st->sectors = (struct sector_state *)(base + at);
	return at + images * st->sectors_per_image * sizeof(*st->sectors);
}

static void init_state(struct state *st, uint32_t images, uint64_t image_size,
		       uint64_t seed)
{
	memset(st->hdr, 0, st->map_len);
	st->hdr->format = STATE_FORMAT;
	st->hdr->images = images;
	st->hdr->image_size = image_size;
	st->hdr->seed = seed;
	for (uint64_t i = 0; i < images * st->sectors_per_image; i++)
		st->sectors[i].zeros = 1; /* version 0 is a hole */
	for (uint32_t i = 0; i < images; i++)
		st->images[i].sizes[0].size = image_size;
	memcpy(st->hdr->magic, STATE_MAGIC, sizeof(st->hdr->magic));
}

static bool state_fits(const struct state_header *h, uint32_t images,
		       uint64_t image_size)
{
	return !memcmp(h->magic, STATE_MAGIC, sizeof(h->magic)) &&
	       h->format == STATE_FORMAT && h->images == images &&
	       h->image_size == image_size;
}

int state_open(const char *path, uint32_t images, uint64_t image_size,
	       uint64_t seed, bool must_exist, struct state *st)
{
	int flags = O_RDWR | O_CLOEXEC | (must_exist ? 0 : O_CREAT);
	int fd = open(path, flags, 0600);
	int err = 0;
	struct stat sb;
	void *map;

	memset(st, 0, sizeof(*st));
	if (fd < 0)
		return -errno;
	st->map_len = layout(st, images, image_size);
	if (fstat(fd, &sb) < 0 ||
	    (!sb.st_size && ftruncate(fd, (off_t)st->map_len) < 0))
		err = -errno;
	else if (sb.st_size && (size_t)sb.st_size != st->map_len)
		err = -EINVAL;
	map = err ? MAP_FAILED
		  : mmap(NULL, st->map_len, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
	if (!err && map == MAP_FAILED)
		err = -errno;
	close(fd);
	if (err)
		return err;

	st->hdr = map;
	layout(st, images, image_size);
	if (st->hdr->ready || must_exist) {
		if (state_fits(st->hdr, images, image_size))
			return 0;
		state_close(st);
		return -EINVAL;
	}
	init_state(st, images, image_size, seed);
	return 0;
}

void state_close(struct state *st)
{
	if (st->hdr)
		munmap(st->hdr, st->map_len);
	st->hdr = NULL;
}

/* ---- sectors ---- */

static uint64_t zero_bit(uint32_t version)
{
	return 1ull << version % ZERO_RING;
}

uint32_t sector_begin(const struct state *st, uint32_t image, uint64_t sec,
		      bool zero)
{
	struct sector_state *s = state_sector(st, image, sec);
	uint32_t v = s->next + 1;

	/* What an fsync covered must be noted before its epoch is lost. */
	if (s->ack_epoch < st->images[image].sync_done)
		s->synced = s->acked;
	if (zero)
		atomic_fetch_or(&s->zeros, zero_bit(v));
	else if (s->zeros & zero_bit(v))
		atomic_fetch_and(&s->zeros, ~zero_bit(v));
	s->next = v;
	return v;
}

void sector_ack(const struct state *st, uint32_t image, uint64_t sec)
{
	struct sector_state *s = state_sector(st, image, sec);

	/* Were the epoch stored after `acked`, a kill between the two would
	 * leave the new version under the old epoch: synced too early. */
	s->ack_epoch = UINT32_MAX;
	s->acked = s->next;
	s->ack_epoch = st->images[image].sync_begun;
}

uint32_t sector_lowest(const struct sector_state *s)
{
	uint32_t acked = s->acked, seen = s->seen;

	return acked > seen ? acked : seen;
}

uint32_t sector_durable(const struct state *st, uint32_t image, uint64_t sec)
{
	const struct sector_state *s = state_sector(st, image, sec);

	return s->ack_epoch < st->images[image].sync_done ? s->acked
							  : s->synced;
}

/* Versions older than the ring may have been zeros: nobody remembers. */
static bool was_zero(const struct sector_state *s, uint32_t v, bool unknown)
{
	return s->next - v >= ZERO_RING ? unknown : !!(s->zeros & zero_bit(v));
}

static bool in_history(const struct sector_state *s, struct bounds b,
		       uint32_t v)
{
	return v == b.lo || (v > b.lo && v <= b.hi && v > s->dead);
}

bool sector_permits(const struct sector_state *s, struct bounds b, uint32_t v)
{
	return in_history(s, b, v) && !was_zero(s, v, false);
}

bool sector_permits_zero(const struct sector_state *s, struct bounds b,
			 uint32_t *version)
{
	for (uint32_t v = b.lo; v <= b.hi; v++) {
		if (!in_history(s, b, v) || !was_zero(s, v, true))
			continue;
		*version = v;
		return true;
	}
	return false;
}

void sector_saw(struct sector_state *s, uint32_t version)
{
	uint32_t seen = s->seen;

	while (seen < version &&
	       !atomic_compare_exchange_weak(&s->seen, &seen, version))
		;
}

void sector_settle(struct sector_state *s, uint32_t version)
{
	s->dead = s->next;
	s->seen = version;
	s->synced = version;
	s->acked = version;
	s->ack_epoch = UINT32_MAX; /* `synced` already says it */
}

/* ---- sizes ---- */

uint64_t size_now(const struct state *st, uint32_t image)
{
	const struct image_state *im = &st->images[image];

	return im->sizes[im->size_acked % SIZE_RING].size;
}

void size_begin(const struct state *st, uint32_t image, uint64_t size)
{
	struct image_state *im = &st->images[image];
	uint32_t v = im->size_next + 1;

	im->sizes[v % SIZE_RING].ack_epoch = UINT32_MAX;
	im->sizes[v % SIZE_RING].size = size;
	im->size_next = v;
}

void size_ack(const struct state *st, uint32_t image)
{
	struct image_state *im = &st->images[image];

	im->sizes[im->size_next % SIZE_RING].ack_epoch = im->sync_begun;
	im->size_acked = im->size_next;
}

void size_range(const struct state *st, uint32_t image, uint32_t from,
		uint64_t *min, uint64_t *max)
{
	const struct image_state *im = &st->images[image];
	uint32_t to = im->size_next;

	*min = UINT64_MAX;
	*max = 0;
	if (to - from >= SIZE_RING - 1) { /* overwritten meanwhile */
		*min = 0;
		*max = UINT64_MAX;
		return;
	}
	for (uint32_t v = from; v != to + 1; v++) {
		uint64_t size = im->sizes[v % SIZE_RING].size;

		*min = size < *min ? size : *min;
		*max = size > *max ? size : *max;
	}
}

uint32_t size_durable(const struct state *st, uint32_t image)
{
	const struct image_state *im = &st->images[image];
	uint32_t v = im->size_acked;

	for (unsigned n = 0; n < SIZE_RING - 1 && v; n++, v--)
		if (im->sizes[v % SIZE_RING].ack_epoch < im->sync_done)
			return v;
	return v;
}

/* ---- fsync ---- */

uint32_t sync_begin(const struct state *st, uint32_t image)
{
	return atomic_fetch_add(&st->images[image].sync_begun, 1) + 1;
}

void sync_ack(const struct state *st, uint32_t image, uint32_t number)
{
	_Atomic uint32_t *done = &st->images[image].sync_done;
	uint32_t old = *done;

	while (old < number &&
	       !atomic_compare_exchange_weak(done, &old, number))
		;
}
