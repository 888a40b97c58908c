/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Previews: what status.preview of an Intercept says, and the calls by which its laptop changes it. Kept nowhere else, so that a
 * restarted manager knows them all. Of a link only its secret's digest is kept.
 */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

static int64_t today(void)
{
	return (int64_t)(clock_real() / NSEC_PER_SEC);
}

/* --- the text of it -------------------------------------------------------------------------------------------- */

void preview_url(char *to, size_t size, const struct record *r)
{
	const struct config_gateway *g = &r->k->m->cfg->gateway;

	if (*g->domain)
		snprintf(to, size, "https://%s.%s/", r->o.in.id, g->domain);
	else if (*g->host)
		snprintf(to, size, "https://%s/p/%s/", g->host, r->o.in.id);
	else
		*to = '\0';
}

/* A link with the secret in it. */
static void link_url(char *to, size_t size, const struct record *r, const char *secret)
{
	char url[PREVIEW_URL_MAX];

	preview_url(url, sizeof(url), r);
	snprintf(to, size, "%s%s/%s", url,
		 *r->k->m->cfg->gateway.domain ? ".culvert/share" : "share", secret);
}

json_t *preview_ingress_json(const struct preview_ingress *i)
{
	return json_pack("{s:s, s:i, s:b, s:s, s:b}", "host", i->host, "port", i->port, "tls",
			 i->tls, "l5", i->l5, "verify", i->verify);
}

json_t *preview_shares_json(const struct preview *p)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < p->nshares; i++)
		json_array_append_new(list, json_pack("{s:s, s:I}", "hash", p->share[i].hash,
						      "expires", (json_int_t)p->share[i].expires));
	return list;
}

json_t *preview_status(const struct record *r)
{
	const struct preview *p = r->preview;
	char url[PREVIEW_URL_MAX];

	if (!p)
		return json_null();
	preview_url(url, sizeof(url), r);
	return json_pack("{s:s, s:{s:s, s:i, s:b, s:s, s:b}, s:o}", "url", url, "ingress", "host",
			 p->ingress.host, "port", p->ingress.port, "tls", p->ingress.tls, "l5Host",
			 p->ingress.l5, "verify", p->ingress.verify, "shares",
			 preview_shares_json(p));
}

/* --- from a status or a call -------------------------------------------------------------------------------------- */

/* `l5`: what the member is called. False: something is missing or cannot be. */
static bool read_ingress(struct preview_ingress *i, const json_t *o, const char *l5)
{
	const char *host = json_string_value(json_object_get(o, "host"));
	const char *layer5 = json_string_value(json_object_get(o, l5));
	json_int_t port = json_integer_value(json_object_get(o, "port"));

	layer5 = layer5 ? layer5 : "";
	if (!host || !*host || strlen(host) > DOMAIN_MAX_LEN || strlen(layer5) > DOMAIN_MAX_LEN ||
	    port < 1 || port > UINT16_MAX)
		return false;
	memcpy(i->host, host, strlen(host) + 1);
	memcpy(i->l5, layer5, strlen(layer5) + 1);
	i->port = (uint16_t)port;
	i->tls = json_is_true(json_object_get(o, "tls"));
	i->verify = !json_is_false(json_object_get(o, "verify"));
	return true;
}

static void read_shares(struct preview *p, const json_t *list)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		const char *hash = object_text(o, "hash", NULL);

		if (p->nshares == PREVIEW_SHARES || strlen(hash) != SHARE_HASH_LEN)
			continue;
		memcpy(p->share[p->nshares].hash, hash, SHARE_HASH_LEN + 1);
		p->share[p->nshares++].expires = json_integer_value(json_object_get(o, "expires"));
	}
}

void preview_restore(struct record *r, const json_t *object)
{
	const json_t *o = object_get(object, "status", "preview", NULL);
	struct preview *p = json_is_object(o) && *r->o.in.id ? calloc(1, sizeof(*p)) : NULL;
	struct own_targets own;
	struct error e;

	r->o.in.preview = false;
	if (!p)
		return;
	cluster_own(r->k, &own);
	if (!read_ingress(&p->ingress, json_object_get(o, "ingress"), "l5Host") ||
	    target_check(&own, &p->ingress, &e)) {
		free(p);
		return;
	}
	read_shares(p, json_object_get(o, "shares"));
	r->preview = p;
	r->o.in.preview = true;
}

void preview_drop(struct record *r)
{
	free(steal_ptr(r->preview));
	r->o.in.preview = false;
}

void preview_move(struct record *from, struct record *to)
{
	if (!from->preview || to->preview || !*to->o.in.id)
		return;
	to->preview = steal_ptr(from->preview);
	to->o.in.preview = true;
	from->o.in.preview = false;
}

static bool forget_expired(struct preview *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->nshares; i++) {
		if (p->share[i].expires > today())
			p->share[n++] = p->share[i];
	}
	n = p->nshares - n;
	p->nshares -= n;
	return n > 0;
}

void previews_tick(struct kubernetes *k)
{
	bool changed = false;

	for (struct record *r = k->records; r; r = r->next)
		changed |= r->preview && forget_expired(r->preview);
	if (changed)
		records_changed(k);
}

/* --- calls of laptops --------------------------------------------------------------------------------------------- */

