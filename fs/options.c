/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.c - the command line and the options of a mount. */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "places.h"

enum kind {
	PATH,
	SIZE,
	POW2,
	NUMBER,
	SWITCH,
	FLAG,
	CHOICE
};

struct opt {
	const char *name;
	enum kind kind;
	size_t at; /* of the field in struct options */
	uint64_t least, most;
	const char *dflt;
	const char *value; /* as --help shows it */
	const char *help;
};

static const struct opt table[] = {
#define PFS_OPT(field, kind, least, most, dflt, value, help)                   \
	{#field, kind, offsetof(struct options, field), least, most, dflt,     \
	 value,  help},
#include "options.def"
#undef PFS_OPT
};

/* Options of mount(8) and systemd that need nothing from us.  nosuid, nodev
 * and noexec are always in force; the words that undo them have no effect. */
static const char *const passed_over[] = {
	"rw",         "dev",      "nodev",
	"suid",       "nosuid",   "exec",
	"noexec",     "auto",     "noauto",
	"user",       "nouser",   "users",
	"owner",      "group",    "defaults",
	"nofail",     "_netdev",  "async",
	"atime",      "noatime",  "diratime",
	"nodiratime", "relatime", "norelatime",
	"silent",     "nonempty", "default_permissions",
};
static const char *const passed_over_start[] = {"x-", "X-",
						"user=", "comment="};

int options_refuse(FILE *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(err, "pfs: ");
	(void)vfprintf(err, fmt, ap);
	(void)fprintf(err, "\n");
	va_end(ap);
	return -EINVAL;
}

/* --- values --- */

static int parse_digits(const char *s, const char **end, uint64_t *out)
{
	uint64_t v = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (pfs_mul_u64(v, 10, &v) ||
		    pfs_add_u64(v, (uint64_t)(*s - '0'), &v))
			return -EOVERFLOW;
	}
	*end = s;
	*out = v;
	return 0;
}

static int parse_number(const char *s, uint64_t *out)
{
	const char *end;
	int err = parse_digits(s, &end, out);

	return err ? err : *end ? -EINVAL : 0;
}

static int parse_size(const char *s, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *end, *unit;
	uint64_t v;
	int err = parse_digits(s, &end, &v);

	if (err || !*end) {
		*out = v;
		return err;
	}
	unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
	if (!unit || end[1])
		return -EINVAL;
	return pfs_mul_u64(v, 1ull << (10 * (unit - units + 1)), out);
}

/* The largest unit that divides it, so that parse_size() reads it back. */
static void format_size(uint64_t v, char *buf, size_t len)
{
	static const char units[] = "\0KMGT";
	unsigned int u = 0;

	while (v && v % 1024 == 0 && u < 4) {
		v /= 1024;
		u++;
	}
	(void)snprintf(buf, len, "%llu%.1s", (unsigned long long)v, units + u);
}

