/* SPDX-License-Identifier: GPL-3.0-or-later */
/* catalog.h: recordings and pins, which outlive the chunks of their image, and
 * the catalogs of version 1, which have neither. */
#include <sqlite3.h>

#include "catalog_fixture.h"
#include "catalog_v1.h"

/* --- recordings and pins ------------------------------------------------ */

static int save_recording(struct pfs_catalog *c, uint64_t image,
			  uint64_t number, const char *text)
{
	struct pfs_catalog_batch *b = must_batch(c);

	CHECK_EQ(pfs_catalog_batch_recording(b, image, number, text,
					     text ? strlen(text) : 0),
		 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);
	return pfs_catalog_flush(c);
}

struct told {
	char text[512];
	int stop_after;
};

static int tell_recording(void *arg, uint64_t number, const void *blob,
			  size_t len)
{
	struct told *t = arg;
	size_t at = strlen(t->text);

	snprintf(t->text + at, sizeof(t->text) - at, "%llu:%.*s ",
		 (unsigned long long)number, (int)len, (const char *)blob);
	return --t->stop_after == 0;
}

static int tell_pin(void *arg, uint64_t first, uint64_t last)
{
	struct told *t = arg;
	size_t at = strlen(t->text);

	snprintf(t->text + at, sizeof(t->text) - at, "%llu-%llu ",
		 (unsigned long long)first, (unsigned long long)last);
	return --t->stop_after == 0;
}

/* "NUMBER:BLOB " of each. */
static const char *recordings_of(struct pfs_catalog *c, uint64_t image)
{
	static struct told t;

	t = (struct told){0};
	CHECK_EQ(pfs_catalog_recordings_load(c, image, tell_recording, &t), 0);
	return t.text;
}

/* "FIRST-LAST " of each. */
static const char *pins_of(struct pfs_catalog *c, uint64_t image)
{
	static struct told t;

	t = (struct told){0};
	CHECK_EQ(pfs_catalog_pins_load(c, image, tell_pin, &t), 0);
	return t.text;
}

static void recordings_are_kept_replaced_and_deleted_by_number(void)
{
	struct told one = {.stop_after = 1};
	struct pfs_catalog *c;
	struct opened o, p;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	p = must_open_image(c, "other", 2);
	CHECK_EQ(save_recording(c, o.id, 7, "seven"), 0);
	CHECK_EQ(save_recording(c, o.id, 3, "three"), 0);
	CHECK_EQ(save_recording(c, o.id, 5, "five"), 0);
	CHECK_EQ(save_recording(c, p.id, 3, "else"), 0);

	CHECK_EQ(save_recording(c, o.id, 3, "THREE"), 0);
	CHECK_EQ(save_recording(c, o.id, 5, NULL), 0);
	CHECK_EQ(save_recording(c, o.id, 6, NULL), 0); /* never was */
	c = reopened(c);

	CHECK_STR(recordings_of(c, o.id), "3:THREE 7:seven ");
	CHECK_STR(recordings_of(c, p.id), "3:else ");
	CHECK_STR(recordings_of(c, 99), "");
	CHECK_EQ(pfs_catalog_recordings_load(c, o.id, tell_recording, &one), 0);
	CHECK_STR(one.text, "3:THREE ");
	pfs_catalog_close(c);
}

static void pins_are_kept_until_a_range_around_them_is_unpinned(void)
{
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 100, 200), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 100, 200), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 150, 300), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 0, INT64_MAX), 0);
	c = reopened(c);
	CHECK_STR(pins_of(c, o.id), "0-9223372036854775807 100-200 150-300 ");

	CHECK_EQ(pfs_catalog_unpin(c, o.id, 100, 250), 0);
	CHECK_STR(pins_of(c, o.id), "0-9223372036854775807 150-300 ");
	CHECK_EQ(pfs_catalog_unpin(c, o.id, 100, 250), -ENOENT);
	CHECK_EQ(pfs_catalog_unpin(c, o.id, 0, INT64_MAX), 0);
	CHECK_STR(pins_of(c, o.id), "");
	pfs_catalog_close(c);
}

