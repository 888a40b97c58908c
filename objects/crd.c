/* SPDX-License-Identifier: Apache-2.0 */
/* Our own objects, Session and Intercept, as JSON (docs/kubernetes.md). What their CRDs demand is demanded here again. */
#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "objects/internal.h"

#define API_VERSION OBJECTS_GROUP "/" OBJECTS_VERSION

enum { HOLD_MAX = 24 * 3600 };

/* --- metadata ----------------------------------------------------------------------------------------- */

struct meta {
	char *name;
	size_t name_size;
	char *uid, *version; /* 64 bytes each */
	bool *deleting;
};

static int take_meta(const struct meta *m, const json_t *object, const char *kind, struct error *e)
{
	const json_t *meta = object_get(object, "metadata", NULL);
	const char *version = object_text(object, "apiVersion", NULL);
	int r;

	/* Objects of a list have neither. */
	if (*version && strcmp(version, API_VERSION) != 0)
		return error_set(e, -EINVAL,
				 "it is of API version %.60s, and this culvert speaks " API_VERSION,
				 version);
	if (*object_text(object, "kind", NULL) &&
	    strcmp(object_text(object, "kind", NULL), kind) != 0)
		return error_set(e, -EINVAL, "it is no %s", kind);
	r = take_name(meta, "name", m->name, m->name_size, e);
	if (r == 0)
		r = take_text(meta, "uid", m->uid, 64, false, e);
	if (r == 0)
		r = take_text(meta, "resourceVersion", m->version, 64, true, e);
	*m->deleting = json_is_string(json_object_get(meta, "deletionTimestamp"));
	return r;
}

static int take_created(const json_t *object, int64_t *created, struct error *e)
{
	return object_time(object_text(object, "metadata", "creationTimestamp", NULL), created)
		       ? error_set(e, -EINVAL, "'creationTimestamp' is no time")
		       : 0;
}

/* --- Session ------------------------------------------------------------------------------------------ */

static int key_parse(uint8_t key[static 32], const char *text, struct error *e)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != SESSION_NAME_LEN || strspn(text, digits) != SESSION_NAME_LEN)
		return error_set(e, -EINVAL, "a public key is 64 hex digits");
	for (size_t i = 0; i < 32; i++)
		key[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
				   (strchr(digits, text[2 * i + 1]) - digits));
	return 0;
}

static int session_spec(struct session_object *s, const json_t *object, struct error *e)
{
	const json_t *spec = object_get(object, "spec", NULL);
	char key[SESSION_NAME_LEN + 1] = "";
	const char *renew = object_text(spec, "renewTime", NULL);
	int r = take_text(spec, "user", s->user, sizeof(s->user), false, e);

	if (r == 0)
		r = take_text(spec, "client", s->client, sizeof(s->client), true, e);
	if (r == 0)
		r = take_text(spec, "publicKey", key, sizeof(key), false, e);
	if (r == 0)
		r = key_parse(s->key, key, e);
	if (r == 0 && strcmp(key, s->name) != 0)
		r = error_set(e, -EINVAL, "its name is not its public key");
	if (r == 0 && *renew && object_time(renew, &s->renewed))
		r = error_set(e, -EINVAL, "'renewTime' is no time");
	if (r == 0 && s->renewed < s->created)
		s->renewed = s->created;
	return r;
}

int session_from_object(struct session_object *out, const json_t *object, struct error *e)
{
	struct session_object s = {.deleting = false};
	struct meta m = {s.name, sizeof(s.name), s.uid, s.version, &s.deleting};
	int r = take_meta(&m, object, "Session", e);

	if (r == 0)
		r = take_created(object, &s.created, e);
	if (r == 0)
		r = session_spec(&s, object, e);
	if (r)
		return error_wrap(e, r, "Session %.64s",
				  object_text(object, "metadata", "name", NULL));
	copy_text(s.phase, sizeof(s.phase), object_text(object, "status", "phase", NULL));
	copy_text(s.address, sizeof(s.address), object_text(object, "status", "address", NULL));
	*out = s;
	return 0;
}

