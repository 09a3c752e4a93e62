/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Chunks that stay: the list of ranges, and the store that honours it. */
#include "cache_fixture.h"
#include "core.h"

/* --- the list --- */

/* "1-3 7-7" */
static const char *shown(const struct pins *p)
{
	static char text[256];
	size_t at = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < p->n && at < sizeof(text) - 48; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "%s%llu-%llu", i ? " " : "",
				       (unsigned long long)p->at[i].first,
				       (unsigned long long)p->at[i].last);
	return text;
}

static void ranges_join_and_split(void)
{
	struct pins p = {0};

	CHECK_EQ(pins_add(&p, 10, 19), 0);
	CHECK_EQ(pins_add(&p, 30, 39), 0);
	CHECK_STR(shown(&p), "10-19 30-39");
	CHECK_EQ(pins_add(&p, 20, 20), 0); /* touches */
	CHECK_STR(shown(&p), "10-20 30-39");
	CHECK_EQ(pins_add(&p, 0, 4), 0);
	CHECK_EQ(pins_add(&p, 15, 34), 0); /* overlaps two */
	CHECK_STR(shown(&p), "0-4 10-39");
	CHECK_EQ(p.n_chunks, 35);
	CHECK_EQ(pins_add(&p, 12, 13), 0); /* there already */
	CHECK_EQ(p.n_chunks, 35);

	CHECK_EQ(pins_del(&p, 20, 24), 0);
	CHECK_STR(shown(&p), "0-4 10-19 25-39");
	CHECK_EQ(pins_del(&p, 3, 27), 0);
	CHECK_STR(shown(&p), "0-2 28-39");
	CHECK_EQ(pins_del(&p, 100, 200), 0);
	CHECK_EQ(p.n_chunks, 15);
	CHECK(pins_has(&p, 0) && pins_has(&p, 2) && !pins_has(&p, 3));
	CHECK(!pins_has(&p, 27) && pins_has(&p, 28) && !pins_has(&p, 40));
	CHECK_EQ(pins_count(&p, 2, 28), 2);
	CHECK_EQ(pins_del(&p, 0, UINT64_MAX), 0);
	CHECK_EQ(p.n, 0);
	CHECK_EQ(p.n_chunks, 0);
	pins_fini(&p);
}

static void the_list_agrees_with_a_plain_one(void)
{
	bool is_in[200] = {0};
	struct pins p = {0};

	for (int i = 0; i < 3000; i++) {
		uint64_t first = rand_below(200);
		uint64_t last = PFS_MIN(first + rand_below(20), 199ul);
		bool on = rand_below(2);
		uint64_t n = 0;

		CHECK_EQ(on ? pins_add(&p, first, last)
			    : pins_del(&p, first, last),
			 0);
		for (uint64_t c = first; c <= last; c++)
			is_in[c] = on;
		for (uint64_t c = 0; c < 200; c++) {
			n += is_in[c];
			CHECK_EQ(pins_has(&p, c), is_in[c]);
		}
		CHECK_EQ(p.n_chunks, n);
		for (uint32_t j = 1; j < p.n; j++)
			CHECK(p.at[j].first > p.at[j - 1].last + 1);
	}
	pins_fini(&p);
}

static void the_list_is_bounded(void)
{
	struct pins p = {0};

	for (uint64_t i = 0; i < PINS_MAX; i++)
		CHECK_EQ(pins_add(&p, 10 * i, 10 * i + 4), 0);
	CHECK_EQ(pins_add(&p, 10 * PINS_MAX, 10 * PINS_MAX), -E2BIG);
	CHECK_EQ(pins_del(&p, 2, 2), -E2BIG); /* it would be one more */
	CHECK_EQ(p.n_chunks, 5 * PINS_MAX);
	CHECK(pins_has(&p, 2));
	CHECK_EQ(pins_add(&p, 5, 9), 0); /* and this one less */
	CHECK_EQ(p.n, PINS_MAX - 1);
	CHECK_EQ(pins_del(&p, 2, 2), 0);
	pins_fini(&p);
}

/* --- the store --- */

/* Eight segments of eight 16 KiB slots: at most 32 chunks can be pinned. */
static struct rig small_rig(void)
{
	return rig_with((struct rig_config){
		.store_size = PFS_MIB(1) + 8 * (4096 + 8 * PFS_KIB(16)),
	});
}

/* Read the image from a chunk on, one chunk after the other. */
static void scan(struct rig *g, uint64_t first, uint64_t end)
{
	for (uint64_t c = first; c < end; c++) {
		CHECK(read_same(g, c * KIB(16), 512) >= 0);
		settle(g);
	}
}

static uint32_t n_resident(struct rig *g, uint64_t first, uint64_t end)
{
	uint32_t n = 0, slot;
	uint64_t gen;

	pfs_mutex_lock(&g->store->lock);
	for (uint64_t c = first; c < end; c++)
		n += index_find(&g->img->ix, c, &slot, &gen);
	pfs_mutex_unlock(&g->store->lock);
	return n;
}

