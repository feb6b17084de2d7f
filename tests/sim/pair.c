/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitors: their cores, what they do for them, and what they say to each other.
 *
 * This file has more than 600 lines because it is one monitor: each action of the core and the
 * message that it causes are read together.
 */
#include "sim.h"

static struct message ack_of(const struct world *w, int host, uint64_t position)
{
	const struct side *s = &w->sides[host];

	if (w->spoil == SPOIL_ACK_BEFORE_HELD)
		position = w->ops->shipped(w, !host);
	return (struct message){
	    .kind = MESSAGE_ACK,
	    .position = position,
	    .formed = s->heard_pair,
	    .progress = w->ops->progress(w, host),
	    .honest = s->heard_pair ? w->ops->covers(w, host, position) : 0,
	};
}

static void fence(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (w->spoil != SPOIL_NO_FENCE) {
		s->fenced = true;
		return;
	}
	s->gate_open = true;
	if (!s->guest_runs)
		later(w, 10, JOB_LIVE, host, 0);
}

static void run_guest(struct world *w, int host, bool alone)
{
	struct side *s = &w->sides[host];

	if (!is_primary(s)) {
		later(w, about(w, 500), JOB_APPLY, host, 0);
		return;
	}
	s->guest_runs = true;
	s->keeps = !alone;
	w->recorder = host;
	w->ran = true;
	w->pair = !alone;
	later(w, about(w, 500), JOB_GUEST, host, 0);
}

static void go_live(struct world *w, int host, uint64_t at)
{
	struct side *s = &w->sides[host];

	uint64_t applied = w->ops->applied(w, host);

	if (applied != at && w->spoil == SPOIL_NONE)
		broken(w, "live at the log's end", "told %llu, replayed %llu",
		       (unsigned long long)at, (unsigned long long)applied);
	s->told_live = true;
	later(w, about(w, 2 * MS), JOB_LIVE, host, 0);
}

static void open_gate(const struct world *w, struct side *s)
{
	s->open_since = w->now;
	s->gate_open = true;
	s->keeps = false;
	s->attach++;
}

static void form_pair(struct world *w, int host)
{
	send_message(w, host, (struct message){.kind = MESSAGE_FORM});
	w->sides[host].entitled = false;
	w->pair = true;
	w->tally->attached++;
	check_pair(w, host);
}

static void act_on_guest(struct world *w, int host, const struct vmft_actions *a)
{
	struct side *s = &w->sides[host];

	if (a->set & (VMFT_DO_FENCE_GUEST | VMFT_DO_STOP) && s->entitled && s->guest_alive &&
	    s->core.state != VMFT_STATE_DIVERGED)
		broken(w, "a failed attach leaves the primary live", "%s", host_name(host));
	if (a->set & VMFT_DO_FENCE_GUEST)
		fence(w, host);
	if (a->set & VMFT_DO_RUN_GUEST)
		run_guest(w, host, a->set & VMFT_DO_OPEN_GATE);
	if (a->set & VMFT_DO_SET_RELEASE)
		s->release = a->release;
	if (a->set & VMFT_DO_GO_LIVE)
		go_live(w, host, a->live_at);
	if (a->set & VMFT_DO_OPEN_GATE)
		open_gate(w, s);
	if (a->set & VMFT_DO_CLOSE_GATE)
		later(w, about(w, 200), JOB_CLOSE_GATE, host, s->attach);
	if (a->set & VMFT_DO_FORM_PAIR)
		form_pair(w, host);
	if (a->set & VMFT_DO_FREEZE_GUEST)
		s->freeze = true;
	if (a->set & VMFT_DO_THAW_GUEST)
		s->freeze = s->frozen = false;
	gate_flush(w, host);
}

