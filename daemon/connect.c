/* SPDX-License-Identifier: Apache-2.0 */
/* connect and quit: from the request to a session, and back to nothing. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/account.h"
#include "daemon/cluster.h"
#include "daemon/hostnet.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/netwatch.h"
#include "daemon/session.h"
#include "daemon/tunnel.h"
#include "daemon/workloads.h"
#include "node/node.h"

/* --- the request --- */

static int read_prefixes(struct prefixes *set, const json_t *list, const char *flag,
			 struct error *e)
{
	struct prefix p;
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		const char *s = json_string_value(v) ? json_string_value(v) : "";
		int err = prefix_parse(&p, s);

		if (err)
			return error_set(e, -EINVAL, "--%s %s: %s", flag, s,
					 err == -EDOM ? "bits are set behind the prefix length"
						      : "no prefix such as 10.0.0.0/8");
		if (prefixes_add(set, &p))
			return error_set(e, -EINVAL, "--%s: more than %d prefixes", flag,
					 PREFIXES_MAX);
	}
	return 0;
}

/* "" when it is absent. */
static int read_text(char *out, size_t size, const json_t *params, const char *key, struct error *e)
{
	const char *s = json_string_value(json_object_get(params, key));

	if (s && strlen(s) >= size)
		return error_set(e, -EINVAL, "--%s: longer than %zu characters", key, size - 1);
	snprintf(out, size, "%s", s ? s : "");
	return 0;
}

/* Another shell may have another $KUBECONFIG than the one that connected. */
static int read_environment(struct cluster_config *c, const json_t *env, struct error *e)
{
	const char *list = json_string_value(json_object_get(env, "KUBECONFIG"));
	const char *home = json_string_value(json_object_get(env, "HOME"));

	if (list && strlen(list) >= sizeof(c->environment))
		return error_set(e, -EINVAL, "$KUBECONFIG is longer than %zu characters",
				 sizeof(c->environment) - 1);
	if (home && strlen(home) >= sizeof(c->home))
		return error_set(e, -EINVAL, "$HOME is longer than %zu characters",
				 sizeof(c->home) - 1);
	c->has_environment = json_is_object(env);
	snprintf(c->environment, sizeof(c->environment), "%s", list ? list : "");
	snprintf(c->home, sizeof(c->home), "%s", home ? home : "");
	return 0;
}

static int read_cluster(struct cluster_config *c, const json_t *params, struct error *e)
{
	char transport[16];
	int err = read_text(c->kubeconfig, sizeof(c->kubeconfig), params, "kubeconfig", e);

	if (!err)
		err = read_environment(c, json_object_get(params, "environment"), e);
	if (!err)
		err = read_text(c->context, sizeof(c->context), params, "context", e);
	if (!err)
		err = read_text(c->as, sizeof(c->as), params, "as", e);
	if (!err)
		err = read_text(c->ns, sizeof(c->ns), params, "namespace", e);
	if (!err)
		err = read_text(c->manager_ns, sizeof(c->manager_ns), params, "manager_namespace",
				e);
	if (!err)
		err = read_text(transport, sizeof(transport), params, "transport", e);
	if (!err && ways_parse(&c->allowed, *transport ? transport : "auto"))
		err = error_set(e, -EINVAL,
				"--transport %s: one of auto, udp, websocket, portforward",
				transport);
	return err;
}

static int read_static(struct session_config *c, const struct daemon *d, const json_t *params,
		       struct error *e)
{
	const json_t *invite = json_object_get(params, "invite");
	const char *path = json_string_value(json_object_get(params, "invite_path"));
	const char *manager = json_string_value(json_object_get(params, "manager"));
	const char *ns = json_string_value(json_object_get(params, "namespace"));
	int err;

	if (!json_is_string(invite))
		return error_set(e, -EINVAL, "--manager needs an invite");
	err = invite_parse(&c->invite, json_string_value(invite), json_string_length(invite), e);
	if (err)
		return error_wrap(e, err, "%s", path ? path : "invite");
	c->manager_given = manager != NULL;
	if (manager && sockaddr_parse(&c->manager, manager))
		return error_set(e, -EINVAL, "--manager %s: no address such as 192.0.2.1:31820",
				 manager);
	if (ns && (strlen(ns) >= sizeof(c->ns) || !name_valid(ns)))
		return error_set(e, -EINVAL, "--namespace %s: not a name", ns);
	snprintf(c->ns, sizeof(c->ns), "%s", ns ? ns : "");
	snprintf(c->state_dir, sizeof(c->state_dir), "%s", d->dir.state);
	return 0;
}

static int read_request(struct session_config *c, const struct daemon *d, const json_t *params,
			struct error *e)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->kubernetes = !json_object_get(params, "invite") && !json_object_get(params, "manager");
	snprintf(c->cluster.state_dir, sizeof(c->cluster.state_dir), "%s", d->dir.state);
	err = c->kubernetes ? read_cluster(&c->cluster, params, e) : read_static(c, d, params, e);
	if (!err)
		err = read_prefixes(&c->also, json_object_get(params, "also_proxy"), "also-proxy",
				    e);
	if (!err)
		err = read_prefixes(&c->never, json_object_get(params, "never_proxy"),
				    "never-proxy", e);
	return err;
}

