/* SPDX-License-Identifier: Apache-2.0 */
/* The default answers to a preview's four questions: from the objects that lead to the service, or the controllers that are known. */
#include "manager/ingress.h"

#include <stdio.h>

enum { PORT_HTTP = 80, PORT_HTTPS = 443 };

/* How the Services of the usual controllers are told. */
static const struct controller {
	const char *controller;	 /* of the IngressClass: this, or begins with it */
	const char *class;	 /* what a class without an object is called */
	const char *key, *value; /* label of its Services, or in their selector */
} controllers[] = {
	{"k8s.io/ingress-nginx", "nginx", "app.kubernetes.io/name", "ingress-nginx"},
	{"nginx.org/ingress-controller", "nginx", "app.kubernetes.io/name", "nginx-ingress"},
	{"traefik.io/ingress-controller", "traefik", "app.kubernetes.io/name", "traefik"},
	{"getambassador.io/ingress-controller", "ambassador", "app.kubernetes.io/name",
	 "emissary-ingress"},
	{"getambassador.io/ingress-controller", "ambassador", "app.kubernetes.io/name",
	 "edge-stack"},
	{"getambassador.io/ingress-controller", "ambassador", "app.kubernetes.io/name",
	 "ambassador"},
	{"getambassador.io/ingress-controller", "ambassador", "service", "ambassador"},
	{"projectcontour.io/", "contour", "app.kubernetes.io/name", "contour"},
	{"projectcontour.io/", "contour", "app", "envoy"},
	{"ingress-controllers.konghq.com/kong", "kong", "app.kubernetes.io/name", "kong"},
	{"ingress-controllers.konghq.com/kong", "kong", "app", "proxy-kong"},
	{"ingress-controllers.konghq.com/kong", "kong", "app", "kong-gateway"},
	{"haproxy-ingress.github.io/controller", "haproxy", "app.kubernetes.io/name",
	 "haproxy-ingress"},
	{"haproxy-ingress.github.io/controller", "haproxy", "run", "haproxy-ingress"},
	{"haproxy.org/ingress-controller", "haproxy", "app.kubernetes.io/name",
	 "kubernetes-ingress"},
	{"haproxy.org/ingress-controller", "haproxy", "run", "haproxy-ingress"},
	{"istio.io/ingress-controller", "istio", "istio", "ingressgateway"},
	{"istio.io/ingress-controller", "istio", "istio", "ingress"},
};

static const char *const gateway_labels[] = {"gateway.networking.k8s.io/gateway-name",
					     "gateway.envoyproxy.io/owning-gateway-name"};

static const char *name_of(const json_t *o)
{
	return object_text(o, "metadata", "name", NULL);
}

