/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <pfs/log.h>

#include "file.h"

#define CID_HOST 2u

typedef int (*set_fn)(struct options *o, const char *value);

/* --- values --- */

/* A number of up to two decimals, times 100; -EINVAL */
static int read_hundredths(const char *text, uint32_t *out)
{
	unsigned int whole, cents = 0;
	char point, digits[3] = "";
	int end = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	if (sscanf(text, "%9u%n%c%2[0-9]%n", &whole, &end, &point, digits,
		   &end) >= 3) {
		if (point != '.')
			return -EINVAL;
		cents = (unsigned int)(digits[0] - '0') * 10;
		cents += digits[1] ? (unsigned int)(digits[1] - '0') : 0;
	}
	if (text[end] || whole > 1000000)
		return -EINVAL;
	*out = whole * 100 + cents;
	return 0;
}

static int read_u32(const char *text, char ends_with, uint32_t *out)
{
	unsigned long v;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	v = strtoul(text, &end, 10);
	if (*end != ends_with || v > UINT32_MAX)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

static int set_interval(struct options *o, const char *value)
{
	uint32_t ms;

	if (read_u32(value, '\0', &ms) || ms < 100 || ms > 60000)
		return -EINVAL;
	o->interval_ms = ms;
	return 0;
}

static int set_budget(struct options *o, const char *value)
{
	uint32_t cents;

	if (read_hundredths(value, &cents) || cents < 1 || cents > 10000)
		return -EINVAL;
	o->budget_ppm = cents * 100;
	return 0;
}

static int set_vsock(struct options *o, const char *value)
{
	const char *colon = strchr(value, ':');
	uint32_t cid, port;

	if (!colon || read_u32(value, ':', &cid) ||
	    read_u32(colon + 1, '\0', &port))
		return -EINVAL;
	link_addr_vsock(&o->host, cid, port);
	return 0;
}

static int set_unix(struct options *o, const char *value)
{
	return *value ? link_addr_unix(&o->host, value) : -EINVAL;
}

static int set_without(struct options *o, const char *value)
{
	while (*value) {
		size_t len = strcspn(value, ",");
		uint32_t i = 0;

		while (i < PFS_SIGNALS &&
		       (strlen(pfs_signal_name(i)) != len ||
			memcmp(pfs_signal_name(i), value, len) != 0))
			i++;
		if (i == PFS_SIGNALS)
			return -EINVAL;
		o->unwanted |= 1u << i;
		value += len + (value[len] == ',');
	}
	return 0;
}

static const struct {
	const char *name;
	set_fn set;
} table[] = {
#define AGENT_OPT(name, argument, help) {#name, set_##name},
#include "options.def"
#undef AGENT_OPT
};

static int set(struct options *o, const char *name, const char *value)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		if (!table[i].set(o, value))
			return 0;
		return pfs_log_fail(-EINVAL, "agent", "%s %s", name, value);
	}
	return pfs_log_fail(-EINVAL, "agent", "no such option: %s", name);
}

/* --- the file --- */

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r");
	len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		s[--len] = '\0';
	return s;
}

/* NAME = VALUE; # begins a comment. */
static int read_line(struct options *o, char *line)
{
	char *equals;

	line[strcspn(line, "#")] = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return pfs_log_fail(-EINVAL, "agent", "no '=' in '%s'", line);
	*equals = '\0';
	return set(o, trim(line), trim(equals + 1));
}

static int read_config(struct options *o, const char *path, bool is_wanted)
{
	char text[4096], *line, *rest = text;
	int err = file_read(path, text, sizeof(text));

	if (err == -ENOENT && !is_wanted)
		return 0;
	if (err)
		return pfs_log_fail(err, "agent", "%s", path);
	while (!err && (line = strsep(&rest, "\n")))
		err = read_line(o, line);
	return err;
}

/* --- the command line --- */

enum {
	OPT_CONFIG = 256,
	OPT_PROBE,
	OPT_ONCE,
	OPT_JSON,
	OPT_HELP,
	OPT_VERSION,
	OPT_TABLE,
};

static const struct option long_options[] = {
#define AGENT_OPT(name, argument, help)                                        \
	{#name, required_argument, 0, OPT_TABLE},
#include "options.def"
#undef AGENT_OPT
	{"config", required_argument, 0, OPT_CONFIG},
	{"probe", no_argument, 0, OPT_PROBE},
	{"once", no_argument, 0, OPT_ONCE},
	{"json", no_argument, 0, OPT_JSON},
	{"help", no_argument, 0, OPT_HELP},
	{"version", no_argument, 0, OPT_VERSION},
	{0},
};

void options_help(void)
{
	printf("Usage: pfs-agent [OPTION]...\n"
	       "\n"
	       "Tells the host that serves this guest's disks how the guest\n"
	       "behaves and what it will read next.\n"
	       "\n");
#define AGENT_OPT(name, argument, help)                                        \
	printf("  --%-22s %s\n", #name " " argument, help);
#include "options.def"
#undef AGENT_OPT
	printf("  --%-22s %s\n", "config FILE",
	       "the same without --, as NAME = VALUE");
	printf("  --%-22s %s\n", "probe",
	       "say which signals there are, and why");
	printf("  --%-22s %s\n", "once", "print one vector and send none");
	printf("  --%-22s %s\n", "json", "print that, or --probe, as JSON");
	printf("  --%-22s %s\n", "help", "this");
	printf("  --%-22s %s\n", "version", "the version");
}

static bool set_flag(struct options *o, int opt)
{
	o->probe |= opt == OPT_PROBE;
	o->once |= opt == OPT_ONCE;
	o->json |= opt == OPT_JSON;
	o->help |= opt == OPT_HELP;
	o->version |= opt == OPT_VERSION;
	return opt == OPT_CONFIG || (opt >= OPT_PROBE && opt <= OPT_VERSION);
}

static const char *config_of(int argc, char **argv)
{
	const char *config = NULL;
	int opt;

	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (opt == OPT_CONFIG)
			config = optarg;
	}
	return config;
}

int options_read(struct options *o, int argc, char **argv)
{
	const char *config = config_of(argc, argv);
	int opt, at, err;

	*o = (struct options){.interval_ms = 500, .budget_ppm = 5000};
	link_addr_vsock(&o->host, CID_HOST, PFS_VECTOR_PORT);
	err = read_config(o, config ? config : OPTIONS_CONFIG, config);
	opterr = 1;
	optind = 1;
	while (!err &&
	       (opt = getopt_long(argc, argv, "", long_options, &at)) != -1) {
		if (opt == OPT_TABLE)
			err = set(o, long_options[at].name, optarg);
		else if (!set_flag(o, opt))
			err = -EINVAL; /* getopt said why */
	}
	if (!err && optind < argc)
		err = pfs_log_fail(-EINVAL, "agent", "%s", argv[optind]);
	return err;
}
