/* SPDX-License-Identifier: Apache-2.0 */
/* AdmissionReview in, AdmissionReview out (admission.k8s.io/v1). A pod is never refused. */
#include <errno.h>
#include <stdio.h>

#include "base/base64.h"
#include "inject/internal.h"

enum { UID_MAX = 128 };

/* --- one pod --------------------------------------------------------------------------------------------- */

static bool has(const json_t *spec, const char *list, const char *name)
{
	const json_t *items = json_object_get(spec, list);

	for (size_t i = 0; i < json_array_size(items); i++) {
		if (!strcmp(object_text(json_array_get(items, i), "name", NULL), name))
			return true;
	}
	return false;
}

static bool has_container(const json_t *spec, const char *name)
{
	return has(spec, "initContainers", name) || has(spec, "containers", name);
}

/* A second one of a name, and the API server would refuse the pod. "" = ours are free. */
static const char *taken(const struct plan *p)
{
	if (has(p->spec, "volumes", TOKEN_VOLUME))
		return "volume named " TOKEN_VOLUME;
	if (mark_needs_redirect(&p->mark) && has_container(p->spec, REDIRECT_CONTAINER))
		return "container named " REDIRECT_CONTAINER;
	return "";
}

static bool on_windows(const json_t *spec)
{
	return !strcmp(object_text(spec, "os", "name", NULL), "windows") ||
	       !strcmp(object_text(spec, "nodeSelector", "kubernetes.io/os", NULL), "windows");
}

/* Why nothing is to be done, which is no fault: "" = there is something. */
static const char *left_alone(const struct plan *p, const struct inject_namespace *ns)
{
	if (!strcmp(object_text(p->pod, "metadata", "labels", OPT_OUT_LABEL, NULL), "disabled") ||
	    ns->opted_out)
		return "opted out with the label " OPT_OUT_LABEL "=disabled";
	if (has_container(p->spec, AGENT_CONTAINER))
		return "has an agent already";
	return "";
}

/* What keeps the agent out of this pod; the sentence goes to whoever made the pod. */
static bool refused(struct plan *p, const struct inject_namespace *ns)
{
	const char *security = ns->pod_security;
	const json_t *first = json_array_get(json_object_get(p->spec, "containers"), 0);

	if (!json_is_object(first))
		plan_warn(p, "culvert: the pod has no container; no agent was added.");
	else if (json_is_true(json_object_get(p->spec, "hostNetwork")))
		plan_warn(p,
			  "culvert: the pod uses the node's network (hostNetwork), where an agent "
			  "would stand before the whole node's ports; no agent was added.");
	else if (on_windows(p->spec))
		plan_warn(p, "culvert: the pod runs on Windows; no agent was added.");
	else if (*taken(p))
		plan_warn(p,
			  "culvert: the pod has a %s, which is culvert's own name; no agent was "
			  "added. Give it another.",
			  taken(p));
	else if (!plan_survey(p))
		plan_warn(p,
			  "culvert: the pod has more than %d containers or %d ports; no agent was "
			  "added.",
			  POD_CONTAINERS, POD_PORTS);
	else if (mark_needs_redirect(&p->mark) &&
		 (!strcmp(security, "baseline") || !strcmp(security, "restricted")))
		plan_warn(p,
			  "culvert: a service leads to a port of this pod by its number, and Pod "
			  "Security %s does not allow the redirect that needs; no agent was added. "
			  "Name "
			  "the port in the container and in the service's targetPort.",
			  security);
	else
		return false;
	return true;
}

static int plan_begin(struct plan *p, const struct inject_config *cfg, const json_t *pod)
{
	p->cfg = cfg;
	p->pod = pod;
	p->spec = object_get(pod, "spec", NULL);
	p->names = json_object();
	p->redirects = json_array();
	p->patch = json_array();
	p->warnings = json_array();
	return p->names && p->redirects && p->patch && p->warnings ? 0 : -ENOMEM;
}

static void plan_free(struct plan **pp)
{
	struct plan *p = *pp;

	if (!p)
		return;
	json_decref(p->names);
	json_decref(p->redirects);
	json_decref(p->patch);
	json_decref(p->warnings);
	free(p);
}

/* The patch is empty when `done` (no fault) or a warning says why. */
static void plan_fill(struct plan *p, const char *ns, struct error *done)
{
	struct inject_namespace of = {.opted_out = false};
	struct error e;
	const char *why;
	int r = mark_of(&p->mark, p->pod, &e);

	done->text[0] = '\0';
	if (p->cfg->look)
		p->cfg->look(p->cfg->arg, ns, &of);
	why = left_alone(p, &of);
	if (r == 0)
		why = "has no mark";
	if (*why) {
		error_set(done, 0, "%s", why);
		return;
	}
	if (r < 0) {
		plan_warn(p, "culvert: %.400s; no agent was added.", e.text);
		return;
	}
	if (refused(p, &of))
		return;
	plan_ports(p);
	if (p->nports)
		plan_containers(p);
	else
		plan_warn(p, "culvert: no port of the mark is in this pod; no agent was added.");
}

