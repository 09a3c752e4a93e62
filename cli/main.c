/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pfsctl: the command line. */
#include "cli.h"

#include <getopt.h>
#include <locale.h>
#include <string.h>

enum option_bit {
	OPT_MOUNT = 1 << 0,
	OPT_JSON = 1 << 1,
	OPT_ALL = 1 << 2,
	OPT_SKIPPED = 1 << 3,
	OPT_SUPERVISOR = 1 << 4,
	OPT_STORE = 1 << 5,
	OPT_CATALOG = 1 << 6,
	OPT_FORCE = 1 << 7,
	OPT_SIMULATE = 1 << 8, /* those that simulate alone takes */
	OPT_RECORDING = 1 << 9,
	OPT_WAIT = 1 << 10,
	OPT_VM = 1 << 11,
	OPT_OUTPUT = 1 << 12,
	OPT_SECONDS = 1 << 13,
	OPT_COMMON = OPT_MOUNT | OPT_JSON,
};

static const struct option_help {
	unsigned int bit;
	const char *name, *text;
} option_help[] = {
	{OPT_MOUNT, "-m, --mount MOUNTPOINT", "which mount; needless with one"},
	{OPT_JSON, "--json", "print JSON: bytes, seconds and counts exactly"},
	{OPT_ALL, "--all", "all there are"},
	{OPT_SKIPPED, "--skipped", "files that are not served, and why"},
	{OPT_SUPERVISOR, "--supervisor", "replace the supervisor too"},
	{OPT_FORCE, "--force", "cut off what is open"},
	{OPT_RECORDING, "--recording", "what earlier sessions read, not all"},
	{OPT_WAIT, "--wait", "until it is done, with progress"},
	{OPT_VM, "--vm VM", "a process, or a number of stats"},
	{OPT_OUTPUT, "-o, --output FILE", "write to this file"},
	{OPT_SECONDS, "--seconds N", "end after so long"},
	{OPT_STORE, "--store FILE", "the store: file, folder or device"},
	{OPT_CATALOG, "--catalog FILE", "the catalog's database file"},
	{OPT_SIMULATE, "--train TRACE", "a session before; may be repeated"},
	{OPT_SIMULATE, "--test TRACE", "the session that is measured"},
	{OPT_SIMULATE, "--predictor NAME",
	 "one row each; default: none and auto"},
	{OPT_SIMULATE, "--without NAME", "auto without this proposer"},
	{OPT_SIMULATE, "--chunk BYTES", "16K to 1M, default 64K"},
	{OPT_SIMULATE, "--store-percent P",
	 "of the chunks in all traces, default 50"},
	{OPT_SIMULATE, "--store-bytes N", "size of the store instead"},
	{OPT_SIMULATE, "--store-policy NAME", "lru (default) or daemon"},
	{OPT_SIMULATE, "--keep-store", "do not empty it between sessions"},
	{OPT_SIMULATE, "--source-latency-us N", "default 5000"},
	{OPT_SIMULATE, "--store-latency-us N", "default 100"},
	{OPT_SIMULATE, "--source-mbps N", "10^6 bytes/s, default 400"},
	{OPT_SIMULATE, "--closed-loop", "a late answer delays what follows"},
	{OPT_SIMULATE, "--seed N", "of whatever is random, default 1"},
};

