/* SPDX-License-Identifier: GPL-3.0-or-later */
/* catalog.h: files that are damaged, foreign, newer or locked, and processes
 * that die at any moment. */
#include <dirent.h>
#include <signal.h>

#include "catalog_fixture.h"

/* --- files -------------------------------------------------------------- */

static uint8_t *read_whole(const char *path, size_t *len)
{
	struct stat st;
	uint8_t *data;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		abort();
	*len = (size_t)st.st_size;
	data = malloc(*len + 1);
	if (!data || read(fd, data, *len) != (ssize_t)*len)
		abort();
	close(fd);
	return data;
}

static void write_whole(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	close(fd);
}

static void patch(const char *path, off_t off, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, data, len, off) != (ssize_t)len)
		abort();
	close(fd);
}

static bool is_companion(const char *name)
{
	const char *end = strrchr(name, '-');

	return end && (!strcmp(end, "-wal") || !strcmp(end, "-shm") ||
		       !strcmp(end, "-failed"));
}

/* How many databases in the folder have this in their name?  The last of them
 * is copied to found. */
static int count_named(const char *part, char found[256])
{
	DIR *d = opendir(scratch);
	struct dirent *e;
	int n = 0;

	if (!d)
		abort();
	while ((e = readdir(d))) {
		if (!strstr(e->d_name, part) || is_companion(e->d_name))
			continue;
		n++;
		if (found)
			snprintf(found, 256, "%s", e->d_name);
	}
	closedir(d);
	return n;
}

#define N_IMAGES 6u
#define FIRST_PINNED 0x112233445566u
#define LAST_PINNED 0x778899aabbccu

static const char *name_of(uint64_t i)
{
	static char name[16];

	snprintf(name, sizeof(name), "disk%llu", (unsigned long long)i);
	return name;
}

/* A closed catalog with a few images, zones, segments and generations, one
 * recording and one pin. */
static void populate(struct opened o[N_IMAGES], uint8_t uuid[PFS_UUID_LEN])
{
	struct pfs_catalog *c = must_open();
	struct pfs_catalog_batch *b = must_batch(c);
	uint64_t gen;

	for (uint64_t i = 0; i < N_IMAGES; i++) {
		o[i] = must_open_image(c, name_of(i), i + 1);
		CHECK_EQ(save_zones(c, o[i], 2), 0);
	}
	CHECK_EQ(pfs_catalog_batch_segments(b, "segments", 8), 0);
	CHECK_EQ(pfs_catalog_batch_recording(b, o[2].id, 5, "learned 1", 9), 0);
	CHECK_EQ(pfs_catalog_submit(c, b, true, NULL, NULL), 0);
	CHECK_EQ(pfs_catalog_pin(c, o[2].id, FIRST_PINNED, LAST_PINNED), 0);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1000, &gen), 0);
	pfs_catalog_store_uuid(c, uuid);
	pfs_catalog_close(c);
}

/* --- setting aside ------------------------------------------------------ */

