/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vm.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <pfs/hash.h>

#include "reader.h"

#define NUMBER_DIGITS 16

uint64_t vm_number(int32_t tgid, uint64_t start_time)
{
	return tgid ? pfs_mix64((uint64_t)tgid ^ pfs_mix64(start_time)) : 0;
}

/* The row of an open file whose reader has this number, or this pid.  The
 * first free row of serial 0 ends the part of the table in use; a row that is
 * being filled is its opener's, who does not hold the lock. */
static const struct state_handle *find_locked(const struct worker *w,
					      uint64_t number, int32_t pid)
	PFS_REQUIRES(w->mount_lock)
{
	for (uint32_t i = 0; i < STATE_MAX_HANDLES; i++) {
		const struct state_handle *h = &w->state->handle[i];
		uint32_t use = h->use;

		if (use == STATE_FREE && !h->serial)
			break;
		if (use != STATE_USED || !h->tgid)
			continue;
		if (pid ? h->tgid == pid
			: vm_number(h->tgid, h->start_time) == number)
			return h;
	}
	return NULL;
}

static bool find(struct worker *w, uint64_t number, int32_t pid,
		 struct state_handle *out)
{
	const struct state_handle *h;

	pfs_mutex_lock(&w->mount_lock);
	h = find_locked(w, number, pid);
	if (h) {
		out->tgid = h->tgid;
		out->start_time = h->start_time;
	}
	pfs_mutex_unlock(&w->mount_lock);
	return h;
}

static void read_command(int32_t pid, char out[VM_COMMAND_LEN])
{
	char path[32];
	PFS_AUTO_FD fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, out, VM_COMMAND_LEN - 1);
	out[PFS_MAX(n, 0)] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

void vm_look_up(struct worker *w, uint64_t number, struct vm *out)
{
	struct state_handle h;
	struct reader now;

	*out = (struct vm){.number = number};
	if (!number || !find(w, number, 0, &h))
		return;
	/* A pid is used again: it must be the process that opened. */
	reader_of(h.tgid, &now);
	if (now.start_time != h.start_time)
		return;
	out->pid = h.tgid;
	read_command(h.tgid, out->command);
}

int vm_parse(struct worker *w, const char *word, uint64_t *out)
{
	struct state_handle h;
	uint64_t number;
	char *end;

	if (strlen(word) == NUMBER_DIGITS) {
		number = strtoull(word, &end, 16);
		if (*end || !number)
			return -EINVAL;
		*out = number;
		return 0;
	}
	errno = 0;
	number = strtoull(word, &end, 10);
	if (errno || *end || !number || number > INT32_MAX || word[0] == '-')
		return -EINVAL;
	if (!find(w, 0, (int32_t)number, &h))
		return -ENOENT;
	*out = vm_number(h.tgid, h.start_time);
	return 0;
}
