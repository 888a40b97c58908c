/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostnet: the order of requests to the helper.
 *
 *   LOST --0.5 s--> HELLO --> READY --apply--> TUN --> ROUTES --> DNS --> UP
 *     ^               |         ^                \        |        |       | another configuration
 *     +--- closed ----+         +---- UNDO <------+-------+--------+-------+
 *
 * UP --other domains--> DNS_AGAIN --> UP: nothing ends for it.
 *
 * A refusal on the first way to UP is the user's to know (a route conflict); later ones, after the
 * helper came back, are retried and shown by status.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/helper_client.h"
#include "daemon/hostnet.h"

enum hostnet_state {
	HN_LOST,
	HN_HELLO,
	HN_READY,
	HN_TUN,
	HN_ROUTES,
	HN_DNS,
	HN_UP,
	HN_DNS_AGAIN,
	HN_UNDO,
	HN_FAILED
};
enum { RETRY_MS = 500 };

struct hostnet {
	struct event_base *base;
	const struct hostnet_ops *ops;
	void *arg;
	enum hostnet_state state;
	bool wanted; /* `cfg` is asked for */
	bool was_up; /* once: then what goes wrong is retried */
	struct hostnet_config cfg;
	struct helper_client *helper;
	struct event *retry;
	struct dns_stub *stub;
	struct dns_config stub_cfg; /* in force */
	enum privsep_dns_way dns_way;
	struct resolv_conf own; /* without us */
	unsigned domains_left_out;
	bool domains_told; /* those of `cfg`, to the helper */
	char tun_name[16];
	char trouble[512];
	void (*undone)(void *arg);
	void *undone_arg;
};

static void on_answer(void *arg, const struct privsep_answer *ans, const int *fds, unsigned nfds);
static void on_closed(void *arg);
static const struct helper_client_ops helper_callbacks = {.answer = on_answer, .closed = on_closed};

static void trouble(struct hostnet *h, const char *text)
{
	if (strcmp(h->trouble, text))
		log_warn("helper: %s", text);
	snprintf(h->trouble, sizeof(h->trouble), "%.*s", (int)sizeof(h->trouble) - 1, text);
}

/* What hangs on the helper's work ends at once: the TUN, the stub. */
static void let_go(struct hostnet *h)
{
	bool had = h->tun_name[0];

	dns_stub_free(h->stub);
	h->stub = NULL;
	h->dns_way = 0;
	h->tun_name[0] = 0;
	if (had)
		h->ops->lost(h->arg);
}

static void retry_later(struct hostnet *h)
{
	struct timeval tv = {.tv_usec = RETRY_MS * 1000};

	helper_client_free(h->helper);
	h->helper = NULL;
	let_go(h);
	h->state = HN_LOST;
	evtimer_add(h->retry, &tv);
}

static void fail(struct hostnet *h, const char *text)
{
	trouble(h, text);
	if (h->was_up) {
		retry_later(h);
		return;
	}
	helper_client_free(h->helper);
	h->helper = NULL;
	let_go(h);
	h->state = HN_FAILED;
	h->ops->failed(h->arg, h->trouble);
}

static void finish_undo(struct hostnet *h)
{
	void (*done)(void *) = h->undone;

	h->undone = NULL;
	if (done)
		done(h->undone_arg);
}

static void send_request(struct hostnet *h, enum hostnet_state next, struct privsep_request *req)
{
	int err = helper_client_send(h->helper, req);

	h->state = next;
	if (err)
		on_closed(h);
}

static void ask_hello(struct hostnet *h)
{
	struct privsep_request req = {.op = PRIVSEP_HELLO};

	send_request(h, HN_HELLO, &req);
}

static void ask_tun(struct hostnet *h)
{
	struct privsep_request req = {.op = PRIVSEP_TUN};

	req.tun.addr[0] = h->cfg.v4;
	req.tun.addr[1] = h->cfg.v6;
	send_request(h, HN_TUN, &req);
}

static void ask_routes(struct hostnet *h)
{
	struct privsep_request req = {.op = PRIVSEP_ROUTES};

	req.routes.n = h->cfg.routes.n;
	memcpy(req.routes.prefix, h->cfg.routes.p, sizeof(struct prefix) * h->cfg.routes.n);
	send_request(h, HN_ROUTES, &req);
}

static void ask_dns(struct hostnet *h, enum hostnet_state next)
{
	struct privsep_request req = {.op = PRIVSEP_DNS};

	req.dns.nsearch = h->cfg.nsearch;
	memcpy(req.dns.search, h->cfg.search, sizeof(req.dns.search));
	req.dns.ndomains = h->cfg.dns.ndomains;
	memcpy(req.dns.domain, h->cfg.dns.domain, sizeof(req.dns.domain));
	h->domains_told = true;
	send_request(h, next, &req);
}

static void ask_undo(struct hostnet *h)
{
	struct privsep_request req = {.op = PRIVSEP_UNDO};

	let_go(h);
	send_request(h, HN_UNDO, &req);
}

