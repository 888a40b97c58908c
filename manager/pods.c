/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods that carry the mark and an agent (which proves that it runs in one), and which pods are ready behind a service. Of thousands
 * of other pods nothing is kept.
 */
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

enum { SLICE_PODS = 1000 };

static bool uid_fits(const char *uid)
{
	return *uid && strlen(uid) < sizeof(((struct pod *)NULL)->uid);
}

/* --- marked pods ----------------------------------------------------------------------------------------------- */

struct pod *pod_find(const struct kubernetes *k, const char *uid)
{
	struct hash_node *n = hash_first(&k->pod_table, hash_of(&k->pod_table, uid, strlen(uid)));

	for (; n; n = hash_next(n)) {
		struct pod *p = container_of(n, struct pod, node);

		if (!strcmp(p->uid, uid))
			return p;
	}
	return NULL;
}

static void pod_free(struct pod *p)
{
	if (p)
		free(p->name);
	free(p);
}

static void pod_end(struct kubernetes *k, struct pod *p)
{
	struct pod **at = &k->pods;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	hash_remove(&k->pod_table, &p->node);
	if (p->peer) {
		log_info("agent %s: its pod is gone", p->peer->name);
		p->peer->pod = NULL;
		peer_free(p->peer);
		records_changed(k);
	}
	pod_free(p);
}

static struct pod *pod_new(struct kubernetes *k, const char *uid, const char *ns, const char *name)
{
	struct pod *p;

	if (k->pod_table.count >= PODS_MAX || !(p = calloc(1, sizeof(*p)))) {
		log_limited(&k->full, 60 * NSEC_PER_SEC, "too many pods with agents");
		return NULL;
	}
	p->name = strdup(name);
	if (!p->name) {
		pod_free(p);
		return NULL;
	}
	snprintf(p->uid, sizeof(p->uid), "%s", uid);
	snprintf(p->ns, sizeof(p->ns), "%s", ns);
	p->next = k->pods;
	k->pods = p;
	hash_insert(&k->pod_table, &p->node, hash_of(&k->pod_table, uid, strlen(uid)));
	return p;
}

static void take_ports(struct pod *p, const struct mark *mark)
{
	p->nports = mark->nports;
	for (unsigned i = 0; i < mark->nports; i++)
		p->port[i] = (struct pod_port){
			.target = mark->port[i].target, .udp = mark->port[i].udp, .served = true};
}

void pod_serves(struct pod *p, const json_t *ports)
{
	for (unsigned i = 0; i < p->nports; i++) {
		const json_t *target;
		size_t k;

		p->port[i].served = false;
		json_array_foreach(ports, k, target)
		{
			p->port[i].served |= json_integer_value(target) == p->port[i].target;
		}
	}
}

/* The webhook may not have been asked: then a pod has the mark alone, and nobody is to be waited for. */
static bool has_agent(const json_t *o)
{
	static const char *const lists[] = {"initContainers", "containers"};

	for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
		const json_t *list = object_get(o, "spec", lists[k], NULL), *c;
		size_t i;

		json_array_foreach(list, i, c)
		{
			if (!strcmp(object_text(c, "name", NULL), AGENT_CONTAINER))
				return true;
		}
	}
	return false;
}

static bool has_ended(const json_t *o)
{
	const char *phase = object_text(o, "status", "phase", NULL);

	return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

void pods_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	const char *uid = object_text(o, "metadata", "uid", NULL);
	const char *ns = object_text(o, "metadata", "namespace", NULL);
	struct pod *p = pod_find(k, uid);
	struct mark mark;
	struct error e;
	bool fresh = !p;

	cluster_pod_seen(k, object_text(o, "status", "podIP", NULL),
			 json_is_true(object_get(o, "spec", "hostNetwork", NULL)));
	if (deleted || has_ended(o) || mark_of(&mark, o, &e) != 1 || !has_agent(o)) {
		if (p)
			pod_end(k, p);
		return;
	}
	if (!p) {
		if (!uid_fits(uid) || strlen(ns) > K8S_NAME_MAX)
			return;
		p = pod_new(k, uid, ns, object_text(o, "metadata", "name", NULL));
	}
	if (!p)
		return;
	p->generation = feed_generation(k, FEED_PODS);
	if (fresh) {
		/* As it was made: its agent was given that. */
		p->kind = mark.kind;
		memcpy(p->workload, mark.workload, sizeof(p->workload));
		take_ports(p, &mark);
		agents_pod_seen(k, p);
		records_changed(k);
	}
}

void pods_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct pod *p = k->pods, *next; p; p = next) {
		next = p->next;
		if (p->generation != generation)
			pod_end(k, p);
	}
}

void pods_free(struct kubernetes *k)
{
	while (k->pods) {
		struct pod *p = k->pods;

		k->pods = p->next;
		pod_free(p);
	}
	hash_fini(&k->pod_table);
}

/* --- EndpointSlices ---------------------------------------------------------------------------------------------- */

static void pods_of_slice_free(struct slice_pod *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(list[i].name);
	free(list);
}

static void slice_free(struct slice *s)
{
	if (s) {
		pods_of_slice_free(s->pod, s->n);
		free(s->key);
	}
	free(s);
}

static struct slice *slice_find(const struct kubernetes *k, const char *key)
{
	uint64_t h = hash_of(&k->slice_table, key, strlen(key));
	struct hash_node *n = hash_first(&k->slice_table, h);

