/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rules: replaced as a whole by the manager's snapshot, kept in force until the next. */
#include <errno.h>
#include <stdio.h>

#include "agent/internal.h"
#include "base/log.h"

/* --- one rule ---------------------------------------------------------------------------------------------- */

static void rule_free(struct rule *r)
{
	matcher_free(r->matcher);
	json_decref(r->match);
	r->matcher = NULL;
	r->match = NULL;
}

#define UPDATE_IT "update the agent of version " CULVERT_VERSION " (in a pod: restart the pod)"

/* Why it is left out, and what helps; the manager says whose it is. */
static int no_use(struct error *e, const char *why, const char *help)
{
	size_t len = strlen(why);
	struct error text;

	while (len && why[len - 1] == '.')
		len--;
	error_set(&text, 0, "%.*s", (int)utf8_fit(why, MIN(len, LEFT_OUT_CAUSE_MAX)), why);
	return error_set(e, -ENOTSUP, "%s; %s", text.text, help);
}

static int take_match(struct rule *r, const json_t *match, const char *name, struct error *e)
{
	struct http_match m;
	struct error why;
	int err = http_match_from_json(&m, match, &why);

	if (err)
		return no_use(e, why.text, UPDATE_IT);
	err = matcher_new(&r->matcher, &m, r->id, name, r->preview, &why);
	if (err == -ENOMEM)
		return no_use(e, "the agent has no memory left", "give it more");
	if (err)
		return no_use(e, why.text, "change the match, or " UPDATE_IT);
	return 0;
}

/* The keys that an older manager does not send. 0, -EINVAL, or -ENOTSUP: the rule is well-formed, and its match no use here. */
static int http_from_json(struct rule *r, const json_t *j, struct error *e)
{
	const char *mechanism = "tcp", *id = "", *uid = "", *name = strrchr(r->name, '/') + 1;
	json_t *match = NULL;
	int err, tag = 0, preview = 0;

	if (json_unpack((json_t *)(uintptr_t)j, "{s?s, s?s, s?s, s?o, s?b, s?b}", "mechanism",
			&mechanism, "id", &id, "uid", &uid, "match", &match, "tag", &tag, "preview",
			&preview) ||
	    strlen(uid) >= sizeof(r->uid) || (*id && !http_id_valid(id)))
		return error_set(e, -EINVAL, "rule '%.100s' has a value out of range", name);
	snprintf(r->id, sizeof(r->id), "%s", id);
	snprintf(r->uid, sizeof(r->uid), "%s", uid);
	r->tag = tag;
	r->preview = preview;
	if (!strcmp(mechanism, "tcp"))
		return 0;
	if (strcmp(mechanism, "http") != 0 || r->udp)
		return no_use(e, "the agent does not know the intercept's mechanism", UPDATE_IT);
	err = take_match(r, match, name, e);
	if (!err)
		r->match = json_incref(match);
	return err;
}

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
	if (on_down_parse(&r->on_down, on_down))
		return error_set(e, -EINVAL, "rule '%.100s' has an unknown policy '%.40s'", name,
				 on_down);
	return http_from_json(r, j, e);
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
	now->requests = before->requests;
	now->regex_limits = before->regex_limits;
	now->before = before->before;
	/* Suspicion ends when the manager has seen the laptop come back, or the intercept was moved. */
	if (now->online && before->online && now->comings == before->comings &&
	    now->port == before->port && ipaddr_equal(&now->address, &before->address)) {
		now->suspect_until = before->suspect_until;
		now->heard = before->heard;
	}
}

/* --- the table ----------------------------------------------------------------------------------------------- */

static void table_free(struct rule *rule, size_t n)
{
	for (size_t i = 0; rule && i < n; i++)
		rule_free(&rule[i]);
	free(rule);
}

static int leave_out(struct rules *r, json_t **left_out, struct rule *rule, const struct error *why)
{
	log_limited(&r->limit, 60 * NSEC_PER_SEC, "rules: '%s' is left out: %s", rule->name,
		    why->text);
	rule_free(rule);
	if (!*left_out)
		*left_out = json_object();
	/* Of what is no UTF-8 nothing can be told. */
	if (!json_object_set_new(*left_out, rule->name, json_string(why->text)))
		return 0;
	return json_object_set_new(*left_out, rule->name, json_string("see the agent's log"))
		       ? -ENOMEM
		       : 0;
}