json_t *session_to_object(const char *user, const char *client, const uint8_t key[static 32])
{
	char name[SESSION_NAME_LEN + 1], host[K8S_NAME_MAX + 1];

	for (size_t i = 0; i < 32; i++)
		snprintf(name + 2 * i, 3, "%02x", key[i]);
	copy_text(host, sizeof(host), client);
	return json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s, s:s}}", "apiVersion", API_VERSION,
			 "kind", "Session", "metadata", "name", name, "spec", "user", user,
			 "publicKey", name, "client", host);
}

/* --- Intercept, out ------------------------------------------------------------------------------------ */

/* A start of an object's name: an intercept's name may have capitals, '_' and '.', which there would not do everywhere. */
static void generate_name(char *to, size_t size, const char *name)
{
	size_t n = 0;

	for (; *name && n + 2 < size; name++) {
		char c = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;

		to[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
	}
	to[n++] = '-';
	to[n] = '\0';
}

/* A label's value holds 63 characters and ends with a letter or digit. */
static void label_value(char to[static K8S_NAME_MAX + 1], const char *name)
{
	size_t n = strnlen(name, K8S_NAME_MAX);

	memcpy(to, name, n);
	while (n && strchr("._-", to[n - 1]))
		n--;
	to[n] = '\0';
}

static json_t *ports_to_json(const struct intercept *i)
{
	json_t *ports = json_array();

	for (unsigned k = 0; k < i->nports; k++) {
		const struct intercept_port *p = &i->port[k];
		json_t *j = json_pack("{s:i, s:i, s:i, s:s}", "local", p->local, "port", p->port,
				      "target", p->target, "protocol", p->udp ? "UDP" : "TCP");

		if (j && *p->name)
			json_object_set_new(j, "name", json_string(p->name));
		json_array_append_new(ports, j);
	}
	return ports;
}

static void http_to_spec(json_t *spec, const struct intercept *i)
{
	json_t *match;

	if (i->mechanism != MECHANISM_HTTP)
		return;
	match = http_match_to_json(&i->match);
	json_object_del(match, "path");
	if (*i->match.path)
		json_object_set_new(match, "pathPrefix", json_string(i->match.path));
	if (!i->match.nconditions)
		json_object_del(match, "conditions");
	json_object_set_new(spec, "id", json_string(i->id));
	json_object_set_new(spec, "match", match);
	if (i->tag_responses)
		json_object_set_new(spec, "tagResponses", json_true());
}

json_t *intercept_to_object(const struct intercept *i, const char *user, const char *session,
			    const char *uid)
{
	char generate[K8S_NAME_MAX], label[K8S_NAME_MAX + 1];
	json_t *meta, *spec;

	generate_name(generate, sizeof(generate), i->name);
	label_value(label, i->name);
	meta = json_pack("{s:s, s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}", "generateName", generate,
			 "namespace", i->ns, "labels", OBJECTS_GROUP "/name", label,
			 "ownerReferences", "apiVersion", API_VERSION, "kind", "Session", "name",
			 session, "uid", uid);
	spec = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s}", "user", user, "session",
			 session, "name", i->name, "workloadKind", workload_kind_title(i->kind),
			 "workload", i->workload, "service", i->service, "mechanism",
			 mechanism_name(i->mechanism), "ports", ports_to_json(i), "onDown",
			 on_down_name(i->on_down));
	if (spec && i->on_down == ON_DOWN_HOLD)
		json_object_set_new(spec, "holdSeconds", json_integer(i->hold_s));
	http_to_spec(spec, i);
	return json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", API_VERSION, "kind", "Intercept",
			 "metadata", meta, "spec", spec);
}

/* --- Intercept, in -------------------------------------------------------------------------------------- */

void owner_name(char to[static INTERCEPT_NAME_MAX + 1], const char *user)
{
	enum { ROOM = INTERCEPT_NAME_MAX - 17 };
	static const uint64_t key[2] = {0, 0}; /* all who compare such names must agree */
	size_t n = 0;

	for (const char *p = user; *p; p++) {
		bool plain = *p > ' ' && *p < 0x7f && *p != '/' && *p != '%';

		if (n + (plain ? 1 : 3) > (size_t)ROOM) {
			snprintf(to + n, 18, "~%016llx",
				 (unsigned long long)siphash(key, user, strlen(user)));
			return;
		}
		if (plain)
			to[n++] = *p;
		else
			n += (size_t)snprintf(to + n, 4, "%%%02X", (unsigned char)*p);
	}
	to[n] = '\0';
}

