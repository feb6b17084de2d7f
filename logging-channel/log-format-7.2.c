/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of QEMU 7.2 (version 0xe0200c). Source: replay/replay-internal.h, replay-events.c,
 * replay-input.c, replay-audio.c, include/sysemu/replay.h, qapi/run-state.json and qapi/ui.json.
 */
#include <errno.h>

#include "event.h"
#include "log-format.h"

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static ssize_t capped(uint64_t length)
{
	return length <= VMFT_EVENT_MAX ? (ssize_t)length : -EBADMSG;
}

/* fixed bytes, the last four of which count the bytes that follow */
static ssize_t counted(const uint8_t *head, size_t n, size_t fixed)
{
	if (n < fixed)
		return 0;
	return capped((uint64_t)fixed + get_be32(head + fixed - 4));
}

/* driver id, array */
static ssize_t char_read_length(const uint8_t *head, size_t n)
{
	return counted(head, n, 1 + 1 + 4);
}

/* array */
static ssize_t char_read_all_length(const uint8_t *head, size_t n)
{
	return counted(head, n, 1 + 4);
}

/* filter id, flags, array */
static ssize_t net_length(const uint8_t *head, size_t n)
{
	return counted(head, n, 1 + 1 + 4 + 4);
}

/* result, array */
static ssize_t random_length(const uint8_t *head, size_t n)
{
	return counted(head, n, 1 + 4 + 4);
}

static const char *const input_names[] = {"key", "button", "relative", "absolute"};

/* replay_save_input_event(): a type, then what the type asks for */
static ssize_t input_length(const uint8_t *head, size_t n)
{
	enum { KEY, BUTTON, RELATIVE, ABSOLUTE };
	enum { KEY_NUMBER, KEY_QCODE };

	if (n < 5)
		return 0;
	switch (get_be32(head + 1)) {
	case KEY:
		if (n < 9)
			return 0;
		switch (get_be32(head + 5)) {
		case KEY_NUMBER:
			return 1 + 4 + 4 + 8 + 1;
		case KEY_QCODE:
			return 1 + 4 + 4 + 4 + 1;
		default:
			return -EBADMSG;
		}
	case BUTTON:
		return 1 + 4 + 4 + 1;
	case RELATIVE:
	case ABSOLUTE:
		return 1 + 4 + 4 + 8;
	default:
		return -EBADMSG;
	}
}

static ssize_t audio_in_length(const uint8_t *head, size_t n)
{
	uint64_t samples;

	if (n < 17)
		return 0;
	samples = (uint64_t)get_be32(head + 1) << 32 | get_be32(head + 5);
	if (samples > VMFT_EVENT_MAX / 16)
		return -EBADMSG;
	return capped(17 + 16 * samples);
}

#define FIRST_SHUTDOWN	 10 /* EVENT_SHUTDOWN, and the cause */
#define FIRST_CHECKPOINT 30 /* EVENT_CHECKPOINT, and which */

#define SHUTDOWN(cause, name)                                                                      \
	[FIRST_SHUTDOWN + (cause)] = {VMFT_EVENT_SHUTDOWN, .bytes = 1, .detail = (name)}
#define RESET(cause, name)                                                                         \
	[FIRST_SHUTDOWN + (cause)] = {VMFT_EVENT_RESET, .bytes = 1, .detail = (name)}
#define CHECKPOINT(which, kind, name)                                                              \
	[FIRST_CHECKPOINT + (which)] = {kind, .bytes = 1, .detail = (name)}

static const struct vmft_event_type types[] = {
    [0] = {VMFT_EVENT_INSTRUCTION, .bytes = 1 + 4},
    [1] = {VMFT_EVENT_INTERRUPT, .bytes = 1},
    [2] = {VMFT_EVENT_EXCEPTION, .bytes = 1},
    [3] = {VMFT_EVENT_BH, .bytes = 1 + 8},
    [4] = {VMFT_EVENT_BH_ONESHOT, .bytes = 1 + 8},
    [5] = {VMFT_EVENT_INPUT, .length = input_length},
    [6] = {VMFT_EVENT_INPUT_SYNC, .bytes = 1},
    [7] = {VMFT_EVENT_CHAR_READ, .length = char_read_length},
    [8] = {VMFT_EVENT_BLOCK, .bytes = 1 + 8},
    [9] = {VMFT_EVENT_NET, .length = net_length},
    /* enum ShutdownCause */
    SHUTDOWN(0, "none"),
    SHUTDOWN(1, "host-error"),
    SHUTDOWN(2, "host-qmp-quit"),
    RESET(3, "host-qmp-system-reset"),
    SHUTDOWN(4, "host-signal"),
    SHUTDOWN(5, "host-ui"),
    SHUTDOWN(6, "guest-shutdown"),
    RESET(7, "guest-reset"),
    SHUTDOWN(8, "guest-panic"),
    RESET(9, "subsystem-reset"),
    SHUTDOWN(10, "snapshot-load"),
    SHUTDOWN(11, "max"),
    [22] = {VMFT_EVENT_CHAR_WRITE, .bytes = 1 + 8},
    [23] = {VMFT_EVENT_CHAR_READ_ALL, .length = char_read_all_length},
    [24] = {VMFT_EVENT_CHAR_READ_ALL_ERROR, .bytes = 1 + 4},
    [25] = {VMFT_EVENT_AUDIO_OUT, .bytes = 1 + 8},
    [26] = {VMFT_EVENT_AUDIO_IN, .length = audio_in_length},
    [27] = {VMFT_EVENT_RANDOM, .length = random_length},
    [28] = {VMFT_EVENT_CLOCK_HOST, .bytes = 1 + 8},
    [29] = {VMFT_EVENT_CLOCK_VIRTUAL_RT, .bytes = 1 + 8},
    /* enum ReplayCheckpoint */
    CHECKPOINT(0, VMFT_EVENT_CHECKPOINT_WARP_START, "clock-warp-start"),
    CHECKPOINT(1, VMFT_EVENT_CHECKPOINT_WARP_ACCOUNT, "clock-warp-account"),
    CHECKPOINT(2, VMFT_EVENT_CHECKPOINT_PAUSE, "reset-requested"),
    CHECKPOINT(3, VMFT_EVENT_CHECKPOINT_PAUSE, "suspend-requested"),
    CHECKPOINT(4, VMFT_EVENT_CHECKPOINT, "clock-virtual"),
    CHECKPOINT(5, VMFT_EVENT_CHECKPOINT_HOST, "clock-host"),
    CHECKPOINT(6, VMFT_EVENT_CHECKPOINT_VIRTUAL_RT, "clock-virtual-rt"),
    CHECKPOINT(7, VMFT_EVENT_CHECKPOINT, "init"),
    CHECKPOINT(8, VMFT_EVENT_CHECKPOINT_RESET, "reset"),
    [39] = {VMFT_EVENT_END, .bytes = 1},
};

const struct vmft_log_format vmft_log_format_7_2 = {
    .version = VMFT_LOG_VERSION_QEMU_7_2,
    .end = 39,
    .type = types,
    .type_count = sizeof(types) / sizeof(types[0]),
    .input_name = input_names,
    .input_name_count = sizeof(input_names) / sizeof(input_names[0]),
};
