/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of the command line's check by themselves: what only asks QEMU something, the format of an
 * image, options in JSON, the report, and the strategy that is taken when lockstep refuses the
 * line.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "monitor/common/exit-codes.h"
#include "monitor/wrapper/cmdline.h"
#include "monitor/wrapper/optset.h"
#include "monitor/wrapper/probe.h"
#include "suites.h"

#define ARGV(...) ((char *[]){"qemu", __VA_ARGS__, NULL})

static size_t length(char *const argv[])
{
	size_t n = 0;

	while (argv[n])
		n++;
	return n;
}

static bool is_probe(char *const argv[])
{
	return vmft_cmdline_is_probe((int)length(argv), argv);
}

static void test_probes(void)
{
	CU_ASSERT_TRUE(is_probe(ARGV("-version")));
	CU_ASSERT_TRUE(is_probe(ARGV("--version")));
	CU_ASSERT_TRUE(is_probe(ARGV("-help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-h")));
	CU_ASSERT_TRUE(is_probe(ARGV("-device", "help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-device", "virtio-blk-pci,help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-machine", "?")));
	CU_ASSERT_TRUE(is_probe(ARGV("-M", "none")));
	CU_ASSERT_TRUE(is_probe(ARGV("-S", "-no-user-config", "-nodefaults", "-nographic",
				     "-machine", "none,accel=kvm:tcg", "-qmp",
				     "unix:/x,server=on,wait=off", "-daemonize")));
	CU_ASSERT_TRUE(is_probe(ARGV("-machine", "type=none")));
	CU_ASSERT_TRUE(is_probe(ARGV("-device", "virtio-blk-pci,serial=a,,b,help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-device", "virtio-blk-pci,serial=a,,,?")));
	CU_ASSERT_TRUE(is_probe(ARGV("-object", "memory-backend-file,help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-M", "pc,help", "-M", "q35")));
	CU_ASSERT_TRUE(is_probe(ARGV("-cpu", "qemu64", "-cpu", "help")));
	CU_ASSERT_TRUE(is_probe(ARGV("-machine", "pc", "-machine", "none")));
	CU_ASSERT_FALSE(is_probe(ARGV("-nodefaults")));
	CU_ASSERT_FALSE(is_probe(ARGV("-append", "-version")));
	CU_ASSERT_FALSE(is_probe(ARGV("-append", "help")));
	CU_ASSERT_FALSE(is_probe(ARGV("-name", "help")));
	CU_ASSERT_FALSE(is_probe(ARGV("-name", "-h", "-m", "256")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "nonesuch")));
	CU_ASSERT_FALSE(is_probe(ARGV("help")));
	CU_ASSERT_FALSE(is_probe(ARGV("-device")));
	CU_ASSERT_FALSE(vmft_cmdline_is_probe(0, ARGV("-version")));
}

/* What looks like a question and is a guest that QEMU would start: unprotected, without a word. */
static void test_no_probes(void)
{
	static const char *const options[] = {"-drive",	  "-device",  "-object", "-chardev",
					      "-netdev",  "-machine", "-M",	 "-cpu",
					      "-display", "-accel",   "-kernel", "-L"};

	CU_ASSERT_FALSE(is_probe(ARGV("-drive", "if=virtio,format=raw,file=/x/a,,help")));
	CU_ASSERT_FALSE(is_probe(ARGV("-drive", "format=raw,file=/x/a,,?,if=virtio")));
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		CU_ASSERT_FALSE(is_probe(ARGV((char *)options[i], "x,k=/x/a,,help")));
		CU_ASSERT_FALSE(is_probe(ARGV((char *)options[i], "x,k=a,,b,,help,l=m")));
		CU_ASSERT_FALSE(is_probe(ARGV((char *)options[i], "x,,help")));
		CU_ASSERT_FALSE(is_probe(ARGV((char *)options[i], "x,k=help")));
		CU_ASSERT_FALSE(is_probe(ARGV((char *)options[i], "x,helper")));
	}
	CU_ASSERT_FALSE(is_probe(ARGV("-L", "/x,help")));
	CU_ASSERT_FALSE(is_probe(ARGV("-cpu", "help", "-cpu", "qemu64")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "none", "-machine", "pc")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "none", "-M", "accel=tcg,type=q35")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "none,type=pc")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "type=help", "-machine", "pc")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "none", "-set", "machine..type=pc")));
	CU_ASSERT_FALSE(is_probe(ARGV("-machine", "none", "-readconfig", "/x")));
	CU_ASSERT_FALSE(is_probe(ARGV("-fw_cfg", "-version")));
	CU_ASSERT_FALSE(is_probe(ARGV("-tpmdev", "-device", "help", "-version")));
}

/* --- the format of an image ---------------------------------------------------- */

static int format_of(const char *path, const char *bytes, size_t n, const char **ret)
{
	struct vmft_error err;

	return vmft_image_format_of(path, (const unsigned char *)bytes, n, ret, &err);
}

/* A guest can write what a qcow2 image begins with; it cannot change the name. */
static void test_image_format(void)
{
	const char *format = NULL;

	CU_ASSERT_EQUAL(format_of("/a.img", "\0\0\0\0", 4, &format), 0);
	CU_ASSERT_STRING_EQUAL(format, "raw");
	CU_ASSERT_EQUAL(format_of("/a.img", "", 0, &format), 0);
	CU_ASSERT_STRING_EQUAL(format, "raw");
	CU_ASSERT_EQUAL(format_of("/a.qcow2", "QFI\xfb....", 8, &format), 0);
	CU_ASSERT_STRING_EQUAL(format, "qcow2");
	CU_ASSERT_EQUAL(format_of("/a.QCOW2", "QFI\xfb....", 8, &format), 0);
	CU_ASSERT_EQUAL(format_of("/a.img", "QFI\xfb....", 8, &format), -EINVAL);
	CU_ASSERT_EQUAL(format_of("/a.qcow2/b", "QFI\xfb....", 8, &format), -EINVAL);
	CU_ASSERT_EQUAL(format_of("/dev/vg/lv", "QFI\xfb....", 8, &format), -EINVAL);
	CU_ASSERT_EQUAL(format_of("/a.qcow2", "QFI", 3, &format), -EINVAL);
	CU_ASSERT_EQUAL(format_of("/a.img", "KDMV....", 8, &format), -EINVAL);
	CU_ASSERT_EQUAL(format_of("/a.img", "vhdxfile", 8, &format), -EINVAL);
}

