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

/* --- intercept ------------------------------------------------------------------------------------------ */

json_t *intercept_to_json(const struct intercept *i)
{
	json_t *ports = json_array();

	for (unsigned k = 0; k < i->nports; k++) {
		const struct intercept_port *p = &i->port[k];

		json_array_append_new(ports, json_pack("{s:i, s:s, s:i, s:i, s:i, s:s}", "local",
						       p->local, "name", p->name, "port", p->port,
						       "target", p->target, "overlay", p->overlay,
						       "protocol", protocols[p->udp]));
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:i, s:I}", "name", i->name,
			 "owner", i->owner, "kind", workload_kind_name(i->kind), "workload",
			 i->workload, "namespace", i->ns, "service", i->service, "ports", ports,
			 "on_down", on_down_names[i->on_down], "hold_s", (int)i->hold_s, "created",
			 (json_int_t)i->created);
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
	if (r)
		return r;
	i.created = (uint64_t)created;
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
	if (j && q->ns_given)
		json_object_set_new(j, "namespace", json_string(q->ns));
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
