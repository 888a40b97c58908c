/* SPDX-License-Identifier: Apache-2.0 */
/* gateway: a visitor's head and an ingress's, through to the other side. What comes out is one head that reads the same to h1, with our
 * marks once and none of our cookies. */
#include <stdlib.h>
#include <string.h>

#include "gateway/bytes.h"

#define ID "0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct passage passage = {
	.host = "id.preview.test:8443",
	.name = "id.preview.test",
	.l5 = "shop.example.com",
	.port = 8080,
	.marked = true,
	.id = ID,
	.header = ID ":shop",
	.from = "10.0.0.9",
	.loop = "feed",
};

static unsigned count(const struct http_head *h, const char *name)
{
	const struct http_field *f = NULL;
	unsigned n = 0;

	while ((f = http_field_find(h, name, f)))
		n++;
	return n;
}

static void check_request(const struct buf *out)
{
	struct h1 *h = h1_new();
	const struct http_head *head;
	size_t n;

	/* Whole, and nothing behind it. What comes out is larger, and may exceed the bounds of a head. */
	if (h1_request(h, buf_data(out), out->len, &n) == H1_HEAD) {
		head = h1_head(h);
		if (n != out->len || count(head, "host") != 1 || count(head, "baggage") != 1 ||
		    count(head, "x-culvert-intercept-id") != 1 ||
		    count(head, "x-culvert-preview") != 1 || count(head, "cookie") > 1 ||
		    cookie_find(head, COOKIE_PREFIX).p)
			abort();
	} else if (out->len < HTTP_HEAD_MAX && h1_head(h)->nfields < HTTP_FIELDS_MAX - 8 &&
		   !strstr(h1_why(h), "field")) {
		abort();
	}
	h1_free(h);
}

static void try_texts(const struct http_head *h)
{
	struct http_text form, path = target_path(h->target);
	char name[NAME_TEXT + 1], value[64], hash[HASH_TEXT + 1];

	if (path.len > h->target.len)
		abort();
	if (host_name(h->authority, name) == 0 && (!*name || strpbrk(name, " /\\@?#\r\n")))
		abort();
	if (target_origin_form(h->target, h->authority, &form) == 0 && *form.p != '/')
		abort();
	(void)target_param(h->target, "ticket", value, sizeof(value));
	(void)share_hash(path, hash);
	if (path_is_ours(h->target) &&
	    (h->target.p[0] != '/' || (h->target.len > 1 && h->target.p[1] == '/')))
		abort();
}

static void try_request(struct h1 *h, const uint8_t *data, size_t size, size_t *n)
{
	struct buf out = {.p = NULL};
	const struct http_head *head;
	struct http_text target;

	if (h1_request(h, data, size, n) != H1_HEAD) {
		*n = 0;
		return;
	}
	head = h1_head(h);
	try_texts(head);
	if (target_origin_form(head->target, head->authority, &target))
		return; /* site.c refuses it */
	head_to_ingress(&out, head, target, head_minor(data, *n, head), &passage);
	if (count(head, "content-length") + count(head, "transfer-encoding") <= 1)
		check_request(&out);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct h1 *h = h1_new();
	struct buf out = {.p = NULL};
	enum h1_step step;
	size_t n;

	try_request(h, data, size, &n);
	if (!n) { /* an answer alone */
		static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: "
					  "upgrade\r\nUpgrade: websocket\r\n\r\n";
		size_t all;

		h1_free(h);
		h = h1_new();
		(void)h1_request(h, (const uint8_t *)get, sizeof(get) - 1, &all);
	}
	data += n;
	size -= n;
	step = h1_answer(h, data, size, &n);
	if (step == H1_HEAD || step == H1_TUNNEL) {
		head_to_visitor(&out, h1_head(h), data, n, size & 1, &passage);
		if (out.len < 4 || memcmp(buf_data(&out) + out.len - 4, "\r\n\r\n", 4) ||
		    memmem(buf_data(&out), out.len - 4, "\r\n\r\n", 4))
			abort();
	}
	buf_free(&out);
	h1_free(h);
	return 0;
}
