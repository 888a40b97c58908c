/* SPDX-License-Identifier: Apache-2.0 */
/* The mark on a pod template: which of the pod's ports come to the agent, and how (docs/kubernetes.md). */
#include <errno.h>
#include <stdio.h>

#include "objects/internal.h"

static const char *const how_names[] = {
	[MARK_RENAME] = "rename",
	[MARK_REDIRECT] = "redirect",
};

/* --- from the services -------------------------------------------------------------------------------- */

/* One way by which some service reaches the pod. "" sorts first: by number. */
struct use {
	uint16_t target;
	bool udp;
	char name[PORT_NAME_MAX + 1];
};

static int compare_uses(const void *a, const void *b)
{
	const struct use *x = a, *y = b;

	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	if (x->udp != y->udp)
		return x->udp ? 1 : -1;
	return strcmp(x->name, y->name);
}

static unsigned collect(struct use *uses, const struct selected *s, const json_t *pod_spec)
{
	struct arrival a;
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const json_t *ports = object_get(s->service[i], "spec", "ports", NULL);
		bool headless = service_headless(s->service[i]);
		unsigned of_it = 0;

		for (size_t k = 0; k < json_array_size(ports) && of_it < WORKLOAD_PORTS; k++) {
			struct use *u = &uses[n];

			if (!service_arrival(&a, json_array_get(ports, k), pod_spec))
				continue;
			of_it++;
			/* A client of a headless service has the pod's address: it uses the number. */
			*u = (struct use){.target = a.port.target, .udp = a.port.udp};
			if (a.by_name && !headless)
				copy_text(u->name, sizeof(u->name), a.by_name);
			n++;
		}
	}
	qsort(uses, n, sizeof(*uses), compare_uses);
	return n;
}

static bool same_port(const struct use *u, const struct mark_port *p)
{
	return p->target == u->target && p->udp == u->udp;
}

static void add_use(struct mark *m, const struct use *u)
{
	struct mark_port *last = m->nports ? &m->port[m->nports - 1] : NULL;

	/* Redirected already, which the named ones follow; or the same name again. */
	if (last && same_port(u, last) &&
	    (last->how == MARK_REDIRECT || !strcmp(last->name, u->name)))
		return;
	if (m->nports == MARK_PORTS)
		return;
	m->port[m->nports] = (struct mark_port){
		.target = u->target, .udp = u->udp, .how = *u->name ? MARK_RENAME : MARK_REDIRECT};
	copy_text(m->port[m->nports].name, sizeof(m->port[0].name), u->name);
	m->nports++;
}

int mark_from_workload(struct mark *m, const struct workload *w, const json_t *object,
		       const json_t *services, struct error *e)
{
	cleanup(free_ptr) struct use *uses =
		calloc((size_t)WORKLOAD_SERVICES * WORKLOAD_PORTS, sizeof(*uses));
	struct selected selected;
	unsigned n;

	if (!uses)
		return error_errno(e, -ENOMEM, "%s", w->name);
	*m = (struct mark){.kind = w->kind};
	copy_text(m->workload, sizeof(m->workload), w->name);
	select_services(&selected, w, object, services);
	n = collect(uses, &selected, object_get(object, "spec", "template", "spec", NULL));
	for (unsigned i = 0; i < n; i++)
		add_use(m, &uses[i]);
	if (m->nports == 0)
		return error_set(e, -EINVAL,
				 "%s %s cannot be intercepted: no service leads to a port of its "
				 "pods.",
				 workload_kind_title(w->kind), w->name);
	return 0;
}

bool mark_needs_redirect(const struct mark *m)
{
	for (unsigned i = 0; i < m->nports; i++) {
		if (m->port[i].how == MARK_REDIRECT)
			return true;
	}
	return false;
}

/* --- as text ------------------------------------------------------------------------------------------- */

