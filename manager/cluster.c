/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as laptops and agents must know it: prefixes, names, and where we are reached. Found from the API server's objects;
 * written to the ConfigMap `culvert` whenever it changes.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "manager/kubernetes.h"

enum {
	NODE_PREFIXES = 4,
	UDP_ENDPOINTS = 4, /* a laptop handshakes with as many at once */
	POD_PREFIXES = 64,
	PUBLISH_AFTER_MS = 20, /* facts come in bursts */
	RETRY_S = 5,
};

struct named {
	struct named *next;
	unsigned generation;
	struct inject_namespace labels;
	char name[];
};

struct node_fact {
	struct node_fact *next;
	unsigned generation, nprefixes;
	struct prefix prefix[NODE_PREFIXES];
	struct ipaddr external;
	char name[OBJECT_NAME_MAX + 1];
};

struct cidr_fact {
	struct cidr_fact *next;
	unsigned generation, n;
	struct prefix prefix[2];
	char name[OBJECT_NAME_MAX + 1];
};

struct cluster {
	struct kubernetes *k;
	struct named *namespaces;
	unsigned nnamespaces, nnodes;
	struct node_fact *nodes;
	struct cidr_fact *cidrs;
	struct config_prefixes seen; /* pods' */
	char domain[DOMAIN_MAX_LEN + 1];
	struct own_address apiserver[OWN_ADDRESSES / 2];
	unsigned napiserver;
	struct ipaddr ours[OWN_ADDRESSES / 4]; /* ClusterIPs of our Services */
	unsigned nours;
	char *issuer_ca; /* PEM text, or NULL */
	struct inject_config inject;
	unsigned own_generation, udp_generation; /* of our two Services */
	uint16_t node_port;
	unsigned nbalancers;
	char balancer[UDP_ENDPOINTS][ADDR_STRLEN];
	struct event *publish;
	struct kube_request *write;
	char *written, *writing; /* the data as text */
	bool published;
	nsec_t published_at;
	struct log_limit trouble, many;
};

const struct inject_config *cluster_inject(const struct kubernetes *k)
{
	return &k->cluster->inject;
}

const char *cluster_domain(const struct kubernetes *k)
{
	return k->cluster->domain;
}

bool cluster_published(const struct kubernetes *k)
{
	return k->cluster->published;
}

void cluster_changed(struct kubernetes *k)
{
	const struct timeval soon = {.tv_usec = PUBLISH_AFTER_MS * 1000};

	if (!evtimer_pending(k->cluster->publish, NULL))
		evtimer_add(k->cluster->publish, &soon);
}

/* --- namespaces --------------------------------------------------------------------------------------------- */

static struct named *namespace_find(const struct cluster *c, const char *name)
{
	for (struct named *n = c->namespaces; n; n = n->next) {
		if (!strcmp(n->name, name))
			return n;
	}
	return NULL;
}

static void look(void *arg, const char *ns, struct inject_namespace *to)
{
	const struct cluster *c = arg;
	const struct named *n = namespace_find(c, ns);

	if (n)
		*to = n->labels;
}

static void namespace_end(struct cluster *c, struct named *n)
{
	struct named **at = &c->namespaces;

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	c->nnamespaces--;
	free(n);
	c->k->dns_stale = true;
}

void namespaces_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	struct cluster *c = k->cluster;
	const char *name = object_text(o, "metadata", "name", NULL);
	struct named *n = namespace_find(c, name);

	if (deleted) {
		if (n)
			namespace_end(c, n);
		return;
	}
	if (!n) {
		if (c->nnamespaces >= NAMESPACES_MAX || strlen(name) > K8S_NAME_MAX ||
		    !(n = calloc(1, sizeof(*n) + strlen(name) + 1)))
			return;
		memcpy(n->name, name, strlen(name) + 1);
		n->next = c->namespaces;
		c->namespaces = n;
		c->nnamespaces++;
		k->dns_stale = true;
	}
	n->generation = feed_generation(k, FEED_NAMESPACES);
	snprintf(n->labels.pod_security, sizeof(n->labels.pod_security), "%.15s",
		 object_text(o, "metadata", "labels", "pod-security.kubernetes.io/enforce", NULL));
	n->labels.opted_out =
		!strcmp(object_text(o, "metadata", "labels", OPT_OUT_LABEL, NULL), "disabled");
}

