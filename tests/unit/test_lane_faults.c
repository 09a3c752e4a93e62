/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever the store does, a read returns the image's bytes, soon. */
#include "cache_fixture.h"

#define SOON_NS (1500 * PFS_NSEC_PER_MSEC) /* the armed stalls take 2 s */

/* A rig whose image is wholly in the store, with its headers in RAM only if
 * is_warm. */
static struct rig filled_rig(bool is_warm)
{
	struct rig g = rig();

	fill_all(&g);
	if (!is_warm) {
		rig_restart(&g);
		CHECK_EQ(status_of(&g).n_chunks,
			 g.cfg.image_size / g.cfg.chunk);
	}
	return g;
}

static int read_soon(struct rig *g, uint64_t off, uint32_t len)
{
	uint64_t start = pfs_now_ns();
	int outcome = read_same(g, off, len);

	CHECK(pfs_now_ns() - start < SOON_NS);
	return outcome;
}

static void read_all_soon(struct rig *g)
{
	for (uint64_t off = 0; off < g->cfg.image_size; off += KIB(256))
		CHECK(read_soon(g, off + 100, KIB(200)) >= 0);
}

/* --- reads --- */

static void a_failed_store_read_is_answered_by_the_source(void)
{
	struct rig g = filled_rig(true);
	uint64_t errors = counter(PFS_C_STORE_ERROR_READ);

	arm("store.read:eiox2");
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	CHECK_EQ(read_soon(&g, 0, KIB(64)), PFS_READ_DIRECT);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT); /* not dropped */
	CHECK_EQ(counter(PFS_C_STORE_ERROR_READ) - errors, 2);
	rig_end(&g);
}

