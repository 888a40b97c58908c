/* SPDX-License-Identifier: Apache-2.0 */
/* Texts, fields, and what a connection's first bytes say. */
#include <string.h>
#include <strings.h>

#include "http/http.h"

bool http_text_is(struct http_text t, const char *s)
{
	return t.len == strlen(s) && !memcmp(t.p, s, t.len);
}

bool http_text_is_nocase(struct http_text t, const char *s)
{
	return t.len == strlen(s) && !strncasecmp(t.p, s, t.len);
}

const struct http_field *http_field_find(const struct http_head *h, const char *name,
					 const struct http_field *from)
{
	size_t len = strlen(name);

	for (unsigned i = from ? (unsigned)(from - h->field) + 1 : 0; i < h->nfields; i++) {
		if (h->field[i].name.len == len && !strncasecmp(h->field[i].name.p, name, len))
			return &h->field[i];
	}
	return NULL;
}