static const char *namespace_of(const json_t *o)
{
	return object_text(o, "metadata", "namespace", NULL);
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static void put_host(char to[static INGRESS_HOST_MAX + 1], const char *host)
{
	if (strlen(host) <= INGRESS_HOST_MAX)
		memcpy(to, host, strlen(host) + 1);
}

/* --- Services --------------------------------------------------------------------------------------------------- */

static bool is_labelled(const json_t *service, const char *key, const char *value)
{
	return !strcmp(object_text(service, "metadata", "labels", key, NULL), value) ||
	       !strcmp(object_text(service, "spec", "selector", key, NULL), value);
}

static bool is_tcp(const json_t *port)
{
	const char *protocol = object_text(port, "protocol", NULL);

	return !*protocol || !strcmp(protocol, "TCP");
}

static bool is_named(const json_t *port, bool tls)
{
	static const char *const names[2][5] = {
		{"http", "http2", "web", "proxy", NULL},
		{"https", "websecure", "tls", "proxy-tls", "kong-proxy-tls"}};
	static const char *const kong = "kong-proxy";
	const char *name = object_text(port, "name", NULL);

	for (size_t i = 0; i < ARRAY_SIZE(names[0]) && names[tls][i]; i++) {
		if (!strcmp(name, names[tls][i]))
			return true;
	}
	return !tls && !strcmp(name, kong);
}

static uint16_t number_of(const json_t *port)
{
	json_int_t n = json_integer_value(json_object_get(port, "port"));

	return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

/* The Service's port for requests with or without TLS; 0 = none. By number before by name. */
static uint16_t port_for(const json_t *service, bool tls)
{
	const json_t *ports = object_get(service, "spec", "ports", NULL), *p;
	uint16_t named = 0;
	size_t i;

	json_array_foreach(ports, i, p)
	{
		if (!is_tcp(p))
			continue;
		if (number_of(p) == (tls ? PORT_HTTPS : PORT_HTTP))
			return number_of(p);
		if (!named && is_named(p, tls))
			named = number_of(p);
	}
	return named;
}

static bool has_port(const json_t *service, json_int_t number)
{
	const json_t *p;
	size_t i;

	json_array_foreach(object_get(service, "spec", "ports", NULL), i, p)
	{
		if (is_tcp(p) && number && number_of(p) == number)
			return true;
	}
	return false;
}

/* What belongs to a controller and takes no visitors. */
static bool is_aside(const json_t *service)
{
	static const char *const parts[] = {"admin",   "admission", "webhook",
					    "metrics", "manager",   "validation",
					    "stats",   "backend",   "dashboard"};
	const char *name = name_of(service);

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (strstr(name, parts[i]))
			return true;
	}
	return !port_for(service, false) && !port_for(service, true);
}

static int type_rank(const json_t *service)
{
	const char *type = object_text(service, "spec", "type", NULL);

	if (!strcmp(type, "LoadBalancer"))
		return 3;
	if (!strcmp(type, "NodePort"))
		return 2;
	return !strcmp(type, "ExternalName") ? 0 : 1;
}

bool ingress_may_use(const json_t *service)
{
	if (type_rank(service) == 0)
		return false;
	if (type_rank(service) == 3)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(gateway_labels); i++) {
		if (*object_text(service, "metadata", "labels", gateway_labels[i], NULL))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		if (is_labelled(service, controllers[i].key, controllers[i].value))
			return true;
	}
	return false;
}

/* Does one of the Service's addresses stand among `published` ({ip, hostname} or {value})? */
static bool has_address(const json_t *service, const json_t *published)
{
	const json_t *p, *own;
	size_t i, k;

	json_array_foreach(published, i, p)
	{
		const char *ip = object_text(p, "ip", NULL);
		const char *host = object_text(p, "hostname", NULL);
		const char *value = object_text(p, "value", NULL);

		ip = *ip ? ip : value;
		host = *host ? host : value;
		json_array_foreach(object_get(service, "status", "loadBalancer", "ingress", NULL),
				   k, own)
		{
			if ((*ip && !strcmp(ip, object_text(own, "ip", NULL))) ||
			    (*host && !strcmp(host, object_text(own, "hostname", NULL))))
				return true;
		}
		if (*ip && !strcmp(ip, object_text(service, "spec", "clusterIP", NULL)))
			return true;
	}
	return false;
}

static bool is_before(const json_t *a, const json_t *b)
{
	int d = strcmp(namespace_of(a), namespace_of(b));

	return d < 0 || (d == 0 && strcmp(name_of(a), name_of(b)) < 0);
}

/* Is it a Service of that controller (NULL or "" = of any that is known)? */
static bool is_of(const json_t *service, const char *controller)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		const struct controller *c = &controllers[i];

		if ((!controller || begins(controller, c->controller)) &&
		    is_labelled(service, c->key, c->value))
			return true;
	}
	return false;
}

/* The best Service of a controller: that whose address is published, then the most public one, then by name. */
static const json_t *service_of(const struct ingress_world *w, const char *controller,
				const json_t *published)
{
	const json_t *best = NULL, *s;
	int most = 0;
	size_t i;

	json_array_foreach(w->services, i, s)
	{
		bool shown = has_address(s, published);
		int rank = type_rank(s) + (shown ? 10 : 0);

		if (!rank || is_aside(s) || (!shown && !is_of(s, controller)))
			continue;
		if (rank > most || (rank == most && is_before(s, best))) {
			most = rank;
			best = s;
		}
	}
	return best;
}

