/* SPDX-License-Identifier: GPL-3.0-or-later */
/* set: what can be changed on a live mount, until its worker is replaced. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <pfs/log.h>

#include "control_tell.h"
#include "predict.h"

static const char *const level_names[] = {
	[PFS_LOG_ERROR] = "error",
	[PFS_LOG_WARNING] = "warning",
	[PFS_LOG_INFO] = "info",
	[PFS_LOG_DEBUG] = "debug",
};

const char *control_log_level(void)
{
	return level_names[atomic_load(&pfs_log_level_)];
}

static int set_log(struct control_call *call, const char *value)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(level_names); i++) {
		if (strcmp(value, level_names[i]) != 0)
			continue;
		pfs_log_set_level((enum pfs_log_level)i);
		return 0;
	}
	return control_fail(call, -EINVAL,
			    "log is error, warning, info or debug, not '%.64s'",
			    value);
}

/* As /proc/self/mountinfo writes a path: octal for blanks and backslash. */
static char *mountinfo_path(const char *path)
{
	char *out = malloc(strlen(path) * 4 + 2), *o = out;

	for (; out && *path; path++) {
		if (strchr(" \t\n\\", *path))
			o += sprintf(o, "\\%03o", (unsigned char)*path);
		else
			*o++ = *path;
	}
	if (out)
		memcpy(o, " ", 2); /* the field ends here */
	return out;
}

/* The mount's number below /sys/fs/fuse/connections.  From the mount table:
 * a stat() of the mountpoint would ask ourselves. */
static int connection_number(const char *mountpoint, unsigned int *out)
{
	PFS_AUTO_FREE char *field = mountinfo_path(mountpoint);
	FILE *f = fopen("/proc/self/mountinfo", "re");
	PFS_AUTO_FREE char *line = NULL;
	size_t size = 0;
	int err = -ENOENT;

	if (!f || !field) {
		if (f)
			(void)fclose(f);
		return f ? -ENOMEM : -errno;
	}
	while (getline(&line, &size, f) > 0) {
		unsigned int minor;
		int at = 0;

		if (sscanf(line, "%*u %*u %*u:%u %*s %n", &minor, &at) == 1 &&
		    at && !strncmp(line + at, field, strlen(field))) {
			*out = minor; /* the last one is on top */
			err = 0;
		}
	}
	(void)fclose(f);
	return err;
}

static int write_number(const char *path, unsigned long v)
{
	PFS_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return dprintf(fd, "%lu\n", v) < 0 ? -errno : 0;
}

static int set_max_background(struct control_call *call, const char *value)
{
	unsigned int number = 0;
	unsigned long v;
	char path[80], *end;
	int err;

	errno = 0;
	v = strtoul(value, &end, 10);
	if (errno || *end || end == value || !v || v > 65535)
		return control_fail(call, -EINVAL,
				    "max_background is 1 to 65535, not '%.64s'",
				    value);
	err = connection_number(call->w->opt.mountpoint, &number);
	if (err)
		return control_fail(call, err,
				    "%s is not in the mount table of this "
				    "worker",
				    call->w->opt.mountpoint);
	(void)snprintf(path, sizeof(path),
		       "/sys/fs/fuse/connections/%u/max_background", number);
	err = write_number(path, v);
	if (err == -ENOENT)
		return control_fail(call, err,
				    "the kernel's list of connections is not "
				    "mounted: mount -t fusectl none "
				    "/sys/fs/fuse/connections");
	if (err)
		return control_fail(call, err, "%s: %s", path, strerror(-err));
	return 0;
}

/* --- the predictor's --- */

static const char *const prefetch_names[] = {
	[PFS_PREFETCH_OFF] = "off",
	[PFS_PREFETCH_CONSERVATIVE] = "conservative",
	[PFS_PREFETCH_BALANCED] = "balanced",
	[PFS_PREFETCH_AGGRESSIVE] = "aggressive",
};

