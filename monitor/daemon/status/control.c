/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: one JSON object a line in, one a line out. Requests are capped, a
 * client that sends more than one line's worth without a newline is hung up on.
 *
 * Besides status there are the commands drills are made of; each only slows or watches the
 * pair, none can lose anything: freeze and thaw stop and start the guest at an event
 * boundary, digest hashes its memory there, hold-acks and release-acks make the backup
 * keep its acknowledgements back, hold-attach, step-attach and release-attach lead an attach
 * from phase to phase.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <xxhash.h>

#include "advice.h"
#include "control-request.h"
#include "monitor/common/exit-codes.h"
#include "monitor/daemon/checkpoint/epoch-figures.h"
#include "monitor/daemon/hub/monitor.h"

#define MS		UINT64_C(1000000)
#define ACCEPT_AGAIN_NS (200 * MS) /* without a descriptor accept fails at once, each time */
#define DYING_MS	500	   /* a monitor that holds on to its socket may take to die */

/* Hashed at a go; between two pieces the loop serves the channel. */
#define DIGEST_PIECE (16u * 1024 * 1024)

struct vmft_control_client {
	struct vmft_monitor *m;
	struct vmft_control_client **slot; /* of the monitor's, that it is in */
	int fd;
	struct vmft_op recv_op;
	struct vmft_op send_op; /* also the digest's timer */
	size_t in_bytes;
	char *out; /* the answer under way, owned */
	size_t out_bytes, out_sent;
	const uint8_t *ram; /* mapped while a digest is made */
	size_t ram_bytes, ram_done;
	XXH3_state_t *hash;
	char in[VMFT_CONTROL_REQUEST_MAX];
};

static void receive(struct vmft_control_client *client);

static void digest_drop(struct vmft_control_client *client)
{
	if (client->ram)
		(void)munmap((void *)client->ram, client->ram_bytes);
	client->ram = NULL;
	XXH3_freeState(client->hash);
	client->hash = NULL;
}

static void hang_up(struct vmft_control_client *client)
{
	close(client->fd);
	*client->slot = NULL;
	digest_drop(client);
	free(client->out);
	free(client);
}

static void on_sent(struct vmft_op *op, int result)
{
	struct vmft_control_client *client = op->owner;

	if (result <= 0) {
		hang_up(client);
		return;
	}
	client->out_sent += (size_t)result;
	if (client->out_sent < client->out_bytes) {
		vmft_loop_send(client->m->loop, op, client->fd, client->out + client->out_sent,
			       client->out_bytes - client->out_sent);
		return;
	}
	free(client->out);
	client->out = NULL;
	receive(client);
}

/* Takes the object over. */
static void answer(struct vmft_control_client *client, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	int n = asprintf(&client->out, "%s\n", text);

	json_object_put(object);
	if (n < 0) {
		client->out = NULL;
		hang_up(client);
		return;
	}
	client->out_bytes = (size_t)n;
	client->out_sent = 0;
	client->send_op.done = on_sent;
	vmft_loop_send(client->m->loop, &client->send_op, client->fd, client->out,
		       client->out_bytes);
}

static struct json_object *answer_new(bool ok)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "ok", json_object_new_boolean(ok));
	return object;
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void refuse(struct vmft_control_client *client, const char *why)
{
	struct json_object *object = answer_new(false);

	add_text(object, "error", why);
	answer(client, object);
}

/* --- status ---------------------------------------------------------------- */

static struct json_object *events(const struct vmft_journal *journal)
{
	struct json_object *list = json_object_new_array();
	uint64_t from =
	    journal->written > VMFT_JOURNAL_LINES ? journal->written - VMFT_JOURNAL_LINES : 0;

	for (uint64_t i = from; i < journal->written; i++) {
		struct json_object *line = json_object_new_object();

		add_number(line, "ms", journal->line[i % VMFT_JOURNAL_LINES].at_ns / MS);
		add_text(line, "text", journal->line[i % VMFT_JOURNAL_LINES].text);
		json_object_array_add(list, line);
	}
	return list;
}

