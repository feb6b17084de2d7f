/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection between the two monitors. */
#include "sim.h"

void queue_clear(struct queue *q)
{
	q->count = 0;
	q->logs = 0;
}

void send_slowly(struct world *w, int from, struct message message, uint64_t extra)
{
	struct queue *q = &w->to[!from];
	uint64_t at = w->now + extra + about(w, one_in(w, 200) ? 4 * w->delay_us : w->delay_us);

	if (w->now < w->slow_until)
		at += chance(w, 2 * silence_us);
	if (q->count == QUEUE_MAX)
		give_up(w, "queue full");
	q->items[(q->head + q->count++) % QUEUE_MAX] = message;
	q->logs += message.kind == MESSAGE_LOG;
	if (at < q->last_at)
		at = q->last_at;
	q->last_at = at;
	later(w, at - w->now, JOB_DELIVER, !from, w->flight);
}

void send_message(struct world *w, int from, struct message message)
{
	send_slowly(w, from, message, 0);
}

void socket_close(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (!s->socket_open)
		return;
	s->socket_open = false;
	send_message(w, host, (struct message){.kind = MESSAGE_FIN});
}

/* What is in flight is gone; each end hears of it unless it can't. */
void channel_reset(struct world *w)
{
	for (int host = 0; host < HOSTS; host++) {
		queue_clear(&w->to[host]);
		later(w, about(w, w->delay_us), JOB_RESET, host, w->connection);
	}
	w->flight++;
}
