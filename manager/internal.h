/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of manager/ share.
 *
 *   config.c    the file                      peers.c    who is admitted, who is there
 *   state.c     what outlives us              hub.c      inner packets: to us, to the exit, or to another peer
 *   exit.c      dials for laptops             control.c  rpc connections of peers
 *   methods.c   what they may ask             rules.c    intercepts, and the snapshots that tell of them
 *   watch.c     bounds that were hit, logged once      main.c   start, loop, end
 */
#pragma once

#include <jansson.h>

#include "manager/config.h"
#include "manager/state.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "rpc/rpc.h"

struct event_base;
struct event;
struct exit;
struct watch;

enum {
	PEERS_PROVISIONAL_MAX = 256,
	PEERS_REFUSED_MAX = 64, /* refused and unsaved together */
	PROVISIONAL_TTL_S =
		6,	      /* an invitation whose sender never proves that it knows the secret */
	REFUSED_TTL_S = 30,   /* a refused peer may ask why for so long */
	RESTART_GRACE_S = 10, /* after our start known peers count as present for so long */
	CONTROL_CONNS_PER_PEER = 4,
	CONTROL_PORT = 1,
	INTERCEPTS_PER_LAPTOP = 64,
	OVERLAY_PORT_FIRST = 20000, /* of intakes on the laptop's stack address */
	FORWARDS = 8,
};

/*
 * A peer's life. PROVISIONAL: its first message named an invite; nothing is proven yet; leads to REGISTERED or REFUSED when
 * the handshake is confirmed, or away by time. REGISTERED: in the state file. UNSAVED: proven, but the state
 * file could not be written; hello tries again. REFUSED: it knew the secret, but may not enter: hello says why, nothing else
 * works. RETIRED: another key came with a newer invite of the same name; goes away at the next tick.
 */
enum peer_state { PEER_PROVISIONAL, PEER_REGISTERED, PEER_UNSAVED, PEER_REFUSED, PEER_RETIRED };

struct agent_info {
	const struct config_workload *workload; /* NULL until hello */
	json_t *environment;			/* object */
	json_t *connections, *fallback;		/* {"OWNER/NAME": N} or NULL */
};

struct control_conn {
	struct control_conn *next;
	struct manager *m;
	struct peer *peer;
	struct rpc *rpc;
};

/* hub.c: may packets about this port of an intake go to that peer? Asked and kept. */
struct forward {
	struct peer *to;
	uint64_t epoch;
	uint16_t port; /* 0: about none, an ICMP error */
	bool ok;
};

struct peer {
	struct peer *next;
	struct manager *m;
	struct overlay_peer *overlay;
	struct peer_record rec;
	enum peer_state state;
	nsec_t since; /* of the state */
	bool online;
	bool presumed; /* online only because we have just started */
	char refusal[256];
	struct control_conn *conns; /* newest first */
	unsigned nconns;
	nsec_t calls_until; /* grows with each call: a bound on calls per second */
	struct rpc *told;   /* the connection that said hello: notifications go there */
	struct agent_info agent;
	struct ipaddr stack; /* its own address: nothing else of its /64 is anybody's business */
	struct forward forward[FORWARDS];
};

struct manager {
	struct event_base *base;
	struct config *cfg;
	struct store *store;
	struct node *node;
	struct netstack *ns;
	struct exit *exit;
	struct watch *watch;
	struct event *tick, *push;
	unsigned ticks;
	struct ipaddr self;    /* our stack address */
	struct prefix overlay; /* where all members' addresses are */
	struct peer *peers;
	unsigned npeers, nprovisional;
	struct intercept **intercept;
	unsigned nintercepts;
	struct spent_invite *spent;
	unsigned nspent;
	uint64_t
		epoch; /* grows with every change that snapshots tell, and with each peer that goes */
	nsec_t started, stamp, saved_stamp, last_sweep;
	uint64_t forwarded, not_forwarded;
	uint16_t
		next_port; /* of an intake; moves on, so that a stale rule meets nobody else's port */
	bool restored;	   /* the state file was read whole: it may be written over */
	bool rules_stale; /* agents have not been told yet */
	bool failing;	  /* the state file could not be written: said once */
};

/* --- peers.c ---------------------------------------------------------------------------------------------- */

