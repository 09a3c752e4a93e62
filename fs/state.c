/* SPDX-License-Identifier: GPL-3.0-or-later */
/* state.c - the memfd of a mount, and the zone marks in it. */
#include "state.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <pfs/clock.h>
#include <pfs/hash.h>
#include <pfs/log.h>

/* Rows of the image table that an id may lie in.  All of them are looked at
 * each time, so a row may be freed without breaking a chain. */
#define PROBE 32u
#define HEADER_LEN                                                             \
	((size_t)pfs_align_up(offsetof(struct state, node) +                   \
				      sizeof(struct state_node),               \
			      65536))

/* NULL: errno tells. */
static struct state *map(int fd, size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem != MAP_FAILED)
		return mem;
	pfs_log_fail(-errno, "state", "map the mount's state");
	return NULL;
}

static uint32_t size_kib(void)
{
	return (uint32_t)((sizeof(struct state) + 1023) / 1024);
}

static void fill_in(struct state *s)
{
	s->magic = STATE_MAGIC;
	s->version = STATE_VERSION;
	s->size_kib = size_kib();
	s->mount_id_ns = pfs_wall_ns();
	s->node[0].is_dir = 1;
	s->node[0].serial = 1;
	atomic_store(&s->node[0].use, STATE_USED);
}