/* Fills host and port: `wanted` if it has that, else one for TLS or not; TLS gives way to what the Service has. */
static void use_service(struct ingress_guess *g, const json_t *service, json_int_t wanted)
{
	char host[INGRESS_HOST_MAX + 1];

	if (snprintf(host, sizeof(host), "%s.%s", name_of(service), namespace_of(service)) >=
	    (int)sizeof(host))
		return;
	put_host(g->host, host);
	if (has_port(service, wanted)) {
		g->port = (uint16_t)wanted;
		return;
	}
	if (!port_for(service, g->tls))
		g->tls = !g->tls;
	g->port = port_for(service, g->tls);
}

/* What a cloud's controller has published: it has no Service. */
static void use_address(struct ingress_guess *g, const json_t *published)
{
	const json_t *first = json_array_get(published, 0);
	static const char *const keys[] = {"ip", "hostname", "value"};

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !*g->host; i++)
		put_host(g->host, object_text(first, keys[i], NULL));
}

/* --- Ingresses ---------------------------------------------------------------------------------------------------- */

static bool is_meant(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (*name && !strcmp(name, names[i]))
			return true;
	}
	return false;
}

static bool is_wildcard(const char *host)
{
	return *host == '*';
}

/* The host of the best rule that leads to one of the services: 2 = a name, 1 = any or a pattern, 0 = none does. */
static int rule_host(const json_t *ingress, const char *const *names, size_t n, const char **host)
{
	const char *fallback =
		object_text(ingress, "spec", "defaultBackend", "service", "name", NULL);
	int found = is_meant(fallback, names, n) ? 1 : 0;
	const json_t *rule, *path;
	size_t i, k;

	*host = "";
	json_array_foreach(object_get(ingress, "spec", "rules", NULL), i, rule)
	{
		const char *is = object_text(rule, "host", NULL);

		json_array_foreach(object_get(rule, "http", "paths", NULL), k, path)
		{
			int worth = *is && !is_wildcard(is) ? 2 : 1;

			if (worth <= found ||
			    !is_meant(object_text(path, "backend", "service", "name", NULL), names,
				      n))
				continue;
			found = worth;
			*host = is;
		}
	}
	return found;
}

/* "*.example.com" has a.example.com, and no a.b.example.com. */
static bool host_fits(const char *pattern, const char *host)
{
	const char *dot = strchr(host, '.');

	if (!strcasecmp(pattern, host))
		return true;
	return begins(pattern, "*.") && dot && !strcasecmp(pattern + 1, dot);
}

static bool has_tls(const json_t *ingress, const char *host)
{
	const json_t *tls, *name;
	size_t i, k;

	json_array_foreach(object_get(ingress, "spec", "tls", NULL), i, tls)
	{
		const json_t *hosts = json_object_get(tls, "hosts");

		if (!json_array_size(hosts) || !*host)
			return true;
		json_array_foreach(hosts, k, name)
		{
			if (json_is_string(name) && host_fits(json_string_value(name), host))
				return true;
		}
	}
	return false;
}

static const json_t *class_object(const struct ingress_world *w, const char *class)
{
	const json_t *c;
	size_t i;

	json_array_foreach(w->classes, i, c)
	{
		const char *is_default =
			object_text(c, "metadata", "annotations",
				    "ingressclass.kubernetes.io/is-default-class", NULL);

		if (*class ? !strcmp(name_of(c), class) : !strcmp(is_default, "true"))
			return c;
	}
	return NULL;
}

