/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching a backup to a guest that runs (VM-FT 3.1), lockstep: the attach point, where the rest
 * of the state is taken and the log begins, and the same on the backup. What was written
 * meanwhile is track.c's.
 */
#define _GNU_SOURCE
#include "attach.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "agent.h"
#include "clock.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "power.h"
#include "stage.h"
#include "state.h"
#include "tap.h"
#include "track.h"

/*
 * The primary loads what it has just saved, as the backup will, so that both go on from the
 * same state also in what is not saved. A virtqueue, for one, forgets on loading whether the
 * guest wants an interrupt for the next buffer, and sends one (signalled_used_valid in
 * virtio_load()): a backup that loads beside a primary that does not takes an
 * interrupt that is not in the log.
 *
 * Its devices have been reset, as the backup's have: devices load with that in mind
 * (docs/qemu.md, "State is loaded over a reset").
 *
 * While QEMU records, replay_post_load() begins to count requests anew; the backup does not.
 */
static int load_own_state(void)
{
	const uint64_t count = vmft_qemu_block_requests();
	int rc = vmft_state_load();

	vmft_qemu_block_requests_set(count);
	/* The guest goes on with devices that may be half loaded; no backup would match it. */
	if (rc < 0)
		vmft_agent_broken("QEMU could not load the state it has just saved");
	return rc;
}

/* What vm_stop() does to a guest that runs. */
static void stop_sleeper(void)
{
	vmft_power_hold();
	vmft_qemu_halt(false);
}

static void go_on(bool asleep)
{
	if (!asleep) {
		vmft_clock_vm_start();
		return;
	}
	vmft_clock_catch_up();
	vmft_qemu_clocks_go_on();
	vmft_power_release();
	vmft_clock_caught_up();
}

/*
 * Stops the guest with nothing under way that the backup's QEMU would not know of. With
 * record/replay's events switched off, whatever is queued for the log (packets in, disk
 * completions) and whatever completes from now on takes effect at once and outside the log,
 * which does not begin yet; and bdrv_drain_all() waits, which it does not while they are on.
 *
 * They are switched off before the guest is stopped: a packet handed to the card of a
 * stopped guest waits in QEMU's queue and would be written to guest memory when it goes on
 * (net_vm_change_state_handler()), in no log and in no copy.
 */
static void stop_and_drain(bool asleep, uint64_t *ret_stopped_ns)
{
	vmft_qemu_events_off();
	if (asleep)
		stop_sleeper();
	else
		vmft_qemu_stop_for_save();
	*ret_stopped_ns = vmft_agent_now();
	vmft_qemu_disks_drain();
	/*
	 * A request of virtio-rng's that was made in between is a bottom half, which would write
	 * to guest memory outside the log once the guest goes on. Of a stopped guest nothing is
	 * written (chr_read()), and the request is made again as it is started, on both sides.
	 */
	vmft_qemu_bottom_halves_run();
	if (vmft_agent.flush)
		vmft_qemu_disks_flush();
	vmft_qemu_events_on();
}

static int stage(struct vmft_area *area)
{
	int rc = vmft_stage_scan(area);

	if (rc == 0)
		rc = vmft_stage_fits(area) ? vmft_stage_copy(area) : -ENOBUFS;
	return rc == -ENOBUFS ? vmft_track_fail(-E2BIG, "too much was written meanwhile") : rc;
}

/*
 * What devices keep that is neither saved nor reset is made what it is in a QEMU that has just
 * started, as the backup's has: else a timer would go off on one side only, and the replay of the
 * log would wait for it for ever.
 */
static int find_unsaved(struct vmft_qemu_unsaved *ret)
{
	char why[96];

	switch (vmft_qemu_unsaved_find(ret)) {
	case 0:
		return 0;
	case -E2BIG:
		return vmft_track_fail(-E2BIG, "more devices than a backup can be made equal to");
	default:
		(void)snprintf(why, sizeof(why),
			       "a device of this QEMU is not laid out as is known of %s",
			       vmft_qemu_name());
		return vmft_track_fail(-ENOTSUP, why);
	}
}

int vmft_attach_point(struct vmft_area *area)
{
	struct vmft_qemu_unsaved unsaved;
	const bool asleep = vmft_power_is_asleep();
	uint64_t at[6];
	int rc;

	if (!vmft_track.dirty_log)
		return vmft_track_fail(-EINVAL, "nothing was tracked");
	if (!vmft_qemu_guest_runs() && !asleep)
		return vmft_track_fail(-EAGAIN, "the guest is paused");
	rc = find_unsaved(&unsaved);
	if (rc < 0)
		return rc;
	at[0] = vmft_agent_now();
	vmft_clock_note();
	stop_and_drain(asleep, &at[1]);
	at[2] = vmft_agent_now();
	/* The main loop deals with what the guest wishes, then the point is tried again. */
	if (vmft_state_wish_pending()) {
		go_on(asleep);
		return -EINPROGRESS;
	}
	rc = stage(area);
	at[3] = vmft_agent_now();
	if (rc == 0) {
		/*
		 * A guest that went live here was handed an END by the feed, which QEMU keeps as
		 * read and not acted on: it does not look there while it records. With the state it
		 * would reach a replayer, which would wait for ever for somebody to act on it.
		 */
		vmft_qemu_next_event_forget();
		/*
		 * The instructions run since the last event are logged now, before the point. Else
		 * they would be the first event behind it, and a replayer whose vCPU comes before
		 * its main loop has read a clock would run as many from where the state is.
		 */
		vmft_qemu_instructions_log();
		rc = vmft_state_save(area);
	}
	if (rc == 0) {
		/* What is logged by it is of before the point: the backup was reset as it started.
		 */
		vmft_qemu_reset_for_load();
		vmft_qemu_unsaved_forget(&unsaved);
		vmft_tap_keep_from_here();
		rc = load_own_state();
	}
	if (rc < 0) {
		vmft_agent_stop_keeping();
		vmft_stage_undo(area, atomic_load(&area->staged_bytes));
	} else {
		/* QEMU does it when the guest goes on: it is part of the stun. */
		(void)vmft_track_end();
	}
	at[4] = vmft_agent_now();
	go_on(asleep);
	at[5] = vmft_agent_now();
	atomic_store(&area->stop_ns, at[1] - at[0]);
	atomic_store(&area->drain_ns, at[2] - at[1]);
	atomic_store(&area->copy_ns, at[3] - at[2]);
	atomic_store(&area->save_ns, at[4] - at[3]);
	atomic_store(&area->start_ns, at[5] - at[4]);
	return rc;
}

int vmft_attach_load(struct vmft_area *area)
{
	int rc = vmft_state_take_over(area);

	if (rc == 0)
		vmft_power_go_on();
	return rc;
}
