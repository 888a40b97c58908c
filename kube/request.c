/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer: credentials first, then curl; after a 401 once more with new credentials. */
#include "kube/internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

enum { REQUEST_SECONDS = 30, HEADERS_MAX = 32, FIRST_ROOM = 16384 };

/* --- life ----------------------------------------------------------------------------------------------- */

void kube_cancel(struct kube_request *r)
{
	if (!r)
		return;
	TAILQ_REMOVE(&r->client->requests, r, link);
	kube_auth_leave(r->client->auth, &r->wait);
	fetch_transfer_stop(&r->transfer);
	if (r->impatient)
		event_free(r->impatient);
	if (r->transfer.easy)
		curl_easy_cleanup(r->transfer.easy);
	curl_slist_free_all(r->list);
	curl_slist_free_all(r->connect_to);
	kube_list_free(r->headers);
	free(r->method);
	free(r->target);
	free(r->content_type);
	free(r->accept);
	free(r->body);
	free(r->answer);
	free(r);
}

/* The one callback; `r` is gone before it, its answer after it. */
static void finish(struct kube_request *r, struct kube_judged *j)
{
	char *answer = steal_ptr(r->answer);
	kube_reply_cb *cb = r->cb;
	void *arg = r->arg;

	kube_cancel(r);
	cb(arg, &j->reply);
	free(answer);
}

/* --- curl's callbacks ----------------------------------------------------------------------------------- */

static long status_of(struct kube_request *r)
{
	long status = 0;

	curl_easy_getinfo(r->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *arg)
{
	struct kube_request *r = arg;
	size_t len = size * n, need = r->len + len + 1;

	if (need > r->max) {
		r->too_large = true;
		return 0;
	}
	if (need > r->room) {
		size_t room = MAX(need, MAX(r->room * 2, FIRST_ROOM));
		char *bigger = realloc(r->answer, room);

		if (!bigger)
			return 0;
		r->answer = bigger;
		r->room = room;
	}
	memcpy(r->answer + r->len, data, len);
	r->len += len;
	r->answer[r->len] = '\0';
	if (r->stream)
		fetch_transfer_ready(&r->transfer);
	return len;
}

/* Gives a watch its lines. It may cancel us in there. */
static void on_transfer_ready(struct fetch_transfer *t)
{
	struct kube_request *r = container_of(t, struct kube_request, transfer);
	cleanup(free_ptr) char *bytes = NULL;
	size_t len = r->len;

	if (status_of(r) != 200 || !len)
		return;
	bytes = steal_ptr(r->answer);
	r->len = r->room = 0;
	r->stream(r->arg, bytes, len);
}

static bool retry(struct kube_request *r)
{
	if (r->retried || !kube_auth_refused(r->client->auth, r->generation))
		return false;
	r->retried = true;
	r->len = 0;
	fetch_transfer_stop(&r->transfer);
	kube_auth_want(r->client->auth, &r->wait);
	return true;
}

static void on_transfer_done(struct fetch_transfer *t, CURLcode code)
{
	struct kube_request *r = container_of(t, struct kube_request, transfer);
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};
	long status = status_of(r);
	curl_off_t after = 0;

	kube_note_address(r->client, t->easy);
	/* Who refuses does not read our body, and resets the stream, which may cut its own: it is a refusal all the same. */
	if (status >= 400 && (code == CURLE_PARTIAL_FILE || code == CURLE_HTTP2_STREAM))
		code = CURLE_OK;
	if (code == CURLE_OK && status == 401 && retry(r))
		return;
	if (r->too_large)
		kube_judge_failure(&j, KUBE_TOO_LARGE,
				   "the answer of the API server to %s %s is larger than %zu bytes",
				   r->method, r->target, r->max);
	else if (code != CURLE_OK)
		kube_judge_curl(&j, r->client, code, t->easy, r->error);
	else
		kube_judge_status(&j, r->client, (int)status, r->answer ? r->answer : "", r->len);
	j.reply.status = (int)status;
	j.reply.body = r->answer ? r->answer : "";
	j.reply.len = r->len;
	if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK)
		j.reply.retry_after = (double)after;
	finish(r, &j);
}

static void set_timer(struct event *ev, nsec_t after)
{
	const struct timeval tv = {.tv_sec = (time_t)(after / NSEC_PER_SEC),
				   .tv_usec = (suseconds_t)(after % NSEC_PER_SEC / 1000)};

	evtimer_add(ev, &tv);
}

static void on_impatient(evutil_socket_t fd, short what, void *arg)
{
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};
	struct kube_request *r = arg;

	(void)fd;
	(void)what;
	if (!fetch_multi_unheard(r->client->multi)) {
		set_timer(r->impatient, NSEC_PER_SEC);
		return;
	}
	kube_judge_failure(
		&j, KUBE_UNREACHABLE,
		"the API server %.200s does not answer, not even on the level of TCP: is the "
		"VPN or network up?",
		r->client->config->server);
	finish(r, &j);
}

/* --- start ---------------------------------------------------------------------------------------------- */

static void set_method(struct kube_request *r, CURL *easy)
{
	if (!strcmp(r->method, "HEAD"))
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else if (r->body) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	} else {
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	}
}

static int set_headers(struct kube_request *r)
{
	int code = kube_slist_add(&r->list, "Accept: %s", r->accept);

	if (code == 0 && r->body)
		code = kube_slist_add(&r->list, "Content-Type: %s", r->content_type);
	if (code == 0)
		code = kube_slist_add(&r->list, "Expect:");
	for (char **h = r->headers; code == 0 && h && *h; h++)
		code = kube_slist_add(&r->list, "%s", *h);
	return code ? code : kube_setup_headers(r->client, &r->list);
}

