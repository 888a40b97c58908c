/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP in front of the application. Each datagram goes where the rule of its port says when it comes: a flow (client address and
 * port) that a laptop has keeps a port of ours on the overlay, by which the answers find back; everything else goes to the
 * application through relay's flows.
 *
 * No handshake tells whether a laptop is there. "Nobody listens" comes back as an ICMP error: the datagram it is about, kept until
 * the flow's first answer, goes to the application, and those of the next two seconds as well. Silence says nothing, since
 * some protocols never answer: so while nothing is heard the laptop is asked by a TCP connection to the same port, which it resets.
 */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "agent/internal.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stream.h"
#include "netstack/netstack.h"
#include "relay/relay.h"

enum {
	FLOWS = 16384,		  /* that laptops have; the one idle longest makes room */
	APPLICATION_FLOWS = 8192, /* a socket each: 24 MiB, and the container may have 64 */
	IDLE_S = UDP_FLOW_IDLE,
	LOOK_EVERY_S = 5,
	SUSPECT_MS = 2000,
	HEARD_MS = 2000, /* heard within: not asked */
	ASK_MS = 1500,
	KEPT_MAX = 1 << 20, /* bytes of datagrams kept */
	PORT_FIRST = 1024,
	BATCH = 16,
	DATAGRAM = 65536,
	CONTROL = 64,
};

struct laptop_flow {
	struct hash_node by_client, by_own;
	TAILQ_ENTRY(laptop_flow) by_age;
	const struct agent_port *port;
	struct flow client; /* as it reached us */
	struct flow inner;  /* from our stack to the laptop's intake */
	char rule[RULE_NAME_LEN];
	nsec_t used;
	bool answered;
	uint8_t *last; /* the last datagram, until there is an answer */
	size_t last_len;
};

struct probe {
	LIST_ENTRY(probe) entry;
	struct udp *u;
	struct stream *s;
	char rule[RULE_NAME_LEN];
	uint16_t target;
};

TAILQ_HEAD(flow_list, laptop_flow);
LIST_HEAD(probe_list, probe);

struct udp {
	struct agent *a;
	struct udp_flows *application;
	struct hash_table by_client, by_own;
	struct flow_list age;
	struct probe_list probes;
	struct event *timer;
	size_t kept;
	uint64_t lost; /* datagrams that could not be sent on */
	uint16_t own;
	uint8_t batch[BATCH][DATAGRAM]; /* what is never received into is never paged in */
};

/* --- table ------------------------------------------------------------------------------------------------------- */

static uint64_t client_hash(const struct udp *u, const struct flow *f)
{
	uint8_t key[2 * sizeof(f->src.b) + 4];

	memcpy(key, f->src.b, sizeof(f->src.b));
	memcpy(key + sizeof(f->src.b), f->dst.b, sizeof(f->dst.b));
	put_be16(key + sizeof(key) - 4, f->sport);
	put_be16(key + sizeof(key) - 2, f->dport);
	return hash_of(&u->by_client, key, sizeof(key));
}

static struct laptop_flow *find_client(const struct udp *u, const struct flow *client)
{
	struct hash_node *n = hash_first(&u->by_client, client_hash(u, client));

	for (; n; n = hash_next(n)) {
		struct laptop_flow *f = container_of(n, struct laptop_flow, by_client);
		if (flow_equal(&f->client, client))
			return f;
	}
	return NULL;
}

static struct laptop_flow *find_own(const struct udp *u, uint16_t own)
{
	struct hash_node *n = hash_first(&u->by_own, hash_of(&u->by_own, &own, sizeof(own)));

	for (; n; n = hash_next(n)) {
		struct laptop_flow *f = container_of(n, struct laptop_flow, by_own);
		if (f->inner.sport == own)
			return f;
	}
	return NULL;
}

/* The flow that `inner` (as its opener sees it) is of. */
static struct laptop_flow *find_inner(const struct udp *u, const struct flow *inner)
{
	struct laptop_flow *f = find_own(u, inner->sport);