/* Of whose class an Ingress is; NULL = that cannot be told. */
static const char *controller_of(const struct ingress_world *w, const json_t *ingress)
{
	const char *class = object_text(ingress, "spec", "ingressClassName", NULL);
	const json_t *c;

	if (!*class)
		class = object_text(ingress, "metadata", "annotations",
				    "kubernetes.io/ingress.class", NULL);
	c = class_object(w, class);
	if (c)
		return object_text(c, "spec", "controller", NULL);
	for (size_t i = 0; *class && i < ARRAY_SIZE(controllers); i++) {
		if (!strcmp(controllers[i].class, class))
			return controllers[i].controller;
	}
	return NULL;
}

static void guess_ingress(struct ingress_guess *g, const struct ingress_world *w,
			  const json_t *ingress, const char *host)
{
	const json_t *published = object_get(ingress, "status", "loadBalancer", "ingress", NULL);
	const json_t *service = service_of(w, controller_of(w, ingress), published);

	if (!is_wildcard(host))
		put_host(g->l5, host);
	g->tls = has_tls(ingress, host);
	g->port = g->tls ? PORT_HTTPS : PORT_HTTP;
	if (service)
		use_service(g, service, 0);
	else
		use_address(g, published);
	snprintf(g->why, sizeof(g->why), "Ingress %.63s/%.80s leads to it%s", namespace_of(ingress),
		 name_of(ingress),
		 *g->host ? "" : ", but the Service of its controller was not found");
}

static bool by_ingress(struct ingress_guess *g, const struct ingress_world *w,
		       const char *const *names, size_t n)
{
	const json_t *best = NULL, *ingress;
	const char *host, *best_host = "";
	int most = 0;
	size_t i;

	json_array_foreach(w->ingresses, i, ingress)
	{
		int worth = rule_host(ingress, names, n, &host);

		if (!worth || worth < most || (worth == most && !is_before(ingress, best)))
			continue;
		most = worth;
		best = ingress;
		best_host = host;
	}
	if (best)
		guess_ingress(g, w, best, best_host);
	return best;
}

/* --- Gateway API ---------------------------------------------------------------------------------------------------- */

static bool route_leads(const json_t *route, const char *ns, const char *const *names, size_t n)
{
	const json_t *rule, *ref;
	size_t i, k;

	json_array_foreach(object_get(route, "spec", "rules", NULL), i, rule)
	{
		json_array_foreach(json_object_get(rule, "backendRefs"), k, ref)
		{
			const char *kind = object_text(ref, "kind", NULL);
			const char *to = object_text(ref, "namespace", NULL);

			if ((!*kind || !strcmp(kind, "Service")) && (!*to || !strcmp(to, ns)) &&
			    is_meant(object_text(ref, "name", NULL), names, n))
				return true;
		}
	}
	return false;
}

static const json_t *gateway_of(const struct ingress_world *w, const json_t *route,
				const json_t *ref)
{
	const char *kind = object_text(ref, "kind", NULL),
		   *ns = object_text(ref, "namespace", NULL);
	const json_t *gateway;
	size_t i;

	if (*kind && strcmp(kind, "Gateway") != 0)
		return NULL;
	ns = *ns ? ns : namespace_of(route);
	json_array_foreach(w->gateways, i, gateway)
	{
		if (!strcmp(name_of(gateway), object_text(ref, "name", NULL)) &&
		    !strcmp(namespace_of(gateway), ns))
			return gateway;
	}
	return NULL;
}

static bool is_listener(const json_t *listener, const json_t *ref, const char *host)
{
	const char *section = object_text(ref, "sectionName", NULL);
	const char *pattern = object_text(listener, "hostname", NULL);
	json_int_t port = json_integer_value(json_object_get(ref, "port"));

	return (!*section || !strcmp(section, object_text(listener, "name", NULL))) &&
	       (!port || port == json_integer_value(json_object_get(listener, "port"))) &&
	       (!*pattern || !*host || host_fits(pattern, host));
}

/* HTTPS before HTTP: a route at both usually has a redirect at the latter. */
static const json_t *listener_of(const json_t *gateway, const json_t *ref, const char *host)
{
	const json_t *plain = NULL, *l;
	size_t i;

	json_array_foreach(object_get(gateway, "spec", "listeners", NULL), i, l)
	{
		const char *protocol = object_text(l, "protocol", NULL);

		if (!is_listener(l, ref, host))
			continue;
		if (!strcmp(protocol, "HTTPS"))
			return l;
		if (!plain && !strcmp(protocol, "HTTP"))
			plain = l;
	}
	return plain;
}

