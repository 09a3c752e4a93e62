/* SPDX-License-Identifier: GPL-3.0-or-later */
/* catalog.h: what it remembers, in which order, and when.  Damage and death
 * are in test_catalog_damage.c. */
#include <pthread.h>

#include "catalog_fixture.h"

/* --- identity ----------------------------------------------------------- */

static void an_identity_holds_for_the_same_file_only(void)
{
	struct pfs_identity r = ident(1), now;

	now = r;
	CHECK(pfs_identity_holds(&r, &now));
	now.recorded_ns++; /* when it is looked at does not matter */
	CHECK(pfs_identity_holds(&r, &now));

#define DIFFERS_BY(change)                                                     \
	do {                                                                   \
		now = r;                                                       \
		change;                                                        \
		CHECK(!pfs_identity_holds(&r, &now));                          \
	} while (0)
	DIFFERS_BY(now.fs_id[15]++);
	DIFFERS_BY(now.ino++);
	DIFFERS_BY(now.size++);
	DIFFERS_BY(now.btime_ns++);
	DIFFERS_BY(now.mtime_ns++);
	DIFFERS_BY(now.ctime_ns++);
	DIFFERS_BY(now.present &= ~(uint32_t)PFS_IDENT_FS);
	DIFFERS_BY(now.present &= ~(uint32_t)PFS_IDENT_BTIME);
#undef DIFFERS_BY
}

static void absent_fields_equal_absent_ones_whatever_they_hold(void)
{
	struct pfs_identity r = ident(1), now;

	r.present = 0;
	now = r;
	now.btime_ns++;
	now.fs_id[0]++;

	CHECK(pfs_identity_holds(&r, &now));
}

static void a_record_made_within_20_ms_of_a_change_is_not_trusted(void)
{
	struct pfs_identity r = ident(1), now = r;

	r.recorded_ns = r.ctime_ns + 19999999;
	CHECK(!pfs_identity_holds(&r, &now));
	r.recorded_ns = r.ctime_ns + 20000000;
	CHECK(pfs_identity_holds(&r, &now));
	r.recorded_ns = r.ctime_ns - 1; /* the clock was set back */
	CHECK(!pfs_identity_holds(&r, &now));
	r.recorded_ns = INT64_MIN;
	CHECK(!pfs_identity_holds(&r, &now));
}

/* --- coming up ---------------------------------------------------------- */

static mode_t mode_of(const char *path)
{
	struct stat st = {0};

	CHECK_EQ(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void a_new_catalog_is_fresh_and_private_whatever_the_umask(void)
{
	char dir[96], path[128], wal[140];
	mode_t old = umask(0);
	struct pfs_catalog *c;

	scratch_reset();
	snprintf(dir, sizeof(dir), "%s/a/b", scratch);
	snprintf(path, sizeof(path), "%s/catalog.db", dir);
	snprintf(wal, sizeof(wal), "%s-wal", path);

	c = must_open_at(path);
	must_open_image(c, "disk", 1);

	CHECK(state.is_fresh && !state.is_in_memory);
	CHECK_STR(state.set_aside, "");
	CHECK_EQ(mode_of(dir), 0700);
	CHECK_EQ(mode_of(path), 0600);
	CHECK_EQ(mode_of(wal), 0600);
	CHECK_EQ(warnings, 0);
	pfs_catalog_close(c);
	umask(old);
}

static void what_was_kept_is_there_after_a_restart(void)
{
	uint8_t uuid[PFS_UUID_LEN], again[PFS_UUID_LEN];
	struct pfs_catalog *c;
	struct opened o, p;
	uint64_t gen = 0;

	scratch_reset();
	c = must_open();
	pfs_catalog_store_uuid(c, uuid);
	o = must_open_image(c, "dir/disk", 1);
	CHECK_EQ(o.verdict, PFS_IMAGE_NEW);
	CHECK_EQ(o.epoch, 1);
	CHECK_EQ(save_zones(c, o, 5), 0);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1000, &gen), 0);
	CHECK_EQ(gen, 1);

	c = reopened(c);
	pfs_catalog_store_uuid(c, again);
	p = must_open_image(c, "dir/disk", 1);

	CHECK(!state.is_fresh);
	CHECK(!memcmp(uuid, again, sizeof(uuid)));
	CHECK_EQ(p.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(p.id, o.id);
	CHECK_EQ(p.epoch, o.epoch);
	CHECK_EQ(count_zones(c, p), 5);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);
	CHECK_EQ(gen, 1001);
	pfs_catalog_close(c);
}

