/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: every line is looked up now, none is told from memory. "connected" comes from the age of
 * the last authenticated packet, the round trip from a ping sent for this answer, routes from the
 * kernel's table, DNS from systemd-resolved or /etc/resolv.conf. The keys are documented in docs/json.md.
 */
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/file.h"
#include "daemon/account.h"
#include "daemon/cluster.h"
#include "daemon/hostnet.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/session.h"
#include "daemon/tunnel.h"
#include "daemon/workloads.h"
#include "node/node.h"
#include "tun/tun.h"

void status_warn(json_t *warnings, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(warnings, json_string(text));
}

static json_t *strings(const char *first, size_t stride, unsigned n)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < n; i++)
		json_array_append_new(list, json_string(first + stride * i));
	return list;
}

/* --- manager and path --- */

static json_t *manager_json(struct session *s, nsec_t round_trip, json_t *warnings)
{
	struct overlay_peer *p = tunnel_manager(session_tunnel(s));
	struct overlay_peer_stats st = {0};
	nsec_t now = clock_boot(), age;
	bool alive, control = link_up(session_link(s));
	json_t *j;

	if (p)
		overlay_peer_stats(p, &st);
	age = st.last_receive ? now - st.last_receive : 0;
	alive = st.last_receive && st.session && age < PEER_DEAD_AFTER * NSEC_PER_SEC;
	j = json_pack("{s:b,s:s,s:b,s:f}", "connected", alive, "version", session_hello(s)->version,
		      "control", control, "last_packet_s", (double)age / 1e9);
	if (round_trip)
		json_object_set_new(j, "round_trip_ms", json_real((double)round_trip / 1e6));
	if (session_state(s) != SESSION_CONNECTED)
		return j;
	if (!alive)
		status_warn(warnings,
			    "the manager has been silent for %llu s; calling it again until it "
			    "answers. "
			    "Intercepts and routes are kept",
			    (unsigned long long)(age / NSEC_PER_SEC));
	else if (!control)
		status_warn(warnings,
			    "the control connection to the manager broke; it is being made again");
	else if (!round_trip)
		status_warn(warnings, "the manager did not answer a ping within 1 s");
	return j;
}

/* Its transport's name; `remote` gets where it leads, of a stream "". */
static const char *one_path(struct session *s, const struct path *path,
			    char remote[static ADDR_STRLEN])
{
	remote[0] = '\0';
	if (tunnel_is_stream(session_tunnel(s), path))
		return way_name(cluster_way(session_cluster(s)));
	sockaddr_format(&path->remote, remote);
	return "udp";
}

const char *path_text(struct session *s, char remote[static ADDR_STRLEN])
{
	struct overlay_peer *p = tunnel_manager(session_tunnel(s));
	const struct path *path = p ? overlay_peer_path(p) : NULL;

	remote[0] = '\0';
	return path ? one_path(s, path, remote) : "none";
}

/* The other ways to the manager that answer. */
static json_t *standing_by(struct session *s)
{
	struct overlay_peer *p = tunnel_manager(session_tunnel(s));
	struct overlay_path_info info[PEER_PATHS];
	unsigned n = p ? overlay_peer_paths(p, info) : 0, i;
	char remote[ADDR_STRLEN];
	json_t *list = json_array();

	for (i = 0; i < n; i++) {
		const char *transport = one_path(s, &info[i].path, remote);

		if (!info[i].active && info[i].state == PATH_UP)
			json_array_append_new(list, json_pack("{s:s,s:s}", "transport", transport,
							      "remote", remote));
	}
	return list;
}

static json_t *path_json(struct session *s)
{
	struct overlay_peer *p = tunnel_manager(session_tunnel(s));
	struct overlay_peer_stats st = {0};
	char remote[ADDR_STRLEN];
	const char *transport = path_text(s, remote);

	if (p)
		overlay_peer_stats(p, &st);
	return json_pack("{s:s,s:s,s:o,s:I,s:I}", "transport", transport, "remote", remote,
			 "standing_by", standing_by(s), "received_bytes", (json_int_t)st.rx_bytes,
			 "sent_bytes", (json_int_t)st.tx_bytes);
}