/* The catalog file is not usable: one is set aside, a new one works. */
static void expect_set_aside(const char *kind, const char *why)
{
	uint64_t moved = counter(PFS_C_CATALOG_SET_ASIDE);
	char part[32], found[256] = "";
	struct pfs_catalog *c = must_open();

	snprintf(part, sizeof(part), "catalog.db.%s-2", kind);
	CHECK(state.is_fresh && !state.is_in_memory);
	CHECK(strstr(state.set_aside, kind));
	CHECK(strstr(state.set_aside, why));
	CHECK_EQ(warnings, 1);
	CHECK(strstr(last_warning, db_path) && strstr(last_warning, why));
	CHECK_EQ(counter(PFS_C_CATALOG_SET_ASIDE), moved + 1);
	CHECK_EQ(count_named(part, found), 1);
	CHECK_EQ(strlen(found), strlen("catalog.db.-") + strlen(kind) +
					strlen("YYYYmmddTHHMMSS"));
	CHECK_EQ(must_open_image(c, "disk0", 1).verdict, PFS_IMAGE_NEW);

	c = reopened(c);
	CHECK(!state.is_fresh);
	CHECK_STR(state.set_aside, "");
	CHECK_EQ(must_open_image(c, "disk0", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(warnings, 1);
	pfs_catalog_close(c);
}

static void garbage_is_set_aside(void)
{
	uint8_t junk[20000];

	scratch_reset();
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(i * i >> 3 ^ i);
	write_whole(db_path, junk, sizeof(junk));

	expect_set_aside("corrupt", "not a database");
}

static void a_truncated_catalog_is_set_aside(void)
{
	struct opened o[N_IMAGES];
	uint8_t uuid[PFS_UUID_LEN];

	scratch_reset();
	populate(o, uuid);
	CHECK_EQ(truncate(db_path, 5000), 0);

	expect_set_aside("corrupt", "malformed");
}

static void an_empty_file_is_a_new_catalog(void)
{
	scratch_reset();
	write_whole(db_path, "", 0);

	pfs_catalog_close(must_open());

	CHECK(state.is_fresh && !state.is_in_memory);
	CHECK_EQ(warnings, 0);
}

static void a_newer_catalog_is_set_aside_unchanged(void)
{
	struct opened o[N_IMAGES];
	uint8_t uuid[PFS_UUID_LEN];

	scratch_reset();
	populate(o, uuid);
	patch(db_path, 60, "\0\0\0\x63", 4); /* user_version 99 */

	expect_set_aside("newer", "99");
}

static void somebody_elses_database_is_set_aside_unchanged(void)
{
	char found[256] = "", path[400];
	uint8_t *was, *is, uuid[PFS_UUID_LEN];
	struct opened o[N_IMAGES];
	size_t len, now;

	scratch_reset();
	populate(o, uuid);
	patch(db_path, 68, "ELSE", 4); /* application_id */
	was = read_whole(db_path, &len);

	expect_set_aside("foreign", "application_id");

	CHECK_EQ(count_named("foreign", found), 1);
	snprintf(path, sizeof(path), "%s/%s", scratch, found);
	is = read_whole(path, &now);
	CHECK(len == now && !memcmp(was, is, len));
	free(was);
	free(is);
}

static void a_table_that_is_not_ours_is_noticed(void)
{
	struct opened o[N_IMAGES];
	uint8_t *data, uuid[PFS_UUID_LEN];
	size_t len;
	uint8_t *at;

	scratch_reset();
	populate(o, uuid);
	data = read_whole(db_path, &len);
	at = memmem(data, len, "recorded INTEGER NOT NULL", 25);
	CHECK(at != NULL);
	at[5] = 'x';
	write_whole(db_path, data, len);
	free(data);

	expect_set_aside("corrupt", "tables");
}

/* A disk that claimed a write but lost it: the page is sound, but older. */
static void a_store_row_older_than_the_images_is_noticed(void)
{
	struct opened o[N_IMAGES];
	uint8_t *data, *at, uuid[PFS_UUID_LEN];
	struct pfs_catalog *c;
	size_t len, page;

	scratch_reset();
	populate(o, uuid);
	data = read_whole(db_path, &len);
	at = memmem(data, len, uuid, sizeof(uuid));
	CHECK(at != NULL);
	page = (size_t)(at - data) / 4096 * 4096;
	c = must_open();
	must_open_image(c, "another", 99);
	pfs_catalog_close(c);

	patch(db_path, (off_t)page, data + page, 4096);
	free(data);

	expect_set_aside("corrupt", "high-water");
}

static void three_that_were_set_aside_are_kept_and_foreign_ones_all(void)
{
	char path[200];

	scratch_reset();
	for (int i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "%s.foreign-2020010%dT000000",
			 db_path, i);
		write_whole(path, "", 0);
		snprintf(path, sizeof(path), "%s.corrupt-2020010%dT000000",
			 db_path, i);
		write_whole(path, "", 0);
		snprintf(path, sizeof(path), "%s.corrupt-2020010%dT000000-wal",
			 db_path, i);
		write_whole(path, "", 0);
	}
	snprintf(path, sizeof(path), "%s.corrupt-notes.txt", db_path);
	write_whole(path, "", 0);

	write_whole(db_path, "junk", 4);
	pfs_catalog_close(must_open());

	CHECK_EQ(count_named("foreign", NULL), 6);
	CHECK_EQ(count_named("notes", NULL), 1);
	CHECK_EQ(count_named("corrupt-20200105T000000", NULL), 1);
	CHECK_EQ(count_named("corrupt-20200104T000000", NULL), 1);
	CHECK_EQ(count_named(".corrupt-2", NULL), 3);
	snprintf(path, sizeof(path), "%s.corrupt-20200104T000000-wal", db_path);
	CHECK_EQ(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s.corrupt-20200103T000000-wal", db_path);
	CHECK(access(path, F_OK) != 0);
}

static void an_unclean_end_is_looked_into_at_the_next_open(void)
{
	struct opened o[N_IMAGES];
	uint8_t uuid[PFS_UUID_LEN], zeros[64] = {0};
	char wal[128];
	size_t len;

	scratch_reset();
	populate(o, uuid);
	free(read_whole(db_path, &len));
	/* The head of the last page: part of no row that open reads. */
	patch(db_path, (off_t)len - 4096, zeros, sizeof(zeros));
	pfs_catalog_close(must_open());
	CHECK(!state.is_fresh);

	snprintf(wal, sizeof(wal), "%s-wal", db_path);
	write_whole(wal, "x", 1);
	expect_set_aside("corrupt", "quick_check");
}

/* --- damage met while in use -------------------------------------------- */

static int stop_at_once(void *arg, uint32_t zone, const void *blob, size_t len)
{
	(void)arg;
	(void)zone;
	(void)blob;
	(void)len;
	return 1;
}

/* Wipe the pages behind the first few, where only zones lie. */
static void wipe_tail(void)
{
	size_t len;
	uint8_t *data = read_whole(db_path, &len);

	memset(data + len / 2, 0xee, len - len / 2);
	write_whole(db_path, data, len);
	free(data);
}

static void a_catalog_that_fails_in_use_says_so_and_is_set_aside_later(void)
{
	char failed[128];
	struct pfs_catalog *c;
	struct opened o;
	uint64_t gen;

	scratch_reset();
	snprintf(failed, sizeof(failed), "%s-failed", db_path);
	c = must_open();
	o = must_open_image(c, "disk0", 1);
	CHECK_EQ(save_zones(c, o, 200), 0);
	pfs_catalog_close(c);
	wipe_tail();

	c = must_open();
	CHECK(!state.is_fresh);
	CHECK_EQ(pfs_catalog_zones_load(c, o.id, o.epoch, stop_at_once, NULL),
		 0);
	CHECK_EQ(pfs_catalog_image_bump(c, o.id, NULL, &o.epoch), -EIO);

	CHECK(EVENTUALLY(troubles == 1));
	CHECK_EQ(warnings, 1);
	CHECK(strstr(last_warning, "next start"));
	CHECK_EQ(open_as(c, "disk0", ident(1), false).err, -EIO);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), -EIO);
	CHECK_EQ(pfs_catalog_flush(c), -EIO);
	CHECK_EQ(pfs_catalog_submit(c, must_batch(c), false, NULL, NULL), -EIO);
	CHECK_EQ(troubles, 1);
	pfs_catalog_close(c);

	CHECK_EQ(access(failed, F_OK), 0);
	atomic_store(&warnings, 0);
	expect_set_aside("corrupt", "in use");
	CHECK(access(failed, F_OK) != 0);
}