static void act(struct world *w, int host, const struct vmft_actions *a)
{
	struct side *s = &w->sides[host];

	if (a->set & VMFT_DO_FENCE_GUEST)
		act_on_guest(w, host, a);
	if (a->set & VMFT_DO_SEND_ACK)
		send_message(w, host, ack_of(w, host, a->ack));
	if (a->set & VMFT_DO_SEND_BYE)
		send_message(w, host, (struct message){.kind = MESSAGE_BYE, .why = a->bye});
	if (a->set & VMFT_DO_CLOSE_PEER)
		socket_close(w, host);
	if (a->set & VMFT_DO_CLAIM)
		ask_arbiter(w, host, a->generation);
	if (a->set & VMFT_DO_START_RETRY_TIMER && w->spoil != SPOIL_NO_RETRY)
		later(w, about(w, 20 * MS), JOB_RETRY, host, 0);
	if (!(a->set & VMFT_DO_FENCE_GUEST))
		act_on_guest(w, host, a);
	if (a->set & VMFT_DO_STOP) {
		socket_close(w, host);
		s->guest_alive &= s->core.state != VMFT_STATE_ENDED;
		if (s->guest_alive && !s->fenced && w->spoil != SPOIL_NO_FENCE)
			broken(w, "the loser stops", "%s still runs", host_name(host));
	}
}

void feed(struct world *w, int host, struct vmft_event_in event)
{
	struct side *s = &w->sides[host];
	struct vmft_actions actions;
	enum vmft_state before = s->core.state;
	enum vmft_side role = s->core.side;

	w->tally->reached[role][before][event.kind] = true;
	vmft_core_step(&s->core, &event, &actions);
	w->tally->core_steps++;
	if (s->core.state != before || w->trace)
		note(w, "%s: %-7s %-17s pos %-7llu %s -> %s, actions %#x", host_name(host),
		     vmft_side_name(role), vmft_in_name(event.kind),
		     (unsigned long long)event.position, vmft_state_name(before),
		     vmft_state_name(s->core.state), actions.set);
	act(w, host, &actions);
	if (s->core.state == before)
		return;
	if (s->core.state == VMFT_STATE_ALONE && s->guest_alive && !is_live(s))
		broken(w, "a failed attach leaves the primary live", "%s is alone, not live",
		       host_name(host));
	strike_on(w, host, s->core.state);
}

void feed_kind(struct world *w, int host, enum vmft_in kind)
{
	feed(w, host, (struct vmft_event_in){.kind = kind});
}

/* To a core that is alone a knocking peer is none yet: its monitor lets go of it by itself. */
static void feed_end_of_peer(struct world *w, int host, struct vmft_event_in event)
{
	if (!w->sides[host].socket_open)
		return;
	feed(w, host, event);
	if (w->sides[host].core.state == VMFT_STATE_ALONE)
		socket_close(w, host);
}

void feed_lost(struct world *w, int host, enum vmft_why why)
{
	const struct vmft_core *core = &w->sides[host].core;
	const bool handed = core->state == VMFT_STATE_HANDED_OVER;

	if (w->spoil == SPOIL_ATTACH_CLAIMS_EARLY && core->side == VMFT_SIDE_BACKUP &&
	    core->state == VMFT_STATE_ATTACHING && core->pointed)
		feed_kind(w, host, VMFT_IN_PEER_READY);
	feed_end_of_peer(w, host, (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = why});
	if (w->spoil == SPOIL_HANDED_UNASKED && handed) {
		w->sides[host].freeze = w->sides[host].frozen = false;
		open_gate(w, &w->sides[host]);
	}
	if (w->spoil == SPOIL_LIVE_BEFORE_DRAIN && core->state == VMFT_STATE_DRAINING)
		feed(w, host,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED, .position = core->held});
}

/* --- the monitors --------------------------------------------------------------------------- */

void do_ship(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	enum vmft_state state = p->core.state;
	bool attaching = state == VMFT_STATE_ATTACHING && p->core.pointed;
	bool all;

	if (!is_primary(p) || (!vmft_core_is_paired(&p->core) && state != VMFT_STATE_SHIPPING &&
			       state != VMFT_STATE_SEALING && !attaching))
		return;
	all = w->ops->ship(w, host);
	if (w->spoil == SPOIL_EARLY_RELEASE)
		p->release = w->ops->shipped(w, host);
	gate_flush(w, host);
	if (state == VMFT_STATE_SHIPPING && all)
		feed_kind(w, host, VMFT_IN_LOG_SHIPPED);
	else if (state == VMFT_STATE_SHIPPING)
		later(w, MS, JOB_SHIP, host, 0);
}