/* Credential plugins, proxies and $KUBECONFIG are those of the shell that connects, not of the one that happened to start
 * the daemon. */
static void take_environment(json_t *env)
{
	const char *name;
	json_t *value;

	if (!json_is_object(env))
		return;
	clearenv();
	json_object_foreach(env, name, value)
	{
		if (json_is_string(value) && *name && !strchr(name, '='))
			setenv(name, json_string_value(value), 1);
	}
}

/* --- the answer --- */

static json_t *describe(struct session *s, bool already)
{
	struct overlay_peer *p = tunnel_manager(session_tunnel(s));
	const struct cluster *c = session_cluster(s);
	struct overlay_peer_stats st;
	char remote[ADDR_STRLEN];
	nsec_t rtt = link_rtt(session_link(s));
	const char *transport = path_text(s, remote);
	json_t *j;

	overlay_peer_stats(p, &st);
	j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:f,s:I,s:b}", "platform", c ? "kubernetes" : "static",
		      "manager", remote, "name", session_hello(s)->name, "namespace",
		      session_namespace(s), "transport", transport, "round_trip_ms",
		      (double)(rtt ? rtt : st.rtt) / 1e6, "elapsed_ms",
		      (json_int_t)(session_elapsed(s) / NSEC_PER_MSEC), "already", already);
	if (c) {
		json_object_set_new(j, "context", json_string(cluster_context(c)));
		json_object_set_new(j, "server", json_string(cluster_server(c)));
	}
	return j;
}

static void on_progress(void *arg, const char *text)
{
	struct daemon *d = arg;

	if (d->connecting)
		control_progress(d->connecting, text);
}

static void on_connected(void *arg)
{
	struct daemon *d = arg;

	log_info("connected as %s, namespace %s", session_hello(d->session)->name,
		 session_namespace(d->session));
	if (d->connect_req)
		rpc_reply(d->connect_req, describe(d->session, false));
	d->connect_req = NULL;
	d->connecting = NULL;
	if (session_cluster(d->session))
		account_start(d);
}

static void on_failed(void *arg, int code, const char *text)
{
	struct daemon *d = arg;

	log_error("connect: %.*s", (int)strcspn(text, "\n"), text); /* a manifest may follow */
	if (d->connect_req)
		rpc_fail(d->connect_req, code, "%s", text);
	d->connect_req = NULL;
	d->connecting = NULL;
	workloads_session_end(d);
	account_end(d);
	session_free(d->session);
	d->session = NULL;
	daemon_check_idle(d);
}

static void on_tun(void *arg, const char *ifname)
{
	struct daemon *d = arg;

	netwatch_ignore(d->netwatch, ifname);
}

static void on_link_down(void *arg)
{
	method_link_down(arg);
}

static void on_snapshot(void *arg)
{
	method_snapshot(arg);
}

static void on_ended(void *arg, const char *text);

static const struct session_ops session_callbacks = {
	.ended = on_ended,
	.progress = on_progress,
	.connected = on_connected,
	.failed = on_failed,
	.snapshot = on_snapshot,
	.tun = on_tun,
	.link_down = on_link_down,
};

/* 0: what `want` asks for is there; 1: another cluster; 2: it, with other settings; negative errno. */
static int compare(struct session *s, const struct session_config *want, struct error *e)
{
	const struct session_config *have = session_config(s);
	int other = want->kubernetes != have->kubernetes;

	if (!other && want->kubernetes)
		other = cluster_compare(session_cluster(s), &want->cluster, e);
	else if (!other)
		other = memcmp(want->invite.claim.id, have->invite.claim.id, INVITE_ID_LEN) ||
			memcmp(want->invite.manager, have->invite.manager, KEY_LEN);
	if (!other && (!prefixes_equal(&want->also, &have->also) ||
		       !prefixes_equal(&want->never, &have->never) ||
		       (want->ns[0] && strcmp(want->ns, session_namespace(s)))))
		other = 2;
	return other;
}

static void answer_connected(struct daemon *d, const struct session_config *want,
			     struct rpc_request *req)
{
	struct cluster *c = session_cluster(d->session);
	struct error e;
	int other;

	if (session_state(d->session) != SESSION_CONNECTED) {
		rpc_fail(req, RPC_CONFLICT,
			 "another `culvert connect` or `culvert quit` is under way");
		return;
	}
	other = compare(d->session, want, &e);
	if (other < 0)
		rpc_fail(req, RPC_FAILED, "%s", e.text);
	else if (other == 1 && c)
		rpc_fail(req, RPC_CONFLICT,
			 "already connected to context %s (%s); run `culvert quit` first",
			 cluster_context(c), cluster_server(c));
	else if (other == 1)
		rpc_fail(req, RPC_CONFLICT, "already connected as %s; run `culvert quit` first",
			 session_hello(d->session)->name);
	else if (other)
		rpc_fail(req, RPC_CONFLICT,
			 "already connected with other settings; run `culvert quit` first to "
			 "change them");
	else
		rpc_reply(req, describe(d->session, true));
}