static void add_log(struct json_object *object, struct vmft_monitor *m)
{
	struct vmft_iface *iface = m->agent.iface;
	const uint64_t sent = m->strategy_ops->taken(m->strategy);
	const uint64_t now = vmft_loop_now();
	uint64_t frozen = atomic_load(&iface->frozen_at);

	add_number(object, "log_head", atomic_load(&iface->log_position));
	add_number(object, "log_events", atomic_load(&iface->log_events));
	if (vmft_monitor_is_primary(m)) {
		add_number(object, "log_sent", sent);
		add_number(object, "log_acked", m->core.acked);
		add_number(object, "log_replayed", m->peer.replayed);
		add_number(object, "lag_ms", vmft_monitor_lag_ms(m, now));
		add_number(object, "replay_stands_ms",
			   m->stall.stands ? vmft_monitor_stalled_ns(m, now) / MS : 0);
		add_number(object, "log_bytes_per_s", m->lag.bytes_per_s);
		add_number(object, "throttle_permille", m->throttle);
		add_number(object, "lag_dropped", m->source.dropped);
	} else {
		add_number(object, "log_held", m->core.held);
		add_number(object, "log_acked", m->peer.ack);
		add_number(object, "log_replayed", m->core.replayed);
	}
	if (frozen > 0)
		add_number(object, "frozen_at", frozen - 1);
	else
		json_object_object_add(object, "frozen_at", NULL);
}

static void add_gate(struct json_object *object, const struct vmft_iface *iface)
{
	add_number(object, "gate_frames", atomic_load(&iface->gate_frames));
	add_number(object, "gate_bytes", atomic_load(&iface->gate_bytes));
	add_number(object, "gate_stalls", atomic_load(&iface->gate_stalls));
	add_number(object, "frames_released", atomic_load(&iface->frames_released));
	add_number(object, "frames_dropped", atomic_load(&iface->frames_dropped));
}

static void add_divergence(struct json_object *object, const struct vmft_monitor *m)
{
	const struct vmft_iface *iface = m->agent.iface;

	add_number(object, "divergences", m->divergence.count);
	add_text(object, "divergence", m->divergence.last);
	add_number(object, "outputs_compared", atomic_load(&iface->outputs_compared));
	add_number(object, "digests_compared", atomic_load(&iface->digests_compared));
	add_number(object, "digests_taken", atomic_load(&iface->digests_taken));
	add_number(object, "digest_ns", atomic_load(&iface->digest_ns));
}

static void add_ms(struct json_object *object, const char *key, uint64_t nanoseconds)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.3f", (double)nanoseconds / 1e6);
	json_object_object_add(object, key,
			       json_object_new_double_s((double)nanoseconds / 1e6, text));
}

/* How the last attach of this guest went. */
static void add_figures(struct json_object *object, const struct vmft_attach_figures *last)
{
	struct json_object *figures = json_object_new_object();

	add_ms(figures, "total_ms", last->total_ns);
	add_ms(figures, "stun_ms", last->stun_ns);
	add_ms(figures, "stop_ms", last->stop_ns);
	add_ms(figures, "drain_ms", last->drain_ns);
	add_ms(figures, "copy_ms", last->copy_ns);
	add_ms(figures, "save_ms", last->save_ns);
	add_ms(figures, "start_ms", last->start_ns);
	add_ms(figures, "hold_ms", last->hold_ns);
	add_number(figures, "ram_bytes", last->ram_bytes);
	add_number(figures, "disk_bytes", last->disk_bytes);
	add_number(figures, "staged_bytes", last->staged_bytes);
	add_number(figures, "rounds", last->rounds);
	json_object_object_add(object, "attach_last", figures);
}