/* --- bit flips ---------------------------------------------------------- */

/* What a catalog may say after a flip, held against what was put there. */
struct truth {
	struct opened o[N_IMAGES];
	uint8_t uuid[PFS_UUID_LEN];
};

static void check_image(struct pfs_catalog *c, const struct truth *t,
			uint64_t i, bool is_fresh)
{
	struct opened o = open_as(c, name_of(i), ident(i + 1), false);
	struct seen s = {0};

	if (o.err) {
		CHECK_EQ(o.err, -EIO);
		return;
	}
	if (is_fresh) {
		CHECK_EQ(o.verdict, PFS_IMAGE_NEW);
		return;
	}
	switch (o.verdict) {
	case PFS_IMAGE_NEW:
		CHECK(o.id > N_IMAGES);
		break;
	case PFS_IMAGE_CHANGED:
		/* The flip would have passed for another identity. */
		CHECK_EQ(o.verdict, PFS_IMAGE_SAME);
		break;
	case PFS_IMAGE_SAME:
		CHECK_EQ(o.id, t->o[i].id);
		CHECK_EQ(o.epoch, t->o[i].epoch);
		break;
	}
	if (!see_zones(c, o, &s))
		CHECK(s.n <= 2 && !s.is_altered);
}

static void check_segments(struct pfs_catalog *c)
{
	void *blob = NULL;
	size_t len = 0;

	if (!pfs_catalog_segments_load(c, &blob, &len) && blob)
		CHECK(len == 8 && !memcmp(blob, "segments", 8));
	free(blob);
}

