/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain's XML, libvirt's command line, the URI of a host, and what two hosts say of a domain. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/domain/conditions.h"
#include "monitor/domain/domain-xml.h"
#include "monitor/domain/native-line.h"
#include "monitor/domain/protection.h"
#include "monitor/domain/reach.h"
#include "suites.h"

static struct vmft_domain_definition domain;
static struct vmft_error err;

/* --- XML ---------------------------------------------------------------------- */

static int parse(const char *xml)
{
	return vmft_domain_parse(xml, strlen(xml), &domain, &err);
}

static const char web[] =
    "<domain type='kvm'><name>web1</name><uuid>689e8ee1-9466-41d6-99bd-aede3a7cdbdb</uuid>"
    "<metadata><x:name xmlns:x='http://x/'>other</x:name></metadata>"
    "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/a.img'/>"
    "<target dev='vda' bus='virtio'/></disk>"
    "<disk type='block' device='disk'><source dev='/dev/vg/b'/><target dev='vdb'/></disk>"
    "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"
    "<disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vdc'/>"
    "</disk>"
    "<interface type='bridge'><source bridge='br0'/><target dev='vnet3'/></interface>"
    "<interface type='network'><source network='default'/></interface>"
    "<interface type='ethernet'><target dev='tap7' managed='no'/></interface>"
    "<interface type='direct'><source dev='eth0' mode='bridge'/></interface>"
    "<interface type='user'/></devices></domain>";

static void test_xml(void)
{
	CU_ASSERT_EQUAL_FATAL(parse(web), 0);
	CU_ASSERT_STRING_EQUAL(domain.name, "web1");
	CU_ASSERT_STRING_EQUAL(domain.uuid, "689e8ee1-9466-41d6-99bd-aede3a7cdbdb");
	CU_ASSERT_STRING_EQUAL(domain.emulator, "/usr/bin/qemu-system-x86_64");
	CU_ASSERT(domain.is_kvm);
	CU_ASSERT_EQUAL_FATAL(domain.disk_count, 4);
	CU_ASSERT_STRING_EQUAL(domain.disk[0].path, "/srv/a.img");
	CU_ASSERT_STRING_EQUAL(domain.disk[0].target, "vda");
	CU_ASSERT_STRING_EQUAL(domain.disk[1].path, "/dev/vg/b");
	CU_ASSERT_STRING_EQUAL(domain.disk[2].path, "");
	CU_ASSERT(domain.disk[2].read_only && !domain.disk[2].is_remote);
	CU_ASSERT(domain.disk[3].is_remote);
	CU_ASSERT_EQUAL_FATAL(domain.nic_count, 5);
	CU_ASSERT_STRING_EQUAL(domain.nic[0].source, "br0");
	CU_ASSERT_STRING_EQUAL(domain.nic[0].target, "vnet3");
	CU_ASSERT_STRING_EQUAL(domain.nic[1].source, "default");
	CU_ASSERT_STRING_EQUAL(domain.nic[2].target, "tap7");
	CU_ASSERT_STRING_EQUAL(domain.nic[3].source, "eth0");
	CU_ASSERT_STRING_EQUAL(domain.nic[4].type, "user");
}

/* What is refused leaves the domain alone. */
static void test_xml_refused(void)
{
	char xml[8192] = "<domain><name>n</name><devices>";
	char name[400];

	CU_ASSERT_EQUAL(parse(web), 0);
	CU_ASSERT_EQUAL(parse(""), -EINVAL);
	CU_ASSERT_EQUAL(parse("<domain><name>n"), -EINVAL);
	CU_ASSERT_EQUAL(parse("<network><name>n</name></network>"), -EINVAL);
	CU_ASSERT_EQUAL(parse("<domain type='kvm'/>"), -EINVAL);
	CU_ASSERT_EQUAL(parse("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
			      "<domain type='kvm'><name>&e;</name></domain>"),
			-EINVAL);
	for (int i = 0; i < 17; i++)
		strcat(xml, "<disk type='file'><source file='/a'/></disk>");
	strcat(xml, "</devices></domain>");
	CU_ASSERT_EQUAL(parse(xml), -E2BIG);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(xml, sizeof(xml), "<domain><name>%s</name></domain>", name);
	CU_ASSERT_EQUAL(parse(xml), -E2BIG);
	CU_ASSERT_EQUAL(vmft_domain_parse(web, VMFT_DOMAIN_XML_MAX + 1, &domain, &err), -E2BIG);
	CU_ASSERT_STRING_EQUAL(domain.name, "web1");
}

