/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's parts that can be tried without a guest. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/daemon/arbiter/arbiter.h"
#include "monitor/daemon/handover/handover.h"
#include "monitor/daemon/hub/frames.h"
#include "monitor/daemon/hub/stop.h"
#include "monitor/daemon/lockstep/lag-watch.h"
#include "monitor/daemon/lockstep/lag.h"
#include "monitor/daemon/lockstep/stall.h"
#include "monitor/daemon/lockstep/throttle.h"
#include "monitor/daemon/status/control-request.h"
#include "suites.h"

#define MS UINT64_C(1000000)

/* --- control requests ------------------------------------------------------- */

static int parse(const char *line)
{
	char error[128] = "";

	return vmft_control_request_parse(line, strlen(line), error, sizeof(error));
}

static void test_requests(void)
{
	CU_ASSERT_EQUAL(parse("{\"cmd\":\"status\"}"), VMFT_CONTROL_STATUS);
	CU_ASSERT_EQUAL(parse(" {\"cmd\": \"release-acks\", \"x\": 1}"), VMFT_CONTROL_RELEASE_ACKS);
	for (int verb = 0; verb < VMFT_CONTROL_VERBS; verb++)
		CU_ASSERT_PTR_NOT_NULL(vmft_control_verb_name((enum vmft_control_verb)verb));
	CU_ASSERT_PTR_NULL(vmft_control_verb_name(VMFT_CONTROL_VERBS));
}

static void test_bad_requests(void)
{
	static const char *const bad[] = {
	    "",
	    "{",
	    "status",
	    "[]",
	    "{\"cmd\":1}",
	    "{\"cmd\":\"stat\"}",
	    "{\"cmd\":null}",
	    "{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":1}}}}}",
	    "\xff\xfe",
	    "{\"CMD\":\"status\"}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(parse(bad[i]), -EBADMSG);
}

int vmft_suite_control(void)
{
	CU_pSuite suite = CU_add_suite("control requests", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_requests) || !CU_ADD_TEST(suite, test_bad_requests))
		return -1;
	return 0;
}

/* --- lag --------------------------------------------------------------------- */

static void test_lag(void)
{
	static struct vmft_lag lag;

	for (uint64_t ms = 0; ms < 3000; ms += 10) {
		vmft_lag_sent(&lag, ms * 100, ms * MS);
		vmft_lag_rate(&lag, ms * 100, ms * MS);
	}
	CU_ASSERT_EQUAL(lag.bytes_per_s, 100000);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 100000, 299000, 3000 * MS), 1990);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 299000, 299000, 3000 * MS), 0);
}

/* A sample taken within the tick is younger than the tick's own clock: no lag, not all of time. */
static void test_lag_of_the_moment(void)
{
	static struct vmft_lag lag;

	vmft_lag_sent(&lag, 100, 1001 * MS);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 0, 100, 1000 * MS), 0);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 0, 100, 1003 * MS), 2);
}

/* More history than samples: coarser, never wrong by more than a step, never lost. */
static void test_lag_long(void)
{
	static struct vmft_lag lag;
	uint64_t ms;

	for (ms = 0; ms < 100000; ms += 10)
		vmft_lag_sent(&lag, ms, ms * MS);
	CU_ASSERT(lag.count <= VMFT_LAG_SAMPLES);
	ms = vmft_lag_ms(&lag, 50000, 99990, 100000 * MS);
	CU_ASSERT(ms > 49000 && ms <= 50000);
}

/* A guest that logs a second's worth a second, a backup that replays at the given share of
 * that; what is replayed is known 50 ms later. Returns the worst lag of the last half. */
static uint64_t lag_of_plant(unsigned replay_permille, uint32_t *ret_permille)
{
	double recorded = 0, replayed = 0, worst = 0;
	uint64_t lag = 0;

	for (uint64_t ms = 0; ms < 60000; ms += 10) {
		*ret_permille = vmft_throttle_permille(lag, 300);
		recorded += 10.0 * (1000 - *ret_permille) / 1000;
		replayed += 10.0 * replay_permille / 1000;
		if (replayed > recorded)
			replayed = recorded;
		lag = (uint64_t)(recorded - replayed) + (recorded > replayed ? 50 : 0);
		if (ms > 30000 && (double)lag > worst)
			worst = (double)lag;
	}
	return (uint64_t)worst;
}

