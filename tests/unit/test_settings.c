/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The settings in the shared memory: written by vmft-qemu, read by agent and monitor. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent_world.h"
#include "monitor/agent/agent.h"
#include "monitor/agent/gate.h"
#include "monitor/agent/nic.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/agent/settings.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/track.h"
#include "monitor/common/iface-setup.h"
#include "monitor/common/settings.h"
#include "monitor/common/strategy-kind.h"
#include "monitor/daemon/settings.h"
#include "monitor/wrapper/launch.h"
#include "suites.h"

#define RING_BYTES (1u << 20)

static struct vmft_settings settings;
static struct vmft_error err;

static void reset(void)
{
	settings = (struct vmft_settings){
	    .area_fd = 4,
	    .ram_fd = 5,
	    .bell_monitor_fd = 6,
	    .bell_agent_fd = 7,
	    .strategy = VMFT_STRATEGY_CHECKPOINT,
	    .disk_count = 2,
	    .nic_count = 1,
	    .lifeline_agent_fd = 8,
	    .gate_bytes = 1u << 20,
	    .qemu_version = "7.2.22",
	    .lifeline_monitor_fd = 9,
	    .words_fd = 10,
	    .guest_pid = 4711,
	    .role = VMFT_ROLE_BACKUP,
	    .host = VMFT_HOST_THIRD,
	    .log_version = 0xe0200c,
	    .build_id = "0123456789abcdef",
	    .machine_digest = "00ff",
	    .disk_digest = "",
	    .strategy_reason = "a test asked for it",
	    .disk =
		{
		    {1u << 30, 0x801, 12, 77, VMFT_IMAGE_RAW, 0, "/srv/a: b,c.img"},
		    {UINT64_MAX, 0x802, 0, 78, VMFT_IMAGE_QCOW2, 1, "b.qcow2"},
		},
	    .nic = {{.id = "n0",
		     .ifname = "abcdefghijklmno",
		     .mac = {0x52, 0x54, 0, 1, 2, 3},
		     .vnet_hdr = 1,
		     .header = 20,
		     .offloads = VMFT_TAP_UNKNOWN,
		     .mtu = 1500}},
	};
	memset(&err, 0, sizeof(err));
	memcpy(settings.place, world_places_7_2, sizeof(world_places_7_2));
}

/* --- what both rely on ------------------------------------------------------- */

static void is_refused(const char *field)
{
	CU_ASSERT_EQUAL(vmft_settings_check(&settings, &err), -EPROTO);
	if (!strstr(err.text, field))
		CU_FAIL(field);
	reset();
}

static void test_numbers(void)
{
	reset();
	CU_ASSERT_EQUAL(vmft_settings_check(&settings, &err), 0);
	settings.area_fd = 2;
	is_refused("area_fd");
	settings.ram_fd = -1;
	is_refused("ram_fd");
	settings.bell_monitor_fd = 0;
	is_refused("bell_monitor_fd");
	settings.bell_agent_fd = INT32_MIN;
	is_refused("bell_agent_fd");
	settings.lifeline_agent_fd = 1;
	is_refused("lifeline_agent_fd");
	settings.lifeline_monitor_fd = 1;
	is_refused("lifeline_monitor_fd");
	settings.words_fd = 0;
	is_refused("words_fd");
	settings.guest_pid = 0;
	is_refused("guest_pid");
	settings.strategy = VMFT_STRATEGY_AUTO;
	is_refused("strategy");
	settings.strategy = VMFT_STRATEGY_COUNT;
	is_refused("strategy");
	settings.disk_count = VMFT_AREA_DISKS_MAX + 1;
	is_refused("disk_count");
	settings.nic_count = UINT32_MAX;
	is_refused("nic_count");
	settings.gate_bytes = 0;
	is_refused("gate_bytes");
	settings.log_version = 0;
	is_refused("log_version");
	settings.disk[1].format = 0;
	is_refused("disk.format");
	settings.disk[0].read_only = 2;
	is_refused("disk.read_only");
	/* Beyond the count nobody looks. */
	settings.disk[2].format = 99;
	CU_ASSERT_EQUAL(vmft_settings_check(&settings, &err), 0);
}