static void use_it_a_little(struct pfs_catalog *c)
{
	uint64_t gen = 0, epoch = 0;
	struct opened o = must_open_image(c, "disk", 1);

	CHECK_EQ(save_zones(c, o, 3), 0);
	CHECK_EQ(count_zones(c, o), 3);
	CHECK_EQ(must_open_image(c, "disk", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(pfs_catalog_image_bump(c, o.id, NULL, &epoch), 0);
	CHECK_EQ(epoch, 2);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);
	CHECK_EQ(gen, 1);
}

static void a_catalog_in_memory_works_like_any_other(void)
{
	struct pfs_catalog *c = must_open_at(NULL);

	CHECK(state.is_fresh && state.is_in_memory);
	use_it_a_little(c);
	pfs_catalog_close(c);
}

static void where_no_file_can_be_made_it_goes_on_in_memory(void)
{
	char under_a_file[128], a_folder[128];
	struct pfs_catalog *c;

	scratch_reset();
	pfs_catalog_close(must_open());
	snprintf(under_a_file, sizeof(under_a_file), "%s/x/y.db", db_path);
	snprintf(a_folder, sizeof(a_folder), "%s/folder", scratch);
	CHECK_EQ(mkdir(a_folder, 0700), 0);

	c = must_open_at(under_a_file);
	CHECK(state.is_fresh && state.is_in_memory);
	CHECK_EQ(warnings, 1);
	CHECK(strstr(last_warning, "Not a directory"));
	use_it_a_little(c);
	pfs_catalog_close(c);

	pfs_catalog_close(must_open_at(a_folder));
	CHECK(state.is_in_memory);
	CHECK_EQ(warnings, 2);

	arm("catalog.open:erofs");
	pfs_catalog_close(must_open());
	CHECK(state.is_in_memory);
	CHECK_EQ(warnings, 3);
	CHECK(strstr(last_warning, "Read-only file system"));
}

/* Root is not held up by modes, so this one shows only for others. */
static void in_a_read_only_folder_it_goes_on_in_memory(void)
{
	struct pfs_catalog *c;

	scratch_reset();
	pfs_catalog_close(must_open());
	CHECK_EQ(chmod(db_path, 0400), 0);
	CHECK_EQ(chmod(scratch, 0500), 0);

	c = must_open();

	CHECK(state.is_in_memory == (geteuid() != 0));
	use_it_a_little(c);
	pfs_catalog_close(c);
	CHECK_EQ(chmod(scratch, 0700), 0);
}

static void without_memory_open_fails_and_leaks_nothing(void)
{
	struct pfs_catalog_config cfg = {.path = db_path};
	struct pfs_catalog_batch *b = NULL;
	struct pfs_catalog *c = NULL;

	scratch_reset();
	arm("alloc:enomem@1x1");
	CHECK_EQ(pfs_catalog_open(&cfg, &state, &c), -ENOMEM);
	CHECK(!c);

	c = must_open();
	arm("alloc:enomem@1x1");
	CHECK_EQ(pfs_catalog_batch_create(c, &b), -ENOMEM);
	b = must_batch(c);
	arm("alloc:enomem@1x1");
	CHECK_EQ(pfs_catalog_batch_zone(b, 1, 1, 1, "x", 1, 1), -ENOMEM);
	pfs_catalog_batch_destroy(b);
	pfs_catalog_batch_destroy(NULL);
	pfs_catalog_close(c);
	pfs_catalog_close(NULL);
}

/* --- images ------------------------------------------------------------- */

static void a_changed_image_gets_a_new_epoch_and_loses_its_chunks(void)
{
	struct pfs_catalog *c;
	struct opened o, p;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);

	p = must_open_image(c, "disk", 2);

	CHECK_EQ(p.verdict, PFS_IMAGE_CHANGED);
	CHECK_EQ(p.id, o.id);
	CHECK_EQ(p.epoch, o.epoch + 1);
	CHECK_EQ(count_zones(c, o), 0);
	CHECK_EQ(count_zones(c, p), 0);
	CHECK_EQ(must_open_image(c, "disk", 2).verdict, PFS_IMAGE_SAME);
	pfs_catalog_close(c);
}

