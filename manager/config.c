/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration; every mistake is told with file, line and column. */
#include "manager/config.h"

#include <errno.h>
#include <stdio.h>

#include "base/duration.h"
#include "conf/conf.h"

enum { HOLDER_TIMEOUT_DEFAULT_S = 600, SESSION_TIMEOUT_DEFAULT_S = 86400 };

/* --- small values -------------------------------------------------------------------------------------- */

static int take_name(const struct conf_node *n, char *to, size_t size, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	if (strlen(s) >= size || !name_valid(s))
		return conf_error(
			n, e,
			"'%.80s' is no valid name: use 1 to %zu letters, digits, '.', '_' and '-'",
			s, size - 1);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

static int need_name(const struct conf_node *map, const char *key, char *to, size_t size,
		     struct error *e)
{
	const struct conf_node *n = NULL;
	int r = conf_need(map, key, &n, e);

	return r ? r : take_name(n, to, size, e);
}

static int take_list(const struct conf_node *n, size_t max, struct error *e)
{
	if (!conf_is_list(n))
		return conf_error(n, e, "expected a list");
	if (conf_count(n) > max)
		return conf_error(n, e, "at most %zu items are allowed here", max);
	return 0;
}

static int take_prefixes(const struct conf_node *n, struct config_prefixes *to, struct error *e)
{
	int r = take_list(n, CONFIG_PREFIXES, e);

	for (size_t i = 0; r == 0 && i < conf_count(n); i++)
		r = conf_prefix(conf_at(n, i), &to->p[to->n++], e);
	return r;
}

static int take_domains(const struct conf_node *n, size_t max, struct config_names *to,
			struct error *e)
{
	int r = take_list(n, max, e);

	for (size_t i = 0; r == 0 && i < conf_count(n); i++) {
		const struct conf_node *item = conf_at(n, i);
		const char *s = NULL;
		size_t len;

		r = conf_string(item, &s, e);
		if (r)
			return r;
		len = strlen(s);
		if (len && s[len - 1] == '.')
			len--;
		if (len == 0 || len > DOMAIN_MAX_LEN ||
		    strspn(s, "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789._-") < len)
			return conf_error(item, e, "'%.80s' is no domain name", s);
		memcpy(to->name[to->n], s, len);
		to->name[to->n++][len] = '\0';
	}
	return r;
}

/* --- top-level keys -------------------------------------------------------------------------------------- */

static int take_listen(union sockaddr_any *to, const struct conf_node *n, struct error *e)
{
	int r = conf_sockaddr(n, to, e);

	if (r == 0 && sockaddr_port(to) == 0)
		return conf_error(n, e, "the port must not be 0: laptops and agents must know it");
	return r;
}

static int take_folder(char **to, const struct conf_node *n, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	free(*to);
	*to = strdup(s);
	return *to ? 0 : error_errno(e, -ENOMEM, "configuration");
}

static int take_endpoints(struct config *c, const struct conf_node *n, struct error *e)
{
	int r = take_list(n, INVITE_ENDPOINTS, e);

	for (size_t i = 0; r == 0 && i < conf_count(n); i++) {
		union sockaddr_any sa;
		struct ipaddr a;

		r = conf_sockaddr(conf_at(n, i), &sa, e);
		if (r)
			return r;
		a = sockaddr_ip(&sa);
		if (ipaddr_is_unspecified(&a) || sockaddr_port(&sa) == 0)
			return conf_error(
				conf_at(n, i), e,
				"an endpoint is an address and port that others can reach");
		sockaddr_format(&sa, c->endpoint[c->nendpoints++]);
	}
	return r;
}

static int take_pool(struct config *c, const struct conf_node *n, struct error *e)
{
	int r = conf_prefix(n, &c->pool, e);

	if (r == 0 && (c->pool.addr.family != 4 || c->pool.len > 30))
		return conf_error(n, e, "the pool must be an IPv4 prefix of /30 or larger");
	return r;
}

static int take_duration(const struct conf_node *n, unsigned *seconds, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	*seconds = duration_parse(s, false, DURATION_YEAR);
	if (!*seconds)
		return conf_error(
			n, e,
			"expected a time with its unit, such as 90s, 10m or 24h, found '%.40s'", s);
	return 0;
}

static int take_dns_server(struct config *c, const struct conf_node *n, struct error *e)
{
	int r = conf_sockaddr(n, &c->dns_server, e);
	struct ipaddr a;

	if (r)
		return r;
	a = sockaddr_ip(&c->dns_server);
	if (ipaddr_is_loopback(&a) || ipaddr_is_unspecified(&a) ||
	    sockaddr_port(&c->dns_server) == 0)
		return conf_error(
			n, e,
			"laptops ask this server through the overlay: it needs an address "
			"and port that other machines could use, no loopback");
	return 0;
}

static int take_dns(struct config *c, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"server", "domains", "search", NULL};
	const struct conf_node *v = NULL;
	int r = conf_keys(n, keys, e);

	if (r == 0)
		r = conf_need(n, "server", &v, e);
	if (r == 0)
		r = take_dns_server(c, v, e);
	if (r == 0)
		r = conf_need(n, "domains", &v, e);
	if (r == 0)
		r = take_domains(v, CONFIG_DOMAINS, &c->domains, e);
	v = conf_get(n, "search");
	if (r == 0 && v)
		r = take_domains(v, CONFIG_SEARCH, &c->search, e);
	c->has_dns = r == 0;
	return r;
}

