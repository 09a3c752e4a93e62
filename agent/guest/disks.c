/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "disks.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "file.h"

#define SYS_BLOCK "/sys/block"

uint32_t disks_dev(dev_t dev)
{
	return (uint32_t)major(dev) << 20 | (uint32_t)minor(dev);
}

/* A number of sectors in the file NAME of a folder below sysfs. */
static int read_sectors(const char *dir, const char *name, uint64_t *bytes)
{
	char path[600];
	int err;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	err = file_read_u64(path, bytes);
	return err ? err : pfs_mul_u64(*bytes, PFS_VECTOR_SECTOR, bytes);
}

static int read_dev(const char *dir, uint32_t *dev)
{
	char path[600], text[32];
	unsigned int maj, min;
	int err;

	(void)snprintf(path, sizeof(path), "%s/dev", dir);
	err = file_read(path, text, sizeof(text));
	if (err)
		return err;
	if (sscanf(text, "%u:%u", &maj, &min) != 2)
		return -EBADMSG;
	*dev = maj << 20 | min;
	return 0;
}

static void add_part(struct disks *d, const char *dir, uint64_t start)
{
	struct disk_part *p = &d->part[d->n_parts];

	if (d->n_parts == DISKS_PARTS || read_dev(dir, &p->dev) ||
	    read_sectors(dir, "size", &p->len))
		return;
	p->start = start;
	p->disk = d->n;
	d->n_parts++;
}

static void add_parts(struct disks *d, const char *disk)
{
	DIR *dir = opendir(disk);
	struct dirent *e;
	uint64_t start;
	char path[560];

	if (!dir)
		return;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", disk, e->d_name);
		if (!read_sectors(path, "start", &start))
			add_part(d, path, start);
	}
	closedir(dir);
}

/* Optical drives and floppies have a device, too. */
static bool is_disk(const struct dirent *e)
{
	char path[300];

	if (e->d_name[0] == '.' || !strncmp(e->d_name, "sr", 2) ||
	    !strncmp(e->d_name, "fd", 2))
		return false;
	(void)snprintf(path, sizeof(path), SYS_BLOCK "/%s/device", e->d_name);
	return !access(path, F_OK);
}

/* vda comes before vdb, and vdz before vdaa. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	size_t la = strlen((*a)->d_name), lb = strlen((*b)->d_name);

	return la != lb ? (la < lb ? -1 : 1)
			: strcmp((*a)->d_name, (*b)->d_name);
}

int disks_scan(struct disks *d)
{
	struct dirent **names;
	int n = scandir(SYS_BLOCK, &names, NULL, by_name);

	if (n < 0)
		return -errno;
	memset(d, 0, sizeof(*d));
	for (int i = 0; i < n; i++) {
		char path[300];
		uint64_t bytes;

		(void)snprintf(path, sizeof(path), SYS_BLOCK "/%s",
			       names[i]->d_name);
		if (is_disk(names[i]) && d->n < PFS_VECTOR_DISKS &&
		    !read_sectors(path, "size", &bytes) && bytes) {
			d->bytes[d->n] = bytes;
			add_part(d, path, 0);
			add_parts(d, path);
			d->n++;
		}
		free(names[i]);
	}
	free(names);
	return 0;
}

const struct disk_part *disks_find(const struct disks *d, uint32_t dev)
{
	for (uint32_t i = 0; i < d->n_parts; i++) {
		if (d->part[i].dev == dev)
			return &d->part[i];
	}
	return NULL;
}
