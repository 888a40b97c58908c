/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of manager/ share.
 *
 *   main.c      start, loop, end              peers.c    who is there
 *   hub.c       inner packets: to us, to the exit, or to another peer
 *   exit.c      dials for laptops             control.c  rpc connections of peers
 *   methods.c   what they may ask             snapshots.c  when peers are told of changes
 *   config.c    the file                      watch.c    bounds that were hit, logged once
 *
 * What differs between the two platforms is behind struct platform:
 *
 *   static.c, enrol.c, rules.c, state.c, invite.c      workloads of a file, invites, intercepts by rpc
 *   kubernetes.h and the files that it names           objects of the API server
 */
#pragma once

#include <jansson.h>

#include "base/log.h"
#include "manager/config.h"
#include "manager/state.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "rpc/rpc.h"

struct event_base;
struct event;
struct exit;
struct watch;
struct manager;
struct peer;
struct control_conn;
struct kubernetes;
struct session;
struct pod;

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
	ENVIRONMENTS_MAX = 32 << 20, /* bytes of JSON, all agents' */
	OVERLAY_PORT_FIRST = 20000,  /* of intakes on the laptop's stack address */
	FORWARDS = 8,
	PEER_NAME_MAX = 320, /* USER@CLIENT, NAMESPACE/POD or an invite's */
};

/* Who asks to be let in: what message 1 of an unknown key carried. All borrowed. */
struct knock {
	const uint8_t *pub; /* KEY_LEN */
	const uint8_t *message;
	size_t message_len;
	const struct invite_claim *claim; /* of an invitation, else NULL */
	const char *token;		  /* an agent's, else NULL */
	size_t token_len;
	const struct path *from;
};

/* A bound on how often something is done: `burst` times at once, then one in `each`. */
static inline bool budget_take(nsec_t *until, unsigned burst, nsec_t each)
{
	nsec_t now = clock_boot();

	if (*until > now + burst * each)
		return false;
	*until = MAX(*until, now) + each;
	return true;
}

enum { BY_LAPTOP = 1, BY_AGENT = 2, NOTE_ONLY = 4 };

/* What peers of one platform may ask beside hello and ping. */
struct method {
	const char *name; /* NULL ends the table */
	unsigned who;
	void (*run)(struct control_conn *c, const json_t *params, struct rpc_request *req);
};

/* The platform: where peers, workloads and intercepts come from, and who hears of them. */
struct platform {
	/* Our key and the last stamp that we sent, before there is a node. */
	int (*identity)(struct manager *m, struct identity *id, struct error *e);
	int (*start)(struct manager *m, struct error *e); /* node, stack and exit are there */
	void (*stop)(struct manager *m); /* after the loop; peers, node and stack are still there */
	void (*free)(struct manager *m); /* they are gone */
	struct overlay_peer *(*admit)(struct manager *m, const struct knock *k);
	void (*established)(struct peer *p); /* before it counts as online */
	void (*changed)(struct peer *p);     /* online or away */
	void (*gone)(struct peer *p);	     /* about to be freed */
	void (*tick)(struct manager *m, nsec_t now);
	bool (*join)(const struct manager *m, const struct peer *agent, const struct peer *laptop,
		     uint16_t port);
	/* May it say hello? False: the request was refused. */
	bool (*welcome)(struct control_conn *c, struct rpc_request *req);
	/* After common checks; sets what it stands for and answers. */
	void (*hello_agent)(struct control_conn *c, const json_t *params, struct rpc_request *req);
	json_t *(*dns)(const struct peer *p); /* of the welcome; NULL = none */
	void (*push)(struct peer *p);	      /* tells it everything */
	/* Its address has changed: keep that, or it does not change. */
	int (*readdressed)(struct peer *p, struct error *e);
	const struct method *methods;
};
extern const struct platform static_platform, kubernetes_platform;

/*
 * A peer's life. PROVISIONAL: its first message named an invite; nothing is proven yet; leads to REGISTERED or REFUSED when
 * the handshake is confirmed, or away by time. REGISTERED: in the state file. UNSAVED: proven, but the state
 * file could not be written; hello tries again. REFUSED: it knew the secret, but may not enter: hello says why, nothing else
 * works. RETIRED: another key came with a newer invite of the same name; goes away at the next tick.
 */
