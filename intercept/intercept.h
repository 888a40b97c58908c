/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intercept: the objects Workload and Intercept, and the rules of the page (docs/intercepts.md): which port is meant,
 * how it is named, who clashes with whom. Sans-IO; the same objects on the static platform and on Kubernetes.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/pkt.h"

enum {
	WORKLOAD_PORTS = 32,
	WORKLOAD_SERVICES = 16,
	INTERCEPT_PORTS = 16,
	INTERCEPT_NAME_MAX = 127,
	ENVIRONMENT_JSON_MAX = 896
			       << 10, /* of a workload, as JSON: fits a message beside the rest */
	K8S_NAME_MAX = 63
};

enum workload_kind {
	KIND_DEPLOYMENT,
	KIND_REPLICASET,
	KIND_STATEFULSET,
	KIND_HOST /* static platform: a plain program */,
	NUM_KINDS
};
const char *workload_kind_name(enum workload_kind k);		  /* "deployment" */
int workload_kind_parse(enum workload_kind *k, const char *name); /* the way back; 0 or -EINVAL */
const char *workload_kind_title(enum workload_kind k);		  /* "Deployment" */

struct service_port {
	char name[K8S_NAME_MAX + 1]; /* "" = unnamed */
	uint16_t port;		     /* of the service */
	uint16_t target;	     /* at the pod: the application's port as the agent knows it */
	bool udp;
};
struct service {
	char name[K8S_NAME_MAX + 1];
	unsigned nports;
	struct service_port port[WORKLOAD_PORTS];
};
struct workload {
	enum workload_kind kind;
	char name[K8S_NAME_MAX + 1], ns[K8S_NAME_MAX + 1];
	unsigned nservices;
	struct service service[WORKLOAD_SERVICES];
};

enum on_down { ON_DOWN_POD, ON_DOWN_HOLD, ON_DOWN_FAIL };

/* One port of an intercept: service port -> port on the laptop. */
struct intercept_port {
	uint16_t local;		     /* on the laptop, 127.0.0.1 */
	char name[K8S_NAME_MAX + 1]; /* service port name or "" */
	uint16_t port;		     /* service port number */
	uint16_t target;	     /* at the pod */
	uint16_t overlay;	     /* port on the laptop's stack address (intake) */
	bool udp;
};

/* What the user asks for (flags of `culvert intercept`), already syntax-checked. */
struct intercept_request {
	char name[INTERCEPT_NAME_MAX + 1];
	char workload[K8S_NAME_MAX + 1]; /* "" = NAME is the workload */
	char ns[K8S_NAME_MAX + 1];	 /* "" = the connected one; `ns_given` tells */
	bool ns_given;
	char service[K8S_NAME_MAX + 1]; /* "" = find it */
	unsigned nports;
	struct {
		uint16_t local;
		/* service port's name or number, the latter maybe with "/tcp" or "/udp"; "" = the only one */
		char id[K8S_NAME_MAX + 1];
	} port[INTERCEPT_PORTS];
	enum on_down on_down;
	unsigned hold_s;
};

struct intercept {
	char name[INTERCEPT_NAME_MAX + 1];
	char owner[INTERCEPT_NAME_MAX + 1]; /* peer name, "ana@laptop" */
	enum workload_kind kind;
	char workload[K8S_NAME_MAX + 1], ns[K8S_NAME_MAX + 1], service[K8S_NAME_MAX + 1];
	unsigned nports;
	struct intercept_port port[INTERCEPT_PORTS];
	enum on_down on_down;
	unsigned hold_s;
	uint64_t created; /* seconds since 1970 */
};

/* Of an object, or of a port: [A-Za-z0-9] first and last, [A-Za-z0-9._-] between, 1..max characters. */
bool object_name_valid(const char *name, size_t max);
/* "LOCAL[:SERVICEPORT]" -> request->port[nports++]. -EINVAL with the sentence. */
int intercept_port_parse(struct intercept_request *req, const char *text, struct error *e);
/* "pod", "hold", "hold=30s", "fail". */
int intercept_on_down_parse(struct intercept_request *req, const char *text, struct error *e);

/* Results of resolving and checking; the sentence says the choices and the remedy. */
enum intercept_error {
	INTERCEPT_NOT_FOUND = 1,
	INTERCEPT_AMBIGUOUS,
	INTERCEPT_CLASH,
	INTERCEPT_INVALID
};

/*
 * Turns a request into an intercept: finds workload, service and ports among `all`; names it by the page's rule (NAME-NS when
 * --namespace is given without --workload). 0 or an enum intercept_error.
 */
int intercept_resolve(struct intercept *out, const struct intercept_request *req,
		      const struct workload *const *all, size_t n, const char *connected_ns,
		      struct error *e);
/* May `a` exist beside those of `others`? Same workload and port held by another name or owner = INTERCEPT_CLASH, naming the holder.
 * Same owner and name is no clash: intercepting again moves the port. */
int intercept_check(const struct intercept *a, const struct intercept *const *others, size_t n,
		    struct error *e);

/* JSON both ways (rpc, state file): stable keys, documented in docs/json.md. from: 0 or -EINVAL, all fields bounded. */
json_t *intercept_to_json(const struct intercept *i);
int intercept_from_json(struct intercept *i, const json_t *j, struct error *e);
json_t *intercept_request_to_json(const struct intercept_request *r);
int intercept_request_from_json(struct intercept_request *r, const json_t *j, struct error *e);
json_t *workload_to_json(const struct workload *w);
int workload_from_json(struct workload *w, const json_t *j, struct error *e);