static void test_throttle(void)
{
	uint32_t permille;

	CU_ASSERT(lag_of_plant(500, &permille) < 600);
	CU_ASSERT(permille > 400 && permille < 600);
	CU_ASSERT(lag_of_plant(200, &permille) < 700);
	CU_ASSERT_EQUAL(lag_of_plant(1200, &permille), 0);
	CU_ASSERT_EQUAL(permille, 0);
	(void)lag_of_plant(10, &permille);
	CU_ASSERT_EQUAL(permille, VMFT_THROTTLE_MAX_PERMILLE);
	CU_ASSERT_EQUAL(vmft_throttle_permille(150, 300), 0);
	CU_ASSERT_EQUAL(vmft_throttle_permille(375, 300), 450);
	CU_ASSERT_EQUAL(vmft_throttle_permille(UINT64_MAX, 60000), VMFT_THROTTLE_MAX_PERMILLE);
}

/* A primary that has handed over sends heartbeats until it hears that the backup is live. */
static void test_frame_age(void)
{
	static const uint8_t took_over = VMFT_BYE_TOOK_OVER;
	struct vmft_core core = {.state = VMFT_STATE_GOING_LIVE,
				 .generation = 2,
				 .side = VMFT_SIDE_BACKUP,
				 .handed = true};
	struct vmft_frame_info frame = {.type = VMFT_FRAME_HEARTBEAT, .generation = 1};

	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_LATE);
	frame.generation = 2;
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_NEW);
	frame.generation = 3;
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_ALIEN);
	/* Without a hand-over, a primary that still sends has lost. */
	frame.generation = 1;
	core.handed = false;
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_ALIEN);
	core.state = VMFT_STATE_PROTECTED;
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_ALIEN);
	/* What the primary hears from the backup that is live. */
	core = (struct vmft_core){
	    .state = VMFT_STATE_HANDED_OVER, .generation = 1, .side = VMFT_SIDE_PRIMARY};
	frame = (struct vmft_frame_info){
	    .type = VMFT_FRAME_BYE, .generation = 2, .length = 1, .payload = &took_over};
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_NEW);
	frame.generation = 1;
	CU_ASSERT_EQUAL(vmft_frames_age(&core, &frame), VMFT_FRAME_IS_ALIEN);
}

static void test_handover_near(void)
{
	CU_ASSERT(vmft_handover_is_near(0, 0));
	CU_ASSERT(vmft_handover_is_near(20, 0));
	CU_ASSERT(!vmft_handover_is_near(21, 999 * MS));
	CU_ASSERT(vmft_handover_is_near(5000, 1000 * MS));
}

static enum vmft_stop_step stop_of(enum vmft_side side, enum vmft_state state, uint64_t asked_ms)
{
	const struct vmft_core core = {.side = side, .state = state};

	return vmft_stop_step(&core, asked_ms * MS, false);
}

/* A guest that lives is ended, the only copy of one waits until it lives, all else goes. */
static void test_stop(void)
{
	const enum vmft_side a = VMFT_SIDE_PRIMARY, b = VMFT_SIDE_BACKUP;
	struct vmft_core core = {.side = a};

	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_FORMING, 0), VMFT_STOP_LEAVE);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_ATTACHING, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_PROTECTED, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_LAGGING, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_WAITING_ARBITER, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_ALONE, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_FENCED, 0), VMFT_STOP_END_GUEST);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_SHIPPING, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_ENDED, 9999), VMFT_STOP_WAIT);

	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_ARBITRATING, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(a, VMFT_STATE_HANDED_OVER, 9999), VMFT_STOP_WAIT);
	core.state = VMFT_STATE_LAGGING;
	CU_ASSERT_EQUAL(vmft_stop_step(&core, 0, true), VMFT_STOP_HAND_OVER);
	core.state = VMFT_STATE_ALONE;
	CU_ASSERT_EQUAL(vmft_stop_step(&core, 0, true), VMFT_STOP_END_GUEST);

	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_FORMING, 0), VMFT_STOP_LEAVE);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_ATTACHING, 0), VMFT_STOP_LEAVE);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_PROTECTED, 999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_PROTECTED, 1000), VMFT_STOP_LEAVE);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_DRAINING, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_ENDING, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_ARBITRATING, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_GOING_LIVE, 9999), VMFT_STOP_WAIT);
	CU_ASSERT_EQUAL(stop_of(b, VMFT_STATE_FENCED, 9999), VMFT_STOP_WAIT);
}

