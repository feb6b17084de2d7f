/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "drill-options.h"

#include <argp.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arguments.h"

const struct vmft_drill_fault_kind vmft_drill_faults[VMFT_DRILL_FAULTS] = {
    [VMFT_DRILL_KILL_QEMU] = {"kill-qemu", "QEMU is killed (SIGKILL)", false},
    [VMFT_DRILL_KILL_MONITOR] = {"kill-monitor", "the monitor is killed (SIGKILL)", false},
    [VMFT_DRILL_STOP_QEMU] = {"stop-qemu", "QEMU is stopped (SIGSTOP), and continued afterwards",
			      true},
    [VMFT_DRILL_STOP_HOST] = {"stop-host",
			      "QEMU and monitor are stopped (SIGSTOP), and continued afterwards",
			      true},
};

static const char doc[] =
    "Do a fault to the live side of a protected VM, on its host, and report what a client saw of "
    "it. NAME is the VM's, SOCKET the control socket of the primary.\v"
    "Faults (--fault): kill-qemu, kill-monitor, stop-qemu, stop-host; random picks one.\n\n"
    "The fault is done only if the pair is protected and ADDRESS answers. Afterwards start this "
    "host's side anew, as backup.\n\n"
    "Exit status: 0 the guest was carried on, 1 it was not, or the drill could not begin, 2 wrong "
    "usage, 6 nobody answers there.";

static const struct argp_option option_table[] = {
    {"probe", 'p', "ADDRESS:PORT", 0, "a TCP service of the guest, to be connected to", 0},
    {"fault", 'f', "KIND", 0, "default kill-qemu; random: one of them, by --seed", 0},
    {"seed", 'S', "N", 0, "of a random fault; the same seed gives the same fault", 0},
    {"peer", 'P', "COMMAND", 0,
     "prints the status of the backup's side: 'ssh HOST vmft --json status NAME'; given up after "
     "10 s",
     0},
    {"seconds", 's', "N", 0, "how long to probe before the fault and after it, default 3", 0},
    {"timeout", 't', "N", 0, "seconds until the guest counts as lost, default 60", 0},
    {"wait", 'w', "N", 0, "seconds to wait for a backup that lags, default 30", 0},
    {"yes", 'y', NULL, 0, "do not ask", 0},
    {"json", 'j', "FILE", 0, "write the result there", 0},
    {0},
};

static bool parse_count(const char *text, int *ret)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 1 || value > 3600)
		return false;
	*ret = (int)value;
	return true;
}

static bool parse_seed(const char *text, unsigned *ret)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	*ret = (unsigned)value;
	return errno == 0 && *end == '\0' && value <= UINT32_MAX;
}

static bool parse_fault(const char *text, enum vmft_drill_fault *ret)
{
	for (int i = 0; i < VMFT_DRILL_FAULTS; i++) {
		if (strcmp(vmft_drill_faults[i].name, text) == 0) {
			*ret = (enum vmft_drill_fault)i;
			return true;
		}
	}
	return false;
}

static int *seconds_of(struct vmft_drill_options *o, int key)
{
	if (key == 's')
		return &o->seconds;
	return key == 't' ? &o->timeout : &o->wait;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct vmft_drill_options *o = state->input;

	switch (key) {
	case 'p':
		o->probe = arg;
		return 0;
	case 'P':
		o->peer = arg;
		return 0;
	case 'j':
		o->json = arg;
		return 0;
	case 'y':
		o->yes = true;
		return 0;
	case 'f':
		o->random = strcmp(arg, "random") == 0;
		if (!o->random && !parse_fault(arg, &o->fault))
			vmft_arguments_wrong(state, "no such fault: %s", arg);
		return 0;
	case 'S':
		if (!parse_seed(arg, &o->seed))
			vmft_arguments_wrong(state, "%s: write a whole number for --seed", arg);
		return 0;
	case 's':
	case 't':
	case 'w':
		if (!parse_count(arg, seconds_of(o, key)))
			vmft_arguments_wrong(state, "%s: write a number of seconds from 1 to 3600",
					     arg);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			vmft_arguments_wrong(state, "name one VM only, without %s", arg);
		o->side = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->side || !o->probe)
			vmft_arguments_wrong(state,
					     "needs the VM's name or the control socket of the "
					     "primary, and --probe");
		if (o->random)
			o->fault = (enum vmft_drill_fault)(o->seed % VMFT_DRILL_FAULTS);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void vmft_drill_options_parse(int argc, char *argv[], struct vmft_drill_options *ret)
{
	const struct argp argp = {
	    .options = option_table,
	    .parser = parse_option,
	    .args_doc = "NAME|SOCKET",
	    .doc = doc,
	};

	*ret = (struct vmft_drill_options){.fault = VMFT_DRILL_KILL_QEMU,
					   .seed = (unsigned)time(NULL),
					   .seconds = 3,
					   .timeout = 60,
					   .wait = 30};
	vmft_arguments_parse(&argp, argc, argv, ret);
}