static void chunks_are_forgotten_but_never_learning(void)
{
	uint8_t uuid[PFS_UUID_LEN];
	struct pfs_catalog *c;
	struct opened o, p;
	uint64_t epoch;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(save_zones(c, o, 3), 0);
	CHECK_EQ(save_recording(c, o.id, 1, "boot"), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 0, 9), 0);

	CHECK_EQ(pfs_catalog_image_bump(c, o.id, NULL, &epoch), 0);
	p = must_open_image(c, "disk", 2); /* another file, the same name */
	CHECK(p.verdict == PFS_IMAGE_CHANGED && p.id == o.id);
	CHECK_EQ(pfs_catalog_zones_drop(c, o.id), 0);
	CHECK_EQ(pfs_catalog_zones_drop(c, 0), 0);
	CHECK_EQ(pfs_catalog_renew_store(c, uuid), 0);
	CHECK_EQ(pfs_catalog_image_renamed(c, "disk", "disc"), 0);
	p = must_open_image(c, "disc", 2);
	CHECK(p.verdict == PFS_IMAGE_SAME && p.id == o.id);
	CHECK_EQ(pfs_catalog_image_unlinked(c, "disc"), 0);

	CHECK_EQ(count_zones(c, p), 0);
	CHECK_STR(recordings_of(c, o.id), "1:boot ");
	CHECK_STR(pins_of(c, o.id), "0-9 ");
	CHECK_EQ(pfs_catalog_image_forget(c, o.id), 0);
	CHECK_STR(recordings_of(c, o.id), "");
	CHECK_STR(pins_of(c, o.id), "");
	pfs_catalog_close(c);
}

static void a_name_keeps_its_recordings_when_another_file_takes_it(void)
{
	struct pfs_catalog *c;
	struct opened a, b, d;

	scratch_reset();
	c = must_open();
	a = must_open_image(c, "a", 1);
	b = must_open_image(c, "b", 2);
	d = must_open_image(c, "d", 3);
	CHECK_EQ(save_recording(c, a.id, 1, "one"), 0);
	CHECK_EQ(save_recording(c, a.id, 2, "two"), 0);
	CHECK_EQ(save_recording(c, d.id, 4, "own"), 0);

	CHECK_EQ(pfs_catalog_image_renamed(c, "b", "a"), 0);
	CHECK_STR(recordings_of(c, b.id), "1:one 2:two ");
	CHECK_STR(recordings_of(c, a.id), "");

	/* It brings what it learned itself. */
	CHECK_EQ(pfs_catalog_image_renamed(c, "d", "a"), 0);
	CHECK_STR(recordings_of(c, d.id), "4:own ");
	CHECK_STR(recordings_of(c, b.id), "1:one 2:two ");

	/* Behind our back: mv e a. */
	b = must_open_image(c, "e", 5);
	CHECK_EQ(must_open_image(c, "a", 5).id, b.id);
	CHECK_STR(recordings_of(c, b.id), "4:own ");
	pfs_catalog_close(c);
}

/* --- limits ------------------------------------------------------------- */

static void of_too_many_recordings_the_lowest_numbers_leave(void)
{
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	for (uint64_t i = 0; i < PFS_CATALOG_RECORDINGS_KEPT + 2u; i++)
		CHECK_EQ(save_recording(c, o.id, 90 + i, "x"), 0);

	CHECK_EQ(strlen(recordings_of(c, o.id)),
		 8 * strlen("92:x ") + 8 * strlen("100:x "));
	CHECK(strstr(recordings_of(c, o.id), "92:x ") ==
	      recordings_of(c, o.id));
	pfs_catalog_close(c);
}

static void what_does_not_fit_is_refused(void)
{
	static uint8_t big[PFS_CATALOG_RECORDING_MAX + 1];
	struct pfs_catalog_batch *b;
	struct pfs_catalog *c;
	struct opened o;

	scratch_reset();
	c = must_open();
	o = must_open_image(c, "disk", 1);
	b = must_batch(c);

	CHECK_EQ(pfs_catalog_batch_recording(b, o.id, 1, big, sizeof(big)),
		 -EINVAL);
	CHECK_EQ(pfs_catalog_batch_recording(b, o.id, 1, big, 0), -EINVAL);
	CHECK_EQ(pfs_catalog_batch_recording(b, o.id, (uint64_t)INT64_MAX + 1,
					     big, 1),
		 -EINVAL);
	CHECK_EQ(pfs_catalog_batch_recording(b, o.id, 1, big, sizeof(big) - 1),
		 0);
	CHECK_EQ(pfs_catalog_submit(c, b, false, NULL, NULL), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 2, 1), -EINVAL);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 0, UINT64_MAX), -EINVAL);
	CHECK_EQ(pfs_catalog_pin(c, 99, 0, 1), -ENOENT);
	CHECK_EQ(pfs_catalog_unpin(c, o.id, 2, 1), -EINVAL);
	for (uint64_t i = 0; i < PFS_CATALOG_PINS_MAX; i++)
		CHECK_EQ(pfs_catalog_pin(c, o.id, i, i), 0);
	CHECK_EQ(pfs_catalog_pin(c, o.id, 5, 5), 0); /* it is there */
	CHECK_EQ(pfs_catalog_pin(c, o.id, 5, 6), -ENOSPC);
	pfs_catalog_close(c);
}

