/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "damon.h"

#include <stdio.h>
#include <string.h>

#include <pfs/clock.h>

#include "file.h"

#define ADMIN "/sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT "0/contexts/0/"
#define SCHEME CONTEXT "schemes/0/"

#define SAMPLE_US "200000"
#define SPAN_US "2000000"
#define UPDATE_US "60000001" /* nobody else's: so we know our own */
#define SPAN_NS (2 * PFS_NSEC_PER_SEC)
#define ASK_NS (6 * PFS_NSEC_PER_SEC)

/* In this order: a number of things makes the folders of the things. */
static const char *const setup[][2] = {
	{"nr_kdamonds", "1"},
	{"0/contexts/nr_contexts", "1"},
	{CONTEXT "operations", "paddr"},
	{CONTEXT "monitoring_attrs/intervals/sample_us", SAMPLE_US},
	{CONTEXT "monitoring_attrs/intervals/aggr_us", SPAN_US},
	{CONTEXT "monitoring_attrs/intervals/update_us", UPDATE_US},
	{CONTEXT "monitoring_attrs/nr_regions/min", "10"},
	{CONTEXT "monitoring_attrs/nr_regions/max", "50"},
	{CONTEXT "targets/nr_targets", "1"},
	{CONTEXT "targets/0/regions/nr_regions", "1"},
	{CONTEXT "schemes/nr_schemes", "1"},
	{SCHEME "action", "stat"},
	{SCHEME "access_pattern/sz/max", "18446744073709551615"},
	{SCHEME "access_pattern/nr_accesses/min", "1"},
	{SCHEME "access_pattern/nr_accesses/max", "4294967295"},
	{SCHEME "access_pattern/age/max", "4294967295"},
};

static int set(const char *name, const char *value)
{
	char path[160];

	(void)snprintf(path, sizeof(path), ADMIN "%s", name);
	return file_write(path, value);
}

static int get(const char *name, uint64_t *value)
{
	char path[160];

	(void)snprintf(path, sizeof(path), ADMIN "%s", name);
	return file_read_u64(path, value);
}

/* --- set-up --- */

/* The longest range of memory: "00100000-bfffffff : System RAM". */
static int find_memory(uint64_t *start, uint64_t *end)
{
	static char text[32768];
	int err = file_read("/proc/iomem", text, sizeof(text));
	const char *line = text;
	uint64_t longest = 0;

	while (!err && *line) {
		unsigned long long from, to;
		int matched = 0; /* set when all of it is there */

		(void)sscanf(line, "%llx-%llx : System RAM%n", &from, &to,
			     &matched);
		if (matched && to > from && to - from > longest) {
			longest = to - from;
			*start = from;
			*end = to + 1;
		}
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return err || longest ? err : -ENODEV;
}

static int set_memory(void)
{
	uint64_t start, end;
	char text[32];
	int err = find_memory(&start, &end);

	if (err)
		return err;
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)start);
	err = set(CONTEXT "targets/0/regions/0/start", text);
	if (err)
		return err;
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)end);
	return set(CONTEXT "targets/0/regions/0/end", text);
}

static void turn_off(void)
{
	(void)set("0/state", "off");
	(void)set("nr_kdamonds", "0");
}

/* An agent that was killed has left it on. */
static bool is_left_over(void)
{
	uint64_t update_us;

	return !get(CONTEXT "monitoring_attrs/intervals/update_us",
		    &update_us) &&
	       update_us == strtoull(UPDATE_US, NULL, 10);
}

static int turn_on(void)
{
	uint64_t n_in_use;
	int err = get("nr_kdamonds", &n_in_use);

	if (err)
		return err;
	if (n_in_use && !is_left_over())
		return -EBUSY;
	if (n_in_use)
		turn_off();
	for (size_t i = 0; i < PFS_ARRAY_SIZE(setup) && !err; i++)
		err = set(setup[i][0], setup[i][1]);
	if (!err)
		err = set_memory();
	if (!err)
		err = set("0/state", "on");
	if (err)
		turn_off(); /* as it was */
	return err;
}

/* --- asking --- */

static int ask(uint64_t *sz_tried)
{
	int err = set("0/state", "update_schemes_stats");

	return err ? err : get(SCHEME "stats/sz_tried", sz_tried);
}

/* sz_tried grows by the bytes in use at the end of each span. */
static int ask_again(struct damon *d, uint64_t *last, uint64_t *last_ns)
{
	uint64_t sz, now, n_spans;
	int err = ask(&sz);

	if (err)
		return err;
	now = pfs_now_ns();
	n_spans = (now - *last_ns + SPAN_NS / 2) / SPAN_NS;
	if (*last_ns && n_spans)
		atomic_store_explicit(&d->active_pages,
				      (sz - *last) / n_spans / 4096,
				      memory_order_relaxed);
	*last = sz;
	*last_ns = now;
	return 0;
}

static bool is_time_left(struct damon *d)
{
	uint64_t until = pfs_now_ns() + ASK_NS;
	bool is_stopping;
	int err = 0;

	pfs_mutex_lock(&d->lock);
	while (!d->is_stopping && !err)
		err = pfs_cond_wait_until(&d->wake, &d->lock, until);
	is_stopping = d->is_stopping;
	pfs_mutex_unlock(&d->lock);
	return !is_stopping;
}

static void *run(void *arg)
{
	struct damon *d = arg;
	uint64_t last = 0, last_ns = 0;
	int err = 0;

	while (!err && is_time_left(d))
		err = ask_again(d, &last, &last_ns);
	atomic_store(&d->err, err);
	return NULL;
}

/* --- for the agent --- */

void damon_start(struct damon *d, struct probe *p)
{
	int err;

	memset(d, 0, sizeof(*d));
	if (!probe_wants(p, PFS_SIGNAL_DAMON))
		return;
	pfs_mutex_init(&d->lock, PFS_RANK_POOL);
	pfs_cond_init(&d->wake);
	err = turn_on();
	if (!err)
		err = pfs_thread_start(&d->thread, "pfs-damon", run, d);
	if (err) {
		probe_lost(p, PFS_SIGNAL_DAMON, "DAMON", err);
		return;
	}
	d->is_on = true;
	probe_found(p, PFS_SIGNAL_DAMON);
}

void damon_stop(struct damon *d)
{
	if (!d->is_on)
		return;
	pfs_mutex_lock(&d->lock);
	d->is_stopping = true;
	pfs_cond_signal(&d->wake);
	pfs_mutex_unlock(&d->lock);
	(void)set("0/state", "off"); /* ends a wait of the thread, too */
	pthread_join(d->thread, NULL);
	(void)set("nr_kdamonds", "0");
	d->is_on = false;
}

uint64_t damon_active_pages(struct damon *d, struct probe *p)
{
	int err = atomic_load(&d->err);

	if (err)
		probe_lost(p, PFS_SIGNAL_DAMON, "DAMON", err);
	return err ? 0
		   : atomic_load_explicit(&d->active_pages,
					  memory_order_relaxed);
}
