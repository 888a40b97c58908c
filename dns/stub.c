/* SPDX-License-Identifier: Apache-2.0 */
/* The stub: its configuration and whose a name is. */
#include <errno.h>

#include "dns/internal.h"

static bool is_stub_itself(const union sockaddr_any *sa)
{
	struct ipaddr self, a = sockaddr_ip(sa);

	return ipaddr_parse(&self, DNS_STUB_ADDR) == 0 && ipaddr_equal(&self, &a);
}

static void close_servers(struct dns_stub *d)
{
	udp_drop_all(d);
	tcp_drop_all(d);
	for (unsigned i = 0; i < DNS_SERVERS; i++)
		upstream_close(&d->server[i]);
}

void dns_stub_set(struct dns_stub *d, const struct dns_config *cfg)
{
	/* What is under way is forgotten: its client asks again. */
	close_servers(d);
	d->cfg = *cfg;
	d->cfg.ndomains = MIN(d->cfg.ndomains, (unsigned)DNS_DOMAINS);
	d->server[0] = (struct upstream){.stub = d, .addr = cfg->cluster};
	d->nlocal = 0;
	for (unsigned i = 0; i < MIN(cfg->nresolvers, ARRAY_SIZE(cfg->resolver)); i++)
		if (!is_stub_itself(&cfg->resolver[i])) /* would be a loop */
			d->server[1 + d->nlocal++] =
				(struct upstream){.stub = d, .addr = cfg->resolver[i]};
}

int dns_stub_new(struct dns_stub **dp, struct event_base *base, int udp, int tcp,
		 const struct dns_config *cfg, struct error *e)
{
	struct dns_stub *d = calloc(1, sizeof(*d));

	if (!d)
		return error_errno(e, -ENOMEM, "DNS stub");
	d->base = base;
	d->udp = d->tcp = -1;
	dns_stub_set(d, cfg);
	evutil_make_socket_nonblocking(udp);
	evutil_make_socket_nonblocking(tcp);
	d->udp_ev = event_new(base, udp, EV_READ | EV_PERSIST, udp_client_readable, d);
	d->tcp_ev = event_new(base, tcp, EV_READ | EV_PERSIST, tcp_acceptable, d);
	d->tcp_pause = evtimer_new(base, tcp_accept_again, d);
	if (!d->udp_ev || !d->tcp_ev || !d->tcp_pause || event_add(d->udp_ev, NULL) < 0 ||
	    event_add(d->tcp_ev, NULL) < 0) {
		dns_stub_free(d);
		return error_errno(e, -ENOMEM, "DNS stub");
	}
	d->udp = udp;
	d->tcp = tcp;
	*dp = d;
	return 0;
}

void dns_stub_free(struct dns_stub *d)
{
	if (!d)
		return;
	close_servers(d);
	if (d->udp_ev)
		event_free(d->udp_ev);
	if (d->tcp_ev)
		event_free(d->tcp_ev);
	if (d->tcp_pause)
		event_free(d->tcp_pause);
	close_fd(&d->udp);
	close_fd(&d->tcp);
	free(d);
}

const struct dns_stats *dns_stub_stats(const struct dns_stub *d)
{
	return &d->stats;
}

int dns_stub_route(struct dns_stub *d, const uint8_t *msg, size_t len, unsigned *first,
		   unsigned *end)
{
	char name[256];
	uint16_t qtype;

	if (dns_question(msg, len, name, &qtype) || get_be16(msg + 4) != 1 || (msg[2] & DNS_QR)) {
		d->stats.malformed++;
		return -EINVAL;
	}
	for (unsigned i = 0; i < d->cfg.ndomains; i++) {
		if (dns_name_under(name, d->cfg.domain[i])) {
			d->stats.cluster++;
			*first = 0;
			*end = 1;
			return 0;
		}
	}
	d->stats.local++;
	*first = 1;
	*end = 1 + d->nlocal;
	return 0;
}

size_t dns_stub_refuse(uint8_t *msg, size_t len)
{
	size_t end = dns_question_end(msg, len);

	msg[2] = (uint8_t)((msg[2] & 0x79) |
			   DNS_QR); /* keeps opcode and RD; not authoritative, not truncated */
	msg[3] = DNS_RCODE_REFUSED;
	memset(msg + 6, 0, 6); /* no records */
	return end;
}
