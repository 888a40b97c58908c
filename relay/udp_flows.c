/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows and pings through host sockets.
 *
 * A flow has a connected socket of its own: the kernel then gives us only its target's datagrams,
 * and ICMP errors as errno. Pings use the kernel's ping sockets (SOCK_DGRAM, IPPROTO_ICMP), which
 * put in an identifier of their own; the flow remembers the client's.
 *
 * Idle flows: two lists in the order of last use, one per idle time, and one timer that is set for
 * the older head. A datagram moves its flow to the tail and does not touch the timer; a timer that
 * comes too early just looks again.
 *
 * A callback may end the flow it is called for, its peer or the whole object. So a flow whose
 * socket is being read knows a flag on the reader's stack (`gone`), set when it is freed.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "relay/internal.h"

enum {
	BATCH = 16, /* datagrams per recvmmsg */
	ROUNDS = 4, /* batches per event: then others get their turn */
	ECHO_HLEN = 8,
	PORT_DNS = 53,
};

enum kind { KIND_UDP, KIND_ECHO };
enum { IDLE_LONG, IDLE_SHORT, NUM_IDLE };

LIST_HEAD(flow_list, udp_flow);
TAILQ_HEAD(age_list, udp_flow);

struct udp_peer {
	struct hash_node node; /* by the token */
	void *token;
	unsigned count;
	struct flow_list flows;
};

struct udp_flow {
	struct hash_node node; /* by flow and kind */
	struct flow flow;
	enum kind kind;
	union sockaddr_any to;
	struct udp_flows *u;
	struct udp_peer *peer;
	LIST_ENTRY(udp_flow) of_peer;
	TAILQ_ENTRY(udp_flow) by_age;
	unsigned idle; /* which list */
	nsec_t used;
	uint64_t sent, received;
	int fd;
	struct event readable;
	bool *gone;
};

struct udp_flows {
	struct event_base *base;
	const struct udp_flows_ops *ops;
	void *arg;
	struct hash_table flows, peers;
	struct age_list age[NUM_IDLE];
	nsec_t idle_time[NUM_IDLE];
	struct event timer;
	unsigned most; /* flows; at that the oldest makes room. 0 = the new one is refused */
	struct udp_flows_stats stats;
	uint8_t batch[BATCH][PKT_MAX + 1]; /* what is never received into is never paged in */
};

/* --- table ----------------------------------------------------------------- */

static uint64_t flow_hash(const struct udp_flows *u, const struct flow *flow, enum kind kind)
{
	uint8_t key[2 * sizeof(struct ipaddr) + 5];
	uint8_t *p = key;

	memcpy(p, &flow->src, sizeof(flow->src));
	p += sizeof(flow->src);
	memcpy(p, &flow->dst, sizeof(flow->dst));
	p += sizeof(flow->dst);
	put_be16(p, flow->sport);
	put_be16(p + 2, flow->dport);
	p[4] = (uint8_t)kind;
	return hash_of(&u->flows, key, sizeof(key));
}

static struct udp_flow *flow_find(const struct udp_flows *u, const struct flow *flow,
				  enum kind kind, void *token)
{
	struct hash_node *n = hash_first(&u->flows, flow_hash(u, flow, kind));

	for (; n; n = hash_next(n)) {
		struct udp_flow *f = container_of(n, struct udp_flow, node);
		if (f->kind == kind && f->peer->token == token && flow_equal(&f->flow, flow))
			return f;
	}
	return NULL;
}

static struct udp_peer *peer_find(const struct udp_flows *u, void *token)
{
	struct hash_node *n = hash_first(&u->peers, hash_of(&u->peers, &token, sizeof(token)));

	for (; n; n = hash_next(n)) {
		struct udp_peer *p = container_of(n, struct udp_peer, node);
		if (p->token == token)
			return p;
	}
	return NULL;
}

static struct udp_peer *peer_get(struct udp_flows *u, void *token)
{
	struct udp_peer *p = peer_find(u, token);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->token = token;
	LIST_INIT(&p->flows);
	hash_insert(&u->peers, &p->node, hash_of(&u->peers, &token, sizeof(token)));
	return p;
}

