/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's cards as descriptors: by the ids of their netdevs, and by what a device says. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../../monitor/wrapper/tap-fd.h"
#include "agent_world.h"
#include "suites.h"

#define TAPS 3

/* Character devices that say they are taps. */
static struct {
	int fd[TAPS];
	unsigned made; /* QEMU has made so many netdevs */
	short flags;
	int header;
} taps;

static int fake_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *argument;

	va_start(ap, request);
	argument = va_arg(ap, void *);
	va_end(ap);
	for (unsigned i = 0; i < TAPS; i++) {
		if (taps.fd[i] != fd)
			continue;
		if (request == TUNGETIFF)
			((struct ifreq *)argument)->ifr_flags = taps.flags;
		else
			*(int *)argument = taps.header;
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

/* "a" is the netdev with the highest descriptor. */
static void *find_netdev(const char *id)
{
	const unsigned i = (unsigned)(id[0] - 'a');

	return i < taps.made ? &taps.fd[TAPS - 1 - i] : NULL;
}

static int tap_get_fd(void *netdev)
{
	return *(int *)netdev;
}

static void setup(void)
{
	world_up(4096, NULL, 0);
	vmft_libc()->ioctl = fake_ioctl;
	vmft_agent.qemu.find_netdev = find_netdev;
	vmft_agent.qemu.tap_get_fd = tap_get_fd;
	memset(&vmft_agent.nics, 0, sizeof(vmft_agent.nics));
	vmft_agent.nics.count = 2;
	vmft_agent.nics.nic[0].id[0] = 'a';
	vmft_agent.nics.nic[1].id[0] = 'b';
	memset(&taps, 0, sizeof(taps));
	for (unsigned i = 0; i < TAPS; i++)
		taps.fd[i] = open("/dev/null", O_RDWR);
	taps.flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	taps.header = 12;
}

static void teardown(void)
{
	for (unsigned i = 0; i < TAPS; i++)
		close(taps.fd[i]);
	world_down();
}

/* Whatever order they were opened in, also before all of them are made. */
static void test_found_by_id(void)
{
	setup();
	taps.made = 1;
	vmft_nic_find_all();
	CU_ASSERT_EQUAL(vmft_nic_fd(0), -1);
	CU_ASSERT_EQUAL(vmft_nic_of(taps.fd[2]), -1);
	taps.made = 2;
	vmft_nic_find_all();
	CU_ASSERT_EQUAL(vmft_nic_fd(0), taps.fd[2]);
	CU_ASSERT_EQUAL(vmft_nic_fd(1), taps.fd[1]);
	CU_ASSERT_EQUAL(vmft_nic_fd(2), -1);
	CU_ASSERT_EQUAL(vmft_nic_of(taps.fd[2]), 0);
	CU_ASSERT_EQUAL(vmft_nic_of(taps.fd[1]), 1);
	CU_ASSERT_EQUAL(vmft_nic_of(taps.fd[0]), -1);
	CU_ASSERT_EQUAL(vmft_nic_of(0), -1);
	CU_ASSERT_EQUAL(vmft_nic_of(-1), -1);
	teardown();
}

/* Also one that is no card known here is held back; what is no character device never is. */
static void test_recognised(void)
{
	int other = open("/dev/zero", O_RDONLY);

	setup();
	CU_ASSERT(vmft_nic_is_tap(taps.fd[0]));
	taps.made = 2;
	vmft_nic_find_all();
	CU_ASSERT(vmft_nic_is_tap(taps.fd[2]));
	CU_ASSERT(vmft_nic_is_tap(taps.fd[0]));
	CU_ASSERT(!vmft_nic_is_tap(other));
	CU_ASSERT(!vmft_nic_is_tap(world.tap[1]));
	CU_ASSERT(!vmft_nic_is_tap(-1));
	/* The card is gone, its number is a pipe's now. */
	CU_ASSERT_EQUAL(dup2(world.tap[1], taps.fd[2]), taps.fd[2]);
	CU_ASSERT(!vmft_nic_is_tap(taps.fd[2]));
	teardown();
	close(other);
}

static uint32_t header_found(void)
{
	uint32_t header;

	setup();
	taps.made = 2;
	vmft_nic_find_all();
	header = atomic_load(&vmft_agent.nics.nic[0].header);
	return header;
}

static void test_header(void)
{
	CU_ASSERT_EQUAL(header_found(), 12);
	vmft_nic_header_is(taps.fd[2], 10);
	vmft_nic_header_is(taps.fd[1], 1000);
	vmft_nic_header_is(taps.fd[0], 20);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.nics.nic[0].header), 10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.nics.nic[1].header), 12);
	taps.flags = IFF_TAP | IFF_NO_PI;
	atomic_store(&vmft_agent.nics.found, false);
	vmft_nic_find_all();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.nics.nic[0].header), 0);
	teardown();
}

/* The wrapper's own question; a real tap needs rights that unit tests may not have. */
static void test_fault(void)
{
	int pipe_fds[2], null = open("/dev/null", O_RDWR), tun = open("/dev/net/tun", O_RDWR);

	CU_ASSERT_EQUAL_FATAL(pipe(pipe_fds), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(vmft_tap_fault(pipe_fds[0]), "no tap"));
	CU_ASSERT_PTR_NOT_NULL(strstr(vmft_tap_fault(null), "no tap"));
	CU_ASSERT_PTR_NOT_NULL(strstr(vmft_tap_fault(1000000), "no such descriptor"));
	if (tun >= 0) {
		CU_ASSERT_PTR_NOT_NULL(strstr(vmft_tap_fault(tun), "no interface"));
		close(tun);
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(null);
}

int vmft_suite_nic(void)
{
	CU_TestInfo tests[] = {
	    {"found by the netdev's id", test_found_by_id},
	    {"recognised by what it says", test_recognised},
	    {"the header before a frame", test_header},
	    {"a descriptor that is no tap", test_fault},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"the guest's cards", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
