/* SPDX-License-Identifier: Apache-2.0 */
/* Pods that come with the agent, and what keeps them from coming. */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/gather.h"
#include "daemon/rollout.h"
#include "kube/kube.h"
#include "objects/objects.h"

#define AGENT_CONTAINER "culvert-agent" /* docs/kubernetes.md */

enum {
	PODS_MAX = 4096,
	TICK_S = 1,
	SETTLED_S = 2,
	QUIET_S = 4, /* without a change for so long: what happened is looked up */
	EVENTS_MAX = 8 << 20,
};

struct pod {
	LIST_ENTRY(pod) entry;
	char name[OBJECT_NAME_MAX + 1], uid[64];
	bool ending, ready, agent;
	bool marked; /* with this very mark */
	bool swept;  /* not named since the list began */
	bool after;  /* it came after we had evicted one that was let in without agent */
	char trouble[512];
};

struct rollout {
	struct event_base *base;
	struct kube_client *client;
	const struct rollout_ops *ops;
	void *arg;
	enum workload_kind kind;
	char ns[K8S_NAME_MAX + 1], name[K8S_NAME_MAX + 1];
	char *mark, *no_evictions;
	int64_t began; /* seconds since 1970 */
	unsigned replicas;
	bool complete; /* the list of pods has come */
	LIST_HEAD(pod_list, pod)
	pods;
	unsigned npods;
	struct kube_watch *watch;
	struct kube_request *eviction, *events;
	char evicting[OBJECT_NAME_MAX + 1];
	bool evicted_missed;
	struct event *tick;
	nsec_t changed;
	char said[1024], reason[1024], before[1024];
};

const char *rollout_held_by(const struct rollout *r)
{
	return r->reason;
}

/* Each sentence once, one line. */
static void say(struct rollout *r, const char *text)
{
	if (!strcmp(r->said, text))
		return;
	snprintf(r->said, sizeof(r->said), "%s", text);
	r->ops->progress(r->arg, text);
}

static void explain(struct rollout *r, const char *who, const char *reason, const char *message)
{
	char text[sizeof(r->reason)];

	snprintf(text, sizeof(text), "%.200s: %.60s%s%.600s", who, reason, *message ? ": " : "",
		 message);
	for (char *at = text; *at; at++) {
		if ((unsigned char)*at < ' ')
			*at = ' ';
	}
	if (!strcmp(text, r->reason))
		return;
	/* ErrImagePull and ImagePullBackOff take turns for as long as it is tried. */
	bool again = !strcmp(text, r->before);
	memcpy(r->before, r->reason, sizeof(text));
	memcpy(r->reason, text, sizeof(text));
	if (!again)
		r->ops->progress(r->arg, text);
}

/* --- pods ----------------------------------------------------------------------------------------------------- */

static struct pod *pod_find(const struct rollout *r, const char *uid)
{
	struct pod *p;

	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (!strcmp(p->uid, uid))
			return p;
	}
	return NULL;
}

static void pod_end(struct rollout *r, struct pod *p)
{
	LIST_REMOVE(p, entry);
	r->npods--;
	free(p);
}

static bool has_agent(const json_t *pod)
{
	static const char *const lists[] = {"initContainers", "containers"};
	const json_t *c;
	size_t i;

	for (unsigned k = 0; k < ARRAY_SIZE(lists); k++) {
		json_array_foreach(object_get(pod, "spec", lists[k], NULL), i, c)
		{
			if (!strcmp(object_text(c, "name", NULL), AGENT_CONTAINER))
				return true;
		}
	}
	return false;
}

static bool condition(const json_t *pod, const char *type, const char *value, const char **message)
{
	const json_t *c;
	size_t i;

	json_array_foreach(object_get(pod, "status", "conditions", NULL), i, c)
	{
		if (strcmp(object_text(c, "type", NULL), type) != 0)
			continue;
		*message = object_text(c, "message", NULL);
		return !strcmp(object_text(c, "status", NULL), value);
	}
	return false;
}

