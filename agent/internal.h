/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of agent/ share.
 *
 *   config.c   the file                           rules.c    which connections go to which laptop
 *   pod.c      in a pod: the environment          capture.c  one client connection: where it goes
 *   keep.c     what outlives us                   listen.c   the ports
 *   link.c     our member of the overlay          main.c     start, loop, end
 *   control.c  rpc with the manager               udp.c      the same for datagrams
 *
 * listen, capture and rules work whether the rest does or not.
 */
#pragma once

#include <jansson.h>

#include "agent/config.h"
#include "base/clock.h"
#include "crypto/crypto.h"

struct agent;
struct event;
struct event_base;
struct netstack;
struct stream;

enum {
	RULES_MAX = 256,
	RULE_NAME_LEN = 2 * INTERCEPT_NAME_MAX + 2, /* OWNER/NAME and NUL */
};

/* --- rules.c ------------------------------------------------------------------------------------------------- */

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
};

struct rules {
	unsigned n;
	struct rule *rule;
	bool counted; /* the figures have changed since they were last told */
};

/* Reads a whole snapshot; 0 and the new table in place, or -EINVAL and the old one. Figures and suspicion of rules that
 * stay are kept. A rule whose pattern is not understood here is left out. */
int rules_from_json(struct rules *r, const json_t *snapshot, struct error *e);
json_t *rules_to_json(const struct rules *r); /* as a snapshot */
json_t *rules_traffic(const struct rules *r); /* {connections, fallback, requests} */
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

/* --- capture.c, listen.c ------------------------------------------------------------------------------------------ */

struct capture;
struct listener;
/* Owns the client's stream. */
void capture_start(struct agent *a, const struct agent_port *port, struct stream *client);
/* The rules have changed: those given to a laptop whose rule is gone end. */
void captures_recheck(struct agent *a);
void captures_free(struct agent *a);
int listeners_new(struct agent *a, struct error *e);
void listeners_free(struct agent *a); /* no more connections are taken; those that were go on */

/* The socket of a port and its family; -1 = it is not open now. */
int listener_socket(const struct agent *a, const struct agent_port *port, int *family);

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
	struct capture *captures;
	struct event *tidy; /* some time after connections have ended */
	struct listener *listeners;
	struct udp *udp;
	struct event *ending; /* SIGTERM came: when to end at the latest */
};
