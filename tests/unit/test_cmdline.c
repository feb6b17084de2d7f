/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command line of QEMU: probes, digests, the choice of a strategy, lists, option sets. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmdline_rewrite.h"
#include "monitor/common/exit-codes.h"
#include "monitor/wrapper/host-processor.h"
#include "monitor/wrapper/optset.h"
#include "monitor/wrapper/scan.h"
#include "suites.h"

#define ARGV(...) ((char *[]){"qemu", __VA_ARGS__, NULL})

static size_t length(char *const argv[])
{
	size_t n = 0;

	while (argv[n])
		n++;
	return n;
}

static void digest_of(char *const argv[], enum vmft_strategy_kind strategy, bool backup,
		      char ret[static VMFT_DIGEST_HEX])
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline cmdline = {0};

	ret[0] = '\0';
	CU_ASSERT_EQUAL_FATAL(
	    cmdline_rewrite((int)length(argv), argv, strategy, backup, &report, &cmdline), 0);
	vmft_arena_free(report.arena);
	vmft_cmdline_digest(&cmdline, ret);
	CU_ASSERT_EQUAL(strlen(ret), VMFT_DIGEST_HEX - 1);
	vmft_cmdline_free(&cmdline);
}

static bool same_with(enum vmft_strategy_kind strategy, char *const a[], char *const b[])
{
	char digest_a[VMFT_DIGEST_HEX], digest_b[VMFT_DIGEST_HEX];

	digest_of(a, strategy, false, digest_a);
	digest_of(b, strategy, true, digest_b);
	return strcmp(digest_a, digest_b) == 0;
}

static bool same_machine(char *const a[], char *const b[])
{
	return same_with(VMFT_STRATEGY_LOCKSTEP, a, b);
}

/* What differs between hosts does not count; what the guest sees does, even in another spelling. */
static void test_digest(void)
{
	char **a = ARGV("-nodefaults", "-m", "1G", "-drive", "if=virtio,format=raw,file=/a",
			"-netdev", "tap,id=a,ifname=tap0", "-device",
			"virtio-net-pci,netdev=a,bus=pci.0,addr=0x5", "-serial", "file:/a.log");

	CU_ASSERT_TRUE(same_machine(
	    a, ARGV("-pidfile", "/b", "-serial", "null", "-netdev",
		    "{\"type\":\"tap\",\"id\":\"b\",\"fd\":\"30\"}", "-device",
		    "{\"driver\":\"virtio-net-pci\",\"addr\":\"0x5\",\"bus\":\"pci.0\","
		    "\"netdev\":\"b\",\"id\":\"nic\"}",
		    "-drive", "file=/b,format=qcow2,if=virtio,id=disk,cache=none", "-m", "1024",
		    "-nodefaults", "-accel", "tcg", "-display", "none", "-M", "pc")));
	CU_ASSERT_FALSE(same_machine(
	    a, ARGV("-nodefaults", "-m", "1G", "-drive", "if=virtio,format=raw,file=/a", "-netdev",
		    "tap,id=a,ifname=tap0", "-device", "virtio-net-pci,netdev=a,bus=pci.0,addr=0x6",
		    "-serial", "file:/a.log")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-m", "256")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-serial", "null")));
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults"), ARGV("-nodefaults", "-M", "q35")));
	CU_ASSERT_FALSE(
	    same_machine(ARGV("-nodefaults", "-uuid", "1"), ARGV("-nodefaults", "-uuid", "2")));
	/* No value can be made to look like the next line. */
	CU_ASSERT_FALSE(same_machine(ARGV("-nodefaults", "-append", "a\nuuid 1"),
				     ARGV("-nodefaults", "-append", "a", "-uuid", "1")));
}

/* The same for checkpoint: accelerator, processors and the strategy itself count too. */
static void test_checkpoint_digest(void)
{
	char **kvm = ARGV("-nodefaults", "-enable-kvm", "-smp", "2");
	char lockstep[VMFT_DIGEST_HEX], checkpoint[VMFT_DIGEST_HEX];

	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_AUTO, kvm,
				 ARGV("-nodefaults", "-accel", "kvm", "-smp", "cpus=2,maxcpus=2")));
	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_CHECKPOINT, kvm,
				 ARGV("-nodefaults", "-M", "pc,accel=kvm", "-smp", "2")));
	CU_ASSERT_TRUE(same_with(VMFT_STRATEGY_CHECKPOINT, ARGV("-nodefaults"),
				 ARGV("-nodefaults", "-smp", "1", "-accel", "tcg,thread=multi")));
	CU_ASSERT_FALSE(same_with(VMFT_STRATEGY_AUTO, kvm, ARGV("-nodefaults", "-smp", "2")));
	CU_ASSERT_FALSE(
	    same_with(VMFT_STRATEGY_AUTO, kvm, ARGV("-nodefaults", "-enable-kvm", "-smp", "3")));
	CU_ASSERT_FALSE(same_with(VMFT_STRATEGY_AUTO, kvm,
				  ARGV("-nodefaults", "-enable-kvm", "-smp", "2,sockets=2")));
	digest_of(ARGV("-nodefaults"), VMFT_STRATEGY_AUTO, false, lockstep);
	digest_of(ARGV("-nodefaults"), VMFT_STRATEGY_CHECKPOINT, false, checkpoint);
	CU_ASSERT_STRING_NOT_EQUAL(lockstep, checkpoint);
}

