/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "say.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <pfs/features.h>

/* --- signals --- */

static bool has(const struct probe *p, uint32_t i)
{
	return p->has >> i & 1;
}

static void say_signal(const struct probe *p, uint32_t i)
{
	const char *name = pfs_signal_name(i);

	if (has(p, i))
		printf("%-11s yes\n", name);
	else if (p->lost[i].what)
		printf("%-11s no   %s: %s\n", name, p->lost[i].what,
		       strerror(-p->lost[i].err));
	else
		printf("%-11s no   not wanted\n", name);
}

/* Names of system calls and files, and errors: nothing that needs escapes. */
static void say_signal_json(const struct probe *p, uint32_t i)
{
	printf("%s\"%s\":{\"available\":%s", i ? "," : "", pfs_signal_name(i),
	       has(p, i) ? "true" : "false");
	if (!has(p, i) && p->lost[i].what)
		printf(",\"why\":\"%s: %s\"", p->lost[i].what,
		       strerror(-p->lost[i].err));
	printf("}");
}

void say_probe(const struct probe *p, const struct disks *d, bool json)
{
	if (json)
		printf("{\"signals\":{");
	for (uint32_t i = 0; i < PFS_SIGNALS; i++)
		(json ? say_signal_json : say_signal)(p, i);
	if (json)
		printf("},\"disks\":[");
	for (uint32_t i = 0; i < d->n; i++)
		printf(json ? "%s%" PRIu64 : "%s%" PRIu64 " bytes\n",
		       json ? (i ? "," : "") : "disk        ", d->bytes[i]);
	if (json)
		printf("]}\n");
}

/* --- vectors --- */

static double q16(uint32_t q)
{
	return (double)q / PFS_Q16_ONE;
}

static void say_feature(const struct pfs_vector *v, enum pfs_feature i)
{
	const struct pfs_feature_info *info = &pfs_feature_info[i];
	uint32_t q = v->feature[i];

	if (info->range == PFS_FEATURE_SHARE)
		printf("%-14s %9.1f %%  %s\n", info->name, 100 * q16(q),
		       info->help);
	else if (info->range == PFS_FEATURE_STEPS)
		printf("%-14s %9.0f    %s\n", info->name, q16(q), info->help);
	else
		printf("%-14s %9" PRIu64 "    %s\n", info->name,
		       pfs_q16_exp2(q), info->help);
}

static void say_words(const struct pfs_vector *v)
{
	printf("pattern        %s, of %u samples in %u ms\n",
	       pfs_pattern_name(pfs_features_pattern(v->feature)), v->n_samples,
	       v->interval_ms);
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		say_feature(v, i);
	for (uint32_t i = 0; i < v->n_extents; i++) {
		const struct pfs_vector_extent *e = &v->extent[i];

		printf("extent         disk %u at %" PRIu64
		       ", %u bytes: %s, %u ms ago\n",
		       e->disk, e->off, e->len, pfs_extent_kind_name(e->kind),
		       e->age_ms);
	}
}

static void say_features_json(const struct pfs_vector *v)
{
	printf(",\"features\":{");
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		printf("%s\"%s\":%.5f", i ? "," : "", pfs_feature_info[i].name,
		       q16(v->feature[i]));
	printf("}");
}

static void say_extents_json(const struct pfs_vector *v)
{
	printf(",\"extents\":[");
	for (uint32_t i = 0; i < v->n_extents; i++) {
		const struct pfs_vector_extent *e = &v->extent[i];

		printf("%s{\"disk\":%u,\"offset\":%" PRIu64
		       ",\"length\":%u,\"kind\":\"%s\",\"age_ms\":%u}",
		       i ? "," : "", e->disk, e->off, e->len,
		       pfs_extent_kind_name(e->kind), e->age_ms);
	}
	printf("]");
}

static void say_json(const struct pfs_vector *v)
{
	bool is_first = true;

	printf("{\"sequence\":%" PRIu64 ",\"time_ns\":%" PRIu64
	       ",\"interval_ms\":%u,\"early\":%s,\"lost\":%s,\"samples\":%u,"
	       "\"pattern\":\"%s\",\"signals\":[",
	       v->seq, v->time_ns, v->interval_ms,
	       v->flags & PFS_VECTOR_EARLY ? "true" : "false",
	       v->flags & PFS_VECTOR_LOST ? "true" : "false", v->n_samples,
	       pfs_pattern_name(pfs_features_pattern(v->feature)));
	for (uint32_t i = 0; i < PFS_SIGNALS; i++) {
		if (!(v->signals >> i & 1))
			continue;
		printf("%s\"%s\"", is_first ? "" : ",", pfs_signal_name(i));
		is_first = false;
	}
	printf("],\"disks\":[");
	for (uint32_t i = 0; i < v->n_disks; i++)
		printf("%s%" PRIu64, i ? "," : "", v->disk_bytes[i]);
	printf("]");
	say_features_json(v);
	say_extents_json(v);
	printf("}\n");
}

void say_vector(const struct pfs_vector *v, bool json)
{
	(json ? say_json : say_words)(v);
	(void)fflush(stdout);
}