/* --- options in JSON ------------------------------------------------------------ */

static void same_json(const char *text)
{
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_optset set;
	const char *problem;

	CU_ASSERT_EQUAL_FATAL(vmft_optset_parse(arena, text, NULL, &set, &problem), 0);
	CU_ASSERT_STRING_EQUAL(vmft_optset_format(&set), text);
	vmft_arena_free(arena);
}

static void test_json(void)
{
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_optset set;
	const char *problem;

	same_json("{\"a\":[1,\"b\",[true],{\"c\":null}],\"d\":{\"e\":[]},\"f\":null}");
	same_json("{\"a\":{},\"b\":[{},1,{\"c\":{}}],\"d\":{\"e\":{}}}");
	same_json("{\"host-nodes\":[0,1,2,3,4,5,6,7,8,9,10,11],\"x\":{\"0\":{\"y\":1}}}");
	CU_ASSERT_EQUAL_FATAL(
	    vmft_optset_parse(arena, "{\"a\":[{\"b\":\"c\"}]}", NULL, &set, &problem), 0);
	CU_ASSERT_STRING_EQUAL(vmft_optset_get(&set, "a.0.b"), "c");
	CU_ASSERT_EQUAL(vmft_optset_parse(arena, "{\"a|b\":1}", NULL, &set, &problem), -EINVAL);
	CU_ASSERT_EQUAL(vmft_optset_parse(arena, "{\"a\":1.5}", NULL, &set, &problem), -EINVAL);
	vmft_arena_free(arena);
}

/* --- the report, and the other strategy -------------------------------------------- */

static void test_report(void)
{
	struct vmft_report report = {.arena = vmft_arena_new()};
	struct vmft_error err = {.exit_code = VMFT_EXIT_IMAGE, .text = "first"};

	CU_ASSERT_EQUAL(vmft_report_exit_code(&report), 0);
	vmft_report_replaced(&report, "two\nlines");
	CU_ASSERT_STRING_EQUAL(report.items[0].text, "two?lines");
	CU_ASSERT_PTR_NULL(vmft_report_first(&report));
	CU_ASSERT_EQUAL(vmft_report_refuse(&report, &err), -EINVAL);
	CU_ASSERT_EQUAL(vmft_report_exit_code(&report), VMFT_EXIT_IMAGE);
	CU_ASSERT_EQUAL(vmft_report_to_error(&report, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.text, "first");
	for (int i = 0; i < 40; i++) {
		err.exit_code = VMFT_EXIT_UNPROTECTED;
		(void)vmft_report_refuse(&report, &err);
	}
	CU_ASSERT_EQUAL(vmft_report_count(&report, VMFT_FINDING_REFUSED), 41);
	CU_ASSERT_EQUAL(vmft_report_exit_code(&report), VMFT_EXIT_UNPROTECTED);
	(void)vmft_report_to_error(&report, &err);
	CU_ASSERT_STRING_EQUAL(err.text, "first (and 40 more)");
	vmft_arena_free(report.arena);
}

static int rewrite_auto(char *const argv[], struct vmft_report *report)
{
	const struct vmft_rewrite_options opt = {.ram_path = "/r"};
	struct vmft_cmdline line = {0};
	const int r = vmft_cmdline_rewrite((int)length(argv), argv, &opt, report, &line);

	vmft_cmdline_free(&line);
	return r;
}

static void test_other_strategy(void)
{
	struct vmft_report report = {.arena = vmft_arena_new()};

	CU_ASSERT_EQUAL(
	    rewrite_auto(ARGV("-nodefaults", "-usb", "-rtc", "base=localtime"), &report), 0);
	CU_ASSERT_EQUAL(report.strategy, VMFT_STRATEGY_CHECKPOINT);
	CU_ASSERT_STRING_EQUAL(report.strategy_reason, "auto: lockstep refuses 2 parts");
	report = (struct vmft_report){.arena = report.arena};
	/* Both refuse one thing: lockstep stays. */
	CU_ASSERT_EQUAL(rewrite_auto(ARGV("-nodefaults", "-snapshot"), &report), -EINVAL);
	CU_ASSERT_EQUAL(report.strategy, VMFT_STRATEGY_LOCKSTEP);
	report = (struct vmft_report){.arena = report.arena};
	CU_ASSERT_EQUAL(rewrite_auto(ARGV("-nodefaults", "-snapshot", "-usb"), &report), -EINVAL);
	CU_ASSERT_EQUAL(report.strategy, VMFT_STRATEGY_CHECKPOINT);
	CU_ASSERT_EQUAL(vmft_report_count(&report, VMFT_FINDING_REFUSED), 1);
	vmft_arena_free(report.arena);
}

int vmft_suite_command_line_parts(void)
{
	static CU_TestInfo tests[] = {
	    {"probes", test_probes},
	    {"no probes", test_no_probes},
	    {"the format of an image", test_image_format},
	    {"options in JSON", test_json},
	    {"report", test_report},
	    {"another strategy", test_other_strategy},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"parts of the command line", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
