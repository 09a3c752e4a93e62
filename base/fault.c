/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rules lie in one small table, oldest first.  At each pass of a point all of
 * its rules count the pass, and the first one that is due decides; a rule
 * whose passes are used up leaves the table.
 */
#include <pfs/fault.h>

#include <ctype.h>
#include <signal.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/mutex.h>

#define RULES_MAX 64
#define NO_END UINT64_MAX

_Static_assert(PFS_FP_N <= 64, "pfs_fault_armed_ has one bit per point");

struct rule {
	enum pfs_fault_point point;
	struct pfs_fault fault;
	uint64_t n_skip; /* passes that go by before the first hit */
	uint64_t n_left; /* passes still to be hit, or NO_END */
};

struct rules {
	struct rule at[RULES_MAX];
	size_t n;
};

static const char *const point_names[PFS_FP_N] = {
#define PFS_FAULT_POINT(id, name, help) [PFS_FP_##id] = (name),
#include <pfs/fault.def>
#undef PFS_FAULT_POINT
};

static const struct action {
	const char *name;
	enum pfs_fault_kind kind;
	bool has_arg;
} actions[] = {
	{"short", PFS_FAULT_SHORT, true}, {"torn", PFS_FAULT_TORN, true},
	{"lost", PFS_FAULT_LOST, false},  {"late", PFS_FAULT_LATE, true},
	{"stall", PFS_FAULT_STALL, true}, {"flip", PFS_FAULT_FLIP, false},
	{"kill", PFS_FAULT_KILL, false},  {"pause", PFS_FAULT_PAUSE, false},
};

_Atomic uint64_t pfs_fault_armed_;
static _Atomic bool enabled;

static struct pfs_mutex lock = PFS_MUTEX_INIT(PFS_RANK_FAULT);
/* --- under lock --- */
static struct rules armed;
static struct {
	uint32_t n_paused;
	uint64_t n_fired;
	uint64_t n_resumes; /* a paused thread goes on when this moves */
} points[PFS_FP_N];
static struct pfs_cond resumed = {PTHREAD_COND_INITIALIZER};

void pfs_fault_enable(void)
{
	enabled = true;
}

bool pfs_fault_enabled(void)
{
	return enabled;
}

enum pfs_fault_point pfs_fault_find(const char *name, size_t len)
{
	unsigned int p = 0;

	while (p < PFS_FP_N && (strlen(point_names[p]) != len ||
				memcmp(point_names[p], name, len) != 0))
		p++;
	return (enum pfs_fault_point)p;
}

const char *pfs_fault_name(enum pfs_fault_point p)
{
	return point_names[p];
}

/* --- the grammar; *at moves along, and stays at what is wrong --- */

static bool parse_number(const char **at, uint64_t *out)
{
	uint64_t v = 0;
	const char *s = *at;

	if (!isdigit((unsigned char)*s))
		return false;
	for (; isdigit((unsigned char)*s); s++)
		if (pfs_mul_u64(v, 10, &v) ||
		    pfs_add_u64(v, (uint64_t)(*s - '0'), &v))
			return false;
	*at = s;
	*out = v;
	return true;
}

/* "eiox3" is eio three times, "exdev" an action of its own: a name ends
 * where something that may follow an action begins. */
static bool skip_name(const char **at, const char *name)
{
	size_t len = strlen(name);
	const char *end;

	if (strncasecmp(*at, name, len) != 0)
		return false;
	end = *at + len;
	if (!strchr("=@x,", *end)) /* which finds the final 0, too */
		return false;
	*at = end;
	return true;
}

static bool parse_errno(const char **at, struct pfs_fault *out)
{
	for (int err = 1; err < 134; err++) {
		const char *name = strerrorname_np(err);

		if (name && skip_name(at, name)) {
			*out = (struct pfs_fault){PFS_FAULT_ERRNO,
						  (uint64_t)err};
			return true;
		}
	}
	return false;
}

static bool parse_action(const char **at, struct pfs_fault *out)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(actions); i++) {
		const struct action *a = &actions[i];

		if (!skip_name(at, a->name))
			continue;
		*out = (struct pfs_fault){a->kind, 0};
		if (!a->has_arg)
			return true;
		if (**at != '=')
			return false;
		(*at)++;
		return parse_number(at, &out->arg);
	}
	return parse_errno(at, out);
}

/* One of "@NTH" or "xCOUNT"; leaves *out alone where it is not there. */
static bool parse_suffix(const char **at, char mark, uint64_t *out)
{
	const char *s = *at;
	uint64_t v;

	if (*s != mark)
		return true;
	s++;
	if (!parse_number(&s, &v) || !v)
		return false;
	*at = s;
	*out = v;
	return true;
}