/* The Intercept that the call is about, of the caller's session; NULL: refused. */
static struct record *own_record(struct control_conn *c, const json_t *params,
				 struct rpc_request *req)
{
	const char *uid = json_string_value(json_object_get(params, "uid"));
	struct record *r = uid ? record_find(c->m->kube, uid) : NULL;

	if (r && !r->damaged && !r->o.deleting && !strcmp(r->o.session, c->peer->session->o.name))
		return r;
	rpc_fail(req, RPC_NOT_FOUND, "There is no such intercept of this session.");
	return NULL;
}

static struct record *own_preview(struct control_conn *c, const json_t *params,
				  struct rpc_request *req)
{
	struct record *r = own_record(c, params, req);

	if (!r || r->preview)
		return r;
	rpc_fail(req, RPC_NOT_FOUND,
		 "The intercept %s has no preview; `culvert preview create %s` makes one.",
		 r->o.in.name, r->o.in.name);
	return NULL;
}

static bool may_preview(struct record *r, const struct preview_ingress *i, struct rpc_request *req)
{
	struct kubernetes *k = r->k;
	struct own_targets own;
	unsigned n = 0;
	struct error e;

	cluster_own(k, &own);
	for (const struct record *o = k->records; o; o = o->next)
		n += o->preview && o != r;
	if (!*k->m->cfg->gateway.domain && !*k->m->cfg->gateway.host)
		rpc_fail(req, RPC_FAILED,
			 "There are no previews in this cluster; an administrator adds them: "
			 "culvert install --preview-domain DOMAIN");
	else if (r->o.in.mechanism != MECHANISM_HTTP || !*r->o.in.id)
		rpc_fail(req, RPC_USAGE,
			 "The intercept %s takes connections, not requests; intercept again with "
			 "--mechanism=http.",
			 r->o.in.name);
	else if (target_check(&own, i, &e))
		rpc_fail(req, RPC_USAGE, "%s", e.text);
	else if (n >= PREVIEWS_MAX)
		rpc_fail(req, RPC_FAILED, "There are %d previews, as many as the manager takes.",
			 PREVIEWS_MAX);
	else
		return true;
	return false;
}

static void add_share(struct record *r, int64_t expires, char *link, size_t size)
{
	struct preview *p = r->preview;
	char secret[TICKET_LEN + 1];

	secret_make(secret, p->share[p->nshares].hash);
	p->share[p->nshares++].expires = expires;
	link_url(link, size, r, secret);
	crypto_wipe(secret, sizeof(secret));
}

void preview_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct record *r = own_record(c, params, req);
	struct preview_ingress in = {.port = 0};
	char url[PREVIEW_URL_MAX], link[PREVIEW_URL_MAX];
	json_t *answer;

	if (!r)
		return;
	if (!read_ingress(&in, json_object_get(params, "ingress"), "l5")) {
		rpc_fail(req, RPC_USAGE, "A preview needs the host and the port of an ingress.");
		return;
	}
	if (!may_preview(r, &in, req))
		return;
	if (!r->preview && !(r->preview = calloc(1, sizeof(*r->preview)))) {
		rpc_fail(req, RPC_FAILED, "The manager has no memory.");
		return;
	}
	r->preview->ingress = in;
	r->o.in.preview = true;
	forget_expired(r->preview);
	preview_url(url, sizeof(url), r);
	answer = json_pack("{s:s}", "url", url);
	/* Nobody could enter without one where nobody can log in. */
	if (!*c->m->cfg->oidc.issuer && !r->preview->nshares) {
		add_share(r, today() + SHARE_DEFAULT_S, link, sizeof(link));
		json_object_set_new(answer, "share", json_string(link));
	}
	log_info("intercept %s/%s of %s: preview by %s:%u", r->o.in.ns, r->o.in.name, r->o.user,
		 in.host, in.port);
	settle_answer(r, req, answer);
}

void preview_remove_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct record *r = own_record(c, params, req);

	if (!r)
		return;
	preview_drop(r);
	settle_answer(r, req, json_object());
}

void share_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	const json_t *wanted = json_object_get(params, "expires_s");
	json_int_t seconds = wanted ? json_integer_value(wanted) : SHARE_DEFAULT_S;
	struct record *r = own_preview(c, params, req);
	char link[PREVIEW_URL_MAX];
	int64_t expires;

	if (!r)
		return;
	forget_expired(r->preview);
	if (seconds < 1 || seconds > SHARE_MAX_S) {
		rpc_fail(req, RPC_USAGE, "A link holds for at least a second and at most 30 days.");
		return;
	}
	if (r->preview->nshares == PREVIEW_SHARES) {
		rpc_fail(req, RPC_FAILED,
			 "The preview has %d links that still hold, as many as it may have; end "
			 "them with: culvert preview revoke %s",
			 PREVIEW_SHARES, r->o.in.name);
		return;
	}
	expires = today() + seconds;
	add_share(r, expires, link, sizeof(link));
	settle_answer(r, req,
		      json_pack("{s:s, s:I}", "link", link, "expires", (json_int_t)expires));
}

void unshare_call(struct control_conn *c, const json_t *params, struct rpc_request *req)
{
	struct record *r = own_preview(c, params, req);

	if (!r)
		return;
	r->preview->nshares = 0;
	settle_answer(r, req, json_object());
}
