/* SPDX-License-Identifier: Apache-2.0 */
/* The objects as JSON (docs/json.md). Readers bound every field and ignore unknown keys. */
#include <errno.h>
#include <stdio.h>

#include "intercept/internal.h"

static const char *const on_down_names[] = {
	[ON_DOWN_POD] = "pod",
	[ON_DOWN_HOLD] = "hold",
	[ON_DOWN_FAIL] = "fail",
};
static const char *const protocols[] = {"tcp", "udp"};
static const char *const mechanisms[] = {[MECHANISM_TCP] = "tcp", [MECHANISM_HTTP] = "http"};
static const char *const modes[] = {
	[HTTP_MATCH_AUTO] = "auto",
	[HTTP_MATCH_ALL] = "all",
	[HTTP_MATCH_HEADERS] = "headers",
};

/* --- fields ------------------------------------------------------------------------------------------- */

/* Takes a string into a fixed buffer; absent = "" when `may_lack`. */
static int get_text(const json_t *j, const char *key, char *to, size_t size, bool may_lack,
		    struct error *e)
{
	const json_t *v = json_object_get(j, key);
	const char *s = json_string_value(v);

	if (!v && may_lack) {
		*to = '\0';
		return 0;
	}
	if (!s || json_string_length(v) >= size || strlen(s) != json_string_length(v) ||
	    (!*s && !may_lack))
		return error_set(e, -EINVAL, "'%s' must be text of 1 to %zu characters", key,
				 size - 1);
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

static int get_name(const json_t *j, const char *key, char *to, size_t size, bool may_lack,
		    struct error *e)
{
	int r = get_text(j, key, to, size, may_lack, e);

	if (r == 0 && *to && !object_name_valid(to, size - 1))
		return error_set(e, -EINVAL,
				 "'%s' must consist of letters, digits, '.', '_' and '-'", key);
	return r;
}

static int get_number(const json_t *j, const char *key, json_int_t min, json_int_t max,
		      json_int_t *to, struct error *e)
{
	const json_t *v = json_object_get(j, key);

	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return error_set(e, -EINVAL,
				 "'%s' must be a number from %" JSON_INTEGER_FORMAT
				 " to %" JSON_INTEGER_FORMAT,
				 key, min, max);
	*to = json_integer_value(v);
	return 0;
}

static int get_port(const json_t *j, const char *key, bool zero_ok, uint16_t *to, struct error *e)
{
	json_int_t v = 0;
	int r = get_number(j, key, !zero_ok, UINT16_MAX, &v, e);

	if (r == 0)
		*to = (uint16_t)v;
	return r;
}

/* Index of the text among `names`, -EINVAL if none. */
static int get_choice(const json_t *j, const char *key, const char *const *names, int n,
		      struct error *e)
{
	const char *s = json_string_value(json_object_get(j, key));

	for (int i = 0; s && i < n; i++) {
		if (!strcmp(s, names[i]))
			return i;
	}
	return error_set(e, -EINVAL, "'%s' has no known value", key);
}

static int get_kind(const json_t *j, enum workload_kind *k, struct error *e)
{
	const char *s = json_string_value(json_object_get(j, "kind"));

	return s && !workload_kind_parse(k, s) ? 0
					       : error_set(e, -EINVAL, "'kind' has no known value");
}

static int get_on_down(const json_t *j, enum on_down *down, unsigned *hold_s, struct error *e)
{
	enum { DAY = 24 * 3600 };
	json_int_t hold = 0;
	int r = get_choice(j, "on_down", on_down_names, ARRAY_SIZE(on_down_names), e);

	if (r < 0)
		return r;
	*down = (enum on_down)r;
	r = get_number(j, "hold_s", 0, DAY, &hold, e);
	*hold_s = (unsigned)hold;
	return r;
}

static int get_protocol(const json_t *j, bool *udp, struct error *e)
{
	int r = get_choice(j, "protocol", protocols, ARRAY_SIZE(protocols), e);

	*udp = r == 1;
	return MIN(r, 0);
}

static int get_list(const json_t *j, const char *key, size_t max, const json_t **list,
		    struct error *e)
{
	const json_t *v = json_object_get(j, key);

