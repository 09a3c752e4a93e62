/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "perf.h"

#include <linux/perf_event.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

/* A record takes 40 bytes and, of a tracepoint, up to 80 more.  The rings of
 * all CPUs together are to fit in a few hundred KiB. */
#define RING_PAGES_MAX 16u
#define RING_PAGES_ALL 64u

#define SAMPLE_TYPE                                                            \
	(PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |         \
	 PERF_SAMPLE_ADDR | PERF_SAMPLE_RAW)

/* As the kernel lays SAMPLE_TYPE out. */
struct sample {
	struct perf_event_header header;
	uint64_t id;
	uint32_t pid, tid;
	uint64_t time_ns;
	uint64_t addr;
	uint32_t raw_len;
	uint8_t raw[100]; /* of more, the fields we want are in front */
};

struct lost {
	struct perf_event_header header;
	uint64_t id, n_lost;
};

static const struct {
	enum pfs_signal signal;
	const char *event; /* of a tracepoint */
} kinds[PERF_KINDS] = {
	[PERF_FAULT] = {PFS_SIGNAL_FAULTS, NULL},
	[PERF_INSERT] = {PFS_SIGNAL_PAGE_CACHE,
			 "filemap/mm_filemap_add_to_page_cache"},
	[PERF_BLOCK] = {PFS_SIGNAL_BLOCK, "block/block_rq_issue"},
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* --- opening --- */

static void find_fields(struct perf *f, enum perf_kind kind, const char *text)
{
	if (kind == PERF_INSERT) {
		f->insert.dev = tp_find(text, "s_dev");
		f->insert.ino = tp_find(text, "i_ino");
		f->insert.index = tp_find(text, "index");
		f->insert.order = tp_find(text, "order"); /* from 6.13 on */
	} else if (kind == PERF_BLOCK) {
		f->block.dev = tp_find(text, "dev");
		f->block.sector = tp_find(text, "sector");
		f->block.n_sectors = tp_find(text, "nr_sector");
		f->block.rwbs = tp_find(text, "rwbs");
	}
}

static int describe(struct perf *f, enum perf_kind kind,
		    struct perf_event_attr *attr, const char **what)
{
	static char text[4096];
	uint64_t id = PERF_COUNT_SW_PAGE_FAULTS;
	int err = 0;

	*what = kinds[kind].event;
	if (*what)
		err = tp_read(*what, &id, text, sizeof(text));
	if (err)
		return err;
	find_fields(f, kind, text);
	*what = "perf_event_open";
	*attr = (struct perf_event_attr){
		.type = kinds[kind].event ? PERF_TYPE_TRACEPOINT
					  : PERF_TYPE_SOFTWARE,
		.size = sizeof(*attr),
		.config = id,
		.sample_period = 1,
		.sample_type = SAMPLE_TYPE,
		.disabled = 1,
		.watermark = 1,
		.wakeup_watermark = UINT32_MAX, /* nobody waits for it */
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
	return 0;
}

/* The first event of a CPU brings the ring, the others write to it. */
static int attach(struct perf *f, struct perf_cpu *c, int fd)
{
	if (c->ring) {
		for (enum perf_kind k = 0; k < PERF_KINDS; k++) {
			if (c->fd[k] >= 0)
				return ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT,
					     c->fd[k])
					       ? -errno
					       : 0;
		}
	}
	c->ring = mmap(NULL, page_size() + f->data_len, PROT_READ | PROT_WRITE,
		       MAP_SHARED, fd, 0);
	if (c->ring == MAP_FAILED)
		c->ring = NULL;
	return c->ring ? 0 : -errno;
}

static int open_on(struct perf *f, uint32_t cpu, enum perf_kind kind,
		   struct perf_event_attr *attr)
{
	struct perf_cpu *c = &f->cpu[cpu];
	PFS_AUTO_FD fd = (int)syscall(SYS_perf_event_open, attr, -1, (int)cpu,
				      -1, PERF_FLAG_FD_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = attach(f, c, fd);
	if (err)
		return err;
	if (ioctl(fd, PERF_EVENT_IOC_ID, &c->id[kind]))
		return -errno;
	c->fd[kind] = pfs_take_fd(&fd);
	return 0;
}

/* A CPU that is offline has no events; that all are is an error. */
static int open_kind(struct perf *f, enum perf_kind kind, const char **what)
{
	struct perf_event_attr attr;
	bool has_any = false;
	int err = describe(f, kind, &attr, what);

	for (uint32_t i = 0; i < f->n_cpus && !err; i++) {
		err = open_on(f, i, kind, &attr);
		has_any |= !err;
		if (err == -ENODEV)
			err = 0;
	}
	return err || has_any ? err : -ENODEV;
}

static int make_cpus(struct perf *f)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);
	size_t pages = RING_PAGES_MAX;

	f->n_cpus = n > 0 ? (uint32_t)n : 1;
	while (pages > 2 && pages * f->n_cpus > RING_PAGES_ALL)
		pages /= 2;
	f->data_len = pages * page_size();
	f->cpu = calloc(f->n_cpus, sizeof(*f->cpu));
	if (!f->cpu)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->n_cpus; i++) {
		for (enum perf_kind k = 0; k < PERF_KINDS; k++)
			f->cpu[i].fd[k] = -1;
	}
	return 0;
}

