/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An inner packet (one IP packet) on its way between TUN, netstack and overlay: a view, never an
 * owner. It is valid for the call it is passed to; who wants to keep it copies it.
 *
 * Super-packets. `gso` != 0: an IPv4/IPv6 TCP packet of up to 64 KiB that stands for several
 * segments of `gso` payload bytes each (the last may be shorter). The node that sends it over a
 * path cuts it there.
 *
 * Checksums. Inside culvert everything is protected by the AEAD, so the checksum field of an
 * unfragmented TCP or UDP packet is undefined: nobody computes or verifies it, and tun/ has the
 * kernel fill it in (docs/protocol.md). IPv4 header checksums, ICMP's, and those of fragmented
 * datagrams are right.
 */
#pragma once

#include "base/addr.h"
#include "base/util.h"

enum {
	INNER_MTU = 1420, /* every inner packet that is no super-packet, everywhere and for ever */
	PKT_MAX = 65535,  /* bytes of a super-packet */
};

struct pkt {
	uint8_t *data;
	uint32_t len;
	uint16_t gso; /* TCP payload bytes per segment, 0 = not a super-packet */
};

/*
 * An opaque token for "a transport and an address on it". overlay/ keeps and compares it
 * (path_equal), only transport/ and node/ look inside. `local` is the address the peer reached us
 * at, so that answers leave from it.
 */
struct path {
	uint32_t transport; /* which of the node's transports */
	uint32_t ifindex;   /* 0 = any */
	union sockaddr_any remote;
	struct ipaddr local; /* family 0 = let the kernel choose */
};

bool path_equal(const struct path *a, const struct path *b); /* transport and remote */
