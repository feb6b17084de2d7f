/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protection.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

#define PARSE_OPTIONS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)

void vmft_protection_host_name(const char *node, char ret[static VMFT_HOST_NAME_MAX + 1])
{
	size_t n = 0;

	for (; n < VMFT_HOST_NAME_MAX && node[n] && node[n] != '.'; n++) {
		const char c = node[n];
		const bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				  (c >= '0' && c <= '9') || c == '_';

		ret[n] = '-';
		if (fits)
			ret[n] = c;
	}
	ret[n] = '\0';
}

int vmft_protection_pair_text(const struct vmft_protection *p, char ret[static VMFT_PAIR_TEXT_MAX],
			      struct vmft_error *err)
{
	struct vmft_pair_config *config;
	int n, r;

	n = snprintf(ret, VMFT_PAIR_TEXT_MAX,
		     VMFT_PAIR_MARK
		     "\n[pair]\nname = %s\nuuid = %s\narbiter = %s\nstrategy = %s\n"
		     "start = alone\n[host %s]\nchannel = %s\n[host %s]\nchannel = %s\n",
		     p->vm, p->uuid, p->arbiter, p->strategy, p->host[0], p->channel[0], p->host[1],
		     p->channel[1]);
	if (n < 0 || (size_t)n >= VMFT_PAIR_TEXT_MAX)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_CONFIG,
				      "the pair file would be too long");
	config = malloc(sizeof(*config));
	if (!config)
		return vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "out of memory");
	/* A newline in one of the texts would have begun a key of its own. */
	r = vmft_pair_config_parse("pair file", ret, (size_t)n, config, err);
	if (r == 0 &&
	    (strcmp(config->name, p->vm) != 0 || strcmp(config->arbiter, p->arbiter) != 0))
		r = vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				   "the arbiter cannot stand in a pair file");
	free(config);
	return r < 0 ? r : n;
}

/* --- XML ---------------------------------------------------------------------- */

static bool is_element(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static xmlNode *child_of(xmlNode *node, const char *name)
{
	for (xmlNode *child = node ? node->children : NULL; child; child = child->next)
		if (is_element(child, name))
			return child;
	return NULL;
}

/* Made where there is none. */
static xmlNode *need_child(xmlNode *node, const char *name)
{
	xmlNode *child = child_of(node, name);

	return child ? child : xmlNewChild(node, NULL, (const xmlChar *)name, NULL);
}

static bool is_ours(const xmlNode *node)
{
	return is_element(node, "protection") && node->ns && node->ns->href &&
	       strcmp((const char *)node->ns->href, VMFT_METADATA_URI) == 0;
}

static xmlNode *protection_of(xmlNode *root)
{
	xmlNode *metadata = child_of(root, "metadata");

	for (xmlNode *child = metadata ? metadata->children : NULL; child; child = child->next)
		if (is_ours(child))
			return child;
	return NULL;
}

static void set_attribute(xmlNode *node, const char *name, const char *value)
{
	(void)xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

/* What the emulator was before the first protection. */
static xmlChar *emulator_before(xmlNode *root, xmlNode *emulator)
{
	xmlNode *ours = protection_of(root);
	xmlChar *kept = ours ? xmlGetNoNsProp(ours, (const xmlChar *)"emulator") : NULL;

	return kept ? kept : xmlNodeGetContent(emulator);
}

static void add_protection(xmlNode *root, const struct vmft_protection *p, const xmlChar *before)
{
	xmlNode *old = protection_of(root);
	xmlNode *node =
	    xmlNewChild(need_child(root, "metadata"), NULL, (const xmlChar *)"protection", NULL);

	xmlSetNs(node, xmlNewNs(node, (const xmlChar *)VMFT_METADATA_URI,
				(const xmlChar *)VMFT_METADATA_PREFIX));
	if (before && before[0])
		set_attribute(node, "emulator", (const char *)before);
	set_attribute(node, "strategy", p->strategy);
	set_attribute(node, "arbiter", p->arbiter);
	set_attribute(node, "backup", p->uri);
	for (int i = 0; i < VMFT_PROTECTION_HOSTS; i++) {
		xmlNode *host = xmlNewChild(node, node->ns, (const xmlChar *)"host", NULL);

		set_attribute(host, "name", p->host[i]);
		set_attribute(host, "channel", p->channel[i]);
	}
	if (old) {
		xmlUnlinkNode(old);
		xmlFreeNode(old);
	}
}

static char *print_document(xmlDoc *document)
{
	xmlChar *bytes = NULL;
	char *text;
	int n = 0;

	xmlDocDumpMemory(document, &bytes, &n);
	text = bytes ? strndup((const char *)bytes, (size_t)n) : NULL;
	xmlFree(bytes);
	return text;
}

static xmlDoc *read_document(const char *xml, struct vmft_error *err)
{
	const size_t n = strlen(xml);
	xmlDoc *document = n <= VMFT_DOMAIN_XML_MAX
			       ? xmlReadMemory(xml, (int)n, "domain.xml", NULL, PARSE_OPTIONS)
			       : NULL;
	xmlNode *root = document ? xmlDocGetRootElement(document) : NULL;

	if (root && is_element(root, "domain") && child_of(root, "devices"))
		return document;
	xmlFreeDoc(document);
	(void)vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG, "this is not the XML of a domain");
	return NULL;
}

static void set_emulator(xmlNode *root, const char *path)
{
	xmlNode *emulator = need_child(child_of(root, "devices"), "emulator");
	/* Escaped: the content of a node is XML. */
	xmlChar *text = xmlEncodeSpecialChars(root->doc, (const xmlChar *)path);

	xmlNodeSetContent(emulator, text);
	xmlFree(text);
}

char *vmft_protection_domain(const char *xml, const struct vmft_protection *p, const char *emulator,
			     struct vmft_error *err)
{
	xmlDoc *document = read_document(xml, err);
	xmlChar *before;
	xmlNode *root;
	char *text;

	if (!document)
		return NULL;
	root = xmlDocGetRootElement(document);
	before = emulator_before(root, child_of(child_of(root, "devices"), "emulator"));
	add_protection(root, p, before);
	set_emulator(root, emulator);
	text = print_document(document);
	xmlFree(before);
	xmlFreeDoc(document);
	if (!text)
		(void)vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "out of memory");
	return text;
}

