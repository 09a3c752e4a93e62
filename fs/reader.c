/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "reader.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Reads /proc/PID/what as far as it fits; false if there is none. */
static bool read_proc(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[64];
	PFS_AUTO_FD fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	return true;
}

static int32_t tgid_of(pid_t tid)
{
	char text[4096];
	const char *at;

	if (!read_proc(tid, "status", text, sizeof(text)))
		return 0;
	at = strstr(text, "\nTgid:");
	return at ? (int32_t)strtol(at + 6, NULL, 10) : 0;
}

uint64_t reader_parse_start_time(const char *stat_line)
{
	const char *at = strrchr(stat_line, ')');

	/* After the name come a space and field 3. */
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

/* The unified hierarchy only: its line is "0::/path". */
static uint64_t cgroup_of(pid_t tgid)
{
	char text[4096], path[PATH_MAX];
	const char *at;
	struct stat st;

	if (!read_proc(tgid, "cgroup", text, sizeof(text)))
		return 0;
	at = strncmp(text, "0::", 3) ? strstr(text, "\n0::") : text - 1;
	if (!at)
		return 0;
	at += 4;
	snprintf(path, sizeof(path), CGROUP_ROOT "%.*s", (int)strcspn(at, "\n"),
		 at);
	return stat(path, &st) ? 0 : st.st_ino;
}

void reader_of(pid_t tid, struct reader *out)
{
	char text[1024];

	*out = (struct reader){0};
	if (tid <= 0)
		return;
	out->tgid = tgid_of(tid);
	if (!out->tgid)
		return;
	if (read_proc(out->tgid, "stat", text, sizeof(text)))
		out->start_time = reader_parse_start_time(text);
	out->cgroup = cgroup_of(out->tgid);
}
