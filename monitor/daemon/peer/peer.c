/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other side, over the logging channel: the hellos, then log one way, acks the other.
 *
 * The backup listens; the primary connects, to one of the other hosts after the other, until a
 * pair is formed, and again when it is alone. Both check the other's hello before anything
 * else; a pair once formed is never formed again on a new connection: losing it is for the
 * arbiter. A guest that runs already is given to its new backup by an attach (attach.h) on
 * the same connection.
 *
 * Who is silent. Each side speaks for its guest only while its agent beats: a QEMU that is
 * stopped falls silent like a host that is gone. The backup gives the primary up after
 * silence-ms; the primary gives the backup up after three quarters of it and its gate's
 * lease runs out at four fifths, so that of two sides that live on both ends of a cut
 * channel the primary asks the arbiter first and emits nothing by the time the other may.
 * While the heartbeat path says that the peer is there, either waits longer (detection.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/hub/monitor.h"

#define MS		 UINT64_C(1000000)
#define CONNECT_RETRY_NS (200 * MS)
#define LOOK_AGAIN_NS	 (500 * MS) /* for a backup, by a guest that runs alone */
#define PREDECESSOR_NS	 (3000 * MS)

static uint64_t silence_ns(const struct vmft_monitor *m)
{
	return m->config.silence_ms * MS;
}

static uint64_t heartbeat_ns(const struct vmft_monitor *m)
{
	uint64_t ns = silence_ns(m) / 10;

	return ns > 200 * MS ? 200 * MS : ns;
}

static struct vmft_detection detection(const struct vmft_monitor *m)
{
	return (struct vmft_detection){
	    .silence_ns = silence_ns(m),
	    .grace_ns = m->config.grace_ms * MS,
	    .primary = vmft_monitor_is_primary(m),
	};
}

/* --- sending -------------------------------------------------------------- */

/* A guest that runs; and one whose strategy knows no other way. */
static bool pairs_by_attach(const struct vmft_monitor *m)
{
	return m->core.state != VMFT_STATE_FORMING || m->strategy_ops->pairs_by_attach;
}

/* The one thing of a tap that a person changes while a guest runs. */
static void look_at_mtus(struct vmft_monitor *m)
{
	struct vmft_hello *ours = &m->options.identity;

	for (uint8_t i = 0; i < ours->tap_count; i++)
		if (m->options.tap_ifname[i][0])
			ours->tap[i].mtu = vmft_tap_mtu(m->options.tap_ifname[i]);
}

static void send_hello(struct vmft_monitor *m)
{
	struct vmft_hello hello;
	uint8_t payload[VMFT_HELLO_BYTES_MAX];
	size_t n;

	look_at_mtus(m);
	hello = m->options.identity;
	hello.role = vmft_monitor_is_primary(m) ? VMFT_ROLE_PRIMARY : VMFT_ROLE_BACKUP;
	hello.attach = vmft_monitor_is_primary(m) && pairs_by_attach(m);
	(void)snprintf(hello.record, sizeof(hello.record), "%s",
		       vmft_monitor_is_primary(m) ? m->record : m->owner);
	vmft_heartbeat_introduce(&m->heartbeat, &hello);
	n = vmft_hello_encode(&hello, payload);
	(void)vmft_channel_send(&m->peer.channel, VMFT_FRAME_HELLO, 0, payload, n);
}

/* A frame is built where it will be sent from: log bytes are copied once. */
static bool send_log(struct vmft_monitor *m)
{
	uint8_t *room = vmft_channel_room(&m->peer.channel, VMFT_FRAME_PAYLOAD_MAX);
	uint64_t position;
	ssize_t n;

	if (!room)
		return false;
	n = m->strategy_ops->take(m->strategy, room, VMFT_FRAME_PAYLOAD_MAX, &position);
	if (n < 0) {
		vmft_monitor_agent_broken(m);
		return false;
	}
	if (n == 0)
		return false;
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_LOG, position, room, (size_t)n);
	return true;
}

/*
 * A guest that has ended has its last state on both sides first: a backup that is still busy
 * with it when this side hangs up would take the VM for dead, and bring it back to life.
 */
static bool is_shipped(const struct vmft_monitor *m)
{
	return m->strategy_ops->is_empty(m->strategy) &&
	       (!m->guest_ended || m->core.acked >= m->strategy_ops->taken(m->strategy));
}

void vmft_peer_pump(struct vmft_monitor *m)
{
	const bool shipping = m->core.state == VMFT_STATE_SHIPPING;
	const struct vmft_event_in shipped = {.kind = VMFT_IN_LOG_SHIPPED};

	if (m->peer.stage < VMFT_PEER_ATTACHING || m->peer.channel.closing ||
	    (!vmft_core_is_paired(&m->core) && !shipping && !m->source.log_flows))
		return;
	vmft_shown_pump(m);
	while (send_log(m))
		;
	vmft_lag_sent(&m->lag, m->strategy_ops->taken(m->strategy), vmft_loop_now());
	if (shipping && is_shipped(m))
		vmft_monitor_event(m, &shipped);
}

/* Until QEMU has opened its log, and once it is gone, there is no thread to beat. */
static bool agent_beats(const struct vmft_monitor *m)
{
	return vmft_agent_link_state(&m->agent) == VMFT_AGENT_ABSENT || m->guest_gone ||
	       vmft_loop_since(m->beat_ns, vmft_loop_now()) < silence_ns(m) / 4;
}

static void send_beat(struct vmft_monitor *m, uint64_t now)
{
	uint8_t payload[8];

	if (!agent_beats(m))
		return;
	(void)vmft_u64_encode(now, payload);
	if (vmft_channel_send(&m->peer.channel, VMFT_FRAME_HEARTBEAT,
			      m->strategy_ops->taken(m->strategy), payload, sizeof(payload)))
		m->peer.beat_sent_ns = now;
}

/* There is nothing to acknowledge before the attach point. */
static void send_alive(struct vmft_monitor *m)
{
	uint8_t payload[8];

	if (!vmft_channel_send(&m->peer.channel, VMFT_FRAME_ALIVE, 0, payload,
			       vmft_u64_encode(m->peer.echo_ns, payload)))
		return;
	m->peer.ack_due = false;
	m->peer.beat_sent_ns = vmft_loop_now();
}

