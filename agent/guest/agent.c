/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <pfs/clock.h>
#include <pfs/hash.h>
#include <pfs/log.h>

#include "say.h"

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

#define MSEC PFS_NSEC_PER_MSEC
#define TICK_NS (100 * MSEC)
#define EARLY_NS (50 * MSEC)              /* between two frames, or two looks */
#define MEMORY_NS (10 * PFS_NSEC_PER_SEC) /* of the window */

/* What may be sampled: faults in one burst for each vector, the others in one
 * for each tick.  Half of the window is for either of the first two. */
#define BURST_FAULTS 256u
#define BURST_INSERTS 256u
#define BURST_BLOCKS 128u
#define LOOKS 32u       /* files looked up in a tick, */
#define EVENTS 512u     /* and events of opens taken */
#define REGION_SHIFT 30 /* faults of a thread in one GiB are a stream */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * PFS_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* --- opening --- */

int agent_open(struct agent *a, const struct options *o)
{
	int err;

	memset(a, 0, sizeof(*a));
	a->options = o;
	a->probe.unwanted = o->unwanted;
	a->probe.is_quiet = o->probe || o->once;
	a->budget.limit_ppm = o->budget_ppm;
	a->mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	a->opens.fd = -1;
	link_init(&a->link, &o->host);
	a->v.interval_ms = o->interval_ms; /* of an early frame before all */
	pfs_window_init(&a->window);
	if (disks_scan(&a->disks) || mounts_scan(&a->mounts, &a->disks))
		pfs_log(PFS_LOG_WARNING, "agent", "no disks are known");
	hot_init(&a->hot, &a->disks, &a->mounts);
	err = perf_open(&a->perf, &a->probe);
	if (err)
		return err;
	opens_open(&a->opens, &a->mounts, &a->probe);
	damon_start(&a->damon, &a->probe);
	counts_read(&a->probe, &a->disks, pfs_now_ns(), &a->before);
	if (getrandom(a->v.nonce, sizeof(a->v.nonce), GRND_INSECURE) !=
	    sizeof(a->v.nonce)) { /* Linux before 5.6 */
		uint64_t now = clock_ns(CLOCK_REALTIME);

		memcpy(a->v.nonce, &now, sizeof(now));
	}
	return 0;
}

void agent_close(struct agent *a)
{
	damon_stop(&a->damon);
	opens_close(&a->opens);
	perf_close(&a->perf);
	link_fini(&a->link);
	pfs_fd_done(&a->mountinfo);
	a->mountinfo = -1;
}

/* --- samples --- */

/* A page that faults twice in a row, to be read and then to be written, is one
 * touch.  False: there was nothing to add. */
static bool add_sample(struct agent *a, const struct perf_record *r,
		       uint64_t key, uint64_t page, uint64_t n_pages)
{
	struct pfs_sample s = {
		.page = page,
		.time_ns = r->time_ns,
		.stream = (uint32_t)pfs_mix64(key ^ (uint64_t)r->burst << 40),
		.n_pages = (uint32_t)n_pages,
	};

	if (s.page == a->last.page && s.stream == a->last.stream)
		return false;
	a->last = s;
	pfs_window_add(&a->window, &s);
	return true;
}

static bool add_fault(struct agent *a, const struct perf_record *r)
{
	return add_sample(a, r, pfs_mix64(r->tid) ^ r->addr >> REGION_SHIFT,
			  r->addr >> 12, 1);
}

static bool add_insert(struct agent *a, const struct perf_record *r)
{
	return add_sample(a, r, pfs_mix64(r->ino) ^ ~(uint64_t)r->dev, r->page,
			  r->n_pages);
}

static void take_record(const struct perf_record *r, void *arg)
{
	struct agent *a = arg;

	if (r->pid == (uint32_t)getpid())
		return;
	if (r->kind == PERF_FAULT && a->n_faults < PFS_WINDOW / 2)
		a->n_faults += add_fault(a, r);
	if (r->kind == PERF_INSERT && a->n_inserts < PFS_WINDOW / 2)
		a->n_inserts += add_insert(a, r);
	if (r->kind != PERF_FAULT)
		hot_record(&a->hot, r);
}

static void take_open(const struct mount *m, const struct opens_handle *h,
		      bool is_exec, void *arg)
{
	struct agent *a = arg;

	hot_opened(&a->hot, m, h, is_exec, pfs_now_ns());
}

static void collect(struct agent *a)
{
	const struct budget *b = &a->budget;

	perf_drain(&a->perf, take_record, a);
	perf_arm(&a->perf, PERF_INSERT, budget_samples(b, BURST_INSERTS));
	perf_arm(&a->perf, PERF_BLOCK, budget_samples(b, BURST_BLOCKS));
}

/* Files are looked up as their events come in, before others take their place.
 * When too many were opened the rest of the events is only read. */
static void look(struct agent *a, uint64_t now)
{
	uint32_t events = budget_samples(&a->budget, EVENTS);
	uint32_t looks = budget_samples(&a->budget, LOOKS);
	uint32_t n;

	a->look_ns = now + budget_stretch(&a->budget, EARLY_NS);
	do {
		n = opens_read(&a->opens, &a->mounts, take_open, a);
		looks -= hot_look(&a->hot, looks, now);
		events -= PFS_MIN(n, events);
	} while (n && events);
}

/* --- vectors --- */

static void take_disks(struct agent *a)
{
	a->v.n_disks = a->disks.n;
	memcpy(a->v.disk_bytes, a->disks.bytes, sizeof(a->v.disk_bytes));
}

