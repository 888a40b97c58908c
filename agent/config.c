/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration; every mistake is told with file, line and column. */
#include "agent/config.h"

#include <errno.h>
#include <stdio.h>

#include "base/file.h"
#include "conf/conf.h"
#include "crypto/crypto.h"

static int need_text(const struct conf_node *map, const char *key, char **to, struct error *e)
{
	const struct conf_node *n = NULL;
	const char *s = NULL;
	int r = conf_need(map, key, &n, e);

	if (r == 0)
		r = conf_string(n, &s, e);
	if (r)
		return r;
	*to = strdup(s);
	return *to ? 0 : error_errno(e, -ENOMEM, "configuration");
}

static int take_name(const struct conf_node *n, char to[static K8S_NAME_MAX + 1], struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	if (!name_valid(s))
		return conf_error(
			n, e,
			"'%.80s' is no valid name: use 1 to 63 letters, digits, '.', '_' and '-'",
			s);
	snprintf(to, K8S_NAME_MAX + 1, "%s", s);
	return 0;
}

static int take_kind(const struct conf_node *n, enum workload_kind *k, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r == 0 && workload_kind_parse(k, s))
		r = conf_error(
			n, e, "expected deployment, replicaset, statefulset or host, found '%.40s'",
			s);
	return r;
}

static int take_addresses(const struct conf_node *n, struct agent_port *p, struct error *e)
{
	const struct conf_node *v = NULL;
	struct ipaddr a;
	int r = conf_need(n, "listen", &v, e);

	if (r == 0)
		r = conf_sockaddr(v, &p->listen, e);
	if (r == 0 && sockaddr_port(&p->listen) == 0)
		r = conf_error(v, e, "the port must not be 0: clients must know it");
	if (r == 0)
		r = conf_need(n, "application", &v, e);
	if (r == 0)
		r = conf_sockaddr(v, &p->application, e);
	if (r)
		return r;
	a = sockaddr_ip(&p->application);
	if (ipaddr_is_unspecified(&a) || sockaddr_port(&p->application) == 0)
		return conf_error(v, e, "the application's address and port must be exact");
	if (sockaddr_equal(&p->listen, &p->application))
		return conf_error(v, e, "the application cannot be where the agent itself listens");
	return 0;
}

static int take_protocol(const struct conf_node *n, bool *udp, struct error *e)
{
	const char *s = NULL;
	int r = conf_string(n, &s, e);

	if (r)
		return r;
	*udp = !strcmp(s, "udp");
	if (!*udp && strcmp(s, "tcp"))
		return conf_error(n, e, "expected tcp or udp, found '%.40s'", s);
	return 0;
}

static int take_port(struct agent_config *c, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"listen", "application", "target", "protocol", NULL};
	struct agent_port *p = &c->port[c->nports];
	const struct conf_node *v = NULL;
	long target = 0;
	int r = conf_keys(n, keys, e);

	if (r == 0)
		r = take_addresses(n, p, e);
	target = sockaddr_port(&p->listen);
	v = conf_get(n, "target");
	if (r == 0 && v)
		r = conf_int(v, 1, UINT16_MAX, &target, e);
	v = conf_get(n, "protocol");
	if (r == 0 && v)
		r = take_protocol(v, &p->udp, e);
	if (r)
		return r;
	p->target = (uint16_t)target;
	for (unsigned i = 0; i < c->nports; i++) {
		if (c->port[i].udp == p->udp && sockaddr_equal(&c->port[i].listen, &p->listen))
			return conf_error(n, e, "two ports listen at the same address");
	}
	c->nports++;
	return 0;
}

static int take_ports(struct agent_config *c, const struct conf_node *n, struct error *e)
{
	int r = 0;

	if (!conf_is_list(n) || conf_count(n) == 0 || conf_count(n) > AGENT_PORTS)
		return conf_error(n, e, "expected a list of 1 to %d ports", AGENT_PORTS);
	for (size_t i = 0; r == 0 && i < conf_count(n); i++)
		r = take_port(c, conf_at(n, i), e);
	return r;
}

