/* SPDX-License-Identifier: Apache-2.0 */
/* How far a rollout is, and what keeps it from ending. */
#include "cli/kube.h"

static bool is_kind(const json_t *w, const char *kind)
{
	return !strcmp(get_text(w, "kind"), kind);
}

bool rollout_done(const json_t *w)
{
	const json_t *want = object_get(w, "spec", "replicas");
	json_int_t replicas = want ? json_integer_value(want) : 1;

	if (json_integer_value(object_get(w, "status", "observedGeneration")) <
		    json_integer_value(object_get(w, "metadata", "generation")) ||
	    json_integer_value(object_get(w, "status", "replicas")) != replicas ||
	    json_integer_value(object_get(w, "status", "updatedReplicas")) != replicas)
		return false;
	if (is_kind(w, "StatefulSet"))
		return json_integer_value(object_get(w, "status", "readyReplicas")) == replicas &&
		       !strcmp(object_text(w, "status", "currentRevision"),
			       object_text(w, "status", "updateRevision"));
	return json_integer_value(object_get(w, "status", "availableReplicas")) == replicas;
}

/* One line of at most a sentence's length. */
static void say(struct error *why, const char *what, const char *reason, const char *message)
{
	char *at;

	error_set(why, 0, "%.200s: %.100s%s%.600s", what, reason, *message ? ": " : "", message);
	for (at = why->text; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
}

/* A container that does not run: 1 = it waits, 2 = waiting longer is in vain. */
static int judge_container(const json_t *status, const char *pod, struct error *why)
{
	static const char *const vain[] = {"ImagePullBackOff", "InvalidImageName",
					   "ErrImageNeverPull", "CrashLoopBackOff"};
	const char *reason = object_text(status, "state", "waiting", "reason");
	const char *message = object_text(status, "state", "waiting", "message");
	const char *last = object_text(status, "lastState", "terminated", "message");

	if (!*reason || !strcmp(reason, "ContainerCreating") ||
	    !strcmp(reason, "PodInitializing")) {
		if (!object_get(status, "state", "terminated") ||
		    !json_integer_value(object_get(status, "state", "terminated", "exitCode")))
			return 0;
		reason = "it ended";
		message = object_text(status, "state", "terminated", "message");
	}
	if (!strcmp(reason, "CrashLoopBackOff") && *last)
		message = last;
	say(why, pod, reason, message);
	for (size_t i = 0; i < ARRAY_SIZE(vain); i++)
		if (!strcmp(reason, vain[i]))
			return 2;
	return 1;
}

static int judge_pod(const json_t *pod, struct error *why)
{
	static const char *const lists[] = {"initContainerStatuses", "containerStatuses"};
	const char *name = object_text(pod, "metadata", "name");
	json_t *item;
	size_t i, k;
	int found;

	for (k = 0; k < ARRAY_SIZE(lists); k++) {
		json_array_foreach(object_get(pod, "status", lists[k]), i, item)
		{
			found = judge_container(item, name, why);
			if (found)
				return found;
		}
	}
	json_array_foreach(object_get(pod, "status", "conditions"), i, item)
	{
		if (!strcmp(get_text(item, "type"), "PodScheduled") &&
		    !strcmp(get_text(item, "status"), "False")) {
			say(why, name, "not scheduled", get_text(item, "message"));
			return 1;
		}
	}
	return 0;
}

static const char *event_time(const json_t *event)
{
	const char *when = get_text(event, "lastTimestamp");

	return *when ? when : get_text(event, "eventTime");
}

/* Later, or as late and a warning. */
static bool is_newer(const json_t *event, const json_t *best)
{
	int order = best ? strcmp(event_time(event), event_time(best)) : 1;

	return order > 0 || (order == 0 && !strcmp(get_text(event, "type"), "Warning"));
}

/* The latest event about the workload or what it made: quota, Pod Security, volumes, an image that is being pulled. */
static void latest_event(struct cluster *c, const char *ns, const char *name, struct error *why)
{
	const json_t *best = NULL;
	json_t *list, *event;
	char path[256];
	size_t i;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events", ns);
	if (cluster_get(c, &list, NULL, path, NULL))
		return;
	json_array_foreach(json_object_get(list, "items"), i, event)
	{
		const char *about = object_text(event, "involvedObject", "name");

		if (!strncmp(about, name, strlen(name)) && is_newer(event, best))
			best = event;
	}
	if (best)
		say(why, object_text(best, "involvedObject", "name"), get_text(best, "reason"),
		    get_text(best, "message"));
	json_decref(list);
}

/* "a=b,c=d" of matchLabels, as a query. */
static void selector_query(const json_t *selector, char *query, size_t size)
{
	char text[512] = "";
	const char *key;
	json_t *v;
	size_t len = 0;

	json_object_foreach((json_t *)(uintptr_t)object_get(selector, "matchLabels"), key, v)
	{
		if (len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%s",
						len ? "," : "", key, json_string_value(v));
	}
	*query = '\0';
	if (kube_query(query, size, "labelSelector", text))
		*query = '\0';
}

bool rollout_reason(struct cluster *c, const char *ns, const char *name, const json_t *selector,
		    struct error *why)
{
	char path[256], query[1024];
	const char *newest = "";
	json_t *list, *pod;
	int found = 0;
	size_t i;

	why->text[0] = '\0';
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", ns);
	selector_query(selector, query, sizeof(query));
	if (cluster_get(c, &list, NULL, path, query))
		return false;
	json_array_foreach(json_object_get(list, "items"), i, pod)
	{
		const char *made = object_text(pod, "metadata", "creationTimestamp");

		if (object_get(pod, "metadata", "deletionTimestamp") || strcmp(made, newest) < 0)
			continue;
		newest = made;
		found = judge_pod(pod, why);
	}
	json_decref(list);
	if (!found)
		latest_event(c, ns, name, why);
	return found == 2;
}