char *mark_format(const struct mark *m)
{
	json_t *ports = json_array(), *root;
	char *text = NULL;

	for (unsigned i = 0; i < m->nports; i++) {
		const struct mark_port *p = &m->port[i];
		json_t *j = json_object();

		if (p->how == MARK_RENAME)
			json_object_set_new(j, "name", json_string(p->name));
		json_object_set_new(j, "target", json_integer(p->target));
		json_object_set_new(j, "how", json_string(how_names[p->how]));
		if (p->udp)
			json_object_set_new(j, "protocol", json_string("udp"));
		json_array_append_new(ports, j);
	}
	root = json_pack("{s:s, s:s, s:o}", "kind", workload_kind_name(m->kind), "name",
			 m->workload, "ports", ports);
	if (root)
		text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

/* Two entries must not contradict each other. */
static bool clash(const struct mark_port *a, const struct mark_port *b)
{
	if (a->udp != b->udp)
		return false;
	if (a->how == MARK_RENAME && b->how == MARK_RENAME)
		return !strcmp(a->name, b->name);
	return a->target == b->target;
}

static int take_mark_port(struct mark *m, const json_t *j, struct error *e)
{
	struct mark_port *p = &m->port[m->nports];
	const char *how = object_text(j, "how", NULL), *protocol = object_text(j, "protocol", NULL);
	int r = take_port(j, "target", &p->target, e);

	if (r)
		return r;
	if (strcmp(how, "rename") != 0 && strcmp(how, "redirect") != 0)
		return error_set(e, -EINVAL, "'how' must be rename or redirect");
	p->how = strcmp(how, "rename") != 0 ? MARK_REDIRECT : MARK_RENAME;
	p->udp = !strcmp(protocol, "udp");
	if (json_object_get(j, "protocol") && !p->udp && strcmp(protocol, "tcp") != 0)
		return error_set(e, -EINVAL, "'protocol' must be tcp or udp");
	if (p->how == MARK_RENAME) {
		r = take_text(j, "name", p->name, sizeof(p->name), false, e);
		if (r == 0 && !port_name_valid(p->name))
			r = error_set(e, -EINVAL, "'name' must be that of a container's port");
	}
	for (unsigned i = 0; r == 0 && i < m->nports; i++) {
		if (clash(&m->port[i], p))
			r = error_set(e, -EINVAL, "port %u is there twice", p->target);
	}
	m->nports += r == 0;
	return r;
}

static int take_mark(struct mark *m, const json_t *root, struct error *e)
{
	const json_t *ports = json_object_get(root, "ports");
	int r = take_name(root, "name", m->workload, sizeof(m->workload), e);

	if (r == 0 && (workload_kind_parse(&m->kind, object_text(root, "kind", NULL)) ||
		       m->kind == KIND_HOST))
		r = error_set(e, -EINVAL, "'kind' must be deployment, replicaset or statefulset");
	if (r == 0 && (json_array_size(ports) < 1 || json_array_size(ports) > MARK_PORTS))
		r = error_set(e, -EINVAL, "'ports' must be a list of 1 to %d", MARK_PORTS);
	for (size_t i = 0; r == 0 && i < json_array_size(ports); i++)
		r = take_mark_port(m, json_array_get(ports, i), e);
	return r;
}

int mark_parse(struct mark *out, const char *text, size_t len, struct error *e)
{
	struct mark m = {.nports = 0};
	json_error_t why;
	json_t *root;
	int r;

	if (len > MARK_TEXT_MAX)
		return error_set(e, -EINVAL,
				 "Annotation " MARK_ANNOTATION " is longer than %d bytes",
				 MARK_TEXT_MAX);
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return error_set(e, -EINVAL, "Annotation " MARK_ANNOTATION " is no JSON: %s",
				 why.text);
	r = take_mark(&m, root, e);
	json_decref(root);
	if (r)
		return error_wrap(e, r, "Annotation " MARK_ANNOTATION);
	*out = m;
	return 0;
}

/* --- on objects ------------------------------------------------------------------------------------------ */

int mark_of(struct mark *m, const json_t *object, struct error *e)
{
	const json_t *template = object_get(object, "spec", "template", NULL);
	const json_t *v = object_get(template ? template : object, "metadata", "annotations",
				     MARK_ANNOTATION, NULL);
	int r;

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return error_set(e, -EINVAL, "Annotation " MARK_ANNOTATION " is no text");
	r = mark_parse(m, json_string_value(v), json_string_length(v), e);
	return r ? r : 1;
}

json_t *mark_apply_body(enum workload_kind kind, const char *ns, const char *name, const char *text)
{
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:{s:{s:{s:s}}}}}", "apiVersion", "apps/v1",
			 "kind", workload_kind_title(kind), "metadata", "name", name, "namespace",
			 ns, "spec", "template", "metadata", "annotations", MARK_ANNOTATION, text);
}

json_t *mark_remove_body(void)
{
	return json_pack("{s:{s:{s:{s:{s:n}}}}}", "spec", "template", "metadata", "annotations",
			 MARK_ANNOTATION);
}
