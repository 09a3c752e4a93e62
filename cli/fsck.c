/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fsck: check store and catalog while nobody serves from them.  A daemon
 * holds a flock on the file "lock" in the catalog's folder, and one on the
 * store: on the file "lock" in its folder, on that folder, or on the store
 * itself (fs/claim.h).  We hold all of them, shared, while we look.
 */
#include "cli.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <pfs/catalog.h>
#include <pfs/store.h>

struct findings {
	bool is_json;
	struct pfs_json *lines; /* owned */
	const char *where;
};

static void report(void *arg, const char *line)
{
	struct findings *f = arg;
	struct pfs_json *o;

	if (!f->is_json) {
		(void)printf("%s: %s\n", f->where, line);
		return;
	}
	o = pfs_json_object();
	pfs_json_set_str(o, "in", f->where);
	pfs_json_set_str(o, "problem", line);
	pfs_json_push(f->lines, o);
}

/* Store as named in the options: a folder means the file in it. */
static char *store_file(const char *path)
{
	struct stat st;
	char *out;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (asprintf(&out, "%s/store", path) < 0)
			return NULL;
		return out;
	}
	return strdup(path);
}

static long pid_in(int fd)
{
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return strtol(text, NULL, 10);
}

static int say_held(const char *what, const char *path, long pid)
{
	char who[32] = "";

	if (pid > 0)
		(void)snprintf(who, sizeof(who), ", pid %ld", pid);
	return cli_say(STATUS_FAILED,
		       "the %s is in use by a daemon (%s%s): unmount first, "
		       "or run pfsctl verify",
		       what, path, who);
}

/* *fd stays -1 where there is no such file. */
static int hold(const char *path, const char *what, bool is_lock_file, int *fd)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0 && errno == ENOENT)
		return STATUS_OK;
	if (*fd >= 0 && flock(*fd, LOCK_SH | LOCK_NB) == 0)
		return STATUS_OK;
	if (*fd >= 0 && errno == EWOULDBLOCK)
		return say_held(what, path, is_lock_file ? pid_in(*fd) : 0);
	return cli_say(STATUS_FAILED, "%s: %s", path, strerror(errno));
}

/* The folder that path lies in; "." if it names none. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int hold_lock_beside(const char *path, const char *what, int *fd)
{
	PFS_AUTO_FREE char *folder = folder_of(path);
	PFS_AUTO_FREE char *lock = NULL;

	if (!folder || asprintf(&lock, "%s/lock", folder) < 0)
		return cli_say(STATUS_FAILED, "out of memory");
	return hold(lock, what, true, fd);
}

static int hold_folder(const char *path, const char *what, int *fd)
{
	PFS_AUTO_FREE char *folder = folder_of(path);

	if (!folder)
		return cli_say(STATUS_FAILED, "out of memory");
	return hold(folder, what, false, fd);
}

static int must_exist(const char *path)
{
	if (access(path, R_OK) == 0)
		return STATUS_OK;
	return cli_say(STATUS_FAILED, "%s: %s", path, strerror(errno));
}

static int conclude(struct cli *cli, struct findings *f, uint64_t n_bad)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;
	int status = STATUS_OK;

	if (cli->is_json) {
		v = pfs_json_object();
		pfs_json_set_u64(v, "bad", n_bad);
		pfs_json_set(v, "problems", pfs_take(&f->lines));
		status = cli_print_json(v);
	} else if (n_bad) {
		(void)printf("%llu problems; the daemon drops what is bad "
			     "when it meets it\n",
			     (unsigned long long)n_bad);
	} else {
		(void)puts("Store and catalog are sound.");
	}
	return n_bad ? STATUS_FAILED : status;
}

static void findings_fini(struct findings *f)
{
	pfs_json_free(f->lines);
}

static int check_both(struct cli *cli, const char *store)
{
	PFS_AUTO(findings_fini)
	struct findings f = {.is_json = cli->is_json,
			     .lines = pfs_json_array(),
			     .where = "catalog"};
	unsigned int n_rows_bad = 0;
	uint64_t n_bad = 0;
	int err = pfs_catalog_check(cli->catalog, report, &f, &n_rows_bad);

	if (err)
		return cli_say(STATUS_FAILED, "catalog %s: %s", cli->catalog,
			       strerror(-err));
	f.where = "store";
	err = pfs_store_check(store, cli->catalog, report, &f, &n_bad);
	if (err)
		return cli_say(STATUS_FAILED, "store %s: %s", store,
			       strerror(-err));
	return conclude(cli, &f, n_bad + n_rows_bad);
}

int verb_fsck(struct cli *cli)
{
	PFS_AUTO_FREE char *store = NULL;
	PFS_AUTO_FD fd_store = -1;
	PFS_AUTO_FD fd_folder = -1;
	PFS_AUTO_FD fd_lock = -1;
	PFS_AUTO_FD fd_catalog = -1;
	int status;

	if (!cli->store || !cli->catalog)
		return cli_say(STATUS_USAGE,
			       "fsck takes --store FILE and --catalog FILE "
			       "(pfsctl status shows both while mounted)");
	store = store_file(cli->store);
	if (!store)
		return cli_say(STATUS_FAILED, "out of memory");
	status = must_exist(store);
	if (!status)
		status = must_exist(cli->catalog);
	if (!status)
		status = hold_lock_beside(cli->catalog, "catalog", &fd_catalog);
	if (!status)
		status = hold_lock_beside(store, "store", &fd_lock);
	if (!status)
		status = hold_folder(store, "store", &fd_folder);
	if (!status)
		status = hold(store, "store", false, &fd_store);
	return status ? status : check_both(cli, store);
}
