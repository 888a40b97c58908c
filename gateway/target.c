/* SPDX-License-Identifier: Apache-2.0 */
/* Names, targets, and the cookies of a request: read strictly, since they say who may have what. */
#include <errno.h>
#include <strings.h>

#include "gateway/bytes.h"

bool text_starts(struct http_text t, const char *prefix)
{
	size_t len = strlen(prefix);

	return t.len >= len && !memcmp(t.p, prefix, len);
}

bool text_starts_nocase(struct http_text t, const char *prefix)
{
	size_t len = strlen(prefix);

	return t.len >= len && !strncasecmp(t.p, prefix, len);
}

static struct http_text behind(struct http_text t, size_t n)
{
	return (struct http_text){.p = t.p + n, .len = t.len - n};
}

/* The length of "NAME" in "NAME[:PORT]", or -EINVAL. Brackets belong to the name. */
static ssize_t name_length(struct http_text host)
{
	size_t n = 0, digits = 0;

	if (host.len && host.p[0] == '[') {
		const char *end = memchr(host.p, ']', host.len);

		n = end ? (size_t)(end - host.p) + 1 : host.len;
	} else {
		while (n < host.len && host.p[n] != ':')
			n++;
	}
	for (size_t i = n + 1; i < host.len; i++, digits++) {
		if (host.p[i] < '0' || host.p[i] > '9')
			return -EINVAL;
	}
	return n < host.len && (host.p[n] != ':' || digits > 5) ? -EINVAL : (ssize_t)n;
}

int host_name(struct http_text host, char name[static NAME_TEXT + 1])
{
	ssize_t n = name_length(host);

	if (n > 0 && host.p[n - 1] == '.')
		n--;
	if (n <= 0 || n > NAME_TEXT)
		return -EINVAL;
	for (ssize_t i = 0; i < n; i++) {
		char c = host.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !char_in(c, "-._[]:"))
			return -EINVAL;
		name[i] = c;
	}
	name[n] = '\0';
	return 0;
}

bool is_id(struct http_text t)
{
	if (t.len != ID_LEN)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (!(t.p[i] >= '0' && t.p[i] <= '9') && !(t.p[i] >= 'a' && t.p[i] <= 'f'))
			return false;
	}
	return true;
}

int target_origin_form(struct http_text target, struct http_text host,
		       struct http_text *origin_form)
{
	static const char root[] = "/";
	size_t n;

	if (text_starts(target, "/")) {
		*origin_form = target;
		return 0;
	}
	if (text_starts_nocase(target, "https://"))
		target = behind(target, 8);
	else if (text_starts_nocase(target, "http://"))
		target = behind(target, 7);
	else
		return -EINVAL;
	for (n = 0; n < target.len && target.p[n] != '/' && target.p[n] != '?'; n++)
		;
	if (!n || n != host.len || strncasecmp(target.p, host.p, n))
		return -EINVAL;
	*origin_form = behind(target, n);
	if (!origin_form->len)
		*origin_form = text_of(root);
	return *origin_form->p == '/' ? 0 : -EINVAL;
}

struct http_text target_path(struct http_text target)
{
	const char *end = memchr(target.p, '?', target.len);

	return (struct http_text){.p = target.p,
				  .len = end ? (size_t)(end - target.p) : target.len};
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(struct http_text t, char *value, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		char c = t.p[i] == '+' ? ' ' : t.p[i];

		if (c == '%') {
			int high = i + 2 < t.len ? hex_digit(t.p[i + 1]) : -1;
			int low = i + 2 < t.len ? hex_digit(t.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EINVAL;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (n + 1 >= size || (unsigned char)c < 0x20 || c == 0x7f)
			return -EINVAL;
		value[n++] = c;
	}
	value[n] = '\0';
	return 0;
}

int target_param(struct http_text target, const char *name, char *value, size_t size)
{
	size_t len = strlen(name);
	struct http_text rest = behind(target, target_path(target).len);

	while (rest.len) {
		struct http_text pair = behind(rest, 1); /* behind '?' or '&' */
		const char *end = memchr(pair.p, '&', pair.len);

		rest = end ? behind(pair, (size_t)(end - pair.p)) : behind(pair, pair.len);
		pair.len -= rest.len;
		if (pair.len > len && !memcmp(pair.p, name, len) && pair.p[len] == '=')
			return decode(behind(pair, len + 1), value, size);
	}
	return -ENOENT;
}

bool path_is_ours(struct http_text path)
{
	if (!path.len || path.p[0] != '/' || path.len > PATH_KEEP_MAX)
		return false;
	/* Browsers take "//host" and "/\host" for another host. */
	if (path.len > 1 && (path.p[1] == '/' || path.p[1] == '\\'))
		return false;
	for (size_t i = 0; i < path.len; i++) {
		if ((unsigned char)path.p[i] <= 0x20 || (unsigned char)path.p[i] >= 0x7f)
			return false;
	}
	return true;
}

struct http_text cookie_find(const struct http_head *h, const char *name)
{
	struct http_text found = {.p = NULL};
	const struct http_field *f = NULL;
	size_t len = strlen(name);

	while ((f = http_field_find(h, "cookie", f))) {
		struct http_text rest = f->value;

		while (rest.len) {
			const char *end = memchr(rest.p, ';', rest.len);
			struct http_text pair = {.p = rest.p,
						 .len = end ? (size_t)(end - rest.p) : rest.len};

			rest = behind(rest, MIN(rest.len, pair.len + 1));
			while (pair.len && (*pair.p == ' ' || *pair.p == '\t'))
				pair = behind(pair, 1);
			if (pair.len <= len || memcmp(pair.p, name, len) || pair.p[len] != '=')
				continue;
			if (found.p)
				return (struct http_text){.p = NULL};
			found = behind(pair, len + 1);
		}
	}
	return found;
}