static int start(struct kube_request *r)
{
	CURL *easy = r->transfer.easy;
	int code;

	curl_easy_reset(easy);
	curl_slist_free_all(r->list);
	curl_slist_free_all(r->connect_to);
	r->list = r->connect_to = NULL;
	r->error[0] = '\0';
	code = kube_setup_connection(r->client, easy, r->target, &r->connect_to);
	if (code == 0)
		code = set_headers(r);
	if (code)
		return code;
	r->generation = kube_auth_generation(r->client->auth);
	set_method(r, easy);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->list);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, r->client->agent);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(r->timeout / NSEC_PER_MSEC));
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	if (!r->client->config->disable_compression)
		curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	if (r->impatient)
		set_timer(r->impatient, r->patience);
	return fetch_transfer_start(r->client->multi, &r->transfer);
}

static void on_credentials(struct kube_auth_wait *w, const struct error *e)
{
	struct kube_request *r = container_of(w, struct kube_request, wait);
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	if (e)
		kube_judge_failure(&j, KUBE_CREDENTIALS, "%s", e->text);
	else if (start(r))
		kube_judge_failure(&j, KUBE_UNREACHABLE, "out of memory for a request to %s",
				   r->client->config->server);
	else
		return;
	finish(r, &j);
}

static char *or_default(const char *s, const char *other)
{
	return strdup(s ? s : other);
}

static int copy_headers(struct kube_request *r, const char *const *headers)
{
	size_t n = 0;

	while (headers && headers[n])
		n++;
	if (n > HEADERS_MAX)
		return -EINVAL;
	r->headers = calloc(n + 1, sizeof(char *));
	for (size_t i = 0; r->headers && i < n; i++) {
		if (strpbrk(headers[i], "\r\n"))
			return -EINVAL;
		r->headers[i] = strdup(headers[i]);
		if (!r->headers[i])
			return -ENOMEM;
	}
	return r->headers ? 0 : -ENOMEM;
}

static int fill(struct kube_request *r, const struct kube_call *call)
{
	r->method = or_default(call->method, "GET");
	if (call->patience)
		r->impatient = evtimer_new(r->client->base, on_impatient, r);
	r->patience = call->patience;
	r->content_type = or_default(call->content_type, "application/json");
	r->accept = or_default(call->accept, "application/json");
	r->transfer.easy = curl_easy_init();
	if (asprintf(&r->target, "%s%s%s", call->path, call->query && *call->query ? "?" : "",
		     call->query ? call->query : "") < 0)
		r->target = NULL;
	if (call->body && (r->body = malloc(call->len + 1))) {
		memcpy(r->body, call->body, call->len);
		r->body[call->len] = '\0';
		r->body_len = call->len;
	}
	if (!r->method || !r->content_type || !r->accept || !r->transfer.easy || !r->target ||
	    (call->body && !r->body) || (call->patience && !r->impatient))
		return -ENOMEM;
	return copy_headers(r, call->headers);
}

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	struct kube_request *r;
	int code;

	if (!call->path || *call->path != '/' || strpbrk(call->path, " \r\n#") ||
	    (call->query && strpbrk(call->query, " \r\n#")))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->client = c;
	TAILQ_INSERT_TAIL(&c->requests, r, link);
	r->transfer.done = on_transfer_done;
	r->transfer.ready = on_transfer_ready;
	r->wait.done = on_credentials;
	r->cb = cb;
	r->arg = arg;
	r->max = call->max ? call->max : KUBE_ANSWER_MAX;
	r->timeout = call->timeout ? call->timeout : REQUEST_SECONDS * NSEC_PER_SEC;
	code = fill(r, call);
	if (code) {
		kube_cancel(r);
		return code;
	}
	kube_auth_want(c->auth, &r->wait);
	if (rp)
		*rp = r;
	return 0;
}

/* --- patches -------------------------------------------------------------------------------------------- */

int kube_query(char *query, size_t room, const char *key, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = strlen(query), k = strlen(key);

	if (n + k + 3 > room)
		return -ENOSPC;
	if (n)
		query[n++] = '&';
	memcpy(query + n, key, k);
	n += k;
	query[n++] = '=';
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;
		bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			     (c >= 'a' && c <= 'z') || strchr("-._~", c);

		if (n + (plain ? 1 : 3) + 1 > room)
			return -ENOSPC;
		if (plain) {
			query[n++] = (char)c;
		} else {
			query[n++] = '%';
			query[n++] = hex[c >> 4];
			query[n++] = hex[c & 15];
		}
	}
	query[n] = '\0';
	return 0;
}

static int patch(struct kube_client *c, const char *path, const json_t *body, const char *type,
		 const char *query, kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	cleanup(free_ptr) char *text = json_dumps(body, JSON_COMPACT);
	struct kube_call call = {
		.method = "PATCH",
		.path = path,
		.query = query,
		.body = text,
		.content_type = type,
	};

	if (!text)
		return -EINVAL;
	call.len = strlen(text);
	return kube_request(c, &call, cb, arg, rp);
}

int kube_apply(struct kube_client *c, const char *path, const json_t *object, const char *manager,
	       bool force, kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	char query[512] = "";

	if (kube_query(query, sizeof(query), "fieldManager", manager) ||
	    (force && kube_query(query, sizeof(query), "force", "true")))
		return -EINVAL;
	/* JSON is YAML, and this is the type that every version takes. */
	return patch(c, path, object, "application/apply-patch+yaml", query, cb, arg, rp);
}

int kube_merge(struct kube_client *c, const char *path, const json_t *object, const char *manager,
	       kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	char query[512] = "";

	if (kube_query(query, sizeof(query), "fieldManager", manager))
		return -EINVAL;
	return patch(c, path, object, "application/merge-patch+json", query, cb, arg, rp);
}
