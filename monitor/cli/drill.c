/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft drill: does a fault to a protected VM on purpose, on the host where it runs, and reports
 * what a client saw of it. It refuses to begin if the fault would end the guest: the pair must be
 * protected, and a client must be served.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "drill-options.h"
#include "monitor/common/exit-codes.h"
#include "peer-command.h"
#include "probe.h"

#define MS UINT64_C(1000000)

/* Long enough for two keep-alives of the connection that is kept. */
#define KEPT_MS 2500

/* How long a command for the other side may take: ssh to a host that is slow to answer. */
#define PEER_MS 10000u

/* How often the state of a backup that lags is read. */
#define LOOK_US 50000

/* Many connections: the guest answers one in a few ms. */
#define PROBE_AGAIN_MS 200

/* What the backup's side says of itself. A thread asks it: ssh may take long. */
struct peer {
	const char *command;
	atomic_bool over;
	_Atomic uint64_t live_seen_ns; /* first seen as a primary */
	_Atomic uint64_t generation;
	pthread_t thread;
	bool started;
};

struct drill {
	struct vmft_drill_options options;
	struct vmft_probe probe;
	struct peer peer;
	char name[128];
	pid_t qemu, monitor;
	uint64_t generation;
	uint64_t lag_ms;
	uint64_t fault_ns;
	uint64_t served_ns; /* first success after the fault that counts */
	int kept;	    /* the connection that was kept: 0 or a negative errno */
	bool verified;
	char fenced[64]; /* state of a side that was stopped and continued; "": none was */
};

static int find_side(struct vmft_drill_options *o)
{
	struct vmft_error err = {0};

	if (vmft_socket_find(VMFT_SOCKET_DIRECTORY, o->side, o->socket, sizeof(o->socket), &err) ==
	    0)
		return VMFT_EXIT_OK;
	(void)fprintf(stderr, "vmft drill: %s\n", err.text);
	return err.exit_code;
}

/* Of this host's side. */
static int own_status(const struct vmft_drill_options *o, struct vmft_status *ret)
{
	return vmft_cli_status(o->socket, VMFT_CLI_PATIENCE_S, ret);
}

static int fail(const char *text, const char *detail)
{
	(void)fprintf(stderr, "vmft drill: %s%s\n", text, detail);
	return VMFT_EXIT_INTERNAL;
}

static bool lags(const struct vmft_status *status)
{
	return strcmp(status->role, "primary") == 0 && strcmp(status->state, "lagging") == 0;
}

/* A backup that lags first replays what it has not replayed yet: the outage would be long, and
 * would not show how the pair is otherwise. */
static int refuse_state(const char *state)
{
	if (strcmp(state, "lagging") == 0)
		return fail("the backup has not caught up in the time given (--wait), clients "
			    "would wait for it: its state is still ",
			    state);
	return fail("the guest is not protected, so a fault would end it: its state is ", state);
}

/* 0: it is not there, or cannot be one. */
static pid_t pid_of(uint64_t number)
{
	return number <= INT32_MAX ? (pid_t)number : 0;
}

static int check(const struct drill *d, const struct vmft_status *status)
{
	if (strcmp(status->role, "primary") != 0)
		return fail("the guest is not live here: drill its primary; this side is ",
			    status->role);
	if (strcmp(status->state, "protected") != 0)
		return refuse_state(status->state);
	if (d->qemu <= 1 || d->monitor <= 1)
		return fail("the monitor does not say which processes are the VM's", "");
	return VMFT_EXIT_OK;
}

/* Waits while the backup lags: under load it does so for moments. */
static int read_status(const struct drill *d, struct vmft_status *ret)
{
	const uint64_t until = vmft_probe_now() + (uint64_t)d->options.wait * 1000 * MS;
	bool told = false;

	while (own_status(&d->options, ret) == 0) {
		if (!lags(ret) || vmft_probe_now() > until)
			return VMFT_EXIT_OK;
		if (!told)
			(void)fprintf(stderr,
				      "%s: the backup lags by %llu ms; waiting up to %d s until it "
				      "has caught up\n",
				      ret->name, (unsigned long long)ret->lag_ms, d->options.wait);
		told = true;
		(void)usleep(LOOK_US);
	}
	(void)fprintf(stderr,
		      "vmft drill: %s: no monitor answers; is this side of the VM running?\n",
		      d->options.socket);
	return VMFT_EXIT_ADDRESS;
}

