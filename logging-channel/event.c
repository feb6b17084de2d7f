/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wire.h"

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get_be64(const uint8_t *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static ssize_t digest_length(const uint8_t *head, size_t n)
{
	unsigned count;

	if (n < 3)
		return 0;
	count = (unsigned)head[1] << 8 | head[2];
	if (count > VMFT_DIGEST_PAGES_MAX)
		return -EBADMSG;
	return VMFT_DIGEST_HEAD_BYTES + 4 * (ssize_t)count;
}

enum vmft_event_kind vmft_event_kind(const struct vmft_log_format *format, uint8_t number)
{
	const struct vmft_event_type *type = vmft_event_type(format, number);

	if (vmft_event_is_ours(number))
		return VMFT_EVENT_OURS;
	return type ? type->kind : VMFT_EVENT_NONE;
}

ssize_t vmft_event_length(const struct vmft_log_format *format, const uint8_t *head, size_t n)
{
	const struct vmft_event_type *type;

	if (n == 0)
		return 0;
	switch (head[0]) {
	case VMFT_ENTRY_OUTPUT:
		return VMFT_OUTPUT_ENTRY_BYTES;
	case VMFT_ENTRY_DIGEST:
		return digest_length(head, n);
	case VMFT_ENTRY_CLOCK:
		return VMFT_CLOCK_ENTRY_BYTES;
	case VMFT_ENTRY_BUTTON:
		return VMFT_BUTTON_ENTRY_BYTES;
	default:
		break;
	}
	type = vmft_event_type(format, head[0]);
	if (!type)
		return -EBADMSG;
	return type->length ? type->length(head, n) : type->bytes;
}

void vmft_log_cursor_init(struct vmft_log_cursor *cursor, const struct vmft_log_format *format,
			  uint64_t position)
{
	*cursor = (struct vmft_log_cursor){
	    .format = format, .fed = position, .boundary = position, .begin = position};
}

static void event_complete(struct vmft_log_cursor *c)
{
	c->have = 0;
	if (c->kind == VMFT_EVENT_OURS) {
		if (c->boundary == c->begin)
			c->boundary = c->fed;
		if (c->head[0] == VMFT_ENTRY_CLOCK)
			c->host_ns = (int64_t)get_be64(c->head + 10);
		return;
	}
	c->events++;
	if (c->kind != VMFT_EVENT_INSTRUCTION)
		c->boundary = c->fed;
	if (c->kind == VMFT_EVENT_BLOCK)
		c->blocks++;
	if (c->kind == VMFT_EVENT_CLOCK_VIRTUAL_RT)
		c->guest_ns = (int64_t)get_be64(c->head + 1);
	if (c->kind == VMFT_EVENT_END)
		c->ended = true;
	if (c->kind == VMFT_EVENT_SHUTDOWN)
		c->leaves = true;
}

static int feed_head(struct vmft_log_cursor *c, uint8_t byte)
{
	ssize_t length;

	if (c->ended)
		return -EBADMSG;
	if (c->have == 0) {
		c->begin = c->fed;
		c->kind = vmft_event_kind(c->format, byte);
	}
	c->head[c->have++] = byte;
	c->fed++;
	length = vmft_event_length(c->format, c->head, c->have);
	if (length < 0)
		return (int)length;
	if (length == 0)
		return 0;
	/* CLOCK needs its value kept, so what fits into head is gathered there. */
	if (length <= VMFT_EVENT_HEAD_MAX && (size_t)length > c->have)
		return 0;
	c->left = (uint64_t)length - c->have;
	if (c->left == 0)
		event_complete(c);
	return 0;
}

static ssize_t feed(struct vmft_log_cursor *c, const uint8_t *bytes, size_t n, bool ours)
{
	const size_t all = n;

	while (n > 0) {
		int rc;

		if (c->left > 0) {
			size_t take = c->left < n ? (size_t)c->left : n;

			c->left -= take;
			c->fed += take;
			bytes += take;
			n -= take;
			if (c->left == 0)
				event_complete(c);
			continue;
		}
		if (!ours && c->have == 0 && vmft_event_is_ours(*bytes))
			break;
		rc = feed_head(c, *bytes);
		if (rc < 0)
			return rc;
		bytes++;
		n--;
	}
	return (ssize_t)(all - n);
}

int vmft_log_cursor_feed(struct vmft_log_cursor *c, const uint8_t *bytes, size_t n)
{
	ssize_t rc = feed(c, bytes, n, true);

	return rc < 0 ? (int)rc : 0;
}

ssize_t vmft_log_cursor_feed_qemu(struct vmft_log_cursor *c, const uint8_t *bytes, size_t n)
{
	return feed(c, bytes, n, false);
}

size_t vmft_output_entry_encode(const struct vmft_output_entry *entry, uint8_t *bytes)
{
	return (
	    size_t)(vmft_wire_put_u64(vmft_wire_put_u32(vmft_wire_put_u8(bytes, VMFT_ENTRY_OUTPUT),
							entry->length),
				      entry->digest) -
		    bytes);
}

void vmft_output_entry_decode(const uint8_t *bytes, struct vmft_output_entry *ret)
{
	ret->length = get_be32(bytes + 1);
	ret->digest = get_be64(bytes + 5);
}

size_t vmft_clock_entry_encode(const struct vmft_clock_entry *entry, uint8_t *bytes)
{
	uint8_t *p = vmft_wire_put_u8(vmft_wire_put_u8(bytes, VMFT_ENTRY_CLOCK), entry->shift);

	return (size_t)(vmft_wire_put_u64(vmft_wire_put_u64(p, (uint64_t)entry->bias),
					  (uint64_t)entry->host_ns) -
			bytes);
}

int vmft_clock_entry_decode(const uint8_t *bytes, struct vmft_clock_entry *ret)
{
	ret->shift = bytes[1];
	ret->bias = (int64_t)get_be64(bytes + 2);
	ret->host_ns = (int64_t)get_be64(bytes + 10);
	return ret->shift > VMFT_CLOCK_SHIFT_MAX ? -EBADMSG : 0;
}

size_t vmft_digest_entry_encode(const struct vmft_digest_entry *entry, uint8_t *bytes)
{
	uint8_t *p = vmft_wire_put_u16(vmft_wire_put_u8(bytes, VMFT_ENTRY_DIGEST), entry->count);

	p = vmft_wire_put_u64(p, entry->processor);
	p = vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u32(p, entry->pages), entry->first),
			      entry->stride);
	for (unsigned i = 0; i < entry->count; i++)
		p = vmft_wire_put_u32(p, entry->digest[i]);
	return (size_t)(p - bytes);
}

int vmft_digest_entry_decode(const uint8_t *bytes, size_t n, struct vmft_digest_entry *ret)
{
	struct vmft_wire_reader r = {.at = bytes + 1, .left = n - 1};

	ret->count = (uint16_t)vmft_wire_get(&r, 2);
	if (ret->count > VMFT_DIGEST_PAGES_MAX)
		return -EBADMSG;
	ret->processor = vmft_wire_get(&r, 8);
	ret->pages = (uint32_t)vmft_wire_get(&r, 4);
	ret->first = (uint32_t)vmft_wire_get(&r, 4);
	ret->stride = (uint32_t)vmft_wire_get(&r, 4);
	for (unsigned i = 0; i < ret->count; i++)
		ret->digest[i] = (uint32_t)vmft_wire_get(&r, 4);
	return ret->pages == 0 ? -EBADMSG : vmft_wire_finish(&r);
}

uint32_t vmft_digest_entry_page(const struct vmft_digest_entry *entry, uint32_t i)
{
	return (uint32_t)((entry->first + (uint64_t)i * entry->stride) % entry->pages);
}
