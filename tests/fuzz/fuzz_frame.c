/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes of a peer: the frame itself, and every payload decoder on the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "../../logging-channel/frame.h"
#include "driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_frame_info info;
	struct vmft_hello hello;
	struct vmft_ack ack;
	uint64_t value;
	ssize_t rc = vmft_frame_decode(data, size, &info);

	if (rc > 0 && ((size_t)rc > size || info.payload + info.length != data + rc))
		abort();
	if (vmft_hello_decode(data, size, &hello) == 0 &&
	    (strlen(hello.name) > VMFT_HELLO_NAME_MAX ||
	     hello.machine_bytes > VMFT_HELLO_DIGEST_MAX))
		abort();
	(void)vmft_ack_decode(data, size, &ack);
	(void)vmft_u64_decode(data, size, &value);
	return 0;
}

/* A sealed ACK, and a hello's payload. */
static const uint8_t frame[] = {
    'V', 'M', 'F', 'T', 0, 1, 0, 4, 0x3c, 0x1f, 0x6e, 0x52, 9, 8, 7, 6, 0,  0, 0,
    0,	 0,   0,   0,	1, 0, 0, 0, 0,	  0,	0,    1,    0, 0, 0, 0, 16, 0, 0,
    0,	 0,   0,   0,	0, 0, 0, 0, 0,	  9,	0,    0,    0, 0, 0, 0, 0,  8,
};
static const uint8_t hello_bytes[] = {
    1, 0, 0xe0, 0x20, 0x0c, 0, 0, 3, 0xe8, 4, 1, 2, 3, 4, 2, 5, 6, 1, 7, 3, 'v', 'm', '1',
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {frame, sizeof(frame)},
    {hello_bytes, sizeof(hello_bytes)},
    {0},
};
