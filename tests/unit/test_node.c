/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "node.h"
#include "reader.h"

struct fixture {
	struct state *s;
	struct node_table *t;
};

static void take_up(struct fixture *f)
{
	node_table_destroy(f->t);
	if (node_table_create(f->s, &f->t))
		abort();
}

static struct fixture fresh(void)
{
	struct fixture f = {NULL, NULL};

	f.s = mmap(NULL, sizeof(*f.s), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f.s == MAP_FAILED)
		abort();
	f.s->node[0].use = STATE_USED;
	f.s->node[0].is_dir = 1;
	f.s->node[0].serial = 1;
	take_up(&f);
	return f;
}

static void done(struct fixture *f)
{
	node_table_destroy(f->t);
	munmap(f->s, sizeof(*f->s));
}

static struct stat file(uint64_t ino)
{
	return (struct stat){.st_dev = 1, .st_ino = ino, .st_mode = S_IFREG};
}

static struct stat folder(uint64_t ino)
{
	return (struct stat){.st_dev = 1, .st_ino = ino, .st_mode = S_IFDIR};
}

/* As LOOKUP does it. */
static uint32_t look_up(struct fixture *f, uint32_t parent, const char *name,
			struct stat st)
{
	uint32_t row = NODE_NONE;

	if (node_get(f->t, parent, name, &st, &row))
		return NODE_NONE;
	node_looked_up(f->t, row);
	return row;
}

static const char *path_of(struct fixture *f, uint32_t row)
{
	static char buf[4096];

	return node_path(f->t, row, buf, sizeof(buf)) ? "(none)" : buf;
}

static void a_name_is_one_node_as_long_as_it_is_known(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));

	CHECK_EQ(look_up(&f, NODE_ROOT, "a", file(10)), a);
	CHECK_EQ(node_find(f.t, NODE_ROOT, "a"), a);
	node_forget(f.t, a, 1);
	CHECK_EQ(node_find(f.t, NODE_ROOT, "a"), a);
	node_forget(f.t, a, 1);
	CHECK_EQ(node_find(f.t, NODE_ROOT, "a"), NODE_NONE);
	CHECK(!node_at(f.t, a));
	done(&f);
}

static void a_row_used_again_has_another_generation(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));
	uint32_t before = f.s->node[a].serial;
	uint32_t b;

	node_forget(f.t, a, 1);
	b = look_up(&f, NODE_ROOT, "b", file(11));

	CHECK_EQ(b, a);
	CHECK(f.s->node[b].serial != before);
	done(&f);
}

static void another_file_under_the_name_is_another_node(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));
	uint32_t b = look_up(&f, NODE_ROOT, "a", file(11));

	CHECK(a != b);
	CHECK_STR(path_of(&f, a), "(none)");
	CHECK_STR(path_of(&f, b), "a");
	CHECK(node_at(f.t, a) != NULL); /* the kernel still counts it */
	node_forget(f.t, a, 1);
	CHECK(!node_at(f.t, a));
	CHECK_EQ(node_find(f.t, NODE_ROOT, "a"), b);
	done(&f);
}

static void a_folder_stays_while_something_is_below_it(void)
{
	struct fixture f = fresh();
	uint32_t d = look_up(&f, NODE_ROOT, "d", folder(10));
	uint32_t a = look_up(&f, d, "a", file(11));

	node_forget(f.t, d, 1); /* overtook the file's FORGET */

	CHECK_STR(path_of(&f, a), "d/a");
	node_forget(f.t, a, 1);
	CHECK(!node_at(f.t, a));
	CHECK(!node_at(f.t, d));
	done(&f);
}

static void a_pinned_node_outlives_its_lookups(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));

	node_pin(f.t, a);
	node_forget(f.t, a, 1);
	node_gone(f.t, a);
	CHECK(node_at(f.t, a) != NULL);
	CHECK_EQ(node_find(f.t, NODE_ROOT, "a"), NODE_NONE);
	node_unpin(f.t, a);
	CHECK(!node_at(f.t, a));
	done(&f);
}

static void a_move_takes_everything_below_along(void)
{
	struct fixture f = fresh();
	uint32_t d = look_up(&f, NODE_ROOT, "d", folder(10));
	uint32_t e = look_up(&f, NODE_ROOT, "e", folder(11));
	uint32_t a = look_up(&f, d, "a", file(12));

	node_move(f.t, d, e, "d2");

	CHECK_STR(path_of(&f, a), "e/d2/a");
	CHECK_EQ(node_find(f.t, NODE_ROOT, "d"), NODE_NONE);
	node_forget(f.t, e, 1);
	CHECK_STR(path_of(&f, a), "e/d2/a");
	done(&f);
}

static void a_move_over_a_name_leaves_the_old_node_nameless(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));
	uint32_t b = look_up(&f, NODE_ROOT, "b", file(11));

	node_move(f.t, a, NODE_ROOT, "b");

	CHECK_EQ(node_find(f.t, NODE_ROOT, "b"), a);
	CHECK_STR(path_of(&f, b), "(none)");
	node_move(f.t, b, NODE_ROOT, "c"); /* gone: has no name to change */
	CHECK_EQ(node_find(f.t, NODE_ROOT, "c"), NODE_NONE);
	done(&f);
}

