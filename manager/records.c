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

bool records_name(const struct kubernetes *k, const char *ns, const char *service)
{
	for (const struct record *r = k->records; r; r = r->next) {
		if (!strcmp(r->o.in.service, service) && !strcmp(r->o.in.ns, ns))
			return true;
	}
	return false;
}

bool record_is_of(const struct record *r, const struct pod *pod)
{
	return r->o.in.kind == pod->kind && !strcmp(r->o.in.ns, pod->ns) &&
	       !strcmp(r->o.in.workload, pod->workload);
}

/* Of one laptop: the newer is meant to take the older one's place. */
static bool same_name(const struct record *a, const struct record *b)
{
	return !strcmp(a->o.session, b->o.session) && !strcmp(a->o.in.name, b->o.in.name);
}

static bool takes(const struct pod *pod, const struct intercept_port *want)
{
	for (unsigned i = 0; i < pod->nports; i++) {
		const struct pod_port *p = &pod->port[i];

		if (p->served && p->target == want->target && p->udp == want->udp)
			return true;
	}
	return false;
}

bool record_is_served(const struct record *r, const struct pod *pod)
{
	bool served = record_is_of(r, pod);

	for (unsigned i = 0; served && i < r->o.in.nports; i++)
		served = takes(pod, &r->o.in.port[i]);
	return served;
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
	a->k->nannouncements--;
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
	struct announcement *a =
		r->k->nannouncements < ANNOUNCEMENTS_MAX ? calloc(1, sizeof(*a)) : NULL;
	char path[256], ports[128] = "";
	struct kube_call call = {.path = path};
	size_t len = 0;

	if (!a) {
		log_limited(&r->k->full, 60 * NSEC_PER_SEC, "too many Events; one is left out");
		return;
	}
	r->k->nannouncements++;
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
	snprintf(a->message, sizeof(a->message), "%s %s intercepting port %s of service %s",
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
	kube_cancel(r->status.request);
	if (!r->damaged)
		log_info("intercept %s/%s of %s: ended", r->o.in.ns, r->o.in.name, r->o.user);
	if (r->announced)
		announce(r, "InterceptEnded", "stopped");
	/* It had taken another's place, which that gets back. */
	for (struct record *o = k->records; o; o = o->next) {
		if (same_name(o, r))
			preview_move(r, o);
	}
	preview_drop(r);
	free(r);
	records_changed(k);
}

/* Nobody may fill the table for all others. */
static bool fits(struct kubernetes *k, const struct intercept_object *o, const json_t *object)
{
	unsigned same = 0;
	char path[512];

	for (const struct record *r = k->records; r; r = r->next)
		same += !strcmp(r->o.user, o->user);
	if (same < RECORDS_PER_USER && k->nrecords < RECORDS_MAX)
		return true;
	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/namespaces/%s/intercepts/%s",
		 o->in.ns, o->object);
	status_refuse(k, object, path, phase_name(PHASE_FAILED),
		      same < RECORDS_PER_USER
			      ? "The manager has as many Intercepts as it takes; leave some, and "
				"intercept again."
			      : "Its user has as many Intercepts as one may have; leave some, and "
				"intercept again.");
	return false;
}

static struct record *record_new(struct kubernetes *k, const struct intercept_object *o,
				 const json_t *object)
{
	struct record *r = fits(k, o, object) ? calloc(1, sizeof(*r)) : NULL;
	enum phase p;

	if (!r)
		return NULL;
	r->k = k;
	r->o = *o;
	r->since = clock_boot();
	preview_restore(r, object);
	r->announced = phase_parse(&p, o->phase) && (p == PHASE_ACTIVE || p == PHASE_PARTIAL);
	r->next = k->records;
	k->records = r;
	k->nrecords++;
	return r;
}

static void log_new(const struct intercept_object *o)
{
	log_info("intercept %s/%s of %s: %s %s, service %s", o->in.ns, o->in.name, o->user,
		 workload_kind_name(o->in.kind), o->in.workload, o->in.service);
}

/* The schema let it pass, we cannot read it: whoever made it finds the sentence in its status. */
static struct record *damaged(struct kubernetes *k, const json_t *object, const char *why)
{
	struct intercept_object o = {.deleting = false};
	const char *uid = object_text(object, "metadata", "uid", NULL);
	const char *ns = object_text(object, "metadata", "namespace", NULL);
	const char *name = object_text(object, "metadata", "name", NULL);
	struct record *r = record_find(k, uid);

	log_limited(&k->odd, 10 * NSEC_PER_SEC, "%s", why);
	if (!*uid || strlen(uid) >= sizeof(o.uid) || strlen(ns) >= sizeof(o.in.ns) ||
	    strlen(name) >= sizeof(o.object))
		return NULL;
	memcpy(o.uid, uid, strlen(uid) + 1);
	memcpy(o.in.ns, ns, strlen(ns) + 1);
	memcpy(o.object, name, strlen(name) + 1);
	snprintf(o.user, sizeof(o.user), "%s", object_text(object, "spec", "user", NULL));
	if (!r)
		r = record_new(k, &o, object);
	if (!r)
		return NULL;
	r->damaged = true;
	r->verdict = (struct verdict){.phase = PHASE_FAILED};
	snprintf(r->verdict.message, sizeof(r->verdict.message), "%s", why);
	return r;
}

