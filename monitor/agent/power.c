/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that sleeps (suspend to RAM, ACPI S3), and one that is about to sleep, to be reset or to
 * be switched off.
 *
 * QEMU 7.2 keeps a sleeping guest in the run state SUSPENDED (qemu_system_suspend() in
 * softmmu/runstate.c): its processors are paused, its devices and its clock go on, and a timer of
 * the CMOS clock wakes it. Of that nothing but the run state's name is in the device state
 * ("globalstate" in migration/global_state.c), and vm_stop() and vm_start() know of running guests
 * only: a processor that is started where a sleeping guest left it waits for ever to be woken
 * up. QEMU's own migration wakes the guest first. So what those two do is done here for a sleeper,
 * as QEMU 9 does it.
 *
 * All but vmft_power_service() runs in QEMU's main loop.
 */
#define _GNU_SOURCE
#include "power.h"

#include <errno.h>
#include <stdatomic.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "track.h"

/* Power management registers of both boards (ACPI 6.4, 4.8.3), from the base QEMU has a property
 * for */
#define PM1_ENABLE	  2
#define PM1_ENABLE_TIMER  (1u << 0)
#define PM1_ENABLE_RTC	  (1u << 10)
#define PM1_CONTROL	  4
#define PM1_SLEEP_TYPE(v) ((v) >> 10 & 7u)
#define SLEEP_TYPE_S3	  1u

#define FALLS_ASLEEP_NS UINT64_C(100000000)

struct vmft_power vmft_power;

bool vmft_power_is_asleep(void)
{
	return vmft_qemu_state_is(VMFT_QEMU_SLEEPS);
}

/* 0: a board without (microvm), or not set up by the guest's firmware yet. The device is part of
 * the board; looking for it goes through all objects there are. */
static uint32_t registers(void)
{
	struct vmft_power *p = &vmft_power;

	if (!p->looked)
		p->acpi = vmft_qemu_power_device();
	p->looked = true;
	return p->acpi ? vmft_qemu_power_registers(p->acpi) : 0;
}

/*
 * A vCPU has asked for sleep and the main loop has not come to it: a wish in no device's state. A
 * backup made of it would wait for its wake-up for good, and a main loop that comes to the wish of
 * a guest that does not run aborts (main_loop_should_exit()). Nothing tells (suspend_requested in
 * softmmu/runstate.c is static) but that the type of sleep is chosen and the guest still runs. It
 * chooses, then sleeps at once. One that chooses and does not is not waited for.
 */
bool vmft_power_falls_asleep(void)
{
	struct vmft_power *p = &vmft_power;
	const uint32_t base = registers();
	const bool chosen =
	    base != 0 && PM1_SLEEP_TYPE(vmft_qemu_port_read(base + PM1_CONTROL)) == SLEEP_TYPE_S3;

	if (!chosen)
		p->chosen_ns = 0;
	else if (p->chosen_ns == 0)
		p->chosen_ns = vmft_agent_now();
	return chosen && vmft_agent_now() - p->chosen_ns < FALLS_ASLEEP_NS;
}

/*
 * A sleeper is to be stopped: its state is saved as a sleeper's, and its alarm waits. One that goes
 * off beside another run state would be lost.
 */
void vmft_power_hold(void)
{
	vmft_power.held = true;
	vmft_qemu_sleeper_hold();
}

/* It is RUNNING, which is the only way there, and its vCPUs are paused: it sleeps on. */
void vmft_power_release(void)
{
	vmft_qemu_sleeper_release();
	vmft_power.held = false;
}

bool vmft_power_is_held(void)
{
	return vmft_power.held;
}

/*
 * What may wake it is not in the device state either, but follows from a register that is
 * (acpi_pm1_evt_write_en()): a QEMU that has just loaded the state knows only its own reset.
 */
static void wake_as_guest_wishes(void)
{
	const uint32_t base = registers();
	uint16_t enabled;

	if (base == 0)
		return;
	enabled = vmft_qemu_port_read(base + PM1_ENABLE);
	vmft_qemu_wake_by(enabled & PM1_ENABLE_RTC, enabled & PM1_ENABLE_TIMER);
}

/* The state has been loaded. It came from the other side: what QEMU made of the run state in it is
 * looked at before it is obeyed. */
int vmft_power_loaded(void)
{
	const enum vmft_qemu_state state = vmft_qemu_loaded_state();

	if (state != VMFT_QEMU_RUNS && state != VMFT_QEMU_SLEEPS)
		return vmft_track_fail(-EINVAL,
				       "the state is of a guest that neither runs nor sleeps");
	vmft_power.loaded_asleep = state == VMFT_QEMU_SLEEPS;
	wake_as_guest_wishes();
	return 0;
}

/* Backup: the guest goes on as it was on the primary. */
void vmft_power_go_on(void)
{
	if (!vmft_power.loaded_asleep) {
		vmft_qemu_start();
		return;
	}
	/* As in qemu_system_suspend(): with it, timers of the virtual clock wait. */
	vmft_qemu_vcpus_pause();
	vmft_qemu_clocks_go_on();
	vmft_power_release();
}

/* vm_stop() leaves a sleeper alone, and its alarm would start it. */
static void never_wake(void *unused)
{
	(void)unused;
	if (vmft_power_is_asleep())
		vmft_qemu_sleeper_pause();
}

/* Service thread. */
void vmft_power_service(void)
{
	const bool asleep = vmft_power_is_asleep();

	if (atomic_exchange(&vmft_agent.iface->guest_asleep, asleep) != asleep)
		vmft_agent_ring_monitor();
	if (asleep && atomic_load(&vmft_agent.fenced))
		vmft_qemu_in_main_loop(never_wake, NULL, "vmft-power");
}
