/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "liveness.h"

#include <errno.h>
#include <stdio.h>

#define MS UINT64_C(1000000)

#define BEAT_MAX_NS (200 * MS)

static uint64_t silence_ns(const struct vmft_liveness *l)
{
	return l->config->silence_ms * MS;
}

/* Between two heartbeats: a tenth of silence-ms, and not more than 200 ms. */
static uint64_t beat_ns(const struct vmft_liveness *l)
{
	const uint64_t ns = silence_ns(l) / 10;

	return ns > BEAT_MAX_NS ? BEAT_MAX_NS : ns;
}

static struct vmft_detection detection(const struct vmft_liveness *l, bool primary)
{
	return (struct vmft_detection){
	    .silence_ns = silence_ns(l),
	    .grace_ns = l->config->grace_ms * MS,
	    .primary = primary,
	};
}

void vmft_liveness_init(struct vmft_liveness *l, const struct vmft_pair_config *config,
			struct vmft_journal *journal)
{
	*l = (struct vmft_liveness){
	    .config = config,
	    .journal = journal,
	    .heartbeat = {.fd = -1},
	};
}

void vmft_liveness_begin(struct vmft_liveness *l, uint64_t now)
{
	l->heard_ns = now;
}

void vmft_liveness_begin_path(struct vmft_liveness *l, const struct vmft_hello *theirs,
			      uint64_t generation, bool primary)
{
	const struct vmft_detection d = detection(l, primary);

	vmft_heartbeat_begin(&l->heartbeat, theirs, generation, beat_ns(l) / 2,
			     vmft_detection_fresh_ns(&d));
}

void vmft_liveness_end(struct vmft_liveness *l)
{
	l->in_grace = false;
	vmft_heartbeat_end(&l->heartbeat);
}

void vmft_liveness_forget_echo(struct vmft_liveness *l)
{
	l->echo_ns = 0;
}

/* --- the primary speaks --------------------------------------------------- */

void vmft_liveness_beat(struct vmft_liveness *l, struct vmft_channel *channel, uint64_t taken,
			uint64_t now)
{
	uint8_t payload[8];

	(void)vmft_u64_encode(now, payload);
	if (vmft_channel_send(channel, VMFT_FRAME_HEARTBEAT, taken, payload, sizeof(payload)))
		l->spoke_ns = now;
}

void vmft_liveness_beat_if_due(struct vmft_liveness *l, struct vmft_channel *channel,
			       uint64_t taken, uint64_t now)
{
	if (vmft_loop_since(l->spoke_ns, now) >= beat_ns(l))
		vmft_liveness_beat(l, channel, taken, now);
}

int vmft_liveness_got_ack(struct vmft_liveness *l, const struct vmft_frame_info *frame,
			  struct vmft_ack *ret)
{
	struct vmft_ack ack;

	if (vmft_ack_decode(frame->payload, frame->length, &ack) < 0 ||
	    ack.replayed > frame->position || ack.echo > vmft_loop_now())
		return -EBADMSG;
	l->replayed = ack.replayed;
	if (ack.echo > l->echo_ns)
		l->echo_ns = ack.echo;
	*ret = ack;
	return 0;
}

uint64_t vmft_liveness_lease_ns(const struct vmft_liveness *l)
{
	return l->echo_ns + silence_ns(l) / 5 * 4;
}

/* --- the backup speaks ---------------------------------------------------- */

int vmft_liveness_got_heartbeat(struct vmft_liveness *l, const struct vmft_frame_info *frame)
{
	uint64_t clock;

	if (vmft_u64_decode(frame->payload, frame->length, &clock) < 0)
		return -EBADMSG;
	l->echo_ns = clock;
	l->ack_due = true;
	return 0;
}

void vmft_liveness_set_ack(struct vmft_liveness *l, uint64_t position)
{
	if (!l->acks_held)
		l->ack = position;
	l->ack_due = true;
}

void vmft_liveness_hold_acks(struct vmft_liveness *l)
{
	l->acks_held = true;
}

void vmft_liveness_release_acks(struct vmft_liveness *l, uint64_t held)
{
	l->acks_held = false;
	vmft_liveness_set_ack(l, held);
}

static bool send_alive(struct vmft_liveness *l, struct vmft_channel *channel)
{
	uint8_t payload[8];

	return vmft_channel_send(channel, VMFT_FRAME_ALIVE, 0, payload,
				 vmft_u64_encode(l->echo_ns, payload));
}