static xmlNode *need_protection(xmlNode *root, struct vmft_error *err)
{
	xmlNode *ours = protection_of(root);

	if (!ours)
		(void)vmft_error_set(err, -ENOENT, VMFT_EXIT_CONFIG,
				     "the domain is not protected by vmft protect");
	return ours;
}

/* The last host's. */
static void channel_of(const xmlNode *ours, char ret[static 64])
{
	ret[0] = '\0';
	for (const xmlNode *child = ours->children; child; child = child->next) {
		xmlChar *text = is_element(child, "host")
				    ? xmlGetNoNsProp(child, (const xmlChar *)"channel")
				    : NULL;

		if (text)
			(void)snprintf(ret, 64, "%s", (const char *)text);
		xmlFree(text);
	}
}

char *vmft_protection_backup(const char *xml, char ret_channel[static 64], struct vmft_error *err)
{
	xmlDoc *document = read_document(xml, err);
	xmlChar *uri = NULL;
	char *text = NULL;
	xmlNode *ours;

	if (!document)
		return NULL;
	ours = need_protection(xmlDocGetRootElement(document), err);
	if (ours)
		uri = xmlGetNoNsProp(ours, (const xmlChar *)"backup");
	if (uri) {
		text = strdup((const char *)uri);
		channel_of(ours, ret_channel);
	}
	xmlFree(uri);
	xmlFreeDoc(document);
	return text;
}

char *vmft_protection_undo(const char *xml, struct vmft_error *err)
{
	xmlDoc *document = read_document(xml, err);
	xmlNode *root, *ours, *emulator;
	char *text = NULL;
	xmlChar *before;

	if (!document)
		return NULL;
	root = xmlDocGetRootElement(document);
	ours = need_protection(root, err);
	if (!ours)
		goto free_document;
	before = xmlGetNoNsProp(ours, (const xmlChar *)"emulator");
	emulator = child_of(child_of(root, "devices"), "emulator");
	if (before) {
		set_emulator(root, (const char *)before);
	} else if (emulator) {
		/* libvirt chooses its default. */
		xmlUnlinkNode(emulator);
		xmlFreeNode(emulator);
	}
	xmlFree(before);
	xmlUnlinkNode(ours);
	xmlFreeNode(ours);
	text = print_document(document);
	if (!text)
		(void)vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "out of memory");
free_document:
	xmlFreeDoc(document);
	return text;
}