static void send_ack(struct vmft_monitor *m)
{
	/* Until the state is loaded the agent's position is not of this log. */
	const uint64_t applied = m->peer.stage == VMFT_PEER_FORMED || m->sink.loaded
				     ? m->strategy_ops->applied(m->strategy)
				     : m->core.replayed;
	const struct vmft_ack ack = {
	    .replayed = applied < m->peer.ack ? applied : m->peer.ack,
	    .echo = m->peer.echo_ns,
	    .formed = m->peer.stage == VMFT_PEER_FORMED,
	};
	uint8_t payload[24];

	if (m->peer.stage == VMFT_PEER_ATTACHING && !m->core.pointed) {
		send_alive(m);
		return;
	}

	if (!vmft_channel_send(&m->peer.channel, VMFT_FRAME_ACK, m->peer.ack, payload,
			       vmft_ack_encode(&ack, payload)))
		return;
	m->peer.ack_due = false;
	m->peer.beat_sent_ns = vmft_loop_now();
}

/* Of the pair's generation: one that has won the next has something else to say. */
static bool may_ack(const struct vmft_monitor *m)
{
	return m->core.state != VMFT_STATE_GOING_LIVE && agent_beats(m);
}

void vmft_peer_flush_ack(struct vmft_monitor *m)
{
	if (m->peer.ack_due && m->peer.stage >= VMFT_PEER_ATTACHING && !m->peer.channel.closing &&
	    !vmft_monitor_is_primary(m) && may_ack(m))
		send_ack(m);
}

void vmft_peer_close(struct vmft_monitor *m)
{
	if (!vmft_channel_is_up(&m->peer.channel))
		return;
	/* A side that has given its peer up must not keep it waiting. */
	vmft_heartbeat_end(&m->heartbeat);
	vmft_channel_close(&m->peer.channel);
}

/* --- the hellos ----------------------------------------------------------- */

