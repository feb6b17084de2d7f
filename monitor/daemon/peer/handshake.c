/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handshake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hello-check.h"
#include "monitor/common/tap-facts.h"

void vmft_handshake_init(struct vmft_handshake *h, const struct vmft_peer_world *world,
			 struct vmft_channel *channel, struct vmft_liveness *liveness,
			 struct vmft_strangers *strangers)
{
	*h = (struct vmft_handshake){
	    .world = world,
	    .channel = channel,
	    .liveness = liveness,
	    .strangers = strangers,
	};
}

static bool is_primary(const struct vmft_handshake *h)
{
	return h->world->core->side == VMFT_SIDE_PRIMARY;
}

static bool is_stopping(const struct vmft_handshake *h)
{
	return h->world->facts(h->world->user).stopping;
}

static bool is_forming(const struct vmft_handshake *h)
{
	return h->world->core->state == VMFT_STATE_FORMING;
}

/* A guest that runs is given to its backup by an attach; so is any guest whose strategy forms
 * pairs in no other way. */
bool vmft_handshake_attaches(const struct vmft_handshake *h)
{
	return !is_forming(h) || h->world->forms_by_attach;
}

/* --- this side's hello ---------------------------------------------------- */

/* The MTU is the one thing of a tap that a person changes while a guest runs. */
static void look_at_mtus(const struct vmft_handshake *h)
{
	struct vmft_hello *ours = h->world->identity;

	for (uint8_t i = 0; i < ours->tap_count; i++)
		if (h->world->tap_ifname[i][0])
			ours->tap[i].mtu = vmft_tap_mtu(h->world->tap_ifname[i]);
}

void vmft_handshake_send(struct vmft_handshake *h)
{
	uint8_t payload[VMFT_HELLO_BYTES_MAX];
	struct vmft_hello hello;
	size_t n;

	look_at_mtus(h);
	hello = *h->world->identity;
	hello.role = is_primary(h) ? VMFT_ROLE_PRIMARY : VMFT_ROLE_BACKUP;
	hello.attach = is_primary(h) && vmft_handshake_attaches(h);
	(void)snprintf(hello.record, sizeof(hello.record), "%s",
		       is_primary(h) ? h->world->record : h->world->owner);
	vmft_heartbeat_introduce(&h->liveness->heartbeat, &hello);
	n = vmft_hello_encode(&hello, payload);
	(void)vmft_channel_send(h->channel, VMFT_FRAME_HELLO, 0, payload, n);
}

/* --- refusals ------------------------------------------------------------- */

void vmft_handshake_say(struct vmft_handshake *h, const char *what, const char *why)
{
	if (strncmp(h->refusal, why, sizeof(h->refusal) - 1) == 0)
		return;
	(void)snprintf(h->refusal, sizeof(h->refusal), "%.240s", why);
	vmft_journal_say(h->world->journal, "the %s %s %s %s", is_primary(h) ? "backup" : "primary",
			 h->world->transport->peer_name(h->channel->conn), what, why);
}

/* A primary that looks for a backup comes again twice a second, from another port each time: the
 * journal says it when the host or the reason is new. */
static void say_refused(struct vmft_handshake *h, struct vmft_conn *conn, const char *why)
{
	const char *name = h->world->transport->peer_name(conn);
	const char *port = strrchr(name, ':');
	char text[sizeof(h->refusal)];

	(void)snprintf(text, sizeof(text), "%.*s: it has %.200s",
		       port ? (int)(port - name) : (int)strlen(name), name, why);
	if (strcmp(text, h->refusal) == 0)
		return;
	(void)snprintf(h->refusal, sizeof(h->refusal), "%s", text);
	vmft_journal_say(h->world->journal, "refused %s", text);
}

static void turn_away(struct vmft_handshake *h, struct vmft_conn *conn, uint16_t version,
		      const char *why)
{
	vmft_strangers_note(h->strangers, conn, VMFT_STRANGER_REFUSED);
	vmft_channel_turn_away(h->channel, conn, version, why);
}

static void refuse_primary(struct vmft_handshake *h, struct vmft_conn *conn, uint16_t version,
			   const char *why)
{
	say_refused(h, conn, why);
	if (conn == h->caller)
		h->caller = NULL;
	turn_away(h, conn, version, why);
}

static void refuse_backup(struct vmft_handshake *h, uint16_t version, const char *why)
{
	vmft_handshake_say(h, "has", why);
	vmft_channel_turn_away(h->channel, h->channel->conn, version, why);
	h->world->unfit(h->world->user);
}

