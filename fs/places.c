/* SPDX-License-Identifier: GPL-3.0-or-later */
/* places.c - source, mountpoint, store and catalog: defaults and refusals. */
#include "places.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <pfs/hash.h>

static int PFS_PRINTF(2, 3) print(char **out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(out, fmt, ap);
	va_end(ap);
	if (n < 0)
		*out = NULL;
	return n < 0 ? -ENOMEM : 0;
}

bool places_is_within(const char *a, const char *b)
{
	size_t len = strlen(b);

	if (!strcmp(b, "/"))
		return a[0] == '/';
	return !strncmp(a, b, len) && (a[len] == '/' || !a[len]);
}

/* The folder that holds path (which is absolute), malloc'ed. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == path ? strdup("/")
			     : strndup(path, (size_t)(slash - path));
}

static char *join(const char *dir, const char *name)
{
	char *out;

	return print(&out, "%s/%s", strcmp(dir, "/") ? dir : "", name) ? NULL
								       : out;
}

/* Resolve the longest part of path that exists; the rest is kept as it is.
 * NULL and errno when what is missing could not be made by that name. */
static char *resolve_missing(const char *path)
{
	PFS_AUTO_FREE char *cut = strdup(path), *dir = NULL;
	char *slash, *whole = realpath(path, NULL);

	if (whole || errno != ENOENT || !cut)
		return whole;
	slash = cut + strlen(cut);
	while (slash > cut + 1 && slash[-1] == '/')
		*--slash = 0;
	slash = strrchr(cut, '/');
	if (!strcmp(slash ? slash + 1 : cut, "..")) {
		errno = ENOENT;
		return NULL;
	}
	if (slash)
		*slash = 0;
	dir = !slash ? realpath(".", NULL) : resolve_missing(*cut ? cut : "/");
	return dir ? join(dir, slash ? slash + 1 : cut) : NULL;
}

/* --- source and mountpoint --- */

static int settle_source(struct options *o, const char *source, FILE *err)
{
	struct stat st;

	o->fsname = strdup(source);
	o->source = realpath(source, NULL);
	if (!o->source)
		return options_refuse(err,
				      "source %s: %s; name the folder that "
				      "holds the images",
				      source, strerror(errno));
	if (stat(o->source, &st) || !S_ISDIR(st.st_mode))
		return options_refuse(err,
				      "source %s is not a folder: name the "
				      "folder that holds the images",
				      source);
	if (access(o->source, R_OK | X_OK))
		return options_refuse(
			err, "source %s cannot be read by this user: %s",
			source, strerror(errno));
	return 0;
}

/* A dead FUSE mount cannot be resolved, its folder can. */
static char *resolve_dead(const char *mountpoint)
{
	PFS_AUTO_FREE char *cut = strdup(mountpoint), *dir = NULL;
	char *slash;
	size_t len;

	if (!cut)
		return NULL;
	for (len = strlen(cut); len > 1 && cut[len - 1] == '/'; len--)
		cut[len - 1] = 0;
	slash = strrchr(cut, '/');
	if (slash)
		*slash = 0;
	dir = realpath(!slash ? "." : *cut ? cut : "/", NULL);
	return dir ? join(dir, slash ? slash + 1 : cut) : NULL;
}

