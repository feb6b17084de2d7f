/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images as files: named, opened beside other programs, emptied, compared. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/daemon/attach/summer.h"
#include "suites.h"

#define BLOCK VMFT_DISK_BLOCK_BYTES

/* --- opening ----------------------------------------------------------------- */

struct scratch {
	char path[64];
	struct vmft_image image;
	pid_t holder;
	int leave; /* closed: the holder ends */
};

static void scratch_make(struct scratch *s)
{
	static const char name[] = "/tmp/vmft-unit-XXXXXX";
	int fd;

	memcpy(s->path, name, sizeof(name));
	fd = mkstemp(s->path);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 1000), 0);
	close(fd);
	s->image = (struct vmft_image){.path = s->path, .format = VMFT_IMAGE_RAW, .fd = -1};
}

/* Another program that has the image open, with QEMU's lock on this byte. */
static void hold_lock(struct scratch *s, short type, off_t byte)
{
	const struct flock lock = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int ready[2], leave[2];
	char one;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(leave), 0);
	s->holder = fork();
	CU_ASSERT_FATAL(s->holder >= 0);
	if (s->holder == 0) {
		int fd = open(s->path, O_RDWR);

		close(leave[1]);
		if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)!read(leave[0], &one, 1);
		_exit(0);
	}
	close(ready[1]);
	close(leave[0]);
	CU_ASSERT_EQUAL_FATAL(read(ready[0], &one, 1), 1);
	close(ready[0]);
	s->leave = leave[1];
}

static void let_go(struct scratch *s)
{
	int status = -1;

	close(s->leave);
	CU_ASSERT_EQUAL(waitpid(s->holder, &status, 0), s->holder);
	CU_ASSERT_EQUAL(status, 0);
}

/* An image that is becoming a copy is nobody else's: QEMU's programs see the same lock. */
static bool second_copy_is_refused(const struct vmft_image *image)
{
	struct vmft_image second = *image;
	struct vmft_error err = {0};

	return vmft_image_open(&second, true, &err) == -EBUSY;
}

/* An image that another program writes, or that it wants nobody else to write, is not taken for
 * a copy; it may still be read, as the primary does beside its own QEMU. */
static void test_open_locked(void)
{
	static const struct {
		short type;
		off_t byte;
		int want;
	} cases[] = {
	    {F_RDLCK, 101, -EBUSY}, {F_RDLCK, 201, -EBUSY}, {F_WRLCK, 101, -EBUSY},
	    {F_WRLCK, 201, -EBUSY}, {F_RDLCK, 100, 0},	    {F_RDLCK, 203, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vmft_error err = {0};
		struct scratch s;

		scratch_make(&s);
		hold_lock(&s, cases[i].type, cases[i].byte);
		CU_ASSERT_EQUAL(vmft_image_open(&s.image, true, &err), cases[i].want);
		CU_ASSERT_EQUAL(s.image.fd < 0, cases[i].want < 0);
		if (cases[i].want < 0) {
			CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_IMAGE);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, s.path));
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "in use by another program"));
		}
		vmft_image_close(&s.image);
		CU_ASSERT_EQUAL(vmft_image_open(&s.image, false, &err), 0);
		CU_ASSERT(s.image.fd >= 0);
		vmft_image_close(&s.image);
		let_go(&s);
		CU_ASSERT_EQUAL(vmft_image_open(&s.image, true, &err), 0);
		CU_ASSERT(second_copy_is_refused(&s.image));
		CU_ASSERT_EQUAL(vmft_image_file_bytes(&s.image), 1000);
		CU_ASSERT(!s.image.is_device);
		vmft_image_close(&s.image);
		CU_ASSERT_EQUAL(s.image.fd, -1);
		vmft_image_close(&s.image); /* one that is not open */
		CU_ASSERT_EQUAL(vmft_image_file_bytes(&s.image), -EBADF);
		(void)unlink(s.path);
	}
}

/* One that is read-only to the guest is only read here: beside others who read it, of whom each
 * wants nobody to write, but not beside one who does. */
