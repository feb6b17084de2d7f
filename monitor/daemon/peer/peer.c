/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "monitor/common/exit-codes.h"

#define MS		 UINT64_C(1000000)
#define CONNECT_RETRY_NS (200 * MS)
#define LOOK_AGAIN_NS	 (500 * MS)  /* for a backup, by a guest that runs alone */
#define PREDECESSOR_NS	 (3000 * MS) /* for a monitor that was killed to free its addresses */

static bool is_primary(const struct vmft_peer *peer)
{
	return peer->world.core->side == VMFT_SIDE_PRIMARY;
}

static struct vmft_peer_facts facts_of(const struct vmft_peer *peer)
{
	return peer->world.facts(peer->world.user);
}

static const struct vmft_channel_address *address_of(const struct vmft_peer *peer,
						     enum vmft_host host)
{
	return &peer->world.config->host[host].channel;
}

/* --- what this side sends unasked ----------------------------------------- */

/* A backup that goes live speaks no more in the generation of the pair: it has won the next. */
static bool may_ack(const struct vmft_peer *peer, const struct vmft_peer_facts *facts)
{
	return peer->world.core->state != VMFT_STATE_GOING_LIVE && facts->speaks;
}

static bool is_past_hello(const struct vmft_peer *peer)
{
	return vmft_channel_is_up(&peer->channel) && peer->channel.stage >= VMFT_PEER_ATTACHING;
}

void vmft_peer_flush_ack(struct vmft_peer *peer)
{
	struct vmft_peer_facts facts;

	if (!peer->liveness.ack_due || !is_past_hello(peer) || is_primary(peer))
		return;
	facts = facts_of(peer);
	if (may_ack(peer, &facts))
		vmft_liveness_ack(&peer->liveness, &peer->channel, facts.replayed);
}

void vmft_peer_formed(struct vmft_peer *peer)
{
	peer->channel.stage = VMFT_PEER_FORMED;
	peer->gave_up[0] = '\0';
}

void vmft_peer_form(struct vmft_peer *peer)
{
	uint8_t payload[8];

	vmft_peer_formed(peer);
	/* The lease: only what the backup hears from now on counts. */
	vmft_liveness_forget_echo(&peer->liveness);
	/* If there is no room the next tick tries again. Log that is sent before it does no
	 * harm. */
	peer->form_due = !vmft_channel_send(&peer->channel, VMFT_FRAME_FORMED, facts_of(peer).taken,
					    payload, vmft_u64_encode(vmft_loop_now(), payload));
}

void vmft_peer_close(struct vmft_peer *peer)
{
	if (!vmft_channel_is_up(&peer->channel))
		return;
	/* The heartbeat path must not keep a peer waiting that was given up. */
	vmft_heartbeat_end(&peer->liveness.heartbeat);
	vmft_channel_close(&peer->channel);
}

void vmft_peer_describe(const struct vmft_peer *peer, uint64_t now, char *text, size_t size)
{
	vmft_liveness_describe(&peer->liveness, &peer->channel, is_primary(peer), now, text, size);
}

/* --- connections ---------------------------------------------------------- */

/* Whether a primary has use for a connection. */
static bool may_connect(const struct vmft_peer *peer)
{
	if (facts_of(peer).stopping || peer->channel.conn ||
	    !vmft_core_wants_peer(peer->world.core))
		return false;
	return peer->world.core->state == VMFT_STATE_FORMING ||
	       peer->world.wants_backup(peer->world.user);
}

static void close_stranger(struct vmft_peer *peer, struct vmft_conn *conn,
			   enum vmft_stranger_news news, const char *why)
{
	const char *name = peer->world.transport->peer_name(conn);
	int bytes;

	if (vmft_strangers_tell(&peer->strangers, news, name, vmft_loop_now(), &bytes))
		vmft_journal_say(peer->world.journal, "%.*s %s: connection closed", bytes, name,
				 why);
	peer->world.transport->close(conn, false);
}