/* --- workloads -------------------------------------------------------------------------------------------- */

static int take_kind(const struct conf_node *n, enum workload_kind *k, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r == 0 && workload_kind_parse(k, s))
		r = conf_error(
			n, e, "expected deployment, replicaset, statefulset or host, found '%.40s'",
			s);
	return r;
}

static int take_protocol(const struct conf_node *n, bool *udp, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	if (strcmp(s, "tcp") && strcmp(s, "udp"))
		return conf_error(n, e, "expected tcp or udp, found '%.40s'", s);
	*udp = !strcmp(s, "udp");
	return 0;
}

static int take_port(const struct conf_node *n, struct service_port *p, struct error *e)
{
	static const char *const keys[] = {"name", "port", "target", "protocol", NULL};
	const struct conf_node *v = NULL;
	long port = 0, target;
	int r = conf_keys(n, keys, e);

	if (r == 0)
		r = conf_need(n, "port", &v, e);
	if (r == 0)
		r = conf_int(v, 1, UINT16_MAX, &port, e);
	target = port;
	v = conf_get(n, "target");
	if (r == 0 && v)
		r = conf_int(v, 1, UINT16_MAX, &target, e);
	v = conf_get(n, "name");
	if (r == 0 && v)
		r = take_name(v, p->name, sizeof(p->name), e);
	v = conf_get(n, "protocol");
	if (r == 0 && v)
		r = take_protocol(v, &p->udp, e);
	p->port = (uint16_t)port;
	p->target = (uint16_t)target;
	return r;
}

static int take_service(const struct conf_node *n, struct service *s, struct error *e)
{
	static const char *const keys[] = {"name", "ports", NULL};
	const struct conf_node *v = NULL;
	int r = conf_keys(n, keys, e);

	if (r == 0)
		r = need_name(n, "name", s->name, sizeof(s->name), e);
	if (r == 0)
		r = conf_need(n, "ports", &v, e);
	if (r == 0)
		r = take_list(v, WORKLOAD_PORTS, e);
	for (size_t i = 0; r == 0 && i < conf_count(v); i++) {
		r = take_port(conf_at(v, i), &s->port[s->nports++], e);
		for (unsigned k = 0; r == 0 && k + 1 < s->nports; k++) {
			const struct service_port *a = &s->port[k], *b = &s->port[s->nports - 1];

			if (s->nports > 1 && (!*a->name || !*b->name))
				r = conf_error(
					conf_at(v, i), e,
					"each port of a service with several ports needs a name");
			else if (!strcmp(a->name, b->name) ||
				 (a->port == b->port && a->udp == b->udp))
				r = conf_error(
					conf_at(v, i), e,
					"this port repeats the name or number of another one");
		}
	}
	return r;
}

static int take_pods(const struct conf_node *n, struct config_workload *cw, struct error *e)
{
	int r = take_list(n, CONFIG_PODS, e);

	if (r || conf_count(n) == 0)
		return r;
	cw->pod = calloc(conf_count(n), sizeof(*cw->pod));
	if (!cw->pod)
		return error_errno(e, -ENOMEM, "configuration");
	for (size_t i = 0; r == 0 && i < conf_count(n); i++)
		r = take_name(conf_at(n, i), cw->pod[cw->npods++], sizeof(*cw->pod), e);
	return r;
}

