/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "arbitration.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>

#include "guest.h"
#include "monitor.h"
#include "monitor/common/exit-codes.h"
#include "monitor/daemon/arbiter/owner.h"
#include "monitor/daemon/arbiter/pair-arbiter.h"

#define MS UINT64_C(1000000)

#define ARBITER_RETRY_NS (250 * MS)
/* The journal says then that the arbiter does not answer. It is longer than an etcd cluster is
 * tried for: that ends with a reason, which says more. */
#define ARBITER_SILENT_NS (6000 * MS)
/* If the end of a guest is not on record by then, a person has to vouch for it. */
#define ARBITER_END_MS 12000u
#define FIRST_CLAIMS   3u /* tries of the claim that a start begins with */

/* --- questions ------------------------------------------------------------ */

/* A question about a generation whose record is m->record. */
static struct vmft_arbiter_question question_of(const struct vmft_monitor *m,
						enum vmft_arbiter_ask ask, uint64_t generation)
{
	struct vmft_arbiter_question q = {.ask = ask, .generation = generation};

	memcpy(q.record, m->record, sizeof(q.record));
	return q;
}

void vmft_arbitration_record_end(struct vmft_monitor *m)
{
	const struct vmft_arbiter_question q = question_of(m, VMFT_ASK_END, m->core.generation);

	vmft_arbiter_worker_ask(m->worker, &q);
}

/*
 * A side whose QEMU is stopped must not win: it would keep the other from going on and do
 * nothing itself. Its claim waits until the agent has beaten lately; to the core that is
 * an arbiter slow to answer.
 */
void vmft_arbitration_ask(struct vmft_monitor *m)
{
	const struct vmft_arbiter_question q = question_of(m, VMFT_ASK_CLAIM, m->claim);
	const uint64_t now = vmft_loop_now();

	if (m->claim == 0 || !vmft_guest_beats(m, now))
		return;
	m->asked_ns = now;
	vmft_arbiter_worker_ask(m->worker, &q);
	m->claim = 0;
}

void vmft_arbitration_claim(struct vmft_monitor *m, uint64_t generation)
{
	m->claim = generation;
	vmft_arbitration_ask(m);
}

void vmft_arbitration_retry(struct vmft_monitor *m)
{
	vmft_loop_timer(m->loop, &m->retry_op, ARBITER_RETRY_NS);
}

/* --- answers -------------------------------------------------------------- */

void vmft_monitor_arbiter_error(struct vmft_monitor *m, const char *why)
{
	(void)snprintf(m->arbiter_error, sizeof(m->arbiter_error), "%s", why ? why : "");
}

static void report_claim(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	const bool silent = answer->claim == VMFT_CLAIM_UNREACHABLE;

	if (silent && m->core.why != VMFT_WHY_ARBITER_UNREACHABLE)
		vmft_journal_say(&m->journal, "no side goes on until the arbiter answers: %s",
				 answer->err.text);
	vmft_monitor_arbiter_error(m, silent ? answer->err.text : NULL);
	m->arbiter_silent_said = silent;
	m->asked_ns = 0;
	if (answer->claim == VMFT_CLAIM_WON)
		memcpy(m->record, m->owner, sizeof(m->record));
	vmft_monitor_simple_event(m, silent			       ? VMFT_IN_CLAIM_UNREACHABLE
				     : answer->claim == VMFT_CLAIM_WON ? VMFT_IN_CLAIM_WON
								       : VMFT_IN_CLAIM_LOST);
}

/* Who starts the VM again will be told that it may still run. */
static void report_end(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (answer->rc < 0)
		vmft_journal_say(&m->journal,
				 "the arbiter has no record that generation %llu has ended: "
				 "%.300s; before you start the VM again, run: vmft declare-dead %s",
				 (unsigned long long)m->core.generation, answer->err.text,
				 m->options.pair_file);
}

/* A primary has said hello, and this backup has asked which generation is the latest. */
static void report_latest(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (answer->rc < 0 && m->arbiter_error[0] == '\0')
		vmft_journal_say(&m->journal,
				 "no primary is accepted until the arbiter answers: %s",
				 answer->err.text);
	vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
	vmft_handshake_got_latest(&m->peer.handshake, answer);
}

/* A backup has said hello, and this primary has looked for the mark that it left. */
static void report_mark(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (vmft_handshake_got_mark(&m->peer.handshake, answer))
		vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
}

static void take_answers(struct vmft_monitor *m)
{
	struct vmft_arbiter_answer answer;

	while (vmft_arbiter_worker_answer(m->worker, &answer)) {
		if (answer.ask == VMFT_ASK_CLAIM)
			report_claim(m, &answer);
		else if (answer.ask == VMFT_ASK_LATEST && m->handover.asked)
			vmft_handover_got_latest(&m->handover, &answer);
		else if (answer.ask == VMFT_ASK_LATEST)
			report_latest(m, &answer);
		else if (answer.ask == VMFT_ASK_MARK)
			report_mark(m, &answer);
		else
			report_end(m, &answer);
	}
}

static void on_answer(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;

	(void)result;
	take_answers(m);
	vmft_loop_poll(m->loop, op, vmft_arbiter_worker_fd(m->worker), POLLIN);
}

