/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft protect DOMAIN --backup URI: from a domain of libvirt to a protected one. The conditions are
 * checked; both hosts get the pair file, the backup's host the images that it lacks; the domain's
 * XML gets vmft-qemu as its emulator, and is defined on both hosts. Then the domain is started, and
 * its backup on the other host. A domain that runs is not restarted unless that is asked for.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "checking.h"
#include "cli.h"
#include "logging-channel/now.h"
#include "monitor/common/exit-codes.h"
#include "monitor/domain/look.h"
#include "monitor/domain/protection.h"
#include "status-text.h"

#define ASK_MS	    60000u
#define POLL_US	    300000u
#define SHUTDOWN_NS UINT64_C(180000000000)
#define MONITOR_NS  UINT64_C(60000000000)
#define SHOW_NS	    UINT64_C(2000000000)

enum restart { RESTART_NOT, RESTART_NOW, RESTART_AT_SHUTDOWN };

struct protecting {
	struct vmft_checking checking;
	enum restart restart;
	struct vmft_protection protection;
	char pair[VMFT_PAIR_TEXT_MAX];
	virDomainPtr domain[VMFT_BOTH];
};

static const struct argp_option option_table[] = {
    {"restart", 'r', "WHEN", 0,
     "now: shut a running domain down and start it protected; at-shutdown: "
     "it is protected from its next start on (as without this option)",
     0},
    {0},
};

