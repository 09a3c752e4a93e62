/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/trace.h>

#include "check.h"

static struct pfs_trace parsed(const char *text)
{
	struct pfs_trace t = {0};
	uint64_t line = 0;
	const char *why = "";
	int err = pfs_trace_parse(text, strlen(text), &t, &line, &why);

	if (err)
		fprintf(stderr, "line %llu: %s\n", (unsigned long long)line,
			why);
	CHECK_EQ(err, 0);
	return t;
}

static void check_op(const struct pfs_trace *t, size_t i, uint64_t us,
		     bool is_write, uint64_t off, uint32_t len)
{
	CHECK(i < t->n);
	if (i >= t->n)
		return;
	CHECK_EQ(t->ops[i].time_us, us);
	CHECK_EQ(t->ops[i].is_write, is_write);
	CHECK_EQ(t->ops[i].off, off);
	CHECK_EQ(t->ops[i].len, len);
}

/* The parser says that this line is bad, with a sentence that has the word. */
static void bad(const char *text, uint64_t want_line, const char *word)
{
	struct pfs_trace t = {0};
	uint64_t line = 0;
	const char *why = "";

	CHECK_EQ(pfs_trace_parse(text, strlen(text), &t, &line, &why),
		 -EBADMSG);
	CHECK_EQ(line, want_line);
	if (!strstr(why, word)) {
		check_failures++;
		fprintf(stderr, "'%s' does not say '%s'\n", why, word);
	}
	pfs_trace_fini(&t);
}

static void csv_is_read_with_and_without_a_header(void)
{
	struct pfs_trace t = parsed("time_us,op,offset,length\n"
				    "0,R,512,4096\n"
				    "17,W,18446744073,4294967295\n");

	CHECK_EQ(t.n, 2);
	check_op(&t, 0, 0, false, 512, 4096);
	check_op(&t, 1, 17, true, 18446744073ull, UINT32_MAX);
	pfs_trace_fini(&t);

	t = parsed("5,R,0,1");
	CHECK_EQ(t.n, 1);
	check_op(&t, 0, 5, false, 0, 1);
	pfs_trace_fini(&t);
}

static void blanks_and_other_line_ends_do_not_matter(void)
{
	struct pfs_trace t = parsed("\r\ntime_us,op,offset,length\r\n"
				    "\n"
				    " 1 , R , 2 , 3 \r\n"
				    "\t4,w,5,6\r\n");

	CHECK_EQ(t.n, 2);
	check_op(&t, 0, 1, false, 2, 3);
	check_op(&t, 1, 4, true, 5, 6);
	pfs_trace_fini(&t);
}

static void times_are_sorted_and_equals_keep_their_order(void)
{
	struct pfs_trace t = parsed("30,R,1,1\n"
				    "10,R,2,1\n"
				    "30,R,3,1\n"
				    "20,R,4,1\n"
				    "10,R,5,1\n"
				    "10,R,6,1\n"
				    "5,R,7,1\n");
	static const uint64_t want[] = {7, 2, 5, 6, 4, 1, 3};

	CHECK_EQ(t.n, 7);
	for (size_t i = 0; i < 7 && i < t.n; i++)
		CHECK_EQ(t.ops[i].off, want[i]);
	pfs_trace_fini(&t);
}

