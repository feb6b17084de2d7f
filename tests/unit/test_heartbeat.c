/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Failure detection: the rule, what counts on the heartbeat path, the monitor's own hiccups. */
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/daemon/peer/detection.h"
#include "monitor/daemon/peer/heartbeat.h"
#include "monitor/daemon/status/hiccups.h"
#include "suites.h"

#define MS UINT64_C(1000000)

/* --- the rule ----------------------------------------------------------------- */

/* All combinations in steps of 25 ms, against the rule in the words of docs/detection.md. */
static void test_rule(void)
{
	static const unsigned grace[] = {1000, 1400, 3000};

	for (unsigned g = 0; g < 3; g++)
		for (int primary = 0; primary < 2; primary++) {
			const struct vmft_detection d = {1000 * MS, grace[g] * MS, primary};
			const uint64_t silence = primary ? 750 : 1000;
			const uint64_t patience = primary ? grace[g] * 3 / 4 : grace[g];

			for (uint64_t channel = 0; channel < 4000; channel += 25)
				for (uint64_t path = 0; path < 2000; path += 25) {
					const bool alive = path < silence / 2;
					const enum vmft_verdict want =
					    channel < silence		  ? VMFT_VERDICT_HEARD
					    : alive && channel < patience ? VMFT_VERDICT_GRACE
									  : VMFT_VERDICT_LOST;

					CU_ASSERT_EQUAL(
					    vmft_detection_verdict(&d, channel * MS, path * MS),
					    want);
				}
		}
}

/* To the nanosecond, and without a path; for each silence-ms a pair file can have. */
static void test_rule_edges(void)
{
	for (uint64_t ms = 200; ms <= 60000; ms++) {
		const struct vmft_detection b = {ms * MS, 3 * ms * MS, false};
		const struct vmft_detection p = {ms * MS, 3 * ms * MS, true};
		const uint64_t limit = ms * MS;

		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, limit - 1, UINT64_MAX),
				VMFT_VERDICT_HEARD);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, limit, UINT64_MAX), VMFT_VERDICT_LOST);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, limit, limit / 2 - 1),
				VMFT_VERDICT_GRACE);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, limit, limit / 2), VMFT_VERDICT_LOST);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, 3 * limit - 1, 0), VMFT_VERDICT_GRACE);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, 3 * limit, 0), VMFT_VERDICT_LOST);
		CU_ASSERT_EQUAL(vmft_detection_verdict(&b, UINT64_MAX, 0), VMFT_VERDICT_LOST);
		/* Of two sides that see the same, the primary gives up first, each way. */
		CU_ASSERT(vmft_detection_silence_ns(&p) < vmft_detection_silence_ns(&b));
		CU_ASSERT(vmft_detection_grace_ns(&p) < vmft_detection_grace_ns(&b));
		CU_ASSERT(vmft_detection_fresh_ns(&p) < vmft_detection_fresh_ns(&b));
		/* The output gate's lease is over before the backup may go on. */
		CU_ASSERT(limit / 5 * 4 < vmft_detection_silence_ns(&b));
	}
}

/* --- what counts ---------------------------------------------------------------- */

struct world {
	struct vmft_loop *loop;
	struct vmft_pair_config config;
	struct vmft_journal journal;
	struct vmft_heartbeat h;
	struct vmft_hello ours, theirs;
};

static void set_loopback(struct vmft_channel_address *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address->addr;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address->addr_len = sizeof(*in);
	(void)snprintf(address->text, sizeof(address->text), "127.0.0.1:0");
}

/* A backup that has begun, generation 7, with a primary whose ticket is all 0x55. */
static void open_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&w->loop), 0);
	(void)snprintf(w->config.name, sizeof(w->config.name), "web1");
	set_loopback(&w->config.host[VMFT_HOST_FIRST].heartbeat);
	set_loopback(&w->config.host[VMFT_HOST_SECOND].heartbeat);
	CU_ASSERT_EQUAL_FATAL(
	    vmft_heartbeat_open(&w->h, w->loop, &w->config, VMFT_HOST_SECOND, false, &w->journal),
	    0);
	CU_ASSERT(w->h.fd >= 0);
	vmft_heartbeat_introduce(&w->h, &w->ours);
	CU_ASSERT_EQUAL(w->ours.host, VMFT_HOST_SECOND);
	CU_ASSERT_EQUAL_FATAL(w->ours.ticket_bytes, VMFT_TICKET_BYTES);
	w->theirs.host = VMFT_HOST_FIRST;
	w->theirs.ticket_bytes = VMFT_TICKET_BYTES;
	memset(w->theirs.ticket, 0x55, sizeof(w->theirs.ticket));
	vmft_heartbeat_begin(&w->h, &w->theirs, 7, 50 * MS, 500 * MS);
}