void namespaces_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct named *n = k->cluster->namespaces, *next; n; n = next) {
		next = n->next;
		if (n->generation != generation)
			namespace_end(k->cluster, n);
	}
}

/* --- nodes --------------------------------------------------------------------------------------------------- */

static void take_external(struct node_fact *n, const json_t *addresses)
{
	const json_t *a;
	size_t i;

	n->external = (struct ipaddr){0};
	json_array_foreach(addresses, i, a)
	{
		if (!strcmp(object_text(a, "type", NULL), "ExternalIP") && !n->external.family)
			ipaddr_parse(&n->external, object_text(a, "address", NULL));
	}
}

static void take_pod_cidrs(struct node_fact *n, const json_t *cidrs)
{
	const json_t *c;
	size_t i;

	n->nprefixes = 0;
	json_array_foreach(cidrs, i, c)
	{
		if (n->nprefixes < NODE_PREFIXES && json_is_string(c) &&
		    prefix_parse(&n->prefix[n->nprefixes], json_string_value(c)) == 0)
			n->nprefixes++;
	}
}

static void node_end(struct cluster *c, struct node_fact *n)
{
	struct node_fact **at = &c->nodes;

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	c->nnodes--;
	free(n);
	cluster_changed(c->k);
}

/* A node's status comes every few seconds; what we take of it changes hardly ever. */
static bool node_equal(const struct node_fact *a, const struct node_fact *b)
{
	bool same = a->nprefixes == b->nprefixes && ipaddr_equal(&a->external, &b->external);

	for (unsigned i = 0; same && i < a->nprefixes; i++)
		same = prefix_equal(&a->prefix[i], &b->prefix[i]);
	return same;
}

void nodes_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	struct cluster *c = k->cluster;
	const char *name = object_text(o, "metadata", "name", NULL);
	struct node_fact *n = c->nodes, before;

	while (n && strcmp(n->name, name) != 0)
		n = n->next;
	if (deleted) {
		if (n)
			node_end(c, n);
		return;
	}
	if (!n) {
		if (c->nnodes >= NODES_MAX || strlen(name) > OBJECT_NAME_MAX ||
		    !(n = calloc(1, sizeof(*n))))
			return;
		memcpy(n->name, name, strlen(name) + 1);
		n->next = c->nodes;
		c->nodes = n;
		c->nnodes++;
	}
	before = *n;
	n->generation = feed_generation(k, FEED_NODES);
	take_external(n, object_get(o, "status", "addresses", NULL));
	take_pod_cidrs(n, object_get(o, "spec", "podCIDRs", NULL));
	if (!node_equal(&before, n))
		cluster_changed(k);
}

void nodes_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct node_fact *n = k->cluster->nodes, *next; n; n = next) {
		next = n->next;
		if (n->generation != generation)
			node_end(k->cluster, n);
	}
}

/* --- service CIDRs -------------------------------------------------------------------------------------------- */

static void cidr_end(struct cluster *c, struct cidr_fact *f)
{
	struct cidr_fact **at = &c->cidrs;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	free(f);
	cluster_changed(c->k);
}

void service_cidrs_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	struct cluster *c = k->cluster;
	const char *name = object_text(o, "metadata", "name", NULL);
	struct cidr_fact *f = c->cidrs;
	const json_t *cidr;
	unsigned n = 0;
	size_t i;

	for (; f && strcmp(f->name, name) != 0; f = f->next)
		n++;
	if (deleted) {
		if (f)
			cidr_end(c, f);
		return;
	}
	if (!f) {
		if (n >= CONFIG_PREFIXES || strlen(name) > OBJECT_NAME_MAX ||
		    !(f = calloc(1, sizeof(*f))))
			return;
		memcpy(f->name, name, strlen(name) + 1);
		f->next = c->cidrs;
		c->cidrs = f;
	}
	f->generation = feed_generation(k, FEED_SERVICE_CIDRS);
	f->n = 0;
	json_array_foreach(object_get(o, "spec", "cidrs", NULL), i, cidr)
	{
		if (f->n < ARRAY_SIZE(f->prefix) && json_is_string(cidr) &&
		    prefix_parse(&f->prefix[f->n], json_string_value(cidr)) == 0)
			f->n++;
	}
	cluster_changed(k);
}

void service_cidrs_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct cidr_fact *f = k->cluster->cidrs, *next; f; f = next) {
		next = f->next;
		if (f->generation != generation)
			cidr_end(k->cluster, f);
	}
}

