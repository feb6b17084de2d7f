/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU to mark what is written while a backup attaches: images and guest
 * memory. This program's own pwrite() and the like go through track.c, as QEMU's do.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "monitor/agent/track.h"
#include "monitor/common/area-setup.h"
#include "suites.h"

/* --- images -------------------------------------------------------------------- */

/* Before the library's constructor has run its stand-ins do what libc's would: each looks libc's
 * up by itself. */
static void test_libc_before_start(void)
{
	struct iovec iov = {.iov_base = (void *)"vec", .iov_len = 3};
	char bytes[8] = "";
	int fd = memfd_create("test", 0), waiting = -1, ends[2];

	memset(&vmft_track, 0, sizeof(vmft_track));
	memset(&vmft_libc_table, 0, sizeof(vmft_libc_table));
	CU_ASSERT_EQUAL(pwrite(fd, "text", 4, 1), 4);
	CU_ASSERT_EQUAL(pwritev(fd, &iov, 1, 2), 3);
	CU_ASSERT_EQUAL(pread(fd, bytes, sizeof(bytes), 0), 5);
	CU_ASSERT_EQUAL(memcmp(bytes, "\0tvec", 5), 0);
	CU_ASSERT_EQUAL(fallocate(fd, 0, 0, 4096), 0);
	CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_END), 4096);
	CU_ASSERT_EQUAL(pwrite(-1, "x", 1, 0), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	CU_ASSERT_EQUAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(write(ends[1], "abc", 3), 3);
	CU_ASSERT_EQUAL(ioctl(ends[0], FIONREAD, &waiting), 0);
	CU_ASSERT_EQUAL(waiting, 3);
	close(ends[0]);
	close(ends[1]);
	close(fd);
}

/* Each way QEMU writes an image marks every block it touches, and no other. */
static void test_writes_are_marked(void)
{
	static char bytes[2 * BLOCK];
	struct iovec iov[2] = {{bytes, BLOCK}, {bytes, 1}};
	uint64_t range[2] = {70 * BLOCK, 2 * BLOCK};

	qemu_up_tracking();
	CU_ASSERT_EQUAL(pwrite(disk[0], bytes, 1, 0), 1);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1);
	CU_ASSERT_EQUAL(pwrite(disk[0], bytes, 2, 3 * BLOCK - 1), 2);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 | 3 << 2);
	CU_ASSERT_EQUAL(pwrite(disk[0], bytes, 2 * BLOCK, 5 * BLOCK), 2 * BLOCK);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 | 3 << 2 | 3 << 5);
	CU_ASSERT_EQUAL(pwritev(disk[0], iov, 2, 63 * BLOCK), BLOCK + 1);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 | 3 << 2 | 3 << 5 | UINT64_C(1) << 63);
	CU_ASSERT_EQUAL(area_marks(0, 1), 1);
	CU_ASSERT_EQUAL(
	    fallocate(disk[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65 * BLOCK, BLOCK), 0);
	CU_ASSERT_EQUAL(area_marks(0, 1), 1 | 1 << 1);
	CU_ASSERT_EQUAL(ioctl(disk[0], BLKDISCARD, range), 0);
	CU_ASSERT_EQUAL(area_marks(0, 1), 1 | 1 << 1 | 3 << 6);
	range[0] = 80 * BLOCK;
	CU_ASSERT_EQUAL(ioctl(disk[0], BLKZEROOUT, range), 0);
	CU_ASSERT_EQUAL(area_marks(0, 1), 1 | 1 << 1 | 3 << 6 | 3 << 16);
	CU_ASSERT_EQUAL(ioctl(disk[0], BLKFLSBUF, range), 0); /* writes nothing */
	CU_ASSERT_EQUAL(qemu.written, 8);
	CU_ASSERT_EQUAL(area_marks(0, 1), 1 | 1 << 1 | 3 << 6 | 3 << 16);
	CU_ASSERT(area_nothing_marked(1));
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 0);
	qemu_down();
}

/* A write that fails may have written some of it: it is marked, and errno is the write's. */
static void test_failed_write_is_marked(void)
{
	char path[64];
	int fd;

	qemu_up_tracking();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", disk[0]);
	fd = open(path, O_RDONLY);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, "x", 1, 4 * BLOCK), -1);
	CU_ASSERT_EQUAL(errno, EBADF);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 4);
	close(fd);
	qemu_down();
}