static void peer_put(struct udp_flows *u, struct udp_peer *p)
{
	if (p->count)
		return;
	hash_remove(&u->peers, &p->node);
	free(p);
}

static void flow_free(struct udp_flow *f)
{
	struct udp_flows *u = f->u;

	if (f->gone)
		*f->gone = true;
	event_del(&f->readable);
	close(f->fd);
	hash_remove(&u->flows, &f->node);
	TAILQ_REMOVE(&u->age[f->idle], f, by_age);
	LIST_REMOVE(f, of_peer);
	f->peer->count--;
	peer_put(u, f->peer);
	u->stats.flows--;
	free(f);
}

/* --- idle time ------------------------------------------------------------- */

static void timer_set(struct udp_flows *u, nsec_t now)
{
	nsec_t next = UINT64_MAX;

	for (unsigned i = 0; i < NUM_IDLE; i++) {
		struct udp_flow *head = TAILQ_FIRST(&u->age[i]);
		if (head)
			next = MIN(next, head->used + u->idle_time[i]);
	}
	if (next == UINT64_MAX)
		return;
	nsec_t in = next > now ? next - now : 0;
	struct timeval tv = {
		.tv_sec = (time_t)(in / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(in % NSEC_PER_SEC / 1000 + 1),
	};
	event_add(&u->timer, &tv);
}

static void on_timer(int fd, short what, void *arg)
{
	struct udp_flows *u = arg;
	nsec_t now = clock_boot();

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < NUM_IDLE; i++) {
		struct udp_flow *f;
		while ((f = TAILQ_FIRST(&u->age[i])) && now - f->used >= u->idle_time[i])
			flow_free(f);
	}
	timer_set(u, now);
}

static void touch(struct udp_flow *f)
{
	struct udp_flows *u = f->u;
	/* Every question has its answer: a resolver will hardly use this socket again. */
	bool answered = f->kind == KIND_UDP && f->flow.dport == PORT_DNS && f->received >= f->sent;
	unsigned idle = answered ? IDLE_SHORT : IDLE_LONG;

	TAILQ_REMOVE(&u->age[f->idle], f, by_age);
	f->used = clock_boot();
	f->idle = idle;
	TAILQ_INSERT_TAIL(&u->age[idle], f, by_age);
	/* The short list's head may be due before what the timer was set for. */
	if (idle == IDLE_SHORT && TAILQ_FIRST(&u->age[idle]) == f)
		timer_set(u, f->used);
}

/* --- receiving ------------------------------------------------------------- */

static void flow_refused(struct udp_flow *f)
{
	struct udp_flows *u = f->u;
	struct flow flow = f->flow;
	bool udp = f->kind == KIND_UDP;

	flow_free(f);
	if (udp && u->ops->refused)
		u->ops->refused(u->arg, &flow);
}

static void deliver(struct udp_flow *f, const uint8_t *data, size_t len)
{
	struct udp_flows *u = f->u;

	if (f->kind == KIND_UDP) {
		u->ops->reply(u->arg, &f->flow, data, len);
		return;
	}
	uint8_t reply = f->flow.dst.family == 4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	if (len >= ECHO_HLEN && data[0] == reply && u->ops->echo_reply)
		u->ops->echo_reply(u->arg, &f->flow, get_be16(data + 6), data + ECHO_HLEN,
				   len - ECHO_HLEN);
}

/* One batch to the callbacks. How many came, or negative errno; *gone: the flow (and maybe all) was
 * freed meanwhile. */