/* What keeps the peer from being this side's, or NULL. */
static const char *mismatch(struct vmft_handshake *h, const struct vmft_hello *theirs, char *text)
{
	const struct vmft_hello_terms terms = {
	    .ours = h->world->identity,
	    .config = h->world->config,
	    .disk = h->world->disk,
	    .disk_count = h->world->disk_count,
	    .host = h->world->host,
	    .to = h->channel->to,
	    .primary = is_primary(h),
	    .attach = is_primary(h) && vmft_handshake_attaches(h),
	    .heartbeat = h->liveness->heartbeat.fd >= 0,
	    .other_builds = h->world->other_builds,
	    .versioned_machine = h->world->versioned_machine,
	};

	look_at_mtus(h);
	return vmft_hello_mismatch(&terms, theirs, text);
}

/* The hello of the peer is accepted. */
static void begin_path(struct vmft_handshake *h, const struct vmft_hello *theirs)
{
	const struct vmft_feature *missing;

	h->channel->peer_host = (enum vmft_host)theirs->host;
	h->channel->version = vmft_hello_version(&theirs->versions);
	(void)vmft_hello_agree(h->world->identity, theirs, &h->channel->features, &missing);
	vmft_liveness_begin_path(h->liveness, theirs, h->world->core->generation, is_primary(h));
}

static void begin_attach(struct vmft_handshake *h)
{
	h->channel->stage = VMFT_PEER_ATTACHING;
	vmft_liveness_forget_echo(h->liveness);
	h->world->attach(h->world->user);
}

/* --- the primary ---------------------------------------------------------- */

static void ask_mark(struct vmft_handshake *h)
{
	h->mark_old = h->mark_asked;
	if (h->mark_asked)
		return;
	h->mark_asked = true;
	vmft_arbiter_worker_ask(h->world->worker, &(struct vmft_arbiter_question){
						      .ask = VMFT_ASK_MARK,
						      .host = vmft_pair_host_name(
							  h->world->config, h->backup_hello.host),
						  });
}

static void primary_got_hello(struct vmft_handshake *h, const struct vmft_frame_info *frame,
			      const struct vmft_hello *theirs)
{
	char text[VMFT_HELLO_WHY_MAX + 1];
	const char *why = mismatch(h, theirs, text);

	if (!why && frame->generation != h->world->core->generation)
		why = "another generation";
	if (why) {
		refuse_backup(h, frame->version, why);
		return;
	}
	h->backup_hello = *theirs;
	h->marking = true;
	h->world->transport->pause(h->channel->conn, true);
	ask_mark(h);
}

/* The backup's hello fits, and its mark was found. */
static void take_backup(struct vmft_handshake *h)
{
	struct vmft_peer_facts facts;

	h->refusal[0] = '\0';
	begin_path(h, &h->backup_hello);
	if (vmft_handshake_attaches(h))
		begin_attach(h);
	else
		h->world->paired(h->world->user);
	facts = h->world->facts(h->world->user);
	if (facts.speaks)
		vmft_liveness_beat(h->liveness, h->channel, facts.taken, vmft_loop_now());
}

static void look_at_mark(struct vmft_handshake *h, const struct vmft_arbiter_answer *answer)
{
	if (answer->rc < 0) {
		vmft_handshake_say(h,
				   "is not accepted until the arbiter answers:", answer->err.text);
		vmft_channel_drop(h->channel);
		return;
	}
	if (!vmft_core_wants_peer(h->world->core) || is_stopping(h)) {
		vmft_channel_drop(h->channel);
		return;
	}
	if (strcmp(answer->mark, h->backup_hello.record) != 0) {
		refuse_backup(h, h->channel->version,
			      "left a mark at its arbiter that this host's arbiter does not have; "
			      "both hosts must use one arbiter");
		return;
	}
	take_backup(h);
	h->world->transport->pause(h->channel->conn, false);
}

bool vmft_handshake_got_mark(struct vmft_handshake *h, const struct vmft_arbiter_answer *answer)
{
	h->mark_asked = false;
	if (!h->marking)
		return false;
	if (h->mark_old) {
		ask_mark(h);
		return false;
	}
	h->marking = false;
	look_at_mark(h, answer);
	return true;
}

/* --- the backup ----------------------------------------------------------- */

static void take_primary(struct vmft_handshake *h, struct vmft_conn *conn)
{
	const struct vmft_hello theirs = h->caller_hello;

	vmft_strangers_leave(h->strangers, conn);
	h->caller = NULL;
	vmft_channel_open(h->channel, conn);
	vmft_liveness_begin(h->liveness, vmft_loop_now());
	h->world->adopt(h->world->user, h->caller_generation, theirs.record);
	vmft_handshake_send(h);
	begin_path(h, &theirs);
	if (theirs.attach)
		begin_attach(h);
}

/* Closed without a REFUSE: a primary that has not started yet exits when it is refused, but tries
 * again after a plain close. */
