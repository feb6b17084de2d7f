/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The promises of docs/design.md, checked against what really happened after each step. */
#include "shell.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STALLED_MS = 500, GOES_ON_MS = 200 };

void note(const char *format, ...)
{
	va_list ap;

	if (!world.trace)
		return;
	printf("%10.3f ", (double)world.now / 1e6);
	va_start(ap, format);
	(void)vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

void broken(const char *promise, const char *format, ...)
{
	va_list ap;

	if (world.broken)
		return;
	world.broken = promise;
	va_start(ap, format);
	(void)vsnprintf(world.detail, sizeof(world.detail), format, ap);
	va_end(ap);
	note("BROKEN %s: %s", promise, world.detail);
}

static bool is_live(const struct qemu *q)
{
	return q->up && q->runs && q->open && !q->fenced;
}

static void check_two_live(void)
{
	unsigned live = 0;

	for (int i = 0; i < world.hosts; i++)
		live += is_live(&world.host[i].q);
	if (live > 1)
		broken("never two live", "%u guests run with an open gate", live);
}

static bool knows_of_pair(const struct vmft_core *core)
{
	switch (core->state) {
	case VMFT_STATE_PROTECTED:
	case VMFT_STATE_DRAINING:
	case VMFT_STATE_ENDING:
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_WAITING_ARBITER:
	case VMFT_STATE_GOING_LIVE:
		return core->side == VMFT_SIDE_BACKUP;
	default:
		return false;
	}
}

/* What the backup of a pair holds: no more than that may be acknowledged. */
static void note_held(const struct host *h)
{
	const struct vmft_core *core = &h->m.core;
	uint64_t held;

	if (core->state != VMFT_STATE_PROTECTED || core->side != VMFT_SIDE_BACKUP ||
	    core->generation < world.formed_generation)
		return;
	held = h->m.strategy_ops->held(h->m.strategy);
	if (core->generation > world.formed_generation) {
		world.before_generation = world.formed_generation;
		world.before_held = world.formed_held;
		world.formed_held = held;
	} else if (held > world.formed_held) {
		world.formed_held = held;
	}
	world.formed_generation = core->generation;
}

static void check_generation(struct host *h, int host)
{
	const struct vmft_core *core = &h->m.core;

	if (core->generation < h->generation)
		broken("generations never go down", "host %d: %llu after %llu", host,
		       (unsigned long long)core->generation, (unsigned long long)h->generation);
	if (core->generation > h->generation)
		h->generation = core->generation;
	if (core->generation > arbiter_latest())
		broken("each generation is on record", "host %d is in %llu", host,
		       (unsigned long long)core->generation);
	if (core->side == VMFT_SIDE_PRIMARY && core->generation > 0 &&
	    !arbiter_is_owner(core->generation, h->m.owner))
		broken("one winner a generation", "host %d has not won %llu", host,
		       (unsigned long long)core->generation);
	if (core->generation > world.tally->longest)
		world.tally->longest = core->generation;
}

/* What the backup of a pair of that generation held while it knew of it. A primary that stood still
 * may take in an ack when the next pair has formed already. */
static uint64_t held_of(uint64_t generation)
{
	return generation == world.formed_generation   ? world.formed_held
	       : generation == world.before_generation ? world.before_held
						       : 0;
}

/* Checks what the gate may release: an ack of a backup that knew of the pair must allow it. */
static void check_released(struct host *h, int host)
{
	const struct vmft_iface *iface = (const void *)h->iface.bytes;
	const uint64_t acked = atomic_load(&iface->acked);

	if (acked == h->acked)
		return;
	h->acked = acked;
	if (acked > held_of(h->m.core.generation))
		broken("what is acknowledged is held", "host %d releases %llu, held %llu", host,
		       (unsigned long long)acked,
		       (unsigned long long)held_of(h->m.core.generation));
}

static void check_fenced(const struct host *h, int host)
{
	const struct vmft_core *core = &h->m.core;

	if (core->why == VMFT_WHY_CLAIM_LOST && arbiter_is_owner(core->generation + 1, h->m.owner))
		broken("the winner goes on", "host %d has won %llu, and is %s", host,
		       (unsigned long long)core->generation + 1, vmft_state_name(core->state));
}

static void check_state(struct host *h, int host)
{
	const struct vmft_core *core = &h->m.core;

	if (core->state == h->state)
		return;
	note("host %d: %s %s, generation %llu", host, vmft_side_name(core->side),
	     vmft_state_name(core->state), (unsigned long long)core->generation);
	if (core->state == VMFT_STATE_PROTECTED && core->side == VMFT_SIDE_PRIMARY &&
	    h->state == VMFT_STATE_SEALING)
		world.tally->attached++;
	if (core->state == VMFT_STATE_HANDED_OVER)
		world.tally->handed++;
	check_fenced(h, host);
	if (vmft_core_is_paired(core) && core->side == VMFT_SIDE_PRIMARY &&
	    (h->state == VMFT_STATE_FORMING || h->state == VMFT_STATE_SEALING))
		world.paired_at = world.now;
	h->state = (uint8_t)core->state;
	world.tally->reached[core->side][core->state]++;
	faults_entered(host, h->state);
}

void check_daemon(int host)
{
	struct host *h = &world.host[host];

	note_held(h);
	check_generation(h, host);
	check_released(h, host);
	check_state(h, host);
	check_two_live();
}

/* A frame leaves. */
void check_emitted(int host, const struct frame *frame)
{
	const struct host *h = &world.host[host];
	const uint64_t number = frame->number;

	world.tally->frames++;
	if (!h->q.runs && !h->q.ended)
		broken("no output of a guest that does not run", "host %d, frame %llu", host,
		       (unsigned long long)number);
	if ((h->q.last_emitted > 0 && number != h->q.last_emitted + 1) ||
	    (host == world.recorder && number <= world.seen))
		broken("frames leave in order", "host %d, frame %llu, %llu was seen", host,
		       (unsigned long long)number, (unsigned long long)world.seen);
	/* The monitor may have won the next one, and its agent not have opened the gate yet. */
	if (!h->q.open && (world.formed_generation + 1 < h->m.core.generation ||
			   frame->position > world.formed_held))
		broken("no frame before its ack", "host %d, frame %llu at %llu, held %llu", host,
		       (unsigned long long)number, (unsigned long long)frame->position,
		       (unsigned long long)world.formed_held);
	if (host != world.recorder && h->q.open)
		broken("never two live", "host %d sends frame %llu", host,
		       (unsigned long long)number);
	if (host != world.recorder && number > world.live_from)
		broken("nothing that was seen outside is lost",
		       "host %d sends frame %llu, host %d is live after %llu", host,
		       (unsigned long long)number, world.recorder,
		       (unsigned long long)world.live_from);
	world.tally->late += host != world.recorder;
	if (number > world.seen)
		world.seen = number;
}

/* An alarm says that the backup's replay stands still. In a pair this is known after a while. */
void __real_vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event,
			     const char *text);