static int receive_batch(struct udp_flow *f, bool *gone)
{
	struct udp_flows *u = f->u;
	struct iovec iov[BATCH];
	struct mmsghdr msgs[BATCH];

	memset(msgs, 0, sizeof(msgs));
	for (unsigned i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = u->batch[i], .iov_len = sizeof(u->batch[i])};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	int n = recvmmsg(f->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return -errno;
	f->received += (unsigned)n;
	if (n > 0)
		touch(f);
	for (int i = 0; i < n && !*gone; i++)
		deliver(f, u->batch[i], msgs[i].msg_len);
	return n;
}

static void on_readable(int fd, short what, void *arg)
{
	struct udp_flow *f = arg;
	bool gone = false;
	int n = BATCH;

	(void)fd;
	(void)what;
	f->gone = &gone;
	for (int i = 0; i < ROUNDS && n == BATCH && !gone; i++)
		n = receive_batch(f, &gone);
	if (gone)
		return;
	f->gone = NULL;
	if (n == -ECONNREFUSED)
		flow_refused(f);
	else if (n < 0 && n != -EAGAIN && n != -EINTR)
		f->u->stats.errors++;
}

/* --- sending --------------------------------------------------------------- */

/* A connected socket, or negative errno. */
static int flow_socket(const union sockaddr_any *to, enum kind kind)
{
	int family = to->sa.sa_family;
	int proto = kind == KIND_UDP	? IPPROTO_UDP
		    : family == AF_INET ? IPPROTO_ICMP
					: (int)IPPROTO_ICMPV6;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);

	if (fd < 0)
		return -errno;
	/* A datagram above the path's MTU goes in fragments, as the client could send it. */
	int dont = IP_PMTUDISC_DONT;
	if (family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont));
	else
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &dont, sizeof(dont));
	if (connect(fd, &to->sa, sockaddr_len(to)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static struct udp_flow *flow_attach(struct udp_flows *u, struct udp_peer *peer,
				    const struct flow *flow, enum kind kind,
				    const union sockaddr_any *to, int fd)
{
	struct udp_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	event_assign(&f->readable, u->base, fd, EV_READ | EV_PERSIST, on_readable, f);
	if (event_add(&f->readable, NULL) < 0) {
		free(f);
		return NULL;
	}
	f->flow = *flow;
	f->kind = kind;
	f->to = *to;
	f->u = u;
	f->peer = peer;
	f->fd = fd;
	f->used = clock_boot();
	hash_insert(&u->flows, &f->node, flow_hash(u, flow, kind));
	LIST_INSERT_HEAD(&peer->flows, f, of_peer);
	peer->count++;
	f->idle = IDLE_LONG;
	TAILQ_INSERT_TAIL(&u->age[IDLE_LONG], f, by_age);
	u->stats.flows++;
	if (!event_pending(&u->timer, EV_TIMEOUT, NULL))
		timer_set(u, f->used);
	return f;
}

static bool end_oldest(struct udp_flows *u)
{
	struct udp_flow *oldest = NULL;

	for (unsigned i = 0; i < NUM_IDLE && u->most; i++) {
		struct udp_flow *head = TAILQ_FIRST(&u->age[i]);
		if (head && (!oldest || head->used < oldest->used))
			oldest = head;
	}
	if (!oldest)
		return false;
	flow_free(oldest);
	u->stats.limit++;
	return true;
}

/* NULL: counted. */
static struct udp_flow *flow_new(struct udp_flows *u, const struct flow *flow, enum kind kind,
				 const union sockaddr_any *to, void *token)
{
	struct udp_peer *peer = peer_find(u, token);
	bool full = u->stats.flows >= (u->most ? u->most : UDP_FLOWS_MAX) ||
		    (!u->most && peer && peer->count >= UDP_FLOWS_PER_PEER);

	if (full && !end_oldest(u)) {
		u->stats.limit++;
		return NULL;
	}
	int fd = flow_socket(to, kind);
	if ((fd == -EMFILE || fd == -ENFILE) && end_oldest(u))
		fd = flow_socket(to, kind);
	if (fd < 0) {
		if (kind == KIND_ECHO && (fd == -EACCES || fd == -EPERM))
			u->stats.no_ping++;
		else
			u->stats.errors++;
		return NULL;
	}
	peer = peer_get(u, token);
	struct udp_flow *f = peer ? flow_attach(u, peer, flow, kind, to, fd) : NULL;
	if (f)
		return f;
	close(fd);
	if (peer)
		peer_put(u, peer);
	u->stats.errors++;
	return NULL;
}

static struct udp_flow *flow_get(struct udp_flows *u, const struct flow *flow, enum kind kind,
				 const union sockaddr_any *to, void *token)
{
	struct udp_flow *f = flow_find(u, flow, kind, token);

	if (f && sockaddr_equal(&f->to, to))
		return f;
	if (f)
		flow_free(f); /* the program sends it elsewhere now */
	return flow_new(u, flow, kind, to, token);
}

static ssize_t flow_send(struct udp_flow *f, const struct iovec *iov, size_t n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
	ssize_t r = sendmsg(f->fd, &msg, MSG_NOSIGNAL);

	return r < 0 ? -errno : r;
}

static void flow_output(struct udp_flow *f, const struct iovec *iov, size_t n)
{
	struct udp_flows *u = f->u;

	f->sent++;
	touch(f);
	ssize_t r = flow_send(f, iov, n);
	if (r == -ECONNREFUSED) {
		/* That was the answer to an earlier datagram; this one has not been sent. */
		if (flow_send(f, iov, n) < 0)
			u->stats.errors++;
		if (f->kind == KIND_UDP && u->ops->refused) {
			struct flow flow = f->flow;
			u->ops->refused(u->arg, &flow);
		}
		return;
	}
	if (r < 0)
		u->stats.errors++;
}

void udp_flows_send(struct udp_flows *u, const struct flow *flow, const union sockaddr_any *to,
		    const uint8_t *data, size_t len, void *peer)
{
	struct udp_flow *f = flow_get(u, flow, KIND_UDP, to, peer);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	if (f)
		flow_output(f, &iov, 1);
}

void udp_flows_echo(struct udp_flows *u, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	union sockaddr_any to = sockaddr_from(&flow->dst, 0);
	struct udp_flow *f = flow_get(u, flow, KIND_ECHO, &to, peer);
	uint8_t head[ECHO_HLEN] = {0}; /* identifier and checksum are the kernel's */
	struct iovec iov[2] = {
		{.iov_base = head, .iov_len = sizeof(head)},
		{.iov_base = (void *)(uintptr_t)data, .iov_len = len},
	};

	if (!f)
		return;
	head[0] = flow->dst.family == 4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	put_be16(head + 6, seq);
	flow_output(f, iov, 2);
}

/* --- the object ------------------------------------------------------------ */

void udp_flows_forget_peer(struct udp_flows *u, void *token)
{
	struct udp_peer *p = peer_find(u, token);

	for (unsigned left = p ? p->count : 0; left; left--)
		flow_free(LIST_FIRST(&p->flows)); /* with the last one goes p */
}

unsigned udp_flows_of_peer(const struct udp_flows *u, void *token)
{
	const struct udp_peer *p = peer_find(u, token);

	return p ? p->count : 0;
}

void udp_flows_make_room(struct udp_flows *u, unsigned most)
{
	u->most = most;
}

const struct udp_flows_stats *udp_flows_stats(const struct udp_flows *u)
{
	return &u->stats;
}

void udp_flows_set_idle(struct udp_flows *u, nsec_t idle, nsec_t idle_dns)
{
	u->idle_time[IDLE_LONG] = idle;
	u->idle_time[IDLE_SHORT] = idle_dns;
	timer_set(u, clock_boot());
}

void udp_flows_free(struct udp_flows *u)
{
	if (!u)
		return;
	for (unsigned i = 0; i < NUM_IDLE; i++) {
		struct udp_flow *f;
		while ((f = TAILQ_FIRST(&u->age[i])))
			flow_free(f);
	}
	event_del(&u->timer);
	hash_fini(&u->flows);
	hash_fini(&u->peers);
	free(u);
}

int udp_flows_new(struct udp_flows **up, struct event_base *base, const struct udp_flows_ops *ops,
		  void *arg)
{
	struct udp_flows *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	if (hash_init(&u->flows) < 0 || hash_init(&u->peers) < 0) {
		hash_fini(&u->flows);
		hash_fini(&u->peers);
		free(u);
		return -ENOMEM;
	}
	u->base = base;
	u->ops = ops;
	u->arg = arg;
	for (unsigned i = 0; i < NUM_IDLE; i++)
		TAILQ_INIT(&u->age[i]);
	u->idle_time[IDLE_LONG] = UDP_FLOW_IDLE * NSEC_PER_SEC;
	u->idle_time[IDLE_SHORT] = UDP_FLOW_IDLE_DNS * NSEC_PER_SEC;
	event_assign(&u->timer, base, -1, 0, on_timer, u);
	*up = u;
	return 0;
}