static bool same(const uint8_t *a, uint8_t a_bytes, const uint8_t *b, uint8_t b_bytes)
{
	return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

/* Whether the pair file has the host that the peer says it is on. */
static bool host_fits(const struct vmft_monitor *m, uint8_t host)
{
	if (host >= VMFT_HOST_COUNT || !m->config.has_host[host])
		return false;
	return vmft_monitor_is_primary(m) ? host == m->peer.to : host != m->options.host;
}

/* Which image it is: one of several is hard to find otherwise. */
static const char *other_disks(struct vmft_monitor *m, const struct vmft_hello *theirs)
{
	const struct vmft_hello *ours = &m->options.identity;
	const size_t most = 80;

	for (uint32_t i = 0; i < m->options.disk_count && i < theirs->image_count; i++) {
		const char *path = m->options.disk[i].path;
		const size_t n = strlen(path);

		if (i >= ours->image_count || ours->image_sum[i] == theirs->image_sum[i])
			continue;
		(void)snprintf(m->peer.mismatch, sizeof(m->peer.mismatch),
			       "other disk contents at disk %u (%s%s): copy the images before the "
			       "start",
			       i, n > most ? "..." : "", n > most ? path + n - most : path);
		return m->peer.mismatch;
	}
	return "other disk contents: copy the images before the start";
}

static bool taps_fit(struct vmft_monitor *m, const struct vmft_hello *theirs)
{
	const struct vmft_hello *ours = &m->options.identity;
	const bool primary = vmft_monitor_is_primary(m);

	look_at_mtus(m);
	return vmft_tap_facts_equal(primary ? ours : theirs, primary ? theirs : ours,
				    m->peer.mismatch, sizeof(m->peer.mismatch));
}

/* What keeps the two from being a pair, or NULL. */
static const char *mismatch(struct vmft_monitor *m, const struct vmft_hello *theirs)
{
	const struct vmft_hello *ours = &m->options.identity;
	const bool attach = theirs->attach || (vmft_monitor_is_primary(m) && pairs_by_attach(m));

	if (strcmp(ours->name, theirs->name) != 0)
		return "another VM's name";
	if ((theirs->role == VMFT_ROLE_PRIMARY) == vmft_monitor_is_primary(m))
		return "the same role: one side must be primary, the other backup";
	if (theirs->log_version != ours->log_version)
		return "another record/replay log version: install the same QEMU on both hosts";
	if (!same(ours->build_id, ours->build_id_bytes, theirs->build_id, theirs->build_id_bytes))
		return "another QEMU build: install the same package version on both hosts";
	/* Named before the machine, whose digest says nothing of what differs. */
	if (!taps_fit(m, theirs))
		return m->peer.mismatch;
	if (!same(ours->machine, ours->machine_bytes, theirs->machine, theirs->machine_bytes))
		return "another machine: the QEMU command lines, kernels and initrds must describe "
		       "the same guest";
	/* An attach makes them equal. */
	if (!attach && !same(ours->disk, ours->disk_bytes, theirs->disk, theirs->disk_bytes))
		return other_disks(m, theirs);
	if (theirs->silence_ms != ours->silence_ms)
		return "another silence-ms: use one pair file on both hosts";
	/* With another one the backup might ask the arbiter first. */
	if (theirs->grace_ms != ours->grace_ms)
		return "another grace-ms: use one pair file on both hosts";
	if ((theirs->ticket_bytes > 0) != (m->heartbeat.fd >= 0))
		return "a heartbeat path on one side only: use one pair file on both hosts";
	if (!host_fits(m, theirs->host))
		return "another VMFT_HOST than its address in the pair file says";
	return NULL;
}

/* Their hello was accepted, ours is sent. */
static void begin_heartbeat(struct vmft_monitor *m, const struct vmft_hello *theirs)
{
	const struct vmft_detection d = detection(m);

	m->peer.host = (enum vmft_host)theirs->host;
	vmft_heartbeat_begin(&m->heartbeat, theirs, m->core.generation, heartbeat_ns(m) / 2,
			     vmft_detection_fresh_ns(&d));
}

static void formed(struct vmft_monitor *m)
{
	const struct vmft_event_in ready = {.kind = VMFT_IN_PEER_READY};

	m->peer.stage = VMFT_PEER_FORMED;
	m->peer.echo_ns = 0;
	m->peer.gave_up[0] = '\0';
	vmft_stall_begin(&m->stall, m->peer.replayed, vmft_loop_now());
	if (!vmft_monitor_is_primary(m))
		vmft_saver_begin(&m->saver, m->core.generation, 0, false);
	vmft_monitor_event(m, &ready);
}

/* A backup that is refused, or refuses, is tried again and again: said when it is new. */
static void say_once(struct vmft_monitor *m, const char *what, const char *why)
{
	if (strncmp(m->peer.refusal, why, sizeof(m->peer.refusal) - 1) == 0)
		return;
	(void)snprintf(m->peer.refusal, sizeof(m->peer.refusal), "%.240s", why);
	vmft_journal_say(&m->journal, "the %s %s %s %s",
			 vmft_monitor_is_primary(m) ? "backup" : "primary",
			 m->transport->peer_name(m->peer.channel.conn), what, why);
}

static void refuse_backup(struct vmft_monitor *m, const char *why)
{
	say_once(m, "has", why);
	vmft_channel_turn_away(&m->peer.channel, m->peer.channel.conn, why);
	/* It will not heal by trying again, and the guest has not run. */
	if (m->core.state == VMFT_STATE_FORMING)
		vmft_monitor_leave(m, VMFT_EXIT_PEER);
}

static void ask_mark(struct vmft_monitor *m)
{
	m->peer.mark_old = m->peer.mark_asked;
	if (m->peer.mark_asked)
		return;
	m->peer.mark_asked = true;
	vmft_arbiter_worker_ask(m->worker, &(struct vmft_arbiter_question){
					       .ask = VMFT_ASK_MARK,
					       .host = vmft_host_name(m->peer.backup_hello.host),
					   });
}

static void primary_got_hello(struct vmft_monitor *m, const struct vmft_frame_info *frame,
			      const struct vmft_hello *theirs)
{
	const char *why = mismatch(m, theirs);

	if (!why && frame->generation != m->core.generation)
		why = "another generation";
	if (why) {
		refuse_backup(m, why);
		return;
	}
	m->peer.backup_hello = *theirs;
	m->peer.marking = true;
	m->transport->pause(m->peer.channel.conn, true);
	ask_mark(m);
}

/* The backup's hello fits, and its mark was found. */
static void take_backup(struct vmft_monitor *m)
{
	const struct vmft_event_in start = {.kind = VMFT_IN_START_ALONE};

	m->peer.refusal[0] = '\0';
	begin_heartbeat(m, &m->peer.backup_hello);
	if (!pairs_by_attach(m)) {
		formed(m);
	} else {
		/* The backup it was to wait for is there; it is given to it as it runs. */
		if (m->core.state == VMFT_STATE_FORMING)
			vmft_monitor_event(m, &start);
		m->peer.stage = VMFT_PEER_ATTACHING;
		m->peer.echo_ns = 0;
		vmft_journal_say(&m->journal, "attaching the backup at %s",
				 m->config.host[m->peer.to].channel.text);
		vmft_attaching_begin(m);
	}
	send_beat(m, vmft_loop_now());
}

/*
 * What the backup has left at its arbiter is found at ours, so both are one. With two arbiters
 * each side could win the next generation at its own.
 */
void vmft_peer_got_mark(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	m->peer.mark_asked = false;
	if (!m->peer.marking)
		return;
	if (m->peer.mark_old) {
		ask_mark(m);
		return;
	}
	vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
	m->peer.marking = false;
	if (answer->rc < 0) {
		say_once(m, "is not taken until the arbiter answers:", answer->err.text);
		vmft_channel_drop(&m->peer.channel);
		return;
	}
	if (!vmft_core_wants_peer(&m->core) || m->stopping) {
		vmft_channel_drop(&m->peer.channel);
		return;
	}
	if (strcmp(answer->mark, m->peer.backup_hello.record) != 0) {
		refuse_backup(m, "left a mark at its arbiter that this host's does not show; both "
				 "hosts must use one arbiter");
		return;
	}
	take_backup(m);
	m->transport->pause(m->peer.channel.conn, false);
}

/* A primary that looks for a backup comes again twice a second, from another port each time: said
 * when the host or the reason is new. */
static void say_refused(struct vmft_monitor *m, struct vmft_conn *conn, const char *why)
{
	const char *name = m->transport->peer_name(conn);
	const char *port = strrchr(name, ':');
	char text[sizeof(m->peer.refusal)];

	(void)snprintf(text, sizeof(text), "%.*s: it has %.200s",
		       port ? (int)(port - name) : (int)strlen(name), name, why);
	if (strcmp(text, m->peer.refusal) == 0)
		return;
	(void)snprintf(m->peer.refusal, sizeof(m->peer.refusal), "%s", text);
	vmft_journal_say(&m->journal, "refused %s", text);
}

static void refuse_stranger(struct vmft_monitor *m, struct vmft_conn *conn, const char *why)
{
	say_refused(m, conn, why);
	if (conn == m->peer.caller)
		m->peer.caller = NULL;
	vmft_strangers_note(&m->peer.strangers, conn, VMFT_STRANGER_REFUSED);
	vmft_channel_turn_away(&m->peer.channel, conn, why);
}

static void take_primary(struct vmft_monitor *m, struct vmft_conn *conn)
{
	const struct vmft_hello theirs = m->peer.caller_hello;
	const struct vmft_event_in attach = {.kind = VMFT_IN_ATTACH};

	vmft_strangers_leave(&m->peer.strangers, conn);
	m->peer.caller = NULL;
	vmft_channel_open(&m->peer.channel, conn);
	m->peer.stage = VMFT_PEER_HELLO;
	m->peer.heard_ns = vmft_loop_now();
	vmft_core_init(&m->core, VMFT_SIDE_BACKUP, m->peer.caller_generation);
	memcpy(m->record, theirs.record, sizeof(m->record));
	send_hello(m);
	begin_heartbeat(m, &theirs);
	if (!theirs.attach)
		return;
	m->peer.stage = VMFT_PEER_ATTACHING;
	m->peer.echo_ns = 0;
	vmft_monitor_event(m, &attach);
}

/* Not refused, which a primary that has not started takes for good: it tries again. */
static void drop_caller(struct vmft_monitor *m)
{
	vmft_strangers_note(&m->peer.strangers, m->peer.caller, VMFT_STRANGER_REFUSED);
	m->transport->close(m->peer.caller, false);
	m->peer.caller = NULL;
}

/* A question that is out already may have been answered before this hello was said. */
static void ask_latest(struct vmft_monitor *m)
{
	m->peer.latest_old = m->peer.latest_asked;
	if (m->peer.latest_asked)
		return;
	m->peer.latest_asked = true;
	vmft_arbiter_worker_ask(m->worker, &(struct vmft_arbiter_question){.ask = VMFT_ASK_LATEST});
}

/* Why the primary that says hello is not the one the arbiter knows, or NULL. */
static const char *stale(const struct vmft_monitor *m, const struct vmft_arbiter_latest *latest)
{
	if (latest->generation != m->peer.caller_generation || latest->ended)
		return "another generation than this host's arbiter; both hosts must use one "
		       "arbiter";
	/* The number is right by chance: two arbiters, or a stranger's word. */
	if (strcmp(latest->owner, m->peer.caller_hello.record) != 0)
		return "a generation that is another's at this host's arbiter; both hosts must use "
		       "one arbiter";
	return NULL;
}

/*
 * A primary of an older generation is one that slept through a failover: its guest must not
 * get a new backup.
 */
void vmft_peer_got_latest(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	struct vmft_conn *conn = m->peer.caller;
	const char *why;

	m->peer.latest_asked = false;
	if (answer->rc < 0 && m->arbiter_error[0] == '\0')
		vmft_journal_say(&m->journal, "no primary is taken until the arbiter answers: %s",
				 answer->err.text);
	vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
	if (!conn)
		return;
	if (m->peer.latest_old) {
		ask_latest(m);
		return;
	}
	/* What has become of this side meanwhile. */
	if (!vmft_core_wants_peer(&m->core) || m->stopping)
		refuse_stranger(m, conn, "come to a side that has ended");
	else if (answer->rc < 0)
		drop_caller(m);
	else if ((why = stale(m, &answer->latest)) != NULL)
		refuse_stranger(m, conn, why);
	else
		take_primary(m, conn);
}

static void backup_got_hello(struct vmft_monitor *m, struct vmft_conn *conn,
			     const struct vmft_frame_info *frame, const struct vmft_hello *theirs)
{
	const char *why = mismatch(m, theirs);

	if (!why && (!vmft_core_wants_peer(&m->core) || m->peer.channel.conn))
		why = "come to a backup that has its primary";
	if (!why && m->sink.phase != VMFT_ATTACH_IDLE)
		why = "to wait: an attempt to attach is still being cleaned up";
	if (!why && m->sink.prepared && !theirs->attach)
		why =
		    "a guest to start; this backup is made ready for one that runs: start it anew";
	if (why) {
		refuse_stranger(m, conn, why);
		return;
	}
	/* The last one counts: the same primary, whose other connection is lost, or a stale one. */
	if (m->peer.caller)
		drop_caller(m);
	m->peer.caller = conn;
	vmft_strangers_note(&m->peer.strangers, conn, VMFT_STRANGER_CALLER);
	m->peer.caller_hello = *theirs;
	m->peer.caller_generation = frame->generation;
	ask_latest(m);
}

static int got_hello(struct vmft_monitor *m, struct vmft_conn *conn,
		     const struct vmft_frame_info *frame)
{
	struct vmft_hello theirs;

	if (vmft_hello_decode(frame->payload, frame->length, &theirs) < 0 || conn == m->peer.caller)
		return -EBADMSG;
	if (conn != m->peer.channel.conn && vmft_monitor_is_primary(m)) {
		vmft_strangers_note(&m->peer.strangers, conn, VMFT_STRANGER_REFUSED);
		vmft_channel_turn_away(&m->peer.channel, conn, "come to the side that is live");
		return 0;
	}
	if (conn != m->peer.channel.conn) {
		backup_got_hello(m, conn, frame, &theirs);
		return 0;
	}
	if (!vmft_monitor_is_primary(m) || m->peer.stage != VMFT_PEER_HELLO)
		return -EBADMSG;
	primary_got_hello(m, frame, &theirs);
	return 0;
}

static int got_refusal(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	char why[241];
	bool diverged;

	(void)snprintf(why, sizeof(why), "%.*s", (int)(frame->length < 240 ? frame->length : 240),
		       (const char *)frame->payload);
	diverged = vmft_divergence_heard(&m->divergence, why);
	/* Of a pair: why the goodbye comes that is behind it. */
	if (vmft_core_is_paired(&m->core)) {
		(void)snprintf(m->peer.gave_up, sizeof(m->peer.gave_up), "%.160s", why);
		vmft_journal_say(&m->journal, "the peer gives up: %s", why);
		return 0;
	}
	if (diverged && vmft_monitor_is_primary(m))
		vmft_divergence_count(&m->divergence, why);
	if (m->core.state == VMFT_STATE_ATTACHING || m->core.state == VMFT_STATE_SEALING) {
		if (vmft_monitor_is_primary(m))
			vmft_attach_source_abort(&m->source, "the backup gives up: %s", why);
		else
			vmft_journal_say(&m->journal, "the primary gives up: %s", why);
	} else {
		say_once(m, "refuses this side: it has", why);
	}
	if (vmft_monitor_is_primary(m) && m->core.state == VMFT_STATE_FORMING)
		vmft_monitor_leave(m, VMFT_EXIT_PEER);
	return -ECONNREFUSED;
}

/* --- frames of a formed pair ---------------------------------------------- */

static int got_log(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	int rc = m->strategy_ops->hold(m->strategy, frame->position, frame->payload, frame->length);
	struct vmft_event_in held = {.kind = VMFT_IN_LOG_HELD};

	if (rc < 0)
		return rc;
	held.position = m->strategy_ops->held(m->strategy);
	vmft_monitor_event(m, &held);
	return 0;
}

static int got_heartbeat(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	uint64_t clock;

	if (vmft_u64_decode(frame->payload, frame->length, &clock) < 0)
		return -EBADMSG;
	m->peer.echo_ns = clock;
	m->peer.ack_due = true;
	return 0;
}

static int got_ack(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_event_in event = {
	    .kind = VMFT_IN_ACK,
	    .position = frame->position,
	    .sent = m->strategy_ops->taken(m->strategy),
	};
	struct vmft_ack ack;

	if (m->peer.stage == VMFT_PEER_ATTACHING && !m->core.pointed)
		return -EBADMSG;
	if (vmft_ack_decode(frame->payload, frame->length, &ack) < 0 ||
	    ack.replayed > frame->position || ack.echo > vmft_loop_now())
		return -EBADMSG;
	m->peer.replayed = ack.replayed;
	if (ack.echo > m->peer.echo_ns)
		m->peer.echo_ns = ack.echo;
	event.formed = ack.formed;
	vmft_monitor_event(m, &event);
	m->strategy_ops->acked(m->strategy, m->core.acked);
	if (vmft_core_is_paired(&m->core) && ack.formed)
		m->strategy_ops->release(m->strategy, m->core.released,
					 m->peer.echo_ns + silence_ns(m) / 5 * 4);
	/* What a guest said before it switched itself off; QEMU and its gate are still there. */
	if (m->core.state == VMFT_STATE_SHIPPING && m->guest_ended && ack.formed)
		m->strategy_ops->release(m->strategy, m->core.acked,
					 m->peer.echo_ns + silence_ns(m) / 5 * 4);
	/* Last: with the end of the log shipped QEMU is told to end. */
	if (m->core.state == VMFT_STATE_SHIPPING)
		vmft_peer_pump(m);
	return 0;
}

static int got_alive(const struct vmft_frame_info *frame)
{
	uint64_t echo;

	if (vmft_u64_decode(frame->payload, frame->length, &echo) < 0 || echo > vmft_loop_now())
		return -EBADMSG;
	return 0;
}

/* The attach's end, on the backup: the primary counts on this side from now on. */
static int got_formed(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const struct vmft_event_in ready = {.kind = VMFT_IN_PEER_READY};

	if (got_heartbeat(m, frame) < 0 || !m->core.pointed ||
	    vmft_attach_sink_formed(&m->sink) < 0)
		return -EBADMSG;
	m->peer.stage = VMFT_PEER_FORMED;
	m->peer.gave_up[0] = '\0';
	vmft_monitor_event(m, &ready);
	return 0;
}

void vmft_peer_form(struct vmft_monitor *m)
{
	const uint64_t now = vmft_loop_now();
	uint8_t payload[8];

	m->peer.stage = VMFT_PEER_FORMED;
	m->peer.gave_up[0] = '\0';
	vmft_shown_pump(m);
	/* The lease: only what the backup heard from now on counts. */
	m->peer.echo_ns = 0;
	/* No room: on the next tick. A log that goes ahead does no harm. */
	m->peer.form_due = !vmft_channel_send(&m->peer.channel, VMFT_FRAME_FORMED,
					      m->strategy_ops->taken(m->strategy), payload,
					      vmft_u64_encode(now, payload));
}

static bool is_about_handing_over(const struct vmft_frame_info *frame)
{
	return frame->type == VMFT_FRAME_BYE && frame->length == 1 &&
	       (frame->payload[0] == VMFT_BYE_HANDED_OVER ||
		frame->payload[0] == VMFT_BYE_TOOK_OVER);
}

/* Each is one side's word, in one state. */
static int got_handover(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const struct vmft_event_in hands = {.kind = VMFT_IN_PEER_HANDS_OVER};
	const struct vmft_event_in took = {.kind = VMFT_IN_PEER_TOOK_OVER};

	if (frame->payload[0] == VMFT_BYE_HANDED_OVER &&
	    (vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_PROTECTED))
		return -EBADMSG;
	if (frame->payload[0] == VMFT_BYE_TOOK_OVER && m->core.state != VMFT_STATE_HANDED_OVER)
		return -EBADMSG;
	vmft_monitor_event(m, frame->payload[0] == VMFT_BYE_TOOK_OVER ? &took : &hands);
	return 0;
}

/* The one frame that comes from the generation after this: "the guest is live here". */
static bool is_of_this_pair(const struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const bool took_over =
	    is_about_handing_over(frame) && frame->payload[0] == VMFT_BYE_TOOK_OVER;

	return frame->generation == m->core.generation + took_over;
}

static int got_bye(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_event_in event = {
	    .kind = VMFT_IN_PEER_LOST,
	    .why = VMFT_WHY_PEER_GUEST_DIED,
	};

	if (frame->length != 1)
		return -EBADMSG;
	if (is_about_handing_over(frame))
		return got_handover(m, frame);
	if (frame->payload[0] == VMFT_BYE_GUEST_ENDED)
		event.kind = VMFT_IN_PEER_ENDED;
	else if (frame->payload[0] == VMFT_BYE_DIVERGED && vmft_monitor_is_primary(m)) {
		event.why = VMFT_WHY_PEER_DIVERGED;
		vmft_divergence_count(&m->divergence, "");
	} else if (frame->payload[0] == VMFT_BYE_STOPPED && vmft_monitor_is_primary(m)) {
		event.why = VMFT_WHY_PEER_STOPPED;
	} else if (frame->payload[0] != VMFT_BYE_GUEST_DIED)
		return -EBADMSG;
	vmft_monitor_event(m, &event);
	return 0;
}

/* Before the attach point there is no log. */
static bool is_for_pair(const struct vmft_monitor *m, uint16_t type)
{
	return type == VMFT_FRAME_HEARTBEAT || type == VMFT_FRAME_BYE ||
	       (m->core.pointed &&
		(type == VMFT_FRAME_LOG || type == VMFT_FRAME_ACK || type == VMFT_FRAME_SHOWN));
}

static int primary_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	switch (frame->type) {
	case VMFT_FRAME_READY:
		return vmft_attach_source_got_ready(&m->source);
	case VMFT_FRAME_WANT:
		return vmft_attach_source_got_want(&m->source, frame);
	case VMFT_FRAME_ALIVE:
		return got_alive(frame);
	default:
		return -EBADMSG;
	}
}