static int check_unique(const struct config *c, const struct conf_node *n, struct error *e)
{
	const struct workload *last = &c->workload[c->nworkloads - 1].w;

	for (unsigned i = 0; i + 1 < c->nworkloads; i++) {
		const struct workload *w = &c->workload[i].w;

		if (w->kind == last->kind && !strcmp(w->name, last->name) &&
		    !strcmp(w->ns, last->ns))
			return conf_error(n, e, "%s '%s' of namespace '%s' is here twice",
					  workload_kind_name(w->kind), w->name, w->ns);
	}
	return 0;
}

static int take_workload(struct config *c, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"kind", "name", "namespace", "pods", "services", NULL};
	struct config_workload *cw = &c->workload[c->nworkloads++];
	const struct conf_node *v = NULL;
	int r = conf_keys(n, keys, e);

	cw->w.kind = KIND_DEPLOYMENT;
	memcpy(cw->w.ns, c->ns, sizeof(cw->w.ns));
	v = conf_get(n, "kind");
	if (r == 0 && v)
		r = take_kind(v, &cw->w.kind, e);
	if (r == 0)
		r = need_name(n, "name", cw->w.name, sizeof(cw->w.name), e);
	v = conf_get(n, "namespace");
	if (r == 0 && v)
		r = take_name(v, cw->w.ns, sizeof(cw->w.ns), e);
	v = conf_get(n, "pods");
	if (r == 0 && v)
		r = take_pods(v, cw, e);
	v = conf_get(n, "services");
	if (r == 0 && v)
		r = take_list(v, WORKLOAD_SERVICES, e);
	for (size_t i = 0; r == 0 && v && i < conf_count(v); i++)
		r = take_service(conf_at(v, i), &cw->w.service[cw->w.nservices++], e);
	return r ? r : check_unique(c, n, e);
}

static int take_workloads(struct config *c, const struct conf_node *n, struct error *e)
{
	int r = take_list(n, CONFIG_WORKLOADS, e);

	if (r || conf_count(n) == 0)
		return r;
	c->workload = calloc(conf_count(n), sizeof(*c->workload));
	if (!c->workload)
		return error_errno(e, -ENOMEM, "configuration");
	for (size_t i = 0; r == 0 && i < conf_count(n); i++)
		r = take_workload(c, conf_at(n, i), e);
	return r;
}

/* --- Kubernetes ------------------------------------------------------------------------------------------- */

/* A name of Kubernetes, or "" where `empty` allows it. */
static int take_object_name(const struct conf_node *n, char *to, bool empty, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	if (empty && !*s) {
		*to = '\0';
		return 0;
	}
	return take_name(n, to, K8S_NAME_MAX + 1, e);
}

static int take_text(const struct conf_node *n, char *to, size_t size, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r == 0 && strlen(s) >= size)
		return conf_error(n, e, "at most %zu characters are allowed here", size - 1);
	if (r == 0)
		memcpy(to, s, strlen(s) + 1);
	return r;
}

static int take_service_prefix(struct config *c, const struct conf_node *n, struct error *e)
{
	const char *s = NULL;

	if (conf_string(n, &s, e) == 0 && !*s)
		return 0;
	return conf_prefix(n, &c->service_prefix, e);
}

struct text_room {
	char *to;
	size_t size;
};

/* No other keys than those; what is written of the first n, which are texts. */
static int take_texts(const struct conf_node *node, const char *const *keys,
		      const struct text_room *to, size_t n, struct error *e)
{
	int r = conf_keys(node, keys, e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct conf_node *v = conf_get(node, keys[i]);

		if (v)
			r = take_text(v, to[i].to, to[i].size, e);
	}
	return r;
}

static int take_agent(struct inject_config *a, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"image",	     "pull-policy", "cpu-request",
					   "memory-request", "cpu-limit",   "memory-limit",
					   "sidecar",	     NULL};
	const struct text_room to[] = {{a->image, sizeof(a->image)},
				       {a->pull_policy, sizeof(a->pull_policy)},
				       {a->cpu_request, sizeof(a->cpu_request)},
				       {a->memory_request, sizeof(a->memory_request)},
				       {a->cpu_limit, sizeof(a->cpu_limit)},
				       {a->memory_limit, sizeof(a->memory_limit)}};
	const struct conf_node *v = NULL;
	int r = take_texts(n, keys, to, ARRAY_SIZE(to), e);

	if (r == 0 && (v = conf_get(n, "sidecar")))
		r = conf_bool(v, &a->sidecar, e);
	return r;
}