static void a_failed_header_read_is_answered_by_the_source(void)
{
	struct rig g = filled_rig(false);

	arm("store.header_read:eiox1");
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_short_store_read_is_answered_by_the_source(void)
{
	struct rig g = filled_rig(false);

	arm("store.read:short=512x1,store.header_read:short=100x1");
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	CHECK_EQ(read_soon(&g, PFS_MIB(1), 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_flipped_bit_is_found_and_its_chunk_fetched_anew(void)
{
	struct rig g = filled_rig(true);
	uint64_t bad = counter(PFS_C_BAD_CHECKSUM);
	uint64_t bytes = counter(PFS_C_HIT_BYTES);

	arm("store.read:flipx1");
	CHECK_EQ(read_soon(&g, KIB(16), 4096), PFS_READ_DIRECT);
	CHECK_EQ(counter(PFS_C_BAD_CHECKSUM) - bad, 1);
	CHECK_EQ(counter(PFS_C_HIT_BYTES), bytes);
	CHECK_EQ(read_soon(&g, KIB(16), 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_soon(&g, KIB(16), 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_flipped_header_is_found_and_its_chunk_dropped(void)
{
	struct rig g = filled_rig(false);
	uint64_t bad = counter(PFS_C_BAD_HEADER);

	/* The middle of a page of 32 headers: that of chunk 16. */
	arm("store.header_read:flipx1");
	CHECK_EQ(read_soon(&g, KIB(16) * 16, 4096), PFS_READ_DIRECT);
	CHECK_EQ(counter(PFS_C_BAD_HEADER) - bad, 1);
	CHECK_EQ(read_soon(&g, KIB(16) * 16, 4096), PFS_READ_MISS);
	rig_end(&g);
}

static void errors_in_a_row_put_the_store_aside_until_it_works(void)
{
	struct rig g = filled_rig(true);
	uint64_t bypassed = counter(PFS_C_STORE_BYPASS);
	uint64_t back = counter(PFS_C_STORE_REATTACH);

	arm("store.read:eio");
	read_all_soon(&g);
	CHECK_EQ(status_of(&g).health, PFS_STORE_BYPASSED);
	CHECK_EQ(counter(PFS_C_STORE_BYPASS) - bypassed, 1);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);

	pfs_fault_clear();
	CHECK(EVENTUALLY(status_of(&g).health == PFS_STORE_OK));
	CHECK_EQ(counter(PFS_C_STORE_REATTACH) - back, 1);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void errors_now_and_then_do_not_put_it_aside(void)
{
	struct rig g = filled_rig(true);

	for (int i = 0; i < 30; i++) {
		arm("store.read:eiox1");
		CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
		CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT);
	}
	CHECK_EQ(status_of(&g).health, PFS_STORE_OK);
	rig_end(&g);
}

/* --- stalls --- */

static void a_hung_store_read_is_left_behind(void)
{
	struct rig g = filled_rig(true);
	uint64_t slow = counter(PFS_C_STORE_SLOW_READ);

	arm("store.read:stall=160x1");
	CHECK_EQ(read_soon(&g, 5, 3000), PFS_READ_DIRECT);
	CHECK_EQ(counter(PFS_C_STORE_SLOW_READ) - slow, 1);
	CHECK_EQ(status_of(&g).n_quarantined, 1);
	CHECK(!pfs_lane_is_idle(g.lane));
	/* Others are not held up, whether the store is back or not. */
	read_all_soon(&g);
	CHECK(EVENTUALLY((turn_lane(g.lane), pfs_lane_is_idle(g.lane))));
	CHECK_EQ(status_of(&g).n_quarantined, 0);
	CHECK_EQ(pfs_lane_n_reads(g.lane), 0);
	CHECK(EVENTUALLY(status_of(&g).health == PFS_STORE_OK));
	CHECK_EQ(read_soon(&g, 5, 3000), PFS_READ_HIT);
	rig_end(&g);
}

static void a_hung_store_holds_up_no_read(void)
{
	struct rig g = filled_rig(false);
	uint64_t hung = counter(PFS_C_STORE_QUARANTINED);

	arm("store.read:stall=150,store.header_read:stall=150");
	read_all_soon(&g);
	read_all_soon(&g);
	CHECK(counter(PFS_C_STORE_QUARANTINED) > hung);
	rig_end(&g);
}

static void many_reads_hung_at_once_are_all_answered(void)
{
	struct rig g = filled_rig(true);
	uint64_t hung = counter(PFS_C_STORE_QUARANTINED);
	uint64_t start = pfs_now_ns();
	static uint8_t buf[40][512];
	struct answer a[40];

	arm("store.read:stall=120x40");
	for (uint32_t i = 0; i < 40; i++) {
		a[i] = (struct answer){.into = buf[i]};
		begin_read(&g, g.lane, i * KIB(16), 512, &a[i]);
	}
	for (uint32_t i = 0; i < 40; i++) {
		finish_read(g.lane, &a[i]);
		CHECK_EQ(a[i].err, 0);
		CHECK(!memcmp(buf[i], g.bytes + i * KIB(16), 512));
	}
	CHECK(pfs_now_ns() - start < SOON_NS);
	CHECK_EQ(counter(PFS_C_STORE_QUARANTINED) - hung, 40);
	rig_end(&g);
}

static void an_image_may_go_while_a_read_of_it_hangs(void)
{
	struct rig g = filled_rig(true);

	arm("store.read:stall=120x1");
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	pfs_store_image_detach(g.img);
	pfs_source_put(g.src);
	g.img = NULL;
	g.src = NULL;
	CHECK_EQ(status_of(&g).n_quarantined, 1);
	rig_end(&g); /* waits for the hung read */
}

/* Bytes that come late must not be taken for those of the slot's next use. */
static void a_chunk_dropped_while_a_read_of_it_hangs_stays_dropped(void)
{
	struct rig g = filled_rig(true);

	arm("store.read:stall=400x1"); /* not over before the second read */
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	write_bytes(&g, 0, KIB(16), 99, false);
	/* The store is not used again before that read has ended. */
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_DIRECT);
	CHECK(EVENTUALLY(
		(turn_lane(g.lane), status_of(&g).health == PFS_STORE_OK)));
	CHECK_EQ(status_of(&g).n_quarantined, 0);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

/* --- writes --- */

static void a_full_store_stops_fills_and_nothing_else(void)
{
	struct rig g = rig();
	uint64_t errors = counter(PFS_C_FILL_ERROR);
	uint64_t resting = counter(PFS_C_FILL_RESTING);

	arm("store.write:enospcx1");
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(counter(PFS_C_FILL_ERROR) - errors, 1);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_MISS); /* they rest */
	settle(&g);
	CHECK_EQ(counter(PFS_C_FILL_RESTING) - resting, 1);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(status_of(&g).health, PFS_STORE_OK);
	rig_end(&g);
}

static void hits_go_on_while_writes_fail(void)
{
	struct rig g = rig();

	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	arm("store.write:eio,store.header_write:eio");
	CHECK_EQ(read_soon(&g, KIB(64), 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_soon(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

/* The store says yes and keeps nothing, or half, or does it later. */
static void lying_writes_cost_nothing_but_speed(const char *spec,
						bool must_notice)
{
	struct rig g = rig();
	uint64_t bad;

	arm(spec);
	read_all_soon(&g);
	settle(&g);
	CHECK(status_of(&g).n_chunks > 0);
	bad = counter(PFS_C_BAD_CHECKSUM) + counter(PFS_C_BAD_HEADER);
	read_all_soon(&g);
	settle(&g);
	bad = counter(PFS_C_BAD_CHECKSUM) + counter(PFS_C_BAD_HEADER) - bad;
	CHECK(bad || !must_notice);
	pfs_fault_clear();
	read_all_soon(&g);
	rig_restart(&g);
	read_all_soon(&g);
	settle(&g);
	read_all_soon(&g);
	rig_end(&g);
}

static void lost_writes_cost_nothing_but_speed(void)
{
	lying_writes_cost_nothing_but_speed("store.write:lost", true);
}

static void torn_writes_cost_nothing_but_speed(void)
{
	lying_writes_cost_nothing_but_speed("store.write:torn=8192", true);
}

static void late_writes_cost_nothing_but_speed(void)
{
	lying_writes_cost_nothing_but_speed("store.write:late=30", false);
	pfs_sleep_ms(40); /* the last of them is written, to no file */
}

static void a_hung_write_holds_up_no_read(void)
{
	struct rig g = rig();

	arm("store.write:stall=100");
	read_all_soon(&g);
	read_all_soon(&g);
	pfs_fault_clear();
	settle(&g);
	rig_end(&g);
}

int main(void)
{
	RUN(a_failed_store_read_is_answered_by_the_source);
	RUN(a_failed_header_read_is_answered_by_the_source);
	RUN(a_short_store_read_is_answered_by_the_source);
	RUN(a_flipped_bit_is_found_and_its_chunk_fetched_anew);
	RUN(a_flipped_header_is_found_and_its_chunk_dropped);
	RUN(errors_in_a_row_put_the_store_aside_until_it_works);
	RUN(errors_now_and_then_do_not_put_it_aside);
	RUN(a_hung_store_read_is_left_behind);
	RUN(a_hung_store_holds_up_no_read);
	RUN(many_reads_hung_at_once_are_all_answered);
	RUN(an_image_may_go_while_a_read_of_it_hangs);
	RUN(a_chunk_dropped_while_a_read_of_it_hangs_stays_dropped);
	RUN(a_full_store_stops_fills_and_nothing_else);
	RUN(hits_go_on_while_writes_fail);
	RUN(lost_writes_cost_nothing_but_speed);
	RUN(torn_writes_cost_nothing_but_speed);
	RUN(late_writes_cost_nothing_but_speed);
	RUN(a_hung_write_holds_up_no_read);
	return CHECK_RESULT();
}
