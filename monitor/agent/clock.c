/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU stops the guest's clocks whenever it stops the guest: for an epoch, an attach point, a full
 * gate, a drill, a full disk. A stop of 2 ms in every 50 would make a clock that loses 4 %, far
 * more than NTP can correct (500 ppm). A guest that waited an hour for room on a disk would be an
 * hour behind. So its clocks go on as if the guest had not been stopped.
 *
 * While ticks are enabled, a clock of QEMU is the host's clock plus an offset; while they are
 * disabled, it is the offset alone (softmmu/cpu-timers.c). The offsets of a running guest are
 * noted, and before the guest is started the fields are set to what the clocks would read now.
 * cpu_enable_ticks() reads the host's clock a moment later, and a busy host may let this thread
 * wait in between. So the offsets that were noted are written once more after it: each stop would
 * otherwise add its own moment to what the guest has lost.
 *
 * QEMU sets KVM's own clock to what it read when the guest was stopped; that value is corrected on
 * its way to the kernel, and again if the thread had to wait on that way.
 *
 * The state that is saved for a backup has the reading at the stop: there the time goes on from the
 * last reading that anybody has seen.
 */
#define _GNU_SOURCE
#include "clock.h"

#include <linux/kvm.h>
#include <x86intrin.h>

#include "agent.h"
#include "ground.h"
#include "icount.h"
#include "libc.h"
#include "monitor/agent/qemu/port.h"

/* How long KVM may take to set its clock, and how often it is set if that took longer. After
 * the last try the value stays. */
#define SET_NS	  50000u
#define SET_TRIES 4u

struct vmft_clock vmft_clock;

/* Ticks are enabled. Only the main loop disables them, and it calls this before. */
void vmft_clock_note(void)
{
	struct vmft_clock *c = &vmft_clock;

	/* QEMU's field differs for one reading: what was noted before is right. */
	if (vmft_icount.bent)
		return;
	c->offset = (uint64_t)vmft_qemu_time_get(VMFT_QEMU_CLOCK_OFFSET);
	c->ticks_offset = (uint64_t)vmft_qemu_time_get(VMFT_QEMU_TICKS_OFFSET);
	c->known = true;
}

/* QEMU may stop the guest without asking (a full disk). So the offsets are noted each time the main
 * loop is about to wait. */
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
	atomic_store(&c->catches_up, true);
}

/* vCPUs may run already: one that reads a clock now sees it as it was, or a moment later. */
void vmft_clock_caught_up(void)
{
	struct vmft_clock *c = &vmft_clock;

	if (!atomic_exchange(&c->catches_up, false))
		return;
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, (int64_t)c->offset);
	vmft_qemu_time_set(VMFT_QEMU_TICKS_OFFSET, (int64_t)c->ticks_offset);
}

void vmft_clock_vm_start(void)
{
	/* If QEMU has started the guest meanwhile, its clocks run already. */
	if (!vmft_qemu_guest_runs())
		vmft_clock_catch_up();
	vmft_qemu_start();
	vmft_clock_caught_up();
}

/*
 * QEMU sets KVM's clock to what it read last. QEMU passes requests as int: KVM_GET_CLOCK, whose
 * highest bit is set, arrives with the upper 32 bits set. The kernel ignores them, and so does
 * this.
 */
bool vmft_clock_sets_kvm(uint32_t request)
{
	return request == KVM_SET_CLOCK && atomic_load(&vmft_clock.catches_up);
}

/* The value is right for the moment at which it is computed. If the kernel cannot have taken it at
 * that moment, it is computed anew. */
int vmft_clock_set_kvm(int fd, struct kvm_clock_data *data)
{
	const uint64_t read = data->clock;
	uint64_t began;
	int rc;

	for (unsigned i = 0; i < SET_TRIES; i++) {
		began = vmft_agent_now();
		data->clock = read + began - atomic_load(&vmft_clock.kvm_read_ns);
		rc = vmft_libc_ioctl(fd, KVM_SET_CLOCK, data);
		if (rc < 0 || vmft_agent_now() - began < SET_NS)
			break;
	}
	return rc;
}

void vmft_clock_after_ioctl(uint32_t request)
{
	if (request == KVM_GET_CLOCK)
		atomic_store(&vmft_clock.kvm_read_ns, vmft_agent_now());
}
