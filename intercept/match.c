/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests an intercept takes (docs/http.md): the flags, what makes sense, who clashes, who goes first. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/random.h>

#include "intercept/internal.h"

/* --- flags -------------------------------------------------------------------------------------------- */

/* RFC 9110, 5.6.2; upper case is turned to lower. */
static bool take_header_name(char to[static HTTP_NAME_MAX + 1], const char *from, size_t len)
{
	if (len == 0 || len > HTTP_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = from[i];

		if (!is_alnum(c) && !(c && strchr("!#$%&'*+-.^_`|~", c)))
			return false;
		to[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	to[len] = '\0';
	return true;
}

static int parse_mode(struct http_match *m, bool given, enum http_match_mode mode, const char *text,
		      struct error *e)
{
	if (given && m->mode != mode)
		return error_set(
			e, -EINVAL,
			"--http-match %s stands alone: give it, or headers (NAME=REGEX), not both.",
			text);
	m->mode = mode;
	return 0;
}

/* Is it among the first `n`? */
static bool has_condition(const struct http_match *m, unsigned n, const struct http_condition *c)
{
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(m->condition[i].name, c->name) &&
		    !strcmp(m->condition[i].pattern, c->pattern))
			return true;
	}
	return false;
}

static int parse_condition(struct http_match *m, const char *text, struct error *e)
{
	const char *equals = strchr(text, '=');
	struct http_condition c = {.name = ""};
	struct error why;

	if (!equals || !take_header_name(c.name, text, (size_t)(equals - text)))
		return error_set(e, -EINVAL,
				 "--http-match '%.100s': write auto, all, or HEADER=REGEX such as "
				 "x-user=ana; a header's name has at most %d letters, digits and "
				 "'-'.",
				 text, HTTP_NAME_MAX);
	if (strlen(equals + 1) > HTTP_PATTERN_MAX)
		return error_set(e, -EINVAL,
				 "--http-match: the regular expression for %s is longer than %d "
				 "bytes.",
				 c.name, HTTP_PATTERN_MAX);
	snprintf(c.pattern, sizeof(c.pattern), "%s", equals + 1);
	if (pattern_check(&c, &why))
		return error_set(e, -EINVAL, "--http-match '%.200s': %s", text, why.text);
	if (has_condition(m, m->nconditions, &c))
		return 0;
	if (m->nconditions == HTTP_CONDITIONS)
		return error_set(e, -EINVAL, "--http-match: at most %d headers in one intercept.",
				 HTTP_CONDITIONS);
	m->condition[m->nconditions++] = c;
	return 0;
}

int http_match_parse(struct http_match *m, bool *given, const char *text, struct error *e)
{
	int r;

	if (!strcmp(text, "auto"))
		r = parse_mode(m, *given, HTTP_MATCH_AUTO, text, e);
	else if (!strcmp(text, "all"))
		r = parse_mode(m, *given, HTTP_MATCH_ALL, text, e);
	else if (*given && m->mode != HTTP_MATCH_HEADERS)
		r = parse_mode(m, true, HTTP_MATCH_HEADERS,
			       m->mode == HTTP_MATCH_AUTO ? "auto" : "all", e);
	else
		r = parse_condition(m, text, e);
	if (r)
		return r;
	if (strcmp(text, "auto") != 0 && strcmp(text, "all") != 0)
		m->mode = HTTP_MATCH_HEADERS;
	*given = true;
	return 0;
}

static bool path_valid(const char *path)
{
	if (*path != '/' || strlen(path) > HTTP_PATH_MAX || !text_is_plain(path))
		return false;
	return !strpbrk(path, "?# ");
}

int http_path_parse(struct http_match *m, const char *text, struct error *e)
{
	if (!path_valid(text))
		return error_set(e, -EINVAL,
				 "--http-path-prefix '%.100s': the path begins with '/', has at "
				 "most %d bytes and no '?', '#' or space.",
				 text, HTTP_PATH_MAX);
	snprintf(m->path, sizeof(m->path), "%s", text);
	return 0;
}

/* --- what makes sense ---------------------------------------------------------------------------------- */

static int condition_check(const struct http_match *m, unsigned i, struct error *e)
{
	const struct http_condition *c = &m->condition[i];
	char lower[HTTP_NAME_MAX + 1];

	/* Precedence and clashes go by how many there are. */
	if (has_condition(m, i, c))
		return error_set(e, -EINVAL,
				 "the regular expression for header %s stands there twice; once is "
				 "enough.",
				 c->name);
	if (!take_header_name(lower, c->name, strlen(c->name)) || strcmp(lower, c->name) != 0)
		return error_set(e, -EINVAL, "'%s' is no header's name in lower case.", c->name);
	return pattern_check(c, e);
}

int http_match_check(const struct http_match *m, struct error *e)
{
	size_t bytes = 0;

	if (*m->path && !path_valid(m->path))
		return error_set(e, -EINVAL,
				 "The path prefix must begin with '/' and have at most %d bytes, "
				 "without '?', '#' and space.",
				 HTTP_PATH_MAX);
	if ((m->mode == HTTP_MATCH_HEADERS) != (m->nconditions > 0))
		return error_set(e, -EINVAL,
				 "A match by headers has 1 to %d conditions, any other none.",
				 HTTP_CONDITIONS);
	for (unsigned i = 0; i < m->nconditions; i++) {
		int r = condition_check(m, i, e);

		if (r)
			return r;
		bytes += strlen(m->condition[i].name) + strlen(m->condition[i].pattern);
	}
	if (bytes > HTTP_MATCH_MAX)
		return error_set(e, -EINVAL,
				 "The headers' names and regular expressions have more than %d "
				 "bytes together; make them shorter.",
				 HTTP_MATCH_MAX);
	return 0;
}