/* A pair lags after a second over one and a half of the bound, and keeps up after a second within
 * the bound. Between the two nothing changes, and a short change starts the second again. */
static void test_lagging(void)
{
	struct vmft_lag_watch watch = {0};
	uint64_t ms = 0;

	for (; ms < 5000; ms += 20)
		CU_ASSERT_EQUAL(
		    vmft_lag_watch_look(&watch, ms % 800 ? 451 : 450, 300, 60000, ms * MS, 0),
		    VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 450, 300, 60000, ms * MS, 0), VMFT_LAG_NO_NEWS);
	for (ms = 5020; ms < 6020; ms += 20)
		CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 451, 300, 60000, ms * MS, 0),
				VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 451, 300, 60000, ms * MS, 0), VMFT_LAG_LAGS);
	CU_ASSERT(watch.lagging);
	for (ms = 6040; ms < 12000; ms += 20)
		CU_ASSERT_EQUAL(
		    vmft_lag_watch_look(&watch, ms % 800 ? 300 : 301, 300, 60000, ms * MS, 0),
		    VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 300, 300, 60000, 14000 * MS, 0),
			VMFT_LAG_KEEPS_UP);
	CU_ASSERT(!watch.lagging);
	CU_ASSERT_EQUAL(watch.worst_ms, 451);
}

/* A pair that is looked at every 20 ms until there is news, or for so long. */
static enum vmft_stall_news stall_until(struct vmft_stall_watch *watch,
					const struct vmft_stall_view *view, uint64_t *ms,
					uint64_t end_ms)
{
	enum vmft_stall_news news = VMFT_STALL_NO_NEWS;

	while (news == VMFT_STALL_NO_NEWS && *ms < end_ms) {
		*ms += 20;
		news = vmft_stall_look(watch, view, 20000, *ms * MS, 0);
	}
	return news;
}

static const struct vmft_stall_view standing = {
    .replayed = 7, .taken = 8, .connected = true, .paired = true, .heard = true};

/* Said once, after a second and a half; given up as late as is set. */
static void test_stall(void)
{
	struct vmft_stall_watch watch = {
	    .replayed = 7, .since_ns = 1000 * MS, .looked_ns = 1000 * MS};
	uint64_t ms = 1000;

	CU_ASSERT_EQUAL(stall_until(&watch, &standing, &ms, 60000), VMFT_STALL_STANDS);
	CU_ASSERT_EQUAL(ms, 2500);
	CU_ASSERT(watch.stands);
	CU_ASSERT_EQUAL(stall_until(&watch, &standing, &ms, 60000), VMFT_STALL_TOO_LONG);
	CU_ASSERT_EQUAL(ms, 21000);
}

/* The guest ran for a second with nothing to log: a slow replay of that is not worth a word, one
 * that does not end is. */