/* A container that waits for more than its turn, or a pod that no node takes. */
static void find_trouble(struct pod *p, const json_t *pod)
{
	static const char *const lists[] = {"initContainerStatuses", "containerStatuses"};
	const char *message = "";
	const json_t *c;
	size_t i;

	p->trouble[0] = '\0';
	if (condition(pod, "PodScheduled", "False", &message)) {
		snprintf(p->trouble, sizeof(p->trouble), "not scheduled: %.400s", message);
		return;
	}
	for (unsigned k = 0; k < ARRAY_SIZE(lists); k++) {
		json_array_foreach(object_get(pod, "status", lists[k], NULL), i, c)
		{
			const char *reason = object_text(c, "state", "waiting", "reason", NULL);

			if (!*reason || !strcmp(reason, "ContainerCreating") ||
			    !strcmp(reason, "PodInitializing"))
				continue;
			snprintf(p->trouble, sizeof(p->trouble), "container %.60s: %.60s: %.300s",
				 object_text(c, "name", NULL), reason,
				 object_text(c, "state", "waiting", "message", NULL));
			return;
		}
	}
}

static bool is_over(const json_t *pod)
{
	const char *phase = object_text(pod, "status", "phase", NULL);

	return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

/* The selector may match what others made. */
static bool is_ours(const struct rollout *r, const json_t *pod)
{
	const json_t *o = json_array_get(object_get(pod, "metadata", "ownerReferences", NULL), 0);
	const char *kind = object_text(o, "kind", NULL), *name = object_text(o, "name", NULL);
	size_t len = strlen(r->name);

	if (r->kind == KIND_DEPLOYMENT)
		return !strcmp(kind, "ReplicaSet") && !strncmp(name, r->name, len) &&
		       name[len] == '-' && !strchr(name + len + 1, '-');
	return !strcmp(kind, workload_kind_title(r->kind)) && !strcmp(name, r->name);
}

static void fill(struct rollout *r, struct pod *p, const json_t *pod)
{
	const char *message;

	p->swept = false;
	p->ending = object_get(pod, "metadata", "deletionTimestamp", NULL) != NULL;
	p->ready = condition(pod, "Ready", "True", &message);
	p->agent = has_agent(pod);
	p->marked = !strcmp(object_text(pod, "metadata", "annotations", MARK_ANNOTATION, NULL),
			    r->mark);
	find_trouble(p, pod);
}

/* --- evictions ------------------------------------------------------------------------------------------------- */

static void on_evicted(void *arg, const struct kube_reply *reply)
{
	struct rollout *r = arg;
	struct error e;

	r->eviction = NULL;
	if (reply->status == 429) {
		explain(r, r->evicting, "its eviction is held back",
			"a PodDisruptionBudget allows no disruption now");
	} else if (reply->failure == KUBE_FORBIDDEN) {
		reply_sentence(&e, reply);
		r->ops->failed(r->arg, e.text);
	} else if (reply->failure && reply->failure != KUBE_NOT_FOUND) {
		explain(r, r->evicting, "its eviction failed", reply->sentence);
	}
}

static void evict(struct rollout *r, struct pod *p)
{
	char path[512], text[512];
	cleanup(free_ptr) char *body = NULL;
	json_t *j = json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "policy/v1", "kind",
			      "Eviction", "metadata", "name", p->name, "namespace", r->ns);
	struct kube_call call = {.method = "POST", .path = path};

	body = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!body)
		return;
	call.body = body;
	call.len = strlen(body);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s/eviction", r->ns, p->name);
	snprintf(r->evicting, sizeof(r->evicting), "%s", p->name);
	snprintf(text, sizeof(text), "evicting pod %s, which has no agent", p->name);
	say(r, text);
	(void)kube_request(r->client, &call, on_evicted, r, &r->eviction);
}

/* Nobody else gives it an agent: it belongs to a bare ReplicaSet, or it was let in without one although it is marked. */
static bool is_to_evict(const struct rollout *r, const struct pod *p)
{
	if (p->ending || (p->agent && p->marked))
		return false;
	return r->kind == KIND_REPLICASET || (p->marked && !p->agent);
}

