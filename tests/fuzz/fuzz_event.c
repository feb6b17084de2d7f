/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A log from the ring or the wire, fed whole and in pieces: both must see the same. */
#include <stdlib.h>

#include "../../logging-channel/event.h"
#include "driver.h"

static int feed(struct vmft_log_cursor *c, const uint8_t *data, size_t size, size_t piece)
{
	int rc = 0;

	vmft_log_cursor_init(c, 0);
	for (size_t at = 0; at < size && rc == 0; at += piece) {
		rc = vmft_log_cursor_feed(c, data + at, size - at < piece ? size - at : piece);
		if (c->boundary > c->fed || c->fed > at + piece)
			abort();
	}
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_log_cursor whole, pieces;
	int rc = feed(&whole, data, size, size ? size : 1);

	if (feed(&pieces, data, size, 3) != rc || pieces.boundary != whole.boundary ||
	    pieces.events != whole.events || pieces.guest_ns != whole.guest_ns)
		abort();
	return 0;
}

static const uint8_t log_bytes[] = {
    30, 29, 0,	0, 0,  0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 31, 9,  0, 0, 0, 0, 0,  0,
    0,	0,  4,	1, 2,  3, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1,	 22, 0, 0, 0, 1, 0,  0,
    0,	1,  27, 0, 0,  0, 0, 0, 0, 0, 2, 9, 9, 5, 0, 0,	 0,  0, 0, 0, 0, 1,  0,
    0,	0,  30, 1, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,	 0,  0, 0, 0, 0, 10, 39,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {log_bytes, sizeof(log_bytes)},
    {0},
};