static void greet_stranger(struct vmft_peer *peer, struct vmft_conn *conn)
{
	struct vmft_conn *out;

	if (!vmft_strangers_are_known(peer->world.config, peer->world.transport->peer_addr(conn))) {
		close_stranger(peer, conn, VMFT_STRANGER_FOREIGN,
			       "connected to the channel, and no host of the pair file has that "
			       "address for its channel");
		return;
	}
	out = vmft_strangers_enter(&peer->strangers, conn, vmft_loop_now());
	if (out)
		close_stranger(peer, out, VMFT_STRANGER_CROWD,
			       "has too many connections to the channel that do not say hello");
}

static void end_silent_strangers(struct vmft_peer *peer, uint64_t now)
{
	const uint64_t limit = peer->world.config->silence_ms * MS;
	struct vmft_conn *conn;

	while ((conn = vmft_strangers_overdue(&peer->strangers, now, limit)))
		close_stranger(peer, conn, VMFT_STRANGER_LATE,
			       "connected to the channel and did not say hello within silence-ms");
}

static void on_open(void *user, struct vmft_conn *conn)
{
	struct vmft_peer *peer = user;

	if (!peer->connecting || peer->world.transport->is_accepted(conn)) {
		greet_stranger(peer, conn);
		return;
	}
	peer->connecting = false;
	if (!may_connect(peer)) {
		peer->world.transport->close(conn, false);
		return;
	}
	vmft_reach_note(&peer->reach, peer->channel.to, 0);
	vmft_channel_open(&peer->channel, conn);
	vmft_liveness_begin(&peer->liveness, vmft_loop_now());
	peer->world.connected(peer->world.user);
	vmft_handshake_send(&peer->handshake);
}

/* Says why a connection is closed, of strangers not too often. */
static void explain(struct vmft_peer *peer, struct vmft_conn *conn, int error, unsigned version)
{
	const char *who = peer->world.transport->peer_name(conn);
	const enum vmft_stranger_news news =
	    error == -EPROTONOSUPPORT ? VMFT_STRANGER_VERSION : VMFT_STRANGER_NOISE;
	int bytes;

	if (conn != peer->channel.conn &&
	    !vmft_strangers_tell(&peer->strangers, news, who, vmft_loop_now(), &bytes))
		return;
	if (error == -EPROTO)
		vmft_journal_say(peer->world.journal, "%s does not speak vmft: connection closed",
				 who);
	else if (error == -EPROTONOSUPPORT)
		vmft_journal_say(peer->world.journal,
				 "%s speaks version %u of the channel, this is version %u: install "
				 "the same vmft on both hosts",
				 who, version, VMFT_FRAME_VERSION);
	else if (error == -EBADMSG)
		vmft_journal_say(peer->world.journal,
				 "%s sent a damaged or misplaced frame: connection "
				 "closed",
				 who);
}

static int got_frame(struct vmft_peer *peer, struct vmft_conn *conn,
		     const struct vmft_frame_info *frame)
{
	if (frame->type == VMFT_FRAME_HELLO)
		return vmft_handshake_got_hello(&peer->handshake, conn, frame);
	if (conn != peer->channel.conn)
		return -EBADMSG;
	return peer->world.frame(peer->world.user, frame);
}

/* Frames that came with those that this side closes on, or that wait for the arbiter's answer, are
 * not looked at. */
static bool is_deaf(const struct vmft_peer *peer, const struct vmft_conn *conn)
{
	return conn == peer->channel.conn && (peer->channel.closing || peer->handshake.marking);
}

