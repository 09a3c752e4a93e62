/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cli/cli.h - what the files of pfsctl share.
 *
 * Errors   functions that return int return an exit status (enum status) and
 *          have printed the sentence that goes with it.
 */
#ifndef PFS_CLI_H
#define PFS_CLI_H

#include <stdio.h>

#include <pfs/base.h>
#include <pfs/ctl.h>
#include <pfs/ctl_path.h>
#include <pfs/trace.h>

enum status {
	STATUS_OK,
	STATUS_FAILED,    /* or: something bad was found */
	STATUS_USAGE,     /* the command line is wrong */
	STATUS_NO_DAEMON, /* nobody to ask */
};

/** An option that only its verb understands. */
struct cli_word {
	const char *name, *value; /* without "--"; NULL: takes none */
};

/** One run of pfsctl. */
struct cli {
	/* --- the command line --- */
	const char *mount; /* -m, or NULL */
	bool is_json, is_all, is_skipped, is_supervisor, is_forced;
	bool from_recording, waits;
	const char *store, *catalog, *vm, *output, *seconds;
	struct cli_word *words; /* owned by main(), in their order */
	int n_words;
	char *const *args; /* after the verb */
	int n_args;
	/* --- set by cli_pick() --- */
	char *mountpoint, *socket; /* owned */
	pid_t supervisor_pid;
};

/* --- out.c --- */

/** "pfsctl: SENTENCE" on stderr; returns status. */
int cli_say(int status, const char *fmt, ...) PFS_PRINTF(2, 3);
/** Print a value as JSON on stdout. */
int cli_print_json(const struct pfs_json *v);
/** "1.5 GiB", "512 B"; "12 min 3 s". */
const char *cli_size(char buf[32], uint64_t bytes);
const char *cli_duration(char buf[48], uint64_t seconds);
/** "97.3 %" of a share 0..1. */
const char *cli_percent(char buf[16], double share);
bool cli_is_utf8(void);
/** Columns of the terminal, $COLUMNS, or 80. */
unsigned int cli_columns(void);
/** Bytes as a user writes them: a number, or one with K, M, G or T after it.
 *  False, with a sentence: it is not that. */
bool cli_bytes(const char *word, uint64_t *out);
/** "qemu-system-x86 (pid 4242)", or the number of a VM that is told of in o. */
const char *cli_vm(char buf[64], const struct pfs_json *o);
/** The word of a NULL-terminated list that was probably meant, or NULL. */
const char *cli_suggest(const char *word, const char *const *known);

/* --- pick.c --- */

/** Choose the mount: by -m, or the only one there is. */
int cli_pick(struct cli *cli) PFS_MUST_CHECK;
/** Choose this one. */
int cli_use(struct cli *cli, const struct pfs_ctl_mount *m) PFS_MUST_CHECK;
void cli_forget(struct cli *cli);

/* --- client.c --- */

enum ask_flags {
	ASK_ONCE = 1 << 0,     /* must not be repeated when the worker dies */
	ASK_QUIET = 1 << 1,    /* no sentence on failure */
	ASK_PROGRESS = 1 << 2, /* show progress on stderr */
	ASK_LOSABLE = 1 << 3,  /* a lost answer is fine: *out stays NULL */
};

/** Send req (taken) and wait for the result; *out is the caller's and holds
 *  the whole answer, *value the result inside.  A lost answer is asked for
 *  again for up to 3 s, unless ASK_ONCE. */
int cli_ask(struct cli *cli, struct pfs_json *req, unsigned int flags,
	    struct pfs_json **out, struct pfs_json **value) PFS_MUST_CHECK;
/** The same for a request that needs no arguments. */
int cli_ask_verb(struct cli *cli, const char *verb, struct pfs_json **out,
		 struct pfs_json **value) PFS_MUST_CHECK;

/* --- stats.c --- */

/** Shortest time of bucket i of a latency histogram: "16 us". */
const char *cli_bucket(char buf[32], unsigned int i);

/* --- trace_file.c --- */

/** Read a trace, compressed or not; there is something in it. */
int cli_read_trace(const char *path, struct pfs_trace *out) PFS_MUST_CHECK;

/* --- verbs --- */

int verb_status(struct cli *cli);
int verb_stats(struct cli *cli);
int verb_images(struct cli *cli);
int verb_map(struct cli *cli);
int verb_drop(struct cli *cli);
int verb_verify(struct cli *cli);
int verb_why(struct cli *cli);
int verb_warm(struct cli *cli);
int verb_pin(struct cli *cli);
int verb_unpin(struct cli *cli);
int verb_pins(struct cli *cli);
int verb_recording(struct cli *cli);
int verb_trace(struct cli *cli);
int verb_fsck(struct cli *cli);
int verb_set(struct cli *cli);
int verb_upgrade(struct cli *cli);
int verb_stop(struct cli *cli);
int verb_metrics(struct cli *cli);
int verb_list(struct cli *cli);
int verb_simulate(struct cli *cli);
int verb_debug(struct cli *cli);
int verb_complete(struct cli *cli);

#endif