static void a_long_trace_is_sorted_too(void)
{
	enum {
		N = 5000
	};
	static char text[N * 32];
	struct pfs_trace t;
	size_t len = 0;

	for (unsigned int i = 0; i < N; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%u,R,%u,1\n", i * 7919 % 97, i);
	t = parsed(text);
	CHECK_EQ(t.n, N);
	for (size_t i = 1; i < t.n; i++)
		CHECK(t.ops[i - 1].time_us < t.ops[i].time_us ||
		      (t.ops[i - 1].time_us == t.ops[i].time_us &&
		       t.ops[i - 1].off < t.ops[i].off));
	pfs_trace_fini(&t);
}

static void of_blkparse_reads_and_writes_are_taken_when_queued(void)
{
	struct pfs_trace t = parsed(
		"Input file sda.blktrace.0 added\n"
		"  8,0    3        1     0.000000000   697  Q   R 223490 + 8 "
		"[kjournald]\n"
		"  8,0    3        2     0.000001829   697  G   R 223490 + 8 "
		"[kjournald]\n"
		"  8,0    3        3     0.000002197   697  P   N [kjournald]\n"
		"  8,0    3        4     1.500002999   697  Q  WS 223498 + 16 "
		"[a b]\n"
		"  8,0    3        5     1.600000000   697  Q FWS [kworker]\n"
		"  8,0    3        6     1.600000000   697  Q   D 8 + 8 [x]\n"
		"  8,0    1        7     0.250000000     0  C   R 223490 + 8 "
		"[0]\n"
		"  8,0    1        8     0.250000000     0  m   N cfq tree\n"
		"  8,0    1        9     0.125000000   697  Q  RA 0 + 1 [cat]\n"
		"  8,0    1       10     2.000000000   697  Q FWFS 16 + 8 [y]\n"
		"CPU0 (sda):\n"
		" Reads Queued:           2,        8KiB\t Writes Queued: 1\n"
		"Throughput (R/W): 12KiB/s / 8KiB/s\n");

	CHECK_EQ(t.n, 4);
	check_op(&t, 0, 0, false, 223490ull * 512, 4096);
	check_op(&t, 1, 125000, false, 0, 512);
	check_op(&t, 2, 1500002, true, 223498ull * 512, 8192);
	check_op(&t, 3, 2000000, true, 16 * 512, 4096);
	pfs_trace_fini(&t);
}

static void nothing_in_it_is_no_error(void)
{
	struct pfs_trace t = parsed("time_us,op,offset,length\n");

	CHECK_EQ(t.n, 0);
	pfs_trace_fini(&t);
	t = parsed("");
	CHECK_EQ(t.n, 0);
	pfs_trace_fini(&t);
}

static void a_bad_line_is_named_with_what_is_wrong(void)
{
	bad("hello\n", 1, "neither CSV");
	bad("time,op,offset,length\n0,R,0,1\n", 1, "neither CSV");
	bad("0,R,0,512\n\nx,R,0,512\n", 3, "time");
	bad("0,R,0,512\n-1,R,0,512\n", 2, "time");
	bad("0,R,0,512\n1.5,R,0,512\n", 2, "time");
	bad("0,X,0,512\n", 1, "neither R nor W");
	bad("0,RW,0,512\n", 1, "neither R nor W");
	bad("0,R,-4,512\n", 1, "offset");
	bad("0,R,99999999999999999999,512\n", 1, "offset");
	bad("0,R,9223372036854775807,512\n", 1, "offset is too large");
	bad("0,R,0,512,7\n", 1, "length");
	bad("0,R,0\n", 1, "offset");
	bad("0,R,0,\n", 1, "length");
	bad("0,R,0,0\n", 1, "length is 0");
	bad("0,R,0,4294967296\n", 1, "over 4 GiB");
	bad("9000000000000001,R,0,1\n", 1, "time is too large");
	bad("time_us,op,offset,length\n0,R,0,1\ntime_us,op,offset,length\n", 3,
	    "time");
}

static void a_bad_event_of_blkparse_is_named_too(void)
{
#define OK " 8,0 1 1 0.000000000 1 Q R 8 + 8 [x]\n"
	bad(" 8,0 x 1 0.000000000 1 Q R 8 + 8 [x]\n", 1, "CPU");
	bad(OK " 8,0 1 1 0.5 1 Q R 8 + 8 [x]\n", 2, "NANOSECONDS");
	bad(OK " 8,0 1 1 0.000000000 1 Q R eight + 8 [x]\n", 2, "sector");
	bad(OK " 8,0 1 1 0.000000000 1 Q R 8 8 [x]\n", 2, "'+'");
	bad(OK " 8,0 1 1 0.000000000 1 Q R 8 + 0 [x]\n", 2, "length is 0");
	bad(OK " 8,16 1 1 0.000000000 1 Q R 8 + 8 [x]\n", 2, "another device");
#undef OK
}

int main(void)
{
	RUN(csv_is_read_with_and_without_a_header);
	RUN(blanks_and_other_line_ends_do_not_matter);
	RUN(times_are_sorted_and_equals_keep_their_order);
	RUN(a_long_trace_is_sorted_too);
	RUN(of_blkparse_reads_and_writes_are_taken_when_queued);
	RUN(nothing_in_it_is_no_error);
	RUN(a_bad_line_is_named_with_what_is_wrong);
	RUN(a_bad_event_of_blkparse_is_named_too);
	return CHECK_RESULT();
}