struct count {
	unsigned live, ready, agents, missed, to_evict, old;
};

static struct count count(const struct rollout *r)
{
	struct count c = {0};
	const struct pod *p;

	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (p->ending)
			continue;
		c.live++;
		c.ready += p->ready;
		c.agents += p->ready && p->agent && p->marked;
		c.missed += p->marked && !p->agent;
		c.to_evict += is_to_evict(r, p);
		c.old += !p->marked;
	}
	return c;
}

/* One at a time, each when all others are ready. Nothing may follow: it may be the end of `r`. */
static void evict_next(struct rollout *r, const struct count *c)
{
	struct pod *p, *next = NULL;

	if (r->eviction || !c->to_evict || c->live < r->replicas || c->ready < c->live)
		return;
	if (r->kind == KIND_DEPLOYMENT && c->old) /* which are about to go */
		return;
	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (is_to_evict(r, p))
			next = p;
	}
	if (!next)
		return;
	if (r->no_evictions && c->live <= 1) {
		r->ops->failed(r->arg, r->no_evictions);
		return;
	}
	r->evicted_missed |= next->marked;
	evict(r, next);
}

/* A pod says itself what it lacks, and better than its Events. */
static bool has_trouble(const struct rollout *r)
{
	const struct pod *p;

	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (*p->trouble && !p->ending)
			return true;
	}
	return false;
}

/* The one that we evicted has come back without an agent: so would the next. */
static bool is_in_vain(const struct rollout *r)
{
	const struct pod *p;

	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (p->after && p->marked && !p->agent && !p->ending)
			return true;
	}
	return false;
}

/* --- how far -------------------------------------------------------------------------------------------------- */

static void look_at_pods(struct rollout *r)
{
	struct count c = count(r);
	const struct pod *p;
	char text[512];

	r->changed = clock_boot();
	snprintf(text, sizeof(text),
		 "waiting for the rollout of %s/%s: %u of %u pods have the agent",
		 workload_kind_name(r->kind), r->name, c.agents, MAX(r->replicas, c.agents));
	if (c.agents < r->replicas)
		say(r, text);
	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		if (*p->trouble && !p->ending)
			explain(r, p->name, "it does not start", p->trouble);
	}
	if (is_in_vain(r)) {
		r->ops->failed(
			r->arg,
			"new pods come up without the agent: the API server does not reach the "
			"manager's webhook, or it refused them. See `kubectl -n culvert logs "
			"deployment/culvert-manager`, and that port 8443 of its pod is reachable "
			"from the API server");
		return;
	}
	evict_next(r, &c);
}

/* The endpoints of the service follow the pods a moment later, so it is told some time after it became so. */
static void tell_settled(struct rollout *r, const struct count *c)
{
	bool quiet = clock_boot() - r->changed >= SETTLED_S * NSEC_PER_SEC;

	if (quiet && c->live == r->npods && c->live >= r->replicas && c->ready == c->live &&
	    !c->to_evict && !c->old)
		r->ops->settled(r->arg);
}

static void on_begin(void *arg)
{
	struct rollout *r = arg;
	struct pod *p;

	r->complete = false;
	for (p = LIST_FIRST(&r->pods); p; p = LIST_NEXT(p, entry)) {
		p->swept = true;
	}
}

static struct pod *pod_new(struct rollout *r, const json_t *object)
{
	struct pod *p = r->npods < PODS_MAX ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		return NULL;
	snprintf(p->uid, sizeof(p->uid), "%s", object_text(object, "metadata", "uid", NULL));
	snprintf(p->name, sizeof(p->name), "%s", object_text(object, "metadata", "name", NULL));
	p->after = r->evicted_missed;
	LIST_INSERT_HEAD(&r->pods, p, entry);
	r->npods++;
	return p;
}

