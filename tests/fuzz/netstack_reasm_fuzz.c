/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inner packets into the sanitizer and the reassembler, as netstack.c does it; and what comes out,
 * back through the sanitizer and into what the parts behind it do. Input: records of u8 what (bit
 * 0: peer, bits 1-7: how much time has passed, in 1/8 s), u16 length (little endian), bytes.
 */
#include "netstack/ip_layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Reads all that IP_PASS promises. */
static void use(const struct ip_info *info, const uint8_t *pkt, size_t len)
{
	uint8_t out[IP_BUILD_MAX];
	struct flow flow;
	uint8_t proto;

	check(info->total <= len && info->l4 <= info->total && !info->fragment);
	check(!ipaddr_equal(&info->src, &info->dst) && !ipaddr_is_multicast(&info->src));
	(void)ip_checksum_ok(info, pkt);
	(void)ip_unreachable_parse(info, pkt, &flow, &proto);
	check(ip_build_unreachable(out, IP_UNREACHABLE_PORT, pkt, info->total) <= sizeof(out));
	if (info->proto == IP_PROTO_TCP)
		check((size_t)(pkt[info->l4 + 12] >> 4) * 4 <= info->total - info->l4);
	else
		check(info->total - info->l4 >= 8);
	if (info->proto == IP_PROTO_UDP)
		check(get_be16(pkt + info->l4 + 4) <= info->total - info->l4);
}

static void input(struct reasm *r, nsec_t now, const uint8_t *pkt, size_t len, void *peer)
{
	enum netstack_drop why;
	struct ip_info info;
	const uint8_t *whole;
	size_t whole_len;

	enum ip_verdict v = ip_sanitize(&info, pkt, len, &why);
	if (v == IP_PASS)
		use(&info, pkt, len);
	if (v == IP_DROP)
		check(why < NS_NUM_DROPS);
	if (v != IP_REASSEMBLE)
		return;
	bool done = reasm_input(r, now, &info, pkt, peer, &whole, &whole_len, &why);
	check(reasm_bytes(r) <= NETSTACK_REASM_BYTES && why <= NS_NUM_DROPS);
	if (!done)
		return;
	check(whole_len <= PKT_MAX);
	v = ip_sanitize(&info, whole, whole_len, &why);
	check(v != IP_REASSEMBLE);
	if (v == IP_PASS)
		use(&info, whole, whole_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reasm *r;
	nsec_t now = NSEC_PER_SEC;
	static char peers[2];

	if (reasm_new(&r) < 0)
		return 0;
	while (size >= 3) {
		size_t len = MIN((size_t)(data[1] | data[2] << 8), size - 3);
		uint8_t *copy = malloc(
			len +
			1); /* exact but for one byte, as the sanitizer may be given nothing */

		now += (data[0] >> 1) * (NSEC_PER_SEC / 8);
		memcpy(copy + 1, data + 3, len);
		input(r, now, copy + 1, len, &peers[data[0] & 1]);
		free(copy);
		data += 3 + len;
		size -= 3 + len;
	}
	reasm_free(r);
	return 0;
}
