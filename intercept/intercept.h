/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intercept: the objects Workload and Intercept, and the rules of the page (docs/intercepts.md): which port is meant,
 * how it is named, who clashes with whom. Sans-IO; the same objects on the static platform and on Kubernetes.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/pkt.h"
#include "http/http.h"

enum {
	WORKLOAD_PORTS = 32,
	WORKLOAD_SERVICES = 16,
	INTERCEPT_PORTS = 16,
	INTERCEPT_RULES = 256, /* an agent takes: ports of all intercepts of its workload */
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

enum mechanism { MECHANISM_TCP, MECHANISM_HTTP };
const char *mechanism_name(enum mechanism m); /* "tcp" */

enum {
	HTTP_CONDITIONS = 8,
	HTTP_NAME_MAX = 63,
	HTTP_PATTERN_MAX = 512,
	HTTP_MATCH_MAX = 1024, /* names and patterns of one intercept together */
	HTTP_PATH_MAX = 255,
	HTTP_ID_LEN = 32, /* hex digits */
	HTTP_ID_TEXT_LEN = HTTP_ID_LEN + 1 + INTERCEPT_NAME_MAX + 1,
	HTTP_MATCH_TEXT_LEN = 2048 /* of all of it, as people read it */
};
#define HTTP_ID_HEADER	 "x-culvert-intercept-id" /* ID:NAME */
#define HTTP_BAGGAGE_KEY "culvert"		  /* ID */

/* Which requests an intercept takes (docs/http.md). */
enum http_match_mode { HTTP_MATCH_AUTO, HTTP_MATCH_ALL, HTTP_MATCH_HEADERS };
struct http_condition {
	char name[HTTP_NAME_MAX + 1];	    /* lower-cased */
	char pattern[HTTP_PATTERN_MAX + 1]; /* PCRE2; matches the whole value */
};
struct http_match {
	enum http_match_mode mode;
	unsigned nconditions; /* of HTTP_MATCH_HEADERS */
	struct http_condition condition[HTTP_CONDITIONS];
	char path[HTTP_PATH_MAX + 1]; /* prefix; "" = any */
};

enum on_down { ON_DOWN_POD, ON_DOWN_HOLD, ON_DOWN_FAIL };
const char *on_down_name(enum on_down d);	      /* "pod" */
int on_down_parse(enum on_down *d, const char *name); /* the way back; 0 or -EINVAL */

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
	enum mechanism mechanism;
	struct http_match match; /* MECHANISM_HTTP */
	bool tag_responses;
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
	enum mechanism mechanism;
	char id[HTTP_ID_LEN + 1]; /* MECHANISM_HTTP, else "" */
	struct http_match match;
	bool tag_responses, preview;
};

/* Of an object, or of a port: [A-Za-z0-9] first and last, [A-Za-z0-9._-] between, 1..max characters. */
bool object_name_valid(const char *name, size_t max);
/* "LOCAL[:SERVICEPORT]" -> request->port[nports++]. -EINVAL with the sentence. */
int intercept_port_parse(struct intercept_request *req, const char *text, struct error *e);
/* "pod", "hold", "hold=30s", "fail". */
int intercept_on_down_parse(struct intercept_request *req, const char *text, struct error *e);

/* "auto", "all" or "HEADER=REGEX" added to what is there. -EINVAL with the sentence, a bad pattern with its column. */
int http_match_parse(struct http_match *m, bool *given, const char *text, struct error *e);
int http_path_parse(struct http_match *m, const char *text, struct error *e);
/* All of it, as an object or a message brought it; the sentence begins with a small letter where a pattern is wrong. */
int http_match_check(const struct http_match *m, struct error *e);
/* Lines as people read them: `header("x-user") ~= regexp("ana")`, `path-prefix("/api")`, or "all HTTP requests"; joined by `between`.
 * What does not fit `size` (> 4) ends with "...". */
void http_match_text(char *to, size_t size, const struct intercept *i, const char *between);
/* The value of the own header: "ID:NAME". */
void http_id_text(char to[static HTTP_ID_TEXT_LEN], const char *id, const char *name);
bool http_id_valid(const char *id); /* 32 hex digits in lower case */
void http_id_make(char id[static HTTP_ID_LEN + 1]);
/* {mode, conditions: [{name, pattern}], path}, as in `rules` and in an intercept's JSON. from: fields are bounded, patterns are not
 * compiled (http_match_check() does). */
json_t *http_match_to_json(const struct http_match *m);
int http_match_from_json(struct http_match *m, const json_t *j, struct error *e);
/* May these two not be on one port (docs/http.md)? Whose ports they are is the caller's question. */
bool http_match_clash(const struct intercept *a, const struct intercept *b);
/* Does whatever clashes with `a` clash with `b`, too? Then `a` may take the place of `b`. */
bool http_match_within(const struct intercept *a, const struct intercept *b);
/* Whose is a request that matches both: < 0 = a's. `uid`s break ties, "" on the static platform. */
int http_match_order(const struct intercept *a, const char *a_uid, const struct intercept *b,
		     const char *b_uid);

/* A match made ready to be asked for each request. */
struct matcher;
int matcher_new(struct matcher **mp, const struct http_match *m, const char *id, const char *name,
		bool preview, struct error *e);
void matcher_free(struct matcher *m); /* NULL ok */
/* 1, 0, or -E2BIG: a limit was hit, which is no match either. Not re-entrant. */
int matcher_test(struct matcher *m, const struct http_head *head);

/* Results of resolving and checking; the sentence says the choices and the remedy. */
enum intercept_error {
	INTERCEPT_NOT_FOUND = 1,
	INTERCEPT_AMBIGUOUS,
	INTERCEPT_CLASH,
	INTERCEPT_INVALID
};

/*
 * Turns a request into an intercept: finds workload, service and ports among `all`; names it by the page's rule (NAME-NS when
 * --namespace is given without --workload). Of http it has no id yet: http_id_make(). 0 or an enum intercept_error.
 */
int intercept_resolve(struct intercept *out, const struct intercept_request *req,
		      const struct workload *const *all, size_t n, const char *connected_ns,
		      struct error *e);
/* May `a` exist beside those of `others`? Same workload and port held by another name or owner, with a match that clashes =
 * INTERCEPT_CLASH, naming the holder and what it takes. Same owner and name is no clash: intercepting again moves the port. */
int intercept_check(const struct intercept *a, const struct intercept *const *others, size_t n,
		    struct error *e);

/* JSON both ways (rpc, state file): stable keys, documented in docs/json.md. from: 0 or -EINVAL, all fields bounded; -ENOTSUP: all but the
 * match, which may be one of another release or of another PCRE2, is well. */
json_t *intercept_to_json(const struct intercept *i);
int intercept_from_json(struct intercept *i, const json_t *j, struct error *e);
json_t *intercept_request_to_json(const struct intercept_request *r);
int intercept_request_from_json(struct intercept_request *r, const json_t *j, struct error *e);
json_t *workload_to_json(const struct workload *w);
int workload_from_json(struct workload *w, const json_t *j, struct error *e);