static void join_warnings(const json_t *warnings, struct error *to)
{
	size_t n = 0;

	to->text[0] = '\0';
	for (size_t i = 0; i < json_array_size(warnings) && n < sizeof(to->text); i++)
		n += (size_t)snprintf(to->text + n, sizeof(to->text) - n, "%s%s", i ? " " : "",
				      json_string_value(json_array_get(warnings, i)));
}

int inject_patch(const struct inject_config *cfg, const json_t *pod, const char *ns, json_t **patch,
		 struct error *why)
{
	cleanup(plan_free) struct plan *p = calloc(1, sizeof(*p));
	struct error done;

	if (!p || plan_begin(p, cfg, pod))
		return error_errno(why, -ENOMEM, "pod");
	plan_fill(p, ns, &done);
	if (why)
		join_warnings(p->warnings, why);
	if (why && *done.text)
		*why = done;
	*patch = steal_ptr(p->patch);
	return 0;
}

/* --- the review --------------------------------------------------------------------------------------------- */

static int set_patch(json_t *response, const json_t *patch)
{
	cleanup(free_ptr) char *text = json_dumps(patch, JSON_COMPACT);
	cleanup(free_ptr) char *coded = text ? base64_encode(text, strlen(text)) : NULL;

	if (!coded)
		return -ENOMEM;
	json_object_set_new(response, "patchType", json_string("JSONPatch"));
	json_object_set_new(response, "patch", json_string(coded));
	return 0;
}

/* A pod that comes into being; everything else passes as it is. */
static bool is_new_pod(const json_t *request)
{
	return !strcmp(object_text(request, "operation", NULL), "CREATE") &&
	       !*object_text(request, "subResource", NULL) &&
	       !strcmp(object_text(request, "kind", "kind", NULL), "Pod") &&
	       json_is_object(json_object_get(request, "object"));
}

static void say(struct error *what, const struct plan *p, const char *ns, const struct error *done)
{
	const char *name = object_text(p->pod, "metadata", "name", NULL);
	struct error warnings;
	char text[64] = "";

	if (!what)
		return;
	if (!*name)
		name = object_text(p->pod, "metadata", "generateName", NULL);
	join_warnings(p->warnings, &warnings);
	if (json_array_size(p->patch))
		snprintf(text, sizeof(text), "agent added for %u port%s%s", p->nports,
			 p->nports == 1 ? "" : "s", *warnings.text ? ". " : "");
	error_set(what, 0, "pod %.63s/%.253s: %s%s%.600s", ns, name, text, done->text,
		  warnings.text);
}

static int answer_pod(const struct inject_config *cfg, const json_t *request, json_t *response,
		      struct error *what)
{
	cleanup(plan_free) struct plan *p = calloc(1, sizeof(*p));
	const char *ns = object_text(request, "namespace", NULL);
	struct error done;
	int r = 0;

	if (!p || plan_begin(p, cfg, json_object_get(request, "object")))
		return -ENOMEM;
	plan_fill(p, ns, &done);
	if (json_array_size(p->patch))
		r = set_patch(response, p->patch);
	if (json_array_size(p->warnings))
		json_object_set(response, "warnings", p->warnings);
	say(what, p, ns, &done);
	return r;
}

static int write_answer(json_t *response, char **answer)
{
	json_t *root = json_pack("{s:s, s:s, s:O}", "apiVersion", "admission.k8s.io/v1", "kind",
				 "AdmissionReview", "response", response);

	*answer = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return *answer ? 0 : -ENOMEM;
}

static int answer_review(const struct inject_config *cfg, const json_t *review, char **answer,
			 struct error *what)
{
	const json_t *request = json_object_get(review, "request");
	const char *uid = object_text(request, "uid", NULL);
	json_t *response;
	int r = 0;

	if (strcmp(object_text(review, "apiVersion", NULL), "admission.k8s.io/v1") != 0 ||
	    strcmp(object_text(review, "kind", NULL), "AdmissionReview") != 0 || !*uid ||
	    strlen(uid) > UID_MAX)
		return error_set(what, -EINVAL, "not an AdmissionReview of admission.k8s.io/v1");
	response = json_pack("{s:s, s:b}", "uid", uid, "allowed", 1);
	if (!response)
		return error_errno(what, -ENOMEM, "AdmissionReview");
	if (is_new_pod(request))
		r = answer_pod(cfg, request, response, what);
	else if (what)
		error_set(what, 0, "%.40s of a %.40s: nothing to do",
			  object_text(request, "operation", NULL),
			  object_text(request, "kind", "kind", NULL));
	if (r == 0)
		r = write_answer(response, answer);
	json_decref(response);
	return r ? error_errno(what, r, "AdmissionReview") : 0;
}

int inject_review(const struct inject_config *cfg, const char *body, size_t len, char **answer,
		  struct error *what)
{
	json_t *review = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
	int r;

	if (!review)
		return error_set(what, -EINVAL, "not JSON, and so no AdmissionReview");
	r = answer_review(cfg, review, answer, what);
	json_decref(review);
	return r;
}