	if (!json_is_array(v) || json_array_size(v) > max)
		return error_set(e, -EINVAL, "'%s' must be a list of at most %zu", key, max);
	*list = v;
	return 0;
}

const char *mechanism_name(enum mechanism m)
{
	return mechanisms[m];
}

const char *on_down_name(enum on_down d)
{
	return on_down_names[d];
}

int on_down_parse(enum on_down *d, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(on_down_names); i++) {
		if (!strcmp(name, on_down_names[i])) {
			*d = (enum on_down)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* --- match ------------------------------------------------------------------------------------------------ */

json_t *http_match_to_json(const struct http_match *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->nconditions; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", m->condition[i].name,
						      "pattern", m->condition[i].pattern));
	return json_pack("{s:s, s:o, s:s}", "mode", modes[m->mode], "conditions", list, "path",
			 m->path);
}

int http_match_from_json(struct http_match *out, const json_t *j, struct error *e)
{
	struct http_match m = {.nconditions = 0};
	const json_t *list = NULL;
	int r = get_choice(j, "mode", modes, ARRAY_SIZE(modes), e);

	if (r < 0)
		return r;
	m.mode = (enum http_match_mode)r;
	r = get_text(j, "path", m.path, sizeof(m.path), true, e);
	if (r == 0 && json_object_get(j, "conditions"))
		r = get_list(j, "conditions", HTTP_CONDITIONS, &list, e);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
		struct http_condition *c = &m.condition[m.nconditions++];
		const json_t *item = json_array_get(list, i);

		r = get_text(item, "name", c->name, sizeof(c->name), false, e);
		if (r == 0)
			r = get_text(item, "pattern", c->pattern, sizeof(c->pattern), false, e);
	}
	if (r == 0)
		*out = m;
	return r;
}

/* Of an intercept and of a request for one: {mechanism, match, tag_responses}, all but the first only with http. */
static void http_to_json(json_t *to, enum mechanism mechanism, const struct http_match *m, bool tag)
{
	json_object_set_new(to, "mechanism", json_string(mechanisms[mechanism]));
	if (mechanism == MECHANISM_TCP)
		return;
	json_object_set_new(to, "match", http_match_to_json(m));
	json_object_set_new(to, "tag_responses", json_boolean(tag));
}

/* Who is one release older does not say it: tcp. */
static int http_from_json(enum mechanism *mechanism, struct http_match *m, bool *tag,
			  const json_t *j, struct error *e)
{
	int r = json_object_get(j, "mechanism")
			? get_choice(j, "mechanism", mechanisms, ARRAY_SIZE(mechanisms), e)
			: MECHANISM_TCP;

	if (r < 0)
		return r;
	*mechanism = (enum mechanism)r;
	if (*mechanism == MECHANISM_TCP)
		return 0;
	*tag = json_is_true(json_object_get(j, "tag_responses"));
	r = http_match_from_json(m, json_object_get(j, "match"), e);
	if (r)
		return error_wrap(e, r, "'match'");
	return http_match_check(m, e) ? -ENOTSUP : 0;
}

bool http_id_valid(const char *id)
{
	return strlen(id) == HTTP_ID_LEN && strspn(id, "0123456789abcdef") == HTTP_ID_LEN;
}

/* --- intercept ------------------------------------------------------------------------------------------ */

json_t *intercept_to_json(const struct intercept *i)
{
	json_t *ports = json_array(), *j;

	for (unsigned k = 0; k < i->nports; k++) {
		const struct intercept_port *p = &i->port[k];

		json_array_append_new(ports, json_pack("{s:i, s:s, s:i, s:i, s:i, s:s}", "local",
						       p->local, "name", p->name, "port", p->port,
						       "target", p->target, "overlay", p->overlay,
						       "protocol", protocols[p->udp]));
	}
	j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:i, s:I}", "name", i->name,
		      "owner", i->owner, "kind", workload_kind_name(i->kind), "workload",
		      i->workload, "namespace", i->ns, "service", i->service, "ports", ports,
		      "on_down", on_down_names[i->on_down], "hold_s", (int)i->hold_s, "created",
		      (json_int_t)i->created);
	if (!j)
		return NULL;
	http_to_json(j, i->mechanism, &i->match, i->tag_responses);
	if (i->mechanism == MECHANISM_HTTP) {
		json_object_set_new(j, "id", json_string(i->id));
		json_object_set_new(j, "preview", json_boolean(i->preview));
	}
	return j;
}

