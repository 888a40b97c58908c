/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a TCP packet into segments, as a network card does (TSO): same headers, growing sequence
 * number and IPv4 id; FIN and PSH only on the last, CWR only on the first.
 *
 * Payload is not moved where that can be: the headers are written before it, over the end of the
 * segment before, which the caller is done with. Sealing reads around what it seals, so this goes
 * only in the midst of the packet.
 */
#pragma once

#include "node/segment.h"

struct cut {
	const struct pkt *pkt;
	struct segment head;
	uint32_t size; /* payload per segment */
	uint32_t done; /* payload already cut */
	uint16_t index;
};

/* Prepares to cut `pkt` into segments of at most `fit` bytes with headers (and of at most pkt->gso
 * payload). False: it is no TCP segment, has no payload, or not a byte of it fits. */
bool cut_begin(struct cut *c, const struct pkt *pkt, uint32_t fit);
/* The next segment, NULL = no more: in the packet, with CUT_HEAD bytes of that before it and CUT_TAIL
 * after, or in `out` (room for `fit` bytes). Valid until the next call. */
enum { CUT_HEAD = 64, CUT_TAIL = 576 };
uint8_t *cut_next(struct cut *c, uint8_t *out, size_t *len);