static void test_stall_long_run(void)
{
	static struct vmft_lag lag;
	struct vmft_stall_watch watch = {
	    .replayed = 7, .since_ns = 1000 * MS, .looked_ns = 1000 * MS};
	struct vmft_stall_view view = standing;
	uint64_t ms = 1000;

	vmft_lag_sent(&lag, 7, 500 * MS);
	CU_ASSERT_EQUAL(vmft_lag_logged_ns(&lag), 0);
	vmft_lag_sent(&lag, 8, 1000 * MS);
	vmft_lag_sent(&lag, 9, 1010 * MS);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 0, 9, 1020 * MS), 520);
	CU_ASSERT_EQUAL(vmft_lag_logged_ns(&lag), 0); /* not known */
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 7, 9, 1020 * MS), 20);
	CU_ASSERT_EQUAL(vmft_lag_logged_ns(&lag), 500 * MS);
	view.logged_ns = vmft_lag_logged_ns(&lag);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, 60000), VMFT_STALL_STANDS);
	CU_ASSERT_EQUAL(ms, 7500);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 8, 9, 7500 * MS), 6490);
	CU_ASSERT_EQUAL(vmft_lag_logged_ns(&lag), 10 * MS);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 9, 9, 7500 * MS), 0);
	CU_ASSERT_EQUAL(vmft_lag_logged_ns(&lag), 0);
}

/* The backup lags a lot, but its replay moves from time to time. */
static void test_stall_lags(void)
{
	struct vmft_stall_watch watch = {0};
	struct vmft_stall_view view = standing;

	view.taken = UINT64_MAX;
	for (uint64_t ms = 0; ms < 300000; ms += 20) {
		if (ms % 1400 == 0)
			view.replayed++;
		CU_ASSERT_EQUAL(vmft_stall_look(&watch, &view, 20000, ms * MS, 0),
				VMFT_STALL_NO_NEWS);
	}
	/* Nothing to replay: a guest that is frozen. */
	view.taken = view.replayed;
	for (uint64_t ms = 300000; ms < 400000; ms += 20)
		CU_ASSERT_EQUAL(vmft_stall_look(&watch, &view, 20000, ms * MS, 0),
				VMFT_STALL_NO_NEWS);
}

/* What was not seen is not said: the monitor slept, nothing was heard, there is no pair. */
static void test_stall_unseen(void)
{
	struct vmft_stall_watch watch = {
	    .replayed = 7, .since_ns = 1000 * MS, .looked_ns = 1000 * MS};
	struct vmft_stall_view view = standing;
	uint64_t ms = 1000;

	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, 2400), VMFT_STALL_NO_NEWS);
	ms += 50000;
	CU_ASSERT_EQUAL(vmft_stall_look(&watch, &view, 20000, ms * MS, 50000 * MS),
			VMFT_STALL_NO_NEWS);
	view.heard = false;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 10000), VMFT_STALL_NO_NEWS);
	view.heard = true;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 80), VMFT_STALL_NO_NEWS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_STANDS);
	view.paired = false;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 100000), VMFT_STALL_NO_NEWS);
	CU_ASSERT(!watch.stands);
	view.connected = false;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 100000), VMFT_STALL_NO_NEWS);
}

/* The end of a stall is reported only if the stall was reported. Replay that stops again and again
 * must stand still for longer before it is reported again. */
static void test_stall_over(void)
{
	struct vmft_stall_watch watch = {
	    .replayed = 7, .since_ns = 1000 * MS, .looked_ns = 1000 * MS};
	struct vmft_stall_view view = standing;
	uint64_t ms = 1000;

	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, 60000), VMFT_STALL_STANDS);
	view.replayed = 8;
	view.taken = 10;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, 60000), VMFT_STALL_MOVES);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 4980), VMFT_STALL_NO_NEWS);
	view.replayed = 9;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 5000), VMFT_STALL_NO_NEWS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_STANDS);
	view.taken = 9;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_MOVES);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 60000), VMFT_STALL_NO_NEWS);
	view.taken = 10;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 1480), VMFT_STALL_NO_NEWS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_STANDS);
}

/* A backup whose attach took long has stood for none of that as the pair forms. */
static void test_stall_attached(void)
{
	struct vmft_stall_watch watch = {0};
	struct vmft_stall_view view = standing;
	uint64_t ms = 1000;

	vmft_stall_begin(&watch, 7, ms * MS);
	view.paired = false;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 5000), VMFT_STALL_NO_NEWS);
	/* The pair forms, and nobody has begun the watch anew. */
	view.paired = true;
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 1480), VMFT_STALL_NO_NEWS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_STANDS);

	/* Another pair forms a while after the last look. */
	ms += 10000;
	vmft_stall_begin(&watch, 7, ms * MS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 4980), VMFT_STALL_NO_NEWS);
	CU_ASSERT_EQUAL(stall_until(&watch, &view, &ms, ms + 20), VMFT_STALL_STANDS);
}

