/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports of the mark in this pod.
 *
 * A named port comes to the agent by giving its name to a port of the agent: services look a name up in each pod. The
 * application's port gets another name, and with it whatever in its container uses the name: probes and hooks go to the
 * application as before, since a probe answered by a laptop would have the pod killed at a breakpoint.
 *
 * A number is redirected, for all that comes from outside the pod; the kubelet's probes come from there too. They get a number of
 * their own, which is redirected to the application.
 */
#include <stdarg.h>
#include <stdio.h>

#include "inject/internal.h"

void plan_warn(struct plan *p, const char *fmt, ...)
{
	enum { WARNINGS = 16 };
	char text[512];
	va_list ap;

	if (json_array_size(p->warnings) >= WARNINGS)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(p->warnings, json_string(text));
}

void patch_add(struct plan *p, const char *op, const char *path, json_t *value)
{
	json_array_append_new(p->patch,
			      json_pack("{s:s, s:s, s:o}", "op", op, "path", path, "value", value));
}

bool place_next(const json_t *spec, struct place *p)
{
	const json_t *list;

	if (p->container)
		p->index++;
	for (;;) {
		list = json_object_get(spec, p->init ? "initContainers" : "containers");
		for (; p->index < json_array_size(list); p->index++) {
			p->container = json_array_get(list, p->index);
			if (!p->init ||
			    !strcmp(object_text(p->container, "restartPolicy", NULL), "Always"))
				return true;
		}
		if (p->init)
			return false;
		p->init = true;
		p->index = 0;
	}
}

static int place_path(const struct place *p, char *to, size_t size)
{
	return snprintf(to, size, "/spec/%s/%zu", p->init ? "initContainers" : "containers",
			p->index);
}

/* --- numbers and names in use ---------------------------------------------------------------------------- */

static void use_port(struct plan *p, json_int_t port)
{
	if (port > 0 && port <= UINT16_MAX)
		p->used[port / 64] |= 1ull << (port % 64);
}

static uint16_t free_port(struct plan *p)
{
	for (unsigned port = AGENT_PORT_FIRST; port <= UINT16_MAX; port++) {
		if (!(p->used[port / 64] >> (port % 64) & 1)) {
			use_port(p, port);
			return (uint16_t)port;
		}
	}
	return 0;
}

/* How the kubelet asks a container, and where. */
static const char *const askers[][2] = {
	{"livenessProbe", NULL},    {"readinessProbe", NULL}, {"startupProbe", NULL},
	{"lifecycle", "postStart"}, {"lifecycle", "preStop"},
};
static const char *const handlers[] = {"httpGet", "tcpSocket", "grpc"};

struct ask {
	unsigned at; /* of all askers and handlers; 0 before the first */
	const json_t *port;
	bool elsewhere; /* it names a host; a name of a port is looked up in the container all the same */
	char path[64]; /* within the container */
};

/* The next probe or hook of the container that asks a port. */
static bool next_ask(const json_t *container, struct ask *a)
{
	while (a->at < ARRAY_SIZE(askers) * ARRAY_SIZE(handlers)) {
		const char *const *asker = askers[a->at / ARRAY_SIZE(handlers)];
		const char *handler = handlers[a->at % ARRAY_SIZE(handlers)];
		const json_t *h = json_object_get(container, asker[0]);

		a->at++;
		if (asker[1])
			h = json_object_get(h, asker[1]);
		h = json_object_get(h, handler);
		a->port = json_object_get(h, "port");
		a->elsewhere = *object_text(h, "host", NULL) != '\0';
		if (!a->port)
			continue;
		snprintf(a->path, sizeof(a->path), "/%s%s%s/%s/port", asker[0], asker[1] ? "/" : "",
			 asker[1] ? asker[1] : "", handler);
		return true;
	}
	return false;
}

static void use_name(struct plan *p, const char *name)
{
	if (*name)
		json_object_set_new(p->names, name, json_true());
}

