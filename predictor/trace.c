/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Block traces as text.  Each line is taken apart by a cursor that never goes
 * beyond the line; what is wrong is a constant sentence, the caller adds file
 * and line number.
 */
#include <pfs/trace.h>

#include <string.h>

#define SECTOR 512u

struct cursor {
	const char *at, *end;
};

enum format {
	FORMAT_UNKNOWN,
	FORMAT_CSV,
	FORMAT_BLKPARSE,
};

struct parser {
	struct pfs_trace trace; /* owned */
	size_t n_max;
	enum format format;
	uint64_t line;
	const char *why;
	uint64_t major, minor; /* blkparse: the one device */
	bool has_device;
};

/* --- pieces of a line --- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && is_blank(*c->at))
		c->at++;
}

static bool take_char(struct cursor *c, char want)
{
	if (c->at == c->end || *c->at != want)
		return false;
	c->at++;
	return true;
}

/* Digits; false: none, or more than 64 bits. */
static bool take_number(struct cursor *c, uint64_t *out)
{
	uint64_t v = 0;

	if (c->at == c->end || !is_digit(*c->at))
		return false;
	for (; c->at < c->end && is_digit(*c->at); c->at++)
		if (pfs_mul_u64(v, 10, &v) ||
		    pfs_add_u64(v, (uint64_t)(*c->at - '0'), &v))
			return false;
	*out = v;
	return true;
}

/* Up to the next blank. */
static struct cursor take_word(struct cursor *c)
{
	struct cursor word;

	skip_blanks(c);
	word.at = c->at;
	while (c->at < c->end && !is_blank(*c->at))
		c->at++;
	word.end = c->at;
	return word;
}

static bool has_char(struct cursor c, char want)
{
	return memchr(c.at, want, (size_t)(c.end - c.at)) != NULL;
}

static bool is_word(struct cursor c, const char *text)
{
	return (size_t)(c.end - c.at) == strlen(text) &&
	       !memcmp(c.at, text, strlen(text));
}

/* --- CSV --- */

/* A field is a number and ends with a comma or, the last, with the line. */
static bool take_field(struct cursor *c, bool is_last, uint64_t *out)
{
	skip_blanks(c);
	if (!take_number(c, out))
		return false;
	skip_blanks(c);
	return is_last ? c->at == c->end : take_char(c, ',');
}

static const char *take_op(struct cursor *c, struct pfs_trace_op *op)
{
	skip_blanks(c);
	op->is_write = take_char(c, 'W') || take_char(c, 'w');
	if (!op->is_write && !take_char(c, 'R') && !take_char(c, 'r'))
		return "op is neither R nor W";
	skip_blanks(c);
	return take_char(c, ',') ? NULL : "op is neither R nor W";
}

static const char *check_op(struct pfs_trace_op *op, uint64_t len)
{
	if (op->time_us > PFS_TRACE_TIME_MAX)
		return "time is too large";
	if (op->off > PFS_TRACE_OFF_MAX)
		return "offset is too large";
	if (!len)
		return "length is 0";
	if (len > UINT32_MAX)
		return "length is over 4 GiB";
	op->len = (uint32_t)len;
	return NULL;
}

static const char *parse_csv(struct cursor *c, struct pfs_trace_op *op)
{
	const char *why;
	uint64_t len;

	if (!take_field(c, false, &op->time_us))
		return "time is no whole number of microseconds";
	why = take_op(c, op);
	if (why)
		return why;
	if (!take_field(c, false, &op->off))
		return "offset is no whole number of bytes";
	if (!take_field(c, true, &len))
		return "length is no whole number of bytes, or more follows";
	return check_op(op, len);
}

/* --- blkparse: MAJOR,MINOR CPU SEQ SECONDS.NANO PID ACTION RWBS S + N [..] */

/* The number of a device begins each event.  False: no event. */
static bool take_device(struct cursor *c, uint64_t *major, uint64_t *minor)
{
	skip_blanks(c);
	return take_number(c, major) && take_char(c, ',') &&
	       take_number(c, minor) && c->at < c->end && is_blank(*c->at);
}

static bool take_time(struct cursor *c, uint64_t *us)
{
	uint64_t s, ns;
	const char *fraction;

	skip_blanks(c);
	if (!take_number(c, &s) || !take_char(c, '.'))
		return false;
	fraction = c->at;
	if (!take_number(c, &ns) || c->at - fraction != 9)
		return false;
	return !pfs_mul_u64(s, 1000000, us) && !pfs_add_u64(*us, ns / 1000, us);
}

static const char *take_sectors(struct cursor *c, struct pfs_trace_op *op)
{
	uint64_t len;

	skip_blanks(c);
	if (!take_number(c, &op->off) || pfs_mul_u64(op->off, SECTOR, &op->off))
		return "sector is no number, or too large";
	skip_blanks(c);
	if (!take_char(c, '+'))
		return "no '+' between sector and number of sectors";
	skip_blanks(c);
	if (!take_number(c, &len) || pfs_mul_u64(len, SECTOR, &len))
		return "number of sectors is no number, or too large";
	return check_op(op, len);
}

static const char *same_device(struct parser *p, uint64_t major, uint64_t minor)
{
	if (p->has_device && (p->major != major || p->minor != minor))
		return "another device than before: a trace is of one image";
	p->has_device = true;
	p->major = major;
	p->minor = minor;
	return NULL;
}

/* *takes: it is a read or a write of data. */
static const char *parse_blkparse(struct parser *p, struct cursor *c,
				  struct pfs_trace_op *op, bool *takes)
{
	uint64_t major, minor, number;
	struct cursor action, rwbs;
	const char *why;