/* Continuously for the time that is set; time the monitor slept is not the backup's. */
static void test_lags_too_long(void)
{
	struct vmft_lag_watch watch = {.lagging = true, .since_ns = 1000 * MS};
	struct vmft_lag_watch never = watch;

	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 400, 300, 5000, 5999 * MS, 0),
			VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 400, 300, 5000, 7000 * MS, 2000 * MS),
			VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 400, 300, 5000, 8000 * MS, 0),
			VMFT_LAG_TOO_LONG);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&never, UINT64_MAX, 300, 0, UINT64_MAX, 0),
			VMFT_LAG_NO_NEWS);
	/* A pause of the monitor's own is no second of lag. */
	watch = (struct vmft_lag_watch){0};
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 999, 300, 0, 1000 * MS, 0), VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_watch_look(&watch, 999, 300, 0, 9000 * MS, 7980 * MS),
			VMFT_LAG_NO_NEWS);
	CU_ASSERT(!watch.lagging);
}

static void test_lag_retry(void)
{
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(60000, 1), 60000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(60000, 2), 120000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(60000, 4), 480000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(60000, 100), 3600000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(600000, UINT32_MAX), 3600000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_watch_retry_ns(0, 1), 0);
}

int vmft_suite_lag(void)
{
	CU_pSuite suite = CU_add_suite("execution lag", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_lag) ||
	    !CU_ADD_TEST(suite, test_lag_of_the_moment) || !CU_ADD_TEST(suite, test_lag_long) ||
	    !CU_ADD_TEST(suite, test_stop) || !CU_ADD_TEST(suite, test_handover_near) ||
	    !CU_ADD_TEST(suite, test_frame_age) || !CU_ADD_TEST(suite, test_throttle) ||
	    !CU_ADD_TEST(suite, test_lagging) || !CU_ADD_TEST(suite, test_lags_too_long) ||
	    !CU_ADD_TEST(suite, test_lag_retry) || !CU_ADD_TEST(suite, test_stall) ||
	    !CU_ADD_TEST(suite, test_stall_long_run) || !CU_ADD_TEST(suite, test_stall_lags) ||
	    !CU_ADD_TEST(suite, test_stall_unseen) || !CU_ADD_TEST(suite, test_stall_over) ||
	    !CU_ADD_TEST(suite, test_stall_attached))
		return -1;
	return 0;
}

/* --- shared memory ----------------------------------------------------------- */

static void test_iface(void)
{
	struct vmft_iface *iface;
	struct vmft_ring ring;
	struct vmft_error err;
	int fd = vmft_iface_create(1u << 20, &err);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(vmft_iface_map(fd, &iface, &ring, &err), 0);
	CU_ASSERT_EQUAL(ring.size, 1u << 20);
	CU_ASSERT_EQUAL(ftruncate(fd, 100), -1); /* sealed */
	close(fd);
}

/* Every byte of what the creator writes, damaged: refused, and nothing is mapped. */
static void test_iface_garbage(void)
{
	struct vmft_error err;
	int fd = vmft_iface_create(1u << 20, &err);

	CU_ASSERT_FATAL(fd >= 0);
	for (off_t at = 0; at < 24; at++) {
		struct vmft_iface *iface = NULL;
		struct vmft_ring ring;
		uint8_t byte;

		CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
		byte ^= 0x55;
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
		CU_ASSERT_EQUAL(vmft_iface_map(fd, &iface, &ring, &err), -EPROTO);
		CU_ASSERT_PTR_NULL(iface);
		byte ^= 0x55;
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

int vmft_suite_iface(void)
{
	CU_pSuite suite = CU_add_suite("shared memory", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_iface) || !CU_ADD_TEST(suite, test_iface_garbage))
		return -1;
	return 0;
}
