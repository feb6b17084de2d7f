/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XML of a domain, a command line of libvirt, and the answer of another host. */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/domain/conditions.h"
#include "monitor/domain/domain-xml.h"
#include "monitor/domain/native-line.h"

static void split(const char *text)
{
	struct vmft_arena *arena = vmft_arena_new();
	char **words;
	int count = vmft_native_line_split(text, arena, &words);

	for (int i = 0; i < count; i++)
		if (!words[i])
			abort();
	if (count == 0 || (count > 0 && words[count]))
		abort();
	vmft_arena_free(arena);
}

static void judge(const char *text, size_t size, const struct vmft_domain_definition *domain)
{
	static struct vmft_conditions found;
	struct json_tokener *tokener = json_tokener_new_ex(8);
	struct json_object *object = json_tokener_parse_ex(tokener, text, (int)size);
	const struct vmft_evidence evidence = {
	    .domain = domain,
	    .host = {"a", "b"},
	    .facts = {object, object},
	    .token = "t",
	    .link_error = "none",
	};

	if (json_object_is_type(object, json_type_object)) {
		vmft_conditions_judge(&evidence, &found);
		if (found.count == 0 || found.count > VMFT_CONDITIONS_MAX)
			abort();
	}
	json_object_put(object);
	json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vmft_domain_definition domain;
	struct vmft_error err = {0};
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (vmft_domain_parse(text, size, &domain, &err) < 0) {
		if (err.text[0] == '\0')
			abort();
	} else if (domain.name[0] == '\0' || domain.disk_count > VMFT_DOMAIN_DISKS_MAX ||
		   domain.nic_count > VMFT_DOMAIN_NICS_MAX) {
		abort();
	}
	split(text);
	judge(text, size, &domain);
	free(text);
	return 0;
}

static const char seed0[] =
    "<domain type='kvm'><name>w</name><uuid>u</uuid><devices><emulator>/q</emulator><disk "
    "type='file' device='disk'><source file='/a'/><target dev='vda'/><readonly/></disk><interface "
    "type='bridge'><source bridge='br0'/><target dev='v'/></interface></devices></domain>";
static const char seed1[] =
    "A=b /usr/bin/qemu -name guest=a -object '{\"a\":\"b c\"}' \\\n-x 'i'\\''t'";
static const char seed2[] =
    "{\"version\":\"1\",\"root\":true,\"kvm\":true,\"clock_ns\":1,\"qemu\":{\"version\":\"7\","
    "\"build\":\"aa\",\"tried\":true},\"line\":{\"refused\":[\"x\"],\"strategy\":\"lockstep\","
    "\"machine\":\"m\"},\"disks\":[{\"path\":\"/a\",\"is_there\":true,\"bytes\":5}],\"bridges\":[],"
    "\"channel\":{\"is_local\":true,\"mtu\":1500},\"arbiter\":{\"generation\":2,\"token\":\"t\"}}";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {seed0, sizeof(seed0) - 1},
    {seed1, sizeof(seed1) - 1},
    {seed2, sizeof(seed2) - 1},
    {0},
};