static bool send_ack(struct vmft_liveness *l, struct vmft_channel *channel, uint64_t replayed)
{
	const struct vmft_ack ack = {
	    .replayed = replayed < l->ack ? replayed : l->ack,
	    .echo = l->echo_ns,
	    .formed = channel->stage == VMFT_PEER_FORMED,
	};
	uint8_t payload[24];

	return vmft_channel_send(channel, VMFT_FRAME_ACK, l->ack, payload,
				 vmft_ack_encode(&ack, payload));
}

void vmft_liveness_ack(struct vmft_liveness *l, struct vmft_channel *channel, uint64_t replayed)
{
	const bool pointed = channel->stage == VMFT_PEER_FORMED || channel->core->pointed;

	if (!(pointed ? send_ack(l, channel, replayed) : send_alive(l, channel)))
		return;
	l->ack_due = false;
	l->spoke_ns = vmft_loop_now();
}

/*
 * Acks double as keep-alives: replay moves on, and the primary must hear from this side. If the
 * primary has been silent, this side sends rarely: with four packets or more in flight TCP doubles
 * its pauses after each try, and the primary, which waits less long than this side, would not hear
 * in time that a short loss is over.
 */
bool vmft_liveness_ack_is_due(const struct vmft_liveness *l, uint64_t now)
{
	const uint64_t beat = beat_ns(l);
	const uint64_t every = vmft_loop_since(l->heard_ns, now) > beat ? 2 * beat : beat / 2;

	return vmft_loop_since(l->spoke_ns, now) >= every;
}

/* --- silence -------------------------------------------------------------- */

uint64_t vmft_liveness_agent_ns(const struct vmft_liveness *l)
{
	return silence_ns(l) / 4;
}

static void note_grace(struct vmft_liveness *l, enum vmft_verdict verdict, bool primary)
{
	const bool before = l->in_grace;

	l->in_grace = verdict == VMFT_VERDICT_GRACE;
	if (l->in_grace && !before)
		vmft_journal_say(l->journal,
				 "the channel is silent, but the peer is there on the heartbeat "
				 "path: it is waited for until %u ms%s have passed",
				 l->config->grace_ms, primary ? ", less a quarter," : "");
	if (before && verdict == VMFT_VERDICT_HEARD)
		vmft_journal_say(l->journal, "the channel is back");
}

enum vmft_verdict vmft_liveness_look(struct vmft_liveness *l, const struct vmft_channel *channel,
				     bool primary, uint64_t now)
{
	const struct vmft_detection d = detection(l, primary);
	enum vmft_verdict verdict;

	/* While this side does not read the channel, it cannot hear anything there. */
	if (channel->paused)
		l->heard_ns = now;
	/* vmft_loop_since(): resuming the channel may have brought frames in after now was read. */
	verdict = vmft_detection_verdict(&d, vmft_loop_since(l->heard_ns, now),
					 vmft_heartbeat_silent_ns(&l->heartbeat, now));
	note_grace(l, verdict, primary);
	return verdict;
}

void vmft_liveness_say_lost(struct vmft_liveness *l, uint64_t agent_beat_ns, uint64_t now)
{
	char path[64];

	vmft_heartbeat_describe(&l->heartbeat, now, path, sizeof(path));
	vmft_journal_say(l->journal,
			 "nothing heard for %llu ms (spoke %llu ms ago, own agent beat %llu ms "
			 "ago; heartbeat path: %s)",
			 (unsigned long long)(vmft_loop_since(l->heard_ns, now) / MS),
			 (unsigned long long)(vmft_loop_since(l->spoke_ns, now) / MS),
			 (unsigned long long)(vmft_loop_since(agent_beat_ns, now) / MS), path);
}

void vmft_liveness_describe(const struct vmft_liveness *l, const struct vmft_channel *channel,
			    bool primary, uint64_t now, char *text, size_t size)
{
	const struct vmft_detection d = detection(l, primary);
	const uint64_t silent = vmft_loop_since(l->heard_ns, now);

	if (!vmft_channel_is_up(channel) || channel->stage < VMFT_PEER_ATTACHING)
		(void)snprintf(text, size, "no peer");
	else if (silent < vmft_detection_fresh_ns(&d))
		(void)snprintf(text, size, "channel ok");
	else
		(void)snprintf(text, size, "channel silent for %llu ms%s",
			       (unsigned long long)(silent / MS),
			       l->in_grace ? ", peer alive on the heartbeat path" : "");
}
