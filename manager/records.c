/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intercepts: the objects, what follows from them (reconcile.c), and what is written and told of it. Everything is computed anew
 * at the end of each turn of the loop in which something changed; only differences go out.
 */
#include <event2/event.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

struct record *record_find(const struct kubernetes *k, const char *uid)
{
	for (struct record *r = k->records; r; r = r->next) {
		if (!strcmp(r->o.uid, uid))
			return r;
	}
	return NULL;
}

bool record_is_of(const struct record *r, const struct pod *pod)
{
	return r->o.in.kind == pod->kind && !strcmp(r->o.in.ns, pod->ns) &&
	       !strcmp(r->o.in.workload, pod->workload);
}

void records_changed(struct kubernetes *k)
{
	const struct timeval now = {0};

	k->m->epoch++; /* verdicts about packets are looked up anew */
	if (k->work)
		evtimer_add(k->work, &now);
}

/* --- Events ---------------------------------------------------------------------------------------------------- */

struct announcement {
	struct announcement *next, **link;
	struct kubernetes *k;
	char reason[32], message[512];
	char kind[16], name[K8S_NAME_MAX + 1], ns[K8S_NAME_MAX + 1];
};

static void announcement_free(struct announcement *a)
{
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	free(a);
}

static void on_event(void *arg, const struct kube_reply *reply)
{
	(void)arg;
	if (reply->failure)
		log_debug("event: %s", reply->sentence);
}

/* An Event is about an object with its uid, or kubectl describe does not show it. */
static void on_workload(void *arg, const struct kube_reply *reply)
{
	struct announcement *a = arg;
	json_t *object = reply->failure ? NULL : json_loadb(reply->body, reply->len, 0, NULL);
	char now[21], path[160];
	struct kube_call call = {.method = "POST", .path = path};
	cleanup(free_ptr) char *text = NULL;
	json_t *event;

	object_time_format((int64_t)(clock_real() / NSEC_PER_SEC), now);
	event = json_pack("{s:s, s:s, s:{s:s+, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, "
			  "s:s, s:s, s:i, "
			  "s:{s:s}, s:s, s:s}",
			  "apiVersion", "v1", "kind", "Event", "metadata", "generateName", a->name,
			  ".culvert-", "namespace", a->ns, "involvedObject", "apiVersion",
			  "apps/v1", "kind", a->kind, "name", a->name, "namespace", a->ns, "uid",
			  object_text(object, "metadata", "uid", NULL), "reason", a->reason,
			  "message", a->message, "type", "Normal", "firstTimestamp", now,
			  "lastTimestamp", now, "count", 1, "source", "component",
			  "culvert-manager", "reportingComponent", "culvert.dev/manager",
			  "reportingInstance", a->k->ns);
	json_decref(object);
	text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	json_decref(event);
	if (text) {
		snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events", a->ns);
		call.body = text;
		call.len = strlen(text);
		kube_request(a->k->client, &call, on_event, NULL, NULL);
	}
	announcement_free(a);
}

static void announce(struct record *r, const char *reason, const char *verb)
{
	const struct intercept *i = &r->o.in;
	struct announcement *a = calloc(1, sizeof(*a));
	char path[256], ports[128] = "";
	struct kube_call call = {.path = path};
	size_t len = 0;

	if (!a)
		return;
	for (unsigned p = 0; p < i->nports && len + 8 < sizeof(ports); p++)
		len += (size_t)snprintf(ports + len, sizeof(ports) - len, "%s%u", p ? ", " : "",
					i->port[p].port);
	a->k = r->k;
	a->next = a->k->announcements;
	a->link = &a->k->announcements;
	if (a->next)
		a->next->link = &a->next;
	*a->link = a;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	snprintf(a->message, sizeof(a->message), "%.200s %s intercepting port %s of service %s",
		 r->o.user, verb, ports, i->service);
	snprintf(a->kind, sizeof(a->kind), "%s", workload_kind_title(i->kind));
	memcpy(a->name, i->workload, sizeof(a->name));
	memcpy(a->ns, i->ns, sizeof(a->ns));
	if (workload_path(path, sizeof(path), i->kind, i->ns, i->workload) ||
	    kube_request(r->k->client, &call, on_workload, a, NULL))
		announcement_free(a);
}

