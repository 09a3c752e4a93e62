/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's side of vectors: whose they are, which are taken, and that no
 * guest takes more than its share.  The rest is in tests/fault/test_flood.c. */
#include "intake_fixture.h"

#include <fcntl.h>

#include <pfs/counters.h>
#include <pfs/log.h>

#include "intake_vm.h"

#define SEC PFS_NSEC_PER_SEC

static _Atomic uint64_t fake_ns = 1000 * SEC;

/* --- rations, with time passed in --- */

static void a_full_bucket_gives_its_burst_and_then_its_rate(void)
{
	struct intake_bucket b;
	int n = 0;

	intake_bucket_init(&b, 20, 40, SEC);
	while (n < 1000 && intake_bucket_take(&b, SEC))
		n++;
	CHECK_EQ(n, 40);
	for (n = 0; n < 1000 && intake_bucket_take(&b, 2 * SEC);)
		n++;
	CHECK_EQ(n, 20);
	/* A long rest gives no more than the burst. */
	for (n = 0; n < 1000 && intake_bucket_take(&b, 1000 * SEC);)
		n++;
	CHECK_EQ(n, 40);
}

static void an_empty_bucket_says_when_it_has_tokens(void)
{
	struct intake_bucket b;

	intake_bucket_init(&b, 20, 2, SEC);
	CHECK_EQ(intake_bucket_wait_ns(&b, 1, SEC), 0);
	CHECK(intake_bucket_take(&b, SEC) && intake_bucket_take(&b, SEC));

	CHECK_EQ(intake_bucket_wait_ns(&b, 1, SEC), SEC / 20);
	CHECK(!intake_bucket_has(&b, SEC + SEC / 20 - 1));
	CHECK(intake_bucket_has(&b, SEC + SEC / 20));
	/* More than it holds never come. */
	CHECK_EQ(intake_bucket_wait_ns(&b, 5, SEC + SEC / 20), SEC / 20);
	/* Time does not go back. */
	CHECK(intake_bucket_has(&b, SEC));
}

/* --- judgement --- */

static enum pfs_intake_count judge(struct intake_agents *a, uint8_t agent,
				   uint64_t seq)
{
	struct pfs_vector v = {.seq = seq, .nonce = {0, agent}};

	return intake_judge(a, &v).is;
}

static void numbers_must_rise(void)
{
	struct intake_agents a = {0};
	struct pfs_vector v = {.nonce = {0, 1}};

	CHECK_EQ(judge(&a, 1, 5), PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 1, 5), PFS_INTAKE_DUPLICATE);
	CHECK_EQ(judge(&a, 1, 4), PFS_INTAKE_REPLAYED);
	v.seq = 6;
	CHECK(!intake_judge(&a, &v).is_jump);
	v.seq = 8;
	CHECK(intake_judge(&a, &v).is_jump);
	v.seq = INT64_MAX;
	CHECK_EQ(intake_judge(&a, &v).is, PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 1, 9), PFS_INTAKE_REPLAYED);
}

static void the_newest_agent_speaks(void)
{
	struct intake_agents a = {0};

	CHECK_EQ(judge(&a, 1, 100), PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 2, 1), PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 1, 101), PFS_INTAKE_OLD_AGENT);
	CHECK_EQ(judge(&a, 2, 2), PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 3, 1), PFS_INTAKE_TAKEN);
	CHECK_EQ(judge(&a, 2, 3), PFS_INTAKE_OLD_AGENT);
	CHECK_EQ(judge(&a, 1, 102), PFS_INTAKE_OLD_AGENT);
}

/* --- history --- */

static void history_keeps_the_newest_within_a_step_of_what_was_sent(void)
{
	struct intake_past past[4];
	struct intake_history h = {.room = 4, .past = past};
	struct pfs_intake_sample out[8];

	CHECK_EQ(intake_history_copy(&h, out, 8), 0);
	for (uint32_t n = 1; n <= 6; n++) {
		struct pfs_vector v = {.n_extents = n};

		for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
			v.feature[i] = pfs_feature_max(i) / n;
		intake_history_add(&h, &v, n);
	}

	CHECK_EQ(intake_history_copy(&h, out, 2), 2);
	CHECK_EQ(out[0].time_ns, 5);
	CHECK_EQ(intake_history_copy(&h, out, 8), 4);
	for (uint32_t n = 3; n <= 6; n++) {
		CHECK_EQ(out[n - 3].time_ns, n);
		CHECK_EQ(out[n - 3].n_extents, n);
		for (enum pfs_feature i = 0; i < PFS_FEATURES; i++) {
			uint32_t max = pfs_feature_max(i), sent = max / n;

			CHECK(out[n - 3].feature[i] <= sent);
			CHECK(sent - out[n - 3].feature[i] <=
			      2 * (max / UINT16_MAX + 1));
		}
	}
}

