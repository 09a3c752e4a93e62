// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * slowfs_ctl.c - settings, counters, and the text that steers and shows them.
 *
 * A line of the control file is exactly an option of the command line, so one
 * parser serves both.  Settings are immutable: a change publishes a new
 * struct and keeps the old one in a list until the end, because a request may
 * still look at it; a run steers a few thousand times at most.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slowfs.h"

#define LINE_MAX_LEN 127
#define MAX_US 3600000000ULL /* an hour: more is a slip of the pen */
#define BYTES_PER_MB 1000000.0
#define OP_STATX 52 /* FUSE_STATX, protocol 7.39: younger than some headers */
#define N_OPS 64

/* --- counters --- */

static const struct {
	const char *name;
	enum slow_delay delay;
} ops[N_OPS] = {
	// clang-format off
	[FUSE_READ]            = {"reads", SLOW_READ},
	[FUSE_WRITE]           = {"writes", SLOW_WRITE},
	[FUSE_FSYNC]           = {"fsyncs", SLOW_FSYNC},
	[FUSE_OPEN]            = {"opens", SLOW_META},
	[FUSE_CREATE]          = {"creates", SLOW_META},
	[FUSE_FLUSH]           = {"flushes", SLOW_META},
	[FUSE_RELEASE]         = {"releases", SLOW_NEVER},
	[FUSE_LOOKUP]          = {"lookups", SLOW_META},
	[FUSE_GETATTR]         = {"getattrs", SLOW_META},
	[OP_STATX]             = {"statxs", SLOW_META},
	[FUSE_SETATTR]         = {"setattrs", SLOW_META},
	[FUSE_READLINK]        = {"readlinks", SLOW_META},
	[FUSE_OPENDIR]         = {"opendirs", SLOW_META},
	[FUSE_READDIR]         = {"readdirs", SLOW_META},
	[FUSE_RELEASEDIR]      = {"releasedirs", SLOW_NEVER},
	[FUSE_FSYNCDIR]        = {"fsyncdirs", SLOW_FSYNC},
	[FUSE_MKDIR]           = {"mkdirs", SLOW_META},
	[FUSE_RMDIR]           = {"rmdirs", SLOW_META},
	[FUSE_UNLINK]          = {"unlinks", SLOW_META},
	[FUSE_RENAME]          = {"renames", SLOW_META},
	[FUSE_STATFS]          = {"statfss", SLOW_META},
	[FUSE_FALLOCATE]       = {"fallocates", SLOW_WRITE},
	[FUSE_LSEEK]           = {"lseeks", SLOW_META},
	[FUSE_COPY_FILE_RANGE] = {"copies", SLOW_WRITE},
	// clang-format on
};

static const char *const counter_names[SLOW_COUNTERS] = {
	[SLOW_READ_BYTES] = "read_bytes",
	[SLOW_WRITE_BYTES] = "write_bytes",
	[SLOW_FAULTS] = "faults",
};

static _Atomic uint64_t op_counts[N_OPS];
static _Atomic uint64_t counts[SLOW_COUNTERS];

void slow_count(enum slow_counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&counts[c], n, memory_order_relaxed);
}

enum slow_delay slow_count_op(uint32_t opcode)
{
	if (opcode >= N_OPS)
		return SLOW_NEVER;
	if (opcode == FUSE_RENAME2) /* the same to who counts */
		opcode = FUSE_RENAME;
	atomic_fetch_add_explicit(&op_counts[opcode], 1, memory_order_relaxed);
	return ops[opcode].delay;
}

static void reset_counters(void)
{
	for (int i = 0; i < N_OPS; i++)
		atomic_store(&op_counts[i], 0);
	for (int i = 0; i < SLOW_COUNTERS; i++)
		atomic_store(&counts[i], 0);
	slow_queue_reset_most();
}

/* --- settings --- */

enum kind {
	KIND_US,
	KIND_RATE,  /* MB/s, fractions allowed */
	KIND_FLAG,  /* 0 or 1 */
	KIND_PROB,  /* 0..1 */
	KIND_RANGE, /* OFF:LEN, or 0 for none */
	KIND_FAULT, /* either of the two above */
};

