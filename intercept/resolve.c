/* SPDX-License-Identifier: Apache-2.0 */
/* From what the user asked for to one intercept: which workload, service and ports are meant. */
#include <stdio.h>

#include "intercept/internal.h"

struct names {
	const char *workload, *ns;
};

/* The page's rule: NAME is the workload unless --workload is given; then NAME is only a name. With --namespace and no --workload it is
 * called NAME-NS. */
static int find_names(struct intercept *out, const struct intercept_request *req,
		      const char *connected_ns, struct names *n, struct error *e)
{
	int len;

	if (!object_name_valid(req->name, INTERCEPT_NAME_MAX))
		return error_set(e, INTERCEPT_INVALID,
				 "'%.100s' cannot be the name of an intercept: use letters, "
				 "digits, '.', '_' "
				 "and '-'.",
				 req->name);
	n->workload = *req->workload ? req->workload : req->name;
	n->ns = *req->ns ? req->ns : connected_ns;
	if (req->ns_given && !*req->workload)
		len = snprintf(out->name, sizeof(out->name), "%s-%s", req->name, n->ns);
	else
		len = snprintf(out->name, sizeof(out->name), "%s", req->name);
	if (len >= (int)sizeof(out->name))
		return error_set(e, INTERCEPT_INVALID,
				 "The name '%s-%s' is longer than %d characters.", req->name, n->ns,
				 INTERCEPT_NAME_MAX);
	return 0;
}

static int workload_missing(const struct names *n, const struct workload *const *all, size_t count,
			    struct error *e)
{
	struct text have = {.len = 0};

	for (size_t i = 0; i < count; i++) {
		if (!strcmp(all[i]->name, n->workload) && strcmp(all[i]->ns, n->ns))
			return error_set(
				e, INTERCEPT_NOT_FOUND,
				"There is no workload '%s' in namespace '%s', but there is one in "
				"namespace '%s': use --namespace %s.",
				n->workload, n->ns, all[i]->ns, all[i]->ns);
		if (!strcmp(all[i]->ns, n->ns))
			text_add(&have, "%s", all[i]->name);
	}
	if (!have.len)
		return error_set(
			e, INTERCEPT_NOT_FOUND,
			"There is no workload '%s' in namespace '%s', which has none at all; "
			"'culvert list -A' shows those of every namespace.",
			n->workload, n->ns);
	return error_set(e, INTERCEPT_NOT_FOUND,
			 "There is no workload '%s' in namespace '%s'; there are: %s.", n->workload,
			 n->ns, have.s);
}

static int find_workload(const struct workload **wp, const struct names *n,
			 const struct workload *const *all, size_t count, struct error *e)
{
	const struct workload *w = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(all[i]->name, n->workload) || strcmp(all[i]->ns, n->ns))
			continue;
		if (w)
			return error_set(
				e, INTERCEPT_AMBIGUOUS,
				"Both a %s and a %s are called '%s' in namespace '%s'; rename one.",
				workload_kind_title(w->kind), workload_kind_title(all[i]->kind),
				n->workload, n->ns);
		w = all[i];
	}
	if (!w)
		return workload_missing(n, all, count, e);
	*wp = w;
	return 0;
}

static int find_service(const struct service **sp, const struct workload *w, const char *wanted,
			struct error *e)
{
	struct text have = {.len = 0};

	for (unsigned i = 0; i < w->nservices; i++) {
		text_add(&have, "%s", w->service[i].name);
		if (*wanted && !strcmp(w->service[i].name, wanted)) {
			*sp = &w->service[i];
			return 0;
		}
	}
	if (w->nservices == 0)
		return error_set(e, INTERCEPT_INVALID,
				 "%s %s cannot be intercepted: no service selects its pods.",
				 workload_kind_title(w->kind), w->name);
	if (*wanted)
		return error_set(e, INTERCEPT_NOT_FOUND,
				 "No service '%s' belongs to %s %s; there are: %s.", wanted,
				 workload_kind_title(w->kind), w->name, have.s);
	if (w->nservices > 1)
		return error_set(
			e, INTERCEPT_AMBIGUOUS,
			"Several services belong to %s %s: %s. Say which one with --service.",
			workload_kind_title(w->kind), w->name, have.s);
	*sp = &w->service[0];
	return 0;
}