	return f && flow_equal(&f->inner, inner) ? f : NULL;
}

static void forget_last(struct udp *u, struct laptop_flow *f)
{
	u->kept -= f->last_len;
	free(f->last);
	f->last = NULL;
	f->last_len = 0;
}

static void keep_last(struct udp *u, struct laptop_flow *f, const uint8_t *data, size_t len)
{
	forget_last(u, f);
	if (f->answered || u->kept + len > KEPT_MAX)
		return;
	f->last = malloc(len + 1);
	if (!f->last)
		return;
	memcpy(f->last, data, len);
	f->last_len = len;
	u->kept += len;
}

static void flow_free(struct udp *u, struct laptop_flow *f)
{
	forget_last(u, f);
	hash_remove(&u->by_client, &f->by_client);
	hash_remove(&u->by_own, &f->by_own);
	TAILQ_REMOVE(&u->age, f, by_age);
	free(f);
}

static void touch(struct udp *u, struct laptop_flow *f)
{
	const struct timeval tv = {.tv_sec = LOOK_EVERY_S};

	TAILQ_REMOVE(&u->age, f, by_age);
	f->used = clock_boot();
	TAILQ_INSERT_TAIL(&u->age, f, by_age);
	if (!evtimer_pending(u->timer, NULL))
		evtimer_add(u->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = {.tv_sec = LOOK_EVERY_S};
	nsec_t now = clock_boot();
	struct udp *u = arg;
	struct laptop_flow *f;

	(void)fd;
	(void)what;
	while ((f = TAILQ_FIRST(&u->age)) && now - f->used >= IDLE_S * NSEC_PER_SEC)
		flow_free(u, f);
	if (f)
		evtimer_add(u->timer, &tv);
}

static struct laptop_flow *flow_new(struct udp *u, const struct agent_port *port,
				    const struct rule *r, const struct flow *client)
{
	static struct log_limit full_log;
	struct laptop_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	if (u->by_own.count >= FLOWS) {
		log_limited(&full_log, 60 * NSEC_PER_SEC,
			    "UDP: %d flows are with laptops; the one idle longest ends", FLOWS);
		flow_free(u, TAILQ_FIRST(&u->age));
	}
	do
		u->own = u->own < PORT_FIRST || u->own == UINT16_MAX ? PORT_FIRST
								     : (uint16_t)(u->own + 1);
	while (find_own(u, u->own));
	f->port = port;
	f->client = *client;
	f->inner = (struct flow){.src = *link_address(u->a->link),
				 .dst = r->address,
				 .sport = u->own,
				 .dport = r->port};
	memcpy(f->rule, r->name, sizeof(f->rule));
	hash_insert(&u->by_client, &f->by_client, client_hash(u, client));
	hash_insert(&u->by_own, &f->by_own, hash_of(&u->by_own, &u->own, sizeof(u->own)));
	TAILQ_INSERT_TAIL(&u->age, f, by_age);
	return f;
}

static void lost(struct udp *u, const char *why)
{
	static struct log_limit limit;

	u->lost++;
	log_limited(&limit, 60 * NSEC_PER_SEC, "UDP: %" PRIu64 " datagrams were lost here: %s",
		    u->lost, why);
}

/* --- the client's side ------------------------------------------------------------------------------------------- */

/* IPv4 in the form of a socket that is of IPv6. */
static struct ipaddr mapped(const struct ipaddr *a)
{
	struct ipaddr m = {.family = 6, .b = {[10] = 0xff, [11] = 0xff}};

	memcpy(m.b + 12, a->b, 4);
	return m;
}

/* Where the datagram was sent to is where the answer comes from: a client takes it from nobody else. */
static void answer_client(struct udp *u, const struct agent_port *port, const struct flow *client,
			  const uint8_t *data, size_t len)
{
	int family, fd = listener_socket(u->a, port, &family);
	bool map = family == AF_INET6 && client->src.family == 4;
	struct ipaddr to = map ? mapped(&client->src) : client->src;
	struct ipaddr from = map ? mapped(&client->dst) : client->dst;
	union sockaddr_any name = sockaddr_from(&to, client->sport);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	_Alignas(struct cmsghdr) char control[CONTROL] = {0};
	struct msghdr msg = {.msg_name = &name,
			     .msg_namelen = sockaddr_len(&name),
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control};
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;

	if (fd < 0)
		return;
	if (family == AF_INET6) {
		struct in6_pktinfo *info = (struct in6_pktinfo *)(void *)CMSG_DATA(c);
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IPV6,
				      .cmsg_type = IPV6_PKTINFO,
				      .cmsg_len = CMSG_LEN(sizeof(*info))};
		memcpy(&info->ipi6_addr, from.b, sizeof(info->ipi6_addr));
		msg.msg_controllen = CMSG_SPACE(sizeof(*info));
	} else {
		struct in_pktinfo *info = (struct in_pktinfo *)(void *)CMSG_DATA(c);
		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP,
				      .cmsg_type = IP_PKTINFO,
				      .cmsg_len = CMSG_LEN(sizeof(*info))};
		memcpy(&info->ipi_spec_dst, from.b, sizeof(info->ipi_spec_dst));
		msg.msg_controllen = CMSG_SPACE(sizeof(*info));
	}
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		lost(u, strerror(errno));
}

