/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking the agent out of a workload: the mark goes from its pod template, which makes Deployments and StatefulSets restart their
 * pods one after the other; the pods of a bare ReplicaSet are evicted by us.
 */
#include "cli/agents.h"

#include <errno.h>

enum { ROLLOUT_S = 600, POLL_MS = 250, QUIET_S = 3, PAGE = 500 };

static const struct {
	const char *kind, *plural;
} kinds[] = {{"deployment", "deployments"},
	     {"statefulset", "statefulsets"},
	     {"replicaset", "replicasets"}};

static bool is_marked(const json_t *object)
{
	return object_get(object, "spec", "template", "metadata", "annotations", MARK_ANNOTATION) !=
	       NULL;
}

/* Has it an owner that makes it what it is? Then that one is meant. */
static bool is_controlled(const json_t *object)
{
	json_t *owner;
	size_t i;

	json_array_foreach(object_get(object, "metadata", "ownerReferences"), i, owner)
	{
		if (json_is_true(json_object_get(owner, "controller")))
			return true;
	}
	return false;
}

/* Adds the marked ones of a kind, page by page. */
static int list_kind(struct cluster *c, json_t *list, size_t kind, struct error *e)
{
	char path[64], query[1024], next[768] = "";
	json_t *page, *item;
	size_t i;
	int err;

	snprintf(path, sizeof(path), "/apis/apps/v1/%s", kinds[kind].plural);
	do {
		snprintf(query, sizeof(query), "limit=%d", PAGE);
		if (*next && kube_query(query, sizeof(query), "continue", next))
			return error_set(e, -EOVERFLOW, "the list of %s", kinds[kind].plural);
		err = cluster_get(c, &page, e, path, query);
		if (err)
			return err;
		json_array_foreach(json_object_get(page, "items"), i, item)
		{
			if (is_marked(item) && !is_controlled(item))
				json_array_append_new(
					list,
					json_pack("{s:s,s:s,s:s}", "kind", kinds[kind].kind, "name",
						  object_text(item, "metadata", "name"),
						  "namespace",
						  object_text(item, "metadata", "namespace")));
		}
		snprintf(next, sizeof(next), "%s", object_text(page, "metadata", "continue"));
		json_decref(page);
	} while (*next);
	return 0;
}

int agents_list(struct cluster *c, json_t **list, struct error *e)
{
	int err = 0;

	*list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !err; i++)
		err = list_kind(c, *list, i, e);
	return err;
}

/* --- one workload ------------------------------------------------------------------------------------------- */

struct removal {
	struct cluster *c;
	struct progress *p;
	const char *ns, *name;
	size_t kind;
	char path[320];
	json_t *object;
};

/* They go into paths. */
static bool is_name(const char *s, size_t max)
{
	return *s && *s != '.' && strlen(s) <= max &&
	       !s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.")];
}

static bool is_kind(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (len == strlen(kinds[i].kind) && !strncasecmp(text, kinds[i].kind, len))
			return true;
	return false;
}

/* The marked one of that name: KIND/NAME, or the only one. */
static int find(struct removal *r, const char *workload, struct error *e)
{
	const char *slash = strchr(workload, '/');
	size_t len = slash ? (size_t)(slash - workload) : 0;
	unsigned there = 0, marked = 0;

	r->name = slash ? slash + 1 : workload;
	if (slash && !is_kind(workload, len))
		return error_set(e, -EINVAL,
				 "'%.*s' is no kind of workload: write deployment, statefulset or "
				 "replicaset",
				 (int)MIN(len, (size_t)100), workload);
	if (!is_name(r->name, 253))
		return error_set(e, -EINVAL, "'%.100s' is not the name of a workload", r->name);
	if (!is_name(r->ns, 63))
		return error_set(e, -EINVAL, "'%.100s' is not the name of a namespace", r->ns);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char path[sizeof(r->path)];
		json_t *object;
		int err;

		if (slash && strncasecmp(workload, kinds[i].kind, len) != 0)
			continue;
		snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/%s/%s", r->ns,
			 kinds[i].plural, r->name);
		err = cluster_find(r->c, &object, e, path);
		if (err)
			return err;
		there += object != NULL;
		if (!is_marked(object) || marked++) {
			json_decref(object);
			continue;
		}
		memcpy(r->path, path, sizeof(path));
		r->kind = i;
		r->object = object;
	}
	if (marked > 1)
		return error_set(e, -EINVAL,
				 "several workloads in %s are called %s: write deployment/%s, "
				 "statefulset/%s or replicaset/%s",
				 r->ns, r->name, r->name, r->name, r->name);
	if (!there)
		return error_set(
			e, -ENOENT,
			"there is no Deployment, StatefulSet or ReplicaSet %s in the namespace "
			"%s; name another namespace with -n",
			r->name, r->ns);
	return marked ? 0 : error_set(e, -ENOENT, "%s in %s carries no agent", r->name, r->ns);
}

/* Its intercepts would stop to work. */
static int check_intercepts(struct removal *r, struct error *e)
{
	char path[256];
	json_t *list, *item;
	size_t i;
	int err;

	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/namespaces/%s/intercepts", r->ns);
	err = cluster_find(r->c, &list, e, path);
	json_array_foreach(json_object_get(list, "items"), i, item)
	{
		if (!err && !strcmp(object_text(item, "spec", "workload"), r->name) &&
		    !strcasecmp(object_text(item, "spec", "workloadKind"), kinds[r->kind].kind))
			err = error_set(
				e, -EBUSY,
				"%s intercepts %s: end that first (culvert leave %s), or use "
				"--yes",
				object_text(item, "spec", "user"), r->name,
				object_text(item, "spec", "name"));
	}
	json_decref(list);
	return err;
}

