/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's clocks over a stop of the guest. Main loop, but for the last three functions. */
#ifndef VMFT_AGENT_CLOCK_H
#define VMFT_AGENT_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vmft_clock {		       /* main loop, but for the last two */
	bool known;		       /* how the clocks run: */
	uint64_t offset, ticks_offset; /* to the host's */
	atomic_bool catches_up;	       /* vmft_clock_catch_up() was called, caught_up() was not */
	_Atomic uint64_t kvm_read_ns;  /* when QEMU read it last */
};

struct kvm_clock_data;

extern struct vmft_clock vmft_clock;

void vmft_clock_before_wait(void);
void vmft_clock_note(void);	 /* the guest runs, and is stopped next */
void vmft_clock_catch_up(void);	 /* it is stopped, and its clocks are started next */
void vmft_clock_caught_up(void); /* they run */
void vmft_clock_vm_start(void);	 /* QEMU's vm_start(), of a guest that ran before */
/* Around QEMU's ioctl(), any thread. */
bool vmft_clock_sets_kvm(uint32_t request); /* QEMU does, after a stop that took no time */
int vmft_clock_set_kvm(int fd, struct kvm_clock_data *data); /* as ioctl(): -1 and errno */
void vmft_clock_after_ioctl(uint32_t request);

#endif
