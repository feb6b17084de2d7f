/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that sleeps (suspend to RAM, ACPI S3), or is about to sleep.
 *
 * QEMU 7.2 keeps a sleeping guest in the run state SUSPENDED (qemu_system_suspend() in
 * softmmu/runstate.c): its processors are paused, its devices and its clock go on, and a timer of
 * the CMOS clock wakes it. The device state has nothing of this but the run state's name
 * ("globalstate" in migration/global_state.c). vm_stop() and vm_start() handle running guests only:
 * a processor that is started where a sleeping guest left it waits to be woken without end. QEMU's
 * own migration wakes the guest first. So this file does for a sleeping guest what those two
 * functions do for a running one, as QEMU 9 does it.
 */
#define _GNU_SOURCE
#include "power.h"

#include <errno.h>
#include <stdatomic.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "track.h"

/* Power management registers of both boards (ACPI 6.4, 4.8.3), as offsets from the base that QEMU
 * has a property for */
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

/* Returns 0 if the board has no such registers (microvm), or the guest's firmware has not set them
 * up. The device is looked for only once: it is part of the board, and the search visits all
 * objects. */
static uint32_t registers(void)
{
	struct vmft_power *p = &vmft_power;

	if (!p->looked)
		p->acpi = vmft_qemu_power_device();
	p->looked = true;
	return p->acpi ? vmft_qemu_power_registers(p->acpi) : 0;
}

/*
 * A vCPU has asked for sleep and the main loop has not carried it out. The request is in no
 * device's state: a backup that is made now would wait for its wake-up for good. And if the main
 * loop carries out the request of a guest that is stopped, QEMU aborts (main_loop_should_exit()).
 *
 * The request itself cannot be read (suspend_requested in softmmu/runstate.c is static). What can
 * be read is that the guest has chosen a type of sleep and still runs. A guest chooses and then
 * sleeps at once; one that chooses and does not sleep is waited for only 100 ms.
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
 * A sleeping guest is to be stopped: its state is saved as a sleeping guest's, and its alarm waits.
 * An alarm that goes off in another run state would be lost.
 */
void vmft_power_hold(void)
{
	vmft_power.held = true;
	vmft_qemu_sleeper_hold();
}

/* The run state is RUNNING, from which alone QEMU goes to SUSPENDED, and the vCPUs are paused. */
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
 * Which events may wake the guest is not in the device state either, but follows from a register
 * that is in it (acpi_pm1_evt_write_en()). A QEMU that has just loaded the state has the values of
 * its own reset.
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

/* The state has been loaded. It came from the other host, so the run state in it is checked before
 * it is used. */
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

/*
 * Backup: the guest goes on as it was on the primary. QEMU's vm_start() also tells those at QEMU's
 * monitors that it runs.
 */
void vmft_power_go_on(bool told)
{
	if (!vmft_power.loaded_asleep && told) {
		vmft_qemu_start();
		return;
	}
	if (!vmft_power.loaded_asleep) {
		vmft_qemu_clocks_go_on();
		vmft_qemu_devices_go_on();
		vmft_qemu_vcpus_go_on();
		return;
	}
	/* As in qemu_system_suspend(). While vCPUs are paused, timers of the virtual clock wait. */
	vmft_qemu_vcpus_pause();
	vmft_qemu_clocks_go_on();
	vmft_power_release();
}

/* QEMU's vm_stop() does nothing to a sleeping guest, and its alarm would start it. */
static void never_wake(void *unused)
{
	(void)unused;
	if (vmft_power_is_asleep())
		vmft_qemu_sleeper_pause();
}

void vmft_power_service(void)
{
	const bool asleep = vmft_power_is_asleep();

	if (atomic_exchange(&vmft_agent.iface->guest_asleep, asleep) != asleep)
		vmft_agent_ring_monitor();
	if (asleep && atomic_load(&vmft_agent.fenced))
		vmft_qemu_in_main_loop(never_wake, NULL, "vmft-power");
}
