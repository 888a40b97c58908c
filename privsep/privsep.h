/* SPDX-License-Identifier: Apache-2.0 */
/*
 * privsep: the few fixed messages between daemon (user) and helper (root), over one SOCK_SEQPACKET
 * Unix socket. Fixed-size structs, no text that root has to parse beyond bounded, NUL-terminated
 * names. One request, one answer, in order; descriptors travel by SCM_RIGHTS with the answer. When
 * the socket closes, the helper undoes all.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

#define PRIVSEP_SOCKET "/run/culvert/helper.sock"

enum {
	PRIVSEP_VERSION = 2,
	PRIVSEP_PREFIXES = 64,
	PRIVSEP_SEARCH = 6,	  /* search domains */
	PRIVSEP_DOMAINS = 512,	  /* routed domains: one per namespace */
	PRIVSEP_ROUTED_LEN = 128, /* with NUL */
	PRIVSEP_DOMAIN_LEN = 254, /* with NUL */
	PRIVSEP_RESOLVERS = 3,
};

enum privsep_op {
	PRIVSEP_HELLO = 1, /* version check */
	/* Make the TUN with these addresses; the answer carries its descriptor and name. */
	PRIVSEP_TUN = 2,
	/* The whole set of routed prefixes: added and removed to match; all or nothing. */
	PRIVSEP_ROUTES = 3,
	/* Point the laptop's resolver at the stub: systemd-resolved with the TUN's link, which must
	 * be there, or resolv.conf. The answer says which, and carries UDP and TCP sockets on port
	 * 53 and the resolvers that were configured before. Asked again it takes the place of what
	 * was asked before; then there are no sockets. */
	PRIVSEP_DNS = 4,
	/* Undo everything now, in order, and say so; closing the socket does the same. */
	PRIVSEP_UNDO = 5,
};

struct privsep_tun {
	struct ipaddr addr[2]; /* host addresses; family 0 = none */
};
struct privsep_routes {
	uint32_t n;
	struct prefix prefix[PRIVSEP_PREFIXES];
};
enum privsep_dns_way { PRIVSEP_DNS_FILE = 1, PRIVSEP_DNS_RESOLVED = 2 };
struct privsep_dns {
	uint32_t nsearch, ndomains;
	char search[PRIVSEP_SEARCH][PRIVSEP_DOMAIN_LEN]; /* put in front of the laptop's own */
	/* Whose names go to the stub; for systemd-resolved, for a resolv.conf sends all there. */
	char domain[PRIVSEP_DOMAINS][PRIVSEP_ROUTED_LEN];
	uint8_t ndots; /* for resolv.conf; 0 = leave */
};
struct privsep_request {
	uint32_t version, op;
	union {
		struct privsep_tun tun;
		struct privsep_routes routes;
		struct privsep_dns dns;
	};
};
struct privsep_answer {
	uint32_t version, op;
	int32_t code; /* 0 or negative errno; `text` says why */
	uint32_t nfds;
	char text[512];
	char tun_name[16];
	uint32_t dns_way;	   /* to PRIVSEP_DNS: enum privsep_dns_way */
	uint32_t domains_left_out; /* by systemd-resolved, which takes no more */
	uint32_t nresolvers;
	union sockaddr_any resolver[PRIVSEP_RESOLVERS]; /* the laptop's own, before us */
	uint32_t nsearch;
	char search[PRIVSEP_SEARCH][PRIVSEP_DOMAIN_LEN]; /* the laptop's own */
};

/* Both ends. Send or receive one message, blocking if the socket is; -EPROTO for another size or
 * version; -EPIPE when closed. */
int privsep_send_request(int sock, const struct privsep_request *req);
/*
 * A client has no descriptors to give. A record with some is refused and stays in the queue, for
 * who takes it also ends their files, and may wait there as long as the client likes (a TCP socket
 * with SO_LINGER). So after -EPROTO close the socket, and where that must not wait either, in a
 * process that is ending.
 */
int privsep_recv_request(int sock, struct privsep_request *req);
int privsep_send_answer(int sock, const struct privsep_answer *ans, const int *fds, unsigned nfds);
/* `fds` has room for 4; unexpected ones are closed. */
int privsep_recv_answer(int sock, struct privsep_answer *ans, int *fds, unsigned *nfds);