/* resolv.conf names no domains. */
static void tell_domains(struct hostnet *h)
{
	if (!h->domains_told && h->dns_way == PRIVSEP_DNS_RESOLVED)
		ask_dns(h, HN_DNS_AGAIN);
}

static void now_up(struct hostnet *h)
{
	h->state = HN_UP;
	if (h->was_up)
		log_info("helper: %s, routes and DNS are set up again", h->tun_name);
	h->was_up = true;
	h->trouble[0] = 0;
	h->ops->up(h->arg);
	if (h->state == HN_UP)
		tell_domains(h);
}

static void got_tun(struct hostnet *h, const struct privsep_answer *ans, const int *fds,
		    unsigned nfds)
{
	struct error e = {0};

	if (nfds != 1) {
		fail(h, "culvert-helper gave no TUN");
		return;
	}
	snprintf(h->tun_name, sizeof(h->tun_name), "%.*s", (int)sizeof(ans->tun_name) - 1,
		 ans->tun_name);
	if (h->ops->tun(h->arg, fds[0], &e))
		fail(h, e.text);
	else
		ask_routes(h);
}

static const char *resolvers_file(const struct hostnet *h)
{
	return h->dns_way == PRIVSEP_DNS_RESOLVED ? RESOLVED_SERVERS : NULL;
}

static void got_dns(struct hostnet *h, const struct privsep_answer *ans, const int *fds,
		    unsigned nfds)
{
	struct dns_config cfg = h->cfg.dns;
	struct error e = {0};
	unsigned i;

	if (nfds == 2) {
		cfg.nresolvers = MIN(ans->nresolvers, (uint32_t)PRIVSEP_RESOLVERS);
		memcpy(cfg.resolver, ans->resolver, sizeof(cfg.resolver));
		h->dns_way = (enum privsep_dns_way)ans->dns_way;
		h->domains_left_out = ans->domains_left_out;
		cfg.resolvers_file = resolvers_file(h);
		if (!dns_stub_new(&h->stub, h->base, fds[0], fds[1], &cfg, &e)) {
			h->stub_cfg = cfg;
			now_up(h);
			return;
		}
	} else {
		error_set(&e, -EPROTO, "culvert-helper gave no sockets for DNS");
	}
	for (i = 0; i < nfds; i++)
		close(fds[i]);
	fail(h, e.text);
}

static void on_answer(void *arg, const struct privsep_answer *ans, const int *fds, unsigned nfds)
{
	struct hostnet *h = arg;
	bool takes_fds = !ans->code && (h->state == HN_TUN || h->state == HN_DNS);
	char text[sizeof(ans->text) + 1];
	unsigned i;

	for (i = 0; !takes_fds && i < nfds; i++)
		close(fds[i]);
	snprintf(text, sizeof(text), "%.*s", (int)sizeof(ans->text), ans->text);
	if (ans->code && h->state != HN_UNDO && h->state != HN_DNS_AGAIN) {
		fail(h, text[0] ? text : strerror(-ans->code));
		return;
	}
	switch (h->state) {
	case HN_HELLO:
		h->state = HN_READY;
		if (h->wanted)
			ask_tun(h);
		else
			h->ops->ready(h->arg);
		break;
	case HN_TUN:
		got_tun(h, ans, fds, nfds);
		break;
	case HN_ROUTES:
		if (h->cfg.dns.ndomains)
			ask_dns(h, HN_DNS);
		else
			now_up(h);
		break;
	case HN_DNS:
		got_dns(h, ans, fds, nfds);
		break;
	case HN_DNS_AGAIN:
		if (ans->code) /* the helper goes on trying */
			log_warn("helper: DNS: %s", text);
		h->domains_left_out = ans->domains_left_out;
		h->state = HN_UP;
		tell_domains(h);
		break;
	case HN_UNDO:
		if (ans->code)
			log_warn("helper: undo: %s", text);
		h->state = HN_READY;
		if (h->undone)
			finish_undo(h);
		else if (h->wanted)
			ask_tun(h);
		break;
	default:
		break;
	}
}

static void on_closed(void *arg)
{
	struct hostnet *h = arg;
	struct error e;

	if (h->undone) {
		helper_client_free(h->helper);
		h->helper = NULL;
		let_go(h);
		h->state = HN_LOST;
		finish_undo(h);
		return;
	}
	if (!h->was_up) {
		fail(h, h->state == HN_HELLO
				? "culvert-helper closed the connection: it is of another version, "
				  "or serves another user"
				: "culvert-helper ended while it set up the network; see its log");
		return;
	}
	error_set(&e, 0, "culvert-helper is gone; start it again with: %s", helper_command());
	trouble(h, e.text);
	retry_later(h);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hostnet *h = arg;
	struct error e;

	(void)fd;
	(void)what;
	if (helper_client_new(&h->helper, h->base, &helper_callbacks, h, &e)) {
		trouble(h, e.text);
		retry_later(h);
		return;
	}
	ask_hello(h);
}

static void free_hostnet(struct hostnet **hp)
{
	hostnet_free(*hp);
}