static int backup_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	switch (frame->type) {
	case VMFT_FRAME_ATTACH:
		return vmft_attach_sink_got_attach(&m->sink, frame);
	case VMFT_FRAME_FORMED:
		return got_formed(m, frame);
	default:
		return vmft_attach_sink_got_frame(&m->sink, frame);
	}
}

static int got_frame(struct vmft_monitor *m, struct vmft_conn *conn,
		     const struct vmft_frame_info *frame)
{
	const bool primary = vmft_monitor_is_primary(m);

	if (frame->type == VMFT_FRAME_HELLO)
		return got_hello(m, conn, frame);
	if (conn != m->peer.channel.conn)
		return -EBADMSG;
	if (frame->type == VMFT_FRAME_REFUSE)
		return got_refusal(m, frame);
	if (!is_of_this_pair(m, frame))
		return -EBADMSG;
	/* The primary's first frame says that it has accepted us too: core.h, PEER_READY. */
	if (!primary && m->peer.stage == VMFT_PEER_HELLO)
		formed(m);
	if (m->peer.stage < VMFT_PEER_ATTACHING)
		return -EBADMSG;
	if (m->peer.stage == VMFT_PEER_ATTACHING && !is_for_pair(m, frame->type))
		return primary ? primary_got_attach(m, frame) : backup_got_attach(m, frame);
	switch (frame->type) {
	case VMFT_FRAME_LOG:
		/* Behind a hand-over there is none: it would come after the end of the log. */
		return primary || m->core.handed ? -EBADMSG : got_log(m, frame);
	case VMFT_FRAME_OUTPUT:
		return primary || m->core.state != VMFT_STATE_PROTECTED
			   ? -EBADMSG
			   : vmft_handover_got_output(m, frame);
	case VMFT_FRAME_HEARTBEAT:
		return primary ? -EBADMSG : got_heartbeat(m, frame);
	case VMFT_FRAME_ACK:
		return primary ? got_ack(m, frame) : -EBADMSG;
	case VMFT_FRAME_BYE:
		return got_bye(m, frame);
	case VMFT_FRAME_SHOWN:
		return primary ? -EBADMSG : vmft_shown_got(m, frame);
	default:
		return -EBADMSG;
	}
}