/* --- our services ---------------------------------------------------------------------------------------------- */

/* The port of that protocol by which our UDP listener is meant. */
static const json_t *udp_port(const json_t *service)
{
	const json_t *p;
	size_t i;

	json_array_foreach(object_get(service, "spec", "ports", NULL), i, p)
	{
		if (!strcmp(object_text(p, "protocol", NULL), "UDP"))
			return p;
	}
	return NULL;
}

static uint16_t port_of(const json_t *p, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(p, key));

	return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

static void add_endpoint(char (*to)[ADDR_STRLEN], unsigned *n, unsigned max,
			 const struct ipaddr *ip, uint16_t port)
{
	const union sockaddr_any sa = sockaddr_from(ip, port);
	char text[ADDR_STRLEN];

	if (!ip->family || !port || *n >= max)
		return;
	sockaddr_format(&sa, text);
	for (unsigned i = 0; i < *n; i++) {
		if (!strcmp(to[i], text))
			return;
	}
	memcpy(to[(*n)++], text, ADDR_STRLEN);
}

/* Once seen they stay: that they are somebody else's now is less likely than that they are ours again. */
static void keep_address(struct cluster *c, const json_t *o)
{
	const json_t *item;
	struct ipaddr ip;
	size_t i;

	json_array_foreach(object_get(o, "spec", "clusterIPs", NULL), i, item)
	{
		unsigned n = 0;

		if (!json_is_string(item) || ipaddr_parse(&ip, json_string_value(item)))
			continue;
		while (n < c->nours && !ipaddr_equal(&c->ours[n], &ip))
			n++;
		if (n == c->nours && n < ARRAY_SIZE(c->ours))
			c->ours[c->nours++] = ip;
	}
}

static void take_own_service(struct cluster *c, const json_t *o)
{
	const json_t *ips = object_get(o, "spec", "clusterIPs", NULL), *item;
	uint16_t port = port_of(udp_port(o), "port");
	struct ipaddr ip;
	size_t i;

	c->inject.nendpoints = 0;
	json_array_foreach(ips, i, item)
	{
		if (json_is_string(item) && ipaddr_parse(&ip, json_string_value(item)) == 0)
			add_endpoint(c->inject.endpoint, &c->inject.nendpoints, INJECT_ENDPOINTS,
				     &ip, port);
	}
}

static void take_udp_service(struct cluster *c, const json_t *o)
{
	const json_t *p = udp_port(o), *item;
	struct ipaddr ip;
	size_t i;

	c->node_port = port_of(p, "nodePort");
	c->nbalancers = 0;
	json_array_foreach(object_get(o, "status", "loadBalancer", "ingress", NULL), i, item)
	{
		if (ipaddr_parse(&ip, object_text(item, "ip", NULL)) == 0)
			add_endpoint(c->balancer, &c->nbalancers, UDP_ENDPOINTS, &ip,
				     port_of(p, "port"));
	}
}

void services_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	const char *name = object_text(o, "metadata", "name", NULL);
	const struct config *cfg = k->m->cfg;
	struct cluster *c = k->cluster;
	unsigned generation = feed_generation(k, FEED_SERVICES);

	if (!deleted &&
	    !strcmp(object_text(o, "metadata", "labels", "app.kubernetes.io/part-of", NULL),
		    "culvert"))
		keep_address(c, o);
	if (!strcmp(name, cfg->service)) {
		take_own_service(c, deleted ? NULL : o);
		c->own_generation = generation;
	} else if (*cfg->udp_service && !strcmp(name, cfg->udp_service)) {
		take_udp_service(c, deleted ? NULL : o);
		c->udp_generation = generation;
	} else {
		return;
	}
	cluster_changed(k);
}

void services_sweep(struct kubernetes *k, unsigned generation)
{
	struct cluster *c = k->cluster;

	if (c->own_generation != generation)
		take_own_service(c, NULL);
	if (c->udp_generation != generation)
		take_udp_service(c, NULL);
	cluster_changed(k);
}

/* --- where no gateway may be sent to ----------------------------------------------------------------------------- */

