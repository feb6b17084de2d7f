/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "divergence.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "monitor/daemon/hub/monitor.h"

#define MS UINT64_C(1000000)

/* What a backup's goodbye begins with, for a primary to know it by. */
#define DIVERGED "diverged "

/* Of a page that differs; the primary's is not here. */
#define PAGE_BYTES 32u

enum { STALLED = VMFT_DIVERGENCE_KINDS }; /* the agent has no word for it */

struct finding {
	unsigned kind; /* enum vmft_divergence_kind, or STALLED */
	uint64_t position, expected, found;
};

static const struct {
	const char *name, *text;
} kinds[] = {
    [VMFT_DIVERGENCE_OUTPUT] = {"output", "it would have sent another frame"},
    [VMFT_DIVERGENCE_NO_OUTPUT] = {"no-output", "it did not send a frame the primary sent"},
    [VMFT_DIVERGENCE_MORE_OUTPUT] = {"more-output", "it sent a frame the primary did not"},
    [VMFT_DIVERGENCE_MEMORY] = {"memory", "its memory differs"},
    [VMFT_DIVERGENCE_PROCESSOR] = {"processor", "its processor's registers differ"},
    [STALLED] = {"stalled", "its replay stands still"},
};

void vmft_divergence_init(struct vmft_monitor *m)
{
	atomic_store(&m->agent.iface->digest_pages, m->config.digest_pages);
	atomic_store(&m->agent.iface->digest_ms, m->config.digest_ms);
}

/* --- the report ----------------------------------------------------------- */

static void print_page(struct vmft_monitor *m, uint64_t offset, FILE *to)
{
	uint8_t bytes[PAGE_BYTES];
	ssize_t n = pread(m->agent.ram_fd, bytes, sizeof(bytes), (off_t)offset);

	(void)fprintf(to, "  %#014" PRIx64 " ", offset);
	for (ssize_t i = 0; i < n; i++)
		(void)fprintf(to, " %02x", bytes[i]);
	(void)fputc('\n', to);
}

static void print_pages(struct vmft_monitor *m, FILE *to)
{
	const struct vmft_iface *iface = m->agent.iface;
	uint32_t count = atomic_load(&iface->diverged_page_count);

	if (count > VMFT_DIVERGENCE_PAGES_MAX)
		count = VMFT_DIVERGENCE_PAGES_MAX;
	(void)fprintf(to,
		      "\npages that differ (%" PRIu32 "%s): offset in the guest's memory, what "
		      "it begins with here\n",
		      count, count == VMFT_DIVERGENCE_PAGES_MAX ? " or more" : "");
	for (uint32_t i = 0; i < count; i++)
		print_page(m, atomic_load(&iface->diverged_page[i]), to);
}

static void print_report(struct vmft_monitor *m, const struct finding *f, FILE *to)
{
	const time_t now = time(NULL);
	char when[32] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)fprintf(to,
		      "VM:           %s\nhost:         %s\ngeneration:   %" PRIu64 "\n"
		      "when:         %s\nwhat:         %s: %s\nlog position: %" PRIu64 "\n"
		      "replayed:     %" PRIu64 "\nheld:         %" PRIu64 "\n",
		      m->config.name, vmft_host_name(m->options.host), m->core.generation, when,
		      kinds[f->kind].name, kinds[f->kind].text, f->position,
		      m->strategy_ops->applied(m->strategy), m->strategy_ops->held(m->strategy));
	(void)fprintf(to,
		      "compared:     %" PRIu64 " frames, %" PRIu64 " samples of memory and "
		      "registers before\n",
		      atomic_load(&m->agent.iface->outputs_compared),
		      atomic_load(&m->agent.iface->digests_compared));
	if (f->kind != STALLED)
		(void)fprintf(to,
			      "expected:     digest %016" PRIx64
			      "\nfound:        digest %016" PRIx64 "\n",
			      f->expected, f->found);
	if (f->kind == VMFT_DIVERGENCE_MEMORY)
		print_pages(m, to);
	(void)fprintf(to, "\nlog before and behind it: position, kind, bytes\n");
	if (m->strategy_ops->around)
		m->strategy_ops->around(m->strategy, f->position, to);
}

/* Where the log is saved, or else beside the control socket. */
static void report_path(const struct vmft_monitor *m, uint64_t position, char *ret, size_t size)
{
	const char *control = m->config.host[m->options.host].control;
	const char *slash = strrchr(control, '/');
	const int dir = slash ? (int)(slash - control) : 0;

	(void)snprintf(ret, size, "%.*s/%s.%s.divergence-%" PRIu64 ".txt",
		       m->config.save_log[0] ? VMFT_PATH_MAX : dir,
		       m->config.save_log[0] ? m->config.save_log : control, m->config.name,
		       vmft_host_name(m->options.host), position);
}

