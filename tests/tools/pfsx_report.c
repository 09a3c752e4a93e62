// SPDX-License-Identifier: GPL-3.0-or-later
/* What a run comes to, and what it would do. */
#include <string.h>

#include "pfsx.h"

struct totals {
	uint64_t done[OP_KINDS];
	uint64_t ops, read, written;
	uint64_t sec_data, sec_zero, sec_mixed, sec_overlapping;
};

static void add_up(const struct worker *w, unsigned n, struct totals *t)
{
	memset(t, 0, sizeof(*t));
	for (unsigned i = 0; i < n; i++) {
		t->read += w[i].bytes_read;
		t->written += w[i].bytes_written;
		t->sec_data += w[i].sec_data;
		t->sec_zero += w[i].sec_zero;
		t->sec_mixed += w[i].sec_mixed;
		t->sec_overlapping += w[i].sec_overlapping;
		for (int k = 0; k < OP_KINDS; k++) {
			t->done[k] += w[i].done[k];
			t->ops += w[i].done[k];
		}
	}
}

static bool stalled(const struct pfsx *px)
{
	return px->o.max_stall_ms &&
	       px->worst_ns > px->o.max_stall_ms * 1000000ull;
}

/* An interleaving whose point was not reached tested nothing. */
bool run_passed(const struct pfsx *px)
{
	return !px->diffs && !px->errors && !stalled(px) && !px->il_unreached;
}

static void print_value(bool json, const char *name, double value)
{
	if (json)
		printf(", \"%s\": %.15g", name, value);
	else
		printf(" %s=%.10g", name, value);
}

/* One list of what is reported, for both forms. */
static void print_values(const struct pfsx *px, const struct totals *t,
			 double seconds)
{
	const struct {
		const char *name;
		double value;
	} values[] = {
		{"ops", (double)t->ops},
		{"differences", (double)px->diffs},
		{"wrong_bytes", (double)px->bad_bytes},
		{"errors", (double)px->errors},
		{"worst_stall_ms", (double)px->worst_ns / 1e6},
		{"seconds", seconds},
		{"read_bytes", (double)t->read},
		{"written_bytes", (double)t->written},
		{"sectors_data", (double)t->sec_data},
		{"sectors_zero", (double)t->sec_zero},
		{"sectors_mixed", (double)t->sec_mixed},
		{"sectors_overlapping", (double)t->sec_overlapping},
		{"kills", px->kills_done},
		{"kill_failures", px->kills_failed},
		{"outages", (double)px->outages},
		{"worst_outage_ms", (double)px->worst_outage_ns / 1e6},
		{"interleavings", px->il_done},
		{"unreached", px->il_unreached},
		{"mutation_waited", px->il_blocked},
		{"stale_bytes", (double)px->il_stale_bytes},
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		print_value(px->o.json, values[i].name, values[i].value);
	for (int k = 0; k < OP_KINDS; k++)
		print_value(px->o.json, op_names[k], (double)t->done[k]);
}

void run_report(const struct pfsx *px, const struct worker *w, unsigned n,
		double seconds)
{
	const char *result = run_passed(px) ? "PASS" : "FAIL";
	unsigned long long seed = px->o.seed;
	struct totals t;

	add_up(w, n, &t);
	if (px->o.json)
		printf("{\"result\": \"%s\", \"seed\": %llu, \"run\": %u, "
		       "\"cut\": %s, \"worst_stall\": \"%s\"",
		       result, seed, px->run, px->cut ? "true" : "false",
		       px->worst);
	else
		printf("pfsx: %s seed=%llu run=%u%s", result, seed, px->run,
		       px->cut ? " cut" : "");
	print_values(px, &t, seconds);
	if (px->o.json)
		printf("}\n");
	else
		printf(" worst_stall=(%s)\n", px->worst);
	if (stalled(px))
		fprintf(stderr, "pfsx: STALL: %.1f ms, allowed %u ms\n",
			(double)px->worst_ns / 1e6, px->o.max_stall_ms);
	if (px->il_unreached)
		fprintf(stderr,
			"pfsx: UNREACHED: %u interleavings did not "
			"pause\n",
			px->il_unreached);
}

void ops_dump(const struct options *o)
{
	struct gen g;
	struct op op;

	for (unsigned t = 0; t < o->threads; t++) {
		uint64_t n = o->ops / o->threads + (t < o->ops % o->threads);

		gen_init(&g, o, t, 0);
		for (uint64_t i = 0; i < n; i++) {
			gen_next(&g, o, &op);
			printf("%u %llu %s image=%u off=%llu len=%llu "
			       "arg=%08x%s\n",
			       t, (unsigned long long)i, op_names[op.kind],
			       op.image, (unsigned long long)op.off,
			       (unsigned long long)op.len, op.arg,
			       op.direct ? " direct" : "");
		}
	}
}
