/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold: keeps the laptop kernel's TCP connections alive while the manager is away; sans-IO.
 *
 * Left alone, the kernel retransmits into nothing, waits up to 120 s between attempts and gives up after tcp_retries2 of them. So what
 * it sends is answered as a receiver without room would: a window of zero is no reason to give up. The first unacknowledged segment
 * of each connection is kept. On return it is delivered, and the acknowledgement that it brings opens the window within one
 * round trip; a mere window update would leave the kernel waiting for its timer.
 *
 * Nothing is ever acknowledged that has not arrived: the sender keeps all of it, and a kept segment that gets lost costs time only.
 */
#pragma once

#include "base/clock.h"
#include "base/pkt.h"

enum {
	HOLD_FLOWS = 1024, /* connections that a segment is kept of */
	HOLD_SETTLE_S = 5, /* data is only looked at: longer than a first retransmission takes */
	HOLD_ANSWER = 80,  /* bytes of the longest answer */
};

struct hold;

struct hold_stats {
	uint64_t answered; /* segments, by a window of zero */
	uint64_t full;	   /* segments of connections above HOLD_FLOWS */
};

int hold_new(struct hold **hp, nsec_t now); /* away from now on; -ENOMEM */
void hold_free(struct hold *h);		    /* NULL-safe */

/*
 * A packet from the kernel. False: not for us (no plain TCP, a SYN or RST, one flow too many), it goes where it would go without us. True:
 * taken, and *answer is for the kernel: in `buf`, its transport checksum undefined (base/pkt.h); of length 0 when there is none.
 */
bool hold_take(struct hold *h, const struct pkt *pkt, nsec_t now, uint8_t buf[static HOLD_ANSWER],
	       struct pkt *answer);

/* Calls `send` with each kept packet, none longer than INNER_MTU, and forgets them all. `send` may change the bytes. */
void hold_release(struct hold *h, void (*send)(void *arg, struct pkt *pkt), void *arg);

unsigned hold_count(const struct hold *h); /* connections that something is kept of */
const struct hold_stats *hold_stats(const struct hold *h);