/* How many ports it has. */
static size_t survey_container(struct plan *p, const json_t *container)
{
	const json_t *ports = json_object_get(container, "ports");
	struct ask a = {.at = 0};

	for (size_t i = 0; i < json_array_size(ports) && i < POD_PORTS; i++) {
		const json_t *port = json_array_get(ports, i);

		use_port(p, json_integer_value(json_object_get(port, "containerPort")));
		use_name(p, object_text(port, "name", NULL));
	}
	while (next_ask(container, &a))
		use_port(p, json_integer_value(a.port));
	return json_array_size(ports);
}

bool plan_survey(struct plan *p)
{
	static const char *const lists[] = {"containers", "initContainers"};
	size_t containers = 0, ports = 0;

	for (unsigned i = 0; i < p->mark.nports; i++) {
		use_port(p, p->mark.port[i].target);
		use_name(p, p->mark.port[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const json_t *list = json_object_get(p->spec, lists[i]);

		for (size_t k = 0; k < json_array_size(list); k++) {
			ports += survey_container(p, json_array_get(list, k));
			if (++containers > POD_CONTAINERS || ports > POD_PORTS)
				return false;
		}
	}
	return true;
}

/* "http" -> "culvert-http", or "culvert-http-2"; at most 15 characters, no '-' at an end or beside another. */
static void new_name(struct plan *p, const char *name, char to[static PORT_NAME_MAX + 1])
{
	char head[PORT_NAME_MAX + 1], tail[8] = "";
	size_t n;

	for (unsigned i = 1; i < 4 * POD_PORTS; i++) {
		if (i > 1)
			snprintf(tail, sizeof(tail), "-%u", i);
		snprintf(head, sizeof(head), "culvert-%s", name);
		n = MIN(strlen(head), PORT_NAME_MAX - strlen(tail));
		while (n && head[n - 1] == '-')
			n--;
		snprintf(to, PORT_NAME_MAX + 1, "%.*s%s", (int)n, head, tail);
		if (!json_object_get(p->names, to)) {
			use_name(p, to);
			return;
		}
	}
}

/* --- by name ------------------------------------------------------------------------------------------------ */

static bool port_has(const json_t *port, const char *name, bool udp)
{
	const char *protocol = object_text(port, "protocol", NULL);

	return (!name || !strcmp(object_text(port, "name", NULL), name)) &&
	       !strcmp(*protocol ? protocol : "TCP", udp ? "UDP" : "TCP");
}

static void rename_asks(struct plan *p, const struct place *at, const char *name, const char *to)
{
	char path[128];
	struct ask a = {.at = 0};

	while (next_ask(at->container, &a)) {
		const char *port = json_string_value(a.port);
		int n = place_path(at, path, sizeof(path));

		if (!port || strcmp(port, name) != 0)
			continue;
		snprintf(path + n, sizeof(path) - (size_t)n, "%s", a.path);
		patch_add(p, "replace", path, json_string(to));
	}
}

/* Takes the name from every container that has it: a second one would be found in place of the agent's. The number of the first. */
static uint16_t rename_port(struct plan *p, const struct mark_port *m)
{
	struct place at = {.container = NULL};
	char path[96], to[PORT_NAME_MAX + 1];
	uint16_t number = 0;

	while (place_next(p->spec, &at)) {
		const json_t *ports = json_object_get(at.container, "ports");

		for (size_t i = 0; i < json_array_size(ports); i++) {
			const json_t *port = json_array_get(ports, i);
			json_int_t v = json_integer_value(json_object_get(port, "containerPort"));
			int n = place_path(&at, path, sizeof(path));

			if (!port_has(port, m->name, m->udp) || v < 1 || v > UINT16_MAX)
				continue;
			new_name(p, m->name, to);
			snprintf(path + n, sizeof(path) - (size_t)n, "/ports/%zu/name", i);
			patch_add(p, "replace", path, json_string(to));
			rename_asks(p, &at, m->name, to);
			if (number)
				continue;
			number = (uint16_t)v;
			if (!p->app)
				p->app = at.container;
		}
	}
	return number;
}

static bool named_already(const struct plan *p, const char *name)
{
	for (unsigned i = 0; i < p->nports; i++) {
		if (!strcmp(p->port[i].name, name))
			return true;
	}
	return false;
}

/* --- by number ------------------------------------------------------------------------------------------------ */

static json_int_t asked_port(const json_t *container, const json_t *port)
{
	const json_t *ports = json_object_get(container, "ports");

	if (json_is_integer(port))
		return json_integer_value(port);
	for (size_t i = 0; json_is_string(port) && i < json_array_size(ports); i++) {
		const json_t *of = json_array_get(ports, i);

		if (port_has(of, json_string_value(port), false))
			return json_integer_value(json_object_get(of, "containerPort"));
	}
	return 0;
}

static void move_asks(struct plan *p, uint16_t target)
{
	struct place at = {.container = NULL};
	uint16_t to = 0;
	char path[128];

	while (place_next(p->spec, &at)) {
		struct ask a = {.at = 0};

		while (next_ask(at.container, &a)) {
			int n = place_path(&at, path, sizeof(path));

			if (a.elsewhere || asked_port(at.container, a.port) != target)
				continue;
			if (!to) {
				to = free_port(p);
				json_array_append_new(p->redirects,
						      json_sprintf("%u:%u", to, target));
			}
			snprintf(path + n, sizeof(path) - (size_t)n, "%s", a.path);
			patch_add(p, "replace", path, json_integer(to));
		}
	}
}

static void redirect_port(struct plan *p, const struct mark_port *m, uint16_t listen)
{
	struct place at = {.container = NULL};

	json_array_append_new(p->redirects,
			      json_sprintf("%u:%u%s", m->target, listen, m->udp ? "/udp" : ""));
	if (!m->udp)
		move_asks(p, m->target);
	while (!p->app && place_next(p->spec, &at)) {
		const json_t *ports = json_object_get(at.container, "ports");

		for (size_t i = 0; i < json_array_size(ports); i++) {
			const json_t *port = json_array_get(ports, i);

			if (port_has(port, NULL, m->udp) &&
			    json_integer_value(json_object_get(port, "containerPort")) == m->target)
				p->app = at.container;
		}
	}
	if (!p->app) /* a port need not be declared */
		p->app = json_array_get(json_object_get(p->spec, "containers"), 0);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

static void plan_port(struct plan *p, const struct mark_port *m)
{
	struct plan_port *to = &p->port[p->nports];
	const char *protocol = m->udp ? "UDP" : "TCP";

	*to = (struct plan_port){.application = m->target, .udp = m->udp};
	if (m->how == MARK_RENAME) {
		if (named_already(p, m->name)) {
			plan_warn(
				p,
				"culvert: port name %s is used for TCP and UDP; its %s port is not "
				"intercepted in this pod.",
				m->name, protocol);
			return;
		}
		to->application = rename_port(p, m);
		if (!to->application) {
			plan_warn(p,
				  "culvert: no container of this pod has a %s port named %s; it is "
				  "not "
				  "intercepted in this pod.",
				  protocol, m->name);
			return;
		}
		memcpy(to->name, m->name, sizeof(to->name));
	}
	to->listen = free_port(p);
	p->nports++;
	if (m->how == MARK_REDIRECT)
		redirect_port(p, m, to->listen);
}

/* Names first: where the pod has one at a number that is redirected, its probes must end up with the number that leads past the agent. */
void plan_ports(struct plan *p)
{
	static const enum mark_how order[] = {MARK_RENAME, MARK_REDIRECT};

	for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
		for (unsigned i = 0; i < p->mark.nports; i++) {
			if (p->mark.port[i].how == order[k])
				plan_port(p, &p->mark.port[i]);
		}
	}
}
