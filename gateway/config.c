/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration; every mistake is told with file, line and column. */
#include "gateway/config.h"

#include <errno.h>
#include <stdio.h>

#include "conf/conf.h"

/* --- values ------------------------------------------------------------------------------------------------- */

/* The text of `key`, or of "" where it is absent and may be. */
static int text(const struct conf_node *map, const char *key, bool needed, const char **s,
		struct error *e)
{
	const struct conf_node *n = conf_get(map, key);
	int r;

	*s = "";
	if (!n || conf_is_null(n))
		return needed ? conf_need(map, key, &n, e) : 0;
	r = conf_string(n, s, e);
	if (r == 0 && needed && !**s)
		return conf_error(n, e, "'%s' must not be empty", key);
	return r;
}

/* NAME[:PORT]; the port in *port, or 443. */
static int split(const struct conf_node *n, char name[static NAME_TEXT + 1], uint16_t *port,
		 struct error *e)
{
	const char *s = NULL, *colon;
	int r = conf_string(n, &s, e);
	long value = 443;

	if (r)
		return r;
	if (host_name(text_of(s), name))
		return conf_error(n, e, "expected HOST or HOST:PORT, found '%.80s'", s);
	colon = strrchr(s, ':');
	if (colon && colon[1] != '\0' && !strchr(colon, ']'))
		value = strtol(colon + 1, NULL, 10);
	if (value < 1 || value > UINT16_MAX)
		return conf_error(n, e, "'%.80s' has no valid port", s);
	*port = (uint16_t)value;
	return 0;
}

static void set_site(struct site *s, const char *prefix, const char *name, uint16_t port)
{
	char number[8] = "";

	if (port != 443)
		snprintf(number, sizeof(number), ":%u", port);
	snprintf(s->name, sizeof(s->name), "%s%s", prefix, name);
	snprintf(s->authority, sizeof(s->authority), "%s%s", s->name, number);
}

/* --- sites -------------------------------------------------------------------------------------------------- */

static int take_domain(struct config *c, const struct conf_node *n, struct error *e)
{
	char name[NAME_TEXT + 1];
	uint16_t port = 0;
	int r = split(n, name, &port, e);

	if (r)
		return r;
	/* An id and a dot come before it. */
	if (strlen(name) > NAME_TEXT - ID_LEN - 1)
		return conf_error(n, e, "this domain is too long for names below it");
	set_site(&c->previews, "", name, port);
	set_site(&c->dashboard, "dashboard.", name, port);
	return 0;
}

static int take_hosts(struct config *c, const struct conf_node *root, const struct conf_node *n,
		      struct error *e)
{
	const struct conf_node *v = NULL;
	char name[NAME_TEXT + 1];
	uint16_t port = 0, dashboard_port = 0;
	int r = split(n, name, &port, e);

	if (r == 0)
		set_site(&c->previews, "", name, port);
	if (r == 0)
		r = conf_need(root, "dashboard-host", &v, e);
	if (r == 0)
		r = split(v, name, &dashboard_port, e);
	if (r)
		return r;
	set_site(&c->dashboard, "", name, dashboard_port);
	if (!strcmp(c->dashboard.authority, c->previews.authority))
		return conf_error(v, e,
				  "the dashboard needs an origin of its own: another port, or "
				  "another host than previews");
	c->by_path = true;
	r = conf_need(root, "dashboard", &v, e);
	return r ? r : conf_sockaddr(v, &c->dashboard_listen, e);
}

static int take_sites(struct config *c, const struct conf_node *root, struct error *e)
{
	const struct conf_node *domain = conf_get(root, "preview-domain"),
			       *host = conf_get(root, "preview-host");

	if (!domain == !host)
		return conf_error(root, e, "expected either 'preview-domain' or 'preview-host'");
	return domain ? take_domain(c, domain, e) : take_hosts(c, root, host, e);
}

/* --- the rest ----------------------------------------------------------------------------------------------- */

