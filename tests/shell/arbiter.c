/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbiter of all hosts: records in a table, and the worker that asks it for a monitor. A
 * question may not reach it, or not for long; what it did may stay unknown to who asked; a host may
 * find another one in its place, which is empty at first. The rules are docs/design.md's.
 */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct record {
	char owner[VMFT_ARBITER_OWNER_MAX];
	bool ended;
};

/* The one there is, and the one that is found in its place. */
static struct place {
	uint64_t latest;
	uint64_t won_at;
	struct record record[GENERATIONS_MAX];
	char mark[HOSTS][VMFT_ARBITER_OWNER_MAX];
} places[2];

enum { SLOW_MS = 2000, ANSWER_LOST_MS = 5000, RACE_MS = 20 };

void arbiter_reset(void)
{
	places[0].latest = places[1].latest = 0;
	places[0].won_at = places[1].won_at = 0;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned h = 0; h < HOSTS; h++)
			places[i].mark[h][0] = '\0';
}

uint64_t arbiter_latest(void)
{
	return places[0].latest;
}

bool arbiter_is_over(void)
{
	return places[0].latest > 0 && places[0].record[places[0].latest].ended;
}

void arbiter_declare(void)
{
	places[0].record[places[0].latest].ended = true;
}

void arbiter_put(uint64_t generation, const char *owner)
{
	if (generation >= GENERATIONS_MAX)
		return;
	places[0].latest = generation;
	places[0].record[generation].ended = false;
	(void)snprintf(places[0].record[generation].owner, sizeof(places[0].record[0].owner), "%s",
		       owner);
}

void arbiter_put_mark(int host, const char *text)
{
	(void)snprintf(places[0].mark[host], sizeof(places[0].mark[0]), "%s", text);
}

bool arbiter_is_owner(uint64_t generation, const char *owner)
{
	return generation < GENERATIONS_MAX && generation <= places[0].latest &&
	       strcmp(places[0].record[generation].owner, owner) == 0;
}

static bool finds_other(int host)
{
	return world.arbiter_other_until[host] > world.now;
}

static struct place *place_of(int host)
{
	return &places[finds_other(host)];
}

/* Who has opened one directory, or cluster, does not ask another. */
static bool is_down(int host)
{
	return world.arbiter_down_until[host] > world.now ||
	       (!world.emptied && world.host[host].opened_other != finds_other(host)) ||
	       (world.host[host].ran_out && one_in(8));
}

static int unreachable(struct vmft_error *err)
{
	return vmft_error_set(err, -EIO, 8, "the arbiter: %s", strerror(EIO));
}

static enum vmft_claim claim(struct place *p, const struct vmft_arbiter_claim *c)
{
	const bool knows =
	    c->generation - 1 <= p->latest &&
	    (c->generation == 1 || strcmp(p->record[c->generation - 1].owner, c->after) == 0);

	if (c->generation >= GENERATIONS_MAX)
		return VMFT_CLAIM_UNREACHABLE;
	if (world.spoil == SPOIL_TWO_WINNERS && c->generation <= p->latest)
		return VMFT_CLAIM_WON;
	if (!knows && world.spoil != SPOIL_ANY_ARBITER)
		return VMFT_CLAIM_UNREACHABLE;
	if (c->generation == p->latest && strcmp(p->record[p->latest].owner, c->owner) == 0)
		return world.spoil == SPOIL_FORGETFUL ? VMFT_CLAIM_LOST : VMFT_CLAIM_WON;
	if (c->generation <= p->latest &&
	    !(world.spoil == SPOIL_ARBITER_RACE && c->generation == p->latest &&
	      world.now < p->won_at + RACE_MS * MS))
		return VMFT_CLAIM_LOST;
	if (p->latest > 0 && c->generation == p->latest + 1 &&
	    p->record[p->latest].ended != c->starts && world.spoil != SPOIL_END_UNSEEN)
		return VMFT_CLAIM_LOST;
	if (p == &places[0] && !c->starts && p->record[p->latest].ended)
		broken("a VM that was declared dead is not taken on", "generation %llu is won",
		       (unsigned long long)c->generation);
	if (world.single && world.last == FAULT_SHUTDOWN)
		broken("an orderly end is the end", "generation %llu is won after it",
		       (unsigned long long)c->generation);
	p->latest = c->generation;
	p->won_at = world.now;
	(void)snprintf(p->record[p->latest].owner, sizeof(p->record[0].owner), "%s", c->owner);
	p->record[p->latest].ended = false;
	return VMFT_CLAIM_WON;
}

