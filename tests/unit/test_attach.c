/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU to give a guest's state away and to take it in: QEMU's
 * functions are played here, its memory blocks and images are real memory and real files.
 * This program's own pwrite() and the like go through attach.c, as QEMU's do.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/tap.h"
#include "monitor/agent/track.h"
#include "monitor/common/area-setup.h"
#include "suites.h"

/* --- images ------------------------------------------------------------------ */

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

/* --- memory ------------------------------------------------------------------ */

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

static void describe_is_refused(void)
{
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), -E2BIG);
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), 2);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), -E2BIG);
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
	describe_is_refused();

	qemu_up();
	free(qemu.block[VRAM - RAM].host);
	qemu.block[VRAM - RAM].host = malloc(1); /* nobody looks */
	qemu.block[VRAM - RAM].bytes = VMFT_AREA_SHADOW_BYTES - 3 * PAGE;
	describe_is_refused();

	qemu_up();
	qemu.block[0].bytes -= PAGE;
	describe_is_refused();
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

/* --- the attach point --------------------------------------------------------- */

static void is_alone_again(void)
{
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT(!atomic_load(&vmft_tap.busy));
	CU_ASSERT(qemu.running);
}

#define STOPPED "events-off vm-stop:10 drain poll poll events-on "
#define SAVED	"instructions store-running save close "
#define RESET	"reset i2c-end "

/* Everything that is marked, or was written since the last scan, is taken with its content and
 * its mark with it; how long the images are is told; the state is saved, and loaded again; the
 * log begins between the two, so that it is the same that a backup goes through. */
static void test_point(void)
{
	struct pieces p = {0};
	uint8_t behind[sizeof(load_event)];

	qemu_up_tracking();
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	(void)pwrite(disk[0], "zero", 4, 0);
	(void)pwrite(disk[0], "ninety-nine", 11, 100 * BLOCK - 11);
	(void)pwrite(disk[1], "last", 4, 3 * BLOCK);
	guest_writes(RAM, 0, 0xe0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	guest_writes(RAM, 0, 0xe1);
	guest_writes(RAM, RAM_PAGES - 1, 0xe2);
	guest_writes(BIOS, 3, 0xe3);
	guest_writes(VRAM, 69, 0xe4);
	area_budget(3 * BLOCK + 4 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");

	piece_is(&p, 0, 0, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK - VMFT_DISK_PART_BYTES, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, 3 * BLOCK, 100);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	piece_is(&p, RAM, 0, PAGE);
	piece_is(&p, RAM, (RAM_PAGES - 1) * PAGE, PAGE);
	piece_is(&p, BIOS, 3 * PAGE, 100);
	piece_is(&p, VRAM, 69 * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE], 0xe3);
	for (unsigned i = 0; i < REGIONS; i++)
		CU_ASSERT(area_nothing_marked(i));

	CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), qemu.state_bytes);
	CU_ASSERT_EQUAL(memcmp((uint8_t *)area + area->state_at, qemu.state, qemu.state_bytes), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(qemu.loaded_bytes, qemu.state_bytes - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, qemu.state + 8, qemu.loaded_bytes), 0);
	/* The instructions run before it, and what a device logged while it was saved, are before
	 * the point; what one logged while it was loaded is the first behind it. */
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), POINT);
	CU_ASSERT(qemu.saved_at <= POINT); /* or its own backup would not take it */
	CU_ASSERT_EQUAL(atomic_load(&area->point_guest_ns), 0x1234);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, POINT), (int64_t)sizeof(behind));
	vmft_ring_read(&vmft_agent.ring, POINT, behind, sizeof(behind));
	CU_ASSERT_EQUAL(memcmp(behind, load_event, sizeof(behind)), 0);
	CU_ASSERT(qemu.running);
	CU_ASSERT(!atomic_load(&vmft_tap.busy));
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	qemu_down();
}

static int save_looks_at_unread_data(void *file)
{
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(world.replay_state[HAS_UNREAD_DATA + i], 0);
	return qemu_save_device_state(file);
}

/* A guest that went live here still has the END that its feed was handed: QEMU's note that it
 * is unread does not go into the state. The count of requests goes on, as the backup's does.
 * Nothing else of QEMU's is touched. */
