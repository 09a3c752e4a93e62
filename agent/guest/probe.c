/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "probe.h"

#include <string.h>

#include <pfs/log.h>

static uint32_t index_of(enum pfs_signal signal)
{
	return (uint32_t)__builtin_ctz((unsigned int)signal);
}

bool probe_wants(const struct probe *p, enum pfs_signal signal)
{
	return !(p->unwanted & signal);
}

void probe_found(struct probe *p, enum pfs_signal signal)
{
	p->has |= signal;
}

void probe_lost(struct probe *p, enum pfs_signal signal, const char *what,
		int err)
{
	uint32_t i = index_of(signal);

	p->has &= ~(uint32_t)signal;
	if (p->lost[i].what)
		return;
	p->lost[i].what = what;
	p->lost[i].err = err;
	if (!p->is_quiet)
		pfs_log(PFS_LOG_WARNING, "agent", "going on without %s: %s: %s",
			pfs_signal_name(i), what, strerror(-err));
}
