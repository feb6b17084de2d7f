/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-monitor: started by vmft-qemu beside the guest's QEMU, not by hand. */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/hub/monitor.h"
#include "monitor/daemon/savedlog/replay.h"
#include "settings.h"

enum { KEY_PAIR = 1, KEY_IFACE_FD };

static const struct argp_option option_table[] = {
    {"pair", KEY_PAIR, "FILE", 0, "the pair file", 0},
    {"iface-fd", KEY_IFACE_FD, "N", 0, "memory shared with the agent, with the settings", 0},
    {0},
};

static int parse_fd(const char *text)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	return errno || end == text || *end || value < 0 || value > INT32_MAX ? -1 : (int)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct vmft_monitor_options *o = state->input;

	switch (key) {
	case KEY_PAIR:
		o->pair_file = arg;
		return 0;
	case KEY_IFACE_FD:
		o->iface_fd = parse_fd(arg);
		if (o->iface_fd < 0)
			argp_error(state, "--iface-fd=%s: not understood", arg);
		return 0;
	case ARGP_KEY_END:
		if (!o->pair_file || o->iface_fd < 0)
			argp_error(state,
				   "started by hand? vmft-qemu starts it, with both options given");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .doc = "The monitor of one side of a VM protected by vmft. vmft-qemu starts it.",
};

/* vmft-qemu waits for this byte before it becomes QEMU. */
static void say_ready(int lifeline)
{
	(void)!write(lifeline, "R", 1);
}

static int fail(const struct vmft_error *err)
{
	(void)fprintf(stderr, "vmft-monitor: %s\n", err->text);
	return err->exit_code;
}

static int replay(const struct vmft_monitor_options *o)
{
	const struct vmft_replay_options options = {
	    .pair_file = o->pair_file,
	    .log = o->replay,
	    .identity = &o->identity,
	    .iface_fd = o->iface_fd,
	    .area_fd = o->area_fd,
	    .ram_fd = o->ram_fd,
	    .bell_monitor_fd = o->bell_monitor_fd,
	    .bell_agent_fd = o->bell_agent_fd,
	    .lifeline_fd = o->lifeline_fd,
	    .guest_pid = o->guest_pid,
	};

	return vmft_replay_run(&options);
}

int main(int argc, char *argv[])
{
	static struct vmft_monitor monitor;
	static struct vmft_settings settings;
	struct vmft_monitor_options options = {.iface_fd = -1, .transport = &vmft_transport_tcp};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};

	argp_err_exit_status = VMFT_EXIT_CONFIG;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	/* A terminal or pipe that went away must not take the pair with it. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stderr, NULL, _IOLBF, 0);
	if (vmft_monitor_settings_load(&settings, &options, &err) < 0)
		return fail(&err);
	if (options.replay)
		return replay(&options);
	if (vmft_monitor_init(&monitor, &options, &err) < 0)
		return fail(&err);
	say_ready(options.lifeline_fd);
	return vmft_monitor_run(&monitor);
}
