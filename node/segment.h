/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP segments as bytes: super-packets are cut into them (cut.c) and put together from them
 * (merge.c). Pure functions. Only the plain shape counts as a segment here: an unfragmented IPv4
 * packet, or IPv6 without extension headers; other packets go their way whole.
 */
#pragma once

#include "base/ip.h"
#include "base/pkt.h"

struct segment {
	uint8_t version; /* 4 or 6 */
	uint8_t flags;
	uint16_t l4;	  /* where the TCP header starts */
	uint16_t headers; /* IP and TCP headers with options */
	uint32_t payload; /* bytes of data */
	uint32_t seq;
};

enum { SEGMENT_HEADERS_MAX = 60 + 60 };

/* False if it is no plain TCP segment or is malformed. Bytes after the length by its header do not
 * count. */
bool segment_parse(struct segment *s, const uint8_t *data, size_t len);

/* Writes the IP header's length (and IPv4's header checksum) for `len` bytes in all. */
void segment_set_length(uint8_t *data, const struct segment *s, size_t len);