static int take_manager(struct config *c, const struct conf_node *root, struct error *e)
{
	const struct conf_node *n = NULL;
	int r = conf_need(root, "manager", &n, e);

	if (r == 0)
		r = split(n, c->manager_host_text, &c->manager_port, e);
	if (r)
		return r;
	/* An IPv6 address without its brackets. */
	c->manager_host = c->manager_host_text;
	if (*c->manager_host_text == '[') {
		c->manager_host_text[strlen(c->manager_host_text) - 1] = '\0';
		c->manager_host++;
	}
	return 0;
}

static int take_allow(struct config *c, const struct conf_node *n, struct error *e)
{
	int r = 0;

	if (!conf_is_list(n) || !conf_count(n) || conf_count(n) > CONFIG_ALLOW)
		return conf_error(n, e, "expected a list of 1 to %d CLAIM=VALUE", CONFIG_ALLOW);
	for (size_t i = 0; r == 0 && i < conf_count(n); i++) {
		const char **s = &c->allow[c->nallow++];

		r = conf_string(conf_at(n, i), s, e);
		if (r == 0 && (!strchr(*s, '=') || **s == '='))
			r = conf_error(conf_at(n, i), e, "expected CLAIM=VALUE, found '%.80s'", *s);
	}
	return r;
}

static int take_oidc(struct config *c, const struct conf_node *n, struct error *e)
{
	static const char *const keys[] = {"issuer", "client-id", "scopes", "ca", "allow", NULL};
	const struct conf_node *allow = NULL;
	int r = conf_keys(n, keys, e);

	if (r == 0)
		r = text(n, "issuer", true, &c->issuer, e);
	if (r == 0)
		r = text(n, "client-id", true, &c->client_id, e);
	if (r == 0)
		r = text(n, "scopes", false, &c->scopes, e);
	if (r == 0)
		r = text(n, "ca", false, &c->oidc_ca, e);
	if (r == 0)
		r = conf_need(n, "allow", &allow,
			      e); /* else everybody whom the issuer knows may enter */
	if (r == 0)
		r = take_allow(c, allow, e);
	c->has_oidc = r == 0;
	return r;
}

static int take_files(struct config *c, const struct conf_node *root, struct error *e)
{
	const struct {
		const char *key;
		bool needed;
		const char **to;
	} files[] = {
		{"manager-name", true, &c->manager_name},
		{"ca", true, &c->ca},
		{"token", true, &c->token},
		{"keys", true, &c->keys},
		{"tls", false, &c->tls},
		{"ingress-ca", false, &c->ingress_ca},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
		r = text(root, files[i].key, files[i].needed, files[i].to, e);
	return r;
}

static int take(struct config *c, struct error *e)
{
	static const char *const keys[] = {"listen",
					   "dashboard",
					   "preview-domain",
					   "preview-host",
					   "dashboard-host",
					   "manager",
					   "manager-name",
					   "ca",
					   "token",
					   "keys",
					   "tls",
					   "oidc",
					   "ingress-ca",
					   NULL};
	const struct conf_node *root = conf_root(c->document), *n = NULL;
	int r = conf_keys(root, keys, e);

	if (r == 0)
		r = conf_need(root, "listen", &n, e);
	if (r == 0)
		r = conf_sockaddr(n, &c->listen, e);
	if (r == 0)
		r = take_sites(c, root, e);
	if (r == 0)
		r = take_manager(c, root, e);
	if (r == 0)
		r = take_files(c, root, e);
	n = r == 0 ? conf_get(root, "oidc") : NULL;
	return n && !conf_is_null(n) ? take_oidc(c, n, e) : r;
}

int config_parse(struct config *c, const char *name, const char *data, size_t len, struct error *e)
{
	int r;

	*c = (struct config){.document = NULL};
	r = conf_parse(&c->document, name, data, len, e);
	if (r == 0)
		r = take(c, e);
	if (r)
		config_free(c);
	return r;
}

int config_load(struct config *c, const char *path, struct error *e)
{
	int r;

	*c = (struct config){.document = NULL};
	r = conf_load(&c->document, path, e);
	if (r == 0)
		r = take(c, e);
	if (r)
		config_free(c);
	return r;
}

void config_free(struct config *c)
{
	conf_free(c->document);
	c->document = NULL;
}