// clang-format off
#define AT(field) offsetof(struct slow_settings, field)
#define SETTING(field, kind_) {#field, kind_, AT(field)}
// clang-format on
static const struct setting {
	const char *name;
	enum kind kind;
	size_t at;
} settings[] = {
	// clang-format off
	SETTING(latency_us, KIND_US),
	SETTING(write_latency_us, KIND_US),
	SETTING(fsync_latency_us, KIND_US),
	SETTING(meta_latency_us, KIND_US),
	{"mbps", KIND_RATE, AT(rate)},
	SETTING(read_eio, KIND_FAULT),
	SETTING(write_eio, KIND_FAULT),
	SETTING(fsync_eio, KIND_PROB),
	SETTING(eio_range, KIND_RANGE),
	SETTING(enospc, KIND_PROB),
	SETTING(short_reads, KIND_PROB),
	SETTING(hang, KIND_FLAG),
	// clang-format on
};
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const struct slow_settings defaults;

/* Released in publish(), acquired in slow_settings(). */
static _Atomic(const struct slow_settings *) current = &defaults;
static pthread_mutex_t apply_lock = PTHREAD_MUTEX_INITIALIZER;

const struct slow_settings *slow_settings(void)
{
	return atomic_load_explicit(&current, memory_order_acquire);
}

static void publish(const struct slow_settings *s)
{
	atomic_store_explicit(&current, s, memory_order_release);
}

/* strtoull() and strtod() take signs, blanks, hexadecimal and "nan"; a line
 * does not. */
static bool parse_u64(const char *text, uint64_t max, uint64_t *out)
{
	unsigned long long v;

	if (!*text || text[strspn(text, "0123456789")])
		return false;
	errno = 0;
	v = strtoull(text, NULL, 10);
	if (errno || v > max)
		return false;
	*out = v;
	return true;
}

static bool parse_decimal(const char *text, double max, double *out)
{
	char *end;
	double v;

	if (!*text || text[strspn(text, "0123456789.")])
		return false;
	v = strtod(text, &end);
	if (end == text || *end || v > max)
		return false;
	*out = v;
	return true;
}

static bool parse_range(const char *text, struct slow_fault *out)
{
	struct slow_fault f = {0};
	char off[LINE_MAX_LEN + 1];
	const char *colon = strchr(text, ':');

	if (!colon)
		return false;
	memcpy(off, text, (size_t)(colon - text));
	off[colon - text] = '\0';
	if (!parse_u64(off, INT64_MAX, &f.off) ||
	    !parse_u64(colon + 1, INT64_MAX, &f.len))
		return false;
	*out = f;
	return true;
}

static bool parse_prob(const char *text, double max, struct slow_fault *out)
{
	struct slow_fault f = {0};

	if (!parse_decimal(text, max, &f.prob))
		return false;
	*out = f;
	return true;
}

static bool parse_value(enum kind kind, const char *text, void *out)
{
	uint64_t flag;
	double mb;

	switch (kind) {
	case KIND_US:
		return parse_u64(text, MAX_US, out);
	case KIND_RATE:
		if (!parse_decimal(text, 1e6, &mb))
			return false;
		*(uint64_t *)out = (uint64_t)ceil(mb * BYTES_PER_MB);
		return true;
	case KIND_FLAG:
		if (!parse_u64(text, 1, &flag))
			return false;
		*(bool *)out = flag;
		return true;
	case KIND_PROB:
		return parse_prob(text, 1, out);
	case KIND_RANGE:
		return parse_prob(text, 0, out) || parse_range(text, out);
	case KIND_FAULT:
		return parse_prob(text, 1, out) || parse_range(text, out);
	}
	return false;
}

static int apply_line(char *line, struct slow_settings *s, bool *reset)
{
	char *value = strchr(line, '=');

	if (!value)
		return -ENOENT;
	*value++ = '\0';
	if (!strcmp(line, "reset")) {
		*reset = !strcmp(value, "1");
		return *reset ? 0 : -EINVAL;
	}
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (!strcmp(line, settings[i].name))
			return parse_value(settings[i].kind, value,
					   (char *)s + settings[i].at)
				       ? 0
				       : -EINVAL;
	return -ENOENT;
}