static void list_ports(struct text *t, const struct service *s)
{
	for (unsigned i = 0; i < s->nports; i++) {
		const struct service_port *p = &s->port[i];
		const char *protocol = p->udp ? "/udp" : "";

		if (*p->name)
			text_add(t, "%s (%u%s)", p->name, p->port, protocol);
		else
			text_add(t, "%u%s", p->port, protocol);
	}
}

/* By name, by number, or by number and protocol. */
static bool port_is(const struct service_port *p, const char *id)
{
	char number[8], exact[16];

	snprintf(number, sizeof(number), "%u", p->port);
	snprintf(exact, sizeof(exact), "%u/%s", p->port, p->udp ? "udp" : "tcp");
	return !strcmp(p->name, id) || !strcmp(number, id) || !strcmp(exact, id);
}

static int several_ports(const struct service *s, const char *id, uint16_t local,
			 const struct text *have, struct error *e)
{
	char example[12] = "LOCAL";

	if (local)
		snprintf(example, sizeof(example), "%u", local);
	if (*id)
		return error_set(e, INTERCEPT_AMBIGUOUS,
				 "Port %s of service %s is both TCP and UDP. Say --port %s:%s/tcp "
				 "or --port %s:%s/udp.",
				 id, s->name, example, id, example, id);
	return error_set(e, INTERCEPT_AMBIGUOUS,
			 "Service %s has several ports: %s. Say which one with --port %s:PORT.",
			 s->name, have->s, example);
}

static int find_port(const struct service_port **pp, const struct service *s, const char *id,
		     uint16_t local, struct error *e)
{
	const struct service_port *found = NULL;
	struct text have = {.len = 0};
	unsigned choices = 0;

	for (unsigned i = 0; i < s->nports; i++) {
		if (*id && !port_is(&s->port[i], id))
			continue;
		found = &s->port[i];
		choices++;
	}
	list_ports(&have, s);
	if (s->nports == 0)
		return error_set(e, INTERCEPT_INVALID, "Service %s has no port.", s->name);
	if (!found)
		return error_set(e, INTERCEPT_NOT_FOUND, "Service %s has no port '%s'; it has: %s.",
				 s->name, id, have.s);
	if (choices > 1)
		return several_ports(s, id, local, &have, e);
	*pp = found;
	return 0;
}

static int add_port(struct intercept *out, const struct service *s, const char *id, uint16_t local,
		    struct error *e)
{
	const struct service_port *p = NULL;
	struct intercept_port *to = &out->port[out->nports];
	int r = find_port(&p, s, id, local, e);

	if (r)
		return r;
	for (unsigned i = 0; i < out->nports; i++) {
		if (out->port[i].target == p->target && out->port[i].udp == p->udp)
			return error_set(
				e, INTERCEPT_INVALID,
				"--port names port %u of service %s twice (port %u of the pod).",
				p->port, s->name, p->target);
	}
	if (p->udp && out->mechanism == MECHANISM_HTTP)
		return error_set(e, INTERCEPT_INVALID,
				 "Port %u of service %s is UDP, and requests are matched on TCP "
				 "ports alone; leave that port out, or use --mechanism=tcp.",
				 p->port, s->name);
	*to = (struct intercept_port){.local = local ? local : p->port,
				      .port = p->port,
				      .target = p->target,
				      .udp = p->udp};
	memcpy(to->name, p->name, sizeof(to->name));
	out->nports++;
	return 0;
}

