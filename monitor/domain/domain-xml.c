/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "domain-xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

/* No entity is replaced, nothing is fetched, and nothing is printed: the parser's own messages are
 * many lines. */
#define PARSE_OPTIONS                                                                              \
	(XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS)

static bool is_element(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static const xmlNode *child_of(const xmlNode *node, const char *name)
{
	for (const xmlNode *child = node ? node->children : NULL; child; child = child->next)
		if (is_element(child, name))
			return child;
	return NULL;
}

/* Takes over text. */
static int keep(xmlChar *text, char *ret, size_t size)
{
	const int n = snprintf(ret, size, "%s", text ? (const char *)text : "");

	xmlFree(text);
	return n < 0 || (size_t)n >= size ? -E2BIG : 0;
}

static int content_of(const xmlNode *node, char *ret, size_t size)
{
	return keep(node ? xmlNodeGetContent(node) : NULL, ret, size);
}

static int attribute_of(const xmlNode *node, const char *name, char *ret, size_t size)
{
	return keep(node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL, ret, size);
}

/* The attribute that says where a disk's or a card's other end is depends on its type. */
static const char *source_attribute(const char *type)
{
	static const char *const names[][2] = {
	    {"file", "file"},	    {"block", "dev"},  {"bridge", "bridge"},
	    {"network", "network"}, {"direct", "dev"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(type, names[i][0]) == 0)
			return names[i][1];
	return NULL;
}

static int read_disk(const xmlNode *node, struct vmft_domain_definition *ret)
{
	struct vmft_domain_disk *disk = &ret->disk[ret->disk_count];
	const xmlNode *source = child_of(node, "source");
	char type[16];
	int r;

	if (ret->disk_count == VMFT_DOMAIN_DISKS_MAX)
		return -E2BIG;
	ret->disk_count++;
	*disk = (struct vmft_domain_disk){.read_only = child_of(node, "readonly") != NULL};
	r = attribute_of(node, "type", type, sizeof(type));
	if (r == 0)
		r = attribute_of(child_of(node, "target"), "dev", disk->target,
				 sizeof(disk->target));
	if (r == 0)
		r = attribute_of(child_of(node, "driver"), "type", disk->format,
				 sizeof(disk->format));
	if (r < 0)
		return r;
	/* In a domain's XML "network" is a remote image, "volume" one of a pool. */
	disk->is_remote = strcmp(type, "file") != 0 && strcmp(type, "block") != 0;
	if (disk->is_remote)
		return 0;
	return attribute_of(source, source_attribute(type), disk->path, sizeof(disk->path));
}

static int read_nic(const xmlNode *node, struct vmft_domain_definition *ret)
{
	struct vmft_domain_nic *nic = &ret->nic[ret->nic_count];
	const char *name;
	int r;

	if (ret->nic_count == VMFT_DOMAIN_NICS_MAX)
		return -E2BIG;
	ret->nic_count++;
	*nic = (struct vmft_domain_nic){0};
	r = attribute_of(node, "type", nic->type, sizeof(nic->type));
	name = source_attribute(nic->type);
	if (r == 0 && name)
		r = attribute_of(child_of(node, "source"), name, nic->source, sizeof(nic->source));
	if (r == 0)
		r = attribute_of(child_of(node, "target"), "dev", nic->target, sizeof(nic->target));
	return r;
}

static int read_devices(const xmlNode *devices, struct vmft_domain_definition *ret)
{
	int r = content_of(child_of(devices, "emulator"), ret->emulator, sizeof(ret->emulator));

	for (const xmlNode *node = devices ? devices->children : NULL; r == 0 && node;
	     node = node->next) {
		if (is_element(node, "disk"))
			r = read_disk(node, ret);
		else if (is_element(node, "interface"))
			r = read_nic(node, ret);
	}
	return r;
}

static int read_domain(const xmlNode *root, struct vmft_domain_definition *ret)
{
	char type[16];
	int r;

	if (!root || !is_element(root, "domain"))
		return -EINVAL;
	r = attribute_of(root, "type", type, sizeof(type));
	if (r == 0)
		r = content_of(child_of(root, "name"), ret->name, sizeof(ret->name));
	if (r == 0)
		r = content_of(child_of(root, "uuid"), ret->uuid, sizeof(ret->uuid));
	if (r == 0)
		r = read_devices(child_of(root, "devices"), ret);
	ret->is_kvm = strcmp(type, "kvm") == 0;
	return r == 0 && !ret->name[0] ? -EINVAL : r;
}

int vmft_domain_parse(const char *xml, size_t n, struct vmft_domain_definition *ret,
		      struct vmft_error *err)
{
	struct vmft_domain_definition domain = {0};
	xmlDoc *document;
	int r;

	if (n > VMFT_DOMAIN_XML_MAX)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_CONFIG,
				      "the domain's XML has %zu bytes; at most %u are read", n,
				      VMFT_DOMAIN_XML_MAX);
	document = xmlReadMemory(xml, (int)n, "domain.xml", NULL, PARSE_OPTIONS);
	r = document ? read_domain(xmlDocGetRootElement(document), &domain) : -EINVAL;
	xmlFreeDoc(document);
	if (r == -E2BIG)
		return vmft_error_set(err, r, VMFT_EXIT_UNPROTECTED,
				      "the domain has more than %u disks or %u network cards, or a "
				      "name or path that is too long",
				      VMFT_DOMAIN_DISKS_MAX, VMFT_DOMAIN_NICS_MAX);
	if (r < 0)
		return vmft_error_set(err, r, VMFT_EXIT_CONFIG,
				      "this is not the XML of a domain, or it has no name");
	*ret = domain;
	return 0;
}
