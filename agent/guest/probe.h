/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * probe.h - which signals there are, and why the others are not.
 *
 * Every source of signals says so here when it is opened and when it is lost
 * later; the agent goes on with what is left.
 */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H

#include <pfs/vector.h>

struct probe {
	uint32_t has;      /* enum pfs_signal */
	uint32_t unwanted; /* never looked for */
	struct {
		const char *what; /* that failed; a literal */
		int err;          /* -errno */
	} lost[PFS_SIGNALS];
	bool is_quiet; /* nothing is logged: the caller shows it all */
};

bool probe_wants(const struct probe *p, enum pfs_signal signal);
void probe_found(struct probe *p, enum pfs_signal signal);
/** Says so, once. */
void probe_lost(struct probe *p, enum pfs_signal signal, const char *what,
		int err);

#endif