static void close_world(struct world *w)
{
	vmft_loop_destroy(w->loop);
	if (w->h.fd >= 0)
		close(w->h.fd);
}

struct datagram {
	struct vmft_beat beat;
	struct vmft_frame_info info;
};

/* What the primary would say. */
static struct datagram good(const struct world *w, uint64_t clock, uint64_t echo)
{
	struct datagram d = {
	    .beat = {.host = VMFT_HOST_FIRST, .clock = clock, .echo = echo, .name = "web1"},
	    .info = {.type = VMFT_FRAME_BEAT, .generation = 7},
	};

	memcpy(d.beat.ticket, w->ours.ticket, sizeof(d.beat.ticket));
	return d;
}

static size_t seal(struct datagram *d, uint8_t *bytes)
{
	d->info.length = (uint32_t)vmft_beat_encode(&d->beat, bytes + VMFT_FRAME_HEADER);
	vmft_frame_seal(bytes, &d->info);
	return VMFT_FRAME_HEADER + d->info.length;
}

static int take(struct world *w, struct datagram d, uint64_t now)
{
	uint8_t bytes[VMFT_FRAME_HEADER + VMFT_BEAT_MAX];

	return vmft_heartbeat_take(&w->h, bytes, seal(&d, bytes), now);
}

static void test_echo(void)
{
	const uint64_t t = 1000000 * MS;
	struct world w;
	char text[64];

	open_world(&w);
	w.h.begun_ns = t;
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t), UINT64_MAX);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	CU_ASSERT_EQUAL(w.h.sent_ns, t);
	/* It is there, but does it hear us? */
	CU_ASSERT_EQUAL(take(&w, good(&w, 1, 0), t + 10 * MS), 0);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t + 10 * MS), UINT64_MAX);
	CU_ASSERT_EQUAL(take(&w, good(&w, 2, t), t + 20 * MS), 0);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t + 25 * MS), 5 * MS);
	vmft_heartbeat_describe(&w.h, t + 25 * MS, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "ok");
	/* From here on it echoes the same: one way only. */
	for (uint64_t ms = 70; ms <= 1020; ms += 50)
		CU_ASSERT_EQUAL(take(&w, good(&w, ms, t), t + ms * MS), 0);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t + 1020 * MS), 550 * MS);
	vmft_heartbeat_describe(&w.h, t + 1020 * MS, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "one way only for 550 ms");
	vmft_heartbeat_describe(&w.h, t + 1620 * MS, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "silent for 1150 ms");
	vmft_heartbeat_end(&w.h);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t + 1020 * MS), UINT64_MAX);
	vmft_heartbeat_describe(&w.h, t, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "idle");
	close_world(&w);
}

/* Time this monitor did not run is not the path's silence. */
static void test_slept(void)
{
	const uint64_t t = 1000000 * MS;
	struct world w;

	open_world(&w);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	CU_ASSERT_EQUAL(take(&w, good(&w, 1, t), t), 0);
	vmft_heartbeat_tick(&w.h, t + 5000 * MS, 4980 * MS, true);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t + 5000 * MS), 20 * MS);
	close_world(&w);
}

