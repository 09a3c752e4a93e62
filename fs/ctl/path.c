/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The run folder and the ID.json files in it, see pfs/ctl_path.h. */
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <pfs/ctl.h>
#include <pfs/ctl_path.h>

#define SYSTEM_DIR "/run/pfs"
#define INFO_MAX PFS_KIB(64) /* bytes of an ID.json that are looked at */
#define INFO_SUFFIX ".json"

static int PFS_PRINTF(2, 3) print_path(char out[PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PATH_MAX, fmt, ap);
	va_end(ap);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static const char *absolute_env(const char *name)
{
	const char *v = getenv(name);

	return v && v[0] == '/' ? v : NULL;
}

int pfs_ctl_dir(char out[PATH_MAX])
{
	const char *own = absolute_env("PFS_RUN_DIR");
	const char *xdg = absolute_env("XDG_RUNTIME_DIR");
	unsigned int uid = geteuid();
	char user[64];

	if (own)
		return print_path(out, "%s", own);
	if (!uid)
		return print_path(out, "%s", SYSTEM_DIR);
	if (xdg)
		return print_path(out, "%s/pfs", xdg);
	(void)snprintf(user, sizeof(user), "/run/user/%u", uid);
	if (access(user, W_OK) == 0)
		return print_path(out, "%s/pfs", user);
	return print_path(out, "/tmp/pfs-%u", uid);
}

int pfs_ctl_dir_make(char out[PATH_MAX])
{
	char dir[PATH_MAX];
	struct stat st;
	int err = pfs_ctl_dir(dir);

	if (err)
		return err;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	/* In /tmp anybody may have been first, with a link even. */
	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_mode & (S_IWGRP | S_IWOTH))
		return -EPERM;
	strcpy(out, dir);
	return 0;
}

int pfs_ctl_socket_path(const char *id, char out[PATH_MAX])
{
	char dir[PATH_MAX];
	int err = pfs_ctl_dir(dir);

	if (!err)
		err = print_path(out, "%s/%s.sock", dir, id);
	if (!err && strlen(out) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		err = -ENAMETOOLONG;
	return err;
}

static int mount_text(const struct pfs_ctl_mount *m, char **out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = pfs_json_object();

	pfs_json_set_str(v, "mountpoint", m->mountpoint);
	pfs_json_set_str(v, "source", m->source);
	pfs_json_set_u64(v, "supervisor_pid", (uint64_t)m->supervisor_pid);
	return pfs_json_text(v, true, out);
}

static int write_file(const char *path, const char *text)
{
	PFS_AUTO_FD fd = -1;
	size_t len = strlen(text);

	/* Never through a name that is there already, whatever it is. */
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		  0644);
	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len)
		return errno ? -errno : -ENOSPC;
	return 0;
}

int pfs_ctl_mount_publish(const struct pfs_ctl_mount *m)
{
	PFS_AUTO_FREE char *text = NULL;
	char dir[PATH_MAX], tmp[PATH_MAX], path[PATH_MAX];
	int err = mount_text(m, &text);

	if (!err)
		err = pfs_ctl_dir_make(dir);
	if (!err)
		err = print_path(tmp, "%s/.%s.new", dir, m->id);
	if (!err)
		err = print_path(path, "%s/%s" INFO_SUFFIX, dir, m->id);
	if (!err)
		err = write_file(tmp, text);
	if (err)
		return err;
	if (rename(tmp, path) < 0) {
		err = -errno;
		unlink(tmp);
	}
	return err;
}

void pfs_ctl_mount_retract(const char *id)
{
	char dir[PATH_MAX], path[PATH_MAX];

	if (pfs_ctl_dir(dir))
		return;
	if (print_path(path, "%s/%s" INFO_SUFFIX, dir, id) == 0)
		unlink(path);
	if (print_path(path, "%s/%s.sock", dir, id) == 0)
		unlink(path);
}

/* --- reading ----------------------------------------------------------- */

static void mount_fini(struct pfs_ctl_mount *m)
{
	free(m->mountpoint);
	free(m->source);
	free(m->socket);
}

/* A regular file only: a FIFO planted there must not hold us up. */
static ssize_t read_file(int dir_fd, const char *name, char *buf, size_t len)
{
	struct stat st;
	PFS_AUTO_FD fd = openat(dir_fd, name,
				O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	return read(fd, buf, len);
}

static int parse_mount(const char *text, size_t len, struct pfs_ctl_mount *m)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;
	uint64_t pid;
	int err = pfs_json_parse(text, len, &v);

	if (!err)
		err = pfs_json_u64(v, "supervisor_pid", &pid);
	if (!err && (!pid || pid > INT32_MAX))
		err = -EINVAL;
	if (!err)
		err = pfs_json_bytes(v, "mountpoint", &m->mountpoint);
	if (!err)
		err = pfs_json_bytes(v, "source", &m->source);
	if (err)
		return err;
	m->supervisor_pid = (pid_t)pid;
	m->is_alive = kill(m->supervisor_pid, 0) == 0 || errno == EPERM;
	return 0;
}

static int load_mount(int dir_fd, const char *dir, const char *name,
		      struct pfs_ctl_mount *m)
{
	PFS_AUTO_FREE char *text = malloc(INFO_MAX);
	size_t id_len = strlen(name) - strlen(INFO_SUFFIX);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	if (id_len >= sizeof(m->id))
		return -EINVAL;
	n = read_file(dir_fd, name, text, INFO_MAX);
	if (n < 0)
		return -EINVAL;
	memcpy(m->id, name, id_len);
	if (asprintf(&m->socket, "%s/%s.sock", dir, m->id) < 0) {
		m->socket = NULL;
		return -ENOMEM;
	}
	return parse_mount(text, (size_t)n, m);
}

static bool is_info_name(const char *name)
{
	size_t len = strlen(name), suffix = strlen(INFO_SUFFIX);

	return name[0] != '.' && len > suffix &&
	       !strcmp(name + len - suffix, INFO_SUFFIX);
}

static void dir_done(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Nonzero: fn said stop. */
static int each_in(const char *dir,
		   int (*fn)(void *arg, const struct pfs_ctl_mount *m),
		   void *arg)
{
	PFS_AUTO(dir_done) DIR *d = opendir(dir);
	struct dirent *e;
	int stop = 0;

	while (d && !stop && (e = readdir(d))) {
		struct pfs_ctl_mount m = {.id = ""};

		if (is_info_name(e->d_name) &&
		    !load_mount(dirfd(d), dir, e->d_name, &m))
			stop = fn(arg, &m);
		mount_fini(&m);
	}
	return stop;
}

/* Not /tmp/pfs-*: anybody could put a folder of that name there. */
static void each_of_users(int (*fn)(void *arg, const struct pfs_ctl_mount *m),
			  void *arg)
{
	glob_t found;
	int stop = 0;

	if (glob("/run/user/*/pfs", GLOB_ONLYDIR, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc && !stop; i++)
		stop = each_in(found.gl_pathv[i], fn, arg);
	globfree(&found);
}

int pfs_ctl_mounts(int (*fn)(void *arg, const struct pfs_ctl_mount *m),
		   void *arg)
{
	char dir[PATH_MAX];
	int err = pfs_ctl_dir(dir);

	if (err)
		return err;
	if (each_in(dir, fn, arg))
		return 0;
	/* $PFS_RUN_DIR means: only there. */
	if (absolute_env("PFS_RUN_DIR"))
		return 0;
	if (strcmp(dir, SYSTEM_DIR) != 0)
		(void)each_in(SYSTEM_DIR, fn, arg);
	else
		each_of_users(fn, arg);
	return 0;
}
