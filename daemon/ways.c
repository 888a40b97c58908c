/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ways: streams to the manager.
 *
 *   IDLE --start--> WEBSOCKET --refused--> PODS --> FORWARD --> UPGRADE --+
 *     ^                 | stream             | none   | refused   |       |
 *     |                 v                    v        v           v       v stream
 *     +------------- given                   WAITING (0.2 s, doubling to 5 s) --> WEBSOCKET
 *
 * What would refuse a port-forward, too (no way to the API server, no credentials), is not tried a second time. Nor is a WebSocket
 * given up at the first no where there was one before: an API server that has just started refuses everybody, until it has read the
 * roles, and who went by port-forward then would stay with the slower way for as long as it lasts.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "daemon/ways.h"
#include "websocket/websocket.h"

enum { MANAGER_PORT = 8080, RETRY_FIRST_MS = 200, RETRY_MAX_MS = 5000, TRY_SECONDS = 15 };
enum { PATIENCE = 8 }; /* refusals in a row of what has worked: 10 to 20 s */

#define OVERLAY_PATH "/overlay"
#define SUBPROTOCOL  "culvert.v1"
/* Of the manager's pods (deploy/). */
#define MANAGER_PODS "app=culvert-manager"

struct ways {
	struct event_base *base;
	struct kube_client *client;
	char ns[64];
	enum ways_allowed allowed;
	const struct ways_ops *ops;
	void *arg;
	struct event *retry;
	unsigned retry_ms;
	unsigned patience; /* for refusals of the WebSocket, before a port-forward is tried */
	/* The one step that is under way. */
	struct kube_upgrade *upgrading;
	struct kube_request *listing;
	struct websocket_dial *inside;
	struct ways_failure
		first;	   /* why the WebSocket was refused, while a port-forward is tried */
	char told[2][256]; /* so that the log says each once */
};

static void try_websocket(struct ways *w);
static void try_forward(struct ways *w);

const char *way_name(enum way w)
{
	static const char *const names[] = {"none", "websocket", "portforward"};

	return names[w];
}

int ways_parse(enum ways_allowed *w, const char *text)
{
	static const char *const names[] = {"auto", "udp", "websocket", "portforward"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], text)) {
			*w = i;
			return 0;
		}
	}
	return -EINVAL;
}

static void stop(struct ways *w)
{
	evtimer_del(w->retry);
	kube_upgrade_cancel(w->upgrading);
	kube_cancel(w->listing);
	websocket_dial_cancel(w->inside);
	w->upgrading = NULL;
	w->listing = NULL;
	w->inside = NULL;
}

static void given(struct ways *w, struct stream *s, enum way way)
{
	w->retry_ms = RETRY_FIRST_MS;
	w->told[0][0] = w->told[1][0] = '\0';
	w->patience = way == WAY_WEBSOCKET ? PATIENCE : 0;
	w->ops->stream(w->arg, s, way);
}

/* Between half and all of it, so that those who lost it together do not come back together. */
static void wait_a_little(struct ways *w)
{
	uint32_t r, ms = w->retry_ms;
	struct timeval tv;

	crypto_random(&r, sizeof(r));
	ms = ms / 2 + r % (ms / 2 + 1);
	tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	evtimer_add(w->retry, &tv);
	w->retry_ms = MIN(2 * w->retry_ms, (unsigned)RETRY_MAX_MS);
}

static void note(struct ways_failure *f, enum way way, enum kube_failure failure,
		 const struct kube_denied *denied, const char *text)
{
	memset(f, 0, sizeof(*f));
	f->failure = failure;
	if (denied)
		f->denied = *denied;
	error_set(&f->text, 0, "%s: %s", way_name(way), text);
}

static void say(char told[static 256], const struct ways_failure *f)
{
	if (!strncmp(told, f->text.text, 255))
		return;
	log_info("manager: no stream to it by %s", f->text.text);
	snprintf(told, 256, "%.255s", f->text.text);
}

static void failed(struct ways *w, const struct ways_failure *f)
{
	struct ways_failure copy = *f;

	say(w->told[f != &w->first], f);
	wait_a_little(w);
	w->ops->failed(w->arg, &copy);
}

/* --- services/proxy --- */

bool ways_api_answers(enum kube_failure f)
{
	return f != KUBE_UNREACHABLE && f != KUBE_TLS && f != KUBE_CREDENTIALS &&
	       f != KUBE_UNAUTHORIZED && f != KUBE_TIMEOUT;
}

static void on_websocket(void *arg, struct stream *s, const struct kube_reply *why)
{
	struct ways *w = arg;

	w->upgrading = NULL;
	if (s) {
		given(w, s, WAY_WEBSOCKET);
		return;
	}
	note(&w->first, WAY_WEBSOCKET, why->failure, &why->denied, why->sentence);
	if (w->allowed != WAYS_AUTO || !ways_api_answers(why->failure)) {
		failed(w, &w->first);
		return;
	}
	if (w->patience) {
		w->patience--;
		failed(w, &w->first);
		return;
	}
	say(w->told[0], &w->first);
	try_forward(w);
}