static const struct verb {
	const char *name, *args, *brief;
	const char *help; /* more lines, at most 79 columns; or NULL */
	int min_args, max_args;
	unsigned int options;
	bool is_hostwide; /* no mount is chosen beforehand */
	bool is_hidden;
	int (*run)(struct cli *cli);
} verbs[] = {
	{
		.name = "status",
		.args = "",
		.brief = "what is mounted, by whom, and how it is",
		.help = "Health and sizes of store and catalog, options, pids.",
		.options = OPT_COMMON,
		.run = verb_status,
	},
	{
		.name = "stats",
		.args = "[IMAGE]",
		.brief = "counters; what images and VMs have to do with them",
		.help = "Counters grow from the mount on, across workers; what "
			"is told of an IMAGE or\na VM is since the worker's "
			"start.",
		.max_args = 1,
		.options = OPT_COMMON | OPT_VM,
		.run = verb_stats,
	},
	{
		.name = "images",
		.args = "",
		.brief = "images known, and what is resident of them",
		.help = "Reads and hits are counted since it was opened.",
		.options = OPT_COMMON | OPT_SKIPPED,
		.run = verb_images,
	},
	{
		.name = "map",
		.args = "IMAGE",
		.brief = "which parts of an image are resident",
		.help = "IMAGE is a path below the mountpoint.",
		.min_args = 1,
		.max_args = 1,
		.options = OPT_COMMON,
		.run = verb_map,
	},
	{
		.name = "drop",
		.args = "IMAGE|--all",
		.brief = "forget what is resident, keep what is learnt",
		.max_args = 1,
		.options = OPT_COMMON | OPT_ALL,
		.run = verb_drop,
	},
	{
		.name = "why",
		.args = "IMAGE OFFSET",
		.brief = "why a part of an image was fetched ahead",
		.help = "OFFSET is in bytes, or with K, M, G or T after it.",
		.min_args = 2,
		.max_args = 2,
		.options = OPT_COMMON,
		.run = verb_why,
	},
	{
		.name = "warm",
		.args = "IMAGE",
		.brief = "bring an image into the store",
		.help = "When nothing more urgent is to be fetched. An image "
			"that is not in use needs\n--wait.",
		.min_args = 1,
		.max_args = 1,
		.options = OPT_COMMON | OPT_RECORDING | OPT_WAIT,
		.run = verb_warm,
	},
	{
		.name = "pin",
		.args = "IMAGE [OFFSET LENGTH]",
		.brief = "bring an image or a part, and keep it",
		.help = "Eviction leaves it alone, now and when the image is "
			"used again.",
		.min_args = 1,
		.max_args = 3,
		.options = OPT_COMMON,
		.run = verb_pin,
	},
	{
		.name = "unpin",
		.args = "IMAGE [OFFSET LENGTH]",
		.brief = "end all pins, or those within a part",
		.min_args = 1,
		.max_args = 3,
		.options = OPT_COMMON,
		.run = verb_unpin,
	},
	{
		.name = "pins",
		.args = "[IMAGE]",
		.brief = "what is pinned",
		.max_args = 1,
		.options = OPT_COMMON,
		.run = verb_pins,
	},
	{
		.name = "recording",
		.args = "list|show|export|import|drop IMAGE ...",
		.brief = "what was learnt from earlier sessions",
		.help = "  list IMAGE               what there is\n"
			"  show IMAGE N             its reads, in order\n"
			"  export IMAGE N -o FILE   to a file\n"
			"  import IMAGE FILE        add one that was exported\n"
			"  drop IMAGE N|--all       forget",
		.min_args = 2,
		.max_args = 3,
		.options = OPT_COMMON | OPT_ALL | OPT_OUTPUT,
		.run = verb_recording,
	},
	{
		.name = "trace",
		.args = "IMAGE",
		.brief = "record its reads and writes until Ctrl-C",
		.help = "As CSV time_us,op,offset,length for simulate, to FILE "
			"(compressed if it ends\nin .gz) or standard output.",
		.min_args = 1,
		.max_args = 1,
		.options = OPT_COMMON | OPT_OUTPUT | OPT_SECONDS,
		.run = verb_trace,
	},
	{
		.name = "verify",
		.args = "[IMAGE]",
		.brief = "read and check what is resident of images in use",
		.help = "Bad chunks are dropped. Exit status 1: some were bad.",
		.max_args = 1,
		.options = OPT_COMMON,
		.run = verb_verify,
	},
	{
		.name = "fsck",
		.args = "--store FILE --catalog FILE",
		.brief = "check store and catalog while unmounted",
		.help = "Changes nothing. Exit status 1: problems were found.",
		.options = OPT_JSON | OPT_STORE | OPT_CATALOG,
		.is_hostwide = true,
		.run = verb_fsck,
	},
	{
		.name = "set",
		.args = "KEY=VALUE",
		.brief = "change a setting of a live mount",
		.help = "  log=error|warning|info|debug  what is logged\n"
			"  max_background=1..65535       "
			"requests the kernel keeps under way\n"
			"  prefetch=off|conservative|balanced|aggressive\n"
			"                                "
			"how boldly to read ahead\n"
			"  proposer.NAME=on|off          "
			"a source of guesses; status lists them\n"
			"  trust=private|shared          "
			"whose recordings a VM replays unproven",
		.min_args = 1,
		.max_args = 1,
		.options = OPT_COMMON,
		.run = verb_set,
	},
	{
		.name = "upgrade",
		.args = "[BINARY]",
		.brief = "go on with another pfs binary, still mounted",
		.help = "BINARY is by default the file the daemon was started "
			"from.\nOpen files stay open. If the new binary cannot "
			"serve, the old one goes on.",
		.max_args = 1,
		.options = OPT_COMMON | OPT_SUPERVISOR,
		.run = verb_upgrade,
	},
	{
		.name = "stop",
		.args = "",
		.brief = "unmount",
		.help = "Waits until the daemon has ended. Refused while "
			"images are open.",
		.options = OPT_COMMON | OPT_FORCE,
		.run = verb_stop,
	},
	{
		.name = "metrics",
		.args = "",
		.brief = "counters and sizes for Prometheus",
		.help = "Text format; without -m for all mounts of this host.",
		.options = OPT_COMMON,
		.is_hostwide = true,
		.run = verb_metrics,
	},
	{
		.name = "list",
		.args = "",
		.brief = "mounts of this host",
		.options = OPT_JSON,
		.is_hostwide = true,
		.run = verb_list,
	},
	{
		.name = "simulate",
		.args = "[--train TRACE]... --test TRACE",
		.brief = "what prefetch would do for recorded sessions",
		.help = "Needs no daemon. A TRACE is CSV time_us,op,offset,"
			"length or blkparse text, also\n.gz, and one session. "
			"Predictors: none, sequential, replay, markov, auto.",
		.options = OPT_JSON | OPT_SIMULATE,
		.is_hostwide = true,
		.run = verb_simulate,
	},
	{
		.name = "debug",
		.args = "fault SPEC|clear|resume [POINT]|status",
		.brief = "make things go wrong, for tests",
		.help = "Only in a daemon started with PFS_FAULTS=1 in its "
			"environment.",
		.min_args = 2,
		.max_args = 3,
		.options = OPT_COMMON,
		.is_hidden = true,
		.run = verb_debug,
	},
	{
		.name = "complete",
		.args = "mounts|images",
		.brief = "words for the shell",
		.min_args = 1,
		.max_args = 1,
		.options = OPT_MOUNT,
		.is_hostwide = true,
		.is_hidden = true,
		.run = verb_complete,
	},
};

