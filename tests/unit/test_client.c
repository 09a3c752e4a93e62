/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pfsctl's side of the control socket, against a daemon that plays a part. */
#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <pfs/clock.h>

#include "cli.h"

#define PARTS_MAX 8
#define RESULT "{\"protocol\":1,\"version\":\"1.2\",\"result\":{\"n\":7}}\n"
#define ERROR(code)                                                            \
	"{\"protocol\":1,\"version\":\"1.2\",\"error\":{\"code\":\"" code      \
	"\",\"text\":\"told so\"}}\n"

/* What the daemon sends on each connection, in turn; "" hangs up without an
 * answer.  The last part is played again and again. */
struct play {
	const char *parts[PARTS_MAX];
	_Atomic uint64_t *clock_ns; /* may be NULL: put on by 1 s each time */
	int listen_fd;
	_Atomic int n_heard;
	_Atomic bool is_over;
	pthread_t thread;
	char dir[32];
	struct cli cli;
};

static void *perform(void *arg)
{
	struct play *p = arg;
	size_t part = 0;
	char buf[4096];

	for (;;) {
		int fd = accept(p->listen_fd, NULL, NULL);

		if (fd < 0 || p->is_over) {
			if (fd >= 0)
				close(fd);
			return NULL;
		}
		p->n_heard++;
		if (p->clock_ns)
			*p->clock_ns += PFS_NSEC_PER_SEC;
		if (p->parts[part][0] && read(fd, buf, sizeof(buf)) > 0)
			(void)!send(fd, p->parts[part], strlen(p->parts[part]),
				    MSG_NOSIGNAL);
		if (p->parts[part + 1])
			part++;
		close(fd);
	}
}

static struct sockaddr_un address(const struct play *p)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", p->dir);
	return addr;
}

static void begin(struct play *p)
{
	struct sockaddr_un addr;

	strcpy(p->dir, "/tmp/pfs-client-XXXXXX");
	if (!mkdtemp(p->dir))
		exit(2);
	addr = address(p);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(p->listen_fd, 8) ||
	    pthread_create(&p->thread, NULL, perform, p))
		exit(2);
	p->cli.socket = strdup(addr.sun_path);
	p->cli.mountpoint = strdup("/mnt/x");
}

static void end(struct play *p)
{
	p->is_over = true;
	shutdown(p->listen_fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->listen_fd);
	unlink(p->cli.socket);
	rmdir(p->dir);
	cli_forget(&p->cli);
}

/* Ask, and keep what is said on standard error in said[]. */
static char said[4096];

static int ask_keeping(struct cli *cli, unsigned int flags, uint64_t *n)
{
	struct pfs_json *answer = NULL, *value = NULL;
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO), status;
	size_t len;

	dup2(fileno(f), STDERR_FILENO);
	status = cli_ask(cli, pfs_ctl_request("x"), flags, &answer, &value);
	(void)fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(f);
	len = fread(said, 1, sizeof(said) - 1, f);
	said[len] = '\0';
	(void)fclose(f);
	*n = pfs_json_num(value, "n");
	pfs_json_free(answer);
	return status;
}

#define CHECK_SAID(part)                                                       \
	do {                                                                   \
		CHECK(strstr(said, part));                                     \
		if (!strstr(said, part))                                       \
			fprintf(stderr, "    said: %s\n", said);               \
	} while (0)

static void a_lost_answer_is_asked_for_again(void)
{
	struct play p = {.parts = {"", ERROR("ECANCELED"), "", RESULT}};
	uint64_t n;

	begin(&p);
	CHECK_EQ(ask_keeping(&p.cli, 0, &n), STATUS_OK);
	CHECK_EQ(n, 7);
	CHECK_EQ(p.n_heard, 4);
	CHECK_SAID("asking again");
	CHECK(!strstr(strstr(said, "asking again") + 1, "asking again"));
	end(&p);
}

