/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "logging-channel/event.h"
#include "suites.h"

static const struct vmft_log_format *format(void)
{
	return vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2);
}

struct sample {
	const char *what;
	size_t length;
	uint8_t bytes[48];
};

/* One of every shape QEMU 7.2 writes; lengths counted by hand from its source. */
static const struct sample samples[] = {
    {"instruction", 5, {0, 0, 0, 1, 0}},
    {"interrupt", 1, {1}},
    {"exception", 1, {2}},
    {"bottom half", 9, {3, 0, 0, 0, 0, 0, 0, 0, 7}},
    {"bottom half, once", 9, {4, 0, 0, 0, 0, 0, 0, 0, 7}},
    {"input, key number", 18, {5, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1}},
    {"input, key code", 14, {5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 30, 1}},
    {"input, button", 10, {5, 0, 0, 0, 1, 0, 0, 0, 2, 1}},
    {"input, relative", 17, {5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}},
    {"input, absolute", 17, {5, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}},
    {"input sync", 1, {6}},
    {"char read", 6 + 3, {7, 0, 0, 0, 0, 3, 'a', 'b', 'c'}},
    {"char read, empty", 6, {7, 0, 0, 0, 0, 0}},
    {"block", 9, {8, 0, 0, 0, 0, 0, 0, 1, 0}},
    {"net", 10 + 4, {9, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4}},
    {"shutdown, first", 1, {10}},
    {"shutdown, last", 1, {21}},
    {"char write", 9, {22, 0, 0, 0, 1, 0, 0, 0, 1}},
    {"char read all", 5 + 2, {23, 0, 0, 0, 2, 'x', 'y'}},
    {"char read all, error", 5, {24, 255, 255, 255, 245}},
    {"audio out", 9, {25, 0, 0, 0, 0, 0, 0, 0, 4}},
    {"audio in", 17 + 16, {26, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}},
    {"random", 9 + 2, {27, 0, 0, 0, 0, 0, 0, 0, 2, 0xab, 0xcd}},
    {"clock, host", 9, {28, 0, 0, 0, 0, 0, 0, 0, 1}},
    {"clock, virtual-rt", 9, {29, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"checkpoint, first", 1, {30}},
    {"checkpoint, last", 1, {38}},
    {"output", 13, {0xe0, 0, 0, 0, 60, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"digest, two pages", 31, {0xe1, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 0, 0, 0, 0, 0, 7}},
    {"digest, no page", 23, {0xe1, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 0, 0}},
    {"button", 2, {0xe3, 1}},
    {"clock set", 18, {0xe2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 2, 3}},
    {"end", 1, {39}},
};

#define SAMPLES (sizeof(samples) / sizeof(samples[0]))
#define OURS	5 /* of them */

static void test_lengths(void)
{
	for (size_t i = 0; i < SAMPLES; i++)
		CU_ASSERT_EQUAL(vmft_event_length(format(), samples[i].bytes, samples[i].length),
				(ssize_t)samples[i].length);
}

/* Cut at every byte: before the length can be known it is 0, never wrong. */
static void test_torn_lengths(void)
{
	for (size_t i = 0; i < SAMPLES; i++) {
		for (size_t n = 0; n < samples[i].length; n++) {
			ssize_t length = vmft_event_length(format(), samples[i].bytes, n);

			CU_ASSERT(length == 0 || length == (ssize_t)samples[i].length);
		}
	}
}

static void test_every_kind_is_known(void)
{
	uint8_t bytes[VMFT_EVENT_HEAD_MAX] = {0};

	for (unsigned kind = 0; kind < 256; kind++) {
		ssize_t length;

		bytes[0] = (uint8_t)kind;
		length = vmft_event_length(format(), bytes, sizeof(bytes));
		CU_ASSERT_EQUAL(length > 0, kind < 40 || (kind >= 0xe0 && kind <= 0xe3));
		CU_ASSERT_EQUAL(length == -EBADMSG, length <= 0);
	}
}

static void test_lengths_are_capped(void)
{
	const uint8_t net[] = {9, 0, 0, 0, 0, 0, 0x10, 0, 0, 0};
	const uint8_t audio[] = {26, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	const uint8_t input[] = {5, 0, 0, 0, 9, 0, 0, 0, 0};
	const uint8_t key[] = {5, 0, 0, 0, 0, 0, 0, 0, 9};
	const uint8_t digest[] = {0xe1, 0x04, 0x01};

	CU_ASSERT_EQUAL(vmft_event_length(format(), net, sizeof(net)), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_event_length(format(), audio, sizeof(audio)), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_event_length(format(), input, sizeof(input)), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_event_length(format(), key, sizeof(key)), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_event_length(format(), digest, sizeof(digest)), -EBADMSG);
}

/* All samples but END, one after the other. */
static size_t stream(uint8_t *bytes)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < SAMPLES; i++) {
		memcpy(bytes + n, samples[i].bytes, samples[i].length);
		n += samples[i].length;
	}
	return n;
}

static void check_whole(const struct vmft_log_cursor *c, size_t n)
{
	CU_ASSERT_EQUAL(c->fed, 100 + n);
	CU_ASSERT_EQUAL(c->boundary, 100 + n);
	CU_ASSERT_EQUAL(c->events, SAMPLES - 1 - OURS);
	CU_ASSERT_EQUAL(c->blocks, 1);
	CU_ASSERT_EQUAL(c->guest_ns, 0x0102030405060708);
	CU_ASSERT_EQUAL(c->host_ns, 0x0203);
	CU_ASSERT(!c->ended);
}

/* Fed in two pieces, cut at every byte, the cursor ends up the same. */
static void test_cursor_torn_at_every_byte(void)
{
	uint8_t bytes[1024];
	size_t n = stream(bytes);

	for (size_t cut = 0; cut <= n; cut++) {
		struct vmft_log_cursor c;

		vmft_log_cursor_init(&c, format(), 100);
		CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes, cut), 0);
		CU_ASSERT(c.boundary <= c.fed);
		CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes + cut, n - cut), 0);
		check_whole(&c, n);
	}
}