static void write_report(struct vmft_monitor *m, const struct finding *f)
{
	char path[VMFT_PATH_MAX + 128];
	FILE *file;

	report_path(m, f->position, path, sizeof(path));
	file = fopen(path, "we");
	if (file)
		print_report(m, f, file);
	if (!file || fclose(file) != 0)
		vmft_journal_say(&m->journal, "the report %s cannot be written: %s", path,
				 strerror(errno));
	else
		vmft_journal_say(&m->journal, "report: %s", path);
}

/* --- the backup ----------------------------------------------------------- */

static void found(struct vmft_monitor *m, const struct finding *f)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_DIVERGED};
	struct vmft_divergence *d = &m->divergence;

	d->count = 1;
	(void)snprintf(d->last, sizeof(d->last), DIVERGED "(%s) at log position %" PRIu64 ": %s",
		       kinds[f->kind].name, f->position, kinds[f->kind].text);
	vmft_journal_say(&m->journal, "this guest has %s", d->last);
	write_report(m, f);
	vmft_channel_refuse(&m->peer.channel, d->last);
	vmft_monitor_event(m, &event);
}

void vmft_divergence_look(struct vmft_monitor *m)
{
	const struct vmft_iface *iface = m->agent.iface;
	const uint32_t kind = atomic_load_explicit(&iface->diverged, memory_order_acquire);
	const struct finding f = {
	    .kind = kind,
	    .position = atomic_load(&iface->diverged_at),
	    .expected = atomic_load(&iface->diverged_expected),
	    .found = atomic_load(&iface->diverged_found),
	};

	if (kind == VMFT_DIVERGENCE_NONE || m->divergence.count > 0 ||
	    m->core.side != VMFT_SIDE_BACKUP || vmft_core_is_final(&m->core))
		return;
	if (kind >= VMFT_DIVERGENCE_KINDS) {
		vmft_monitor_agent_broken(m);
		return;
	}
	found(m, &f);
}

/*
 * Without a primary there is nobody to go on instead, and what stands still may yet move: a disk
 * answers again. So this side does not end, nor may it go live before the end of what it has
 * acknowledged: a person has to know, and decide.
 */
static void stuck(struct vmft_monitor *m, const struct finding *f)
{
	char text[VMFT_ALARM_TEXT_MAX];

	m->divergence.stuck = true;
	(void)snprintf(text, sizeof(text),
		       "%s, generation %" PRIu64 ": replay stands still at log position %" PRIu64
		       " of %" PRIu64 " and there is no primary: nobody goes on",
		       vmft_state_name(m->core.state), m->core.generation, f->position,
		       m->strategy_ops->held(m->strategy));
	vmft_journal_say(&m->journal, "%s", text);
	write_report(m, f);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_STALLED, text);
}

static void unstuck(struct vmft_monitor *m)
{
	if (!m->divergence.stuck)
		return;
	m->divergence.stuck = false;
	vmft_journal_say(&m->journal, "replay gets on again");
}

static bool has_primary(const struct vmft_monitor *m)
{
	return m->core.state == VMFT_STATE_PROTECTED ||
	       (m->core.state == VMFT_STATE_ATTACHING && m->sink.loaded);
}

static bool may_stall(const struct vmft_monitor *m)
{
	return m->divergence.count == 0 &&
	       (has_primary(m) || m->core.state == VMFT_STATE_DRAINING ||
		m->core.state == VMFT_STATE_ENDING);
}

/* Before the primary gives this backup up, so that the report is there. */
void vmft_divergence_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept, bool beats)
{
	const uint64_t limit = m->config.stall_ms * MS / 4 * 3;
	struct vmft_divergence *d = &m->divergence;
	struct finding f = {.kind = STALLED};

	if (m->core.side != VMFT_SIDE_BACKUP || !m->strategy_ops->replays)
		return;
	f.position = m->strategy_ops->applied(m->strategy);
	/* A QEMU that is stopped, or waits for a processor, does not stand still: that time is not
	 * counted. What was before it is, or on a busy host it would never add up. */
	d->moved_ns += beats ? slept : vmft_loop_since(d->looked_ns, now);
	d->looked_ns = now;
	if (f.position != d->position)
		unstuck(m);
	if (!may_stall(m) || f.position != d->position ||
	    f.position >= m->strategy_ops->held(m->strategy))
		d->moved_ns = now;
	d->position = f.position;
	if (d->stuck || vmft_loop_since(d->moved_ns, now) < limit)
		return;
	if (has_primary(m))
		found(m, &f);
	else
		stuck(m, &f);
}

/* --- the primary ---------------------------------------------------------- */

bool vmft_divergence_heard(struct vmft_monitor *m, const char *why)
{
	(void)snprintf(m->divergence.heard, sizeof(m->divergence.heard), "%s", why);
	return strncmp(why, DIVERGED, sizeof(DIVERGED) - 1) == 0;
}

void vmft_divergence_count(struct vmft_monitor *m, const char *what)
{
	struct vmft_divergence *d = &m->divergence;

	d->count++;
	(void)snprintf(d->last, sizeof(d->last), "%s", what[0] ? what : d->heard);
	d->heard[0] = '\0';
}