static int table_from_json(struct rule *rule, unsigned *n, struct rules *r, const json_t *list,
			   json_t **left_out, struct error *e)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const struct rule *before;
		int err = rule_from_json(&rule[*n], json_array_get(list, i), e);

		if (!err && *n == RULES_MAX)
			err = no_use(e, "the agent has as many rules as it takes",
				     "somebody has to leave an intercept of the workload");
		if (err == -ENOTSUP) {
			err = leave_out(r, left_out, &rule[*n], e);
			if (err)
				return error_errno(e, err, "rules");
			continue;
		}
		if (err)
			return err;
		before = same(r, &rule[*n]);
		rule[*n].fresh = !before;
		if (before)
			carry_over(&rule[*n], before);
		++*n;
	}
	return 0;
}

int rules_from_json(struct rules *r, const json_t *snapshot, struct error *e)
{
	const json_t *list = json_object_get(snapshot, "rules");
	json_t *left_out = NULL;
	struct error why;
	struct rule *rule;
	unsigned n = 0;
	int err;

	if (!json_is_array(list))
		return error_set(e, -EINVAL, "'rules' must be a list");
	rule = calloc(MIN(json_array_size(list), RULES_MAX) + 1, sizeof(*rule));
	if (!rule)
		return error_errno(e, -ENOMEM, "rules");
	err = table_from_json(rule, &n, r, list, &left_out, &why);
	if (err) {
		table_free(rule, n + 1);
		json_decref(left_out);
		return error_set(e, err, "%s", why.text);
	}
	table_free(r->rule, r->n);
	r->rule = rule;
	r->n = n;
	json_decref(r->left_out);
	r->left_out = left_out;
	return 0;
}

static json_t *rule_to_json(const struct rule *q)
{
	const char *slash = strrchr(q->name, '/');
	char address[ADDR_STRLEN];
	json_t *j =
		json_pack("{s:s, s:s%, s:i, s:s, s:i, s:s, s:i, s:b, s:s}", "intercept", slash + 1,
			  "owner", q->name, (size_t)(slash - q->name), "target", q->target,
			  "address", ipaddr_format(&q->address, address), "port", q->port,
			  "on_down", on_down_name(q->on_down), "hold_s", (int)q->hold_s, "online",
			  q->online, "protocol", q->udp ? "udp" : "tcp");

	if (!j || !q->matcher)
		return j;
	json_object_set_new(j, "mechanism", json_string("http"));
	json_object_set_new(j, "id", json_string(q->id));
	json_object_set_new(j, "uid", json_string(q->uid));
	json_object_set(j, "match", q->match);
	json_object_set_new(j, "tag", json_boolean(q->tag));
	json_object_set_new(j, "preview", json_boolean(q->preview));
	return j;
}

json_t *rules_to_json(const struct rules *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->n; i++)
		json_array_append_new(list, rule_to_json(&r->rule[i]));
	return json_pack("{s:o}", "rules", list);
}

static void add_total(json_t *totals, const char *name, uint64_t n)
{
	json_int_t before = json_integer_value(json_object_get(totals, name));

	json_object_set_new(totals, name, json_integer(before + (json_int_t)n));
}

static void add_figure(json_t *port, const char *name, uint64_t n)
{
	if (n)
		json_object_set_new(port, name, json_integer((json_int_t)n));
}

static uint64_t regex_limits(const struct rules *r, uint16_t target)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->n; i++)
		n += r->rule[i].target == target ? r->rule[i].regex_limits : 0;
	return n;
}

/* {"8080": {"http1": N}}; what is 0 is left out. */
static void port_traffic(const struct agent *a, unsigned i, json_t *seen, json_t *trouble)
{
	const struct port_figures *f = &a->figures[i];
	uint16_t target = a->cfg->port[i].target;
	json_t *was = json_object(), *bad = json_object();
	char port[8];

	add_figure(was, "http1", f->http1);
	add_figure(was, "http2", f->http2);
	add_figure(was, "tls", f->tls);
	add_figure(was, "opaque", f->opaque);
	add_figure(bad, "bad_heads", f->bad_heads);
	add_figure(bad, "bad_answers", f->bad_answers);
	add_figure(bad, "slow_heads", f->slow_heads);
	add_figure(bad, "no_answer", f->no_answer);
	add_figure(bad, "overflows", f->overflows);
	add_figure(bad, "regex_limits", regex_limits(&a->rules, target));
	snprintf(port, sizeof(port), "%u", target);
	json_object_set_new(seen, port, was);
	json_object_set_new(trouble, port, bad);
}

