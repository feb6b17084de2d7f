/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attach-source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "monitor/daemon/lockstep/lag-watch.h"
#include "source-compare.h"
#include "source-disks.h"
#include "source-frames.h"
#include "source-point.h"
#include "source-rounds.h"

#define MS UINT64_C(1000000)

#define RETRY_FIRST_NS	   (1000 * MS)
#define RETRY_LAST_NS	   (60000 * MS)
#define REPLAY_STALL_NS	   (10000 * MS)
#define STALL_NS	   (60000 * MS) /* of anything else: a QEMU that does not come up */
#define GEOMETRY_BYTES_MAX (32u * 1024) /* of an ATTACH frame's payload */

/* --- the offer ------------------------------------------------------------ */

/* False: the attempt has been given up. */
static bool fill_geometry(struct vmft_attach_source *s, struct vmft_geometry *geometry)
{
	geometry->count = s->regions;
	for (uint32_t i = 0; i < geometry->count; i++) {
		const struct vmft_region *region = &s->world.link->region[i];
		struct vmft_geometry_region *to = &geometry->region[i];
		int64_t bytes;

		to->kind = (uint8_t)region->kind;
		to->bytes = region->bytes;
		(void)snprintf(to->name, sizeof(to->name), "%s", region->name);
		if (!vmft_source_is_disk(s, i))
			continue;
		to->format = (uint8_t)s->world.disk[i].format;
		to->guest_bytes = s->world.disk[i].guest_bytes;
		bytes = vmft_source_disks_bytes(s, i);
		if (bytes < 0)
			return false;
		to->bytes = (uint64_t)bytes;
	}
	return true;
}

/* The agent tracks writes and has listed its regions: the backup is told what will come. */
static void offer(struct vmft_attach_source *s)
{
	struct vmft_geometry *geometry = calloc(1, sizeof(*geometry));
	uint8_t *payload = geometry ? vmft_source_frames_room(s, GEOMETRY_BYTES_MAX) : NULL;

	if (!geometry) {
		vmft_attach_source_abort(s, "the list of what must be copied cannot be made: %s",
					 strerror(ENOMEM));
	} else if (!payload || vmft_agent_link_regions(s->world.link, &s->regions) < 0) {
		vmft_attach_source_abort(s, "the agent's answer is not valid");
	} else if (vmft_source_disks_open(s) == 0 && fill_geometry(s, geometry)) {
		s->phase = VMFT_ATTACH_OFFERED;
		vmft_source_frames_send(s, VMFT_FRAME_ATTACH, 0, payload,
					vmft_geometry_encode(geometry, payload));
	}
	free(geometry);
}

int vmft_attach_source_got_ready(struct vmft_attach_source *s)
{
	if (s->phase != VMFT_ATTACH_OFFERED)
		return -EBADMSG;
	s->stepping = false;
	vmft_source_compare_begin(s);
	vmft_attach_source_pump(s);
	return 0;
}

int vmft_attach_source_got_want(struct vmft_attach_source *s, const struct vmft_frame_info *frame)
{
	return vmft_source_compare_got_want(s, frame);
}

/* --- the phases ------------------------------------------------------------ */

static void clean_up(struct vmft_attach_source *s)
{
	if (!vmft_source_disks_are_idle(s) || s->summer.busy)
		return;
	vmft_source_disks_close(s);
	s->phase = VMFT_ATTACH_IDLE;
}

static void dropped(struct vmft_attach_source *s)
{
	struct vmft_agent_link *link = s->world.link;

	if (atomic_load(&link->area->op) != VMFT_AREA_DROP)
		vmft_agent_link_request(link, VMFT_AREA_DROP);
	else
		clean_up(s);
}

/* The agent may have answered what this phase has asked of it. */
static void look_at_agent(struct vmft_attach_source *s)
{
	char why[200];
	int result;

	if (!vmft_agent_link_is_done(s->world.link))
		return;
	result = vmft_agent_link_result(s->world.link, why, sizeof(why));
	if (s->phase == VMFT_ATTACH_DROPPING)
		dropped(s);
	else if (s->phase == VMFT_ATTACH_STOPPING && result == -E2BIG)
		/* The guest wrote more than the budget before it was stopped. */
		vmft_source_rounds_begin(s);
	else if (result < 0)
		vmft_attach_source_abort(s, "%s", why);
	else if (s->phase == VMFT_ATTACH_TRACKING)
		offer(s);
	else if (s->phase == VMFT_ATTACH_SCANNING)
		vmft_source_rounds_scanned(s);
	else if (s->phase == VMFT_ATTACH_STOPPING)
		vmft_source_point_taken(s);
}