static ssize_t on_bytes(void *user, struct vmft_conn *conn, const uint8_t *bytes, size_t n)
{
	struct vmft_peer *peer = user;
	size_t used = 0;
	ssize_t rc = 0;

	while (!is_deaf(peer, conn)) {
		struct vmft_frame_info frame = {0};
		ssize_t length = vmft_frame_decode(bytes + used, n - used, &frame);

		if (length == 0)
			break;
		rc = length < 0 ? length : got_frame(peer, conn, &frame);
		if (rc == -ENOSPC) {
			/* The frame stays where it is. The primary's sends stall, and its output
			 * waits for the acks. */
			vmft_channel_pause(&peer->channel);
			rc = 0;
			break;
		}
		if (rc < 0) {
			explain(peer, conn, (int)rc, frame.version);
			break;
		}
		used += (size_t)length;
		if (conn == peer->channel.conn)
			peer->liveness.heard_ns = vmft_loop_now();
	}
	vmft_peer_flush_ack(peer);
	return rc < 0 ? rc : (ssize_t)used;
}

static void on_sent(void *user, struct vmft_conn *conn)
{
	struct vmft_peer *peer = user;

	if (conn == peer->channel.conn && is_primary(peer))
		peer->world.sent(peer->world.user);
}

static void on_pair_close(struct vmft_peer *peer, int error)
{
	const bool fault = error == -EBADMSG || error == -EPROTO;
	const bool counted = peer->channel.stage >= VMFT_PEER_ATTACHING && !peer->channel.closing;

	if (is_primary(peer))
		vmft_reach_look(&peer->reach, &peer->channel);
	vmft_handshake_forget(&peer->handshake, peer->channel.conn);
	vmft_channel_gone(&peer->channel);
	vmft_liveness_end(&peer->liveness);
	peer->form_due = false;
	if (!counted)
		return;
	if (error != 0 && !fault)
		vmft_journal_say(peer->world.journal, "channel: %s", strerror(-error));
	peer->world.lost(peer->world.user, fault ? VMFT_WHY_PEER_FAULT : VMFT_WHY_CONNECTION);
}

static void on_close(void *user, struct vmft_conn *conn, int error)
{
	struct vmft_peer *peer = user;

	if (conn == peer->channel.conn) {
		on_pair_close(peer, error);
	} else if (peer->world.transport->is_accepted(conn)) {
		vmft_strangers_leave(&peer->strangers, conn);
		vmft_handshake_forget(&peer->handshake, conn);
		return;
	} else {
		/* A connection that was tried and did not come about. */
		peer->connecting = false;
		if (error < 0)
			vmft_reach_note(&peer->reach, peer->channel.to, error);
	}
	vmft_peer_look_for_backup(peer);
}

static void on_full(void *user, int error)
{
	struct vmft_peer *peer = user;

	vmft_journal_say(
	    peer->world.journal,
	    "channel: no connection can be accepted: %s; it is tried again five times a second",
	    strerror(-error));
}

static const struct vmft_conn_events conn_events = {
    .on_full = on_full,
    .on_open = on_open,
    .on_bytes = on_bytes,
    .on_sent = on_sent,
    .on_close = on_close,
};

/* --- looking for a backup ------------------------------------------------- */

/* The next of the other hosts, in the pair file's order. */
static enum vmft_host next_host(const struct vmft_peer *peer)
{
	enum vmft_host host = peer->channel.to;

	do
		host = (host + 1) % VMFT_HOST_COUNT;
	while (host == peer->world.host || !peer->world.config->has_host[host]);
	return host;
}

static void say_waiting(struct vmft_peer *peer)
{
	if (!peer->said_waiting && peer->world.core->state == VMFT_STATE_FORMING)
		vmft_journal_say(peer->world.journal,
				 "waiting for the backup at %s; the guest starts with it",
				 address_of(peer, peer->channel.to)->text);
	peer->said_waiting = true;
}

static int connect_to(struct vmft_peer *peer, const struct vmft_channel_address *to)
{
	const struct vmft_channel_address *own = address_of(peer, peer->world.host);
	struct sockaddr_storage from = own->addr;

	/* The connection comes from this host's address, and from a port that the kernel chooses:
	 * with a fixed port a connection that is still in TIME_WAIT would stand in the way of the
	 * next. Both address families keep the port in the same place. */
	((struct sockaddr_in *)(void *)&from)->sin_port = 0;
	return peer->world.transport->connect(peer->world.loop, (struct sockaddr *)&from,
					      own->addr_len, (const struct sockaddr *)&to->addr,
					      to->addr_len, &conn_events, peer);
}