static void on_object(void *arg, enum kube_change change, json_t *object)
{
	struct rollout *r = arg;
	struct pod *p = pod_find(r, object_text(object, "metadata", "uid", NULL));

	if (change == KUBE_DELETED || is_over(object)) {
		if (p)
			pod_end(r, p);
	} else if (is_ours(r, object)) {
		if (!p)
			p = pod_new(r, object);
		if (p)
			fill(r, p, object);
	}
	if (r->complete)
		look_at_pods(r);
}

static void on_complete(void *arg)
{
	struct rollout *r = arg;
	struct pod *p, *next;

	for (p = LIST_FIRST(&r->pods); p; p = next) {
		next = LIST_NEXT(p, entry);
		if (p->swept)
			pod_end(r, p);
	}
	r->complete = true;
	look_at_pods(r);
}

static void on_trouble(void *arg, const struct kube_reply *why)
{
	struct rollout *r = arg;
	struct error e;

	if (why->failure == KUBE_FORBIDDEN && r->kind == KIND_REPLICASET) {
		/* We are who has to replace its pods. */
		reply_sentence(&e, why);
		r->ops->failed(r->arg, e.text);
	} else if (why->failure == KUBE_FORBIDDEN) {
		say(r, "how far the rollout is cannot be told, since you may not watch pods here");
	}
}

/* --- Events ---------------------------------------------------------------------------------------------------- */

static int64_t event_at(const json_t *event)
{
	const char *when = object_text(event, "lastTimestamp", NULL);
	int64_t at = 0;

	if (!*when)
		when = object_text(event, "eventTime", NULL);
	if (!*when || object_time(when, &at))
		return 0;
	return at;
}

/* Of the workload, or of what it made: NAME, NAME-5d8f, NAME-5d8f-x2x4q. */
static bool is_about(const struct rollout *r, const json_t *event)
{
	const char *about = object_text(event, "involvedObject", "name", NULL);
	size_t len = strlen(r->name);

	return !strncmp(about, r->name, len) && (about[len] == '-' || !about[len]);
}

/* A warning says more than what goes on as usual (an image that is being pulled); then the later one. */
static bool says_more(const json_t *event, const json_t *best)
{
	bool warning = !strcmp(object_text(event, "type", NULL), "Warning");
	bool best_warns = !strcmp(object_text(best, "type", NULL), "Warning");

	if (!best || warning != best_warns)
		return !best || warning;
	return event_at(event) >= event_at(best);
}

static void on_events(void *arg, const struct kube_reply *reply)
{
	struct rollout *r = arg;
	json_t *list, *event;
	const json_t *best = NULL;
	size_t i;

	r->events = NULL;
	list = reply->failure ? NULL : json_loadb(reply->body, reply->len, 0, NULL);
	json_array_foreach(json_object_get(list, "items"), i, event)
	{
		if (is_about(r, event) && event_at(event) >= r->began && says_more(event, best))
			best = event;
	}
	if (best)
		explain(r, object_text(best, "involvedObject", "name", NULL),
			object_text(best, "reason", NULL), object_text(best, "message", NULL));
	json_decref(list);
}

static void ask_events(struct rollout *r)
{
	char path[160];
	const struct kube_call call = {
		.path = path, .query = "fieldSelector=type%3DWarning&limit=500", .max = EVENTS_MAX};

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events", r->ns);
	if (!r->events && !has_trouble(r))
		(void)kube_request(r->client, &call, on_events, r, &r->events);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct rollout *r = arg;
	struct count c;

	(void)fd;
	(void)what;
	if (!r->complete || clock_boot() - r->changed >= QUIET_S * NSEC_PER_SEC)
		ask_events(r);
	c = count(r);
	if (!r->complete)
		return;
	if (c.to_evict)
		evict_next(r, &c); /* a budget may allow it by now */
	else
		tell_settled(r, &c);
}

/* --- life ------------------------------------------------------------------------------------------------------ */

static void add(char *text, size_t size, const char *fmt, ...) printf_like(3, 4);

