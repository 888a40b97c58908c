/* SPDX-License-Identifier: Apache-2.0 */
/* Heads on their way through: what is one hop's alone stays here, names of one side become those of the other. */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "gateway/bytes.h"

/* --- fields ------------------------------------------------------------------------------------------------- */

static struct http_text behind(struct http_text t, size_t n)
{
	return (struct http_text){.p = t.p + n, .len = t.len - n};
}

static struct http_text trim(struct http_text t)
{
	while (t.len && (*t.p == ' ' || *t.p == '\t'))
		t = behind(t, 1);
	while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* Takes the part up to the separator off `rest`, trimmed. */
static struct http_text next_part(struct http_text *rest, char separator)
{
	const char *end = memchr(rest->p, separator, rest->len);
	struct http_text part = {.p = rest->p, .len = end ? (size_t)(end - rest->p) : rest->len};

	*rest = behind(*rest, MIN(rest->len, part.len + 1));
	return trim(part);
}

static bool text_equal_nocase(struct http_text a, struct http_text b)
{
	return a.len == b.len && !strncasecmp(a.p, b.p, a.len);
}

static bool has_word(struct http_text value, struct http_text word)
{
	while (value.len) {
		if (text_equal_nocase(next_part(&value, ','), word))
			return true;
	}
	return false;
}

static bool names_word(const struct http_head *h, const char *name, struct http_text word)
{
	const struct http_field *f = NULL;

	while ((f = http_field_find(h, name, f))) {
		if (has_word(f->value, word))
			return true;
	}
	return false;
}

bool head_has_word(const struct http_head *h, const char *name, const char *word)
{
	return names_word(h, name, text_of(word));
}

bool head_is_websocket(const struct http_head *h)
{
	return head_has_word(h, "connection", "upgrade") &&
	       head_has_word(h, "upgrade", "websocket");
}

int head_minor(const uint8_t *raw, size_t len, const struct http_head *h)
{
	const char *version = h->target.p + h->target.len + 1, *end = (const char *)raw + len;

	return version + 8 <= end && !memcmp(version, "HTTP/1.0", 8) ? 0 : 1;
}

static bool in_list(struct http_text name, const char *const *list)
{
	for (; *list; list++) {
		if (http_text_is_nocase(name, *list))
			return true;
	}
	return false;
}

/* RFC 9110, 7.6.1. Transfer-Encoding and Trailer are not among them: bodies go through as they are framed. */
static bool is_hop_by_hop(const struct http_head *h, struct http_text name)
{
	static const char *const list[] = {
		"connection",	    "keep-alive",	  "te",
		"proxy-connection", "proxy-authenticate", "proxy-authorization",
		"upgrade",	    "http2-settings",	  NULL};
	static const char *const kept[] = {"transfer-encoding",
					   "content-length",
					   "trailer",
					   "host",
					   "cookie",
					   "set-cookie",
					   NULL};

	/* A Connection field cannot take away what says where a message ends, or who asks. */
	return in_list(name, list) || (!in_list(name, kept) && names_word(h, "connection", name));
}

static void put(struct buf *out, struct http_text name, struct http_text value)
{
	buf_text(out, name);
	buf_add(out, ": ", 2);
	buf_text(out, value);
	buf_add(out, "\r\n", 2);
}

/* The parts of a list that stay, joined; false = none do. */
static bool put_parts(struct buf *out, struct http_text value, char separator, const char *join,
		      bool any, bool (*goes)(struct http_text part))
{
	while (value.len) {
		struct http_text part = next_part(&value, separator);

		if (!part.len || goes(part))
			continue;
		if (any)
			buf_add(out, join, strlen(join));
		buf_text(out, part);
		any = true;
	}
	return any;
}

/* --- to the ingress ----------------------------------------------------------------------------------------- */

/* A browser may send back "=NAME=x", which has no name, as "NAME=x". */
static bool is_our_cookie(struct http_text pair)
{
	while (pair.len && char_in(*pair.p, "= \t"))
		pair = behind(pair, 1);
	return text_starts_nocase(pair, COOKIE_PREFIX);
}

static bool is_our_member(struct http_text member)
{
	if (!text_starts(member, "culvert"))
		return false;
	member = trim(behind(member, 7));
	return member.len && (*member.p == '=' || *member.p == ';');
}

/* All fields of a name as one, without what is ours. */
static void put_merged(struct buf *out, const struct http_head *h, const char *name,
		       const char *first, char separator, const char *join,
		       bool (*goes)(struct http_text part))
{
	struct buf value = {.p = NULL};
	const struct http_field *f = NULL;
	bool any = first;

	buf_printf(&value, "%s: %s", name, first ? first : "");
	while ((f = http_field_find(h, name, f)))
		any = put_parts(&value, f->value, separator, join, any, goes);
	buf_add(&value, "\r\n", 2);
	if (any)
		buf_add(out, buf_data(&value), value.len);
	out->failed |= value.failed;
	buf_free(&value);
}

/* An URL of the preview's own origin becomes one of the ingress's. */
static void put_url(struct buf *out, const struct http_field *f, const struct passage *p)
{
	size_t len = strlen("https://") + strlen(p->host);
	char origin[sizeof("https://") + sizeof(p->host)];

	snprintf(origin, sizeof(origin), "https://%s", p->host);
	if (!text_starts_nocase(f->value, origin) ||
	    (f->value.len > len && f->value.p[len] != '/')) {
		put(out, f->name, f->value);
		return;
	}
	buf_text(out, f->name);
	buf_printf(out, ": %s://%s", p->tls ? "https" : "http", p->l5);
	buf_text(out, behind(f->value, len));
	buf_add(out, "\r\n", 2);
}

static void put_ours(struct buf *out, const struct http_head *h, const struct passage *p)
{
	char member[sizeof("culvert=") + ID_LEN];

	put_merged(out, h, "cookie", NULL, ';', "; ", is_our_cookie);
	snprintf(member, sizeof(member), "culvert=%s", p->id);
	put_merged(out, h, "baggage", p->marked ? member : NULL, ',', ",", is_our_member);
	if (p->marked)
		buf_printf(out, "x-culvert-intercept-id: %s\r\nx-culvert-preview: %s\r\n",
			   p->header, p->id);
	buf_printf(out, "x-culvert-gateway: %s\r\n", p->loop);
	buf_printf(out,
		   "x-forwarded-for: %s\r\nx-forwarded-proto: https\r\nx-forwarded-host: %s\r\n",
		   p->from, p->host);
}

/* `prefix` in lower case. Applications that take names for variables (RFC 3875, 4.1.18) read '_' as '-'. */
static bool begins_as(struct http_text name, const char *prefix)
{
	for (size_t i = 0; prefix[i]; i++) {
		char c = i < name.len ? name.p[i] : '\0';

		if ((c == '_' ? '-' : tolower((unsigned char)c)) != prefix[i])
			return false;
	}
	return true;
}

void head_to_ingress(struct buf *out, const struct http_head *h, struct http_text target, int minor,
		     const struct passage *p)
{
	/* What we say ourselves; and the ways in which others say the same. */
	static const char *const replaced[] = {"host",		 "cookie",
					       "baggage",	 "x-scheme",
					       "x-real-ip",	 "x-original-forwarded-for",
					       "x-original-url", "x-rewrite-url",
					       "forwarded",	 NULL};

	buf_text(out, h->method);
	buf_add(out, " ", 1);
	buf_text(out, target);
	buf_printf(out, " HTTP/1.%d\r\nHost: %s\r\n", minor, p->l5);
	for (unsigned i = 0; i < h->nfields; i++) {
		const struct http_field *f = &h->field[i];

		if (in_list(f->name, replaced) || begins_as(f->name, "x-culvert-") ||
		    begins_as(f->name, "x-forwarded-") || is_hop_by_hop(h, f->name))
			continue;
		if (http_text_is_nocase(f->name, "origin") ||
		    http_text_is_nocase(f->name, "referer"))
			put_url(out, f, p);
		else
			put(out, f->name, f->value);
	}
	put_ours(out, h, p);
	if (head_is_websocket(h))
		buf_printf(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	buf_add(out, "\r\n", 2);
}

/* --- to the visitor ----------------------------------------------------------------------------------------- */

/* Is "NAME[:PORT]" the ingress's own? */
static bool is_l5(struct http_text authority, const struct passage *p)
{
	char name[NAME_TEXT + 1], l5[NAME_TEXT + 1], port[8];
	const char *colon;

	if (host_name(authority, name) || host_name(text_of(p->l5), l5) || strcmp(name, l5))
		return false;
	if (http_text_is_nocase(authority, p->l5))
		return true;
	colon = authority.p[authority.len - 1] == ']' ? NULL
						      : memrchr(authority.p, ':', authority.len);
	if (!colon)
		return true;
	snprintf(port, sizeof(port), "%u", p->port);
	authority = behind(authority, (size_t)(colon - authority.p) + 1);
	return http_text_is(authority, "") || http_text_is(authority, "80") ||
	       http_text_is(authority, "443") || http_text_is(authority, port);
}

static void put_location(struct buf *out, const struct http_field *f, const struct passage *p)
{
	struct http_text rest = f->value, authority;
	size_t n;

	if (text_starts_nocase(rest, "https://"))
		rest = behind(rest, 8);
	else if (text_starts_nocase(rest, "http://"))
		rest = behind(rest, 7);
	else if (text_starts(rest, "//"))
		rest = behind(rest, 2);
	else
		rest.len = 0;
	for (n = 0; n < rest.len && !char_in(rest.p[n], "/?#"); n++)
		;
	authority = (struct http_text){.p = rest.p, .len = n};
	if (!n || !is_l5(authority, p)) {
		put(out, f->name, f->value);
		return;
	}
	buf_text(out, f->name);
	buf_printf(out, ": https://%s", p->host);
	buf_text(out, behind(rest, n));
	buf_add(out, "\r\n", 2);
}

/* Does a cookie of this Domain come back to the ingress's host? Then its name here is the preview's. */
static bool covers_l5(struct http_text domain, const struct passage *p)
{
	char l5[NAME_TEXT + 1];
	size_t len;

	if (domain.len && *domain.p == '.')
		domain = behind(domain, 1);
	if (!domain.len || host_name(text_of(p->l5), l5))
		return false;
	len = strlen(l5);
	return domain.len <= len && !strncasecmp(domain.p, l5 + len - domain.len, domain.len) &&
	       (domain.len == len || l5[len - domain.len - 1] == '.');
}

/* The value of a Domain attribute, or nothing. */
static struct http_text domain_of(struct http_text attribute)
{
	struct http_text rest = attribute, name = next_part(&rest, '=');

	return http_text_is_nocase(name, "domain") ? trim(rest) : (struct http_text){.p = NULL};
}

static void put_cookie(struct buf *out, const struct http_field *f, const struct passage *p)
{
	struct http_text rest = f->value, part = next_part(&rest, ';');

	if (is_our_cookie(part))
		return;
	buf_text(out, f->name);
	buf_add(out, ": ", 2);
	buf_text(out, part);
	while (rest.len) {
		part = next_part(&rest, ';');
		buf_add(out, "; ", 2);
		if (covers_l5(domain_of(part), p))
			buf_printf(out, "Domain=%s", p->name);
		else
			buf_text(out, part);
	}
	buf_add(out, "\r\n", 2);
}

void head_to_visitor(struct buf *out, const struct http_head *h, const uint8_t *raw, size_t len,
		     bool close, const struct passage *p)
{
	/* Alt-Svc would lead visitors past us. */
	static const char *const dropped[] = {"alt-svc", NULL};
	const char *end = memchr(raw, '\n', len);
	struct http_text line = {.p = (const char *)raw,
				 .len = end ? (size_t)(end - (const char *)raw) : 0};

	while (line.len && line.p[line.len - 1] == '\r')
		line.len--;
	buf_text(out, line);
	buf_add(out, "\r\n", 2);
	for (unsigned i = 0; i < h->nfields; i++) {
		const struct http_field *f = &h->field[i];

		if (in_list(f->name, dropped) || is_hop_by_hop(h, f->name))
			continue;
		if (http_text_is_nocase(f->name, "location"))
			put_location(out, f, p);
		else if (http_text_is_nocase(f->name, "set-cookie"))
			put_cookie(out, f, p);
		else
			put(out, f->name, f->value);
	}
	if (h->status == 101)
		buf_printf(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (close && h->status >= 200)
		buf_printf(out, "Connection: close\r\n");
	buf_add(out, "\r\n", 2);
}