int perf_open(struct perf *f, struct probe *p)
{
	int err;

	memset(f, 0, sizeof(*f));
	err = make_cpus(f);
	if (err)
		return err;
	for (enum perf_kind k = 0; k < PERF_KINDS; k++) {
		const char *what;

		if (!probe_wants(p, kinds[k].signal))
			continue;
		err = open_kind(f, k, &what);
		if (err)
			probe_lost(p, kinds[k].signal, what, err);
		else
			probe_found(p, kinds[k].signal);
	}
	return 0;
}

void perf_close(struct perf *f)
{
	for (uint32_t i = 0; i < f->n_cpus && f->cpu; i++) {
		for (enum perf_kind k = 0; k < PERF_KINDS; k++)
			pfs_fd_done(&f->cpu[i].fd[k]);
		if (f->cpu[i].ring)
			munmap(f->cpu[i].ring, page_size() + f->data_len);
	}
	free(f->cpu);
	f->cpu = NULL;
}

/* --- bursts --- */

/* The count of an event says how much of a burst is used up: not all of it may
 * have found room in the ring. */
static void arm(struct perf_cpu *c, enum perf_kind kind, uint32_t n)
{
	uint64_t count, left;

	if (c->fd[kind] < 0 ||
	    read(c->fd[kind], &count, sizeof(count)) != sizeof(count))
		return;
	if (c->granted[kind] <= count) {
		c->granted[kind] = count;
		c->burst[kind]++;
	}
	left = c->granted[kind] - count;
	/* The kernel adds it to what is left. */
	if (left < n &&
	    !ioctl(c->fd[kind], PERF_EVENT_IOC_REFRESH, (int)(n - left)))
		c->granted[kind] += n - left;
}

void perf_arm(struct perf *f, enum perf_kind kind, uint32_t n)
{
	for (uint32_t i = 0; i < f->n_cpus; i++)
		arm(&f->cpu[i], kind, n);
}

/* --- records --- */

static void read_insert(const struct perf *f, const struct sample *s,
			struct perf_record *r)
{
	size_t len = PFS_MIN((size_t)s->raw_len, sizeof(s->raw));
	uint64_t order = tp_get(f->insert.order, s->raw, len);

	r->dev = (uint32_t)tp_get(f->insert.dev, s->raw, len);
	r->ino = tp_get(f->insert.ino, s->raw, len);
	r->page = tp_get(f->insert.index, s->raw, len);
	r->n_pages = 1ull << PFS_MIN(order, 20ull);
}

/* False: not a read. */
static bool read_block(const struct perf *f, const struct sample *s,
		       struct perf_record *r)
{
	size_t len = PFS_MIN((size_t)s->raw_len, sizeof(s->raw));
	uint64_t sector = tp_get(f->block.sector, s->raw, len);
	uint64_t n_sectors = tp_get(f->block.n_sectors, s->raw, len);

	r->dev = (uint32_t)tp_get(f->block.dev, s->raw, len);
	r->len = n_sectors * 512;
	return tp_get(f->block.rwbs, s->raw, len) == 'R' &&
	       !pfs_mul_u64(sector, 512, &r->off);
}

static void hand_on(struct perf *f, struct perf_cpu *c, const struct sample *s,
		    perf_fn fn, void *arg)
{
	struct perf_record r = {.pid = s->pid,
				.tid = s->tid,
				.time_ns = s->time_ns,
				.addr = s->addr};
	bool is_wanted = true;

	while (r.kind < PERF_KINDS &&
	       (c->fd[r.kind] < 0 || c->id[r.kind] != s->id))
		r.kind++;
	if (r.kind == PERF_KINDS)
		return;
	r.burst = c->burst[r.kind];
	if (r.kind == PERF_INSERT)
		read_insert(f, s, &r);
	else if (r.kind == PERF_BLOCK)
		is_wanted = read_block(f, s, &r);
	if (is_wanted)
		fn(&r, arg);
}

/* The front of a record, which may go round the end of the ring. */
static void copy_out(const struct perf *f, const struct perf_cpu *c,
		     uint64_t at, void *to, size_t len)
{
	const char *data = (const char *)c->ring + page_size();
	size_t from = at & (f->data_len - 1);
	size_t first = PFS_MIN(len, f->data_len - from);

	memcpy(to, data + from, first);
	memcpy((char *)to + first, data, len - first);
}

static void drain_cpu(struct perf *f, struct perf_cpu *c, perf_fn fn, void *arg)
{
	struct perf_event_mmap_page *head = c->ring;
	uint64_t at = head->data_tail;
	uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);

	while (at < end) {
		struct sample s = {.raw_len = 0};
		struct lost lost;

		copy_out(f, c, at, &s.header, sizeof(s.header));
		if (s.header.size < sizeof(s.header))
			break;
		if (s.header.type == PERF_RECORD_SAMPLE) {
			copy_out(f, c, at, &s,
				 PFS_MIN((size_t)s.header.size, sizeof(s)));
			hand_on(f, c, &s, fn, arg);
		} else if (s.header.type == PERF_RECORD_LOST) {
			copy_out(f, c, at, &lost, sizeof(lost));
			f->n_lost += lost.n_lost;
		}
		at += s.header.size;
	}
	/* The kernel may write there from now on. */
	__atomic_store_n(&head->data_tail, end, __ATOMIC_RELEASE);
}

void perf_drain(struct perf *f, perf_fn fn, void *arg)
{
	for (uint32_t i = 0; i < f->n_cpus; i++) {
		if (f->cpu[i].ring)
			drain_cpu(f, &f->cpu[i], fn, arg);
	}
}