static void the_next_worker_finds_what_this_one_knew(void)
{
	struct fixture f = fresh();
	uint32_t d = look_up(&f, NODE_ROOT, "d", folder(10));
	uint32_t a = look_up(&f, d, "a", file(11));
	uint32_t gone = look_up(&f, d, "gone", file(12));
	uint32_t forgotten = look_up(&f, d, "forgotten", file(13));

	node_move(f.t, a, NODE_ROOT, "a2");
	node_gone(f.t, gone);
	node_forget(f.t, forgotten, 1);
	take_up(&f);
	node_recovered(f.t);

	CHECK_EQ(node_find(f.t, NODE_ROOT, "a2"), a);
	CHECK_STR(path_of(&f, d), "d");
	CHECK(node_at(f.t, gone) != NULL);
	CHECK(!node_at(f.t, forgotten));
	CHECK_EQ(look_up(&f, NODE_ROOT, "new", file(14)), forgotten);
	done(&f);
}

static void rows_a_dead_worker_left_half_made_are_free(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));
	uint32_t b = look_up(&f, NODE_ROOT, "b", file(11));
	uint32_t c;

	f.s->node[a].use = STATE_FILLING;
	f.s->node[b].n_lookups = 0; /* made, never answered */
	take_up(&f);
	node_recovered(f.t);

	CHECK(!node_at(f.t, a));
	CHECK(!node_at(f.t, b));
	c = look_up(&f, NODE_ROOT, "c", file(12));
	CHECK(c == a || c == b);
	done(&f);
}

static void damage_does_not_reach_beyond_its_row(void)
{
	struct fixture f = fresh();
	uint32_t a = look_up(&f, NODE_ROOT, "a", file(10));
	uint32_t b = look_up(&f, NODE_ROOT, "b", file(11));
	uint32_t c = look_up(&f, NODE_ROOT, "c", file(12));

	f.s->node[a].parent = 60000; /* no such row */
	memset(f.s->node[b].name[0], 'x', sizeof(f.s->node[b].name[0]));
	take_up(&f);

	CHECK(!node_at(f.t, a));
	CHECK(!node_at(f.t, b));
	CHECK_STR(path_of(&f, c), "c");
	done(&f);
}

static void a_circle_of_parents_has_no_path(void)
{
	struct fixture f = fresh();
	uint32_t d = look_up(&f, NODE_ROOT, "d", folder(10));
	uint32_t e = look_up(&f, d, "e", folder(11));
	char buf[4096];

	f.s->node[d].parent = e;

	CHECK_EQ(node_path(f.t, e, buf, sizeof(buf)), -ENAMETOOLONG);
	f.s->node[d].parent = NODE_ROOT;
	CHECK_EQ(node_path(f.t, e, buf, 3), -ENAMETOOLONG);
	CHECK_EQ(node_path(f.t, e, buf, 4), 0);
	CHECK_STR(buf, "d/e");
	CHECK_STR(path_of(&f, NODE_ROOT), ".");
	done(&f);
}

static void a_full_table_refuses_and_recovers(void)
{
	struct fixture f = fresh();
	uint32_t row = 0, last = 0;
	struct stat st;
	char name[16];

	for (uint32_t i = 1; i < STATE_MAX_NODES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		last = look_up(&f, NODE_ROOT, name, file(i));
	}
	st = file(1);
	CHECK_EQ(last, STATE_MAX_NODES - 1);
	CHECK_EQ(node_get(f.t, NODE_ROOT, "more", &st, &row), -ENFILE);
	node_forget(f.t, 77, 1);
	CHECK_EQ(node_get(f.t, NODE_ROOT, "more", &st, &row), 0);
	CHECK_EQ(row, 77);
	done(&f);
}

static void odd_requests_are_refused(void)
{
	struct fixture f = fresh();
	struct stat st = file(1);
	char name[300];
	uint32_t row;

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	CHECK_EQ(node_get(f.t, NODE_ROOT, name, &st, &row), -ENAMETOOLONG);
	name[255] = '\0';
	CHECK_EQ(node_get(f.t, NODE_ROOT, name, &st, &row), 0);
	CHECK_EQ(node_get(f.t, 999, "a", &st, &row), -ESTALE);
	node_forget(f.t, 999, 1);
	node_forget(f.t, NODE_NONE, 1);
	node_forget(f.t, NODE_ROOT, UINT64_MAX);
	CHECK(node_at(f.t, NODE_ROOT) != NULL);
	CHECK(!node_at(f.t, NODE_NONE));
	done(&f);
}

static void start_time_is_found_after_any_name(void)
{
	CHECK_EQ(reader_parse_start_time(
			 "1 (a) b) (c) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 "
			 "18 19 20 21 4242 23 24"),
		 4242);
	CHECK_EQ(reader_parse_start_time("1 (x) S 4 5"), 0);
	CHECK_EQ(reader_parse_start_time(""), 0);
}

static void a_reader_is_its_thread_group(void)
{
	struct reader me, nobody;

	reader_of(getpid(), &me);
	CHECK_EQ(me.tgid, getpid());
	CHECK(me.start_time != 0);
	reader_of(0, &nobody);
	CHECK_EQ(nobody.tgid, 0);
}

int main(void)
{
	RUN(a_name_is_one_node_as_long_as_it_is_known);
	RUN(a_row_used_again_has_another_generation);
	RUN(another_file_under_the_name_is_another_node);
	RUN(a_folder_stays_while_something_is_below_it);
	RUN(a_pinned_node_outlives_its_lookups);
	RUN(a_move_takes_everything_below_along);
	RUN(a_move_over_a_name_leaves_the_old_node_nameless);
	RUN(the_next_worker_finds_what_this_one_knew);
	RUN(rows_a_dead_worker_left_half_made_are_free);
	RUN(damage_does_not_reach_beyond_its_row);
	RUN(a_circle_of_parents_has_no_path);
	RUN(a_full_table_refuses_and_recovers);
	RUN(odd_requests_are_refused);
	RUN(start_time_is_found_after_any_name);
	RUN(a_reader_is_its_thread_group);
	return CHECK_RESULT();
}
