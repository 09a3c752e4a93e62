/* SPDX-License-Identifier: GPL-3.0-or-later */
/** options.h - command line and configuration file of pfs-agent. */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include "link.h"

#define OPTIONS_CONFIG "/etc/pfs/agent.conf" /* read if it is there */

struct options {
	uint32_t interval_ms;
	uint32_t budget_ppm; /* of one CPU, in millionths */
	uint32_t unwanted;   /* enum pfs_signal */
	struct link_addr host;
	bool probe, once, json, help, version;
};

/** Defaults, then the file, then argv.  -EINVAL: why was logged. */
int options_read(struct options *o, int argc, char **argv) PFS_MUST_CHECK;
void options_help(void);

#endif
