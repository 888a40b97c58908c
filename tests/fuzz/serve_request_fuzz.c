/* SPDX-License-Identifier: Apache-2.0 */
/* serve: a request, its head and its body, as a client sends it. */
#include <string.h>

#include "serve/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was let through is what everybody reads the same way. */
static void check(const struct serve_request *r)
{
	unsigned hosts, lengths, encodings;
	size_t len;

	(void)serve_header_at(r, "host", &hosts);
	(void)serve_header_at(r, "content-length", &lengths);
	(void)serve_header_at(r, "transfer-encoding", &encodings);
	if (hosts > 1 || lengths + encodings > 1 || *serve_path(r) != '/' ||
	    strpbrk(serve_path(r), " \r\n"))
		abort();
	for (unsigned i = 0; i < r->n_headers; i++) {
		const char *name = r->headers[i].name;

		if (!*name || strpbrk(name, "\r\n: \t") || strpbrk(r->headers[i].value, "\r\n"))
			abort();
	}
	if (!serve_body(r, &len) || len > SERVE_BODY_MAX || !*serve_method(r))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct serve server = {.bodies = 0};
	struct serve_request *r;
	llhttp_t parser;
	ssize_t head = serve_head_check((const char *)data, MIN(size, (size_t)SERVE_HEAD_MAX));

	if (head <= 0)
		return 0;
	r = calloc(1, sizeof(*r));
	r->serve = &server;
	memcpy(r->head, data, (size_t)head);
	r->head_len = (size_t)head;
	if (serve_head_parse(r, &parser) == 0) {
		data += head;
		size -= (size_t)head;
		/* In two parts. */
		for (unsigned part = 0; part < 2 && !r->complete && !r->refuse; part++) {
			size_t len = part ? size : size / 2;
			ssize_t n = serve_body_parse(r, &parser, (const char *)data, len);

			if (n < 0)
				break;
			if ((size_t)n < len && !r->complete)
				abort();
			data += n;
			size -= (size_t)n;
		}
		if (r->complete)
			check(r);
	}
	serve_request_free(r);
	if (server.bodies)
		abort();
	return 0;
}