static bool parse_rule(const char **at, struct rule *out)
{
	size_t len = strcspn(*at, ":,");
	uint64_t nth = 1;

	out->point = pfs_fault_find(*at, len);
	if (out->point == PFS_FP_N)
		return false;
	*at += len;
	if (**at != ':')
		return false;
	(*at)++;

	out->n_left = NO_END;
	if (!parse_action(at, &out->fault) || !parse_suffix(at, '@', &nth) ||
	    !parse_suffix(at, 'x', &out->n_left))
		return false;
	out->n_skip = nth - 1;
	return **at == ',' || !**at;
}

static bool parse_rules(const char **at, struct rules *out)
{
	for (out->n = 0; out->n < RULES_MAX;) {
		if (!parse_rule(at, &out->at[out->n++]))
			return false;
		if (!**at)
			return true;
		(*at)++; /* the comma */
	}
	return false;
}

/* --- the rules in force --- */

static void publish_locked(void)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < armed.n; i++)
		bits |= 1ull << armed.at[i].point;
	atomic_store_explicit(&pfs_fault_armed_, bits, memory_order_relaxed);
}

static void drop_rule_locked(size_t i)
{
	armed.n--;
	memmove(&armed.at[i], &armed.at[i + 1],
		(armed.n - i) * sizeof(armed.at[0]));
	publish_locked();
}

int pfs_fault_arm(const char *spec, const char **bad)
{
	const char *at = spec;
	struct rules new;
	int err = 0;

	if (!enabled)
		return -EPERM;
	if (!parse_rules(&at, &new)) {
		if (bad)
			*bad = at;
		return -EINVAL;
	}

	pfs_mutex_lock(&lock);
	if (new.n > RULES_MAX - armed.n) {
		err = -ENOSPC;
	} else {
		memcpy(&armed.at[armed.n], new.at, new.n * sizeof(new.at[0]));
		armed.n += new.n;
		publish_locked();
	}
	pfs_mutex_unlock(&lock);
	return err;
}

void pfs_fault_clear(void)
{
	pfs_mutex_lock(&lock);
	armed.n = 0;
	publish_locked();
	for (size_t p = 0; p < PFS_FP_N; p++) {
		points[p].n_fired = 0;
		points[p].n_resumes++;
	}
	pfs_cond_broadcast(&resumed);
	pfs_mutex_unlock(&lock);
}

void pfs_fault_resume(enum pfs_fault_point p)
{
	pfs_mutex_lock(&lock);
	for (size_t i = armed.n; i-- > 0;)
		if (armed.at[i].fault.kind == PFS_FAULT_PAUSE &&
		    (p == PFS_FP_N || armed.at[i].point == p))
			drop_rule_locked(i);
	for (size_t i = 0; i < PFS_FP_N; i++)
		if (p == PFS_FP_N || i == p)
			points[i].n_resumes++;
	pfs_cond_broadcast(&resumed);
	pfs_mutex_unlock(&lock);
}

void pfs_fault_stat(enum pfs_fault_point p, uint32_t *n_paused,
		    uint64_t *n_fired)
{
	pfs_mutex_lock(&lock);
	*n_paused = points[p].n_paused;
	*n_fired = points[p].n_fired;
	pfs_mutex_unlock(&lock);
}

/* Count a pass of one rule.  True: the rule is due at this pass. */
static bool pass_rule(struct rule *r)
{
	if (r->n_skip) {
		r->n_skip--;
		return false;
	}
	if (r->n_left != NO_END)
		r->n_left--;
	return true;
}

static struct pfs_fault pass_locked(enum pfs_fault_point p)
{
	struct pfs_fault due = {PFS_FAULT_NONE, 0};

	for (size_t i = 0; i < armed.n;) {
		struct rule *r = &armed.at[i];

		if (r->point == p && pass_rule(r) && due.kind == PFS_FAULT_NONE)
			due = r->fault;
		if (r->n_left)
			i++;
		else
			drop_rule_locked(i);
	}
	if (due.kind != PFS_FAULT_NONE)
		points[p].n_fired++;
	return due;
}

/* Gives the lock up while it waits, like every condition variable. */
static void pause_locked(enum pfs_fault_point p) PFS_REQUIRES(lock);
static void pause_locked(enum pfs_fault_point p)
{
	uint64_t before = points[p].n_resumes;

	points[p].n_paused++;
	while (points[p].n_resumes == before)
		pfs_cond_wait(&resumed, &lock);
	points[p].n_paused--;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

struct pfs_fault pfs_fault_take_slow(enum pfs_fault_point p)
{
	struct pfs_fault due;

	pfs_mutex_lock(&lock);
	due = pass_locked(p);
	if (due.kind == PFS_FAULT_PAUSE) {
		pause_locked(p);
		due.kind = PFS_FAULT_NONE;
	}
	pfs_mutex_unlock(&lock);

	if (due.kind == PFS_FAULT_KILL)
		die();
	return due;
}

int pfs_fault_check(enum pfs_fault_point p)
{
	struct pfs_fault f = pfs_fault_take(p);

	if (f.kind == PFS_FAULT_STALL)
		pfs_sleep_ms(f.arg);
	return f.kind == PFS_FAULT_ERRNO ? -(int)f.arg : 0;
}