static void add_source(struct json_object *object, struct vmft_monitor *m)
{
	const struct vmft_attach_source *s = &m->source;
	const uint64_t now = vmft_loop_now();

	add_text(object, "attach_phase", vmft_attach_phase_name(s->phase));
	add_number(object, "attach_round", s->pace.round);
	add_number(object, "attach_done_bytes", s->now.ram_bytes + s->now.disk_bytes);
	add_number(object, "attach_left_bytes", vmft_attach_source_left(s));
	add_number(object, "attach_bytes_per_s", s->pace.bytes_per_s);
	add_number(object, "attach_dirty_bytes_per_s", s->pace.dirty_per_s);
	add_number(object, "attach_expected_ms", vmft_attach_source_expected_ms(s));
	add_number(object, "attached", s->attached);
	add_number(object, "attach_failures", s->failures);
	add_text(object, "attach_error", s->error);
	add_number(object, "attach_retry_ms", s->retry_ns > now ? (s->retry_ns - now) / MS : 0);
	if (s->attached > 0)
		add_figures(object, &s->last);
}

static void add_attach(struct json_object *object, struct vmft_monitor *m)
{
	if (vmft_monitor_is_primary(m)) {
		add_source(object, m);
		return;
	}
	add_text(object, "attach_phase", vmft_attach_phase_name(m->sink.phase));
	add_number(object, "attach_done_bytes", m->sink.bytes);
}

/* Of the last epochs; times are in ms, "pause" is its parts together. */
static void add_epochs(struct json_object *object, const struct vmft_epoch_figures *f)
{
	static const struct {
		const char *name;
		enum vmft_epoch_figure which;
		bool bytes;
	} kinds[] = {
	    {"length", VMFT_FIGURE_LENGTH, false}, {"pause", VMFT_FIGURE_PAUSE, false},
	    {"stop", VMFT_FIGURE_STOP, false},	   {"drain", VMFT_FIGURE_DRAIN, false},
	    {"save", VMFT_FIGURE_SAVE, false},	   {"scan", VMFT_FIGURE_SCAN, false},
	    {"copy", VMFT_FIGURE_COPY, false},	   {"start", VMFT_FIGURE_START, false},
	    {"commit", VMFT_FIGURE_COMMIT, false}, {"output", VMFT_FIGURE_OUTPUT, false},
	    {"staged", VMFT_FIGURE_STAGED, true},  {"sent", VMFT_FIGURE_SENT, true},
	};
	static const struct {
		const char *name;
		unsigned permille;
	} points[] = {{"p50", 500}, {"p99", 990}, {"max", 1000}};

	add_number(object, "epochs", f->epochs);
	add_number(object, "epochs_early", f->early);
	add_number(object, "epochs_split", f->split);
	add_number(object, "partial_bytes", f->partial_bytes);
	add_number(object, "pages", f->pages);
	add_number(object, "pages_zero", f->zero);
	add_number(object, "pages_unchanged", f->unchanged);
	add_number(object, "pages_delta", f->delta);
	add_number(object, "pages_whole", f->whole);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (size_t j = 0; j < sizeof(points) / sizeof(points[0]); j++) {
			const uint64_t value =
			    vmft_epoch_quantile(f, kinds[i].which, points[j].permille);
			char key[32];

			(void)snprintf(key, sizeof(key), "%s_%s_%s", kinds[i].name,
				       kinds[i].bytes ? "bytes" : "ms", points[j].name);
			if (kinds[i].bytes)
				add_number(object, key, value);
			else
				add_ms(object, key, value);
		}
}

/* With what the peer said of it, of a pair that ended by that. */
static void add_reason(struct json_object *object, const struct vmft_monitor *m)
{
	char reason[300];

	(void)snprintf(reason, sizeof(reason), "%s", vmft_why_text(m->core.why));
	if (m->core.why == VMFT_WHY_PEER_GUEST_DIED && m->peer.gave_up[0])
		(void)snprintf(reason, sizeof(reason), "%s: %s", vmft_why_text(m->core.why),
			       m->peer.gave_up);
	add_text(object, "reason", reason);
}