static void test_point_and_replay_state(void)
{
	qemu_up_tracking();
	area_budget(0);
	memset(world.replay_state, 0x5a, sizeof(world.replay_state));
	vmft_qemu.symbols.qemu_save_device_state = save_looks_at_unread_data;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	for (unsigned i = 0; i < sizeof(world.replay_state); i++) {
		const bool unread = i >= HAS_UNREAD_DATA && i < HAS_UNREAD_DATA + 4;

		CU_ASSERT_EQUAL(world.replay_state[i], unread ? 0 : 0x5a);
	}
	qemu_down();
}

/* An image with data of its own in QEMU's memory is flushed while nothing is under way, which
 * may write to it: that is taken too. */
static int flush_writes(void)
{
	CU_ASSERT(!qemu.running);
	(void)pwrite(disk[1], "table", 5, BLOCK);
	return qemu_flush_all();
}

static void test_point_flushes(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	vmft_agent.flush = true;
	vmft_qemu.symbols.bdrv_flush_all = flush_writes;
	area_budget(BLOCK);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_STRING_EQUAL(
	    qemu.calls, "events-off vm-stop:10 drain poll poll flush events-on " SAVED RESET LOADED
			"vm-start ");
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	qemu_down();
}

/* An image that has become shorter since it was written to: what is left of it is taken. */
static void test_point_shorter_image(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	for (int block = 0; block < 3; block++)
		(void)pwrite(disk[0], "x", 1, block * (off_t)BLOCK);
	CU_ASSERT_EQUAL(ftruncate(disk[0], BLOCK + 10), 0);
	area_budget(3 * BLOCK);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 0, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, BLOCK, 10);
	piece_is(&p, 0, BLOCK + 10, 0);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	qemu_down();
}

/* One block over the budget: nothing is taken, all stays marked, the guest goes on alone, and a
 * point with a larger budget takes the lot. */
static void test_point_over_budget(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	(void)pwrite(disk[0], "x", 1, 7 * BLOCK);
	guest_writes(RAM, 3, 1);
	guest_writes(VRAM, 4, 1);
	area_budget(BLOCK + 2 * PAGE - 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 7);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(VRAM, 0), 1 << 4);
	CU_ASSERT_EQUAL(atomic_load(&area->ram_marked), 2);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_marked), 1);
	is_alone_again();
	CU_ASSERT(atomic_load(&vmft_track.disks)); /* it is tracked on */
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	(void)pwrite(disk[0], "x", 1, 8 * BLOCK);
	area_budget(2 * BLOCK + 2 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 7 * BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 8 * BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	piece_is(&p, RAM, 3 * PAGE, PAGE);
	piece_is(&p, VRAM, 4 * PAGE, PAGE);
	no_more_pieces(&p);
	qemu_down();
}

/* Refused before the guest is touched: nothing tracked, or the guest not running. */
static void test_point_untouched(void)
{
	qemu_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	qemu.running = false;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EAGAIN);
	CU_ASSERT_STRING_EQUAL(qemu.calls, ""); /* a paused guest is not started */
	CU_ASSERT(!qemu.running);
	qemu.running = true;
	is_alone_again();
	qemu_down();
}

/* What devices keep that is neither saved nor reset is afterwards as in a QEMU that has just
 * started; nothing else of them is touched. */
static void test_point_unsaved(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_EQUAL(qemu.timer[0].expire_time, -1);
	CU_ASSERT_EQUAL(qemu.rng.quota_remaining, 1024);
	CU_ASSERT(qemu.rng.activate_timer);
	CU_ASSERT_EQUAL(qemu.rng.max_bytes, 1024);
	CU_ASSERT_EQUAL(qemu.rng.period_ms, 1000);
	CU_ASSERT_EQUAL(qemu.timer[1].expire_time, -1);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[0], 0);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[23], 0);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_level[23], 1);
	qemu_down();
}

/* A build whose devices are laid out otherwise is known by the timer that is not there; the guest
 * is not stopped, and nothing is written. */
static void test_point_unknown_layout(void)
{
	for (size_t i = 0; i < 4; i++) {
		qemu_up_tracking();
		area_budget(UINT64_MAX);
		if (i < 2)
			qemu.timer[i].opaque = &qemu.other;
		else if (i == 2)
			qemu.rng.timer = NULL;
		else
			qemu.ioapic.timer = NULL;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -ENOTSUP);
		CU_ASSERT_STRING_EQUAL(qemu.calls, "");
		CU_ASSERT_EQUAL(qemu.rng.quota_remaining, 3);
		CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[0], 9999);
		is_alone_again();
		qemu_down();
	}
}