static void a_change_that_is_not_committed_has_not_happened(void)
{
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);

	arm("catalog.commit:eio@1x1");
	CHECK_EQ(open_as(c, "disk", ident(2), false).err, -EIO);

	CHECK(EVENTUALLY(troubles == 1));
	CHECK_EQ(must_open_image(c, "disk", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(count_zones(c, o), 3);
	pfs_catalog_close(c);
}

static void opening_an_unchanged_image_commits_nothing(void)
{
	struct pfs_catalog *c;

	scratch_reset();
	c = must_open();
	must_open_image(c, "disk", 1);

	arm("catalog.commit:eio");

	CHECK_EQ(must_open_image(c, "disk", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(open_as(c, "disk", ident(1), true).err, -EIO);
	pfs_fault_clear();
	pfs_catalog_close(c);
}

static void an_image_found_dirty_is_dropped_though_its_identity_holds(void)
{
	struct pfs_catalog *c;
	struct opened o, p;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);

	p = open_as(c, "disk", ident(1), true);

	CHECK_EQ(p.err, 0);
	CHECK_EQ(p.verdict, PFS_IMAGE_CHANGED);
	CHECK_EQ(p.epoch, o.epoch + 1);
	CHECK_EQ(count_zones(c, p), 0);
	pfs_catalog_close(c);
}

static void a_file_moved_behind_our_back_keeps_its_row(void)
{
	struct pfs_catalog *c;
	struct opened a, b, p;

	scratch_reset();
	c = must_open();
	a = must_open_image(c, "a", 1);
	b = must_open_image(c, "b", 2);
	CHECK_EQ(save_zones(c, a, 3), 0);

	p = must_open_image(c, "b", 1); /* mv a b */

	CHECK_EQ(p.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(p.id, a.id);
	CHECK_EQ(count_zones(c, p), 3);
	CHECK_EQ(must_open_image(c, "a", 3).verdict, PFS_IMAGE_NEW);
	CHECK(must_open_image(c, "a", 3).id > b.id);
	pfs_catalog_close(c);
}

static void an_identity_that_follows_our_writes_is_the_one_compared(void)
{
	struct pfs_identity now = ident(7);
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 2), 0);
	b = must_batch(c);
	CHECK_EQ(pfs_catalog_batch_identity(b, o.id, o.epoch, &now), 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);

	/* Not flushed: the open must see what is still in the queue. */
	CHECK_EQ(must_open_image(c, "disk", 7).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(count_zones(c, o), 2);
	pfs_catalog_close(c);
}

static void rows_saved_for_an_older_epoch_are_ignored_and_counted(void)
{
	uint64_t stale = counter(PFS_C_ROWS_STALE), epoch = 0;
	struct pfs_identity now = ident(9);
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	struct opened o, p;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(pfs_catalog_image_bump(c, o.id, NULL, &epoch), 0);
	CHECK_EQ(epoch, 2);

	b = must_batch(c);
	batch_zone(b, o, 0, 0);
	CHECK_EQ(pfs_catalog_batch_identity(b, o.id, o.epoch, &now), 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);
	CHECK_EQ(pfs_catalog_flush(c), 0);

	p = must_open_image(c, "disk", 1);
	CHECK_EQ(p.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(count_zones(c, o), 0);
	CHECK_EQ(count_zones(c, p), 0);
	CHECK_EQ(counter(PFS_C_ROWS_STALE), stale + 2);
	CHECK_EQ(pfs_catalog_image_bump(c, 999, NULL, &epoch), -ENOENT);
	pfs_catalog_close(c);
}

static void a_row_can_be_looked_up_without_judging_its_file(void)
{
	struct pfs_image_row row = {0};
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);

	CHECK_EQ(pfs_catalog_image_find(c, "disk", &row), 0);
	CHECK(row.id == o.id && row.epoch == o.epoch && !row.name);
	CHECK_EQ(row.ident.ino, ident(1).ino);
	CHECK_EQ(pfs_catalog_image_find(c, "disc", &row), -ENOENT);
	CHECK_EQ(pfs_catalog_image_find(c, "", &row), -EINVAL);
	pfs_catalog_close(c);
}

static void names_follow_renames_and_unlinks(void)
{
	struct pfs_catalog *c;
	struct opened a, b;

	scratch_reset();
	c = must_open();
	a = must_open_image(c, "a", 1);
	b = must_open_image(c, "b", 2);
	CHECK_EQ(save_zones(c, a, 1), 0);
	CHECK_EQ(save_zones(c, b, 1), 0);

	CHECK_EQ(pfs_catalog_image_renamed(c, "a", "b"), 0);
	CHECK_EQ(must_open_image(c, "b", 1).id, a.id);
	CHECK_EQ(count_zones(c, a), 1);
	CHECK_EQ(count_zones(c, b), 0); /* renamed over */
	CHECK_EQ(pfs_catalog_image_unlinked(c, "b"), 0);
	CHECK_EQ(count_zones(c, a), 0);

	CHECK_EQ(must_open_image(c, "b", 1).verdict, PFS_IMAGE_NEW);
	CHECK_EQ(pfs_catalog_image_renamed(c, "nowhere", "else"), 0);
	CHECK_EQ(pfs_catalog_image_unlinked(c, "nowhere"), 0);
	pfs_catalog_close(c);
}

static void names_may_hold_any_bytes_but_not_be_empty_or_too_long(void)
{
	char name[PATH_MAX + 1];
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "\xff\xfe\x01 %'\"\n\xc3\x28", 1);
	c = reopened(c);
	CHECK_EQ(must_open_image(c, "\xff\xfe\x01 %'\"\n\xc3\x28", 1).id, o.id);

	memset(name, 'n', PATH_MAX);
	name[PATH_MAX] = '\0';
	CHECK_EQ(open_as(c, name, ident(2), false).err, -ENAMETOOLONG);
	CHECK_EQ(open_as(c, "", ident(2), false).err, -EINVAL);
	name[PATH_MAX - 1] = '\0';
	CHECK_EQ(open_as(c, name, ident(2), false).err, 0);
	pfs_catalog_close(c);
}

static void ids_are_never_used_again(void)
{
	struct pfs_catalog *c;
	uint64_t last = 0;

	scratch_reset();
	c = must_open();
	for (uint64_t i = 0; i < 5; i++) {
		struct opened o = must_open_image(c, "disk", i + 1);

		CHECK_EQ(o.verdict, PFS_IMAGE_NEW);
		CHECK(o.id > last);
		last = o.id;
		CHECK_EQ(pfs_catalog_image_forget(c, o.id), 0);
		c = reopened(c);
	}
	pfs_catalog_close(c);
}

static void absent_fields_of_an_identity_are_kept_as_absent(void)
{
	struct pfs_identity bare = ident(1), full = ident(1);
	struct pfs_catalog *c;

	scratch_reset();
	c = must_open();
	bare.present = 0;
	CHECK_EQ(open_as(c, "disk", bare, false).verdict, PFS_IMAGE_NEW);
	c = reopened(c);
	CHECK_EQ(open_as(c, "disk", bare, false).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(open_as(c, "disk", full, false).verdict, PFS_IMAGE_CHANGED);
	pfs_catalog_close(c);
}

struct list {
	char names[64];
	uint64_t n_zones;
	uint64_t n_chunks;
	int stop_after;
};

static int note_row(void *arg, const struct pfs_image_row *row,
		    uint64_t n_zones, uint64_t n_chunks)
{
	struct list *l = arg;

	strncat(l->names, row->name ? row->name : "-",
		sizeof(l->names) - strlen(l->names) - 1);
	l->n_zones += n_zones;
	l->n_chunks += n_chunks;
	return --l->stop_after == 0;
}

static void a_renamed_folder_takes_along_what_is_below_and_nothing_else(void)
{
	static const char *const names[] = {"d/a", "d/b/c", "d-x/a", "d0",
					    "d",   "dd/a",  "e/a"};
	struct list l = {0};
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	for (size_t i = 0; i < PFS_ARRAY_SIZE(names); i++) {
		o = must_open_image(c, names[i], i);
		CHECK_EQ(o.id, i + 1);
	}

	CHECK_EQ(pfs_catalog_folder_renamed(c, "d", "d/e"), -EINVAL);
	CHECK_EQ(pfs_catalog_folder_renamed(c, "d", "e"), 0);

	CHECK_EQ(pfs_catalog_images(c, note_row, &l), 0);
	CHECK_STR(l.names, "-dd-x/ad0dd/ae/ae/b/c");
	CHECK_EQ(must_open_image(c, "e/a", 0).id, 1);
	CHECK_EQ(must_open_image(c, "e/b/c", 1).id, 2);
	pfs_catalog_close(c);
}

static void a_listing_is_ordered_and_can_be_stopped(void)
{
	struct list all = {0}, two = {.stop_after = 2};
	struct pfs_catalog *c;

	scratch_reset();
	c = must_open();
	must_open_image(c, "c", 1);
	CHECK_EQ(save_zones(c, must_open_image(c, "a", 2), 2), 0);
	CHECK_EQ(save_zones(c, must_open_image(c, "b", 3), 1), 0);
	must_open_image(c, "z", 4);
	CHECK_EQ(pfs_catalog_image_unlinked(c, "z"), 0);

	CHECK_EQ(pfs_catalog_images(c, note_row, &all), 0);
	CHECK_EQ(pfs_catalog_images(c, note_row, &two), 0);

	CHECK_STR(all.names, "-abc");
	CHECK_EQ(all.n_zones, 3);
	CHECK_EQ(all.n_chunks, 100 + 101 + 100);
	CHECK_STR(two.names, "-a");
	pfs_catalog_close(c);
}

static int count_row(void *arg, const struct pfs_image_row *row,
		     uint64_t n_zones, uint64_t n_chunks)
{
	(void)row;
	(void)n_zones;
	(void)n_chunks;
	++*(int *)arg;
	return 0;
}

static void rows_without_a_name_do_not_pile_up(void)
{
	struct pfs_catalog *c;
	int n = 0;

	scratch_reset();
	c = must_open_at(NULL);
	for (int i = 0; i < 1100; i++) {
		CHECK_EQ(open_as(c, "disk", ident(1), false).err, 0);
		CHECK_EQ(pfs_catalog_image_unlinked(c, "disk"), 0);
	}

	CHECK_EQ(pfs_catalog_images(c, count_row, &n), 0);

	CHECK_EQ(n, 1024);
	pfs_catalog_close(c);
}

static void dropped_zones_leave_images_and_epochs_as_they_are(void)
{
	struct pfs_catalog *c;
	struct opened a, b;

	scratch_reset();
	c = must_open();
	a = must_open_image(c, "a", 1);
	b = must_open_image(c, "b", 2);
	CHECK_EQ(save_zones(c, a, 2), 0);
	CHECK_EQ(save_zones(c, b, 2), 0);

	CHECK_EQ(pfs_catalog_zones_drop(c, a.id), 0);
	CHECK_EQ(count_zones(c, a), 0);
	CHECK_EQ(count_zones(c, b), 2);
	CHECK_EQ(pfs_catalog_zones_drop(c, 0), 0);
	CHECK_EQ(count_zones(c, b), 0);

	CHECK_EQ(must_open_image(c, "a", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(must_open_image(c, "a", 1).epoch, a.epoch);
	pfs_catalog_close(c);
}

/* --- the store's own row, segments -------------------------------------- */

static void a_renewed_store_has_another_uuid_and_no_chunks(void)
{
	uint8_t was[PFS_UUID_LEN], is[PFS_UUID_LEN], kept[PFS_UUID_LEN];
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	struct opened o;
	uint64_t gen = 0;
	void *blob;
	size_t len;

	scratch_reset();
	c = must_open();
	pfs_catalog_store_uuid(c, was);
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);
	b = must_batch(c);
	CHECK_EQ(pfs_catalog_batch_segments(b, "table", 5), 0);
	CHECK_EQ(pfs_catalog_submit(c, b, true, NULL, NULL), 0);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 10, &gen), 0);

	CHECK_EQ(pfs_catalog_renew_store(c, is), 0);

	c = reopened(c);
	pfs_catalog_store_uuid(c, kept);
	CHECK(memcmp(was, is, sizeof(was)) != 0);
	CHECK(!memcmp(is, kept, sizeof(is)));
	CHECK_EQ(must_open_image(c, "disk", 1).id, o.id);
	CHECK_EQ(count_zones(c, o), 0);
	CHECK_EQ(pfs_catalog_segments_load(c, &blob, &len), 0);
	CHECK(!blob && !len);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);
	CHECK_EQ(gen, 11); /* never reset */
	pfs_catalog_close(c);
}