void __wrap_vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event,
			     const char *text);
void __wrap_vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event,
			     const char *text)
{
	if (event == VMFT_ALARM_BACKUP_STALLED && world.now < world.paired_at + STALLED_MS * MS)
		broken("no alarm without a cause", "%.6f s after the pair was formed: %s",
		       (double)(world.now - world.paired_at) / 1e9, text);
	__real_vmft_alarm_raise(alarm, event, text);
}

/* What was said is no longer so: the primary's generation is over, the backup was started anew. */
static bool is_outdated(const char *why)
{
	const struct vmft_handshake *h = &world.current->m.peer.handshake;
	const struct host *backup = &world.host[h->backup_hello.host];

	if (world.current->m.core.side == VMFT_SIDE_BACKUP)
		return strncmp(why, "another generation", 18) == 0 &&
		       (arbiter_is_over() || h->caller_generation != arbiter_latest());
	return !backup->up || strcmp(backup->owner, h->backup_hello.record) != 0;
}

/* There is one arbiter, unless a host finds another one. */
void __real_vmft_channel_turn_away(struct vmft_channel *channel, struct vmft_conn *conn,
				   uint16_t version, const char *why);
void __wrap_vmft_channel_turn_away(struct vmft_channel *channel, struct vmft_conn *conn,
				   uint16_t version, const char *why);
void __wrap_vmft_channel_turn_away(struct vmft_channel *channel, struct vmft_conn *conn,
				   uint16_t version, const char *why)
{
	if (!world.two_arbiters && strstr(why, "must use one arbiter") && !is_outdated(why))
		broken("nobody is refused without a cause", "%s", why);
	__real_vmft_channel_turn_away(channel, conn, version, why);
}

