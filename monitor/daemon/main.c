/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-monitor: started by vmft-qemu beside the guest's QEMU, not by hand. */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"
#include "monitor/daemon/hub/monitor.h"
#include "monitor/daemon/savedlog/replay.h"

enum option_key {
	KEY_PAIR = 1,
	KEY_ROLE,
	KEY_HOST,
	KEY_BUILD_ID,
	KEY_LOG_VERSION,
	KEY_MACHINE_DIGEST,
	KEY_DISK_DIGEST,
	KEY_IFACE_FD,
	KEY_AREA_FD,
	KEY_RAM_FD,
	KEY_BELL_MONITOR_FD,
	KEY_BELL_AGENT_FD,
	KEY_LIFELINE_FD,
	KEY_GUEST_PID,
	KEY_STRATEGY,
	KEY_STRATEGY_REASON,
	KEY_REQUIRED, /* all before it */
	KEY_DISK = KEY_REQUIRED,
	KEY_WORDS_FD,
	KEY_REPLAY,
	KEY_TAP,
	KEY_IMAGE_SUMS,
	KEY_COUNT,
};

static const struct argp_option option_table[] = {
    {"pair", KEY_PAIR, "FILE", 0, "role/pair file", 0},
    {"role", KEY_ROLE, "ROLE", 0, "primary or backup", 0},
    {"host", KEY_HOST, "HOST", 0, "the section of the pair file this host is", 0},
    {"build-id", KEY_BUILD_ID, "HEX", 0, "build-id of the QEMU binary", 0},
    {"log-version", KEY_LOG_VERSION, "HEX", 0, "its record/replay log version", 0},
    {"machine-digest", KEY_MACHINE_DIGEST, "HEX", 0, "digest of the guest's machine", 0},
    {"disk-digest", KEY_DISK_DIGEST, "HEX", 0, "digest of its disks before the start", 0},
    {"iface-fd", KEY_IFACE_FD, "N", 0, "memory shared with the agent", 0},
    {"area-fd", KEY_AREA_FD, "N", 0, "memory shared with the agent for an attach", 0},
    {"ram-fd", KEY_RAM_FD, "N", 0, "guest memory", 0},
    {"bell-monitor-fd", KEY_BELL_MONITOR_FD, "N", 0, "eventfd the agent rings", 0},
    {"bell-agent-fd", KEY_BELL_AGENT_FD, "N", 0, "eventfd the monitor rings", 0},
    {"lifeline-fd", KEY_LIFELINE_FD, "N", 0, "socket that closes when the monitor dies", 0},
    {"guest-pid", KEY_GUEST_PID, "PID", 0, "the process that is, or will be, QEMU", 0},
    {"strategy", KEY_STRATEGY, "NAME", 0, "lockstep or checkpoint", 0},
    {"strategy-reason", KEY_STRATEGY_REASON, "TEXT", 0, "why this one, for status", 0},
    {"disk", KEY_DISK, "FORMAT[-ro]:BYTES:PATH", 0, "an image, in the order of the guest's disks",
     0},
    {"words-fd", KEY_WORDS_FD, "N", 0, "QEMU's arguments as they were given", 0},
    {"replay", KEY_REPLAY, "FILE", 0, "there is no peer: replay this saved log and end", 0},
    {"tap", KEY_TAP, "VNET:HEADER:OFFLOADS:QUEUES:MTU:IFNAME:NETDEV", 0, "a card's, in their order",
     0},
    {"image-sums", KEY_IMAGE_SUMS, "HEX", 0, "16 digits for each image", 0},
    {0},
};

struct parsed {
	struct vmft_monitor_options options;
	unsigned seen; /* bit 1 << key */
};

static int parse_hex(const char *text, uint8_t *bytes, uint8_t *ret_count)
{
	size_t n = strlen(text);

	if (n % 2 != 0 || n / 2 > VMFT_HELLO_DIGEST_MAX || strspn(text, "0123456789abcdef") != n)
		return -EINVAL;
	for (size_t i = 0; i < n / 2; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	*ret_count = (uint8_t)(n / 2);
	return 0;
}

static int parse_sums(const char *text, uint64_t *sums, uint8_t *ret_count)
{
	const size_t digits = 16, n = strlen(text);

	if (n % digits != 0 || n / digits > VMFT_HELLO_IMAGES_MAX ||
	    strspn(text, "0123456789abcdef") != n)
		return -EINVAL;
	for (size_t i = 0; i < n / digits; i++) {
		char word[17] = {0};

		memcpy(word, text + i * digits, digits);
		sums[i] = strtoull(word, NULL, 16);
	}
	*ret_count = (uint8_t)(n / digits);
	return 0;
}

static int parse_int(const char *text, int *ret)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < 0 || value > INT32_MAX)
		return -EINVAL;
	*ret = (int)value;
	return 0;
}