static int take_environment(struct agent_config *c, const struct conf_node *n, struct error *e)
{
	size_t bytes = 0;

	if (!conf_is_map(n))
		return conf_error(n, e, "expected a mapping of names to values");
	for (size_t i = 0; i < conf_count(n); i++) {
		const char *value = NULL;
		int r = conf_string(conf_at(n, i), &value, e);

		if (r)
			return r;
		bytes += strlen(conf_key_at(n, i)) + strlen(value);
		if (bytes > ENVIRONMENT_MAX)
			return conf_error(conf_at(n, i), e,
					  "the environment is larger than 512 KiB");
		if (json_object_set_new(c->environment, conf_key_at(n, i), json_string(value)))
			return conf_error(conf_at(n, i), e, "name and value must be UTF-8");
	}
	return 0;
}

static int take_all(struct agent_config *c, const struct conf_node *root, struct error *e)
{
	static const char *const keys[] = {"invite",	"state", "kind",	"workload",
					   "namespace", "ports", "environment", "environment-file",
					   NULL};
	const struct conf_node *v = NULL;
	int r = conf_keys(root, keys, e);

	if (r == 0)
		r = need_text(root, "invite", &c->invite, e);
	if (r == 0)
		r = need_text(root, "state", &c->state, e);
	if (r == 0)
		r = conf_need(root, "workload", &v, e);
	if (r == 0)
		r = take_name(v, c->workload, e);
	if (r == 0 && (v = conf_get(root, "namespace")))
		r = take_name(v, c->ns, e);
	if (r == 0 && (v = conf_get(root, "kind")))
		r = take_kind(v, &c->kind, e);
	if (r == 0)
		r = conf_need(root, "ports", &v, e);
	if (r == 0)
		r = take_ports(c, v, e);
	if (r == 0 && (v = conf_get(root, "environment")))
		r = take_environment(c, v, e);
	if (r == 0 && conf_get(root, "environment-file"))
		r = need_text(root, "environment-file", &c->environment_file, e);
	return r;
}

void agent_config_free(struct agent_config *c)
{
	if (!c)
		return;
	json_decref(c->environment);
	free(c->environment_file);
	free(c->token);
	free(c->invite);
	free(c->state);
	free(c);
}

static void free_config(struct agent_config **c)
{
	agent_config_free(*c);
}

int agent_config_load(struct agent_config **cp, const char *path, struct error *e)
{
	cleanup(free_config) struct agent_config *c = calloc(1, sizeof(*c));
	struct conf *doc = NULL;
	int r;

	if (!c || !(c->environment = json_object()))
		return error_errno(e, -ENOMEM, "configuration");
	snprintf(c->ns, sizeof(c->ns), "default");
	r = conf_load(&doc, path, e);
	if (r)
		return r;
	r = take_all(c, conf_root(doc), e);
	conf_free(doc);
	if (r)
		return r;
	*cp = steal_ptr(c);
	return 0;
}

/* --- environment file --------------------------------------------------------------------------------------- */

/* One NAME=VALUE; comments and empty lines are no variables. False: it cannot be carried (not UTF-8, no name). */
static bool add_variable(json_t *env, char *line)
{
	char *eq = strchr(line, '=');
	bool ok;

	if (!*line || *line == '#')
		return true;
	if (!eq || eq == line)
		return false;
	*eq = '\0';
	ok = json_object_set_new(env, line, json_string(eq + 1)) == 0;
	*eq = '=';
	return ok;
}

/* NAME=VALUE by line, or, as in /proc/PID/environ, each ended by NUL. */
static int add_file(json_t *env, const char *path, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len = 0, skipped = 0;
	int r = file_read(path, ENVIRONMENT_MAX, &text, &len, e);
	char end;

	if (r)
		return r;
	end = memchr(text, 0, len) ? '\0' : '\n';
	for (char *at = text; at < text + len;) {
		char *stop = memchr(at, end, (size_t)(text + len - at));

		stop = stop ? stop : text + len;
		*stop = '\0';
		skipped += !add_variable(env, at);
		at = stop + 1;
	}
	if (skipped)
		return error_set(e, -EINVAL,
				 "%s: %zu lines are no NAME=VALUE in UTF-8 and were left out", path,
				 skipped);
	return 0;
}

json_t *agent_environment(const struct agent_config *c, bool *partial, struct error *e)
{
	json_t *env = json_object();

	*partial = false;
	if (env && c->environment_file)
		*partial = add_file(env, c->environment_file, e) != 0;
	/* What the configuration says wins. */
	if (env)
		json_object_update(env, c->environment);
	return env;
}