int state_create(int *out_fd)
{
	PFS_AUTO_FD fd =
		memfd_create("pfs-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct state *s;

	if (fd < 0)
		return pfs_log_fail(-errno, "state", "memfd_create");
	if (ftruncate(fd, (off_t)sizeof(*s)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return pfs_log_fail(-errno, "state", "size the memfd");
	s = map(fd, HEADER_LEN);
	if (!s)
		return -errno;
	fill_in(s);
	state_unmap_header(s);
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

static bool layout_ok(int fd, const struct state *s)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof(*s) &&
	       s->magic == STATE_MAGIC && s->version == STATE_VERSION &&
	       s->size_kib == size_kib();
}

/* Another build's memfd may be shorter than we would map: touching a page
 * beyond its end is SIGBUS, so its size is asked first. */
static bool is_long_enough(int fd, size_t len)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size >= (off_t)len;
}

static int map_checked(int fd, size_t len, struct state **out)
{
	struct state *s;

	if (!is_long_enough(fd, len))
		return pfs_log_fail(-EPROTO, "state", "memfd is too short");
	s = map(fd, len);
	if (!s)
		return -errno;
	if (!layout_ok(fd, s)) {
		munmap(s, len);
		return pfs_log_fail(-EPROTO, "state",
				    "layout is not version %d", STATE_VERSION);
	}
	*out = s;
	return 0;
}

int state_map(int fd, struct state **out)
{
	return map_checked(fd, sizeof(struct state), out);
}

void state_unmap(struct state *s)
{
	if (s)
		munmap(s, sizeof(*s));
}

int state_map_header(int fd, struct state **out)
{
	return map_checked(fd, HEADER_LEN, out);
}

void state_unmap_header(struct state *s)
{
	if (s)
		munmap(s, HEADER_LEN);
}

static struct state_image *probe(struct state *s, uint64_t image, uint32_t i)
{
	return &s->image[(pfs_mix64(image) + i) % STATE_MAX_IMAGES];
}

/* Two threads may both give a new image a row if a third frees one meanwhile;
 * so marks are looked for, and removed, in every row of that id. */
static struct state_image *row_of(struct state *s, uint64_t image,
				  uint32_t *from)
{
	for (; *from < PROBE; ++*from) {
		struct state_image *row = probe(s, image, *from);

		if (atomic_load(&row->id) == image) {
			++*from;
			return row;
		}
	}
	return NULL;
}

static struct state_image *row_make(struct state *s, uint64_t image)
{
	uint32_t from = 0;
	struct state_image *row = row_of(s, image, &from);

	for (uint32_t i = 0; !row && i < PROBE; i++) {
		struct state_image *r = probe(s, image, i);
		uint64_t was = 0;

		if (atomic_compare_exchange_strong(&r->id, &was, image) ||
		    was == image)
			row = r;
	}
	return row;
}

static void mark_bits(struct state_image *row, uint32_t first, uint32_t last)
{
	for (uint32_t w = first / 64; w <= last / 64; w++) {
		uint32_t lo = w == first / 64 ? first % 64 : 0;
		uint32_t hi = w == last / 64 ? last % 64 : 63;
		uint64_t bits = (~0ull << lo) & (~0ull >> (63 - hi));

		/* Most writes go to a zone that is marked already. */
		if ((atomic_load(&row->zones[w]) & bits) != bits)
			atomic_fetch_or(&row->zones[w], bits);
	}
}

bool state_zone_mark(struct state *s, uint64_t image, uint32_t first_zone,
		     uint32_t last_zone)
{
	struct state_image *row = row_make(s, image);

	if (!row)
		return false;
	if (last_zone >= STATE_ZONE_BITS)
		atomic_store(&row->has_high, 1);
	if (first_zone < STATE_ZONE_BITS)
		mark_bits(row, first_zone,
			  PFS_MIN(last_zone, STATE_ZONE_BITS - 1));
	return true;
}

void state_zone_clear(struct state *s, uint64_t image, uint32_t zone)
{
	struct state_image *row;
	uint32_t from = 0;

	if (zone >= STATE_ZONE_BITS)
		return;
	while ((row = row_of(s, image, &from)))
		atomic_fetch_and(&row->zones[zone / 64],
				 ~(1ull << (zone % 64)));
}

bool state_zone_is_marked(struct state *s, uint64_t image, uint32_t zone)
{
	struct state_image *row;
	uint32_t from = 0;

	while ((row = row_of(s, image, &from))) {
		if (zone >= STATE_ZONE_BITS
			    ? atomic_load(&row->has_high)
			    : atomic_load(&row->zones[zone / 64]) >>
					      (zone % 64) &
				      1)
			return true;
	}
	return false;
}

bool state_image_opened(struct state *s, uint64_t image, uint64_t epoch,
			uint64_t dev, uint64_t ino)
{
	struct state_image *row = row_make(s, image);

	if (!row)
		return false;
	atomic_store(&row->is_open, 0);
	atomic_store(&row->epoch, epoch);
	atomic_store(&row->dev, dev);
	atomic_store(&row->ino, ino);
	atomic_store(&row->is_open, 1);
	return true;
}

static bool has_marks(struct state_image *row)
{
	for (uint32_t w = 0; w < PFS_ARRAY_SIZE(row->zones); w++)
		if (atomic_load(&row->zones[w]))
			return true;
	return atomic_load(&row->has_high);
}

/* Without marks there is nothing to remember: the row is for others. */
void state_image_closed(struct state *s, uint64_t image)
{
	struct state_image *row;
	uint32_t from = 0;
	bool is_needed = false;

	while ((row = row_of(s, image, &from))) {
		atomic_store(&row->is_open, 0);
		is_needed |= has_marks(row);
	}
	if (!is_needed)
		state_image_forget(s, image);
}

static bool not_this(void *arg, uint64_t dev, uint64_t ino)
{
	const uint64_t *file = arg;

	return dev != file[0] || ino != file[1];
}

void state_file_closed(struct state *s, uint64_t dev, uint64_t ino)
{
	uint64_t file[2] = {dev, ino};

	state_images_keep_open(s, not_this, file);
}

void state_images_keep_open(struct state *s,
			    bool (*keep)(void *arg, uint64_t dev, uint64_t ino),
			    void *arg)
{
	for (uint32_t i = 0; i < STATE_MAX_IMAGES; i++) {
		struct state_image *row = &s->image[i];

		if (atomic_load(&row->id) && atomic_load(&row->is_open) &&
		    !keep(arg, atomic_load(&row->dev), atomic_load(&row->ino)))
			atomic_store(&row->is_open, 0);
	}
}

bool state_image_is_open(struct state *s, uint64_t image, uint64_t dev,
			 uint64_t ino, uint64_t *epoch)
{
	struct state_image *row;
	uint32_t from = 0;

	while ((row = row_of(s, image, &from))) {
		if (!atomic_load(&row->is_open) ||
		    atomic_load(&row->dev) != dev ||
		    atomic_load(&row->ino) != ino)
			continue;
		*epoch = atomic_load(&row->epoch);
		return true;
	}
	return false;
}

void state_image_forget(struct state *s, uint64_t image)
{
	struct state_image *row;
	uint32_t from = 0;

	while ((row = row_of(s, image, &from))) {
		atomic_store(&row->has_high, 0);
		atomic_store(&row->is_open, 0);
		for (uint32_t w = 0; w < PFS_ARRAY_SIZE(row->zones); w++)
			atomic_store(&row->zones[w], 0);
		atomic_store(&row->id, 0);
	}
}
