/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: the connect sequence, and what repairs it afterwards.
 *
 * Three things live side by side and break one by one: keys with the manager (overlay/, retried for
 * ever there), the control connection (link.c), the laptop's network (hostnet.c). Only the first
 * time do they come one after the other.
 *
 * Failures may be met deep inside a callback of the node or the stack, which may not be freed
 * there. So fail() only notes them; the owner hears of it from the loop.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/cluster.h"
#include "daemon/hostnet.h"
#include "daemon/intake.h"
#include "daemon/intercepts.h"
#include "daemon/keys.h"
#include "daemon/laptop.h"
#include "daemon/link.h"
#include "daemon/plan.h"
#include "daemon/session.h"
#include "daemon/tunnel.h"
#include "node/node.h"

enum {
	HANDSHAKE_HINT = 3,   /* s without an answer: say that we still try */
	HANDSHAKE_LIMIT = 10, /* s: give up, and say what silence can mean */
	HELLO_LIMIT = 15,     /* s from the handshake on */
	ENDPOINT_EVERY = 2,   /* s: then the invite's next endpoint */
	LEAVE_LIMIT = 2,      /* s that quit waits for the manager */
};

enum { UNDO_HOSTNET = 1, UNDO_CLUSTER = 2 };

struct session {
	struct event_base *base;
	const struct session_ops *ops;
	void *arg;
	struct session_config cfg;
	enum session_state state;
	struct keys keys;
	struct cluster *cluster; /* NULL = the static platform */
	bool helper_ready, cluster_ready, cluster_ended;
	struct tunnel *tunnel;
	struct link *link;
	struct hostnet *hostnet;
	struct event *tick; /* 1 Hz, only while the sequence waits */
	struct event *tell; /* runs tell_end() from the loop */
	unsigned endpoint;
	unsigned waited; /* ticks in this state */
	nsec_t started, connected;
	struct hello hello;
	bool ipv6;
	struct intercepts intercepts;
	int failed_code;
	struct error failure, left_behind;
	unsigned leaving;
	unsigned undoing; /* parts that are under way */
	void (*closed)(void *arg);
	void *closed_arg;
};

static void printf_like(2, 3) progress(struct session *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_info("connect: %s", text);
	s->ops->progress(s->arg, text);
}

static void fail(struct session *s, int code, const char *text)
{
	if (s->state >= SESSION_CONNECTED)
		return;
	s->state = SESSION_FAILED;
	s->failed_code = code;
	error_set(&s->failure, 0, "%s", text);
	event_active(s->tell, EV_TIMEOUT, 0);
}

static void end_cluster(struct session *s);

static void on_cluster_end(void *arg, const char *left_behind)
{
	struct session *s = arg;

	error_set(&s->left_behind, 0, "%s", left_behind);
	s->undoing &= ~(unsigned)UNDO_CLUSTER;
	event_active(s->tell, EV_TIMEOUT, 0);
}

/* From the loop, where the owner may free us. */
static void tell_end(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (s->state == SESSION_FAILED && s->cluster)
		end_cluster(s);
	if (s->undoing)
		return;
	if (s->state == SESSION_CLOSING)
		s->closed(s->closed_arg);
	else
		s->ops->failed(s->arg, s->failed_code, s->failure.text);
}

static void enter(struct session *s, enum session_state state)
{
	struct timeval second = {.tv_sec = 1};

	s->state = state;
	s->waited = 0;
	if (state < SESSION_CONNECTED)
		event_add(s->tick, &second);
	else
		event_del(s->tick);
}

/* --- the manager's key --- */

static union sockaddr_any current_endpoint(const struct session *s)
{
	union sockaddr_any sa = s->cfg.manager;

	if (!s->cfg.manager_given)
		sockaddr_parse(&sa,
			       s->cfg.invite.endpoint[s->endpoint]); /* checked by session_new */
	return sa;
}

/* Where the manager is called, for sentences. */
static const char *called(const struct session *s, char buf[static ADDR_STRLEN])
{
	union sockaddr_any sa;

	if (s->cluster)
		return "the manager";
	sa = current_endpoint(s);
	return sockaddr_format(&sa, buf);
}

static void add_udp(struct session *s)
{
	const struct told *told = cluster_told(s->cluster);

	for (unsigned i = 0; i < told->nudp; i++)
		tunnel_add_udp(s->tunnel, &told->udp[i]);
}

