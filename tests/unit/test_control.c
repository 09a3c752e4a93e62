/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server of the control socket, with a worker that has a catalog in
 * memory and no store.  Images in use and the walk of the source, which need
 * a mount, and the predictor are ours here.
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
#include "control_hold.h"
#include "ops.h"
#include "predict.h"
#include "proto.h"
#include "reader.h"
#include "vm.h"

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

/* --- the predictor ------------------------------------------------------ */

static struct played {
	struct predict_settings set;
	uint64_t image, vm; /* what the figures below belong to */
	struct reader_counts reads;
	struct pfs_prefetch_stats stats;
	struct pfs_why why;
	uint64_t warming;
	uint8_t blob[1 << 20]; /* recording 7 */
	size_t n_blob;
	int import_err;
	uint64_t dropped; /* recording that was dropped last */
	struct trace_record trace[3];
	size_t n_trace; /* records to be taken */
	int n_tracers;
} played;

static bool is_meant(uint64_t image, uint64_t vm)
{
	return (!image || image == READERS_ANY || image == played.image) &&
	       (!vm || vm == READERS_ANY || vm == played.vm);
}

void predict_settings(struct worker *w, struct predict_settings *out)
{
	(void)w;
	*out = played.set;
}

void predict_set(struct worker *w, const struct predict_settings *s)
{
	(void)w;
	played.set = *s;
}

void predict_stats(struct worker *w, uint64_t image, uint64_t vm,
		   struct pfs_prefetch_stats *out)
{
	(void)w;
	*out = is_meant(image, vm) ? played.stats
				   : (struct pfs_prefetch_stats){.issued = 0};
}

void predict_count(struct worker *w)
{
	(void)w;
}

void predict_reads(struct worker *w, uint64_t image, uint64_t vm,
		   struct reader_counts *out)
{
	(void)w;
	*out = is_meant(image, vm) ? played.reads
				   : (struct reader_counts){.n_hits = 0};
}

int predict_each_reader(struct worker *w,
			int (*fn)(void *arg, uint64_t image, uint64_t vm),
			void *arg)
{
	(void)w;
	return played.image ? fn(arg, played.image, played.vm) : 0;
}

size_t predict_why(struct worker *w, uint64_t image, uint64_t chunk,
		   struct pfs_why *out, size_t n)
{
	(void)w;
	if (image != played.image || chunk != played.why.chunk || !n)
		return 0;
	*out = played.why;
	return 1;
}

void predict_load(struct worker *w, uint64_t image, uint64_t size)
{
	(void)w;
	(void)image;
	(void)size;
}

int predict_warm(struct worker *w, uint64_t image, uint64_t first_chunk,
		 uint64_t n_chunks, bool from_recording)
{
	(void)w;
	(void)first_chunk;
	if (image != played.image || (from_recording && !played.n_blob))
		return -ENOENT;
	played.warming = n_chunks;
	return 0;
}

uint64_t predict_warming(struct worker *w, uint64_t image)
{
	(void)w;
	return image == played.image ? played.warming : 0;
}

int predict_recordings(struct worker *w, uint64_t image,
		       int (*fn)(void *arg, uint64_t number, const void *blob,
				 size_t len),
		       void *arg)
{
	(void)w;
	if (image != played.image || !played.n_blob)
		return 0;
	return fn(arg, 7, played.blob, played.n_blob);
}

int predict_import(struct worker *w, uint64_t image, const void *blob,
		   size_t len, uint64_t *number)
{
	(void)w;
	(void)image;
	if (played.import_err)
		return played.import_err;
	memcpy(played.blob, blob, len);
	played.n_blob = len;
	*number = 7;
	return 0;
}

int predict_drop(struct worker *w, uint64_t image, uint64_t number)
{
	(void)w;
	(void)image;
	played.dropped = number;
	return number && number != 7 ? -ENOENT : 0;
}

int predict_trace_start(struct worker *w, uint64_t image, struct tracer **out)
{
	(void)w;
	(void)image;
	played.n_tracers++;
	*out = (struct tracer *)&played;
	return 0;
}