static void generations_run_out_rather_than_wrap(void)
{
	struct pfs_catalog *c;
	uint64_t gen = 0;

	scratch_reset();
	c = must_open();
	CHECK_EQ(pfs_catalog_reserve_gens(c, 0, &gen), -EINVAL);
	CHECK_EQ(pfs_catalog_reserve_gens(c, UINT64_MAX, &gen), -EOVERFLOW);
	CHECK_EQ(pfs_catalog_reserve_gens(c, INT64_MAX, &gen), -EOVERFLOW);
	CHECK_EQ(pfs_catalog_reserve_gens(c, INT64_MAX - 1, &gen), 0);
	CHECK_EQ(gen, 1);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), -EOVERFLOW);
	pfs_catalog_close(c);
}

static void the_segment_table_is_kept_whole(void)
{
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	void *blob = NULL;
	size_t len = 0;

	scratch_reset();
	c = must_open();
	CHECK_EQ(pfs_catalog_segments_load(c, &blob, &len), 0);
	CHECK(!blob && !len);

	b = must_batch(c);
	CHECK_EQ(pfs_catalog_batch_segments(b, "first", 5), 0);
	CHECK_EQ(pfs_catalog_batch_segments(b, "second", 6), 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);
	c = reopened(c);

	CHECK_EQ(pfs_catalog_segments_load(c, &blob, &len), 0);
	CHECK(len == 6 && blob && !memcmp(blob, "second", 6));
	free(blob);
	pfs_catalog_close(c);
}