static int set_path(const struct opt *opt, struct options *o, const char *value)
{
	char **slot = (char **)((char *)o + opt->at);
	char *copy;

	if (!*value || strlen(value) >= 4096)
		return -EINVAL;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static int set_integer(const struct opt *opt, struct options *o,
		       const char *value)
{
	void *slot = (char *)o + opt->at;
	bool may_be_0 = !strcmp(opt->dflt, "0");
	uint64_t v;
	int err = opt->kind == NUMBER ? parse_number(value, &v)
				      : parse_size(value, &v);

	if (err)
		return -EINVAL;
	if ((v < opt->least || v > opt->most) && !(v == 0 && may_be_0))
		return -EINVAL;
	if (opt->kind == POW2 && !pfs_is_pow2(v))
		return -EINVAL;
	if (opt->kind == SIZE)
		*(uint64_t *)slot = v;
	else
		*(uint32_t *)slot = (uint32_t)v;
	return 0;
}

static int set_switch(const struct opt *opt, struct options *o,
		      const char *value)
{
	bool *slot = (bool *)((char *)o + opt->at);

	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return -EINVAL;
	*slot = !strcmp(value, "on");
	return 0;
}

/* The i-th of the words in opt->value; false: there are not so many. */
static bool choice(const struct opt *opt, uint32_t i, const char **word,
		   size_t *len)
{
	const char *at = opt->value;

	for (; i && at; i--) {
		at = strchr(at, '|');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return false;
	*word = at;
	*len = strcspn(at, "|");
	return true;
}

static int set_choice(const struct opt *opt, struct options *o,
		      const char *value)
{
	uint32_t *slot = (uint32_t *)((char *)o + opt->at);
	const char *word;
	size_t len;

	for (uint32_t i = 0; choice(opt, i, &word, &len); i++) {
		if (strlen(value) == len && !strncmp(value, word, len)) {
			*slot = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int set(const struct opt *opt, struct options *o, const char *value)
{
	switch (opt->kind) {
	case PATH:
		return set_path(opt, o, value);
	case SIZE:
	case POW2:
	case NUMBER:
		return set_integer(opt, o, value);
	case SWITCH:
	case FLAG:
		return set_switch(opt, o, value);
	case CHOICE:
		return set_choice(opt, o, value);
	}
	return -EINVAL;
}

static void format(const struct opt *opt, const struct options *o, char *buf,
		   size_t len)
{
	const void *slot = (const char *)o + opt->at;
	const char *word;
	size_t n;

	switch (opt->kind) {
	case PATH:
		(void)snprintf(buf, len, "%s",
			       *(char *const *)slot ? *(char *const *)slot
						    : "");
		break;
	case SIZE:
		format_size(*(const uint64_t *)slot, buf, len);
		break;
	case POW2:
		format_size(*(const uint32_t *)slot, buf, len);
		break;
	case NUMBER:
		(void)snprintf(buf, len, "%u", *(const uint32_t *)slot);
		break;
	case SWITCH:
	case FLAG:
		(void)snprintf(buf, len, "%s",
			       *(const bool *)slot ? "on" : "off");
		break;
	case CHOICE:
		*buf = '\0';
		if (choice(opt, *(const uint32_t *)slot, &word, &n))
			(void)snprintf(buf, len, "%.*s", (int)n, word);
		break;
	}
}

static const struct opt *find(const char *name)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i].name, name))
			return &table[i];
	}
	return NULL;
}

static int set_defaults(struct options *o)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++) {
		int err =
			table[i].dflt[0] ? set(&table[i], o, table[i].dflt) : 0;

		if (err)
			return err;
	}
	return 0;
}

void options_fini(struct options *o)
{
	free(o->source);
	free(o->mountpoint);
	free(o->fsname);
	free(o->store);
	free(o->catalog);
	memset(o, 0, sizeof(*o));
}

/* --- -o --- */

static bool is_passed_over(const char *word)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(passed_over); i++) {
		if (!strcmp(word, passed_over[i]))
			return true;
	}
	for (size_t i = 0; i < PFS_ARRAY_SIZE(passed_over_start); i++) {
		if (!strncmp(word, passed_over_start[i],
			     strlen(passed_over_start[i])))
			return true;
	}
	return false;
}

static int refuse_unknown(const char *name, FILE *err)
{
	options_refuse(err, "option \"%s\" is not known; allowed are:", name);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++)
		(void)fprintf(err, "%s %s%s", i ? "," : "    ", table[i].name,
			      table[i].kind == FLAG ? "" : "=");
	(void)fprintf(err, "\n    and what mount(8) knows; see pfs --help\n");
	return -EINVAL;
}

static int refuse_value(const struct opt *opt, const char *value, FILE *err)
{
	const char *zero = strcmp(opt->dflt, "0") ? "" : "0, or ";
	char least[32], most[32];

	switch (opt->kind) {
	case SIZE:
	case POW2:
		format_size(opt->least, least, sizeof(least));
		format_size(opt->most, most, sizeof(most));
		return options_refuse(
			err,
			"option %s=%s: allowed is %s%s from %s to %s "
			"(bytes, or with K, M, G or T)",
			opt->name, value, zero,
			opt->kind == POW2 ? "a power of two" : "a size", least,
			most);
	case NUMBER:
		return options_refuse(
			err,
			"option %s=%s: allowed is %sa number from "
			"%llu to %llu",
			opt->name, value, zero, (unsigned long long)opt->least,
			(unsigned long long)opt->most);
	case PATH:
		return options_refuse(
			err,
			"option %s=%s: allowed is a path of 1 to 4095 "
			"bytes",
			opt->name, value);
	default:
		return options_refuse(err, "option %s=%s: allowed is %s",
				      opt->name, value, opt->value);
	}
}