static void call_manager(struct session *s)
{
	union sockaddr_any sa;
	char buf[ADDR_STRLEN];

	if (!s->cluster) {
		sa = current_endpoint(s);
		progress(s, "Calling the manager at %s", sockaddr_format(&sa, buf));
		enter(s, SESSION_HANDSHAKE);
		tunnel_set_endpoint(s->tunnel, &sa);
	} else if (s->cluster_ready) {
		progress(s, "Calling the manager");
		enter(s, SESSION_HANDSHAKE);
		if (s->cfg.cluster.allowed == WAYS_UDP)
			add_udp(s);
		tunnel_call(s->tunnel);
	} else {
		enter(s, SESSION_CLUSTER);
	}
}

static void on_helper_ready(void *arg)
{
	struct session *s = arg;

	s->helper_ready = true;
	if (s->state == SESSION_HELPER)
		call_manager(s);
}

static void on_established(void *arg, bool fresh)
{
	struct session *s = arg;

	if (s->state == SESSION_HANDSHAKE) {
		progress(s, "The manager answered");
		enter(s, SESSION_HELLO);
		if (s->cluster && s->cfg.cluster.allowed == WAYS_AUTO)
			add_udp(s); /* beside the stream, taken when they answer */
	} else if (fresh && s->state == SESSION_CONNECTED) {
		log_info("manager: a new session of keys was made");
	}
	if (s->state == SESSION_HELLO || s->state == SESSION_CONNECTED)
		link_kick(s->link);
}

static void on_away(void *arg)
{
	(void)arg;
	log_warn("manager: silent for %d s; trying to reach it", PEER_DEAD_AFTER);
}

static void on_back(void *arg)
{
	struct session *s = arg;

	log_info("manager: heard again");
	if (s->state == SESSION_CONNECTED)
		link_kick(s->link);
}

static void on_stamp(void *arg, nsec_t last)
{
	struct session *s = arg;
	struct error e;

	if (keys_stamp(&s->keys, last, &e))
		log_warn("%s", e.text);
}

static void on_stream_gone(void *arg, const char *why)
{
	struct session *s = arg;

	cluster_stream_gone(s->cluster, why);
}

static void on_tun_gone(void *arg)
{
	struct session *s = arg;

	hostnet_restart(s->hostnet);
}

static const struct tunnel_ops tunnel_callbacks = {
	.established = on_established,
	.away = on_away,
	.back = on_back,
	.stamp = on_stamp,
	.tun_gone = on_tun_gone,
	.stream_gone = on_stream_gone,
};

static void give_up_handshake(struct session *s)
{
	union sockaddr_any sa;
	char buf[ADDR_STRLEN];
	struct error e;

	if (s->cluster) {
		cluster_explain_silence(s->cluster, HANDSHAKE_LIMIT, &e);
		fail(s, RPC_TIMEOUT, e.text);
		return;
	}
	sa = current_endpoint(s);
	error_set(&e, 0,
		  "no answer from %s in %d s. A manager is silent to strangers, so this can mean: "
		  "no manager runs there, UDP is "
		  "blocked on the way, or the invite is of another manager. Check --manager and "
		  "ask for a new invite",
		  sockaddr_format(&sa, buf), HANDSHAKE_LIMIT);
	fail(s, RPC_TIMEOUT, e.text);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;
	union sockaddr_any sa;
	char buf[ADDR_STRLEN];

	(void)fd;
	(void)what;
	s->waited++;
	if (s->state == SESSION_HELLO && s->waited >= HELLO_LIMIT)
		fail(s, RPC_TIMEOUT,
		     "the manager's key answered, but its control port did not; see the manager's "
		     "log");
	if (s->state != SESSION_HANDSHAKE)
		return;
	if (s->waited >= HANDSHAKE_LIMIT) {
		give_up_handshake(s);
		return;
	}
	if (!s->cluster && !s->cfg.manager_given && s->cfg.invite.nendpoints > 1 &&
	    s->waited % ENDPOINT_EVERY == 0) {
		s->endpoint = (s->endpoint + 1) % s->cfg.invite.nendpoints;
		sa = current_endpoint(s);
		progress(s, "No answer yet; calling the manager at %s", sockaddr_format(&sa, buf));
		tunnel_set_endpoint(s->tunnel, &sa);
	} else if (s->waited == HANDSHAKE_HINT) {
		progress(s, "No answer from %s yet; still trying", called(s, buf));
	}
}

/* --- the API server --- */

static void on_cluster_progress(void *arg, const char *text)
{
	struct session *s = arg;

	progress(s, "%s", text);
}