/* --- the command line --------------------------------------------------------- */

static void test_line(void)
{
	struct vmft_arena *arena = vmft_arena_new();
	char **words;

	CU_ASSERT_EQUAL_FATAL(
	    vmft_native_line_split(
		"LC_ALL=C \\\nHOME=/var/lib/x \\\n/usr/bin/qemu \\\n-name guest=a "
		"-append '' -object '{\"id\":\"a b\"}' -x 'it'\\''s'\n",
		arena, &words),
	    9);
	CU_ASSERT_STRING_EQUAL(words[0], "/usr/bin/qemu");
	CU_ASSERT_STRING_EQUAL(words[2], "guest=a");
	CU_ASSERT_STRING_EQUAL(words[4], "");
	CU_ASSERT_STRING_EQUAL(words[6], "{\"id\":\"a b\"}");
	CU_ASSERT_STRING_EQUAL(words[8], "it's");
	CU_ASSERT_PTR_NULL(words[9]);
	CU_ASSERT_EQUAL(vmft_native_line_split("qemu 'open", arena, &words), -EINVAL);
	CU_ASSERT_EQUAL(vmft_native_line_split(" \n", arena, &words), -EINVAL);
	CU_ASSERT_EQUAL(vmft_native_line_split("A=b", arena, &words), -EINVAL);
	vmft_arena_free(arena);
}

/* --- hosts -------------------------------------------------------------------- */

static void test_reach(void)
{
	struct vmft_reach reach;

	CU_ASSERT_EQUAL(vmft_reach_parse("qemu:///system", &reach, &err), 0);
	CU_ASSERT(reach.is_here);
	CU_ASSERT_EQUAL(vmft_reach_parse("qemu+unix:///system?socket=/a", &reach, &err), 0);
	CU_ASSERT(reach.is_here);
	CU_ASSERT_EQUAL(
	    vmft_reach_parse("qemu+ssh://root@b.example:2222/system?keyfile=/k%20k&no_tty=1",
			     &reach, &err),
	    0);
	CU_ASSERT(!reach.is_here);
	CU_ASSERT_STRING_EQUAL(reach.host, "b.example");
	CU_ASSERT_STRING_EQUAL(reach.user, "root");
	CU_ASSERT_STRING_EQUAL(reach.port, "2222");
	CU_ASSERT_STRING_EQUAL(reach.keyfile, "/k k");
	CU_ASSERT_STRING_EQUAL(reach.command, "");
	CU_ASSERT_EQUAL(vmft_reach_parse("qemu+tls://b/system", &reach, &err), -ENOTSUP);
	CU_ASSERT_EQUAL(vmft_reach_parse("xen+ssh://b/", &reach, &err), -EINVAL);
	CU_ASSERT_EQUAL(vmft_reach_parse("hostb", &reach, &err), -EINVAL);
	/* ssh would take it for an option. */
	CU_ASSERT_EQUAL(vmft_reach_parse("qemu+ssh://-oProxyCommand=x/system", &reach, &err),
			-EINVAL);
	CU_ASSERT_STRING_EQUAL(reach.host, "b.example");
}

/* --- protection --------------------------------------------------------------- */