size_t predict_trace_take(struct worker *w, struct tracer *t,
			  struct trace_record *out, size_t n, uint64_t wait_ns,
			  uint64_t *dropped)
{
	size_t got = PFS_MIN(played.n_trace, n);

	(void)w;
	(void)t;
	(void)wait_ns;
	memcpy(out, played.trace, got * sizeof(*out));
	played.n_trace -= got;
	*dropped = 5;
	return got;
}

void predict_trace_stop(struct worker *w, struct tracer *t)
{
	(void)w;
	(void)t;
	played.n_tracers--;
}

/* --- images held -------------------------------------------------------- */

int control_hold(struct control_call *call, struct control_held *out)
{
	*out = (struct control_held){.id = played.image, .size = 1000000};
	return pfs_json_bytes(call->req, "image", &out->name);
}

void control_held_done(struct control_held *h)
{
	free(h->name);
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
	pfs_mutex_init(&f.w->mount_lock, PFS_RANK_MOUNT);
	played = (struct played){
		.set = {.level = PFS_PREFETCH_BALANCED, .proposers = 7}};
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

/* An image that is in the catalog; its number. */
static uint64_t known(const struct fixture *f, const char *name)
{
	struct pfs_identity ident = {.ino = 7, .size = 1000000};
	enum pfs_image_verdict verdict;
	struct pfs_image_row row;

	CHECK_EQ(pfs_catalog_image_open(f->w->catalog, name, &ident, false,
					&row, &verdict),
		 0);
	return row.id;
}

static void the_predictor_is_set_and_status_tells(void)
{
	struct fixture f = started();
	const char *answer;

	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"prefetch\","
					    "\"value\":\"aggressive\"")),
		  "\"prefetch\":\"aggressive\"");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"proposer.replay\","
					    "\"value\":\"off\"")),
		  "\"result\"");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"trust\","
					    "\"value\":\"shared\"")),
		  "\"result\"");
	CHECK_EQ(played.set.level, PFS_PREFETCH_AGGRESSIVE);
	CHECK_EQ(played.set.proposers, 7 & ~(1 << PFS_PROPOSER_REPLAY));
	CHECK(played.set.trusts_shared);

	answer = asked(&f, ASK("status"));
	CHECK_HAS(answer, "\"prefetch\":{\"level\":\"aggressive\"");
	CHECK_HAS(answer, "\"trust\":\"shared\"");
	CHECK_HAS(answer, "\"sequential\":true,\"replay\":false");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"proposer.replay\","
					    "\"value\":\"on\"")),
		  "\"result\"");
	CHECK_EQ(played.set.proposers, 7);
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"prefetch\","
					    "\"value\":\"bold\"")),
		  "not 'bold'");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"proposer.luck\","
					    "\"value\":\"on\"")),
		  "no proposer 'luck'");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"proposer.replay\","
					    "\"value\":\"yes\"")),
		  "\"EINVAL\"");
	CHECK_HAS(asked(&f, ASK_WITH("set", "\"key\":\"trust\","
					    "\"value\":\"all\"")),
		  "\"EINVAL\"");
	ended(&f);
}