static void look_at_gate(struct vmft_attach_source *s)
{
	const uint64_t closed_at = atomic_load(&s->world.link->iface->gate_closed_at);

	if (closed_at != 0)
		s->world.on_gate_closed(s->world.user, closed_at - 1);
}

/* A drill wants the attach to stay where it is. Cleaning up is never held. */
static bool is_held(const struct vmft_attach_source *s)
{
	return s->held && s->phase != VMFT_ATTACH_IDLE && s->phase != VMFT_ATTACH_DROPPING;
}

/* What the phase can do now. */
static void pump(struct vmft_attach_source *s)
{
	switch (s->phase) {
	case VMFT_ATTACH_TRACKING:
	case VMFT_ATTACH_SCANNING:
	case VMFT_ATTACH_STOPPING:
	case VMFT_ATTACH_DROPPING:
		look_at_agent(s);
		break;
	case VMFT_ATTACH_COMPARING:
		vmft_source_compare_pump(s);
		break;
	case VMFT_ATTACH_COPYING:
		vmft_source_rounds_pump(s);
		break;
	case VMFT_ATTACH_SENDING:
		vmft_source_point_pump(s);
		break;
	case VMFT_ATTACH_SEALING:
		look_at_gate(s);
		break;
	default:
		break;
	}
}

void vmft_attach_source_pump(struct vmft_attach_source *s)
{
	const enum vmft_attach_phase before = s->phase;

	if (is_held(s) && !s->stepping)
		return;
	pump(s);
	if (s->phase == before)
		return;
	s->stepping = false;
	/* What the new phase can do at once it does at once. */
	if (!is_held(s))
		pump(s);
}

void vmft_attach_source_hold(struct vmft_attach_source *s)
{
	s->held = true;
	s->stepping = false;
}

void vmft_attach_source_step(struct vmft_attach_source *s)
{
	s->stepping = true;
	vmft_attach_source_pump(s);
}

void vmft_attach_source_release(struct vmft_attach_source *s)
{
	s->held = false;
	vmft_attach_source_pump(s);
}

/* --- time ----------------------------------------------------------------- */

static void catch_up(struct vmft_attach_source *s, const struct vmft_attach_backup *backup,
		     uint64_t now)
{
	if (backup->stalled_ns > REPLAY_STALL_NS) {
		vmft_attach_source_abort(s, "the backup's replay stands still at log position %llu",
					 (unsigned long long)backup->replayed);
		return;
	}
	if (backup->replayed == s->point_at || backup->lag_ms > s->world.config->lag_ms)
		return;
	s->phase = VMFT_ATTACH_SEALING;
	s->stepping = false;
	s->seal_ns = now;
	s->world.on_caught_up(s->world.user);
}

/* An attach that gets on changes one of these all the time. */
static void watch_progress(struct vmft_attach_source *s, const struct vmft_attach_backup *backup,
			   uint64_t now)
{
	const uint64_t progress = s->phase + s->pace.round + s->now.ram_bytes + s->now.disk_bytes +
				  s->region + s->word + s->piece_at + s->state_at +
				  backup->replayed;

	if (progress != s->progress || s->held || s->phase == VMFT_ATTACH_DROPPING)
		s->progress_ns = now;
	s->progress = progress;
	if (vmft_loop_since(s->progress_ns, now) > STALL_NS)
		vmft_attach_source_abort(s, "no progress for %llu s while %s",
					 (unsigned long long)(STALL_NS / MS / 1000),
					 vmft_attach_phase_name(s->phase));
}

void vmft_attach_source_tick(struct vmft_attach_source *s, uint64_t now)
{
	struct vmft_attach_backup backup;

	if (s->phase == VMFT_ATTACH_IDLE)
		return;
	backup = s->world.backup(s->world.user, now);
	vmft_pace_tick(&s->pace, now);
	watch_progress(s, &backup, now);
	if (s->phase == VMFT_ATTACH_CATCHING_UP && (!s->held || s->stepping))
		catch_up(s, &backup, now);
	vmft_attach_source_pump(s);
}

uint64_t vmft_attach_source_left(const struct vmft_attach_source *s)
{
	switch (s->phase) {
	case VMFT_ATTACH_COMPARING:
	case VMFT_ATTACH_COPYING:
		return vmft_pace_left(&s->pace);
	case VMFT_ATTACH_SENDING:
		return s->now.staged_bytes - s->piece_at + s->point.state_bytes - s->state_at;
	default:
		return 0;
	}
}

uint64_t vmft_attach_source_expected_ms(const struct vmft_attach_source *s)
{
	return vmft_pace_expected_ms(&s->pace, vmft_attach_source_left(s));
}