static const struct vmft_protection protection = {
    .vm = "web1",
    .uuid = "689e8ee1-9466-41d6-99bd-aede3a7cdbdb",
    .arbiter = "file:/mnt/a",
    .strategy = "auto",
    .host = {"alpha", "beta"},
    .channel = {"10.9.0.1:7700", "10.9.0.2:7700"},
    .uri = "qemu+ssh://beta/system?a=b&c=d",
};

static void test_pair_text(void)
{
	struct vmft_protection p = protection;
	static struct vmft_pair_config config;
	char text[VMFT_PAIR_TEXT_MAX], name[VMFT_HOST_NAME_MAX + 1];

	CU_ASSERT(vmft_protection_pair_text(&p, text, &err) > 0);
	CU_ASSERT_EQUAL(vmft_pair_config_parse("x", text, strlen(text), &config, &err), 0);
	CU_ASSERT_STRING_EQUAL(config.uuid, p.uuid);
	CU_ASSERT_EQUAL(config.start, VMFT_START_ALONE);
	CU_ASSERT_STRING_EQUAL(config.host[1].channel.text, "10.9.0.2:7700");
	/* A text that would begin a key of its own is found. */
	p.arbiter = "file:/a\nqemu = /tmp/evil";
	CU_ASSERT(vmft_protection_pair_text(&p, text, &err) < 0);
	p = protection;
	p.vm = "web 1";
	CU_ASSERT(vmft_protection_pair_text(&p, text, &err) < 0);
	vmft_protection_host_name("vm host!.example", name);
	CU_ASSERT_STRING_EQUAL(name, "vm-host-");
	vmft_protection_host_name("0123456789012345678901234567890", name);
	CU_ASSERT_EQUAL(strlen(name), VMFT_HOST_NAME_MAX);
}

