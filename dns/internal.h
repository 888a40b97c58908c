/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of dns/ share. The stub is made of
 *   stub.c      the object, its configuration, which server a name belongs to
 *   question.c  the question of a message
 *   message.c   messages made from others: short names expanded, answers given under them
 *   udp.c       queries over UDP: pending table, time-outs, the next resolver
 *   upstream.c  the pool of connected UDP sockets to one server
 *   tcp.c       clients over TCP, each query on a connection of its own to the server
 */
#pragma once

#include <event2/event.h>
#include <time.h>

#include "dns/dns.h"

enum {
	DNS_HEADER = 12,
	DNS_LABEL_MAX = 63,
	DNS_NAME_MAX = 255,
	DNS_PORT = 53,
	DNS_SERVERS = 4,	  /* the cluster's and three of the laptop's */
	DNS_NEXT_AFTER_MS = 2000, /* then the next resolver is asked too */
	DNS_UDP_QUERY_MAX = 4096, /* a query is a name and options; larger ones are malformed */
	DNS_UDP_MIN = 512,	  /* a client without EDNS takes no more */
	DNS_EXPANDED_MAX = DNS_UDP_QUERY_MAX + 256,
	DNS_QR = 0x80, /* in byte 2: an answer */
	DNS_TC = 0x02, /* in byte 2: truncated */
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_REFUSED = 5,
};

/* Offset after the first question, 0 when malformed. */
size_t dns_question_end(const uint8_t *msg, size_t len);
bool dns_same_question(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen);

/* --- message.c -------------------------------------------------------------------------------- */

/* A plain query of one question, with nothing behind it but EDNS. */
bool dns_expandable(const uint8_t *msg, size_t len);
/* The query with ".suffix" at its name. Its length; 0 when the name gets too long. */
size_t dns_expand(uint8_t *out, size_t size, const uint8_t *msg, size_t len, const char *suffix);
/* The answer to an expanded query as one to the query that was asked: by a CNAME in front. Longer
 * than `limit` it is truncated, and says so. Its length; 0 when it is malformed. */
size_t dns_as_asked(uint8_t *out, size_t size, size_t limit, const uint8_t *ans, size_t len,
		    const uint8_t *asked, size_t asked_len);
/* The answer with its code and EDNS, and no records. Its length. */
size_t dns_cut(uint8_t *out, size_t size, const uint8_t *ans, size_t len, const uint8_t *asked,
	       size_t asked_len);
/* What the client takes over UDP. */
size_t dns_udp_size(const uint8_t *query, size_t len);

/* --- upstream.c ------------------------------------------------------------------------------- */

enum {
	UPSTREAM_SOCKETS = 8,
	UPSTREAM_USES = 64, /* then an idle socket gives way to one with another port */
};

/* One connected socket: the kernel drops what is not from the server, and picks a random port. */
struct upstream_socket {
	struct upstream *up;
	struct event *ev; /* NULL = not open */
	int fd;
	unsigned uses, pending;
};

struct upstream {
	struct dns_stub *stub;
	union sockaddr_any addr;
	struct upstream_socket socket[UPSTREAM_SOCKETS];
};

/* Picks a socket at random, opening it when needed; NULL and *error (negative errno) when it cannot
 * be. */
struct upstream_socket *upstream_pick(struct upstream *up, int *error);
/* Connects it anew, from the address and port that the kernel chooses now; 0 or negative errno. */
int upstream_reconnect(struct upstream_socket *s);
void upstream_close(struct upstream *up);

/* --- stub.c ----------------------------------------------------------------------------------- */

struct udp_query;
struct udp_attempt;
struct tcp_client;
enum { ATTEMPT_BUCKETS = 1024, DNS_SUFFIX_MAX = 256 };

struct dns_stub {
	struct event_base *base;
	struct dns_config cfg;
	struct dns_stats stats;
	const char *sorted[DNS_DOMAINS]; /* cfg.domain */
	/* What is put behind the short names NAME.NAMESPACE, NAME.NAMESPACE.svc and NAME. */
	char of_namespace[DNS_SUFFIX_MAX], of_svc[DNS_SUFFIX_MAX], of_name[DNS_SUFFIX_MAX];
	struct timespec resolvers_at; /* when cfg.resolvers_file was written */

	struct upstream server[DNS_SERVERS]; /* [0] the cluster's, then the laptop's */
	unsigned nlocal;

	struct event *udp_ev;
	int udp;
	struct udp_query *oldest, *newest;
	unsigned npending;
	/* By our id, which is random and ours to choose, so nobody else picks the bucket. */
	struct udp_attempt *bucket[ATTEMPT_BUCKETS];

	struct event *tcp_ev, *tcp_pause;
	int tcp;
	struct tcp_client *clients;
	unsigned nclients;

	uint8_t buf[DNS_MSG_MAX];
	uint8_t made[DNS_MSG_MAX + 512]; /* from what is in `buf` */
};

/*
 * Whom a query is for: a range of `server`, equal: nobody. With a suffix the cluster's server is
 * asked for the longer name. When that is not there (and only then: silence is no word about a
 * name, and cart.shop may also be somebody on the internet) the laptop's servers are asked for the
 * name as it came.
 */
struct dns_route {
	unsigned next, end;
	bool cluster;	    /* a name of the cluster's */
	bool denied;	    /* ...but it says that there is no such */
	const char *suffix; /* of the stub; NULL = as it came */
};

/* Another Wi-Fi has other resolvers, and systemd-resolved says so in a file. May drop all queries and
 * clients. */
void dns_stub_refresh(struct dns_stub *d);
/* 0 or -EINVAL. Counts. */
int dns_stub_route(struct dns_stub *d, const uint8_t *msg, size_t len, struct dns_route *r);
/* The query for server number `server`: `msg` itself or, in d->made, with its suffix. NULL when the
 * name gets too long; then it is denied. */
const uint8_t *dns_route_query(struct dns_stub *d, struct dns_route *r, unsigned server,
			       const uint8_t *msg, size_t len, size_t *out_len);
/* What the client gets for that server's answer: `ans` itself or one in d->made, of *len bytes; NULL:
 * nothing yet, the next server is to be asked, if there is one. */
const uint8_t *dns_route_answer(struct dns_stub *d, struct dns_route *r, unsigned server,
				const uint8_t *ans, size_t *len, const uint8_t *asked,
				size_t asked_len, size_t limit);
/* What a query whose servers are all known to be gone is answered: of `msg`, which is overwritten;
 * its length; 0: nothing. */
size_t dns_route_nobody(const struct dns_route *r, uint8_t *msg, size_t len);
/* Turns the head of a query into an answer without records. `msg` is a valid query. */
size_t dns_stub_refuse(uint8_t *msg, size_t len, uint8_t rcode);

/* --- udp.c ------------------------------------------------------------------------------------ */

void udp_client_readable(evutil_socket_t fd, short what, void *stub);
void udp_upstream_readable(evutil_socket_t fd, short what, void *upstream_socket);
void udp_drop_all(struct dns_stub *d);

/* --- tcp.c ------------------------------------------------------------------------------------ */

void tcp_acceptable(evutil_socket_t fd, short what, void *stub);
void tcp_accept_again(evutil_socket_t fd, short what, void *stub);
void tcp_drop_all(struct dns_stub *d);