static void test_open_read_only(void)
{
	static const struct {
		short type;
		off_t byte;
		int want;
	} cases[] = {{F_RDLCK, 201, 0}, {F_RDLCK, 101, -EBUSY}, {F_WRLCK, 101, -EBUSY}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vmft_error err = {0};
		struct vmft_image second;
		struct scratch s;

		scratch_make(&s);
		s.image.read_only = true;
		second = s.image;
		hold_lock(&s, cases[i].type, cases[i].byte);
		CU_ASSERT_EQUAL(vmft_image_open(&s.image, true, &err), cases[i].want);
		if (cases[i].want == 0) {
			CU_ASSERT_EQUAL(write(s.image.fd, "x", 1), -1);
			CU_ASSERT_EQUAL(vmft_image_open(&second, true, &err), 0);
			vmft_image_close(&second);
			/* Who would write to it is kept out, also when the other has gone. */
			let_go(&s);
			second.read_only = false;
			CU_ASSERT_EQUAL(vmft_image_open(&second, true, &err), -EBUSY);
			vmft_image_close(&s.image);
			CU_ASSERT_EQUAL(vmft_image_open(&second, true, &err), 0);
			vmft_image_close(&second);
		} else {
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "writes to it"));
			let_go(&s);
		}
		(void)unlink(s.path);
	}
}