/* --- the objects ------------------------------------------------------------------------------------------------ */

static void record_end(struct record *r)
{
	struct kubernetes *k = r->k;
	struct record **at = &k->records;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	k->nrecords--;
	kube_cancel(r->write);
	log_info("intercept %s/%s of %s: ended", r->o.in.ns, r->o.in.name, r->o.user);
	if (r->announced)
		announce(r, "InterceptEnded", "stopped");
	free(r);
	records_changed(k);
}

static struct record *record_new(struct kubernetes *k, const struct intercept_object *o)
{
	struct record *r;
	enum phase p;

	if (k->nrecords >= RECORDS_MAX || !(r = calloc(1, sizeof(*r)))) {
		log_limited(&k->full, 60 * NSEC_PER_SEC, "too many intercepts");
		return NULL;
	}
	r->k = k;
	r->o = *o;
	r->announced = phase_parse(&p, o->phase) && (p == PHASE_ACTIVE || p == PHASE_PARTIAL);
	r->next = k->records;
	k->records = r;
	k->nrecords++;
	log_info("intercept %s/%s of %s: %s %s, service %s", o->in.ns, o->in.name, o->user,
		 workload_kind_name(o->in.kind), o->in.workload, o->in.service);
	return r;
}

void records_object(struct kubernetes *k, const json_t *object, bool deleted)
{
	struct intercept_object o;
	struct record *r;
	struct error e;

	if (intercept_from_object(&o, object, &e)) {
		log_warn("%s", e.text);
		r = record_find(k, object_text(object, "metadata", "uid", NULL));
		if (r)
			record_end(r);
		return;
	}
	r = record_find(k, o.uid);
	if (deleted) {
		if (r)
			record_end(r);
		return;
	}
	if (!r)
		r = record_new(k, &o);
	if (!r)
		return;
	r->generation = feed_generation(k, FEED_INTERCEPTS);
	/* Its spec cannot change; its status is ours, and what we know of it is newer. */
	if (o.deleting && !r->o.deleting) {
		r->o.deleting = true;
		records_changed(k);
	}
	memcpy(r->o.version, o.version, sizeof(o.version));
	if (!*r->written)
		records_changed(k);
}

void records_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct record *r = k->records, *next; r; r = next) {
		next = r->next;
		if (r->generation != generation)
			record_end(r);
	}
}

void records_free(struct kubernetes *k)
{
	while (k->records) {
		struct record *r = k->records;

		k->records = r->next;
		free(r);
	}
	k->nrecords = 0;
	while (k->announcements)
		announcement_free(k->announcements);
}

/* --- intake ports ------------------------------------------------------------------------------------------------ */

static bool port_taken(const struct kubernetes *k, uint16_t port, const struct record *but,
		       unsigned but_port)
{
	for (const struct record *r = k->records; r; r = r->next) {
		for (unsigned i = 0; i < r->o.in.nports; i++) {
			if (r->o.in.port[i].overlay == port && (r != but || i != but_port) &&
			    r->verdict.in_force)
				return true;
		}
	}
	return false;
}

/* One that was given stays; an intercept that is moved takes its ports along. */
static void assign_ports(struct kubernetes *k, struct record *r)
{
	struct intercept *in = &r->o.in;

	for (unsigned i = 0; i < in->nports; i++) {
		struct intercept_port *p = &in->port[i];

		for (const struct record *o = k->records; o && !p->overlay; o = o->next) {
			if (o == r || strcmp(o->o.session, r->o.session) != 0 ||
			    strcmp(o->o.in.name, in->name) != 0)
				continue;
			for (unsigned n = 0; n < o->o.in.nports; n++) {
				if (o->o.in.port[n].target == p->target &&
				    o->o.in.port[n].udp == p->udp)
					p->overlay = o->o.in.port[n].overlay;
			}
		}
		while (!p->overlay || port_taken(k, p->overlay, r, i))
			p->overlay = rules_next_port(k->m);
	}
}