static void on_cluster_ready(void *arg)
{
	struct session *s = arg;
	struct error e;

	if (tunnel_set_manager(s->tunnel, cluster_told(s->cluster)->key, NULL, NULL, &e)) {
		fail(s, RPC_FAILED, e.text);
		return;
	}
	s->cluster_ready = true;
	if (s->state == SESSION_CLUSTER)
		call_manager(s);
}

static void on_cluster_stream(void *arg, struct stream *stream, enum way way)
{
	struct session *s = arg;
	struct error e;

	if (!s->cluster_ready) { /* its key cannot be used: this session is about to end */
		stream->ops->abort(stream);
		return;
	}
	log_info("manager: a stream to it by %s", way_name(way));
	if (tunnel_add_stream(s->tunnel, stream, &e)) {
		log_warn("manager: %s", e.text);
		cluster_stream_gone(s->cluster, e.text);
	}
}

static void on_cluster_no_stream(void *arg)
{
	struct session *s = arg;

	if (s->cluster_ready && s->cfg.cluster.allowed == WAYS_AUTO)
		add_udp(s);
}

static void on_cluster_failed(void *arg, int code, const char *text)
{
	fail(arg, code, text);
}

static void on_cluster_ended(void *arg, const char *text)
{
	struct session *s = arg;

	if (s->state == SESSION_CONNECTED)
		s->ops->ended(s->arg, text);
	else
		fail(s, RPC_FAILED, text);
}

static const struct cluster_ops cluster_callbacks = {
	.progress = on_cluster_progress,
	.ready = on_cluster_ready,
	.stream = on_cluster_stream,
	.no_stream = on_cluster_no_stream,
	.failed = on_cluster_failed,
	.ended = on_cluster_ended,
};

/* --- hello, and what follows from it --- */

/* What carries the tunnel must never be led into it. */
static void find_spare(struct session *s, struct plan_input *in)
{
	union sockaddr_any sa;

	if (s->cluster) {
		in->nspare = cluster_addresses(s->cluster, in->spare, SPARE_MAX);
		return;
	}
	sa = current_endpoint(s);
	in->spare[in->nspare++] = sockaddr_ip(&sa);
}

static int plan(struct session *s, struct hostnet_config *c, struct error *e)
{
	struct plan_input in = {
		.hello = &s->hello,
		.also = &s->cfg.also,
		.never = &s->cfg.never,
	};
	char a[ADDR_STRLEN], p[ADDR_STRLEN];
	struct plan_spared spared;
	int err;

	find_spare(s, &in);
	in.own = hostnet_own_resolvers(s->hostnet);
	if (s->ipv6)
		in.kernel_v6 = overlay_kernel_addr(s->keys.id.pub);
	err = plan_hostnet(c, &in, &spared, e);
	for (unsigned i = 0; !err && i < spared.n && s->state < SESSION_CONNECTED; i++)
		progress(s,
			 "%s, by which the cluster is reached, lies in %s; it stays outside the "
			 "tunnel",
			 ipaddr_format(&spared.addr[i], a), prefix_format(&spared.from[i], p));
	return err;
}

static int on_hello(void *arg, json_t *answer)
{
	struct session *s = arg;
	struct hostnet_config cfg;
	char buf[ADDR_STRLEN];
	struct hello hello;
	struct error e;
	int err = hello_parse(&hello, answer, &e);

	if (!err && s->cluster)
		hello_search(&hello, cluster_told(s->cluster)->domain,
			     cluster_namespace(s->cluster));
	if (!err)
		s->hello = hello; /* one that cannot be read leaves us as the last one said */
	if (!err && laptop_has_address(&s->hello.address, hostnet_tun_name(s->hostnet))) {
		log_info("connect: this laptop has %s already; asking for another address",
			 ipaddr_format(&s->hello.address, buf));
		link_avoid(s->link, buf);
		return -EADDRINUSE;
	}
	if (!err)
		err = plan(s, &cfg, &e);
	if (!err)
		err = tunnel_set_prefixes(s->tunnel, &cfg.routes, &e);
	if (err) {
		log_warn("manager: %s", e.text);
		fail(s, RPC_FAILED, e.text);
		return err;
	}
	if (s->state == SESSION_HELLO) {
		progress(s, "Setting up %u routes%s", cfg.routes.n,
			 cfg.dns.ndomains ? " and DNS" : "");
		enter(s, SESSION_HOSTNET);
	}
	if (s->state == SESSION_HOSTNET || s->state == SESSION_CONNECTED)
		hostnet_apply(s->hostnet, &cfg);
	if (s->state == SESSION_CONNECTED)
		tunnel_ask_flows(s->tunnel);
	return 0;
}