static void add_disk(struct json_object *object, const struct vmft_monitor *m)
{
	add_number(object, "disk_errors", m->disk.counted);
	add_text(object, "disk_error", m->disk.text);
	json_object_object_add(
	    object, "disk_paused",
	    json_object_new_boolean(atomic_load(&m->agent.iface->disk_paused) != 0));
}

/* What the guest does is no state of the pair's. */
static void add_guest(struct json_object *object, const struct vmft_iface *iface)
{
	json_object_object_add(object, "guest_asleep",
			       json_object_new_boolean(atomic_load(&iface->guest_asleep) != 0));
	add_number(object, "console_dropped", atomic_load(&iface->console_dropped));
}

static void add_detection(struct json_object *object, const struct vmft_monitor *m)
{
	const uint64_t now = vmft_loop_now();
	char text[96], reach[300];

	add_number(object, "silence_ms", m->config.silence_ms);
	add_number(object, "grace_ms", m->config.grace_ms);
	vmft_peer_describe(m, now, text, sizeof(text));
	add_text(object, "detection", text);
	vmft_reach_describe(m, reach, sizeof(reach));
	add_text(object, "connect_error", reach);
	vmft_heartbeat_describe(&m->heartbeat, now, text, sizeof(text));
	add_text(object, "heartbeat_path", text);
	add_number(object, "heartbeats_refused", m->heartbeat.refused);
	add_ms(object, "hiccup_ms_p50", vmft_hiccup_quantile(&m->hiccups, 500));
	add_ms(object, "hiccup_ms_p99", vmft_hiccup_quantile(&m->hiccups, 990));
	add_ms(object, "hiccup_ms_max", m->hiccups.worst_ns);
}

/* What a person should do about it, if anything. */
static void add_next(struct json_object *object, const struct vmft_monitor *m)
{
	char text[VMFT_ADVICE_MAX];

	if (vmft_advice(m, vmft_loop_now(), text, sizeof(text)))
		add_text(object, "next", text);
	else
		json_object_object_add(object, "next", NULL);
}

static struct json_object *status(struct vmft_monitor *m)
{
	struct json_object *object = answer_new(true);

	add_text(object, "name", m->config.name);
	add_text(object, "role", vmft_side_name(m->core.side));
	add_text(object, "host", vmft_host_name(m->options.host));
	add_text(object, "state", vmft_state_name(m->core.state));
	add_reason(object, m);
	add_next(object, m);
	add_number(object, "generation", m->core.generation);
	add_text(object, "strategy", m->strategy_ops->name);
	add_text(object, "strategy_reason", m->options.strategy_reason);
	add_text(object, "arbiter", m->config.arbiter);
	json_object_object_add(object, "arbiter_error",
			       m->arbiter_error[0] ? json_object_new_string(m->arbiter_error)
						   : NULL);
	add_detection(object, m);
	add_number(object, "since_ms", m->state_ns / MS);
	add_number(object, "now_ms", vmft_loop_now() / MS);
	add_number(object, "live_ns", m->live_ns);
	json_object_object_add(object, "guest_pid", json_object_new_int(m->options.guest_pid));
	json_object_object_add(object, "monitor_pid", json_object_new_int(getpid()));
	add_log(object, m);
	add_gate(object, m->agent.iface);
	add_disk(object, m);
	add_guest(object, m->agent.iface);
	add_divergence(object, m);
	add_attach(object, m);
	if (m->strategy_ops->figures && vmft_monitor_is_primary(m))
		add_epochs(object, m->strategy_ops->figures(m->strategy));
	else if (m->strategy_ops->figures)
		add_number(object, "partial_bytes",
			   m->strategy_ops->figures(m->strategy)->partial_bytes);
	if (m->options.role == VMFT_ROLE_BACKUP) {
		add_text(object, "save_log", vmft_saver_path(&m->saver));
		add_text(object, "save_log_error", m->saver.error);
	}
	json_object_object_add(object, "events", events(&m->journal));
	return object;
}

