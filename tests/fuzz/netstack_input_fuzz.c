/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets into netstack: sanitizer, reassembler, SYN records, lwIP. The input is a list of steps, each a
 * kind, a length of two bytes and that many bytes:
 *   0  a raw packet
 *   1  a TCP segment of the connection at hand, so that it gets past the sequence checks:
 *      flags, seq and ack as offsets from the right ones (plus 0x8000), window, options length, options, data
 *   2  turns of the loop
 */
#include <event2/event.h>
#include <stdlib.h>

#include "base/ip.h"
#include "netstack/netstack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct side {
	struct netstack *ns;
	uint32_t seq, ack; /* the right ones for our next segment */
};

static const uint8_t client[4] = {198, 18, 0, 2}, server[4] = {10, 9, 8, 7};

/* Follows what netstack sends, to stay in sequence. */
static void on_output(void *arg, struct pkt *pkt)
{
	struct side *side = arg;
	struct ip_info info;

	if (ip_parse(&info, pkt->data, pkt->len) || info.proto != IP_PROTO_TCP ||
	    info.src.family != 4)
		return;
	const uint8_t *tcp = pkt->data + info.l4;
	uint32_t payload = info.total - info.l4 - (uint32_t)(tcp[12] >> 4) * 4;
	uint8_t flags = tcp[13];
	if (flags & TCP_RST)
		return;
	side->ack = get_be32(tcp + 4) + payload + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	if (flags & TCP_ACK)
		side->seq = get_be32(tcp + 8);
}

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct iovec in[4], out[2];

	(void)arg;
	if (ev & STREAM_ERROR) {
		s->ops->abort(s);
		return;
	}
	int n = s->ops->peek(s, in, 4);
	if (n == 0) {
		s->ops->close(s);
		return;
	}
	if (n < 0)
		return;
	if (s->ops->reserve(s, out, 2) < 0) {
		s->ops->consume(s, in[0].iov_len); /* shut down before, or full */
		return;
	}
	size_t m = MIN(in[0].iov_len, out[0].iov_len);
	uint8_t first = *(uint8_t *)in[0].iov_base;
	memcpy(out[0].iov_base, in[0].iov_base, m);
	s->ops->commit(s, m);
	s->ops->consume(s, m);
	if (first == 'a')
		s->ops->abort(s);
	else if (first == 'c')
		s->ops->close(s);
	else if (first == 's')
		s->ops->shutdown(s);
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	(void)arg, (void)ctx;
	stream_set(s, on_event, NULL);
	s->ops->want(s, STREAM_READABLE);
}

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct side *side = arg;

	(void)peer;
	if (flow->dport % 8 == 1)
		netstack_reject(side->ns, syn, flow->dport / 8 % 4);
	else if (flow->dport % 8)
		netstack_accept(side->ns, syn);
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	(void)arg, (void)syn, (void)ctx;
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *peer)
{
	struct side *side = arg;

	(void)peer;
	if (len && data[0] == 'r')
		netstack_udp_refuse(side->ns, flow);
	else
		netstack_udp_reply(side->ns, flow, data, len);
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	struct side *side = arg;

	(void)peer;
	netstack_echo_reply(side->ns, flow, seq, data, len);
}

static void raw(struct side *side, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1); /* of its own, so that ASan sees its end */

	memcpy(copy, data, len);
	struct pkt pkt = {.data = copy, .len = (uint32_t)len};
	netstack_input(side->ns, &pkt, side);
	free(copy);
}

/* A signed 16-bit offset, modulo 2^32. */
static uint32_t offset(const uint8_t *p)
{
	return (uint32_t)get_be16(p) - UINT32_C(0x8000);
}

static void segment(struct side *side, const uint8_t *d, size_t len)
{
	uint8_t pkt[2048] = {0};

	if (len < 8)
		return;
	size_t options = MIN((size_t)(d[7] % 11) * 4, (len - 8) / 4 * 4);
	size_t payload = MIN(len - 8 - options, (size_t)1300);
	size_t total = 40 + options + payload;
	pkt[0] = 0x45;
	put_be16(pkt + 2, (uint16_t)total);
	pkt[8] = 64;
	pkt[9] = IP_PROTO_TCP;
	memcpy(pkt + 12, client, 4);
	memcpy(pkt + 16, server, 4);
	uint8_t *tcp = pkt + 20;
	put_be16(tcp, 40000);
	put_be16(tcp + 2, 80 + 2);
	put_be32(tcp + 4, side->seq + offset(d + 1));
	put_be32(tcp + 8, side->ack + offset(d + 3));
	tcp[12] = (uint8_t)((5 + options / 4) << 4);
	tcp[13] = d[0];
	put_be16(tcp + 14, get_be16(d + 5));
	memcpy(tcp + 20, d + 8, options + payload);
	ip4_header_checksum(pkt);
	raw(side, pkt, total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct netstack_ops ops = {.output = on_output,
						.tcp_syn = on_syn,
						.tcp_cancel = on_cancel,
						.tcp_open = on_open,
						.udp = on_udp,
						.echo = on_echo};
	struct side side = {.seq = 1000};
	struct event_base *base = event_base_new();

	if (netstack_new(&side.ns, base, &ops, &side, NULL, NULL))
		abort();
	while (len >= 3) {
		uint8_t kind = data[0] % 3;
		size_t n = MIN((size_t)get_be16(data + 1), len - 3);
		data += 3;
		len -= 3;
		if (kind == 0)
			raw(&side, data, n);
		else if (kind == 1)
			segment(&side, data, n);
		else
			event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		data += n;
		len -= n;
	}
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	netstack_forget_peer(side.ns, &side);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	if (netstack_stats(side.ns)->syns)
		abort();
	netstack_free(side.ns);
	event_base_free(base);
	return 0;
}
