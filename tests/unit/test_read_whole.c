/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "logging-channel/now.h"
#include "logging-channel/read-whole.h"
#include "suites.h"

#define MS UINT64_C(1000000)

static int ends[2];

static void up(void)
{
	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
}

static void say(const char *text)
{
	CU_ASSERT_EQUAL(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void *say_later(void *unused)
{
	(void)unused;
	usleep(20000);
	say("later");
	(void)close(ends[1]);
	return NULL;
}

/* A pipe gives what is there at the moment: the rest is waited for, until its end. */
static void test_pieces(void)
{
	pthread_t thread;
	char got[32];

	up();
	say("now, ");
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, say_later, NULL), 0);
	CU_ASSERT_EQUAL(vmft_read_whole(ends[0], got, sizeof(got), VMFT_READ_FOREVER), 10);
	CU_ASSERT_EQUAL(memcmp(got, "now, later", 10), 0);
	CU_ASSERT_EQUAL(vmft_read_whole(ends[0], got, sizeof(got), VMFT_READ_FOREVER), 0);
	(void)pthread_join(thread, NULL);
	(void)close(ends[0]);
}

static void test_full(void)
{
	char got[4];

	up();
	say("12345678");
	CU_ASSERT_EQUAL(vmft_read_whole(ends[0], got, sizeof(got), VMFT_READ_FOREVER), 4);
	CU_ASSERT_EQUAL(memcmp(got, "1234", 4), 0);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* Nobody writes more, and nobody closes the pipe. */
static void test_too_late(void)
{
	const uint64_t until = vmft_monotonic_ns() + 30 * MS;
	char got[8];

	up();
	say("1");
	CU_ASSERT_EQUAL(vmft_read_whole(ends[0], got, sizeof(got), until), -ETIMEDOUT);
	CU_ASSERT(vmft_monotonic_ns() >= until);
	CU_ASSERT_EQUAL(vmft_read_whole(ends[0], got, sizeof(got), until), -ETIMEDOUT);
	(void)close(ends[0]);
	(void)close(ends[1]);
	CU_ASSERT_EQUAL(vmft_read_whole(-1, got, sizeof(got), VMFT_READ_FOREVER), -EBADF);
}

static void test_position(void)
{
	const int fd = memfd_create("whole", MFD_CLOEXEC);
	char got[8];

	CU_ASSERT_EQUAL_FATAL(write(fd, "0123456789", 10), 10);
	CU_ASSERT_EQUAL(vmft_pread_whole(fd, got, sizeof(got), 1), 8);
	CU_ASSERT_EQUAL(memcmp(got, "12345678", 8), 0);
	CU_ASSERT_EQUAL(vmft_pread_whole(fd, got, sizeof(got), 7), 3);
	CU_ASSERT_EQUAL(vmft_pread_whole(fd, got, sizeof(got), 10), 0);
	(void)close(fd);
	CU_ASSERT_EQUAL(vmft_pread_whole(fd, got, sizeof(got), 0), -EBADF);
}

int vmft_suite_read_whole(void)
{
	CU_pSuite suite = CU_add_suite("reading whole", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_pieces) || !CU_ADD_TEST(suite, test_full) ||
	    !CU_ADD_TEST(suite, test_too_late) || !CU_ADD_TEST(suite, test_position))
		return -1;
	return 0;
}