/* --- drill commands -------------------------------------------------------- */

static void do_status(struct vmft_control_client *client)
{
	answer(client, status(client->m));
}

/* While the guest stands still for a hand-over, it is not for anybody to let it go on. */
static bool is_handing_over(struct vmft_control_client *client)
{
	if (!vmft_handover_is_on(client->m))
		return false;
	refuse(client, "the guest is being handed over");
	return true;
}

static void do_freeze(struct vmft_control_client *client)
{
	if (is_handing_over(client))
		return;
	atomic_store(&client->m->agent.iface->freeze, 1);
	answer(client, answer_new(true));
}

static void do_thaw(struct vmft_control_client *client)
{
	if (is_handing_over(client))
		return;
	atomic_store(&client->m->agent.iface->freeze, 0);
	vmft_agent_link_wake(&client->m->agent);
	answer(client, answer_new(true));
}

static void do_attach(struct vmft_control_client *client)
{
	struct vmft_monitor *m = client->m;

	if (!vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_ALONE) {
		refuse(client, "attach: only for a guest that is alone");
		return;
	}
	vmft_attach_source_ask(&m->source);
	vmft_peer_look_for_backup(m);
	answer(client, answer_new(true));
}

/* The attach that is, or the next, stays in its phase; step lets it into the next one. */
static void hold_attach(struct vmft_control_client *client,
			void (*how)(struct vmft_attach_source *source))
{
	if (!vmft_monitor_is_primary(client->m)) {
		refuse(client, "only the primary leads an attach");
		return;
	}
	how(&client->m->source);
	answer(client, answer_new(true));
}

static void do_hold_attach(struct vmft_control_client *client)
{
	hold_attach(client, vmft_attach_source_hold);
}

static void do_step_attach(struct vmft_control_client *client)
{
	hold_attach(client, vmft_attach_source_step);
}

static void do_release_attach(struct vmft_control_client *client)
{
	hold_attach(client, vmft_attach_source_release);
}

static void do_start(struct vmft_control_client *client)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_START_ALONE};
	struct vmft_monitor *m = client->m;

	if (!vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_FORMING ||
	    m->peer.stage != VMFT_PEER_NONE) {
		refuse(client, "start: only for a primary that waits for its backup");
		return;
	}
	vmft_monitor_event(m, &event);
	answer(client, answer_new(true));
}

static void switchover_done(void *user, bool handed, const char *text)
{
	struct vmft_control_client *client = user;
	struct json_object *object;

	if (!handed) {
		refuse(client, text);
		return;
	}
	object = answer_new(true);
	add_text(object, "result", text);
	add_text(object, "live_on", vmft_host_name(client->m->peer.to));
	add_number(object, "generation", client->m->core.generation + 1);
	answer(client, object);
}

static void do_switchover(struct vmft_control_client *client)
{
	char text[160];
	const char *why = vmft_handover_begin(client->m, switchover_done, client);

	if (!why)
		return;
	(void)snprintf(text, sizeof(text), "switchover: %s", why);
	refuse(client, text);
}

static void do_hold_acks(struct vmft_control_client *client)
{
	if (vmft_monitor_is_primary(client->m)) {
		refuse(client, "hold-acks: only the backup acknowledges");
		return;
	}
	client->m->peer.acks_held = true;
	answer(client, answer_new(true));
}

static void do_release_acks(struct vmft_control_client *client)
{
	struct vmft_monitor *m = client->m;

	m->peer.acks_held = false;
	m->peer.ack = m->core.held;
	m->peer.ack_due = true;
	vmft_peer_flush_ack(m);
	answer(client, answer_new(true));
}

