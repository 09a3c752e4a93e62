/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server of the control socket, with a worker that has a catalog in
 * memory and no store.  Images in use and the walk of the source, which need
 * a mount, are ours here.
 */
#include "check.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/ctl.h>
#include <pfs/fault.h>
#include <pfs/log.h>

#include "control.h"
#include "ops.h"
#include "proto.h"

/* --- what the rest of the worker would be ------------------------------- */

static struct image_info in_use; /* the one image in use; id 0: none */

int image_each(struct worker *w,
	       int (*fn)(void *arg, const struct image_info *info), void *arg)
{
	(void)w;
	return in_use.id ? fn(arg, &in_use) : 0;
}

static _Atomic bool walk_is_held, walk_is_fast; /* it goes on and on */
static _Atomic int n_walks;

int ops_skipped(struct worker *w,
		int (*fn)(void *arg, const char *path, const char *reason),
		void *arg)
{
	(void)w;
	n_walks++;
	while (fn(arg, "fifo\xff", "a FIFO") == 0 &&
	       (walk_is_held || walk_is_fast))
		if (!walk_is_fast)
			pfs_sleep_ms(1);
	n_walks--;
	return 0;
}

struct fixture {
	struct worker *w;
	char dir[32];
	struct sockaddr_un addr;
	int sup; /* the supervisor's end */
};

static void must(bool claim, const char *what)
{
	if (claim)
		return;
	perror(what);
	exit(2);
}

static int listen_at(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(f->dir, "/tmp/pfs-control-XXXXXX");
	must(mkdtemp(f->dir), "mkdtemp");
	f->addr.sun_family = AF_UNIX;
	(void)snprintf(f->addr.sun_path, sizeof(f->addr.sun_path), "%s/s",
		       f->dir);
	must(bind(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)) == 0,
	     "bind");
	must(listen(fd, 64) == 0, "listen");
	return fd;
}

static struct fixture started(void)
{
	struct fixture f = {.w = calloc(1, sizeof(*f.w))};
	struct pfs_catalog_config cfg = {.path = NULL};
	struct timeval patience = {.tv_sec = 5};
	int pair[2];

	must(f.w && proto_pair(pair) == 0, "set up");
	f.sup = pair[1];
	must(setsockopt(f.sup, SOL_SOCKET, SO_RCVTIMEO, &patience,
			sizeof(patience)) == 0,
	     "setsockopt");
	f.w->sup_fd = pair[0];
	f.w->state = calloc(1, sizeof(*f.w->state));
	f.w->opt.mountpoint = strdup("/mnt/test");
	f.w->opt.source = strdup("/srv/\xff");
	f.w->opt.store = strdup("none");
	f.w->opt.chunk = 65536;
	f.w->control_fd = listen_at(&f);
	must(pfs_catalog_open(&cfg, &f.w->catalog_state, &f.w->catalog) == 0,
	     "catalog");
	must(control_start(f.w) == 0, "control_start");
	return f;
}

static void ended(struct fixture *f)
{
	control_stop(f->w);
	pfs_catalog_close(f->w->catalog);
	close(f->w->control_fd);
	close(f->w->sup_fd);
	close(f->sup);
	unlink(f->addr.sun_path);
	rmdir(f->dir);
	options_fini(&f->w->opt);
	free(f->w->state);
	free(f->w);
}

/* --- a client ----------------------------------------------------------- */

static int caller(const struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(connect(fd, (const struct sockaddr *)&f->addr, sizeof(f->addr)) ==
		     0,
	     "connect");
	return fd;
}

static void say(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* refused half-way: the answer tells */
		text += n;
		len -= (size_t)n;
	}
}

/* The next line, without progress; "" at the end or after 5 s. */
static const char *hear(int fd)
{
	static char line[65536];
	size_t n = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, 5000) != 1 || n == sizeof(line) - 1 ||
		    read(fd, line + n, 1) != 1)
			return "";
		if (line[n++] != '\n')
			continue;
		line[n - 1] = '\0';
		if (!strstr(line, "\"progress\":"))
			return line;
		n = 0;
	}
}

static bool is_closed(int fd)
{
	return !hear(fd)[0];
}

static const char *asked(const struct fixture *f, const char *request)
{
	int fd = caller(f);
	const char *answer;

	say(fd, request);
	answer = hear(fd);
	close(fd);
	return answer;
}

