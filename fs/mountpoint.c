/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mountpoint.c - libfuse mounts for us; all else is plain system calls. */
#define FUSE_USE_VERSION 314

#include "mountpoint.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <pfs/log.h>

#define FS_TYPE "fuse.pfs"
#define MAX_STACKED 16

/* --- what is mounted there --- */

/* In /proc/self/mountinfo a space, tab, newline or backslash is \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		unsigned int c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to++ = (char)c;
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

/* The type of a line if it is about path, else NULL. */
static const char *type_if_at(char *line, const char *path)
{
	char *save, *word = strtok_r(line, " ", &save);

	for (int field = 0; word && field < 4; field++)
		word = strtok_r(NULL, " ", &save);
	if (!word)
		return NULL;
	unescape(word);
	if (strcmp(word, path) != 0)
		return NULL;
	while (word && strcmp(word, "-") != 0)
		word = strtok_r(NULL, " ", &save);
	return word ? strtok_r(NULL, " ", &save) : NULL;
}

/* The type of what is mounted on top at path; "" if nothing is. */
static int type_at(const char *path, char *type, size_t len)
{
	PFS_AUTO_FREE char *line = NULL;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	size_t room = 0;

	type[0] = 0;
	if (!f)
		return pfs_log_fail(-errno, "mount", "/proc/self/mountinfo");
	while (getline(&line, &room, f) >= 0) {
		const char *found = type_if_at(line, path);

		if (found) /* a later line lies on top of an earlier one */
			(void)snprintf(type, len, "%s", found);
	}
	(void)fclose(f);
	return 0;
}

static bool is_dead(const char *path)
{
	struct stat st;

	return stat(path, &st) && (errno == ENOTCONN || errno == ECONNABORTED);
}

int mountpoint_clear(const char *path)
{
	char type[64];

	for (int i = 0; i < MAX_STACKED; i++) {
		int err = type_at(path, type, sizeof(type));

		if (err)
			return err;
		if (!is_dead(path) && strcmp(type, FS_TYPE) != 0)
			return 0;
		if (!is_dead(path)) {
			pfs_log(PFS_LOG_ERROR, "mount",
				"%s is already a pfs mount: umount it first",
				path);
			return -EBUSY;
		}
		if (strcmp(type, FS_TYPE) != 0)
			break;
		pfs_log(PFS_LOG_WARNING, "mount",
			"%s is the mount of a pfs that died: unmounting it",
			path);
		mountpoint_detach(path);
	}
	pfs_log(PFS_LOG_ERROR, "mount",
		"%s is a dead mount of type %s: unmount it first (umount -l)",
		path, type);
	return -EBUSY;
}

/* --- mount --- */

static void PFS_PRINTF(2, 0)
	log_from_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	pfs_log(level <= FUSE_LOG_ERR ? PFS_LOG_ERROR : PFS_LOG_INFO, "mount",
		"%s", text);
}

/* A comma in the source's name must not end the option. */
static void print_fsname(FILE *f, const char *name)
{
	(void)fputs("fsname=", f);
	for (; *name; name++) {
		if (*name == ',' || *name == '\\')
			(void)fputc('\\', f);
		(void)fputc(*name, f);
	}
}

static int mount_options(const struct options *o, char **out)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	print_fsname(f, o->fsname);
	(void)fprintf(f, ",subtype=pfs,nosuid,nodev,noexec,max_read=%llu",
		      (unsigned long long)PFS_MIB(1));
	if (o->allow_other)
		(void)fputs(",allow_other,default_permissions", f);
	if (o->ro)
		(void)fputs(",ro", f);
	if (fclose(f)) {
		free(text);
		return -ENOMEM;
	}
	*out = text;
	return 0;
}

/* Of the mount that was made.  There is no way to destroy a mounted session
 * that neither unmounts nor leaks, so it stays until the process ends. */
static struct fuse_session *mounted;

/* libfuse mounts (as a plain user through fusermount3); the descriptor is all
 * we want of its session. */
static int mount_by_fuse(const struct options *o, char *opts, int *out_fd)
{
	static const struct fuse_lowlevel_ops none;
	char *argv[] = {(char *)"pfs", (char *)"-o", opts, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	mounted = fuse_session_new(&args, &none, sizeof(none), NULL);
	fuse_opt_free_args(&args);
	if (!mounted)
		return -EINVAL;
	errno = 0;
	if (fuse_session_mount(mounted, o->mountpoint)) {
		int err = errno ? -errno : -EIO;

		fuse_session_destroy(mounted);
		return err;
	}
	*out_fd = fuse_session_fd(mounted);
	return fcntl(*out_fd, F_SETFD, FD_CLOEXEC) ? -errno : 0;
}

int mountpoint_mount(const struct options *o, int *out_fd)
{
	PFS_AUTO_FREE char *opts = NULL;
	int err = mount_options(o, &opts);

	if (err)
		return err;
	fuse_set_log_func(log_from_fuse);
	err = mount_by_fuse(o, opts, out_fd);
	if (err)
		return pfs_log_fail(err, "mount", "mount on %s", o->mountpoint);
	return 0;
}

int mountpoint_clone(int dev_fd, int *out_fd)
{
	PFS_AUTO_FD fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	uint32_t of = (uint32_t)dev_fd;

	if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &of))
		return pfs_log_fail(-errno, "mount", "clone /dev/fuse");
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

bool mountpoint_is_cut(int dev_fd)
{
	struct pollfd p = {.fd = dev_fd};

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* --- unmount --- */

static int detach_by_fusermount(const char *path)
{
	char *argv[] = {
		(char *)"fusermount3", (char *)"-u", (char *)"-z", (char *)"-q",
		(char *)"--",          (char *)path, NULL};
	extern char **environ;
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return -ENOENT;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return status ? -EPERM : 0;
}

bool mountpoint_detach(const char *path)
{
	char type[64];
	int err;

	if (type_at(path, type, sizeof(type)) || strcmp(type, FS_TYPE) != 0)
		return false;
	err = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) ? -errno : 0;
	if (err == -EPERM)
		err = detach_by_fusermount(path);
	/* EINVAL: somebody else was quicker. */
	if (err && err != -EINVAL)
		pfs_log(PFS_LOG_ERROR, "mount", "unmount %s: %s", path,
			strerror(-err));
	return !err;
}