static int take_allow(struct config_oidc *o, const struct conf_node *n, struct error *e)
{
	int r = take_list(n, OIDC_ALLOW, e);

	for (size_t i = 0; r == 0 && i < conf_count(n); i++) {
		char *to = o->allow[o->nallow];

		r = take_text(conf_at(n, i), to, sizeof(o->allow[0]), e);
		if (r == 0 && (*to == '=' || !strchr(to, '=')))
			r = conf_error(conf_at(n, i), e, "expected CLAIM=VALUE, found '%.40s'", to);
		o->nallow++;
	}
	return r;
}

static int take_oidc(struct config_oidc *o, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"issuer", "client-id", "scopes", "ca", "allow", NULL};
	const struct text_room to[] = {{o->issuer, sizeof(o->issuer)},
				       {o->client_id, sizeof(o->client_id)},
				       {o->scopes, sizeof(o->scopes)},
				       {o->ca, sizeof(o->ca)}};
	const struct conf_node *v = NULL;
	int r = take_texts(n, keys, to, ARRAY_SIZE(to), e);

	if (r == 0)
		r = conf_need(n, "issuer", &v, e);
	if (r == 0)
		r = conf_need(n, "client-id", &v, e);
	if (r == 0)
		r = conf_need(n, "allow", &v, e);
	if (r == 0)
		r = take_allow(o, v, e);
	if (r == 0 && !o->nallow)
		r = conf_error(v, e,
			       "name who may enter, or everybody whom the issuer knows would");
	return r;
}

static int take_gateway(struct config_gateway *g, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"preview-domain", "preview-host", "dashboard-host",
					   NULL};
	const struct text_room to[] = {{g->domain, sizeof(g->domain)},
				       {g->host, sizeof(g->host)},
				       {g->dashboard, sizeof(g->dashboard)}};
	int r = take_texts(n, keys, to, ARRAY_SIZE(to), e);

	if (r == 0 && !*g->domain == !*g->host)
		r = conf_error(n, e, "it has either a preview-domain or a preview-host");
	if (r == 0 && *g->host && (!*g->dashboard || !strcmp(g->host, g->dashboard)))
		r = conf_error(n, e,
			       "with a preview-host it needs a dashboard-host of its own, such as "
			       "another port of the same name");
	return r;
}

static int take_addresses(struct config *c, const struct conf_node *root, struct error *e)
{
	const struct conf_node *v = NULL;
	int r = 0;

	if ((v = conf_get(root, "listen")))
		r = take_listen(&c->listen, v, e);
	if (r == 0 && (v = conf_get(root, "websocket")))
		r = take_listen(&c->websocket, v, e);
	if (r == 0 && (v = conf_get(root, "webhook")))
		r = take_listen(&c->webhook, v, e);
	if (r == 0 && (v = conf_get(root, "prefixes")))
		r = take_prefixes(v, &c->prefixes, e);
	if (r == 0 && (v = conf_get(root, "deny")))
		r = take_prefixes(v, &c->deny, e);
	if (r == 0 && (v = conf_get(root, "pool")))
		r = take_pool(c, v, e);
	if (r == 0 && (v = conf_get(root, "service-prefix")))
		r = take_service_prefix(c, v, e);
	return r;
}

static int take_kubernetes(struct config *c, const struct conf_node *root, struct error *e)
{
	static const char *const keys[] = {
		"listen",	  "websocket",	 "webhook",	   "keys",
		"service",	  "udp-service", "pool",	   "prefixes",
		"deny",		  "agent",	 "holder-timeout", "session-timeout",
		"service-prefix", "oidc",	 "gateway",	   NULL};
	const struct conf_node *v = NULL;
	int r = conf_keys(root, keys, e);

	if (r == 0)
		r = take_addresses(c, root, e);
	if (r == 0 && (v = conf_get(root, "keys")))
		r = take_folder(&c->keys, v, e);
	if (r == 0 && (v = conf_get(root, "service")))
		r = take_object_name(v, c->service, false, e);
	if (r == 0 && (v = conf_get(root, "udp-service")))
		r = take_object_name(v, c->udp_service, true, e);
	if (r == 0 && (v = conf_get(root, "holder-timeout")))
		r = take_duration(v, &c->holder_timeout_s, e);
	if (r == 0 && (v = conf_get(root, "session-timeout")))
		r = take_duration(v, &c->session_timeout_s, e);
	if (r == 0 && (v = conf_get(root, "agent")))
		r = take_agent(&c->agent, v, e);
	if (r == 0 && (v = conf_get(root, "oidc")))
		r = take_oidc(&c->oidc, v, e);
	if (r == 0 && (v = conf_get(root, "gateway")))
		r = take_gateway(&c->gateway, v, e);
	c->configured = c->prefixes;
	return r;
}

