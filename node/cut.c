/* SPDX-License-Identifier: Apache-2.0 */
/* The cutter. Transport checksums are left undefined (base/pkt.h). */
#include "node/cut.h"

bool cut_begin(struct cut *c, const struct pkt *pkt, uint32_t fit)
{
	*c = (struct cut){.pkt = pkt};
	if (!segment_parse(&c->head, pkt->data, pkt->len) || !c->head.payload ||
	    fit <= c->head.headers)
		return false;
	c->size = fit - c->head.headers;
	if (pkt->gso)
		c->size = MIN(c->size, pkt->gso);
	return true;
}

/* The packet's own headers are what all others are made of: they stay. */
static bool room_around(const struct cut *c, uint32_t n)
{
	return c->done >= MAX((uint32_t)CUT_HEAD, (uint32_t)c->head.headers) &&
	       c->head.payload - c->done - n >= CUT_TAIL;
}

uint8_t *cut_next(struct cut *c, uint8_t *out, size_t *len)
{
	const struct segment *h = &c->head;
	uint32_t n = MIN(c->size, h->payload - c->done);
	uint8_t flags = h->flags;

	if (!n)
		return NULL;
	if (room_around(c, n))
		out = c->pkt->data + c->done;
	else
		memcpy(out + h->headers, c->pkt->data + h->headers + c->done, n);
	memcpy(out, c->pkt->data, h->headers);

	if (c->done + n < h->payload)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (c->index)
		flags &= (uint8_t)~TCP_CWR;
	out[h->l4 + 13] = flags;
	put_be32(out + h->l4 + 4, h->seq + c->done);
	if (h->version == 4)
		put_be16(out + 4, (uint16_t)(get_be16(out + 4) + c->index));
	segment_set_length(out, h, h->headers + n);

	c->index++;
	c->done += n;
	*len = h->headers + n;
	return out;
}
