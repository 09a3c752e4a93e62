/* SPDX-License-Identifier: GPL-3.0-or-later */
/* check.h - the whole test framework: a failed check prints got, want and
 * place, and main() returns how many cases failed. */
#ifndef PFS_CHECK_H
#define PFS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int check_failures;

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			check_failures++;                                      \
			fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, \
				__LINE__, __func__, #cond);                    \
		}                                                              \
	} while (0)

#define CHECK_EQ(got, want)                                                    \
	do {                                                                   \
		long long got_ = (long long)(got), want_ = (long long)(want);  \
		if (got_ != want_) {                                           \
			check_failures++;                                      \
			fprintf(stderr,                                        \
				"%s:%d: %s: %s is %lld, should be %lld\n",     \
				__FILE__, __LINE__, __func__, #got, got_,      \
				want_);                                        \
		}                                                              \
	} while (0)

#define CHECK_STR(got, want)                                                   \
	do {                                                                   \
		const char *got_ = (got), *want_ = (want);                     \
		if (!got_ || strcmp(got_, want_) != 0) {                       \
			check_failures++;                                      \
			fprintf(stderr,                                        \
				"%s:%d: %s: %s is \"%s\", should be \"%s\"\n", \
				__FILE__, __LINE__, __func__, #got,            \
				got_ ? got_ : "(null)", want_);                \
		}                                                              \
	} while (0)

/* Run one case and name it when it fails. */
#define RUN(fn)                                                                \
	do {                                                                   \
		int before_ = check_failures;                                  \
		fn();                                                          \
		if (check_failures != before_)                                 \
			fprintf(stderr, "FAILED %s\n", #fn);                   \
	} while (0)

#define CHECK_RESULT() (check_failures ? 1 : 0)

#endif