static int check_recording(void *arg, uint64_t number, const void *blob,
			   size_t len)
{
	CHECK_EQ(*(uint64_t *)arg, 2);
	CHECK(number == 5 && len == 9 && !memcmp(blob, "learned 1", 9));
	return 0;
}

static int check_pin(void *arg, uint64_t first, uint64_t last)
{
	CHECK_EQ(*(uint64_t *)arg, 2);
	CHECK(first == FIRST_PINNED && last == LAST_PINNED);
	return 0;
}

/* They are the third image's, and must not be found with another. */
static void check_learning(struct pfs_catalog *c, const struct truth *t)
{
	for (uint64_t i = 0; i < N_IMAGES; i++) {
		/* Damage may show as -EIO, never as another answer. */
		(void)!pfs_catalog_recordings_load(c, t->o[i].id,
						   check_recording, &i);
		(void)!pfs_catalog_pins_load(c, t->o[i].id, check_pin, &i);
	}
}

/* Returns whether the flip had any effect that shows. */
static bool check_after_flip(const struct truth *t)
{
	uint64_t bad = counter(PFS_C_ROWS_BAD), gen = 0;
	struct pfs_catalog *c = must_open();
	bool is_fresh = state.is_fresh;
	uint8_t uuid[PFS_UUID_LEN];

	CHECK(!state.is_in_memory);
	pfs_catalog_store_uuid(c, uuid);
	CHECK_EQ(memcmp(uuid, t->uuid, sizeof(uuid)) != 0, is_fresh);
	CHECK_EQ(*state.set_aside != '\0', is_fresh);
	if (!pfs_catalog_reserve_gens(c, 1, &gen) && !is_fresh)
		CHECK_EQ(gen, 1001);
	for (uint64_t i = 0; i < N_IMAGES; i++)
		check_image(c, t, i, is_fresh);
	check_segments(c);
	check_learning(c, t);
	pfs_catalog_close(c);
	return is_fresh || troubles || counter(PFS_C_ROWS_BAD) != bad;
}

/* A part of the file to flip bits in. */
struct part {
	size_t off;
	size_t len;
};

/* From len_before bytes ahead of the first `what` to len_after behind it. */
static struct part around(const uint8_t *data, size_t len, const void *what,
			  size_t n, size_t len_before, size_t len_after)
{
	const uint8_t *at = memmem(data, len, what, n);

	if (!at)
		abort();
	return (struct part){
		.off = (size_t)(at - data) - len_before,
		.len = len_before + n + len_after,
	};
}

static uint64_t rng = 1;

static size_t pick_bit(struct part p)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return p.off * 8 + (size_t)(rng >> 20) % (p.len * 8);
}

