/* SPDX-License-Identifier: Apache-2.0 */
/* Small pages: what happened, why, and what to do. As HTML for a browser, as text for all others. */
#include "gateway/internal.h"

static const char mark[] = "<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path "
			   "d=\"M3 19v-4a9 9 0 0 1 18 "
			   "0v4M8 19v-4a4 4 0 0 1 8 0v4\"/></svg>\n";

static const char policy[] =
	"Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; "
	"form-action 'self'; frame-ancestors 'none'\r\n";

/* `code` between grave accents. */
static void put_html(struct buf *b, const char *text)
{
	bool code = false;

	for (; *text; text++) {
		switch (*text) {
		case '&':
			buf_add(b, "&amp;", 5);
			break;
		case '<':
			buf_add(b, "&lt;", 4);
			break;
		case '>':
			buf_add(b, "&gt;", 4);
			break;
		case '"':
			buf_add(b, "&quot;", 6);
			break;
		case '\'':
			buf_add(b, "&#39;", 5);
			break;
		case '`':
			buf_printf(b, code ? "</code>" : "<code>");
			code = !code;
			break;
		default:
			buf_add(b, text, 1);
		}
	}
	if (code)
		buf_printf(b, "</code>");
}

static void put_tagged(struct buf *b, const char *open, const char *text, const char *close)
{
	buf_add(b, open, strlen(open));
	put_html(b, text);
	buf_add(b, close, strlen(close));
}

static void as_html(struct buf *b, const struct page *p)
{
	buf_printf(b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		      "<meta name=\"color-scheme\" content=\"light dark\">\n"
		      "<meta name=\"robots\" content=\"noindex\">\n");
	put_tagged(b, "<title>", p->title, "</title>\n");
	buf_printf(b,
		   "<link rel=\"stylesheet\" "
		   "href=\"/.culvert/page.css\">\n</head>\n<body>\n<main>\n%s",
		   mark);
	put_tagged(b, "<h1>", p->title, "</h1>\n");
	put_tagged(b, "<p>", p->text, "</p>\n");
	if (p->action) {
		put_tagged(b, "<form method=\"post\" action=\"", p->action, "\"><button>");
		put_tagged(b, "", p->button, "</button></form>\n");
	}
	if (p->link) {
		put_tagged(b, "<p><a class=\"button\" href=\"", p->link, "\">");
		put_tagged(b, "", p->link_text, "</a></p>\n");
	}
	if (p->small)
		put_tagged(b, "<p class=\"small\">", p->small, "</p>\n");
	buf_printf(b, "</main>\n</body>\n</html>\n");
}

static void as_text(struct buf *b, const struct page *p)
{
	buf_printf(b, "%s\n\n%s\n", p->title, p->text);
	if (p->small)
		buf_printf(b, "%s\n", p->small);
	if (p->link)
		buf_printf(b, "%s: %s\n", p->link_text, p->link);
}

void page_answer(struct visitor *v, const struct page *p)
{
	bool html = visitor_wants_html(v);
	struct buf body = {.p = NULL}, headers = {.p = NULL};
	struct answer a = {.status = p->status,
			   .type = html ? "text/html; charset=utf-8" : "text/plain; charset=utf-8"};

	if (html)
		as_html(&body, p);
	else
		as_text(&body, p);
	buf_printf(&headers, "%sVary: Accept\r\n%s", policy, p->headers ? p->headers : "");
	buf_add(&headers, "", 1);
	if (!body.failed && !headers.failed) {
		a.headers = (const char *)buf_data(&headers);
		a.body = (const char *)buf_data(&body);
		a.len = body.len;
	}
	visitor_answer(v, &a);
	buf_free(&body);
	buf_free(&headers);
}

void page_not_found(struct visitor *v)
{
	page_answer(
		v,
		&(struct page){
			.status = 404,
			.title = "Nothing here",
			.text = "This address is none of the gateway’s. Look at the link again."});
}
