/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: objects as a real API server (1.34) gave them, in tests/unit/data/objects/. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

#include "objects/objects.h"

static inline json_t *data_load(const char *name)
{
	char path[512];
	json_error_t why;
	json_t *j;

	snprintf(path, sizeof(path), "%s/objects/%s.json", TEST_DATA, name);
	j = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		fail_msg("%s:%d: %s", path, why.line, why.text);
	return j;
}

/* The item of that name of a list, borrowed. */
static inline json_t *data_item(const json_t *list, const char *name)
{
	const json_t *items = json_object_get(list, "items");

	for (size_t i = 0; i < json_array_size(items); i++) {
		if (!strcmp(object_text(json_array_get(items, i), "metadata", "name", NULL), name))
			return json_array_get(items, i);
	}
	fail_msg("no item %s", name);
	return NULL;
}

static inline json_t *data_text(const char *text)
{
	json_error_t why;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (!j)
		fail_msg("%s: %s", why.text, text);
	return j;
}