static const json_t *gateway_service(const struct ingress_world *w, const json_t *gateway)
{
	const json_t *published = object_get(gateway, "status", "addresses", NULL), *s;
	size_t i;

	json_array_foreach(w->services, i, s)
	{
		const char *owner =
			object_text(s, "metadata", "labels",
				    "gateway.envoyproxy.io/owning-gateway-namespace", NULL);

		for (size_t k = 0; k < ARRAY_SIZE(gateway_labels); k++) {
			const char *ns = *owner ? owner : namespace_of(s);

			if (!strcmp(object_text(s, "metadata", "labels", gateway_labels[k], NULL),
				    name_of(gateway)) &&
			    !strcmp(ns, namespace_of(gateway)))
				return s;
		}
		if (has_address(s, published))
			return s;
	}
	return NULL;
}

static const char *route_host(const json_t *route)
{
	const json_t *name;
	size_t i;

	json_array_foreach(object_get(route, "spec", "hostnames", NULL), i, name)
	{
		if (json_is_string(name) && !is_wildcard(json_string_value(name)))
			return json_string_value(name);
	}
	return "";
}

static bool guess_route(struct ingress_guess *g, const struct ingress_world *w, const json_t *route)
{
	const json_t *ref;
	size_t i;

	json_array_foreach(object_get(route, "spec", "parentRefs", NULL), i, ref)
	{
		const json_t *gateway = gateway_of(w, route, ref), *service;
		const char *host = route_host(route);
		const json_t *listener = listener_of(gateway, ref, host);
		json_int_t port = json_integer_value(json_object_get(listener, "port"));

		if (!listener)
			continue;
		host = *host ? host : object_text(listener, "hostname", NULL);
		if (!is_wildcard(host))
			put_host(g->l5, host);
		g->tls = !strcmp(object_text(listener, "protocol", NULL), "HTTPS");
		service = gateway_service(w, gateway);
		g->port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
		if (service)
			use_service(g, service, port);
		else
			use_address(g, object_get(gateway, "status", "addresses", NULL));
		snprintf(g->why, sizeof(g->why),
			 "HTTPRoute %.63s/%.63s of Gateway %.63s leads to it", namespace_of(route),
			 name_of(route), name_of(gateway));
		return true;
	}
	return false;
}

static bool by_route(struct ingress_guess *g, const struct ingress_world *w, const char *ns,
		     const char *const *names, size_t n)
{
	const json_t *best = NULL, *route;
	struct ingress_guess one;
	size_t i;

	json_array_foreach(w->routes, i, route)
	{
		one = (struct ingress_guess){.port = 0};
		if (!route_leads(route, ns, names, n) || (best && !is_before(route, best)) ||
		    !guess_route(&one, w, route))
			continue;
		best = route;
		*g = one;
	}
	return best;
}

/* --- all of it ------------------------------------------------------------------------------------------------------- */

void ingress_guess(struct ingress_guess *g, const struct ingress_world *w, const char *ns,
		   const char *const *names, size_t n)
{
	const json_t *service;

	*g = (struct ingress_guess){.port = 0};
	if (by_ingress(g, w, names, n) || by_route(g, w, ns, names, n)) {
		if (!g->port)
			g->port = g->tls ? PORT_HTTPS : PORT_HTTP;
		return;
	}
	service = service_of(w, NULL, NULL);
	if (!service) {
		snprintf(g->why, sizeof(g->why),
			 "no Ingress and no HTTPRoute leads to it, and no known ingress controller "
			 "was found");
		return;
	}
	use_service(g, service, 0);
	snprintf(g->why, sizeof(g->why),
		 "no Ingress and no HTTPRoute leads to it; this is the cluster's ingress "
		 "controller");
}
