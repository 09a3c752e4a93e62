/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control_tell.h - parts of answers that several verbs have.
 */
#ifndef PFS_FS_CONTROL_TELL_H
#define PFS_FS_CONTROL_TELL_H

#include "control_verbs.h"

/** Who a VM is: "vm", and "pid" and "command" while it has a file open. */
void control_tell_vm(struct worker *w, uint64_t vm, struct pfs_json *o);
/** Settings of the predictor in force. */
struct pfs_json *control_tell_settings(struct worker *w);

#endif