static int intercept_port_from_json(struct intercept_port *p, const json_t *j, struct error *e)
{
	int r = get_port(j, "local", false, &p->local, e);

	if (r == 0)
		r = get_name(j, "name", p->name, sizeof(p->name), true, e);
	if (r == 0)
		r = get_port(j, "port", false, &p->port, e);
	if (r == 0)
		r = get_port(j, "target", false, &p->target, e);
	if (r == 0)
		r = get_port(j, "overlay", true, &p->overlay, e);
	/* Who is one release older does not say it: TCP. */
	if (r || !json_object_get(j, "protocol"))
		return r;
	return get_protocol(j, &p->udp, e);
}

static int get_id(const json_t *j, char to[static HTTP_ID_LEN + 1], struct error *e)
{
	int r = get_text(j, "id", to, HTTP_ID_LEN + 1, false, e);

	if (r == 0 && !http_id_valid(to))
		return error_set(e, -EINVAL, "'id' must be %d hex digits", HTTP_ID_LEN);
	return r;
}

static bool owner_valid(const char *owner)
{
	for (; *owner; owner++) {
		if (*owner <= ' ' || *owner >= 0x7f || *owner == '/')
			return false;
	}
	return true;
}

static int intercept_names_from_json(struct intercept *i, const json_t *j, struct error *e)
{
	int r = get_name(j, "name", i->name, sizeof(i->name), false, e);

	if (r == 0)
		r = get_text(j, "owner", i->owner, sizeof(i->owner), true, e);
	if (r == 0 && !owner_valid(i->owner))
		r = error_set(e, -EINVAL, "'owner' has a character that is not allowed");
	if (r == 0)
		r = get_kind(j, &i->kind, e);
	if (r == 0)
		r = get_name(j, "workload", i->workload, sizeof(i->workload), false, e);
	if (r == 0)
		r = get_name(j, "namespace", i->ns, sizeof(i->ns), false, e);
	if (r == 0)
		r = get_name(j, "service", i->service, sizeof(i->service), false, e);
	return r;
}

int intercept_from_json(struct intercept *out, const json_t *j, struct error *e)
{
	struct intercept i = {.nports = 0};
	const json_t *ports = NULL;
	json_int_t created = 0;
	int r = intercept_names_from_json(&i, j, e);

	if (r == 0)
		r = get_on_down(j, &i.on_down, &i.hold_s, e);
	if (r == 0)
		r = get_number(j, "created", 0, INT64_MAX, &created, e);
	if (r == 0)
		r = get_list(j, "ports", INTERCEPT_PORTS, &ports, e);
	if (r == 0)
		r = http_from_json(&i.mechanism, &i.match, &i.tag_responses, j, e);
	if (r == 0 && i.mechanism == MECHANISM_HTTP)
		r = get_id(j, i.id, e);
	if (r)
		return r;
	i.created = (uint64_t)created;
	i.preview = i.mechanism == MECHANISM_HTTP && json_is_true(json_object_get(j, "preview"));
	for (size_t k = 0; k < json_array_size(ports); k++) {
		r = intercept_port_from_json(&i.port[k], json_array_get(ports, k), e);
		if (r)
			return r;
		i.nports++;
	}
	*out = i;
	return 0;
}

/* --- request --------------------------------------------------------------------------------------------- */

json_t *intercept_request_to_json(const struct intercept_request *q)
{
	json_t *ports = json_array();
	json_t *j = NULL;

	for (unsigned k = 0; k < q->nports; k++)
		json_array_append_new(ports, json_pack("{s:i, s:s}", "local", q->port[k].local,
						       "port", q->port[k].id));
	j = json_pack("{s:s, s:s, s:s, s:o, s:s, s:i}", "name", q->name, "workload", q->workload,
		      "service", q->service, "ports", ports, "on_down", on_down_names[q->on_down],
		      "hold_s", (int)q->hold_s);
	if (!j)
		return NULL;
	if (q->ns_given)
		json_object_set_new(j, "namespace", json_string(q->ns));
	http_to_json(j, q->mechanism, &q->match, q->tag_responses);
	return j;
}