static void drop_caller(struct vmft_handshake *h)
{
	vmft_strangers_note(h->strangers, h->caller, VMFT_STRANGER_REFUSED);
	h->world->transport->close(h->caller, false);
	h->caller = NULL;
}

/* A question that is out already may have been answered before this hello was said. */
static void ask_latest(struct vmft_handshake *h)
{
	h->latest_old = h->latest_asked;
	if (h->latest_asked)
		return;
	h->latest_asked = true;
	vmft_arbiter_worker_ask(h->world->worker,
				&(struct vmft_arbiter_question){.ask = VMFT_ASK_LATEST});
}

/* Why the primary that says hello is not the one that the arbiter knows, or NULL. */
static const char *stale(const struct vmft_handshake *h, const struct vmft_arbiter_latest *latest)
{
	if (latest->generation != h->caller_generation || latest->ended)
		return "another generation than this host's arbiter has; both hosts must use one "
		       "arbiter";
	/* The number is right by chance: there are two arbiters, or a stranger made it up. */
	if (strcmp(latest->owner, h->caller_hello.record) != 0)
		return "a generation that belongs to another side at this host's arbiter; both "
		       "hosts must use one arbiter";
	return NULL;
}

void vmft_handshake_got_latest(struct vmft_handshake *h, const struct vmft_arbiter_answer *answer)
{
	struct vmft_conn *conn = h->caller;
	const char *why;

	h->latest_asked = false;
	if (!conn)
		return;
	if (h->latest_old) {
		ask_latest(h);
		return;
	}
	/* This side may have ended while the arbiter was asked. */
	if (!vmft_core_wants_peer(h->world->core) || is_stopping(h))
		refuse_primary(h, conn, h->caller_version, "called a side that has ended");
	else if (answer->rc < 0)
		drop_caller(h);
	else if ((why = stale(h, &answer->latest)) != NULL)
		refuse_primary(h, conn, h->caller_version, why);
	else
		take_primary(h, conn);
}

static void backup_got_hello(struct vmft_handshake *h, struct vmft_conn *conn,
			     const struct vmft_frame_info *frame, const struct vmft_hello *theirs)
{
	char text[VMFT_HELLO_WHY_MAX + 1];
	const char *why = mismatch(h, theirs, text);

	if (!why && (!vmft_core_wants_peer(h->world->core) || h->channel->conn))
		why = "called a backup that already has a primary";
	if (!why)
		why = h->world->why_not(h->world->user, theirs->attach);
	if (why) {
		refuse_primary(h, conn, frame->version, why);
		return;
	}
	/* The last one counts: it is the same primary, which has lost its other connection, or the
	 * earlier one is stale. */
	if (h->caller)
		drop_caller(h);
	h->caller = conn;
	vmft_strangers_note(h->strangers, conn, VMFT_STRANGER_CALLER);
	h->caller_hello = *theirs;
	h->caller_generation = frame->generation;
	h->caller_version = frame->version;
	ask_latest(h);
}

/* --- both ----------------------------------------------------------------- */

/* A peer that speaks none of this vmft's versions. The rest of its hello cannot be read. */
static void refuse_foreign(struct vmft_handshake *h, struct vmft_conn *conn,
			   const struct vmft_frame_info *frame,
			   const struct vmft_versions *versions)
{
	char text[VMFT_HELLO_WHY_MAX + 1];
	const char *why = vmft_hello_foreign(versions, text);

	if (conn == h->channel->conn)
		refuse_backup(h, frame->version, why);
	else
		refuse_primary(h, conn, frame->version, why);
}

int vmft_handshake_got_hello(struct vmft_handshake *h, struct vmft_conn *conn,
			     const struct vmft_frame_info *frame)
{
	struct vmft_versions versions;
	struct vmft_hello theirs;

	if (conn == h->caller || vmft_hello_versions(frame, &versions) < 0)
		return -EBADMSG;
	/* Each side says hello once. */
	if (conn == h->channel->conn && (!is_primary(h) || h->channel->stage != VMFT_PEER_HELLO))
		return -EBADMSG;
	if (conn != h->channel->conn && is_primary(h)) {
		turn_away(h, conn, frame->version, "called the side that is live");
		return 0;
	}
	if (vmft_hello_version(&versions) == 0) {
		refuse_foreign(h, conn, frame, &versions);
		return 0;
	}
	if (vmft_hello_decode(frame->payload, frame->length, &theirs) < 0)
		return -EBADMSG;
	if (conn == h->channel->conn)
		primary_got_hello(h, frame, &theirs);
	else
		backup_got_hello(h, conn, frame, &theirs);
	return 0;
}

void vmft_handshake_forget(struct vmft_handshake *h, const struct vmft_conn *conn)
{
	if (conn == h->channel->conn)
		h->marking = false;
	if (conn == h->caller)
		h->caller = NULL;
}
