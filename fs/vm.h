/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/vm.h - who reads, as one number and as people know it.
 *
 * Until guests name themselves a VM is the process that has an image open: its
 * thread group and the time it started, mixed into one number, which is what
 * events, the predictor and recordings know.
 */
#ifndef PFS_FS_VM_H
#define PFS_FS_VM_H

#include "worker.h"

#define VM_COMMAND_LEN 16 /* as in /proc/PID/comm, with its NUL */

struct vm {
	uint64_t number;
	int32_t pid; /* 0: unknown, or it has no file open any more */
	char command[VM_COMMAND_LEN];
};

/** 0 for tgid 0: whoever that is. */
uint64_t vm_number(int32_t tgid, uint64_t start_time);

/** What is known now of a VM by its number. */
void vm_look_up(struct worker *w, uint64_t number, struct vm *out);
/** The VM that a user's word names: the pid of a process that has a file open,
 *  or the number in hexadecimal.  -ENOENT: no such process; -EINVAL. */
int vm_parse(struct worker *w, const char *word, uint64_t *out) PFS_MUST_CHECK;

#endif
