/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods that carry the mark (their agents prove that they run in one), and which pods are ready behind a service. Of thousands
 * of other pods nothing is kept.
 */
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

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
	if (deleted || has_ended(o) || mark_of(&mark, o, &e) != 1) {
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
	p->kind = mark.kind;
	memcpy(p->workload, mark.workload, sizeof(p->workload));
	if (fresh) {
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

static void forget_ready(struct slice *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->ready[i].name);
	free(s->ready);
	s->ready = NULL;
	s->n = 0;
}

static void slice_free(struct slice *s)
{
	if (s) {
		forget_ready(s);
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
	slice_free(s);
	records_changed(k);
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
	const json_t *ready = object_get(e, "conditions", "ready", NULL);

	return !json_is_false(ready) && !strcmp(object_text(e, "targetRef", "kind", NULL), "Pod");
}

static void take_ready(struct slice *s, const json_t *endpoints)
{
	size_t n = MIN(json_array_size(endpoints), 1000u); /* the API allows no more */
	const json_t *e;
	size_t i;

	forget_ready(s);
	s->ready = n ? calloc(n, sizeof(*s->ready)) : NULL;
	if (!s->ready)
		return;
	json_array_foreach(endpoints, i, e)
	{
		const char *uid = object_text(e, "targetRef", "uid", NULL);
		char *name;

		if (s->n == n || !endpoint_ready(e) || !uid_fits(uid))
			continue;
		name = strdup(object_text(e, "targetRef", "name", NULL));
		if (!name)
			return;
		snprintf(s->ready[s->n].uid, sizeof(s->ready[s->n].uid), "%s", uid);
		s->ready[s->n++].name = name;
	}
}

void slices_object(struct kubernetes *k, const json_t *o, bool deleted)
{
	const char *ns = object_text(o, "metadata", "namespace", NULL);
	const char *service =
		object_text(o, "metadata", "labels", "kubernetes.io/service-name", NULL);
	char key[K8S_NAME_MAX + OBJECT_NAME_MAX + 2];
	struct slice *s;

	snprintf(key, sizeof(key), "%.*s/%.*s", K8S_NAME_MAX, ns, OBJECT_NAME_MAX,
		 object_text(o, "metadata", "name", NULL));
	s = slice_find(k, key);
	if (deleted || !*service || strlen(service) > K8S_NAME_MAX || strlen(ns) > K8S_NAME_MAX) {
		if (s)
			slice_end(k, s);
		return;
	}
	if (!s)
		s = slice_new(k, key);
	if (!s)
		return;
	s->generation = feed_generation(k, FEED_SLICES);
	snprintf(s->ns, sizeof(s->ns), "%s", ns);
	snprintf(s->service, sizeof(s->service), "%s", service);
	take_ready(s, object_get(o, "endpoints", NULL));
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