/* --- identity --- */

static void a_vm_is_who_its_socket_says(void)
{
	struct rig g;
	struct pfs_intake_vm vm;
	int a, b;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	must_add(&g, "vm-b");
	a = must_connect(&g, "vm-a");
	b = must_connect(&g, "vm-b");

	/* The very bytes of the other, and a later number. */
	CHECK(push_frame(a, 1, 5));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	CHECK(push_frame(b, 1, 5) && push_frame(b, 1, 1000));
	CHECK(EVENTUALLY(g.of[1].n == 2));
	CHECK(push_frame(a, 1, 6));
	CHECK(EVENTUALLY(g.of[0].n == 2));

	vm = known(&g, "vm-a");
	CHECK_STR(vm.name, "vm-a");
	CHECK_EQ(vm.cid, 0);
	CHECK_EQ(vm.peer_pid, getpid());
	CHECK_EQ(vm.n_conns, 1);
	CHECK_EQ(vm.last.seq, 6);
	CHECK(vm.last_ns > 0);
	CHECK_EQ(vm.n[PFS_INTAKE_NEW_AGENT], 1);
	CHECK_EQ(vm.n[PFS_INTAKE_JUMPED], 0);
	CHECK_EQ(counted(&g, "vm-b", PFS_INTAKE_JUMPED), 1);
	close(a);
	close(b);
	CHECK(EVENTUALLY(!known(&g, "vm-a").n_conns));
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_TORN), 0);
	rig_stop(&g);
}

/* --- frames --- */

static void what_is_wrong_is_counted_by_reason_and_dropped(void)
{
	struct rig g;
	struct pfs_intake_vm vm;
	uint8_t frame[PFS_VECTOR_LEN];
	uint64_t before[PFS_C_N], after[PFS_C_N];
	int fd;

	pfs_counters_read(before);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 2) && push_frame(fd, 1, 2));
	CHECK(push_frame(fd, 1, 1));
	CHECK(push_frame(fd, 2, 1) && push_frame(fd, 1, 3));
	make_frame(frame, 2, 2);
	frame[100] ^= 1;
	CHECK(push(fd, frame, sizeof(frame)));
	CHECK(push_frame(fd, 2, 3));
	CHECK(EVENTUALLY(g.of[0].last_seq == 3));

	vm = known(&g, "vm-a");
	CHECK_EQ(g.of[0].n, 3);
	CHECK_EQ(vm.n[PFS_INTAKE_TAKEN], 3);
	CHECK_EQ(vm.n[PFS_INTAKE_DUPLICATE], 1);
	CHECK_EQ(vm.n[PFS_INTAKE_REPLAYED], 1);
	CHECK_EQ(vm.n[PFS_INTAKE_OLD_AGENT], 1);
	CHECK_EQ(vm.n[PFS_INTAKE_NEW_AGENT], 2);
	CHECK_EQ(vm.n[PFS_INTAKE_BAD], 1);
	CHECK_EQ(vm.n_bad[PFS_VECTOR_BAD_CHECKSUM], 1);
	pfs_counters_read(after);
	CHECK_EQ(after[PFS_C_VECTORS_TAKEN] - before[PFS_C_VECTORS_TAKEN], 3);
	CHECK_EQ(after[PFS_C_VECTORS_BAD] - before[PFS_C_VECTORS_BAD], 1);
	close(fd);
	rig_stop(&g);
}

static void a_frame_in_pieces_is_a_frame(void)
{
	struct rig g;
	uint8_t frame[2 * PFS_VECTOR_LEN];
	int fd;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	make_frame(frame, 1, 1);
	make_frame(frame + PFS_VECTOR_LEN, 1, 2);
	CHECK(push(fd, frame, 1));
	pfs_sleep_ms(2);
	CHECK(push(fd, frame + 1, 600));
	pfs_sleep_ms(2);
	CHECK(push(fd, frame + 601, sizeof(frame) - 601));
	CHECK(EVENTUALLY(g.of[0].n == 2));
	close(fd);
	rig_stop(&g);
}