static void flip(uint8_t *data, size_t bit)
{
	data[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void remove_companions(void)
{
	static const char *const left[] = {"-failed", "-wal", "-shm"};
	char path[128];

	for (size_t i = 0; i < PFS_ARRAY_SIZE(left); i++) {
		snprintf(path, sizeof(path), "%s%s", db_path, left[i]);
		unlink(path);
	}
}

static void a_flipped_bit_never_passes_for_an_answer(void)
{
	static const char pinned[] = "\x11\x22\x33\x44\x55\x66";
	struct part parts[6];
	struct truth t;
	uint8_t *data;
	size_t len;
	int n_noticed = 0;

	scratch_reset();
	populate(t.o, t.uuid);
	data = read_whole(db_path, &len);
	/* A third of them anywhere, the others in four rows: the store's own,
	 * one of an image, which begins with its name and fs_id, a recording
	 * and a pin. */
	parts[0] = parts[1] = (struct part){0, len};
	parts[2] = around(data, len, t.uuid, sizeof(t.uuid), 12, 24);
	parts[3] = around(data, len, "disk1\1\2\3\4", 9, 16, 50);
	parts[4] = around(data, len, "learned 1", 9, 16, 0);
	parts[5] = around(data, len, pinned, 6, 8, 14);

	for (int i = 0; i < 600; i++) {
		int before = check_failures;
		size_t bit;

		bit = pick_bit(parts[i % 6]);
		flip(data, bit);
		write_whole(db_path, data, len);
		flip(data, bit);
		n_noticed += check_after_flip(&t);
		remove_companions();
		if (check_failures != before)
			fprintf(stderr, "with bit %zu flipped\n", bit);
	}
	/* Much of the file is in use by nothing. */
	CHECK(n_noticed > 300);
	free(data);
}

static void count_line(void *arg, const char *line)
{
	CHECK(*line);
	++*(int *)arg;
}

static void the_check_finds_what_was_flipped_and_changes_nothing(void)
{
	char shm[128];
	struct opened o[N_IMAGES];
	uint8_t *data, *after, uuid[PFS_UUID_LEN], blob[BLOB_SIZE];
	unsigned int n_bad = 9;
	int n_lines = 0;
	size_t len, len_after;
	uint8_t *at;

	scratch_reset();
	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), -ENOENT);
	populate(o, uuid);
	CHECK_EQ(pfs_catalog_check(db_path, count_line, &n_lines, &n_bad), 0);
	CHECK_EQ(n_bad, 0);
	CHECK_EQ(n_lines, 0);
	snprintf(shm, sizeof(shm), "%s-shm", db_path);
	CHECK(access(shm, F_OK) != 0);

	data = read_whole(db_path, &len);
	fill_blob(blob, o[2].id, 1, 0);
	at = memmem(data, len, blob, 64);
	CHECK(at != NULL);
	at[5] ^= 1;
	at = memmem(data, len, "disk4", 5);
	CHECK(at != NULL);
	at[3] ^= 1;
	at = memmem(data, len, "learned 1", 9);
	CHECK(at != NULL);
	at[3] ^= 1;
	at = memmem(data, len, "\x11\x22\x33\x44\x55\x66", 6);
	CHECK(at != NULL);
	at[3] ^= 1;
	write_whole(db_path, data, len);

	CHECK_EQ(pfs_catalog_check(db_path, count_line, &n_lines, &n_bad), 0);
	CHECK(n_bad >= 4);
	CHECK_EQ(n_lines, n_bad);
	after = read_whole(db_path, &len_after);
	CHECK(len == len_after && !memcmp(data, after, len));
	free(data);
	free(after);

	write_whole(db_path, "junk", 4);
	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);
	CHECK_EQ(n_bad, 1);
}

/* --- death -------------------------------------------------------------- */

struct child {
	pid_t pid;
	int from; /* what it reports */
};

/* Run fn(fd) in a child that writes its reports to fd. */
static struct child start(void (*fn)(int fd))
{
	struct child ch;
	int fds[2];

	if (pipe(fds) || (ch.pid = fork()) < 0)
		abort();
	if (!ch.pid) {
		close(fds[0]);
		fn(fds[1]);
		_exit(check_failures);
	}
	close(fds[1]);
	ch.from = fds[0];
	return ch;
}

static void report(int fd, uint64_t v)
{
	if (write(fd, &v, sizeof(v)) != sizeof(v))
		_exit(1);
}

/* The last report, after n of them came and the child was killed. */
static uint64_t kill_after(struct child ch, int n)
{
	uint64_t v = 0, last = 0;

	while (read(ch.from, &v, sizeof(v)) == sizeof(v)) {
		last = v;
		if (!--n)
			kill(ch.pid, SIGKILL);
	}
	close(ch.from);
	waitpid(ch.pid, NULL, 0);
	return last;
}

