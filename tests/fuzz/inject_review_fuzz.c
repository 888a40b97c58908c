/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: reviews of hostile pods. The answer is JSON, allows the pod, and its patch applies: what the operations say of
 * the pod's lists is there.
 */
#include <stdio.h>

#include "base/base64.h"
#include "inject/inject.h"

static const struct inject_config config = {
	.image = "agent:1",
	.manager_key = "AAAA",
	.nendpoints = 1,
	.endpoint = {"10.96.5.6:31820"},
	.cpu_request = "10m",
	.sidecar = true,
};

static json_t *into(json_t *at, const char *key)
{
	json_t *next = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
					 : json_object_get(at, key);

	if (!next)
		abort();
	return next;
}

static void apply(json_t *pod, const json_t *op)
{
	bool replace = !strcmp(object_text(op, "op", NULL), "replace");
	char path[256], *save = NULL, *key, *next;
	json_t *at = pod;

	snprintf(path, sizeof(path), "%s", object_text(op, "path", NULL));
	key = strtok_r(path, "/", &save);
	while (key && (next = strtok_r(NULL, "/", &save))) {
		at = into(at, key);
		key = next;
	}
	if (!key || !json_object_get(op, "value"))
		abort();
	if (replace)
		into(at, key);
	if (json_is_array(at) ? json_array_append(at, json_object_get(op, "value"))
			      : json_object_set(at, key, json_object_get(op, "value")))
		abort();
}

static void check(const char *answer, const json_t *review)
{
	json_t *j = json_loads(answer, JSON_REJECT_DUPLICATES, NULL), *patch, *pod;
	char *text = NULL;
	size_t len;

	if (!j || !json_is_true(object_get(j, "response", "allowed", NULL)))
		abort();
	if (*object_text(j, "response", "patch", NULL)) {
		if (base64_decode(object_text(j, "response", "patch", NULL), &text, &len))
			abort();
		patch = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
		pod = json_deep_copy(object_get(review, "request", "object", NULL));
		for (size_t i = 0; i < json_array_size(patch); i++)
			apply(pod, json_array_get(patch, i));
		json_decref(pod);
		json_decref(patch);
		free(text);
	}
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error what;
	char *answer;
	json_t *review;

	if (inject_review(&config, (const char *)data, size, &answer, &what))
		return 0;
	review = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	check(answer, review);
	json_decref(review);
	free(answer);
	return 0;
}