/* --- status ------------------------------------------------------------------------------------------------------ */

static json_t *status_json(const struct record *r)
{
	const struct intercept *in = &r->o.in;
	bool force = r->verdict.in_force;
	json_t *ports = json_array();

	for (unsigned i = 0; force && i < in->nports; i++)
		json_array_append_new(ports, json_pack("{s:i, s:s, s:i}", "port", in->port[i].port,
						       "protocol", in->port[i].udp ? "UDP" : "TCP",
						       "intake", in->port[i].overlay));
	return json_pack("{s:s, s:s, s:i, s:i, s:o}", "phase",
			 phase_name(force ? r->coverage.phase : r->verdict.phase), "message",
			 force ? r->coverage.message : r->verdict.message, "agents",
			 force ? (int)r->coverage.agents : 0, "endpoints",
			 force ? (int)r->coverage.endpoints : 0, "ports", ports);
}

static void write_status(struct record *r);

static void on_written(void *arg, const struct kube_reply *reply)
{
	enum { RETRY_S = 2 };
	struct record *r = arg;

	r->write = NULL;
	if (reply->failure == KUBE_OK || reply->failure == KUBE_NOT_FOUND) {
		write_status(r); /* if it has changed meanwhile */
		return;
	}
	log_debug("intercept %s/%s: status: %s", r->o.in.ns, r->o.in.name, reply->sentence);
	*r->written = '\0';
	r->retry_at = clock_boot() + RETRY_S * NSEC_PER_SEC;
}

static void write_status(struct record *r)
{
	cleanup(free_ptr) char *text = NULL;
	json_t *status, *patch;
	char path[512];

	if (r->write || r->o.deleting || r->retry_at > clock_boot())
		return;
	status = status_json(r);
	text = status ? json_dumps(status, JSON_COMPACT) : NULL;
	if (text && strncmp(r->written, text, sizeof(r->written) - 1) != 0) {
		patch = json_pack("{s:O}", "status", status);
		snprintf(path, sizeof(path),
			 "/apis/culvert.dev/v1alpha1/namespaces/%s/intercepts/%s/status",
			 r->o.in.ns, r->o.object);
		if (patch &&
		    kube_merge(r->k->client, path, patch, "culvert", on_written, r, &r->write) == 0)
			snprintf(r->written, sizeof(r->written), "%s", text);
		json_decref(patch);
	}
	json_decref(status);
}

/* --- reconcile --------------------------------------------------------------------------------------------------- */

static bool is_stale(const struct kubernetes *k, const struct session *s)
{
	const struct peer *p = s ? s->peer : NULL;
	nsec_t timeout = (nsec_t)k->m->cfg->holder_timeout_s * NSEC_PER_SEC;

	return p && !p->online && clock_boot() - p->since > timeout;
}

static void decide(struct kubernetes *k)
{
	cleanup(free_ptr) struct claim *c = calloc(k->nrecords + 1, sizeof(*c));
	cleanup(free_ptr) struct verdict *v = calloc(k->nrecords + 1, sizeof(*v));
	size_t n = 0;

	if (!c || !v)
		return;
	for (struct record *r = k->records; r; r = r->next) {
		const struct session *s = session_find(k, r->o.session);

		c[n++] = (struct claim){
			.o = &r->o, .session_user = s ? s->o.user : NULL, .stale = is_stale(k, s)};
		if (s && s->peer)
			snprintf(r->o.in.owner, sizeof(r->o.in.owner), "%.*s", INTERCEPT_NAME_MAX,
				 s->peer->name);
	}
	if (reconcile(v, c, n))
		return;
	n = 0;
	for (struct record *r = k->records; r; r = r->next)
		r->verdict = v[n++];
}