void records_object(struct kubernetes *k, const json_t *object, bool deleted)
{
	struct intercept_object o;
	struct record *r;
	struct error e;

	r = record_find(k, object_text(object, "metadata", "uid", NULL));
	if (deleted) {
		if (r)
			record_end(r);
		return;
	}
	if (intercept_from_object(&o, object, &e)) {
		r = damaged(k, object, e.text);
		o.deleting = false;
	} else if (!r) {
		r = record_new(k, &o, object);
		if (r)
			log_new(&o);
	}
	if (!r)
		return;
	r->generation = feed_generation(k, FEED_INTERCEPTS);
	/* Its spec cannot change; its status is ours, and what we know of it is newer. */
	if (o.deleting && !r->o.deleting) {
		r->o.deleting = true;
		records_changed(k);
	}
	if (!r->written)
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
		preview_drop(r);
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
			if (o == r || !same_name(o, r))
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

/* To be read, and the header to be copied. */
static void add_match(json_t *status, const struct intercept *in)
{
	char match[HTTP_MATCH_TEXT_LEN], id[HTTP_ID_TEXT_LEN];

	if (in->mechanism != MECHANISM_HTTP)
		return;
	http_match_text(match, sizeof(match), in, " and ");
	json_object_set_new(status, "match", json_string(match));
	http_id_text(id, in->id, in->name);
	if (in->match.mode == HTTP_MATCH_AUTO || in->preview)
		json_object_set_new(status, "header", json_sprintf(HTTP_ID_HEADER ": %s", id));
	else
		json_object_set_new(status, "header", json_null());
}

static json_t *status_json(const struct record *r)
{
	const struct intercept *in = &r->o.in;
	bool force = r->verdict.in_force;
	json_t *ports = json_array(), *status;

	for (unsigned i = 0; force && i < in->nports; i++)
		json_array_append_new(ports, json_pack("{s:i, s:s, s:i}", "port", in->port[i].port,
						       "protocol", in->port[i].udp ? "UDP" : "TCP",
						       "intake", in->port[i].overlay));
	status = json_pack("{s:s, s:o, s:i, s:i, s:o, s:o}", "phase",
			   phase_name(force ? r->coverage.phase : r->verdict.phase), "message",
			   rpc_sentence(force ? r->coverage.message : r->verdict.message), "agents",
			   force ? (int)r->coverage.agents : 0, "endpoints",
			   force ? (int)r->coverage.endpoints : 0, "ports", ports, "preview",
			   preview_status(r));
	if (status)
		add_match(status, in);
	return status;
}

static void write_status(struct record *r);

static void on_written(void *arg, const struct kube_reply *reply)
{
	struct record *r = arg;

	if (!writer_answered(r->k, &r->status, reply))
		r->written = 0;
	write_status(r); /* if it has changed meanwhile */
	settle_check(r->k);
}

static void patch_status(struct record *r, json_t *status, uint64_t hash)
{
	json_t *patch = json_pack("{s:O}", "status", status);
	char path[512];

	snprintf(path, sizeof(path),
		 "/apis/culvert.dev/v1alpha1/namespaces/%s/intercepts/%s/status", r->o.in.ns,
		 r->o.object);
	if (patch && kube_merge(r->k->client, path, patch, "culvert", on_written, r,
				&r->status.request) == 0)
		r->written = hash;
	json_decref(patch);
}

static void write_status(struct record *r)
{
	json_t *status = r->o.deleting || r->waiting ? NULL : status_json(r);
	uint64_t hash = status ? hash_json(r->k, status) : r->written;

	r->dirty = hash != r->written;
	if (r->dirty && writer_ready(&r->status)) /* else its answer, or a tick, brings us here */
		patch_status(r, status, hash);
	json_decref(status);
}

/* --- reconcile --------------------------------------------------------------------------------------------------- */

static bool is_stale(const struct record *r)
{
	const struct session *s = session_find(r->k, r->o.session);
	const struct peer *p = s ? s->peer : NULL;
	nsec_t timeout = (nsec_t)r->k->m->cfg->holder_timeout_s * NSEC_PER_SEC;

	return p && !p->online && clock_boot() - p->since > timeout;
}

static bool is_waiting(const struct record *r)
{
	return !r->damaged && !session_find(r->k, r->o.session) &&
	       clock_boot() - r->since < SESSION_WAIT_S * NSEC_PER_SEC;
}

/* Does it claim anything? Then it is among those that are decided about. */
static bool claims(const struct record *r)
{
	return !r->damaged && !r->waiting;
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
		/* One whose key cannot be used is none: nothing could be told to anybody. */
		const char *user = s && s->peer ? s->o.user : NULL;

		r->waiting = is_waiting(r);
		r->stale = is_stale(r);
		if (!claims(r))
			continue;
		c[n++] = (struct claim){.o = &r->o, .session_user = user, .stale = r->stale};
		if (user)
			owner_name(r->o.in.owner, s->peer->name);
	}
	if (reconcile(v, c, n))
		return;
	n = 0;
	for (struct record *r = k->records; r; r = r->next) {
		if (claims(r))
			r->verdict = v[n++];
	}
}