/* One "name" or "name=value"; changed in place. */
static int take_word(char *word, struct options *o, FILE *err)
{
	char *value = strchr(word, '=');
	const struct opt *opt;

	if (!*word || is_passed_over(word))
		return 0;
	if (!strcmp(word, "remount"))
		return options_refuse(err,
				      "option \"remount\" is not possible: "
				      "unmount, then mount with other options");
	if (value)
		*value++ = 0;
	opt = find(word);
	if (!opt)
		return refuse_unknown(word, err);
	if (opt->kind == FLAG && value)
		return options_refuse(err, "option %s=%s: it takes no value",
				      word, value);
	if (opt->kind == FLAG)
		value = "on";
	if (!value)
		return options_refuse(err, "option \"%s\" needs a value: %s=%s",
				      word, word, opt->value);
	return set(opt, o, value) ? refuse_value(opt, value, err) : 0;
}

/* Split at commas; "\," and "\\" stand for themselves, as in fuse(8). */
static int take_list(const char *list, struct options *o, FILE *err)
{
	PFS_AUTO_FREE char *word = malloc(strlen(list) + 1);
	size_t n = 0;
	int res = 0;

	if (!word)
		return -ENOMEM;
	for (; !res; list++) {
		if (*list == '\\' && (list[1] == ',' || list[1] == '\\')) {
			word[n++] = *++list;
		} else if (*list == ',' || !*list) {
			word[n] = 0;
			n = 0;
			res = take_word(word, o, err);
			if (!*list)
				break;
		} else {
			word[n++] = *list;
		}
	}
	return res;
}

/* --- the command line --- */

static void print_help(FILE *out)
{
	(void)fprintf(
		out,
		"usage: pfs SOURCE MOUNTPOINT [-o OPTIONS] [-f] [-v]\n"
		"Serve the disk images in folder SOURCE at MOUNTPOINT, reads "
		"from a local store.\n\n"
		"  -o OPTIONS  mount options, separated by commas\n"
		"  -f          stay in front, log to standard error\n"
		"  -v          log every request\n"
		"  --help      print this\n"
		"  --version   print the version\n\n"
		"Options (default in brackets):\n");
	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++) {
		const struct opt *t = &table[i];
		char name[64];

		(void)snprintf(name, sizeof(name), "%s%s%s", t->name,
			       t->kind == FLAG ? "" : "=", t->value);
		(void)fprintf(out, "  %-29s ", name);
		if (strlen(name) > 29) /* on a line of its own */
			(void)fprintf(out, "\n%32s", "");
		(void)fprintf(out, "%s%s%s%s\n", t->help,
			      t->dflt[0] ? " [" : "", t->dflt,
			      t->dflt[0] ? "]" : "");
	}
	(void)fprintf(out, "\nUnmount with: umount MOUNTPOINT. See pfs(8), "
			   "pfsctl(8).\n");
}

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

static int take_switch(int c, char **argv, struct options *o, bool *stop,
		       FILE *out, FILE *err)
{
	switch (c) {
	case 'o':
		return take_list(optarg, o, err);
	case 'f':
		o->foreground = true;
		return 0;
	case 'v':
		o->is_verbose = true;
		return 0;
	case 'h':
		print_help(out);
		*stop = true;
		return 0;
	case 'V':
		(void)fprintf(out, "pfs %s\n", PFS_VERSION);
		*stop = true;
		return 0;
	case ':':
		return options_refuse(err,
				      "\"%s\" needs a value; see pfs --help",
				      argv[optind - 1]);
	default:
		return options_refuse(err,
				      "\"%s\" is not known; see pfs --help",
				      argv[optind - 1]);
	}
}