static void reserve_for_ever(int fd)
{
	struct pfs_catalog *c = must_open();
	uint64_t gen;

	while (!pfs_catalog_reserve_gens(c, 7, &gen))
		report(fd, gen);
}

static void generations_do_not_repeat_across_kills(void)
{
	uint64_t last = 0, gen = 0;

	scratch_reset();
	for (int i = 0; i < 8; i++) {
		uint64_t seen = kill_after(start(reserve_for_ever), 3 + i);
		struct pfs_catalog *c = must_open();

		CHECK_EQ(state.is_fresh, false);
		CHECK(seen > last);
		CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);
		CHECK(gen >= seen + 7);
		last = gen;
		pfs_catalog_close(c);
	}
}

/* Each batch writes all zones of two images with one stamp. */
static void save_for_ever(int fd)
{
	struct pfs_catalog *c = must_open();
	struct opened a = must_open_image(c, "a", 1);
	struct opened b = must_open_image(c, "b", 2);

	for (uint64_t stamp = 0;; stamp = (stamp + 1) & 0xff) {
		struct pfs_catalog_batch *batch = must_batch(c);

		for (uint32_t z = 0; z < 3; z++) {
			batch_zone(batch, a, z, stamp);
			batch_zone(batch, b, z, stamp);
		}
		if (pfs_catalog_submit(c, batch, stamp & 1, NULL, NULL) ||
		    pfs_catalog_flush(c))
			_exit(1);
		report(fd, stamp);
	}
}

static void a_batch_is_kept_whole_or_not_at_all(void)
{
	scratch_reset();
	for (int i = 0; i < 8; i++) {
		uint64_t last = kill_after(start(save_for_ever), 5 + 3 * i);
		struct pfs_catalog *c = must_open();
		struct opened o = must_open_image(c, "a", 1);
		struct seen a, b;

		CHECK_EQ(o.verdict, PFS_IMAGE_SAME);
		CHECK_EQ(see_zones(c, o, &a), 0);
		o = must_open_image(c, "b", 2);
		CHECK_EQ(see_zones(c, o, &b), 0);
		CHECK(a.n == 3 && a.is_same && !a.is_altered);
		CHECK(b.n == 3 && b.is_same && !b.is_altered);
		CHECK_EQ(a.stamp, b.stamp);
		/* What was committed survives its process. */
		CHECK(a.stamp == last || a.stamp == last + 1);
		pfs_catalog_close(c);
	}
}

static void die_at_the_second_commit(int fd)
{
	struct pfs_catalog *c = must_open();

	report(fd, 0);
	arm("catalog.commit:kill@2");
	must_open_image(c, "disk0", 50);
	must_open_image(c, "disk1", 51);
	report(fd, 1); /* must not be reached */
}