static void on_retry(struct vmft_op *op, int result)
{
	(void)result;
	vmft_monitor_simple_event(op->owner, VMFT_IN_RETRY_TIMER);
}

void vmft_arbitration_tick(struct vmft_monitor *m, uint64_t now)
{
	if (m->asked_ns == 0 || m->arbiter_silent_said ||
	    vmft_loop_since(m->asked_ns, now) < ARBITER_SILENT_NS)
		return;
	m->arbiter_silent_said = true;
	(void)snprintf(m->arbiter_error, sizeof(m->arbiter_error), "arbiter %.400s does not answer",
		       m->config.arbiter);
	vmft_journal_say(&m->journal, "%s; no side goes on until it does", m->arbiter_error);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_ARBITER, "the arbiter does not answer");
}

/* --- start and end -------------------------------------------------------- */

static int make_owner(struct vmft_monitor *m)
{
	const struct vmft_hello *identity = &m->options.identity;
	struct utsname node;
	struct vmft_owner owner = {
	    .host = vmft_pair_host_name(&m->config, m->options.host),
	    .node = node.nodename,
	    .since = time(NULL),
	    .build_id = identity->build_id,
	    .build_id_bytes = identity->build_id_bytes,
	};

	if (getrandom(owner.token, sizeof(owner.token), 0) != (ssize_t)sizeof(owner.token) ||
	    uname(&node) < 0)
		return -errno;
	vmft_owner_format(&owner, m->owner);
	return 0;
}

/* One without an answer may be on record: given up, a person would have to declare it dead. */
static enum vmft_claim claim_first(struct vmft_monitor *m, const struct vmft_arbiter_latest *latest,
				   struct vmft_error *err)
{
	const struct vmft_arbiter_claim first = {
	    .generation = latest->generation + 1,
	    .owner = m->owner,
	    .after = latest->owner,
	    .starts = true,
	};
	enum vmft_claim claim = VMFT_CLAIM_UNREACHABLE;

	for (unsigned i = 0; i < FIRST_CLAIMS && claim == VMFT_CLAIM_UNREACHABLE; i++)
		claim = m->arbiter_ops->claim(m->arbiter, &first, err);
	return claim;
}

/* A primary starts the next generation; nobody may start a VM that somebody else runs. */
int vmft_arbitration_first(struct vmft_monitor *m, uint64_t *ret, struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	int rc = m->arbiter_ops->latest(m->arbiter, &latest, err);
	enum vmft_claim claim;

	if (rc < 0)
		return rc;
	if (latest.generation > 0 && !latest.ended)
		return vmft_error_set(err, -EBUSY, VMFT_EXIT_ARBITER,
				      "%.200s: generation %llu of %s is held by \"%.80s\" and did "
				      "not end in an orderly way; if you are sure that this guest "
				      "does not run anywhere, run: vmft declare-dead %s",
				      m->config.arbiter, (unsigned long long)latest.generation,
				      m->config.name, latest.owner, m->options.pair_file);
	claim = claim_first(m, &latest, err);
	if (claim == VMFT_CLAIM_UNREACHABLE)
		return -EIO;
	if (claim == VMFT_CLAIM_LOST)
		return vmft_error_set(err, -EBUSY, VMFT_EXIT_ARBITER,
				      "%s: another side has just started %s", m->config.arbiter,
				      m->config.name);
	memcpy(m->record, m->owner, sizeof(m->record));
	*ret = latest.generation + 1;
	return 0;
}

int vmft_arbitration_open(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc = make_owner(m);

	m->worker_op = (struct vmft_op){.done = on_answer, .owner = m};
	m->retry_op = (struct vmft_op){.done = on_retry, .owner = m};
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "getrandom: %s", strerror(-rc));
	rc = vmft_pair_arbiter_open(&m->config, m->options.pair_file, &m->arbiter_ops, &m->arbiter,
				    err);
	/* The primary looks for it before it takes this backup: found, both have one arbiter. */
	if (rc == 0 && m->options.role == VMFT_ROLE_BACKUP)
		rc = m->arbiter_ops->mark(
		    m->arbiter, vmft_pair_host_name(&m->config, m->options.host), m->owner, err);
	if (rc < 0)
		return rc;
	rc = vmft_arbiter_worker_start(m->arbiter_ops, m->arbiter, m->owner, &m->worker);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "cannot start a thread: %s",
				      strerror(-rc));
	return 0;
}

void vmft_arbitration_begin(struct vmft_monitor *m)
{
	vmft_loop_poll(m->loop, &m->worker_op, vmft_arbiter_worker_fd(m->worker), POLLIN);
}

void vmft_arbitration_wait(struct vmft_monitor *m)
{
	(void)vmft_arbiter_worker_wait(m->worker, ARBITER_END_MS);
}

/* The loop has stopped. Of what was asked, only the end of the generation matters now. */
void vmft_arbitration_end(struct vmft_monitor *m)
{
	struct vmft_arbiter_answer answer;

	vmft_arbitration_wait(m);
	while (vmft_arbiter_worker_answer(m->worker, &answer))
		if (answer.ask == VMFT_ASK_END)
			report_end(m, &answer);
}