static int parse_log_version(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 16);
	if (errno || end == text || *end || value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int parse_strategy(const char *text, const struct vmft_strategy_ops **ret)
{
	static const struct vmft_strategy_ops *const known[] = {
	    &vmft_strategy_lockstep,
	    &vmft_strategy_checkpoint,
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(text, known[i]->name) != 0)
			continue;
		*ret = known[i];
		return 0;
	}
	return -EINVAL;
}

static int parse_tap(const char *text, struct vmft_monitor_options *o)
{
	const uint8_t i = o->identity.tap_count;

	if (i == VMFT_HELLO_TAPS_MAX)
		return -E2BIG;
	if (vmft_tap_facts_parse(text, &o->identity.tap[i], o->tap_ifname[i]) < 0)
		return -EINVAL;
	o->identity.tap_count++;
	return 0;
}

static int parse_value(struct vmft_monitor_options *o, int key, char *arg)
{
	struct vmft_hello *id = &o->identity;

	switch (key) {
	case KEY_PAIR:
		o->pair_file = arg;
		return 0;
	case KEY_ROLE:
		return vmft_role_parse(arg, &o->role);
	case KEY_HOST:
		return vmft_host_parse(arg, &o->host);
	case KEY_DISK:
		if (o->disk_count == VMFT_AREA_DISKS_MAX)
			return -E2BIG;
		return vmft_image_parse(arg, &o->disk[o->disk_count++]);
	case KEY_AREA_FD:
		return parse_int(arg, &o->area_fd);
	case KEY_BUILD_ID:
		return parse_hex(arg, id->build_id, &id->build_id_bytes);
	case KEY_LOG_VERSION:
		return parse_log_version(arg, &id->log_version);
	case KEY_MACHINE_DIGEST:
		return parse_hex(arg, id->machine, &id->machine_bytes);
	case KEY_DISK_DIGEST:
		return parse_hex(arg, id->disk, &id->disk_bytes);
	case KEY_IFACE_FD:
		return parse_int(arg, &o->iface_fd);
	case KEY_RAM_FD:
		return parse_int(arg, &o->ram_fd);
	case KEY_BELL_MONITOR_FD:
		return parse_int(arg, &o->bell_monitor_fd);
	case KEY_BELL_AGENT_FD:
		return parse_int(arg, &o->bell_agent_fd);
	case KEY_LIFELINE_FD:
		return parse_int(arg, &o->lifeline_fd);
	case KEY_GUEST_PID:
		return parse_int(arg, &o->guest_pid);
	case KEY_STRATEGY:
		return parse_strategy(arg, &o->strategy);
	case KEY_WORDS_FD:
		return parse_int(arg, &o->words_fd);
	case KEY_TAP:
		return parse_tap(arg, o);
	case KEY_IMAGE_SUMS:
		return parse_sums(arg, id->image_sum, &id->image_count);
	case KEY_REPLAY:
		o->replay = arg;
		return 0;
	case KEY_STRATEGY_REASON:
		o->strategy_reason = arg;
		return 0;
	default:
		return -ENOENT;
	}
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct parsed *parsed = state->input;
	const unsigned all = (1u << KEY_REQUIRED) - 2;

	if (key == ARGP_KEY_END && (parsed->seen & all) != all)
		argp_error(state, "started by hand? vmft-qemu starts it, with every option given");
	if (key <= 0 || key >= KEY_COUNT)
		return ARGP_ERR_UNKNOWN;
	if (parse_value(&parsed->options, key, arg) < 0)
		argp_error(state, "--%s=%s: not understood", option_table[key - 1].name, arg);
	parsed->seen |= 1u << key;
	return 0;
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

int main(int argc, char *argv[])
{
	static struct vmft_monitor monitor;
	struct parsed parsed = {
	    .options = {.words_fd = -1, .transport = &vmft_transport_tcp},
	};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};

	argp_err_exit_status = VMFT_EXIT_CONFIG;
	argp_parse(&argp, argc, argv, 0, NULL, &parsed);
	/* A terminal or pipe that went away must not take the pair with it. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stderr, NULL, _IOLBF, 0);
	if (parsed.options.replay)
		return vmft_replay_run(&parsed.options);
	if (vmft_monitor_init(&monitor, &parsed.options, &err) < 0) {
		(void)fprintf(stderr, "vmft-monitor: %s\n", err.text);
		return err.exit_code;
	}
	say_ready(parsed.options.lifeline_fd);
	return vmft_monitor_run(&monitor);
}