int intercept_resolve(struct intercept *out, const struct intercept_request *req,
		      const struct workload *const *all, size_t n, const char *connected_ns,
		      struct error *e)
{
	struct intercept i = {.on_down = req->on_down,
			      .hold_s = req->hold_s,
			      .mechanism = req->mechanism,
			      .tag_responses = req->tag_responses};
	const struct workload *w = NULL;
	const struct service *s = NULL;
	struct names names;
	int r = find_names(&i, req, connected_ns, &names, e);

	if (r == 0)
		r = find_workload(&w, &names, all, n, e);
	if (r == 0)
		r = find_service(&s, w, req->service, e);
	if (r)
		return r;
	if (i.mechanism == MECHANISM_HTTP) {
		i.match = req->match;
		if (http_match_check(&i.match, e))
			return INTERCEPT_INVALID;
	}
	i.kind = w->kind;
	memcpy(i.workload, w->name, sizeof(i.workload));
	memcpy(i.ns, w->ns, sizeof(i.ns));
	memcpy(i.service, s->name, sizeof(i.service));
	/* No --port at all: the only port there is, on the same number here. */
	if (req->nports == 0)
		r = add_port(&i, s, "", 0, e);
	for (unsigned k = 0; r == 0 && k < req->nports; k++)
		r = add_port(&i, s, req->port[k].id, req->port[k].local, e);
	if (r)
		return r;
	*out = i;
	return 0;
}

static bool same_workload(const struct intercept *a, const struct intercept *b)
{
	return a->kind == b->kind && !strcmp(a->workload, b->workload) && !strcmp(a->ns, b->ns);
}

static const struct intercept_port *shared_port(const struct intercept *a,
						const struct intercept *b)
{
	for (unsigned i = 0; i < a->nports; i++) {
		for (unsigned k = 0; k < b->nports; k++) {
			if (a->port[i].target == b->port[k].target &&
			    a->port[i].udp == b->port[k].udp)
				return &a->port[i];
		}
	}
	return NULL;
}

/* What else could be done than to wait for the holder. */
static const char *clash_remedy(const struct intercept *a, const struct intercept *holder)
{
	bool all = holder->mechanism == MECHANISM_TCP ||
		   (holder->match.mode == HTTP_MATCH_ALL && !*holder->match.path);

	if (all)
		return "";
	return a->mechanism == MECHANISM_TCP
		       ? ", or take some requests only: --http-match"
		       : ", or take other requests: --http-match, --http-path-prefix";
}

static int clash(const struct intercept *a, const struct intercept *holder,
		 const struct intercept_port *p, bool mine, struct error *e)
{
	char port[8], match[400];

	snprintf(port, sizeof(port), "%u", p->port);
	http_match_text(match, sizeof(match), holder, " and ");
	if (mine)
		return error_set(
			e, INTERCEPT_CLASH,
			"Port %s of %s %s is already intercepted by you, as '%s', for %s; leave "
			"that first: culvert leave %s%s.",
			*p->name ? p->name : port, workload_kind_title(a->kind), a->workload,
			holder->name, match, holder->name, clash_remedy(a, holder));
	return error_set(e, INTERCEPT_CLASH,
			 "Port %s of %s %s is already intercepted by %s, as '%s', for %s; ask %s "
			 "to leave it%s.",
			 *p->name ? p->name : port, workload_kind_title(a->kind), a->workload,
			 holder->owner, holder->name, match, holder->owner,
			 clash_remedy(a, holder));
}

int intercept_check(const struct intercept *a, const struct intercept *const *others, size_t n,
		    struct error *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct intercept *o = others[i];
		const struct intercept_port *p = NULL;
		bool mine = !strcmp(a->owner, o->owner);

		if (!same_workload(a, o) || (mine && !strcmp(a->name, o->name)))
			continue;
		p = shared_port(a, o);
		if (p && http_match_clash(a, o))
			return clash(a, o, p, mine, e);
	}
	return 0;
}