/* What the kernel's connections get in the manager's place. */
static json_t *held_json(struct session *s)
{
	struct tunnel_stats st = tunnel_stats(session_tunnel(s));

	return json_pack("{s:I,s:I,s:I}", "connections", (json_int_t)st.held, "answered",
			 (json_int_t)st.hold_answered, "left_out", (json_int_t)st.hold_full);
}

static void cluster_json(struct session *s, json_t *j, json_t *warnings)
{
	const struct cluster *c = session_cluster(s);

	if (!c)
		return;
	json_object_set_new(j, "cluster",
			    json_pack("{s:s,s:s,s:s,s:s,s:s}", "context", cluster_context(c),
				      "server", cluster_server(c), "manager_namespace",
				      cluster_manager_namespace(c), "user", cluster_user(c),
				      "session", cluster_session_name(c)));
	if (session_state(s) == SESSION_CONNECTED && *cluster_trouble(c))
		status_warn(warnings, "%s", cluster_trouble(c));
}

/* --- routes
 * --------------------------------------------------------------------------------------------------
 */

struct route_search {
	const struct prefixes *want;
	const char *dev;
	bool found[PREFIXES_MAX];
};

static void on_route(void *arg, const struct tun_route *r)
{
	struct route_search *rs = arg;
	unsigned i;

	for (i = 0; i < rs->want->n; i++)
		if (!strcmp(r->dev, rs->dev) && prefix_equal(&r->dst, &rs->want->p[i]))
			rs->found[i] = true;
}

static json_t *routes_json(struct session *s, json_t *warnings)
{
	struct hostnet *h = session_hostnet(s);
	const struct hostnet_config *c = hostnet_config(h);
	struct route_search rs = {.want = &c->routes, .dev = hostnet_tun_name(h)};
	json_t *prefixes = json_array(), *missing = json_array();
	char buf[ADDR_STRLEN];
	bool known = !tun_each_route(on_route, &rs, NULL);
	unsigned i;

	for (i = 0; i < c->routes.n; i++) {
		prefix_format(&c->routes.p[i], buf);
		json_array_append_new(prefixes, json_string(buf));
		if (known && !rs.found[i])
			json_array_append_new(missing, json_string(buf));
	}
	if (json_array_size(missing) && hostnet_up(h))
		status_warn(warnings,
			    "%zu of %u routes are not in the kernel's table: somebody removed them",
			    json_array_size(missing), c->routes.n);
	if (!session_ipv6(s))
		status_warn(warnings,
			    "IPv6 is switched off on this laptop: the cluster's IPv6 addresses "
			    "are not routed");
	return json_pack("{s:s,s:o,s:o}", "device", rs.dev, "prefixes", prefixes, "missing",
			 missing);
}

/* --- DNS
 * --------------------------------------------------------------------------------------------------------
 */

/* The first name server is the one that is asked. (resolv_parse() passes over ours.) */
static bool stub_in_resolv_conf(void)
{
	static const char ours[] = "nameserver " DNS_STUB_ADDR;
	cleanup(free_ptr) char *text = NULL;
	const char *line;
	size_t len;

	if (file_read("/etc/resolv.conf", 65536, &text, &len, NULL))
		return false;
	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, "nameserver", strlen("nameserver")))
			return !strncmp(line, ours, strlen(ours));
	}
	return false;
}

/* Measured, not remembered: does the laptop's resolver ask the stub? */
static bool dns_in_force(const struct hostnet *h)
{
	return hostnet_dns_way(h) == PRIVSEP_DNS_RESOLVED
		       ? resolved_has_stub(if_nametoindex(hostnet_tun_name(h)))
		       : stub_in_resolv_conf();
}