static void pinned_chunks_outlive_a_scan(void)
{
	uint64_t lost = counter(PFS_C_EVICT_PINNED);
	struct rig g = small_rig();
	struct pfs_pin pin[2];

	CHECK_EQ(pfs_store_image_pin(g.img, 0, 15, true), 0);
	CHECK_EQ(pfs_store_image_pin(g.img, 8, 9, false), 0);
	CHECK_EQ(pfs_store_image_pins(g.img, pin, 1), 2);
	CHECK(pin[0].first == 0 && pin[0].last == 7);
	scan(&g, 0, 256);

	CHECK_EQ(n_resident(&g, 0, 8), 8);
	CHECK_EQ(n_resident(&g, 8, 10), 0);
	CHECK_EQ(n_resident(&g, 10, 16), 6);
	CHECK_EQ(counter(PFS_C_EVICT_PINNED), lost);

	CHECK_EQ(pfs_store_image_pin(g.img, 0, UINT32_MAX - 1, false), 0);
	CHECK_EQ(status_of(&g).n_pinned, 0);
	scan(&g, 16, 256);
	CHECK_EQ(n_resident(&g, 0, 16), 0);
	rig_end(&g);
}

/* Half of the store, packed into whole segments: others still come and go. */
static void a_store_half_pinned_is_not_wedged(void)
{
	uint64_t refused = counter(PFS_C_FILL_NO_ROOM);
	uint64_t lost = counter(PFS_C_EVICT_PINNED);
	struct rig g = small_rig();

	CHECK_EQ(pfs_store_image_pin(g.img, 0, 31, true), 0);
	scan(&g, 0, 32);
	scan(&g, 0, 256);
	CHECK_EQ(counter(PFS_C_EVICT_PINNED), lost);
	CHECK_EQ(n_resident(&g, 0, 32), 32);
	/* Of eight segments three are kept free. */
	CHECK(n_resident(&g, 32, 256) >= 2);
	/* A fill finds no slot now and then, while a victim is emptied. */
	CHECK(counter(PFS_C_FILL_NO_ROOM) - refused < 100);
	CHECK(EVENTUALLY((scan(&g, 255, 256), n_resident(&g, 255, 256))));
	rig_end(&g);
}

static void over_half_of_the_store_is_refused(void)
{
	struct rig g = small_rig();
	struct pfs_store_image *other;

	CHECK_EQ(pfs_store_image_attach(g.store, 77, 1, g.src, &other), 0);
	CHECK_EQ(pfs_store_image_pin(g.img, 0, 32, true), -ENOSPC);
	CHECK_EQ(pfs_store_image_pin(other, 0, 19, true), 0);
	CHECK_EQ(pfs_store_image_pin(g.img, 0, 12, true), -ENOSPC);
	CHECK_EQ(pfs_store_image_pin(g.img, 0, 11, true), 0);
	CHECK_EQ(pfs_store_image_pin(g.img, 5, 11, true), 0); /* no more */
	CHECK_EQ(status_of(&g).n_pinned, 32);
	CHECK_EQ(pfs_store_image_pin(g.img, 5, 4, true), -EINVAL);
	CHECK_EQ(pfs_store_image_pin(g.img, 0, UINT64_MAX, true), -EINVAL);

	pfs_store_image_detach(other); /* its pins go with it */
	CHECK_EQ(status_of(&g).n_pinned, 12);
	CHECK_EQ(pfs_store_image_pin(g.img, 12, 31, true), 0);
	rig_end(&g);
}

static void a_pinned_chunk_that_cannot_be_copied_goes_and_is_counted(void)
{
	uint64_t lost = counter(PFS_C_EVICT_PINNED);
	struct rig g = small_rig();

	CHECK_EQ(pfs_store_image_pin(g.img, 0, 3, true), 0);
	scan(&g, 0, 8);
	arm("store.read:eio");
	for (uint64_t c = 8; c < 256 && n_resident(&g, 0, 4); c++)
		scan(&g, c, c + 1);
	CHECK_EQ(n_resident(&g, 0, 4), 0);
	CHECK_EQ(counter(PFS_C_EVICT_PINNED) - lost, 4);
	rig_end(&g);
}

int main(void)
{
	RUN(ranges_join_and_split);
	RUN(the_list_agrees_with_a_plain_one);
	RUN(the_list_is_bounded);
	RUN(pinned_chunks_outlive_a_scan);
	RUN(a_store_half_pinned_is_not_wedged);
	RUN(over_half_of_the_store_is_refused);
	RUN(a_pinned_chunk_that_cannot_be_copied_goes_and_is_counted);
	return CHECK_RESULT();
}
