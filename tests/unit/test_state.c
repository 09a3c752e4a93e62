/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "check.h"
#include "state.h"

#define IMAGE 77

static struct state *mapped(int *fd)
{
	struct state *s = NULL;

	CHECK_EQ(state_create(fd), 0);
	CHECK_EQ(state_map(*fd, &s), 0);
	return s;
}

static void done(struct state *s, int fd)
{
	state_unmap(s);
	close(fd);
}

static void a_new_state_has_a_root_and_nothing_else(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK_EQ(atomic_load(&s->node[0].use), STATE_USED);
	CHECK_EQ(s->node[0].is_dir, 1);
	CHECK_EQ(atomic_load(&s->node[1].use), STATE_FREE);
	CHECK_EQ(atomic_load(&s->init_len), 0);
	CHECK_EQ(s->n_starts, 0);
	CHECK(s->mount_id_ns != 0);
	done(s, fd);
}

static void it_is_sparse_and_cannot_be_resized(void)
{
	struct stat st;
	int fd;

	CHECK_EQ(state_create(&fd), 0);

	CHECK_EQ(fstat(fd, &st), 0);
	CHECK(st.st_blocks * 512 < 1 << 20);
	CHECK_EQ(ftruncate(fd, 4096), -1);
	CHECK_EQ(ftruncate(fd, st.st_size + 4096), -1);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	close(fd);
}

static void what_one_mapping_writes_another_reads(void)
{
	struct state *worker, *header;
	int fd;

	worker = mapped(&fd);
	CHECK_EQ(state_map_header(fd, &header), 0);
	header->n_starts = 5;
	memcpy(worker->init_reply, "hello", 6);
	atomic_store(&worker->init_reply_len, 6);

	CHECK_EQ(worker->n_starts, 5);
	CHECK_EQ(atomic_load(&header->init_reply_len), 6);
	CHECK_STR((char *)header->init_reply, "hello");
	state_unmap_header(header);
	done(worker, fd);
}

static void another_layout_is_refused(void)
{
	struct state *s, *again;
	int fd;

	s = mapped(&fd);
	s->version = STATE_VERSION + 1;
	CHECK_EQ(state_map(fd, &again), -EPROTO);
	CHECK_EQ(state_map_header(fd, &again), -EPROTO);
	s->version = STATE_VERSION;
	s->magic++;
	CHECK_EQ(state_map(fd, &again), -EPROTO);
	s->magic--;
	s->size_kib++;
	CHECK_EQ(state_map(fd, &again), -EPROTO);
	done(s, fd);
}

static void a_short_file_is_refused_not_touched(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	struct state *s;

	CHECK_EQ(state_map(fd, &s), -EPROTO);
	CHECK_EQ(ftruncate(fd, 4096), 0);
	CHECK_EQ(state_map(fd, &s), -EPROTO);
	CHECK_EQ(state_map_header(fd, &s), -EPROTO);
	close(fd);
}

static void marks_cover_exactly_their_zones(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK(state_zone_mark(s, IMAGE, 60, 200));

	CHECK(!state_zone_is_marked(s, IMAGE, 59));
	for (uint32_t z = 60; z <= 200; z++)
		CHECK(state_zone_is_marked(s, IMAGE, z));
	CHECK(!state_zone_is_marked(s, IMAGE, 201));
	CHECK(!state_zone_is_marked(s, IMAGE + 1, 100));
	done(s, fd);
}

static void clearing_one_zone_leaves_its_neighbours(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK(state_zone_mark(s, IMAGE, 63, 65));
	state_zone_clear(s, IMAGE, 64);

	CHECK(state_zone_is_marked(s, IMAGE, 63));
	CHECK(!state_zone_is_marked(s, IMAGE, 64));
	CHECK(state_zone_is_marked(s, IMAGE, 65));
	done(s, fd);
}

static void saving_a_low_zone_does_not_hide_a_high_one(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK(state_zone_mark(s, IMAGE, STATE_ZONE_BITS, STATE_ZONE_BITS));
	CHECK(!state_zone_is_marked(s, IMAGE, 0));
	state_zone_clear(s, IMAGE, 0);
	state_zone_clear(s, IMAGE, STATE_ZONE_BITS);

	CHECK(state_zone_is_marked(s, IMAGE, STATE_ZONE_BITS));
	CHECK(state_zone_is_marked(s, IMAGE, UINT32_MAX));
	done(s, fd);
}