static void after_3_s_of_lost_answers_it_gives_up(void)
{
	static _Atomic uint64_t now_ns = 1000 * PFS_NSEC_PER_SEC;
	struct play p = {.parts = {""}, .clock_ns = &now_ns};
	uint64_t n;

	pfs_clock_fake(&now_ns);
	begin(&p);
	CHECK_EQ(ask_keeping(&p.cli, 0, &n), STATUS_FAILED);
	CHECK_EQ(p.n_heard, 5); /* at 1 s it starts to count: 1 + 3 + 1 */
	CHECK_SAID("try again");
	end(&p);
	pfs_clock_fake(NULL);
}

static void what_must_not_be_repeated_is_asked_once(void)
{
	struct play p = {.parts = {"", RESULT}};
	uint64_t n;

	begin(&p);
	CHECK_EQ(ask_keeping(&p.cli, ASK_ONCE, &n), STATUS_FAILED);
	CHECK_EQ(p.n_heard, 1);
	CHECK_SAID("went away");
	end(&p);
}

static void a_losable_answer_may_be_lost(void)
{
	struct play p = {.parts = {""}};
	uint64_t n;

	begin(&p);
	CHECK_EQ(ask_keeping(&p.cli, ASK_LOSABLE, &n), STATUS_OK);
	CHECK_EQ(p.n_heard, 1);
	CHECK_STR(said, "");
	end(&p);
}

static void progress_comes_before_the_result(void)
{
	struct play p = {
		.parts = {"{\"protocol\":1,\"progress\":{\"done\":1,"
			  "\"total\":2}}\n"
			  "{\"protocol\":1,\"progress\":{}}\n" RESULT}};
	uint64_t n;

	begin(&p);
	CHECK_EQ(ask_keeping(&p.cli, ASK_PROGRESS, &n), STATUS_OK);
	CHECK_EQ(n, 7);
	end(&p);
}

static void newer_and_older_daemons_are_told_apart(void)
{
	struct play newer = {.parts = {"{\"protocol\":2,\"version\":\"7.5\","
				       "\"reply\":{}}\n"}};
	struct play older = {.parts = {"{\"protocol\":0,\"version\":\"0.0\","
				       "\"result\":{}}\n"}};
	uint64_t n;

	begin(&newer);
	CHECK_EQ(ask_keeping(&newer.cli, 0, &n), STATUS_FAILED);
	CHECK_SAID("(pfs 7.5) is newer than this pfsctl");
	end(&newer);
	begin(&older);
	CHECK_EQ(ask_keeping(&older.cli, 0, &n), STATUS_FAILED);
	CHECK_SAID("(pfs 0.0) is older than this pfsctl");
	end(&older);
}

static void errors_become_sentences_and_statuses(void)
{
	static const struct {
		const char *part, *sentence;
		int status;
	} cases[] = {
		{ERROR("EINVAL"), "pfsctl: told so\n", STATUS_USAGE},
		{ERROR("ENOENT"), "pfsctl: told so\n", STATUS_FAILED},
		{ERROR("ENOSYS"), "told so: it is older", STATUS_FAILED},
		{"SSH-2.0-x\n", "makes no sense", STATUS_FAILED},
		{"{\"protocol\":1}\n", "makes no sense", STATUS_FAILED},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		struct play p = {.parts = {cases[i].part}};
		uint64_t n;

		begin(&p);
		CHECK_EQ(ask_keeping(&p.cli, 0, &n), cases[i].status);
		CHECK_SAID(cases[i].sentence);
		CHECK_EQ(p.n_heard, 1);
		end(&p);
	}
}

static void without_a_listener_there_is_no_daemon(void)
{
	struct play p = {.parts = {RESULT}};
	uint64_t n;

	begin(&p);
	p.is_over = true;
	shutdown(p.listen_fd, SHUT_RDWR);
	CHECK_EQ(ask_keeping(&p.cli, 0, &n), STATUS_NO_DAEMON);
	CHECK_SAID("no daemon listens for /mnt/x");
	CHECK_EQ(unlink(p.cli.socket), 0);
	CHECK_EQ(ask_keeping(&p.cli, 0, &n), STATUS_NO_DAEMON);
	CHECK_EQ(ask_keeping(&p.cli, ASK_QUIET, &n), STATUS_NO_DAEMON);
	CHECK_STR(said, "");
	end(&p);
}

