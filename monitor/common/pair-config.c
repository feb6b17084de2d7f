/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair file, line by line and section by section. */
#define _GNU_SOURCE
#include "pair-config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exit-codes.h"
#include "logging-channel/read-whole.h"
#include "pair-parser.h"

int vmft_pair_refuse(struct vmft_pair_parser *p, const char *what, const char *value,
		     const char *todo)
{
	return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG, "%s:%d: %s '%.80s'; %s", p->path,
			      p->line, what, value, todo);
}

static const struct vmft_pair_key *keys_of(const struct vmft_pair_parser *p)
{
	return p->section == &p->pair ? vmft_pair_keys : vmft_pair_host_keys;
}

/* Where the fields of the section's keys are. */
static void *fields_of(struct vmft_pair_parser *p)
{
	if (p->section == &p->pair)
		return &p->config;
	return &p->config.host[p->section - p->host];
}

static int key_set(struct vmft_pair_parser *p, size_t index, const char *value)
{
	const struct vmft_pair_key *key = &keys_of(p)[index];

	if (p->section->key_line[index])
		return vmft_pair_refuse(p, "second", key->name, "keep one of them");
	p->section->key_line[index] = p->line;
	if (value[0] == '\0')
		return vmft_pair_refuse(p, "no value for", key->name,
					"write one or take the line out");
	return key->set(p, key, value, (char *)fields_of(p) + key->field);
}

static int take_key(struct vmft_pair_parser *p, const char *name, const char *value)
{
	const struct vmft_pair_key *keys;

	if (!p->section)
		return vmft_pair_refuse(p, "key before any section:", name, "put it under [pair]");
	keys = keys_of(p);
	for (size_t i = 0; keys[i].name; i++)
		if (strcmp(keys[i].name, name) == 0)
			return key_set(p, i, value);
	return vmft_pair_refuse(p, "unknown key", name, "see the list of keys in the manual");
}

int vmft_pair_line_of(const struct vmft_pair_parser *p, const char *names)
{
	int last = 0;

	for (size_t i = 0; vmft_pair_keys[i].name; i++) {
		const char *found = strstr(names, vmft_pair_keys[i].name);
		const size_t n = strlen(vmft_pair_keys[i].name);

		if (found && (found == names || found[-1] == '|') &&
		    (found[n] == '|' || found[n] == '\0') && p->pair.key_line[i] > last)
			last = p->pair.key_line[i];
	}
	return last;
}

/* --- sections ----------------------------------------------------------------- */

static const char *const old_names[VMFT_HOST_COUNT] = {
    [VMFT_HOST_FIRST] = "primary",
    [VMFT_HOST_SECOND] = "backup",
    [VMFT_HOST_THIRD] = "spare",
};

static int open_section(struct vmft_pair_parser *p, struct vmft_pair_section *section,
			const char *name)
{
	if (section->line)
		return vmft_pair_refuse(p, "second section", name, "put its keys together");
	p->section = section;
	section->line = p->line;
	return 0;
}

/* The name becomes a part of a file name under /run/vmft and in the arbiter. */
static bool is_host_name(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_-";
	const size_t len = strlen(name);

	return len > 0 && len <= VMFT_HOST_NAME_MAX && strspn(name, allowed) == len &&
	       name[0] != '-';
}

/* [host NAME]: in the order of the file. */
static int open_named_host(struct vmft_pair_parser *p, const char *name)
{
	enum vmft_host host = 0;

	if (!is_host_name(name))
		return vmft_pair_refuse(p, "bad host name", name, "use 1 to 27 of A-Z a-z 0-9 _ -");
	/* A log line would seem to say the role of the moment. */
	if (strcmp(name, "primary") == 0 || strcmp(name, "backup") == 0)
		return vmft_pair_refuse(p, "a role for a host's name:", name,
					"write what the host is called");
	while (host < VMFT_HOST_COUNT && p->host[host].line) {
		if (strcmp(p->config.host[host].name, name) == 0)
			return vmft_pair_refuse(p, "second section for host", name,
						"put its keys together");
		host++;
	}
	if (host == VMFT_HOST_COUNT)
		return vmft_pair_refuse(p, "a fourth host:", name, "keep three at most");
	memcpy(p->config.host[host].name, name, strlen(name) + 1);
	p->named = true;
	return open_section(p, &p->host[host], name);
}

static bool has_old_host(const struct vmft_pair_parser *p)
{
	return !p->named && (p->host[0].line || p->host[1].line || p->host[2].line);
}

static int open_any_section(struct vmft_pair_parser *p, const char *name)
{
	static const char mixed[] =
	    "use [host NAME] for all hosts, or [primary], [backup], [spare]";

	if (strcmp(name, "pair") == 0)
		return open_section(p, &p->pair, name);
	if (strncmp(name, "host ", 5) == 0)
		return has_old_host(p)
			   ? vmft_pair_refuse(p, "both kinds of host sections:", name, mixed)
			   : open_named_host(p, name + 5);
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		if (strcmp(old_names[host], name) == 0)
			return p->named ? vmft_pair_refuse(p, "both kinds of host sections:", name,
							   mixed)
					: open_section(p, &p->host[host], name);
	return vmft_pair_refuse(p, "unknown section", name,
				"the sections are [pair] and a [host NAME] for each host");
}