static void stats_tell_of_one_image_or_vm(void)
{
	struct fixture f = started();
	struct state_handle *h = &f.w->state->handle[0];
	struct reader me;
	const char *answer;
	char request[256];

	reader_of(getpid(), &me);
	*h = (struct state_handle){.use = STATE_USED,
				   .serial = 1,
				   .tgid = me.tgid,
				   .start_time = me.start_time};
	played.image = known(&f, "a.img");
	played.vm = vm_number(me.tgid, me.start_time);
	played.reads = (struct reader_counts){
		.n_hits = 6, .n_late = 1, .n_misses = 1, .read_bytes = 4096};
	played.stats = (struct pfs_prefetch_stats){
		.issued = 4, .used = 3, .late = 1, .saved_ns = 1500000000};

	answer = asked(&f, ASK_WITH("stats", "\"image\":\"a.img\""));
	CHECK_HAS(answer, "{\"name\":\"a.img\",\"reads\":8,\"reads_hit\":6");
	CHECK_HAS(answer, "\"prefetch\":{\"bytes\":262144,"
			  "\"used_bytes\":196608,\"late_bytes\":65536");
	CHECK_HAS(answer, "\"saved_s\":1.5");
	CHECK_HAS(answer, "\"command\":\"test_control\"");

	(void)snprintf(request, sizeof(request),
		       ASK_WITH("stats", "\"vm\":\"%d\""), (int)getpid());
	answer = asked(&f, request);
	CHECK_HAS(answer, "\"images\":[{\"name\":\"a.img\"");
	(void)snprintf(request, sizeof(request),
		       ASK_WITH("stats", "\"vm\":\"%016llx\""),
		       (unsigned long long)played.vm);
	CHECK_HAS(asked(&f, request), "\"reads\":8,");
	answer = asked(&f, ASK("stats"));
	CHECK_HAS(answer, "\"images\":[{\"name\":\"a.img\"");
	CHECK_HAS(answer, "\"vms\":[{\"vm\":");

	CHECK_HAS(asked(&f, ASK_WITH("stats", "\"vm\":\"1\"")),
		  "process 1 has no image open");
	CHECK_HAS(asked(&f, ASK_WITH("stats", "\"vm\":\"qemu\"")),
		  "16 hexadecimal digits");
	CHECK_HAS(asked(&f, ASK_WITH("stats", "\"image\":\"b.img\"")),
		  "\"ENOENT\"");
	/* Whoever has its pid now is another. */
	h->start_time++;
	played.vm = vm_number(h->tgid, h->start_time);
	answer = asked(&f, ASK_WITH("stats", "\"image\":\"a.img\""));
	CHECK(!strstr(answer, "\"command\""));
	ended(&f);
}

static void recordings_go_out_and_come_in(void)
{
	struct fixture f = started();
	const char *answer;

	played.image = known(&f, "a.img");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"import\","
						  "\"image\":\"a.img\","
						  "\"data\":\"Zm9vYmE=\"")),
		  "\"number\":7");
	CHECK_EQ(played.n_blob, 5);
	CHECK_EQ(memcmp(played.blob, "fooba", 5), 0);
	answer = asked(&f, ASK_WITH("recording", "\"action\":\"export\","
						 "\"image\":\"a.img\","
						 "\"number\":7"));
	CHECK_HAS(answer, "\"data\":\"Zm9vYmE=\"");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"list\","
						  "\"image\":\"a.img\"")),
		  "{\"number\":7,\"bytes\":5,\"is_sound\":false}");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"drop\","
						  "\"image\":\"a.img\","
						  "\"number\":7")),
		  "\"result\"");
	CHECK_EQ(played.dropped, 7);
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"drop\","
						  "\"image\":\"a.img\","
						  "\"all\":true")),
		  "\"result\"");
	CHECK_EQ(played.dropped, 0);
	ended(&f);
}

static void what_is_wrong_with_a_recording_is_told(void)
{
	struct fixture f = started();

	played.image = known(&f, "a.img");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"export\","
						  "\"image\":\"a.img\","
						  "\"number\":3")),
		  "has no recording 3");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"drop\","
						  "\"image\":\"a.img\","
						  "\"number\":3")),
		  "has no recording 3");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"drop\","
						  "\"image\":\"a.img\","
						  "\"number\":0")),
		  "\"EINVAL\"");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"import\","
						  "\"image\":\"a.img\","
						  "\"data\":\"Zm9\"")),
		  "\"EINVAL\"");
	played.import_err = -EBADMSG;
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"import\","
						  "\"image\":\"a.img\","
						  "\"data\":\"Zm9v\"")),
		  "damaged");
	played.import_err = -ENOSPC;
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"import\","
						  "\"image\":\"a.img\","
						  "\"data\":\"Zm9v\"")),
		  "drop one first");
	CHECK_HAS(asked(&f, ASK_WITH("recording", "\"action\":\"sing\","
						  "\"image\":\"a.img\"")),
		  "\"EINVAL\"");
	ended(&f);
}

static void the_largest_recording_fits_in_a_request(void)
{
	static const char head[] = "{\"protocol\":1,\"verb\":\"recording\","
				   "\"action\":\"import\",\"image\":\"a\","
				   "\"data\":\"";
	struct fixture f = started();
	size_t n_text = (sizeof(played.blob) + 2) / 3 * 4;
	char *request = malloc(sizeof(head) + n_text + 8);
	char *end = stpcpy(request, head);

	memset(end, 'A', n_text);
	strcpy(end + n_text - 1, "=\"}\n"); /* 2^20 = 3 n + 1: "==" */
	end[n_text - 2] = '=';
	CHECK_HAS(asked(&f, request), "\"number\":7");
	CHECK_EQ(played.n_blob, sizeof(played.blob));
	free(request);
	ended(&f);
}