/* --- batches and the queue ---------------------------------------------- */

static void a_zone_row_is_replaced_or_deleted_by_a_later_one(void)
{
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	struct opened o;
	struct seen s;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);

	b = must_batch(c);
	for (uint32_t i = 0; i < 3; i++)
		batch_zone(b, o, i, 9);
	CHECK_EQ(pfs_catalog_batch_zone(b, o.id, o.epoch, 1, NULL, 0, 0), 0);
	CHECK_EQ(pfs_catalog_batch_zone(b, o.id, o.epoch, 1, NULL, 0, 1),
		 -EINVAL);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);
	CHECK_EQ(pfs_catalog_flush(c), 0);

	CHECK_EQ(see_zones(c, o, &s), 0);
	CHECK_EQ(s.n, 2);
	CHECK(s.is_same && s.stamp == 9 && !s.is_altered);
	pfs_catalog_close(c);
}

static _Atomic int n_done, n_done_ok;

static void note_done(void *arg, int err)
{
	(void)arg;
	atomic_fetch_add(&n_done, 1);
	atomic_fetch_add(&n_done_ok, !err);
}

static int submit_zone(struct pfs_catalog *c, struct opened o, uint32_t zone)
{
	struct pfs_catalog_batch *b = must_batch(c);

	batch_zone(b, o, zone, 0);
	return pfs_catalog_submit(c, b, false, note_done, NULL);
}