static void look_at_replay(struct world *w, int host)
{
	struct side *s = &w->sides[host];
	uint64_t position = w->ops->applied(w, host);

	if (s->told_live || position <= s->told_pos || position < s->core.replayed)
		return;
	s->told_pos = position;
	feed(w, host, (struct vmft_event_in){.kind = VMFT_IN_REPLAYED, .position = position});
}

/* A guest that stands still, and nothing of it is on its way any more. */
static void look_at_frozen(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	struct vmft_event_in event = {.kind = VMFT_IN_ALL_HANDED};

	if (p->core.state != VMFT_STATE_HANDING_OVER)
		return;
	event.position = w->ops->stands_at(w, host);
	if (p->frozen && p->guest_alive && !p->frame_count &&
	    w->ops->shipped(w, host) == event.position && p->core.acked == event.position) {
		feed(w, host, event);
	} else if (w->now - p->hands_since > hand_us) {
		w->tally->handed_back++;
		feed_kind(w, host, VMFT_IN_HAND_BACK);
	}
}

/* Level-triggered, as shared memory is: progress first, then the end. */
void do_look(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (!is_primary(s))
		look_at_replay(w, host);
	look_at_frozen(w, host);
	if (!is_primary(s) && s->guest_runs && s->guest_alive && !s->told_is_live) {
		s->told_is_live = true;
		feed_kind(w, host, VMFT_IN_LIVE);
	}
	if (s->guest_alive || s->told_end)
		return;
	s->told_end = true;
	feed_kind(w, host, s->guest_ended ? VMFT_IN_GUEST_ENDED : VMFT_IN_GUEST_DIED);
	/* A full ring and a slow link make shipping the rest take long. */
	later(w, about(w, one_in(w, 4) ? 30 * MS : 500), JOB_SHIP, host, 0);
}

/* A backup that has log, or a state log goes with, answers heartbeats with its ack. */
static bool acks(const struct side *s)
{
	return !is_primary(s) && (s->core.state == VMFT_STATE_PROTECTED ||
				  (s->core.state == VMFT_STATE_ATTACHING && s->core.pointed));
}

static void send_beat(struct world *w, int host)
{
	const struct side *s = &w->sides[host];
	struct message beat = {.kind = MESSAGE_BEAT};

	if (acks(s) && w->spoil != SPOIL_NO_ACK_AGAIN)
		beat = ack_of(w, host, s->core.held);
	if (s->socket_open && w->to[!host].count < QUEUE_MAX / 2)
		send_message(w, host, beat);
}

/* The guest is slowed beyond the bound; the pair lags from half as much again on. */
static void watch_lag(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	const uint64_t bound = w->ops->lag_bound;
	const bool reports = is_primary(p) && p->keeps && p->peer_reports && p->socket_open;
	const uint64_t lag = reports ? w->ops->lag(w, host) : 0;

	if (w->spoil != SPOIL_STAYS_SLOW || reports)
		p->slowed = lag > bound;
	if (p->core.state == VMFT_STATE_PROTECTED && lag > bound + bound / 2) {
		p->lags_since = w->now;
		w->tally->lagged++;
		feed_kind(w, host, VMFT_IN_LAGS);
		return;
	}
	if (p->core.state != VMFT_STATE_LAGGING || w->spoil == SPOIL_STAYS_LAGGING)
		return;
	if (lag <= bound) {
		feed_kind(w, host, VMFT_IN_KEEPS_UP);
	} else if (w->now - p->lags_since > drop_us) {
		w->tally->dropped++;
		feed_lost(w, host, VMFT_WHY_LAGGED);
	}
}

/* By the agent's word, or by the primary's; whoever is live by now is the guest. */
void do_detect(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (!b->diverged || is_primary(b) || vmft_core_is_final(&b->core))
		return;
	b->detected = true;
	w->tally->detected++;
	if (w->spoil != SPOIL_DIVERGED_LIVE)
		feed_kind(w, host, VMFT_IN_DIVERGED);
}

