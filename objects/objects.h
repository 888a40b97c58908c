/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects: Kubernetes' objects as ours and back: Deployments, ReplicaSets, StatefulSets and Services as a struct workload, our
 * CRDs Session and Intercept, and the mark on a pod template (docs/kubernetes.md). Sans-IO; JSON in, JSON out; whatever comes in may be
 * hostile.
 */
#pragma once

#include "intercept/intercept.h"

#define OBJECTS_GROUP	"culvert.dev"
#define OBJECTS_VERSION "v1alpha1"
#define MARK_ANNOTATION "culvert.dev/inject" /* on the pod template: struct mark as JSON */
#define OPT_OUT_LABEL	"culvert.dev/inject" /* on a pod or namespace: "disabled" */

enum {
	MARK_PORTS = 32,
	MARK_TEXT_MAX = 8192,
	PORT_NAME_MAX = 15,	 /* of a container's port */
	AGENT_PORT_FIRST = 9900, /* in the pod; the first free ones from here */
	SESSION_NAME_LEN = 64,	 /* the public key in hex */
	USER_NAME_MAX = 253,
	OBJECT_NAME_MAX = 253,
	OBJECT_URL_MAX = 400, /* with its NUL */
};

/* --- workloads ----------------------------------------------------------------------------------------- */

/* "/apis/apps/v1/namespaces/NS/deployments[/NAME]"; name NULL = the collection, ns NULL = all namespaces. -ENOSPC; -EINVAL for what
 * cannot be a name, or a host. */
int workload_path(char *buf, size_t size, enum workload_kind kind, const char *ns,
		  const char *name);

/*
 * A workload from its object and the Services of its namespace (a JSON array of objects, or a ServiceList): those whose selector
 * matches the pod template's labels, their ports with named targets looked up in the template's containers (and native sidecars).
 * A port whose name no container has, is left out, and SCTP; a service without any port then too, unless no service has one. Services by
 * name; ports above WORKLOAD_PORTS etc.: the first ones. An object of a list, which has no "kind", is told by its spec. Labels that a
 * controller gives to pods (pod-template-hash; a StatefulSet's pod name) may be in a selector: it narrows to some of the pods.
 * 0, or -EINVAL with the sentence.
 */
int workload_from_object(struct workload *w, const json_t *object, const json_t *services,
			 struct error *e);
/* A ReplicaSet that a Deployment controls stands for the Deployment: its name, or NULL. Borrowed. */
const char *workload_controller(const json_t *object);
/* Why it cannot be intercepted now, in one sentence with the remedy ("" = it can): no service selects its pods, scaled to zero, only
 * SCTP ports, hostNetwork, opted out, the namespace terminating (`ns_object`, may be NULL), kube-system, the manager's own namespace. */
void workload_obstacle(const struct workload *w, const json_t *object, const json_t *ns_object,
		       const char *manager_ns, struct error *why);
/* What keeps a marked template from reaching its pods by itself: paused, OnDelete, partition, ReplicaSet. "" = nothing. */
void workload_rollout_note(const struct workload *w, const json_t *object, struct error *note);

/* --- the mark ------------------------------------------------------------------------------------------- */

/* How a port of the pod comes to the agent. */
enum mark_how {
	MARK_RENAME,
	/* services name it: the agent's port gets that name */
	MARK_REDIRECT /* by an init container */
};
struct mark_port {
	char name[PORT_NAME_MAX + 1]; /* the container's name of it; "" with MARK_REDIRECT */
	uint16_t target;	      /* the number the application listens at */
	bool udp;
	enum mark_how how;
};
/* Every port of every service that selects the workload, so that another intercept needs no second restart. */
struct mark {
	enum workload_kind kind;
	char workload[K8S_NAME_MAX + 1];
	unsigned nports;
	struct mark_port port[MARK_PORTS];
};
/* A port that any selecting service names by number, or a headless service, is redirected, else renamed. Sorted by number, whatever
 * the order of the services. */
int mark_from_workload(struct mark *m, const struct workload *w, const json_t *object,
		       const json_t *services, struct error *e);
bool mark_needs_redirect(const struct mark *m);
/* One line of JSON with a stable order of keys (it is compared as text), malloc'ed. */
char *mark_format(const struct mark *m);
int mark_parse(struct mark *m, const char *text, size_t len, struct error *e);
/* The mark of a pod or of a workload's template: 1 and *m filled, 0 = none, -EINVAL a damaged one. */
int mark_of(struct mark *m, const json_t *object, struct error *e);
/* Body of the server-side apply that sets it (and nothing else), and of the merge patch that takes it away; new references. */
json_t *mark_apply_body(enum workload_kind kind, const char *ns, const char *name,
			const char *text);
json_t *mark_remove_body(void);

/* --- our CRDs -------------------------------------------------------------------------------------------- */

struct session_object {
	char name[SESSION_NAME_LEN + 1]; /* = the public key in hex */
	char uid[64], version[64];
	char user[USER_NAME_MAX + 1], client[K8S_NAME_MAX + 1]; /* client: the laptop's host name */
	uint8_t key[32];
	int64_t created, renewed;    /* seconds since 1970 */
	char phase[16], address[64]; /* status */
	bool deleting;
};
struct intercept_object {
	struct intercept
		in; /* .owner is owner_name() of the user until its session is known; overlay ports from status */
	char object[OBJECT_NAME_MAX + 1]; /* metadata.name: NAME-xxxxx */
	char uid[64], version[64];
	char user[USER_NAME_MAX + 1], session[SESSION_NAME_LEN + 1];
	char phase[16], message[512];	  /* status */
	char preview_url[OBJECT_URL_MAX]; /* "" = none; in.preview says the same */
	bool deleting;
};
/*
 * The holder's name as agents, laptops and rules know it: OWNER/NAME, so no '/' and no space. OIDC's user names have them as a rule
 * ("https://issuer#ana"): such bytes are escaped as in a URL, and of a long one the end is its hash, so two never get one
 * name by what is cut away.
 */
void owner_name(char to[static INTERCEPT_NAME_MAX + 1], const char *user);
int session_from_object(struct session_object *s, const json_t *object, struct error *e);
json_t *session_to_object(const char *user, const char *client, const uint8_t key[static 32]);
/* `uid` of the Session, which owns it. metadata.generateName; label culvert.dev/name, cut to 63 characters: spec.name is the name. */
json_t *intercept_to_object(const struct intercept *i, const char *user, const char *session,
			    const char *uid);
int intercept_from_object(struct intercept_object *i, const json_t *object, struct error *e);

/* "2026-11-23T05:00:00Z" (or with a fraction, or "+01:00") to seconds since 1970; -EINVAL. And back, 21 bytes. */
int object_time(const char *text, int64_t *when);
void object_time_format(int64_t when, char text[static 21]);
/* A member of nested objects: object_get(o, "metadata", "name", NULL); NULL when any is missing. Borrowed. */
#define object_get(o, ...) object_find(o, OBJECT_KEYS(__VA_ARGS__))
/* Its text; "" when missing or no text. */
#define object_text(o, ...) object_find_text(o, OBJECT_KEYS(__VA_ARGS__))

#define OBJECT_KEYS(...)                                                                           \
	(const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__}))
/* Until the first NULL, or all `n`. */
const json_t *object_find(const json_t *o, const char *const *keys, size_t n);
const char *object_find_text(const json_t *o, const char *const *keys, size_t n);