static void dying_at_a_commit_keeps_what_was_before_and_nothing_of_it(void)
{
	struct opened o[N_IMAGES], p;
	uint8_t uuid[PFS_UUID_LEN];
	struct pfs_catalog *c;

	scratch_reset();
	populate(o, uuid);

	CHECK_EQ(kill_after(start(die_at_the_second_commit), 100), 0);

	c = must_open();
	CHECK(!state.is_fresh);
	p = must_open_image(c, "disk0", 50);
	CHECK_EQ(p.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(p.epoch, o[0].epoch + 1);
	CHECK_EQ(count_zones(c, p), 0);
	p = must_open_image(c, "disk1", 2);
	CHECK_EQ(p.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(count_zones(c, p), 2);
	pfs_catalog_close(c);
}

/* Fail the nth commit until none fails: what a call reported is what is found
 * after a restart. */
static void what_was_reported_is_what_is_kept(void)
{
	bool any_failed = true;

	for (int n = 1; any_failed && n < 50; n++) {
		struct opened o, first;
		struct pfs_catalog *c;
		char spec[64];
		int saved;

		scratch_reset();
		c = must_open();
		snprintf(spec, sizeof(spec), "catalog.commit:enospc@%dx1", n);
		arm(spec);
		first = open_as(c, "disk", ident(1), false);
		saved = first.err ? first.err : save_zones(c, first, 2);
		o = open_as(c, "disk", ident(2), false);
		any_failed = first.err || saved || o.err || troubles;
		pfs_fault_clear();
		c = reopened(c);

		CHECK(!state.is_fresh);
		CHECK(!first.err || first.err == -ENOSPC);
		CHECK(!o.err || o.err == -ENOSPC);
		if (o.err) {
			struct opened again = must_open_image(c, "disk", 1);

			CHECK_EQ(again.verdict, PFS_IMAGE_SAME);
			CHECK_EQ(count_zones(c, again), troubles ? 0 : 2);
		} else {
			CHECK_EQ(must_open_image(c, "disk", 2).verdict,
				 PFS_IMAGE_SAME);
			CHECK_EQ(count_zones(c, o), 0);
		}
		pfs_catalog_close(c);
		CHECK(n > 1 || any_failed);
	}
	CHECK(!any_failed);
}

/* --- locks -------------------------------------------------------------- */

static void hold_a_write_transaction(int fd)
{
	struct pfs_catalog *c = must_open();
	uint32_t n_paused = 0;
	uint64_t n_fired;

	arm("catalog.commit:pause");
	CHECK_EQ(pfs_catalog_submit(c, must_batch(c), true, NULL, NULL), 0);
	CHECK(EVENTUALLY(
		(pfs_fault_stat(PFS_FP_CATALOG_COMMIT, &n_paused, &n_fired),
		 n_paused == 1)));
	report(fd, 1);
	pause();
}

static void a_locked_catalog_is_left_alone_and_does_not_stop_us(void)
{
	struct opened o[N_IMAGES];
	uint8_t uuid[PFS_UUID_LEN];
	struct pfs_catalog *c;
	struct child ch;
	uint64_t v, took;

	scratch_reset();
	populate(o, uuid);
	ch = start(hold_a_write_transaction);
	CHECK_EQ(read(ch.from, &v, sizeof(v)), (ssize_t)sizeof(v));

	took = pfs_now_ns();
	c = must_open();
	took = pfs_now_ns() - took;

	CHECK(state.is_in_memory && state.is_fresh);
	CHECK_STR(state.set_aside, "");
	CHECK_EQ(warnings, 1);
	CHECK(strstr(last_warning, "locked"));
	CHECK(took > 40 * PFS_NSEC_PER_MSEC);
	pfs_catalog_close(c);
	kill(ch.pid, SIGKILL);
	kill_after(ch, 1);

	c = must_open();
	CHECK(!state.is_in_memory && !state.is_fresh);
	CHECK_EQ(must_open_image(c, "disk0", 1).verdict, PFS_IMAGE_SAME);
	pfs_catalog_close(c);
}

int main(void)
{
	RUN(garbage_is_set_aside);
	RUN(a_truncated_catalog_is_set_aside);
	RUN(an_empty_file_is_a_new_catalog);
	RUN(a_newer_catalog_is_set_aside_unchanged);
	RUN(somebody_elses_database_is_set_aside_unchanged);
	RUN(a_table_that_is_not_ours_is_noticed);
	RUN(a_store_row_older_than_the_images_is_noticed);
	RUN(three_that_were_set_aside_are_kept_and_foreign_ones_all);
	RUN(an_unclean_end_is_looked_into_at_the_next_open);
	RUN(a_catalog_that_fails_in_use_says_so_and_is_set_aside_later);
	RUN(a_flipped_bit_never_passes_for_an_answer);
	RUN(the_check_finds_what_was_flipped_and_changes_nothing);
	RUN(generations_do_not_repeat_across_kills);
	RUN(a_batch_is_kept_whole_or_not_at_all);
	RUN(dying_at_a_commit_keeps_what_was_before_and_nothing_of_it);
	RUN(what_was_reported_is_what_is_kept);
	RUN(a_locked_catalog_is_left_alone_and_does_not_stop_us);
	return CHECK_RESULT();
}