static void choose(char *const argv[], enum vmft_strategy_kind asked, enum vmft_strategy_kind want,
		   const char *want_reason)
{
	struct vmft_arena *arena = vmft_arena_new();
	enum vmft_strategy_kind chosen;
	struct vmft_scan scan;
	const char *reason;

	vmft_scan(arena, (int)length(argv), argv, true, &scan);
	chosen = vmft_strategy_choose(arena, &scan, asked, &reason);
	if (chosen != want || strcmp(reason, want_reason) != 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[length(argv) - 1], reason);
		CU_FAIL("another strategy");
	}
	vmft_arena_free(arena);
}

static void chooses_lockstep(char *const argv[])
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_LOCKSTEP, "auto: one processor on TCG");
}

static void chooses_for_kvm(char *const argv[])
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_CHECKPOINT,
	       "auto: a KVM guest cannot be replayed");
}

static void chooses_for_processors(char *const argv[], const char *reason)
{
	choose(argv, VMFT_STRATEGY_AUTO, VMFT_STRATEGY_CHECKPOINT, reason);
}

static void test_strategy(void)
{
	static const char set[] = "set in the pair file";
	static const char two[] = "auto: 2 processors cannot be replayed";
	static const char eight[] = "auto: 8 processors cannot be replayed";

	chooses_lockstep(ARGV("-nodefaults"));
	chooses_lockstep(ARGV("-accel", "tcg", "-smp", "1"));
	chooses_lockstep(ARGV("-M", "pc,accel=tcg", "-smp", "cpus=1,sockets=1,cores=1"));
	chooses_lockstep(ARGV("-append", "-enable-kvm"));
	chooses_lockstep(ARGV("-name", "-smp", "2"));
	/* Nothing is made of what cannot be read. */
	chooses_lockstep(ARGV("-smp"));
	chooses_lockstep(ARGV("-smp", "two"));
	chooses_lockstep(ARGV("-smp", "0"));
	chooses_lockstep(ARGV("-smp", "2,cpus=3"));
	chooses_lockstep(ARGV("-accel", "{"));
	chooses_lockstep(ARGV("-frobnicate", "2"));
	chooses_for_kvm(ARGV("-enable-kvm"));
	chooses_for_kvm(ARGV("--enable-kvm", "-smp", "4"));
	chooses_for_kvm(ARGV("-accel", "kvm"));
	chooses_for_kvm(ARGV("-accel", "accel=kvm,dirty-ring-size=4096"));
	chooses_for_kvm(ARGV("-machine", "pc,accel=kvm"));
	chooses_for_kvm(ARGV("-M", "accel=kvm:tcg"));
	chooses_for_processors(ARGV("-smp", "2"), two);
	chooses_for_processors(ARGV("-smp", "cpus=2"), two);
	chooses_for_processors(ARGV("-smp", "1,maxcpus=2"), two);
	chooses_for_processors(ARGV("-smp", "sockets=2,cores=2,threads=2"), eight);
	chooses_for_processors(ARGV("-smp", "8,cores=4"), eight);
	choose(ARGV("-nodefaults"), VMFT_STRATEGY_CHECKPOINT, VMFT_STRATEGY_CHECKPOINT, set);
	choose(ARGV("-enable-kvm"), VMFT_STRATEGY_LOCKSTEP, VMFT_STRATEGY_LOCKSTEP, set);
}

/* What was chosen is with the line; the disks are under their own names. */
static void test_checkpoint_lists(void)
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_cmdline cmdline;
	char **argv =
	    ARGV("-nodefaults", "-enable-kvm", "-drive",
		 "if=virtio,format=qcow2,file=/v,cache=directsync", "-blockdev",
		 "driver=raw,node-name=d,file.driver=file,file.filename=/d,read-only=on", "-device",
		 "virtio-blk,drive=d", "-netdev", "tap,id=x", "-device", "virtio-net,netdev=x");

	CU_ASSERT_EQUAL_FATAL(
	    cmdline_rewrite((int)length(argv), argv, VMFT_STRATEGY_AUTO, false, &report, &cmdline),
	    0);
	vmft_arena_free(report.arena);
	CU_ASSERT_EQUAL(cmdline.strategy, VMFT_STRATEGY_CHECKPOINT);
	CU_ASSERT_STRING_EQUAL(cmdline.strategy_reason, "auto: a KVM guest cannot be replayed");
	CU_ASSERT_EQUAL_FATAL(cmdline.disk_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].path, "/d");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].node, "d");
	CU_ASSERT_EQUAL(cmdline.disks[0].format, VMFT_IMAGE_RAW);
	CU_ASSERT_TRUE(cmdline.disks[0].read_only);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].path, "/v");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].node, "virtio0");
	CU_ASSERT_EQUAL(cmdline.disks[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_TRUE(cmdline.disks[1].write_through);
	CU_ASSERT_EQUAL_FATAL(cmdline.nic_count, 1);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].mac, "52:54:00:12:34:56");
	vmft_cmdline_free(&cmdline);
}