static uint64_t begun(const struct fixture *f)
{
	const char *answer = asked(f, ASK_WITH("trace", "\"action\":\"begin\","
							"\"image\":\"a.img\""));
	const char *id = strstr(answer, "\"id\":");

	return id ? strtoull(id + 5, NULL, 10) : 0;
}

static const char *taken(const struct fixture *f, const char *action,
			 uint64_t id)
{
	char request[128];

	(void)snprintf(request, sizeof(request),
		       ASK_WITH("trace", "\"action\":\"%s\",\"id\":%llu"),
		       action, (unsigned long long)id);
	return asked(f, request);
}

static void a_trace_is_taken_in_parts(void)
{
	struct fixture f = started();
	uint64_t id;

	played.image = known(&f, "a.img");
	played.trace[0] = (struct trace_record){1500, 4096, 512, false};
	played.trace[1] = (struct trace_record){2000000, 0, 1024, true};
	played.n_trace = 2;
	id = begun(&f);
	CHECK(id);
	CHECK_HAS(taken(&f, "take", id),
		  "\"records\":[1,0,4096,512,2000,1,0,1024],\"dropped\":5");
	played.n_trace = 1;
	CHECK_HAS(taken(&f, "end", id), "\"records\":[1,0,4096,512]");
	CHECK_EQ(played.n_tracers, 0);
	CHECK_HAS(taken(&f, "take", id), "\"ESTALE\"");
	CHECK_HAS(taken(&f, "take", 0), "\"ESTALE\"");
	CHECK_HAS(taken(&f, "dance", id), "\"EINVAL\"");
	ended(&f);
}

static void traces_of_clients_who_are_gone_make_room(void)
{
	static _Atomic uint64_t now_ns = 1000 * PFS_NSEC_PER_SEC;
	struct fixture f;
	uint64_t id[4];

	pfs_clock_fake(&now_ns);
	f = started();
	played.image = known(&f, "a.img");
	for (size_t i = 0; i < PFS_ARRAY_SIZE(id); i++)
		id[i] = begun(&f);
	CHECK_EQ(played.n_tracers, 4);
	CHECK_EQ(begun(&f), 0);
	now_ns += 9 * PFS_NSEC_PER_SEC;
	CHECK_HAS(taken(&f, "take", id[0]), "\"records\"");
	now_ns += 2 * PFS_NSEC_PER_SEC;
	CHECK(begun(&f));
	CHECK_EQ(played.n_tracers, 4);
	CHECK_HAS(taken(&f, "take", id[0]), "\"records\"");
	CHECK_HAS(taken(&f, "take", id[1]), "\"ESTALE\"");
	ended(&f);
	CHECK_EQ(played.n_tracers, 0); /* none is left behind */
	pfs_clock_fake(NULL);
}

static void without_a_store_nothing_is_brought_or_explained(void)
{
	struct fixture f = started();

	played.image = known(&f, "a.img");
	CHECK_HAS(asked(&f, ASK_WITH("why", "\"image\":\"a.img\","
					    "\"offset\":0")),
		  "no store");
	CHECK_HAS(asked(&f, ASK_WITH("warm", "\"image\":\"a.img\"")),
		  "not in use: with --wait");
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

static void a_request_over_2_mib_is_refused(void)
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
	RUN(the_predictor_is_set_and_status_tells);
	RUN(stats_tell_of_one_image_or_vm);
	RUN(recordings_go_out_and_come_in);
	RUN(what_is_wrong_with_a_recording_is_told);
	RUN(the_largest_recording_fits_in_a_request);
	RUN(a_trace_is_taken_in_parts);
	RUN(traces_of_clients_who_are_gone_make_room);
	RUN(without_a_store_nothing_is_brought_or_explained);
	RUN(junk_is_answered_and_hung_up_on);
	RUN(a_request_over_2_mib_is_refused);
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
