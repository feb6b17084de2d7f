/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams on the heartbeat path, from the peer, from strangers, again and in any order. One
 * that counts is of the peer and newer than the last, and the path is never known to have worked
 * later than it was heard.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "logging-channel/wire.h"
#include "monitor/daemon/peer/heartbeat.h"

#define MS UINT64_C(1000000)

static void must(bool good)
{
	if (!good)
		abort();
}

/* A sealed one, right but for what the input says. */
static size_t make(struct vmft_wire_reader *r, const struct vmft_heartbeat *h, uint64_t now,
		   uint8_t *bytes)
{
	const uint8_t wrong = (uint8_t)vmft_wire_get(r, 1);
	struct vmft_frame_info info = {.type = VMFT_FRAME_BEAT, .generation = h->generation};
	struct vmft_beat beat = {.host = VMFT_HOST_SECOND, .clock = now, .echo = h->sent_ns};

	memcpy(beat.ticket, h->ours, sizeof(beat.ticket));
	strcpy(beat.name, "vm");
	if (wrong & 1)
		beat.clock = 1 + vmft_wire_get(r, 8) % UINT64_MAX;
	if (wrong & 2)
		beat.echo = vmft_wire_get(r, 8);
	if (wrong & 4)
		beat.ticket[vmft_wire_get(r, 1) % VMFT_TICKET_BYTES] ^= 1;
	if (wrong & 8)
		beat.host = (uint8_t)vmft_wire_get(r, 1);
	if (wrong & 16)
		info.generation += vmft_wire_get(r, 1);
	if (wrong & 32)
		info.type = (uint16_t)vmft_wire_get(r, 2);
	if (wrong & 64)
		beat.name[0] = (char)('a' + vmft_wire_get(r, 1) % 26);
	if (wrong & 128)
		info.position = vmft_wire_get(r, 1);
	info.length = (uint32_t)vmft_beat_encode(&beat, bytes + VMFT_FRAME_HEADER);
	vmft_frame_seal(bytes, &info);
	return VMFT_FRAME_HEADER + info.length;
}

static void take(struct vmft_heartbeat *h, const uint8_t *bytes, size_t n, uint64_t now)
{
	const struct vmft_heartbeat before = *h;
	char text[64];

	if (vmft_heartbeat_take(h, bytes, n, now) < 0)
		must(memcmp(&before, h, sizeof(before)) == 0);
	else
		must(h->their_clock > before.their_clock && h->heard_ns == now);
	must(h->works_ns <= h->heard_ns && vmft_heartbeat_silent_ns(h, now) >= now - h->heard_ns);
	vmft_heartbeat_describe(h, now, text, sizeof(text));
	must(text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vmft_pair_config config = {.name = "vm"};
	struct vmft_wire_reader r = {.at = data, .left = size};
	uint8_t bytes[VMFT_FRAME_HEADER + VMFT_BEAT_MAX];
	struct vmft_heartbeat h = {
	    .config = &config,
	    .fd = 0, /* nothing is read from it or written to it */
	    .host = VMFT_HOST_FIRST,
	    .peer = VMFT_HOST_SECOND,
	    .active = vmft_wire_get(&r, 1) != 0,
	    .generation = 7,
	    .fresh_ns = 50 * MS,
	    .begun_ns = 1,
	    .ours = {1, 2, 3},
	};
	uint64_t now = 1000 * MS;

	while (r.left > 0) {
		now += vmft_wire_get(&r, 1) * MS;
		h.sent_ns = now - vmft_wire_get(&r, 1) * MS;
		take(&h, bytes, make(&r, &h, now, bytes), now);
	}
	take(&h, data, size, now);
	return 0;
}

static const uint8_t beats[] = {
    1, 10, 1, 0, 10, 60, 0, 10, 0, 1, 0, 0, 0,	0, 0, 0, 0,  9, 10, 0, 2, 0,  0, 0, 0, 0,   0,
    0, 0,  9, 3, 4,  5,	 9, 3,	8, 0, 9, 3, 16, 1, 9, 3, 32, 0, 1,  9, 3, 64, 1, 9, 3, 128, 1,
};
/* of a side without a peer */
static const uint8_t idle[] = {0, 10, 1, 0, 1, 1, 0};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {beats, sizeof(beats)},
    {idle, sizeof(idle)},
    {0},
};