static void a_stranger_is_shown_the_door(void)
{
	struct rig g;
	uint8_t junk[PFS_VECTOR_LEN] = "GET / HTTP/1.1\r\n";
	int fd;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	CHECK(push(fd, junk, sizeof(junk)));
	CHECK(EVENTUALLY(is_closed(fd)));
	CHECK_EQ(known(&g, "vm-a").n_bad[PFS_VECTOR_BAD_MAGIC], 1);
	close(fd);
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(fd);
	rig_stop(&g);
}

static void a_connection_that_ends_within_a_frame_is_counted(void)
{
	struct rig g;
	uint8_t frame[PFS_VECTOR_LEN];
	int fd;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	make_frame(frame, 1, 1);
	CHECK(push(fd, frame, 300));
	close(fd);
	CHECK(EVENTUALLY(counted(&g, "vm-a", PFS_INTAKE_TORN) == 1));
	/* Its half is nobody's beginning. */
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_BAD), 0);
	close(fd);
	rig_stop(&g);
}

static void early_vectors_are_taken_but_not_charted(void)
{
	struct rig g;
	struct pfs_intake_sample past[4];
	struct pfs_vector v = {.seq = 1,
			       .interval_ms = 100,
			       .nonce = {1},
			       .flags = PFS_VECTOR_EARLY};
	uint8_t frame[PFS_VECTOR_LEN];
	size_t n = 4;
	int fd;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	pfs_vector_encode(&v, frame);
	CHECK(push(fd, frame, sizeof(frame)) && push_frame(fd, 1, 2));
	CHECK(EVENTUALLY(g.of[0].n == 2));
	CHECK_EQ(pfs_intake_history(g.in, "vm-a", past, &n), 0);
	CHECK_EQ(n, 1);
	CHECK_EQ(pfs_intake_history(g.in, "vm-z", past, &n), -ENOENT);
	close(fd);
	rig_stop(&g);
}

/* --- with a clock that stands still --- */

/* Let the thread see what time it is. */
static void pass(struct rig *g, uint64_t ns)
{
	fake_ns += ns;
	must_add(g, "waker");
	CHECK_EQ(pfs_intake_remove_vm(g->in, "waker"), 0);
}

static void a_guest_over_its_rate_waits(void)
{
	struct rig g;
	int fd;

	pfs_clock_fake(&fake_ns);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	for (uint64_t seq = 1; seq <= 100; seq++)
		CHECK(push_frame(fd, 1, seq));
	CHECK(EVENTUALLY(counted(&g, "vm-a", PFS_INTAKE_THROTTLED) == 1));
	CHECK_EQ(g.of[0].n, 40);
	pass(&g, SEC);
	CHECK(EVENTUALLY(counted(&g, "vm-a", PFS_INTAKE_THROTTLED) == 2));
	CHECK_EQ(g.of[0].n, 60);
	/* Nothing is lost, it comes later. */
	pass(&g, 2 * SEC);
	CHECK(EVENTUALLY(g.of[0].last_seq == 100));
	CHECK_EQ(g.of[0].n, 100);
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_JUMPED), 0);
	close(fd);
	rig_stop(&g);
	pfs_clock_fake(NULL);
}

static void a_drip_costs_a_token_a_drop(void)
{
	struct rig g;
	uint8_t frame[PFS_VECTOR_LEN];
	int fd;
	uint32_t n = 0;

	pfs_clock_fake(&fake_ns);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	make_frame(frame, 1, 1);
	while (n < PFS_VECTOR_LEN - 1 &&
	       !counted(&g, "vm-a", PFS_INTAKE_THROTTLED)) {
		CHECK(push(fd, &frame[n++], 1));
		pfs_sleep_ms(1);
	}
	CHECK(n >= 40 && n < PFS_VECTOR_LEN - 1);
	CHECK(push(fd, &frame[n], PFS_VECTOR_LEN - n));
	pass(&g, SEC);
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(fd);
	rig_stop(&g);
	pfs_clock_fake(NULL);
}

static void half_a_frame_for_5_s_ends_the_connection(void)
{
	struct rig g;
	uint8_t frame[PFS_VECTOR_LEN];
	int slow, whole;

	pfs_clock_fake(&fake_ns);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	must_add(&g, "vm-b");
	slow = must_connect(&g, "vm-a");
	whole = must_connect(&g, "vm-b");
	make_frame(frame, 1, 1);
	CHECK(push(slow, frame, 100));
	CHECK(push(whole, frame, sizeof(frame)));
	CHECK(EVENTUALLY(g.of[1].n == 1));
	pass(&g, 3 * SEC);
	CHECK(push(slow, frame + 100, 100)); /* more of it buys no time */
	pfs_sleep_ms(2);
	CHECK(!is_closed(slow));
	pass(&g, 2 * SEC);
	CHECK(EVENTUALLY(is_closed(slow)));
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_SLOW), 1);
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_TORN), 0);
	CHECK(!is_closed(whole)); /* silence is no half frame */
	close(slow);
	close(whole);
	rig_stop(&g);
	pfs_clock_fake(NULL);
}

