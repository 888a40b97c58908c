/* SPDX-License-Identifier: Apache-2.0 */
/* Why a workload cannot be intercepted, and why its pods would not follow its template. One sentence each, with the remedy. */
#include <errno.h>
#include <stdio.h>

#include "objects/internal.h"

static bool opted_out(const json_t *labels)
{
	return !strcmp(object_text(labels, OPT_OUT_LABEL, NULL), "disabled");
}

static int namespace_obstacle(const struct workload *w, const json_t *ns_object,
			      const char *manager_ns, struct error *why)
{
	const char *kind = workload_kind_title(w->kind);

	if (!strcmp(w->ns, "kube-system"))
		return error_set(why, 1,
				 "%s %s cannot be intercepted: what runs in kube-system serves the "
				 "whole cluster and is never touched.",
				 kind, w->name);
	if (manager_ns && !strcmp(w->ns, manager_ns))
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: namespace %s is that of culvert's own "
			"manager; run the application in another.",
			kind, w->name, w->ns);
	if (object_get(ns_object, "metadata", "deletionTimestamp", NULL) ||
	    !strcmp(object_text(ns_object, "status", "phase", NULL), "Terminating"))
		return error_set(why, 1,
				 "%s %s cannot be intercepted: its namespace %s is being deleted.",
				 kind, w->name, w->ns);
	if (opted_out(object_get(ns_object, "metadata", "labels", NULL)))
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: namespace %s has the label " OPT_OUT_LABEL
			"=disabled; take it away with: kubectl label namespace "
			"%s " OPT_OUT_LABEL "-",
			kind, w->name, w->ns, w->ns);
	return 0;
}

static int template_obstacle(const struct workload *w, const json_t *object, struct error *why)
{
	const json_t *template = object_get(object, "spec", "template", NULL);
	const json_t *replicas = object_get(object, "spec", "replicas", NULL);
	const char *kind = workload_kind_title(w->kind), *name = workload_kind_name(w->kind);

	if (object_get(object, "metadata", "deletionTimestamp", NULL))
		return error_set(why, 1, "%s %s cannot be intercepted: it is being deleted.", kind,
				 w->name);
	if (w->kind == KIND_REPLICASET && workload_controller(object))
		return error_set(why, 1,
				 "ReplicaSet %s belongs to Deployment %s: intercept that one.",
				 w->name, workload_controller(object));
	if (opted_out(object_get(template, "metadata", "labels", NULL)))
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: its pods have the label " OPT_OUT_LABEL
			"=disabled; take it out of the pod template.",
			kind, w->name);
	if (json_is_true(object_get(template, "spec", "hostNetwork", NULL)))
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: its pods use the node's network "
			"(hostNetwork), where an agent would stand before the whole node's "
			"ports; run it without hostNetwork.",
			kind, w->name);
	if (json_is_integer(replicas) && json_integer_value(replicas) == 0)
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: it is scaled to zero; start a pod with: "
			"kubectl scale %s/%s -n %s --replicas=1",
			kind, w->name, name, w->name, w->ns);
	return 0;
}

static int service_obstacle(const struct workload *w, struct error *why)
{
	const char *kind = workload_kind_title(w->kind);

	if (w->nservices == 0)
		return error_set(
			why, 1,
			"%s %s cannot be intercepted: no service in namespace %s selects its "
			"pods; make one with: kubectl expose %s/%s -n %s --port PORT",
			kind, w->name, w->ns, workload_kind_name(w->kind), w->name, w->ns);
	for (unsigned i = 0; i < w->nservices; i++) {
		if (w->service[i].nports)
			return 0;
	}
	return error_set(
		why, 1,
		"%s %s cannot be intercepted: service %s has no TCP or UDP port that leads to "
		"a container; a targetPort must be a number, or the name of a port that a "
		"container declares.",
		kind, w->name, w->service[0].name);
}

void workload_obstacle(const struct workload *w, const json_t *object, const json_t *ns_object,
		       const char *manager_ns, struct error *why)
{
	why->text[0] = '\0';
	if (namespace_obstacle(w, ns_object, manager_ns, why) == 0 &&
	    template_obstacle(w, object, why) == 0)
		service_obstacle(w, why);
}

static void statefulset_note(const struct workload *w, const json_t *object, struct error *note)
{
	const json_t *strategy = object_get(object, "spec", "updateStrategy", NULL);
	const json_t *v = object_get(strategy, "rollingUpdate", "partition", NULL);
	const json_t *replicas = object_get(object, "spec", "replicas", NULL);
	json_int_t partition = json_is_integer(v) ? json_integer_value(v) : 0;
	json_int_t first =
		json_integer_value(object_get(object, "spec", "ordinals", "start", NULL));
	json_int_t end = first + (json_is_integer(replicas) ? json_integer_value(replicas) : 1);

	if (!strcmp(object_text(strategy, "type", NULL), "OnDelete"))
		error_set(
			note, 0,
			"StatefulSet %s replaces a pod only when it is deleted (updateStrategy "
			"OnDelete): delete its pods one by one, the agent comes with the new ones.",
			w->name);
	else if (partition > first && partition >= end)
		error_set(note, 0,
			  "StatefulSet %s holds back all its pods (partition %" JSON_INTEGER_FORMAT
			  "): set updateStrategy.rollingUpdate.partition to 0, or delete its pods "
			  "one "
			  "by one.",
			  w->name, partition);
	else if (partition > first)
		error_set(note, 0,
			  "StatefulSet %s replaces only pods from %s-%" JSON_INTEGER_FORMAT
			  " on (partition %" JSON_INTEGER_FORMAT
			  "): the others get no agent until updateStrategy.rollingUpdate.partition "
			  "is 0.",
			  w->name, w->name, partition, partition);
}

void workload_rollout_note(const struct workload *w, const json_t *object, struct error *note)
{
	note->text[0] = '\0';
	if (w->kind == KIND_DEPLOYMENT && json_is_true(object_get(object, "spec", "paused", NULL)))
		error_set(note, 0,
			  "Deployment %s is paused, its pods stay as they are: kubectl rollout "
			  "resume "
			  "deployment/%s -n %s",
			  w->name, w->name, w->ns);
	else if (w->kind == KIND_REPLICASET)
		error_set(note, 0,
			  "ReplicaSet %s does not replace its pods by itself: they have to be "
			  "evicted "
			  "one by one.",
			  w->name);
	else if (w->kind == KIND_STATEFULSET)
		statefulset_note(w, object, note);
}