static void digest_done(struct vmft_control_client *client)
{
	struct json_object *object = answer_new(true);
	char hex[17];

	(void)snprintf(hex, sizeof(hex), "%016llx",
		       (unsigned long long)XXH3_64bits_digest(client->hash));
	add_text(object, "ram", hex);
	add_number(object, "ram_bytes", client->ram_bytes);
	add_number(object, "position",
		   vmft_monitor_is_primary(client->m)
		       ? atomic_load(&client->m->agent.iface->log_position)
		       : client->m->strategy_ops->applied(client->m->strategy));
	digest_drop(client);
	answer(client, object);
}

static void digest_more(struct vmft_op *op, int result)
{
	struct vmft_control_client *client = op->owner;
	size_t n = client->ram_bytes - client->ram_done;

	(void)result;
	if (n > DIGEST_PIECE)
		n = DIGEST_PIECE;
	XXH3_64bits_update(client->hash, client->ram + client->ram_done, n);
	client->ram_done += n;
	if (client->ram_done == client->ram_bytes)
		digest_done(client);
	else
		vmft_loop_timer(client->m->loop, op, 0);
}

static void do_digest(struct vmft_control_client *client)
{
	struct stat st;
	void *ram;

	if (fstat(client->m->agent.ram_fd, &st) < 0 || st.st_size <= 0) {
		refuse(client, "digest: guest memory is not there");
		return;
	}
	ram = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, client->m->agent.ram_fd, 0);
	client->hash = XXH3_createState();
	if (ram == MAP_FAILED || !client->hash) {
		refuse(client, "digest: cannot map guest memory");
		return;
	}
	client->ram = ram;
	client->ram_bytes = (size_t)st.st_size;
	client->ram_done = 0;
	XXH3_64bits_reset(client->hash);
	client->send_op.done = digest_more;
	vmft_loop_timer(client->m->loop, &client->send_op, 0);
}

static void obey(struct vmft_control_client *client, enum vmft_control_verb verb)
{
	static void (*const verbs[VMFT_CONTROL_VERBS])(struct vmft_control_client *) = {
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
	};

	verbs[verb](client);
}

/* --- clients ---------------------------------------------------------------- */

static void handle_line(struct vmft_control_client *client, size_t line_bytes)
{
	char error[128];
	int verb = vmft_control_request_parse(client->in, line_bytes, error, sizeof(error));

	client->in_bytes -= line_bytes + 1;
	memmove(client->in, client->in + line_bytes + 1, client->in_bytes);
	if (verb < 0)
		refuse(client, error);
	else
		obey(client, (enum vmft_control_verb)verb);
}

static void on_recv(struct vmft_op *op, int result)
{
	struct vmft_control_client *client = op->owner;

	if (result <= 0) {
		hang_up(client);
		return;
	}
	client->in_bytes += (size_t)result;
	receive(client);
}

static void receive(struct vmft_control_client *client)
{
	char *newline = memchr(client->in, '\n', client->in_bytes);

	if (newline) {
		handle_line(client, (size_t)(newline - client->in));
		return;
	}
	if (client->in_bytes == sizeof(client->in)) {
		hang_up(client);
		return;
	}
	vmft_loop_recv(client->m->loop, &client->recv_op, client->fd, client->in + client->in_bytes,
		       sizeof(client->in) - client->in_bytes);
}

static void client_new(struct vmft_monitor *m, int fd)
{
	struct vmft_control_client **slot = m->control.client;
	struct vmft_control_client *const *const end = slot + VMFT_CONTROL_CLIENTS;
	struct vmft_control_client *client;

	while (slot < end && *slot)
		slot++;
	client = slot < end ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	*slot = client;
	client->slot = slot;
	client->m = m;
	client->fd = fd;
	client->recv_op = (struct vmft_op){.done = on_recv, .owner = client};
	client->send_op = (struct vmft_op){.done = on_sent, .owner = client};
	receive(client);
}

