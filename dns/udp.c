/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries over UDP.
 *
 * A query is kept until it is answered or DNS_TIMEOUT has passed. It makes one attempt per server:
 * the first at once, the next when the one before has failed (refused, unreachable) or been silent
 * for DNS_NEXT_AFTER_MS. An answer to any of the attempts ends the query. Silence to the end is
 * passed on as silence: the client's resolver has its own time-out and knows what to do with it,
 * while SERVFAIL makes some of them retry for ever.
 */
#include <errno.h>
#include <sys/socket.h>

#include "dns/internal.h"

struct udp_attempt {
	struct udp_attempt *next; /* in the bucket of `id` */
	struct udp_query *query;
	struct upstream_socket *socket; /* NULL = not under way */
	uint16_t id;			/* ours, random */
};

struct udp_query {
	struct udp_query *older, *newer;
	struct dns_stub *stub;
	union sockaddr_any client;
	struct event *timer;
	struct dns_route route; /* servers still to be asked */
	unsigned waited_ms;	/* for servers before the current one */
	struct udp_attempt attempt[DNS_SERVERS];
	uint16_t client_id;
	uint16_t len;
	uint8_t msg[]; /* as it came; the id is that of the last attempt */
};

enum { READS_PER_EVENT = 64 };
_Static_assert((DNS_SERVERS - 2) * DNS_NEXT_AFTER_MS < DNS_TIMEOUT * 1000,
	       "the last resolver has time left");

static void attempt_end(struct udp_attempt *a)
{
	struct udp_attempt **p;

	if (!a->socket)
		return;
	for (p = &a->query->stub->bucket[a->id % ATTEMPT_BUCKETS]; *p != a; p = &(*p)->next)
		;
	*p = a->next;
	a->socket->pending--;
	a->socket = NULL;
}

static void query_free(struct udp_query *q)
{
	struct dns_stub *d = q->stub;

	for (unsigned i = 0; i < DNS_SERVERS; i++)
		attempt_end(&q->attempt[i]);
	*(q->older ? &q->older->newer : &d->oldest) = q->newer;
	*(q->newer ? &q->newer->older : &d->newest) = q->older;
	d->npending--;
	event_free(q->timer);
	free(q);
}

void udp_drop_all(struct dns_stub *d)
{
	while (d->oldest)
		query_free(d->oldest);
}

static void answer_client(struct dns_stub *d, const struct udp_query *q, const uint8_t *msg,
			  size_t len)
{
	if (sendto(d->udp, msg, len, MSG_DONTWAIT, &q->client.sa, sockaddr_len(&q->client)) < 0)
		d->stats.dropped++;
}

static int attempt_start(struct udp_query *q, unsigned server)
{
	struct dns_stub *d = q->stub;
	struct udp_attempt *a = &q->attempt[server];
	int error = 0;
	struct upstream_socket *s = upstream_pick(&d->server[server], &error);

	if (!s)
		return error;
	a->query = q;
	a->id = (uint16_t)arc4random();
	put_be16(q->msg, a->id);
	size_t len;
	const uint8_t *msg = dns_route_query(d, &q->route, server, q->msg, q->len, &len);
	if (!msg)
		return -EMSGSIZE;
	ssize_t n = send(s->fd, msg, len, 0);
	/* The error of an earlier datagram may be told here; this one was not sent then. */
	if (n < 0)
		n = send(s->fd, msg, len, 0);
	/* A socket keeps the source address that it was connected from, which the laptop may have
	 * lost since: on another Wi-Fi. What is under way on it is lost as well. */
	if (n < 0 && errno != EAGAIN && upstream_reconnect(s) == 0)
		n = send(s->fd, msg, len, 0);
	if (n < 0)
		return -errno;
	a->socket = s;
	s->pending++;
	a->next = d->bucket[a->id % ATTEMPT_BUCKETS];
	d->bucket[a->id % ATTEMPT_BUCKETS] = a;
	return 0;
}

static bool attempts_under_way(const struct udp_query *q)
{
	for (unsigned i = 0; i < DNS_SERVERS; i++)
		if (q->attempt[i].socket)
			return true;
	return false;
}

static void set_timer(struct udp_query *q, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(q->timer, &tv);
}

/* Asks the next server that can be asked. May free `q`. */
static void query_next(struct udp_query *q)
{
	struct dns_stub *d = q->stub;

	while (q->route.next < q->route.end) {
		unsigned server = q->route.next++;

		if (attempt_start(q, server) == 0) {
			set_timer(q, q->route.next < q->route.end
					     ? DNS_NEXT_AFTER_MS
					     : DNS_TIMEOUT * 1000 - q->waited_ms);
			return;
		}
	}
	if (attempts_under_way(q)) {
		set_timer(q, DNS_TIMEOUT * 1000 - q->waited_ms);
		return;
	}
	/* Every server is known not to be there: better said than waited for, where it may be. */
	put_be16(q->msg, q->client_id);
	size_t len = dns_route_nobody(&q->route, q->msg, q->len);
	if (len)
		answer_client(d, q, q->msg, len);
	else
		d->stats.timeouts++;
	query_free(q);
}

