/* SPDX-License-Identifier: Apache-2.0 */
/* From YAML text to a tree, by libfyaml's events, so that every bound holds before memory is spent. */
#include "conf/conf.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdio.h>

#include "base/file.h"
#include "conf/tree.h"

/* --- the tree -------------------------------------------------------------------------------------- */

static void node_free(struct conf_node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->count; i++) {
		node_free(n->items[i]);
		if (n->keys)
			node_free(n->keys[i]);
	}
	free(n->items);
	free(n->keys);
	free(n->text);
	free(n);
}

static void free_node(struct conf_node **n)
{
	node_free(*n);
}

/* Owns key and item, also when it fails. */
static int append(struct conf_node *n, struct conf_node *key, struct conf_node *item)
{
	size_t room = n->room ? n->room * 2 : 8;
	void *p;

	if (n->count == n->room) {
		p = realloc(n->items, room * sizeof(struct conf_node *));
		if (p)
			n->items = p;
		if (p && n->type == CONF_MAP) {
			p = realloc(n->keys, room * sizeof(struct conf_node *));
			if (p)
				n->keys = p;
		}
		if (!p) {
			node_free(key);
			node_free(item);
			return -ENOMEM;
		}
		n->room = room;
	}
	if (n->type == CONF_MAP)
		n->keys[n->count] = key;
	n->items[n->count++] = item;
	return 0;
}

/* --- from events ------------------------------------------------------------------------------------ */

struct reader {
	struct fy_parser *fyp;
	struct fy_diag *diag; /* collects, else libfyaml writes to stderr */
	struct conf *doc;
	struct error *e;
};

static int fail_at(struct reader *rd, const struct fy_mark *at, const char *what)
{
	int line = at ? at->line + 1 : 1, column = at ? at->column + 1 : 1;

	return error_set(rd->e, -EINVAL, "%s:%d:%d: %s", rd->doc->name, line, column, what);
}

/* Why the parser gave no event. */
static int fail_syntax(struct reader *rd)
{
	void *iter = NULL;
	const struct fy_diag_error *d = fy_diag_errors_iterate(rd->diag, &iter);
	int r = -EINVAL;

	if (d && d->msg)
		error_set(rd->e, r, "%s:%d:%d: %s", rd->doc->name, MAX(d->line, 1),
			  MAX(d->column, 1), d->msg);
	else
		error_set(rd->e, r, "%s:1:1: this is not YAML", rd->doc->name);
	return r;
}

/* An event that gives itself back. */
struct event_guard {
	struct fy_parser *fyp;
	struct fy_event *ev;
};

static void event_release(struct event_guard *g)
{
	if (g->ev)
		fy_parser_event_free(g->fyp, g->ev);
}

static int read_node(struct reader *rd, struct fy_event *ev, unsigned depth, struct conf_node **np);

static int read_scalar(struct reader *rd, struct fy_event *ev, struct conf_node *n)
{
	struct fy_token *token = fy_event_get_token(ev);
	size_t len = 0;
	const char *text = token ? fy_token_get_text(token, &len) : "";

	if (!text)
		text = "";
	if (memchr(text, 0, len))
		return fail_at(rd, fy_event_start_mark(ev), "a NUL character is not allowed");
	n->plain = !token || fy_token_scalar_style(token) == FYSS_PLAIN;
	n->text = strndup(text, len);
	return n->text ? 0 : -ENOMEM;
}

/* The next node, or *np NULL at the event that ends the collection. */
static int read_next(struct reader *rd, unsigned depth, struct conf_node **np)
{
	cleanup(event_release) struct event_guard g = {rd->fyp, fy_parser_parse(rd->fyp)};

	*np = NULL;
	if (!g.ev)
		return fail_syntax(rd);
	if (g.ev->type == FYET_SEQUENCE_END || g.ev->type == FYET_MAPPING_END)
		return 0;
	return read_node(rd, g.ev, depth, np);
}

static int check_key(struct reader *rd, const struct conf_node *map, const struct conf_node *key)
{
	struct fy_mark at = {.line = (int)key->line - 1, .column = (int)key->column - 1};
	char text[160];

	if (key->type != CONF_SCALAR)
		return fail_at(rd, &at, "a key must be plain text");
	if (map->count >= CONF_KEYS_MAX)
		return fail_at(rd, &at, "too many keys in one mapping");
	for (size_t i = 0; i < map->count; i++) {
		if (strcmp(map->keys[i]->text, key->text))
			continue;
		snprintf(text, sizeof(text),
			 "the key '%.60s' is here for the second time (first in line %u)",
			 key->text, map->keys[i]->line);
		return fail_at(rd, &at, text);
	}
	return 0;
}

static int read_items(struct reader *rd, struct conf_node *n, unsigned depth)
{
	for (;;) {
		cleanup(free_node) struct conf_node *key = NULL;
		struct conf_node *item = NULL;
		int r;

		if (n->type == CONF_MAP) {
			r = read_next(rd, depth + 1, &key);
			if (r || !key)
				return r;
			r = check_key(rd, n, key);
			if (r)
				return r;
		}
		r = read_next(rd, depth + 1, &item);
		if (r || !item)
			return r;
		r = append(n, steal_ptr(key), item);
		if (r)
			return r;
	}
}

