/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft unprotect DOMAIN: the way back from vmft protect. The backup is ended, the domain gets its
 * own emulator again from its next start on, and the other host forgets it. A guest that runs goes
 * on, and so do the images of both hosts.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "cli.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/local-address.h"
#include "monitor/domain/conditions.h"
#include "monitor/domain/look.h"
#include "monitor/domain/protection.h"
#include "monitor/domain/reach.h"

#define ASK_MS 60000u

struct unprotecting {
	const char *name, *here_uri, *given_uri;
	char *backup_uri; /* of the domain's metadata, or as given */
	virConnectPtr connection[VMFT_BOTH];
	virDomainPtr domain[VMFT_BOTH]; /* the other host's may be NULL: it is gone already */
	struct vmft_reach reach[VMFT_BOTH];
	char *xml;
};

static const struct argp_option option_table[] = {
    {"backup", 'b', "URI", 0,
     "libvirt on the backup's host; needed where the backup was when the domain was protected", 0},
    {"connect", 'c', "URI", 0, "libvirt on the host where the domain runs, if not qemu:///system",
     0},
    {0},
};

static const char doc[] =
    "End the protection of a domain that vmft protect protected.\v"
    "Run it on the host where the domain runs. The backup on the other host is ended and its "
    "definition "
    "removed; images stay. The domain goes on, and is an ordinary one from its next start on.\n\n"
    "Exit status: 0 done, 1 not done, 2 wrong usage or the domain is not protected, 6 libvirt or "
    "the "
    "domain cannot be reached.";

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct unprotecting *u = state->input;

	switch (key) {
	case 'b':
		u->given_uri = arg;
		return 0;
	case 'c':
		u->here_uri = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			vmft_arguments_wrong(state, "name one domain only, without %s", arg);
		u->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!u->name)
			vmft_arguments_wrong(state, "needs the name of a domain");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void say_nothing(void *user, virErrorPtr error)
{
	(void)user;
	(void)error;
}

static int libvirt_error(struct vmft_error *err, int exit_code, const char *what)
{
	const char *message = virGetLastErrorMessage();

	return vmft_error_set(err, -EIO, exit_code, "%.200s: %.280s", what,
			      message ? message : "unknown error");
}

static int connect_here(struct unprotecting *u, struct vmft_error *err)
{
	int r = vmft_reach_parse(u->here_uri, &u->reach[VMFT_HERE], err);

	if (r < 0)
		return r;
	u->connection[VMFT_HERE] = virConnectOpen(u->here_uri);
	if (!u->connection[VMFT_HERE])
		return libvirt_error(err, VMFT_EXIT_ADDRESS, u->here_uri);
	u->domain[VMFT_HERE] = virDomainLookupByName(u->connection[VMFT_HERE], u->name);
	if (!u->domain[VMFT_HERE])
		return libvirt_error(err, VMFT_EXIT_ADDRESS, u->name);
	u->xml = virDomainGetXMLDesc(u->domain[VMFT_HERE], VIR_DOMAIN_XML_INACTIVE);
	return u->xml ? 0 : libvirt_error(err, VMFT_EXIT_ADDRESS, u->name);
}

/* After a failover the domain may run where its backup was. */
static int find_backup(struct unprotecting *u, struct vmft_error *err)
{
	struct vmft_channel_address address;
	char channel[64];

	u->backup_uri = vmft_protection_backup(u->xml, channel, err);
	if (!u->backup_uri)
		return -ENOENT;
	if (u->given_uri) {
		free(u->backup_uri);
		u->backup_uri = strdup(u->given_uri);
		return u->backup_uri
			   ? 0
			   : vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "no memory");
	}
	if (vmft_channel_address_parse(channel, &address) == 0 && vmft_address_is_local(&address))
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_CONFIG,
		    "%.60s was protected from the other host, and now runs on the one "
		    "that was its backup's; name the other host with --backup URI",
		    u->name);
	return 0;
}