/* Reads which processes the fault is for; refuses a pair that would not survive it. */
static int look(struct drill *d)
{
	static struct vmft_status status;
	int rc = read_status(d, &status);

	if (rc != VMFT_EXIT_OK)
		return rc;
	(void)snprintf(d->name, sizeof(d->name), "%s", status.name);
	d->qemu = pid_of(status.guest_pid);
	d->monitor = pid_of(status.monitor_pid);
	d->generation = status.generation;
	d->lag_ms = status.lag_ms;
	return check(d, &status);
}

/* The question and the probes took time. The backup may have been lost meanwhile, or the VM was
 * started anew. */
static int look_again(struct drill *d)
{
	const pid_t qemu = d->qemu, monitor = d->monitor;
	int rc = look(d);

	if (rc == VMFT_EXIT_OK && (d->qemu != qemu || d->monitor != monitor))
		return fail("nothing was done: the VM was started anew meanwhile", "");
	return rc;
}

static bool confirmed(const struct drill *d)
{
	char line[16] = "";

	(void)fprintf(stderr, "%s: %s (pids %d and %d); its backup takes over. Go on? [y/N] ",
		      d->name, vmft_drill_faults[d->options.fault].text, d->qemu, d->monitor);
	return d->options.yes || (fgets(line, sizeof(line), stdin) && (line[0] | 0x20) == 'y');
}

/* --- the other side ---------------------------------------------------------- */

static void *follow_peer(void *arg)
{
	static struct vmft_status status;
	struct peer *peer = arg;

	while (!atomic_load(&peer->over) && atomic_load(&peer->live_seen_ns) == 0) {
		if (vmft_peer_command(peer->command, PEER_MS, &peer->over, &status) == 0 &&
		    strcmp(status.role, "primary") == 0) {
			atomic_store(&peer->generation, status.generation);
			atomic_store(&peer->live_seen_ns, vmft_probe_now());
		}
		(void)usleep(50000);
	}
	return NULL;
}

static int check_peer(const struct drill *d)
{
	const char *command = d->options.peer;
	static struct vmft_status status;
	int rc = command ? vmft_peer_command(command, PEER_MS, &d->peer.over, &status) : 0;

	if (rc == -ETIMEDOUT)
		return fail("this has not printed the status of the backup within 10 s: ", command);
	if (rc < 0 || (command && strcmp(status.role, "backup") != 0))
		return fail("this does not print the status of the backup: ", command);
	return VMFT_EXIT_OK;
}

/* --- the fault --------------------------------------------------------------- */

static char process_state(pid_t pid)
{
	char path[64], line[512];
	const char *at = NULL;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 'X';
	/* The name, which may hold anything, is in parentheses. */
	if (fgets(line, sizeof(line), file))
		at = strrchr(line, ')');
	(void)fclose(file);
	if (!at || strlen(at) <= 2)
		return 'X';
	return at[2];
}

static bool has_happened(const struct drill *d)
{
	const char qemu = process_state(d->qemu), monitor = process_state(d->monitor);

	switch (d->options.fault) {
	case VMFT_DRILL_KILL_QEMU:
		return qemu == 'X' || qemu == 'Z';
	case VMFT_DRILL_KILL_MONITOR:
		return monitor == 'X' || monitor == 'Z';
	case VMFT_DRILL_STOP_QEMU:
		return qemu == 'T';
	default:
		return qemu == 'T' && monitor == 'T';
	}
}

static int strike(struct drill *d)
{
	const enum vmft_drill_fault fault = d->options.fault;
	const int signal = vmft_drill_faults[fault].stops ? SIGSTOP : SIGKILL;
	const bool to_monitor = fault == VMFT_DRILL_KILL_MONITOR || fault == VMFT_DRILL_STOP_HOST;
	const bool to_qemu = fault != VMFT_DRILL_KILL_MONITOR;

	d->fault_ns = vmft_probe_now();
	if ((to_qemu && kill(d->qemu, signal) < 0) || (to_monitor && kill(d->monitor, signal) < 0))
		return fail("kill: ", strerror(errno));
	for (int i = 0; i < 200 && !d->verified; i++) {
		vmft_probe_run(&d->probe, 10);
		d->verified = has_happened(d);
	}
	return d->verified ? VMFT_EXIT_OK
			   : fail("the fault did not happen: ", vmft_drill_faults[fault].name);
}

