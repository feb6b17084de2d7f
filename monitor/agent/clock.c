/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's clocks over a stop that is not the guest's: an epoch, an attach point, a full gate, a
 * drill, a full disk. QEMU lets them stand still whenever the guest does: an epoch of 2 ms in
 * every 50 would be a clock that loses 4 %, far more than NTP can put right (500 ppm), and a guest
 * that waited an hour for room on a disk would live an hour in the past. So they go on as if the
 * guest had not been stopped.
 *
 * While ticks are enabled a clock is the host's plus its offset, while they are disabled it is its
 * offset (softmmu/cpu-timers.c). The offsets of a running guest are taken down, and before it
 * is started the fields are set to what the clocks would read now. KVM's own clock, which QEMU
 * sets to what it read when the guest was stopped, is put right on its way to the kernel.
 *
 * What was saved for a backup is the reading at the stop: there the time goes on where what was
 * seen of it ends.
 */
#define _GNU_SOURCE
#include "clock.h"

#include <linux/kvm.h>
#include <x86intrin.h>

#include "agent.h"
#include "ground.h"
#include "icount.h"
#include "monitor/agent/qemu/port.h"

struct vmft_clock vmft_clock;

/* Ticks are enabled, and nobody else disables them: the main loop does, and calls this. */
void vmft_clock_note(void)
{
	struct vmft_clock *c = &vmft_clock;

	/* For one reading it stands elsewhere: what was known before is right. */
	if (vmft_icount.bent)
		return;
	c->offset = (uint64_t)vmft_qemu_time_get(VMFT_QEMU_CLOCK_OFFSET);
	c->ticks_offset = (uint64_t)vmft_qemu_time_get(VMFT_QEMU_TICKS_OFFSET);
	c->known = true;
}

/* The main loop is about to wait: who stops the guest next may be QEMU. */
void vmft_clock_before_wait(void)
{
	if (atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed) && vmft_qemu_guest_runs())
		vmft_clock_note();
}

/* Ticks are disabled; they are enabled next, and vmft_clock_caught_up() is called after that. */
void vmft_clock_catch_up(void)
{
	struct vmft_clock *c = &vmft_clock;

	if (!c->known)
		return;
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, (int64_t)(c->offset + vmft_agent_now()));
	vmft_qemu_time_set(VMFT_QEMU_TICKS_OFFSET, (int64_t)(c->ticks_offset + __rdtsc()));
	atomic_store(&c->kvm_runs_on, true);
}

void vmft_clock_caught_up(void)
{
	atomic_store(&vmft_clock.kvm_runs_on, false);
}

void vmft_clock_vm_start(void)
{
	/* Somebody may have started it: then there is nothing to make good. */
	if (!vmft_qemu_guest_runs())
		vmft_clock_catch_up();
	vmft_qemu_start();
	vmft_clock_caught_up();
}

/*
 * Around QEMU's call of ioctl(), any thread: what it read last is what it will set. QEMU hands
 * requests on as ints: KVM_GET_CLOCK, whose highest bit is set, comes to ioctl() with 32 more
 * before it, which the kernel does not look at either.
 */
void vmft_clock_before_ioctl(uint32_t request, void *argument)
{
	struct vmft_clock *c = &vmft_clock;

	if (request == KVM_SET_CLOCK && atomic_load(&c->kvm_runs_on))
		((struct kvm_clock_data *)argument)->clock +=
		    vmft_agent_now() - atomic_load(&c->kvm_read_ns);
}

void vmft_clock_after_ioctl(uint32_t request)
{
	if (request == KVM_GET_CLOCK)
		atomic_store(&vmft_clock.kvm_read_ns, vmft_agent_now());
}