#define FILL(field) memset(field, 'x', sizeof(field))

/* A text that does not end in its field would be read beyond it. */
static void test_texts(void)
{
	reset();
	FILL(settings.qemu_version);
	is_refused("qemu_version");
	settings.qemu_version[0] = '\0';
	is_refused("qemu_version");
	FILL(settings.build_id);
	is_refused("build_id");
	FILL(settings.machine_digest);
	is_refused("machine_digest");
	FILL(settings.disk_digest);
	is_refused("disk_digest");
	FILL(settings.strategy_reason);
	is_refused("strategy_reason");
	FILL(settings.replay);
	is_refused("replay");
	FILL(settings.disk[1].path);
	is_refused("disk.path");
	settings.disk[0].path[0] = '\0';
	is_refused("disk.path");
	FILL(settings.nic[0].id);
	is_refused("nic.id");
	FILL(settings.nic[0].ifname);
	is_refused("nic.ifname");
}

static void test_put(void)
{
	char field[4] = "old";

	CU_ASSERT_EQUAL(vmft_settings_put(field, sizeof(field), "four", "the name", &err), -E2BIG);
	CU_ASSERT_STRING_EQUAL(field, "old");
	CU_ASSERT_STRING_EQUAL(err.text, "the name four is longer than 3 bytes; shorten it");
	CU_ASSERT_EQUAL(vmft_settings_put(field, sizeof(field), "new", "the name", &err), 0);
	CU_ASSERT_STRING_EQUAL(field, "new");
}

static void test_memory(void)
{
	static struct vmft_settings got;
	int fd = vmft_iface_create(RING_BYTES, &err);
	struct vmft_iface *iface;
	struct vmft_ring ring;

	reset();
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(vmft_iface_map(fd, &iface, &ring, &err), 0);
	/* Nobody has written them yet. */
	CU_ASSERT_EQUAL(vmft_settings_read(iface, &got, &err), -EPROTO);
	settings.guest_pid = -1;
	CU_ASSERT_EQUAL(vmft_settings_write(fd, &settings, &err), -EPROTO);
	reset();
	CU_ASSERT_EQUAL(vmft_settings_write(fd, &settings, &err), 0);
	CU_ASSERT_EQUAL(vmft_settings_read(iface, &got, &err), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &settings, sizeof(got)), 0);
	/* The ring begins after them. */
	CU_ASSERT(ring.data >= (uint8_t *)iface + VMFT_IFACE_SETTINGS + sizeof(got));
	munmap(iface, VMFT_IFACE_HEADER + RING_BYTES);
	close(fd);
}

/* --- the writer's ------------------------------------------------------------ */

static struct vmft_disk disks[VMFT_AREA_DISKS_MAX + 1];
static struct vmft_cmdline_nic nics[1];
static struct vmft_image_facts images[VMFT_AREA_DISKS_MAX + 1];
static struct vmft_tap_probe taps[1];
static struct vmft_cmdline cmdline;

static int launch(void)
{
	static const struct vmft_qemu_series series = {.log_version = 0xe0200c,
						       .tap_offloads = 0x7f,
						       .offloads_new = 0x60,
						       .offloads_new_from = 802};
	struct vmft_qemu_binary qemu = {.version = "7.2.22", .build_id = "ab", .series = &series};
	static const struct vmft_pair_config config = {.gate_bytes = 65536};
	const struct vmft_launch launched = {
	    .role = VMFT_ROLE_BACKUP,
	    .host = VMFT_HOST_FIRST,
	    .config = &config,
	    .qemu = &qemu,
	    .cmdline = &cmdline,
	    .machine_digest = "cd",
	    .disk_digest = "ef",
	    .images = images,
	    .taps = taps,
	    .replay = "/log",
	};

	memcpy(qemu.place, world_places_7_2, sizeof(qemu.place));
	memset(&settings, 0, sizeof(settings));
	return vmft_launch_settings(&launched, &settings, &err);
}

