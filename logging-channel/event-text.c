/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event-text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "event.h"
#include "wire.h"

#define FIRST_BYTES 16u /* of a packet or of characters are shown */

static const char *const kind_names[VMFT_EVENT_KINDS] = {
    [VMFT_EVENT_NONE] = "unknown",
    [VMFT_EVENT_INSTRUCTION] = "instruction",
    [VMFT_EVENT_INTERRUPT] = "interrupt",
    [VMFT_EVENT_EXCEPTION] = "exception",
    [VMFT_EVENT_BH] = "bh",
    [VMFT_EVENT_BH_ONESHOT] = "bh-oneshot",
    [VMFT_EVENT_INPUT] = "input",
    [VMFT_EVENT_INPUT_SYNC] = "input-sync",
    [VMFT_EVENT_CHAR_READ] = "char-read",
    [VMFT_EVENT_BLOCK] = "block",
    [VMFT_EVENT_NET] = "net",
    [VMFT_EVENT_SHUTDOWN] = "shutdown",
    [VMFT_EVENT_RESET] = "shutdown",
    [VMFT_EVENT_CHAR_WRITE] = "char-write",
    [VMFT_EVENT_CHAR_READ_ALL] = "char-read-all",
    [VMFT_EVENT_CHAR_READ_ALL_ERROR] = "char-read-all-error",
    [VMFT_EVENT_AUDIO_OUT] = "audio-out",
    [VMFT_EVENT_AUDIO_IN] = "audio-in",
    [VMFT_EVENT_RANDOM] = "random",
    [VMFT_EVENT_CLOCK_HOST] = "clock",
    [VMFT_EVENT_CLOCK_VIRTUAL_RT] = "clock",
    [VMFT_EVENT_CHECKPOINT_WARP_START] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT_WARP_ACCOUNT] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT_HOST] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT_VIRTUAL_RT] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT_RESET] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT_PAUSE] = "checkpoint",
    [VMFT_EVENT_CHECKPOINT] = "checkpoint",
    [VMFT_EVENT_END] = "end",
};

static const char *const entry_names[] = {"output", "digest", "clock-set",
					  "button"}; /* vmft's own */

const char *vmft_event_kind_name(const struct vmft_log_format *format, uint8_t number)
{
	return vmft_event_is_ours(number) ? entry_names[number - VMFT_ENTRY_OUTPUT]
					  : kind_names[vmft_event_kind(format, number)];
}

static bool is_among(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return true;
	return false;
}

bool vmft_event_is_kind_name(const char *name)
{
	return is_among(kind_names + 1, sizeof(kind_names) / sizeof(kind_names[0]) - 1, name) ||
	       is_among(entry_names, sizeof(entry_names) / sizeof(entry_names[0]), name);
}

struct fields {
	struct vmft_event_field *at;
	size_t count;
};

static void add_number(struct fields *f, const char *name, int64_t number)
{
	f->at[f->count++] = (struct vmft_event_field){.name = name, .number = number};
}

__attribute__((format(printf, 3, 4))) static void add_text(struct fields *f, const char *name,
							   const char *format, ...)
{
	struct vmft_event_field *field = &f->at[f->count++];
	va_list ap;

	*field = (struct vmft_event_field){.name = name, .is_text = true};
	va_start(ap, format);
	(void)vsnprintf(field->text, sizeof(field->text), format, ap);
	va_end(ap);
}

static void add_name(struct fields *f, const char *name, const char *const *names, size_t count,
		     size_t index)
{
	if (index < count)
		add_text(f, name, "%s", names[index]);
	else
		add_number(f, name, (int64_t)index);
}