static void on_accept(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;

	if (result >= 0)
		client_new(m, result);
	if (result >= 0 || result == -ECONNABORTED || result == -EINTR) {
		m->control.full = m->control.full && result < 0;
		vmft_loop_accept(m->loop, op, m->control.fd);
		return;
	}
	if (!m->control.full)
		vmft_journal_say(&m->journal,
				 "control socket: nobody can be answered: %s; it is tried again "
				 "five times a second",
				 strerror(-result));
	m->control.full = true;
	vmft_loop_timer(m->loop, &m->control.retry_op, ACCEPT_AGAIN_NS);
}

static void on_accept_again(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;

	(void)result;
	vmft_loop_accept(m->loop, &m->control.accept_op, m->control.fd);
}

/* One that was killed takes a moment to be gone: to let go of a guest's memory is work. */
static bool is_gone(pid_t pid)
{
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	bool gone;

	if (process.fd < 0)
		return errno == ESRCH;
	gone = poll(&process, 1, DYING_MS) > 0;
	close(process.fd);
	return gone;
}

/*
 * A socket file is left over from a monitor that was killed if nobody listens on it, or if
 * whoever did is gone: the kernel closes the sockets an io_uring was waiting on a little
 * after the process has died (io_ring_exit_work()), and until then one can connect.
 */
static bool is_left_over(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred listener;
	socklen_t n = sizeof(listener);
	bool dead;

	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		dead = errno == ECONNREFUSED;
	else
		dead = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &n) == 0 &&
		       listener.pid > 0 && is_gone(listener.pid);
	close(fd);
	return dead;
}

static int bind_control(int fd, const struct sockaddr_un *addr, bool *ret_left_over)
{
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE || !is_left_over(addr))
		return -errno;
	*ret_left_over = true;
	(void)unlink(addr->sun_path);
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : -errno;
}

/* /run is empty after each boot. Only the last component is made. */
static void make_directory(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return;
	*slash = '\0';
	(void)mkdir(dir, 0755);
}

int vmft_control_init(struct vmft_monitor *m, struct vmft_error *err)
{
	struct vmft_control *control = &m->control;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int rc;

	(void)snprintf(control->path, sizeof(control->path), "%s",
		       m->config.host[m->options.host].control);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", control->path);
	make_directory(control->path);
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (control->fd < 0)
		return vmft_error_set(err, -errno, VMFT_EXIT_INTERNAL, "socket: %s",
				      strerror(errno));
	mask = umask(0077); /* who may drill a VM is who runs it */
	rc = bind_control(control->fd, &addr, &control->left_over);
	(void)umask(mask);
	if (rc == 0 && listen(control->fd, 8) < 0)
		rc = -errno;
	if (rc < 0) {
		close(control->fd);
		control->path[0] = '\0';
		return vmft_error_set(err, rc, VMFT_EXIT_ADDRESS,
				      "%s: [%s] control = %s: %s; is this side of %s running "
				      "already?",
				      m->options.pair_file, vmft_host_name(m->options.host),
				      addr.sun_path, strerror(-rc), m->config.name);
	}
	control->accept_op = (struct vmft_op){.done = on_accept, .owner = m};
	control->retry_op = (struct vmft_op){.done = on_accept_again, .owner = m};
	vmft_loop_accept(m->loop, &control->accept_op, control->fd);
	return 0;
}

/* One whose question was just being answered as the monitor came to its end. */
static void drop(struct vmft_control_client *client)
{
	if (!client)
		return;
	(void)vmft_loop_withdraw(client->m->loop, &client->recv_op);
	(void)vmft_loop_withdraw(client->m->loop, &client->send_op);
	hang_up(client);
}

void vmft_control_fini(struct vmft_monitor *m)
{
	for (size_t i = 0; i < VMFT_CONTROL_CLIENTS; i++)
		drop(m->control.client[i]);
	if (m->control.path[0])
		(void)unlink(m->control.path);
}