/* There and back: the emulator is what it was, what others have in the metadata stays. */
static void test_protect_xml(void)
{
	char *once = vmft_protection_domain(web, &protection, "/opt/a&b/vmft-qemu", &err);
	char *twice, *back, *uri, channel[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(once);
	CU_ASSERT_EQUAL(parse(once), 0);
	CU_ASSERT_STRING_EQUAL(domain.emulator, "/opt/a&b/vmft-qemu");
	twice = vmft_protection_domain(once, &protection, "/usr/bin/vmft-qemu", &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(twice);
	CU_ASSERT_PTR_NULL(strstr(strstr(twice, "<vmft:protection") + 1, "<vmft:protection"));
	uri = vmft_protection_backup(twice, channel, &err);
	CU_ASSERT_STRING_EQUAL(uri, protection.uri);
	CU_ASSERT_STRING_EQUAL(channel, "10.9.0.2:7700");
	back = vmft_protection_undo(twice, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(back);
	CU_ASSERT_EQUAL(parse(back), 0);
	CU_ASSERT_STRING_EQUAL(domain.emulator, "/usr/bin/qemu-system-x86_64");
	CU_ASSERT_PTR_NULL(strstr(back, "protection"));
	CU_ASSERT_PTR_NOT_NULL(strstr(back, "<x:name"));
	CU_ASSERT_PTR_NULL(vmft_protection_undo(back, &err));
	CU_ASSERT_PTR_NULL(vmft_protection_backup(back, channel, &err));
	CU_ASSERT_PTR_NULL(vmft_protection_domain("<domain/>", &protection, "/q", &err));
	free(once);
	free(twice);
	free(back);
	free(uri);
}

/* --- conditions --------------------------------------------------------------- */

#define FACTS                                                                                      \
	"{\"version\":\"1\",\"wrapper\":\"/"                                                       \
	"w\",\"root\":true,\"kvm\":true,\"processor\":\"P\",\"clock_ns\":1000,"                    \
	"\"qemu\":{\"version\":\"7.2.22\",\"build\":\"aa\",\"tried\":true},"                       \
	"\"line\":{\"refused\":[],\"strategy\":\"lockstep\",\"reason\":\"r\",\"machine\":\"m\"},"  \
	"\"disks\":[{\"path\":\"/"                                                                 \
	"a\",\"is_there\":true,\"bytes\":5,\"guest_bytes\":5,\"free\":9}],"                        \
	"\"bridges\":[{\"name\":\"br0\",\"is_there\":true}],\"taps\":[],"                          \
	"\"channel\":{\"address\":\"10.0.0.1:7700\",\"is_local\":true,\"device\":\"e\",\"mtu\":"   \
	"1500},"                                                                                   \
	"\"arbiter\":{\"generation\":0,\"ended\":false,\"owner\":\"\",\"token\":\"t\"}}"

static const char simple[] =
    "<domain type='qemu'><name>web1</name><devices><disk type='file'><source file='/a'/><target "
    "dev='vda'/></disk><interface type='bridge'><source bridge='br0'/></interface></devices>"
    "</domain>";

static struct vmft_conditions found;

/* Judges; on the other host one text is replaced by another. */
static void judge(const char *old, const char *new)
{
	const struct vmft_link_figures link = {100000, 100000000};
	char text[sizeof(FACTS) + 200] = FACTS;
	char *at = strstr(text, old);
	struct vmft_evidence e = {
	    .domain = &domain,
	    .host = {"alpha", "beta"},
	    .asked_ns = 900,
	    .answered_ns = 1100,
	    .token = "t",
	    .link = &link,
	};

	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	(void)snprintf(at, sizeof(text) - (size_t)(at - text), "%s%s", new,
		       strstr(FACTS, old) + strlen(old));
	e.facts[VMFT_HERE] = json_tokener_parse(FACTS);
	e.facts[VMFT_THERE] = json_tokener_parse(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e.facts[VMFT_THERE]);
	vmft_conditions_judge(&e, &found);
	json_object_put(e.facts[VMFT_HERE]);
	json_object_put(e.facts[VMFT_THERE]);
}

/* The one condition of that result has these words. */
static void only(enum vmft_condition_result result, const char *what, const char *text)
{
	size_t n = 0;

	for (size_t i = 0; i < found.count; i++) {
		if (found.item[i].result != result)
			continue;
		n++;
		CU_ASSERT_PTR_NOT_NULL(strstr(found.item[i].what, what));
		CU_ASSERT_PTR_NOT_NULL(strstr(found.item[i].text, text));
	}
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(found.failed, result == VMFT_CONDITION_FAILED);
}

static void test_all_is_well(void)
{
	CU_ASSERT_EQUAL_FATAL(parse(simple), 0);
	judge("\"P\"", "\"P\"");
	CU_ASSERT_EQUAL(found.failed, 0);
	for (size_t i = 0; i < found.count; i++)
		CU_ASSERT_EQUAL(found.item[i].result, VMFT_CONDITION_PASSED);
	/* The image is made where it is not there. */
	judge("\"is_there\":true,\"bytes\":5,\"guest_bytes\":5,\"free\":9",
	      "\"is_there\":false,\"bytes\":0,\"free\":9");
	CU_ASSERT_EQUAL(found.failed, 0);
}

static void test_each_that_fails(void)
{
	static const struct {
		const char *old, *new, *what, *text;
	} cases[] = {
	    {"\"version\":\"1\"", "\"version\":\"2\"", "vmft", "install the same"},
	    {"\"build\":\"aa\",\"tried\":true", "\"error\":\"no QEMU; install it\"", "QEMU on beta",
	     "no QEMU"},
	    {"\"build\":\"aa\"", "\"build\":\"bb\"", "QEMU's builds", "--strategy checkpoint"},
	    {"\"refused\":[]", "\"refused\":[\"-x: no; do y\"]", "command line on beta", "do y"},
	    {"\"machine\":\"m\"", "\"machine\":\"n\"", "machine", "make those equal"},
	    {"\"guest_bytes\":5", "\"guest_bytes\":6", "disk vda", "as long"},
	    {"\"wrapper\":\"/w\"", "\"wrapper\":\"/x\"", "vmft-qemu", "same place"},
	    {"\"is_there\":true,\"bytes\":5,\"guest_bytes\":5,\"free\":9", "\"bytes\":0,\"free\":4",
	     "disk vda", "free"},
	    {"\"is_there\":true,\"bytes\":5,\"guest_bytes\":5,\"free\":9",
	     "\"error\":\"No such directory\"", "disk vda", "make its directory"},
	    {"\"name\":\"br0\"", "\"name\":\"br1\"", "bridge br0 on beta", "make it"},
	    {"\"is_local\":true", "\"is_local\":false", "channel on beta", "--channel"},
	    {"\"mtu\":1500", "\"mtu\":9000", "MTU", "equal"},
	    {"\"token\":\"t\"", "\"token\":\"u\"", "one arbiter", "another"},
	    {"\"generation\":0", "\"error\":\"gone\",\"generation\":0", "arbiter on beta", "gone"},
	};

	CU_ASSERT_EQUAL_FATAL(parse(simple), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		judge(cases[i].old, cases[i].new);
		only(VMFT_CONDITION_FAILED, cases[i].what, cases[i].text);
	}
}

static void test_each_that_is_noted(void)
{
	static const struct {
		const char *old, *new, *what, *text;
	} cases[] = {
	    {"\"tried\":true", "\"tried\":false", "QEMU on beta", "--self-test"},
	    {"\"root\":true", "\"root\":false", "user on beta", "root"},
	    {"\"generation\":0", "\"generation\":4", "arbiter on beta", "generation 4"},
	    {"\"clock_ns\":1000", "\"clock_ns\":5000000000", "clocks", "NTP"},
	};

	CU_ASSERT_EQUAL_FATAL(parse(simple), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		judge(cases[i].old, cases[i].new);
		only(VMFT_CONDITION_NOTED, cases[i].what, cases[i].text);
	}
}

/* What another host sends is not what it should be: each part is of another type. */
static void test_nonsense(void)
{
	CU_ASSERT_EQUAL_FATAL(parse(simple), 0);
	judge("\"disks\":[{\"path\":\"/"
	      "a\",\"is_there\":true,\"bytes\":5,\"guest_bytes\":5,\"free\":9}]",
	      "\"disks\":[7,null,[],{\"path\":3}]");
	CU_ASSERT(found.failed > 0);
	judge("\"qemu\":{\"version\":\"7.2.22\",\"build\":\"aa\",\"tried\":true}", "\"qemu\":[1]");
	judge("\"refused\":[]", "\"refused\":[{\"a\":1},null,3]");
	CU_ASSERT_EQUAL(found.failed, 3);
}

/* A host that cannot be asked: why, and nothing else about it. */
static void test_unanswered(void)
{
	struct vmft_evidence e = {
	    .domain = &domain,
	    .host = {"alpha", "beta"},
	    .facts = {json_tokener_parse(FACTS), NULL},
	    .unanswered = {NULL, "no answer; try ssh"},
	    .token = "t",
	};

	CU_ASSERT_EQUAL_FATAL(parse(simple), 0);
	vmft_conditions_judge(&e, &found);
	only(VMFT_CONDITION_FAILED, "vmft on beta", "try ssh");
	json_object_put(e.facts[VMFT_HERE]);
}

int vmft_suite_domains(void)
{
	CU_TestInfo tests[] = {
	    {"a domain's XML", test_xml},
	    {"XML that is refused", test_xml_refused},
	    {"libvirt's command line", test_line},
	    {"the URI of a host", test_reach},
	    {"a pair file for a domain", test_pair_text},
	    {"a domain's XML, protected and back", test_protect_xml},
	    {"all conditions are met", test_all_is_well},
	    {"each condition that fails", test_each_that_fails},
	    {"each condition that is noted", test_each_that_is_noted},
	    {"nonsense from the other host", test_nonsense},
	    {"a host that does not answer", test_unanswered},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"domain", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
