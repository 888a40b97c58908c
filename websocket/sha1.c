/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-1 (RFC 3174), for Sec-WebSocket-Accept alone, where it proves no secret: only that the other side read our key. */

#include "websocket/internal.h"

static uint32_t rol(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static void block(uint32_t h[static 5], const uint8_t *p)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (unsigned i = 0; i < 16; i++)
		w[i] = get_be32(p + i * 4);
	for (unsigned i = 16; i < 80; i++)
		w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (unsigned i = 0; i < 80; i++) {
		uint32_t f, k, t;

		if (i < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (i < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (i < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		t = rol(a, 5) + f + e + k + w[i];
		e = d;
		d = c;
		c = rol(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void sha1(const void *data, size_t len, uint8_t digest[static 20])
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	uint8_t last[128] = {0};
	const uint8_t *p = data;
	size_t left = len, end;

	for (; left >= 64; left -= 64, p += 64)
		block(h, p);
	memcpy(last, p, left);
	last[left] = 0x80;
	end = left < 56 ? 64 : 128;
	put_be64(last + end - 8, (uint64_t)len * 8);
	block(h, last);
	if (end == 128)
		block(h, last + 64);
	for (unsigned i = 0; i < 5; i++)
		put_be32(digest + i * 4, h[i]);
}
