/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls on images that fail inside QEMU: when the agent lets QEMU know, and when it does not. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "suites.h"

#include "monitor/agent/clock.h"
#include "monitor/agent/disk.h"
#include "monitor/agent/feed.h"

#define MS	   1000000u
#define SEVERAL_US 200000u /* in which the agent has looked again several times */

/* --- libc's, failing -------------------------------------------------------------- */

static struct {
	atomic_int error; /* of each call; 0: they succeed */
	atomic_uint calls;
} libc;

static int fails(void)
{
	const int error = atomic_load(&libc.error);

	atomic_fetch_add(&libc.calls, 1);
	errno = error;
	return error ? -1 : 0;
}

static ssize_t fake_pwrite(int fd, const void *bytes, size_t n, off64_t offset)
{
	(void)fd;
	(void)bytes;
	(void)offset;
	return fails() < 0 ? -1 : (ssize_t)n;
}

static ssize_t fake_pread(int fd, void *bytes, size_t n, off64_t offset)
{
	(void)fd;
	(void)bytes;
	(void)offset;
	return fails() < 0 ? -1 : (ssize_t)n;
}

static ssize_t fake_pwritev(int fd, const struct iovec *iov, int count, off64_t offset)
{
	(void)fd;
	(void)count;
	(void)offset;
	return fails() < 0 ? -1 : (ssize_t)iov->iov_len;
}

static ssize_t fake_preadv(int fd, const struct iovec *iov, int count, off64_t offset)
{
	return fake_pwritev(fd, iov, count, offset);
}

static int fake_fallocate(int fd, int mode, off64_t offset, off64_t n)
{
	(void)fd;
	(void)mode;
	(void)offset;
	(void)n;
	return fails();
}

static int fake_fdatasync(int fd)
{
	(void)fd;
	return fails();
}

/* A guest that runs alone, on a disk whose calls fail with error. */
static void up(int error)
{
	qemu_up();
	vmft_libc_table.pwrite64 = fake_pwrite;
	vmft_libc_table.pwritev64 = fake_pwritev;
	vmft_libc_table.pread64 = fake_pread;
	vmft_libc_table.preadv64 = fake_preadv;
	vmft_libc_table.fallocate64 = fake_fallocate;
	vmft_libc_table.fdatasync = fake_fdatasync;
	atomic_store(&libc.error, error);
	atomic_store(&libc.calls, 0);
}

static void up_replaying(int error)
{
	up(error);
	vmft_feed.stream = fopen("/dev/null", "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(vmft_feed.stream);
	atomic_store(&vmft_feed.phase, VMFT_FEED_STREAM);
}

static uint32_t failures(void)
{
	return atomic_load(&vmft_agent.iface->disk_failures);
}

/* --- a worker of QEMU's thread pool ------------------------------------------------- */

struct worker {
	pthread_t thread;
	enum vmft_disk_call call;
	atomic_bool done;
	ssize_t result;
	int error;
};

static ssize_t make(enum vmft_disk_call call, int fd)
{
	char byte = 'x';

	switch (call) {
	case VMFT_DISK_READ:
		return pread(fd, &byte, 1, 0);
	case VMFT_DISK_WRITE:
		return pwrite(fd, &byte, 1, 0);
	case VMFT_DISK_ALLOCATE:
		return fallocate(fd, 0, 0, 1);
	default:
		return fdatasync(fd);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	worker->result = make(worker->call, disk[1]);
	worker->error = errno;
	atomic_store(&worker->done, true);
	return NULL;
}

static void begins(struct worker *worker, enum vmft_disk_call call)
{
	worker->call = call;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&worker->thread, NULL, work, worker), 0);
	while (failures() == 0)
		usleep(1000);
	usleep(SEVERAL_US);
	CU_ASSERT(!atomic_load(&worker->done));
}

static void returns(struct worker *worker, ssize_t result, int error)
{
	(void)pthread_join(worker->thread, NULL);
	CU_ASSERT_EQUAL(worker->result, result);
	if (result < 0)
		CU_ASSERT_EQUAL(worker->error, error);
}

/* --- the tests ---------------------------------------------------------------------- */

