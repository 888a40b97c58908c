/* SPDX-License-Identifier: Apache-2.0 */
/* The object, and the way of a packet that comes in. */
#include <errno.h>

#include "netstack/ip_layer.h"
#include "netstack/tcp.h"

enum { CONNS = 16384, CONNS_PER_PEER = 8192, MEMORY = 256 << 20 };
enum { ICMP4_UNREACHABLE = 3, ICMP6_UNREACHABLE = 1 };

static const char *const drop_names[NS_NUM_DROPS] = {
	[NS_DROP_VERSION] = "version",
	[NS_DROP_LENGTH] = "length",
	[NS_DROP_CHECKSUM] = "checksum",
	[NS_DROP_FRAGMENT] = "fragment",
	[NS_DROP_REASM_FULL] = "reassembly full",
	[NS_DROP_TCP_HEADER] = "TCP header",
	[NS_DROP_TCP_OPTIONS] = "TCP options",
	[NS_DROP_SOURCE] = "source",
	[NS_DROP_PROTO] = "protocol",
	[NS_DROP_SYN_LIMIT] = "SYN limit",
	[NS_DROP_CONN_LIMIT] = "connection limit",
	[NS_DROP_MEMORY] = "memory",
	[NS_DROP_UDP_HEADER] = "UDP header",
	[NS_DROP_ICMP] = "ICMP",
};

const char *netstack_drop_name(enum netstack_drop d)
{
	return (unsigned)d < NS_NUM_DROPS ? drop_names[d] : "unknown";
}

int netstack_new(struct netstack **np, struct event_base *base, const struct netstack_ops *ops,
		 void *arg, const struct netstack_limits *limits, struct error *e)
{
	struct netstack *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return error_set(e, -ENOMEM, "netstack: out of memory");
	ns->base = base;
	ns->ops = ops;
	ns->arg = arg;
	if (limits)
		ns->limits = *limits;
	if (!ns->limits.conns)
		ns->limits.conns = CONNS;
	if (!ns->limits.conns_per_peer)
		ns->limits.conns_per_peer = CONNS_PER_PEER;
	if (!ns->limits.memory)
		ns->limits.memory = MEMORY;
	int err = reasm_new(&ns->reasm);
	if (!err)
		err = tcp_layer_new(ns);
	if (err) {
		netstack_free(ns);
		return error_errno(e, err, "netstack");
	}
	*np = ns;
	return 0;
}

void netstack_free(struct netstack *ns)
{
	if (!ns)
		return;
	if (ns->tcp)
		tcp_layer_free(ns);
	reasm_free(ns->reasm);
	free(ns);
}

const struct netstack_stats *netstack_stats(const struct netstack *ns)
{
	return &ns->stats;
}

static bool is_unreachable(const struct ip_info *info, const uint8_t *data)
{
	return data[info->l4] ==
	       (info->proto == IP_PROTO_ICMP ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE);
}

static void input_unreachable(struct netstack *ns, const struct ip_info *info, const uint8_t *data)
{
	struct flow flow;
	uint8_t proto = 0;
	int err = ip_unreachable_parse(info, data, &flow, &proto);

	if (err && proto == IP_PROTO_TCP)
		tcp_unreachable(&flow, err);
	else if (err == -ECONNREFUSED && proto == IP_PROTO_UDP && ns->ops->udp_refused)
		ns->ops->udp_refused(ns->arg, &flow);
}

static void input_whole(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			void *peer)
{
	switch (info->proto) {
	case IP_PROTO_TCP:
		tcp_packet(ns, info, data, peer);
		break;
	case IP_PROTO_UDP:
		netstack_input_udp(ns, info, data, peer);
		break;
	default: /* ICMP(v6): the sanitizer lets no other through */
		if (is_unreachable(info, data))
			input_unreachable(ns, info, data);
		else
			netstack_input_echo(ns, info, data, peer);
	}
}

static void input_fragment(struct netstack *ns, const struct ip_info *fragment, const uint8_t *data,
			   void *peer)
{
	enum netstack_drop why = NS_NUM_DROPS;
	struct ip_info info;
	const uint8_t *whole;
	size_t len;

	if (!reasm_input(ns->reasm, clock_boot(), fragment, data, peer, &whole, &len, &why)) {
		if (why != NS_NUM_DROPS)
			netstack_drop(ns, why);
		return;
	}
	enum ip_verdict verdict = ip_sanitize(&info, whole, len, &why);
	if (verdict != IP_PASS)
		netstack_drop(ns, verdict == IP_DROP ? why : NS_DROP_FRAGMENT);
	else if (!ip_checksum_ok(&info, whole))
		netstack_drop(ns, NS_DROP_CHECKSUM);
	else
		input_whole(ns, &info, whole, peer);
}

void netstack_input(struct netstack *ns, const struct pkt *pkt, void *peer)
{
	enum netstack_drop why = NS_NUM_DROPS;
	struct ip_info info;

	ns->stats.rx_packets++;
	switch (ip_sanitize(&info, pkt->data, pkt->len, &why)) {
	case IP_PASS:
		input_whole(ns, &info, pkt->data, peer);
		break;
	case IP_REASSEMBLE:
		input_fragment(ns, &info, pkt->data, peer);
		break;
	case IP_DROP:
		netstack_drop(ns, why);
		break;
	}
}