/* Up to the last byte an image may ever have it is marked; one further is reported. */
static void test_write_beyond_the_end(void)
{
	qemu_up_tracking();
	vmft_track_written(disk[1], 3 * BLOCK + 99, 1);
	CU_ASSERT_EQUAL(area_marks(1, 0), 1 << 3);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 0);
	vmft_track_written(disk[1], 3 * BLOCK + 99, 2);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0); /* the next attempt begins anew */
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 0);
	vmft_track_written(disk[1], UINT64_MAX, 1);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 1);
	atomic_store(&area->disk_overflow, 0);
	vmft_track_written(disk[1], 1, UINT64_MAX);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 1);
	CU_ASSERT_EQUAL(area_marks(1, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 0); /* what follows the image's bitmap */
	qemu_down();
}

/* Files that are no image, nothing, and writes while nobody attaches: no marks. */
static void test_writes_not_marked(void)
{
	int other = memfd_create("other", 0);

	qemu_up_tracking();
	CU_ASSERT_EQUAL(pwrite(other, "x", 1, 0), 1);
	CU_ASSERT_EQUAL(pwrite(disk[0], "x", 0, 0), 0);
	errno = EINTR;
	vmft_track_written(-1, 0, 1);
	CU_ASSERT_EQUAL(errno, EINTR); /* the write's own, for who asks */
	CU_ASSERT(area_nothing_marked(0));
	CU_ASSERT(area_nothing_marked(1));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(pwrite(disk[0], "x", 1, 0), 1);
	CU_ASSERT_EQUAL(pwrite(disk[1], "x", 1, 100 * BLOCK), 1);
	CU_ASSERT(area_nothing_marked(0));
	CU_ASSERT(area_nothing_marked(1));
	CU_ASSERT_EQUAL(atomic_load(&area->disk_overflow), 0);
	close(other);
	qemu_down();
}

struct writer {
	pthread_t thread;
	atomic_bool stop;
};

static void *write_over_and_over(void *arg)
{
	struct writer *writer = arg;

	while (!atomic_load(&writer->stop))
		vmft_track_written(disk[0], 0, 63 * BLOCK);
	return NULL;
}

/* Marks are set by QEMU's thread pool and cleared by the monitor in the same word: neither's
 * is undone by the other. */
static void test_writers_at_once(void)
{
	const uint64_t mine = UINT64_C(1) << 63;
	struct writer writer = {.stop = false};
	_Atomic uint64_t *word;
	unsigned lost = 0;

	qemu_up_tracking();
	word = vmft_region_bitmap(area, &area->region[0]);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&writer.thread, NULL, write_over_and_over, &writer),
			      0);
	while (atomic_load(word) == 0)
		usleep(100);
	for (int i = 0; i < 50000; i++) {
		vmft_track_written(disk[0], 63 * BLOCK, 1);
		lost += (atomic_load(word) & mine) == 0;
		atomic_fetch_and(word, ~mine);
		lost += (atomic_load(word) & mine) != 0;
	}
	atomic_store(&writer.stop, true);
	(void)pthread_join(writer.thread, NULL);
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT_EQUAL(atomic_load(word), mine - 1);
	CU_ASSERT_EQUAL(area_marks(0, 1), 0);
	qemu_down();
}

/* --- memory -------------------------------------------------------------------- */

/* The regions are listed as QEMU has them, nothing else is done. */
static void test_describe(void)
{
	qemu_up();
	qemu_add_block("unused", 0, -1); /* not resized to its full length yet */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), REGIONS);
	CU_ASSERT_EQUAL(area->region[RAM].kind, VMFT_REGION_RAM);
	CU_ASSERT_EQUAL(area->region[BIOS].kind, VMFT_REGION_SHADOW);
	CU_ASSERT_EQUAL(area->region[VRAM].kind, VMFT_REGION_SHADOW);
	for (unsigned i = RAM; i < REGIONS; i++) {
		CU_ASSERT_EQUAL(area->region[i].bytes, qemu.block[i - RAM].bytes);
		CU_ASSERT_STRING_EQUAL(area->region[i].name, qemu.block[i - RAM].name);
		CU_ASSERT(vmft_region_is_sane(area, &area->region[i]));
	}
	CU_ASSERT_STRING_EQUAL(qemu.calls, "");
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	CU_ASSERT_EQUAL(area_shadow(BIOS)[0], 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0); /* the same again */
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), REGIONS);
	qemu_down();
}