static int take_argv(int argc, char **argv, struct options *o, bool *stop,
		     FILE *out, FILE *err)
{
	int c, res = 0;

	optind = 0; /* glibc: start anew */
	opterr = 0;
	while (!res && !*stop &&
	       (c = getopt_long(argc, argv, ":o:fvhV", long_options, NULL)) !=
		       -1)
		res = take_switch(c, argv, o, stop, out, err);
	if (res || *stop)
		return res;
	if (argc - optind != 2)
		return options_refuse(err,
				      "wanted are two arguments, SOURCE and "
				      "MOUNTPOINT, not %d; see pfs --help",
				      argc - optind);
	return places_settle(o, argv[optind], argv[optind + 1], err);
}

int options_parse(int argc, char **argv, struct options *o, bool *stop,
		  FILE *out, FILE *err)
{
	int res;

	memset(o, 0, sizeof(*o));
	*stop = false;
	res = set_defaults(o);
	if (!res)
		res = take_argv(argc, argv, o, stop, out, err);
	if (res)
		options_fini(o);
	return res;
}

void options_each(const struct options *o,
		  void (*fn)(void *arg, const char *name, const char *value),
		  void *arg)
{
	char value[4096];

	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++) {
		format(&table[i], o, value, sizeof(value));
		fn(arg, table[i].name, value);
	}
}

/* --- as text for the worker --- */

/* "name=value" lines; in values a backslash is "\\", a newline "\n". */
static void pack_one(void *arg, const char *name, const char *value)
{
	FILE *f = arg;

	(void)fprintf(f, "%s=", name);
	for (; *value; value++) {
		if (*value == '\n')
			(void)fputs("\\n", f);
		else if (*value == '\\')
			(void)fputs("\\\\", f);
		else
			(void)fputc(*value, f);
	}
	(void)fputc('\n', f);
}

int options_pack(const struct options *o, char **out)
{
	size_t len;
	char *text = NULL;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -errno;
	pack_one(f, "source", o->source);
	pack_one(f, "mountpoint", o->mountpoint);
	pack_one(f, "fsname", o->fsname);
	pack_one(f, "id", o->id);
	pack_one(f, "foreground", o->foreground ? "on" : "off");
	pack_one(f, "verbose", o->is_verbose ? "on" : "off");
	pack_one(f, "safe", o->is_safe ? "on" : "off");
	options_each(o, pack_one, f);
	if (fclose(f)) {
		free(text);
		return -ENOMEM;
	}
	*out = text;
	return 0;
}

/* What no -o sets, in the same terms as the table. */
static const struct opt inner[] = {
	{.name = "source", PATH, offsetof(struct options, source)},
	{.name = "mountpoint", PATH, offsetof(struct options, mountpoint)},
	{.name = "fsname", PATH, offsetof(struct options, fsname)},
	{.name = "foreground", SWITCH, offsetof(struct options, foreground)},
	{.name = "verbose", SWITCH, offsetof(struct options, is_verbose)},
	{.name = "safe", SWITCH, offsetof(struct options, is_safe)},
};

static int unpack_one(const char *name, const char *value, struct options *o)
{
	const struct opt *opt = find(name);

	if (!strcmp(name, "id")) {
		if (strlen(value) >= sizeof(o->id))
			return -EINVAL;
		strcpy(o->id, value);
		return 0;
	}
	for (size_t i = 0; !opt && i < PFS_ARRAY_SIZE(inner); i++) {
		if (!strcmp(inner[i].name, name))
			opt = &inner[i];
	}
	/* A newer supervisor may know options that this worker does not: it
	 * must not run with a part of what was asked. */
	return opt ? set(opt, o, value) : -EINVAL;
}

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && s[1])
			*to++ = *++s == 'n' ? '\n' : *s;
		else
			*to++ = *s;
	}
	*to = 0;
}

static int unpack_lines(char *text, struct options *o)
{
	char *save, *line;

	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');
		int err;

		if (!value)
			return -EINVAL;
		*value++ = 0;
		unescape(value);
		err = unpack_one(line, value, o);
		if (err)
			return err;
	}
	return o->source && o->mountpoint && o->store && o->catalog ? 0
								    : -EINVAL;
}

int options_unpack(const char *text, struct options *o)
{
	PFS_AUTO_FREE char *copy = strdup(text);
	int err;

	memset(o, 0, sizeof(*o));
	if (!copy)
		return -ENOMEM;
	err = set_defaults(o);
	if (!err)
		err = unpack_lines(copy, o);
	if (err)
		options_fini(o);
	return err;
}
