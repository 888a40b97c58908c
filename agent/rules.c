/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rules: replaced as a whole by the manager's snapshot, kept in force until the next. */
#include <errno.h>
#include <stdio.h>

#include "agent/internal.h"

static const char *const on_down_names[] = {
	[ON_DOWN_POD] = "pod",
	[ON_DOWN_HOLD] = "hold",
	[ON_DOWN_FAIL] = "fail",
};

static int rule_from_json(struct rule *r, const json_t *j, struct error *e)
{
	const char *name, *owner, *address, *on_down;
	int target, port, hold_s, online, comings = 0;
	const char *protocol = "tcp"; /* of a manager that is one release older */
	int len;

	if (json_unpack((json_t *)(uintptr_t)j,
			"{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:b, s?s, s?i}", "intercept", &name,
			"owner", &owner, "target", &target, "address", &address, "port", &port,
			"on_down", &on_down, "hold_s", &hold_s, "online", &online, "protocol",
			&protocol, "comings", &comings))
		return error_set(e, -EINVAL, "a rule lacks a key");
	*r = (struct rule){.target = (uint16_t)target, .port = (uint16_t)port, .online = online};
	len = snprintf(r->name, sizeof(r->name), "%s/%s", owner, name);
	if (len >= (int)sizeof(r->name) || target < 1 || target > UINT16_MAX || port < 1 ||
	    port > UINT16_MAX || hold_s < 0 || ipaddr_parse(&r->address, address))
		return error_set(e, -EINVAL, "rule '%.100s' has a value out of range", name);
	r->udp = !strcmp(protocol, "udp");
	r->comings = comings;
	r->hold_s = (unsigned)hold_s;
	for (size_t i = 0; i < ARRAY_SIZE(on_down_names); i++) {
		if (!strcmp(on_down, on_down_names[i])) {
			r->on_down = (enum on_down)i;
			return 0;
		}
	}
	return error_set(e, -EINVAL, "rule '%.100s' has an unknown policy '%.40s'", name, on_down);
}

/* The same rule of the table before, or NULL. */
static const struct rule *same(const struct rules *r, const struct rule *now)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->rule[i].target == now->target && r->rule[i].udp == now->udp &&
		    !strcmp(r->rule[i].name, now->name))
			return &r->rule[i];
	}
	return NULL;
}

static void carry_over(struct rule *now, const struct rule *before)
{
	now->connections = before->connections;
	now->fallback = before->fallback;
	/* Suspicion ends when the manager has seen the laptop come back, or the intercept was moved. */
	if (now->online && before->online && now->comings == before->comings &&
	    now->port == before->port && ipaddr_equal(&now->address, &before->address)) {
		now->suspect_until = before->suspect_until;
		now->heard = before->heard;
	}
}

int rules_from_json(struct rules *r, const json_t *snapshot, struct error *e)
{
	const json_t *list = json_object_get(snapshot, "rules");
	cleanup(free_ptr) struct rule *rule = NULL;
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > RULES_MAX)
		return error_set(e, -EINVAL, "'rules' must be a list of at most %d", RULES_MAX);
	rule = calloc(n + 1, sizeof(*rule));
	if (!rule)
		return error_errno(e, -ENOMEM, "rules");
	for (size_t i = 0; i < n; i++) {
		int err = rule_from_json(&rule[i], json_array_get(list, i), e);
		const struct rule *before;

		if (err)
			return err;
		before = same(r, &rule[i]);
		if (before)
			carry_over(&rule[i], before);
	}
	free(r->rule);
	r->rule = steal_ptr(rule);
	r->n = (unsigned)n;
	return 0;
}

json_t *rules_to_json(const struct rules *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n; i++) {
		const struct rule *q = &r->rule[i];
		const char *slash = strrchr(q->name, '/');
		char address[ADDR_STRLEN];

		json_array_append_new(
			list,
			json_pack("{s:s, s:s%, s:i, s:s, s:i, s:s, s:i, s:b, s:s}", "intercept",
				  slash + 1, "owner", q->name, (size_t)(slash - q->name), "target",
				  q->target, "address", ipaddr_format(&q->address, address), "port",
				  q->port, "on_down", on_down_names[q->on_down], "hold_s",
				  (int)q->hold_s, "online", q->online, "protocol",
				  q->udp ? "udp" : "tcp"));
	}
	return json_pack("{s:o}", "rules", list);
}

static void add_total(json_t *totals, const char *name, uint64_t n)
{
	json_int_t before = json_integer_value(json_object_get(totals, name));

	json_object_set_new(totals, name, json_integer(before + (json_int_t)n));
}

json_t *rules_traffic(const struct rules *r)
{
	json_t *connections = json_object(), *fallback = json_object();

	for (unsigned i = 0; i < r->n; i++) {
		add_total(connections, r->rule[i].name, r->rule[i].connections);
		add_total(fallback, r->rule[i].name, r->rule[i].fallback);
	}
	return json_pack("{s:o, s:o}", "connections", connections, "fallback", fallback);
}

struct rule *rules_find(struct rules *r, uint16_t target, bool udp)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->rule[i].target == target && r->rule[i].udp == udp)
			return &r->rule[i];
	}
	return NULL;
}

void rules_trust(struct rules *r)
{
	for (unsigned i = 0; i < r->n; i++)
		r->rule[i].suspect_until = 0;
}

void rules_free(struct rules *r)
{
	free(r->rule);
	*r = (struct rules){0};
}