static int take_kind(const json_t *spec, enum workload_kind *k, struct error *e)
{
	const char *title = object_text(spec, "workloadKind", NULL);

	for (unsigned i = 0; i < NUM_KINDS; i++) {
		if (i != KIND_HOST && !strcmp(title, workload_kind_title((enum workload_kind)i))) {
			*k = (enum workload_kind)i;
			return 0;
		}
	}
	return error_set(e, -EINVAL,
			 "'workloadKind' must be Deployment, ReplicaSet or StatefulSet");
}

static int take_on_down(const json_t *spec, struct intercept *in, struct error *e)
{
	const char *text = object_text(spec, "onDown", NULL);
	const json_t *hold = object_get(spec, "holdSeconds", NULL);

	if (on_down_parse(&in->on_down, *text ? text : "pod"))
		return error_set(e, -EINVAL, "'onDown' must be pod, hold or fail");
	in->hold_s = in->on_down == ON_DOWN_HOLD ? 30 : 0;
	if (!hold || json_is_null(hold))
		return 0;
	if (!json_is_integer(hold) || json_integer_value(hold) < 0 ||
	    json_integer_value(hold) > HOLD_MAX)
		return error_set(e, -EINVAL, "'holdSeconds' must be a number from 0 to %d",
				 HOLD_MAX);
	in->hold_s = (unsigned)json_integer_value(hold);
	return 0;
}

static int take_protocol(const json_t *port, bool *udp, struct error *e)
{
	const json_t *v = json_object_get(port, "protocol");
	const char *text = object_text(port, "protocol", NULL);

	*udp = !strcmp(text, "UDP");
	return !v || *udp || !strcmp(text, "TCP")
		       ? 0
		       : error_set(e, -EINVAL, "'protocol' must be TCP or UDP");
}

static int take_intercept_port(struct intercept *in, const json_t *j, struct error *e)
{
	struct intercept_port *p = &in->port[in->nports];
	int r = take_port(j, "local", &p->local, e);

	if (r == 0)
		r = take_port(j, "port", &p->port, e);
	if (r == 0)
		r = take_port(j, "target", &p->target, e);
	if (r == 0)
		r = take_protocol(j, &p->udp, e);
	if (r == 0)
		r = take_text(j, "name", p->name, sizeof(p->name), true, e);
	if (r == 0 && *p->name && !object_name_valid(p->name, K8S_NAME_MAX))
		r = error_set(e, -EINVAL, "a port's 'name' must be one");
	for (unsigned k = 0; r == 0 && k < in->nports; k++) {
		if (in->port[k].target == p->target && in->port[k].udp == p->udp)
			r = error_set(e, -EINVAL, "'ports' names port %u of the pod twice",
				      p->target);
	}
	in->nports += r == 0;
	return r;
}

static int take_ports(struct intercept *in, const json_t *spec, struct error *e)
{
	const json_t *ports = json_object_get(spec, "ports");
	size_t n = json_array_size(ports);
	int r = 0;

	if (n < 1 || n > INTERCEPT_PORTS)
		return error_set(e, -EINVAL, "'ports' must be a list of 1 to %d", INTERCEPT_PORTS);
	for (size_t k = 0; r == 0 && k < n; k++)
		r = take_intercept_port(in, json_array_get(ports, k), e);
	return r;
}

/* The ports on the laptop that the manager has given out before; what makes no sense is given out anew. */
static void take_intakes(struct intercept *in, const json_t *ports)
{
	for (size_t k = 0; k < json_array_size(ports) && k < INTERCEPT_PORTS; k++) {
		const json_t *j = json_array_get(ports, k);
		uint16_t port, intake;
		bool udp;

		if (take_port(j, "port", &port, NULL) || take_port(j, "intake", &intake, NULL) ||
		    take_protocol(j, &udp, NULL))
			continue;
		for (unsigned i = 0; i < in->nports; i++) {
			if (in->port[i].port == port && in->port[i].udp == udp)
				in->port[i].overlay = intake;
		}
	}
}