/* Namespaces come and go. */
static void on_dns(void *arg, json_t *params)
{
	struct session *s = arg;
	struct hostnet_config cfg;
	struct hello hello = s->hello;
	struct error e;

	if (!s->cluster || s->state != SESSION_CONNECTED)
		return;
	if (hello_set_dns(&hello, params, &e)) {
		log_warn("manager: %s", e.text);
		return;
	}
	hello_search(&hello, cluster_told(s->cluster)->domain, cluster_namespace(s->cluster));
	s->hello = hello;
	if (plan(s, &cfg, &e))
		log_warn("manager: %s", e.text);
	else
		hostnet_apply(s->hostnet, &cfg);
}

static void on_refused(void *arg, int code, const char *text)
{
	struct session *s = arg;

	log_error("manager: refuses this laptop: %s", text);
	fail(s, code, text);
}

/* --- intercepts --- */

static void on_intercepts(void *arg, json_t *params)
{
	struct session *s = arg;

	if (!intercepts_take(&s->intercepts, json_object_get(params, "intercepts")))
		s->ops->snapshot(s->arg);
}

void session_granted(struct session *s, const json_t *intercept)
{
	intercepts_granted(&s->intercepts, intercept);
}

void session_left(struct session *s, const char *name)
{
	intercepts_left(&s->intercepts, name);
}

static void start_undo(struct session *s);

/* Intercepts stay as the last snapshot said. */
static void on_link_down(void *arg)
{
	struct session *s = arg;

	if (s->state == SESSION_CLOSING && s->leaving)
		start_undo(s);
	else
		s->ops->link_down(s->arg);
}

static const struct link_ops link_callbacks = {
	.hello = on_hello,
	.refused = on_refused,
	.intercepts = on_intercepts,
	.dns = on_dns,
	.down = on_link_down,
};

/* --- the laptop's network --- */

static int on_tun(void *arg, int fd, struct error *e)
{
	struct session *s = arg;
	const struct hostnet_config *c = hostnet_config(s->hostnet);

	s->ops->tun(s->arg, hostnet_tun_name(s->hostnet));
	return tunnel_set_tun(s->tunnel, fd, &c->v4, &c->v6, e);
}

static void on_hostnet_up(void *arg)
{
	struct session *s = arg;

	if (s->state != SESSION_HOSTNET)
		return;
	enter(s, SESSION_CONNECTED);
	s->connected = clock_boot();
	s->ops->connected(s->arg);
}

static void on_hostnet_lost(void *arg)
{
	struct session *s = arg;

	tunnel_drop_tun(s->tunnel);
}

static void on_hostnet_failed(void *arg, const char *text)
{
	fail(arg, RPC_FAILED, text);
}

static const struct hostnet_ops hostnet_callbacks = {
	.ready = on_helper_ready,
	.tun = on_tun,
	.up = on_hostnet_up,
	.lost = on_hostnet_lost,
	.failed = on_hostnet_failed,
};

/* --- life --- */

static int make_parts(struct session *s, struct error *e)
{
	const struct invite *inv = &s->cfg.invite;
	struct tunnel_config tc = {.identity = &s->keys.id};
	int err = keys_load(&s->keys, s->cfg.state_dir, s->cfg.kubernetes ? NULL : &inv->claim, e);

	if (err)
		return err;
	tc.last_stamp = s->keys.last;
	err = tunnel_new(&s->tunnel, s->base, &tc, &tunnel_callbacks, s, e);
	if (!err && !s->cfg.kubernetes)
		err = tunnel_set_manager(s->tunnel, inv->manager, inv->psk, &inv->claim, e);
	if (!err)
		err = link_new(&s->link, s->base, s->tunnel, &link_callbacks, s, e);
	if (!err && intercepts_init(&s->intercepts, tunnel_intake(s->tunnel)))
		err = error_errno(e, -ENOMEM, "session");
	/* Last, so that whatever they say at once finds the others there. */
	if (!err)
		err = hostnet_new(&s->hostnet, s->base, &hostnet_callbacks, s, e);
	if (!err && s->cfg.kubernetes)
		err = cluster_new(&s->cluster, s->base, &s->cfg.cluster, &s->keys.id,
				  &cluster_callbacks, s, e);
	return err;
}

