/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of agent/ share.
 *
 *   config.c   the file                           rules.c    which connections and requests go to which laptop
 *   pod.c      in a pod: the environment          capture.c  one client connection: what it is, where it goes
 *   keep.c     what outlives us                   ask.c      the way to a laptop, or what its rule says instead
 *   link.c     our member of the overlay          http1.c    an HTTP/1 connection: each request by itself
 *   control.c  rpc with the manager               http2.c    an HTTP/2 connection: each stream by itself
 *   journal.c  the last requests                  udp.c      datagrams
 *   main.c     start, loop, end                   listen.c   the ports
 *
 * listen, capture, http1, http2 and rules work whether the rest does or not.
 */
#pragma once

#include <jansson.h>
#include <sys/uio.h>

#include "agent/config.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/crypto.h"

struct agent;
struct dial;
struct event;
struct event_base;
struct listener;
struct netstack;
struct stream;

enum {
	RULES_MAX = INTERCEPT_RULES,
	RULE_NAME_LEN = 2 * INTERCEPT_NAME_MAX + 2, /* OWNER/NAME and NUL */
	LEFT_OUT_CAUSE_MAX = 160,		    /* bytes; the remedy is behind it */
};

/* --- rules.c ------------------------------------------------------------------------------------------------- */

/* Of one port, since the start. */
struct port_figures {
	uint64_t http1, http2, tls, opaque; /* connections */
	/* trouble: */
	uint64_t bad_heads;   /* a client's, or a bad body: opaque from there on, or refused */
	uint64_t bad_answers; /* an application's or a laptop's */
	/* unfinished for HEAD_S, or beyond HEADS_HELD_MAX together: opaque from there on */
	uint64_t slow_heads;
	uint64_t no_answer; /* a laptop's connection ended without one */
	uint64_t overflows; /* streams of HTTP/2 that were ended because too much waited */
};

struct rule {
	char name[RULE_NAME_LEN];
	uint16_t target;
	bool udp;
	struct ipaddr address; /* the laptop's stack */
	uint16_t port;
	enum on_down on_down;
	unsigned hold_s;
	bool online;
	int comings; /* of the laptop, as the manager counts */
	/* Ours: the laptop did not answer lately; until then connections go by the policy at once. */
	nsec_t suspect_until;
	bool probing; /* one connection finds out whether it answers again */
	nsec_t heard; /* UDP: when it was certainly there */
	uint64_t connections, fallback;
	/* http rules: */
	struct matcher *matcher; /* NULL = tcp or udp */
	json_t *match;		 /* as it was told */
	char id[HTTP_ID_LEN + 1], uid[64];
	bool tag, preview;
	uint64_t requests, regex_limits; /* patterns cut off: no match */
	struct port_figures before;	 /* its port's when it came */
	bool fresh;			 /* ... which are not taken down yet */
};

struct rules {
	unsigned n;
	struct rule *rule;
	bool counted;	  /* the figures have changed since they were last told */
	json_t *left_out; /* of the last snapshot: {"OWNER/NAME": why, and what helps}; NULL = none */
	struct log_limit limit;
};

/* Reads a whole snapshot; 0 and the new table in place, or -EINVAL and the old one. Figures and suspicion of rules that
 * stay are kept. A rule that is of no use here (a pattern that is not understood, no memory, one too many) is left out, and named. */
int rules_from_json(struct rules *r, const json_t *snapshot, struct error *e);
json_t *rules_to_json(const struct rules *r); /* as a snapshot */
json_t *rules_traffic(const struct agent *a); /* what `traffic` tells */
/* Takes down how its port's figures are for each rule that has come. */
void rules_begin(struct agent *a);
/* The one that takes the whole port. */
struct rule *rules_find(struct rules *r, uint16_t target, bool udp);
/* Whose this request is: the first http rule that matches, or the port's tcp rule; NULL = the application's. */
struct rule *rules_match(struct rules *r, uint16_t target, const struct http_head *head);
/* Has the port http rules; *tag (NULL ok): does one of them want answers to be tagged? */
bool rules_http(const struct rules *r, uint16_t target, bool *tag);
/* The way to the laptops is new: all are asked again. */
void rules_trust(struct rules *r);
void rules_free(struct rules *r);

