/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's start and end. The rules are at the head of agent.h. */
#define _GNU_SOURCE
#include "agent.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "console.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/error.h"
#include "monitor/common/exit-codes.h"
#include "settings.h"
#include "signals.h"
#include "strategy.h"

struct vmft_agent vmft_agent = {.bell_monitor = -1, .bell_agent = -1, .lifeline = -1};

void vmft_agent_arm(void)
{
	if (atomic_exchange(&vmft_agent.armed, true)) {
		vmft_agent_say("QEMU opened its log twice: this build cannot be protected");
		_exit(VMFT_EXIT_QEMU);
	}
	/* This is QEMU's main thread: its waits while replaying are shorter than the kernel's
	 * default slack of 50 us. */
	(void)prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
	vmft_signals_arm();
}

static void *look_up(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

static void bind_to_qemu(void)
{
	const char *missing = vmft_qemu_bind(look_up);

	if (missing) {
		vmft_agent_say("QEMU has no symbol %s: this build cannot be protected", missing);
		_exit(VMFT_EXIT_QEMU);
	}
}

__attribute__((constructor)) static void agent_start(void)
{
	const char *given = getenv("VMFT_AGENT");
	struct vmft_error err;

	vmft_libc_look_up();
	if (!given)
		return;
	/* A child of QEMU has neither, and stays as it would be without this library. */
	unsetenv("LD_PRELOAD");
	if (vmft_agent_settings_load(given, &err) < 0) {
		vmft_agent_say("%s", err.text);
		_exit(err.exit_code);
	}
	unsetenv("VMFT_AGENT");
	bind_to_qemu();
}

__attribute__((destructor)) static void agent_end(void)
{
	if (!vmft_agent.strategy)
		return;
	vmft_agent.strategy->process_ends();
	vmft_console_flush();
}
