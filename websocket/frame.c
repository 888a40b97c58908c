/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heads of frames, and masking by the word. The payload never passes through here in pieces of its own, so it can go
 * from the carrier's memory into the reader's; that, and 7 times the speed of masking, is why no library does it.
 */
#include <errno.h>

#include "websocket/internal.h"

enum { FIN = 0x80, RESERVED = 0x70, OPCODE = 0x0f, MASKED = 0x80, LEN16 = 126, LEN64 = 127 };

static bool is_known(uint8_t opcode)
{
	return opcode <= FRAME_BINARY || (opcode >= FRAME_CLOSE && opcode <= FRAME_PONG);
}

int frame_parse(struct frame *f, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t small;
	size_t head;

	if (len < 2)
		return 0;
	small = p[1] & 0x7f;
	*f = (struct frame){.fin = p[0] & FIN, .opcode = p[0] & OPCODE, .masked = p[1] & MASKED};
	/* No extension is ever negotiated. */
	if ((p[0] & RESERVED) || !is_known(f->opcode) ||
	    (frame_is_control(f) && (!f->fin || small > FRAME_CONTROL_MAX)))
		return -EPROTO;
	head = 2 + (small == LEN16 ? 2u : small == LEN64 ? 8u : 0u);
	if (len < head + (f->masked ? 4 : 0))
		return 0;
	f->len = small == LEN16 ? get_be16(p + 2) : small == LEN64 ? get_be64(p + 2) : small;
	/* The shortest form is a must. */
	if ((small == LEN16 && f->len < LEN16) ||
	    (small == LEN64 && (f->len <= UINT16_MAX || f->len >> 63)))
		return -EPROTO;
	if (f->masked) {
		memcpy(f->mask, p + head, 4);
		head += 4;
	}
	return (int)head;
}

size_t frame_head(uint8_t out[static FRAME_HEAD_MAX], enum frame_opcode opcode, size_t len,
		  const uint8_t *mask)
{
	uint8_t masked = mask ? MASKED : 0;
	size_t head = 2;

	out[0] = (uint8_t)(FIN | opcode);
	if (len < LEN16) {
		out[1] = (uint8_t)(masked | len);
	} else if (len <= UINT16_MAX) {
		out[1] = masked | LEN16;
		put_be16(out + 2, (uint16_t)len);
		head += 2;
	} else {
		out[1] = masked | LEN64;
		put_be64(out + 2, len);
		head += 8;
	}
	if (mask) {
		memcpy(out + head, mask, 4);
		head += 4;
	}
	return head;
}

void frame_mask(void *dst, const void *src, size_t len, const uint8_t mask[static 4],
		uint64_t offset)
{
	const uint8_t *in = src;
	uint8_t *out = dst, turned[8];
	uint64_t word, key;

	for (unsigned i = 0; i < sizeof(turned); i++)
		turned[i] = mask[(offset + i) % 4];
	memcpy(&key, turned, sizeof(key));
	for (; len >= sizeof(word); len -= sizeof(word)) {
		memcpy(&word, in, sizeof(word));
		word ^= key;
		memcpy(out, &word, sizeof(word));
		in += sizeof(word);
		out += sizeof(word);
	}
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] ^ turned[i];
}