static void note_lost(struct agent *a)
{
	uint64_t n = a->perf.n_lost + a->opens.n_lost + a->hot.n_dropped;

	if (n != a->n_lost)
		a->v.flags |= PFS_VECTOR_LOST;
	a->n_lost = n;
}

static uint32_t ms_between(uint64_t since, uint64_t now)
{
	uint64_t ms = (now - since) / MSEC;

	ms = PFS_MIN(ms, (uint64_t)PFS_VECTOR_INTERVAL_MAX_MS);
	return (uint32_t)PFS_MAX(ms, 1ull);
}

static void make_features(struct agent *a, uint64_t now)
{
	uint32_t *f = a->v.feature;
	struct pfs_activity counts;

	perf_drain(&a->perf, take_record, a);
	counts_read(&a->probe, &a->disks, now, &counts);
	pfs_activity_features(&a->before, &counts, f);
	a->v.interval_ms = ms_between(a->before.time_ns, now);
	a->before = counts;
	a->v.n_samples = pfs_window_features(
		&a->window, now > MEMORY_NS ? now - MEMORY_NS : 0, f);
	f[PFS_F_ACTIVE] =
		PFS_MIN(pfs_q16_log2(damon_active_pages(&a->damon, &a->probe)),
			PFS_FEATURE_LOG_MAX);
	a->n_faults = a->n_inserts = 0;
	perf_arm(&a->perf, PERF_FAULT,
		 budget_samples(&a->budget, BURST_FAULTS));
}

static void finish(struct agent *a, uint64_t now)
{
	a->v.seq++;
	a->v.time_ns = clock_ns(CLOCK_BOOTTIME);
	a->v.signals = a->probe.has;
	take_disks(a);
	hot_take(&a->hot, now, &a->v);
	note_lost(a);
}

static void send_vector(struct agent *a, uint64_t now)
{
	uint8_t frame[PFS_VECTOR_LEN];

	pfs_vector_encode(&a->v, frame);
	link_work(&a->link, now);
	link_send(&a->link, frame);
	a->early_ns = now + budget_stretch(&a->budget, EARLY_NS);
	a->v.flags = 0;
}

static void make_vector(struct agent *a, uint64_t now)
{
	uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t since = a->before.time_ns;

	budget_note(&a->budget, cpu - a->cpu_ns, now - since);
	a->cpu_ns = cpu;
	make_features(a, now);
	finish(a, now);
}

/* --- the loop --- */

/* A disk that came, or a file system, counts from now on. */
static void rescan(struct agent *a)
{
	if (disks_scan(&a->disks) || mounts_scan(&a->mounts, &a->disks))
		pfs_log(PFS_LOG_WARNING, "agent", "no disks are known");
	opens_remark(&a->opens, &a->mounts, &a->probe);
}

static uint64_t next_due(const struct agent *a)
{
	uint64_t due = PFS_MIN(a->tick_ns, a->vector_ns);

	return a->hot.n_found ? PFS_MIN(due, a->early_ns) : due;
}

/* An open wakes us, unless others did so just now: then it waits for the next
 * tick. */
static int wait(struct agent *a, uint64_t now, const sigset_t *mask)
{
	uint64_t due = next_due(a), ns = due > now ? due - now : 0;
	struct timespec ts = {.tv_sec = (time_t)(ns / PFS_NSEC_PER_SEC),
			      .tv_nsec = (long)(ns % PFS_NSEC_PER_SEC)};
	struct pollfd p[] = {
		{.fd = link_events(&a->link) ? a->link.fd : -1,
		 .events = link_events(&a->link)},
		{.fd = now >= a->look_ns ? a->opens.fd : -1, .events = POLLIN},
		{.fd = a->mountinfo, .events = POLLPRI},
	};

	if (ppoll(p, PFS_ARRAY_SIZE(p), &ts, mask) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[2].revents & (POLLPRI | POLLERR))
		rescan(a);
	if (p[1].revents)
		look(a, pfs_now_ns());
	return 0;
}

/* True if there is a vector to be told. */
static bool work(struct agent *a, uint64_t now)
{
	if (now >= a->tick_ns) {
		collect(a);
		look(a, now);
		a->tick_ns = now + budget_stretch(&a->budget, TICK_NS);
	}
	if (now >= a->vector_ns) {
		make_vector(a, now);
		a->vector_ns =
			now + budget_stretch(&a->budget,
					     a->options->interval_ms * MSEC);
		return true;
	}
	if (!a->hot.n_found || now < a->early_ns || a->link.state != LINK_UP)
		return false;
	a->v.flags |= PFS_VECTOR_EARLY;
	finish(a, now);
	return true;
}

int agent_run(struct agent *a, const volatile sig_atomic_t *stop,
	      const sigset_t *wait_mask, bool only_one)
{
	uint64_t now = pfs_now_ns();
	int err = 0;

	a->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	a->vector_ns = now + a->options->interval_ms * MSEC;
	perf_arm(&a->perf, PERF_FAULT, BURST_FAULTS);
	while (!*stop && !err) {
		bool has_vector = work(a, now);

		if (has_vector && only_one) {
			say_vector(&a->v, a->options->json);
			return 0;
		}
		if (!only_one && has_vector)
			send_vector(a, now);
		else if (!only_one)
			link_work(&a->link, now);
		err = wait(a, now, wait_mask);
		now = pfs_now_ns();
	}
	return err;
}