/* --- keep.c ---------------------------------------------------------------------------------------------------- */

struct keep {
	uint8_t invite[INVITE_ID_LEN]; /* that the key belongs to */
	bool has_invite;
	nsec_t stamp;
};

/* Rules and stamp of the last run. A missing or damaged file is no error for the caller but a log line. */
void keep_load(struct agent *a);
/* Reads invite and key. A new invite gets a new key, since the manager ties a key to an invite's secret. */
int keep_identity(struct agent *a, struct invite *inv, struct identity *id, struct error *e);
void keep_save(struct agent *a); /* logs the first failure */

/* --- link.c, control.c ------------------------------------------------------------------------------------------- */

struct link;
int link_new(struct link **lp, struct agent *a);
void link_leave(struct link *l); /* the manager is told; it leaves as the loop turns */
void link_free(struct link *l);	 /* NULL ok */
/* NULL while there is no overlay (no invite yet, state folder not writable). */
struct netstack *link_netstack(const struct link *l);
/* The rules say who is away: connections with these laptops are suspended, others go on. */
void link_laptops(struct link *l);
/* The manager does not answer, whatever the session says: a handshake will tell. */
void link_doubt(struct link *l);
/* Is it any use to ask a laptop? The manager is heard, or we have just started. */
bool link_usable(const struct link *l);
const struct ipaddr *link_address(const struct link *l);

struct control;
int control_new(struct control **cp, struct agent *a, const struct ipaddr *manager);
void control_free(struct control *c); /* NULL ok */
/* A session with the manager was made: connect, or see whether the connection still lives. */
void control_kick(struct control *c);

/* --- ask.c ------------------------------------------------------------------------------------------------------- */

/* Which rule, over tables that come and go. */
struct rule_ref {
	char name[RULE_NAME_LEN];
	uint16_t target;
	struct ipaddr address; /* the laptop's intake */
	uint16_t port;
};
void rule_ref_set(struct rule_ref *ref, const struct rule *r);
/* The rule, if it is in force and leads to the same intake; else NULL. */
struct rule *rule_ref_find(const struct agent *a, const struct rule_ref *ref);

struct ask;
enum ask_result {
	ASK_LAPTOP, /* a stream to it, open: the callee's */
	ASK_POD,    /* its rule says: the application shall have it */
	ASK_FAIL    /* its rule says: nobody shall; or it was held for as long as was said */
};
/*
 * A stream to the laptop of an http or tcp rule. The callback comes once, never from inside the call; hold waits in here. The
 * rule's connections, fallback and suspicion are kept here. 0 or -ENOMEM.
 */
int ask_start(struct ask **qp, struct agent *a, struct rule *rule,
	      void (*cb)(void *arg, enum ask_result result, struct stream *s), void *arg);
void ask_cancel(struct ask *q); /* no callback; NULL ok */
/* The rules have changed, and what it asks for is no longer so: cancel it, and look again. */
bool ask_stale(const struct ask *q);

/* --- capture.c, listen.c ------------------------------------------------------------------------------------------ */

/* What carries one client's connection: a struct capture, http1 or http2, with this in it. */
struct client {
	struct client *prev, *next;
	struct agent *a;
	const struct agent_port *port;
	const struct client_ops *ops;
};
struct client_ops {
	/* The rules have changed: what a laptop serves whose rule is gone ends. May free it. */
	void (*recheck)(struct client *c);
	/* We are about to end: the client is told, if its protocol can. NULL ok. May free it. */
	void (*drain)(struct client *c);
	/* Frees it; its connections are reset. */
	void (*abort)(struct client *c);
};
void client_add(struct client *c, struct agent *a, const struct agent_port *port,
		const struct client_ops *ops);
void client_remove(struct client *c); /* the last thing its owner does before free() */
void clients_recheck(struct agent *a);
void clients_drain(struct agent *a);
void clients_free(struct agent *a);