enum peer_state { PEER_PROVISIONAL, PEER_REGISTERED, PEER_UNSAVED, PEER_REFUSED, PEER_RETIRED };

struct agent_info {
	const struct config_workload *workload;	   /* static platform; NULL until hello */
	json_t *environment;			   /* object */
	size_t environment_size;		   /* as JSON */
	json_t *connections, *fallback, *requests; /* {"OWNER/NAME": N} or NULL */
	json_t *seen, *trouble;			   /* {"PORT": {"http1": N, ...}} or NULL */
	json_t *met; /* {"OWNER/NAME": {"PORT": {"tls": N, ...}}}, since it came; NULL = an older agent */
	json_t *left_out; /* {"OWNER/NAME": why} of rules it does not serve, or NULL */
	char *refusal;	  /* why it took none of the last snapshot, or NULL */
	bool http;	  /* it knows http rules; one that does not is sent none */
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
	char name[PEER_NAME_MAX + 1];
	struct peer_record rec;	 /* role, key and address; the rest is the static platform's */
	struct session *session; /* on Kubernetes a laptop's object, borrowed */
	struct pod *pod;	 /* on Kubernetes what an agent runs in, borrowed */
	enum peer_state state;
	nsec_t since; /* of the state */
	bool online;
	bool presumed;	  /* online only because we have just started */
	unsigned comings; /* how often it has come: agents that found it silent ask it again then */
	char refusal[256];
	struct control_conn *conns; /* newest first */
	unsigned nconns;
	nsec_t calls_until; /* grows with each call: a bound on calls per second */
	struct rpc *told;   /* the connection that said hello: notifications go there */
	struct agent_info agent;
	char ns[K8S_NAME_MAX + 1]; /* a laptop's connected namespace, "" = not said */
	struct ipaddr stack; /* its own address: nothing else of its /64 is anybody's business */
	struct forward forward[FORWARDS];
};

struct manager {
	const struct platform *platform;
	struct event_base *base;
	struct config *cfg;
	struct node *node;
	struct netstack *ns;
	struct exit *exit;
	struct watch *watch;
	struct event *tick, *push;
	unsigned ticks;
	uint8_t pub[KEY_LEN];
	struct ipaddr self;    /* our stack address */
	struct prefix overlay; /* where all members' addresses are */
	struct peer *peers;
	unsigned npeers, nprovisional;
	uint64_t
		epoch; /* grows with every change that snapshots tell, and with each peer that goes */
	nsec_t started, stamp;
	uint64_t forwarded, not_forwarded;
	size_t environments; /* bytes of all agents' */
	struct log_limit environments_full;
	uint16_t
		next_port; /* of an intake; moves on, so that a stale rule meets nobody else's port */
	bool rules_stale; /* agents have not been told yet */

	/* static platform */
	struct store *store;
	struct intercept **intercept;
	unsigned nintercepts;
	struct spent_invite *spent;
	unsigned nspent;
	nsec_t saved_stamp, last_sweep;
	bool restored; /* the state file was read whole: it may be written over */
	bool failing;  /* the state file could not be written: said once */

	struct kubernetes *kube; /* the other one */
};

/* --- peers.c ---------------------------------------------------------------------------------------------- */

/* NULL: no memory, or its address is another's (said). rec->v4 is not yet routed. */
struct peer *peer_new(struct manager *m, const char *name, const struct peer_record *rec,
		      enum peer_state state);
void peer_free(struct peer *p);
void peers_free(struct manager *m);
void peer_established(struct peer *p, bool fresh);
void peer_online(struct peer *p, bool online);
struct peer *peer_by_name(const struct manager *m, enum node_role role, const char *name);
bool peer_admitted(const struct peer *p);
const char *peer_role_name(const struct peer *p);
void peer_set_state(struct peer *p, enum peer_state state);
/* Gives a laptop another IPv4 address than those in `avoid` (texts). */
int peer_readdress(struct peer *p, const json_t *avoid, struct error *e);
bool v4_taken(const struct manager *m, const struct ipaddr *a, const struct peer *but);
/* The first address of the pool that is nobody's: 0, or -ENOSPC. Then v4_route(p, true). */
int v4_assign(struct manager *m, struct peer *p, const json_t *avoid);
int v4_route(struct peer *p, bool add);

