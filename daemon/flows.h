/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flows: the laptop's TCP connections into the cluster, as its kernel has them. A manager that has been restarted knows none of them and
 * resets each at its next packet; but one that only receives sends none, and would wait for ever. So the kernel is asked
 * to say where it stands.
 */
#pragma once

#include <stdio.h>

#include "base/pkt.h"

/*
 * Calls `send` with packets for the kernel (to be written to the TUN), two for each connection from `v4` or `v6` (family 0 = none): bare ACKs from the
 * other end that lie half the sequence space apart. One of them at least is outside of the window, and the kernel answers it with its own ACK
 * (RFC 9293 3.10.7.4), which the manager resets or, if it knows the connection, takes for a duplicate. Returns how many connections.
 */
unsigned flows_ask(const struct ipaddr *v4, const struct ipaddr *v6,
		   void (*send)(void *arg, struct pkt *pkt), void *arg);

/* The same from the text of /proc/net/tcp or tcp6, for tests. */
unsigned flows_ask_table(FILE *table, const struct ipaddr *v4, const struct ipaddr *v6,
			 void (*send)(void *arg, struct pkt *pkt), void *arg);
