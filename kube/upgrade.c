/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a client to a stream: credentials, a connection of its own, the handshake of websocket/, and for a port-forward its
 * channels. After a 401 once more with new credentials.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <strings.h>

#include "kube/internal.h"
#include "websocket/websocket.h"

enum { UPGRADE_SECONDS = 30 };

struct kube_upgrade {
	struct kube_client *client;
	struct kube_auth_wait wait;
	struct kube_connection *connection; /* until it is connected */
	struct websocket_dial *dial;	    /* from then on */
	struct event *late;
	char *target, *protocol;
	uint16_t port; /* port-forward */
	bool retried;
	unsigned generation, seconds;
	kube_upgrade_cb *cb;
	void *arg;
	TAILQ_ENTRY(kube_upgrade) link;
};

/* --- life ----------------------------------------------------------------------------------------------- */

void kube_upgrade_cancel(struct kube_upgrade *u)
{
	if (!u)
		return;
	TAILQ_REMOVE(&u->client->upgrades, u, link);
	kube_auth_leave(u->client->auth, &u->wait);
	kube_connection_free(u->connection);
	websocket_dial_cancel(u->dial);
	if (u->late)
		event_free(u->late);
	free(u->target);
	free(u->protocol);
	free(u);
}

void kube_upgrade_drop(struct kube_upgrade *u)
{
	kube_upgrade_cancel(u);
}

static void finish(struct kube_upgrade *u, struct stream *s, struct kube_judged *j)
{
	kube_upgrade_cb *cb = u->cb;
	void *arg = u->arg;

	kube_upgrade_cancel(u);
	cb(arg, s, j ? &j->reply : NULL);
}

static void fail(struct kube_upgrade *u, enum kube_failure failure, const char *why)
{
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	kube_judge_failure(&j, failure, "%s: %.400s", u->client->config->server, why);
	finish(u, NULL, &j);
}

/* --- the answer ----------------------------------------------------------------------------------------- */

static void refused(struct kube_upgrade *u, const struct websocket_refusal *why)
{
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	if (why->status == 401 && !u->retried &&
	    kube_auth_refused(u->client->auth, u->generation)) {
		u->retried = true;
		kube_auth_want(u->client->auth, &u->wait);
		return;
	}
	if (why->status >= 300)
		kube_judge_status(&j, u->client, why->status, why->body, why->len);
	else
		kube_judge_failure(&j, KUBE_PROTOCOL,
				   "the upgrade to a WebSocket was answered %d without one: does a "
				   "proxy between here and %.200s not let it through?",
				   why->status, u->client->config->server);
	finish(u, NULL, &j);
}

static void on_dialled(void *arg, struct stream *s, const struct websocket_refusal *why)
{
	struct kube_upgrade *u = arg;
	struct stream *channels;

	u->dial = NULL;
	if (!s && why->error == -ECONNREFUSED) {
		refused(u, why);
	} else if (!s) {
		fail(u, why->error == -EPROTO ? KUBE_PROTOCOL : KUBE_UNREACHABLE, why->why);
	} else if (!u->port) {
		finish(u, s, NULL);
	} else if (kube_channels_new(&channels, u->client->base, s, u->port)) {
		s->ops->abort(s);
		fail(u, KUBE_UNREACHABLE, "out of memory");
	} else {
		finish(u, channels, NULL);
	}
}

/* --- asking --------------------------------------------------------------------------------------------- */

/* The lines of authentication and impersonation, and who we are; malloc'ed. */
static char *header_lines(struct kube_client *c)
{
	struct curl_slist *headers = NULL;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int r;

	if (!f)
		return NULL;
	r = kube_setup_headers(c, &headers);
	fprintf(f, "User-Agent: %s\r\n", c->agent);
	for (struct curl_slist *h = headers; h; h = h->next) {
		if (strncasecmp(h->data, "Host:", 5))
			fprintf(f, "%s\r\n", h->data);
	}
	curl_slist_free_all(headers);
	if (fclose(f) || r) {
		free(text);
		return NULL;
	}
	return text;
}