/* A reset or power-off that the guest has asked for is the main loop's to deal with first: it is
 * in no state, and the backup would not know of it. */
static void test_point_wish_pending(void)
{
	int *const wishes[] = {&qemu.reset_requested, &qemu.shutdown_requested};

	for (size_t i = 0; i < 2; i++) {
		uint32_t asked;

		qemu_up_tracking();
		area_budget(UINT64_MAX);
		qemu.deferred = true;
		*wishes[i] = 6;
		asked = atomic_load(&area->request) + 1;
		atomic_store(&area->op, VMFT_AREA_POINT);
		atomic_store(&area->request, asked);
		vmft_requests_service();
		main_loop_comes_round();
		CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
		CU_ASSERT_NOT_EQUAL(atomic_load(&area->done), asked);
		is_alone_again();
		*wishes[i] = 0;
		qemu.calls[0] = '\0';
		main_loop_comes_round();
		CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");
		CU_ASSERT_EQUAL(atomic_load(&area->done), asked);
		CU_ASSERT_EQUAL(atomic_load(&area->result), 0);
		qemu.deferred = false;
		qemu_down();
	}
}

/* Whatever goes wrong while the guest is stopped, it goes on, alone. */
static void test_point_fails_stopped(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	vmft_track_written(disk[1], 4 * BLOCK, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EFBIG);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	qemu_down();

	qemu_up_tracking();
	area_budget(UINT64_MAX);
	close(disk[1]);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EBADF);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	disk[1] = memfd_create("disk", 0);
	qemu_down();

	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.blocks--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -ENOENT);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	qemu.blocks++;
	qemu_down();
}

/* QEMU fails to save: there is no point, and nothing is loaded over the guest. */
static void test_point_save_fails(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.save_result = -1;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED "vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 0);
	is_alone_again();
	qemu_down();
}

/* QEMU fails to load what it has saved, the log being kept already: it is not kept any more, who
 * waits for room in the ring is woken, and the guest goes on alone. */
static void test_point_load_fails(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	is_alone_again();
	vmft_tap_write(clock_event, sizeof(clock_event));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), POINT + sizeof(load_event));
	qemu_down();
}

static void test_point_state_too_large(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.state = state;
	qemu.state_bytes = VMFT_AREA_STATE_BYTES;
	CU_ASSERT(agent_ask(VMFT_AREA_POINT) < 0);
	is_alone_again();
	/* one byte less is carried; of the larger one before nothing is left */
	qemu.state_bytes--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), VMFT_AREA_STATE_BYTES - 1);
	qemu_down();
	free(state);
}

/* --- taking it in ------------------------------------------------------------- */

static const uint8_t saved[] = "QEVM\0\0\0\3devices";

/* A backup's QEMU as it waits for its state, which has come; a ROM of the primary's too. */
static void loadable(uint8_t rom)
{
	qemu_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	qemu.running = false;
	(void)fclose(vmft_tap.stream); /* this one replays */
	vmft_tap.stream = NULL;
	memset((uint8_t *)area + area->region[BIOS].shadow_at, rom, 3 * PAGE + 100);
	memcpy((uint8_t *)area + area->state_at, saved, sizeof(saved));
	atomic_store(&area->load_bytes, sizeof(saved));
}

/* Memory first, then the images (whose activation reads them), then the devices, behind the
 * header that their loading does not expect; then it runs, that is, replays. */
static void test_load(void)
{
	uint8_t rom[3 * PAGE + 100];

	memset(rom, 0xbb, sizeof(rom));
	loadable(0xbb);
	qemu.shadow_expected = rom;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "activate " LOADED "vm-start ");
	CU_ASSERT(qemu.shadow_was_there);
	CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, saved + 8, sizeof(saved) - 8), 0);
	CU_ASSERT(qemu.running);
	/* the guest's memory is in its own memfd: nothing is written over it */
	CU_ASSERT_EQUAL(qemu.block[0].host[0], 1);
	qemu_down();
}