static void to_the_end_of_everything_marks_all(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK(state_zone_mark(s, IMAGE, 10, UINT32_MAX));

	CHECK(!state_zone_is_marked(s, IMAGE, 9));
	CHECK(state_zone_is_marked(s, IMAGE, 10));
	CHECK(state_zone_is_marked(s, IMAGE, STATE_ZONE_BITS - 1));
	CHECK(state_zone_is_marked(s, IMAGE, STATE_ZONE_BITS + 5));
	done(s, fd);
}

static void a_forgotten_image_starts_clean(void)
{
	int fd;
	struct state *s = mapped(&fd);

	CHECK(state_zone_mark(s, IMAGE, 0, UINT32_MAX));
	state_image_forget(s, IMAGE);
	CHECK(!state_zone_is_marked(s, IMAGE, 0));
	CHECK(state_zone_mark(s, IMAGE, 1, 1));

	CHECK(!state_zone_is_marked(s, IMAGE, 0));
	CHECK(state_zone_is_marked(s, IMAGE, 1));
	CHECK(!state_zone_is_marked(s, IMAGE, STATE_ZONE_BITS));
	done(s, fd);
}

/* Every image that was accepted must be found, also when it shares its rows
 * with others and some of those are forgotten. */
static void a_full_table_refuses_and_loses_nothing(void)
{
	static bool ok[2 * STATE_MAX_IMAGES + 1];
	unsigned int refused = 0;
	int fd;
	struct state *s = mapped(&fd);

	for (uint64_t id = 1; id <= 2 * STATE_MAX_IMAGES; id++) {
		ok[id] = state_zone_mark(s, id, 3, 3);
		refused += !ok[id];
		/* Half full, there is room for everybody. */
		CHECK(id > STATE_MAX_IMAGES / 2 || !refused);
	}
	CHECK(refused >= STATE_MAX_IMAGES);
	for (uint64_t id = 1; id <= 2 * STATE_MAX_IMAGES; id += 3)
		state_image_forget(s, id);
	for (uint64_t id = 1; id <= 2 * STATE_MAX_IMAGES; id++) {
		bool want = ok[id] && id % 3 != 1;

		if (state_zone_is_marked(s, id, 3) != want)
			CHECK_EQ(id, 0);
	}
	done(s, fd);
}

#define THREADS 4
#define ROUNDS 2000

struct marker {
	struct state *s;
	uint32_t zone;
	unsigned int n_lost;
};

/* Each thread marks and clears its own zone of images shared by all. */
static void *mark_and_look(void *arg)
{
	struct marker *m = arg;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint64_t image = 1 + i % 50;

		m->n_lost += !state_zone_mark(m->s, image, m->zone, m->zone);
		m->n_lost += !state_zone_is_marked(m->s, image, m->zone);
		state_zone_clear(m->s, image, m->zone);
		m->n_lost += state_zone_is_marked(m->s, image, m->zone);
	}
	return NULL;
}

static void threads_do_not_lose_each_others_marks(void)
{
	struct marker m[THREADS];
	pthread_t t[THREADS];
	int fd;
	struct state *s = mapped(&fd);

	for (uint32_t i = 0; i < THREADS; i++) {
		m[i] = (struct marker){s, i, 0};
		CHECK_EQ(pthread_create(&t[i], NULL, mark_and_look, &m[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		CHECK_EQ(m[i].n_lost, 0);
	}
	done(s, fd);
}

int main(void)
{
	RUN(a_new_state_has_a_root_and_nothing_else);
	RUN(it_is_sparse_and_cannot_be_resized);
	RUN(what_one_mapping_writes_another_reads);
	RUN(another_layout_is_refused);
	RUN(a_short_file_is_refused_not_touched);
	RUN(marks_cover_exactly_their_zones);
	RUN(clearing_one_zone_leaves_its_neighbours);
	RUN(saving_a_low_zone_does_not_hide_a_high_one);
	RUN(to_the_end_of_everything_marks_all);
	RUN(a_forgotten_image_starts_clean);
	RUN(a_full_table_refuses_and_loses_nothing);
	RUN(threads_do_not_lose_each_others_marks);
	return CHECK_RESULT();
}