/* An intercept that is made anew, under its name, has the preview, and its links, of the one whose place it takes. */
static void take_over_preview(struct record *r)
{
	if (!r->verdict.in_force)
		return;
	for (struct record *o = r->k->records; o; o = o->next) {
		if (!o->verdict.in_force && same_name(o, r))
			preview_move(o, r);
	}
}

/*
 * The epoch from which on an agent has this intercept's rules: that in which they came to be as they are. A preview adds to what
 * they match, and agents are told of it; those who have the rule without it serve the intercept all the same.
 */
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

static bool is_behind(const struct record *r, const struct slice *s)
{
	return !strcmp(s->service, r->o.in.service) && !strcmp(s->ns, r->o.in.ns);
}

static void add_endpoint(struct record *r, struct endpoint *e, size_t *n,
			 const struct slice_pod *sp)
{
	const struct pod *p = pod_find(r->k, sp->uid);
	struct endpoint *to = &e[*n];

	if (named_before(e, *n, sp->name))
		return;
	*to = (struct endpoint){.pod = sp->name, .leaving = sp->left != 0};
	to->marked = p && record_is_served(r, p);
	to->connected = to->marked && p->peer && p->peer->online && p->peer->told;
	to->old = to->connected && r->o.in.mechanism == MECHANISM_HTTP && !p->peer->agent.http;
	to->left_out = to->connected ? rules_left_out(p->peer, &r->o.in) : NULL;
	to->confirmed =
		to->connected && !to->old && !to->left_out && p->confirmed_epoch >= r->rules_epoch;
	++*n;
}

/* An agent is with its pod to the end; a pod without one that has left its service is still on its way out of the proxies. */
static bool counts(const struct record *r, const struct slice_pod *sp, bool leaving, nsec_t now)
{
	const struct pod *p;

	if (!leaving || !sp->left)
		return !leaving && !sp->left;
	p = pod_find(r->k, sp->uid);
	return now - sp->left < LEAVING_MS * NSEC_PER_MSEC && !(p && record_is_served(r, p));
}

static void cover(struct record *r)
{
	nsec_t now = clock_boot(), settles = 0;
	cleanup(free_ptr) struct endpoint *e = NULL;
	size_t n = 0, most = 0;

	for (const struct slice *s = r->k->slices; s; s = s->next)
		most += is_behind(r, s) ? s->n : 0;
	e = calloc(most + 1, sizeof(*e));
	if (!e)
		return;
	/* Those that are ready first: an endpoint may have moved to another slice. */
	for (int leaving = 0; leaving < 2; leaving++) {
		for (const struct slice *s = r->k->slices; most && s; s = s->next) {
			for (unsigned i = 0; is_behind(r, s) && i < s->n; i++) {
				if (!counts(r, &s->pod[i], leaving, now))
					continue;
				add_endpoint(r, e, &n, &s->pod[i]);
				settles = MAX(settles, s->pod[i].left);
			}
		}
	}
	r->settles = settles ? settles + LEAVING_MS * NSEC_PER_MSEC : 0;
	coverage(&r->coverage, e, n);
}

static void start_and_tell(struct record *r)
{
	const char *phase;

	r->settles = 0;
	if (r->waiting)
		return;
	if (r->verdict.in_force)
		cover(r);
	phase = phase_name(r->verdict.in_force ? r->coverage.phase : r->verdict.phase);
	if (strcmp(phase, r->o.phase) != 0) {
		if (!r->damaged)
			log_info("intercept %s/%s of %s: %s%s%s", r->o.in.ns, r->o.in.name,
				 r->o.user, phase, r->verdict.in_force ? "" : ": ",
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

/* A pod that has left its service counts until every proxy knows. */
static void come_back(struct kubernetes *k)
{
	nsec_t now = clock_boot(), next = 0, left;
	struct timeval tv;

	for (const struct record *r = k->records; r; r = r->next) {
		if (r->settles && (!next || r->settles < next))
			next = r->settles;
	}
	if (!next)
		return;
	left = next > now ? next - now : 0;
	tv.tv_sec = (time_t)(left / NSEC_PER_SEC);
	tv.tv_usec = (suseconds_t)(left % NSEC_PER_SEC / 1000 + 1);
	evtimer_add(k->later, &tv);
}

void records_reconcile(struct kubernetes *k)
{
	if (!k->settled)
		return;
	decide(k);
	for (struct record *r = k->records; r; r = r->next)
		take_over_preview(r);
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
	gateways_changed(k);
	settle_told(k);
	come_back(k);
}

void records_tick(struct kubernetes *k)
{
	bool changed = false;

	if (!k->settled)
		return;
	for (struct record *r = k->records; r; r = r->next) {
		/* A holder that is away long enough gives way. */
		changed |= is_stale(r) != r->stale || is_waiting(r) != r->waiting;
		if (r->dirty)
			write_status(r);
	}
	if (changed)
		records_changed(k);
}