/* --- what a start asks, and waits for ------------------------------------------- */

static int current_host(void)
{
	return (int)(world.current - world.host);
}

static int fake_open(const struct vmft_arbiter_settings *settings, struct vmft_arbiter **ret,
		     struct vmft_error *err)
{
	(void)settings;
	may_die();
	*ret = NULL;
	world.current->opened_other = finds_other(current_host());
	return is_down(current_host()) ? unreachable(err) : 0;
}

static int fake_latest(struct vmft_arbiter *arbiter, struct vmft_arbiter_latest *ret,
		       struct vmft_error *err)
{
	const struct place *p = place_of(current_host());

	(void)arbiter;
	may_die();
	if (is_down(current_host()))
		return unreachable(err);
	ret->generation = p->latest;
	ret->ended = p->latest > 0 && p->record[p->latest].ended;
	(void)snprintf(ret->owner, sizeof(ret->owner), "%s",
		       p->latest > 0 ? p->record[p->latest].owner : "");
	ret->record[0] = '\0';
	return 0;
}

static enum vmft_claim fake_claim(struct vmft_arbiter *arbiter, const struct vmft_arbiter_claim *c,
				  struct vmft_error *err)
{
	(void)arbiter;
	may_die();
	if (!is_down(current_host()))
		return claim(place_of(current_host()), c);
	(void)unreachable(err);
	return VMFT_CLAIM_UNREACHABLE;
}

static int fake_mark(struct vmft_arbiter *arbiter, const char *host, const char *text,
		     struct vmft_error *err)
{
	struct place *p = place_of(current_host());

	(void)arbiter;
	(void)host;
	may_die();
	if (is_down(current_host()))
		return unreachable(err);
	(void)snprintf(p->mark[current_host()], sizeof(p->mark[0]), "%s", text);
	return 0;
}

static const struct vmft_arbiter_ops fake_ops = {
    .scheme = "file:",
    .open = fake_open,
    .latest = fake_latest,
    .claim = fake_claim,
    .mark = fake_mark,
};

const struct vmft_arbiter_ops *vmft_arbiter_find(const char *spec, const char **ret_where)
{
	*ret_where = spec;
	return &fake_ops;
}

/* --- the worker ----------------------------------------------------------------------- */

struct vmft_arbiter_worker {
	int host;
};

int vmft_arbiter_worker_start(const struct vmft_arbiter_ops *ops, struct vmft_arbiter *arbiter,
			      const char *owner, struct vmft_arbiter_worker **ret)
{
	static struct vmft_arbiter_worker workers[HOSTS];
	struct host *h = world.current;

	(void)ops;
	(void)arbiter;
	*ret = &workers[current_host()];
	(*ret)->host = current_host();
	h->wlife++;
	memset(h->asked, 0, sizeof(h->asked));
	memset(h->answered, 0, sizeof(h->answered));
	(void)snprintf(h->owner, sizeof(h->owner), "%s", owner);
	h->worker_bell = fd_new(FD_EVENT, current_host());
	return 0;
}

int vmft_arbiter_worker_fd(const struct vmft_arbiter_worker *worker)
{
	return world.host[worker->host].worker_bell;
}

void vmft_arbiter_worker_ask(struct vmft_arbiter_worker *worker,
			     const struct vmft_arbiter_question *question)
{
	struct host *h = &world.host[worker->host];
	const unsigned which = question->ask;
	const bool slow = world.arbiter_slow_until > world.now;

	may_die();
	if (h->asked[which] || h->answered[which])
		broken("one question of a kind at a time", "host %d, %u", worker->host, which);
	h->question[which] = *question;
	h->asked[which] = true;
	later(slow ? chance(SLOW_MS * MS) : world.delay + chance(2 * world.delay), DO_ASK,
	      worker->host, which, h->wlife);
}

