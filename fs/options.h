/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/options.h - mount options, from `-o` in the style of mount(8).
 *
 * One table (options.def) declares name, kind, default and help; parser,
 * --help, pfsctl status and a lint test over the man page use it.
 */
#ifndef PFS_FS_OPTIONS_H
#define PFS_FS_OPTIONS_H

#include <stdio.h>

#include <pfs/base.h>

/* Choices; their words are in options.def, in this order. */
enum store_io {
	STORE_IO_AUTO, /* direct where the file system takes it */
	STORE_IO_DIRECT,
	STORE_IO_BUFFERED,
};
enum trust {
	TRUST_PRIVATE, /* its own, and those of images that are its alone */
	TRUST_SHARED,
};

struct options {
	char *source;     /* absolute, resolved; owned */
	char *mountpoint; /* absolute, resolved; owned */
	char *fsname;     /* as given on the command line; owned */
	char id[17];      /* 16 hex digits: hash of the source path */
	bool foreground;
	bool is_verbose;

	char *store; /* folder, file or device; owned; "none": no store */
	uint64_t store_size; /* bytes; 0: 10 % of the free space there */
	uint32_t chunk;      /* bytes, power of two, 16 KiB..1 MiB */
	char *catalog;       /* database file; owned */
	uint32_t store_io;   /* enum store_io */
	bool verify; /* checksums on hits; only benchmarks turn it off */
	uint32_t max_background;
	uint32_t threads;       /* data threads; 0: 1 and a second under load */
	uint32_t prefetch;      /* enum pfs_prefetch_level */
	uint64_t prefetch_rate; /* bytes/s; 0: no limit */
	uint32_t trust;         /* enum trust */
	bool allow_other;
	bool ro;
	bool page_cache; /* let the kernel cache pages of images */
	bool is_safe;    /* set by the supervisor after repeated deaths of its
			  * workers: run past the store */
};

void options_fini(struct options *o);

/** Parse a command line.  On an error a sentence naming the option and what
 *  is allowed is printed to err and -EINVAL returned.  *stop is set when
 *  --help or --version was answered on out. */
int options_parse(int argc, char **argv, struct options *o, bool *stop,
		  FILE *out, FILE *err) PFS_MUST_CHECK;

/** Print a sentence on err and return -EINVAL. */
int options_refuse(FILE *err, const char *fmt, ...) PFS_PRINTF(2, 3);

/** As text that options_unpack() reads back, for the worker. */
int options_pack(const struct options *o, char **out) PFS_MUST_CHECK;
int options_unpack(const char *text, struct options *o) PFS_MUST_CHECK;

/** Call fn(arg, name, value) for each option as it is in force. */
void options_each(const struct options *o,
		  void (*fn)(void *arg, const char *name, const char *value),
		  void *arg);

#endif