#define WORD 256 /* an option kept in cli->words */

static const struct option long_options[] = {
	{"mount", required_argument, NULL, 'm'},
	{"json", no_argument, NULL, 'j'},
	{"all", no_argument, NULL, 'a'},
	{"skipped", no_argument, NULL, 's'},
	{"supervisor", no_argument, NULL, 'S'},
	{"force", no_argument, NULL, 'f'},
	{"recording", no_argument, NULL, 'r'},
	{"wait", no_argument, NULL, 'w'},
	{"vm", required_argument, NULL, 'v'},
	{"output", required_argument, NULL, 'o'},
	{"seconds", required_argument, NULL, 'n'},
	{"store", required_argument, NULL, 't'},
	{"catalog", required_argument, NULL, 'c'},
	{"train", required_argument, NULL, WORD},
	{"test", required_argument, NULL, WORD},
	{"predictor", required_argument, NULL, WORD},
	{"without", required_argument, NULL, WORD},
	{"chunk", required_argument, NULL, WORD},
	{"store-percent", required_argument, NULL, WORD},
	{"store-bytes", required_argument, NULL, WORD},
	{"store-policy", required_argument, NULL, WORD},
	{"keep-store", no_argument, NULL, WORD},
	{"source-latency-us", required_argument, NULL, WORD},
	{"store-latency-us", required_argument, NULL, WORD},
	{"source-mbps", required_argument, NULL, WORD},
	{"closed-loop", no_argument, NULL, WORD},
	{"seed", required_argument, NULL, WORD},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

struct command_line {
	struct cli cli;
	unsigned int given; /* enum option_bit */
	bool wants_help, wants_version;
};

/* --- help --- */

static void print_option(const char *name, const char *text)
{
	(void)printf("  %-24s %s\n", name, text);
}

static int print_help(void)
{
	(void)puts("Usage: pfsctl VERB [ARGUMENTS] [-m MOUNTPOINT] [--json]\n"
		   "\n"
		   "Asks or steers the pfs daemon of a mount.\n");
	for (size_t i = 0; i < PFS_ARRAY_SIZE(verbs); i++) {
		char head[64];

		if (verbs[i].is_hidden)
			continue;
		(void)snprintf(head, sizeof(head), "%s %s", verbs[i].name,
			       strlen(verbs[i].args) < 16 ? verbs[i].args
							  : "...");
		(void)printf("  %-20s %s\n", head, verbs[i].brief);
	}
	(void)puts("\nOptions:");
	for (size_t i = 0; i < PFS_ARRAY_SIZE(option_help); i++)
		if (option_help[i].bit != OPT_SIMULATE)
			print_option(option_help[i].name, option_help[i].text);
	print_option("--help", "this text, or after a VERB more on that");
	print_option("--version", "print the version");
	(void)puts(
		"\nExit status: 0 done, 1 failed or something bad was found, "
		"2 wrong usage,\n3 no daemon.  pfsctl(8) tells more.");
	return STATUS_OK;
}

static int print_verb_help(const struct verb *v)
{
	(void)printf("Usage: pfsctl %s%s%s [OPTIONS]\n\n", v->name,
		     v->args[0] ? " " : "", v->args);
	(void)printf("%c%s.\n", v->brief[0] - 'a' + 'A', v->brief + 1);
	if (v->help)
		(void)printf("%s\n", v->help);
	(void)puts("\nOptions:");
	for (size_t i = 0; i < PFS_ARRAY_SIZE(option_help); i++)
		if (v->options & option_help[i].bit)
			print_option(option_help[i].name, option_help[i].text);
	print_option("--help", "this text");
	return STATUS_OK;
}

/* --- the verb --- */

static int unknown_verb(const char *name)
{
	const char *names[PFS_ARRAY_SIZE(verbs) + 1];
	const char *meant;
	size_t n = 0;

	for (size_t i = 0; i < PFS_ARRAY_SIZE(verbs); i++)
		if (!verbs[i].is_hidden)
			names[n++] = verbs[i].name;
	names[n] = NULL;
	meant = cli_suggest(name, names);
	if (meant)
		return cli_say(STATUS_USAGE,
			       "there is no verb '%s': did you mean '%s'?",
			       name, meant);
	return cli_say(STATUS_USAGE,
		       "there is no verb '%s': pfsctl --help lists them", name);
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(verbs); i++)
		if (!strcmp(name, verbs[i].name))
			return &verbs[i];
	return NULL;
}

