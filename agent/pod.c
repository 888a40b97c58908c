/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent in a pod is told by its environment (docs/kubernetes.md, "The agent in a pod"). A native sidecar that ends keeps its
 * application from starting: so whatever is wrong is a line in the log, and what can be understood is done.
 */
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "agent/config.h"
#include "base/log.h"

#define TOKEN_FILE "/var/run/secrets/culvert.dev/token"
#define OWN_PREFIX "CULVERT_"

/* A port number of `j`; 0 when there is none. */
static uint16_t port_of(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 && v <= UINT16_MAX ? (uint16_t)v : 0;
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static bool listens_already(const struct agent_config *c, uint16_t listen, bool udp)
{
	for (unsigned i = 0; i < c->nports; i++) {
		if (sockaddr_port(&c->port[i].listen) == listen && c->port[i].udp == udp)
			return true;
	}
	return false;
}

static int take_port(struct agent_config *c, const struct ipaddr *pod, const json_t *j,
		     struct error *e)
{
	uint16_t listen = port_of(j, "listen"), application = port_of(j, "application");
	const char *protocol = text_of(j, "protocol");
	struct agent_port *p = &c->port[c->nports];
	const struct ipaddr any = {.family = 6};
	bool udp = !strcasecmp(protocol, "udp");

	if (!listen || !application || listen == application)
		return error_set(e, -EINVAL, "needs two port numbers, 'listen' and 'application'");
	if (*protocol && !udp && strcasecmp(protocol, "tcp"))
		return error_set(e, -EINVAL, "protocol '%.20s' is not known", protocol);
	if (c->nports == AGENT_PORTS || listens_already(c, listen, udp))
		return error_set(e, -EINVAL, "is one too many, or listens where another does");
	p->listen = sockaddr_from(&any, listen);
	p->application = sockaddr_from(pod, application);
	p->udp = udp;
	p->target = port_of(j, "target");
	if (!p->target)
		p->target = application;
	c->nports++;
	return 0;
}

static void take_ports(struct agent_config *c, const json_t *list)
{
	const char *text = getenv("CULVERT_POD_IP");
	struct ipaddr pod;
	struct error e;
	const json_t *j;
	size_t i;

	if (!text || ipaddr_parse(&pod, text)) {
		log_error("CULVERT_POD_IP: '%.60s' is no address; looking for the application at "
			  "127.0.0.1",
			  text ? text : "");
		ipaddr_parse(&pod, "127.0.0.1");
	}
	json_array_foreach((json_t *)(uintptr_t)list, i, j)
	{
		if (take_port(c, &pod, j, &e))
			log_error("CULVERT_AGENT: port %zu: %s; it is not served", i + 1, e.text);
	}
	if (!c->nports)
		log_error("CULVERT_AGENT: names no port that can be served");
}

static void take_workload(struct agent_config *c, const json_t *j)
{
	const char *kind = text_of(j, "kind"), *name = text_of(j, "workload");
	const char *ns = getenv("CULVERT_POD_NAMESPACE");

	if (workload_kind_parse(&c->kind, kind))
		log_error("CULVERT_AGENT: 'kind' is '%.40s', which is none", kind);
	if (!name_valid(name))
		log_error("CULVERT_AGENT: 'workload' is '%.80s', which is no name", name);
	snprintf(c->workload, sizeof(c->workload), "%s", name);
	snprintf(c->ns, sizeof(c->ns), "%s", ns ? ns : "");
}

static void take_manager(struct agent_config *c, const json_t *j)
{
	const char *key = text_of(j, "manager");
	const json_t *list = json_object_get(j, "endpoints"), *v;
	union sockaddr_any sa;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		const char *text = json_string_value(v);

		if (c->nendpoints == INVITE_ENDPOINTS)
			break;
		if (!text || sockaddr_parse(&sa, text) || !sockaddr_port(&sa))
			log_error("CULVERT_AGENT: endpoint '%.80s' is no ADDRESS:PORT",
				  text ? text : "");
		else
			sockaddr_format(&sa, c->endpoint[c->nendpoints++]);
	}
	if (key_parse(c->manager, key))
		log_error("CULVERT_AGENT: 'manager' is no key; passing traffic through, and no "
			  "more than that");
	else if (!c->nendpoints)
		log_error("CULVERT_AGENT: there is no endpoint of the manager; passing traffic "
			  "through, and no more than that");
	else
		c->has_manager = true;
}

/* Of our own image, or what the runtime says for want of a home in it: a developer's program would look for its files there. */
static bool is_images(const char *variable)
{
	return !strncmp(variable, "PATH=", 5) || !strcmp(variable, "HOME=/");
}

/* Ours was made of the application's. */
static void take_environment(struct agent_config *c)
{
	size_t bytes = 0;

	for (char **v = environ; *v; v++) {
		const char *eq = strchr(*v, '=');
		char name[256];

		if (!eq || eq == *v || eq - *v >= (ptrdiff_t)sizeof(name) ||
		    !strncmp(*v, OWN_PREFIX, sizeof(OWN_PREFIX) - 1) || is_images(*v))
			continue;
		bytes += strlen(*v);
		if (bytes > ENVIRONMENT_MAX) {
			log_warn("environment: larger than 512 KiB; the rest is left out");
			return;
		}
		snprintf(name, sizeof(name), "%.*s", (int)(eq - *v), *v);
		if (json_object_set_new(c->environment, name, json_string(eq + 1)))
			log_warn("environment: %.60s: not UTF-8; left out", name);
	}
}

static void take_all(struct agent_config *c)
{
	const char *text = getenv("CULVERT_AGENT");
	json_error_t je;
	json_t *j = json_loads(text ? text : "", 0, &je);

	if (!json_is_object(j)) {
		log_error("CULVERT_AGENT: %s; waiting to be replaced", j      ? "not a JSON object"
								       : text ? je.text
									      : "not set");
	} else {
		take_ports(c, json_object_get(j, "ports"));
		take_workload(c, j);
		take_manager(c, j);
	}
	json_decref(j);
}

int agent_config_from_pod(struct agent_config **cp)
{
	struct agent_config *c = calloc(1, sizeof(*c));
	const char *token = getenv("CULVERT_TOKEN");

	if (c) {
		c->kubernetes = true;
		c->environment = json_object();
		c->token = strdup(token ? token : TOKEN_FILE);
	}
	if (!c || !c->environment || !c->token) {
		agent_config_free(c);
		return -ENOMEM;
	}
	take_all(c);
	take_environment(c);
	*cp = c;
	return 0;
}