static void test_open_refuses(void)
{
	struct vmft_image image = {.path = "/nonexistent/a.img", .fd = -1};
	struct vmft_error err = {0};

	CU_ASSERT_EQUAL(vmft_image_open(&image, false, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/a.img: cannot be read"));
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_IMAGE);
	CU_ASSERT_EQUAL(vmft_image_open(&image, true, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot be written"));
	CU_ASSERT_EQUAL(image.fd, -1);
}

/* --- emptying ---------------------------------------------------------------- */

/* An image in memory: whole blocks filled with their number + 1, then some bytes more. */
static struct vmft_image filled(unsigned blocks, size_t more)
{
	struct vmft_image image = {.path = "memory", .fd = memfd_create("image", 0)};
	uint8_t bytes[BLOCK];

	CU_ASSERT_FATAL(image.fd >= 0);
	for (unsigned i = 0; i <= blocks; i++) {
		const size_t n = i < blocks ? sizeof(bytes) : more;

		memset(bytes, (int)(i + 1), sizeof(bytes));
		CU_ASSERT_EQUAL_FATAL(pwrite(image.fd, bytes, n, (off_t)i * BLOCK), (ssize_t)n);
	}
	return image;
}

static bool reads(const struct vmft_image *image, off_t offset, size_t n, uint8_t value)
{
	uint8_t bytes[4096];

	for (size_t at = 0; at < n; at += sizeof(bytes)) {
		size_t piece = n - at < sizeof(bytes) ? n - at : sizeof(bytes);

		if (pread(image->fd, bytes, piece, offset + (off_t)at) != (ssize_t)piece)
			return false;
		for (size_t i = 0; i < piece; i++)
			if (bytes[i] != value)
				return false;
	}
	return true;
}

/* What is emptied reads as zeroes, is a hole, and nothing beside it nor the length changes. */
static void test_zero(void)
{
	struct vmft_image image = filled(4, 100);

	CU_ASSERT_EQUAL(vmft_image_zero(&image, BLOCK, 2 * BLOCK), 0);
	CU_ASSERT(reads(&image, 0, BLOCK, 1));
	CU_ASSERT(reads(&image, BLOCK, 2 * BLOCK, 0));
	CU_ASSERT(reads(&image, 3 * BLOCK, BLOCK, 4));
	CU_ASSERT_EQUAL(lseek(image.fd, 0, SEEK_HOLE), BLOCK);
	CU_ASSERT_EQUAL(lseek(image.fd, BLOCK, SEEK_DATA), 3 * BLOCK);
	CU_ASSERT_EQUAL(vmft_image_zero(&image, 10, 20), 0); /* less than a block of the disk */
	CU_ASSERT(reads(&image, 0, 10, 1));
	CU_ASSERT(reads(&image, 10, 20, 0));
	CU_ASSERT(reads(&image, 30, 100, 1));
	CU_ASSERT_EQUAL(vmft_image_zero(&image, 4 * BLOCK, BLOCK), 0); /* over the end */
	CU_ASSERT_EQUAL(vmft_image_file_bytes(&image), 4 * BLOCK + 100);
	CU_ASSERT(reads(&image, 4 * BLOCK, 100, 0));
	vmft_image_close(&image);
}

static void test_zero_refused(void)
{
	struct vmft_image image = filled(1, 0);
	char path[64];
	int writable = image.fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
	image.fd = open(path, O_RDONLY);
	CU_ASSERT_FATAL(image.fd >= 0);
	CU_ASSERT_EQUAL(vmft_image_zero(&image, 0, BLOCK), -EBADF);
	CU_ASSERT(reads(&image, 0, BLOCK, 1));
	close(writable);
	vmft_image_close(&image);
}

/* --- comparing --------------------------------------------------------------- */

struct compare {
	struct vmft_loop *loop;
	struct vmft_summer summer;
	bool running;
	unsigned done;
	int result;
};

static void on_done(struct vmft_summer *summer, int result)
{
	struct compare *c = summer->owner;

	c->done++;
	c->result = result;
	if (c->running)
		vmft_loop_stop(c->loop);
}

/* A loop once stopped stays stopped, so each has its own. */
static int run_summer(struct compare *c, const struct vmft_image *image, uint64_t first,
		      uint32_t count, uint64_t seed)
{
	*c = (struct compare){0};
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&c->loop), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_summer_init(&c->summer, c->loop, c, on_done), 0);
	memset(c->summer.sums.sum, 0x5a, sizeof(c->summer.sums.sum));
	c->summer.image = image;
	c->summer.first = first;
	c->summer.sums.count = count;
	c->summer.sums.seed = seed;
	vmft_summer_start(&c->summer);
	c->running = true;
	if (c->done == 0)
		CU_ASSERT_EQUAL(vmft_loop_run(c->loop), 0);
	CU_ASSERT_EQUAL(c->done, 1);
	CU_ASSERT(!c->summer.busy);
	vmft_summer_fini(&c->summer);
	vmft_loop_destroy(c->loop);
	return c->result;
}

static struct vmft_sums sums_of(const struct vmft_image *image, uint64_t first, uint32_t count,
				uint64_t seed)
{
	struct compare c;

	CU_ASSERT_EQUAL(run_summer(&c, image, first, count, seed), 0);
	return c.summer.sums;
}

static bool same(const struct vmft_sums *a, const struct vmft_sums *b, unsigned index)
{
	return a->sum[index].low == b->sum[index].low && a->sum[index].high == b->sum[index].high;
}

static bool is_none(const struct vmft_sums *a, unsigned index)
{
	return a->sum[index].low == 0 && a->sum[index].high == 0;
}

static void put(const struct vmft_image *image, off_t at, uint8_t value)
{
	CU_ASSERT_EQUAL(pwrite(image->fd, &value, 1, at), 1);
}

/* As many blocks as there may be: each has the digest it has alone, equal contents have equal
 * ones, and different contents different ones. */
static void test_sums(void)
{
	struct vmft_image image = filled(VMFT_SUMS_MAX, 0);
	struct vmft_sums all;

	put(&image, 2 * BLOCK, 9); /* not all of a block is the same */
	all = sums_of(&image, 0, VMFT_SUMS_MAX, 7);
	for (unsigned i = 0; i < VMFT_SUMS_MAX; i++) {
		struct vmft_sums one = sums_of(&image, i, 1, 7);

		CU_ASSERT_EQUAL(one.sum[0].low, all.sum[i].low);
		CU_ASSERT_EQUAL(one.sum[0].high, all.sum[i].high);
		CU_ASSERT(!is_none(&all, i));
		for (unsigned k = 0; k < i; k++)
			CU_ASSERT(!(all.sum[i].low == all.sum[k].low &&
				    all.sum[i].high == all.sum[k].high));
	}
	vmft_image_close(&image);
}

/* A bit flipped anywhere in a block, first byte or last, is seen, in its own digest only; with
 * another seed everything that is not zero has another digest. */
static void test_sums_differ(void)
{
	static const off_t places[] = {0, BLOCK / 2, BLOCK - 1};
	struct vmft_image image = filled(3, 0);
	const struct vmft_sums before = sums_of(&image, 0, 3, 1);
	struct vmft_sums seeded;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct vmft_sums after;

		put(&image, BLOCK + places[i], 3); /* it was 2 */
		after = sums_of(&image, 0, 3, 1);
		CU_ASSERT(same(&before, &after, 0));
		CU_ASSERT(!same(&before, &after, 1));
		CU_ASSERT(same(&before, &after, 2));
		put(&image, BLOCK + places[i], 2);
		after = sums_of(&image, 0, 3, 1);
		CU_ASSERT(same(&before, &after, 1));
	}
	seeded = sums_of(&image, 0, 3, 2);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT(!same(&before, &seeded, i));
	vmft_image_close(&image);
}

/* Zeroes that were written, a hole, and what lies beyond the end are the same to a reader: they
 * have one digest, whatever the seed. */
