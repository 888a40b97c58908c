/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a TCP packet into segments, as a network card does (TSO): same headers, growing sequence
 * number and IPv4 id; FIN and PSH only on the last, CWR only on the first.
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
/* Writes the next segment to `out` (room for `fit` bytes); its length, 0 = no more. */
size_t cut_next(struct cut *c, uint8_t *out);
