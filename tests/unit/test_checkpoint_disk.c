/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Epochs, and images whose length changes or that cannot be written. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "epoch_payloads.h"
#include "suites.h"

/* Made as long as the primary's where no write does it; a device has no length. */
static void test_image_length(void)
{
	static const uint64_t lengths[] = {1, DISK_MAX, 4097, 2 * BLOCK};

	pair_up();
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		if (lengths[i] < pair_now.disk_bytes[0])
			memset(pair_now.disk[0] + lengths[i], 0,
			       pair_now.disk_bytes[0] - lengths[i]);
		pair_now.disk_bytes[0] = lengths[i];
		pair_history[++pair_epoch % HISTORY] = pair_now;
		CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
		pair_all_applied();
		pair_backup_is(&pair_now);
	}
	pair_history[++pair_epoch % HISTORY] = pair_now;
	pair_now.disk_bytes[0] = 0;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
	pair_all_applied();
	pair_backup.disk[0].is_device = true;
	pair_now.disk_bytes[0] = 5;
	pair_history[(pair_epoch + 1) % HISTORY] = pair_history[pair_epoch % HISTORY];
	pair_epoch++;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
	pair_all_applied();
	pair_backup_is(&pair_history[pair_epoch % HISTORY]);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	pair_down();
}

/* This side's guest can no longer be applied to: said once, nothing more is taken in, and the
 * epoch does not count. */
static void is_broken_by(const char *what)
{
	for (unsigned i = 0; i < 2000 && !pair_backup.broken; i++)
		pair_spin(MS);
	pair_spin(5 * MS);
	CU_ASSERT_EQUAL(pair_backup.broken, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(pair_backup.why, what));
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_backup.moved, 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), -EBADMSG);
	pair_down();
}

static void replace_image(unsigned disk, int fd)
{
	CU_ASSERT_FATAL(fd >= 0);
	vmft_image_close(&pair_backup.disk[disk]);
	pair_backup.disk[disk].fd = fd;
}

static void test_disk_full(void)
{
	pair_up();
	replace_image(1, open("/dev/full", O_RDWR | O_CLOEXEC));
	for (unsigned i = 0; i < 3 * VMFT_EPOCH_WRITES; i++)
		CU_ASSERT_EQUAL(pair_send_piece(i % 2, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(3 * VMFT_EPOCH_WRITES, 3 * VMFT_EPOCH_WRITES * PART),
			0);
	is_broken_by("cannot be written: No space left on device");
}

/* Half of a write is done, the rest is not possible. */
static void test_disk_short_write(void)
{
	const struct rlimit limit = {.rlim_cur = PAGE + 100, .rlim_max = RLIM_INFINITY};
	struct rlimit before;

	pair_up();
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
	CU_ASSERT_EQUAL(pair_send_piece(0, 0, 3 * PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, 3 * PAGE), 0);
	for (unsigned i = 0; i < 1000 && !pair_backup.broken; i++)
		pair_spin(i < 100 ? 0 : MS);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	is_broken_by("cannot be written: File too large");
}

/* An image that cannot be cut, or emptied. */
static void test_disk_read_only(void)
{
	char path[64];

	pair_up();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pair_backup.disk[0].fd);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	pair_now.disk_bytes[0]++;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
	is_broken_by("cannot be made as long");

	pair_up();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pair_backup.disk[0].fd);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	CU_ASSERT_EQUAL(pair_send_piece(0, 0, PART, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, PART), 0);
	is_broken_by("cannot be written");
}

/* One that the guest only reads: no epoch writes to it, or makes it another length. */
static void test_disk_of_the_guests_read_only(void)
{
	pair_up();
	pair_backup.disk[1].read_only = true;
	CU_ASSERT_EQUAL(pair_send_piece(1, 0, PART, VMFT_EPOCH_AS_IS), -EBADMSG);
	CU_ASSERT_EQUAL(pair_send_piece(1, 0, PART, VMFT_EPOCH_ZERO), -EBADMSG);
	pair_down();

	pair_up();
	pair_backup.disk[1].read_only = true;
	pair_history[++pair_epoch % HISTORY] = pair_now;
	pair_now.disk_bytes[1]--;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
	pair_all_applied();
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	pair_down();
}

/* The primary is gone: what cannot be written is tried until it can, and is applied whole. */
static void waits_for_disk(void (*write)(void))
{
	char path[64];
	int good;

	pair_up();
	pair_backup.only_copy = true;
	good = fcntl(pair_backup.disk[0].fd, F_DUPFD_CLOEXEC, 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", good);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	write();
	for (unsigned i = 0; i < 5000 && pair_backup.disk_failed < 3; i++)
		pair_spin(MS);
	CU_ASSERT(pair_backup.disk_failed >= 3);
	CU_ASSERT_PTR_NOT_NULL(strstr(pair_backup.why, "disk error: "));
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch - 1);
	CU_ASSERT_EQUAL(pair_backup.moved, 0);
	replace_image(0, good);
	for (unsigned i = 0; i < 5000 && pair_ops->applied(pair_backup.strategy) < pair_epoch; i++)
		pair_spin(MS);
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	pair_backup_is(&pair_now);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	pair_down();
}

static void write_disk(void)
{
	memset(pair_now.disk[0], 0xa5, 2 * BLOCK);
	pair_history[++pair_epoch % HISTORY] = pair_now;
	for (unsigned i = 0; i < 2 * BLOCK / PART; i++)
		CU_ASSERT_EQUAL(pair_send_piece(0, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(2 * BLOCK / PART, 2 * BLOCK), 0);
}

static void zero_disk(void)
{
	memset(pair_now.disk[0] + PART, 0, PART);
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_piece(0, PART, PART, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, PART), 0);
}

static void lengthen_disk(void)
{
	pair_now.disk_bytes[0]++;
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
}

static void test_disk_waited_for(void)
{
	waits_for_disk(write_disk);
	waits_for_disk(zero_disk);
	waits_for_disk(lengthen_disk);
}

int vmft_suite_checkpoint_disk(void)
{
	static CU_TestInfo tests[] = {
	    {"an image's length", test_image_length},
	    {"a full disk", test_disk_full},
	    {"a short write", test_disk_short_write},
	    {"an image that cannot be written", test_disk_read_only},
	    {"a read-only image", test_disk_of_the_guests_read_only},
	    {"a disk that is waited for", test_disk_waited_for},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: images", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