static void on_reply(void *arg, const struct flow *flow, const uint8_t *data, size_t len)
{
	struct udp *u = arg;

	for (unsigned i = 0; i < u->a->cfg->nports; i++) {
		const struct agent_port *p = &u->a->cfg->port[i];
		struct ipaddr at = sockaddr_ip(&p->listen);

		if (p->udp && sockaddr_port(&p->listen) == flow->dport &&
		    (ipaddr_is_unspecified(&at) || ipaddr_equal(&at, &flow->dst))) {
			answer_client(u, p, flow, data, len);
			return;
		}
	}
}

/* --- by policy --------------------------------------------------------------------------------------------------- */

/* True: it made a new flow. */
static bool to_application(struct udp *u, const struct agent_port *port, const struct flow *client,
			   const uint8_t *data, size_t len)
{
	static struct log_limit full_log;
	const struct udp_flows_stats *stats = udp_flows_stats(u->application);
	void *token = (void *)(uintptr_t)port;
	unsigned before = udp_flows_of_peer(u->application, token);
	uint64_t limit = stats->limit, errors = stats->errors;

	udp_flows_send(u->application, client, &port->application, data, len, token);
	if (stats->limit > limit)
		log_limited(&full_log, 60 * NSEC_PER_SEC,
			    "UDP: %u flows are with the application; the one idle longest ended",
			    stats->flows);
	if (stats->errors > errors)
		lost(u, "the application's port");
	return udp_flows_of_peer(u->application, token) > before;
}

/* The laptop does not serve. Holding a datagram makes no sense: who wants an answer sends again. */
static void by_policy(struct udp *u, const struct agent_port *port, struct rule *r,
		      const struct flow *client, const uint8_t *data, size_t len)
{
	bool count = r->on_down == ON_DOWN_FAIL || to_application(u, port, client, data, len);

	r->fallback += count;
	u->a->rules.counted |= count;
}

/* The laptop's no more; what it has not answered goes elsewhere. */
static void give_back(struct udp *u, struct laptop_flow *f, struct rule *r)
{
	if (f->last)
		by_policy(u, f->port, r, &f->client, f->last, f->last_len);
	flow_free(u, f);
}

static void suspect(struct udp *u, struct rule *r)
{
	r->suspect_until = clock_boot() + SUSPECT_MS * NSEC_PER_MSEC;
	for (struct laptop_flow *f = TAILQ_FIRST(&u->age), *next; f; f = next) {
		next = TAILQ_NEXT(f, by_age);
		if (f->port->target == r->target && !strcmp(f->rule, r->name))
			give_back(u, f, r);
	}
}