static void connect_again(struct vmft_op *op, int result)
{
	struct vmft_peer *peer = op->owner;
	int rc;

	(void)result;
	if (!is_primary(peer) || peer->connecting)
		return;
	if (!may_connect(peer)) {
		vmft_peer_look_for_backup(peer);
		return;
	}
	peer->channel.to = next_host(peer);
	peer->connecting = true;
	rc = connect_to(peer, address_of(peer, peer->channel.to));
	say_waiting(peer);
	if (rc == 0)
		return;
	peer->connecting = false;
	vmft_reach_note(&peer->reach, peer->channel.to, rc);
	vmft_peer_look_for_backup(peer);
}

void vmft_peer_look_for_backup(struct vmft_peer *peer)
{
	const bool forming = peer->world.core->state == VMFT_STATE_FORMING;

	if (!is_primary(peer) || facts_of(peer).stopping || peer->retry_op.pending ||
	    peer->channel.conn || peer->connecting)
		return;
	vmft_loop_timer(peer->world.loop, &peer->retry_op,
			forming ? CONNECT_RETRY_NS : LOOK_AGAIN_NS);
}

/* --- every tick ----------------------------------------------------------- */

static void give_up_silent(struct vmft_peer *peer, uint64_t now)
{
	/* The backup was told to take over, and the primary was given up in order: nobody waits
	 * for what it still says. */
	if (!is_primary(peer) && peer->world.core->handed) {
		vmft_peer_close(peer);
		return;
	}
	vmft_liveness_say_lost(&peer->liveness, facts_of(peer).beat_ns, now);
	peer->world.lost(peer->world.user, VMFT_WHY_SILENCE);
}

static void check_silence(struct vmft_peer *peer, uint64_t now)
{
	const enum vmft_verdict verdict =
	    vmft_liveness_look(&peer->liveness, &peer->channel, is_primary(peer), now);

	if (verdict != VMFT_VERDICT_LOST)
		return;
	if (peer->channel.stage < VMFT_PEER_ATTACHING)
		vmft_channel_drop(&peer->channel);
	else
		give_up_silent(peer, now);
}

static void primary_speaks(struct vmft_peer *peer, uint64_t now)
{
	const struct vmft_peer_facts facts = facts_of(peer);

	if (peer->form_due)
		vmft_peer_form(peer);
	if (is_past_hello(peer) && facts.speaks)
		vmft_liveness_beat_if_due(&peer->liveness, &peer->channel, facts.taken, now);
}

static void backup_speaks(struct vmft_peer *peer, uint64_t now)
{
	struct vmft_peer_facts facts;

	if (peer->channel.paused && facts_of(peer).has_room)
		vmft_channel_resume(&peer->channel);
	/* Resuming brings frames in: they may have changed all. */
	facts = facts_of(peer);
	if (is_past_hello(peer) && may_ack(peer, &facts) &&
	    vmft_liveness_ack_is_due(&peer->liveness, now))
		vmft_liveness_ack(&peer->liveness, &peer->channel, facts.replayed);
}

void vmft_peer_tick(struct vmft_peer *peer, uint64_t now, uint64_t slept)
{
	vmft_strangers_slept(&peer->strangers, slept);
	end_silent_strangers(peer, now);
	if (is_primary(peer))
		vmft_reach_look(&peer->reach, &peer->channel);
	if (!vmft_channel_is_up(&peer->channel))
		return;
	if (is_primary(peer))
		primary_speaks(peer, now);
	else
		backup_speaks(peer, now);
	if (!vmft_channel_is_up(&peer->channel))
		return;
	/* Time this monitor did not run is not silence of the peer. If it counted, neither side
	 * would survive on a machine that was stopped as a whole and wakes up. */
	peer->liveness.heard_ns += slept;
	vmft_heartbeat_tick(&peer->liveness.heartbeat, now, slept, facts_of(peer).speaks);
	check_silence(peer, now);
}