#define ASK(verb) "{\"protocol\":1,\"verb\":\"" verb "\"}\n"
#define ASK_WITH(verb, more) "{\"protocol\":1,\"verb\":\"" verb "\"," more "}\n"
#define CHECK_HAS(text, part)                                                  \
	do {                                                                   \
		const char *text_ = (text);                                    \
		CHECK(strstr(text_, part));                                    \
		if (!strstr(text_, part))                                      \
			fprintf(stderr, "    in: %.600s\n", text_);            \
	} while (0)

/* --- cases -------------------------------------------------------------- */

static void status_tells_of_the_mount(void)
{
	struct fixture f = started();
	char want[64];
	const char *answer = asked(&f, ASK("status"));

	(void)snprintf(want, sizeof(want), "\"worker_pid\":%d,", (int)getpid());
	CHECK_HAS(answer, want);
	CHECK_HAS(answer, "\"mountpoint\":\"/mnt/test\"");
	CHECK_HAS(answer, "\"source\":\"/srv/\\\\xff\"");
	CHECK_HAS(answer, "\"store\":{\"state\":\"none\"}");
	CHECK_HAS(answer, "\"state\":\"in memory\"");
	CHECK_HAS(answer, "\"chunk\":\"");
	ended(&f);
}

static void stats_have_every_counter(void)
{
	struct fixture f = started();
	const char *answer;

	pfs_count(PFS_C_READ_HIT, 3);
	pfs_count(PFS_C_READ_MISS, 1);
	answer = asked(&f, ASK("stats"));

	for (unsigned int c = 0; c < PFS_C_N; c++) {
		char want[128];

		(void)snprintf(want, sizeof(want),
			       "\"%s\":", pfs_counter_info[c].name);
		CHECK_HAS(answer, want);
	}
	CHECK_HAS(answer, "\"reads_hit\":3,");
	CHECK_HAS(answer, "\"hit_share\":0.7500");
	ended(&f);
}

static void images_are_the_known_and_the_used(void)
{
	struct fixture f = started();
	struct pfs_identity ident = {.ino = 7, .size = 1000000};
	struct pfs_image_row row;
	enum pfs_image_verdict verdict;
	const char *answer;

	CHECK_EQ(pfs_catalog_image_open(f.w->catalog, "b\n.img", &ident, false,
					&row, &verdict),
		 0);
	ident.ino = 8;
	CHECK_EQ(pfs_catalog_image_open(f.w->catalog, "a.img", &ident, false,
					&row, &verdict),
		 0);
	in_use = (struct image_info){.path = "a.img",
				     .id = row.id,
				     .epoch = 5,
				     .size = 2000000,
				     .n_reads = 4,
				     .n_hits = 1,
				     .n_handles = 2};
	answer = asked(&f, ASK("images"));

	CHECK_HAS(answer, "\"images\":[{\"name\":\"a.img\"");
	CHECK_HAS(answer, "\"epoch\":5,\"size\":2000000");
	CHECK_HAS(answer, "\"in_use\":true,\"handles\":2");
	CHECK_HAS(answer, "\"hit_share\":0.2500");
	CHECK_HAS(answer, "{\"name\":\"b\\\\x0a.img\"");
	CHECK_HAS(answer, "\"size\":1000000");
	CHECK_HAS(answer, "\"in_use\":false}");
	in_use.id = 0;
	ended(&f);
}

static void junk_is_answered_and_hung_up_on(void)
{
	static const char *const junk[] = {"GET / HTTP/1.1\n",
					   "{}\n",
					   "[]\n",
					   "\n",
					   "{\"verb\":1}\n",
					   "\x01\xff\x00\n",
					   "{\"protocol\":1}\n"};
	struct fixture f = started();

	for (size_t i = 0; i < PFS_ARRAY_SIZE(junk); i++) {
		int fd = caller(&f);

		say(fd, junk[i]);
		if (strcmp(junk[i], "\x01\xff") == 0) /* ends at the NUL */
			say(fd, "\n");
		CHECK_HAS(hear(fd), "\"code\":\"EBADMSG\"");
		CHECK(is_closed(fd));
		close(fd);
	}
	CHECK_HAS(asked(&f, ASK("status")), "\"result\"");
	ended(&f);
}

static void a_request_over_64_kib_is_refused(void)
{
	struct fixture f = started();
	size_t len = PFS_CTL_REQUEST_MAX + 1000;
	char *big = malloc(len + 1);
	int fd = caller(&f);

	memset(big, ' ', len);
	big[len] = '\0';
	say(fd, big);
	CHECK_HAS(hear(fd), "\"code\":\"EMSGSIZE\"");
	CHECK(is_closed(fd));
	close(fd);
	free(big);
	ended(&f);
}

