/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A log from the ring or the wire, fed whole and in pieces: both must see the same. */
#include <stdlib.h>

#include "driver.h"
#include "logging-channel/event.h"

static int feed(struct vmft_log_cursor *c, const uint8_t *data, size_t size, size_t piece)
{
	int rc = 0;

	vmft_log_cursor_init(c, vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2), 0);
	for (size_t at = 0; at < size && rc == 0; at += piece) {
		rc = vmft_log_cursor_feed(c, data + at, size - at < piece ? size - at : piece);
		if (c->boundary > c->fed || c->fed > at + piece)
			abort();
	}
	return rc;
}

/* As the agent of a backup reads a log: QEMU's entries in pieces, ours one by one. */
static int feed_apart(struct vmft_log_cursor *c, const uint8_t *data, size_t size)
{
	static struct vmft_digest_entry digest;
	struct vmft_output_entry output;
	size_t at = 0;

	vmft_log_cursor_init(c, vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2), 0);
	while (at < size) {
		ssize_t n = vmft_log_cursor_feed_qemu(c, data + at, size - at);

		if (n < 0)
			return (int)n;
		at += (size_t)n;
		if (at == size)
			break;
		if (!vmft_event_is_ours(data[at]))
			abort();
		n = vmft_event_length(vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2), data + at,
				      size - at);
		if (n < 0)
			return (int)n;
		if (n == 0 || (size_t)n > size - at)
			n = (ssize_t)(size - at);
		else if (data[at] == VMFT_ENTRY_OUTPUT)
			vmft_output_entry_decode(data + at, &output);
		else if (vmft_digest_entry_decode(data + at, (size_t)n, &digest) == 0)
			for (uint32_t i = 0; i < digest.count; i++)
				if (vmft_digest_entry_page(&digest, i) >= digest.pages)
					abort();
		if (vmft_log_cursor_feed(c, data + at, (size_t)n) < 0)
			return -1;
		at += (size_t)n;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_log_cursor whole, pieces, apart;
	int rc = feed(&whole, data, size, size ? size : 1);

	if (feed(&pieces, data, size, 3) != rc || pieces.boundary != whole.boundary ||
	    pieces.events != whole.events || pieces.guest_ns != whole.guest_ns ||
	    pieces.host_ns != whole.host_ns)
		abort();
	if ((feed_apart(&apart, data, size) < 0) != (rc < 0) || apart.boundary != whole.boundary ||
	    apart.blocks != whole.blocks)
		abort();
	return 0;
}

static const uint8_t log_bytes[] = {
    30, 29, 0, 0, 0, 0, 0,  0, 0, 5, 0,	   0, 0, 1,    0,  31, 9, 0, 0, 0, 0, 0,  0,	0,  0,
    4,	1,  2, 3, 4, 8, 0,  0, 0, 0, 0,	   0, 0, 1,    22, 0,  0, 0, 1, 0, 0, 0,  1,	27, 0,
    0,	0,  0, 0, 0, 0, 2,  9, 9, 5, 0,	   0, 0, 0,    0,  0,  0, 1, 0, 0, 0, 30, 0xe0, 0,  0,
    0,	60, 1, 2, 3, 4, 5,  6, 7, 8, 0xe1, 0, 1, 8,    7,  6,  5, 4, 3, 2, 1, 0,  0,	1,  0,
    0,	0,  0, 3, 0, 0, 0,  9, 1, 2, 3,	   4, 1, 0xe2, 3,  1,  2, 3, 4, 5, 6, 7,  8,	0,  0,
    0,	0,  0, 0, 2, 3, 26, 0, 0, 0, 0,	   0, 0, 0,    0,  0,  0, 0, 0, 0, 0, 0,  0,	10, 39,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {log_bytes, sizeof(log_bytes)},
    {0},
};