static int set_prefetch(struct control_call *call, const char *value)
{
	struct predict_settings s;

	for (size_t i = 0; i < PFS_ARRAY_SIZE(prefetch_names); i++) {
		if (strcmp(value, prefetch_names[i]) != 0)
			continue;
		predict_settings(call->w, &s);
		s.level = (enum pfs_prefetch_level)i;
		predict_set(call->w, &s);
		return 0;
	}
	return control_fail(call, -EINVAL,
			    "prefetch is off, conservative, balanced or "
			    "aggressive, not '%.64s'",
			    value);
}

static int set_trust(struct control_call *call, const char *value)
{
	bool is_shared = !strcmp(value, "shared");
	struct predict_settings s;

	if (!is_shared && strcmp(value, "private") != 0)
		return control_fail(call, -EINVAL,
				    "trust is private or shared, not '%.64s'",
				    value);
	predict_settings(call->w, &s);
	s.trusts_shared = is_shared;
	predict_set(call->w, &s);
	return 0;
}

static int set_proposer(struct control_call *call, const char *name,
			const char *value)
{
	bool is_on = !strcmp(value, "on");
	struct predict_settings s;
	unsigned int i = 0;

	while (i < PFS_PROPOSER_N && strcmp(name, pfs_proposer_name(i)) != 0)
		i++;
	if (i == PFS_PROPOSER_N)
		return control_fail(call, -EINVAL,
				    "there is no proposer '%.64s': pfsctl "
				    "status lists them",
				    name);
	if (!is_on && strcmp(value, "off") != 0)
		return control_fail(call, -EINVAL,
				    "a proposer is on or off, not '%.64s'",
				    value);
	predict_settings(call->w, &s);
	s.proposers = is_on ? s.proposers | 1u << i : s.proposers & ~(1u << i);
	predict_set(call->w, &s);
	return 0;
}

struct pfs_json *control_tell_settings(struct worker *w)
{
	struct pfs_json *o = pfs_json_object();
	struct pfs_json *proposers = pfs_json_object();
	struct predict_settings s;

	predict_settings(w, &s);
	pfs_json_set_str(o, "level", prefetch_names[s.level]);
	pfs_json_set_u64(o, "rate_max", w->opt.prefetch_rate);
	pfs_json_set_str(o, "trust", s.trusts_shared ? "shared" : "private");
	for (unsigned int i = 0; i < PFS_PROPOSER_N; i++)
		pfs_json_set_bool(proposers, pfs_proposer_name(i),
				  s.proposers & 1u << i);
	pfs_json_set(o, "proposers", proposers);
	return o;
}

/* --- the table --- */

static const struct setting {
	const char *key;
	int (*set)(struct control_call *call, const char *value);
} settings[] = {
	{"log", set_log},
	{"max_background", set_max_background},
	{"prefetch", set_prefetch},
	{"trust", set_trust},
};

static int set_one(struct control_call *call, const char *key,
		   const char *value)
{
	static const char proposer[] = "proposer.";

	if (!strncmp(key, proposer, strlen(proposer)))
		return set_proposer(call, key + strlen(proposer), value);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(settings); i++)
		if (!strcmp(key, settings[i].key))
			return settings[i].set(call, value);
	return control_fail(call, -ENOENT,
			    "'%.64s' cannot be set on a live mount: log, "
			    "max_background, prefetch, proposer.NAME and trust "
			    "can, the rest are mount options",
			    key);
}

int control_set(struct control_call *call)
{
	PFS_AUTO_FREE char *key = NULL;
	PFS_AUTO_FREE char *value = NULL;
	int err;

	if (pfs_json_bytes(call->req, "key", &key) ||
	    pfs_json_bytes(call->req, "value", &value))
		return control_fail(call, -EINVAL,
				    "set needs \"key\" and \"value\"");
	err = set_one(call, key, value);
	if (err)
		return err;
	pfs_log(PFS_LOG_INFO, "control", "%s is now %s", key, value);
	pfs_json_set_str(call->result, key, value);
	return 0;
}
