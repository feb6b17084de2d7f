/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "operator.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/exit-codes.h"
#include "monitor/interface.h"
#include "strategy.h"

struct vmft_operator vmft_operator;

/* Before the guest has run here, or on a backup. */
static enum vmft_qemu_answer without_guest(enum vmft_qemu_command command)
{
	switch (command) {
	/* Who has started QEMU asks for this. The guest starts when its monitor says so. */
	case VMFT_QEMU_CONT:
		return VMFT_QEMU_LATER;
	/* libvirt says these two to every QEMU that it has started. */
	case VMFT_QEMU_BALLOON:
	case VMFT_QEMU_CLOCK:
		return VMFT_QEMU_DONE;
	default:
		return VMFT_QEMU_NOT_HERE;
	}
}

static enum vmft_qemu_answer ask(enum vmft_qemu_command command)
{
	const uint32_t state = atomic_load(&vmft_agent.iface->agent_state);

	if (atomic_load(&vmft_agent.fenced) || state == VMFT_AGENT_ENDED)
		return VMFT_QEMU_NEVER;
	if (state == VMFT_AGENT_LIVE ||
	    (state == VMFT_AGENT_RECORDING && atomic_load(&vmft_agent.iface->guest_ran)))
		return vmft_agent.strategy->command(command);
	return without_guest(command);
}

static bool shows_paused(void)
{
	const uint32_t state = atomic_load(&vmft_agent.iface->agent_state);

	return state == VMFT_AGENT_REPLAYING || state == VMFT_AGENT_STANDBY;
}

/* QEMU may have monitors that somebody uses as soon as its main loop runs. */
void vmft_operator_before_wait(void)
{
	static const struct vmft_qemu_guard guard = {.ask = ask, .shows_paused = shows_paused};
	int rc;

	if (vmft_operator.guarded || getpid() != gettid())
		return;
	rc = vmft_qemu_guard_monitors(&guard);
	if (rc == -EPROTO || (rc < 0 && vmft_qemu_machine_is_made())) {
		vmft_agent_say("QEMU's monitors cannot be guarded: its tables of commands are not "
			       "those of QEMU %s; report it",
			       vmft_qemu_name());
		_exit(VMFT_EXIT_QEMU);
	}
	vmft_operator.guarded = rc == 0;
}

static void tell_running(void *unused)
{
	(void)unused;
	vmft_qemu_tell_running();
}

void vmft_operator_live(void)
{
	vmft_qemu_in_main_loop(tell_running, NULL, "vmft-operator");
}