/* --- connections ---------------------------------------------------------- */

/* Whether a primary has use for a connection. */
static bool may_connect(const struct vmft_monitor *m)
{
	if (m->stopping || m->peer.channel.conn || !vmft_core_wants_peer(&m->core))
		return false;
	return m->core.state == VMFT_STATE_FORMING ||
	       vmft_attaching_wants_backup(m, vmft_loop_now());
}

static void close_stranger(struct vmft_monitor *m, struct vmft_conn *conn,
			   enum vmft_stranger_news news, const char *why)
{
	const char *name = m->transport->peer_name(conn);
	int bytes;

	if (vmft_strangers_tell(&m->peer.strangers, news, name, vmft_loop_now(), &bytes))
		vmft_journal_say(&m->journal, "%.*s %s: connection closed", bytes, name, why);
	m->transport->close(conn, false);
}

static void greet_stranger(struct vmft_monitor *m, struct vmft_conn *conn)
{
	struct vmft_conn *out;

	if (!vmft_strangers_are_known(&m->config, m->transport->peer_addr(conn))) {
		close_stranger(m, conn, VMFT_STRANGER_FOREIGN,
			       "connected to the channel, and no host of the pair file has that "
			       "address for its channel");
		return;
	}
	out = vmft_strangers_enter(&m->peer.strangers, conn, vmft_loop_now());
	if (out)
		close_stranger(m, out, VMFT_STRANGER_CROWD,
			       "has too many connections to the channel that do not say hello");
}

