/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a file to the places on the disk of what is not in the page cache. */
#include "hot_look.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096u
#define PAGES (HOT_AHEAD / PAGE)
#define GAP_PAGES 8u       /* cached ones between others are not worth a cut */
#define EXTENTS 8u         /* of one run */
#define FILEID_INO32_GEN 1 /* fs/exportfs: inode number and generation */

/* Places that cannot be told, or where there is nothing yet. */
#define NO_PLACE                                                               \
	(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |                      \
	 FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_INLINE |                   \
	 FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_UNWRITTEN |                   \
	 FIEMAP_EXTENT_NOT_ALIGNED)

struct roots {
	int fd[MOUNTS_MAX];
};

/* --- opening --- */

/* ext4 takes 0 for any generation: so files opened before the agent was
 * started are found by what tracepoints tell.  Others refuse. */
static void handle_of_ino(uint64_t ino, struct opens_handle *h)
{
	uint32_t ino32 = (uint32_t)ino;

	*h = (struct opens_handle){.len = 8, .type = FILEID_INO32_GEN};
	memcpy(h->bytes, &ino32, sizeof(ino32));
}

/* The root of a mount, kept open while files are looked up. */
static int root_of(struct hot *h, const struct mount *m, struct roots *roots)
{
	int *fd = &roots->fd[m - h->mounts->mount];

	if (*fd < 0)
		*fd = mounts_open(m);
	return *fd;
}

static int open_handle(int root, const struct opens_handle *h)
{
	union {
		struct file_handle fh;
		char room[sizeof(struct file_handle) + OPENS_HANDLE_MAX];
	} u = {.fh = {.handle_bytes = h->len, .handle_type = h->type}};
	int fd;

	memcpy(u.fh.f_handle, h->bytes, h->len);
	fd = open_by_handle_at(root, &u.fh,
			       O_RDONLY | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_file(struct hot *h, const struct hot_file *f,
		     struct roots *roots)
{
	const struct mount *m = mounts_by_dev(h->mounts, f->dev);
	struct opens_handle handle = f->handle;
	int root;

	if (!m)
		return -ENODEV;
	root = root_of(h, m, roots);
	if (root < 0)
		return root;
	if (!handle.len) {
		if (f->ino > UINT32_MAX)
			return -EOVERFLOW;
		handle_of_ino(f->ino, &handle);
	}
	return open_handle(root, &handle);
}

/* The same file may be known by its number already, from its pages. */
static void learn_ino(struct hot *h, struct hot_file *f, uint64_t ino)
{
	struct hot_file *other;

	if (f->ino)
		return;
	other = hot_by_ino(h, f->dev, ino);
	if (other)
		memset(other, 0, sizeof(*other));
	f->ino = ino;
}

/* --- on the disk --- */

/* The part of x that is in from..end, as an extent of a whole disk. */
static void found(struct hot *h, const struct hot_file *f,
		  const struct fiemap_extent *x, uint64_t from, uint64_t end)
{
	const struct disk_part *p = disks_find(h->disks, f->dev);
	uint64_t lo = PFS_MAX(from, (uint64_t)x->fe_logical);
	uint64_t hi = PFS_MIN(end, (uint64_t)(x->fe_logical + x->fe_length));
	uint64_t at = x->fe_physical + (lo - x->fe_logical);
	struct pfs_vector_extent e;

	if (!p || hi <= lo || x->fe_flags & NO_PLACE || at >= p->len ||
	    hi - lo > p->len - at || (at | p->start) % PFS_VECTOR_SECTOR)
		return;
	e = (struct pfs_vector_extent){
		.off = p->start + at,
		.len = (uint32_t)pfs_align_down(hi - lo, PFS_VECTOR_SECTOR),
		.kind = f->kind,
		.disk = (uint8_t)p->disk};
	if (e.len)
		hot_found(h, &e, f->hot_ns);
}

static void map_run(struct hot *h, const struct hot_file *f, int fd,
		    uint64_t from, uint64_t end)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) +
			  EXTENTS * sizeof(struct fiemap_extent)];
	} u = {.map = {.fm_start = from,
		       .fm_length = end - from,
		       .fm_extent_count = EXTENTS}};

	if (ioctl(fd, FS_IOC_FIEMAP, &u.map))
		return;
	for (uint32_t i = 0; i < u.map.fm_mapped_extents; i++)
		found(h, f, &u.map.fm_extents[i], from, end);
}

/* --- in the page cache --- */

/* False: it cannot be told. */
static bool find_cached(int fd, uint64_t from, uint64_t len, uint8_t *cached)
{
	void *at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)from);
	int err;

	if (at == MAP_FAILED)
		return false;
	err = mincore(at, len, cached);
	munmap(at, len);
	return !err;
}

/* Runs of pages that are missing in from..from + len. */
static void map_missing(struct hot *h, const struct hot_file *f, int fd,
			uint64_t from, uint64_t len)
{
	uint8_t cached[PAGES] = {0};
	uint64_t n = (len + PAGE - 1) / PAGE, i = 0;

	if (!find_cached(fd, from, len, cached))
		return;
	while (i < n) {
		uint64_t first, end;

		while (i < n && cached[i] & 1)
			i++;
		first = end = i;
		while (i < n && i < end + GAP_PAGES) {
			if (!(cached[i++] & 1))
				end = i;
		}
		if (end > first)
			map_run(h, f, fd, from + first * PAGE,
				from + end * PAGE);
	}
}

/* --- all of it --- */

/* Who reads at random may want what lies before, too. */
static uint64_t start_of(const struct hot_file *f)
{
	if (f->kind == PFS_EXTENT_REFAULT && f->told <= f->at)
		return f->at - PFS_MIN(f->at, HOT_AHEAD / 2);
	return PFS_MAX(f->at, f->told);
}

static void look_inside(struct hot *h, struct hot_file *f, int fd)
{
	uint64_t from, len;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    disks_dev(st.st_dev) != f->dev)
		return;
	learn_ino(h, f, st.st_ino);
	from = pfs_align_down(start_of(f), PAGE);
	if (from >= (uint64_t)st.st_size)
		return;
	len = PFS_MIN((uint64_t)st.st_size - from, HOT_AHEAD);
	f->told = from + len;
	map_missing(h, f, fd, from, len);
}

static void look(struct hot *h, struct hot_file *f, struct roots *roots,
		 uint64_t now_ns)
{
	uint64_t n_before = h->n_found + h->n_dropped;
	PFS_AUTO_FD fd = open_file(h, f, roots);

	f->is_due = false;
	f->looked_ns = now_ns;
	if (fd >= 0)
		look_inside(h, f, fd);
	hot_looked(h, f, h->n_found + h->n_dropped > n_before, now_ns);
}

/* Programs first: nothing else happens until they are read. */
uint32_t hot_look(struct hot *h, uint32_t max, uint64_t now_ns)
{
	uint32_t n = 0;
	struct roots roots;

	for (uint32_t i = 0; i < MOUNTS_MAX; i++)
		roots.fd[i] = -1;
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < HOT_FILES && n < max; i++) {
			struct hot_file *f = &h->file[i];

			if (!f->is_due ||
			    (pass == 0 && f->kind != PFS_EXTENT_EXEC))
				continue;
			look(h, f, &roots, now_ns);
			n++;
		}
	}
	for (uint32_t i = 0; i < MOUNTS_MAX; i++)
		pfs_fd_done(&roots.fd[i]);
	return n;
}
