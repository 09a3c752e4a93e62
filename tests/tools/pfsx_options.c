// SPDX-License-Identifier: GPL-3.0-or-later
/* The command line of pfsx. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "pfsx.h"

#define DEFAULT_MIX                                                            \
	"read=60,write=30,trunc=2,punch=3,rename=1,fsync=2,fallocate=1,"       \
	"copy=1,ns=1"
#define DEFAULT_OPS 100000

static const char usage[] =
	"usage: pfsx [options] DIR\n"
	"  --images N --size BYTES --threads N   the load's shape (4, 64M, 8)\n"
	"  --ops N --seconds N --seed N          its length and sequence\n"
	"  --mix read=60,write=30,...            weights: read write trunc "
	"punch\n"
	"                                        rename fsync fallocate copy "
	"ns\n"
	"  --odirect PERCENT --block BYTES       how calls are made (0, 512)\n"
	"  --state FILE       expected state; kept, and gone on from if it is\n"
	"                     there (default: a temporary file)\n"
	"  --verify-only      check everything against the state file\n"
	"  --check power-cut  accept what fsync did not cover, once\n"
	"  --until-error      the first error ends the run and is expected\n"
	"  --ride-out SECONDS wait for a mount that is gone, then go on\n"
	"  --keep-going       do not stop at the first difference\n"
	"  --max-stall-ms N   fail if a call took longer\n"
	"  --hang SECONDS     a call longer than this ends the run (120)\n"
	"  --kill-cmd CMD --kill-every MS-MS --kills N\n"
	"                     run CMD at random intervals, until N succeeded\n"
	"  --namespace-ops    only create, mkdir, rename, unlink, rmdir\n"
	"  --interleave --points A,B,.. --fault-cmd CMD [--drop-cmd CMD]\n"
	"      [--rounds N]   the stale fill: for each point CMD "
	"'POINT:pause',\n"
	"                     CMD status (prints how many are paused), CMD "
	"resume\n"
	"      --ahead-cmd CMD  it is CMD 'FILE OFFSET' that makes the fetch "
	"begin,\n"
	"                     ahead of every reader\n"
	"  --no-fill          leave new images as holes\n"
	"  --plant FAULT      lie in pfsx's own calls: stale-read lost-write "
	"torn\n"
	"                     revert misplaced twice stale-size\n"
	"  --json --dump-ops\n";

/* clang-format off */
enum opt {
	O_IMAGES = 256, O_SIZE, O_THREADS, O_OPS, O_SECONDS, O_SEED, O_STATE,
	O_MIX, O_ODIRECT, O_BLOCK, O_VERIFY, O_CHECK, O_UNTIL, O_RIDE, O_KEEP,
	O_STALL, O_HANG, O_KILL_CMD, O_KILL_EVERY, O_KILLS, O_NS, O_INTERLEAVE,
	O_POINTS, O_FAULT, O_DROP, O_ROUNDS, O_NO_FILL, O_PLANT, O_JSON,
	O_DUMP, O_AHEAD, O_HELP
};
/* clang-format on */

static const struct option long_options[] = {
	{"images", 1, NULL, O_IMAGES},
	{"size", 1, NULL, O_SIZE},
	{"threads", 1, NULL, O_THREADS},
	{"ops", 1, NULL, O_OPS},
	{"seconds", 1, NULL, O_SECONDS},
	{"seed", 1, NULL, O_SEED},
	{"state", 1, NULL, O_STATE},
	{"mix", 1, NULL, O_MIX},
	{"odirect", 1, NULL, O_ODIRECT},
	{"block", 1, NULL, O_BLOCK},
	{"verify-only", 0, NULL, O_VERIFY},
	{"check", 1, NULL, O_CHECK},
	{"until-error", 0, NULL, O_UNTIL},
	{"ride-out", 1, NULL, O_RIDE},
	{"keep-going", 0, NULL, O_KEEP},
	{"max-stall-ms", 1, NULL, O_STALL},
	{"hang", 1, NULL, O_HANG},
	{"kill-cmd", 1, NULL, O_KILL_CMD},
	{"kill-every", 1, NULL, O_KILL_EVERY},
	{"kills", 1, NULL, O_KILLS},
	{"namespace-ops", 0, NULL, O_NS},
	{"interleave", 0, NULL, O_INTERLEAVE},
	{"points", 1, NULL, O_POINTS},
	{"fault-cmd", 1, NULL, O_FAULT},
	{"drop-cmd", 1, NULL, O_DROP},
	{"ahead-cmd", 1, NULL, O_AHEAD},
	{"rounds", 1, NULL, O_ROUNDS},
	{"no-fill", 0, NULL, O_NO_FILL},
	{"plant", 1, NULL, O_PLANT},
	{"json", 0, NULL, O_JSON},
	{"dump-ops", 0, NULL, O_DUMP},
	{"help", 0, NULL, O_HELP},
	{0},
};

/* ---- options ---- */

void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "pfsx: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(2);
}

/* A number with an optional K, M or G. */
static uint64_t number(const char *name, const char *text, uint64_t min,
		       uint64_t max)
{
	static const char units[] = "KMG";
	char *end;
	unsigned long long n = strtoull(text, &end, 0);
	const char *unit = *end ? strchr(units, *end) : NULL;

	if (unit) {
		n <<= 10 * (unit - units + 1);
		end++;
	}
	if (end == text || *end || *text == '-' || n < min || n > max)
		die("--%s %s: a number from %llu to %llu", name, text,
		    (unsigned long long)min, (unsigned long long)max);
	return n;
}

