/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager said: checked before anything of it gets into a head or a name look-up. */
#include <errno.h>
#include <stdio.h>

#include "gateway/internal.h"

/* --- texts -------------------------------------------------------------------------------------------------- */

/* Visible ASCII, and spaces: what a field's value may be. */
static int take(json_t *o, const char *key, char *to, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));
	size_t len = s ? strlen(s) : 0;

	if (!s || len >= size)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] < 0x20 || (unsigned char)s[i] >= 0x7f)
			return -EINVAL;
	}
	memcpy(to, s, len + 1);
	return 0;
}

static int take_host(json_t *o, const char *key, char *to, size_t size)
{
	char name[NAME_TEXT + 1];
	int r = take(o, key, to, size);

	return r == 0 && *to ? host_name(text_of(to), name) : r;
}

/* --- previews ----------------------------------------------------------------------------------------------- */

/* A name, or an address, which stands in brackets where it is part of an URL. */
static int take_ingress(struct preview *p, json_t *o)
{
	json_int_t port = json_integer_value(json_object_get(o, "port"));
	struct ipaddr a = {.family = 0};

	if (take(o, "host", p->host, sizeof(p->host)) || port < 1 || port > UINT16_MAX ||
	    take_host(o, "l5", p->l5, sizeof(p->l5)))
		return -EINVAL;
	if (ipaddr_parse(&a, p->host) && take_host(o, "host", p->host, sizeof(p->host)))
		return -EINVAL;
	if (!*p->host)
		return -EINVAL;
	if (!*p->l5 && a.family == 6)
		snprintf(p->l5, sizeof(p->l5), "[%s]", p->host);
	else if (!*p->l5)
		memcpy(p->l5, p->host, sizeof(p->host));
	p->port = (uint16_t)port;
	p->tls = json_is_true(json_object_get(o, "tls"));
	p->verify = !json_is_false(json_object_get(o, "verify"));
	return 0;
}

static int take_shares(struct preview *p, json_t *list)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o)
	{
		if (p->nshares == SHARES_MAX ||
		    take(o, "hash", p->share[p->nshares].hash, sizeof(p->share[0].hash)) ||
		    strlen(p->share[p->nshares].hash) != HASH_TEXT)
			return -EINVAL;
		p->share[p->nshares++].expires = json_integer_value(json_object_get(o, "expires"));
	}
	return 0;
}

static int take_preview(struct preview *p, json_t *o)
{
	*p = (struct preview){.online = json_is_true(json_object_get(o, "online"))};
	if (take(o, "id", p->id, sizeof(p->id)) || !is_id(text_of(p->id)) ||
	    take(o, "uid", p->uid, sizeof(p->uid)) || take(o, "name", p->name, sizeof(p->name)) ||
	    take(o, "header", p->header, sizeof(p->header)))
		return -EINVAL;
	return take_ingress(p, json_object_get(o, "ingress")) ||
			       take_shares(p, json_object_get(o, "shares"))
		       ? -EINVAL
		       : 0;
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct preview *)a)->id, ((const struct preview *)b)->id);
}

int told_previews(struct told *t, json_t *params, struct error *e)
{
	json_t *list = json_object_get(params, "previews"), *o;
	size_t count = json_array_size(list), i;
	struct preview *all;
	unsigned n = 0;

	if (!json_is_array(list) || count > PREVIEWS_MAX)
		return error_set(e, -EINVAL, "the manager told no list of at most %d previews",
				 PREVIEWS_MAX);
	all = calloc(count + 1, sizeof(*all));
	if (!all)
		return error_errno(e, -ENOMEM, "previews");
	json_array_foreach(list, i, o)
	{
		if (take_preview(&all[n], o) == 0)
			n++;
		else
			log_warn("preview %.64s: the manager told what makes no sense; it is left "
				 "out",
				 all[n].id);
	}
	qsort(all, n, sizeof(*all), by_id);
	free(t->preview);
	t->preview = all;
	t->n = n;
	t->known = true;
	return 0;
}

int told_intercepts(struct told *t, json_t *params, struct error *e)
{
	json_t *list = json_object_get(params, "intercepts");

	if (!json_is_array(list))
		return error_set(e, -EINVAL, "the manager told no list of intercepts");
	json_decref(t->intercepts);
	t->intercepts = json_incref(list);
	return 0;
}

void told_free(struct told *t)
{
	free(t->preview);
	json_decref(t->intercepts);
	*t = (struct told){.n = 0};
}

const struct preview *told_find(const struct told *t, struct http_text id)
{
	struct preview key = {.online = false};

	if (!is_id(id) || !t->n)
		return NULL;
	memcpy(key.id, id.p, ID_LEN);
	key.id[ID_LEN] = '\0';
	return bsearch(&key, t->preview, t->n, sizeof(key), by_id);
}

bool preview_shared(const struct preview *p, const char *hash, int64_t now)
{
	bool found = false;

	for (unsigned i = 0; i < p->nshares; i++) {
		if (p->share[i].expires > now && secret_equal(p->share[i].hash, hash))
			found = true;
	}
	return found;
}