static bool peer_is_live(const struct drill *d)
{
	return !d->options.peer || atomic_load(&d->peer.live_seen_ns) > 0;
}

/*
 * Connections that were being made at the fault may still be answered by frames that had left the
 * host before it. So the guest counts as served again when it has answered after the longest gap
 * there was, and the other side, if it can be asked, is live.
 */
static bool is_carried_on(struct drill *d)
{
	const struct vmft_probe *p = &d->probe;
	const uint64_t now = vmft_probe_now();

	if (!peer_is_live(d) || p->gap_from_ns + p->gap_ns < d->fault_ns)
		return false;
	/* An answer that has just come may be the last one for a while. */
	d->served_ns = p->gap_from_ns + p->gap_ns;
	return now - d->served_ns > 500 * MS && now - p->last_good_ns < 200 * MS;
}

static int wait_carried_on(struct drill *d)
{
	const uint64_t until = d->fault_ns + (uint64_t)d->options.timeout * 1000 * MS;
	uint64_t told = d->fault_ns + 2000 * MS;

	while (!is_carried_on(d)) {
		if (vmft_probe_now() > until)
			return fail("no side carried the guest on in the time given (--timeout)",
				    "");
		if (vmft_probe_now() > told) {
			(void)fprintf(stderr,
				      "... %llu s since the fault, the guest does not answer "
				      "yet\n",
				      (unsigned long long)((told - d->fault_ns) / (1000 * MS)));
			told += 2000 * MS;
		}
		vmft_probe_run(&d->probe, 20);
	}
	vmft_probe_run(&d->probe, d->options.seconds * 1000);
	return VMFT_EXIT_OK;
}

/* A side that was stopped during a failover must find that it has lost, and say so. */
static int continue_side(struct drill *d)
{
	static struct vmft_status status;

	if (!vmft_drill_faults[d->options.fault].stops)
		return VMFT_EXIT_OK;
	(void)kill(d->monitor, SIGCONT);
	(void)kill(d->qemu, SIGCONT);
	for (int i = 0; i < 100; i++) {
		const bool answers = own_status(&d->options, &status) == 0;

		(void)snprintf(d->fenced, sizeof(d->fenced), "%s",
			       answers ? status.state : "ended");
		if (strcmp(d->fenced, "fenced") == 0 || strcmp(d->fenced, "ended") == 0)
			return VMFT_EXIT_OK;
		vmft_probe_run(&d->probe, 100);
	}
	return fail("the side that was stopped is not fenced, it is ", d->fenced);
}

/* --- the report -------------------------------------------------------------- */

static double ms_between(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e6 : 0;
}

static const char *kept_text(const struct drill *d)
{
	if (d->kept == 0)
		return "still open";
	return d->kept == -EPIPE ? "closed by the service in an orderly way" : strerror(-d->kept);
}

static void print_report(const struct drill *d)
{
	printf("%s: %s\n", d->name, vmft_drill_faults[d->options.fault].text);
	printf("  fault happened       %s\n", d->verified ? "yes" : "NO");
	printf("  execution lag before %llu ms\n", (unsigned long long)d->lag_ms);
	if (d->options.peer && peer_is_live(d))
		printf("  backup seen live     after %.0f ms, generation %llu -> %llu\n",
		       ms_between(d->fault_ns, atomic_load(&d->peer.live_seen_ns)),
		       (unsigned long long)d->generation,
		       (unsigned long long)atomic_load(&d->peer.generation));
	if (d->served_ns > 0)
		printf("  outage               %.0f ms between two connections; answered %.0f ms "
		       "after the fault\n",
		       (double)d->probe.gap_ns / 1e6, ms_between(d->fault_ns, d->served_ns));
	else
		printf("  outage               NOT OVER\n");
	printf("  connections          %llu made, %llu failed\n", (unsigned long long)d->probe.good,
	       (unsigned long long)d->probe.bad);
	printf("  one from before it   %s\n", kept_text(d));
	if (d->fenced[0])
		printf("  the stopped side     %s, after it was continued\n", d->fenced);
}

static void add(struct json_object *object, const char *key, struct json_object *value)
{
	json_object_object_add(object, key, value);
}