static void end_silent_strangers(struct vmft_monitor *m, uint64_t now)
{
	struct vmft_conn *conn;

	while ((conn = vmft_strangers_overdue(&m->peer.strangers, now, silence_ns(m))))
		close_stranger(m, conn, VMFT_STRANGER_LATE,
			       "connected to the channel and did not say hello within silence-ms");
}

static void on_open(void *user, struct vmft_conn *conn)
{
	struct vmft_monitor *m = user;

	if (!m->peer.connecting || m->transport->is_accepted(conn)) {
		greet_stranger(m, conn);
		return;
	}
	m->peer.connecting = false;
	if (!may_connect(m)) {
		m->transport->close(conn, false);
		return;
	}
	vmft_reach_note(m, 0);
	vmft_channel_open(&m->peer.channel, conn);
	m->peer.stage = VMFT_PEER_HELLO;
	m->peer.heard_ns = vmft_loop_now();
	vmft_shown_forget(m);
	send_hello(m);
}

static void explain(struct vmft_monitor *m, struct vmft_conn *conn, int error, unsigned version)
{
	const char *who = m->transport->peer_name(conn);
	const enum vmft_stranger_news news =
	    error == -EPROTONOSUPPORT ? VMFT_STRANGER_VERSION : VMFT_STRANGER_NOISE;
	int bytes;

	if (conn != m->peer.channel.conn &&
	    !vmft_strangers_tell(&m->peer.strangers, news, who, vmft_loop_now(), &bytes))
		return;
	if (error == -EPROTO)
		vmft_journal_say(&m->journal, "%s does not speak vmft: connection closed", who);
	else if (error == -EPROTONOSUPPORT)
		vmft_journal_say(&m->journal,
				 "%s speaks version %u of the channel, this is version %u: install "
				 "the same vmft on both hosts",
				 who, version, VMFT_FRAME_VERSION);
	else if (error == -EBADMSG)
		vmft_journal_say(&m->journal,
				 "%s sent a damaged or misplaced frame: connection "
				 "closed",
				 who);
}

static ssize_t on_bytes(void *user, struct vmft_conn *conn, const uint8_t *bytes, size_t n)
{
	struct vmft_monitor *m = user;
	size_t used = 0;
	ssize_t rc = 0;

	while (!(conn == m->peer.channel.conn && (m->peer.channel.closing || m->peer.marking))) {
		struct vmft_frame_info frame = {0};
		ssize_t length = vmft_frame_decode(bytes + used, n - used, &frame);

		if (length == 0)
			break;
		rc = length < 0 ? length : got_frame(m, conn, &frame);
		if (rc == -ENOSPC) {
			/* The ring is full: the frame stays where it is, the primary's sends
			 * stall, its output waits. */
			vmft_channel_pause(&m->peer.channel);
			rc = 0;
			break;
		}
		if (rc < 0) {
			explain(m, conn, (int)rc, frame.version);
			break;
		}
		used += (size_t)length;
		if (conn == m->peer.channel.conn)
			m->peer.heard_ns = vmft_loop_now();
	}
	vmft_peer_flush_ack(m);
	return rc < 0 ? rc : (ssize_t)used;
}

