/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What of the source is not served, and why.  The walk is bounded in depth
 * and in entries: it is a help for the operator, not a part of serving.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ops.h"
#include "ops_priv.h"
#include "resolve.h"

#define MAX_DEPTH 32
#define MAX_ENTRIES 200000u

struct search {
	int (*fn)(void *arg, const char *path, const char *reason);
	void *arg;
	unsigned int n_left;
	char path[PATH_MAX];
};

static const char *reason_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFLNK:
		return "symbolic link";
	case S_IFIFO:
		return "FIFO";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character device";
	case S_IFBLK:
		return "block device";
	default:
		return "unknown type";
	}
}

static int search_dir(struct search *s, int dir_fd, int depth);

/* len: of the folder's path with its slash. */
static int search_entry(struct search *s, int dir, size_t len, const char *name,
			int depth)
{
	struct stat st;
	int fd;

	if (len + strlen(name) + 2 > sizeof(s->path) ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	strcpy(s->path + len, name);
	if (!ops_is_served(st.st_mode))
		return s->fn(s->arg, s->path, reason_of(st.st_mode));
	if (!S_ISDIR(st.st_mode) || depth == MAX_DEPTH)
		return 0;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	strcat(s->path, "/");
	return search_dir(s, fd, depth + 1);
}

static void dir_done(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Takes over dir_fd. */
static int search_dir(struct search *s, int dir_fd, int depth)
{
	PFS_AUTO(dir_done) DIR *dir = fdopendir(dir_fd);
	size_t len = strlen(s->path);
	struct dirent *d;
	int ret = 0;

	if (!dir) {
		close(dir_fd);
		return -ENOMEM;
	}
	while (!ret && s->n_left && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		s->n_left--;
		ret = search_entry(s, dirfd(dir), len, d->d_name, depth);
		s->path[len] = '\0';
	}
	return ret;
}

int ops_skipped(struct worker *w,
		int (*fn)(void *arg, const char *path, const char *reason),
		void *arg)
{
	struct search s = {.fn = fn, .arg = arg, .n_left = MAX_ENTRIES};
	int fd = resolve_reopen(w->root_fd, O_RDONLY | O_DIRECTORY);

	return fd < 0 ? fd : search_dir(&s, fd, 0);
}