static int check_usage(const struct verb *v, const struct command_line *cl)
{
	if (cl->cli.n_words && !(v->options & OPT_SIMULATE))
		return cli_say(STATUS_USAGE,
			       "%s takes no --%s: see pfsctl %s --help",
			       v->name, cl->cli.words[0].name, v->name);
	for (size_t i = 0; i < PFS_ARRAY_SIZE(option_help); i++) {
		unsigned int bit = option_help[i].bit;

		if (cl->given & bit && !(v->options & bit))
			return cli_say(STATUS_USAGE,
				       "%s takes no %s: see pfsctl %s --help",
				       v->name, option_help[i].name, v->name);
	}
	if (cl->cli.n_args < v->min_args || cl->cli.n_args > v->max_args)
		return cli_say(STATUS_USAGE, "usage: pfsctl %s%s%s", v->name,
			       v->args[0] ? " " : "", v->args);
	return STATUS_OK;
}

static int run_verb(const struct verb *v, struct command_line *cl)
{
	int status = check_usage(v, cl);

	if (status)
		return status;
	/* "metrics" covers all mounts, unless one is named. */
	if (!v->is_hostwide ||
	    (cl->cli.mount && v->options & OPT_MOUNT && !v->is_hidden))
		status = cli_pick(&cl->cli);
	if (!status)
		status = v->run(&cl->cli);
	cli_forget(&cl->cli);
	return status;
}

