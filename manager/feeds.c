/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watches. Each list begins a new generation; what it did not name is swept when it is complete, so that nothing is
 * forgotten while the API server is away, and nothing kept that went meanwhile.
 */
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

static const struct feed_kind kinds[NUM_FEEDS] = {
	[FEED_SESSIONS] = {.name = "sessions",
			   .path = "/apis/culvert.dev/v1alpha1/sessions",
			   .object = sessions_object,
			   .sweep = sessions_sweep,
			   .complete = sessions_complete},
	[FEED_INTERCEPTS] = {.name = "intercepts",
			     .path = "/apis/culvert.dev/v1alpha1/intercepts",
			     .object = records_object,
			     .sweep = records_sweep},
	[FEED_PODS] = {.name = "pods",
		       .path = "/api/v1/pods",
		       .object = pods_object,
		       .sweep = pods_sweep},
	[FEED_SLICES] = {.name = "endpointslices",
			 .path = "/apis/discovery.k8s.io/v1/endpointslices",
			 .object = slices_object,
			 .sweep = slices_sweep},
	[FEED_NAMESPACES] = {.name = "namespaces",
			     .path = "/api/v1/namespaces",
			     .object = namespaces_object,
			     .sweep = namespaces_sweep},
	[FEED_NODES] = {.name = "nodes",
			.path = "/api/v1/nodes",
			.object = nodes_object,
			.sweep = nodes_sweep},
	[FEED_SERVICES] = {.name = "services",
			   .path = "/api/v1/namespaces/%s/services",
			   .own_namespace = true,
			   .object = services_object,
			   .sweep = services_sweep},
	/* From 1.33 on. */
	[FEED_SERVICE_CIDRS] = {.name = "servicecidrs",
				.path = "/apis/networking.k8s.io/v1/servicecidrs",
				.optional = true,
				.object = service_cidrs_object,
				.sweep = service_cidrs_sweep},
};

bool feeds_complete(const struct kubernetes *k)
{
	for (int i = 0; i < NUM_FEEDS; i++) {
		if (!k->feed[i].complete)
			return false;
	}
	return true;
}

unsigned feed_generation(const struct kubernetes *k, enum feed_id id)
{
	return k->feed[id].generation;
}

static void on_begin(void *arg)
{
	struct feed *f = arg;

	f->generation++;
}

static void on_object(void *arg, enum kube_change change, json_t *o)
{
	struct feed *f = arg;

	f->kind->object(f->k, o, change == KUBE_DELETED);
}

/* Rules may be told from the moment on in which everything is known that they are made of. */
static void settle(struct kubernetes *k)
{
	static const enum feed_id needed[] = {FEED_SESSIONS, FEED_INTERCEPTS, FEED_PODS,
					      FEED_SLICES};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!k->feed[needed[i]].complete)
			return;
	}
	if (!k->settled)
		log_info("%u peers and %u intercepts known", k->m->npeers, k->nrecords);
	k->settled = true;
	records_changed(k);
}

static void completed(struct feed *f)
{
	bool first = !f->complete;

	f->complete = true;
	if (f->kind->complete)
		f->kind->complete(f->k);
	if (first) {
		log_debug("%s: listed", f->kind->name);
		settle(f->k);
		cluster_changed(f->k);
	}
}

static void on_complete(void *arg)
{
	struct feed *f = arg;

	f->kind->sweep(f->k, f->generation);
	completed(f);
}

static void on_trouble(void *arg, const struct kube_reply *why)
{
	struct feed *f = arg;

	if (f->kind->optional && why->failure == KUBE_NOT_FOUND) {
		if (!f->complete)
			completed(f);
		return;
	}
	log_limited(&f->limit, 60 * NSEC_PER_SEC, "%s: %s", f->kind->name, why->sentence);
}

int feeds_start(struct kubernetes *k, struct error *e)
{
	static const struct kube_watch_ops ops = {on_begin, on_object, on_complete, on_trouble};

	for (int i = 0; i < NUM_FEEDS; i++) {
		struct feed *f = &k->feed[i];
		char path[256];
		int r;

		*f = (struct feed){.k = k, .kind = &kinds[i]};
		if (kinds[i].own_namespace)
			snprintf(path, sizeof(path), "/api/v1/namespaces/%s/services", k->ns);
		else
			snprintf(path, sizeof(path), "%s", kinds[i].path);
		r = kube_watch_start(&f->watch, k->client, path, NULL, &ops, f);
		if (r)
			return error_errno(e, r, "watch of %s", kinds[i].name);
	}
	return 0;
}

void feeds_stop(struct kubernetes *k)
{
	for (int i = 0; i < NUM_FEEDS; i++) {
		kube_watch_stop(k->feed[i].watch);
		k->feed[i].watch = NULL;
	}
}