static void requests_on_one_connection_are_answered_in_order(void)
{
	struct fixture f = started();
	int fd = caller(&f);

	say(fd, ASK("stats") ASK("status") ASK("nonsense"));
	CHECK_HAS(hear(fd), "\"reads_hit\"");
	CHECK_HAS(hear(fd), "\"worker_pid\"");
	CHECK_HAS(hear(fd), "\"ENOSYS\"");
	/* ... and a last one without newline, then the end */
	say(fd, "{\"protocol\":1,\"verb\":\"stats\"}");
	shutdown(fd, SHUT_WR);
	CHECK_HAS(hear(fd), "\"reads_hit\"");
	CHECK(is_closed(fd));
	close(fd);
	ended(&f);
}

static void another_protocol_or_verb_is_told_so(void)
{
	struct fixture f = started();

	CHECK_HAS(asked(&f, "{\"protocol\":2,\"verb\":\"status\"}\n"),
		  "\"EPROTO\"");
	CHECK_HAS(asked(&f, ASK("dance")), "does not know");
	CHECK_HAS(asked(&f, ASK_WITH("drop", "\"image\":\"a\"")), "no store");
	CHECK_HAS(asked(&f, ASK_WITH("map", "\"cells\":0")), "\"EINVAL\"");
	CHECK_HAS(asked(&f, ASK_WITH("map", "\"cells\":5000")), "\"EINVAL\"");
	ended(&f);
}

static void no_more_than_32_are_let_in(void)
{
	struct fixture f = started();
	int fd[33];

	for (size_t i = 0; i < 32; i++) {
		fd[i] = caller(&f);
		say(fd[i], ASK("stats"));
		CHECK_HAS(hear(fd[i]), "\"reads\"");
	}
	fd[32] = caller(&f);
	CHECK_HAS(hear(fd[32]), "\"EBUSY\"");
	CHECK(is_closed(fd[32]));
	close(fd[0]);
	/* The server sees the end of that one before it sees the next. */
	CHECK_HAS(asked(&f, ASK("stats")), "\"reads\"");
	for (size_t i = 1; i < 33; i++)
		close(fd[i]);
	ended(&f);
}

static void who_says_nothing_is_hung_up_on_after_10_s(void)
{
	static _Atomic uint64_t now_ns = 1000 * PFS_NSEC_PER_SEC;
	struct fixture f;
	int idle, half;

	pfs_clock_fake(&now_ns);
	f = started();
	idle = caller(&f);
	half = caller(&f);
	say(half, "{\"protocol\":");
	/* Both are let in once a later one was answered. */
	CHECK_HAS(asked(&f, ASK("stats")), "\"reads\"");

	now_ns += 9 * PFS_NSEC_PER_SEC;
	CHECK_HAS(asked(&f, ASK("stats")), "\"reads\"");
	say(half, "1,\"verb\":\"stats\"}\n");
	CHECK_HAS(hear(half), "\"reads\"");
	now_ns += 2 * PFS_NSEC_PER_SEC;
	CHECK_HAS(hear(idle), "\"ETIMEDOUT\"");
	CHECK(is_closed(idle));
	close(idle);
	close(half);
	ended(&f);
	pfs_clock_fake(NULL);
}

static bool walks_become(int n)
{
	for (int i = 0; i < 2000 && n_walks != n; i++)
		pfs_sleep_ms(1);
	return n_walks == n;
}

static void a_long_request_holds_nobody_up(void)
{
	struct fixture f = started();
	int one = caller(&f), two = caller(&f);

	walk_is_held = true;
	say(one, ASK("skipped"));
	say(two, ASK("skipped"));
	CHECK(walks_become(2));
	CHECK_HAS(asked(&f, ASK("status")), "\"worker_pid\"");
	CHECK_HAS(asked(&f, ASK("skipped")), "\"EBUSY\"");

	/* A client that leaves takes its request with it. */
	close(one);
	CHECK(walks_become(1));
	walk_is_held = false;
	CHECK_HAS(hear(two), "\"path\":\"fifo\\\\xff\",\"reason\":\"a FIFO\"");
	close(two);
	CHECK_HAS(asked(&f, ASK("skipped")), "\"is_cut\":false");
	ended(&f);
}