static int unmark(struct removal *r, struct error *e)
{
	json_t *patch = json_pack("{s:{s:{s:{s:{s:n}}}}}", "spec", "template", "metadata",
				  "annotations", MARK_ANNOTATION);
	int err;

	json_decref(r->object);
	r->object = NULL;
	err = cluster_merge(r->c, &r->object, e, r->path, patch);
	json_decref(patch);
	return err;
}

/* --- the pods of a bare ReplicaSet --------------------------------------------------------------------------- */

static bool carries(const json_t *pod)
{
	return object_get(pod, "metadata", "annotations", MARK_ANNOTATION) != NULL;
}

static bool is_owned_by(const json_t *pod, const json_t *set)
{
	const json_t *owner = json_array_get(object_get(pod, "metadata", "ownerReferences"), 0);

	return !strcmp(get_text(owner, "uid"), object_text(set, "metadata", "uid"));
}

/* Evicts one that is not ending yet. A disruption budget may refuse for a while: then the next round tries again. */
static int evict(struct removal *r, const json_t *pod, struct error *e)
{
	const char *name = object_text(pod, "metadata", "name");
	json_t *body;
	char path[400], text[400];
	int err;

	if (object_get(pod, "metadata", "deletionTimestamp"))
		return 0;
	body = json_pack("{s:s,s:s,s:{s:s,s:s}}", "apiVersion", "policy/v1", "kind", "Eviction",
			 "metadata", "name", name, "namespace", r->ns);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s/eviction", r->ns, name);
	snprintf(text, sizeof(text), "Evicting pod %s", name);
	progress_say(r->p, text);
	err = cluster_post(r->c, NULL, e, path, body);
	json_decref(body);
	return err == KUBE_NOT_FOUND || err == KUBE_SERVER ? 0 : err; /* 429: a budget */
}

/* 1 = none of its pods carries the agent any more; one at a time, each when the others are ready. */
static int round_of_evictions(struct removal *r, struct error *e)
{
	const json_t *now = r->object;
	json_int_t want = json_integer_value(object_get(now, "spec", "replicas"));
	bool all_ready = json_integer_value(object_get(now, "status", "readyReplicas")) >= want;
	char path[256];
	json_t *list, *pod;
	unsigned left = 0;
	size_t i;
	int err;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", r->ns);
	err = cluster_get(r->c, &list, e, path, NULL);
	json_array_foreach(json_object_get(list, "items"), i, pod)
	{
		if (err || !is_owned_by(pod, now) || !carries(pod))
			continue;
		if (!left++ && all_ready)
			err = evict(r, pod, e);
	}
	json_decref(list);
	return err ? err : !left && all_ready;
}

/* --- waiting -------------------------------------------------------------------------------------------------- */

static bool waits_for_others(const json_t *w, struct error *why)
{
	if (json_is_true(object_get(w, "spec", "paused")))
		error_set(why, 0,
			  "its rollout is paused: the agent goes with kubectl rollout resume");
	else if (!strcmp(object_text(w, "spec", "updateStrategy", "type"), "OnDelete"))
		error_set(why, 0,
			  "its strategy is OnDelete: the agent goes from each pod that is deleted");
	else
		return false;
	return true;
}

/* Looks again. 1 = done. */
static int look_again(struct removal *r, struct error *e)
{
	int err;

	json_decref(r->object);
	r->object = NULL;
	err = cluster_get(r->c, &r->object, e, r->path, NULL);
	if (err)
		return -abs(err);
	if (!strcmp(kinds[r->kind].kind, "replicaset")) {
		err = round_of_evictions(r, e);
		return err == 1 ? 1 : -abs(err);
	}
	return rollout_done(r->object);
}

static int wait_rollout(struct removal *r, struct error *e)
{
	nsec_t begin = clock_boot(), told = begin, now;
	struct error why = {""};
	char text[600];
	int done;

	while ((done = look_again(r, e)) == 0) {
		now = clock_boot();
		if (now - told > QUIET_S * NSEC_PER_SEC) {
			told = now;
			rollout_reason(r->c, r->ns, r->name,
				       object_get(r->object, "spec", "selector"), &why);
			snprintf(text, sizeof(text), "Waiting for the rollout of %.100s%s%.450s",
				 r->name, *why.text ? ": " : "", why.text);
			progress_say(r->p, text);
		}
		if (now - begin > ROLLOUT_S * NSEC_PER_SEC)
			return error_set(e, -ETIMEDOUT,
					 "%s has no mark any more, but its pods are not ready "
					 "after %d s%s%s",
					 r->name, ROLLOUT_S, *why.text ? ": " : "", why.text);
		done = cluster_sleep(r->c, POLL_MS, e);
		if (done)
			return done;
	}
	return done == 1 ? 0 : done;
}

int agents_remove(struct cluster *c, const char *workload, const char *ns, bool yes)
{
	struct removal r = {.c = c, .ns = ns};
	struct error e = {""}, note = {""};
	char text[400];
	int err;

	if (!ns)
		r.ns = kube_config_namespace(kube_client_config(c->client));
	r.p = progress_start("Looking at the workload");
	err = find(&r, workload, &e);
	if (!err && !yes)
		err = check_intercepts(&r, &e);
	if (!err) {
		progress_say(r.p, "Taking the mark away");
		err = unmark(&r, &e);
	}
	if (!err && !waits_for_others(r.object, &note))
		err = wait_rollout(&r, &e);
	json_decref(r.object);
	if (err) {
		progress_end(r.p, NULL);
		return cluster_fail(c, &e);
	}
	snprintf(text, sizeof(text), "The pods of %s in %s start without the agent", r.name, r.ns);
	progress_end(r.p, text);
	if (*note.text)
		fprintf(stderr, "culvert: %s\n", note.text);
	return EXIT_OK;
}