static int apply_text(const char *text, size_t len, struct slow_settings *s,
		      bool *reset)
{
	char line[LINE_MAX_LEN + 1];
	int err = 0;

	while (len && !err) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		if (n > LINE_MAX_LEN || memchr(text, '\0', n))
			return -EINVAL;
		memcpy(line, text, n);
		line[n] = '\0';
		if (n)
			err = apply_line(line, s, reset);
		n += end != NULL;
		text += n;
		len -= n;
	}
	return err;
}

int slow_ctl_apply(const char *text, size_t len)
{
	struct slow_settings *s = malloc(sizeof(*s));
	bool reset = false;
	int err;

	if (!s)
		return -ENOMEM;
	pthread_mutex_lock(&apply_lock);
	*s = *slow_settings();
	s->prev = slow_settings();
	err = apply_text(text, len, s, &reset);
	if (!err)
		publish(s);
	pthread_mutex_unlock(&apply_lock);
	if (err) {
		free(s);
		return err;
	}
	if (reset)
		reset_counters();
	return 0;
}

void slow_ctl_fini(void)
{
	const struct slow_settings *s = slow_settings();

	publish(&defaults);
	while (s != &defaults) {
		const struct slow_settings *prev = s->prev;

		free((void *)s);
		s = prev;
	}
}

/* --- text --- */

struct text {
	char *buf;
	size_t size;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t,
						      const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < t->size - t->len)
		t->len += (size_t)n;
}

static void add_u64(struct text *t, const char *name, uint64_t v)
{
	add(t, "%s %llu\n", name, (unsigned long long)v);
}

static void add_setting(struct text *t, const struct setting *d,
			const struct slow_settings *s)
{
	const void *v = (const char *)s + d->at;
	const struct slow_fault *f = v;

	switch (d->kind) {
	case KIND_US:
		add_u64(t, d->name, *(const uint64_t *)v);
		return;
	case KIND_RATE:
		add(t, "%s %g\n", d->name,
		    (double)*(const uint64_t *)v / BYTES_PER_MB);
		return;
	case KIND_FLAG:
		add_u64(t, d->name, *(const bool *)v);
		return;
	case KIND_PROB:
	case KIND_RANGE:
	case KIND_FAULT:
		if (f->len)
			add(t, "%s %llu:%llu\n", d->name,
			    (unsigned long long)f->off,
			    (unsigned long long)f->len);
		else
			add(t, "%s %g\n", d->name, f->prob);
		return;
	}
}

size_t slow_ctl_print(char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = size};
	const struct slow_settings *s = slow_settings();
	struct slow_queue_state q = slow_queue_state();

	for (size_t i = 0; i < N_SETTINGS; i++)
		add_setting(&t, &settings[i], s);
	add_u64(&t, "waiting", q.waiting);
	add_u64(&t, "hung", q.hung);
	add_u64(&t, "most_waiting", q.most);
	for (int i = 0; i < SLOW_COUNTERS; i++)
		add_u64(&t, counter_names[i], atomic_load(&counts[i]));
	for (int i = 0; i < N_OPS; i++)
		if (ops[i].name)
			add_u64(&t, ops[i].name, atomic_load(&op_counts[i]));
	return t.len;
}

/* --- dice --- */

static uint64_t dice_seed;
static _Atomic uint64_t dice_throws;

void slow_ctl_seed(uint64_t seed)
{
	dice_seed = seed;
}

/* splitmix64 of the number of the throw: same seed, same sequence. */
static double throw_dice(void)
{
	uint64_t z =
		dice_seed +
		0x9e3779b97f4a7c15ULL * (atomic_fetch_add(&dice_throws, 1) + 1);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static bool is_hit(const struct slow_fault *f, uint64_t off, uint64_t len)
{
	if (f->len)
		return off < f->off + f->len && f->off < off + len;
	return f->prob > 0 && throw_dice() < f->prob;
}

bool slow_fault_hits(const struct slow_fault *f, uint64_t off, uint64_t len)
{
	if (!is_hit(f, off, len))
		return false;
	slow_count(SLOW_FAULTS, 1);
	return true;
}
