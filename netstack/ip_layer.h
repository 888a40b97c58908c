/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands between raw inner packets and TCP: the sanitizer, the reassembler of inner fragments,
 * and the builders of the packets that netstack makes without lwIP (UDP, echo, ICMP errors, RST).
 * Functions over bytes: no clock, no loop.
 *
 * The way of a packet (netstack.c):
 *   ip_sanitize() -> IP_DROP: count
 *                 -> IP_REASSEMBLE: reasm_input(), and what comes out, again to ip_sanitize()
 *                 -> IP_PASS: by info.proto to TCP, netstack_input_udp() or netstack_input_echo()
 */
#pragma once

#include "base/clock.h"
#include "base/ip.h"
#include "netstack/netstack.h"

/* --- sanitizer (sanitize.c) ------------------------------------------------ */

enum ip_verdict {
	IP_PASS,       /* whole; its transport header is sane: see below */
	IP_REASSEMBLE, /* a fragment with a sane IP header; nothing above was looked at */
	IP_DROP,       /* *why says what to count */
};

/*
 * After IP_PASS: info->total bytes of `data` are the packet (padding behind is cut); both
 * addresses are unicast, not loopback, not equal; and proto is one of
 *
 *   TCP       at least 20 bytes; the data offset lies within the segment; the options are
 *             well-formed to their end, and those that lwIP reads have their right length;
 *             no port is 0; flags make sense (SYN, RST or ACK; no SYN with FIN or RST)
 *   UDP       at least 8 bytes; the length field is right; the destination port is not 0
 *   ICMP(v6)  of the packet's IP version; echo request or destination unreachable; 8 bytes
 *
 * Checksums of packets that arrived whole are not verified: the AEAD did that (base/pkt.h).
 */
enum ip_verdict ip_sanitize(struct ip_info *info, const uint8_t *data, size_t len,
			    enum netstack_drop *why);

/* Whether the UDP or ICMP checksum is right (always true for TCP). For reassembled packets: a
 * fragment that was attributed to the wrong datagram (16 bits of id) shows only here. */
bool ip_checksum_ok(const struct ip_info *info, const uint8_t *data);

/*
 * For an ICMP(v6) destination unreachable that passed ip_sanitize(): the flow of the packet it
 * quotes, as the quoted packet's sender names it (src = that sender), and its protocol. Returns the
 * errno that it means (-ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, -EACCES), or 0 when it quotes
 * nothing usable or the quoted sender is not who it was sent to.
 */
int ip_unreachable_parse(const struct ip_info *info, const uint8_t *data, struct flow *flow,
			 uint8_t *proto);

/* --- reassembler (reasm.c) ------------------------------------------------- */

struct reasm;
int reasm_new(struct reasm **rp);
void reasm_free(struct reasm *r);

/*
 * Takes one packet for which ip_sanitize() said IP_REASSEMBLE; copies it. True: it completed a
 * datagram, and *whole, *len are one contiguous packet without fragment fields, valid until the
 * next call. *why says what to count either way, NS_NUM_DROPS = nothing. Bounds NETSTACK_REASM_*;
 * at a bound the oldest datagram of the peer that has most goes. Overlapping fragments end their
 * datagram (RFC 5722), exact duplicates are ignored.
 */
bool reasm_input(struct reasm *r, nsec_t now, const struct ip_info *info, const uint8_t *data,
		 void *peer, const uint8_t **whole, size_t *len, enum netstack_drop *why);
size_t reasm_bytes(const struct reasm *r); /* held now */

/* --- builders (build.c) ---------------------------------------------------- */

enum { IP_BUILD_MAX = 1280 }; /* what the single-packet builders need as room */

enum ip_unreachable { IP_UNREACHABLE_HOST, IP_UNREACHABLE_PORT, IP_UNREACHABLE_PROHIBITED };

/* Refuses a SYN of `flow` with sequence number `isn`: RST, seq 0, ack isn + 1. Bytes written. */
size_t ip_build_rst(uint8_t out[static IP_BUILD_MAX], const struct flow *flow, uint32_t isn);

/* ICMP(v6) destination unreachable about the packet `orig`, of which the IP header and 8 bytes are
 * enough; from its destination to its source. Bytes written; 0 when `orig` is not a packet one may
 * answer to. */
size_t ip_build_unreachable(uint8_t out[static IP_BUILD_MAX], enum ip_unreachable what,
			    const uint8_t *orig, size_t len);

/* The IP header and first 8 bytes of a TCP SYN or UDP packet of `flow`, to quote when the packet is
 * gone. Bytes written. */
size_t ip_build_quote(uint8_t out[static IP_BUILD_MAX], const struct flow *flow, uint8_t proto,
		      uint32_t isn);

/* Gets each packet that ip_build_udp/echo make; may change the bytes, which are gone after the
 * return. */
typedef void ip_emit_fn(void *arg, uint8_t *data, size_t len);

/* A datagram from flow->dst:dport to flow->src:sport with checksum, in fragments above INNER_MTU. 0
 * or -EMSGSIZE. */
int ip_build_udp(const struct flow *flow, const uint8_t *data, size_t len, ip_emit_fn *emit,
		 void *arg);
/* An echo reply from flow->dst to flow->src; flow->sport is the identifier. Likewise. */
int ip_build_echo_reply(const struct flow *flow, uint16_t seq, const uint8_t *data, size_t len,
			ip_emit_fn *emit, void *arg);

/* --- dispatch targets (udp.c) ---------------------------------------------- */

/* A UDP packet that passed: to ops->udp. */
void netstack_input_udp(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			void *peer);
/* An echo request that passed: to ops->echo. Other ICMP types are counted as NS_DROP_ICMP;
 * netstack.c takes destination unreachable out before, if it wants them. */
void netstack_input_echo(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			 void *peer);