static void test_launch(void)
{
	cmdline = (struct vmft_cmdline){.strategy = VMFT_STRATEGY_LOCKSTEP,
					.strategy_reason = "why",
					.disks = disks,
					.disk_count = 2,
					.nics = nics,
					.nic_count = 1};
	disks[0] = (struct vmft_disk){.path = "/a", .format = VMFT_IMAGE_RAW, .read_only = true};
	disks[1] = (struct vmft_disk){.path = "/b", .format = VMFT_IMAGE_QCOW2};
	images[1] =
	    (struct vmft_image_facts){.guest_bytes = 512, .device = 8, .inode = 9, .sum = 10};
	nics[0] = (struct vmft_cmdline_nic){.netdev = "n0", .mac = "52:54:00:0a:0b:ff"};
	taps[0] = (struct vmft_tap_probe){.facts = {.header = 12, .offloads = 0x73, .mtu = 9000},
					  .ifname = "tap0"};
	CU_ASSERT_EQUAL(launch(), 0);
	CU_ASSERT_EQUAL(settings.role, VMFT_ROLE_BACKUP);
	CU_ASSERT_EQUAL(settings.host, VMFT_HOST_FIRST);
	CU_ASSERT_EQUAL(settings.guest_pid, getpid());
	CU_ASSERT_EQUAL(settings.log_version, 0xe0200c);
	CU_ASSERT_EQUAL(settings.gate_bytes, 65536);
	CU_ASSERT_STRING_EQUAL(settings.qemu_version, "7.2.22");
	CU_ASSERT_STRING_EQUAL(settings.replay, "/log");
	CU_ASSERT_EQUAL(settings.disk_count, 2);
	CU_ASSERT_EQUAL(settings.disk[0].read_only, 1);
	CU_ASSERT_EQUAL(settings.disk[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_EQUAL(settings.disk[1].sum, 10);
	CU_ASSERT_STRING_EQUAL(settings.disk[1].path, "/b");
	CU_ASSERT_EQUAL(settings.nic[0].mac[5], 0xff);
	CU_ASSERT_EQUAL(settings.nic[0].mtu, 9000);
	CU_ASSERT_STRING_EQUAL(settings.nic[0].ifname, "tap0");
	CU_ASSERT_EQUAL(settings.nic[0].offloads, 0x73);
	CU_ASSERT_EQUAL(settings.versioned_machine, 0);
	/* This kernel's taps can do more than the machine asks for. */
	cmdline.machine_version = 801;
	CU_ASSERT_EQUAL(launch(), 0);
	CU_ASSERT_EQUAL(settings.nic[0].offloads, 0x13);
	CU_ASSERT_EQUAL(settings.versioned_machine, 1);
	cmdline.machine_version = 802;
	CU_ASSERT_EQUAL(launch(), 0);
	CU_ASSERT_EQUAL(settings.nic[0].offloads, 0x73);
	taps[0].facts.offloads = VMFT_TAP_UNKNOWN;
	CU_ASSERT_EQUAL(launch(), 0);
	CU_ASSERT_EQUAL(settings.nic[0].offloads, VMFT_TAP_UNKNOWN);
	CU_ASSERT_EQUAL(memcmp(settings.place, world_places_7_2, sizeof(world_places_7_2)), 0);
}

/* What has no room is refused and named, never cut off. */
static void test_launch_refuses(void)
{
	char longer[VMFT_NIC_ID_MAX + 2], path[VMFT_SETTINGS_PATH_MAX + 1];

	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	nics[0].netdev = longer;
	CU_ASSERT_EQUAL(launch(), -E2BIG);
	CU_ASSERT(strstr(err.text, "the netdev's id nnn") != NULL);
	longer[sizeof(longer) - 2] = '\0';
	CU_ASSERT_EQUAL(launch(), 0);
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	disks[1].path = path;
	CU_ASSERT_EQUAL(launch(), -E2BIG);
	disks[1].path = "/b";
	cmdline.disk_count = VMFT_AREA_DISKS_MAX + 1;
	CU_ASSERT_EQUAL(launch(), -E2BIG);
	nics[0].netdev = "n0";
}

/* --- the agent's ------------------------------------------------------------- */

static void forget_agent(void)
{
	memset(&vmft_agent, 0, sizeof(vmft_agent));
	memset(&vmft_gate, 0, sizeof(vmft_gate));
	memset(&vmft_nics, 0, sizeof(vmft_nics));
	memset(&vmft_track, 0, sizeof(vmft_track));
}

static void test_agent(void)
{
	static const char *const bad[] = {"", "x", "3x", "-1", "99999999999"};

	reset();
	forget_agent();
	CU_ASSERT_EQUAL(vmft_agent_settings_take(&settings, &err), 0);
	CU_ASSERT_PTR_EQUAL(vmft_agent.strategy, &vmft_agent_checkpoint);
	CU_ASSERT_EQUAL(vmft_agent.ram_fd, 5);
	CU_ASSERT_EQUAL(vmft_agent.bell_monitor, 6);
	CU_ASSERT_EQUAL(vmft_agent.bell_agent, 7);
	CU_ASSERT_EQUAL(vmft_agent.lifeline, 8);
	CU_ASSERT_EQUAL(vmft_gate.limit, 1u << 20);
	CU_ASSERT_EQUAL(vmft_qemu_log_format()->version, 0xe0200c);
	CU_ASSERT_EQUAL(vmft_track.disk_count, 2);
	CU_ASSERT_EQUAL(vmft_track.disk[0].device, 0x801);
	CU_ASSERT_EQUAL(vmft_track.disk[0].inode, 12);
	CU_ASSERT(vmft_agent.flush); /* one of them is qcow2 */
	CU_ASSERT_EQUAL(vmft_nics.count, 1);
	CU_ASSERT_STRING_EQUAL(vmft_nics.nic[0].id, "n0");
	CU_ASSERT_EQUAL(memcmp(vmft_nics.nic[0].mac, settings.nic[0].mac, 6), 0);
	settings.disk_count = 1;
	settings.strategy = VMFT_STRATEGY_LOCKSTEP;
	CU_ASSERT_EQUAL(vmft_agent_settings_take(&settings, &err), 0);
	CU_ASSERT(!vmft_agent.flush);
	CU_ASSERT_PTR_EQUAL(vmft_agent.strategy, &vmft_agent_lockstep);
	strcpy(settings.qemu_version, "6.1.0");
	CU_ASSERT_EQUAL(vmft_agent_settings_take(&settings, &err), -EPROTO);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(vmft_agent_settings_load(bad[i], &err), -EINVAL);
	forget_agent();
}

/* --- the monitor's ----------------------------------------------------------- */

static struct vmft_monitor_options options;

static int take(void)
{
	memset(&options, 0, sizeof(options));
	return vmft_monitor_settings_take(&settings, &options, &err);
}

static void test_monitor(void)
{
	const struct vmft_hello *id = &options.identity;

	reset();
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_EQUAL(options.role, VMFT_ROLE_BACKUP);
	CU_ASSERT_EQUAL(options.host, VMFT_HOST_THIRD);
	CU_ASSERT_PTR_EQUAL(options.strategy, &vmft_strategy_checkpoint);
	CU_ASSERT_STRING_EQUAL(options.strategy_reason, "a test asked for it");
	CU_ASSERT_EQUAL(options.area_fd, 4);
	CU_ASSERT_EQUAL(options.ram_fd, 5);
	CU_ASSERT_EQUAL(options.bell_monitor_fd, 6);
	CU_ASSERT_EQUAL(options.bell_agent_fd, 7);
	CU_ASSERT_EQUAL(options.lifeline_fd, 9);
	CU_ASSERT_EQUAL(options.words_fd, 10);
	CU_ASSERT_EQUAL(options.guest_pid, 4711);
	CU_ASSERT_PTR_NULL(options.replay);
	CU_ASSERT_EQUAL(id->log_version, 0xe0200c);
	CU_ASSERT_EQUAL(id->build_id_bytes, 8);
	CU_ASSERT_EQUAL(id->build_id[7], 0xef);
	CU_ASSERT_EQUAL(id->machine_bytes, 2);
	CU_ASSERT_EQUAL(id->disk_bytes, 0);
	CU_ASSERT_EQUAL(options.disk_count, 2);
	CU_ASSERT_STRING_EQUAL(options.disk[0].path, "/srv/a: b,c.img");
	CU_ASSERT_EQUAL(options.disk[0].fd, -1);
	CU_ASSERT(!options.disk[0].read_only);
	CU_ASSERT_EQUAL(options.disk[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_EQUAL(options.disk[1].guest_bytes, UINT64_MAX);
	CU_ASSERT(options.disk[1].read_only);
	CU_ASSERT_EQUAL(id->image_count, 2);
	CU_ASSERT_EQUAL(id->image_sum[1], 78);
	CU_ASSERT_EQUAL(id->tap_count, 1);
	CU_ASSERT_STRING_EQUAL(id->tap[0].netdev, "n0");
	CU_ASSERT_EQUAL(id->tap[0].header, 20);
	CU_ASSERT_EQUAL(id->tap[0].offloads, VMFT_TAP_UNKNOWN);
	CU_ASSERT_EQUAL(id->tap[0].mtu, 1500);
	CU_ASSERT_STRING_EQUAL(options.tap_ifname[0], "abcdefghijklmno");
	strcpy(settings.replay, "/var/log/web1.log");
	settings.strategy = VMFT_STRATEGY_LOCKSTEP;
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_STRING_EQUAL(options.replay, "/var/log/web1.log");
	CU_ASSERT_PTR_EQUAL(options.strategy, &vmft_strategy_lockstep);
}

static void monitor_refuses(const char *field)
{
	CU_ASSERT_EQUAL(take(), -EPROTO);
	if (!strstr(err.text, field))
		CU_FAIL(field);
	reset();
}

static void test_monitor_refuses(void)
{
	reset();
	settings.role = VMFT_ROLE_COUNT;
	monitor_refuses("role");
	settings.host = VMFT_HOST_COUNT;
	monitor_refuses("host");
	strcpy(settings.build_id, "0");
	monitor_refuses("build_id");
	strcpy(settings.machine_digest, "0G");
	monitor_refuses("machine_digest");
	strcpy(settings.disk_digest, "AB");
	monitor_refuses("disk_digest");
	settings.nic[0].vnet_hdr = 2;
	monitor_refuses("nic");
	settings.nic[0].multi_queue = 3;
	monitor_refuses("nic");
	settings.nic[0].offloads = VMFT_TAP_OFFLOADS + 1;
	monitor_refuses("nic");
}

int vmft_suite_settings(void)
{
	CU_pSuite suite = CU_add_suite("settings", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_numbers) || !CU_ADD_TEST(suite, test_texts) ||
	    !CU_ADD_TEST(suite, test_put) || !CU_ADD_TEST(suite, test_memory) ||
	    !CU_ADD_TEST(suite, test_launch) || !CU_ADD_TEST(suite, test_launch_refuses) ||
	    !CU_ADD_TEST(suite, test_agent) || !CU_ADD_TEST(suite, test_monitor) ||
	    !CU_ADD_TEST(suite, test_monitor_refuses))
		return -1;
	return 0;
}