static enum plant parse_plant(const char *name)
{
	for (int i = 0; i < PLANT_KINDS; i++)
		if (!strcmp(plant_names[i], name))
			return (enum plant)i;
	die("--plant %s: no such fault", name);
}

static void parse_interval(struct options *o, const char *text)
{
	if (sscanf(text, "%u-%u", &o->kill_min_ms, &o->kill_max_ms) != 2 ||
	    o->kill_min_ms > o->kill_max_ms || o->kill_max_ms > 3600000)
		die("--kill-every %s: MS-MS", text);
}

static void parse_mix(struct options *o, const char *text)
{
	if (mix_parse(text, &o->mix))
		die("--mix %s: KIND=WEIGHT,...", text);
}

static void parse_check(struct options *o, const char *text)
{
	if (strcmp(text, "power-cut") != 0)
		die("--check %s: only power-cut", text);
	o->power_cut = true;
}

/* clang-format off */
static void set_option(struct options *o, int c, const char *name,
		       const char *arg)
{
#define NUMBER(min, max) number(name, arg, min, max)
	switch (c) {
	case O_IMAGES: o->images = (uint32_t)NUMBER(1, MAX_IMAGES); break;
	case O_SIZE: o->size = NUMBER(65536, 1ull << 40); break;
	case O_THREADS: o->threads = (unsigned)NUMBER(1, MAX_THREADS); break;
	case O_OPS: o->ops = NUMBER(1, UINT64_MAX); break;
	case O_SECONDS: o->seconds = (unsigned)NUMBER(1, 1000000); break;
	case O_SEED: o->seed = NUMBER(0, UINT64_MAX); break;
	case O_STATE: o->state_path = arg; break;
	case O_MIX: parse_mix(o, arg); break;
	case O_ODIRECT: o->odirect = (unsigned)NUMBER(0, 100); break;
	case O_BLOCK: o->block = NUMBER(SECTOR, MAX_IO); break;
	case O_VERIFY: o->verify_only = true; break;
	case O_CHECK: parse_check(o, arg); break;
	case O_UNTIL: o->until_error = true; break;
	case O_RIDE: o->ride_out_s = (unsigned)NUMBER(1, 3600); break;
	case O_KEEP: o->keep_going = true; break;
	case O_STALL: o->max_stall_ms = (unsigned)NUMBER(1, 1000000); break;
	case O_HANG: o->hang_s = (unsigned)NUMBER(1, 100000); break;
	case O_KILL_CMD: o->kill_cmd = arg; break;
	case O_KILL_EVERY: parse_interval(o, arg); break;
	case O_KILLS: o->kills = (unsigned)NUMBER(1, 1000000); break;
	case O_NS: o->namespace_only = true; break;
	case O_INTERLEAVE: o->interleave = true; break;
	case O_POINTS: o->points = arg; break;
	case O_FAULT: o->fault_cmd = arg; break;
	case O_DROP: o->drop_cmd = arg; break;
	case O_AHEAD: o->ahead_cmd = arg; break;
	case O_ROUNDS: o->rounds = (unsigned)NUMBER(1, 10000); break;
	case O_NO_FILL: o->no_fill = true; break;
	case O_PLANT: o->plant = parse_plant(arg); break;
	case O_JSON: o->json = true; break;
	case O_DUMP: o->dump_ops = true; break;
	case O_HELP: fputs(usage, stdout); exit(0);
	default: fputs(usage, stderr); exit(2);
	}
#undef NUMBER
}
/* clang-format on */

static uint64_t random_seed(void)
{
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = now_ns();
	return seed & 0xffffffff; /* short enough to type */
}

static void check_options(struct options *o)
{
	if (o->block % SECTOR || (o->block & (o->block - 1)))
		die("--block: a power of two from 512");
	o->size -= o->size % o->block;
	if (!o->size)
		die("--size: at least one block");
	if (o->power_cut && !o->verify_only)
		die("--check power-cut needs --verify-only");
	if (o->verify_only && !o->state_path)
		die("--verify-only needs --state");
	if (o->interleave && (!o->points || !o->fault_cmd))
		die("--interleave needs --points and --fault-cmd");
	if (o->kill_cmd && !o->seconds)
		o->seconds = 60 + o->kills * (o->kill_max_ms + 100) / 300;
	if (!o->ops && !o->seconds)
		o->ops = DEFAULT_OPS;
}

void options_parse(int argc, char **argv, struct options *o)
{
	int c, at = 0;

	*o = (struct options){.images = 4,
			      .threads = 8,
			      .size = 64 << 20,
			      .seed = random_seed(),
			      .block = SECTOR,
			      .hang_s = 120,
			      .rounds = 5,
			      .kill_min_ms = 50,
			      .kill_max_ms = 200};
	if (mix_parse(DEFAULT_MIX, &o->mix))
		die("the default mix is wrong");
	while ((c = getopt_long(argc, argv, "", long_options, &at)) != -1)
		set_option(o, c, c >= O_IMAGES ? long_options[at].name : "",
			   optarg);
	if (optind + 1 != argc && !o->dump_ops)
		die("one DIR is needed; see --help");
	o->dir = argv[optind];
	check_options(o);
}