static void test_sums_of_nothing(void)
{
	struct vmft_image image = filled(2, 0);
	uint8_t zeroes[BLOCK] = {0};
	struct vmft_sums sums;

	CU_ASSERT_EQUAL(pwrite(image.fd, zeroes, BLOCK, 2 * BLOCK), BLOCK);
	CU_ASSERT_EQUAL(ftruncate(image.fd, 4 * BLOCK + 10), 0);
	CU_ASSERT_EQUAL(lseek(image.fd, 2 * BLOCK, SEEK_DATA), 2 * BLOCK); /* it is no hole */
	sums = sums_of(&image, 0, 8, 99);
	CU_ASSERT(!is_none(&sums, 0));
	CU_ASSERT(!is_none(&sums, 1));
	for (unsigned i = 2; i < 8; i++)
		CU_ASSERT(is_none(&sums, i));
	/* A hole that ends within the block does not hide what follows in it. */
	put(&image, 4 * BLOCK - 1, 1);
	sums = sums_of(&image, 2, 2, 99);
	CU_ASSERT(is_none(&sums, 0));
	CU_ASSERT(!is_none(&sums, 1));
	vmft_image_close(&image);
}

/* A last block that is short counts as if zeroes followed; only what there is of it matters. */
static void test_sums_short_block(void)
{
	struct vmft_image image = filled(1, 100);
	const struct vmft_sums brief = sums_of(&image, 0, 3, 5);
	struct vmft_sums padded;

	CU_ASSERT(!is_none(&brief, 1));
	CU_ASSERT(is_none(&brief, 2));
	CU_ASSERT_EQUAL(ftruncate(image.fd, 2 * BLOCK), 0);
	padded = sums_of(&image, 0, 3, 5);
	CU_ASSERT(same(&brief, &padded, 1));
	put(&image, 2 * BLOCK - 1, 1);
	padded = sums_of(&image, 0, 3, 5);
	CU_ASSERT(!same(&brief, &padded, 1));
	CU_ASSERT_EQUAL(ftruncate(image.fd, BLOCK + 99), 0);
	padded = sums_of(&image, 0, 3, 5);
	CU_ASSERT(!same(&brief, &padded, 1));
	vmft_image_close(&image);
}

/* An image that cannot be read is reported once, after all its reads have ended. */
static void test_sums_unreadable(void)
{
	struct vmft_image image = filled(VMFT_SUMS_MAX, 0);
	struct compare c;
	char path[64];
	int readable = image.fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", readable);
	image.fd = open(path, O_WRONLY);
	CU_ASSERT_FATAL(image.fd >= 0);
	CU_ASSERT_EQUAL(run_summer(&c, &image, 0, VMFT_SUMS_MAX, 1), -EBADF);
	CU_ASSERT_EQUAL(c.summer.reading, 0);
	close(readable);
	vmft_image_close(&image);
}

/* Nothing but a hole: nothing is read, and the answer is there at once. */
static void test_sums_of_hole_at_once(void)
{
	struct vmft_image image = filled(0, 0);
	struct compare c = {0};

	CU_ASSERT_EQUAL(ftruncate(image.fd, 64 * BLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_summer_init(&c.summer, NULL, &c, on_done), 0);
	c.summer.image = &image;
	c.summer.sums.count = VMFT_SUMS_MAX;
	vmft_summer_start(&c.summer);
	CU_ASSERT_EQUAL(c.done, 1);
	CU_ASSERT_EQUAL(c.result, 0);
	vmft_summer_fini(&c.summer);
	vmft_image_close(&image);
}

int vmft_suite_image(void)
{
	CU_pSuite suite = CU_add_suite("disk images", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_open_locked) ||
	    !CU_ADD_TEST(suite, test_open_read_only) || !CU_ADD_TEST(suite, test_open_refuses) ||
	    !CU_ADD_TEST(suite, test_zero) || !CU_ADD_TEST(suite, test_zero_refused) ||
	    !CU_ADD_TEST(suite, test_sums) || !CU_ADD_TEST(suite, test_sums_differ) ||
	    !CU_ADD_TEST(suite, test_sums_of_nothing) ||
	    !CU_ADD_TEST(suite, test_sums_short_block) ||
	    !CU_ADD_TEST(suite, test_sums_unreadable) ||
	    !CU_ADD_TEST(suite, test_sums_of_hole_at_once))
		return -1;
	return 0;
}