/* Let the writer stand still before a commit, with nothing queued behind. */
static void hold_writer(struct pfs_catalog *c, struct opened o)
{
	uint32_t n_paused = 0;

	atomic_store(&n_done, 0);
	atomic_store(&n_done_ok, 0);
	arm("catalog.commit:pause@1x1");
	CHECK_EQ(submit_zone(c, o, 1000), 0);
	CHECK(EVENTUALLY((pfs_fault_stat(PFS_FP_CATALOG_COMMIT, &n_paused,
					 &(uint64_t){0}),
			  n_paused == 1)));
}

static void a_full_queue_refuses_and_loses_nothing(void)
{
	uint64_t full = counter(PFS_C_QUEUE_FULL);
	struct pfs_catalog *c;
	struct opened o;
	int n = 0, err;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	hold_writer(c, o);

	while (!(err = submit_zone(c, o, (uint32_t)n)) && n < 10000)
		n++;

	CHECK_EQ(err, -EAGAIN);
	CHECK_EQ(counter(PFS_C_QUEUE_FULL), full + 1);
	CHECK(n > 100);
	/* Reads do not wait for the writer. */
	CHECK_EQ(must_open_image(c, "disk", 1).verdict, PFS_IMAGE_SAME);
	CHECK_EQ(n_done, 0);

	pfs_fault_resume(PFS_FP_CATALOG_COMMIT);
	CHECK_EQ(pfs_catalog_flush(c), 0);
	CHECK_EQ(n_done_ok, n + 1);
	CHECK_EQ(count_zones(c, o), n + 1);
	pfs_catalog_close(c);
}