/* Two ways to spoil what a monitor says, where it is put into a frame. */
size_t __real_vmft_ack_encode(const struct vmft_ack *ack, uint8_t *payload);
size_t __wrap_vmft_ack_encode(const struct vmft_ack *ack, uint8_t *payload);
size_t __wrap_vmft_ack_encode(const struct vmft_ack *ack, uint8_t *payload)
{
	struct vmft_ack said = *ack;

	said.formed |= world.spoil == SPOIL_UNFORMED_RELEASE;
	return __real_vmft_ack_encode(&said, payload);
}

void __real_vmft_frame_seal(uint8_t *frame, const struct vmft_frame_info *info);
void __wrap_vmft_frame_seal(uint8_t *frame, const struct vmft_frame_info *info);
void __wrap_vmft_frame_seal(uint8_t *frame, const struct vmft_frame_info *info)
{
	struct vmft_frame_info said = *info;

	if (world.spoil == SPOIL_ACK_EARLY && info->type == VMFT_FRAME_ACK)
		said.position++;
	__real_vmft_frame_seal(frame, &said);
}

/* --- how it ended ---------------------------------------------------------------------- */

static bool is_stopped(const struct host *h)
{
	return h->stopped_until > world.now || h->qemu_stopped_until > world.now;
}

/* A side that was told to stop waits a second for the other one to be told too, and ends. */
bool is_protected(void)
{
	const struct host *p = &world.host[world.recorder];

	if (!world.ran || !is_alive(world.recorder) || is_stopped(p) || !p->q.runs ||
	    p->m.core.side != VMFT_SIDE_PRIMARY || !vmft_core_is_paired(&p->m.core) ||
	    p->m.core.state == VMFT_STATE_HANDING_OVER || p->q.frozen)
		return false;
	for (int i = 0; i < world.hosts; i++) {
		const struct host *b = &world.host[i];

		if (i != world.recorder && is_alive(i) && !is_stopped(b) && !b->q.diverged &&
		    !b->m.stop.asked && b->m.core.side == VMFT_SIDE_BACKUP &&
		    b->m.core.state == VMFT_STATE_PROTECTED &&
		    b->m.core.generation == p->m.core.generation)
			return true;
	}
	return false;
}

bool is_hopeless(void)
{
	for (int i = 0; i < world.hosts; i++) {
		const struct host *h = &world.host[i];

		if (is_live(&h->q) || (h->up && h->q.up && knows_of_pair(&h->m.core)) ||
		    (h->up && h->q.up && h->m.core.side == VMFT_SIDE_PRIMARY &&
		     !vmft_core_is_final(&h->m.core)))
			return false;
	}
	return true;
}

static enum outcome outcome_of(void)
{
	if (!world.ran)
		return OUTCOME_NEVER_RAN;
	if (is_protected())
		return OUTCOME_PROTECTED;
	for (int i = 0; i < world.hosts; i++)
		if (is_live(&world.host[i].q))
			return OUTCOME_ALONE;
	if (arbiter_is_over())
		return world.shut_down ? OUTCOME_ENDED : OUTCOME_DECLARED;
	return OUTCOME_DEAD;
}

bool is_beyond_help(void)
{
	for (int i = 0; i < world.hosts; i++) {
		const struct host *h = &world.host[i];

		if (is_live(&h->q) && (!h->up || h->m.agent_broken || arbiter_is_over()))
			return true;
	}
	return false;
}

static void describe(char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < world.hosts && used < size; i++) {
		const struct host *h = &world.host[i];

		used += (size_t)snprintf(text + used, size - used, "%shost %d is %s %s%s%s",
					 i ? ", " : "", i, vmft_side_name(h->m.core.side),
					 vmft_state_name(h->m.core.state),
					 h->up ? "" : " (no monitor)", h->q.up ? "" : " (no QEMU)");
	}
}

static bool stands(const struct host *h)
{
	return (h->q.paused || h->q.frozen) && world.now > h->q.stands_since + GOES_ON_MS * MS;
}

void check_end(void)
{
	const enum outcome outcome = outcome_of();
	char text[200];

	world.tally->outcomes[outcome]++;
	describe(text, sizeof(text));
	note("%s", text);
	if (outcome == OUTCOME_ALONE && !world.shut_down && !is_beyond_help())
		broken("a survivor is protected again", "%s", text);
	if (outcome <= OUTCOME_ALONE && stands(&world.host[world.recorder]))
		broken("a guest that is live goes on", "host %d stands still", world.recorder);
	if (world.single && !world.shut_down && outcome > OUTCOME_ALONE)
		broken("a protected guest survives one fault", "%s", text);
	if (world.struck == 0 && outcome != OUTCOME_PROTECTED)
		broken("without a fault there is a pair", "%s", text);
}