static void on_sent(void *user, struct vmft_conn *conn)
{
	struct vmft_monitor *m = user;

	if (conn != m->peer.channel.conn || !vmft_monitor_is_primary(m))
		return;
	vmft_attach_source_pump(&m->source);
	vmft_peer_pump(m);
}

static void on_close(void *user, struct vmft_conn *conn, int error)
{
	struct vmft_monitor *m = user;
	const struct vmft_event_in lost = {
	    .kind = VMFT_IN_PEER_LOST,
	    .why =
		error == -EBADMSG || error == -EPROTO ? VMFT_WHY_PEER_FAULT : VMFT_WHY_CONNECTION,
	};
	const bool counted = conn == m->peer.channel.conn && m->peer.stage >= VMFT_PEER_ATTACHING;

	if (conn != m->peer.channel.conn && m->transport->is_accepted(conn)) {
		vmft_strangers_leave(&m->peer.strangers, conn);
		if (conn == m->peer.caller)
			m->peer.caller = NULL;
		return;
	}
	if (conn != m->peer.channel.conn) {
		/* One that was tried and did not come about. */
		m->peer.connecting = false;
		if (error < 0)
			vmft_reach_note(m, error);
		vmft_peer_look_for_backup(m);
		return;
	}
	if (vmft_monitor_is_primary(m))
		vmft_reach_look(m);
	vmft_channel_gone(&m->peer.channel);
	m->peer.in_grace = false;
	vmft_heartbeat_end(&m->heartbeat);
	m->peer.stage = VMFT_PEER_NONE;
	m->peer.marking = false;
	m->peer.form_due = false;
	if (counted && !m->peer.channel.closing) {
		if (error != 0 && lost.why == VMFT_WHY_CONNECTION)
			vmft_journal_say(&m->journal, "channel: %s", strerror(-error));
		vmft_monitor_event(m, &lost);
	}
	vmft_peer_look_for_backup(m);
}

static void on_full(void *user, int error)
{
	struct vmft_monitor *m = user;

	vmft_journal_say(&m->journal,
			 "channel: nobody can be let in: %s; it is tried again five times a second",
			 strerror(-error));
}

static const struct vmft_conn_events conn_events = {
    .on_full = on_full,
    .on_open = on_open,
    .on_bytes = on_bytes,
    .on_sent = on_sent,
    .on_close = on_close,
};

/* The next of the other hosts, in the pair file's order. */
static enum vmft_host next_host(const struct vmft_monitor *m)
{
	enum vmft_host host = m->peer.to;

	do
		host = (host + 1) % VMFT_HOST_COUNT;
	while (host == m->options.host || !m->config.has_host[host]);
	return host;
}

static void connect_again(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;
	const struct vmft_channel_address *own = &m->config.host[m->options.host].channel;
	struct sockaddr_storage from = own->addr;
	const struct vmft_channel_address *to;
	int rc;

	(void)result;
	if (!vmft_monitor_is_primary(m) || m->peer.connecting)
		return;
	if (!may_connect(m)) {
		vmft_peer_look_for_backup(m);
		return;
	}
	m->peer.to = next_host(m);
	to = &m->config.host[m->peer.to].channel;
	/* Our address says where from; the port is the kernel's choice, or a connection still
	 * in TIME_WAIT would stand in the way of the next. Both families keep the port in
	 * the same place. */
	((struct sockaddr_in *)(void *)&from)->sin_port = 0;
	m->peer.connecting = true;
	rc = m->transport->connect(m->loop, (struct sockaddr *)&from, own->addr_len,
				   (const struct sockaddr *)&to->addr, to->addr_len, &conn_events,
				   m);
	if (!m->peer.said_waiting && m->core.state == VMFT_STATE_FORMING)
		vmft_journal_say(&m->journal,
				 "waiting for the backup at %s; the guest starts with it",
				 to->text);
	m->peer.said_waiting = true;
	if (rc == 0)
		return;
	m->peer.connecting = false;
	vmft_reach_note(m, rc);
	vmft_peer_look_for_backup(m);
}

void vmft_peer_look_for_backup(struct vmft_monitor *m)
{
	const bool forming = m->core.state == VMFT_STATE_FORMING;

	if (!vmft_monitor_is_primary(m) || m->stopping || m->peer.retry_op.pending ||
	    m->peer.channel.conn || m->peer.connecting)
		return;
	vmft_loop_timer(m->loop, &m->peer.retry_op, forming ? CONNECT_RETRY_NS : LOOK_AGAIN_NS);
}

static void give_up_silent(struct vmft_monitor *m, uint64_t now)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE};
	char path[64];

	/* It was given up already, in order: nobody waits for what this side says to it. */
	if (!vmft_monitor_is_primary(m) && m->core.handed) {
		vmft_peer_close(m);
		return;
	}
	vmft_heartbeat_describe(&m->heartbeat, now, path, sizeof(path));
	vmft_journal_say(&m->journal,
			 "nothing heard for %llu ms (spoke %llu ms ago, own agent beat %llu ms "
			 "ago; heartbeat path: %s)",
			 (unsigned long long)(vmft_loop_since(m->peer.heard_ns, now) / MS),
			 (unsigned long long)(vmft_loop_since(m->peer.beat_sent_ns, now) / MS),
			 (unsigned long long)(vmft_loop_since(m->beat_ns, now) / MS), path);
	vmft_monitor_event(m, &lost);
}

static void note_grace(struct vmft_monitor *m, enum vmft_verdict verdict)
{
	const bool before = m->peer.in_grace;

	m->peer.in_grace = verdict == VMFT_VERDICT_GRACE;
	if (m->peer.in_grace && !before)
		vmft_journal_say(&m->journal,
				 "the channel is silent, but the peer is there on the heartbeat "
				 "path: it is waited for until %u ms%s have passed",
				 m->config.grace_ms,
				 vmft_monitor_is_primary(m) ? ", less a quarter," : "");
	if (before && verdict == VMFT_VERDICT_HEARD)
		vmft_journal_say(&m->journal, "the channel is back");
}