/* The name is there on every host that tests run on; a guest is never shown an empty one. */
static void test_host_processor(void)
{
	char model[VMFT_PROCESSOR_MAX] = "";
	struct vmft_error err = {0};

	if (vmft_host_processor(model, &err) < 0)
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no model name"))
	else
		CU_ASSERT(model[0] != '\0' && !strchr(model, '\n'));
}

static void test_lists(void)
{
	struct vmft_cmdline cmdline;
	struct vmft_report report = {.arena = vmft_arena_new()};
	char **argv =
	    ARGV("-nodefaults", "-m", "512", "-drive", "if=virtio,format=qcow2,file=/v", "-drive",
		 "if=none,id=d,format=raw,file=/d,readonly=on", "-device", "virtio-blk,drive=d",
		 "-netdev", "tap,id=x", "-netdev", "tap,id=y,ifname=tap5,vnet_hdr=off", "-device",
		 "virtio-net,netdev=y", "-device", "virtio-net,netdev=x,mac=52:54:00:12:34:56");

	CU_ASSERT_EQUAL_FATAL(
	    cmdline_rewrite((int)length(argv), argv, VMFT_STRATEGY_AUTO, false, &report, &cmdline),
	    0);
	vmft_arena_free(report.arena);
	CU_ASSERT_EQUAL(cmdline.strategy, VMFT_STRATEGY_LOCKSTEP);
	CU_ASSERT_STRING_EQUAL(cmdline.strategy_reason, "auto: one processor on TCG");
	CU_ASSERT_EQUAL(cmdline.ram_bytes, UINT64_C(512) << 20);
	CU_ASSERT_EQUAL_FATAL(cmdline.disk_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].path, "/d");
	CU_ASSERT_TRUE(cmdline.disks[0].read_only);
	CU_ASSERT_EQUAL(cmdline.disks[0].format, VMFT_IMAGE_RAW);
	CU_ASSERT_STRING_EQUAL(cmdline.disks[0].node, "vmft-d");
	CU_ASSERT_STRING_EQUAL(cmdline.disks[1].path, "/v");
	CU_ASSERT_EQUAL(cmdline.disks[1].format, VMFT_IMAGE_QCOW2);
	CU_ASSERT_EQUAL_FATAL(cmdline.nic_count, 2);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].netdev, "x");
	CU_ASSERT_PTR_NULL(cmdline.nics[0].fd);
	CU_ASSERT_PTR_NULL(cmdline.nics[0].ifname);
	CU_ASSERT_FALSE(cmdline.nics[0].no_vnet_hdr);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[1].ifname, "tap5");
	CU_ASSERT_TRUE(cmdline.nics[1].no_vnet_hdr);
	CU_ASSERT_STRING_EQUAL(cmdline.nics[0].mac, "52:54:00:12:34:56");
	CU_ASSERT_STRING_EQUAL(cmdline.nics[1].mac, "52:54:00:12:34:57");
	vmft_cmdline_free(&cmdline);
	vmft_cmdline_free(&cmdline);
	vmft_cmdline_free(NULL);
}

/* Formatting what was parsed gives the same again, commas and nesting included. */
static void test_optset(void)
{
	static const char *const texts[] = {
	    "virtio-blk-pci,drive=a,,b,serial=x",
	    "a=,b=c",
	    "{\"driver\":\"raw\",\"file\":{\"filename\":\"/a,b\",\"n\":-5},\"ro\":true}",
	};
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_optset set;
	const char *problem;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CU_ASSERT_EQUAL_FATAL(vmft_optset_parse(arena, texts[i], "driver", &set, &problem),
				      0);
		CU_ASSERT_STRING_EQUAL(vmft_optset_format(&set), texts[i]);
	}
	CU_ASSERT_EQUAL(vmft_optset_parse(arena, "x,server,nowait", "driver", &set, &problem), 0);
	CU_ASSERT_STRING_EQUAL(vmft_optset_get(&set, "server"), "on");
	CU_ASSERT_STRING_EQUAL(vmft_optset_get(&set, "wait"), "off");
	vmft_optset_remove(&set, "driver");
	CU_ASSERT_STRING_EQUAL(vmft_optset_format(&set), "server=on,wait=off");
	vmft_arena_free(arena);
}

int vmft_suite_cmdline(void)
{
	CU_pSuite suite = CU_add_suite("cmdline", NULL, NULL);

	if (!suite || !CU_add_test(suite, "machine digest", test_digest) ||
	    !CU_add_test(suite, "machine digest, checkpoint", test_checkpoint_digest) ||
	    !CU_add_test(suite, "strategy", test_strategy) ||
	    !CU_add_test(suite, "lists", test_lists) ||
	    !CU_add_test(suite, "lists, checkpoint", test_checkpoint_lists) ||
	    !CU_add_test(suite, "host processor", test_host_processor) ||
	    !CU_add_test(suite, "optset", test_optset))
		return -1;
	return 0;
}
