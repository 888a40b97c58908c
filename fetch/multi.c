/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl on the event loop. curl tells which sockets and which time it waits for; the loop tells curl when they come.
 *
 * No callback of ours runs inside curl: it forbids to remove a handle there, and its users may free
 * anything. What curl finishes is fetched by curl_multi_info_read() afterwards, and transfers that got bytes wait in a list.
 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "fetch/fetch.h"

enum {
	UNHEARD_TRIES =
		2 /* sent again so often: 3 s of a connection that begins, 0.6 s and more of another */
};

struct watched {
	struct event *ev;
	int fd;
	LIST_ENTRY(watched) link;
};

struct fetch_multi {
	CURLM *curl;
	struct event_base *base;
	struct event *timer;
	LIST_HEAD(watched_list, watched)
	watched;
	TAILQ_HEAD(ready_list, fetch_transfer)
	ready;
	unsigned depth; /* in kick(): memory must stay */
	bool dead;
};

static void destroy(struct fetch_multi *m)
{
	struct watched *w;

	if (m->curl)
		curl_multi_cleanup(m->curl); /* may still call on_socket and on_timer */
	while ((w = LIST_FIRST(&m->watched))) {
		LIST_REMOVE(w, link);
		event_free(w->ev);
		free(w);
	}
	if (m->timer)
		event_free(m->timer);
	free(m);
}

static void kick(struct fetch_multi *m, curl_socket_t fd, int events)
{
	struct fetch_transfer *t;
	CURLMsg *msg;
	int left;

	m->depth++;
	curl_multi_socket_action(m->curl, fd, events, &left);
	while ((t = TAILQ_FIRST(&m->ready))) {
		TAILQ_REMOVE(&m->ready, t, ready_link);
		t->is_ready = false;
		t->ready(t);
	}
	while (!m->dead && (msg = curl_multi_info_read(m->curl, &left))) {
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
		t->done(t, code);
	}
	if (--m->depth == 0 && m->dead)
		destroy(m);
}

static void on_event(int fd, short what, void *arg)
{
	kick(arg, fd,
	     (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_time(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	kick(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* curl: wait for this on that socket. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct fetch_multi *m = arg;
	struct watched *w = socket_arg;
	short events = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
			       (what & CURL_POLL_OUT ? EV_WRITE : 0));

	(void)easy;
	if (w) {
		event_free(w->ev);
		w->ev = NULL;
	}
	if (what == CURL_POLL_REMOVE) {
		if (w)
			LIST_REMOVE(w, link);
		free(w);
		return 0;
	}
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -1;
		LIST_INSERT_HEAD(&m->watched, w, link);
		curl_multi_assign(m->curl, fd, w);
	}
	w->ev = event_new(m->base, fd, events, on_event, m);
	if (w->ev && event_add(w->ev, NULL) == 0)
		return 0;
	LIST_REMOVE(w, link);
	if (w->ev)
		event_free(w->ev);
	free(w);
	curl_multi_assign(m->curl, fd, NULL);
	return -1;
}

static int on_timer(CURLM *curl, long ms, void *arg)
{
	struct fetch_multi *m = arg;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)curl;
	if (ms < 0)
		return event_del(m->timer);
	return event_add(m->timer, &tv);
}

int fetch_multi_new(struct fetch_multi **mp, struct event_base *base)
{
	struct fetch_multi *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	LIST_INIT(&m->watched);
	TAILQ_INIT(&m->ready);
	m->base = base;
	m->timer = event_new(base, -1, 0, on_time, m);
	m->curl = curl_multi_init();
	if (!m->timer || !m->curl) {
		destroy(m);
		return -ENOMEM;
	}
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	*mp = m;
	return 0;
}

void fetch_multi_free(struct fetch_multi *m)
{
	if (!m)
		return;
	m->dead = true;
	if (!m->depth)
		destroy(m);
}

bool fetch_multi_unheard(const struct fetch_multi *m)
{
	bool unheard = false, heard = false;
	const struct watched *w;

	LIST_FOREACH (w, &m->watched, link) {
		struct tcp_info i = {.tcpi_state = 0};
		socklen_t len = sizeof(i);

		if (getsockopt(event_get_fd(w->ev), IPPROTO_TCP, TCP_INFO, &i, &len))
			continue; /* not TCP */
		unheard |= i.tcpi_retransmits >= UNHEARD_TRIES;
		heard |= i.tcpi_state == TCP_ESTABLISHED && !i.tcpi_unacked;
	}
	return unheard && !heard;
}

int fetch_transfer_start(struct fetch_multi *m, struct fetch_transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	if (curl_multi_add_handle(m->curl, t->easy))
		return -ENOMEM;
	t->multi = m;
	return 0;
}

void fetch_transfer_stop(struct fetch_transfer *t)
{
	if (!t->multi)
		return;
	if (t->is_ready)
		TAILQ_REMOVE(&t->multi->ready, t, ready_link);
	t->is_ready = false;
	curl_multi_remove_handle(t->multi->curl, t->easy);
	t->multi = NULL;
}

void fetch_transfer_ready(struct fetch_transfer *t)
{
	if (t->is_ready)
		return;
	t->is_ready = true;
	TAILQ_INSERT_TAIL(&t->multi->ready, t, ready_link);
}