static const char doc[] =
    "Protect a domain of libvirt by a backup on another host.\v"
    "Begins with what vmft check does, and changes nothing if a condition fails. Ends when the "
    "domain "
    "is protected. A domain that runs goes on unprotected until it is started again: see "
    "--restart.\n\n"
    "Exit status: 0 protected, 14 the domain runs unprotected until its next start, 3 a condition "
    "failed, 2 wrong usage, 6 libvirt or the domain cannot be reached, 1 something else did not "
    "work.";

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct protecting *p = state->input;

	switch (key) {
	case 'r':
		if (strcmp(arg, "now") == 0)
			p->restart = RESTART_NOW;
		else if (strcmp(arg, "at-shutdown") == 0)
			p->restart = RESTART_AT_SHUTDOWN;
		else
			vmft_arguments_wrong(state, "--restart %.40s: now or at-shutdown", arg);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &p->checking;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void step(const char *text, const char *host)
{
	(void)printf("... %s%s%s\n", text, host ? " on " : "", host ? host : "");
	(void)fflush(stdout);
}

static int libvirt_error(const struct protecting *p, int host, const char *what,
			 struct vmft_error *err)
{
	const char *message = virGetLastErrorMessage();

	return vmft_error_set(err, -EIO, VMFT_EXIT_INTERNAL, "%s on %.60s: %.300s", what,
			      p->checking.host[host], message ? message : "unknown error");
}

/* --- what is written ------------------------------------------------------------ */

static int describe(struct protecting *p, struct vmft_error *err)
{
	const struct vmft_checking *c = &p->checking;
	struct vmft_protection *o = &p->protection;
	int n;

	o->vm = c->domain.name;
	o->uuid = c->domain.uuid;
	o->arbiter = c->arbiter;
	o->strategy = c->strategy;
	o->uri = c->uri[VMFT_THERE];
	for (int host = 0; host < VMFT_BOTH; host++) {
		vmft_protection_host_name(vmft_look_text(c->facts[host], "node"), o->host[host]);
		(void)snprintf(o->channel[host], sizeof(o->channel[0]), "%s", c->channel[host]);
	}
	/* Two hosts that call themselves the same are told apart all the same. */
	if (strcmp(o->host[VMFT_HERE], o->host[VMFT_THERE]) == 0) {
		n = (int)strlen(o->host[VMFT_THERE]);
		n = n > (int)VMFT_HOST_NAME_MAX - 2 ? (int)VMFT_HOST_NAME_MAX - 2 : n;
		(void)strcpy(o->host[VMFT_THERE] + n, "-2");
	}
	n = vmft_protection_pair_text(o, p->pair, err);
	return n < 0 ? n : 0;
}

/* The images that the other host lacks. */
static struct json_object *missing_disks(const struct vmft_checking *c)
{
	struct json_object *facts[VMFT_BOTH], *list = json_object_new_array();

	for (int host = 0; host < VMFT_BOTH; host++)
		facts[host] = vmft_look_list(c->facts[host], "disks");
	for (size_t i = 0; i < c->domain.disk_count; i++) {
		const struct vmft_domain_disk *disk = &c->domain.disk[i];
		struct json_object *here, *there, *one;

		if (!disk->path[0])
			continue;
		here = vmft_look_find(facts[VMFT_HERE], "path", disk->path);
		there = vmft_look_find(facts[VMFT_THERE], "path", disk->path);
		if (vmft_look_truth(there, "is_there"))
			continue;
		one = json_object_new_object();
		json_object_object_add(one, "path", json_object_new_string(disk->path));
		json_object_object_add(one, "format", json_object_new_string(disk->format));
		json_object_object_add(
		    one, "bytes", json_object_new_int64(vmft_look_number(here, "guest_bytes")));
		json_object_array_add(list, one);
	}
	return list;
}

static int apply_on(struct protecting *p, int host, struct vmft_error *err)
{
	const struct vmft_checking *c = &p->checking;
	struct json_object *request = json_object_new_object(), *answer = NULL;
	int r;

	json_object_object_add(request, "vm", json_object_new_string(p->protection.vm));
	json_object_object_add(request, "pair", json_object_new_string(p->pair));
	if (host == VMFT_THERE)
		json_object_object_add(request, "disks", missing_disks(c));
	r = vmft_reach_ask(&c->reach[host], "apply", request, ASK_MS, &answer, err);
	if (r == 0 && vmft_look_text(answer, "error")[0])
		r = vmft_error_set(err, -EIO, VMFT_EXIT_INTERNAL, "%.60s: %.400s", c->host[host],
				   vmft_look_text(answer, "error"));
	json_object_put(request);
	json_object_put(answer);
	return r;
}

static int define_on(struct protecting *p, int host, const char *xml, struct vmft_error *err)
{
	p->domain[host] =
	    virDomainDefineXMLFlags(p->checking.connection[host], xml, VIR_DOMAIN_DEFINE_VALIDATE);
	return p->domain[host] ? 0 : libvirt_error(p, host, "defining the domain", err);
}

/* The other host first: until the domain's own definition changes, it is what it was. */
static int define_both(struct protecting *p, struct vmft_error *err)
{
	const char *emulator = vmft_look_text(p->checking.facts[VMFT_HERE], "wrapper");
	char *xml = vmft_protection_domain(p->checking.xml, &p->protection, emulator, err);
	int r = xml ? 0 : -EINVAL;

	for (int host = VMFT_THERE; r == 0 && host >= VMFT_HERE; host--) {
		step("defining the domain", p->checking.host[host]);
		r = define_on(p, host, xml, err);
	}
	free(xml);
	return r;
}

/* --- starting ------------------------------------------------------------------- */

static int shut_down(struct protecting *p, struct vmft_error *err)
{
	virDomainPtr domain = p->domain[VMFT_HERE];
	const uint64_t until = vmft_monotonic_ns() + SHUTDOWN_NS;

	step("shutting the domain down; its guest has three minutes", NULL);
	if (virDomainShutdown(domain) < 0)
		return libvirt_error(p, VMFT_HERE, "shutting the domain down", err);
	while (virDomainIsActive(domain) == 1) {
		if (vmft_monotonic_ns() > until)
			return vmft_error_set(
			    err, -ETIMEDOUT, VMFT_EXIT_ALONE,
			    "%s does not shut down: it runs unprotected until its "
			    "next start; shut it down, then run the same command",
			    p->protection.vm);
		(void)usleep(POLL_US);
	}
	return 0;
}

/* Until the monitor of the domain's side answers. */
static int wait_for_monitor(struct protecting *p, const char *socket, struct vmft_status *status,
			    struct vmft_error *err)
{
	const uint64_t until = vmft_monotonic_ns() + MONITOR_NS;

	while (vmft_cli_status(socket, VMFT_CLI_PATIENCE_S, status) < 0) {
		if (virDomainIsActive(p->domain[VMFT_HERE]) != 1 || vmft_monotonic_ns() > until)
			return vmft_error_set(err, -EIO, VMFT_EXIT_INTERNAL,
					      "the domain does not run; see "
					      "/var/log/libvirt/qemu/%s.log",
					      p->protection.vm);
		(void)usleep(POLL_US);
	}
	return 0;
}

static bool is_protected(const struct vmft_status *status)
{
	return strcmp(status->state, "protected") == 0 || strcmp(status->state, "lagging") == 0;
}

/* Shows how the attach goes on, every two seconds. */
static void show(const struct vmft_status *status, uint64_t *shown_ns)
{
	const uint64_t now = vmft_monotonic_ns();
	char text[256];

	if (now - *shown_ns < SHOW_NS || !vmft_status_is_attaching(status))
		return;
	*shown_ns = now;
	vmft_status_print_attach(status, text, sizeof(text));
	step(text, NULL);
}

static int wait_until_protected(struct protecting *p, const char *socket, struct vmft_error *err)
{
	static struct vmft_status status;
	uint64_t shown_ns = 0;

	for (;;) {
		int r = wait_for_monitor(p, socket, &status, err);

		if (r < 0)
			return r;
		if (is_protected(&status))
			return 0;
		if (virDomainIsActive(p->domain[VMFT_THERE]) != 1)
			return vmft_error_set(
			    err, -EIO, VMFT_EXIT_ALONE,
			    "the backup on %.60s has ended, the domain runs without one; see "
			    "/var/log/libvirt/qemu/%s.log there, then: virsh -c %.100s start %s",
			    p->checking.host[VMFT_THERE], p->protection.vm,
			    p->checking.uri[VMFT_THERE], p->protection.vm);
		show(&status, &shown_ns);
		(void)usleep(POLL_US);
	}
}

static int start_both(struct protecting *p, struct vmft_error *err)
{
	static struct vmft_status status;
	char socket[VMFT_SOCKET_PATH_MAX];
	int r;

	(void)snprintf(socket, sizeof(socket), "/run/vmft/%s.%s.sock", p->protection.vm,
		       p->protection.host[VMFT_HERE]);
	/* It begins alone, so that no trouble of the backup's delays it. */
	step("starting the domain", p->checking.host[VMFT_HERE]);
	if (virDomainCreate(p->domain[VMFT_HERE]) < 0)
		return libvirt_error(p, VMFT_HERE, "starting the domain", err);
	r = wait_for_monitor(p, socket, &status, err);
	if (r < 0)
		return r;
	step("starting its backup", p->checking.host[VMFT_THERE]);
	if (virDomainCreate(p->domain[VMFT_THERE]) < 0)
		return libvirt_error(p, VMFT_THERE, "starting the backup", err);
	return wait_until_protected(p, socket, err);
}

/* --- all of it -------------------------------------------------------------------- */

static int protect(struct protecting *p, struct vmft_error *err)
{
	struct vmft_checking *c = &p->checking;
	int r = describe(p, err);

	for (int host = VMFT_THERE; r == 0 && host >= VMFT_HERE; host--) {
		step("writing the pair file", c->host[host]);
		r = apply_on(p, host, err);
	}
	if (r == 0)
		r = define_both(p, err);
	if (r < 0)
		return r;
	if (virDomainIsActive(p->domain[VMFT_HERE]) == 1) {
		if (p->restart != RESTART_NOW)
			return vmft_error_set(
			    err, -EAGAIN, VMFT_EXIT_ALONE,
			    "%s runs unprotected until its next start; when it is "
			    "shut off, run the same command, or add --restart now",
			    p->protection.vm);
		r = shut_down(p, err);
	}
	return r == 0 ? start_both(p, err) : r;
}

static int run(struct protecting *p, struct vmft_error *err)
{
	struct vmft_checking *c = &p->checking;
	int r = vmft_checking_run(c, err);

	if (r < 0)
		return r;
	if (c->found.failed > 0) {
		vmft_checking_print(c, true);
		err->text[0] = '\0';
		err->exit_code = VMFT_EXIT_UNPROTECTED;
		return -EINVAL;
	}
	(void)printf("... %zu conditions are met\n", c->found.count);
	return protect(p, err);
}

int vmft_cli_protect(int argc, char *argv[], const char *help)
{
	const struct argp_child children[] = {{&vmft_checking_argp, 0, NULL, 0}, {0}};
	const struct argp argp = {.options = option_table,
				  .parser = parse_option,
				  .args_doc = "DOMAIN",
				  .doc = doc,
				  .children = children};
	static struct protecting p = {.checking = VMFT_CHECKING_INIT};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	int r;

	(void)help;
	vmft_arguments_parse(&argp, argc, argv, &p);
	r = run(&p, &err);
	if (r == 0)
		(void)printf("%s is protected; see: vmft status %s\n", p.protection.vm,
			     p.protection.vm);
	else if (err.text[0])
		(void)fprintf(stderr, "vmft: %s\n", err.text);
	for (int host = 0; host < VMFT_BOTH; host++)
		if (p.domain[host])
			(void)virDomainFree(p.domain[host]);
	vmft_checking_fini(&p.checking);
	return r == 0 ? VMFT_EXIT_OK : err.exit_code;
}
