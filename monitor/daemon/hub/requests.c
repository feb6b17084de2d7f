/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/status-json.h"
#include "monitor/daemon/status/control.h"
#include "monitor/daemon/status/ram-hash.h"
#include "snapshot.h"

/* --- status ------------------------------------------------------------------ */

static void do_status(struct vmft_monitor *m, struct vmft_control_client *client)
{
	struct json_object *object = vmft_control_answer_new(true);
	struct vmft_status status;

	vmft_status_fill(m, vmft_loop_now(), &status);
	vmft_status_encode(&status, object);
	vmft_control_answer(client, object);
}

static void do_events(struct vmft_monitor *m, struct vmft_control_client *client)
{
	(void)m;
	vmft_control_follow(client);
}

/* --- what an administrator tells a pair -------------------------------------- */

static void do_attach(struct vmft_monitor *m, struct vmft_control_client *client)
{
	if (!vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_ALONE) {
		vmft_control_refuse(client, "attach: only for a guest that is alone");
		return;
	}
	vmft_attach_source_ask(&m->source);
	vmft_peer_look_for_backup(&m->peer);
	vmft_control_accept(client);
}

static void do_start(struct vmft_monitor *m, struct vmft_control_client *client)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_START_ALONE};

	if (!vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_FORMING ||
	    m->peer.channel.stage != VMFT_PEER_NONE) {
		vmft_control_refuse(client, "start: only for a primary that waits for its backup");
		return;
	}
	vmft_monitor_event(m, &event);
	vmft_control_accept(client);
}

static void switchover_done(void *user, bool handed, const char *text)
{
	struct vmft_control_client *client = user;
	struct vmft_monitor *m = vmft_control_user(client);
	struct json_object *object;

	if (!handed) {
		vmft_control_refuse(client, text);
		return;
	}
	object = vmft_control_answer_new(true);
	json_object_object_add(object, "result", json_object_new_string(text));
	json_object_object_add(
	    object, "live_on",
	    json_object_new_string(vmft_pair_host_name(&m->config, m->peer.channel.to)));
	json_object_object_add(object, "generation",
			       json_object_new_uint64(m->core.generation + 1));
	vmft_control_answer(client, object);
}

static void do_switchover(struct vmft_monitor *m, struct vmft_control_client *client)
{
	const char *why = vmft_handover_begin(&m->handover, switchover_done, client);
	char text[160];

	if (!why)
		return;
	(void)snprintf(text, sizeof(text), "switchover: %s", why);
	vmft_control_refuse(client, text);
}

/* --- what drills are made of ------------------------------------------------- */

/* A hand-over stops the guest itself: nobody else may start it again meanwhile. */
static bool is_handing_over(struct vmft_monitor *m, struct vmft_control_client *client)
{
	if (!vmft_handover_is_on(&m->handover))
		return false;
	vmft_control_refuse(client, "the guest is being handed over");
	return true;
}

static void do_freeze(struct vmft_monitor *m, struct vmft_control_client *client)
{
	if (is_handing_over(m, client))
		return;
	atomic_store(&m->agent.iface->freeze, 1);
	vmft_control_accept(client);
}

static void do_thaw(struct vmft_monitor *m, struct vmft_control_client *client)
{
	if (is_handing_over(m, client))
		return;
	atomic_store(&m->agent.iface->freeze, 0);
	vmft_agent_link_wake(&m->agent);
	vmft_control_accept(client);
}

/* The attach under way, or the next one, stays in its phase; step lets it into the next phase. */
static void lead_attach(struct vmft_monitor *m, struct vmft_control_client *client,
			void (*how)(struct vmft_attach_source *source))
{
	if (!vmft_monitor_is_primary(m)) {
		vmft_control_refuse(client, "only the primary leads an attach");
		return;
	}
	how(&m->source);
	vmft_control_accept(client);
}

static void do_hold_attach(struct vmft_monitor *m, struct vmft_control_client *client)
{
	lead_attach(m, client, vmft_attach_source_hold);
}

static void do_step_attach(struct vmft_monitor *m, struct vmft_control_client *client)
{
	lead_attach(m, client, vmft_attach_source_step);
}

static void do_release_attach(struct vmft_monitor *m, struct vmft_control_client *client)
{
	lead_attach(m, client, vmft_attach_source_release);
}

static void do_hold_acks(struct vmft_monitor *m, struct vmft_control_client *client)
{
	if (vmft_monitor_is_primary(m)) {
		vmft_control_refuse(client, "hold-acks: only the backup acknowledges");
		return;
	}
	vmft_liveness_hold_acks(&m->peer.liveness);
	vmft_control_accept(client);
}

