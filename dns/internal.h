/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of dns/ share. The stub is made of
 *   stub.c      the object, its configuration, which server a name belongs to
 *   udp.c       queries over UDP: pending table, time-outs, the next resolver
 *   upstream.c  the pool of connected UDP sockets to one server
 *   tcp.c       clients over TCP, each query on a connection of its own to the server
 */
#pragma once

#include <event2/event.h>

#include "dns/dns.h"

enum {
	DNS_HEADER = 12,
	DNS_LABEL_MAX = 63,
	DNS_NAME_MAX = 255,
	DNS_PORT = 53,
	DNS_SERVERS = 4,	  /* the cluster's and three of the laptop's */
	DNS_NEXT_AFTER_MS = 2000, /* then the next resolver is asked too */
	DNS_UDP_QUERY_MAX = 4096, /* a query is a name and options; larger ones are malformed */
	DNS_QR = 0x80,		  /* in byte 2: an answer */
	DNS_RCODE_REFUSED = 5,
};

/* Offset after the first question, 0 when malformed. */
size_t dns_question_end(const uint8_t *msg, size_t len);
bool dns_same_question(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen);

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
enum { ATTEMPT_BUCKETS = 1024 };

struct dns_stub {
	struct event_base *base;
	struct dns_config cfg;
	struct dns_stats stats;

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
};

/* The servers for a query, as a range of `server`: 0 with *first and *end (equal: none), or
 * -EINVAL. Counts. */
int dns_stub_route(struct dns_stub *d, const uint8_t *msg, size_t len, unsigned *first,
		   unsigned *end);
/* Turns the head of a query into a REFUSED answer with the question alone; its length. `msg` is a
 * valid query. */
size_t dns_stub_refuse(uint8_t *msg, size_t len);

/* --- udp.c ------------------------------------------------------------------------------------ */

void udp_client_readable(evutil_socket_t fd, short what, void *stub);
void udp_upstream_readable(evutil_socket_t fd, short what, void *upstream_socket);
void udp_drop_all(struct dns_stub *d);

/* --- tcp.c ------------------------------------------------------------------------------------ */

void tcp_acceptable(evutil_socket_t fd, short what, void *stub);
void tcp_accept_again(evutil_socket_t fd, short what, void *stub);
void tcp_drop_all(struct dns_stub *d);
