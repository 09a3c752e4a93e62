/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * reexec.c - a supervisor that becomes another binary.
 *
 * The pid stays, and with it the children; descriptors stay open at their
 * numbers, which are written to a memfd together with the options.  A binary
 * that cannot read the table goes back to the one it came from: the first
 * fields are the same in every version.
 */
#include "supervisor.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <pfs/log.h>

#define TABLE_MAGIC 0x7066732d74616231ull
#define TABLE_VERSION 1

struct table {
	/* --- of every version --- */
	uint64_t magic;
	uint32_t version;
	int32_t origin_fd; /* binary that wrote this */
	/* --- version 1 --- */
	uint32_t len;
	char mount_id[17];
	int root_fd, dev_fd, listen_fd, state_fd, exe_fd, old_exe_fd;
	int claim_fd[CLAIM_N];
	uint32_t n_clones;
	int clone_fd[WORKER_MAX_LANES];
	struct child worker;
	uint32_t n_faults, n_faults_in_row;
	uint64_t backoff_ns;
	uint64_t fault_ns[SUPERVISOR_FAULTS];
	int kept[STATE_FD_SLOTS];
	char options[PROTO_MAX];
};

static int fill(struct table *t, const struct supervisor *s, int origin_fd)
{
	PFS_AUTO_FREE char *text = NULL;
	int err = options_pack(&s->opt, &text);

	if (err)
		return err;
	if (strlen(text) >= sizeof(t->options))
		return -E2BIG;
	*t = (struct table){
		.magic = TABLE_MAGIC,
		.version = TABLE_VERSION,
		.origin_fd = origin_fd,
		.len = sizeof(*t),
		.root_fd = s->root_fd,
		.dev_fd = s->dev_fd,
		.listen_fd = s->listen_fd,
		.state_fd = s->state_fd,
		.exe_fd = s->exe_fd,
		.old_exe_fd = s->old_exe_fd,
		.n_clones = s->n_clones,
		.worker = s->worker,
		.n_faults = s->n_faults,
		.n_faults_in_row = s->n_faults_in_row,
		.backoff_ns = s->backoff_ns,
	};
	strcpy(t->mount_id, s->mount_id);
	strcpy(t->options, text);
	memcpy(t->claim_fd, s->claim_fd, sizeof(t->claim_fd));
	memcpy(t->clone_fd, s->clone_fd, sizeof(t->clone_fd));
	memcpy(t->fault_ns, s->fault_ns, sizeof(t->fault_ns));
	memcpy(t->kept, s->kept, sizeof(t->kept));
	return 0;
}

static void set_cloexec(int fd, bool on)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

/* Every descriptor that is in the table. */
static void set_cloexec_all(const struct table *t, bool on)
{
	const int single[] = {t->origin_fd,    t->root_fd,      t->dev_fd,
			      t->listen_fd,    t->state_fd,     t->exe_fd,
			      t->old_exe_fd,   t->worker.pidfd, t->worker.sock,
			      t->worker.log_fd};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(single); i++)
		set_cloexec(single[i], on);
	for (size_t i = 0; i < CLAIM_N; i++)
		set_cloexec(t->claim_fd[i], on);
	for (uint32_t i = 0; i < t->n_clones; i++)
		set_cloexec(t->clone_fd[i], on);
	for (size_t i = 0; i < STATE_FD_SLOTS; i++)
		set_cloexec(t->kept[i], on);
}

static void run_binary(int exe_fd, int table_fd, bool is_returned)
{
	extern char **environ;
	char fd_arg[32];
	char *argv[] = {(char *)"pfs", fd_arg,
			is_returned ? (char *)"--returned" : NULL, NULL};

	(void)snprintf(fd_arg, sizeof(fd_arg), "--supervisor=%d", table_fd);
	set_cloexec(table_fd, false);
	execveat(exe_fd, "", argv, environ, AT_EMPTY_PATH);
	pfs_log(PFS_LOG_ERROR, "supervisor", "exec of the other binary: %s",
		strerror(errno));
	set_cloexec(table_fd, true);
}

static int write_table(const struct table *t, int *out_fd)
{
	PFS_AUTO_FD fd = memfd_create("pfs-table", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (pwrite(fd, t, sizeof(*t), 0) != (ssize_t)sizeof(*t))
		return -EIO;
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

int reexec_into(struct supervisor *s, int exe_fd)
{
	PFS_AUTO_FREE struct table *t = calloc(1, sizeof(*t));
	PFS_AUTO_FD origin = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	PFS_AUTO_FD table_fd = -1;
	int err = t && origin >= 0 ? 0 : -ENOMEM;

	if (!err)
		err = fill(t, s, origin);
	if (!err)
		err = write_table(t, &table_fd);
	if (err)
		return pfs_log_fail(err, "supervisor", "table for re-exec");
	set_cloexec_all(t, false);
	run_binary(exe_fd, table_fd, false);
	set_cloexec_all(t, true);
	return -ENOEXEC;
}

int reexec_origin(int table_fd)
{
	struct table t;
	size_t head = offsetof(struct table, len);

	if (pread(table_fd, &t, head, 0) != (ssize_t)head ||
	    t.magic != TABLE_MAGIC)
		return -1;
	return t.origin_fd;
}

void reexec_return(int table_fd)
{
	int origin = reexec_origin(table_fd);

	if (origin >= 0)
		run_binary(origin, table_fd, true);
}

static int take(struct supervisor *s, const struct table *t)
{
	int err = options_unpack(t->options, &s->opt);

	if (err)
		return err;
	strcpy(s->mount_id, t->mount_id);
	s->root_fd = t->root_fd;
	s->dev_fd = t->dev_fd;
	s->listen_fd = t->listen_fd;
	s->state_fd = t->state_fd;
	s->exe_fd = t->exe_fd;
	s->old_exe_fd = t->old_exe_fd;
	s->n_clones = t->n_clones;
	s->worker = t->worker;
	s->n_faults = t->n_faults;
	s->n_faults_in_row = t->n_faults_in_row;
	s->backoff_ns = t->backoff_ns;
	memcpy(s->claim_fd, t->claim_fd, sizeof(s->claim_fd));
	memcpy(s->clone_fd, t->clone_fd, sizeof(s->clone_fd));
	memcpy(s->fault_ns, t->fault_ns, sizeof(s->fault_ns));
	memcpy(s->kept, t->kept, sizeof(s->kept));
	s->is_up = true;
	return state_map_header(s->state_fd, &s->state);
}

int reexec_take(struct supervisor *s, int table_fd)
{
	PFS_AUTO_FREE struct table *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	if (pread(table_fd, t, sizeof(*t), 0) != (ssize_t)sizeof(*t) ||
	    t->magic != TABLE_MAGIC || t->version != TABLE_VERSION ||
	    t->len != sizeof(*t))
		return -EPROTO;
	err = take(s, t);
	if (err)
		return err;
	set_cloexec_all(t, true);
	/* Not needed any more, unlike all the others. */
	close(t->origin_fd);
	close(table_fd);
	return 0;
}
