/* SPDX-License-Identifier: Apache-2.0 */
/* Several objects and lists from the API server at once. */
#include <errno.h>
#include <stdio.h>

#include "daemon/gather.h"
#include "objects/objects.h"

void reply_sentence(struct error *e, const struct kube_reply *reply)
{
	cleanup(free_ptr) char *yaml =
		reply->failure == KUBE_FORBIDDEN ? kube_denied_yaml(&reply->denied) : NULL;

	if (yaml && strlen(yaml) + strlen(reply->sentence) + 40 < sizeof(e->text))
		error_set(e, -EACCES, "%s. This grants it:\n%.*s", reply->sentence,
			  (int)strlen(yaml) - 1, yaml);
	else
		error_set(e, -EIO, "%s", reply->sentence);
}

void gather_init(struct gather *g, struct kube_client *client, void (*done)(void *arg), void *arg)
{
	memset(g, 0, sizeof(*g));
	g->client = client;
	g->done = done;
	g->arg = arg;
}

static void on_reply(void *arg, const struct kube_reply *reply);

static int ask(struct answer *a, const char *query)
{
	const struct kube_call call = {
		.path = a->path, .query = *query ? query : NULL, .patience = KUBE_PATIENCE};

	return kube_request(a->gather->client, &call, on_reply, a, &a->call);
}

static void failed(struct answer *a, enum kube_failure failure)
{
	a->failure = failure;
	json_decref(a->object);
	a->object = NULL;
}

/* Adds a page; 1 = there is another, and it was asked for. */
static int take_page(struct answer *a, const json_t *page)
{
	const char *next = object_text(page, "metadata", "continue", NULL);
	char query[4096];
	json_t *item;
	size_t i;

	json_array_foreach(object_get(page, "items", NULL), i, item)
	{
		if (json_array_size(a->object) >= GATHER_OBJECTS_MAX)
			return error_set(&a->why, -E2BIG, "%s has more than %d objects", a->path,
					 GATHER_OBJECTS_MAX);
		if (!a->keep || a->keep(item))
			json_array_append(a->object, item);
	}
	if (!*next)
		return 0;
	snprintf(query, sizeof(query), "limit=%d", GATHER_PAGE);
	if (kube_query(query, sizeof(query), "continue", next) || ask(a, query))
		return error_set(&a->why, -ENOMEM, "%s: its next page cannot be asked for",
				 a->path);
	return 1;
}

static int take_body(struct answer *a, const struct kube_reply *reply)
{
	json_error_t je;
	json_t *body = json_loadb(reply->body, reply->len, 0, &je);
	int r;

	if (!json_is_object(body)) {
		json_decref(body);
		return error_set(&a->why, -EPROTO, "%s: the API server's answer is no JSON object",
				 a->path);
	}
	if (!a->is_list) {
		a->object = body;
		return 0;
	}
	if (!a->object)
		a->object = json_array();
	r = take_page(a, body);
	json_decref(body);
	return r;
}

/* Nobody is there to answer the others. */
static void give_up(struct gather *g, const struct answer *first)
{
	for (unsigned i = 0; i < GATHER_MAX; i++) {
		struct answer *a = &g->answer[i];

		if (!a->call)
			continue;
		kube_cancel(a->call);
		a->call = NULL;
		a->why = first->why;
		failed(a, first->failure);
		g->open--;
	}
}

static void on_reply(void *arg, const struct kube_reply *reply)
{
	struct answer *a = arg;
	struct gather *g = a->gather;
	int r = 0;

	a->call = NULL;
	if (reply->failure) {
		reply_sentence(&a->why, reply);
		failed(a, reply->failure);
		if (reply->failure == KUBE_UNREACHABLE || reply->failure == KUBE_TIMEOUT)
			give_up(g, a);
	} else {
		r = take_body(a, reply);
		if (r < 0)
			failed(a, KUBE_PROTOCOL);
	}
	if (r != 1 && --g->open == 0)
		g->done(g->arg);
}

static void begin(struct gather *g, unsigned i, const char *path, const char *query)
{
	struct answer *a = &g->answer[i];

	a->gather = g;
	snprintf(a->path, sizeof(a->path), "%s", path);
	if (ask(a, query) == 0) {
		g->open++;
		return;
	}
	error_set(&a->why, -ENOMEM, "%s: out of memory", path);
	failed(a, KUBE_SERVER);
}

void gather_object(struct gather *g, unsigned i, const char *path)
{
	begin(g, i, path, "");
}

void gather_list(struct gather *g, unsigned i, const char *path, bool (*keep)(const json_t *object))
{
	char query[32];

	g->answer[i].is_list = true;
	g->answer[i].keep = keep;
	snprintf(query, sizeof(query), "limit=%d", GATHER_PAGE);
	begin(g, i, path, query);
}

bool gather_asked(const struct gather *g)
{
	return g->open > 0;
}

void gather_clear(struct gather *g)
{
	for (unsigned i = 0; i < GATHER_MAX; i++) {
		kube_cancel(g->answer[i].call);
		json_decref(g->answer[i].object);
		g->answer[i].call = NULL;
		g->answer[i].object = NULL;
	}
	g->open = 0;
}