/* After all lines were read. */
static void name_hosts(struct vmft_pair_parser *p)
{
	p->config.named = p->named;
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++) {
		struct vmft_pair_side *side = &p->config.host[host];

		p->config.has_host[host] = p->host[host].line != 0;
		if (!p->named)
			memcpy(side->name, old_names[host], strlen(old_names[host]) + 1);
		(void)snprintf(side->section, sizeof(side->section), "%s%s",
			       p->named ? "host " : "", side->name);
	}
}

/* --- lines ---------------------------------------------------------------------- */

static int check_bytes(struct vmft_pair_parser *p)
{
	int line = 1;

	for (size_t i = 0; i < p->size; i++) {
		unsigned char c = (unsigned char)p->text[i];

		if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
			p->line = line;
			return vmft_pair_refuse(p, "control byte in", "the file",
						"save it as plain text");
		}
		line += c == '\n';
	}
	return 0;
}

static int parse_line(struct vmft_pair_parser *p, enum vmft_ini_kind kind)
{
	switch (kind) {
	case VMFT_INI_SECTION:
		return open_any_section(p, p->ini.name);
	case VMFT_INI_KEY:
		return take_key(p, p->ini.name, p->ini.value);
	case VMFT_INI_LONG:
		return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s:%d: line too long; keep lines under %u bytes", p->path,
				      p->line, VMFT_INI_LINE_MAX);
	default:
		return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s:%d: neither KEY = VALUE nor [SECTION]; correct the line",
				      p->path, p->line);
	}
}

static int parse_lines(struct vmft_pair_parser *p)
{
	enum vmft_ini_kind kind;
	int r = 0;

	vmft_ini_open(&p->ini, p->text, p->size);
	while (r == 0 && (kind = vmft_ini_next(&p->ini)) != VMFT_INI_END) {
		p->line = p->ini.line;
		r = parse_line(p, kind);
	}
	return r;
}

static int parse(struct vmft_pair_parser *p)
{
	int r = check_bytes(p);

	if (r < 0)
		return r;
	p->line = 0;
	vmft_pair_fill_defaults(&p->config);
	r = parse_lines(p);
	if (r < 0)
		return r;
	name_hosts(p);
	return vmft_pair_check(p);
}

int vmft_pair_config_parse(const char *path, const char *text, size_t size,
			   struct vmft_pair_config *ret, struct vmft_error *err)
{
	struct vmft_pair_parser *p;
	int r;

	if (size > VMFT_PAIR_FILE_MAX)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_CONFIG,
				      "%s:1: over %u bytes; this is no pair file", path,
				      VMFT_PAIR_FILE_MAX);
	p = calloc(1, sizeof(*p));
	if (!p)
		return vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "%s: out of memory", path);
	p->path = path;
	p->text = text;
	p->size = size;
	p->err = err;
	r = parse(p);
	if (r == 0)
		*ret = p->config;
	free(p);
	return r;
}

static int load_fail(const char *path, int err_no, struct vmft_error *err)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_CONFIG,
			      "%s: cannot read: %s; set VMFT_PAIR to a readable pair file", path,
			      strerror(err_no));
}

static int load_fd(const char *path, int fd, struct vmft_pair_config *ret, struct vmft_error *err)
{
	struct stat st;
	ssize_t size;
	char *text;
	int r;

	if (fstat(fd, &st) < 0)
		return load_fail(path, errno, err);
	if (!S_ISREG(st.st_mode))
		return load_fail(path, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, err);
	/* One byte more than allowed: a file that grows while it is read is found too long. */
	text = malloc(VMFT_PAIR_FILE_MAX + 1);
	if (!text)
		return load_fail(path, ENOMEM, err);
	size = vmft_read_whole(fd, text, VMFT_PAIR_FILE_MAX + 1, VMFT_READ_FOREVER);
	if (size < 0)
		r = load_fail(path, (int)-size, err);
	else
		r = vmft_pair_config_parse(path, text, (size_t)size, ret, err);
	free(text);
	return r;
}

int vmft_pair_config_load(const char *path, struct vmft_pair_config *ret, struct vmft_error *err)
{
	/* O_NONBLOCK: opening a FIFO returns at once, and it is refused. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return load_fail(path, errno, err);
	r = load_fd(path, fd, ret, err);
	(void)close(fd);
	return r;
}

int vmft_role_parse(const char *text, enum vmft_role *ret)
{
	for (enum vmft_role role = 0; role < VMFT_ROLE_COUNT; role++) {
		if (strcmp(text, vmft_role_name(role)) == 0) {
			*ret = role;
			return 0;
		}
	}
	return -EINVAL;
}

const char *vmft_role_name(enum vmft_role role)
{
	return role == VMFT_ROLE_PRIMARY ? "primary" : "backup";
}

int vmft_pair_host_find(const struct vmft_pair_config *config, const char *name,
			enum vmft_host *ret)
{
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++) {
		if (!config->has_host[host] || strcmp(config->host[host].name, name) != 0)
			continue;
		*ret = host;
		return 0;
	}
	return -ENOENT;
}

const char *vmft_pair_host_name(const struct vmft_pair_config *config, enum vmft_host host)
{
	return config->host[host].name;
}