static bool apart(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a + a_bytes <= b || b + b_bytes <= a;
}

/* As many blocks as fit, of odd lengths and in sum as large as may be: no bitmap and no shadow
 * lies over another. */
static void test_describe_regions_apart(void)
{
	static char names[VMFT_AREA_REGIONS_MAX][16];
	uint64_t left = VMFT_AREA_SHADOW_BYTES / PAGE;

	qemu_up_with(RAM_PAGES * PAGE);
	qemu_add_block("vmft.ram", RAM_PAGES * PAGE, 7);
	for (unsigned i = 3; i < VMFT_AREA_REGIONS_MAX; i++) {
		const uint64_t pages = i + 1 < VMFT_AREA_REGIONS_MAX ? 1 + i * 5 % 131 : left;

		(void)snprintf(names[i], sizeof(names[i]), "block %u", i);
		qemu_add_block(names[i], pages * PAGE - i % 3, -1);
		left -= pages;
	}
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), VMFT_AREA_REGIONS_MAX);
	for (unsigned i = 0; i < VMFT_AREA_REGIONS_MAX; i++) {
		const struct vmft_region *a = &area->region[i];

		CU_ASSERT(vmft_region_is_sane(area, a));
		for (unsigned k = 0; k < i; k++) {
			const struct vmft_region *b = &area->region[k];

			CU_ASSERT(apart(a->bitmap_at, vmft_region_bitmap_bytes(a), b->bitmap_at,
					vmft_region_bitmap_bytes(b)));
			CU_ASSERT(a->kind != VMFT_REGION_SHADOW || b->kind != VMFT_REGION_SHADOW ||
				  apart(a->shadow_at, a->bytes, b->shadow_at, b->bytes));
		}
	}
	qemu_down();
}

static void describe_is_refused(int rc)
{
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), rc);
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), 2);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), rc);
	CU_ASSERT_EQUAL(qemu.log_starts, 0);
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	qemu_down();
}

/* More blocks, or more of them beside the guest's memory, than can be carried, and memory of
 * another length than the pair was set up with: refused before anything is begun. */
static void test_describe_refuses(void)
{
	qemu_up();
	while (qemu.blocks < VMFT_AREA_REGIONS_MAX - 2 + 1)
		qemu_add_block("block", 1, -1);
	describe_is_refused(-E2BIG);

	qemu_up();
	free(qemu.block[VRAM - RAM].host);
	qemu.block[VRAM - RAM].host = malloc(1); /* nobody looks */
	qemu.block[VRAM - RAM].bytes = VMFT_AREA_SHADOW_BYTES - 3 * PAGE;
	describe_is_refused(-E2BIG);

	qemu_up();
	qemu.block[0].bytes -= PAGE;
	describe_is_refused(-EINVAL);
}

/* What was written before does not count, all is copied once anyway; shadows are whole. */
static void test_track(void)
{
	qemu_up();
	guest_writes(RAM, 5, 1);
	guest_writes(BIOS, 1, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	CU_ASSERT_EQUAL(qemu.log_starts, 1);
	CU_ASSERT(atomic_load(&vmft_track.disks));
	for (unsigned i = BIOS; i < REGIONS; i++)
		CU_ASSERT_EQUAL(
		    memcmp(area_shadow(i), qemu.block[i - RAM].host, qemu.block[i - RAM].bytes), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	for (unsigned i = 0; i < REGIONS; i++)
		CU_ASSERT(area_nothing_marked(i));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0); /* not switched on twice */
	CU_ASSERT_EQUAL(qemu.log_starts, 1);
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0); /* nor off */
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	CU_ASSERT_STRING_EQUAL(qemu.calls, ""); /* nothing else was done to the guest */
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	CU_ASSERT(qemu.running);
	qemu_down();
}

/* What was written since is marked, once, up to the last page and not beyond; a shadow is
 * refreshed where it was, and only there. */
