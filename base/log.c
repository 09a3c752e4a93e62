/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/log.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/mutex.h>

#define LINE_MAX_LEN 1024 /* longer lines are cut and end in "..." */
#define RATE_WINDOW_NS (10 * PFS_NSEC_PER_SEC)
#define RATE_LINES 5

struct line {
	char text[LINE_MAX_LEN];
	size_t len;
};

_Atomic int pfs_log_level_ = PFS_LOG_INFO;

static void to_stderr(enum pfs_log_level level, const char *line, void *arg);

static struct pfs_mutex lock = PFS_MUTEX_INIT(PFS_RANK_LOG);
/* --- under lock --- */
static pfs_log_sink sink = to_stderr;
static void *sink_arg;

static void to_stderr(enum pfs_log_level level, const char *line, void *arg)
{
	static const char *const names[] = {
		[PFS_LOG_ERROR] = "error: ",
		[PFS_LOG_WARNING] = "warning: ",
		[PFS_LOG_INFO] = "",
		[PFS_LOG_DEBUG] = "debug: ",
	};

	(void)arg;
	(void)fprintf(stderr, "pfs: %s%s\n", names[level], line);
}

void pfs_log_set_sink(pfs_log_sink new_sink, void *arg)
{
	pfs_mutex_lock(&lock);
	sink = new_sink ? new_sink : to_stderr;
	sink_arg = arg;
	pfs_mutex_unlock(&lock);
}

static void PFS_PRINTF(2, 0)
	append_va(struct line *l, const char *fmt, va_list ap)
{
	size_t room = sizeof(l->text) - l->len;
	int n = vsnprintf(l->text + l->len, room, fmt, ap);

	if (n < 0)
		return;
	l->len += PFS_MIN((size_t)n, room - 1);
	if ((size_t)n >= room)
		memcpy(l->text + l->len - 3, "...", 3);
}

static void PFS_PRINTF(2, 3) append(struct line *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append_va(l, fmt, ap);
	va_end(ap);
}

/* Image names are a guest's or stranger's choice: they must not be able to
 * start a line of their own or to steer a terminal. */
static void blank_controls(struct line *l)
{
	for (size_t i = 0; i < l->len; i++) {
		unsigned char c = (unsigned char)l->text[i];

		if (c < 0x20 || c == 0x7f)
			l->text[i] = '?';
	}
}

static void emit(enum pfs_log_level level, struct line *l)
{
	blank_controls(l);
	pfs_mutex_lock(&lock);
	sink(level, l->text, sink_arg);
	pfs_mutex_unlock(&lock);
}

void pfs_log_write(enum pfs_log_level level, const char *area, uint32_t n_held,
		   const char *fmt, ...)
{
	int saved = errno;
	struct line l = {.len = 0};
	va_list ap;

	append(&l, "%s: ", area);
	va_start(ap, fmt);
	append_va(&l, fmt, ap);
	va_end(ap);
	if (n_held)
		append(&l, " (%u like it held back)", n_held);
	emit(level, &l);
	errno = saved;
}

int pfs_log_fail(int err, const char *area, const char *fmt, ...)
{
	int saved = errno;
	struct line l = {.len = 0};
	char why[128];
	va_list ap;

	append(&l, "%s: ", area);
	va_start(ap, fmt);
	append_va(&l, fmt, ap);
	va_end(ap);
	append(&l, ": %s", strerror_r(-err, why, sizeof(why)));
	emit(PFS_LOG_ERROR, &l);
	errno = saved;
	return err;
}

/* Two threads at the turn of a window may let a line more through. */
bool pfs_log_rate_ok(struct pfs_log_rate *rate, uint32_t *n_suppressed)
{
	uint64_t now = pfs_now_ns() | 1; /* 0 means never */
	uint64_t start = atomic_load_explicit(&rate->window_start_ns,
					      memory_order_relaxed);

	if ((!start || now - start >= RATE_WINDOW_NS) &&
	    atomic_compare_exchange_strong(&rate->window_start_ns, &start, now))
		atomic_store(&rate->n_in_window, 0);
	if (atomic_fetch_add(&rate->n_in_window, 1) >= RATE_LINES) {
		atomic_fetch_add(&rate->n_suppressed, 1);
		return false;
	}
	*n_suppressed = atomic_exchange(&rate->n_suppressed, 0);
	return true;
}