void do_beat(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (vmft_core_is_final(&s->core))
		return;
	if (s->socket_open && w->now - s->last_heard > silence_us)
		feed_lost(w, host, VMFT_WHY_SILENCE);
	send_beat(w, host);
	watch_lag(w, host);
	do_ship(w, host);
	look_at_frozen(w, host);
	later(w, about(w, beat_us), JOB_BEAT, host, 0);
}

static bool accepts(const struct side *s)
{
	return s->monitor_alive && !s->socket_open && vmft_core_wants_peer(&s->core);
}

void do_connect(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	struct side *b = &w->sides[!host];

	if (vmft_core_is_final(&p->core))
		return;
	later(w, about(w, 10 * MS), JOB_CONNECT, host, 0);
	if (w->ops->starts_alone && p->core.state == VMFT_STATE_FORMING)
		return;
	if (!is_primary(p) || !accepts(p) || is_primary(b) || !accepts(b) ||
	    w->now < w->cut_until[0] || w->now < w->cut_until[1])
		return;
	w->flight++;
	w->connection++;
	for (int i = 0; i < HOSTS; i++) {
		queue_clear(&w->to[i]);
		w->to[i].last_at = 0;
		w->sides[i].socket_open = true;
		w->sides[i].connection = w->connection;
		w->sides[i].last_heard = w->now;
	}
	if (w->ops->connect)
		w->ops->connect(w, host);
	strike_on(w, one_in(w, 2) ? host : !host, VMFT_STATE_FORMING);
	send_message(w, host, (struct message){.kind = MESSAGE_HELLO});
}

void do_alone(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (s->core.state != VMFT_STATE_FORMING)
		return;
	s->entitled = true;
	feed_kind(w, host, VMFT_IN_START_ALONE);
}

/* --- attaching ------------------------------------------------------------------------------ */

static void begin_attach(struct world *w, int host)
{
	struct side *p = &w->sides[host];

	w->tally->attaches++;
	p->attach++;
	p->peer_reports = false;
	p->honest = 0;
	feed_kind(w, host, VMFT_IN_ATTACH);
	w->ops->begin_attach(w, host);
}

void do_point(struct world *w, int host, uint64_t attach)
{
	const struct side *p = &w->sides[host];

	if (attach != p->attach || p->core.state != VMFT_STATE_ATTACHING)
		return;
	feed(w, host,
	     (struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT,
				    .position = w->ops->point(w, host)});
	w->ops->send_state(w, host);
	do_ship(w, host);
}

static void consider_sealing(struct world *w, int host)
{
	const struct side *p = &w->sides[host];

	if (p->core.state == VMFT_STATE_ATTACHING && p->peer_reports && w->ops->follows(w, host))
		feed_kind(w, host, VMFT_IN_CAUGHT_UP);
}

void do_gate_closed(struct world *w, int host, uint64_t attach)
{
	const struct side *p = &w->sides[host];
	struct vmft_event_in event = {.kind = VMFT_IN_GATE_CLOSED};

	if (attach != p->attach || p->core.state != VMFT_STATE_SEALING)
		return;
	if (w->spoil != SPOIL_FORM_BEFORE_SEAL)
		event.position = p->seal;
	feed(w, host, event);
}

static void take_copy(struct world *w, int host, const struct message *m)
{
	const struct side *b = &w->sides[host];

	if (b->core.state == VMFT_STATE_ATTACHING && !b->core.pointed)
		w->ops->take_copy(w, host, m);
	else
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
}

static void take_state(struct world *w, int host, const struct message *m)
{
	struct side *b = &w->sides[host];

	if (b->core.state != VMFT_STATE_ATTACHING || b->core.pointed) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	if (b->loaded)
		broken(w, "a new backup begins afresh", "%s", host_name(host));
	b->loaded = true;
	w->ops->take_state(w, host, m);
	b->told_pos = w->ops->applied(w, host);
	feed(w, host,
	     (struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT, .position = b->told_pos});
	later(w, about(w, 500), JOB_APPLY, host, 0);
}

static void take_form(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (b->core.state != VMFT_STATE_ATTACHING) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	b->heard_pair = b->core.pointed;
	feed_kind(w, host, VMFT_IN_PEER_READY);
}