/* The epoch from which on an agent has this intercept's rules: that in which they came to be as they are. */
static void note_rules(struct record *r)
{
	char key[sizeof(r->rules_key)];
	size_t len;

	if (!r->verdict.in_force) {
		*r->rules_key = '\0';
		return;
	}
	assign_ports(r->k, r);
	len = (size_t)snprintf(key, sizeof(key), "%s", r->o.session);
	for (unsigned i = 0; i < r->o.in.nports && len < sizeof(key); i++)
		len += (size_t)snprintf(key + len, sizeof(key) - len, " %u",
					r->o.in.port[i].overlay);
	if (!strcmp(key, r->rules_key))
		return;
	memcpy(r->rules_key, key, sizeof(key));
	r->rules_epoch = ++r->k->m->epoch;
}

/* Slices of a service may name a pod twice (IPv4 and IPv6). */
static bool named_before(const struct endpoint *e, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(e[i].pod, name))
			return true;
	}
	return false;
}

static void cover(struct record *r)
{
	enum { ENDPOINTS_MAX = 2048 };
	struct kubernetes *k = r->k;
	cleanup(free_ptr) struct endpoint *e = calloc(ENDPOINTS_MAX, sizeof(*e));
	size_t n = 0;

	for (const struct slice *s = k->slices; e && s; s = s->next) {
		if (strcmp(s->ns, r->o.in.ns) != 0 || strcmp(s->service, r->o.in.service) != 0)
			continue;
		for (unsigned i = 0; i < s->n && n < ENDPOINTS_MAX; i++) {
			const struct pod *p = pod_find(k, s->ready[i].uid);

			if (named_before(e, n, s->ready[i].name))
				continue;
			e[n].pod = s->ready[i].name;
			e[n].marked = p && record_is_of(r, p);
			e[n].connected = e[n].marked && p->peer && p->peer->online && p->peer->told;
			e[n].confirmed = e[n].connected && p->confirmed_epoch >= r->rules_epoch;
			n++;
		}
	}
	coverage(&r->coverage, e, n);
}

static void start_and_tell(struct record *r)
{
	const char *phase;

	if (r->verdict.in_force)
		cover(r);
	phase = phase_name(r->verdict.in_force ? r->coverage.phase : r->verdict.phase);
	if (strcmp(phase, r->o.phase) != 0) {
		log_info("intercept %s/%s of %s: %s%s%s", r->o.in.ns, r->o.in.name, r->o.user,
			 phase, r->verdict.in_force ? "" : ": ",
			 r->verdict.in_force ? "" : r->verdict.message);
		snprintf(r->o.phase, sizeof(r->o.phase), "%s", phase);
	}
	if (!r->announced && r->verdict.in_force &&
	    (r->coverage.phase == PHASE_ACTIVE || r->coverage.phase == PHASE_PARTIAL)) {
		r->announced = true;
		announce(r, "InterceptStarted", "started");
	}
	write_status(r);
}

void records_reconcile(struct kubernetes *k)
{
	if (!k->settled)
		return;
	decide(k);
	for (struct record *r = k->records; r; r = r->next)
		note_rules(r);
	/* Agents first: those that have the rules already count below. */
	k->m->epoch++;
	for (struct pod *p = k->pods; p; p = p->next) {
		if (p->peer)
			rules_push_to(p->peer);
	}
	for (struct record *r = k->records; r; r = r->next)
		start_and_tell(r);
	for (struct session *s = k->sessions; s; s = s->next) {
		if (s->peer)
			rules_push_to(s->peer);
	}
}

void records_tick(struct kubernetes *k, nsec_t now)
{
	enum { EVERY_S = 5 };

	if (now - k->swept < EVERY_S * NSEC_PER_SEC)
		return;
	k->swept = now;
	/* A holder that is away long enough gives way. */
	for (const struct record *r = k->records; r; r = r->next) {
		if (is_stale(k, session_find(k, r->o.session)) || !*r->written) {
			records_changed(k);
			return;
		}
	}
}