static const struct port_figures *figures_of(const struct agent *a, const struct rule *q)
{
	for (unsigned i = 0; i < a->cfg->nports; i++) {
		if (a->cfg->port[i].target == q->target && a->cfg->port[i].udp == q->udp)
			return &a->figures[i];
	}
	return NULL;
}

void rules_begin(struct agent *a)
{
	for (unsigned i = 0; i < a->rules.n; i++) {
		struct rule *q = &a->rules.rule[i];
		const struct port_figures *f = q->fresh ? figures_of(a, q) : NULL;

		if (f)
			q->before = *f;
		q->fresh = false;
	}
}

/* {"OWNER/NAME": {"8080": {"tls": N}}}: what was met on its port since it came. */
static void rule_met(const struct agent *a, const struct rule *q, json_t *met)
{
	const struct port_figures *f = figures_of(a, q);
	json_t *j = json_object(), *ports = json_object_get(met, q->name);
	char port[8];

	if (f) {
		add_figure(j, "tls", f->tls - q->before.tls);
		add_figure(j, "bad_heads", f->bad_heads - q->before.bad_heads);
		add_figure(j, "slow_heads", f->slow_heads - q->before.slow_heads);
	}
	add_figure(j, "regex_limits", q->regex_limits);
	if (!json_object_size(j)) {
		json_decref(j);
		return;
	}
	if (!ports) {
		json_object_set_new(met, q->name, json_object());
		ports = json_object_get(met, q->name);
	}
	snprintf(port, sizeof(port), "%u", q->target);
	json_object_set_new(ports, port, j);
}

json_t *rules_traffic(const struct agent *a)
{
	json_t *connections = json_object(), *fallback = json_object(), *requests = json_object();
	json_t *seen = json_object(), *trouble = json_object(), *j;
	json_t *met = json_object();

	for (unsigned i = 0; i < a->rules.n; i++) {
		const struct rule *q = &a->rules.rule[i];

		add_total(connections, q->name, q->connections);
		add_total(fallback, q->name, q->fallback);
		if (q->matcher) {
			add_total(requests, q->name, q->requests);
			rule_met(a, q, met);
		}
	}
	for (unsigned i = 0; i < a->cfg->nports; i++) {
		if (!a->cfg->port[i].udp)
			port_traffic(a, i, seen, trouble);
	}
	j = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "connections", connections, "fallback",
		      fallback, "requests", requests, "seen", seen, "trouble", trouble, "met", met);
	if (j && a->rules.left_out)
		json_object_set(j, "left_out", a->rules.left_out);
	return j;
}

/* --- whose is it? ------------------------------------------------------------------------------------------- */

struct rule *rules_find(struct rules *r, uint16_t target, bool udp)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->rule[i].target == target && r->rule[i].udp == udp && !r->rule[i].matcher)
			return &r->rule[i];
	}
	return NULL;
}

struct rule *rules_match(struct rules *r, uint16_t target, const struct http_head *head)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct rule *q = &r->rule[i];
		int match;

		if (q->target != target || !q->matcher)
			continue;
		match = matcher_test(q->matcher, head);
		if (match == 1)
			return q;
		if (match < 0) {
			q->regex_limits++;
			r->counted = true;
		}
	}
	return rules_find(r, target, false);
}

bool rules_http(const struct rules *r, uint16_t target, bool *tag)
{
	bool http = false, tags = false;

	for (unsigned i = 0; i < r->n; i++) {
		if (r->rule[i].target != target || !r->rule[i].matcher)
			continue;
		http = true;
		tags |= r->rule[i].tag;
	}
	if (tag)
		*tag = tags;
	return http;
}

void rules_trust(struct rules *r)
{
	for (unsigned i = 0; i < r->n; i++)
		r->rule[i].suspect_until = 0;
}

void rules_free(struct rules *r)
{
	table_free(r->rule, r->n);
	json_decref(r->left_out);
	*r = (struct rules){0};
}