void cluster_apiserver(struct kubernetes *k, const json_t *slice)
{
	uint16_t port = port_of(json_array_get(object_get(slice, "ports", NULL), 0), "port");
	struct cluster *c = k->cluster;
	const json_t *endpoint, *item;
	struct ipaddr ip;
	size_t i, n;

	json_array_foreach(object_get(slice, "endpoints", NULL), i, endpoint)
	{
		json_array_foreach(object_get(endpoint, "addresses", NULL), n, item)
		{
			unsigned at = 0;

			if (!json_is_string(item) || ipaddr_parse(&ip, json_string_value(item)))
				continue;
			while (at < c->napiserver && (c->apiserver[at].port != port ||
						      !ipaddr_equal(&c->apiserver[at].ip, &ip)))
				at++;
			if (at == c->napiserver && at < ARRAY_SIZE(c->apiserver))
				c->apiserver[c->napiserver++] =
					(struct own_address){.ip = ip, .port = port};
		}
	}
}

static void add_own(struct own_targets *to, const char *text)
{
	struct ipaddr ip;

	if (text && ipaddr_parse(&ip, text) == 0)
		to->address[to->naddresses++] = (struct own_address){.ip = ip};
}

void cluster_own(const struct kubernetes *k, struct own_targets *to)
{
	static const char *const services[] = {"kubernetes.default", "culvert-gateway"};
	const struct config *cfg = k->m->cfg;
	const struct cluster *c = k->cluster;

	*to = (struct own_targets){.domain = c->domain, .nnames = OWN_NAMES};
	add_own(to, getenv("KUBERNETES_SERVICE_HOST"));
	add_own(to, getenv("POD_IP"));
	for (unsigned i = 0; i < c->nours; i++)
		to->address[to->naddresses++] = (struct own_address){.ip = c->ours[i]};
	for (unsigned i = 0; i < c->napiserver; i++)
		to->address[to->naddresses++] = c->apiserver[i];
	snprintf(to->name[0], sizeof(to->name[0]), "%s", services[0]);
	snprintf(to->name[1], sizeof(to->name[1]), "%s.%s", services[1], k->ns);
	snprintf(to->name[2], sizeof(to->name[2]), "%s.%s", cfg->service, k->ns);
	snprintf(to->name[3], sizeof(to->name[3]), "%s.%s", cfg->udp_service, k->ns);
}

/* --- prefixes -------------------------------------------------------------------------------------------------- */

void cluster_pod_seen(struct kubernetes *k, const char *ip, bool host_network)
{
	struct ipaddr a;
	struct prefix p;

	if (host_network || ipaddr_parse(&a, ip))
		return;
	p = prefix_around(&a);
	if (k->cluster->seen.n < POD_PREFIXES && prefixes_add(&k->cluster->seen, &p))
		cluster_changed(k);
}

/* Into `to`, which has room for all. */
static size_t gather(const struct cluster *c, struct prefix *to)
{
	const struct config *cfg = c->k->m->cfg;
	const struct config_prefixes *seen = &c->seen;
	size_t n = 0, services;

	for (const struct cidr_fact *f = c->cidrs; f; f = f->next) {
		for (unsigned i = 0; i < f->n; i++)
			to[n++] = f->prefix[i];
	}
	if (!n && cfg->service_prefix.addr.family)
		to[n++] = cfg->service_prefix;
	services = n;
	for (const struct node_fact *f = c->nodes; f; f = f->next) {
		for (unsigned i = 0; i < f->nprefixes; i++)
			to[n++] = f->prefix[i];
	}
	for (unsigned i = 0; n == services && i < seen->n; i++)
		memcpy(&to[n + i], &seen->p[i], sizeof(*to));
	return n == services ? n + seen->n : n;
}

static void find_prefixes(struct cluster *c)
{
	enum { MOST = 2 * CONFIG_PREFIXES + 1 + POD_PREFIXES };
	struct config *cfg = c->k->m->cfg;
	cleanup(free_ptr) struct prefix *all = NULL;
	size_t n;

	if (cfg->configured.n)
		return;
	all = calloc(MOST + NODE_PREFIXES * (size_t)c->nnodes, sizeof(*all));
	if (!all)
		return;
	n = prefixes_merge(all, gather(c, all));
	if (n > CONFIG_PREFIXES)
		log_limited(&c->many, 600 * NSEC_PER_SEC,
			    "the cluster's networks are %zu prefixes; %zu of them are left out: "
			    "name fewer and larger ones as 'prefixes' in manager.yaml",
			    n, n - CONFIG_PREFIXES);
	cfg->prefixes.n = (unsigned)MIN(n, (size_t)CONFIG_PREFIXES);
	memcpy(cfg->prefixes.p, all, cfg->prefixes.n * sizeof(*all));
}

