/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kube/ share: credentials, the client, requests. */
#pragma once

#include "fetch/fetch.h"
#include "kube/config.h"

/* --- auth.c: credentials -------------------------------------------------------------------------------- */

struct kube_auth;

/* Waits for credentials. `done` comes from the loop, or not at all after kube_auth_leave(). */
struct kube_auth_wait {
	void (*done)(struct kube_auth_wait *w, const struct error *e); /* e NULL = there are some */
	bool waiting;
	LIST_ENTRY(kube_auth_wait) link;
};

int kube_auth_new(struct kube_auth **ap, struct event_base *base, const struct kube_config *config,
		  const struct kube_options *options);
void kube_auth_free(struct kube_auth *a);
void kube_auth_want(struct kube_auth *a, struct kube_auth_wait *w);
void kube_auth_leave(struct kube_auth *a, struct kube_auth_wait *w);
/* The server said 401 to credentials of this generation; true = others may be had by kube_auth_want(). */
bool kube_auth_refused(struct kube_auth *a, unsigned generation);
unsigned kube_auth_generation(const struct kube_auth *a);
/* "Authorization: ..." malloc'ed in *header, or NULL when there is none; -ENOMEM. */
int kube_auth_header(struct kube_auth *a, char **header);
const struct kube_blob *kube_auth_cert(const struct kube_auth *a); /* data NULL = none */
const struct kube_blob *kube_auth_key(const struct kube_auth *a);

/* --- exec.c: the credential plugin ----------------------------------------------------------------------- */

struct kube_plugin;

struct kube_credential {
	char *token;
	struct kube_blob cert, key;
	nsec_t expires; /* of clock_real(); 0 = never */
};

void kube_credential_clear(struct kube_credential *c);
/* Runs it; exactly one callback from the loop, with a credential (owned by the callee) or the sentence. */
typedef void kube_plugin_cb(void *arg, struct kube_credential *got, const struct error *e);
int kube_plugin_run(struct kube_plugin **pp, struct event_base *base, const struct kube_config *c,
		    const struct kube_options *options, kube_plugin_cb *cb, void *arg,
		    struct error *e);
void kube_plugin_kill(struct kube_plugin *p);
/* What a plugin printed; for the plugin itself, fuzzing and tests. */
int kube_credential_parse(const char *text, size_t len, const char *api,
			  struct kube_credential *out, struct error *e);
/* RFC 3339 as Kubernetes writes it, to nanoseconds since 1970. */
int kube_time_parse(const char *text, nsec_t *t);

/* --- client.c ------------------------------------------------------------------------------------------- */

struct kube_client {
	struct event_base *base;
	struct kube_config *config;
	struct kube_auth *auth;
	struct fetch_multi *multi;
	char *agent;
	unsigned naddresses;
	struct ipaddr address[KUBE_ADDRESSES];
	TAILQ_HEAD(request_list, kube_request)
	requests;
	TAILQ_HEAD(watch_list, kube_watch)
	watches;
	TAILQ_HEAD(upgrade_list, kube_upgrade)
	upgrades;
};

void kube_note_address(struct kube_client *c, CURL *easy); /* of a connection that was made */

struct kube_request {
	struct kube_client *client;
	struct fetch_transfer transfer;
	struct kube_auth_wait wait;
	char *method, *target, *content_type, *accept;
	char **headers;
	char *body;
	size_t body_len, max;
	nsec_t timeout, patience;
	struct event *impatient;
	struct curl_slist *list, *connect_to;
	char error[CURL_ERROR_SIZE];
	char *answer;
	size_t len, room;
	bool too_large, retried;
	unsigned generation;
	/* Bytes of a 200 answer as they come, instead of collecting all (a watch); set after kube_request(). */
	void (*stream)(void *arg, const char *data, size_t len);
	kube_reply_cb *cb;
	void *arg;
	TAILQ_ENTRY(kube_request) link;
};

void kube_watch_drop(struct kube_watch *w); /* the client goes */
void kube_upgrade_drop(struct kube_upgrade *u);

/* setup.c: what each connection of this client has in common: URL, TLS, proxy. Slists belong to the caller. */
int kube_setup_connection(struct kube_client *c, CURL *easy, const char *target,
			  struct curl_slist **connect_to);
/* The request's own headers of authentication and impersonation. */
int kube_setup_headers(struct kube_client *c, struct curl_slist **list);
int kube_slist_add(struct curl_slist **list, const char *fmt, ...) printf_like(2, 3);
/* "host:port" of the server URL. */
void kube_server_host(const struct kube_config *c, char *buf, size_t room);

/* status.c: a reply out of what came. `e` has room for the sentence. */
struct kube_judged {
	struct kube_reply reply;
	struct error sentence;
	char reason[64];
};
void kube_judge_status(struct kube_judged *j, const struct kube_client *c, int status,
		       const char *body, size_t len);
void kube_judge_curl(struct kube_judged *j, const struct kube_client *c, CURLcode code, CURL *easy,
		     const char *detail);
void kube_judge_failure(struct kube_judged *j, enum kube_failure failure, const char *fmt, ...)
	printf_like(3, 4);
/* "User "u" cannot get resource "pods/log" in API group "" in the namespace "x"" */
void kube_denied_parse(const char *message, struct kube_denied *d);

/* cert.c: when a PEM certificate stops to hold, in nanoseconds since 1970; -EINVAL. */
int kube_cert_expiry(const char *pem, nsec_t *t);

/* --- connection.c: one TLS connection for an upgrade ------------------------------------------------------ */

struct kube_connection;

/* `connected` once, from the loop. */
int kube_connection_new(struct kube_connection **cp, struct kube_client *c,
			void (*connected)(void *arg, CURLcode code), void *arg);
void kube_connection_free(struct kube_connection *c); /* NULL ok */
/* What a code other than CURLE_OK means. */
void kube_connection_judge(struct kube_connection *c, const struct kube_client *client,
			   struct kube_judged *j, CURLcode code);
/* After CURLE_OK: its bytes. Who closes or aborts the stream has freed the connection. */
struct stream *kube_connection_stream(struct kube_connection *c);

/* --- channels.c: port-forward ----------------------------------------------------------------------------- */

/* Owns `messages`, a WebSocket, on success. */
int kube_channels_new(struct stream **sp, struct event_base *base, struct stream *messages,
		      uint16_t port);
