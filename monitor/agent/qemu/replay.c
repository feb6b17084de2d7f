/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: record/replay, and the vCPU. */
#include "inside.h"

#include <stdio.h>

static uint8_t *state(void)
{
	return vmft_qemu.symbols.replay_state;
}

void vmft_qemu_record_into(FILE *stream)
{
	*vmft_qemu.symbols.replay_file = stream;
	*vmft_qemu.symbols.replay_mode = vmft_qemu.names.replay_record;
}

/* QEMU keeps the number that the log has. */
enum vmft_event_kind vmft_qemu_next_event(void)
{
	return vmft_event_kind(vmft_qemu.format,
			       (uint8_t)vmft_qemu_field_get(state(), VMFT_QEMU_EVENT_KIND));
}

void vmft_qemu_next_event_forget(void)
{
	vmft_qemu_field_set(state(), VMFT_QEMU_EVENT_IS_READ, 0);
}

uint64_t vmft_qemu_block_requests(void)
{
	return vmft_qemu_field_get(state(), VMFT_QEMU_BLOCK_REQUESTS);
}

void vmft_qemu_block_requests_set(uint64_t count)
{
	vmft_qemu_field_set(state(), VMFT_QEMU_BLOCK_REQUESTS, count);
}

void vmft_qemu_events_off(void)
{
	vmft_qemu.series->ops.replay_events_off();
}

void vmft_qemu_events_on(void)
{
	vmft_qemu.symbols.replay_enable_events();
}

void vmft_qemu_instructions_log(void)
{
	vmft_qemu.symbols.replay_save_instructions();
}

bool vmft_qemu_events_are_queued(void)
{
	return vmft_qemu.symbols.replay_has_events();
}

bool vmft_qemu_is_locked(void)
{
	return vmft_qemu.series->ops.is_locked();
}

static void no_work(void *cpu, uint64_t data)
{
	(void)cpu;
	(void)data;
}

/*
 * The work is queued under the big lock. Without it the vCPU thread may have found nothing to do
 * and not sleep yet, and would miss the call. A main loop that waits inside aio_poll() has the lock
 * already.
 */
void vmft_qemu_vcpu_wake(void)
{
	const struct vmft_qemu_ops *ops = &vmft_qemu.series->ops;
	void *cpu = vmft_qemu.symbols.qemu_get_cpu(0);
	const bool lock = !vmft_qemu_is_locked();

	if (!cpu)
		return;
	if (lock)
		ops->lock();
	vmft_qemu.symbols.async_run_on_cpu(cpu, no_work, 0);
	if (lock)
		ops->unlock();
}

/* Runs as queued work, with the big lock (process_queued_cpu_work()). */
static void call_unlocked(void *cpu, uint64_t data)
{
	const struct vmft_qemu_ops *ops = &vmft_qemu.series->ops;

	(void)cpu;
	ops->unlock();
	((void (*)(void))(uintptr_t)data)();
	ops->lock();
}

void vmft_qemu_vcpu_call(void (*call)(void))
{
	const struct vmft_qemu_ops *ops = &vmft_qemu.series->ops;

	ops->lock();
	vmft_qemu.symbols.async_run_on_cpu(vmft_qemu.symbols.qemu_get_cpu(0), call_unlocked,
					   (uintptr_t)call);
	ops->unlock();
}

/* pause_all_vcpus() and resume_all_vcpus() set what this reads. */
bool vmft_qemu_vcpu_is_stopped(void)
{
	return vmft_qemu.symbols.cpu_is_stopped(vmft_qemu.symbols.qemu_get_cpu(0));
}

bool vmft_qemu_vcpu_is_called(void)
{
	return !vmft_qemu.symbols.all_cpu_threads_idle();
}

void vmft_qemu_locks_release(void)
{
	vmft_qemu.series->ops.unlock();
	vmft_qemu.symbols.replay_mutex_unlock();
}

void vmft_qemu_locks_take(void)
{
	vmft_qemu.symbols.replay_mutex_lock();
	vmft_qemu.series->ops.lock();
}

/* qemu_get_cpu() walks a list that does not change once the machine is made. cpu_exit() sets two
 * flags, which any thread may do; QEMU's RCU thread does. */
void vmft_qemu_vcpu_leave_run(void)
{
	void *cpu = vmft_qemu.symbols.qemu_get_cpu(0);

	if (cpu)
		vmft_qemu.symbols.cpu_exit(cpu);
}

/*
 * QEMU prints them (x86_cpu_dump_state()), without a lock. Left out are the registers of the
 * floating point unit, because QEMU changes them to print them, and whether the vCPU is halted,
 * because its thread notices at no fixed moment that it is not.
 */
size_t vmft_qemu_registers(char *text, size_t size)
{
	FILE *file = fmemopen(text, size, "w");
	char *halted;

	if (!file)
		return 0;
	vmft_qemu.symbols.cpu_dump_state(vmft_qemu.symbols.qemu_get_cpu(0), file, 0);
	(void)fclose(file);
	halted = strstr(text, "HLT=");
	if (halted && halted[4])
		halted[4] = '-';
	return strnlen(text, size);
}