/* --- attempts ------------------------------------------------------------- */

bool vmft_attach_source_wants_backup(const struct vmft_attach_source *s, uint64_t now)
{
	return s->phase == VMFT_ATTACH_IDLE && now >= s->retry_ns &&
	       (s->world.config->reprotect == VMFT_REPROTECT_AUTO || s->asked);
}

void vmft_attach_source_ask(struct vmft_attach_source *s)
{
	s->asked = true;
	s->retry_ns = 0;
}

void vmft_attach_source_begin(struct vmft_attach_source *s)
{
	s->begin_ns = s->progress_ns = vmft_loop_now();
	vmft_pace_begin(&s->pace, s->world.config->attach_mib_per_s, s->begin_ns);
	s->log_flows = false;
	s->sums_ready = false;
	s->sums_unanswered = 0;
	s->now = (struct vmft_attach_figures){0};
	if (getrandom(&s->seed, sizeof(s->seed), 0) != (ssize_t)sizeof(s->seed))
		s->seed = s->begin_ns;
	s->phase = VMFT_ATTACH_TRACKING;
	vmft_agent_link_request(s->world.link, VMFT_AREA_TRACK);
}

void vmft_attach_source_abort(struct vmft_attach_source *s, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(s->aborted, sizeof(s->aborted), format, ap);
	va_end(ap);
	s->world.on_failed(s->world.user, s->aborted);
}

/* Twice as long after each failure, from 1 s up to 64 s. */
static uint64_t retry_wait(const struct vmft_attach_source *s)
{
	uint64_t wait = RETRY_FIRST_NS;

	for (uint32_t i = 0; i < s->failed_in_a_row && wait < RETRY_LAST_NS; i++)
		wait *= 2;
	return wait;
}

void vmft_attach_source_failed(struct vmft_attach_source *s, const char *why)
{
	if (s->phase == VMFT_ATTACH_IDLE || s->phase == VMFT_ATTACH_DROPPING)
		return;
	(void)snprintf(s->error, sizeof(s->error), "%s", why ? why : s->aborted);
	s->retry_ns = vmft_loop_now() + retry_wait(s);
	s->failures++;
	s->failed_in_a_row++;
	s->asked = false;
	s->pace.throttle = 0;
	s->log_flows = false; /* or the lag would grow for ever, and slow the guest */
	vmft_journal_say(s->world.journal, "attach failed while %s: %s; %s",
			 vmft_attach_phase_name(s->phase), s->error,
			 s->world.config->reprotect == VMFT_REPROTECT_AUTO
			     ? "it will be tried again"
			     : "run \"vmft attach\" again");
	vmft_source_disks_forget(s);
	s->phase = VMFT_ATTACH_DROPPING;
	if (vmft_agent_link_is_done(s->world.link))
		vmft_agent_link_request(s->world.link, VMFT_AREA_DROP);
}

void vmft_attach_source_dropped(struct vmft_attach_source *s, uint64_t now)
{
	s->dropped++;
	s->asked = false;
	s->retry_ns = now + vmft_lag_watch_retry_ns(s->world.config->lag_drop_ms, s->dropped);
}

void vmft_attach_source_forgive(struct vmft_attach_source *s)
{
	s->dropped = 0;
}

void vmft_attach_source_formed(struct vmft_attach_source *s)
{
	const uint64_t now = vmft_loop_now();

	s->now.total_ns = now - s->begin_ns;
	s->now.hold_ns = now - s->seal_ns;
	s->last = s->now;
	s->phase = VMFT_ATTACH_IDLE;
	s->log_flows = false; /* for the pair, from now on */
	s->attached++;
	s->failed_in_a_row = 0;
	s->asked = false;
	s->error[0] = '\0';
	vmft_journal_say(s->world.journal,
			 "attached in %.1f s: %.1f MB of memory, %.1f MB of disk in %u rounds; "
			 "stun %.1f ms",
			 (double)s->last.total_ns / 1e9, (double)s->last.ram_bytes / 1e6,
			 (double)s->last.disk_bytes / 1e6, s->last.rounds,
			 (double)s->last.stun_ns / 1e6);
}

int vmft_attach_source_init(struct vmft_attach_source *s, const struct vmft_attach_world *world)
{
	int rc;

	*s = (struct vmft_attach_source){.world = *world};
	rc = vmft_source_disks_init(s);
	if (rc == 0)
		rc = vmft_source_compare_init(s);
	if (rc < 0)
		vmft_attach_source_fini(s);
	return rc;
}

void vmft_attach_source_fini(struct vmft_attach_source *s)
{
	vmft_source_disks_fini(s);
	vmft_source_compare_fini(s);
}