/* --- as people read it ----------------------------------------------------------------------------------- */

void http_id_make(char id[static HTTP_ID_LEN + 1])
{
	uint8_t random[HTTP_ID_LEN / 2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort();
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);
}

void http_id_text(char to[static HTTP_ID_TEXT_LEN], const char *id, const char *name)
{
	snprintf(to, HTTP_ID_TEXT_LEN, "%s:%s", id, name);
}

static const char *tcp_text(const struct intercept *i)
{
	bool tcp = false, udp = false;

	for (unsigned k = 0; k < i->nports; k++) {
		tcp |= !i->port[k].udp;
		udp |= i->port[k].udp;
	}
	if (!udp)
		return "all TCP connections";
	return tcp ? "all TCP connections and UDP datagrams" : "all UDP datagrams";
}

static void add_header(char *to, size_t size, const char *between, const char *name,
		       const char *pattern)
{
	size_t len = strlen(to);

	snprintf(to + len, size - len, "%sheader(\"%s\") ~= regexp(\"%s\")", len ? between : "",
		 name, pattern);
}

static void http_text(char to[static HTTP_MATCH_TEXT_LEN], const struct intercept *i,
		      const char *between)
{
	const size_t size = HTTP_MATCH_TEXT_LEN;
	const struct http_match *m = &i->match;
	char own[HTTP_ID_TEXT_LEN];
	size_t len;

	http_id_text(own, i->id, i->name);
	if (m->mode == HTTP_MATCH_AUTO)
		add_header(to, size, between, HTTP_ID_HEADER, own);
	for (unsigned k = 0; m->mode == HTTP_MATCH_HEADERS && k < m->nconditions; k++)
		add_header(to, size, between, m->condition[k].name, m->condition[k].pattern);
	len = strlen(to);
	if (*m->path)
		snprintf(to + len, size - len, "%spath-prefix(\"%s\")", len ? between : "",
			 m->path);
	else if (!len)
		snprintf(to, size, "all HTTP requests");
}

void http_match_text(char *to, size_t size, const struct intercept *i, const char *between)
{
	static const char more[] = "...";
	char whole[HTTP_MATCH_TEXT_LEN] = "";
	size_t fits;

	if (i->mechanism == MECHANISM_TCP)
		snprintf(whole, sizeof(whole), "%s", tcp_text(i));
	else
		http_text(whole, i, between);
	/* A character cut in two would be no text for JSON. */
	fits = utf8_fit(whole, strlen(whole) < size ? size - 1 : size - sizeof(more));
	snprintf(to, size, "%.*s%s", (int)fits, whole, whole[fits] ? more : "");
}

/* --- two of them ------------------------------------------------------------------------------------------ */

static bool paths_overlap(const char *a, const char *b)
{
	return !strncmp(a, b, MIN(strlen(a), strlen(b)));
}

static unsigned conditions(const struct http_match *m)
{
	return m->mode == HTTP_MATCH_AUTO ? 1 : m->mode == HTTP_MATCH_ALL ? 0 : m->nconditions;
}

/* All conditions of `a` are among those of `b`. Auto's is its own header. */
static bool within(const struct intercept *a, const struct intercept *b)
{
	bool a_auto = a->match.mode == HTTP_MATCH_AUTO, b_auto = b->match.mode == HTTP_MATCH_AUTO;

	if (conditions(&a->match) == 0)
		return true;
	if (a_auto || b_auto)
		return a_auto && b_auto && !strcmp(a->id, b->id) && !strcmp(a->name, b->name);
	for (unsigned i = 0; i < a->match.nconditions; i++) {
		if (!has_condition(&b->match, b->match.nconditions, &a->match.condition[i]))
			return false;
	}
	return true;
}

bool http_match_clash(const struct intercept *a, const struct intercept *b)
{
	if (a->mechanism == MECHANISM_TCP || b->mechanism == MECHANISM_TCP)
		return true;
	if (!paths_overlap(a->match.path, b->match.path))
		return false;
	/* The smaller set is the one that can be contained. */
	return conditions(&a->match) <= conditions(&b->match) ? within(a, b) : within(b, a);
}

bool http_match_within(const struct intercept *a, const struct intercept *b)
{
	const struct http_match *ma = &a->match, *mb = &b->match;

	if (a->mechanism == MECHANISM_TCP || b->mechanism == MECHANISM_TCP)
		return b->mechanism == MECHANISM_TCP;
	if (strncmp(ma->path, mb->path, strlen(mb->path)) != 0)
		return false;
	/* What clashes with auto is what takes everything. */
	if (ma->mode == HTTP_MATCH_AUTO || mb->mode == HTTP_MATCH_ALL)
		return true;
	return within(a, b) && within(b, a);
}

int http_match_order(const struct intercept *a, const char *a_uid, const struct intercept *b,
		     const char *b_uid)
{
	unsigned na = conditions(&a->match), nb = conditions(&b->match);
	size_t la = strlen(a->match.path), lb = strlen(b->match.path);
	int r;

	if (na != nb)
		return na > nb ? -1 : 1;
	if (la != lb)
		return la > lb ? -1 : 1;
	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	r = strcmp(a_uid, b_uid);
	if (r == 0)
		r = strcmp(a->owner, b->owner);
	return r ? r : strcmp(a->name, b->name);
}