static void the_queue_is_bounded_in_bytes_too(void)
{
	static uint8_t blob[8 << 20];
	struct pfs_catalog *c;
	struct opened o;
	int n = 0, err = 0;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	hold_writer(c, o);

	while (!err && n < 100) {
		struct pfs_catalog_batch *b = must_batch(c);

		CHECK_EQ(pfs_catalog_batch_zone(b, o.id, o.epoch, (uint32_t)n,
						blob, sizeof(blob), 1),
			 0);
		err = pfs_catalog_submit(c, b, false, note_done, NULL);
		n += !err;
	}

	CHECK_EQ(err, -EAGAIN);
	CHECK_EQ(n, 3);
	arm("catalog.commit:eio"); /* spares the test the writing */
	pfs_fault_resume(PFS_FP_CATALOG_COMMIT);
	pfs_catalog_close(c);
	CHECK_EQ(n_done, n + 1);
}

static void one_commit_takes_all_that_is_queued(void)
{
	struct pfs_catalog *c;
	struct opened o;
	uint64_t fired;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	hold_writer(c, o);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQ(submit_zone(c, o, i), 0);
	/* It lets every commit through, but counts them. */
	arm("catalog.commit:stall=0");
	pfs_fault_resume(PFS_FP_CATALOG_COMMIT);
	CHECK(EVENTUALLY(n_done == 21));

	pfs_fault_stat(PFS_FP_CATALOG_COMMIT, &(uint32_t){0}, &fired);
	CHECK_EQ(fired, 2);
	CHECK_EQ(n_done_ok, 21);
	pfs_catalog_close(c);
}

static void a_failed_commit_is_tried_again_job_by_job(void)
{
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	hold_writer(c, o);
	for (uint32_t i = 0; i < 10; i++)
		CHECK_EQ(submit_zone(c, o, i), 0);

	arm("catalog.commit:eio@1x3"); /* all together, the first two alone */
	pfs_fault_resume(PFS_FP_CATALOG_COMMIT);
	CHECK_EQ(pfs_catalog_flush(c), 0);

	CHECK_EQ(n_done, 11);
	CHECK_EQ(n_done_ok, 9);
	CHECK_EQ(troubles, 2);
	CHECK_EQ(count_zones(c, o), 9);
	pfs_catalog_close(c);
}

static void what_is_queued_at_close_is_kept(void)
{
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	atomic_store(&n_done, 0);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQ(submit_zone(c, o, i), 0);

	c = reopened(c);

	CHECK_EQ(n_done, 20);
	CHECK_EQ(count_zones(c, o), 20);
	pfs_catalog_close(c);
}

static void a_catalog_at_its_size_limit_refuses_and_stays_sound(void)
{
	struct pfs_catalog_config cfg = {.path = db_path,
					 .max_bytes = PFS_KIB(256)};
	struct pfs_catalog *c = NULL;
	unsigned int n_bad = 1, kept;
	struct opened o;
	uint64_t gen;
	int err = 0;

	scratch_reset();
	CHECK_EQ(pfs_catalog_open(&cfg, &state, &c), 0);
	o = must_open_image(c, "disk", 1);
	for (uint32_t i = 0; i < 200; i++)
		CHECK_EQ(submit_zone(c, o, i), 0);
	CHECK_EQ(pfs_catalog_flush(c), 0);
	kept = count_zones(c, o);
	CHECK(kept > 30 && kept < 200);
	for (int i = 0; i < 200 && !err; i++)
		err = open_as(c, "disk", ident((uint64_t)i + 2), false).err;
	CHECK_EQ(err, 0); /* needs no more room than it gives back */
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);

	pfs_catalog_close(c);
	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);
	CHECK_EQ(n_bad, 0);
}

static void keep_error(void *arg, int err)
{
	*(int *)arg = err;
}

static void one_batch_over_the_size_limit_is_enospc(void)
{
	struct pfs_catalog_config cfg = {.path = db_path,
					 .max_bytes = PFS_KIB(256)};
	struct pfs_catalog *c = NULL;
	struct pfs_catalog_batch *b;
	struct opened o;
	int err = 1;

	scratch_reset();
	CHECK_EQ(pfs_catalog_open(&cfg, &state, &c), 0);
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 5), 0);

	b = must_batch(c);
	for (uint32_t i = 0; i < 200; i++)
		batch_zone(b, o, i, 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, keep_error, &err), 0);
	CHECK_EQ(pfs_catalog_flush(c), 0);

	CHECK_EQ(err, -ENOSPC);
	CHECK_EQ(count_zones(c, o), 5);
	pfs_catalog_close(c);
}