/* --- options --- */

static void take_option(struct command_line *cl, int c)
{
	struct cli *cli = &cl->cli;

	switch (c) {
	case 'm':
		cli->mount = optarg;
		cl->given |= OPT_MOUNT;
		break;
	case 'j':
		cli->is_json = true;
		cl->given |= OPT_JSON;
		break;
	case 'a':
		cli->is_all = true;
		cl->given |= OPT_ALL;
		break;
	case 's':
		cli->is_skipped = true;
		cl->given |= OPT_SKIPPED;
		break;
	case 'S':
		cli->is_supervisor = true;
		cl->given |= OPT_SUPERVISOR;
		break;
	case 'f':
		cli->is_forced = true;
		cl->given |= OPT_FORCE;
		break;
	case 'r':
		cli->from_recording = true;
		cl->given |= OPT_RECORDING;
		break;
	case 'w':
		cli->waits = true;
		cl->given |= OPT_WAIT;
		break;
	case 'v':
		cli->vm = optarg;
		cl->given |= OPT_VM;
		break;
	case 'o':
		cli->output = optarg;
		cl->given |= OPT_OUTPUT;
		break;
	case 'n':
		cli->seconds = optarg;
		cl->given |= OPT_SECONDS;
		break;
	case 't':
		cli->store = optarg;
		cl->given |= OPT_STORE;
		break;
	case 'c':
		cli->catalog = optarg;
		cl->given |= OPT_CATALOG;
		break;
	case 'h':
		cl->wants_help = true;
		break;
	default: /* 'V' */
		cl->wants_version = true;
		break;
	}
}

static int parse(int argc, char **argv, struct command_line *cl)
{
	int c, at = 0;

	opterr = 0;
	cl->cli.words = calloc((size_t)argc + 1, sizeof(*cl->cli.words));
	if (!cl->cli.words)
		return cli_say(STATUS_FAILED, "out of memory");
	while ((c = getopt_long(argc, argv, ":m:o:hV", long_options, &at)) !=
	       -1) {
		const char *word = argv[optind - 1];

		if (c == ':')
			return cli_say(STATUS_USAGE, "%s needs a value", word);
		if (c == '?')
			return cli_say(STATUS_USAGE,
				       "%s is no option here: see pfsctl "
				       "--help",
				       word);
		if (c == WORD)
			cl->cli.words[cl->cli.n_words++] = (struct cli_word){
				long_options[at].name, optarg};
		else
			take_option(cl, c);
	}
	return STATUS_OK;
}

static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	return cli_say(STATUS_FAILED, "writing the output: %s",
		       strerror(errno));
}

static void command_line_fini(struct command_line *cl)
{
	free(cl->cli.words);
}

int main(int argc, char **argv)
{
	PFS_AUTO(command_line_fini) struct command_line cl = {.given = 0};
	const struct verb *v;
	int status;

	(void)setlocale(LC_CTYPE, ""); /* numbers stay as in C */
	status = parse(argc, argv, &cl);
	if (status)
		return status;
	if (cl.wants_version) {
		(void)printf("pfsctl %s\n", pfs_ctl_version());
		return finish(STATUS_OK);
	}
	if (optind == argc && !cl.wants_help)
		return cli_say(
			STATUS_USAGE,
			"what shall I do? pfsctl --help lists the verbs");
	if (optind == argc)
		return finish(print_help());
	v = find_verb(argv[optind]);
	if (!v)
		return unknown_verb(argv[optind]);
	if (cl.wants_help)
		return finish(print_verb_help(v));
	cl.cli.args = argv + optind + 1;
	cl.cli.n_args = argc - optind - 1;
	return finish(run_verb(v, &cl));
}
