/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Figures another simulator of the same model has found for recorded sessions
 * (tests/traces): without prefetch only the model speaks. */
#include <pfs/sim.h>

#include <math.h>

#include <zlib.h>

#include "check.h"

static struct pfs_trace trace_of(const char *name)
{
	static char text[1 << 20];
	struct pfs_trace t = {0};
	char path[4096];
	const char *why;
	uint64_t line;
	gzFile f;
	int n;

	(void)snprintf(path, sizeof(path), "%s/%s.csv.gz", PFS_TRACES, name);
	f = gzopen(path, "rbe");
	CHECK(f != NULL);
	if (!f)
		return t;
	n = gzread(f, text, sizeof(text));
	CHECK(n > 0);
	CHECK_EQ(pfs_trace_parse(text, (size_t)n, &t, &line, &why), 0);
	CHECK_EQ(gzclose(f), 0);
	return t;
}

static struct pfs_sim_result gcc_2_after(const char *const *names, size_t n)
{
	struct pfs_sim_config cfg = {
		.chunk = 65536,
		.store_percent = 50,
		.is_closed_loop = true,
		.source_latency_us = 5000,
		.store_latency_us = 100,
		.source_mbps = 400,
	};
	struct pfs_trace train[4], test = trace_of("work_gcc_2");
	struct pfs_sim_result r = {0};

	for (size_t i = 0; i < n; i++)
		train[i] = trace_of(names[i]);
	CHECK_EQ(pfs_simulate(&cfg, train, n, &test, &r), 0);
	for (size_t i = 0; i < n; i++)
		pfs_trace_fini(&train[i]);
	pfs_trace_fini(&test);
	return r;
}

static const char *const names[] = {"boot_debian_1", "work_gcc_1",
				    "work_python_1", "work_sqlite_1"};

static void known_figures_after_four_sessions(void)
{
	struct pfs_sim_result r = gcc_2_after(names, 4);

	CHECK_EQ(r.chunk_reads, 1908);
	CHECK(fabs(r.coverage - 0.443) < 0.001);
	CHECK(fabs(r.traffic_ratio - 1.195) < 0.001);
	CHECK(fabs(r.mean_latency_us - 2921) < 1);
}

static void known_figures_after_two_sessions(void)
{
	struct pfs_sim_result r = gcc_2_after(names, 2);

	CHECK_EQ(r.chunk_reads, 1908);
	CHECK(fabs(r.coverage - 0.4397) < 0.0001);
	CHECK(fabs(r.traffic_ratio - 1.203) < 0.001);
	CHECK(fabs(r.mean_latency_us - 2948) < 1);
}

int main(void)
{
	RUN(known_figures_after_four_sessions);
	RUN(known_figures_after_two_sessions);
	return CHECK_RESULT();
}
