/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "advice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000000)

#define AS_BACKUP "start this host anew with VMFT_ROLE=backup"

static void of_fenced(const struct vmft_monitor *m, char *text, size_t size)
{
	const unsigned long long live = m->core.generation + 1;
	const int pid = m->options.guest_pid;

	if (vmft_monitor_is_primary(m))
		(void)snprintf(text, size,
			       "the other side is live as generation %llu: this guest stands still "
			       "for good; when you have seen enough of it (its console, its images "
			       "read-only, its memory with gcore %d), kill %d and " AS_BACKUP
			       ": it is attached to the live side",
			       live, pid, pid);
	else
		(void)snprintf(
		    text, size,
		    "the primary goes on as generation %llu without this backup: " AS_BACKUP
		    " once QEMU (pid %d) has ended",
		    live, pid);
}

/* What stands in the way of a backup; or "". */
static const char *reach_advice(const struct vmft_monitor *m)
{
	for (int host = 0; host < VMFT_HOST_COUNT; host++)
		switch (m->reach.error[host]) {
		case 0:
			if (m->reach.lost_mtu[host] == 0)
				break;
			return ": give all interfaces and switches of the channel one MTU";
		case -ECONNREFUSED:
			break;
		case -EADDRNOTAVAIL:
			return ": give this host the address that its section of the pair file has";
		case -EMFILE:
		case -ENFILE:
			return ": raise the limit of open files";
		default:
			return ": mend the network between the two, or the address in the pair "
			       "file";
		}
	return "";
}

static void add_reach(const struct vmft_monitor *m, char *text, size_t size)
{
	const size_t n = strlen(text);
	char reach[200];

	vmft_reach_describe(m, reach, sizeof(reach));
	if (reach[0] && n < size)
		(void)snprintf(text + n, size - n, "; so far %s%s", reach, reach_advice(m));
}

static void of_forming_primary(const struct vmft_monitor *m, char *text, size_t size)
{
	(void)snprintf(text, size,
		       "the guest starts when its backup is there: start that on another host "
		       "(VMFT_ROLE=backup), or say \"vmft start\" here to start the guest "
		       "unprotected");
	add_reach(m, text, size);
}

static void of_forming_backup(const struct vmft_monitor *m, char *text, size_t size)
{
	(void)snprintf(text, size,
		       "this side waits on %s for the side that is live, which comes by itself; if "
		       "none is, start the primary on its host (VMFT_ROLE=primary) with the same "
		       "pair file and QEMU command line%s%.160s",
		       m->config.host[m->options.host].channel.text,
		       m->peer.refusal[0] ? "; it has refused " : "", m->peer.refusal);
}

static void of_alone(const struct vmft_monitor *m, uint64_t now, char *text, size_t size)
{
	const uint64_t retry = m->source.retry_ns;

	if (m->config.reprotect == VMFT_REPROTECT_MANUAL)
		(void)snprintf(text, size,
			       "nothing protects this guest: start a backup on another host "
			       "(VMFT_ROLE=backup), then say \"vmft attach\" here");
	else if (m->source.dropped > 0 && retry > now)
		(void)snprintf(
		    text, size,
		    "nothing protects this guest, its backup did not keep up: give that "
		    "host more processor time or bandwidth; a backup is attached in %llu "
		    "s, or at once by \"vmft attach\" here",
		    (unsigned long long)((retry - now) / S) + 1);
	else
		(void)snprintf(text, size,
			       "nothing protects this guest: start a backup on another host "
			       "(VMFT_ROLE=backup), it is attached by itself");
	add_reach(m, text, size);
}

static void of_lagging(const struct vmft_monitor *m, uint64_t now, char *text, size_t size)
{
	const uint64_t until = m->lag_watch.since_ns + m->config.lag_drop_ms * (S / 1000);
	int n =
	    snprintf(text, size,
		     "the backup does not keep up and this guest is slowed for it: give the "
		     "backup's host more processor time or bandwidth, or this guest less to do");

	if (m->config.lag_drop_ms > 0 && n > 0 && (size_t)n < size)
		(void)snprintf(text + n, size - (size_t)n, "; in %llu s it is given up",
			       (unsigned long long)(until > now ? (until - now) / S + 1 : 0));
}

