/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TLS connection that curl makes (proxy, names, certificates) and that then carries our bytes, as a stream.
 *
 * Out: a write that TLS could not finish must be tried again from the same memory, so bytes go through `out`, and what is in
 * it counts as taken. In: TLS may hold bytes that epoll does not see, so the stream is readable until a read has found
 * nothing (`dry`). close() sends what is left, for at most LINGER_SECONDS, without an owner.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/socket.h>

#include "kube/internal.h"

enum { OUT_MAX = 64 * 1024, LINGER_SECONDS = 5 };

/* A multi of its own: in a shared one curl closes idle connections by their age when a new one is made, and an upgraded
 * connection looks idle to it. */
struct kube_connection {
	struct stream s;
	struct event_base *base;
	struct kube_client *client; /* until it is connected */
	struct fetch_multi *multi;
	struct fetch_transfer transfer; /* CONNECT_ONLY; stays in the multi as long as bytes move */
	struct curl_slist *connect_to;
	char error[CURL_ERROR_SIZE];
	void (*connected)(void *arg, CURLcode code);
	void *arg;
	int fd;
	struct event read, write, tell;
	unsigned wanted;
	bool dry, closing, orphan, told;
	int failed; /* what sending broke with */
	uint8_t out[OUT_MAX];
	size_t out_off, out_len;
};

static const struct stream_ops connection_ops;

static struct kube_connection *self(struct stream *s)
{
	return container_of(s, struct kube_connection, s);
}

void kube_connection_free(struct kube_connection *c)
{
	if (!c)
		return;
	if (c->fd >= 0) {
		event_del(&c->read);
		event_del(&c->write);
		event_del(&c->tell);
	}
	fetch_transfer_stop(&c->transfer); /* closes the connection */
	if (c->transfer.easy)
		curl_easy_cleanup(c->transfer.easy);
	fetch_multi_free(c->multi);
	curl_slist_free_all(c->connect_to);
	free(c);
}

/* --- the stream ----------------------------------------------------------------------------------------- */

static void watch(struct kube_connection *c)
{
	static const struct timeval now = {.tv_sec = 0};
	bool in = (c->wanted & STREAM_READABLE) && c->dry;

	if (in)
		event_add(&c->read, NULL);
	else
		event_del(&c->read);
	if ((c->wanted & STREAM_WRITABLE) || (c->out_len && !c->failed))
		event_add(&c->write, NULL);
	else
		event_del(&c->write);
	/* In the next turn, by a timer: what is activated comes in this one, again and again, and nobody else would. */
	if ((c->wanted & STREAM_READABLE) && !c->dry)
		event_add(&c->tell, &now);
}

static int flush(struct kube_connection *c)
{
	while (c->out_len && !c->failed) {
		size_t n = 0;
		CURLcode code =
			curl_easy_send(c->transfer.easy, c->out + c->out_off, c->out_len, &n);

		if (code == CURLE_AGAIN || (code == CURLE_OK && n == 0))
			return -EAGAIN;
		if (code)
			c->failed = -ECONNRESET;
		c->out_off += n;
		c->out_len -= n;
	}
	c->out_off = 0;
	if (c->closing && !c->failed)
		(void)shutdown(c->fd, SHUT_WR);
	return c->failed;
}

static ssize_t connection_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct kube_connection *c = self(s);
	CURLcode code = CURLE_OK;
	size_t done = 0, got = 1;

	for (int i = 0; i < n && !code && got; i++) {
		for (size_t at = 0; at < iov[i].iov_len; at += got, done += got) {
			code = curl_easy_recv(c->transfer.easy, (char *)iov[i].iov_base + at,
					      iov[i].iov_len - at, &got);
			if (code || !got)
				break;
		}
	}
	/* An end or an error is said again by the next read. */
	c->dry = code == CURLE_AGAIN;
	watch(c);
	if (done)
		return (ssize_t)done;
	return code == CURLE_AGAIN ? -EAGAIN : code ? -ECONNRESET : 0;
}

static ssize_t connection_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct kube_connection *c = self(s);
	size_t done = 0, at = 0;
	int i = 0, r;

	if (c->closing)
		return -EPIPE;
	for (;;) {
		r = flush(c);
		if (r || i == n)
			break;
		while (i < n && c->out_len < OUT_MAX) {
			size_t len = MIN(iov[i].iov_len - at, OUT_MAX - c->out_len);

			memcpy(c->out + c->out_len, (char *)iov[i].iov_base + at, len);
			c->out_len += len;
			done += len;
			at += len;
			if (at == iov[i].iov_len) {
				at = 0;
				i++;
			}
		}
	}
	watch(c);
	/* An error is said again by the next write. */
	return done ? (ssize_t)done : r;
}