static void query_timer(evutil_socket_t fd, short what, void *arg)
{
	struct udp_query *q = arg;

	(void)fd, (void)what;
	if (q->route.next < q->route.end) {
		q->waited_ms += DNS_NEXT_AFTER_MS;
		query_next(q);
		return;
	}
	q->stub->stats.timeouts++;
	query_free(q);
}

static void query_new(struct dns_stub *d, const union sockaddr_any *client, const uint8_t *msg,
		      size_t len)
{
	struct dns_route route;

	if (dns_stub_route(d, msg, len, &route))
		return;
	if (d->npending >= DNS_PENDING_MAX) {
		d->stats.dropped++;
		query_free(d->oldest);
	}
	struct udp_query *q = calloc(1, sizeof(*q) + len);
	if (q)
		q->timer = evtimer_new(d->base, query_timer, q);
	if (!q || !q->timer) {
		free(q);
		d->stats.dropped++;
		return;
	}
	q->stub = d;
	q->client = *client;
	q->route = route;
	q->client_id = get_be16(msg);
	q->len = (uint16_t)len;
	memcpy(q->msg, msg, len);
	q->older = d->newest;
	*(d->newest ? &d->newest->newer : &d->oldest) = q;
	d->newest = q;
	d->npending++;
	query_next(q);
}

void udp_client_readable(evutil_socket_t fd, short what, void *arg)
{
	struct dns_stub *d = arg;

	(void)what;
	dns_stub_refresh(d);
	for (int i = 0; i < READS_PER_EVENT; i++) {
		union sockaddr_any from = {0};
		socklen_t fromlen = sizeof(from);
		ssize_t n = recvfrom(fd, d->buf, sizeof(d->buf), MSG_DONTWAIT, &from.sa, &fromlen);

		if (n < 0)
			return;
		if (n > DNS_UDP_QUERY_MAX)
			d->stats.malformed++;
		else
			query_new(d, &from, d->buf, (size_t)n);
	}
}

static bool answers_query(struct dns_stub *d, struct udp_attempt *a, const uint8_t *msg, size_t len)
{
	struct udp_query *q = a->query;
	unsigned server = (unsigned)(a - q->attempt);
	size_t asked_len;
	const uint8_t *asked = dns_route_query(d, &q->route, server, q->msg, q->len, &asked_len);

	return asked && dns_same_question(msg, len, asked, asked_len);
}

/* The attempt that `msg` answers. Some servers answer an error without repeating the question. */
static struct udp_attempt *attempt_of(struct upstream_socket *s, const uint8_t *msg, size_t len)
{
	if (len < DNS_HEADER || !(msg[2] & DNS_QR))
		return NULL;
	uint16_t id = get_be16(msg);
	bool bare_error = get_be16(msg + 4) == 0 && (msg[3] & 0x0f) != 0;

	for (struct udp_attempt *a = s->up->stub->bucket[id % ATTEMPT_BUCKETS]; a; a = a->next)
		if (a->id == id && a->socket == s &&
		    (bare_error || answers_query(s->up->stub, a, msg, len)))
			return a;
	return NULL;
}

static void query_answered(struct udp_attempt *a, uint8_t *msg, size_t len)
{
	struct udp_query *q = a->query;
	struct dns_stub *d = q->stub;

	put_be16(msg, q->client_id);
	const uint8_t *out = dns_route_answer(d, &q->route, (unsigned)(a - q->attempt), msg, &len,
					      q->msg, q->len, dns_udp_size(q->msg, q->len));
	if (!out) {
		attempt_end(a);
		query_next(q);
		return;
	}
	answer_client(d, q, out, len);
	query_free(q);
}

/* An ICMP error: the server is not there for any query of this socket. */
static void socket_refused(struct upstream_socket *s)
{
	struct dns_stub *d = s->up->stub;
	unsigned server = (unsigned)(s->up - d->server);
	struct udp_query *newer;

	for (struct udp_query *q = d->oldest; q; q = newer) {
		newer = q->newer;
		if (q->attempt[server].socket != s)
			continue;
		attempt_end(&q->attempt[server]);
		query_next(q);
	}
}

void udp_upstream_readable(evutil_socket_t fd, short what, void *arg)
{
	struct upstream_socket *s = arg;
	struct dns_stub *d = s->up->stub;

	(void)what;
	for (int i = 0; i < READS_PER_EVENT; i++) {
		ssize_t n = recv(fd, d->buf, sizeof(d->buf), MSG_DONTWAIT);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				socket_refused(s);
			return;
		}
		struct udp_attempt *a = attempt_of(s, d->buf, (size_t)n);
		if (!a) {
			d->stats.malformed++;
			continue;
		}
		query_answered(a, d->buf, (size_t)n);
	}
}