	if (!take_device(c, &major, &minor))
		return NULL; /* a notice, or the summary */
	skip_blanks(c);
	if (!take_number(c, &number))
		return "CPU is no number";
	skip_blanks(c);
	if (!take_number(c, &number))
		return "sequence is no number";
	if (!take_time(c, &op->time_us))
		return "time is not SECONDS.NANOSECONDS";
	skip_blanks(c);
	if (!take_number(c, &number))
		return "process id is no number";
	action = take_word(c);
	rwbs = take_word(c);
	op->is_write = has_char(rwbs, 'W');
	if (!is_word(action, "Q") || has_char(rwbs, 'D') ||
	    !(op->is_write || has_char(rwbs, 'R')))
		return NULL;
	skip_blanks(c);
	if (c->at < c->end && *c->at == '[')
		return NULL; /* a flush: no sectors */
	why = same_device(p, major, minor);
	*takes = !why;
	return why ? why : take_sectors(c, op);
}

/* --- lines --- */

static bool is_header(struct cursor c)
{
	static const char header[] = "time_us,op,offset,length";

	return is_word(c, header);
}

/* NULL: known now, or this line says nothing yet. */
static const char *find_format(struct parser *p, struct cursor c)
{
	static const char notice[] = "Input file ";
	uint64_t major, minor;
	struct cursor probe = c;

	if (take_device(&probe, &major, &minor)) {
		p->format = FORMAT_BLKPARSE;
		return NULL;
	}
	if (is_header(c) || (c.at < c.end && is_digit(*c.at))) {
		p->format = FORMAT_CSV;
		return NULL;
	}
	if ((size_t)(c.end - c.at) >= sizeof(notice) - 1 &&
	    !memcmp(c.at, notice, sizeof(notice) - 1))
		return NULL; /* blkparse says so first */
	return "neither CSV time_us,op,offset,length nor text of blkparse";
}

static int append(struct parser *p, const struct pfs_trace_op *op)
{
	struct pfs_trace_op *more;

	if (p->trace.n == p->n_max) {
		p->n_max = PFS_MAX((size_t)1024, 2 * p->n_max);
		more = reallocarray(p->trace.ops, p->n_max, sizeof(*more));
		if (!more)
			return -ENOMEM;
		p->trace.ops = more;
	}
	p->trace.ops[p->trace.n++] = *op;
	return 0;
}

static int take_line(struct parser *p, struct cursor c)
{
	struct pfs_trace_op op = {0};
	bool takes = false;

	skip_blanks(&c);
	while (c.at < c.end && is_blank(c.end[-1]))
		c.end--;
	if (c.at == c.end)
		return 0;
	if (p->format == FORMAT_UNKNOWN) {
		p->why = find_format(p, c);
		if (p->why || p->format == FORMAT_UNKNOWN || is_header(c))
			return p->why ? -EBADMSG : 0;
	}
	if (p->format == FORMAT_BLKPARSE) {
		p->why = parse_blkparse(p, &c, &op, &takes);
	} else {
		p->why = parse_csv(&c, &op);
		takes = true;
	}
	if (p->why)
		return -EBADMSG;
	return takes ? append(p, &op) : 0;
}

static int take_lines(struct parser *p, struct cursor c)
{
	int err = 0;

	while (c.at < c.end && !err) {
		const char *nl = memchr(c.at, '\n', (size_t)(c.end - c.at));
		struct cursor line = {c.at, nl ? nl : c.end};

		p->line++;
		err = take_line(p, line);
		c.at = nl ? nl + 1 : c.end;
	}
	return err;
}

/* --- order --- */

static bool is_sorted(const struct pfs_trace *t)
{
	for (size_t i = 1; i < t->n; i++)
		if (t->ops[i].time_us < t->ops[i - 1].time_us)
			return false;
	return true;
}

/* Merge in[lo..mid) and in[mid..hi), the first one's first among equals. */
static void merge(const struct pfs_trace_op *in, struct pfs_trace_op *out,
		  size_t lo, size_t mid, size_t hi)
{
	size_t a = lo, b = mid;

	for (size_t i = lo; i < hi; i++)
		if (b == hi || (a < mid && in[a].time_us <= in[b].time_us))
			out[i] = in[a++];
		else
			out[i] = in[b++];
}

/* qsort() need not be stable. */
static int sort(struct pfs_trace *t)
{
	struct pfs_trace_op *in = t->ops, *out;

	if (is_sorted(t))
		return 0;
	out = calloc(t->n, sizeof(*out));
	if (!out)
		return -ENOMEM;
	for (size_t width = 1; width < t->n; width *= 2) {
		struct pfs_trace_op *swap = in;

		for (size_t lo = 0; lo < t->n; lo += 2 * width)
			merge(in, out, lo, PFS_MIN(lo + width, t->n),
			      PFS_MIN(lo + 2 * width, t->n));
		in = out;
		out = swap;
	}
	t->ops = in;
	free(out);
	return 0;
}

int pfs_trace_parse(const char *text, size_t len, struct pfs_trace *out,
		    uint64_t *line, const char **why)
{
	struct parser p = {0};
	int err = take_lines(&p, (struct cursor){text, text + len});

	if (!err)
		err = sort(&p.trace);
	if (err == -EBADMSG) {
		*line = p.line;
		*why = p.why;
	}
	if (err)
		pfs_trace_fini(&p.trace);
	else
		*out = p.trace;
	return err;
}

void pfs_trace_fini(struct pfs_trace *t)
{
	free(t->ops);
	*t = (struct pfs_trace){0};
}
