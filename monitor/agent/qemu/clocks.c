/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: the guest's clocks. */
#include "inside.h"

#include "monitor/common/guest-clock.h"

static uint8_t *timers(void)
{
	return vmft_qemu.symbols.timers_state;
}

int64_t vmft_qemu_time_get(enum vmft_qemu_field_id field)
{
	return (int64_t)vmft_qemu_field_get(timers(), field);
}

void vmft_qemu_time_set(enum vmft_qemu_field_id field, int64_t value)
{
	vmft_qemu_field_set(timers(), field, (uint64_t)value);
}

struct vmft_guest_clock vmft_qemu_guest_clock(void)
{
	return (struct vmft_guest_clock){
	    .icount = vmft_qemu_time_get(VMFT_QEMU_INSTRUCTIONS),
	    .bias = vmft_qemu_time_get(VMFT_QEMU_CLOCK_BIAS),
	    .shift = (int16_t)vmft_qemu_time_get(VMFT_QEMU_CLOCK_SHIFT),
	};
}

void vmft_qemu_guest_clock_set(int64_t bias, uint8_t shift)
{
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_BIAS, bias);
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_SHIFT, shift);
}

int64_t vmft_qemu_guest_ns(void)
{
	return vmft_qemu.symbols.cpus_get_virtual_clock();
}

bool vmft_qemu_idle_time_is_over(int64_t now)
{
	const void *timer = (const void *)(uintptr_t)vmft_qemu_time_get(VMFT_QEMU_IDLE_TIMER);
	const int64_t expires = (int64_t)vmft_qemu_field_get(timer, VMFT_QEMU_TIMER_EXPIRES);

	return expires >= 0 && expires <= now && vmft_qemu_guest_runs();
}

bool vmft_qemu_idles_until_timer(void)
{
	const struct vmft_qemu_numbers *numbers = &vmft_qemu.series->numbers;

	return vmft_qemu.symbols.all_cpu_threads_idle() &&
	       vmft_qemu.symbols.qemu_clock_deadline_ns_all(numbers->clock_virtual,
							    numbers->guest_timers) >= 0;
}
