/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: the machine, its main loop and its run state. */
#include "inside.h"

bool vmft_qemu_machine_is_made(void)
{
	return vmft_qemu.symbols.phase_check(vmft_qemu.series->numbers.phase_ready);
}

bool vmft_qemu_guest_runs(void)
{
	return vmft_qemu.symbols.runstate_is_running();
}

bool vmft_qemu_state_is(enum vmft_qemu_state state)
{
	return vmft_qemu.symbols.runstate_check(vmft_qemu_state_number(state));
}

static void state_set(enum vmft_qemu_state state)
{
	vmft_qemu.symbols.runstate_set(vmft_qemu_state_number(state));
}

/* --- the main loop --------------------------------------------------------------- */

/* The main loop polls this context with both locks held. A nested aio_poll() does not run its
 * bottom halves. */
void vmft_qemu_in_main_loop(void (*call)(void *user), void *user, const char *name)
{
	vmft_qemu.symbols.aio_bh_schedule_oneshot_full(
	    vmft_qemu.symbols.iohandler_get_aio_context(), call, user, name);
}

void vmft_qemu_main_loop_wake(void)
{
	vmft_qemu.symbols.qemu_notify_event();
}

void vmft_qemu_bottom_halves_run(void)
{
	while (vmft_qemu.symbols.aio_poll(vmft_qemu.symbols.qemu_get_aio_context(), false))
		;
}

/* QEMU is in replay_configure(). No second thread exists that could look at the two. */
void vmft_qemu_expect_state(void)
{
	state_set(VMFT_QEMU_AWAITS_STATE);
	*vmft_qemu.symbols.autostart = 0;
}

/* --- start and stop -------------------------------------------------------------- */

void vmft_qemu_start(void)
{
	vmft_qemu.symbols.vm_start();
}

void vmft_qemu_stop_for_save(void)
{
	(void)vmft_qemu.symbols.vm_stop(vmft_qemu_state_number(VMFT_QEMU_PAUSED));
}

/* QEMU made these for any thread: its main loop stops the guest (softmmu/runstate.c). */
void vmft_qemu_stop_for_good(void)
{
	vmft_qemu.symbols.qemu_system_vmstop_request_prepare();
	vmft_qemu.symbols.qemu_system_vmstop_request(vmft_qemu_state_number(VMFT_QEMU_PAUSED));
}

/* The parts of vm_stop() and vm_start() (softmmu/cpus.c), in their order. */
void vmft_qemu_halt(bool vcpus)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;

	state_set(VMFT_QEMU_HALTED);
	q->cpu_disable_ticks();
	if (vcpus)
		q->pause_all_vcpus();
	q->vm_state_notify(false, vmft_qemu_state_number(VMFT_QEMU_HALTED));
}

void vmft_qemu_clocks_go_on(void)
{
	vmft_qemu.symbols.cpu_enable_ticks();
	state_set(VMFT_QEMU_RUNS);
}

void vmft_qemu_devices_go_on(void)
{
	vmft_qemu.symbols.vm_state_notify(true, vmft_qemu_state_number(VMFT_QEMU_RUNS));
}

void vmft_qemu_vcpus_go_on(void)
{
	vmft_qemu.symbols.resume_all_vcpus();
}

/*
 * A kernel that is an ELF file (multiboot, PVH) is loaded by QEMU itself, and each reset copies it
 * to guest memory again and clears its .bss (rom_reset() in hw/core/loader.c). With the state of a
 * QEMU that waits for a migration it does not. Of the states that a stopped guest is in, PRELAUNCH
 * alone leads there (runstate_transitions_def in softmmu/runstate.c).
 */
void vmft_qemu_reset_for_load(void)
{
	const enum vmft_qemu_state before =
	    vmft_qemu_state_is(VMFT_QEMU_HALTED) ? VMFT_QEMU_HALTED : VMFT_QEMU_PAUSED;
	const bool awaits = vmft_qemu_state_is(VMFT_QEMU_AWAITS_STATE);

	if (!awaits) {
		state_set(VMFT_QEMU_NOT_STARTED);
		state_set(VMFT_QEMU_AWAITS_STATE);
	}
	vmft_qemu.symbols.qemu_system_reset(vmft_qemu.names.cause_load);
	if (!awaits)
		state_set(before);
}

void vmft_qemu_power_button(void)
{
	vmft_qemu.symbols.qemu_system_powerdown_request();
}