static int settle_mountpoint(struct options *o, const char *mountpoint,
			     FILE *err)
{
	struct stat st;

	o->mountpoint = realpath(mountpoint, NULL);
	if (!o->mountpoint && (errno == ENOTCONN || errno == ECONNABORTED)) {
		o->mountpoint = resolve_dead(mountpoint);
		if (o->mountpoint)
			return 0;
	}
	if (!o->mountpoint && errno == ENOENT)
		return options_refuse(
			err,
			"mountpoint %s does not exist: make it with "
			"mkdir",
			mountpoint);
	if (!o->mountpoint)
		return options_refuse(err, "mountpoint %s: %s", mountpoint,
				      strerror(errno));
	/* The root of a dead mount resolves, but nothing can be asked of it. */
	if (stat(o->mountpoint, &st))
		return errno == ENOTCONN || errno == ECONNABORTED
			       ? 0
			       : options_refuse(err, "mountpoint %s: %s",
						mountpoint, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return options_refuse(err, "mountpoint %s is not a folder",
				      mountpoint);
	return 0;
}

/* Is `top` the same folder as path or one above it, under whatever name?  Bind
 * mounts hide it from a comparison of paths. */
static bool is_above(const char *top, const char *path)
{
	PFS_AUTO_FREE char *p = strdup(path);
	struct stat want, st;

	if (!p || stat(top, &want))
		return false;
	for (;;) {
		char *slash = strrchr(p, '/');

		if (stat(p, &st) == 0 && st.st_dev == want.st_dev &&
		    st.st_ino == want.st_ino)
			return true;
		if (!slash || !p[1])
			return false;
		slash[slash == p] = 0;
	}
}

static int check_nesting(const struct options *o, FILE *err)
{
	const char *src = o->source, *mnt = o->mountpoint;

	if (!strcmp(src, mnt))
		return options_refuse(
			err,
			"source and mountpoint are the same folder "
			"%s: mount on another one",
			src);
	if (places_is_within(mnt, src) || is_above(src, mnt))
		return options_refuse(err,
				      "mountpoint %s is inside the source %s: "
				      "mount on a folder outside of it",
				      mnt, src);
	if (places_is_within(src, mnt) || is_above(mnt, src))
		return options_refuse(err,
				      "source %s is inside the mountpoint %s, "
				      "which would hide it: mount elsewhere",
				      src, mnt);
	return 0;
}

/* --- store and catalog --- */

static int default_folder(const struct options *o, const char *root_base,
			  const char *xdg, const char *below_home, char **out)
{
	const char *base = getenv(xdg), *home = getenv("HOME");

	if (geteuid() == 0)
		return print(out, "%s/pfs/%s", root_base, o->id);
	if (base && base[0] == '/')
		return print(out, "%s/pfs/%s", base, o->id);
	if (home && home[0] == '/')
		return print(out, "%s/%s/pfs/%s", home, below_home, o->id);
	return -ENOENT;
}

static int default_store(const struct options *o, char **out)
{
	return default_folder(o, "/var/cache", "XDG_CACHE_HOME", ".cache", out);
}

static int default_catalog(const struct options *o, char **out)
{
	PFS_AUTO_FREE char *dir = NULL;
	int err = default_folder(o, "/var/lib", "XDG_STATE_HOME",
				 ".local/state", &dir);

	return err ? err : print(out, "%s/catalog.db", dir);
}

static int settle_file(const struct options *o, char **slot, const char *name,
		       int (*dflt)(const struct options *o, char **out),
		       FILE *err)
{
	PFS_AUTO_FREE char *path = pfs_take(slot);

	if (!path && dflt(o, &path))
		return options_refuse(err,
				      "there is no HOME to keep the %s in: say "
				      "where with %s=PATH",
				      name, name);
	*slot = resolve_missing(path);
	if (!*slot)
		return options_refuse(err, "%s %s: %s", name, path,
				      strerror(errno));
	return 0;
}

static int check_apart(const struct options *o, const char *name,
		       const char *path, FILE *err)
{
	if (places_is_within(path, o->mountpoint))
		return options_refuse(
			err,
			"%s %s is inside the mountpoint %s: keep it "
			"elsewhere (%s=PATH)",
			name, path, o->mountpoint, name);
	if (places_is_within(path, o->source))
		return options_refuse(
			err,
			"%s %s is inside the source %s, it would be "
			"served as an image: keep it elsewhere "
			"(%s=PATH)",
			name, path, o->source, name);
	return 0;
}

static bool has_store(const struct options *o)
{
	return strcmp(o->store, "none") != 0;
}

static int check_store(const struct options *o, FILE *err)
{
	struct stat st;

	if (!has_store(o))
		return 0;
	if (stat(o->store, &st) == 0 && !S_ISDIR(st.st_mode) &&
	    !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return options_refuse(err,
				      "store %s is neither a folder nor a file "
				      "nor a block device",
				      o->store);
	if (places_is_within(o->catalog, o->store))
		return options_refuse(
			err,
			"catalog %s is inside the store %s, which "
			"may be deleted at any time: keep it "
			"elsewhere (catalog=PATH)",
			o->catalog, o->store);
	return check_apart(o, "store", o->store, err);
}

static int check_catalog(const struct options *o, FILE *err)
{
	struct stat st;

	if (stat(o->catalog, &st) == 0 && !S_ISREG(st.st_mode))
		return options_refuse(
			err,
			"catalog %s is not a file: name a file in "
			"some folder",
			o->catalog);
	return check_apart(o, "catalog", o->catalog, err);
}

int places_settle(struct options *o, const char *source, const char *mountpoint,
		  FILE *err)
{
	int res = settle_source(o, source, err);

	if (!res)
		res = settle_mountpoint(o, mountpoint, err);
	if (!res)
		res = check_nesting(o, err);
	if (res)
		return res;
	(void)snprintf(o->id, sizeof(o->id), "%016llx",
		       (unsigned long long)pfs_hash64(o->source,
						      strlen(o->source), 0));
	if (!o->store || has_store(o))
		res = settle_file(o, &o->store, "store", default_store, err);
	if (!res)
		res = settle_file(o, &o->catalog, "catalog", default_catalog,
				  err);
	if (!res)
		res = check_catalog(o, err);
	return res ? res : check_store(o, err);
}

/* --- making the folders --- */

bool places_store_is_folder(const struct options *o)
{
	struct stat st;

	return has_store(o) && (stat(o->store, &st) || S_ISDIR(st.st_mode));
}

static int make_folders(const char *path)
{
	PFS_AUTO_FREE char *above = NULL;

	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return -errno;
	above = folder_of(path);
	if (!above)
		return -ENOMEM;
	if (make_folders(above))
		return -errno;
	return mkdir(path, 0700) ? -errno : 0;
}

/* A folder that was named is made, but not those above it: they are missing
 * because a disk is not mounted, or because of a slip. */
static int make_folder(const char *name, const char *path, bool is_default,
		       FILE *err)
{
	int res = is_default                             ? make_folders(path)
		  : mkdir(path, 0700) && errno != EEXIST ? -errno
							 : 0;

	if (res)
		options_refuse(err,
			       "%s: folder %s cannot be made: %s; make it or "
			       "name another (%s=PATH)",
			       name, path, strerror(-res), name);
	return res;
}

/* Who can write there could hand us a catalog or store of his making. */
static int check_ours(const char *name, const char *path, FILE *err)
{
	struct stat st;

	if (stat(path, &st)) {
		int res = -errno;

		options_refuse(err, "%s %s: %s", name, path, strerror(-res));
		return res;
	}
	/* A device is root's, and lent to us by group. */
	if ((st.st_uid != geteuid() && !S_ISBLK(st.st_mode)) ||
	    st.st_mode & S_IWOTH) {
		options_refuse(
			err,
			"%s: %s %s: give it to user %u (chown, chmod o-w) "
			"or name another (%s=PATH)",
			name, path,
			st.st_mode & S_IWOTH ? "can be written by anybody"
					     : "belongs to another user",
			(unsigned int)geteuid(), name);
		return -EPERM;
	}
	if (access(path, R_OK | W_OK)) {
		int res = -errno;

		options_refuse(err,
			       "%s: %s cannot be written: %s; make it writable "
			       "or name another (%s=PATH)%s",
			       name, path, strerror(-res), name,
			       strcmp(name, "store") ? ""
						     : ", or do without (store="
						       "none)");
		return res;
	}
	return 0;
}

static int make_for_catalog(const struct options *o, FILE *err)
{
	PFS_AUTO_FREE char *dflt = NULL, *dir = folder_of(o->catalog);
	bool is_default =
		!default_catalog(o, &dflt) && !strcmp(dflt, o->catalog);
	int res;

	if (!dir)
		return -ENOMEM;
	res = make_folder("catalog", dir, is_default, err);
	return res ? res : check_ours("catalog", dir, err);
}

int places_make(const struct options *o, FILE *err)
{
	PFS_AUTO_FREE char *dflt = NULL;
	bool is_default = !default_store(o, &dflt) && !strcmp(dflt, o->store);
	int res = make_for_catalog(o, err);

	if (!res && places_store_is_folder(o))
		res = make_folder("store", o->store, is_default, err);
	if (!res && has_store(o))
		res = check_ours("store", o->store, err);
	return res;
}