static void put(int host, const struct vmft_arbiter_question *q, struct vmft_arbiter_answer *a)
{
	struct host *h = &world.host[host];
	struct place *p = place_of(host);
	const struct vmft_arbiter_claim c = {
	    .generation = q->generation, .owner = h->owner, .after = q->record};
	/* As the pair file of this simulation has them: main.c. */
	static const char *const section[HOSTS] = {"primary", "backup", "spare"};

	switch (q->ask) {
	case VMFT_ASK_CLAIM:
		a->claim = claim(p, &c);
		note("host %d claims generation %llu: %s", host, (unsigned long long)c.generation,
		     a->claim == VMFT_CLAIM_WON	   ? "won"
		     : a->claim == VMFT_CLAIM_LOST ? "lost"
						   : "unreachable");
		break;
	case VMFT_ASK_LATEST:
		a->latest.generation = p->latest;
		a->latest.ended = p->latest > 0 && p->record[p->latest].ended;
		(void)snprintf(a->latest.owner, sizeof(a->latest.owner), "%s",
			       p->latest > 0 ? p->record[p->latest].owner : "");
		break;
	case VMFT_ASK_MARK:
		for (int i = 0; i < HOSTS; i++)
			if (strcmp(section[i], q->host) == 0)
				(void)snprintf(a->mark, sizeof(a->mark), "%s", p->mark[i]);
		break;
	default:
		if (q->generation <= p->latest &&
		    strcmp(p->record[q->generation].owner, q->record) == 0)
			p->record[q->generation].ended = true;
		else
			a->rc = -ESTALE;
	}
}

static void say_unknown(struct vmft_arbiter_answer *a)
{
	a->claim = VMFT_CLAIM_UNREACHABLE;
	a->rc = unreachable(&a->err);
}

/* After its process was killed, the thread only finishes the question that it has sent. */
void arbiter_ask_do(int host, unsigned which, uint32_t serial)
{
	struct host *h = &world.host[host];
	struct vmft_arbiter_answer *a = &h->answer[which];
	const bool lost = world.answer_lost[host] && one_in(2);
	const bool down = is_down(host);
	const bool slow = world.arbiter_slow_until > world.now;

	if (h->wlife != serial || !h->asked[which])
		return;
	a->mark[0] = '\0';
	a->ask = (enum vmft_arbiter_ask)which;
	a->claim = VMFT_CLAIM_UNREACHABLE;
	a->rc = 0;
	a->err.text[0] = '\0';
	if (!down)
		put(host, &h->question[which], a);
	if (down || lost)
		say_unknown(a);
	later(lost   ? ANSWER_LOST_MS * MS
	      : slow ? chance(SLOW_MS * MS)
		     : world.delay,
	      DO_ANSWER, host, which, serial);
}

void arbiter_answer_do(int host, unsigned which, uint32_t serial)
{
	struct host *h = &world.host[host];

	if (h->wlife != serial || !h->asked[which])
		return;
	h->asked[which] = false;
	h->answered[which] = true;
	if (h->up)
		fd_ring(h->worker_bell);
}

bool vmft_arbiter_worker_answer(struct vmft_arbiter_worker *worker, struct vmft_arbiter_answer *ret)
{
	struct host *h = &world.host[worker->host];
	struct fd *bell = fd_of(h->worker_bell);

	if (bell)
		bell->count = 0;
	for (unsigned i = 0; i < ASKS; i++) {
		if (!h->answered[i])
			continue;
		h->answered[i] = false;
		*ret = h->answer[i];
		return true;
	}
	return false;
}

/* At a monitor's end. The world stands still meanwhile. */
bool vmft_arbiter_worker_wait(struct vmft_arbiter_worker *worker, uint64_t milliseconds)
{
	struct host *h = &world.host[worker->host];

	(void)milliseconds;
	may_die();
	for (unsigned i = 0; i < ASKS; i++) {
		if (h->asked[i] && is_down(worker->host))
			return false;
		if (!h->asked[i])
			continue;
		arbiter_ask_do(worker->host, i, h->wlife);
		arbiter_answer_do(worker->host, i, h->wlife);
	}
	return true;
}