/* --- enrol.c: the static platform's peers --------------------------------------------------------------- */

int enrol_restore(struct manager *m, struct error *e);
void enrol_reach_out(
	struct manager *m); /* after a restart: handshakes with all whose endpoint is known */
struct overlay_peer *enrol_admit(struct manager *m, const struct knock *k);
void enrol_established(struct peer *p);
/* Tries to register an UNSAVED peer. 0, or the sentence why not. */
int enrol_register(struct peer *p, struct error *e);
void enrol_sweep(struct manager *m, nsec_t now);
/* Writes everything as it is now. */
int enrol_save(struct manager *m, struct error *e);

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
/* This one alone is left: its peer has come anew. */
void control_forget_others(struct control_conn *c);
/* Keeps what an agent's hello says of its environment; false: it was refused. */
bool agent_environment(struct control_conn *c, const json_t *params, struct rpc_request *req);
void agent_forget_environment(struct peer *p);
/* Which rules an agent says that it does not serve: {"OWNER/NAME": why} or NULL. */
void agent_leaves_out(struct peer *p, json_t *left_out);
/* `why` NULL: it took the snapshot. True if that has changed. */
bool agent_refuses(struct peer *p, const char *why);
void agent_forget_rules(struct peer *p); /* ... and what they met */
/* May a program of that version talk to us? */
bool version_fits(const char *version);
/* Common to both platforms: an agent's hello was accepted. */
void agent_welcome(struct control_conn *c, const json_t *params, struct rpc_request *req);
void methods_call(struct control_conn *c, const char *method, json_t *params,
		  struct rpc_request *req);

/* --- snapshots.c --------------------------------------------------------------------------------------------- */

/* Snapshots go out at the end of this turn of the loop; `soon` false: within a second (traffic figures). */
void rules_changed(struct manager *m, bool soon);
void rules_push(struct manager *m);
void rules_push_to(struct peer *p);
/* An intercept of the agent's workload; its laptop may be NULL: then it has no rule. */
struct rule_source {
	const struct intercept *i;
	const char *uid; /* of its object; "" on the static platform */
	const struct peer *laptop;
};
/* `rules` for that agent, those that take requests in the order in which they are asked. */
json_t *rules_json(const struct peer *agent, struct rule_source *s, size_t n);
/* What agents have carried for an intercept, and met on its ports, all together. */
enum { RULES_NOTES = 4 };
struct rules_sum {
	json_int_t connections, requests;
	json_int_t note[INTERCEPT_PORTS][RULES_NOTES];
};
void rules_sum(struct rules_sum *s, const struct peer *agent, const struct intercept *i);
/* Sentences: why a match may not do what its user means. */
json_t *rules_warnings(const struct rules_sum *s, const struct intercept *i);
/* Why this agent does not serve it though it was told its rules, and what helps; NULL = it does, for all that is known. */
const char *rules_left_out(const struct peer *agent, const struct intercept *i);
/* What this agent has carried for it. */
json_int_t rules_connections(const struct peer *agent, const struct intercept *i);
json_int_t rules_requests(const struct peer *agent, const struct intercept *i);
bool rules_has_intake(const struct intercept *i, uint16_t port); /* 0 = any */
/* The next intake port, from OVERLAY_PORT_FIRST round and round; the caller looks whether it is free. */
uint16_t rules_next_port(struct manager *m);

/* --- rules.c: the static platform's intercepts ------------------------------------------------------------- */

/* Does an intercept with that intake port (0 = any) join the two: laptop's, of the workload that the agent stands for? */
bool rules_join(const struct manager *m, const struct peer *agent, const struct peer *laptop,
		uint16_t port);
void rules_snapshot(struct peer *p);
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