/* --- the ConfigMap ----------------------------------------------------------------------------------------------- */

static json_t *endpoints(const struct cluster *c)
{
	char to[UDP_ENDPOINTS][ADDR_STRLEN];
	json_t *list = json_array();
	unsigned n = 0;

	for (; n < c->nbalancers; n++)
		memcpy(to[n], c->balancer[n], ADDR_STRLEN);
	/* The host's address is kept a place: nodes' external ones may be out of the laptop's reach. */
	for (const struct node_fact *f = c->nodes; f; f = f->next)
		add_endpoint(to, &n, UDP_ENDPOINTS - 1, &f->external, c->node_port);
	add_endpoint(to, &n, UDP_ENDPOINTS, &c->k->m->cfg->host, c->node_port);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_string(to[i]));
	return list;
}

static char *dump(json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	return text;
}

/* What a laptop needs to log in; "" without an issuer. */
static char *issuer_text(const struct cluster *c)
{
	const struct config_oidc *o = &c->k->m->cfg->oidc;
	json_t *j;

	if (!*o->issuer)
		return strdup("");
	j = json_pack("{s:s, s:s, s:s}", "issuer", o->issuer, "clientId", o->client_id, "scopes",
		      o->scopes);
	if (c->issuer_ca)
		json_object_set_new(j, "ca", json_string(c->issuer_ca));
	return dump(j);
}

static char *gateway_text(const struct config *cfg)
{
	const struct config_gateway *g = &cfg->gateway;

	if (*g->domain)
		return dump(json_pack("{s:s+, s:s+}", "dashboard", "https://dashboard.", g->domain,
				      "previews", "https://*.", g->domain));
	if (!*g->host)
		return strdup("");
	return dump(json_pack("{s:s+, s:s++}", "dashboard", "https://", g->dashboard, "previews",
			      "https://", g->host, "/p/*"));
}

static json_t *facts(const struct cluster *c)
{
	const struct config *cfg = c->k->m->cfg;
	char key[KEY_TEXT_LEN], dns[ADDR_STRLEN] = "", text[ADDR_STRLEN];
	cleanup(free_ptr) char *udp = dump(endpoints(c)), *prefixes = NULL;
	cleanup(free_ptr) char *oidc = NULL, *gateway = NULL;
	json_t *list = json_array();

	for (unsigned i = 0; i < cfg->prefixes.n; i++)
		json_array_append_new(list, json_string(prefix_format(&cfg->prefixes.p[i], text)));
	prefixes = dump(list);
	key_format(c->k->m->pub, key);
	if (cfg->has_dns)
		sockaddr_format(&cfg->dns_server, dns);
	oidc = issuer_text(c);
	gateway = gateway_text(cfg);
	if (!udp || !prefixes || !oidc || !gateway)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "version",
			 CULVERT_VERSION, "protocol", "1", "publicKey", key, "udp", udp, "prefixes",
			 prefixes, "clusterDomain", c->domain, "dns", dns, "oidc", oidc, "gateway",
			 gateway, "ready", "true");
}

static void on_published(void *arg, const struct kube_reply *reply)
{
	const struct timeval later = {.tv_sec = RETRY_S};
	struct cluster *c = arg;

	c->write = NULL;
	if (reply->failure) {
		log_limited(&c->trouble, 60 * NSEC_PER_SEC, "configmap culvert: %s",
			    reply->failure == KUBE_NOT_FOUND
				    ? "it does not exist; 'culvert install' makes it"
				    : reply->sentence);
		free(steal_ptr(c->writing));
		evtimer_add(c->publish, &later);
		return;
	}
	free(c->written);
	c->written = steal_ptr(c->writing);
	if (!c->published)
		log_info("ready");
	c->published = true;
	c->published_at = clock_boot();
	cluster_changed(c->k); /* if it has changed meanwhile */
}

static void on_publish(evutil_socket_t fd, short what, void *arg)
{
	struct cluster *c = arg;
	char path[160];
	json_t *patch;

	(void)fd;
	(void)what;
	if (c->write || !feeds_complete(c->k))
		return;
	find_prefixes(c);
	patch = json_pack("{s:o}", "data", facts(c));
	if (!patch)
		return;
	c->writing = json_dumps(patch, JSON_COMPACT);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/culvert", c->k->ns);
	if (!c->writing || (c->written && !strcmp(c->written, c->writing)) ||
	    kube_merge(c->k->client, path, patch, "culvert", on_published, c, &c->write))
		free(steal_ptr(c->writing));
	json_decref(patch);
}

