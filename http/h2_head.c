/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an HTTP/2 message, or its trailers, in memory of its own. */
#include <errno.h>

#include "http/h2_internal.h"

enum { FIRST_FIELDS = 16, FIRST_BYTES = 512, FIELD_OVERHEAD = 32 /* RFC 9113, 6.5.2 */ };

struct h2_head *h2_head_new(void)
{
	return calloc(1, sizeof(struct h2_head));
}

void h2_head_free(struct h2_head *h)
{
	if (!h)
		return;
	free(h->field);
	free(h->bytes);
	free(h);
}

static int grow_fields(struct h2_head *h)
{
	unsigned room = h->room ? 2 * h->room : FIRST_FIELDS;
	struct http_field *field = realloc(h->field, room * sizeof(*field));

	if (!field)
		return -ENOMEM;
	h->field = field;
	h->room = room;
	return 0;
}

static int grow_bytes(struct h2_head *h, size_t need)
{
	size_t size = h->size ? h->size : FIRST_BYTES;
	char *bytes;

	while (size - h->used < need)
		size *= 2;
	bytes = malloc(size);
	if (!bytes)
		return -ENOMEM;
	if (h->used)
		memcpy(bytes, h->bytes, h->used);
	for (unsigned i = 0; i < h->n; i++) {
		h->field[i].name.p = bytes + (h->field[i].name.p - h->bytes);
		h->field[i].value.p = bytes + (h->field[i].value.p - h->bytes);
	}
	free(h->bytes);
	h->bytes = bytes;
	h->size = size;
	return 0;
}

static struct http_text keep(struct h2_head *h, const uint8_t *p, size_t len)
{
	char *to = h->bytes + h->used;

	memcpy(to, p, len);
	h->used += len;
	return (struct http_text){.p = to, .len = len};
}

int h2_head_add(struct h2_head *h, const uint8_t *name, size_t namelen, const uint8_t *value,
		size_t len, bool sensitive)
{
	struct http_field *f;
	bool pseudo = namelen && name[0] == ':';

	h->list_size += namelen + len + FIELD_OVERHEAD;
	if (h->list_size > HTTP_HEAD_MAX || h->n - h->pseudo >= HTTP_FIELDS_MAX ||
	    (pseudo && h->pseudo >= H2_PSEUDO_MAX))
		return -E2BIG;
	if (h->n == h->room && grow_fields(h))
		return -ENOMEM;
	if (h->size - h->used < namelen + len && grow_bytes(h, namelen + len))
		return -ENOMEM;
	f = &h->field[h->n++];
	f->name = keep(h, name, namelen);
	f->value = keep(h, value, len);
	f->sensitive = sensitive;
	if (pseudo)
		h->pseudo++; /* nghttp2 lets them come first only */
	return 0;
}

static int status_of(struct http_text t)
{
	int status = 0;

	for (size_t i = 0; i < t.len && i < 3; i++)
		status = 10 * status + (t.p[i] - '0');
	return status;
}

void h2_head_finish(struct h2_head *h)
{
	const struct http_field *host;

	h->head = (struct http_head){.nfields = h->n - h->pseudo};
	if (!h->field) /* there are none at all */
		return;
	h->head.field = h->field + h->pseudo;
	for (unsigned i = 0; i < h->pseudo; i++) {
		const struct http_field *f = &h->field[i];

		if (http_text_is(f->name, ":method"))
			h->head.method = f->value;
		else if (http_text_is(f->name, ":path"))
			h->head.target = f->value;
		else if (http_text_is(f->name, ":authority"))
			h->head.authority = f->value;
		else if (http_text_is(f->name, ":status"))
			h->head.status = status_of(f->value);
	}
	host = h->head.authority.p ? NULL : http_field_find(&h->head, "host", NULL);
	if (host)
		h->head.authority = host->value;
}

size_t h2_head_list(const struct h2_head *h, nghttp2_nv nv[static HTTP_FIELDS_MAX + H2_PSEUDO_MAX])
{
	for (unsigned i = 0; i < h->n; i++) {
		const struct http_field *f = &h->field[i];

		nv[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)f->name.p,
			.namelen = f->name.len,
			.value = (uint8_t *)(uintptr_t)f->value.p,
			.valuelen = f->value.len,
			.flags = f->sensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
		};
	}
	return h->n;
}