/* A connection that was accepted. Owns the client's stream. */
void capture_start(struct agent *a, const struct agent_port *port, struct stream *client);
/*
 * Joins for good, whatever it is. `held` are the bytes that were read of the client and the other does not have yet, and the other
 * way round. `rule`: whose laptop the other is; NULL = it is the application. Owns both streams.
 */
void capture_join(struct agent *a, const struct agent_port *port, struct stream *client,
		  struct stream *other, const struct iovec held[2], const struct rule_ref *rule);
/* The application, as dial_tcp(). */
int capture_dial(struct agent *a, const struct agent_port *port,
		 void (*cb)(void *arg, struct stream *s, int error), void *arg, struct dial **dp);

/* Read into, by whoever reads: an idle connection has no buffer. Good until the loop's next turn, or the next who reads. */
enum { AGENT_SCRATCH = 128 << 10, AGENT_SCRATCH_ROOM = 1024 /* behind it, for what is put in */ };
uint8_t *agent_scratch(void);

int listeners_new(struct agent *a, struct error *e);
void listeners_free(struct agent *a); /* no more connections are taken; those that were go on */
/* The socket of a port and its family; -1 = it is not open now. */
int listener_socket(const struct agent *a, const struct agent_port *port, int *family);

/* --- http1.c, http2.c ----------------------------------------------------------------------------------------------- */

/*
 * The client's first bytes (behind a PROXY header, which the application has) say what it is. Own both streams; `app` NULL = the
 * application did not answer. The bytes are good during the call only (they may be in the scratch). `proxy`:
 * that header, which an application that is dialled anew gets first; owns its memory.
 */
void http1_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n, struct iovec proxy);
void http2_start(struct agent *a, const struct agent_port *port, struct stream *client,
		 struct stream *app, const uint8_t *first, size_t n, struct iovec proxy);
/* Followed only (http2_pass.c). */
void http2_pass(struct agent *a, const struct agent_port *port, struct stream *client,
		struct stream *app, const uint8_t *first, size_t n);

enum { HEAD_S = 60, HEADS_HELD_MAX = 8 << 20 };
struct port_figures *port_figures(struct agent *a, const struct agent_port *port);

/* --- journal.c -------------------------------------------------------------------------------------------------------- */

/* A request of the live list, from its head (whose bytes go) to the end of its answer. */
struct journal_request {
	char uid[64]; /* of the rule that matched, or "" */
	char method[16], path[201];
	nsec_t start; /* clock_boot() */
};
void journal_begin(struct journal_request *q, const struct rule *rule,
		   const struct http_head *head);
/* status 0 = there was no answer. */
void journal_add(struct agent *a, const struct journal_request *q, int status, bool by_laptop);
/* The params of `requests`: what came since the last time, or all that is remembered. NULL = nothing. */
json_t *journal_take(struct agent *a, bool all);
enum { JOURNAL_LEN = 512, JOURNAL_EVERY_MS = 200 };

/* --- udp.c ---------------------------------------------------------------------------------------------------------- */

struct udp;
int udp_new(struct agent *a); /* nothing is made when no port is UDP */
void udp_free(struct agent *a);
void udp_readable(struct agent *a, const struct agent_port *port, int fd);
/* From the stack: a laptop's datagram (false: nobody's), and that one of ours was refused there. */
bool udp_answer(struct agent *a, const struct flow *flow, const uint8_t *data, size_t len);
void udp_refused(struct agent *a, const struct flow *inner);
/* The rules have changed. */
void udp_recheck(struct agent *a);

struct agent {
	struct event_base *base;
	struct agent_config *cfg;
	struct rules rules;
	struct keep keep;
	bool keep_failed;
	struct link *link;
	struct client *clients;
	struct event *tidy;			  /* some time after connections have ended */
	struct port_figures figures[AGENT_PORTS]; /* as the ports of `cfg` */
	struct journal *journal;		  /* NULL until the first request */
	size_t heads_held;			  /* bytes */
	unsigned idle_legs;			  /* of all HTTP/2 connections */
	struct listener *listeners;
	struct udp *udp;
	struct event *ending; /* SIGTERM came: when to end at the latest */
};
