/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial consoles that nobody reads: what QEMU is told, what is kept, what is counted. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_world.h"
#include "monitor/agent/console.h"
#include "monitor/daemon/guest/console.h"
#include "suites.h"

#define KEPT	   65536u
#define PIPE_BYTES 4096
#define PIECE	   256u
#define SECOND	   UINT64_C(1000000000)

static ssize_t console_write(int fd, const char *bytes, size_t n)
{
	const struct iovec iov = {.iov_base = (void *)bytes, .iov_len = n};
	struct vmft_console *console = vmft_console_of(fd);

	CU_ASSERT_PTR_NOT_NULL_FATAL(console);
	return vmft_console_writev(console, &iov, 1);
}

static uint64_t dropped(void)
{
	return atomic_load(&vmft_agent.iface->console_dropped);
}

static void wait_dropped(uint64_t at_least)
{
	for (unsigned i = 0; i < 5000 && dropped() < at_least; i++)
		(void)usleep(1000);
	CU_ASSERT_FATAL(dropped() >= at_least);
}

static void begin(void)
{
	world_up(VMFT_RAM_BLOCK_BYTES, NULL, 0);
}

/* The consoles' threads outlive a test, so each leaves them nothing to do. */
static void end(void)
{
	vmft_console_flush();
	world_down();
}

/* Reads n bytes, each as it was numbered by when it was written, in pieces of PIECE. */
static void read_all(int reader, size_t n)
{
	uint8_t found[PIECE];
	size_t done = 0;

	for (unsigned tries = 0; tries < 5000 && done < n;) {
		const ssize_t got = read(reader, found, sizeof(found));

		if (got < 0) {
			(void)usleep(1000);
			tries++;
			continue;
		}
		for (ssize_t i = 0; i < got; i++, done++)
			if (done < KEPT && found[i] != done / PIECE % 251)
				CU_FAIL_FATAL("another byte");
	}
	CU_ASSERT_EQUAL(done, n);
}

static void write_numbered(int fd, size_t n)
{
	char piece[PIECE];

	for (size_t at = 0; at < n; at += PIECE) {
		memset(piece, (int)(at / PIECE % 251), PIECE);
		CU_ASSERT_EQUAL(console_write(fd, piece, PIECE), PIECE);
	}
}

/* A console in a FIFO of a few pages, and its reader's end. */
static int open_pipe(char path[static 32], int *ret_reader)
{
	char name[64];
	int fd;

	(void)strcpy(path, "/tmp/vmft-console-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	(void)snprintf(name, sizeof(name), VMFT_CONSOLE_NAME "%s/p", path);
	CU_ASSERT_EQUAL_FATAL(mkfifo(name + strlen(VMFT_CONSOLE_NAME), 0600), 0);
	*ret_reader = open(name + strlen(VMFT_CONSOLE_NAME), O_RDWR | O_NONBLOCK);
	CU_ASSERT_FATAL(*ret_reader >= 0);
	CU_ASSERT_EQUAL_FATAL(fcntl(*ret_reader, F_SETPIPE_SZ, PIPE_BYTES), PIPE_BYTES);
	CU_ASSERT_TRUE_FATAL(vmft_console_is_name(name));
	fd = vmft_console_open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

static void remove_pipe(char path[static 32], int fd, int reader)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s/p", path);
	(void)unlink(name);
	(void)rmdir(path);
	(void)close(fd);
	(void)close(reader);
}

/* Each write is taken whole, whatever becomes of it; what was kept comes out in order. */
static void test_reader_stands_still(void)
{
	char path[32];
	int reader, fd;

	begin();
	fd = open_pipe(path, &reader);
	write_numbered(fd, 4 * KEPT);
	CU_ASSERT_FATAL(dropped() >= 3 * KEPT - 2 * PIPE_BYTES && dropped() <= 3 * KEPT);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->console_error), 0);
	read_all(reader, 4 * KEPT - dropped());
	remove_pipe(path, fd, reader);
	end();
}