static void test_cursor_byte_by_byte(void)
{
	uint8_t bytes[1024];
	size_t n = stream(bytes);
	struct vmft_log_cursor c;

	vmft_log_cursor_init(&c, format(), 100);
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes + i, 1), 0);
	check_whole(&c, n);
}

/* QEMU's replayer insists on the event that follows INSTRUCTION: no cut in between. */
static void test_no_cut_after_instruction(void)
{
	const uint8_t bytes[] = {30, 0, 0, 0, 0, 9, 22, 0, 0, 0, 1, 0, 0, 0, 1};
	struct vmft_log_cursor c;

	vmft_log_cursor_init(&c, format(), 0);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes, 6), 0);
	CU_ASSERT_EQUAL(c.boundary, 1);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes + 6, sizeof(bytes) - 7), 0);
	CU_ASSERT_EQUAL(c.boundary, 1);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes + sizeof(bytes) - 1, 1), 0);
	CU_ASSERT_EQUAL(c.boundary, sizeof(bytes));
}

static int cursor_feed(struct vmft_log_cursor *c, const uint8_t *bytes, size_t n)
{
	return vmft_log_cursor_feed(c, bytes, n);
}

static const uint8_t output[] = {0xe0, 0, 0, 0, 60, 1, 2, 3, 4, 5, 6, 7, 8};

/* After INSTRUCTION the log must not be cut at an entry of ours. After any other event it can be
 * cut before that entry and after it, but not within it. */
static void test_cuts_at_ours(void)
{
	const uint8_t instruction[] = {0, 0, 0, 0, 9}, checkpoint[] = {30};
	struct vmft_log_cursor c;

	vmft_log_cursor_init(&c, format(), 100);
	CU_ASSERT_EQUAL(cursor_feed(&c, output, sizeof(output)), 0);
	CU_ASSERT_EQUAL(c.boundary, 113); /* where a log may begin it may be cut too */
	CU_ASSERT_EQUAL(cursor_feed(&c, instruction, sizeof(instruction)), 0);
	CU_ASSERT_EQUAL(cursor_feed(&c, output, sizeof(output)), 0);
	CU_ASSERT_EQUAL(c.boundary, 113);
	CU_ASSERT_EQUAL(cursor_feed(&c, checkpoint, 1), 0);
	CU_ASSERT_EQUAL(c.boundary, 132);
	for (size_t i = 0; i < sizeof(output); i++) {
		CU_ASSERT_EQUAL(c.boundary, 132);
		CU_ASSERT_EQUAL(cursor_feed(&c, output + i, 1), 0);
	}
	CU_ASSERT_EQUAL(c.boundary, 145);
	CU_ASSERT_EQUAL(cursor_feed(&c, output, sizeof(output)), 0);
	CU_ASSERT_EQUAL(c.boundary, 158);
	CU_ASSERT_EQUAL(c.events, 2);
}