static int read_node(struct reader *rd, struct fy_event *ev, unsigned depth, struct conf_node **np)
{
	const struct fy_mark *at = fy_event_start_mark(ev);
	cleanup(free_node) struct conf_node *n = NULL;
	int r;

	if (ev->type == FYET_ALIAS || fy_event_get_anchor_token(ev))
		return fail_at(rd, at,
			       "anchors and aliases are not allowed here: write the value out");
	if (fy_event_get_tag_token(ev))
		return fail_at(rd, at, "tags are not allowed here");
	if (depth > CONF_DEPTH_MAX)
		return fail_at(rd, at, "nested too deeply");
	if (++rd->doc->nodes > CONF_NODES_MAX)
		return fail_at(rd, at, "too many values in one file");
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->doc = rd->doc;
	n->line = at ? (unsigned)at->line + 1 : 1;
	n->column = at ? (unsigned)at->column + 1 : 1;
	switch (ev->type) {
	case FYET_SCALAR:
		r = read_scalar(rd, ev, n);
		break;
	case FYET_SEQUENCE_START:
		n->type = CONF_LIST;
		r = read_items(rd, n, depth);
		break;
	case FYET_MAPPING_START:
		n->type = CONF_MAP;
		r = read_items(rd, n, depth);
		break;
	default:
		r = fail_at(rd, at, "a value was expected");
	}
	if (r == 0)
		*np = steal_ptr(n);
	return r;
}

static int read_document(struct reader *rd)
{
	unsigned documents = 0;

	for (;;) {
		cleanup(event_release) struct event_guard g = {rd->fyp, fy_parser_parse(rd->fyp)};
		int r = 0;

		if (!g.ev)
			return fail_syntax(rd);
		switch (g.ev->type) {
		case FYET_STREAM_END:
			return rd->doc->root ? 0 : fail_at(rd, NULL, "the file is empty");
		case FYET_DOCUMENT_START:
			if (documents++)
				return fail_at(rd, fy_event_start_mark(g.ev),
					       "one file holds one document only");
			break;
		case FYET_STREAM_START:
		case FYET_DOCUMENT_END:
			break;
		default:
			r = read_node(rd, g.ev, 1, &rd->doc->root);
		}
		if (r)
			return r;
	}
}

/* --- front door -------------------------------------------------------------------------------------- */

void conf_free(struct conf *c)
{
	if (!c)
		return;
	node_free(c->root);
	free(c->name);
	free(c);
}

static void free_conf(struct conf **c)
{
	conf_free(*c);
}

/* Does a line begin at `at`, by any of the line ends that some YAML version knows, or after a byte order mark? */
static bool line_begins(const char *text, size_t at)
{
	static const char *const ends[] = {"\n",	   "\r",	   "\xc2\x85",
					   "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf"};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t len = strlen(ends[i]);

		if (at >= len && !memcmp(text + at - len, ends[i], len))
			return true;
	}
	return at == 0;
}

/* Bytes of the well-formed UTF-8 character at `s` (RFC 3629), 0 = none. */
static size_t utf8_char(const uint8_t *s, size_t len)
{
	static const struct {
		uint8_t mask, lead;
		uint32_t least;
	} forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	size_t n = 0;
	uint32_t c;

	while (n < ARRAY_SIZE(forms) && (*s & forms[n].mask) != forms[n].lead)
		n++;
	if (n == ARRAY_SIZE(forms) || n >= len)
		return 0;
	c = *s & (uint8_t)~forms[n].mask;
	for (size_t i = 1; i <= n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n + 1;
}

/*
 * What libfyaml 0.7 does not survive is kept from it (the fuzzer's finds): it loops on some malformed directives
 * (%YAML, %TAG), which no configuration needs, and leaks on bytes that are no text.
 */
static int check_text(struct reader *rd, const char *text, size_t len)
{
	struct fy_mark at = {.line = 0};

	for (size_t i = 0; i < len;) {
		size_t n = utf8_char((const uint8_t *)text + i, len - i);

		if (n == 0 || ((uint8_t)text[i] < ' ' && !strchr("\t\n\r", text[i])) || !text[i])
			return fail_at(rd, &at, "this is no text in UTF-8");
		if (text[i] == '%' && line_begins(text, i))
			return fail_at(
				rd, &at,
				"a line must not begin with '%': directives are not allowed");
		at.line += text[i] == '\n';
		at.column = text[i] == '\n' ? 0 : at.column + 1;
		i += n;
	}
	return 0;
}

static int parse_text(struct reader *rd, const char *text, size_t len)
{
	struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG |
					    FYPCF_DISABLE_RECYCLING | FYPCF_JSON_NONE};
	int r = -ENOMEM;

	rd->diag = cfg.diag = fy_diag_create(NULL);
	if (!rd->diag)
		return r;
	fy_diag_set_collect_errors(rd->diag, true);
	rd->fyp = fy_parser_create(&cfg);
	if (rd->fyp && fy_parser_set_string(rd->fyp, text, len) == 0)
		r = read_document(rd);
	if (rd->fyp)
		fy_parser_destroy(rd->fyp);
	fy_diag_destroy(rd->diag);
	return r;
}

int conf_parse(struct conf **cp, const char *name, const char *text, size_t len, struct error *e)
{
	cleanup(free_conf) struct conf *c = calloc(1, sizeof(*c));
	struct reader rd = {.doc = c, .e = e};
	int r;

	if (!c || !(c->name = strdup(name)))
		return error_errno(e, -ENOMEM, "%s", name);
	if (len > CONF_TEXT_MAX)
		return error_set(e, -EFBIG, "%s: larger than 1 MiB", name);
	r = check_text(&rd, text, len);
	if (r == 0)
		r = parse_text(&rd, text, len);
	if (r == -ENOMEM)
		return error_errno(e, r, "%s", name);
	if (r)
		return r;
	*cp = steal_ptr(c);
	return 0;
}

int conf_load(struct conf **cp, const char *path, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len;
	int r = file_read(path, CONF_TEXT_MAX, &text, &len, e);

	return r ? r : conf_parse(cp, path, text, len, e);
}

const struct conf_node *conf_root(const struct conf *c)
{
	return c->root;
}