static int dial(struct kube_upgrade *u, struct stream *carrier)
{
	const char *rest = strstr(u->client->config->server, "://") + 3;
	struct websocket_call call = {.protocol = u->protocol,
				      .timeout = 2 * (nsec_t)(u->seconds + 1) * NSEC_PER_SEC};
	char *headers = header_lines(u->client);
	cleanup(free_ptr) char *path = NULL;
	char host[512];
	int r = -ENOMEM;

	kube_server_host(u->client->config, host, sizeof(host));
	if (asprintf(&path, "%s%s", rest + strcspn(rest, "/"), u->target) < 0)
		path = NULL;
	call.host = host;
	call.path = path;
	call.headers = headers;
	u->generation = kube_auth_generation(u->client->auth);
	if (headers && path)
		r = websocket_dial(&u->dial, u->client->base, carrier, &call, on_dialled, u);
	if (headers)
		explicit_bzero(headers, strlen(headers)); /* the token is in it */
	free(headers);
	return r;
}

static void on_connected(void *arg, CURLcode code)
{
	struct kube_upgrade *u = arg;
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	if (code) {
		kube_connection_judge(u->connection, u->client, &j, code);
		finish(u, NULL, &j);
	} else if (dial(u, kube_connection_stream(u->connection))) {
		fail(u, KUBE_UNREACHABLE, "out of memory");
	} else {
		u->connection = NULL;
	}
}

static void on_credentials(struct kube_auth_wait *w, const struct error *e)
{
	struct kube_upgrade *u = container_of(w, struct kube_upgrade, wait);
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	if (e) {
		kube_judge_failure(&j, KUBE_CREDENTIALS, "%s", e->text);
		finish(u, NULL, &j);
	} else if (kube_connection_new(&u->connection, u->client, on_connected, u)) {
		fail(u, KUBE_UNREACHABLE, "out of memory");
	}
}

static void on_late(int fd, short what, void *arg)
{
	struct kube_upgrade *u = arg;
	char why[128];

	(void)fd;
	(void)what;
	snprintf(why, sizeof(why), "the API server did not answer the upgrade within %u s",
		 u->seconds);
	fail(u, KUBE_TIMEOUT, why);
}

static int start(struct kube_client *c, char *target, const char *protocol, uint16_t port,
		 nsec_t timeout, kube_upgrade_cb *cb, void *arg, struct kube_upgrade **up)
{
	struct kube_upgrade *u = target ? calloc(1, sizeof(*u)) : NULL;
	struct timeval tv = {.tv_sec = UPGRADE_SECONDS};

	if (!u) {
		free(target);
		return -ENOMEM;
	}
	if (timeout) {
		tv.tv_sec = (time_t)(timeout / NSEC_PER_SEC);
		tv.tv_usec = (suseconds_t)(timeout % NSEC_PER_SEC / 1000);
	}
	u->client = c;
	TAILQ_INSERT_TAIL(&c->upgrades, u, link);
	u->seconds = (unsigned)tv.tv_sec;
	u->target = target;
	u->port = port;
	u->cb = cb;
	u->arg = arg;
	u->wait.done = on_credentials;
	u->protocol = protocol ? strdup(protocol) : NULL;
	u->late = event_new(c->base, -1, 0, on_late, u);
	if ((protocol && !u->protocol) || !u->late || event_add(u->late, &tv)) {
		kube_upgrade_cancel(u);
		return -ENOMEM;
	}
	kube_auth_want(c->auth, &u->wait);
	if (up)
		*up = u;
	return 0;
}

int kube_upgrade(struct kube_client *c, const char *path, const char *query, const char *protocol,
		 nsec_t timeout, kube_upgrade_cb *cb, void *arg, struct kube_upgrade **up)
{
	char *target;

	if (*path != '/' || strpbrk(path, " \r\n#") || (query && strpbrk(query, " \r\n#")) ||
	    (protocol && strpbrk(protocol, "\r\n")))
		return -EINVAL;
	if (asprintf(&target, "%s%s%s", path, query && *query ? "?" : "", query ? query : "") < 0)
		target = NULL;
	return start(c, target, protocol, 0, timeout, cb, arg, up);
}

int kube_port_forward(struct kube_client *c, const char *namespace, const char *pod, uint16_t port,
		      nsec_t timeout, kube_upgrade_cb *cb, void *arg, struct kube_upgrade **up)
{
	char *target;

	if (!port || strpbrk(namespace, "/ \r\n?#%") || strpbrk(pod, "/ \r\n?#%"))
		return -EINVAL;
	if (asprintf(&target, "/api/v1/namespaces/%s/pods/%s/portforward?ports=%u", namespace, pod,
		     port) < 0)
		target = NULL;
	return start(c, target, "v4.channel.k8s.io", port, timeout, cb, arg, up);
}
