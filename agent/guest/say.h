/* SPDX-License-Identifier: GPL-3.0-or-later */
/** say.h - vectors and signals for people and for scripts, on stdout. */
#ifndef AGENT_SAY_H
#define AGENT_SAY_H

#include "disks.h"
#include "probe.h"

void say_probe(const struct probe *p, const struct disks *d, bool json);
void say_vector(const struct pfs_vector *v, bool json);

#endif
