/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's cards: as descriptors, by the ids of their netdevs and by what a device says; what
 * they show, and what is announced on them. */
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

#include "agent_world.h"
#include "monitor/agent/announce.h"
#include "monitor/agent/nic.h"
#include "monitor/common/exchange.h"
#include "monitor/wrapper/tap-probe.h"
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
	vmft_qemu.symbols.qemu_find_netdev = find_netdev;
	vmft_qemu.symbols.tap_get_fd = tap_get_fd;
	memset(&vmft_nics, 0, sizeof(vmft_nics));
	vmft_nics.count = 2;
	vmft_nics.nic[0].id[0] = 'a';
	vmft_nics.nic[1].id[0] = 'b';
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
	header = atomic_load(&vmft_nics.nic[0].header);
	return header;
}

static void test_header(void)
{
	CU_ASSERT_EQUAL(header_found(), 12);
	vmft_nic_header_is(taps.fd[2], 10);
	vmft_nic_header_is(taps.fd[1], 1000);
	vmft_nic_header_is(taps.fd[0], 20);
	CU_ASSERT_EQUAL(atomic_load(&vmft_nics.nic[0].header), 10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_nics.nic[1].header), 12);
	taps.flags = IFF_TAP | IFF_NO_PI;
	atomic_store(&vmft_nics.found, false);
	vmft_nic_find_all();
	CU_ASSERT_EQUAL(atomic_load(&vmft_nics.nic[0].header), 0);
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

/* --- what they show ---------------------------------------------------------- */

#define HEADER 10u
#define MS     UINT64_C(1000000)

static struct vmft_presence read_back;

/* One card, whose frames have a header before them and come out of world.tap[0]. */
static void card_up(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};

	world_up(4096, NULL, 0);
	vmft_libc_look_up(); /* what is announced is read back, not counted */
	atomic_store(&vmft_agent.open, true);
	vmft_nics.nic[0].fd = world.tap[1];
	vmft_nics.nic[0].header = HEADER;
	memcpy(vmft_nics.nic[0].mac, mac, sizeof(mac));
	vmft_announce_begin();
}

/* A broadcast from this address, as QEMU hands it over: in pieces that do not fit the parts. */
static void guest_sends_from(uint8_t last)
{
	uint8_t packet[HEADER + 60] = {0};
	const struct iovec iov[] = {
	    {.iov_base = packet, .iov_len = 4},
	    {.iov_base = packet + 4, .iov_len = HEADER + 3},
	    {.iov_base = packet + HEADER + 7, .iov_len = 53},
	};

	memset(packet, 0xee, HEADER);
	memset(packet + HEADER, 0xff, 6);
	packet[HEADER + 6] = 2;
	packet[HEADER + 11] = last;
	packet[HEADER + 12] = 8;
	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[1], iov, 3), (ssize_t)sizeof(packet));
}

/* What the monitor sees; returns the version. */
static uint32_t published(void)
{
	static uint8_t bytes[VMFT_EXCHANGE_MAX];
	uint32_t version = 0;
	const ssize_t n = vmft_exchange_read(vmft_exchange_shown(vmft_agent.area), bytes, &version);

	CU_ASSERT_FATAL(n > 0);
	CU_ASSERT_EQUAL_FATAL(vmft_presence_decode(bytes, (size_t)n, &read_back), 0);
	return version;
}

static bool comes_in_from(uint8_t last)
{
	uint8_t packet[HEADER + 60] = {0};
	const uint32_t before = published();

	memset(packet + HEADER, 0xff, 6);
	packet[HEADER + 6] = 2;
	packet[HEADER + 11] = last;
	packet[HEADER + 12] = 8;
	vmft_announce_got(world.tap[1], packet, sizeof(packet));
	return published() != before;
}

static void test_learns(void)
{
	card_up();
	CU_ASSERT_EQUAL(published(), 1);
	CU_ASSERT(read_back.addresses == 1 && read_back.address[0].own);
	guest_sends_from(1);
	CU_ASSERT_EQUAL(published(), 1);
	guest_sends_from(7);
	CU_ASSERT_EQUAL(published(), 2);
	CU_ASSERT_EQUAL(read_back.addresses, 2);
	CU_ASSERT_EQUAL(read_back.address[1].mac[5], 7);
	CU_ASSERT(!comes_in_from(7)); /* an echo */
	world.now += 2000 * MS;
	CU_ASSERT(!comes_in_from(9));
	CU_ASSERT(!comes_in_from(1));
	CU_ASSERT(comes_in_from(7));
	CU_ASSERT_EQUAL(read_back.addresses, 1);
	world_down();
}

