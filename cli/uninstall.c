/* SPDX-License-Identifier: Apache-2.0 */
/* culvert uninstall: takes away what install made, or the agent of one workload (agents.c). */
#include <errno.h>

#include "cli/agents.h"
#include "deploy/deploy.h"

enum { GONE_S = 120, POLL_MS = 200 };

#define CULVERT_API	"/apis/culvert.dev/v1alpha1"
#define WEBHOOK		"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/culvert"
#define MANAGER_BINDING "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/culvert-manager"

struct uninstall {
	const struct args *a;
	struct cluster c;
	struct deploy_values v;
	struct progress *p;
	json_t *objects;  /* whatever an installation may have */
	json_t *carriers; /* workloads that carry the mark */
	unsigned gone;
	bool keep_ns; /* not made by us */
};

static int look_at_namespace(struct uninstall *u, struct error *e)
{
	char path[128];
	json_t *ns;
	int err;

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", u->v.ns);
	err = cluster_find(&u->c, &ns, e, path);
	u->keep_ns = strcmp(object_text(ns, "metadata", "labels", "app.kubernetes.io/managed-by"),
			    "culvert") != 0;
	json_decref(ns);
	return err;
}

/* Which installation it is: named, or found by the binding of its manager. */
static int look(struct uninstall *u, struct error *e)
{
	const char *ns = args_text(u->a, "namespace"), *found;
	json_t *binding;
	int err = cluster_find(&u->c, &binding, e, MANAGER_BINDING);

	if (err)
		return err;
	found = object_text(json_array_get(json_object_get(binding, "subjects"), 0), "namespace");
	snprintf(u->v.ns, sizeof(u->v.ns), "%s", ns ? ns : *found ? found : "culvert");
	if (!strcmp(object_text(binding, "metadata", "labels", "app.kubernetes.io/managed-by"),
		    "Helm"))
		err = error_set(e, -EINVAL,
				"culvert was installed by Helm: remove it with helm uninstall");
	else if (ns && *found && strcmp(ns, found) != 0)
		err = error_set(e, -EINVAL,
				"culvert is installed in the namespace %s: use -n %s, or no -n",
				found, found);
	json_decref(binding);
	/* With all that may be there: the bindings of groups, the UDP service, the gateway. */
	snprintf(u->v.preview_host, sizeof(u->v.preview_host), "any");
	u->v.ngroups = 1;
	snprintf(u->v.group[0], sizeof(u->v.group[0]), "any");
	if (!err)
		err = deploy_render(&u->v, &u->objects, e);
	return err ? err : look_at_namespace(u, e);
}

static int remove_path(struct uninstall *u, const char *path, struct error *e)
{
	bool was;
	int err = cluster_delete(&u->c, e, path, &was);

	u->gone += was;
	return err;
}

/* All Intercepts, then all Sessions: laptops and agents hear of it from the manager while it is there. */
static int remove_records(struct uninstall *u, struct error *e)
{
	json_t *list, *item;
	char path[512];
	size_t i;
	int err = cluster_find(&u->c, &list, e, CULVERT_API "/intercepts");

	json_array_foreach(json_object_get(list, "items"), i, item)
	{
		if (err)
			break;
		snprintf(path, sizeof(path), CULVERT_API "/namespaces/%s/intercepts/%s",
			 object_text(item, "metadata", "namespace"),
			 object_text(item, "metadata", "name"));
		err = cluster_delete(&u->c, e, path, NULL);
	}
	json_decref(list);
	return err ? err : cluster_delete(&u->c, e, CULVERT_API "/sessions", NULL);
}

static int remove_objects(struct uninstall *u, struct error *e)
{
	size_t i = json_array_size(u->objects);
	char path[320];
	int err = 0;

	/* Backwards; the namespace, which is first, goes with all that is in it. */
	while (i-- && !err) {
		const json_t *o = json_array_get(u->objects, i);

		if (!strcmp(get_text(o, "kind"), "Namespace") && u->keep_ns)
			continue;
		err = deploy_path(o, path, sizeof(path));
		if (!err)
			err = remove_path(u, path, e);
	}
	return err;
}