/* Fed as for QEMU it stops before what is ours, also in the next piece. */
static void test_cursor_stops_at_ours(void)
{
	uint8_t bytes[6 + sizeof(output)] = {30, 0, 0, 0, 0, 0xe0};
	struct vmft_log_cursor c;

	memcpy(bytes + 6, output, sizeof(output));
	vmft_log_cursor_init(&c, format(), 0);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed_qemu(&c, bytes, 3), 3);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed_qemu(&c, bytes + 3, sizeof(bytes) - 3), 3);
	CU_ASSERT(vmft_log_cursor_is_between(&c));
	CU_ASSERT_EQUAL(vmft_log_cursor_feed_qemu(&c, bytes + 6, sizeof(output)), 0);
	CU_ASSERT_EQUAL(cursor_feed(&c, bytes + 6, sizeof(output)), 0);
	CU_ASSERT_EQUAL(c.fed, sizeof(bytes));
}

static void test_output_entry(void)
{
	const struct vmft_output_entry frame = {.length = 60, .digest = 0x0102030405060708};
	uint8_t bytes[VMFT_OUTPUT_ENTRY_BYTES];
	struct vmft_output_entry got;

	CU_ASSERT_EQUAL(vmft_output_entry_encode(&frame, bytes), sizeof(output));
	CU_ASSERT_EQUAL(memcmp(bytes, output, sizeof(output)), 0);
	vmft_output_entry_decode(bytes, &got);
	CU_ASSERT_EQUAL(got.length, frame.length);
	CU_ASSERT_EQUAL(got.digest, frame.digest);
}

static void test_clock_entry(void)
{
	const struct vmft_clock_entry entry = {
	    .shift = VMFT_CLOCK_SHIFT_MAX, .bias = -2, .host_ns = 0x0102030405060708};
	uint8_t bytes[VMFT_CLOCK_ENTRY_BYTES];
	struct vmft_clock_entry got;

	CU_ASSERT_EQUAL(vmft_clock_entry_encode(&entry, bytes), sizeof(bytes));
	CU_ASSERT_EQUAL(vmft_event_length(format(), bytes, sizeof(bytes)), sizeof(bytes));
	CU_ASSERT_EQUAL(vmft_clock_entry_decode(bytes, &got), 0);
	CU_ASSERT_EQUAL(got.shift, entry.shift);
	CU_ASSERT_EQUAL(got.bias, entry.bias);
	CU_ASSERT_EQUAL(got.host_ns, entry.host_ns);
	bytes[1] = VMFT_CLOCK_SHIFT_MAX + 1;
	CU_ASSERT_EQUAL(vmft_clock_entry_decode(bytes, &got), -EBADMSG);
}

static void test_digest_entry(void)
{
	static struct vmft_digest_entry entry = {.count = VMFT_DIGEST_PAGES_MAX,
						 .processor = 0x1122334455667788,
						 .pages = 0xfffffff0,
						 .first = 0xffffffef,
						 .stride = 0xfffffffd};
	static struct vmft_digest_entry got;
	uint8_t bytes[VMFT_DIGEST_ENTRY_MAX];

	for (unsigned i = 0; i < VMFT_DIGEST_PAGES_MAX; i++)
		entry.digest[i] = 0xf0000000 + i;
	CU_ASSERT_EQUAL(vmft_digest_entry_encode(&entry, bytes), sizeof(bytes));
	CU_ASSERT_EQUAL(vmft_event_length(format(), bytes, sizeof(bytes)), sizeof(bytes));
	CU_ASSERT_EQUAL(vmft_digest_entry_decode(bytes, sizeof(bytes), &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &entry, sizeof(got)), 0);
	CU_ASSERT_EQUAL(vmft_digest_entry_page(&got, 0), 0xffffffef);
	CU_ASSERT_EQUAL(vmft_digest_entry_page(&got, 2), 25); /* without overflow */
	CU_ASSERT_EQUAL(vmft_digest_entry_decode(bytes, sizeof(bytes) - 1, &got), -EBADMSG);
	memset(bytes + 11, 0, 4); /* of no pages */
	CU_ASSERT_EQUAL(vmft_digest_entry_decode(bytes, sizeof(bytes), &got), -EBADMSG);
}

