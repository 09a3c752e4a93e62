/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "counts.h"

#include <stdio.h>
#include <string.h>

#include "file.h"

#define VMSTAT "/proc/vmstat"
#define DISKSTATS "/proc/diskstats"
#define PRESSURE_IO "/proc/pressure/io"
#define PRESSURE_MEMORY "/proc/pressure/memory"

/* Lines of /proc/vmstat and where they add up.  Kernels before 5.9 count file
 * and anonymous refaults together. */
static const struct {
	const char *name;
	size_t at;
} vmstat_lines[] = {
	{"pgfault", offsetof(struct pfs_activity, faults)},
	{"pgmajfault", offsetof(struct pfs_activity, major_faults)},
	{"workingset_refault", offsetof(struct pfs_activity, refaults)},
	{"workingset_refault_anon", offsetof(struct pfs_activity, refaults)},
	{"workingset_refault_file", offsetof(struct pfs_activity, refaults)},
	{"pgsteal_kswapd", offsetof(struct pfs_activity, reclaimed)},
	{"pgsteal_direct", offsetof(struct pfs_activity, reclaimed)},
	{"pswpin", offsetof(struct pfs_activity, swapped)},
	{"pswpout", offsetof(struct pfs_activity, swapped)},
};

static void take_vmstat_line(const char *line, struct pfs_activity *out)
{
	size_t len = strcspn(line, " ");

	for (size_t i = 0; i < PFS_ARRAY_SIZE(vmstat_lines); i++) {
		const char *name = vmstat_lines[i].name;

		if (strlen(name) == len && !memcmp(name, line, len)) {
			uint64_t *to =
				(uint64_t *)((char *)out + vmstat_lines[i].at);

			*to += strtoull(line + len, NULL, 10);
			return;
		}
	}
}

static void take_vmstat(const char *text, struct pfs_activity *out)
{
	while (*text) {
		/* All wanted lines start so: most others are passed over. */
		if (*text == 'p' || *text == 'w')
			take_vmstat_line(text, out);
		text = strchrnul(text, '\n');
		text += *text == '\n';
	}
}

/* major minor name reads merged sectors ms writes merged sectors ... */
static void take_disk(const char *line, const struct disks *d,
		      struct pfs_activity *out)
{
	unsigned long long reads, read_sectors, writes, write_sectors;
	const struct disk_part *part;
	unsigned int maj, min;

	if (sscanf(line, "%u %u %*s %llu %*u %llu %*u %llu %*u %llu", &maj,
		   &min, &reads, &read_sectors, &writes, &write_sectors) != 6)
		return;
	part = disks_find(d, maj << 20 | min);
	if (!part || part->start || part->len != d->bytes[part->disk])
		return;
	out->reads += reads;
	out->writes += writes;
	out->read_bytes += read_sectors * PFS_VECTOR_SECTOR;
	out->write_bytes += write_sectors * PFS_VECTOR_SECTOR;
}

static void take_diskstats(const char *text, const struct disks *d,
			   struct pfs_activity *out)
{
	while (*text) {
		take_disk(text, d, out);
		text = strchrnul(text, '\n');
		text += *text == '\n';
	}
}

/* some avg10=0.00 avg60=0.00 avg300=0.00 total=0 */
static int read_pressure(const char *path, uint64_t *us)
{
	char text[256], *total;
	int err = file_read(path, text, sizeof(text));

	if (err)
		return err;
	total = strstr(text, "total=");
	if (!total)
		return -EBADMSG;
	*us = strtoull(total + strlen("total="), NULL, 10);
	return 0;
}

static void read_pressures(struct probe *p, struct pfs_activity *out)
{
	int err = read_pressure(PRESSURE_IO, &out->stall_io_us);

	if (!err)
		err = read_pressure(PRESSURE_MEMORY, &out->stall_memory_us);
	if (err)
		probe_lost(p, PFS_SIGNAL_PRESSURE, "/proc/pressure", err);
	else
		probe_found(p, PFS_SIGNAL_PRESSURE);
}

/* A source that could not be read once is not tried again. */
static bool is_open(const struct probe *p, enum pfs_signal signal)
{
	uint32_t i = (uint32_t)__builtin_ctz((unsigned int)signal);

	return probe_wants(p, signal) && !p->lost[i].what;
}

void counts_read(struct probe *p, const struct disks *d, uint64_t now_ns,
		 struct pfs_activity *out)
{
	static char text[32768]; /* 300 lines of vmstat, 250 of diskstats */
	int err;

	*out = (struct pfs_activity){.time_ns = now_ns};
	if (is_open(p, PFS_SIGNAL_VMSTAT)) {
		err = file_read(VMSTAT, text, sizeof(text));
		if (err) {
			probe_lost(p, PFS_SIGNAL_VMSTAT, VMSTAT, err);
		} else {
			take_vmstat(text, out);
			probe_found(p, PFS_SIGNAL_VMSTAT);
		}
	}
	if (is_open(p, PFS_SIGNAL_DISKSTATS)) {
		err = file_read(DISKSTATS, text, sizeof(text));
		if (err) {
			probe_lost(p, PFS_SIGNAL_DISKSTATS, DISKSTATS, err);
		} else {
			take_diskstats(text, d, out);
			probe_found(p, PFS_SIGNAL_DISKSTATS);
		}
	}
	if (is_open(p, PFS_SIGNAL_PRESSURE))
		read_pressures(p, out);
}