static void a_recording_of_an_image_that_is_gone_is_counted(void)
{
	uint64_t stale = counter(PFS_C_ROWS_STALE);
	struct pfs_catalog *c;

	scratch_reset();
	c = must_open();

	CHECK_EQ(save_recording(c, 99, 1, "late"), 0);

	CHECK_EQ(counter(PFS_C_ROWS_STALE), stale + 1);
	CHECK_STR(recordings_of(c, 99), "");
	pfs_catalog_close(c);
}

static void keep_error(void *arg, int err)
{
	*(int *)arg = err;
}

static void the_size_limit_holds_for_recordings_too(void)
{
	static uint8_t big[PFS_KIB(100)];
	struct pfs_catalog_config cfg = {.path = db_path,
					 .max_bytes = PFS_KIB(512)};
	struct pfs_catalog *c = NULL;
	unsigned int n_bad = 1;
	struct opened o;
	int err = 0, n_kept = 0;

	scratch_reset();
	CHECK_EQ(pfs_catalog_open(&cfg, &state, &c), 0);
	o = must_open_image(c, "disk", 1);
	for (uint64_t i = 0; i < 10; i++) {
		struct pfs_catalog_batch *b = must_batch(c);

		CHECK_EQ(pfs_catalog_batch_recording(b, o.id, i, big,
						     sizeof(big)),
			 0);
		CHECK_EQ(pfs_catalog_submit(c, b, false, keep_error, &err), 0);
		CHECK_EQ(pfs_catalog_flush(c), 0);
		CHECK(!err || err == -ENOSPC);
		n_kept += !err;
	}

	CHECK(n_kept >= 3 && n_kept <= 5);
	CHECK_EQ(save_zones(c, o, 3), 0);
	CHECK_EQ(count_zones(c, o), 3);
	pfs_catalog_close(c);
	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);
	CHECK_EQ(n_bad, 0);
}

/* --- damage ------------------------------------------------------------- */

static void run_sql(const char *sql)
{
	sqlite3 *h = NULL;

	CHECK_EQ(sqlite3_open(db_path, &h), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_close(h), SQLITE_OK);
}

static void damaged_rows_are_left_out_and_counted(void)
{
	static const char *const damages[] = {
		"UPDATE recordings SET image = 2; UPDATE pins SET image = 2",
		"UPDATE recordings SET number = 6; UPDATE pins SET first = 1",
		"UPDATE recordings SET sum = sum + 1; UPDATE pins SET last = 8",
		"UPDATE recordings SET blob = x''; UPDATE pins SET sum = sum+1",
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(damages); i++) {
		uint64_t bad = counter(PFS_C_ROWS_BAD);
		unsigned int n_bad = 0;
		struct pfs_catalog *c;
		struct opened a, b;

		scratch_reset();
		c = must_open();
		a = must_open_image(c, "a", 1);
		b = must_open_image(c, "b", 2);
		CHECK_EQ(save_recording(c, a.id, 5, "boot"), 0);
		CHECK_EQ(pfs_catalog_pin(c, a.id, 0, 9), 0);
		pfs_catalog_close(c);
		run_sql(damages[i]);

		CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);
		CHECK_EQ(n_bad, 2);
		c = must_open();
		CHECK_STR(recordings_of(c, a.id), "");
		CHECK_STR(recordings_of(c, b.id), "");
		CHECK_STR(pins_of(c, a.id), "");
		CHECK_STR(pins_of(c, b.id), "");
		CHECK_EQ(counter(PFS_C_ROWS_BAD), bad + 2);

		/* They are not in the way of what comes next. */
		CHECK_EQ(save_recording(c, a.id, 5, "again"), 0);
		CHECK_STR(recordings_of(c, a.id), "5:again ");
		CHECK_EQ(pfs_catalog_unpin(c, i ? a.id : b.id, 0, 9), 0);
		pfs_catalog_close(c);
	}
}

/* --- catalogs of version 1 ---------------------------------------------- */

static void make_v1(void)
{
	scratch_reset();
	run_sql(catalog_v1);
}