static json_t *dns_json(struct session *s, json_t *warnings)
{
	struct hostnet *h = session_hostnet(s);
	const struct hostnet_config *c = hostnet_config(h);
	const struct dns_stats *st = hostnet_dns_stats(h);
	unsigned left_out = session_hello(s)->domains_left_out + hostnet_domains_left_out(h);
	bool resolved = hostnet_dns_way(h) == PRIVSEP_DNS_RESOLVED;
	bool in_force = st && dns_in_force(h);
	char server[ADDR_STRLEN];
	struct ipaddr ip = sockaddr_ip(&c->dns.cluster);

	if (!c->dns.ndomains)
		return NULL;
	if (st && !in_force)
		status_warn(
			warnings,
			"%s was changed by somebody else: names of the cluster do not resolve. Run "
			"`culvert quit` and connect again",
			resolved ? "systemd-resolved's link" : "/etc/resolv.conf");
	if (left_out)
		status_warn(
			warnings,
			"the cluster has more namespaces than this resolver takes: names such as "
			"SERVICE.NAMESPACE of %u of them may not resolve; SERVICE.NAMESPACE.svc "
			"does",
			left_out);
	return json_pack("{s:o,s:o,s:s,s:s,s:s,s:s,s:b,s:I,s:I}", "domains",
			 strings(c->dns.domain[0], sizeof(c->dns.domain[0]), c->dns.ndomains),
			 "search", strings(c->search[0], sizeof(c->search[0]), c->nsearch),
			 "server", ipaddr_format(&ip, server), "stub", DNS_STUB_ADDR, "way",
			 resolved ? "resolved" : "resolv.conf", "link",
			 resolved ? hostnet_tun_name(h) : "", "in_force", in_force, "queries",
			 (json_int_t)(st ? st->cluster : 0), "timeouts",
			 (json_int_t)(st ? st->timeouts : 0));
}

static void session_json(struct session *s, nsec_t round_trip, json_t *j, json_t *warnings)
{
	static const char *const names[] = {
		[SESSION_HELPER] = "asking culvert-helper",
		[SESSION_CLUSTER] = "waiting for the API server",
		[SESSION_HANDSHAKE] = "calling the manager",
		[SESSION_HELLO] = "greeting the manager",
		[SESSION_HOSTNET] = "setting up routes and DNS",
		[SESSION_CONNECTED] = "connected",
		[SESSION_CLOSING] = "quitting",
		[SESSION_FAILED] = "failed",
	};
	const struct hostnet *h = session_hostnet(s);
	json_t *dns;

	json_object_set_new(j, "state", json_string(names[session_state(s)]));
	json_object_set_new(j, "name", json_string(session_hello(s)->name));
	json_object_set_new(j, "namespace", json_string(session_namespace(s)));
	json_object_set_new(j, "platform",
			    json_string(session_cluster(s) ? "kubernetes" : "static"));
	cluster_json(s, j, warnings);
	json_object_set_new(j, "manager", manager_json(s, round_trip, warnings));
	json_object_set_new(j, "path", path_json(s));
	if (session_state(s) != SESSION_CONNECTED)
		return;
	json_object_set_new(j, "helper", json_boolean(hostnet_up(h)));
	if (!hostnet_up(h))
		status_warn(warnings, "%s",
			    *hostnet_trouble(h) ? hostnet_trouble(h)
						: "routes and DNS are being set up again");
	dns = dns_json(s, warnings);
	if (dns)
		json_object_set_new(j, "dns", dns);
	json_object_set_new(j, "routes", routes_json(s, warnings));
	json_object_set_new(j, "held", held_json(s));
	json_object_set_new(j, "intercepts", status_intercepts(s, warnings));
}

json_t *status_json(struct daemon *d, nsec_t round_trip)
{
	json_t *warnings = json_array(), *login;
	json_t *j = json_pack("{s:{s:b,s:s,s:i,s:I}}", "daemon", "running", 1, "version",
			      CULVERT_VERSION, "pid", (int)getpid(), "uptime_s",
			      (json_int_t)((clock_boot() - d->started) / NSEC_PER_SEC));

	json_object_set_new(j, "intercepts", json_array());
	if (d->session)
		session_json(d->session, round_trip, j, warnings);
	else
		json_object_set_new(j, "state", json_string("not connected"));
	login = account_json(d);
	if (login)
		json_object_set_new(j, "login", login);
	workloads_warnings(d, warnings);
	if (*d->ended)
		status_warn(warnings, "%s", d->ended);
	json_object_set_new(j, "warnings", warnings);
	return j;
}