/* Kubernetes ends namespaces and CRDs in its own time. */
static int wait_gone(struct uninstall *u, struct error *e)
{
	nsec_t end = clock_boot() + GONE_S * NSEC_PER_SEC;
	size_t i;

	for (i = 0; i < json_array_size(u->objects); i++) {
		const json_t *o = json_array_get(u->objects, i);
		const char *kind = get_text(o, "kind");
		char path[320], text[400];
		json_t *now = NULL;
		bool said;
		int err;

		if (deploy_path(o, path, sizeof(path)) ||
		    (!strcmp(kind, "Namespace") && u->keep_ns))
			continue;
		snprintf(text, sizeof(text), "Waiting for the end of %s %s", kind,
			 object_text(o, "metadata", "name"));
		said = false;
		while (!(err = cluster_find(&u->c, &now, e, path)) && now) {
			if (!said)
				progress_say(u->p, text);
			said = true;
			json_decref(now);
			if (clock_boot() > end)
				return error_set(
					e, -ETIMEDOUT,
					"%s %s was deleted, but is still there after %d s; see: "
					"kubectl get --raw %s",
					kind, object_text(o, "metadata", "name"), GONE_S, path);
			err = cluster_sleep(&u->c, POLL_MS, e);
			if (err)
				return err;
		}
		if (err)
			return err;
	}
	return 0;
}

static int remove_all(struct uninstall *u, struct error *e)
{
	int err;

	progress_say(u->p, "Removing the webhook");
	err = remove_path(u, WEBHOOK, e);
	if (!err) {
		progress_say(u->p, "Ending intercepts and sessions");
		err = remove_records(u, e);
	}
	if (!err) {
		progress_say(u->p, "Removing the objects");
		err = remove_objects(u, e);
	}
	return err ? err : wait_gone(u, e);
}

static void say_carriers(const struct uninstall *u)
{
	json_t *w;
	size_t i;

	if (!json_array_size(u->carriers))
		return;
	puts("These workloads still carry the agent, which passes everything on to the "
	     "application; a rolling restart takes it away:");
	json_array_foreach(u->carriers, i, w)
	{
		printf("  culvert uninstall --agents %s/%s -n %s\n", get_text(w, "kind"),
		       get_text(w, "name"), get_text(w, "namespace"));
	}
}

static int uninstall(struct uninstall *u)
{
	char question[400], text[400];
	struct error e = {""};
	int err;

	u->p = progress_start("Looking at the cluster");
	err = look(u, &e);
	if (!err)
		err = agents_list(&u->c, &u->carriers, &e);
	if (!err && !args_bool(u->a, "yes") && isatty(0)) {
		progress_end(steal_ptr(u->p), NULL);
		snprintf(question, sizeof(question),
			 "Remove culvert, with all sessions and intercepts, from %.200s?",
			 cluster_name(&u->c));
		if (!cluster_confirm(&u->c, question))
			return EXIT_FAILED;
		u->p = progress_start("Removing culvert");
	}
	if (!err)
		err = remove_all(u, &e);
	if (err) {
		progress_end(u->p, NULL);
		return cluster_fail(&u->c, &e);
	}
	if (u->gone)
		snprintf(text, sizeof(text), "Removed culvert from %.200s", cluster_name(&u->c));
	else
		snprintf(text, sizeof(text), "There is no culvert in %.200s", cluster_name(&u->c));
	progress_end(u->p, text);
	say_carriers(u);
	return EXIT_OK;
}

static int exec_uninstall(const struct args *a)
{
	struct uninstall u = {.a = a};
	const char *workload = args_text(a, "agents");
	struct error e;
	int code;

	if (cluster_open(&u.c, a, &e))
		return cli_fail(&e);
	code = workload ? agents_remove(&u.c, workload, args_text(a, "namespace"),
					args_bool(a, "yes"))
			: uninstall(&u);
	json_decref(u.objects);
	json_decref(u.carriers);
	deploy_values_clear(&u.v);
	cluster_close(&u.c);
	return code;
}

static const struct flag flags[] = {
	{"agents", 0, FLAG_TEXT, false, "[KIND/]NAME",
	 "take the agent away from this workload only, by a rolling restart", NULL},
	{"namespace", 'n', FLAG_TEXT, false, "NAME",
	 "the manager's (default: found); with --agents the workload's (default: the context's)",
	 NULL},
	{"yes", 'y', FLAG_BOOL, false, NULL, "do not ask", NULL},
	FLAGS_KUBE,
	{0},
};

const struct command cmd_uninstall = {
	.name = "uninstall",
	.args = "",
	.summary = "Remove culvert from the cluster, or the agent from a workload",
	.about = "Removes what install made, the webhook first. Workloads keep their agents, which "
		 "then only pass on, until they\n"
		 "are named with --agents: that restarts their pods, one after the other.",
	.flags = flags,
	.example = "culvert uninstall --agents cart -n shop",
	.exec = exec_uninstall,
};
