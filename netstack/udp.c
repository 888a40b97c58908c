/* SPDX-License-Identifier: Apache-2.0 */
/* UDP and echo between packets and the program's callbacks; lwIP has no part in it. */
#include "netstack/internal.h"
#include "netstack/ip_layer.h"

enum { UDP_HLEN = 8, ICMP_HLEN = 8, ICMP4_ECHO = 8, ICMP6_ECHO = 128 };

void netstack_input_udp(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			void *peer)
{
	const uint8_t *udp = data + info->l4;
	struct flow flow = {
		.src = info->src,
		.dst = info->dst,
		.sport = get_be16(udp),
		.dport = get_be16(udp + 2),
	};

	if (ns->ops->udp)
		ns->ops->udp(ns->arg, &flow, udp + UDP_HLEN, get_be16(udp + 4) - (size_t)UDP_HLEN,
			     peer);
}

void netstack_input_echo(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			 void *peer)
{
	const uint8_t *icmp = data + info->l4;

	if (icmp[0] != (info->src.family == 4 ? ICMP4_ECHO : ICMP6_ECHO)) {
		netstack_drop(ns, NS_DROP_ICMP);
		return;
	}
	struct flow flow = {.src = info->src, .dst = info->dst, .sport = get_be16(icmp + 4)};
	if (ns->ops->echo)
		ns->ops->echo(ns->arg, &flow, get_be16(icmp + 6), icmp + ICMP_HLEN,
			      info->total - info->l4 - (size_t)ICMP_HLEN, peer);
}

static void output(void *arg, uint8_t *data, size_t len)
{
	struct pkt pkt = {.data = data, .len = (uint32_t)len};

	netstack_output(arg, &pkt);
}

void netstack_udp_reply(struct netstack *ns, const struct flow *flow, const uint8_t *data,
			size_t len)
{
	if (ip_build_udp(flow, data, len, output, ns) < 0)
		netstack_drop(ns, NS_DROP_LENGTH);
}

void netstack_udp_send(struct netstack *ns, const struct flow *flow, const uint8_t *data,
		       size_t len)
{
	const struct flow back = {
		.src = flow->dst, .dst = flow->src, .sport = flow->dport, .dport = flow->sport};

	netstack_udp_reply(ns, &back, data, len);
}

void netstack_echo_reply(struct netstack *ns, const struct flow *flow, uint16_t seq,
			 const uint8_t *data, size_t len)
{
	if (ip_build_echo_reply(flow, seq, data, len, output, ns) < 0)
		netstack_drop(ns, NS_DROP_LENGTH);
}

void netstack_udp_refuse(struct netstack *ns, const struct flow *flow)
{
	uint8_t quote[IP_BUILD_MAX], pkt[IP_BUILD_MAX];
	size_t len = ip_build_quote(quote, flow, IP_PROTO_UDP, 0);

	len = ip_build_unreachable(pkt, IP_UNREACHABLE_PORT, quote, len);
	if (len)
		output(ns, pkt, len);
}