static void add_first_bytes(struct fields *f, struct vmft_wire_reader *r, size_t n)
{
	char hex[2 * FIRST_BYTES + 1] = "";

	if (n > r->left)
		n = r->left;
	for (size_t i = 0; i < n && i < FIRST_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", r->at[i]);
	add_text(f, "first-bytes", "%s%s", hex, n > FIRST_BYTES ? "..." : "");
}

static void add_array(struct fields *f, struct vmft_wire_reader *r)
{
	const uint32_t n = (uint32_t)vmft_wire_get(r, 4);

	add_number(f, "length", n);
	add_first_bytes(f, r, n);
}

static const char *ip_protocol(unsigned number)
{
	switch (number) {
	case 1:
		return "ICMP";
	case 6:
		return "TCP";
	case 17:
		return "UDP";
	case 58:
		return "ICMPv6";
	default:
		return "IP";
	}
}

/* NULL: this is no Ethernet header, or of nothing we know. */
static const char *ether_protocol(const uint8_t *frame, size_t n)
{
	if (n < 14)
		return NULL;
	switch (frame[12] << 8 | frame[13]) {
	case 0x0800:
		return n >= 24 ? ip_protocol(frame[23]) : "IPv4";
	case 0x86dd:
		return n >= 21 ? ip_protocol(frame[20]) : "IPv6";
	case 0x0806:
		return "ARP";
	case 0x8035:
		return "RARP";
	case 0x8100:
		return "VLAN";
	default:
		return NULL;
	}
}

/* A guess: in front of the frame may stand a virtio-net header, of 12 or 10 bytes. */
static const char *guess_protocol(const uint8_t *bytes, size_t n)
{
	static const size_t skip[] = {0, 12, 10};

	for (size_t i = 0; i < sizeof(skip) / sizeof(skip[0]); i++) {
		const char *name =
		    n > skip[i] ? ether_protocol(bytes + skip[i], n - skip[i]) : NULL;

		if (name)
			return name;
	}
	return "?";
}

static void net_fields(struct fields *f, struct vmft_wire_reader *r)
{
	uint32_t n;

	add_number(f, "filter", (int64_t)vmft_wire_get(r, 1));
	(void)vmft_wire_get(r, 4); /* flags of the net layer */
	n = (uint32_t)vmft_wire_get(r, 4);
	if (n > r->left)
		n = (uint32_t)r->left;
	add_number(f, "length", n);
	add_text(f, "protocol", "%s", guess_protocol(r->at, n));
	add_first_bytes(f, r, n);
}

static void output_fields(struct fields *f, struct vmft_wire_reader *r)
{
	add_number(f, "length", (int64_t)vmft_wire_get(r, 4));
	add_text(f, "digest", "%016" PRIx64, vmft_wire_get(r, 8));
}

static void digest_fields(struct fields *f, struct vmft_wire_reader *r)
{
	add_number(f, "sampled", (int64_t)vmft_wire_get(r, 2));
	add_text(f, "processor", "%016" PRIx64, vmft_wire_get(r, 8));
	add_number(f, "pages", (int64_t)vmft_wire_get(r, 4));
	add_number(f, "first", (int64_t)vmft_wire_get(r, 4));
	add_number(f, "stride", (int64_t)vmft_wire_get(r, 4));
}

static void small_fields(struct fields *f, struct vmft_wire_reader *r, enum vmft_event_kind kind)
{
	switch (kind) {
	case VMFT_EVENT_INSTRUCTION:
		add_number(f, "instructions", (int64_t)vmft_wire_get(r, 4));
		return;
	case VMFT_EVENT_CHAR_READ_ALL_ERROR:
		add_number(f, "result", (int32_t)vmft_wire_get(r, 4));
		return;
	case VMFT_EVENT_BH:
	case VMFT_EVENT_BH_ONESHOT:
		add_number(f, "id", (int64_t)vmft_wire_get(r, 8));
		return;
	case VMFT_EVENT_BLOCK:
		add_number(f, "request", (int64_t)vmft_wire_get(r, 8));
		return;
	case VMFT_EVENT_AUDIO_OUT:
		add_number(f, "samples", (int64_t)vmft_wire_get(r, 8));
		return;
	case VMFT_EVENT_CHAR_WRITE:
		add_number(f, "result", (int32_t)vmft_wire_get(r, 4));
		add_number(f, "offset", (int32_t)vmft_wire_get(r, 4));
		return;
	case VMFT_EVENT_CLOCK_HOST:
	case VMFT_EVENT_CLOCK_VIRTUAL_RT:
		add_text(f, "clock", "%s", kind == VMFT_EVENT_CLOCK_HOST ? "host" : "virtual-rt");
		add_number(f, "ns", (int64_t)vmft_wire_get(r, 8));
		return;
	default:
		return;
	}
}

static size_t our_fields(struct fields *f, struct vmft_wire_reader *r, uint8_t number)
{
	switch (number) {
	case VMFT_ENTRY_OUTPUT:
		output_fields(f, r);
		break;
	case VMFT_ENTRY_DIGEST:
		digest_fields(f, r);
		break;
	case VMFT_ENTRY_BUTTON:
		add_text(f, "button", "%s",
			 vmft_wire_get(r, 1) == VMFT_BUTTON_RESET ? "reset" : "power");
		break;
	default:
		add_number(f, "shift", (int64_t)vmft_wire_get(r, 1));
		add_number(f, "bias", (int64_t)vmft_wire_get(r, 8));
		add_number(f, "host-ns", (int64_t)vmft_wire_get(r, 8));
	}
	return f->count;
}

size_t vmft_event_fields(const struct vmft_log_format *format, const uint8_t *bytes, size_t n,
			 struct vmft_event_field ret[static VMFT_EVENT_FIELDS_MAX])
{
	struct vmft_wire_reader r = {.at = bytes + 1, .left = n - 1};
	const struct vmft_event_type *type = vmft_event_type(format, bytes[0]);
	struct fields f = {.at = ret};

	if (vmft_event_is_ours(bytes[0]))
		return our_fields(&f, &r, bytes[0]);
	if (!type)
		return 0;
	switch (type->kind) {
	case VMFT_EVENT_INPUT:
		add_name(&f, "type", format->input_name, format->input_name_count,
			 (size_t)vmft_wire_get(&r, 4));
		break;
	case VMFT_EVENT_CHAR_READ:
		add_number(&f, "device", (int64_t)vmft_wire_get(&r, 1));
		add_array(&f, &r);
		break;
	case VMFT_EVENT_CHAR_READ_ALL:
		add_array(&f, &r);
		break;
	case VMFT_EVENT_RANDOM:
		add_number(&f, "result", (int32_t)vmft_wire_get(&r, 4));
		add_array(&f, &r);
		break;
	case VMFT_EVENT_NET:
		net_fields(&f, &r);
		break;
	case VMFT_EVENT_SHUTDOWN:
	case VMFT_EVENT_RESET:
		add_text(&f, "cause", "%s", type->detail);
		break;
	default:
		if (type->detail)
			add_text(&f, "checkpoint", "%s", type->detail);
		else
			small_fields(&f, &r, type->kind);
	}
	return f.count;
}

void vmft_event_line(const struct vmft_log_format *format, const uint8_t *bytes, size_t n,
		     char *text, size_t size)
{
	struct vmft_event_field field[VMFT_EVENT_FIELDS_MAX];
	const size_t count = vmft_event_fields(format, bytes, n, field);
	int at = snprintf(text, size, "%s", vmft_event_kind_name(format, bytes[0]));

	for (size_t i = 0; i < count && at >= 0 && (size_t)at < size; i++) {
		int more = field[i].is_text
			       ? snprintf(text + at, size - (size_t)at, " %s", field[i].text)
			       : snprintf(text + at, size - (size_t)at, " %s %lld", field[i].name,
					  (long long)field[i].number);

		at = more < 0 ? more : at + more;
	}
}
