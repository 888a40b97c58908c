/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting TCP segments together again, as a network card does (GRO): consecutive segments of one
 * flow from one peer become a super-packet, if cutting that gives the same segments back. Several
 * flows may be under way at once.
 *
 * A super-packet that came whole (longer than INNER_MTU; the caller lets only TCP through) is large
 * enough, and goes on as it is.
 *
 * Order is kept within a flow: what does not continue the flow's run sends the run on first. Other
 * packets are delivered at once.
 */
#pragma once

#include "base/pkt.h"

struct merge;

enum { MERGE_RUNS = 16 /* flows under way at once; one more sends the oldest on */ };

/* `owner` distinguishes flows of different peers; it is given back with the packet. */
typedef void merge_deliver(void *arg, void *owner, struct pkt *pkt);

int merge_new(struct merge **mp, merge_deliver *deliver, void *arg);
void merge_free(struct merge *m); /* delivers nothing */
/* Takes one packet (its bytes may be changed). */
void merge_packet(struct merge *m, void *owner, uint8_t *data, size_t len);
/* Delivers all runs, the oldest first. */
void merge_flush(struct merge *m);