	for (; n; n = hash_next(n)) {
		struct slice *s = container_of(n, struct slice, node);

		if (!strcmp(s->key, key))
			return s;
	}
	return NULL;
}

static void slice_end(struct kubernetes *k, struct slice *s)
{
	struct slice **at = &k->slices;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	hash_remove(&k->slice_table, &s->node);
	if (records_name(k, s->ns, s->service))
		records_changed(k);
	slice_free(s);
}

static struct slice *slice_new(struct kubernetes *k, const char *key)
{
	struct slice *s;

	if (k->slice_table.count >= SLICES_MAX || !(s = calloc(1, sizeof(*s)))) {
		log_limited(&k->full, 60 * NSEC_PER_SEC, "too many EndpointSlices");
		return NULL;
	}
	s->key = strdup(key);
	if (!s->key) {
		slice_free(s);
		return NULL;
	}
	s->next = k->slices;
	k->slices = s;
	hash_insert(&k->slice_table, &s->node, hash_of(&k->slice_table, key, strlen(key)));
	return s;
}

/* Ready as a service means it: absent is true. */
static bool endpoint_ready(const json_t *e)
{
	return !json_is_false(object_get(e, "conditions", "ready", NULL));
}

/* It was ready a moment ago: terminating, and not by a failed probe. */
static bool endpoint_leaving(const json_t *e)
{
	return json_is_true(object_get(e, "conditions", "terminating", NULL)) &&
	       json_is_true(object_get(e, "conditions", "serving", NULL));
}

static struct slice_pod *find_in(struct slice_pod *list, unsigned n, const char *uid)
{
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(list[i].uid, uid))
			return &list[i];
	}
	return NULL;
}

static void take_endpoint(struct slice *s, const json_t *e, bool fresh)
{
	const char *uid = object_text(e, "targetRef", "uid", NULL);
	struct slice_pod *p = &s->pod[s->n];
	bool ready = endpoint_ready(e);

	if (strcmp(object_text(e, "targetRef", "kind", NULL), "Pod") != 0 || !uid_fits(uid) ||
	    (!ready && !(fresh && endpoint_leaving(e))))
		return;
	p->name = strdup(object_text(e, "targetRef", "name", NULL));
	if (!p->name)
		return;
	snprintf(p->uid, sizeof(p->uid), "%s", uid);
	p->left = ready ? 0 : clock_boot();
	s->n++;
}

/* What was ready and is not any more stays for a while, as that. */
static void keep_left(struct slice *s, struct slice_pod *old, unsigned n)
{
	nsec_t now = clock_boot();
	unsigned fresh = s->n;

	for (unsigned i = 0; i < n; i++) {
		struct slice_pod *o = &old[i];

		if (find_in(s->pod, fresh, o->uid))
			continue;
		if (!o->left)
			o->left = now;
		if (now - o->left >= LEAVING_MS * NSEC_PER_MSEC)
			continue;
		s->pod[s->n++] = *o;
		o->name = NULL;
	}
}

static void take_endpoints(struct slice *s, const json_t *endpoints, bool fresh)
{
	size_t n = MIN(json_array_size(endpoints), (size_t)SLICE_PODS); /* the API allows no more */
	struct slice_pod *old = s->pod;
	unsigned nold = s->n;

	s->pod = n + nold ? calloc(n + nold, sizeof(*s->pod)) : NULL;
	s->n = 0;
	if (s->pod) {
		for (size_t i = 0; i < n; i++)
			take_endpoint(s, json_array_get(endpoints, i), fresh);
		keep_left(s, old, MIN(nold, 2u * SLICE_PODS));
	}
	pods_of_slice_free(old, nold);
}

void slices_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	const char *ns = object_text(o, "metadata", "namespace", NULL);
	const char *service =
		object_text(o, "metadata", "labels", "kubernetes.io/service-name", NULL);
	char key[K8S_NAME_MAX + OBJECT_NAME_MAX + 2];
	struct slice *s;
	bool fresh;

	snprintf(key, sizeof(key), "%.*s/%.*s", K8S_NAME_MAX, ns, OBJECT_NAME_MAX,
		 object_text(o, "metadata", "name", NULL));
	s = slice_find(k, key);
	if (deleted || !*service || strlen(service) > K8S_NAME_MAX || strlen(ns) > K8S_NAME_MAX) {
		if (s)
			slice_end(k, s);
		return;
	}
	fresh = !s;
	if (!s)
		s = slice_new(k, key);
	if (!s)
		return;
	s->generation = feed_generation(k, FEED_SLICES);
	if (!strcmp(ns, "default") && !strcmp(service, "kubernetes"))
		cluster_apiserver(k, o);
	snprintf(s->ns, sizeof(s->ns), "%s", ns);
	snprintf(s->service, sizeof(s->service), "%s", service);
	take_endpoints(s, object_get(o, "endpoints", NULL), fresh);
	if (records_name(k, s->ns, s->service))
		records_changed(k);
}

void slices_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct slice *s = k->slices, *next; s; s = next) {
		next = s->next;
		if (s->generation != generation)
			slice_end(k, s);
	}
}

void slices_free(struct kubernetes *k)
{
	while (k->slices) {
		struct slice *s = k->slices;

		k->slices = s->next;
		slice_free(s);
	}
	hash_fini(&k->slice_table);
}