static void test_load_images_busy(void)
{
	static char text[] = "Failed to get \"write\" lock";

	loadable(0);
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_STRING_EQUAL(area->error, text);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "activate ");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* An error's text that is longer than its field ends with it. */
static void test_load_long_error(void)
{
	static char text[400];

	loadable(0);
	memset(text, 'x', sizeof(text) - 1);
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_EQUAL(strnlen(area->error, sizeof(area->error)), sizeof(area->error) - 1);
	qemu_down();
}

static void test_load_fails(void)
{
	loadable(0);
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "activate " LOADED);
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* Refused before QEMU is touched: no state, one larger than its place, memory laid out anew. */
static void test_load_refuses(void)
{
	static const uint64_t bad[] = {0, 8, VMFT_AREA_STATE_BYTES + 1, UINT64_MAX};

	loadable(0xbb);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&area->load_bytes, bad[i]);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EINVAL);
	}
	CU_ASSERT_NOT_EQUAL(qemu.block[BIOS - RAM].host[0], 0xbb);
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[VRAM - RAM].name = "vga2.vram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -ENOENT);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* --- how requests come -------------------------------------------------------- */

/* One request is carried out once, however often the service thread looks; the monitor is rung
 * when it is done; an error's text does not outlive its request. */
static void test_requests(void)
{
	unsigned rung;

	qemu_up();
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 0);
	CU_ASSERT_EQUAL(agent_ask((enum vmft_area_op)99), -EINVAL);
	CU_ASSERT_STRING_EQUAL(area->error, "unknown operation");
	rung = atomic_load(&world.rung);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	CU_ASSERT_STRING_EQUAL(area->error, "");
	CU_ASSERT_EQUAL(atomic_load(&world.rung), rung + 1);
	vmft_requests_service();
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 2);
	vmft_agent.area = NULL; /* no area, no attach */
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 2);
	qemu_down();
}

/* The main loop may be waiting for a vCPU that waits for room in the log: an attempt that is
 * given up frees it before the main loop comes round. */
static void test_drop_frees_a_writer(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	qemu.deferred = true;
	atomic_store(&area->op, VMFT_AREA_DROP);
	atomic_fetch_add(&area->request, 1);
	vmft_requests_service();
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	CU_ASSERT_NOT_EQUAL(atomic_load(&area->done), atomic_load(&area->request));
	qemu_down();
}

/* Staging runs full in the middle: what was staged before is marked again. */
static void test_point_staging_full(void)
{
	const unsigned pages = 20000;

	qemu_up_with(pages * (uint64_t)PAGE);
	qemu_add_block("vmft.ram", pages * (uint64_t)PAGE, 7);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	area_budget(UINT64_MAX);
	for (unsigned i = 0; i < pages; i++)
		guest_writes(RAM, i, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	CU_ASSERT_EQUAL(area_all_marks(RAM), pages);
	qemu_down();
}

/* What was staged and will not be sent is marked again, and it is no case for another round. */
static void test_point_state_too_large_keeps_marks(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	guest_writes(RAM, 3, 1);
	(void)!pwrite(disk[0], "x", 1, 0);
	qemu.state = state;
	qemu.state_bytes = VMFT_AREA_STATE_BYTES;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EFBIG);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1);
	qemu_down();
	free(state);
}

int vmft_suite_attach(void)
{
	static CU_TestInfo tests[] = {
	    {"staging full", test_point_staging_full},
	    {"state too large", test_point_state_too_large_keeps_marks},
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
	    {"point", test_point},
	    {"point and QEMU's replay state", test_point_and_replay_state},
	    {"point flushes", test_point_flushes},
	    {"point with a shorter image", test_point_shorter_image},
	    {"point over budget", test_point_over_budget},
	    {"point leaves the guest untouched", test_point_untouched},
	    {"point and what is not saved", test_point_unsaved},
	    {"point and another layout", test_point_unknown_layout},
	    {"point and what the guest wishes", test_point_wish_pending},
	    {"point fails while stopped", test_point_fails_stopped},
	    {"point fails to save", test_point_save_fails},
	    {"point fails to load", test_point_load_fails},
	    {"point with too large a state", test_point_state_too_large},
	    {"load", test_load},
	    {"load with busy images", test_load_images_busy},
	    {"load with a long error", test_load_long_error},
	    {"load fails", test_load_fails},
	    {"load refuses", test_load_refuses},
	    {"requests", test_requests},
	    {"drop frees a writer", test_drop_frees_a_writer},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"attaching", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