static void try_websocket(struct ways *w)
{
	char path[256];

	snprintf(path, sizeof(path),
		 "/api/v1/namespaces/%s/services/culvert:overlay/proxy" OVERLAY_PATH, w->ns);
	w->first.failure = KUBE_OK;
	if (kube_upgrade(w->client, path, NULL, SUBPROTOCOL, TRY_SECONDS * NSEC_PER_SEC,
			 on_websocket, w, &w->upgrading))
		wait_a_little(w);
}

/* --- pods/portforward --- */

static void forward_failed(struct ways *w, enum kube_failure failure,
			   const struct kube_denied *denied, const char *text)
{
	struct ways_failure f;

	note(&f, WAY_PORTFORWARD, failure, denied, text);
	/* The right to the better way is the one to ask for. */
	failed(w, w->first.failure == KUBE_FORBIDDEN ? &w->first : &f);
}

static void on_upgraded(void *arg, struct stream *s, const struct websocket_refusal *why)
{
	struct ways *w = arg;

	w->inside = NULL;
	if (s)
		given(w, s, WAY_PORTFORWARD);
	else
		forward_failed(w, KUBE_PROTOCOL, NULL, why->why);
}

static void on_inside(struct ways *w, struct stream *s)
{
	const struct websocket_call call = {.host = "culvert",
					    .path = OVERLAY_PATH,
					    .protocol = SUBPROTOCOL,
					    .timeout = TRY_SECONDS * NSEC_PER_SEC};

	if (!websocket_dial(&w->inside, w->base, s, &call, on_upgraded, w))
		return;
	s->ops->abort(s);
	forward_failed(w, KUBE_UNREACHABLE, NULL, "out of memory");
}

static void on_forwarded(void *arg, struct stream *s, const struct kube_reply *why)
{
	struct ways *w = arg;

	w->upgrading = NULL;
	if (!s)
		forward_failed(w, why->failure, &why->denied, why->sentence);
	else
		on_inside(w, s);
}

static bool is_ready(const json_t *pod)
{
	const json_t *status = json_object_get(pod, "status");
	json_t *cond;
	size_t i;

	json_array_foreach(json_object_get(status, "conditions"), i, cond)
	{
		const char *type = json_string_value(json_object_get(cond, "type"));
		const char *value = json_string_value(json_object_get(cond, "status"));

		if (type && value && !strcmp(type, "Ready"))
			return !strcmp(value, "True");
	}
	return false;
}

/* Name of a pod that is ready, borrowed, or NULL. */
static const char *ready_pod(const json_t *list)
{
	json_t *pod;
	size_t i;

	json_array_foreach(json_object_get(list, "items"), i, pod)
	{
		if (is_ready(pod))
			return json_string_value(
				json_object_get(json_object_get(pod, "metadata"), "name"));
	}
	return NULL;
}

static void on_pods(void *arg, const struct kube_reply *r)
{
	struct ways *w = arg;
	json_t *list = r->failure ? NULL : json_loadb(r->body, r->len, 0, NULL);
	const char *pod = ready_pod(list);

	w->listing = NULL;
	if (r->failure)
		forward_failed(w, r->failure, &r->denied, r->sentence);
	else if (!pod)
		forward_failed(w, KUBE_NOT_FOUND, NULL, "no pod of the manager is ready");
	else if (kube_port_forward(w->client, w->ns, pod, MANAGER_PORT, TRY_SECONDS * NSEC_PER_SEC,
				   on_forwarded, w, &w->upgrading))
		forward_failed(w, KUBE_PROTOCOL, NULL, "its pod has an impossible name");
	json_decref(list);
}

static void try_forward(struct ways *w)
{
	char path[128], query[128] = "";
	struct kube_call call = {
		.path = path, .query = query, .timeout = TRY_SECONDS * NSEC_PER_SEC};

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", w->ns);
	kube_query(query, sizeof(query), "labelSelector", MANAGER_PODS);
	if (kube_request(w->client, &call, on_pods, w, &w->listing))
		wait_a_little(w);
}

/* --- life --- */

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct ways *w = arg;

	(void)fd;
	(void)what;
	stop(w);
	w->first.failure = KUBE_OK;
	if (w->allowed == WAYS_PORTFORWARD)
		try_forward(w);
	else
		try_websocket(w);
}

int ways_new(struct ways **wp, struct event_base *base, struct kube_client *client,
	     const char *manager_ns, enum ways_allowed allowed, const struct ways_ops *ops,
	     void *arg)
{
	struct ways *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->retry = evtimer_new(base, on_retry, w);
	if (!w->retry) {
		free(w);
		return -ENOMEM;
	}
	w->base = base;
	w->client = client;
	snprintf(w->ns, sizeof(w->ns), "%s", manager_ns);
	w->allowed = allowed;
	w->ops = ops;
	w->arg = arg;
	w->retry_ms = RETRY_FIRST_MS;
	*wp = w;
	return 0;
}

void ways_free(struct ways *w)
{
	if (!w)
		return;
	stop(w);
	event_free(w->retry);
	free(w);
}

void ways_start(struct ways *w)
{
	if (w->allowed == WAYS_UDP)
		return;
	w->retry_ms = RETRY_FIRST_MS;
	on_retry(-1, 0, w);
}

void ways_again(struct ways *w)
{
	if (w->allowed != WAYS_UDP && !w->upgrading && !w->listing && !w->inside &&
	    !evtimer_pending(w->retry, NULL))
		wait_a_little(w);
}