/* --- many threads ------------------------------------------------------- */

struct worker {
	struct pfs_catalog *c;
	pthread_t thread;
	uint64_t n;
	uint64_t gens[20];
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "disk%llu", (unsigned long long)w->n);
	for (uint64_t i = 0; i < 20; i++) {
		struct opened o = must_open_image(w->c, name, w->n * 100 + i);

		CHECK_EQ(save_zones(w->c, o, 2), 0);
		CHECK_EQ(count_zones(w->c, o), 2);
		CHECK_EQ(pfs_catalog_reserve_gens(w->c, 3, &w->gens[i]), 0);
	}
	return NULL;
}

static void threads_get_generations_of_their_own(void)
{
	static struct worker w[4];
	static bool taken[4 * 20 * 3 + 1];
	struct pfs_catalog *c;

	scratch_reset();
	c = must_open();
	for (uint64_t i = 0; i < 4; i++) {
		w[i] = (struct worker){.c = c, .n = i};
		CHECK_EQ(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);

	for (int i = 0; i < 4 * 20 * 3; i++) {
		uint64_t gen = w[i / 60].gens[i % 60 / 3] + (uint64_t)i % 3;

		CHECK(gen >= 1 && gen <= 240 && !taken[gen]);
		taken[gen % PFS_ARRAY_SIZE(taken)] = true;
	}
	pfs_catalog_close(c);
}

int main(void)
{
	RUN(an_identity_holds_for_the_same_file_only);
	RUN(absent_fields_equal_absent_ones_whatever_they_hold);
	RUN(a_record_made_within_20_ms_of_a_change_is_not_trusted);
	RUN(a_new_catalog_is_fresh_and_private_whatever_the_umask);
	RUN(what_was_kept_is_there_after_a_restart);
	RUN(a_catalog_in_memory_works_like_any_other);
	RUN(where_no_file_can_be_made_it_goes_on_in_memory);
	RUN(in_a_read_only_folder_it_goes_on_in_memory);
	RUN(without_memory_open_fails_and_leaks_nothing);
	RUN(a_changed_image_gets_a_new_epoch_and_loses_its_chunks);
	RUN(a_change_that_is_not_committed_has_not_happened);
	RUN(opening_an_unchanged_image_commits_nothing);
	RUN(an_image_found_dirty_is_dropped_though_its_identity_holds);
	RUN(a_file_moved_behind_our_back_keeps_its_row);
	RUN(an_identity_that_follows_our_writes_is_the_one_compared);
	RUN(rows_saved_for_an_older_epoch_are_ignored_and_counted);
	RUN(a_row_can_be_looked_up_without_judging_its_file);
	RUN(names_follow_renames_and_unlinks);
	RUN(a_renamed_folder_takes_along_what_is_below_and_nothing_else);
	RUN(names_may_hold_any_bytes_but_not_be_empty_or_too_long);
	RUN(ids_are_never_used_again);
	RUN(absent_fields_of_an_identity_are_kept_as_absent);
	RUN(a_listing_is_ordered_and_can_be_stopped);
	RUN(rows_without_a_name_do_not_pile_up);
	RUN(dropped_zones_leave_images_and_epochs_as_they_are);
	RUN(a_renewed_store_has_another_uuid_and_no_chunks);
	RUN(generations_run_out_rather_than_wrap);
	RUN(the_segment_table_is_kept_whole);
	RUN(a_zone_row_is_replaced_or_deleted_by_a_later_one);
	RUN(a_full_queue_refuses_and_loses_nothing);
	RUN(the_queue_is_bounded_in_bytes_too);
	RUN(one_commit_takes_all_that_is_queued);
	RUN(a_failed_commit_is_tried_again_job_by_job);
	RUN(what_is_queued_at_close_is_kept);
	RUN(a_catalog_at_its_size_limit_refuses_and_stays_sound);
	RUN(one_batch_over_the_size_limit_is_enospc);
	RUN(threads_get_generations_of_their_own);
	return CHECK_RESULT();
}
