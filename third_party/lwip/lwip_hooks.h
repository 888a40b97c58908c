/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that lwIP's TCP calls in netstack/lwip_ip.c. */
#pragma once

#include "lwip/ip_addr.h"

struct tcp_pcb;

/* The initial sequence number of RFC 6528: a clock plus a keyed hash of the 4-tuple. */
u32_t netstack_isn(const ip_addr_t *local, u16_t lport, const ip_addr_t *remote, u16_t rport);
/* A keyed hash of the 4-tuple, for the table of connections. */
u32_t netstack_tuple_hash(const ip_addr_t *local, u16_t lport, const ip_addr_t *remote,
			  u16_t rport);
/* Payload bytes per packet of the connection whose segment is being sent; a larger segment is a super-packet. */
extern u16_t tcp_wire_mss;
/* Data, SYN and FIN segments sent again, in all. */
extern unsigned long tcp_retransmits;
/* After input: 1 when the connection will be given to tcp_output() later in this turn of the loop. */
int netstack_output_later(struct tcp_pcb *pcb);
