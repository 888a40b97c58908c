/* SPDX-License-Identifier: Apache-2.0 */
/* A site on a loopback port, in the loop of the test: each request has the test's function write the whole answer. */
#pragma once

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>

#include "base/addr.h"

struct site {
	struct event_base *base;
	struct evconnlistener *listener;
	uint16_t port;
	unsigned requests;
	/* `head` is the request's, `body` its body; both NUL-ended. */
	void (*answer)(struct site *s, const char *head, const char *body, struct evbuffer *out);
	void *arg;
};

static inline size_t site_length(const char *head)
{
	const char *p = strstr(head, "Content-Length: ");

	return p ? strtoul(p + 16, NULL, 10) : 0;
}

static inline void site_on_write(struct bufferevent *bev, void *arg)
{
	(void)arg;
	bufferevent_free(bev); /* one request a connection */
}

static inline void site_on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)what;
	(void)arg;
	bufferevent_free(bev);
}

static inline void site_on_read(struct bufferevent *bev, void *arg)
{
	struct site *s = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	char head[8192], body[65536];
	size_t len;

	if (end.pos < 0 || (size_t)end.pos + 4 >= sizeof(head))
		return;
	evbuffer_copyout(in, head, (size_t)end.pos + 4);
	head[end.pos + 4] = '\0';
	len = site_length(head);
	if (evbuffer_get_length(in) < (size_t)end.pos + 4 + len || len >= sizeof(body))
		return;
	evbuffer_drain(in, (size_t)end.pos + 4);
	evbuffer_remove(in, body, len);
	body[len] = '\0';
	s->requests++;
	s->answer(s, head, body, bufferevent_get_output(bev));
	bufferevent_setcb(bev, NULL, site_on_write, site_on_event, s);
}

static inline void site_on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa,
				  int len, void *arg)
{
	struct site *s = arg;
	struct bufferevent *bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)l;
	(void)sa;
	(void)len;
	bufferevent_setcb(bev, site_on_read, NULL, site_on_event, s);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static inline int site_open(struct site *s, struct event_base *base)
{
	union sockaddr_any sa;
	socklen_t len = sizeof(sa);

	s->base = base;
	sockaddr_parse(&sa, "127.0.0.1:0");
	s->listener = evconnlistener_new_bind(base, site_on_accept, s, LEV_OPT_CLOSE_ON_FREE, 512,
					      &sa.sa, (int)sockaddr_len(&sa));
	if (!s->listener || getsockname(evconnlistener_get_fd(s->listener), &sa.sa, &len))
		return -1;
	s->port = sockaddr_port(&sa);
	return 0;
}

static inline void site_say(struct evbuffer *out, int status, const char *more, const char *body)
{
	evbuffer_add_printf(out,
			    "HTTP/1.1 %d x\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
			    status, more, strlen(body), body);
}
