/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cursors: every multi-byte number on the wire goes through these. For codecs only. */
#ifndef VMFT_WIRE_H
#define VMFT_WIRE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

static inline uint8_t *put_u8(uint8_t *p, uint8_t v)
{
	*p = v;
	return p + 1;
}

static inline uint8_t *put_u16(uint8_t *p, uint16_t v)
{
	return put_u8(put_u8(p, (uint8_t)(v >> 8)), (uint8_t)v);
}

static inline uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	return put_u16(put_u16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

static inline uint8_t *put_u64(uint8_t *p, uint64_t v)
{
	return put_u32(put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

struct reader {
	const uint8_t *at;
	size_t left;
	int failed; /* 0 or -EBADMSG; once failed, every get gives 0 */
};

static inline uint64_t get(struct reader *r, size_t bytes)
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

static inline int finish(const struct reader *r)
{
	return r->failed ? r->failed : r->left > 0 ? -EBADMSG : 0;
}

#endif