/* In the vCPU thread it also stops the vCPU (cpu_stop_current()). */
static void request_reset(void *cpu, uint64_t unused)
{
	(void)cpu;
	(void)unused;
	vmft_qemu.symbols.qemu_system_reset_request(vmft_qemu.names.cause_reset);
}

void vmft_qemu_reset_button(bool stop)
{
	if (stop)
		vmft_qemu.symbols.async_run_on_cpu(vmft_qemu.symbols.qemu_get_cpu(0), request_reset,
						   0);
	else
		request_reset(NULL, 0);
}

void vmft_qemu_throttle(int percent)
{
	if (percent > 0)
		vmft_qemu.symbols.cpu_throttle_set(percent);
	else
		vmft_qemu.symbols.cpu_throttle_stop();
}

/* --- its end ---------------------------------------------------------------------- */

bool vmft_qemu_wish_pending(void)
{
	return vmft_qemu.symbols.qemu_reset_requested_get() != 0 ||
	       vmft_qemu.symbols.qemu_shutdown_requested_get() != 0;
}

void vmft_qemu_quit(void)
{
	vmft_qemu.symbols.qmp_quit(NULL);
}

void vmft_qemu_end_by_signal(int signal, pid_t sender)
{
	vmft_qemu.symbols.qemu_system_killed(signal, sender);
}

/* main_loop_should_exit() calls the notifiers, then does what shutdown_action says. */
static void about_to_end(struct vmft_qemu_notifier *notifier, void *cause)
{
	const struct vmft_qemu_names *names = &vmft_qemu.names;

	(void)notifier;
	(void)cause;
	*vmft_qemu.symbols.shutdown_action =
	    vmft_qemu.pauses_at_end() ? names->end_pause : names->end_poweroff;
}

void vmft_qemu_on_end(bool (*pauses)(void))
{
	vmft_qemu.pauses_at_end = pauses;
	vmft_qemu.notifier.notify = about_to_end;
	vmft_qemu.symbols.qemu_register_shutdown_notifier(&vmft_qemu.notifier);
}

/* --- a guest that sleeps ------------------------------------------------------------ */

void vmft_qemu_sleeper_hold(void)
{
	(void)vmft_qemu.symbols.global_state_store();
	vmft_qemu.symbols.qemu_clock_enable(vmft_qemu.series->numbers.clock_host, false);
}

/* QEMU allows the step to SUSPENDED from RUNNING only. Devices of a sleeper go on. */
void vmft_qemu_sleeper_release(void)
{
	state_set(VMFT_QEMU_SLEEPS);
	vmft_qemu.symbols.vm_state_notify(true, vmft_qemu_state_number(VMFT_QEMU_SLEEPS));
	vmft_qemu.symbols.qemu_clock_enable(vmft_qemu.series->numbers.clock_host, true);
}

/* QEMU allows no direct step from SUSPENDED to PAUSED. */
void vmft_qemu_sleeper_pause(void)
{
	state_set(VMFT_QEMU_HALTED);
	state_set(VMFT_QEMU_PAUSED);
}

void vmft_qemu_vcpus_pause(void)
{
	vmft_qemu.symbols.pause_all_vcpus();
}

void *vmft_qemu_power_device(void)
{
	return vmft_qemu.symbols.object_resolve_path_type("", "acpi-device-interface", NULL);
}

uint32_t vmft_qemu_power_registers(void *device)
{
	return (uint32_t)vmft_qemu.symbols.object_property_get_uint(device, "pm_io_base", NULL);
}

uint16_t vmft_qemu_port_read(uint32_t port)
{
	return vmft_qemu.symbols.cpu_inw(port);
}

void vmft_qemu_wake_by(bool clock_alarm, bool timer)
{
	const struct vmft_qemu_numbers *numbers = &vmft_qemu.series->numbers;

	vmft_qemu.symbols.qemu_system_wakeup_enable(numbers->wakeup_rtc, clock_alarm);
	vmft_qemu.symbols.qemu_system_wakeup_enable(numbers->wakeup_pmtimer, timer);
}

/* --- cards -------------------------------------------------------------------------- */

/* Both functions only read what QEMU has made before the guest ran. */
int vmft_qemu_nic_fd(const char *id)
{
	void *netdev = vmft_qemu.symbols.qemu_find_netdev(id);

	return netdev ? vmft_qemu.symbols.tap_get_fd(netdev) : -1;
}