static struct rule *rule_named(struct udp *u, uint16_t target, const char *name)
{
	struct rule *r = rules_find(&u->a->rules, target, true);

	return r && !strcmp(r->name, name) ? r : NULL;
}

/* --- is it there? ------------------------------------------------------------------------------------------------ */

static void probe_free(struct probe *p)
{
	LIST_REMOVE(p, entry);
	p->s->ops->abort(p->s);
	free(p);
}

static void on_probe(struct stream *s, unsigned ev, void *arg)
{
	struct probe *p = arg;
	struct udp *u = p->u;
	struct rule *r = rule_named(u, p->target, p->rule);
	bool there = !(ev & STREAM_ERROR) || s->error == -ECONNREFUSED || s->error == -ECONNRESET;

	if (!(ev & (STREAM_ERROR | STREAM_WRITABLE)))
		return;
	probe_free(p);
	if (!r)
		return;
	r->probing = false;
	if (!there) {
		suspect(u, r);
		return;
	}
	r->heard = clock_boot();
	r->suspect_until = 0;
}

static void ask(struct udp *u, struct rule *r)
{
	struct probe *p = r->probing ? NULL : calloc(1, sizeof(*p));

	if (!p)
		return;
	if (netstack_connect(link_netstack(u->a->link), link_address(u->a->link), &r->address,
			     r->port, NULL, ASK_MS * NSEC_PER_MSEC, &p->s)) {
		free(p);
		return;
	}
	p->u = u;
	p->target = r->target;
	memcpy(p->rule, r->name, sizeof(p->rule));
	LIST_INSERT_HEAD(&u->probes, p, entry);
	r->probing = true;
	stream_set(p->s, on_probe, p);
	p->s->ops->want(p->s, STREAM_WRITABLE);
}

static bool laptop_serves(struct udp *u, struct rule *r)
{
	nsec_t now = clock_boot();

	if (!r->online || !link_usable(u->a->link))
		return false;
	if (now < r->suspect_until)
		return false;
	if (r->suspect_until || now - r->heard > HEARD_MS * NSEC_PER_MSEC)
		ask(u, r);
	return !r->suspect_until;
}

/* --- datagrams --------------------------------------------------------------------------------------------------- */

static void to_laptop(struct udp *u, const struct agent_port *port, struct rule *r,
		      const struct flow *client, const uint8_t *data, size_t len)
{
	struct laptop_flow *f = find_client(u, client);

	if (f && (strcmp(f->rule, r->name) || f->inner.dport != r->port ||
		  !ipaddr_equal(&f->inner.dst, &r->address))) {
		flow_free(u, f);
		f = NULL;
	}
	if (!f) {
		f = flow_new(u, port, r, client);
		r->connections += f != NULL;
		u->a->rules.counted = true;
	}
	if (!f) {
		lost(u, strerror(ENOMEM));
		return;
	}
	touch(u, f);
	keep_last(u, f, data, len);
	netstack_udp_send(link_netstack(u->a->link), &f->inner, data, len);
}

static void take(struct udp *u, const struct agent_port *port, const struct flow *client,
		 const uint8_t *data, size_t len)
{
	struct rule *r = rules_find(&u->a->rules, port->target, true);

	if (!r)
		to_application(u, port, client, data, len);
	else if (laptop_serves(u, r))
		to_laptop(u, port, r, client, data, len);
	else
		by_policy(u, port, r, client, data, len);
}

/* The address that the client sent it to. */
static bool local_address(struct msghdr *msg, struct ipaddr *a)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			const struct in_pktinfo *info = (const void *)CMSG_DATA(c);
			*a = ipaddr_v4(&info->ipi_addr);
			return true;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			const struct in6_pktinfo *info = (const void *)CMSG_DATA(c);
			union sockaddr_any sa = {
				.in6 = {.sin6_family = AF_INET6, .sin6_addr = info->ipi6_addr}};
			*a = sockaddr_ip(&sa); /* IPv4 if it is that */
			return true;
		}
	}
	return false;
}