/* --- what arrives --------------------------------------------------------------------------- */

static void take_hello_ok(struct world *w, int host)
{
	const struct vmft_core *core = &w->sides[host].core;
	bool attach = core->state == VMFT_STATE_ALONE;

	send_message(w, host,
		     (struct message){.kind = MESSAGE_START,
				      .attach = attach,
				      .generation = core->generation,
				      .record = w->sides[host].record});
	if (attach)
		begin_attach(w, host);
	else
		feed_kind(w, host, VMFT_IN_PEER_READY);
}

static void take_start(struct world *w, int host, const struct message *m)
{
	struct side *b = &w->sides[host];

	vmft_core_init(&b->core, VMFT_SIDE_BACKUP, m->generation);
	b->record = m->record;
	b->heard_pair = !m->attach;
	feed_kind(w, host, m->attach ? VMFT_IN_ATTACH : VMFT_IN_PEER_READY);
}

static void take_log(struct world *w, int host, const struct message *m)
{
	struct vmft_event_in event = {.kind = VMFT_IN_LOG_HELD};

	if (!acks(&w->sides[host]) || !w->ops->hold(w, host, m)) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	event.position = w->ops->held(w, host);
	if (event.position != w->sides[host].core.held)
		feed(w, host, event);
}

static struct vmft_event_in ack_event(const struct world *w, int host, const struct message *m)
{
	return (struct vmft_event_in){
	    .kind = VMFT_IN_ACK,
	    .position = m->position,
	    .sent = w->ops->shipped(w, host),
	    .formed = m->formed || w->spoil == SPOIL_RELEASE_UNFORMED,
	};
}

static void take_ack(struct world *w, int host, const struct message *m)
{
	struct side *p = &w->sides[host];

	if (p->core.state == VMFT_STATE_FORMING) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	if (m->honest > p->honest)
		p->honest = m->honest;
	p->peer_progress = m->progress;
	p->peer_reports = true;
	feed(w, host, ack_event(w, host, m));
	consider_sealing(w, host);
	look_at_frozen(w, host);
}

/* Each is one side's word, in one state. */
static void take_handover(struct world *w, int host, enum vmft_why why)
{
	const struct vmft_core *core = &w->sides[host].core;

	if (why == VMFT_WHY_HANDED_OVER && core->side == VMFT_SIDE_BACKUP &&
	    core->state == VMFT_STATE_PROTECTED) {
		feed_kind(w, host, VMFT_IN_PEER_HANDS_OVER);
	} else if (why == VMFT_WHY_TOOK_OVER && core->state == VMFT_STATE_HANDED_OVER) {
		w->tally->handed++;
		feed_kind(w, host, VMFT_IN_PEER_TOOK_OVER);
	} else {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
	}
}

static void take_bye(struct world *w, int host, enum vmft_why why)
{
	switch (why) {
	case VMFT_WHY_GUEST_DIED:
		feed_lost(w, host, VMFT_WHY_PEER_GUEST_DIED);
		break;
	case VMFT_WHY_DIVERGED:
		feed_lost(w, host, VMFT_WHY_PEER_DIVERGED);
		break;
	case VMFT_WHY_STOPPED:
		feed_lost(w, host, VMFT_WHY_PEER_STOPPED);
		break;
	case VMFT_WHY_HANDED_OVER:
	case VMFT_WHY_TOOK_OVER:
		take_handover(w, host, why);
		break;
	default:
		feed_end_of_peer(w, host, (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED});
		break;
	}
}

static void take(struct world *w, int host, const struct message *m)
{
	switch (m->kind) {
	case MESSAGE_HELLO:
		send_message(w, host, (struct message){.kind = MESSAGE_HELLO_OK});
		break;
	case MESSAGE_HELLO_OK:
		take_hello_ok(w, host);
		break;
	case MESSAGE_START:
		take_start(w, host, m);
		break;
	case MESSAGE_COPY:
		take_copy(w, host, m);
		break;
	case MESSAGE_STATE:
		take_state(w, host, m);
		break;
	case MESSAGE_FORM:
		take_form(w, host);
		break;
	case MESSAGE_LOG:
		take_log(w, host, m);
		break;
	case MESSAGE_ACK:
		take_ack(w, host, m);
		break;
	case MESSAGE_BEAT:
		break;
	case MESSAGE_BYE:
		take_bye(w, host, m->why);
		break;
	case MESSAGE_FIN:
		feed_lost(w, host, VMFT_WHY_CONNECTION);
		break;
	}
}