static int kubernetes_defaults(struct config *c, struct error *e)
{
	c->session_timeout_s = SESSION_TIMEOUT_DEFAULT_S;
	c->agent.sidecar = true;
	sockaddr_parse(&c->listen, "0.0.0.0:31820");
	sockaddr_parse(&c->websocket, "0.0.0.0:8080");
	sockaddr_parse(&c->webhook, "0.0.0.0:8443");
	snprintf(c->service, sizeof(c->service), "culvert");
	snprintf(c->udp_service, sizeof(c->udp_service), "culvert-udp");
	snprintf(c->agent.cpu_request, sizeof(c->agent.cpu_request), "10m");
	snprintf(c->agent.memory_request, sizeof(c->agent.memory_request), "16Mi");
	snprintf(c->agent.memory_limit, sizeof(c->agent.memory_limit), "128Mi");
	c->keys = strdup("/etc/culvert/keys");
	return c->keys ? 0 : error_errno(e, -ENOMEM, "configuration");
}

/* --- all of it -------------------------------------------------------------------------------------------- */

static int take_all(struct config *c, const struct conf_node *root, struct error *e)
{
	static const char *const keys[] = {"listen",	"state",	  "endpoints", "prefixes",
					   "deny",	"pool",		  "dns",       "namespace",
					   "workloads", "holder-timeout", NULL};
	const struct conf_node *v = NULL;
	int r = conf_keys(root, keys, e);

	if (r == 0)
		r = conf_need(root, "listen", &v, e);
	if (r == 0)
		r = take_listen(&c->listen, v, e);
	if (r == 0)
		r = conf_need(root, "state", &v, e);
	if (r == 0)
		r = take_folder(&c->state, v, e);
	if (r == 0 && (v = conf_get(root, "endpoints")))
		r = take_endpoints(c, v, e);
	if (r == 0 && (v = conf_get(root, "prefixes")))
		r = take_prefixes(v, &c->prefixes, e);
	if (r == 0 && (v = conf_get(root, "deny")))
		r = take_prefixes(v, &c->deny, e);
	if (r == 0 && (v = conf_get(root, "pool")))
		r = take_pool(c, v, e);
	if (r == 0 && (v = conf_get(root, "dns")))
		r = take_dns(c, v, e);
	if (r == 0 && (v = conf_get(root, "namespace")))
		r = take_name(v, c->ns, sizeof(c->ns), e);
	if (r == 0 && (v = conf_get(root, "workloads")))
		r = take_workloads(c, v, e);
	if (r == 0 && (v = conf_get(root, "holder-timeout")))
		r = take_duration(v, &c->holder_timeout_s, e);
	return r;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->nworkloads; i++)
		free(c->workload[i].pod);
	free(c->workload);
	free(c->state);
	free(c->keys);
	free(c);
}

static void free_config(struct config **c)
{
	config_free(*c);
}

int config_load(struct config **cp, const char *path, bool kubernetes, struct error *e)
{
	cleanup(free_config) struct config *c = calloc(1, sizeof(*c));
	struct conf *doc = NULL;
	struct ipaddr own;
	int r;

	if (!c)
		return error_errno(e, -ENOMEM, "configuration");
	prefix_parse(&c->pool, "198.18.0.0/15");
	snprintf(c->ns, sizeof(c->ns), "default");
	c->holder_timeout_s = HOLDER_TIMEOUT_DEFAULT_S;
	r = kubernetes ? kubernetes_defaults(c, e) : 0;
	if (r == 0)
		r = conf_load(&doc, path, e);
	if (r)
		return r;
	r = kubernetes ? take_kubernetes(c, conf_root(doc), e) : take_all(c, conf_root(doc), e);
	conf_free(doc);
	if (r)
		return r;
	own = sockaddr_ip(&c->listen);
	if (c->nendpoints == 0 && !ipaddr_is_unspecified(&own))
		sockaddr_format(&c->listen, c->endpoint[c->nendpoints++]);
	*cp = steal_ptr(c);
	return 0;
}
