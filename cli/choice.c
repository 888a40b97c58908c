/* SPDX-License-Identifier: Apache-2.0 */
/* Mechanism, match and preview: flags first, then what follows. */
#include "cli/choice.h"

#include <errno.h>

static enum said said(const struct args *a, const char *flag)
{
	if (!args_text(a, flag))
		return UNSAID;
	return args_bool(a, flag) ? SAID_YES : SAID_NO;
}

static int parse_match(struct choice *c, struct intercept_request *r, const struct args *a,
		       struct error *e)
{
	const char *path = args_text(a, "http-path-prefix");
	const char *const *match;
	unsigned n = args_many(a, "http-match", &match), i;
	int err = 0;

	for (i = 0; i < n && !err; i++)
		err = http_match_parse(&r->match, &c->match, match[i], e);
	c->path = path != NULL;
	return !err && path ? http_path_parse(&r->match, path, e) : err;
}

/* A flag that makes sense with HTTP alone, or NULL. */
static const char *http_flag(const struct choice *c, const struct args *a)
{
	if (c->match)
		return "--http-match";
	if (c->path)
		return "--http-path-prefix";
	if (args_bool(a, "tag-responses"))
		return "--tag-responses";
	if (c->preview == SAID_YES)
		return "--preview-url";
	return ingress_said(a) ? "--ingress-..." : NULL;
}

/* Requests cannot be told apart there. */
static const char *udp_port(const struct intercept_request *r)
{
	for (unsigned i = 0; i < r->nports; i++) {
		const char *slash = strchr(r->port[i].id, '/');

		if (slash && !strcmp(slash, "/udp"))
			return r->port[i].id;
	}
	return NULL;
}

static int check_against(struct choice *c, const struct intercept_request *r, const struct args *a,
			 struct error *e)
{
	const char *mechanism = args_text(a, "mechanism"), *other = http_flag(c, a);

	if (c->preview == SAID_NO && ingress_said(a))
		return error_set(e, -EINVAL,
				 "--preview-url=false says no preview, and --ingress-... how it is "
				 "reached: leave one out");
	if (mechanism && !strcmp(mechanism, "tcp")) {
		if (other)
			return error_set(e, -EINVAL,
					 "--mechanism=tcp takes all connections, and %s is about "
					 "HTTP requests: leave one out",
					 other);
		c->http = SAID_NO;
	} else if (mechanism || other) {
		c->http = SAID_YES;
	}
	if (c->http == SAID_YES && udp_port(r))
		return error_set(e, -EINVAL,
				 "--port %s is of UDP datagrams, and %s about HTTP requests: leave "
				 "one out",
				 udp_port(r), other ? other : "--mechanism=http");
	return 0;
}

int choice_from_flags(struct choice *c, struct intercept_request *r, const struct args *a,
		      struct error *e)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->preview = said(a, "preview-url");
	c->no_preview = c->preview == SAID_NO;
	r->tag_responses = args_bool(a, "tag-responses");
	err = parse_match(c, r, a, e);
	if (!err)
		err = ingress_from_flags(&c->ingress, a, e);
	if (!err)
		err = check_against(c, r, a, e);
	if (err)
		return err;
	if (c->http == SAID_NO)
		c->preview = SAID_NO;
	else if (ingress_said(a))
		c->preview = SAID_YES;
	return 0;
}

bool choice_is_open(const struct choice *c)
{
	return c->http == UNSAID || (c->path && !c->match) || c->preview != SAID_NO;
}

/* Why there can be no preview, of who is logged in; NULL = there can. */
static const char *no_gateway(const json_t *login)
{
	if (*get_text(login, "previews"))
		return NULL;
	if (json_is_false(json_object_get(login, "offer")))
		return "whether this cluster has a gateway for previews is not known, since "
		       "ConfigMap culvert could not be read: see `culvert status`, and try again";
	return "this cluster has no gateway for previews: an administrator runs `culvert install "
	       "--preview-domain DOMAIN`";
}

int choice_check_preview(const json_t *login, const char *instead, struct error *e)
{
	const char *why = get_text(login, "why");

	if (!json_is_true(json_object_get(login, "logged_in")))
		return error_set(
			e, -EPERM, "a preview URL needs a login%s%.500s%s%s", *why ? ": " : "", why,
			strstr(why, "culvert login") ? "" : "; run `culvert login`", instead);
	why = no_gateway(login);
	return why ? error_set(e, -EPERM, "%s%s", why, instead) : 0;
}

int choice_settle(struct choice *c, struct intercept_request *r, const json_t *login,
		  struct error *note, struct error *e)
{
	bool logged_in = json_is_true(json_object_get(login, "logged_in"));

	note->text[0] = '\0';
	if (c->preview == SAID_YES && choice_check_preview(login, CHOICE_NO_PREVIEW, e))
		return -EPERM;
	if (c->http == UNSAID)
		c->http = logged_in && !udp_port(r) ? SAID_YES : SAID_NO;
	r->mechanism = c->http == SAID_YES ? MECHANISM_HTTP : MECHANISM_TCP;
	if (c->http == SAID_YES && !c->match)
		r->match.mode = c->path && !logged_in ? HTTP_MATCH_ALL : HTTP_MATCH_AUTO;
	if (c->preview != UNSAID)
		return 0;
	c->preview = c->http == SAID_YES && logged_in ? SAID_YES : SAID_NO;
	if (c->preview == SAID_YES && no_gateway(login)) {
		c->preview = SAID_NO;
		error_set(note, 0, "No preview URL: %s", no_gateway(login));
	}
	return 0;
}