static void a_third_connection_is_refused_unless_one_is_long_silent(void)
{
	struct rig g;
	int fd[4];

	pfs_clock_fake(&fake_ns);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	for (int i = 0; i < 3; i++)
		fd[i] = must_connect(&g, "vm-a");
	CHECK(EVENTUALLY(is_closed(fd[2])));
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_REFUSED), 1);
	CHECK_EQ(counted(&g, "vm-a", PFS_INTAKE_ACCEPTED), 2);
	CHECK(push_frame(fd[0], 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));

	fake_ns += 30 * SEC;
	CHECK(push_frame(fd[0], 1, 2));
	CHECK(EVENTUALLY(g.of[0].n == 2));
	fake_ns += 30 * SEC;
	fd[3] = must_connect(&g, "vm-a");
	CHECK(EVENTUALLY(is_closed(fd[1])));
	CHECK(push_frame(fd[3], 1, 3) && push_frame(fd[0], 1, 4));
	CHECK(EVENTUALLY(g.of[0].n >= 3));
	CHECK_EQ(known(&g, "vm-a").n_conns, 2);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	rig_stop(&g);
	pfs_clock_fake(NULL);
}

/* --- sockets --- */

static void names_are_checked(void)
{
	static const char *const bad[] = {"",      ".",   "..",   ".a", "a/b",
					  "cid:3", "a b", "\xc3", "a\n"};
	char longest[PFS_INTAKE_NAME_LEN + 1];
	struct rig g;

	memset(longest, 'x', sizeof(longest));
	longest[PFS_INTAKE_NAME_LEN] = '\0';
	CHECK(!pfs_intake_name_ok(longest));
	longest[PFS_INTAKE_NAME_LEN - 1] = '\0';
	CHECK(pfs_intake_name_ok(longest));
	CHECK(pfs_intake_name_ok("web-1_a.b"));
	rig_start(&g, (struct pfs_intake_config){0});
	for (size_t i = 0; i < PFS_ARRAY_SIZE(bad); i++)
		CHECK_EQ(pfs_intake_add_vm(g.in, bad[i]), -EINVAL);
	rig_stop(&g);
}

static void ignore_log(enum pfs_log_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static int add_quietly(struct rig *g, const char *name)
{
	int err;

	pfs_log_set_sink(ignore_log, NULL);
	err = pfs_intake_add_vm(g->in, name);
	pfs_log_set_sink(NULL, NULL);
	return err;
}

static void a_socket_left_behind_is_replaced_but_nobody_elses(void)
{
	struct rig g;
	struct sockaddr_un at;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	rig_start(&g, (struct pfs_intake_config){0});
	at = address(&g, "vm-a");
	CHECK(!bind(fd, (struct sockaddr *)&at, sizeof(at)) && !listen(fd, 1));
	CHECK_EQ(add_quietly(&g, "vm-a"), -EADDRINUSE);
	close(fd);
	must_add(&g, "vm-a");
	CHECK(!stat(at.sun_path, &st) && (st.st_mode & 0777) == 0660);
	CHECK_EQ(add_quietly(&g, "vm-a"), -EEXIST);
	CHECK_EQ(pfs_intake_remove_vm(g.in, "vm-a"), 0);
	CHECK_EQ(pfs_intake_remove_vm(g.in, "vm-a"), -ENOENT);
	CHECK(stat(at.sun_path, &st) < 0);

	fd = open(at.sun_path, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(add_quietly(&g, "vm-a"), -EEXIST);
	close(fd);
	CHECK(!unlink(at.sun_path));
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(fd);
	rig_stop(&g);
}

static void a_removed_vm_loses_its_connections(void)
{
	struct rig g;
	struct pfs_intake_vm vm;
	int fd;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 1));
	CHECK_EQ(pfs_intake_remove_vm(g.in, "vm-a"), 0);
	CHECK_EQ(pfs_intake_vm(g.in, "vm-a", &vm), -ENOENT);
	must_add(&g, "vm-a"); /* at once */
	CHECK(EVENTUALLY(is_closed(fd)));
	close(fd);
	/* It is new: what it said before is forgotten. */
	fd = must_connect(&g, "vm-a");
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(g.of[0].n == 2));
	close(fd);
	rig_stop(&g);
}

