/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects: what the API server gives, hostile; the first byte says what it is. What is read and written again must be
 * read the same.
 */
#include <stdio.h>

#include "objects/objects.h"

static void mark_text(const char *text, size_t len)
{
	struct mark m, again;
	struct error e;
	char *a, *b;

	if (mark_parse(&m, text, len, &e))
		return;
	a = mark_format(&m);
	if (!a || mark_parse(&again, a, strlen(a), &e))
		abort();
	b = mark_format(&again);
	if (strcmp(a, b) != 0)
		abort();
	free(a);
	free(b);
}

/* {"object":..., "services":...} */
static void workload(const json_t *j)
{
	struct workload *w = calloc(1, sizeof(*w));
	const json_t *object = object_get(j, "object", NULL);
	const json_t *services = object_get(j, "services", NULL);
	struct error e;
	struct mark m;
	char *text;

	workload_controller(object);
	mark_of(&m, object, &e);
	if (workload_from_object(w, object, services, &e) == 0) {
		workload_obstacle(w, object, object, "culvert", &e);
		workload_rollout_note(w, object, &e);
		if (mark_from_workload(&m, w, object, services, &e) == 0) {
			text = mark_format(&m);
			if (!text || mark_parse(&m, text, strlen(text), &e))
				abort();
			free(text);
		}
		json_decref(workload_to_json(w));
	}
	free(w);
}

static void crds(const json_t *j)
{
	struct intercept_object o, again;
	struct session_object s;
	struct error e;
	json_t *back;

	session_from_object(&s, j, &e);
	if (intercept_from_object(&o, j, &e))
		return;
	back = intercept_to_object(&o.in, o.user, o.session, o.uid);
	if (!back)
		abort();
	json_object_set(json_object_get(back, "metadata"), "name",
			json_object_get(json_object_get(j, "metadata"), "name"));
	json_object_set_new(json_object_get(back, "metadata"), "uid", json_string(o.uid));
	json_object_set_new(json_object_get(back, "metadata"), "creationTimestamp",
			    json_string("2026-11-23T05:00:00Z"));
	if (intercept_from_object(&again, back, &e) || again.in.nports != o.in.nports ||
	    strcmp(again.in.name, o.in.name) != 0 || strcmp(again.in.owner, o.in.owner) != 0 ||
	    again.in.mechanism != o.in.mechanism || strcmp(again.in.id, o.in.id) != 0 ||
	    memcmp(&again.in.match, &o.in.match, sizeof(o.in.match)) != 0)
		abort();
	json_decref(back);
}

static void times(const char *data, size_t size)
{
	char text[64], back[21];
	int64_t t, again;

	snprintf(text, sizeof(text), "%.*s", (int)MIN(size, sizeof(text) - 1), data);
	if (object_time(text, &t))
		return;
	object_time_format(t, back);
	if (object_time(back, &again))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	json_t *j;

	if (size < 1)
		return 0;
	if (*data == 'm')
		mark_text(text, size - 1);
	if (*data == 't')
		times(text, size - 1);
	if (*data != 'w' && *data != 'c')
		return 0;
	j = json_loadb(text, size - 1, JSON_REJECT_DUPLICATES, NULL);
	if (!j)
		return 0;
	if (*data == 'w')
		workload(j);
	else
		crds(j);
	json_decref(j);
	return 0;
}