/* What QEMU finds out by trying, or makes something else of. */
static void test_no_fault(void)
{
	static const struct {
		enum vmft_disk_call call;
		int error;
	} none[] = {
	    {VMFT_DISK_WRITE, EINTR},	   {VMFT_DISK_READ, EAGAIN},
	    {VMFT_DISK_READ, EINVAL},	   {VMFT_DISK_ALLOCATE, EOPNOTSUPP},
	    {VMFT_DISK_ALLOCATE, ENOTSUP}, {VMFT_DISK_ALLOCATE, EINVAL},
	    {VMFT_DISK_ALLOCATE, ENODEV},  {VMFT_DISK_ALLOCATE, EBUSY},
	    {VMFT_DISK_ALLOCATE, ENOSYS},
	};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		up(none[i].error);
		atomic_store(&vmft_agent.logging, true);
		CU_ASSERT_EQUAL(make(none[i].call, disk[0]), -1);
		CU_ASSERT_EQUAL(errno, none[i].error);
		CU_ASSERT_EQUAL(failures(), 0);
		qemu_down();
	}
}

/* An error of a file that is no image goes to its caller. */
static void test_no_image(void)
{
	int other = memfd_create("other", 0);

	up(ENOSPC);
	atomic_store(&vmft_agent.logging, true);
	for (int call = VMFT_DISK_READ; call <= VMFT_DISK_FLUSH; call++) {
		CU_ASSERT_EQUAL(make((enum vmft_disk_call)call, other), -1);
		CU_ASSERT_EQUAL(errno, ENOSPC);
	}
	CU_ASSERT_EQUAL(failures(), 0);
	close(other);
	qemu_down();
}

/* The guest is alone: QEMU gets the error at once, and the monitor is told which image it was. */
static void test_alone(void)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};

	for (int call = VMFT_DISK_READ; call <= VMFT_DISK_FLUSH; call++) {
		const int error = errors[call - 1];
		uint32_t packed;

		up(error);
		CU_ASSERT_EQUAL(make((enum vmft_disk_call)call, disk[1]), -1);
		CU_ASSERT_EQUAL(errno, error);
		packed = atomic_load(&vmft_agent.iface->disk_error);
		CU_ASSERT_EQUAL(vmft_disk_error_disk(packed), 1);
		CU_ASSERT_EQUAL(vmft_disk_error_call(packed), (unsigned)call);
		CU_ASSERT_EQUAL(vmft_disk_error_errno(packed), error);
		CU_ASSERT_EQUAL(failures(), 1);
		CU_ASSERT_EQUAL(atomic_load(&libc.calls), 1);
		CU_ASSERT(atomic_load(&world.rung) > 0);
		CU_ASSERT_EQUAL(pwritev(disk[0], &iov, 1, 0), -1);
		CU_ASSERT_EQUAL(preadv(disk[0], &iov, 1, 0), -1);
		CU_ASSERT_EQUAL(failures(), 3);
		qemu_down();
	}
}

/* As long as a backup has the log, QEMU hears nothing of it; then what was so from the first. */
static void test_kept(void)
{
	for (int call = VMFT_DISK_READ; call <= VMFT_DISK_FLUSH; call++) {
		struct worker worker = {0};

		up(ENOSPC);
		atomic_store(&vmft_agent.logging, true);
		begins(&worker, (enum vmft_disk_call)call);
		vmft_agent_stop_keeping();
		returns(&worker, -1, ENOSPC);
		CU_ASSERT_EQUAL(atomic_load(&libc.calls), 1);
		CU_ASSERT_EQUAL(failures(), 1);
		qemu_down();
	}
}

/* A guest that is stopped for good can be looked at. */
static void test_fenced(void)
{
	struct worker worker = {0};

	up(EIO);
	atomic_store(&vmft_agent.logging, true);
	begins(&worker, VMFT_DISK_WRITE);
	atomic_store(&vmft_agent.fenced, true);
	returns(&worker, -1, EIO);
	qemu_down();
}

