/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which socket "vmft status web1" asks on. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/cli/sides.h"
#include "suites.h"

static void make_socket(const char *directory, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%.40s/%.40s", directory, name);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

/* want: the name found in the directory, or NULL and what is said. */
static void finds(const char *directory, const char *word, const char *want, const char *says)
{
	char found[VMFT_SOCKET_PATH_MAX], path[128];
	struct vmft_error err = {0};
	int rc = vmft_socket_find(directory, word, found, sizeof(found), &err);

	CU_ASSERT_EQUAL(rc, want ? 0 : -ENOENT);
	if (!want) {
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
		return;
	}
	(void)snprintf(path, sizeof(path), "%s%s%s", *want == '/' ? "" : directory,
		       *want == '/' ? "" : "/", want);
	CU_ASSERT_STRING_EQUAL(found, path);
}

/* All of them, sorted; a file that is no socket, and a name that is no side's, are left out. */
static void check_list(const char *directory)
{
	struct vmft_side_socket side[8];
	char path[128];
	FILE *file;

	make_socket(directory, "other");
	(void)snprintf(path, sizeof(path), "%s/file.sock", directory);
	file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	(void)fclose(file);
	CU_ASSERT_EQUAL(vmft_sides_list(directory, side, 8), 4);
	CU_ASSERT_STRING_EQUAL(side[0].name, "a.b.backup");
	CU_ASSERT_STRING_EQUAL(side[3].name, "web1.primary");
	CU_ASSERT_EQUAL(strncmp(side[3].path, directory, strlen(directory)), 0);
	CU_ASSERT_EQUAL(vmft_sides_list(directory, side, 2), 2);
	CU_ASSERT_EQUAL(vmft_sides_list("/nowhere", side, 8), 0);
	CU_ASSERT_EQUAL(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/other", directory);
	CU_ASSERT_EQUAL(unlink(path), 0);
}

static void test_find(void)
{
	static const char *const names[] = {"web1.primary.sock", "db.primary.sock", "db.spare.sock",
					    "a.b.backup.sock"};
	char directory[] = "/tmp/vmft-unit-XXXXXX", path[128], longest[200];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		make_socket(directory, names[i]);
	finds(directory, "web1", "web1.primary.sock", NULL);
	finds(directory, "web1.primary", "web1.primary.sock", NULL);
	finds(directory, "a.b", "a.b.backup.sock", NULL);
	finds(directory, "db.spare", "db.spare.sock", NULL);
	finds(directory, "db", NULL, "db: more than one side");
	finds(directory, "web", NULL, "web: no side of a VM of that name");
	finds(directory, "web1.backup", NULL, "no side of a VM");
	finds(directory, "a", NULL, "no side of a VM");
	finds(directory, "", NULL, "no side of a VM");
	/* A path is taken as it is. Whether somebody listens there is found out later. */
	finds(directory, "/nowhere/x.sock", "/nowhere/x.sock", NULL);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	finds(directory, longest, NULL, "no side of a VM");
	longest[0] = '/';
	finds(directory, longest, NULL, "path too long");
	check_list(directory);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		CU_ASSERT_EQUAL(unlink(path), 0);
	}
	CU_ASSERT_EQUAL(rmdir(directory), 0);
}

int vmft_suite_sides(void)
{
	CU_pSuite suite = CU_add_suite("sides", NULL, NULL);

	return suite && CU_add_test(suite, "find", test_find) ? 0 : -1;
}