static void do_release_acks(struct vmft_monitor *m, struct vmft_control_client *client)
{
	vmft_liveness_release_acks(&m->peer.liveness, m->core.held);
	vmft_peer_flush_ack(&m->peer);
	vmft_control_accept(client);
}

/* --- digest of the guest's memory --------------------------------------------- */

static void job_free(struct vmft_request_digest *job)
{
	vmft_ram_hash_drop(job->digest);
	*job = (struct vmft_request_digest){0};
}

static void digest_done(void *user, uint64_t hash, size_t bytes)
{
	struct vmft_request_digest *job = user;
	struct vmft_monitor *m = job->m;
	struct json_object *object = vmft_control_answer_new(true);
	const uint64_t position = vmft_monitor_is_primary(m)
				      ? atomic_load(&m->agent.iface->log_position)
				      : m->strategy_ops->applied(m->strategy);
	struct vmft_control_client *client = job->client;
	char hex[17];

	(void)snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)hash);
	json_object_object_add(object, "ram", json_object_new_string(hex));
	json_object_object_add(object, "ram_bytes", json_object_new_uint64(bytes));
	json_object_object_add(object, "position", json_object_new_uint64(position));
	job_free(job);
	vmft_control_answer(client, object);
}

static struct vmft_request_digest *job_of(struct vmft_monitor *m,
					  const struct vmft_control_client *client)
{
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		if (m->requests.digest[i].client == client)
			return &m->requests.digest[i];
	return NULL;
}

static void do_digest(struct vmft_monitor *m, struct vmft_control_client *client)
{
	struct vmft_request_digest *job = job_of(m, NULL);
	int rc = job ? vmft_ram_hash_begin(m->loop, m->agent.ram_fd, digest_done, job, &job->digest)
		     : -ENOMEM;

	if (rc < 0) {
		vmft_control_refuse(client, rc == -ENODATA ? "digest: guest memory is not there"
							   : "digest: cannot map guest memory");
		return;
	}
	job->m = m;
	job->client = client;
}

/* --- the table ----------------------------------------------------------------- */

static void obey(void *user, struct vmft_control_client *client, enum vmft_control_verb verb)
{
	static void (*const verbs[VMFT_CONTROL_VERBS])(struct vmft_monitor *,
						       struct vmft_control_client *) = {
	    [VMFT_CONTROL_STATUS] = do_status,
	    [VMFT_CONTROL_FREEZE] = do_freeze,
	    [VMFT_CONTROL_THAW] = do_thaw,
	    [VMFT_CONTROL_DIGEST] = do_digest,
	    [VMFT_CONTROL_HOLD_ACKS] = do_hold_acks,
	    [VMFT_CONTROL_RELEASE_ACKS] = do_release_acks,
	    [VMFT_CONTROL_ATTACH] = do_attach,
	    [VMFT_CONTROL_START] = do_start,
	    [VMFT_CONTROL_HOLD_ATTACH] = do_hold_attach,
	    [VMFT_CONTROL_STEP_ATTACH] = do_step_attach,
	    [VMFT_CONTROL_RELEASE_ATTACH] = do_release_attach,
	    [VMFT_CONTROL_SWITCHOVER] = do_switchover,
	    [VMFT_CONTROL_EVENTS] = do_events,
	};

	verbs[verb](user, client);
}

/* At the monitor's end. A hand-over has nobody to report to any more. */
static void forget(void *user, struct vmft_control_client *client)
{
	struct vmft_monitor *m = user;
	struct vmft_request_digest *job = job_of(m, client);

	if (job)
		job_free(job);
	vmft_handover_forget(&m->handover, client);
}

int vmft_requests_open(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_control_world world = {
	    .loop = m->loop,
	    .journal = &m->journal,
	    .side = m->requests.side,
	    .obey = obey,
	    .forget = forget,
	    .user = m,
	};
	const char *path = m->config.host[m->options.host].control;
	int rc;

	(void)snprintf(m->requests.side, sizeof(m->requests.side), "%s.%s", m->config.name,
		       vmft_pair_host_name(&m->config, m->options.host));
	rc = vmft_control_open(&m->control, path, &world);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_ADDRESS,
				      "%s: [%s] control = %s: %s; is this side of %s running "
				      "already?",
				      m->options.pair_file, m->config.host[m->options.host].section,
				      path, strerror(-rc), m->config.name);
	return 0;
}

void vmft_requests_close(struct vmft_monitor *m)
{
	vmft_control_close(&m->control);
}
