/* SPDX-License-Identifier: GPL-2.0-or-later */
/* monitor/wrapper/find-pair.c: a libvirt domain finds its pair, its host and its role. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "monitor/wrapper/find-pair.h"
#include "pair_text.h"
#include "suites.h"

#define UUID	  "c7a5fdbd-edaf-9455-926a-d65c16db1809"
#define UUID_HIGH "C7A5FDBD-EDAF-9455-926A-D65C16DB1809"

static struct vmft_pair_config config;
static struct vmft_error err;

static void load(const char *text)
{
	CU_ASSERT_EQUAL_FATAL(pair_parse(text, &config, &err), 0);
}

static int read_line(struct vmft_line_domain *ret, int argc, const char *const *argv)
{
	return vmft_domain_read(argc, (char *const *)argv, ret, &err);
}

#define READ(ret, ...)                                                                             \
	read_line(ret, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),              \
		  (const char *[]){__VA_ARGS__})

static void test_line(void)
{
	struct vmft_line_domain domain;

	CU_ASSERT_EQUAL(
	    READ(&domain, "qemu", "-name", "guest=web1,debug-threads=on", "-S", "-uuid", UUID), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "web1");
	CU_ASSERT_STRING_EQUAL(domain.uuid, UUID);
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "--name", "web2"), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "web2");
	CU_ASSERT_STRING_EQUAL(domain.uuid, "");
	/* Words that only look like options. */
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-append", "-name", "-kernel", "-uuid"), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "");
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-name"), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "");
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-name", "process=x"), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "");
}

/* The name is a part of a path. */
static void test_bad_names(void)
{
	struct vmft_line_domain domain;

	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-name", "guest=../../tmp/x"), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'../../tmp/x'"));
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-name", "guest=.hidden"), -EINVAL);
	CU_ASSERT_EQUAL(READ(&domain, "qemu", "-name", "guest=my vm"), -EINVAL);
}

static void test_file(void)
{
	struct vmft_line_domain domain = {.name = "web1", .uuid = UUID_HIGH};

	load(PAIR "uuid = " UUID "\n" ALPHA BETA);
	CU_ASSERT_STRING_EQUAL(config.uuid, UUID);
	CU_ASSERT_EQUAL(vmft_domain_check(&domain, "f", &config, &err), 0);
	CU_ASSERT_EQUAL(vmft_domain_check_uuid(&domain, "f", &config, &err), 0);
	domain.uuid[0] = 'd';
	CU_ASSERT_EQUAL(vmft_domain_check_uuid(&domain, "f", &config, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "another VM"));
	domain.uuid[0] = '\0';
	CU_ASSERT_EQUAL(vmft_domain_check_uuid(&domain, "f", &config, &err), 0);
	/* A file that was copied from another VM's. */
	(void)snprintf(domain.name, sizeof(domain.name), "web2");
	CU_ASSERT_EQUAL(vmft_domain_check(&domain, "f", &config, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "name = web1"));
	load(PAIR "uuid = " UUID_HIGH "\n" ALPHA BETA);
	CU_ASSERT_STRING_EQUAL(config.uuid, UUID);
}

static void test_bad_uuids(void)
{
	CU_ASSERT_EQUAL(pair_parse(PAIR "uuid = 1\n" ALPHA BETA, &config, &err), -EINVAL);
	CU_ASSERT_EQUAL(pair_parse(PAIR "uuid = g7a5fdbd-edaf-9455-926a-d65c16db1809\n" ALPHA BETA,
				   &config, &err),
			-EINVAL);
	CU_ASSERT_EQUAL(pair_parse(PAIR "uuid = c7a5fdbdeedaf-9455-926a-d65c16db1809\n" ALPHA BETA,
				   &config, &err),
			-EINVAL);
}

static void test_host(void)
{
	enum vmft_host host = VMFT_HOST_COUNT;

	load(PAIR ALPHA BETA GAMMA);
	CU_ASSERT_EQUAL(vmft_domain_host(&config, (bool[]){false, true, false}, &host, &err), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_SECOND);
	CU_ASSERT_EQUAL(vmft_domain_host(&config, (bool[]){false, false, true}, &host, &err), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_THIRD);
	CU_ASSERT_EQUAL(vmft_domain_host(&config, (bool[]){false, false, false}, &host, &err),
			-EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "10.9.0.1:7700"));
	CU_ASSERT_EQUAL(vmft_domain_host(&config, (bool[]){true, true, false}, &host, &err),
			-EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "[host alpha] and [host beta]"));
	/* A section that is not there is nobody's. */
	load(PAIR ALPHA BETA);
	CU_ASSERT_EQUAL(vmft_domain_host(&config, (bool[]){true, false, true}, &host, &err), 0);
	CU_ASSERT_EQUAL(host, VMFT_HOST_FIRST);
}

#define BY(host) "0123456789abcdef0123456789abcdef " host " on machine since 1"

/* The choice of alpha, and what it says of it. */
static void role_is(const struct vmft_arbiter_latest *latest, enum vmft_role role,
		    enum vmft_role_reason reason, const char *words)
{
	const struct vmft_role_choice choice = vmft_domain_role(&config, VMFT_HOST_FIRST, latest);
	char text[512];

	CU_ASSERT_EQUAL(choice.role, role);
	CU_ASSERT_EQUAL(choice.reason, reason);
	vmft_domain_role_text(&config, &choice, latest, text, sizeof(text));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, words));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, role == VMFT_ROLE_PRIMARY ? "the primary" : "backup"));
}

static void test_role(void)
{
	load(PAIR ALPHA BETA);
	role_is(&(struct vmft_arbiter_latest){0}, VMFT_ROLE_PRIMARY, VMFT_ROLE_VM_IS_NEW,
		"never run");
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .owner = BY("beta")},
		VMFT_ROLE_BACKUP, VMFT_ROLE_HELD, "beta has generation 3");
	/* Nobody but a person can know that this guest does not go on elsewhere. */
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .owner = BY("alpha")},
		VMFT_ROLE_BACKUP, VMFT_ROLE_LOST_HERE, "vmft declare-dead web1");
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .ended = true, .owner = BY("alpha")},
		VMFT_ROLE_PRIMARY, VMFT_ROLE_VM_ENDED, "ended on this host");
	/* The guest may have run on beta without a backup: only beta's images are whole. */
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .ended = true, .owner = BY("beta")},
		VMFT_ROLE_BACKUP, VMFT_ROLE_ENDED_THERE, "VMFT_ROLE=primary");
	role_is(
	    &(struct vmft_arbiter_latest){
		.generation = 3, .ended = true, .declared = true, .owner = BY("beta")},
	    VMFT_ROLE_PRIMARY, VMFT_ROLE_VM_DECLARED, "declared dead");
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .ended = true, .owner = BY("bet")},
		VMFT_ROLE_PRIMARY, VMFT_ROLE_VM_LEFT, "does not have");
	role_is(&(struct vmft_arbiter_latest){.generation = 3, .owner = "garbage"},
		VMFT_ROLE_BACKUP, VMFT_ROLE_HELD, "another host");
}

int vmft_suite_find_pair(void)
{
	static CU_TestInfo tests[] = {
	    {"the command line", test_line},
	    {"names that are no file's", test_bad_names},
	    {"the pair file", test_file},
	    {"bad UUIDs", test_bad_uuids},
	    {"the host", test_host},
	    {"the role", test_role},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"libvirt's domain", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