int peers_restore(struct manager *m, struct error *e);
void peers_reach_out(
	struct manager *m); /* after a restart: handshakes with all whose endpoint is known */
struct overlay_peer *peers_admit(struct manager *m, const uint8_t pub[static KEY_LEN],
				 const struct invite_claim *claim);
void peer_established(struct peer *p, bool fresh);
void peer_online(struct peer *p, bool online);
/* Tries to register an UNSAVED peer. 0, or the sentence why not. */
int peer_register(struct peer *p, struct error *e);
struct peer *peer_by_name(const struct manager *m, enum node_role role, const char *name);
/* Gives a laptop another IPv4 address than those in `avoid` (texts). */
int peer_readdress(struct peer *p, const json_t *avoid, struct error *e);
void peers_sweep(struct manager *m, nsec_t now);
void peers_free(struct manager *m);
bool peer_admitted(const struct peer *p);
const char *peer_role_name(const struct peer *p);

/* Writes everything as it is now. */
int manager_save(struct manager *m, struct error *e);

/* --- hub.c ------------------------------------------------------------------------------------------------ */

void hub_inner(struct manager *m, struct peer *from, struct pkt *pkt);

/* --- exit.c ----------------------------------------------------------------------------------------------- */

int exit_new(struct exit **xp, struct manager *m);
void exit_free(struct exit *x);
void exit_syn(struct exit *x, struct netstack_syn *syn, const struct flow *flow, struct peer *p);
void exit_cancel(struct exit *x, void *ctx);
void exit_open(struct exit *x, struct stream *s, void *ctx);
void exit_udp(struct exit *x, const struct flow *flow, const uint8_t *data, size_t len,
	      struct peer *p);
void exit_echo(struct exit *x, const struct flow *flow, uint16_t seq, const uint8_t *data,
	       size_t len, struct peer *p);
void exit_forget(struct exit *x, struct peer *p);
const struct udp_flows_stats *exit_udp_stats(const struct exit *x);
/* May a laptop reach this? Pure but for the machine's own addresses (read when `port` is ours). */
bool exit_allowed(const struct config *cfg, const struct ipaddr *to, uint16_t port, bool udp);

/* --- control.c, methods.c ----------------------------------------------------------------------------------- */

/* A connection to our port 1. */
void control_open(struct manager *m, struct peer *p, struct stream *s);
void control_forget(struct peer *p);
void methods_call(struct control_conn *c, const char *method, json_t *params,
		  struct rpc_request *req);

/* --- rules.c ------------------------------------------------------------------------------------------------- */

/* Snapshots go out at the end of this turn of the loop; `soon` false: within a second (traffic figures). */
void rules_changed(struct manager *m, bool soon);
void rules_push(struct manager *m);
void rules_push_to(struct peer *p);
/* Does an intercept with that intake port (0 = any) join the two: laptop's, of the workload that the agent stands for? */
bool rules_join(const struct manager *m, const struct peer *agent, const struct peer *laptop,
		uint16_t port);
/* Adds or replaces. 0 or an rpc_code with the sentence; then nothing has changed. *kept is what is now in force. */
int rules_intercept(struct manager *m, struct peer *owner, const struct intercept_request *req,
		    const char *connected_ns, const struct intercept **kept, bool *replaced,
		    struct error *e);
int rules_leave(struct manager *m, struct peer *owner, const char *name, struct error *e);
/* Agents of a workload that are there now. */
unsigned rules_agents(const struct manager *m, const struct workload *w);
int rules_restore(struct manager *m, const struct intercept *i, struct error *e);
void rules_free(struct manager *m);
const struct config_workload *rules_workload(const struct manager *m, enum workload_kind kind,
					     const char *name, const char *ns);
json_t *rules_list(const struct manager *m);
json_t *rules_environment(const struct manager *m, const struct intercept *i);

/* --- watch.c ------------------------------------------------------------------------------------------------- */

int watch_new(struct watch **wp);
void watch_free(struct watch *w);
/* Logs each counter of a bound when it first moves. */
void watch_check(struct watch *w, const struct manager *m);

/* --- invite.c ------------------------------------------------------------------------------------------------ */

int invite_main(int argc, char **argv);
