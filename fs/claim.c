/* SPDX-License-Identifier: GPL-3.0-or-later */
/* claim.c - locks on what two daemons must not share. */
#include "claim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <pfs/clock.h>

#define WAIT_MAX_NS (20 * PFS_NSEC_PER_SEC)
#define WAIT_STEP_MS 50

/* Who took the lock, by /proc/locks; 0: not found. */
static pid_t find_holder(int fd)
{
	FILE *f = fopen("/proc/locks", "re");
	unsigned long long ino;
	unsigned int maj, min;
	char line[256];
	struct stat st;
	int pid = 0;

	if (!f)
		return 0;
	if (fstat(fd, &st) == 0) {
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line,
				   "%*d: FLOCK ADVISORY WRITE %d "
				   "%x:%x:%llu",
				   &pid, &maj, &min, &ino) == 4 &&
			    makedev(maj, min) == st.st_dev && ino == st.st_ino)
				break;
			pid = 0;
		}
	}
	(void)fclose(f);
	return pid;
}

static pid_t read_pid(int fd)
{
	char text[32] = "";
	int pid = 0;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%d", &pid) != 1)
		return find_holder(fd);
	return pid;
}

/* A zombie that nobody has waited for yet is dead too. */
static bool is_zombie(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	/* Ours is named pfs; a name with ")" would be somebody else's. */
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	(void)fclose(f);
	return state == 'Z' || state == 'X';
}

static bool is_dead(pid_t pid)
{
	if (pid <= 0)
		return false;
	return kill(pid, 0) ? errno == ESRCH : is_zombie(pid);
}

static int try_lock(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

int claim_file(const char *path, int *out_fd, pid_t *holder)
{
	PFS_AUTO_FD fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	uint64_t end = pfs_now_ns() + WAIT_MAX_NS;
	char text[32];
	int err, len;

	*holder = 0;
	if (fd < 0)
		return -errno;
	while ((err = try_lock(fd)) == -EBUSY) {
		*holder = read_pid(fd);
		if (!is_dead(*holder) || pfs_now_ns() > end)
			return -EBUSY;
		pfs_sleep_ms(WAIT_STEP_MS);
	}
	if (err)
		return err;
	/* On a full disk the lock holds all the same; /proc/locks tells the
	 * pid then. */
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len)
		(void)!ftruncate(fd, 0);
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

int claim_object(const char *path, int *out_fd, pid_t *holder)
{
	PFS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t end = pfs_now_ns() + WAIT_MAX_NS;
	int err;

	*holder = 0;
	if (fd < 0)
		return -errno;
	while ((err = try_lock(fd)) == -EBUSY) {
		*holder = find_holder(fd);
		if (!is_dead(*holder) || pfs_now_ns() > end)
			return -EBUSY;
		pfs_sleep_ms(WAIT_STEP_MS);
	}
	if (!err)
		*out_fd = pfs_take_fd(&fd);
	return err;
}