static void tell(struct kube_connection *c, unsigned ev)
{
	ev &= c->wanted;
	if (ev && c->s.cb)
		c->s.cb(&c->s, ev, c->s.arg);
}

static void on_socket(int fd, short what, void *arg)
{
	struct kube_connection *c = arg;
	unsigned ev = 0;
	int r = flush(c);

	(void)fd;
	if (c->orphan && r != -EAGAIN) {
		kube_connection_free(c);
		return;
	}
	if (what & EV_READ) {
		c->dry = false;
		ev |= STREAM_READABLE;
	}
	if ((what & EV_WRITE) && r != -EAGAIN)
		ev |= STREAM_WRITABLE;
	watch(c);
	if (c->failed && c->s.cb && !c->told) {
		c->told = true;
		c->s.error = c->failed;
		c->s.cb(&c->s, STREAM_ERROR, c->s.arg);
	} else {
		tell(c, ev);
	}
}

static void on_tell(int fd, short what, void *arg)
{
	struct kube_connection *c = arg;

	(void)fd;
	(void)what;
	if (c->orphan) { /* its time is over */
		kube_connection_free(c);
	} else if (!c->dry) {
		watch(c);
		tell(c, STREAM_READABLE);
	}
}

static void connection_want(struct stream *s, unsigned ev)
{
	self(s)->wanted = ev;
	watch(self(s));
}

static void connection_shutdown(struct stream *s)
{
	self(s)->closing = true;
	(void)flush(self(s));
	watch(self(s));
}

static void connection_close(struct stream *s)
{
	struct kube_connection *c = self(s);
	struct timeval tv = {.tv_sec = LINGER_SECONDS};

	c->closing = true;
	c->s.cb = NULL;
	c->wanted = 0;
	if (flush(c) != -EAGAIN) {
		kube_connection_free(c);
		return;
	}
	c->orphan = true;
	event_del(&c->tell);
	watch(c);
	event_add(&c->tell, &tv);
}

static void connection_abort(struct stream *s)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(self(s)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	kube_connection_free(self(s));
}

static int connection_fd(struct stream *s)
{
	(void)s;
	return -1; /* what is on the socket is not what the stream carries */
}

static const struct stream_ops connection_ops = {
	.readv = connection_readv,
	.writev = connection_writev,
	.want = connection_want,
	.shutdown = connection_shutdown,
	.close = connection_close,
	.abort = connection_abort,
	.fd = connection_fd,
};

struct stream *kube_connection_stream(struct kube_connection *c)
{
	return &c->s;
}

/* --- connecting ----------------------------------------------------------------------------------------- */

static void on_done(struct fetch_transfer *t, CURLcode code)
{
	struct kube_connection *c = container_of(t, struct kube_connection, transfer);
	curl_socket_t fd = CURL_SOCKET_BAD;

	kube_note_address(c->client, t->easy);

	if (code == CURLE_OK &&
	    (curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) || fd == CURL_SOCKET_BAD))
		code = CURLE_COULDNT_CONNECT;
	if (code == CURLE_OK) {
		event_assign(&c->read, c->base, fd, EV_READ | EV_PERSIST, on_socket, c);
		event_assign(&c->write, c->base, fd, EV_WRITE | EV_PERSIST, on_socket, c);
		event_assign(&c->tell, c->base, -1, 0, on_tell, c);
		c->fd = fd;
	}
	c->connected(c->arg, code);
}

static void no_bytes(struct fetch_transfer *t)
{
	(void)t;
}

int kube_connection_new(struct kube_connection **cp, struct kube_client *client,
			void (*connected)(void *arg, CURLcode code), void *arg)
{
	struct kube_connection *c = calloc(1, sizeof(*c));
	CURL *easy;

	if (!c)
		return -ENOMEM;
	c->s.ops = &connection_ops;
	c->base = client->base;
	c->client = client;
	c->connected = connected;
	c->arg = arg;
	c->fd = -1;
	c->transfer.done = on_done;
	c->transfer.ready = no_bytes;
	c->transfer.easy = easy = curl_easy_init();
	if (!easy || fetch_multi_new(&c->multi, client->base) ||
	    kube_setup_connection(client, easy, "/", &c->connect_to))
		goto fail;
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	/* h2 has no Upgrade; a plain server behind a proxy needs the tunnel as well. */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->error);
	if (fetch_transfer_start(c->multi, &c->transfer))
		goto fail;
	*cp = c;
	return 0;
fail:
	kube_connection_free(c);
	return -ENOMEM;
}

void kube_connection_judge(struct kube_connection *c, const struct kube_client *client,
			   struct kube_judged *j, CURLcode code)
{
	kube_judge_curl(j, client, code, c->transfer.easy, c->error);
}
