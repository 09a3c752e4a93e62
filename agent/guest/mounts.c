/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MOUNTINFO "/proc/self/mountinfo"

/* Blanks and the like are written as \040. */
static void unescape(char *path)
{
	char *to = path;

	for (const char *p = path; *p; p++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 |
				       (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

int mounts_open(const struct mount *m)
{
	PFS_AUTO_FD fd =
		open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	/* Another file system was mounted over it. */
	if (disks_dev(st.st_dev) != m->dev)
		return -ESTALE;
	return pfs_take_fd(&fd);
}

static void add(struct mounts *m, uint32_t dev, char *path)
{
	struct mount *to = &m->mount[m->n];
	PFS_AUTO_FD fd = -1;
	struct statfs fs;

	unescape(path);
	if (strlen(path) >= sizeof(to->path))
		return;
	strcpy(to->path, path);
	to->dev = dev;
	fd = mounts_open(to);
	if (fd < 0 || fstatfs(fd, &fs))
		return;
	to->fsid = fs.f_fsid;
	m->n++;
}

/* 22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw */
int mounts_scan(struct mounts *m, const struct disks *d)
{
	FILE *f = fopen(MOUNTINFO, "re");
	char *line = NULL;
	size_t room = 0;

	if (!f)
		return -errno;
	m->n = 0;
	while (m->n < MOUNTS_MAX && getline(&line, &room, f) > 0) {
		unsigned int maj, min;
		char path[512];

		if (sscanf(line, "%*u %*u %u:%u %*s %511s", &maj, &min, path) ==
			    3 &&
		    disks_find(d, maj << 20 | min) &&
		    !mounts_by_dev(m, maj << 20 | min))
			add(m, maj << 20 | min, path);
	}
	free(line);
	(void)fclose(f);
	return 0;
}

const struct mount *mounts_by_dev(const struct mounts *m, uint32_t dev)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (m->mount[i].dev == dev)
			return &m->mount[i];
	}
	return NULL;
}

const struct mount *mounts_by_fsid(const struct mounts *m, const fsid_t *fsid)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (!memcmp(&m->mount[i].fsid, fsid, sizeof(fsid_t)))
			return &m->mount[i];
	}
	return NULL;
}
