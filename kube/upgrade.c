/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a client to a stream: credentials, a connection of its own, the upgrade's request, the head of the answer. After a
 * 401 once more with new credentials. What is no 101 is read to its end (bounded), since it says why.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "kube/internal.h"

enum { UPGRADE_SECONDS = 30, IN_MAX = 65536 };

struct kube_upgrade {
	struct kube_client *client;
	struct kube_auth_wait wait;
	struct kube_connection *connection;
	struct event *io, *late;
	char *target, *protocol;
	uint16_t port; /* port-forward */
	char key[KUBE_KEY_LEN + 1];
	char *out;
	size_t out_len, out_sent;
	char in[IN_MAX + 1];
	size_t in_len;
	bool retried;
	unsigned generation, seconds;
	kube_upgrade_cb *cb;
	void *arg;
	TAILQ_ENTRY(kube_upgrade) link;
};

/* --- life ----------------------------------------------------------------------------------------------- */

static void disconnect(struct kube_upgrade *u)
{
	if (u->io)
		event_free(u->io);
	u->io = NULL;
	kube_connection_free(u->connection);
	u->connection = NULL;
	if (u->out)
		explicit_bzero(u->out, u->out_len); /* the token is in it */
	free(u->out);
	u->out = NULL;
	u->in_len = 0;
}

void kube_upgrade_cancel(struct kube_upgrade *u)
{
	if (!u)
		return;
	TAILQ_REMOVE(&u->client->upgrades, u, link);
	kube_auth_leave(u->client->auth, &u->wait);
	disconnect(u);
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
	/* The reply may point into u->in. */
	cleanup(free_ptr) char *body = j && j->reply.body ? strdup(j->reply.body) : NULL;

	if (j)
		j->reply.body = body ? body : "";
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

/* Takes the chunk heads out of a body, in place; the new length. What is malformed ends it. */
static size_t unchunk(char *body, size_t len)
{
	size_t in = 0, out = 0;

	while (in < len) {
		char *end;
		unsigned long n = strtoul(body + in, &end, 16);
		char *line = memchr(body + in, '\n', len - in);

		if (end == body + in || !line || n == 0)
			break;
		in = (size_t)(line + 1 - body);
		n = MIN(n, len - in);
		memmove(body + out, body + in, n);
		out += n;
		in += n + 2;
	}
	body[out] = '\0';
	return out;
}

static void refused(struct kube_upgrade *u, const struct kube_answer_head *h)
{
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};
	char *body = u->in + h->head_len;
	size_t len = u->in_len - h->head_len;

	body[len] = '\0';
	if (h->chunked)
		len = unchunk(body, len);
	if (h->status == 401 && !u->retried && kube_auth_refused(u->client->auth, u->generation)) {
		u->retried = true;
		disconnect(u);
		kube_auth_want(u->client->auth, &u->wait);
		return;
	}
	if (h->status >= 300)
		kube_judge_status(&j, u->client, h->status, body, len);
	else
		kube_judge_failure(&j, KUBE_PROTOCOL,
				   "the upgrade to a WebSocket was answered %d without one: does a "
				   "proxy between here and %.200s not let it through?",
				   h->status, u->client->config->server);
	finish(u, NULL, &j);
}

static bool body_complete(const struct kube_upgrade *u, const struct kube_answer_head *h)
{
	size_t len = u->in_len - h->head_len;

	if (h->chunked)
		return memmem(u->in + h->head_len, len, "0\r\n\r\n", 5) != NULL;
	return h->body_len >= 0 && (long long)len >= h->body_len;
}

static void upgraded(struct kube_upgrade *u, const struct kube_answer_head *h)
{
	struct kube_connection *c = u->connection;
	struct stream *s;
	int r;

	if (u->protocol && strcmp(h->protocol, u->protocol)) {
		fail(u, KUBE_PROTOCOL, "the WebSocket does not speak the protocol asked for");
		return;
	}
	event_free(u->io);
	u->io = NULL;
	u->connection = NULL;
	r = kube_websocket_new(&s, u->client->base, c, u->in + h->head_len, u->in_len - h->head_len,
			       u->port);
	if (r) {
		kube_connection_free(c);
		fail(u, KUBE_UNREACHABLE, strerror(-r));
		return;
	}
	finish(u, s, NULL);
}

static void on_answer(struct kube_upgrade *u, bool ended)
{
	struct kube_answer_head h;
	int r = kube_handshake_answer(u->in, u->in_len, u->key, &h);

	if (r == -EAGAIN && !ended)
		return;
	if (r == -EAGAIN)
		fail(u, KUBE_UNREACHABLE, "the connection ended before the upgrade was answered");
	else if (r)
		fail(u, KUBE_PROTOCOL, "the upgrade was answered by something that is no HTTP");
	else if (h.upgraded)
		upgraded(u, &h);
	else if (ended || h.status < 200 || body_complete(u, &h) || u->in_len == IN_MAX)
		refused(u, &h);
}

/* --- asking --------------------------------------------------------------------------------------------- */

static void read_answer(struct kube_upgrade *u)
{
	for (;;) {
		ssize_t n =
			kube_connection_read(u->connection, u->in + u->in_len, IN_MAX - u->in_len);

		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			on_answer(u, true);
			return;
		}
		u->in_len += (size_t)n;
		if (u->in_len == IN_MAX)
			break;
	}
	on_answer(u, false);
}

static void on_io(int fd, short what, void *arg)
{
	struct kube_upgrade *u = arg;

	(void)fd;
	while ((what & EV_WRITE) && u->out_sent < u->out_len) {
		ssize_t n = kube_connection_write(u->connection, u->out + u->out_sent,
						  u->out_len - u->out_sent);

		if (n == -EAGAIN)
			return;
		if (n < 0) {
			fail(u, KUBE_UNREACHABLE,
			     "the connection broke before the upgrade was asked for");
			return;
		}
		u->out_sent += (size_t)n;
	}
	if (u->out_sent == u->out_len && (what & EV_WRITE)) {
		struct event_base *base = u->client->base;

		event_free(u->io);
		u->io = event_new(base, u->connection->fd, EV_READ | EV_PERSIST, on_io, u);
		if (!u->io || event_add(u->io, NULL)) {
			fail(u, KUBE_UNREACHABLE, "out of memory");
			return;
		}
	}
	/* Also when only written: TLS may hold bytes that the socket does not show any more. */
	read_answer(u);
}

static void on_connected(void *arg, CURLcode code)
{
	struct kube_upgrade *u = arg;
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};
	struct curl_slist *headers = NULL;

	if (code) {
		kube_judge_curl(&j, u->client, code, u->connection->transfer.easy,
				u->connection->error);
		finish(u, NULL, &j);
		return;
	}
	kube_note_address(u->client, u->connection->transfer.easy);
	kube_handshake_key(u->key);
	if (kube_setup_headers(u->client, &headers) == 0)
		u->out = kube_handshake_request(u->client->config, u->target, u->key, u->protocol,
						u->client->agent, headers);
	curl_slist_free_all(headers);
	u->generation = kube_auth_generation(u->client->auth);
	u->out_len = u->out ? strlen(u->out) : 0;
	u->out_sent = 0;
	u->io = event_new(u->client->base, u->connection->fd, EV_WRITE | EV_PERSIST, on_io, u);
	if (!u->out || !u->io || event_add(u->io, NULL))
		fail(u, KUBE_UNREACHABLE, "out of memory");
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