static int check_invite(const struct session_config *c, struct error *e)
{
	union sockaddr_any sa;
	unsigned i;

	if (c->kubernetes)
		return 0;
	if (c->invite.claim.role != ROLE_LAPTOP)
		return error_set(e, -EINVAL,
				 "this invite is for an agent; ask for one made by: "
				 "culvert-manager invite laptop NAME");
	if (c->invite.claim.expiry && c->invite.claim.expiry < clock_real() / NSEC_PER_SEC)
		log_info("connect: the invite has expired; it is good only if this laptop has used "
			 "it");
	if (!c->manager_given && !c->invite.nendpoints)
		return error_set(
			e, -EINVAL,
			"the invite names no address of the manager; add --manager HOST:PORT");
	for (i = 0; !c->manager_given && i < c->invite.nendpoints; i++)
		if (sockaddr_parse(&sa, c->invite.endpoint[i]))
			return error_set(e, -EINVAL, "the invite names '%s', which is no HOST:PORT",
					 c->invite.endpoint[i]);
	return 0;
}

void daemon_connect(struct daemon *d, struct control_client *cl, json_t *params,
		    struct rpc_request *req)
{
	struct session_config cfg;
	struct error e;

	if (d->stopping) {
		rpc_fail(req, RPC_CONFLICT, "the daemon is about to end; try again");
	} else if (read_request(&cfg, d, params, &e)) {
		rpc_fail(req, RPC_USAGE, "%s", e.text);
	} else if (d->session) {
		answer_connected(d, &cfg, req);
	} else {
		d->connecting = cl;
		d->connect_req = req;
		d->ended[0] = '\0';
		take_environment(json_object_get(params, "environment"));
		if (check_invite(&cfg, &e) ||
		    session_new(&d->session, d->base, &cfg, &session_callbacks, d, &e)) {
			d->connecting = NULL;
			d->connect_req = NULL;
			log_error("connect: %s", e.text);
			rpc_fail(req, RPC_FAILED, "%s", e.text);
		}
	}
	crypto_wipe(&cfg.invite, sizeof(cfg.invite));
}

/* --- the end --- */

static void stop_loop(struct daemon *d)
{
	/* rpc_reply() has written the answer to quit; its caller sees the end of the daemon as the
	 * end of the socket. */
	event_base_loopexit(d->base, NULL);
}

static void on_session_closed(void *arg)
{
	struct daemon *d = arg;

	method_link_down(d);
	workloads_session_end(d);
	account_end(d);
	if (d->session)
		snprintf(d->left_behind, sizeof(d->left_behind), "%s",
			 session_left_behind(d->session));
	session_free(d->session);
	d->session = NULL;
	if (!d->stopping) {
		daemon_check_idle(d);
		return;
	}
	while (d->nquits)
		rpc_reply(d->quit_req[--d->nquits],
			  *d->left_behind ? json_pack("{s:s}", "warning", d->left_behind)
					  : json_object());
	log_info("quit: everything is undone");
	stop_loop(d);
}

static void on_ended(void *arg, const char *text)
{
	struct daemon *d = arg;

	log_error("session: %s", text);
	snprintf(d->ended, sizeof(d->ended), "%s", text);
	session_close(d->session, on_session_closed, d);
}

void daemon_connect_abandoned(struct daemon *d)
{
	log_info("connect: interrupted; undoing it");
	rpc_fail(d->connect_req, RPC_FAILED, "interrupted");
	d->connecting = NULL;
	d->connect_req = NULL;
	session_close(d->session, on_session_closed, d);
}

void daemon_quit(struct daemon *d, struct rpc_request *req)
{
	if (req && d->nquits == QUITS_MAX) {
		rpc_fail(req, RPC_CONFLICT, "another `culvert quit` is under way");
		return;
	}
	if (req)
		d->quit_req[d->nquits++] = req;
	if (d->stopping) {
		if (!req)
			event_base_loopexit(d->base, NULL); /* a second signal does not wait */
		return;
	}
	d->stopping = true;
	if (d->connect_req)
		rpc_fail(d->connect_req, RPC_FAILED, "interrupted by `culvert quit`");
	d->connect_req = NULL;
	d->connecting = NULL;
	if (!d->session)
		on_session_closed(d);
	else if (session_state(d->session) != SESSION_CLOSING)
		session_close(d->session, on_session_closed, d);
}

void daemon_check_idle(struct daemon *d)
{
	if (d->stopping ? !d->session && !control_clients(d->control)
			: d->exit_idle && !d->session && !*d->ended && !control_clients(d->control))
		event_base_loopexit(d->base, NULL);
}