static void test_scan(void)
{
	qemu_up_tracking();
	guest_writes(RAM, 0, 0xee);
	guest_writes(RAM, 63, 0xee);
	guest_writes(RAM, 64, 0xee);
	guest_writes(RAM, RAM_PAGES - 1, 0xee);
	guest_writes(BIOS, 3, 0xee);			   /* its last, of 100 bytes */
	qemu.block[BIOS - RAM].host[3 * PAGE + 99] = 0xdd; /* its last byte */
	qemu.block[BIOS - RAM].host[0] = 0xcc;		   /* QEMU did not say so */
	(void)pwrite(disk[0], "x", 1, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 | UINT64_C(1) << 63);
	CU_ASSERT_EQUAL(area_marks(RAM, 1), 1);
	CU_ASSERT_EQUAL(area_marks(RAM, 2), 1 << 1);
	CU_ASSERT_EQUAL(area_marks(BIOS, 0), 1 << 3);
	CU_ASSERT(area_nothing_marked(VRAM));
	CU_ASSERT_EQUAL(atomic_load(&area->ram_marked), 5);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_marked), 1);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE], 0xee);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE + 99], 0xdd);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE + 100], 0);
	CU_ASSERT_NOT_EQUAL(area_shadow(BIOS)[0], 0xcc);
	/* The monitor has sent one of them; the rest is still to be sent, and a new one. */
	atomic_store(&vmft_region_bitmap(area, &area->region[RAM])[0], 1);
	guest_writes(RAM, 2, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 | 1 << 2);
	CU_ASSERT_EQUAL(area_marks(RAM, 1), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->ram_marked), 5);
	qemu_down();
}

static void qemu_up_with_flash(bool read_only)
{
	qemu_up();
	qemu.block[BIOS - RAM].name = "system.flash0";
	qemu.flash.object.type = "cfi.pflash01";
	qemu.flash.ro = read_only;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
}

/* QEMU does not mark what a guest writes to flash. It is found by comparison, after an image was
 * written, and only then. */
static void test_scan_flash(void)
{
	uint8_t *flash;

	qemu_up_with_flash(false);
	flash = qemu.block[BIOS - RAM].host;
	flash[PAGE + 7] = 0xcc;
	flash[3 * PAGE + 99] = 0xdd; /* its last byte */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT(area_nothing_marked(BIOS));
	(void)pwrite(disk[1], "x", 1, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT_EQUAL(area_marks(BIOS, 0), 1 << 1 | 1 << 3);
	CU_ASSERT_EQUAL(atomic_load(&area->ram_marked), 2);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[PAGE + 7], 0xcc);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE + 99], 0xdd);
	/* The monitor has sent them: nothing has changed since. */
	atomic_store(&vmft_region_bitmap(area, &area->region[BIOS])[0], 0);
	(void)pwrite(disk[1], "y", 1, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT(area_nothing_marked(BIOS));
	qemu_down();
	qemu_up_with_flash(true);
	qemu.block[BIOS - RAM].host[0] = 0xcc;
	(void)pwrite(disk[1], "x", 1, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	CU_ASSERT(area_nothing_marked(BIOS));
	qemu_down();
}

/* The byte between the two places is no bool. */
static void test_flash_unknown(void)
{
	static const uint8_t other = 2;

	qemu_up();
	qemu.flash.object.type = "cfi.pflash01";
	memcpy(&qemu.flash.ro, &other, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), -ENOTSUP);
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	qemu_down();
}

static void *region_lost(void *host, uint64_t *ret_offset)
{
	(void)host;
	(void)ret_offset;
	return NULL;
}

/* A block that has gone, has another length, or that QEMU does not find by its address. */
static void test_scan_refuses(void)
{
	qemu_up_tracking();
	qemu.blocks--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), -ENOENT);
	qemu.blocks++;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	qemu.block[BIOS - RAM].bytes -= PAGE;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), -ENOENT);
	qemu.block[BIOS - RAM].bytes += PAGE;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	vmft_qemu.symbols.memory_region_from_host = region_lost;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), -ENOENT);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), -ENOENT);
	qemu_down();
}

int vmft_suite_track(void)
{
	static CU_TestInfo tests[] = {
	    {"libc before the start", test_libc_before_start},
	    {"writes are marked", test_writes_are_marked},
	    {"a failed write is marked", test_failed_write_is_marked},
	    {"a write beyond the end", test_write_beyond_the_end},
	    {"writes that are not marked", test_writes_not_marked},
	    {"writers at once", test_writers_at_once},
	    {"describe", test_describe},
	    {"regions lie apart", test_describe_regions_apart},
	    {"describe refuses", test_describe_refuses},
	    {"track", test_track},
	    {"scan", test_scan},
	    {"scan refuses", test_scan_refuses},
	    {"scan of flash", test_scan_flash},
	    {"flash that is not known", test_flash_unknown},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"attaching: marks", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