static void a_walk_without_end_is_cut(void)
{
	struct fixture f = started();
	static char answer[4 << 20];
	size_t n = 0;
	int fd = caller(&f);

	walk_is_fast = true; /* each round finds a file */
	say(fd, ASK("skipped"));
	do {
		ssize_t got = read(fd, answer + n, sizeof(answer) - 1 - n);

		must(got > 0, "read");
		n += (size_t)got;
	} while (answer[n - 1] != '\n');
	CHECK_HAS(answer, "\"is_cut\":true");
	CHECK(walks_become(0));
	walk_is_fast = false;
	close(fd);
	ended(&f);
}

static void stopping_answers_what_is_under_way(void)
{
	struct fixture f = started();
	int fd = caller(&f);

	walk_is_held = true;
	say(fd, ASK("skipped"));
	CHECK(walks_become(1));
	control_stop(f.w);
	CHECK_EQ(n_walks, 0);
	CHECK_HAS(hear(fd), "\"ECANCELED\"");
	CHECK(is_closed(fd));
	walk_is_held = false;
	close(fd);
	ended(&f);
}

/* What the supervisor was sent; its text in text[256]. */
static uint32_t supervisor_hears(const struct fixture *f, char *text)
{
	static struct proto_msg msg;

	if (proto_recv(f->sup, &msg))
		return 0;
	(void)snprintf(text, 256, "%.*s", (int)msg.len, (char *)msg.data);
	return msg.type;
}

#define UPGRADE ASK_WITH("upgrade", "\"binary\":\"/bin/sh\"")

static void an_upgrade_is_answered_by_the_supervisor(void)
{
	struct fixture f = started();
	char text[256] = "";
	int fd = caller(&f);

	say(fd, UPGRADE);
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	CHECK_STR(text, "/bin/sh");
	CHECK_HAS(asked(&f, UPGRADE), "\"EBUSY\"");
	control_upgrade_result(f.w, -EPROTO, "speaks another protocol");
	CHECK_HAS(hear(fd), "speaks another protocol");

	say(fd,
	    ASK_WITH("upgrade", "\"binary\":\"/bin/sh\",\"supervisor\":true"));
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE_ALL);
	control_upgrade_result(f.w, 0, "ready");
	CHECK_HAS(hear(fd), "\"result\"");

	/* Without a binary: our own; a missing one never gets that far. */
	say(fd, ASK("upgrade"));
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	CHECK_HAS(text, "test_control");
	control_upgrade_result(f.w, 0, "ready");
	CHECK_HAS(hear(fd), "\"result\"");
	say(fd, ASK_WITH("upgrade", "\"binary\":\"/no/such\""));
	CHECK_HAS(hear(fd), "\"ENOENT\"");
	say(fd, ASK_WITH("upgrade", "\"binary\":\"sh\""));
	CHECK_HAS(hear(fd), "absolute");
	close(fd);
	ended(&f);
}

static void an_upgrade_is_answered_before_the_worker_goes(void)
{
	struct fixture f = started();
	char text[256];
	int fd = caller(&f);

	say(fd, UPGRADE);
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	control_stop(f.w); /* drained before it was told */
	CHECK_HAS(hear(fd), "takes over");
	close(fd);
	ended(&f);
}

static void an_upgrade_is_not_waited_for_without_end(void)
{
	static _Atomic uint64_t now_ns = 1000 * PFS_NSEC_PER_SEC;
	struct fixture f;
	char text[256];
	int fd;

	pfs_clock_fake(&now_ns);
	f = started();
	fd = caller(&f);
	say(fd, UPGRADE);
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	now_ns += 61 * PFS_NSEC_PER_SEC;
	CHECK_HAS(hear(fd), "\"ETIMEDOUT\"");
	close(fd);
	ended(&f);
	pfs_clock_fake(NULL);
}

static void the_result_of_an_upgrade_may_find_nobody(void)
{
	struct fixture f = started();
	char text[256];
	int fd = caller(&f);

	say(fd, UPGRADE);
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	close(fd);
	control_upgrade_result(f.w, 0, "ready");
	CHECK_HAS(asked(&f, ASK("stats")), "\"reads\"");

	/* The next one is taken up, not refused as the second. */
	fd = caller(&f);
	say(fd, UPGRADE);
	CHECK_EQ(supervisor_hears(&f, text), PROTO_UPGRADE);
	close(fd);
	CHECK_HAS(asked(&f, ASK("stats")), "\"reads\"");
	ended(&f);
}