/*
 * The kernel of a host that lives answers for a closed socket, after what was sent before; a
 * dead host says nothing.
 */
static void answer_closed(struct world *w, int host, const struct message *m)
{
	const struct side *s = &w->sides[host];
	uint64_t at = w->now + about(w, w->delay_us);

	if (m->kind == MESSAGE_FIN || (!s->monitor_alive && !s->guest_alive) ||
	    w->now < w->cut_until[!host])
		return;
	if (at < w->to[!host].last_at)
		at = w->to[!host].last_at;
	later(w, at - w->now, JOB_RESET, !host, w->connection);
}

/* Read off the socket before the monitor closed it: the core has to be deaf to it by itself. */
static void take_late(struct world *w, int host, const struct message *m)
{
	const struct side *s = &w->sides[host];
	struct vmft_event_in event = {.kind = VMFT_IN_COUNT};

	if (m->kind == MESSAGE_LOG && !is_primary(s))
		event = (struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = m->position};
	else if (m->kind == MESSAGE_ACK && is_primary(s))
		event = ack_event(w, host, m);
	else if (m->kind == MESSAGE_BYE && m->why == VMFT_WHY_GUEST_ENDED)
		event = (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED};
	else if (m->kind == MESSAGE_BYE || m->kind == MESSAGE_FIN)
		event =
		    (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION};
	if (event.kind != VMFT_IN_COUNT)
		feed(w, host, event);
}

/* While a side does not read what is there, nothing can be heard: that is no silence. */
static bool is_blocked(struct world *w, int host)
{
	const struct side *s = &w->sides[host];
	const struct queue *q = &w->to[host];

	return w->ops->blocked && q->count && s->socket_open && s->monitor_alive && acks(s) &&
	       w->now - s->last_heard <= silence_us && w->ops->blocked(w, host, &q->items[q->head]);
}

/* A side that was blocked still reads what arrived before: whoever closes after a goodbye leaves
 * its end open until that has happened. */
void do_reset(struct world *w, int host, uint64_t connection)
{
	if (connection != w->connection)
		return;
	if (w->ops->blocked && w->to[host].count && w->sides[host].socket_open &&
	    w->spoil != SPOIL_RESET_OVERTAKES)
		later(w, about(w, 300), JOB_RESET, host, connection);
	else
		feed_lost(w, host, VMFT_WHY_CONNECTION);
}

void do_deliver(struct world *w, int host, uint64_t flight)
{
	struct side *s = &w->sides[host];
	struct queue *q = &w->to[host];
	struct message m;

	if (flight != w->flight || !q->count)
		return;
	if (w->now < w->cut_until[host]) {
		later(w, w->cut_until[host] - w->now + chance(w, MS), JOB_DELIVER, host, flight);
		return;
	}
	m = q->items[q->head];
	if (is_blocked(w, host)) {
		s->last_heard = w->now;
		later(w, about(w, 300), JOB_DELIVER, host, flight);
		return;
	}
	q->head = (q->head + 1) % QUEUE_MAX;
	q->count--;
	q->logs -= m.kind == MESSAGE_LOG;
	if (!s->socket_open && s->monitor_alive && s->connection == w->connection &&
	    s->core.state != VMFT_STATE_FORMING && one_in(w, 4)) {
		take_late(w, host, &m);
		return;
	}
	if (!s->socket_open) {
		answer_closed(w, host, &m);
		return;
	}
	/*
	 * The clock before the bytes: a monitor that slept through the silence time must not act
	 * on an ack that was waiting for it, the backup may be live by now.
	 */
	if (w->now - s->last_heard > silence_us) {
		feed_lost(w, host, VMFT_WHY_SILENCE);
		return;
	}
	s->last_heard = w->now;
	take(w, host, &m);
}