static void arguments_that_do_not_fit_are_refused_here(void)
{
	struct play p = {.parts = {RESULT}};
	struct pfs_json *req = pfs_ctl_request("map"), *answer, *value;
	char *big = malloc(PFS_CTL_REQUEST_MAX + 1);

	memset(big, 'a', PFS_CTL_REQUEST_MAX);
	big[PFS_CTL_REQUEST_MAX] = '\0';
	pfs_json_set_str(req, "image", big);
	free(big);
	begin(&p);
	CHECK_EQ(cli_ask(&p.cli, req, 0, &answer, &value), STATUS_USAGE);
	CHECK_EQ(p.n_heard, 0);
	end(&p);
}

/* --- words and numbers --------------------------------------------------- */

static void sizes_and_times_read_well(void)
{
	char b[48];

	CHECK_STR(cli_size(b, 0), "0 B");
	CHECK_STR(cli_size(b, 1023), "1023 B");
	CHECK_STR(cli_size(b, 1024), "1 KiB");
	CHECK_STR(cli_size(b, PFS_KIB(1) + 512), "1.5 KiB");
	CHECK_STR(cli_size(b, PFS_GIB(100) - PFS_MIB(600)), "99.4 GiB");
	CHECK_STR(cli_size(b, UINT64_MAX), "16 EiB");
	CHECK_STR(cli_duration(b, 59), "59 s");
	CHECK_STR(cli_duration(b, 61), "1 min 1 s");
	CHECK_STR(cli_duration(b, 3600), "1 h 0 min");
	CHECK_STR(cli_duration(b, 90000), "1 d 1 h");
	CHECK_STR(cli_percent(b, 0.12345), "12.3 %");
}

static void a_slip_of_the_pen_is_understood(void)
{
	static const char *const words[] = {"status", "stats", "images", "map",
					    NULL};

	CHECK_STR(cli_suggest("statsu", words), "stats");
	CHECK_STR(cli_suggest("staus", words), "status");
	CHECK_STR(cli_suggest("imag", words), "images");
	CHECK_STR(cli_suggest("mp", words), "map");
	CHECK(!cli_suggest("frobnicate", words));
	CHECK(!cli_suggest("", words));
}

static void bytes_are_written_with_a_unit_or_without(void)
{
	static const struct {
		const char *word;
		bool is_good;
		uint64_t want;
	} cases[] = {
		{"0", true, 0},           {"65536", true, 65536},
		{"64K", true, 65536},     {"3M", true, 3 << 20},
		{"2G", true, 2ull << 30}, {"1T", true, 1ull << 40},
		{"", false, 0},           {"K", false, 0},
		{"-1", false, 0},         {"+1", false, 0},
		{" 1", false, 0},         {"1k", false, 0},
		{"1KB", false, 0},        {"1.5G", false, 0},
		{"16777216T", false, 0},  {"99999999999999999999", false, 0},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		uint64_t got = 0;

		CHECK_EQ(cli_bytes(cases[i].word, &got), cases[i].is_good);
		CHECK_EQ(got, cases[i].want);
	}
}

int main(void)
{
	RUN(a_lost_answer_is_asked_for_again);
	RUN(after_3_s_of_lost_answers_it_gives_up);
	RUN(what_must_not_be_repeated_is_asked_once);
	RUN(a_losable_answer_may_be_lost);
	RUN(progress_comes_before_the_result);
	RUN(newer_and_older_daemons_are_told_apart);
	RUN(errors_become_sentences_and_statuses);
	RUN(without_a_listener_there_is_no_daemon);
	RUN(arguments_that_do_not_fit_are_refused_here);
	RUN(sizes_and_times_read_well);
	RUN(bytes_are_written_with_a_unit_or_without);
	RUN(a_slip_of_the_pen_is_understood);
	return CHECK_RESULT();
}