/* Each fault of a datagram alone; a datagram with any of them does not count for the peer. */
static void test_strangers(void)
{
	const uint64_t t = 1000000 * MS;
	struct datagram d;
	struct world w;

	open_world(&w);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	for (size_t i = 0; i < VMFT_TICKET_BYTES; i++) {
		d = good(&w, 5, t);
		d.beat.ticket[i] ^= 1;
		CU_ASSERT_EQUAL(take(&w, d, t), -EACCES);
	}
	d = good(&w, 5, t);
	memcpy(d.beat.ticket, w.theirs.ticket, sizeof(d.beat.ticket)); /* our own, sent back */
	CU_ASSERT_EQUAL(take(&w, d, t), -EACCES);
	d = good(&w, 5, t);
	d.beat.host = VMFT_HOST_SECOND;
	CU_ASSERT_EQUAL(take(&w, d, t), -EACCES);
	d = good(&w, 5, t);
	d.beat.name[3] = '2';
	CU_ASSERT_EQUAL(take(&w, d, t), -EACCES);
	CU_ASSERT_EQUAL(take(&w, good(&w, 5, t + 1), t + 2), -EACCES); /* echoes the future */
	d = good(&w, 5, t);
	d.info.generation = 6;
	CU_ASSERT_EQUAL(take(&w, d, t), -ESTALE);
	d = good(&w, 5, t);
	d.info.type = VMFT_FRAME_HEARTBEAT;
	CU_ASSERT_EQUAL(take(&w, d, t), -EBADMSG);
	d = good(&w, 5, t);
	d.info.position = 1;
	CU_ASSERT_EQUAL(take(&w, d, t), -EBADMSG);
	CU_ASSERT_EQUAL(w.h.heard_ns, 0);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, t), UINT64_MAX);

	CU_ASSERT_EQUAL(take(&w, good(&w, 5, t), t), 0);
	CU_ASSERT_EQUAL(take(&w, good(&w, 5, t), t), -ESTALE); /* twice */
	CU_ASSERT_EQUAL(take(&w, good(&w, 4, t), t), -ESTALE); /* late */
	close_world(&w);
}

/* Torn, with more bytes after it, with any bit flipped. */
static void test_damaged(void)
{
	const uint64_t t = 1000000 * MS;
	uint8_t bytes[VMFT_FRAME_HEADER + VMFT_BEAT_MAX + 1] = {0};
	struct datagram d;
	struct world w;
	size_t n;

	open_world(&w);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	d = good(&w, 5, t);
	n = seal(&d, bytes);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT(vmft_heartbeat_take(&w.h, bytes, cut, t) < 0);
	CU_ASSERT_EQUAL(vmft_heartbeat_take(&w.h, bytes, n + 1, t), -EBADMSG);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT(vmft_heartbeat_take(&w.h, bytes, n, t) < 0);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_EQUAL(vmft_heartbeat_take(&w.h, bytes, n, t), 0);
	close_world(&w);
}

/* What belonged to one connection is worth nothing on the next, in the same generation too. */
static void test_earlier_pair(void)
{
	const uint64_t t = 1000000 * MS;
	struct vmft_hello again = {0};
	struct datagram old;
	struct world w;

	open_world(&w);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	old = good(&w, 5, t);
	vmft_heartbeat_end(&w.h);
	CU_ASSERT_EQUAL(take(&w, old, t), -ESTALE);
	vmft_heartbeat_introduce(&w.h, &again);
	CU_ASSERT_NOT_EQUAL(memcmp(again.ticket, w.ours.ticket, sizeof(again.ticket)), 0);
	CU_ASSERT_EQUAL(take(&w, old, t), -ESTALE);
	vmft_heartbeat_begin(&w.h, &w.theirs, 7, 50 * MS, 500 * MS);
	vmft_heartbeat_tick(&w.h, t, 0, true);
	CU_ASSERT_EQUAL(take(&w, old, t), -EACCES);
	close_world(&w);
}