static int write_report(const struct drill *d, bool good)
{
	struct json_object *o = json_object_new_object();
	int rc;

	add(o, "vm", json_object_new_string(d->name));
	add(o, "fault", json_object_new_string(vmft_drill_faults[d->options.fault].name));
	add(o, "verified", json_object_new_boolean(d->verified));
	add(o, "carried_on", json_object_new_boolean(good));
	add(o, "lag_ms", json_object_new_uint64(d->lag_ms));
	add(o, "outage_ms",
	    d->served_ns ? json_object_new_double((double)d->probe.gap_ns / 1e6) : NULL);
	add(o, "peer_live_ms",
	    atomic_load(&d->peer.live_seen_ns)
		? json_object_new_double(
		      ms_between(d->fault_ns, atomic_load(&d->peer.live_seen_ns)))
		: NULL);
	add(o, "connections", json_object_new_uint64(d->probe.good));
	add(o, "connections_failed", json_object_new_uint64(d->probe.bad));
	add(o, "kept_connection", json_object_new_string(kept_text(d)));
	rc = json_object_to_file_ext(d->options.json, o, JSON_C_TO_STRING_PRETTY);
	json_object_put(o);
	return rc < 0 ? fail("cannot write ", d->options.json) : VMFT_EXIT_OK;
}

static int begin(struct drill *d)
{
	int rc;

	if (vmft_probe_init(&d->probe, d->options.probe) < 0) {
		(void)fail("no address and port: ", d->options.probe);
		return VMFT_EXIT_CONFIG;
	}
	rc = vmft_probe_keep(&d->probe);
	if (rc < 0)
		return fail("the guest does not answer before the fault: ", strerror(-rc));
	vmft_probe_run(&d->probe, d->options.seconds * 1000);
	if (d->probe.good == 0)
		return fail("the guest does not answer before the fault: ", d->options.probe);
	if (d->options.peer) {
		d->peer.command = d->options.peer;
		if (pthread_create(&d->peer.thread, NULL, follow_peer, &d->peer) != 0)
			return fail("cannot start a thread", "");
		d->peer.started = true;
	}
	rc = look_again(d);
	if (rc != VMFT_EXIT_OK)
		return rc;
	/* Gaps count from here on: those before the fault have other causes. Nothing was probed
	 * while the drill waited for the backup; after this the last answer is a new one. */
	vmft_probe_run(&d->probe, PROBE_AGAIN_MS);
	d->probe.gap_ns = d->probe.gap_from_ns = 0;
	return VMFT_EXIT_OK;
}

static int run(struct drill *d)
{
	int rc = begin(d);

	if (rc == VMFT_EXIT_OK)
		rc = strike(d);
	if (rc == VMFT_EXIT_OK)
		rc = wait_carried_on(d);
	if (rc == VMFT_EXIT_OK)
		rc = continue_side(d);
	if (d->fault_ns == 0)
		return rc;
	vmft_probe_run(&d->probe, KEPT_MS);
	d->kept = vmft_probe_kept(&d->probe);
	/* A connection that is reset is not known to the guest: it was started anew. */
	if (rc == VMFT_EXIT_OK && d->kept < 0 && d->kept != -EPIPE)
		rc = fail("a connection from before the fault broke: ", strerror(-d->kept));
	print_report(d);
	if (d->options.json && write_report(d, rc == VMFT_EXIT_OK) != VMFT_EXIT_OK)
		rc = VMFT_EXIT_INTERNAL;
	return rc;
}

int vmft_cli_drill(int argc, char *argv[], const char *help)
{
	struct drill *d = calloc(1, sizeof(*d));
	int code;

	(void)help;
	if (!d)
		return fail("no memory", "");
	vmft_drill_options_parse(argc, argv, &d->options);
	code = find_side(&d->options);
	if (code == VMFT_EXIT_OK)
		code = look(d);
	if (code == VMFT_EXIT_OK)
		code = check_peer(d);
	if (code == VMFT_EXIT_OK && !confirmed(d))
		code = fail("nothing was done", "");
	else if (code == VMFT_EXIT_OK)
		code = run(d);
	atomic_store(&d->peer.over, true);
	if (d->peer.started)
		(void)pthread_join(d->peer.thread, NULL);
	vmft_probe_fini(&d->probe);
	free(d);
	return code;
}