/* Who deletes or empties it by mistake has it back. */
void cluster_tick(struct cluster *c, nsec_t now)
{
	enum { AGAIN_S = 300 };

	if (!c->written || c->write || now - c->published_at < AGAIN_S * NSEC_PER_SEC)
		return;
	c->published_at = now;
	free(steal_ptr(c->written));
	cluster_changed(c->k);
}

/* --- names --------------------------------------------------------------------------------------------------------- */

json_t *cluster_dns(const struct kubernetes *k, const char *ns)
{
	const struct config *cfg = k->m->cfg;
	const char *domain = k->cluster->domain;
	json_t *domains = json_array(), *search = json_array();
	char text[ADDR_STRLEN];

	if (!cfg->has_dns) {
		json_decref(domains);
		json_decref(search);
		return NULL;
	}
	json_array_append_new(domains, json_string(domain));
	json_array_append_new(domains, json_string("svc"));
	for (const struct named *n = k->cluster->namespaces; n; n = n->next)
		json_array_append_new(domains, json_string(n->name));
	if (*ns)
		json_array_append_new(search, json_sprintf("%s.svc.%s", ns, domain));
	json_array_append_new(search, json_sprintf("svc.%s", domain));
	json_array_append_new(search, json_string(domain));
	return json_pack("{s:s, s:o, s:o}", "server", sockaddr_format(&cfg->dns_server, text),
			 "domains", domains, "search", search);
}

/* A pod's resolv.conf: the cluster's server, and "search NS.svc.DOMAIN ...". */
static void read_resolv(struct cluster *c, char *text)
{
	struct config *cfg = c->k->m->cfg;
	char *save = NULL, *word_save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *word = strtok_r(line, " \t\r", &word_save);
		struct ipaddr ip;

		if (!word)
			continue;
		if (!strcmp(word, "nameserver") && !cfg->has_dns) {
			word = strtok_r(NULL, " \t\r", &word_save);
			if (!word || ipaddr_parse(&ip, word))
				continue;
			cfg->dns_server = sockaddr_from(&ip, 53);
			cfg->has_dns = true;
		} else if (!strcmp(word, "search")) {
			while ((word = strtok_r(NULL, " \t\r", &word_save))) {
				const char *svc = strstr(word, ".svc.");

				if (svc && strlen(svc + 5) <= DOMAIN_MAX_LEN)
					snprintf(c->domain, sizeof(c->domain), "%s", svc + 5);
			}
		}
	}
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

int cluster_new(struct kubernetes *k, struct error *e)
{
	enum { RESOLV_MAX = 65536, PEM_MAX = 65536 };
	struct cluster *c = calloc(1, sizeof(*c));
	char *text = NULL;
	struct error why;
	size_t len = 0;

	if (!c)
		return error_errno(e, -ENOMEM, "start");
	k->cluster = c;
	c->k = k;
	c->publish = evtimer_new(k->m->base, on_publish, c);
	if (!c->publish)
		return error_errno(e, -ENOMEM, "start");
	snprintf(c->domain, sizeof(c->domain), "cluster.local");
	if (file_read("/etc/resolv.conf", RESOLV_MAX, &text, &len, &why))
		log_warn("%s: laptops get no names of the cluster", why.text);
	else
		read_resolv(c, text);
	free(text);
	if (*k->m->cfg->oidc.ca && file_read(k->m->cfg->oidc.ca, PEM_MAX, &c->issuer_ca, &len, e))
		return error_wrap(e, -EINVAL, "oidc.ca");
	c->inject = k->m->cfg->agent;
	c->inject.look = look;
	c->inject.arg = c;
	key_format(k->m->pub, c->inject.manager_key);
	return 0;
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	while (c->namespaces)
		namespace_end(c, c->namespaces);
	for (struct node_fact *n = c->nodes, *next; n; n = next) {
		next = n->next;
		free(n);
	}
	for (struct cidr_fact *f = c->cidrs, *next; f; f = next) {
		next = f->next;
		free(f);
	}
	if (c->publish)
		event_free(c->publish);
	free(c->written);
	free(c->writing);
	free(c->issuer_ca);
	free(c);
}