static void test_nothing_after_end(void)
{
	const uint8_t bytes[] = {16, 39, 30};
	struct vmft_log_cursor c;

	vmft_log_cursor_init(&c, format(), 0);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes, 2), 0);
	CU_ASSERT(c.ended);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes + 2, 1), -EBADMSG);
}

static void test_cursor_refuses_garbage(void)
{
	const uint8_t bytes[] = {1, 40};
	struct vmft_log_cursor c;

	vmft_log_cursor_init(&c, format(), 0);
	CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, bytes, 2), -EBADMSG);
	CU_ASSERT_EQUAL(c.boundary, 1);
}

static void test_formats(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(format());
	CU_ASSERT_EQUAL(format()->version, 0xe0200c);
	CU_ASSERT_EQUAL(vmft_event_kind(format(), format()->end), VMFT_EVENT_END);
	CU_ASSERT_PTR_NULL(vmft_log_format_find(0xe0200b));
	CU_ASSERT_PTR_NULL(vmft_log_format_find(0));
}

/* What is neither QEMU's nor ours has no kind; ours have one whatever the format is. */
static void test_kinds(void)
{
	for (unsigned number = 0; number < 256; number++) {
		const enum vmft_event_kind kind = vmft_event_kind(format(), (uint8_t)number);

		CU_ASSERT_EQUAL(kind == VMFT_EVENT_OURS, number >= 0xe0 && number <= 0xe3);
		CU_ASSERT_EQUAL(kind == VMFT_EVENT_NONE,
				number >= 40 && (number < 0xe0 || number > 0xe3));
	}
}

/* Three causes of QEMU's shutdown event reset the guest: after those the log goes on. */
static void test_reset_is_no_end(void)
{
	for (uint8_t number = 10; number < 22; number++) {
		const bool resets = number == 13 || number == 17 || number == 19;
		struct vmft_log_cursor c;

		vmft_log_cursor_init(&c, format(), 0);
		CU_ASSERT_EQUAL(vmft_log_cursor_feed(&c, &number, 1), 0);
		CU_ASSERT_EQUAL(c.leaves, !resets);
		CU_ASSERT_EQUAL(c.kind, resets ? VMFT_EVENT_RESET : VMFT_EVENT_SHUTDOWN);
	}
}

int vmft_suite_event(void)
{
	CU_pSuite suite = CU_add_suite("log events", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_lengths) || !CU_ADD_TEST(suite, test_torn_lengths) ||
	    !CU_ADD_TEST(suite, test_every_kind_is_known) ||
	    !CU_ADD_TEST(suite, test_lengths_are_capped) ||
	    !CU_ADD_TEST(suite, test_cursor_torn_at_every_byte) ||
	    !CU_ADD_TEST(suite, test_cursor_byte_by_byte) ||
	    !CU_ADD_TEST(suite, test_no_cut_after_instruction) ||
	    !CU_ADD_TEST(suite, test_cuts_at_ours) ||
	    !CU_ADD_TEST(suite, test_cursor_stops_at_ours) ||
	    !CU_ADD_TEST(suite, test_output_entry) || !CU_ADD_TEST(suite, test_clock_entry) ||
	    !CU_ADD_TEST(suite, test_digest_entry) || !CU_ADD_TEST(suite, test_nothing_after_end) ||
	    !CU_ADD_TEST(suite, test_cursor_refuses_garbage) || !CU_ADD_TEST(suite, test_formats) ||
	    !CU_ADD_TEST(suite, test_kinds) || !CU_ADD_TEST(suite, test_reset_is_no_end))
		return -1;
	return 0;
}