static void stop_asks_the_supervisor_if_nothing_is_open(void)
{
	static _Atomic uint64_t now_ns = 1000 * PFS_NSEC_PER_SEC;
	struct fixture f;
	char text[256];
	int fd;

	pfs_clock_fake(&now_ns);
	f = started();
	in_use = (struct image_info){.path = "a.img", .id = 1, .n_handles = 1};
	fd = caller(&f);
	say(fd, ASK("stop"));
	CHECK_HAS(asked(&f, ASK_WITH("stop", "\"force\":true")),
		  "\"supervisor_pid\"");
	CHECK_EQ(supervisor_hears(&f, text), PROTO_STOP_MOUNT);
	/* The other one waits for a close to come through, but not for long. */
	for (int i = 0; i < 20; i++) {
		pfs_sleep_ms(5);
		now_ns += 100 * PFS_NSEC_PER_MSEC;
	}
	CHECK_HAS(hear(fd), "a.img is open");
	in_use.id = 0;
	say(fd, ASK("stop"));
	CHECK_HAS(hear(fd), "\"worker_pid\"");
	CHECK_EQ(supervisor_hears(&f, text), PROTO_STOP_MOUNT);
	close(fd);
	ended(&f);
	pfs_clock_fake(NULL);
}

static void set_changes_the_log_level(void)
{
	struct fixture f = started();

	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"log\","
					    "\"value\":\"warning\"")),
		  "\"log\":\"warning\"");
	CHECK(pfs_log_on(PFS_LOG_WARNING) && !pfs_log_on(PFS_LOG_INFO));
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"log\","
					    "\"value\":\"loud\"")),
		  "\"EINVAL\"");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"chunk\","
					    "\"value\":\"1\"")),
		  "\"ENOENT\"");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"max_background\","
					    "\"value\":\"0\"")),
		  "\"EINVAL\"");
	CHECK_HAS(asked(&f, ASK("set")), "\"EINVAL\"");
	ended(&f);
}

static void fault_points_need_to_be_enabled(void)
{
	struct fixture f = started();

	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"status\"")),
		  "\"EPERM\"");
	pfs_fault_enable();
	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"arm\","
					      "\"spec\":\"alloc:eio@9\"")),
		  "\"result\"");
	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"arm\","
					      "\"spec\":\"alloc:bogus\"")),
		  "bogus");
	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"status\"")),
		  "{\"name\":\"alloc\",\"paused\":0,\"fired\":0}");
	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"resume\","
					      "\"point\":\"nowhere\"")),
		  "\"ENOENT\"");
	CHECK_HAS(asked(&f, ASK_WITH("debug", "\"action\":\"clear\"")),
		  "\"result\"");
	ended(&f);
}

static void strangers_are_turned_away(void)
{
	struct fixture f;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return; /* nobody else to be */
	f = started();
	must(chmod(f.dir, 0755) == 0 && chmod(f.addr.sun_path, 0666) == 0,
	     "chmod");
	pid = fork();
	if (!pid) {
		int fd;

		if (setgid(65534) || setuid(65534))
			_exit(3);
		fd = caller(&f);
		say(fd, ASK("stats"));
		_exit(strstr(hear(fd), "\"EACCES\"") && is_closed(fd) ? 0 : 1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	ended(&f);
}

int main(void)
{
	pfs_log_set_level(PFS_LOG_WARNING);
	RUN(status_tells_of_the_mount);
	RUN(stats_have_every_counter);
	RUN(images_are_the_known_and_the_used);
	RUN(junk_is_answered_and_hung_up_on);
	RUN(a_request_over_64_kib_is_refused);
	RUN(requests_on_one_connection_are_answered_in_order);
	RUN(another_protocol_or_verb_is_told_so);
	RUN(no_more_than_32_are_let_in);
	RUN(who_says_nothing_is_hung_up_on_after_10_s);
	RUN(a_long_request_holds_nobody_up);
	RUN(a_walk_without_end_is_cut);
	RUN(stopping_answers_what_is_under_way);
	RUN(an_upgrade_is_answered_by_the_supervisor);
	RUN(an_upgrade_is_answered_before_the_worker_goes);
	RUN(an_upgrade_is_not_waited_for_without_end);
	RUN(the_result_of_an_upgrade_may_find_nobody);
	RUN(stop_asks_the_supervisor_if_nothing_is_open);
	RUN(set_changes_the_log_level);
	RUN(fault_points_need_to_be_enabled);
	RUN(strangers_are_turned_away);
	return CHECK_RESULT();
}