static void of_standing(const struct vmft_monitor *m, uint64_t now, char *text, size_t size)
{
	const uint64_t left = m->stall.since_ns + m->config.stall_ms * (S / 1000);

	(void)snprintf(text, size,
		       "the backup's replay stands still at log position %llu: it could not take "
		       "over now; if its host is stopped or its disk does not answer, mend that; "
		       "in %llu s it is given up, and one that is started anew is attached afresh",
		       (unsigned long long)m->stall.replayed,
		       (unsigned long long)(left > now ? (left - now) / S + 1 : 0));
}

/* Of a backup that cannot replay what it holds: nothing here goes on by itself. */
static void of_stuck(const struct vmft_monitor *m, char *text, size_t size)
{
	const int pid = m->options.guest_pid;

	(void)snprintf(
	    text, size,
	    "replay stands still at log position %llu of %llu and the primary is gone: if "
	    "a disk of this host does not answer, mend it and it goes on; if the primary "
	    "runs on by itself, kill %d and " AS_BACKUP "; else the newest state is in the "
	    "primary's images: start the guest from those. Here is what was replayed "
	    "(images, gcore %d) and the report",
	    (unsigned long long)m->divergence.position,
	    (unsigned long long)m->strategy_ops->held(m->strategy), pid, pid);
}

/* Where nobody needs to do anything: these states pass. */
static const char *const passing[VMFT_STATE_COUNT] = {
    [VMFT_STATE_ATTACHING] =
	"nothing: the guest's state is on its way to the backup (\"vmft watch\" "
	"follows it); until it is there, nothing protects the guest",
    [VMFT_STATE_SEALING] = "nothing: in a moment the guest is protected",
    [VMFT_STATE_SHIPPING] = "nothing: the guest has ended here, the backup is given the rest of it",
    [VMFT_STATE_DRAINING] = "nothing: the primary is lost; what it sent is replayed to its end, "
			    "then this guest goes live if the arbiter says so",
    [VMFT_STATE_ENDING] = "nothing: the guest has ended, this side follows it there",
    [VMFT_STATE_ARBITRATING] = "nothing: the arbiter was asked who goes on, its answer is awaited",
    [VMFT_STATE_GOING_LIVE] = "nothing: in a moment the guest runs here",
    [VMFT_STATE_ENDED] = "this side's guest is gone (reason says how): start it anew if it should "
			 "run",
};

bool vmft_advice(const struct vmft_monitor *m, uint64_t now, char *text, size_t size)
{
	text[0] = '\0';
	if (m->stall.stands) {
		of_standing(m, now, text, size);
		return true;
	}
	if (passing[m->core.state])
		(void)snprintf(text, size, "%s", passing[m->core.state]);
	switch (m->core.state) {
	case VMFT_STATE_FORMING:
		if (vmft_monitor_is_primary(m))
			of_forming_primary(m, text, size);
		else
			of_forming_backup(m, text, size);
		break;
	case VMFT_STATE_FENCED:
		of_fenced(m, text, size);
		break;
	case VMFT_STATE_DIVERGED:
		(void)snprintf(text, size,
			       "this backup's guest is not what the primary's is, and may never go "
			       "live: " AS_BACKUP " once QEMU (pid %d) has ended; it is attached "
			       "afresh",
			       m->options.guest_pid);
		break;
	case VMFT_STATE_WAITING_ARBITER:
		(void)snprintf(
		    text, size,
		    "make the arbiter %.200s reachable from this host: it is asked again "
		    "and again, and nobody goes on until it answers",
		    m->config.arbiter);
		break;
	case VMFT_STATE_ALONE:
		of_alone(m, now, text, size);
		break;
	case VMFT_STATE_DRAINING:
	case VMFT_STATE_ENDING:
		if (m->divergence.stuck)
			of_stuck(m, text, size);
		break;
	case VMFT_STATE_LAGGING:
		of_lagging(m, now, text, size);
		break;
	case VMFT_STATE_HANDING_OVER:
	case VMFT_STATE_HANDED_OVER:
		(void)snprintf(text, size,
			       "nothing: the guest is handed over to the backup; start this host "
			       "anew with VMFT_ROLE=backup once QEMU (pid %d) has ended",
			       m->options.guest_pid);
		break;
	default:
		break;
	}
	return text[0] != '\0';
}