static int connect_there(struct unprotecting *u, struct vmft_error *err)
{
	int r = find_backup(u, err);

	if (r < 0)
		return r;
	r = vmft_reach_parse(u->backup_uri, &u->reach[VMFT_THERE], err);
	if (r < 0)
		return r;
	u->connection[VMFT_THERE] = virConnectOpen(u->backup_uri);
	if (!u->connection[VMFT_THERE])
		return libvirt_error(err, VMFT_EXIT_ADDRESS, u->backup_uri);
	u->domain[VMFT_THERE] = virDomainLookupByName(u->connection[VMFT_THERE], u->name);
	return 0;
}

static bool has_state(virDomainPtr domain, int wanted)
{
	int state = VIR_DOMAIN_NOSTATE, reason;

	return virDomainGetState(domain, &state, &reason, 0) == 0 && state == wanted;
}

/* The guest must not be what is ended: a backup is paused as long as it is one. */
static int end_backup(struct unprotecting *u, struct vmft_error *err)
{
	virDomainPtr there = u->domain[VMFT_THERE];

	if (!there)
		return 0;
	if (virDomainIsActive(there) == 1 && (!has_state(there, VIR_DOMAIN_PAUSED) ||
					      !has_state(u->domain[VMFT_HERE], VIR_DOMAIN_RUNNING)))
		return vmft_error_set(
		    err, -EBUSY, VMFT_EXIT_INTERNAL,
		    "%.60s does not run here with a backup there; run this on the "
		    "host where virsh shows it as running, or shut it down first",
		    u->name);
	if (virDomainIsActive(there) == 1) {
		(void)puts("... ending the backup");
		if (virDomainDestroy(there) < 0)
			return libvirt_error(err, VMFT_EXIT_INTERNAL, "ending the backup");
	}
	if (virDomainUndefineFlags(there, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM) < 0)
		return libvirt_error(err, VMFT_EXIT_INTERNAL, "removing the backup's definition");
	return 0;
}

static int restore(struct unprotecting *u, struct vmft_error *err)
{
	char *xml = vmft_protection_undo(u->xml, err);
	virDomainPtr defined;

	if (!xml)
		return -EINVAL;
	(void)puts("... giving the domain its own emulator");
	defined =
	    virDomainDefineXMLFlags(u->connection[VMFT_HERE], xml, VIR_DOMAIN_DEFINE_VALIDATE);
	free(xml);
	if (!defined)
		return libvirt_error(err, VMFT_EXIT_INTERNAL, "defining the domain");
	(void)virDomainFree(defined);
	return 0;
}

static int forget_on(struct unprotecting *u, int host, struct vmft_error *err)
{
	struct json_object *request = json_object_new_object(), *answer = NULL;
	int r;

	json_object_object_add(request, "vm", json_object_new_string(u->name));
	r = vmft_reach_ask(&u->reach[host], "forget", request, ASK_MS, &answer, err);
	if (r == 0 && vmft_look_text(answer, "error")[0])
		r = vmft_error_set(err, -EIO, VMFT_EXIT_INTERNAL, "%.400s",
				   vmft_look_text(answer, "error"));
	json_object_put(request);
	json_object_put(answer);
	return r;
}

static void finish(struct unprotecting *u)
{
	for (int host = 0; host < VMFT_BOTH; host++) {
		if (u->domain[host])
			(void)virDomainFree(u->domain[host]);
		if (u->connection[host])
			(void)virConnectClose(u->connection[host]);
	}
	free(u->backup_uri);
	free(u->xml);
}

int vmft_cli_unprotect(int argc, char *argv[], const char *help)
{
	const struct argp argp = {
	    .options = option_table, .parser = parse_option, .args_doc = "DOMAIN", .doc = doc};
	static struct unprotecting u = {.here_uri = "qemu:///system"};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	int r;

	(void)help;
	vmft_arguments_parse(&argp, argc, argv, &u);
	virSetErrorFunc(NULL, say_nothing);
	r = connect_here(&u, &err);
	if (r == 0)
		r = connect_there(&u, &err);
	if (r == 0)
		r = end_backup(&u, &err);
	if (r == 0)
		r = restore(&u, &err);
	for (int host = VMFT_THERE; r == 0 && host >= VMFT_HERE; host--)
		r = forget_on(&u, host, &err);
	if (r == 0)
		(void)printf("%s is not protected any more\n", u.name);
	else
		(void)fprintf(stderr, "vmft: %s\n", err.text);
	finish(&u);
	return r == 0 ? VMFT_EXIT_OK : err.exit_code;
}
