/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies of QEMU's builds, in a directory of the test's; and the owner's text that names a build.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/daemon/arbiter/owner.h"
#include "monitor/wrapper/builds.h"
#include "suites.h"

#define BUILD_A "00aa11bb22cc33dd"
#define BUILD_B "00aa11bb22cc33ee"

static char root[64]; /* of the test */
static char store[128];

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void shell(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static bool is_there(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool is_there(const char *format, ...)
{
	char path[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	return access(path, F_OK) == 0;
}

/* A program that says where its firmware is, as QEMU does; some of that is links, as in Debian. */
static void begin(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/vmft-builds-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
	(void)snprintf(store, sizeof(store), "%s/var/builds", root);
	shell(
	    "cd %s && mkdir -p usr/bin usr/share/qemu/keymaps usr/share/bios usr/lib/qemu && "
	    "printf '#!/bin/sh\\n[ \"$*\" = \"-L help\" ] || exit 1\\n"
	    "for i in share/qemu share/bios share/nothing; do echo \"%s/usr/bin/../$i\"; done\\n' "
	    ">usr/bin/qemu && chmod 755 usr/bin/qemu && "
	    "echo bios >usr/share/bios/bios.bin && echo keys >usr/share/qemu/keymaps/de && "
	    "ln -s ../bios/bios.bin usr/share/qemu/vga.bin && "
	    "ln -s nowhere usr/share/qemu/gone && echo module >usr/lib/qemu/accel.so",
	    root, root);
}

static void end(void)
{
	shell("rm -rf %s", root);
}

static int keep(const char *build_id, struct vmft_error *err)
{
	struct vmft_qemu_binary qemu = {.version = "7.2.22"};
	char path[128];

	(void)snprintf(qemu.build_id, sizeof(qemu.build_id), "%s", build_id);
	(void)snprintf(path, sizeof(path), "%s/usr/bin/qemu", root);
	return vmft_builds_keep(store, path, &qemu, err);
}

static void test_keep(void)
{
	struct vmft_error err;
	char found[VMFT_PATH_MAX], program[256];

	begin();
	CU_ASSERT_EQUAL(vmft_builds_find(store, "00aa", found), -ENOENT);
	CU_ASSERT_EQUAL(keep(BUILD_A, &err), 0);
	/* The package is upgraded: what was kept does not change with it. */
	shell("echo other >%s/usr/share/bios/bios.bin", root);
	CU_ASSERT_EQUAL(keep(BUILD_A, &err), 0);
	shell("cd %s/" BUILD_A " && grep -qx bios share/qemu/vga.bin && "
	      "grep -qx bios share/bios/bios.bin && test ! -L share/qemu/vga.bin && "
	      "grep -qx keys share/qemu/keymaps/de && grep -qx module lib/qemu/accel.so && "
	      "test -x bin/qemu",
	      store);
	CU_ASSERT_FALSE(is_there("%s/new", store));
	(void)snprintf(program, sizeof(program), "%s/" BUILD_A "/bin/qemu", store);
	CU_ASSERT_EQUAL(vmft_builds_find(store, "00aa11bb22cc", found), 0);
	CU_ASSERT_STRING_EQUAL(found, program);
	CU_ASSERT_EQUAL(vmft_builds_find(store, BUILD_B, found), -ENOENT);
	/* From an arbiter's record: it names nothing but a build. */
	CU_ASSERT_EQUAL(vmft_builds_find(store, "../builds", found), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_builds_find(store, "", found), -EBADMSG);
	end();
}

static void test_not_kept(void)
{
	struct vmft_error err;
	char found[VMFT_PATH_MAX];

	begin();
	shell("printf '#!/bin/sh\\necho /usr/share/qemu\\n' >%s/usr/bin/qemu", root);
	CU_ASSERT_EQUAL(keep(BUILD_A, &err), -ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "firmware"));
	CU_ASSERT_EQUAL(vmft_builds_find(store, BUILD_A, found), -ENOENT);
	CU_ASSERT_FALSE(is_there("%s/new", store));
	/* A copy that a power cut interrupted is made anew. */
	shell("mkdir -p %s/new/bin && touch %s/new/bin/half", store, store);
	end();
	begin();
	shell("mkdir -p %s/new/bin && touch %s/new/bin/half", store, store);
	CU_ASSERT_EQUAL(keep(BUILD_A, &err), 0);
	CU_ASSERT_FALSE(is_there("%s/" BUILD_A "/bin/half", store));
	end();
}

static int used(const char *vm, const char *pair, const char *build_id)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", root, pair);
	return vmft_builds_used(store, vm, path, build_id);
}

static void test_prune(void)
{
	struct vmft_error err;

	begin();
	shell("touch %s/web.conf %s/mail.conf", root, root);
	CU_ASSERT_EQUAL(used("web", "none.conf", BUILD_A), -ENOENT);
	CU_ASSERT_EQUAL(keep(BUILD_A, &err), 0);
	CU_ASSERT_EQUAL(used("web", "web.conf", BUILD_A), 0);
	CU_ASSERT_EQUAL(used("mail", "mail.conf", BUILD_A), 0);
	CU_ASSERT_EQUAL(keep(BUILD_B, &err), 0);
	CU_ASSERT_EQUAL(used("mail", "mail.conf", BUILD_B), 0);
	CU_ASSERT_EQUAL(vmft_builds_prune(store, BUILD_B), 0);
	CU_ASSERT_TRUE(is_there("%s/" BUILD_A "/bin/qemu", store));
	/* The last VM of the old build is started again with the new one. */
	CU_ASSERT_EQUAL(used("web", "web.conf", BUILD_B), 0);
	CU_ASSERT_EQUAL(vmft_builds_prune(store, BUILD_B), 0);
	CU_ASSERT_FALSE(is_there("%s/" BUILD_A, store));
	CU_ASSERT_TRUE(is_there("%s/" BUILD_B "/bin/qemu", store));
	/* VMs that are gone need none. */
	shell("rm %s/web.conf %s/mail.conf", root, root);
	CU_ASSERT_EQUAL(vmft_builds_prune(store, BUILD_B), 0);
	CU_ASSERT_TRUE(is_there("%s/" BUILD_B "/bin/qemu", store));
	CU_ASSERT_EQUAL(vmft_builds_prune(store, ""), 0);
	CU_ASSERT_FALSE(is_there("%s/used/web", store));
	CU_ASSERT_FALSE(is_there("%s/" BUILD_B, store));
	end();
}

static void test_owner(void)
{
	static const uint8_t build[] = {0x2f, 0x5e, 0xa8, 0xfd, 0xde, 0x03, 0x99, 0x99};
	struct vmft_owner owner = {
	    .token = {0x4f, 0x01},
	    .host = "alpha",
	    .node = "vmhost1",
	    .since = 1796026173,
	    .build_id = build,
	    .build_id_bytes = sizeof(build),
	};
	char text[VMFT_ARBITER_OWNER_MAX], digits[VMFT_OWNER_BUILD_HEX + 1] = "";

	vmft_owner_format(&owner, text);
	CU_ASSERT_STRING_EQUAL(text, "4f010000000000000000000000000000 alpha on vmhost1 since "
				     "1796026173 build 2f5ea8fdde03");
	CU_ASSERT_TRUE(vmft_owner_build(text, digits));
	CU_ASSERT_STRING_EQUAL(digits, "2f5ea8fdde03");
	/* The longest names leave room for the build. */
	owner.host = "abcdefghijklmnopqrstuvwxyz0";
	owner.node = "abcdefghijklmnopqrstuvwxyz0123456789";
	vmft_owner_format(&owner, text);
	CU_ASSERT_TRUE(vmft_owner_build(text, digits));
	CU_ASSERT_STRING_EQUAL(digits, "2f5ea8fdde03");
	owner.build_id_bytes = 0;
	vmft_owner_format(&owner, text);
	CU_ASSERT_FALSE(vmft_owner_build(text, digits));
	CU_ASSERT_FALSE(vmft_owner_build("", digits));
	CU_ASSERT_FALSE(vmft_owner_build("x build 2f5ea8fdde0", digits));
	CU_ASSERT_FALSE(vmft_owner_build("x build 2f5ea8fdde0/", digits));
	CU_ASSERT_FALSE(vmft_owner_build("x built 2f5ea8fdde03", digits));
}

int vmft_suite_builds(void)
{
	CU_pSuite suite = CU_add_suite("builds", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_keep) || !CU_ADD_TEST(suite, test_not_kept) ||
	    !CU_ADD_TEST(suite, test_prune) || !CU_ADD_TEST(suite, test_owner))
		return -1;
	return 0;
}