void udp_readable(struct agent *a, const struct agent_port *port, int fd)
{
	_Alignas(struct cmsghdr) char control[BATCH][CONTROL];
	union sockaddr_any from[BATCH];
	struct mmsghdr msgs[BATCH] = {0};
	struct iovec iov[BATCH];
	struct udp *u = a->udp;
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = u->batch[i], .iov_len = DATAGRAM};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						  .msg_namelen = sizeof(from[i]),
						  .msg_iov = &iov[i],
						  .msg_iovlen = 1,
						  .msg_control = control[i],
						  .msg_controllen = CONTROL};
	}
	n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		struct flow client = {.src = sockaddr_ip(&from[i]),
				      .sport = sockaddr_port(&from[i]),
				      .dport = sockaddr_port(&port->listen)};

		if (local_address(&msgs[i].msg_hdr, &client.dst))
			take(u, port, &client, u->batch[i], msgs[i].msg_len);
	}
}

bool udp_answer(struct agent *a, const struct flow *flow, const uint8_t *data, size_t len)
{
	const struct flow inner = {
		.src = flow->dst, .dst = flow->src, .sport = flow->dport, .dport = flow->sport};
	struct laptop_flow *f = a->udp ? find_inner(a->udp, &inner) : NULL;
	struct rule *r = f ? rule_named(a->udp, f->port->target, f->rule) : NULL;

	if (!f)
		return false;
	f->answered = true;
	forget_last(a->udp, f);
	touch(a->udp, f);
	if (r)
		r->heard = clock_boot();
	answer_client(a->udp, f->port, &f->client, data, len);
	return true;
}

void udp_refused(struct agent *a, const struct flow *inner)
{
	struct laptop_flow *f = a->udp ? find_inner(a->udp, inner) : NULL;
	struct rule *r = f ? rule_named(a->udp, f->port->target, f->rule) : NULL;

	if (r)
		suspect(a->udp, r);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

void udp_recheck(struct agent *a)
{
	struct udp *u = a->udp;
	struct laptop_flow *next;

	if (!u)
		return;
	for (struct laptop_flow *f = TAILQ_FIRST(&u->age); f; f = next) {
		next = TAILQ_NEXT(f, by_age);
		if (!rule_named(u, f->port->target, f->rule))
			flow_free(u, f);
	}
}

int udp_new(struct agent *a)
{
	static const struct udp_flows_ops ops = {.reply = on_reply};
	struct udp *u;
	unsigned n = 0;

	for (unsigned i = 0; i < a->cfg->nports; i++)
		n += a->cfg->port[i].udp;
	if (n == 0)
		return 0;
	a->udp = u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->a = a;
	TAILQ_INIT(&u->age);
	LIST_INIT(&u->probes);
	crypto_random(&u->own, sizeof(u->own)); /* after a restart no answer meets another's flow */
	u->timer = evtimer_new(a->base, on_timer, u);
	if (!u->timer || hash_init(&u->by_client) || hash_init(&u->by_own) ||
	    udp_flows_new(&u->application, a->base, &ops, u))
		return -ENOMEM;
	udp_flows_make_room(u->application, APPLICATION_FLOWS);
	return 0;
}

void udp_free(struct agent *a)
{
	struct udp *u = a->udp;
	struct laptop_flow *f;

	if (!u)
		return;
	while (!LIST_EMPTY(&u->probes))
		probe_free(LIST_FIRST(&u->probes));
	while ((f = TAILQ_FIRST(&u->age)))
		flow_free(u, f);
	udp_flows_free(u->application);
	if (u->timer)
		event_free(u->timer);
	hash_fini(&u->by_client);
	hash_fini(&u->by_own);
	free(u);
	a->udp = NULL;
}
