/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that sleeps, or is about to sleep. Main loop, but for vmft_power_is_asleep() (any thread)
 * and vmft_power_service() (service thread).
 */
#ifndef VMFT_AGENT_POWER_H
#define VMFT_AGENT_POWER_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_power { /* main loop */
	bool looked;
	void *acpi;	    /* QEMU's device for power management; NULL: none */
	bool held;	    /* a sleeper is stopped: its state is saved as a sleeper's */
	bool loaded_asleep; /* the state that was loaded says so */
	uint64_t chosen_ns; /* since when the guest is about to fall asleep; 0: it is not */
};

extern struct vmft_power vmft_power;

bool vmft_power_is_asleep(void);
/* The guest has chosen to sleep, in the last 100 ms, and does not sleep yet. */
bool vmft_power_falls_asleep(void);
/* Around a stop of a sleeping guest: before its run state is changed, and when it is RUNNING. */
void vmft_power_hold(void);
void vmft_power_release(void);
bool vmft_power_is_held(void);
/* A state has been loaded. 0 or a negative errno, the reason in area->error. */
int vmft_power_loaded(void);
void vmft_power_go_on(bool told); /* backup: the guest runs or sleeps, as the state says */
void vmft_power_service(void);

#endif
