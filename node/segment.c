/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the headers of a TCP segment, and writing the fields that depend on its length. */
#include "node/segment.h"

enum { IPV4_HEADER = 20, IPV6_HEADER = 40, TCP_HEADER = 20, IPV4_FRAGMENT_BITS = 0x3fff };

/* Sets version and l4; returns the length by the IP header, 0 = not a plain TCP packet. */
static size_t parse_ip(struct segment *s, const uint8_t *data, size_t len)
{
	size_t total;

	if (len < IPV4_HEADER)
		return 0;
	s->version = data[0] >> 4;
	if (s->version == 4) {
		s->l4 = (uint16_t)((data[0] & 0xf) * 4);
		if (s->l4 < IPV4_HEADER || data[9] != IP_PROTO_TCP ||
		    get_be16(data + 6) & IPV4_FRAGMENT_BITS)
			return 0;
		total = get_be16(data + 2);
	} else if (s->version == 6) {
		if (len < IPV6_HEADER || data[6] != IP_PROTO_TCP)
			return 0;
		s->l4 = IPV6_HEADER;
		total = (size_t)get_be16(data + 4) + IPV6_HEADER;
	} else {
		return 0;
	}
	return total <= len ? total : 0;
}

bool segment_parse(struct segment *s, const uint8_t *data, size_t len)
{
	size_t total = parse_ip(s, data, len);
	const uint8_t *tcp;
	size_t tcp_len;

	if (!total || total < (size_t)s->l4 + TCP_HEADER)
		return false;
	tcp = data + s->l4;
	tcp_len = (size_t)(tcp[12] >> 4) * 4;
	if (tcp_len < TCP_HEADER || s->l4 + tcp_len > total)
		return false;
	s->headers = (uint16_t)(s->l4 + tcp_len);
	s->payload = (uint32_t)(total - s->headers);
	s->seq = get_be32(tcp + 4);
	s->flags = tcp[13];
	return true;
}

void segment_set_length(uint8_t *data, const struct segment *s, size_t len)
{
	if (s->version == 4) {
		put_be16(data + 2, (uint16_t)len);
		ip4_header_checksum(data);
	} else {
		put_be16(data + 4, (uint16_t)(len - IPV6_HEADER));
	}
}