/* No other side has the guest: replay waits until there is room, and counts one failure. */
static void test_replaying(void)
{
	for (int call = VMFT_DISK_READ; call <= VMFT_DISK_ALLOCATE; call++) {
		struct worker worker = {0};

		up_replaying(ENOSPC);
		begins(&worker, (enum vmft_disk_call)call);
		while (atomic_load(&libc.calls) < 2)
			usleep(1000);
		atomic_store(&libc.error, 0);
		returns(&worker, call == VMFT_DISK_ALLOCATE ? 0 : 1, 0);
		CU_ASSERT_EQUAL(failures(), 1);
		qemu_down();
	}
}

/* The kernel would say yes the second time, and what was lost stays lost. */
static void test_replaying_flush(void)
{
	struct worker worker = {0};

	up_replaying(EIO);
	begins(&worker, VMFT_DISK_FLUSH);
	CU_ASSERT_EQUAL(atomic_load(&libc.calls), 1);
	atomic_store(&libc.error, 0);
	atomic_store(&vmft_feed.phase, VMFT_FEED_LEFT);
	returns(&worker, -1, EIO);
	CU_ASSERT_EQUAL(atomic_load(&libc.calls), 1);
	qemu_down();
}

/* Live, it is a guest like any other that is alone. */
static void test_goes_live(void)
{
	struct worker worker = {0};

	up_replaying(ENOSPC);
	begins(&worker, VMFT_DISK_WRITE);
	atomic_store(&vmft_feed.phase, VMFT_FEED_LEFT);
	returns(&worker, -1, ENOSPC);
	qemu_down();
}

static void served_at(uint64_t ms, const char *calls)
{
	qemu.calls[0] = '\0';
	world.now = ms * MS;
	vmft_disk_service();
	CU_ASSERT_STRING_EQUAL(qemu.calls, calls);
}

/* QEMU finds the disk full. */
static void pauses(void)
{
	enum { QEMU_IO_ERROR = 3 };

	vmft_clock_before_wait();
	(void)vmft_qemu.symbols.vm_stop(QEMU_IO_ERROR);
	world.run_state = QEMU_IO_ERROR;
}

static uint64_t guest_clock(void)
{
	uint64_t offset;

	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	return offset + (qemu.ticks ? world.now : 0);
}

/* A guest that QEMU has paused is started once a second, and only if it may run. Its clock has run
 * meanwhile. */
static void test_paused(void)
{
	enum { QEMU_IO_ERROR = 3 };

	up(0);
	atomic_store(&vmft_agent.armed, true);
	qemu.running = true;
	qemu.ticks = true;
	memset(world.timers_state, 0, sizeof(world.timers_state));
	world.run_state = QEMU_RUNNING;
	served_at(1000, "");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->disk_paused), 0);
	pauses();
	served_at(2000, "");
	CU_ASSERT_EQUAL(guest_clock(), 1000 * MS);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->disk_paused), 1);
	served_at(2999, "");
	served_at(3000, "vm-start ");
	CU_ASSERT_EQUAL(guest_clock(), 3000 * MS);
	pauses(); /* still no room */
	served_at(3999, "");
	CU_ASSERT_EQUAL(guest_clock(), 3000 * MS);
	served_at(4000, "vm-start ");
	CU_ASSERT_EQUAL(guest_clock(), 4000 * MS);
	served_at(4001, "");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->disk_paused), 0);
	world.run_state = QEMU_IO_ERROR;
	atomic_store(&vmft_agent.fenced, true);
	served_at(9000, "");
	served_at(19000, "");
	atomic_store(&vmft_agent.fenced, false);
	atomic_store(&vmft_agent.open, false);
	served_at(29000, "");
	served_at(39000, "");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->disk_paused), 1);
	qemu_down();
}

int vmft_suite_disk(void)
{
	static CU_TestInfo tests[] = {
	    {"no fault", test_no_fault},
	    {"no image", test_no_image},
	    {"alone", test_alone},
	    {"the log is kept", test_kept},
	    {"fenced", test_fenced},
	    {"replaying", test_replaying},
	    {"replaying, a flush", test_replaying_flush},
	    {"going live", test_goes_live},
	    {"paused", test_paused},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"disks that fail", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