static int take_match(struct http_match *m, const json_t *match, struct error *e)
{
	json_t *same = json_pack("{s:O*, s:O*, s:O*}", "mode", json_object_get(match, "mode"),
				 "conditions", json_object_get(match, "conditions"), "path",
				 json_object_get(match, "pathPrefix"));
	int r = http_match_from_json(m, same, e);

	json_decref(same);
	if (r)
		return error_wrap(e, r, "'match'");
	return http_match_check(m, e);
}

/* How requests are told apart; a match of tcp would be one that nobody looks at. */
static int take_http(struct intercept *in, const json_t *spec, struct error *e)
{
	static const char *const keys[] = {"id", "match", "tagResponses"};
	const char *mechanism = object_text(spec, "mechanism", NULL);
	const char *id = object_text(spec, "id", NULL);

	if (!strcmp(mechanism, "tcp")) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			if (json_object_get(spec, keys[i]))
				return error_set(e, -EINVAL, "'%s' is for 'mechanism' http alone",
						 keys[i]);
		}
		return 0;
	}
	if (strcmp(mechanism, "http") != 0)
		return error_set(e, -EINVAL, "'mechanism' must be tcp or http");
	if (!http_id_valid(id))
		return error_set(e, -EINVAL, "'id' must be %d hex digits", HTTP_ID_LEN);
	in->mechanism = MECHANISM_HTTP;
	memcpy(in->id, id, sizeof(in->id));
	in->tag_responses = json_is_true(json_object_get(spec, "tagResponses"));
	return take_match(&in->match, json_object_get(spec, "match"), e);
}

static int intercept_spec(struct intercept_object *o, const json_t *spec, struct error *e)
{
	uint8_t key[32];
	int r = take_text(spec, "user", o->user, sizeof(o->user), false, e);

	if (r == 0)
		r = take_text(spec, "session", o->session, sizeof(o->session), false, e);
	if (r == 0 && key_parse(key, o->session, NULL))
		r = error_set(e, -EINVAL, "'session' must be a Session's name, 64 hex digits");
	if (r == 0)
		r = take_name(spec, "name", o->in.name, sizeof(o->in.name), e);
	if (r == 0)
		r = take_kind(spec, &o->in.kind, e);
	if (r == 0)
		r = take_name(spec, "workload", o->in.workload, sizeof(o->in.workload), e);
	if (r == 0)
		r = take_name(spec, "service", o->in.service, sizeof(o->in.service), e);
	if (r == 0)
		r = take_http(&o->in, spec, e);
	if (r == 0)
		r = take_on_down(spec, &o->in, e);
	if (r == 0)
		r = take_ports(&o->in, spec, e);
	for (unsigned k = 0; r == 0 && k < o->in.nports; k++) {
		if (o->in.mechanism == MECHANISM_HTTP && o->in.port[k].udp)
			r = error_set(e, -EINVAL,
				      "port %u is UDP, where 'mechanism' cannot be http",
				      o->in.port[k].port);
	}
	return r;
}

int intercept_from_object(struct intercept_object *out, const json_t *object, struct error *e)
{
	struct intercept_object o = {.deleting = false};
	struct meta m = {o.object, sizeof(o.object), o.uid, o.version, &o.deleting};
	int64_t created = 0;
	int r = take_meta(&m, object, "Intercept", e);

	if (r == 0)
		r = take_name(object_get(object, "metadata", NULL), "namespace", o.in.ns,
			      sizeof(o.in.ns), e);
	if (r == 0)
		r = take_created(object, &created, e);
	if (r == 0)
		r = intercept_spec(&o, object_get(object, "spec", NULL), e);
	if (r)
		return error_wrap(e, r, "Intercept %.100s",
				  object_text(object, "metadata", "name", NULL));
	o.in.created = created < 0 ? 0 : (uint64_t)created;
	owner_name(o.in.owner, o.user);
	copy_text(o.phase, sizeof(o.phase), object_text(object, "status", "phase", NULL));
	copy_text(o.message, sizeof(o.message), object_text(object, "status", "message", NULL));
	copy_text(o.preview_url, sizeof(o.preview_url),
		  object_text(object, "status", "preview", "url", NULL));
	o.in.preview = o.in.mechanism == MECHANISM_HTTP && *o.preview_url;
	take_intakes(&o.in, object_get(object, "status", "ports", NULL));
	*out = o;
	return 0;
}