static void test_flush(void)
{
	char path[32];
	int reader, fd, own;

	begin();
	fd = open_pipe(path, &reader);
	write_numbered(fd, PIECE);
	own = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	(void)close(fd); /* as QEMU does before it ends */
	vmft_console_flush();
	read_all(reader, PIECE);
	/* Nobody reads: not for ever. */
	CU_ASSERT_EQUAL(dup2(own, fd), fd);
	(void)close(own);
	write_numbered(fd, 4 * PIPE_BYTES);
	vmft_console_flush();
	read_all(reader, 4 * PIPE_BYTES);
	remove_pipe(path, fd, reader);
	end();
}

static void test_full_disk(void)
{
	int fd;

	begin();
	fd = vmft_console_open(VMFT_CONSOLE_NAME "/dev/full", O_WRONLY, 0);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(console_write(fd, "0123456789", 10), 10);
	wait_dropped(10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->console_error), ENOSPC);
	(void)close(fd);
	end();
}

/* The last who had it open closes it: EIO until somebody opens it again. */
static void test_pty_closed(void)
{
	int master, slave;

	begin();
	CU_ASSERT_EQUAL_FATAL(openpty(&master, &slave, NULL, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_console_add_pty(master), 0);
	(void)close(slave);
	CU_ASSERT_EQUAL(console_write(master, "0123456789", 10), 10);
	wait_dropped(10);
	(void)close(master);
	end();
}

static void test_descriptors(void)
{
	char name[32];
	int fd, mine = open("/dev/null", O_WRONLY);

	begin();
	(void)snprintf(name, sizeof(name), VMFT_CONSOLE_FD_NAME "%d", mine);
	fd = vmft_console_open(name, O_WRONLY, 0);
	CU_ASSERT(fd >= 0 && fd != mine);
	CU_ASSERT_PTR_NOT_NULL(vmft_console_of(fd));
	CU_ASSERT_PTR_NULL(vmft_console_of(mine));
	CU_ASSERT_PTR_NULL(vmft_console_stdio(mine));
	(void)close(fd);
	(void)close(mine);
	CU_ASSERT_EQUAL(vmft_console_open(VMFT_CONSOLE_FD_NAME "1000000", O_WRONLY, 0), -1);
	CU_ASSERT_EQUAL(vmft_console_open(VMFT_CONSOLE_NAME "/nonexistent/x", O_WRONLY, 0), -1);
	CU_ASSERT_EQUAL(errno, ENOENT);
	CU_ASSERT_FALSE(vmft_console_is_name("/vmft:console:"));
	/* Of any number, and the last is refused. */
	while (atomic_load(&vmft_consoles.count) < VMFT_AGENT_CONSOLES)
		CU_ASSERT_FATAL(vmft_console_open(VMFT_CONSOLE_NAME "/dev/null", O_WRONLY, 0) >= 0);
	CU_ASSERT_EQUAL(vmft_console_open(VMFT_CONSOLE_NAME "/dev/null", O_WRONLY, 0), -1);
	CU_ASSERT_EQUAL(errno, EMFILE);
	end();
}

/* One line when it begins, and none while it goes on. */
static void test_said_once(void)
{
	struct vmft_console_watch watch = {0};

	CU_ASSERT_FALSE(vmft_console_begins(&watch, 0, SECOND));
	CU_ASSERT_TRUE(vmft_console_begins(&watch, 5, 2 * SECOND));
	CU_ASSERT_FALSE(vmft_console_begins(&watch, 5, 3 * SECOND));
	CU_ASSERT_FALSE(vmft_console_begins(&watch, 6, 50 * SECOND));
	CU_ASSERT_FALSE(vmft_console_begins(&watch, 7, 100 * SECOND));
	CU_ASSERT_FALSE(vmft_console_begins(&watch, 7, 500 * SECOND));
	CU_ASSERT_TRUE(vmft_console_begins(&watch, 8, 501 * SECOND));
}

int vmft_suite_console(void)
{
	CU_pSuite suite = CU_add_suite("console", NULL, NULL);

	if (!suite || !CU_add_test(suite, "a reader stands still", test_reader_stands_still) ||
	    !CU_add_test(suite, "flush", test_flush) ||
	    !CU_add_test(suite, "a full disk", test_full_disk) ||
	    !CU_add_test(suite, "a pty is closed", test_pty_closed) ||
	    !CU_add_test(suite, "descriptors", test_descriptors) ||
	    !CU_add_test(suite, "said once", test_said_once))
		return -1;
	return 0;
}
