/* SPDX-License-Identifier: Apache-2.0 */
/* The stub: its configuration and whose a name is. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "dns/internal.h"

enum { RESOLVERS_FILE_MAX = 65536 };

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

static int by_name(const void *a, const void *b)
{
	return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

static void set_domains(struct dns_stub *d)
{
	const char *zone = d->cfg.zone;

	d->cfg.ndomains = MIN(d->cfg.ndomains, (unsigned)DNS_DOMAINS);
	for (unsigned i = 0; i < d->cfg.ndomains; i++)
		d->sorted[i] = d->cfg.domain[i];
	qsort(d->sorted, d->cfg.ndomains, sizeof(d->sorted[0]), by_name);
	snprintf(d->of_namespace, sizeof(d->of_namespace), "svc.%s", zone);
	snprintf(d->of_svc, sizeof(d->of_svc), "%s", zone);
	snprintf(d->of_name, sizeof(d->of_name), "%.63s.svc.%s", d->cfg.ns, zone);
}

static void set_servers(struct dns_stub *d)
{
	d->server[0] = (struct upstream){.stub = d, .addr = d->cfg.cluster};
	d->nlocal = 0;
	for (unsigned i = 0; i < MIN(d->cfg.nresolvers, ARRAY_SIZE(d->cfg.resolver)); i++)
		if (!is_stub_itself(&d->cfg.resolver[i])) /* would be a loop */
			d->server[1 + d->nlocal++] =
				(struct upstream){.stub = d, .addr = d->cfg.resolver[i]};
}

static bool same_servers(const struct dns_config *a, const struct dns_config *b)
{
	if (!sockaddr_equal(&a->cluster, &b->cluster) || a->nresolvers != b->nresolvers ||
	    strcmp(a->zone, b->zone) != 0 || strcmp(a->ns, b->ns) != 0)
		return false;
	for (unsigned i = 0; i < MIN(a->nresolvers, ARRAY_SIZE(a->resolver)); i++)
		if (!sockaddr_equal(&a->resolver[i], &b->resolver[i]))
			return false;
	return true;
}

void dns_stub_set(struct dns_stub *d, const struct dns_config *cfg)
{
	/* What is under way with other servers is forgotten: its client asks again. Namespaces may
	 * come and go without. */
	bool same = same_servers(&d->cfg, cfg);

	if (!same)
		close_servers(d);
	d->cfg = *cfg;
	set_domains(d);
	if (!same)
		set_servers(d);
}

