/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is made of a saved log: its entries as text, and the command line of a QEMU that replays it.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "logging-channel/event-text.h"
#include "logging-channel/event.h"
#include "monitor/wrapper/offline.h"
#include "suites.h"

/* --- entries as text ----------------------------------------------------------- */

static void line_is(const uint8_t *bytes, size_t n, const char *expected)
{
	char line[256];

	vmft_event_line(vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2), bytes, n, line,
			sizeof(line));
	CU_ASSERT_STRING_EQUAL(line, expected);
}

static void test_text(void)
{
	uint8_t net[10 + 12 + 42] = {9, 1, 0, 0, 0, 0, 0, 0, 0, 54};

	net[10 + 12 + 12] = 8;
	net[10 + 12 + 23] = 1;
	line_is(net, sizeof(net),
		"net filter 1 length 54 ICMP 00000000000000000000000000000000...");
	net[10 + 12 + 13] = 6;
	line_is(net, sizeof(net), "net filter 1 length 54 ARP 00000000000000000000000000000000...");
	line_is((const uint8_t[]){0, 0, 0, 1, 0}, 5, "instruction instructions 256");
	line_is((const uint8_t[]){28, 0, 0, 0, 0, 0, 0, 0, 9}, 9, "clock host ns 9");
	line_is((const uint8_t[]){29, 255, 255, 255, 255, 255, 255, 255, 255}, 9,
		"clock virtual-rt ns -1");
	line_is((const uint8_t[]){30}, 1, "checkpoint clock-warp-start");
	line_is((const uint8_t[]){38}, 1, "checkpoint reset");
	line_is((const uint8_t[]){16}, 1, "shutdown guest-shutdown");
	line_is((const uint8_t[]){14}, 1, "shutdown host-signal");
	line_is((const uint8_t[]){8, 0, 0, 0, 0, 0, 0, 1, 0}, 9, "block request 256");
	line_is((const uint8_t[]){22, 0, 0, 0, 1, 0, 0, 0, 1}, 9, "char-write result 1 offset 1");
	line_is((const uint8_t[]){7, 0, 0, 0, 0, 2, 'a', 'b'}, 8,
		"char-read device 0 length 2 6162");
	line_is((const uint8_t[]){39}, 1, "end");
	line_is((const uint8_t[]){0xe0, 0, 0, 0, 60, 1, 2, 3, 4, 5, 6, 7, 8}, 13,
		"output length 60 0102030405060708");
	line_is((const uint8_t[]){0xe1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
				  0,	0, 0, 0, 2, 0, 0, 0, 7, 9, 9,  9, 9},
		27, "digest sampled 1 000000000000000a pages 256 first 2 stride 7");
}

static void test_every_kind_has_a_name(void)
{
	const struct vmft_log_format *format = vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2);
	const char *name;

	for (unsigned number = 0; number < 256; number++) {
		name = vmft_event_kind_name(format, (uint8_t)number);
		CU_ASSERT_EQUAL(strcmp(name, "unknown") != 0,
				vmft_event_kind(format, (uint8_t)number) != VMFT_EVENT_NONE);
		CU_ASSERT_EQUAL(vmft_event_is_kind_name(name), strcmp(name, "unknown") != 0);
	}
	CU_ASSERT_STRING_EQUAL(vmft_event_kind_name(format, 0xe2), "clock-set");
	CU_ASSERT(!vmft_event_is_kind_name("nonsense"));
}

/* --- the offline line ---------------------------------------------------------- */

static void offline_is(const char *const *in, const char *const *out)
{
	static const char *const from[] = {"/a.img", "/dev/vg/b"}, *const to[] = {"/t/0", "/t/1"};
	const struct vmft_offline offline = {
	    .disk_from = from, .disk_to = to, .disk_count = 2, .console = "/t/con,sole"};
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_error err = {0};
	char **argv = NULL;
	int argc = 0;

	while (in[argc])
		argc++;
	CU_ASSERT_EQUAL(vmft_offline_rewrite(arena, argc, (char *const *)in, &offline, &argv, &err),
			0);
	for (int i = 0; argv && (out[i] || argv[i]); i++) {
		CU_ASSERT_FATAL(out[i] && argv[i]);
		CU_ASSERT_STRING_EQUAL(argv[i], out[i]);
	}
	vmft_arena_free(arena);
}

static void test_offline(void)
{
	offline_is((const char *const[]){"q", "-m", "1G", "-pidfile", "/run/q.pid", "-serial",
					 "file:/var/log/c", "-serial", "stdio", "--drive",
					 "file=/a.img,if=virtio,format=raw", "-netdev",
					 "tap,id=n0,ifname=tap0", "-no-reboot", NULL},
		   (const char *const[]){"q", "-m", "1G", "-serial", "file:/t/con,sole", "-serial",
					 "null", "-drive", "file=/t/0,if=virtio,format=raw",
					 "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
					 "-no-reboot", NULL});
	offline_is((const char *const[]){"q", "-chardev", "pty,id=c1", "-chardev",
					 "file,id=c0,path=/x,append=on,logfile=/y", "-device",
					 "isa-serial,chardev=c0,id=s0", "-blockdev",
					 "{\"driver\":\"host_device\",\"filename\":\"/dev/vg/b\","
					 "\"node-name\":\"n\"}",
					 "-netdev", "tap,id=n0,fd=9,vhost=on,vhostfd=10", NULL},
		   (const char *const[]){
		       "q", "-chardev", "null,id=c1", "-chardev", "file,path=/t/con,,sole,id=c0",
		       "-device", "isa-serial,chardev=c0,id=s0", "-blockdev",
		       "{\"driver\":\"file\",\"filename\":\"/t/1\",\"node-name\":\"n\"}", "-netdev",
		       "tap,id=n0,vhost=on,script=no,downscript=no", NULL});
}

/* QEMU would open it for writing, though the replay has nothing to do with it. */
static void test_offline_no_copy(void)
{
	static const char *const lines[][3] = {
	    {"q", "-drive", "file=/etc/x,if=none,id=d,format=raw"},
	    {"q", "-blockdev", "driver=file,filename=/etc/x,node-name=n"},
	    {"q", "-blockdev", "driver=qcow2,file.driver=file,file.filename=/etc/x,node-name=n"},
	};
	static const char *const from[] = {"/a.img"}, *const to[] = {"/t/0"};
	const struct vmft_offline offline = {.disk_from = from, .disk_to = to, .disk_count = 1};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct vmft_arena *arena = vmft_arena_new();
		struct vmft_error err = {0};
		char **argv;

		CU_ASSERT_EQUAL(
		    vmft_offline_rewrite(arena, 3, (char *const *)lines[i], &offline, &argv, &err),
		    -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/etc/x: an image that no device"));
		vmft_arena_free(arena);
	}
}

int vmft_suite_savedlog_text(void)
{
	static CU_TestInfo tests[] = {
	    {"text", test_text},
	    {"names", test_every_kind_has_a_name},
	    {"offline command line", test_offline},
	    {"offline command line, an image without a copy", test_offline_no_copy},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"saved log: text and offline line", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