/* A side whose agent does not beat says nothing. What one side says, the other takes. */
static void test_speaking(void)
{
	struct sockaddr_in to;
	socklen_t to_len = sizeof(to);
	uint8_t bytes[512];
	struct vmft_frame_info frame;
	struct vmft_beat beat;
	struct world w;
	ssize_t n;

	open_world(&w);
	CU_ASSERT_EQUAL_FATAL(getsockname(w.h.fd, (struct sockaddr *)&to, &to_len), 0);
	/* To itself: the peer's address is the socket's own. */
	memcpy(&w.config.host[VMFT_HOST_FIRST].heartbeat.addr, &to, sizeof(to));
	vmft_heartbeat_tick(&w.h, 1000 * MS, 0, false);
	CU_ASSERT_EQUAL(w.h.sent_ns, 0);
	CU_ASSERT_EQUAL(recv(w.h.fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	vmft_heartbeat_tick(&w.h, 1000 * MS, 0, true);
	vmft_heartbeat_tick(&w.h, 1049 * MS, 0, true);
	n = recv(w.h.fd, bytes, sizeof(bytes), 0);
	CU_ASSERT_FATAL(n > 0);
	CU_ASSERT_EQUAL(recv(w.h.fd, bytes + n, sizeof(bytes) - (size_t)n, MSG_DONTWAIT), -1);
	CU_ASSERT_EQUAL_FATAL(vmft_frame_decode(bytes, (size_t)n, &frame), n);
	CU_ASSERT_EQUAL_FATAL(vmft_beat_decode(frame.payload, frame.length, &beat), 0);
	CU_ASSERT_EQUAL(memcmp(beat.ticket, w.theirs.ticket, sizeof(beat.ticket)), 0);
	CU_ASSERT_EQUAL(beat.host, VMFT_HOST_SECOND);
	CU_ASSERT_EQUAL(beat.clock, 1000 * MS);
	CU_ASSERT_STRING_EQUAL(beat.name, "web1");
	close_world(&w);
}

/* A flood came first, as much as fits: a datagram of the peer after it is read in the same turn.
 */
static void test_flood(void)
{
	uint8_t bytes[512] = {0};
	const uint64_t t = vmft_loop_now();
	struct sockaddr_in to;
	socklen_t to_len = sizeof(to);
	struct datagram d;
	struct world w;
	size_t n;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	open_world(&w);
	CU_ASSERT_EQUAL_FATAL(getsockname(w.h.fd, (struct sockaddr *)&to, &to_len), 0);
	for (unsigned i = 0; i < 150; i++)
		CU_ASSERT_EQUAL(sendto(fd, bytes, 10, 0, (struct sockaddr *)&to, to_len), 10);
	d = good(&w, t, 0);
	n = seal(&d, bytes);
	CU_ASSERT_EQUAL(sendto(fd, bytes, n, 0, (struct sockaddr *)&to, to_len), (ssize_t)n);
	(void)vmft_loop_withdraw(w.loop, &w.h.read_op);
	w.h.read_op.done(&w.h.read_op, POLLIN);
	CU_ASSERT_EQUAL(w.h.refused, 150);
	CU_ASSERT_EQUAL(w.h.their_clock, t);
	close(fd);
	close_world(&w);
}

static void test_no_path(void)
{
	struct world w = {0};
	char text[64];

	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&w.loop), 0);
	CU_ASSERT_EQUAL(
	    vmft_heartbeat_open(&w.h, w.loop, &w.config, VMFT_HOST_SECOND, false, &w.journal), 0);
	CU_ASSERT_EQUAL(w.h.fd, -1);
	vmft_heartbeat_introduce(&w.h, &w.ours);
	CU_ASSERT_EQUAL(w.ours.ticket_bytes, 0);
	vmft_heartbeat_begin(&w.h, &w.theirs, 7, 50 * MS, 500 * MS);
	vmft_heartbeat_tick(&w.h, 1000 * MS, 0, true);
	CU_ASSERT_EQUAL(vmft_heartbeat_silent_ns(&w.h, 1000 * MS), UINT64_MAX);
	vmft_heartbeat_describe(&w.h, 1000 * MS, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "none");
	close_world(&w);
}

/* --- hiccups -------------------------------------------------------------------- */

static void test_hiccups(void)
{
	static struct vmft_hiccups h;

	CU_ASSERT_EQUAL(vmft_hiccup_quantile(&h, 990), 0);
	vmft_hiccup_note(&h, 900 * MS);
	CU_ASSERT_EQUAL(vmft_hiccup_quantile(&h, 500), 900 * MS);
	for (uint64_t i = 1; i <= VMFT_HICCUP_SAMPLES; i++)
		vmft_hiccup_note(&h, i * 1000);
	/* The worst is of all time, the rest of the last minute. */
	CU_ASSERT_EQUAL(h.worst_ns, 900 * MS);
	CU_ASSERT_EQUAL(vmft_hiccup_quantile(&h, 500), 1500 * 1000);
	CU_ASSERT_EQUAL(vmft_hiccup_quantile(&h, 990), 2970 * 1000);
	CU_ASSERT_EQUAL(vmft_hiccup_quantile(&h, 1000), 3000 * 1000);
}

int vmft_suite_heartbeat(void)
{
	CU_pSuite suite = CU_add_suite("failure detection", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_rule) || !CU_ADD_TEST(suite, test_rule_edges) ||
	    !CU_ADD_TEST(suite, test_echo) || !CU_ADD_TEST(suite, test_slept) ||
	    !CU_ADD_TEST(suite, test_strangers) || !CU_ADD_TEST(suite, test_damaged) ||
	    !CU_ADD_TEST(suite, test_earlier_pair) || !CU_ADD_TEST(suite, test_speaking) ||
	    !CU_ADD_TEST(suite, test_flood) || !CU_ADD_TEST(suite, test_no_path) ||
	    !CU_ADD_TEST(suite, test_hiccups))
		return -1;
	return 0;
}