static int tell_zone(void *arg, uint32_t zone, const void *blob, size_t len)
{
	return tell_recording(arg, zone, blob, len);
}

static void expect_v1_contents(struct pfs_catalog *c)
{
	struct told zones = {0};
	struct opened o;
	void *blob = NULL;
	size_t len = 0;
	uint64_t gen = 0;

	CHECK(!state.is_fresh && !state.is_in_memory);
	CHECK_STR(state.set_aside, "");
	o = must_open_image(c, "disk", 1);
	CHECK_EQ(o.verdict, PFS_IMAGE_SAME);
	CHECK_EQ(o.id, 1);
	CHECK_EQ(o.epoch, 2);
	CHECK_EQ(pfs_catalog_zones_load(c, 1, 2, tell_zone, &zones), 0);
	CHECK_STR(zones.text, "0:zone 0 7:zone 7 ");
	CHECK_EQ(pfs_catalog_segments_load(c, &blob, &len), 0);
	CHECK(len == 8 && !memcmp(blob, "segments", 8));
	free(blob);
	CHECK_EQ(pfs_catalog_reserve_gens(c, 1, &gen), 0);
	CHECK(gen >= 1001);
	CHECK_EQ(must_open_image(c, "new", 9).id, 3);
}

static void a_catalog_of_version_1_is_brought_up_without_loss(void)
{
	static const uint8_t want[PFS_UUID_LEN] = {
		0xa4, 0x4f, 0xe3, 0x28, 0xf5, 0x9f, 0x4e, 0x22,
		0xbe, 0x7a, 0x46, 0xc2, 0x94, 0x68, 0x13, 0xfb};
	uint8_t uuid[PFS_UUID_LEN];
	unsigned int n_bad = 1;
	struct pfs_catalog *c;

	make_v1();
	c = must_open();

	pfs_catalog_store_uuid(c, uuid);
	CHECK(!memcmp(uuid, want, sizeof(want)));
	expect_v1_contents(c);
	CHECK_STR(recordings_of(c, 1), "");
	CHECK_EQ(save_recording(c, 1, 1, "boot"), 0);
	CHECK_EQ(pfs_catalog_pin(c, 1, 0, 9), 0);
	CHECK_EQ(warnings, 0);

	c = reopened(c);
	expect_v1_contents(c);
	CHECK_STR(recordings_of(c, 1), "1:boot ");
	CHECK_STR(pins_of(c, 1), "0-9 ");
	pfs_catalog_close(c);
	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);
	CHECK_EQ(n_bad, 0);
}

static void a_sound_catalog_of_version_1_passes_the_check(void)
{
	unsigned int n_bad = 1;
	struct stat before, after;

	make_v1();
	CHECK_EQ(stat(db_path, &before), 0);

	CHECK_EQ(pfs_catalog_check(db_path, NULL, NULL, &n_bad), 0);

	CHECK_EQ(n_bad, 0);
	CHECK_EQ(stat(db_path, &after), 0);
	CHECK_EQ(before.st_size, after.st_size);
}

static void version_1_with_a_table_of_somebody_elses_is_set_aside(void)
{
	sqlite3 *h = NULL;

	make_v1();
	CHECK_EQ(sqlite3_open(db_path, &h), SQLITE_OK);
	CHECK_EQ(
		sqlite3_exec(h, "CREATE TABLE recordings(x)", NULL, NULL, NULL),
		SQLITE_OK);
	CHECK_EQ(sqlite3_close(h), SQLITE_OK);

	pfs_catalog_close(must_open());

	CHECK(state.is_fresh && !state.is_in_memory);
	CHECK(strstr(state.set_aside, "corrupt"));
}

int main(void)
{
	RUN(recordings_are_kept_replaced_and_deleted_by_number);
	RUN(pins_are_kept_until_a_range_around_them_is_unpinned);
	RUN(chunks_are_forgotten_but_never_learning);
	RUN(a_name_keeps_its_recordings_when_another_file_takes_it);
	RUN(of_too_many_recordings_the_lowest_numbers_leave);
	RUN(what_does_not_fit_is_refused);
	RUN(a_recording_of_an_image_that_is_gone_is_counted);
	RUN(the_size_limit_holds_for_recordings_too);
	RUN(damaged_rows_are_left_out_and_counted);
	RUN(a_catalog_of_version_1_is_brought_up_without_loss);
	RUN(a_sound_catalog_of_version_1_passes_the_check);
	RUN(version_1_with_a_table_of_somebody_elses_is_set_aside);
	return CHECK_RESULT();
}