static void add(char *text, size_t size, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + len, size - len, fmt, ap);
	va_end(ap);
}

static void add_expression(char *text, size_t size, const json_t *x)
{
	const char *key = object_text(x, "key", NULL), *op = object_text(x, "operator", NULL);
	const char *comma = *text ? "," : "";
	bool in = !strcmp(op, "In");
	const json_t *v;
	size_t i;

	if (!strcmp(op, "Exists"))
		add(text, size, "%s%s", comma, key);
	else if (!strcmp(op, "DoesNotExist"))
		add(text, size, "%s!%s", comma, key);
	if (!in && strcmp(op, "NotIn") != 0)
		return;
	add(text, size, "%s%s %s (", comma, key, in ? "in" : "notin");
	json_array_foreach(json_object_get(x, "values"), i, v)
	{
		add(text, size, "%s%s", i ? "," : "", json_string_value(v));
	}
	add(text, size, ")");
}

/* spec.selector as a query. */
static int selector_query(const json_t *object, char *query, size_t size)
{
	/* jansson has no iteration over const objects; nothing is changed */
	json_t *labels = (json_t *)object_get(object, "spec", "selector", "matchLabels", NULL);
	char text[2048] = "";
	const char *key;
	const json_t *x;
	json_t *v;
	size_t i;

	json_object_foreach(labels, key, v)
	{
		add(text, sizeof(text), "%s%s=%s", *text ? "," : "", key, json_string_value(v));
	}
	json_array_foreach(object_get(object, "spec", "selector", "matchExpressions", NULL), i, x)
	{
		add_expression(text, sizeof(text), x);
	}
	*query = '\0';
	return strlen(text) + 1 < sizeof(text) ? kube_query(query, size, "labelSelector", text)
					       : -ENOSPC;
}

static int start(struct rollout *r, const json_t *object)
{
	static const struct kube_watch_ops ops = {.begin = on_begin,
						  .object = on_object,
						  .complete = on_complete,
						  .trouble = on_trouble};
	const struct timeval every = {.tv_sec = TICK_S};
	char path[160], query[4096];
	int err = selector_query(object, query, sizeof(query));

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", r->ns);
	if (!err)
		err = kube_watch_start(&r->watch, r->client, path, query, &ops, r);
	if (!err && evtimer_add(r->tick, &every))
		err = -ENOMEM;
	return err;
}

int rollout_new(struct rollout **rp, struct event_base *base, struct kube_client *client,
		const struct rollout_config *cfg, const struct rollout_ops *ops, void *arg)
{
	const json_t *replicas = object_get(cfg->object, "spec", "replicas", NULL);
	struct rollout *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	if (!r)
		return -ENOMEM;
	r->base = base;
	r->client = client;
	r->ops = ops;
	r->arg = arg;
	r->kind = cfg->kind;
	snprintf(r->ns, sizeof(r->ns), "%s", cfg->ns);
	snprintf(r->name, sizeof(r->name), "%s", cfg->name);
	r->mark = strdup(cfg->mark);
	r->no_evictions = cfg->no_evictions ? strdup(cfg->no_evictions) : NULL;
	r->began = (int64_t)(clock_real() / NSEC_PER_SEC) - 1;
	r->changed = clock_boot();
	r->replicas = json_is_integer(replicas) ? (unsigned)json_integer_value(replicas) : 1;
	r->tick = event_new(base, -1, EV_PERSIST, on_tick, r);
	if (r->mark && r->tick)
		err = start(r, cfg->object);
	if (err)
		rollout_free(r);
	else
		*rp = r;
	return err;
}

void rollout_free(struct rollout *r)
{
	if (!r)
		return;
	kube_watch_stop(r->watch);
	kube_cancel(r->eviction);
	kube_cancel(r->events);
	while (!LIST_EMPTY(&r->pods))
		pod_end(r, LIST_FIRST(&r->pods));
	if (r->tick)
		event_free(r->tick);
	free(r->mark);
	free(r->no_evictions);
	free(r);
}