static void check_silence(struct vmft_monitor *m, uint64_t now)
{
	const struct vmft_detection d = detection(m);
	enum vmft_verdict verdict;

	/* While the channel is not read because of us, nothing can be heard. */
	if (m->peer.channel.paused)
		m->peer.heard_ns = now;
	/* Resuming the channel may have brought frames in after now was read. */
	verdict = vmft_detection_verdict(&d, vmft_loop_since(m->peer.heard_ns, now),
					 vmft_heartbeat_silent_ns(&m->heartbeat, now));
	if (verdict == VMFT_VERDICT_LOST && m->peer.stage < VMFT_PEER_ATTACHING) {
		vmft_channel_drop(&m->peer.channel);
		return;
	}
	note_grace(m, verdict);
	if (verdict == VMFT_VERDICT_LOST)
		give_up_silent(m, now);
}

void vmft_peer_describe(const struct vmft_monitor *m, uint64_t now, char *text, size_t size)
{
	const struct vmft_detection d = detection(m);
	const uint64_t silent = vmft_loop_since(m->peer.heard_ns, now);

	if (!vmft_channel_is_up(&m->peer.channel) || m->peer.stage < VMFT_PEER_ATTACHING)
		(void)snprintf(text, size, "no peer");
	else if (silent < vmft_detection_fresh_ns(&d))
		(void)snprintf(text, size, "channel ok");
	else
		(void)snprintf(text, size, "channel silent for %llu ms%s",
			       (unsigned long long)(silent / MS),
			       m->peer.in_grace ? ", peer alive on the heartbeat path" : "");
}

static void resume_if_room(struct vmft_monitor *m)
{
	if (!m->peer.channel.paused || !vmft_attach_sink_has_room(&m->sink) ||
	    !m->strategy_ops->has_room(m->strategy))
		return;
	vmft_channel_resume(&m->peer.channel);
}

/*
 * Also without news: replay moves on, and the primary must hear from us. Rarely when it is not
 * heard itself: with four packets under way and more TCP doubles its pauses after each try, and
 * the primary, which waits less long, would not hear in time that a short loss is over.
 */
static uint64_t ack_interval_ns(const struct vmft_monitor *m, uint64_t now)
{
	const uint64_t beat = heartbeat_ns(m);

	return vmft_loop_since(m->peer.heard_ns, now) > beat ? 2 * beat : beat / 2;
}

void vmft_peer_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept)
{
	vmft_strangers_slept(&m->peer.strangers, slept);
	end_silent_strangers(m, now);
	if (m->peer.channel.conn && vmft_monitor_is_primary(m))
		vmft_reach_look(m);
	if (!vmft_channel_is_up(&m->peer.channel))
		return;
	if (vmft_monitor_is_primary(m)) {
		if (m->peer.form_due)
			vmft_peer_form(m);
		if (m->peer.stage >= VMFT_PEER_ATTACHING &&
		    vmft_loop_since(m->peer.beat_sent_ns, now) >= heartbeat_ns(m))
			send_beat(m, now);
	} else {
		resume_if_room(m);
		if (!vmft_channel_is_up(&m->peer.channel))
			return;
		if (m->peer.stage >= VMFT_PEER_ATTACHING &&
		    vmft_loop_since(m->peer.beat_sent_ns, now) >= ack_interval_ns(m, now) &&
		    may_ack(m))
			send_ack(m);
	}
	/* Time this monitor did not run is no silence of the peer's: on a machine that was
	 * stopped as a whole, neither side would survive waking up. */
	m->peer.heard_ns += slept;
	vmft_heartbeat_tick(&m->heartbeat, now, slept, agent_beats(m));
	check_silence(m, now);
}

/* A monitor that was killed keeps its port until the kernel has closed its io_uring: waited for
 * if there was one (its control socket was left). One that ended by itself has let go of it
 * before that socket went, so else it is somebody else's port: refused. */
static int listen_for_primary(struct vmft_monitor *m, const struct vmft_channel_address *own)
{
	const uint64_t until = vmft_loop_now() + PREDECESSOR_NS;
	const struct timespec step = {.tv_nsec = 20000000};
	int rc;

	for (;;) {
		rc = m->transport->listen(m->loop, (const struct sockaddr *)&own->addr,
					  own->addr_len, &conn_events, m, &m->peer.listener);
		if (rc != -EADDRINUSE || !m->control.left_over || vmft_loop_now() > until)
			return rc;
		(void)nanosleep(&step, NULL);
	}
}

static int open_channel(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_channel_address *own = &m->config.host[m->options.host].channel;
	int rc;

	rc = m->options.role == VMFT_ROLE_PRIMARY
		 ? m->transport->is_own((const struct sockaddr *)&own->addr, own->addr_len)
		 : listen_for_primary(m, own);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_ADDRESS,
				      "%s: [%s] channel = %s: %s; use a free address of this host",
				      m->options.pair_file, vmft_host_name(m->options.host),
				      own->text, strerror(-rc));
	return 0;
}

static int open_heartbeat(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_channel_address *own = &m->config.host[m->options.host].heartbeat;
	int rc = vmft_heartbeat_open(&m->heartbeat, m->loop, &m->config, m->options.host,
				     m->control.left_over, &m->journal);

	if (rc < 0)
		return vmft_error_set(
		    err, rc, VMFT_EXIT_ADDRESS,
		    "%s: [%s] heartbeat = %s: %s; use a free address of this host",
		    m->options.pair_file, vmft_host_name(m->options.host), own->text,
		    strerror(-rc));
	return 0;
}

int vmft_peer_init(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc;

	vmft_channel_init(&m->peer.channel, m->transport, &m->core);
	m->peer.retry_op = (struct vmft_op){.done = connect_again, .owner = m};
	m->peer.to = m->options.host;
	m->heartbeat.fd = -1;
	rc = open_channel(m, err);
	if (rc < 0)
		return rc;
	rc = open_heartbeat(m, err);
	if (rc < 0)
		return rc;
	/* Only now: a refusal is the one line that is said. */
	if (m->options.role == VMFT_ROLE_PRIMARY)
		vmft_loop_timer(m->loop, &m->peer.retry_op, 0);
	else
		vmft_journal_say(&m->journal, "listening on %s for the primary",
				 m->config.host[m->options.host].channel.text);
	return 0;
}

void vmft_peer_fini(struct vmft_monitor *m)
{
	m->transport->unlisten(m->peer.listener);
	m->peer.listener = NULL;
	vmft_heartbeat_close(&m->heartbeat);
}