int hostnet_new(struct hostnet **hp, struct event_base *base, const struct hostnet_ops *ops,
		void *arg, struct error *e)
{
	cleanup(free_hostnet) struct hostnet *h = calloc(1, sizeof(*h));
	struct privsep_request hello = {.op = PRIVSEP_HELLO};
	int err;

	if (!h)
		return error_errno(e, -ENOMEM, "helper");
	h->base = base;
	h->ops = ops;
	h->arg = arg;
	h->retry = evtimer_new(base, on_retry, h);
	if (!h->retry)
		return error_errno(e, -ENOMEM, "helper");
	err = helper_client_new(&h->helper, base, &helper_callbacks, h, e);
	if (err)
		return err;
	h->state = HN_HELLO;
	err = helper_client_send(h->helper, &hello);
	if (err)
		return error_errno(e, err, "culvert-helper at %s", helper_path());
	*hp = steal_ptr(h);
	return 0;
}

void hostnet_free(struct hostnet *h)
{
	if (!h)
		return;
	dns_stub_free(h->stub);
	helper_client_free(h->helper);
	if (h->retry)
		event_free(h->retry);
	free(h);
}

static bool same_dns(const struct dns_config *a, const struct dns_config *b)
{
	/* The names were zeroed before they were filled: their bytes tell. */
	return sockaddr_equal(&a->cluster, &b->cluster) && a->ndomains == b->ndomains &&
	       !strcmp(a->zone, b->zone) && !strcmp(a->ns, b->ns) &&
	       !memcmp(a->domain, b->domain, sizeof(a->domain));
}

/* All that the helper did. */
static bool same_kernel(const struct hostnet_config *a, const struct hostnet_config *b)
{
	return ipaddr_equal(&a->v4, &b->v4) && ipaddr_equal(&a->v6, &b->v6) &&
	       prefixes_equal(&a->routes, &b->routes) && !a->dns.ndomains == !b->dns.ndomains &&
	       a->nsearch == b->nsearch && !memcmp(a->search, b->search, sizeof(a->search));
}

/* Other domains are the stub's and systemd-resolved's matter: connections go on. */
static void set_domains(struct hostnet *h)
{
	struct dns_config cfg = h->cfg.dns;

	cfg.nresolvers = h->stub_cfg.nresolvers;
	memcpy(cfg.resolver, h->stub_cfg.resolver, sizeof(cfg.resolver));
	cfg.resolvers_file = resolvers_file(h);
	h->stub_cfg = cfg;
	dns_stub_set(h->stub, &cfg);
}

void hostnet_apply(struct hostnet *h, const struct hostnet_config *cfg)
{
	bool same_dom = h->wanted && same_dns(&h->cfg.dns, &cfg->dns);
	bool same = h->wanted && same_kernel(&h->cfg, cfg);

	h->cfg = *cfg;
	h->wanted = true;
	if (same) {
		if (same_dom)
			return;
		h->domains_told = false; /* what is under way is of before */
		if (h->stub)
			set_domains(h);
		if (h->state == HN_UP)
			tell_domains(h);
		return;
	}
	if (h->state == HN_READY)
		ask_tun(h);
	else if (h->state == HN_UP)
		ask_undo(h);
	else if (h->state != HN_LOST && h->state != HN_HELLO && h->state != HN_UNDO &&
		 h->state != HN_FAILED)
		retry_later(h); /* half-way with the old one: closing undoes it */
}

void hostnet_restart(struct hostnet *h)
{
	trouble(h, "the TUN device was taken away; making it again");
	retry_later(h);
}

void hostnet_undo(struct hostnet *h, void (*done)(void *arg), void *arg)
{
	h->wanted = false;
	h->undone = done;
	h->undone_arg = arg;
	if (h->state == HN_UP || h->state == HN_READY) {
		ask_undo(h);
		return;
	}
	/* Lost, failed or half-way: closing undoes as well. */
	evtimer_del(h->retry);
	on_closed(h);
}

bool hostnet_up(const struct hostnet *h)
{
	return h->state == HN_UP || h->state == HN_DNS_AGAIN;
}

const char *hostnet_trouble(const struct hostnet *h)
{
	return h->trouble;
}

const char *hostnet_tun_name(const struct hostnet *h)
{
	return h->tun_name;
}

const struct hostnet_config *hostnet_config(const struct hostnet *h)
{
	return &h->cfg;
}

const struct dns_stats *hostnet_dns_stats(const struct hostnet *h)
{
	return h->stub ? dns_stub_stats(h->stub) : NULL;
}

const struct resolv_conf *hostnet_own_resolvers(struct hostnet *h)
{
	struct resolv_conf now;

	laptop_resolvers(&now);
	if (now.nresolvers)
		h->own = now;
	return &h->own;
}

unsigned hostnet_domains_left_out(const struct hostnet *h)
{
	return h->domains_left_out;
}

enum privsep_dns_way hostnet_dns_way(const struct hostnet *h)
{
	return h->dns_way;
}
