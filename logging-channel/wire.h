/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cursors: every multi-byte number on the wire goes through these. For codecs only. */
#ifndef VMFT_WIRE_H
#define VMFT_WIRE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

static inline uint8_t *vmft_wire_put_u8(uint8_t *p, uint8_t v)
{
	*p = v;
	return p + 1;
}

static inline uint8_t *vmft_wire_put_u16(uint8_t *p, uint16_t v)
{
	return vmft_wire_put_u8(vmft_wire_put_u8(p, (uint8_t)(v >> 8)), (uint8_t)v);
}

static inline uint8_t *vmft_wire_put_u32(uint8_t *p, uint32_t v)
{
	return vmft_wire_put_u16(vmft_wire_put_u16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *vmft_wire_put_u64(uint8_t *p, uint64_t v)
{
	return vmft_wire_put_u32(vmft_wire_put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

struct vmft_wire_reader {
	const uint8_t *at;
	size_t left;
	int failed; /* 0 or -EBADMSG; once failed, every get gives 0 */
};

static inline uint64_t vmft_wire_get(struct vmft_wire_reader *r, size_t bytes)
{
	uint64_t v = 0;

	if (r->left < bytes) {
		r->failed = -EBADMSG;
		r->left = 0;
		return 0;
	}
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | r->at[i];
	r->at += bytes;
	r->left -= bytes;
	return v;
}

static inline int vmft_wire_finish(const struct vmft_wire_reader *r)
{
	return r->failed ? r->failed : r->left > 0 ? -EBADMSG : 0;
}

#endif