/* --- start and end -------------------------------------------------------- */

/*
 * A monitor that was killed keeps its port until the kernel has closed its io_uring. So the port
 * is waited for if there was such a monitor. One that ended by itself has freed its port before
 * its control socket went: then a port that is taken is somebody else's, and the start is refused.
 */
static int listen_for_primary(struct vmft_peer *peer, const struct vmft_channel_address *own)
{
	const uint64_t until = vmft_loop_now() + PREDECESSOR_NS;
	const struct timespec step = {.tv_nsec = 20000000};
	int rc;

	for (;;) {
		rc = peer->world.transport->listen(
		    peer->world.loop, (const struct sockaddr *)&own->addr, own->addr_len,
		    &conn_events, peer, &peer->listener);
		if (rc != -EADDRINUSE || !peer->world.patient || vmft_loop_now() > until)
			return rc;
		(void)nanosleep(&step, NULL);
	}
}

static int open_channel(struct vmft_peer *peer, struct vmft_error *err)
{
	const struct vmft_peer_world *world = &peer->world;
	const struct vmft_channel_address *own = address_of(peer, world->host);
	const struct sockaddr *addr = (const struct sockaddr *)&own->addr;
	int rc = world->listens ? listen_for_primary(peer, own)
				: world->transport->is_own(addr, own->addr_len);

	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_ADDRESS,
				      "%s: [%s] channel = %s: %s; use a free address of this host",
				      world->pair_file, world->config->host[world->host].section,
				      own->text, strerror(-rc));
	return 0;
}

static int open_heartbeat(struct vmft_peer *peer, struct vmft_error *err)
{
	const struct vmft_peer_world *world = &peer->world;
	const struct vmft_channel_address *own = &world->config->host[world->host].heartbeat;
	int rc = vmft_heartbeat_open(&peer->liveness.heartbeat, world->loop, world->config,
				     world->host, world->patient, world->journal);

	if (rc < 0)
		return vmft_error_set(
		    err, rc, VMFT_EXIT_ADDRESS,
		    "%s: [%s] heartbeat = %s: %s; use a free address of this host",
		    world->pair_file, world->config->host[world->host].section, own->text,
		    strerror(-rc));
	return 0;
}

int vmft_peer_init(struct vmft_peer *peer, const struct vmft_peer_world *world,
		   struct vmft_error *err)
{
	int rc;

	*peer = (struct vmft_peer){
	    .world = *world,
	    .retry_op = {.done = connect_again, .owner = peer},
	};
	vmft_channel_init(&peer->channel, world->transport, world->core);
	vmft_liveness_init(&peer->liveness, world->config, world->journal);
	vmft_reach_init(&peer->reach, world->config, world->host, world->journal);
	vmft_handshake_init(&peer->handshake, &peer->world, &peer->channel, &peer->liveness,
			    &peer->strangers);
	peer->channel.to = world->host;
	rc = open_channel(peer, err);
	if (rc < 0)
		return rc;
	rc = open_heartbeat(peer, err);
	if (rc < 0)
		return rc;
	/* Only now: if the start is refused, the refusal is the one line that is said. */
	if (world->listens)
		vmft_journal_say(world->journal, "listening on %s for the primary",
				 address_of(peer, world->host)->text);
	else
		vmft_loop_timer(world->loop, &peer->retry_op, 0);
	return 0;
}

void vmft_peer_fini(struct vmft_peer *peer)
{
	peer->world.transport->unlisten(peer->listener);
	peer->listener = NULL;
	vmft_heartbeat_close(&peer->liveness.heartbeat);
}