int intercept_request_from_json(struct intercept_request *out, const json_t *j, struct error *e)
{
	struct intercept_request q = {.ns_given = json_object_get(j, "namespace") != NULL};
	const json_t *ports = NULL;
	int r = get_name(j, "name", q.name, sizeof(q.name), false, e);

	if (r == 0)
		r = get_name(j, "workload", q.workload, sizeof(q.workload), true, e);
	if (r == 0)
		r = get_name(j, "namespace", q.ns, sizeof(q.ns), !q.ns_given, e);
	if (r == 0)
		r = get_name(j, "service", q.service, sizeof(q.service), true, e);
	if (r == 0)
		r = get_on_down(j, &q.on_down, &q.hold_s, e);
	if (r == 0)
		r = get_list(j, "ports", INTERCEPT_PORTS, &ports, e);
	for (size_t k = 0; r == 0 && k < json_array_size(ports); k++) {
		const json_t *p = json_array_get(ports, k);

		r = get_port(p, "local", false, &q.port[k].local, e);
		if (r == 0)
			r = get_text(p, "port", q.port[k].id, sizeof(q.port[k].id), true, e);
		if (r == 0 && *q.port[k].id && !port_id_valid(q.port[k].id))
			r = error_set(e, -EINVAL, "'port' must be a port's name or number");
		q.nports++;
	}
	if (r == 0)
		r = http_from_json(&q.mechanism, &q.match, &q.tag_responses, j, e);
	if (r == 0)
		*out = q;
	return r;
}

/* --- workload -------------------------------------------------------------------------------------------- */

static json_t *service_to_json(const struct service *s)
{
	json_t *ports = json_array();

	for (unsigned k = 0; k < s->nports; k++)
		json_array_append_new(ports, json_pack("{s:s, s:i, s:i, s:s}", "name",
						       s->port[k].name, "port", s->port[k].port,
						       "target", s->port[k].target, "protocol",
						       protocols[s->port[k].udp]));
	return json_pack("{s:s, s:o}", "name", s->name, "ports", ports);
}

json_t *workload_to_json(const struct workload *w)
{
	json_t *services = json_array();

	for (unsigned i = 0; i < w->nservices; i++)
		json_array_append_new(services, service_to_json(&w->service[i]));
	return json_pack("{s:s, s:s, s:s, s:o}", "kind", workload_kind_name(w->kind), "name",
			 w->name, "namespace", w->ns, "services", services);
}

static int service_port_from_json(struct service_port *p, const json_t *j, struct error *e)
{
	int r = get_name(j, "name", p->name, sizeof(p->name), true, e);

	if (r == 0)
		r = get_port(j, "port", false, &p->port, e);
	if (r == 0)
		r = get_port(j, "target", false, &p->target, e);
	return r ? r : get_protocol(j, &p->udp, e);
}

static int service_from_json(struct service *s, const json_t *j, struct error *e)
{
	const json_t *ports = NULL;
	int r = get_name(j, "name", s->name, sizeof(s->name), false, e);

	if (r == 0)
		r = get_list(j, "ports", WORKLOAD_PORTS, &ports, e);
	for (size_t k = 0; r == 0 && k < json_array_size(ports); k++) {
		r = service_port_from_json(&s->port[k], json_array_get(ports, k), e);
		s->nports++;
	}
	return r;
}

int workload_from_json(struct workload *out, const json_t *j, struct error *e)
{
	cleanup(free_ptr) struct workload *w = calloc(1, sizeof(*w));
	const json_t *services = NULL;
	int r;

	if (!w)
		return error_errno(e, -ENOMEM, "workload");
	r = get_kind(j, &w->kind, e);
	if (r == 0)
		r = get_name(j, "name", w->name, sizeof(w->name), false, e);
	if (r == 0)
		r = get_name(j, "namespace", w->ns, sizeof(w->ns), false, e);
	if (r == 0)
		r = get_list(j, "services", WORKLOAD_SERVICES, &services, e);
	for (size_t i = 0; r == 0 && i < json_array_size(services); i++) {
		r = service_from_json(&w->service[i], json_array_get(services, i), e);
		w->nservices++;
	}
	if (r == 0)
		*out = *w;
	return r;
}