/* A guest that shows something new with each frame: told at a bounded rate, but told. */
static void test_flood(void)
{
	uint32_t version;

	card_up();
	for (unsigned i = 0; i < 200; i++)
		guest_sends_from((uint8_t)(i + 10));
	version = published();
	CU_ASSERT(version > 1 && version < 50);
	vmft_announce_service();
	CU_ASSERT_EQUAL(published(), version + 1);
	CU_ASSERT_EQUAL(read_back.addresses, 201);
	world_down();
}

/* Source addresses of what came out of the tap, by their last bytes. */
static unsigned announced(uint8_t *last)
{
	uint8_t packet[HEADER + 60];
	unsigned n = 0;

	while (read(world.tap[0], packet, sizeof(packet)) == (ssize_t)sizeof(packet)) {
		CU_ASSERT(packet[0] == 0 && packet[HEADER + 12] == 0x80);
		last[n++] = packet[HEADER + 11];
	}
	return n;
}

static void test_announces(void)
{
	static uint8_t bytes[VMFT_EXCHANGE_MAX];
	uint8_t last[64];
	unsigned rounds = 0;

	/* What the primary's agent has noted, and its monitor told this one. */
	card_up();
	guest_sends_from(7);
	(void)published();
	world_down();
	card_up();
	vmft_exchange_write(vmft_exchange_told(vmft_agent.area), bytes,
			    vmft_presence_encode(&read_back, bytes));
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 0); /* not live */
	vmft_announce_live();
	CU_ASSERT_EQUAL(announced(last), 2);
	CU_ASSERT(last[0] == 1 && last[1] == 7);
	(void)published();
	CU_ASSERT_EQUAL(read_back.addresses, 2);
	atomic_store(&vmft_agent.iface->live_at_ns, world.now);
	atomic_store(&vmft_agent.open, true);
	for (unsigned ms = 0; ms < 300000; ms += 20, world.now += 20 * MS) {
		vmft_announce_service();
		rounds += announced(last) == 2;
	}
	CU_ASSERT(rounds > 10 && rounds < 50);
	/* A link comes up. */
	atomic_fetch_add(&vmft_agent.iface->announce_again, 1);
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 2);
	world.now += 60 * MS;
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 2);
	/* In a pair this host announces only while its lease runs, because its backup may be live.
	 */
	atomic_store(&vmft_agent.open, false);
	atomic_store(&vmft_agent.iface->release_until, world.now);
	atomic_fetch_add(&vmft_agent.iface->announce_again, 1);
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 0);
	atomic_store(&vmft_agent.iface->release_until, world.now + 1);
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 2);
	atomic_store(&vmft_agent.open, true);
	/* A side that is stopped for good says nothing more. */
	atomic_store(&vmft_agent.fenced, true);
	world.now += 1000 * MS;
	vmft_announce_service();
	CU_ASSERT_EQUAL(announced(last), 0);
	world_down();
}

/* The monitor's memory is not trusted: nothing of what makes no sense is announced. */
static void test_told_nonsense(void)
{
	uint8_t last[64];

	card_up();
	vmft_exchange_write(vmft_exchange_told(vmft_agent.area),
			    (const uint8_t *)"\xff\xff\xff\xff garbage", 12);
	vmft_announce_live();
	CU_ASSERT_EQUAL(announced(last), 1);
	CU_ASSERT_EQUAL(last[0], 1);
	world_down();
}

int vmft_suite_nic(void)
{
	CU_TestInfo tests[] = {
	    {"found by the netdev's id", test_found_by_id},
	    {"recognised by what it says", test_recognised},
	    {"the header before a frame", test_header},
	    {"a descriptor that is no tap", test_fault},
	    {"what the guest sends is noted", test_learns},
	    {"it shows ever new things", test_flood},
	    {"announced, and again", test_announces},
	    {"the monitor tells nonsense", test_told_nonsense},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"the guest's cards", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
