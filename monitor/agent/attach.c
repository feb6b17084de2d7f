/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: attaching a backup to a guest that runs (VM-FT 3.1). This file has the attach point,
 * where the rest of the state is taken and the log begins, and its counterpart on the backup.
 * track.c marks what is written before it.
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
 * The primary loads the state that it has just saved, as the backup will. So both are equal also in
 * what is not saved. For example, a virtqueue that is loaded no longer knows whether the guest
 * wants an interrupt for the next buffer, and sends one (signalled_used_valid in virtio_load()). If
 * only the backup loaded the state, its guest would get an interrupt that is not in the log.
 *
 * The primary's devices have been reset before, as the backup's have: devices are written to be
 * loaded after a reset (docs/qemu.md, "State is loaded over a reset").
 *
 * While QEMU records, replay_post_load() sets the count of block requests to zero; on the backup,
 * which replays, it does not. So the count is put back.
 */
static int load_own_state(void)
{
	const uint64_t count = vmft_qemu_block_requests();
	int rc = vmft_state_load();

	vmft_qemu_block_requests_set(count);
	/* The guest goes on with devices that may be half loaded. No backup can be equal to it. */
	if (rc < 0)
		vmft_agent_broken("QEMU could not load the state it has just saved");
	return rc;
}

/* Does for a sleeping guest what vm_stop() does for a running one. */
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
 * Stops the guest, so that nothing is under way that the backup's QEMU would not know of.
 *
 * The events of record/replay are switched off. Then everything that is queued for the log (packets
 * that arrived, disk completions), and everything that completes later, takes effect at once and
 * outside the log. That is right: the log has not begun. It also makes bdrv_drain_all() wait, which
 * it does not do while events are on.
 *
 * They are switched off before the guest is stopped. Otherwise a packet for the card of the stopped
 * guest would wait in QEMU's queue, and be written to guest memory when the guest goes on
 * (net_vm_change_state_handler()): it would be in no log and in no copy.
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
	 * A request that virtio-rng made meanwhile is a bottom half. It would write to guest memory
	 * outside the log when the guest goes on. If it runs now, it writes nothing, because the
	 * guest is stopped (chr_read()), and both sides make the request again when they start the
	 * guest.
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
 * What devices keep that is neither saved nor reset is set as in a QEMU that has just started, like
 * the backup's. Otherwise a timer would expire on one side only, and the replay of the log would
 * wait for it without end.
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
	/* The main loop carries out the guest's request first, then the point is tried again. */
	if (vmft_state_wish_pending()) {
		go_on(asleep);
		return -EINPROGRESS;
	}
	rc = stage(area);
	at[3] = vmft_agent_now();
	if (rc == 0) {
		/*
		 * When this guest went live, the feed gave QEMU an END. QEMU keeps it as an event
		 * that was read and not acted on, because it does not look at it while it records.
		 * A replayer that gets it with the state would wait without end for a thread to act
		 * on it.
		 */
		vmft_qemu_next_event_forget();
		/*
		 * The instructions that were executed since the last event are logged now, before
		 * the point. Otherwise they would be the first event after the point, and a
		 * replayer whose vCPU thread runs before its main loop has read a clock would
		 * execute so many instructions again.
		 */
		vmft_qemu_instructions_log();
		rc = vmft_state_save(area);
	}
	if (rc == 0) {
		/* Events that the reset logs are before the point: the backup's QEMU was reset when
		 * it started. */
		vmft_qemu_reset_for_load();
		vmft_qemu_unsaved_forget(&unsaved);
		vmft_tap_keep_from_here();
		rc = load_own_state();
	}
	if (rc < 0) {
		vmft_agent_stop_keeping();
		vmft_stage_undo(area, atomic_load(&area->staged_bytes));
	} else {
		/* QEMU ends its dirty log when the guest goes on, so it counts to start_ns. */
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
		/* It replays: libvirt is told when it goes live. */
		vmft_power_go_on(false);
	return rc;
}