static void free_session(struct session **sp)
{
	session_free(*sp);
}

int session_new(struct session **sp, struct event_base *base, const struct session_config *cfg,
		const struct session_ops *ops, void *arg, struct error *e)
{
	cleanup(free_session) struct session *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return error_errno(e, -ENOMEM, "session");
	s->base = base;
	s->ops = ops;
	s->arg = arg;
	s->cfg = *cfg;
	s->started = clock_boot();
	s->ipv6 = laptop_has_ipv6();
	s->tick = event_new(base, -1, EV_PERSIST, on_tick, s);
	s->tell = event_new(base, -1, 0, tell_end, s);
	if (!s->tick || !s->tell)
		return error_errno(e, -ENOMEM, "session");
	err = make_parts(s, e);
	if (err)
		return err;
	enter(s, SESSION_HELPER);
	*sp = steal_ptr(s);
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	/* The helper first: routes go before what answers behind them. */
	hostnet_free(s->hostnet);
	cluster_free(s->cluster);
	link_free(s->link);
	tunnel_free(s->tunnel);
	keys_close(&s->keys);
	if (s->tick)
		event_free(s->tick);
	if (s->tell)
		event_free(s->tell);
	intercepts_clear(&s->intercepts);
	crypto_wipe(&s->cfg.invite, sizeof(s->cfg.invite));
	free(s);
}

static void on_undone(void *arg)
{
	struct session *s = arg;

	s->undoing &= ~(unsigned)UNDO_HOSTNET;
	event_active(s->tell, EV_TIMEOUT, 0);
}

static void start_undo(struct session *s)
{
	s->leaving = 0;
	hostnet_undo(s->hostnet, on_undone, s);
}

static void on_left(void *arg, json_t *result, int code, const char *message)
{
	struct session *s = arg;

	if (!result)
		log_warn("quit: leave: %s (%d)", message, code);
	if (s->leaving && --s->leaving == 0)
		start_undo(s);
}

static void end_cluster(struct session *s)
{
	if (s->cluster_ended)
		return;
	s->cluster_ended = true;
	s->undoing |= UNDO_CLUSTER;
	cluster_end(s->cluster, on_cluster_end, s);
}

void session_close(struct session *s, void (*done)(void *arg), void *arg)
{
	json_t *v;
	size_t i;

	s->closed = done;
	s->closed_arg = arg;
	enter(s, SESSION_CLOSING);
	intake_set(tunnel_intake(s->tunnel), NULL, 0);
	s->undoing |= UNDO_HOSTNET;
	if (s->cluster) { /* its intercepts go with the Session */
		end_cluster(s);
		start_undo(s);
		return;
	}
	json_array_foreach(s->intercepts.list, i, v)
	{
		json_t *name = json_object_get(json_object_get(v, "intercept"), "name");

		if (!link_call(s->link, "leave", json_pack("{s:O}", "name", name),
			       LEAVE_LIMIT * NSEC_PER_SEC, on_left, s))
			s->leaving++;
	}
	if (!s->leaving)
		start_undo(s);
}

void session_network_changed(struct session *s, const char *why)
{
	if (s->state < SESSION_HANDSHAKE)
		return;
	log_info("network: %s; calling the manager again", why);
	tunnel_kick(s->tunnel);
	if (s->cluster)
		cluster_kick(s->cluster);
}

const char *session_left_behind(const struct session *s)
{
	return s->left_behind.text;
}

struct cluster *session_cluster(const struct session *s)
{
	return s->cluster;
}

enum session_state session_state(const struct session *s)
{
	return s->state;
}

const struct session_config *session_config(const struct session *s)
{
	return &s->cfg;
}

const struct hello *session_hello(const struct session *s)
{
	return &s->hello;
}

const char *session_namespace(const struct session *s)
{
	if (s->cluster)
		return cluster_namespace(s->cluster);
	return s->cfg.ns[0] ? s->cfg.ns : s->hello.ns;
}

struct link *session_link(struct session *s)
{
	return s->link;
}

struct tunnel *session_tunnel(struct session *s)
{
	return s->tunnel;
}

struct hostnet *session_hostnet(struct session *s)
{
	return s->hostnet;
}

bool session_ipv6(const struct session *s)
{
	return s->ipv6;
}

nsec_t session_elapsed(const struct session *s)
{
	return s->connected - s->started;
}

json_t *session_intercepts(const struct session *s)
{
	return s->intercepts.list;
}
