/* SPDX-License-Identifier: Apache-2.0 */
/* Values taken out of the tree, each with an error that names its place. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "conf/conf.h"
#include "conf/tree.h"

int conf_error(const struct conf_node *n, struct error *e, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(e, -EINVAL, "%s:%u:%u: %s", n->doc->name, n->line, n->column, text);
}

/* --- keys ------------------------------------------------------------------------------------------- */

/* Edits (insert, delete, replace) between two words, both cut to what a key may reasonably be. */
static unsigned distance(const char *a, const char *b)
{
	enum { WORD = 32 };
	unsigned row[WORD + 1];
	size_t la = strnlen(a, WORD), lb = strnlen(b, WORD);

	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			best = MIN(best, MIN(row[j], row[j - 1]) + 1);
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[lb];
}

static int unknown_key(const struct conf_node *key, const char *const *keys, struct error *e)
{
	const char *nearest = NULL;
	unsigned best = UINT_MAX;

	for (; *keys; keys++) {
		unsigned d = distance(key->text, *keys);

		if (d < best) {
			best = d;
			nearest = *keys;
		}
	}
	/* A suggestion that shares nothing with what was written would only puzzle. */
	if (nearest && best <= MAX(strlen(nearest), 4) / 2)
		return conf_error(key, e, "unknown key '%.60s'; did you mean '%s'?", key->text,
				  nearest);
	return conf_error(key, e, "unknown key '%.60s'", key->text);
}

int conf_keys(const struct conf_node *n, const char *const *keys, struct error *e)
{
	if (n->type != CONF_MAP)
		return conf_error(n, e, "expected a mapping (key: value)");
	for (size_t i = 0; i < n->count; i++) {
		const char *const *k = keys;

		while (*k && strcmp(*k, n->keys[i]->text))
			k++;
		if (!*k)
			return unknown_key(n->keys[i], keys, e);
	}
	return 0;
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
	if (map->type != CONF_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++) {
		if (!strcmp(map->keys[i]->text, key))
			return map->items[i];
	}
	return NULL;
}

int conf_need(const struct conf_node *map, const char *key, const struct conf_node **v,
	      struct error *e)
{
	const struct conf_node *n = conf_get(map, key);

	if (!n)
		return conf_error(map, e, "the key '%s' is missing", key);
	*v = n;
	return 0;
}

bool conf_is_map(const struct conf_node *n)
{
	return n->type == CONF_MAP;
}

bool conf_is_list(const struct conf_node *n)
{
	return n->type == CONF_LIST;
}

size_t conf_count(const struct conf_node *n)
{
	return n->count;
}

const struct conf_node *conf_at(const struct conf_node *list, size_t i)
{
	return i < list->count ? list->items[i] : NULL;
}

const char *conf_key_at(const struct conf_node *map, size_t i)
{
	return map->type == CONF_MAP && i < map->count ? map->keys[i]->text : NULL;
}

/* --- typed values ------------------------------------------------------------------------------------ */

bool conf_is_null(const struct conf_node *n)
{
	return n->type == CONF_SCALAR && n->plain &&
	       (!*n->text || !strcmp(n->text, "~") || !strcmp(n->text, "null"));
}

/* What was found, for the sentence. */
static const char *found(const struct conf_node *n, char buf[static 80])
{
	if (n->type != CONF_SCALAR)
		return n->type == CONF_LIST ? "a list" : "a mapping";
	if (conf_is_null(n))
		return "nothing";
	snprintf(buf, 80, "'%.60s'", n->text);
	return buf;
}

static int expected(const struct conf_node *n, struct error *e, const char *what)
{
	char buf[80];

	return conf_error(n, e, "expected %s, found %s", what, found(n, buf));
}

int conf_string(const struct conf_node *n, const char **s, struct error *e)
{
	if (n->type != CONF_SCALAR || conf_is_null(n))
		return expected(n, e, "text");
	*s = n->text;
	return 0;
}

int conf_int(const struct conf_node *n, long min, long max, long *v, struct error *e)
{
	char what[80], *end;
	long x;

	snprintf(what, sizeof(what), "a whole number from %ld to %ld", min, max);
	if (n->type != CONF_SCALAR || !n->plain || !n->text[strspn(n->text, " ")])
		return expected(n, e, what);
	errno = 0;
	x = strtol(n->text, &end, 10);
	if (errno || *end || x < min || x > max)
		return expected(n, e, what);
	*v = x;
	return 0;
}

int conf_bool(const struct conf_node *n, bool *v, struct error *e)
{
	if (n->type != CONF_SCALAR || !n->plain ||
	    (strcmp(n->text, "true") && strcmp(n->text, "false")))
		return expected(n, e, "true or false");
	*v = !strcmp(n->text, "true");
	return 0;
}

int conf_prefix(const struct conf_node *n, struct prefix *p, struct error *e)
{
	int r = n->type == CONF_SCALAR ? prefix_parse(p, n->text) : -EINVAL;

	if (r == -EDOM)
		return conf_error(n, e, "'%.60s' has bits set after the prefix length", n->text);
	return r ? expected(n, e, "a prefix such as 10.96.0.0/16") : 0;
}

int conf_sockaddr(const struct conf_node *n, union sockaddr_any *sa, struct error *e)
{
	if (n->type != CONF_SCALAR || sockaddr_parse(sa, n->text))
		return expected(n, e, "ADDRESS:PORT with a numeric address, such as 0.0.0.0:31820");
	return 0;
}

json_t *conf_json(const struct conf_node *n)
{
	const char *text = "";
	json_t *out;
	long v = 0;
	bool b = false;

	if (conf_is_list(n)) {
		out = json_array();
		for (size_t i = 0; i < conf_count(n); i++)
			json_array_append_new(out, conf_json(conf_at(n, i)));
		return out;
	}
	if (conf_is_map(n)) {
		out = json_object();
		for (size_t i = 0; i < conf_count(n); i++)
			json_object_set_new(out, conf_key_at(n, i), conf_json(conf_at(n, i)));
		return out;
	}
	if (conf_is_null(n))
		return json_null();
	if (conf_bool(n, &b, NULL) == 0)
		return json_boolean(b);
	if (conf_int(n, LONG_MIN, LONG_MAX, &v, NULL) == 0)
		return json_integer(v);
	return conf_string(n, &text, NULL) == 0 ? json_string(text) : json_null();
}
