/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "logging-channel/ring.h"
#include "suites.h"

#define SIZE 64u

struct shared {
	uint8_t data[SIZE];
	_Atomic uint64_t head, tail;
	struct vmft_ring ring;
};

static void init(struct shared *s, uint64_t position)
{
	memset(s, 0, sizeof(*s));
	atomic_store(&s->head, position);
	atomic_store(&s->tail, position);
	s->ring =
	    (struct vmft_ring){.data = s->data, .size = SIZE, .head = &s->head, .tail = &s->tail};
}

/* At every offset, so at every split, what is written is what is read. */
static void test_wrap(void)
{
	static const uint8_t text[] = "forty bytes of text that wrap somewhere";

	for (uint64_t at = 0; at < 2 * SIZE; at++) {
		struct shared s;
		uint8_t back[sizeof(text)];

		init(&s, at);
		vmft_ring_write(&s.ring, at, text, sizeof(text));
		CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, at), 0);
		vmft_ring_publish(&s.ring, at + sizeof(text));
		CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, at), (int64_t)sizeof(text));
		vmft_ring_read(&s.ring, at, back, sizeof(back));
		CU_ASSERT_EQUAL(memcmp(back, text, sizeof(text)), 0);
	}
}

static void test_full_and_empty(void)
{
	struct shared s;

	init(&s, 1000);
	CU_ASSERT_EQUAL(vmft_ring_room(&s.ring, 1000), SIZE);
	CU_ASSERT_EQUAL(vmft_ring_room(&s.ring, 1000 + SIZE), 0);
	vmft_ring_release(&s.ring, 1001);
	CU_ASSERT_EQUAL(vmft_ring_room(&s.ring, 1000 + SIZE), 1);
	vmft_ring_publish(&s.ring, 1000 + SIZE);
	CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, 1001), SIZE - 1);
	CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, 1000 + SIZE), 0);
}

static void test_garbage_is_refused(void)
{
	struct shared s;

	init(&s, 1000);
	atomic_store(&s.tail, 1001); /* ahead of what was written */
	CU_ASSERT_EQUAL(vmft_ring_room(&s.ring, 1000), -EBADMSG);
	atomic_store(&s.tail, 1000 - SIZE - 1); /* more in flight than fits */
	CU_ASSERT_EQUAL(vmft_ring_room(&s.ring, 1000), -EBADMSG);
	atomic_store(&s.head, 999); /* went back */
	CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, 1000), -EBADMSG);
	atomic_store(&s.head, UINT64_MAX);
	CU_ASSERT_EQUAL(vmft_ring_ready(&s.ring, 1000), -EBADMSG);
}

#define STREAM 200000u

static void *produce(void *arg)
{
	struct shared *s = arg;
	uint64_t fill = 0;

	while (fill < STREAM) {
		uint8_t byte = (uint8_t)(fill * 31 + (fill >> 8));

		if (vmft_ring_room(&s->ring, fill) == 0)
			continue;
		vmft_ring_write(&s->ring, fill, &byte, 1);
		fill++;
		/* in batches of uneven length, as events are */
		if (fill % 7 == 0 || fill == STREAM || vmft_ring_room(&s->ring, fill) == 0)
			vmft_ring_publish(&s->ring, fill);
	}
	return NULL;
}

/* Two threads: what the consumer sees below head is written. ThreadSanitizer checks the
 * order, the comparison checks the bytes. */
static void test_publish_order(void)
{
	struct shared s;
	pthread_t producer;
	uint64_t position = 0;
	unsigned wrong = 0;

	init(&s, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&producer, NULL, produce, &s), 0);
	while (position < STREAM) {
		int64_t ready = vmft_ring_ready(&s.ring, position);

		for (int64_t i = 0; i < ready; i++, position++) {
			uint8_t byte;

			vmft_ring_read(&s.ring, position, &byte, 1);
			wrong += byte != (uint8_t)(position * 31 + (position >> 8));
		}
		vmft_ring_release(&s.ring, position);
	}
	(void)pthread_join(producer, NULL);
	CU_ASSERT_EQUAL(wrong, 0);
}

int vmft_suite_ring(void)
{
	CU_pSuite suite = CU_add_suite("ring", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_wrap) || !CU_ADD_TEST(suite, test_full_and_empty) ||
	    !CU_ADD_TEST(suite, test_garbage_is_refused) || !CU_ADD_TEST(suite, test_publish_order))
		return -1;
	return 0;
}