static _Atomic int n_warnings;

static void count_warning(enum pfs_log_level level, const char *line, void *arg)
{
	(void)line;
	(void)arg;
	n_warnings += level == PFS_LOG_WARNING;
}

static void without_descriptors_it_rests_and_comes_back(void)
{
	struct rig g;
	struct rlimit all, none;
	struct sockaddr_un at;
	int fd;

	pfs_clock_fake(&fake_ns);
	pfs_log_set_sink(count_warning, NULL);
	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	at = address(&g, "vm-a");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!getrlimit(RLIMIT_NOFILE, &all));
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = all.rlim_max};
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK(!connect(fd, (struct sockaddr *)&at, sizeof(at)));
	CHECK(push_frame(fd, 1, 1));
	CHECK(EVENTUALLY(n_warnings == 1));
	pfs_sleep_ms(20);
	CHECK_EQ(n_warnings, 1); /* it does not try again and again */

	CHECK(!setrlimit(RLIMIT_NOFILE, &all));
	pass(&g, SEC);
	CHECK(EVENTUALLY(g.of[0].n == 1));
	close(fd);
	rig_stop(&g);
	pfs_log_set_sink(NULL, NULL);
	pfs_clock_fake(NULL);
}

/* --- starting and stopping --- */

static int count_vm(void *arg, const struct pfs_intake_vm *vm)
{
	int *left = arg;

	CHECK(vm->name[0]);
	return --*left ? 0 : 7;
}

static void each_vm_is_named_until_told_to_stop(void)
{
	struct rig g;
	int left = 100;

	rig_start(&g, (struct pfs_intake_config){0});
	must_add(&g, "vm-a");
	must_add(&g, "vm-b");
	must_add(&g, "vm-c");
	CHECK_EQ(pfs_intake_each(g.in, count_vm, &left), 0);
	CHECK_EQ(left, 97);
	left = 2;
	CHECK_EQ(pfs_intake_each(g.in, count_vm, &left), 7);
	rig_stop(&g);
}

static void it_stops_with_guests_connected_and_frames_waiting(void)
{
	for (int round = 0; round < 10; round++) {
		struct rig g;
		int fd;

		rig_start(&g, (struct pfs_intake_config){0});
		must_add(&g, "vm-a");
		fd = must_connect(&g, "vm-a");
		for (uint64_t seq = 1; seq <= 50; seq++)
			CHECK(push_frame(fd, 1, seq));
		rig_stop(&g);
		CHECK(is_closed(fd));
		close(fd);
	}
	pfs_intake_stop(NULL);
}

static void without_anything_to_listen_on_the_caller_is_told(void)
{
	struct pfs_intake_config cfg = {.take = hear};
	struct pfs_intake *in = NULL;

	CHECK_EQ(pfs_intake_start(&cfg, &in), -ENODEV);
	CHECK(!in);
	cfg.uds_dir = "/tmp";
	cfg.frames_per_s = UINT32_MAX;
	CHECK_EQ(pfs_intake_start(&cfg, &in), -EINVAL);
}

int main(void)
{
	RUN(a_full_bucket_gives_its_burst_and_then_its_rate);
	RUN(an_empty_bucket_says_when_it_has_tokens);
	RUN(numbers_must_rise);
	RUN(the_newest_agent_speaks);
	RUN(history_keeps_the_newest_within_a_step_of_what_was_sent);
	RUN(a_vm_is_who_its_socket_says);
	RUN(what_is_wrong_is_counted_by_reason_and_dropped);
	RUN(a_frame_in_pieces_is_a_frame);
	RUN(a_stranger_is_shown_the_door);
	RUN(a_connection_that_ends_within_a_frame_is_counted);
	RUN(early_vectors_are_taken_but_not_charted);
	RUN(a_guest_over_its_rate_waits);
	RUN(a_drip_costs_a_token_a_drop);
	RUN(half_a_frame_for_5_s_ends_the_connection);
	RUN(a_third_connection_is_refused_unless_one_is_long_silent);
	RUN(names_are_checked);
	RUN(a_socket_left_behind_is_replaced_but_nobody_elses);
	RUN(a_removed_vm_loses_its_connections);
	RUN(without_descriptors_it_rests_and_comes_back);
	RUN(each_vm_is_named_until_told_to_stop);
	RUN(it_stops_with_guests_connected_and_frames_waiting);
	RUN(without_anything_to_listen_on_the_caller_is_told);
	return CHECK_RESULT();
}