void dns_stub_refresh(struct dns_stub *d)
{
	struct resolv_conf rc;
	struct stat st;

	if (!d->cfg.resolvers_file || stat(d->cfg.resolvers_file, &st) < 0 ||
	    memcmp(&st.st_mtim, &d->resolvers_at, sizeof(st.st_mtim)) == 0)
		return;
	cleanup(free_ptr) char *text = NULL;
	size_t len;
	if (file_read(d->cfg.resolvers_file, RESOLVERS_FILE_MAX, &text, &len, NULL))
		return;
	d->resolvers_at = st.st_mtim;
	resolv_parse(&rc, text, len);
	cleanup(free_ptr) struct dns_config *cfg = malloc(sizeof(*cfg));
	if (!cfg)
		return;
	*cfg = d->cfg;
	cfg->nresolvers = rc.nresolvers;
	memcpy(cfg->resolver, rc.resolver, sizeof(cfg->resolver));
	dns_stub_set(d, cfg);
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

/* --- whose a name is -------------------------------------------------------------------------- */

/* The domain of ours that the name lies in or under: the longest, NULL for none. */
static const char *domain_of(const struct dns_stub *d, const char *name)
{
	for (const char *at = name; at; at = strchr(at, '.')) {
		at += *at == '.';
		const char *const *found =
			bsearch(&at, d->sorted, d->cfg.ndomains, sizeof(d->sorted[0]), by_name);
		if (found)
			return *found;
	}
	return NULL;
}

/* What makes a short name a full one; NULL: it is none. */
static const char *suffix_of(const struct dns_stub *d, const char *name, const char *domain)
{
	if (!d->cfg.zone[0] || !*name || dns_name_under(name, d->cfg.zone))
		return NULL;
	if (!strchr(name, '.'))
		return d->cfg.ns[0] ? d->of_name : NULL;
	if (!domain || strchr(domain, '.'))
		return NULL;
	return strcasecmp(domain, "svc") == 0 ? d->of_svc : d->of_namespace;
}

int dns_stub_route(struct dns_stub *d, const uint8_t *msg, size_t len, struct dns_route *r)
{
	char name[256];
	uint16_t qtype;

	if (dns_question(msg, len, name, &qtype) || get_be16(msg + 4) != 1 || (msg[2] & DNS_QR)) {
		d->stats.malformed++;
		return -EINVAL;
	}
	const char *domain = domain_of(d, name);
	*r = (struct dns_route){.suffix = suffix_of(d, name, domain)};
	/* Anything but a plain query is for who has the name as it is. */
	if (r->suffix && !dns_expandable(msg, len)) {
		r->suffix = NULL;
		domain = NULL;
	}
	if (domain || r->suffix) {
		d->stats.cluster++;
		r->cluster = true;
		r->end = 1;
		return 0;
	}
	d->stats.local++;
	r->next = 1;
	r->end = 1 + d->nlocal;
	return 0;
}

/* The cluster has no such name: it is somebody else's, or nobody's. */
static void deny(struct dns_stub *d, struct dns_route *r)
{
	r->denied = true;
	r->next = 1;
	r->end = 1 + d->nlocal;
}

const uint8_t *dns_route_query(struct dns_stub *d, struct dns_route *r, unsigned server,
			       const uint8_t *msg, size_t len, size_t *out_len)
{
	*out_len = len;
	if (!r->suffix || server > 0)
		return msg;
	*out_len = dns_expand(d->made, DNS_EXPANDED_MAX, msg, len, r->suffix);
	if (*out_len)
		return d->made;
	deny(d, r);
	return NULL;
}

const uint8_t *dns_route_answer(struct dns_stub *d, struct dns_route *r, unsigned server,
				const uint8_t *ans, size_t *len, const uint8_t *asked,
				size_t asked_len, size_t limit)
{
	unsigned rcode = ans[3] & 0x0f;

	if (!r->suffix)
		return ans;
	if (server == 0 && rcode == DNS_RCODE_NXDOMAIN) {
		deny(d, r);
		return NULL;
	}
	if (server == 0 && rcode != 0)
		return NULL; /* it cannot say: as silence */
	if (server == 0)
		*len = dns_as_asked(d->made, sizeof(d->made), limit, ans, *len, asked, asked_len);
	else if (rcode == DNS_RCODE_NXDOMAIN)
		/* Without the SOA record, by which it would be kept for hours: the service may be
		 * made in a minute. */
		*len = dns_cut(d->made, sizeof(d->made), ans, *len, asked, asked_len);
	else
		return ans;
	if (*len == 0)
		d->stats.malformed++;
	return *len ? d->made : NULL;
}

size_t dns_route_nobody(const struct dns_route *r, uint8_t *msg, size_t len)
{
	/* Of the cluster's names we know nothing: silence. */
	if (r->cluster && !r->denied)
		return 0;
	return dns_stub_refuse(msg, len, r->denied ? DNS_RCODE_NXDOMAIN : DNS_RCODE_REFUSED);
}

size_t dns_stub_refuse(uint8_t *msg, size_t len, uint8_t rcode)
{
	size_t end = dns_question_end(msg, len);

	msg[2] = (uint8_t)((msg[2] & 0x79) |
			   DNS_QR); /* keeps opcode and RD; not authoritative, not truncated */
	msg[3] = rcode;
	memset(msg + 6, 0, 6); /* no records */
	return end;
}
