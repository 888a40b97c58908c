/* SPDX-License-Identifier: Apache-2.0 */
/* agent: a snapshot of rules as the manager sent it, or as our file has it: what is taken is written and read the same. */
#include "agent/internal.h"

static void ask(struct rules *r)
{
	static const struct http_field field[] = {
		{.name = {"x-user", 6}, .value = {"ana", 3}},
		{.name = {"baggage", 7},
		 .value = {"a=b, culvert=2f6c00112233445566778899aabbccdd;c", 47}},
	};
	const struct http_head head = {
		.target = {"/api/v1?x", 9}, .nfields = ARRAY_SIZE(field), .field = field};

	for (unsigned i = 0; i < r->n; i++) {
		const struct rule *q = rules_match(r, r->rule[i].target, &head);
		bool tag;

		if (q && q->target != r->rule[i].target)
			abort();
		if (q && q->matcher && !rules_http(r, q->target, &tag))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char first[] =
		"{\"rules\":[{\"intercept\":\"a\",\"owner\":\"b\",\"target\":8080,\"address\":\"::"
		"2\","
		"\"port\":1,\"on_down\":\"hold\",\"hold_s\":3,\"online\":true,\"mechanism\":"
		"\"http\","
		"\"id\":\"2f6c00112233445566778899aabbccdd\",\"match\":{\"mode\":\"auto\"}}]}";
	struct rules r = {.n = 0}, again = {.n = 0};
	json_t *before = json_loads(first, 0, NULL);
	json_t *j = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL), *a, *b;
	struct error e;

	if (!j || rules_from_json(&r, before, &e)) {
		json_decref(before);
		return 0;
	}
	if (rules_from_json(&r, j, &e) && (r.n != 1 || !r.rule[0].matcher))
		abort(); /* a bad one changes nothing */
	ask(&r);
	a = rules_to_json(&r);
	if (rules_from_json(&again, a, &e) || again.n != r.n)
		abort();
	b = rules_to_json(&again);
	if (!json_equal(a, b))
		abort();
	json_decref(a);
	json_decref(b);
	json_decref(j);
	json_decref(before);
	rules_free(&r);
	rules_free(&again);
	return 0;
}
