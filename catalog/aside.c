/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "aside.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <pfs/clock.h>

#define KEEP 3
#define STAMP_LEN (sizeof("YYYYmmddTHHMMSS") - 1)

/* What lies beside a database file, "" being itself.  The database is moved
 * first: a log without its database is ignored, a database without its log
 * would be an older state. */
static const char *const companions[] = {"", "-wal", "-shm", "-failed"};

static int join(char out[PATH_MAX], const char *path, const char *suffix)
{
	int n = snprintf(out, PATH_MAX, "%s%s", path, suffix);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The folder part of a path, "." if it has none. */
static int folder_of(char out[PATH_MAX], const char *path)
{
	char *slash;
	int err = join(out, path, "");

	if (err)
		return err;
	slash = strrchr(out, '/');
	if (!slash)
		return join(out, ".", "");
	slash[slash == out] = '\0';
	return 0;
}

static int make_one_folder(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

int catalog_make_folder(const char *path)
{
	char dir[PATH_MAX];
	int err = folder_of(dir, path);

	if (err || access(dir, F_OK) == 0)
		return err;
	for (char *p = dir + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		err = access(dir, F_OK) ? make_one_folder(dir) : 0;
		*p = '/';
		if (err)
			return err;
	}
	return make_one_folder(dir);
}

int catalog_make_file(const char *path)
{
	struct stat st;
	PFS_AUTO_FD fd =
		open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	/* Not opened again: closing a descriptor of a database that this
	 * process has open drops SQLite's POSIX locks on it. */
	if (stat(path, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

bool catalog_was_unclean(const char *path)
{
	char wal[PATH_MAX];
	struct stat st;

	if (join(wal, path, "-wal"))
		return false;
	return stat(wal, &st) == 0 && st.st_size > 0;
}

void catalog_note_failure(const char *path, const char *why)
{
	char note[PATH_MAX];
	PFS_AUTO_FD fd = -1;

	if (join(note, path, "-failed"))
		return;
	fd = open(note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* Without the note the next start may use the file again and fail
	 * again: slow, not wrong. */
	if (fd >= 0 && dprintf(fd, "%s\n", why) > 0)
		(void)fsync(fd);
}

bool catalog_has_failure_note(const char *path)
{
	char note[PATH_MAX];

	return join(note, path, "-failed") == 0 && access(note, F_OK) == 0;
}

/* --- setting aside --- */

static bool ends_in_stamp(const char *s)
{
	return strlen(s) >= STAMP_LEN && s[8] == 'T' &&
	       strspn(s, "0123456789T.") == strlen(s);
}

/* Is name "BASE.corrupt-STAMP" or "BASE.newer-STAMP"?  Returns its stamp. */
static const char *stamp_of(const char *name, const char *base)
{
	static const char *const kinds[] = {".corrupt-", ".newer-"};
	size_t len = strlen(base);

	if (strncmp(name, base, len) != 0)
		return NULL;
	for (size_t i = 0; i < PFS_ARRAY_SIZE(kinds); i++) {
		const char *stamp = name + len + strlen(kinds[i]);

		if (!strncmp(name + len, kinds[i], strlen(kinds[i])) &&
		    ends_in_stamp(stamp))
			return stamp;
	}
	return NULL;
}

/* Count those set aside, and copy the name of the oldest. */
static unsigned int find_oldest(DIR *d, const char *base,
				char oldest[NAME_MAX + 1])
{
	char stamp[NAME_MAX + 1] = "";
	unsigned int n = 0;
	struct dirent *e;

	rewinddir(d);
	while ((e = readdir(d))) {
		const char *s = stamp_of(e->d_name, base);

		if (!s)
			continue;
		if (!n++ || strcmp(s, stamp) < 0) {
			(void)snprintf(stamp, sizeof(stamp), "%s", s);
			(void)snprintf(oldest, NAME_MAX + 1, "%s", e->d_name);
		}
	}
	return n;
}

static void delete_aside(const char *dir, const char *name)
{
	char path[PATH_MAX], one[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX)
		return;
	for (size_t i = 0; i < PFS_ARRAY_SIZE(companions); i++)
		if (!join(one, path, companions[i]))
			(void)unlink(one);
}

static void prune(const char *path)
{
	char dir[PATH_MAX], oldest[NAME_MAX + 1] = "";
	const char *base = strrchr(path, '/');
	DIR *d;

	if (folder_of(dir, path))
		return;
	d = opendir(dir);
	if (!d)
		return;
	base = base ? base + 1 : path;
	/* Bounded: an entry that cannot be deleted must not hold us here. */
	for (int i = 0; i < 16 && find_oldest(d, base, oldest) > KEEP; i++)
		delete_aside(dir, oldest);
	(void)fsync(dirfd(d)); /* an old one may come back */
	closedir(d);
}

/* A name that is free: two in one second get .1, .2, ... */
static int pick_name(const char *path, const char *kind, char *out, size_t size)
{
	time_t now = (time_t)(pfs_wall_ns() / PFS_NSEC_PER_SEC);
	char stamp[STAMP_LEN + 1];
	struct tm tm;
	int n;

	if (!gmtime_r(&now, &tm) ||
	    !strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm))
		return -EOVERFLOW;
	n = snprintf(out, size, "%s.%s-%s", path, kind, stamp);
	for (int i = 1; i < 100; i++) {
		if (n < 0 || (size_t)n >= size)
			return -ENAMETOOLONG;
		if (access(out, F_OK))
			return 0;
		n = snprintf(out, size, "%s.%s-%s.%02d", path, kind, stamp, i);
	}
	return -EEXIST;
}

int catalog_set_aside(const char *path, const char *kind, char *moved,
		      size_t size)
{
	int err = pick_name(path, kind, moved, size);

	for (size_t i = 0; i < PFS_ARRAY_SIZE(companions) && !err; i++) {
		char from[PATH_MAX], to[PATH_MAX];

		err = join(from, path, companions[i]);
		if (!err)
			err = join(to, moved, companions[i]);
		if (!err && rename(from, to) && errno != ENOENT)
			err = -errno;
	}
	if (!err)
		prune(path);
	return err;
}
