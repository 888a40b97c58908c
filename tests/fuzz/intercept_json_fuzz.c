/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intercept: the objects from JSON, which must come back the same, and requests resolved against a workload; the first byte
 * says which. '0' is text for the flags.
 */
#include <stdio.h>

#include "intercept/intercept.h"

static const struct workload known = {
	.kind = KIND_DEPLOYMENT,
	.name = "hello",
	.ns = "default",
	.nservices = 1,
	.service = {{.name = "hello",
		     .nports = 2,
		     .port = {{.name = "http", .port = 80, .target = 8080},
			      {.name = "admin", .port = 81, .target = 8081}}}},
};

static void flags(const uint8_t *data, size_t size)
{
	struct intercept_request q = {.nports = 0};
	struct error e;
	char text[256];

	snprintf(text, sizeof(text), "%.*s", (int)MIN(size, sizeof(text) - 1), (const char *)data);
	if (intercept_port_parse(&q, text, &e) == 0 && (q.nports != 1 || q.port[0].local == 0))
		abort();
	intercept_on_down_parse(&q, text, &e);
}

static void same(json_t *a, json_t *b)
{
	if (!json_equal(a, b))
		abort();
	json_decref(a);
	json_decref(b);
}

static void intercept(const json_t *j)
{
	struct intercept i, k;
	const struct intercept *others[] = {&k};
	struct error e;
	json_t *text;

	if (intercept_from_json(&i, j, &e))
		return;
	text = intercept_to_json(&i);
	if (!text || intercept_from_json(&k, text, &e))
		abort();
	intercept_check(&i, others, 1, &e);
	same(text, intercept_to_json(&k));
}

static void request(const json_t *j)
{
	const struct workload *all[] = {&known};
	struct intercept_request q, k;
	struct intercept i;
	struct error e;
	json_t *text;

	if (intercept_request_from_json(&q, j, &e))
		return;
	text = intercept_request_to_json(&q);
	if (!text || intercept_request_from_json(&k, text, &e))
		abort();
	same(text, intercept_request_to_json(&k));
	if (intercept_resolve(&i, &q, all, 1, "default", &e) == 0)
		json_decref(intercept_to_json(&i));
}

static void workload(const json_t *j)
{
	struct workload *w = calloc(2, sizeof(*w));
	struct error e;
	json_t *text;

	if (workload_from_json(&w[0], j, &e) == 0) {
		text = workload_to_json(&w[0]);
		if (!text || workload_from_json(&w[1], text, &e))
			abort();
		same(text, workload_to_json(&w[1]));
	}
	free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j;

	if (size < 1)
		return 0;
	if (*data == '0') {
		flags(data + 1, size - 1);
		return 0;
	}
	j = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL);
	if (!j)
		return 0;
	if (*data == '1')
		intercept(j);
	else if (*data == '2')
		request(j);
	else
		workload(j);
	json_decref(j);
	return 0;
}
