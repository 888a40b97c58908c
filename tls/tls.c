/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL on the descriptor, as a stream.
 *
 * Out: what is written is gathered into records of 16 KiB in `out`; OpenSSL wants a record that it could not send again as it
 * was, so it stays there, and what is in it counts as taken.
 * In: OpenSSL may hold bytes that epoll does not see, so the stream is readable until a read has found nothing (`dry`).
 * Paused on both sides it watches for a reset alone, edge-triggered, as base/stream_fd.c does and for its reasons.
 * close() sends what is left, for at most LINGER_SECONDS, without an owner.
 */
#include "tls/tls.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

enum { RECORD = 16384, LINGER_SECONDS = 5, DRAIN_MAX = 256 * 1024, REASON_MAX = 160 };

struct tls {
	struct stream s;
	SSL *ssl;
	int fd;
	struct event read, write, tell;
	struct event paused; /* while neither read nor write is added */
	unsigned wanted;
	bool dry;	       /* the last read found nothing */
	bool read_needs_write; /* the handshake, or a key update */
	bool write_needs_read;
	bool closing, ended_out, orphan, told;
	int failed; /* what sending broke with */
	char reason[REASON_MAX];
	uint8_t out[RECORD];
	size_t out_len; /* a record that is not sent */
};

static const struct stream_ops tls_ops;

static struct tls *self(struct stream *s)
{
	return container_of(s, struct tls, s);
}

static void destroy(struct tls *t)
{
	event_del(&t->read);
	event_del(&t->write);
	event_del(&t->paused);
	event_del(&t->tell);
	SSL_free(t->ssl);
	close(t->fd);
	free(t);
}

/* close(2) with unread bytes is a reset, which may overtake what was written. */
static void drain_and_destroy(struct tls *t)
{
	char buf[RECORD];
	size_t drained = 0;
	ssize_t n;

	(void)shutdown(t->fd, SHUT_WR);
	while (drained < DRAIN_MAX && (n = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		drained += (size_t)n;
	destroy(t);
}

static bool must_send(const struct tls *t)
{
	return t->out_len || (t->closing && !t->ended_out);
}

static void watch(struct tls *t)
{
	static const struct timeval now = {.tv_sec = 0};
	bool in = (t->wanted & STREAM_READABLE) && t->dry && !t->read_needs_write;
	bool out = (t->wanted & STREAM_WRITABLE) || (must_send(t) && !t->failed) ||
		   (t->read_needs_write && (t->wanted & STREAM_READABLE));

	in |= t->write_needs_read;
	out &= !t->write_needs_read;
	if (in || out)
		event_del(&t->paused); /* first: libevent refuses both kinds for one descriptor */
	if (in)
		event_add(&t->read, NULL);
	else
		event_del(&t->read);
	if (out)
		event_add(&t->write, NULL);
	else
		event_del(&t->write);
	if (!in && !out && !t->told)
		event_add(&t->paused, NULL);
	/* In the next turn, by a timer: what is activated comes in this one, again and again, and nobody else would. */
	if ((t->wanted & STREAM_READABLE) && !t->dry)
		event_add(&t->tell, &now);
}

/* In OpenSSL's words. The first one counts: later ones follow from it. */
static void note_reason(struct tls *t)
{
	long verdict = SSL_get_verify_result(t->ssl);
	const char *text = ERR_reason_error_string(ERR_peek_error());

	if (*t->reason)
		return;
	if (verdict != X509_V_OK)
		text = X509_verify_cert_error_string(verdict);
	snprintf(t->reason, sizeof(t->reason), "%s", text ? text : "no TLS");
}

/* What OpenSSL says of an operation that did not succeed. */
static int failure(struct tls *t, int r, bool *other)
{
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		*other = SSL_want_write(t->ssl);
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SSL:
		if (!t->failed)
			note_reason(t);
		return -EPROTO;
	default:
		return errno ? -errno : -ECONNRESET;
	}
}

/* TLS's end, then TCP's; false = the socket is full. */
static bool end_out(struct tls *t)
{
	int r;

	ERR_clear_error();
	r = SSL_is_init_finished(t->ssl) ? SSL_shutdown(t->ssl) : 0;
	if (r < 0 && SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_WRITE)
		return false;
	t->ended_out = true;
	(void)shutdown(t->fd, SHUT_WR);
	return true;
}

/* Sends the record that waits, then the end if it is time. */
static int flush(struct tls *t)
{
	bool needs_write = true;
	size_t n;
	int r;

	t->write_needs_read = false;
	if (t->failed)
		return t->failed;
	if (t->out_len) {
		ERR_clear_error();
		errno = 0;
		r = 0;
		if (SSL_write_ex(t->ssl, t->out, t->out_len, &n))
			t->out_len = 0;
		else
			r = failure(t, 0, &needs_write);
		t->write_needs_read = r == -EAGAIN && !needs_write;
		if (t->out_len && r != -EAGAIN)
			return t->failed = r ? r : -EPIPE;
		if (SSL_has_pending(t->ssl))
			t->dry = false; /* what came behind a handshake */
		if (r)
			return r;
	}
	if (t->closing && !t->ended_out && !end_out(t))
		return -EAGAIN;
	return 0;
}

static ssize_t tls_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct tls *t = self(s);
	size_t done = 0, got;
	int r = 0;

	t->read_needs_write = false;
	for (int i = 0; i < n && !r; i++) {
		size_t at = 0;

		while (at < iov[i].iov_len) {
			ERR_clear_error();
			errno = 0;
			if (!SSL_read_ex(t->ssl, (char *)iov[i].iov_base + at, iov[i].iov_len - at,
					 &got)) {
				r = failure(t, 0, &t->read_needs_write);
				r = r ? r : 1; /* the end */
				break;
			}
			at += got;
			done += got;
		}
	}
	/* An end or an error is said again by the next read. */
	t->dry = r == -EAGAIN;
	/* It may have ended the handshake that a write waits for, or have to write itself: nothing more may come that would wake that. */
	if (SSL_is_init_finished(t->ssl) || t->read_needs_write)
		t->write_needs_read = false;
	watch(t);
	if (done)
		return (ssize_t)done;
	if (r != 1 && t->failed) /* nothing more can come */
		return t->failed;
	return r == 1 ? 0 : r;
}

static ssize_t tls_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct tls *t = self(s);
	size_t done = 0, at = 0;
	int i = 0, r;

	if (t->closing)
		return -EPIPE;
	for (;;) {
		r = flush(t);
		if (r || i == n)
			break;
		for (; i < n && t->out_len < RECORD; at = 0, i++) {
			size_t len = MIN(iov[i].iov_len - at, RECORD - t->out_len);

			memcpy(t->out + t->out_len, (char *)iov[i].iov_base + at, len);
			t->out_len += len;
			done += len;
			at += len;
			if (at < iov[i].iov_len)
				break;
		}
	}
	watch(t);
	/* An error is said again by the next write. */
	return done ? (ssize_t)done : r;
}

/* --- events --------------------------------------------------------------------------------------------- */

static void tell(struct tls *t, unsigned ev)
{
	ev &= t->wanted;
	if (ev && t->s.cb)
		t->s.cb(&t->s, ev, t->s.arg);
}

/* Who has gone may have said why: a reader gets that first, and then the error from its read. */
static bool is_left_to_read(const struct tls *t)
{
	return (t->failed == -EPIPE || t->failed == -ECONNRESET) && (t->wanted & STREAM_READABLE);
}

static void on_socket(int fd, short what, void *arg)
{
	struct tls *t = arg;
	unsigned ev = 0;
	int r;

	(void)fd;
	/* A write that reads may have read data along. */
	if (t->read_needs_write ? what & EV_WRITE : what & EV_READ) {
		ev |= STREAM_READABLE;
		t->dry = false;
	}
	r = flush(t);
	if (t->orphan && r != -EAGAIN) {
		drain_and_destroy(t);
		return;
	}
	if (r != -EAGAIN && (what & EV_WRITE))
		ev |= STREAM_WRITABLE;
	watch(t);
	if (t->failed && t->s.cb && !t->told && !is_left_to_read(t)) {
		t->told = true;
		t->s.error = t->failed;
		t->s.cb(&t->s, STREAM_ERROR, t->s.arg);
	} else {
		tell(t, ev);
	}
}

static void on_paused(int fd, short what, void *arg)
{
	struct tls *t = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || !error)
		return;
	event_del(&t->paused);
	t->failed = -error;
	t->told = true;
	t->s.error = -error;
	if (t->s.cb)
		t->s.cb(&t->s, STREAM_ERROR, t->s.arg);
}

static void on_tell(int fd, short what, void *arg)
{
	struct tls *t = arg;

	(void)fd;
	(void)what;
	if (t->orphan) { /* its time is over */
		drain_and_destroy(t);
		return;
	}
	if (t->dry)
		return;
	watch(t);
	tell(t, STREAM_READABLE);
}

static void tls_want(struct stream *s, unsigned ev)
{
	struct tls *t = self(s);

	t->wanted = ev;
	watch(t);
}

static void tls_shutdown(struct stream *s)
{
	struct tls *t = self(s);

	t->closing = true;
	(void)flush(t);
	watch(t);
}

static void tls_close(struct stream *s)
{
	struct tls *t = self(s);
	struct timeval tv = {.tv_sec = LINGER_SECONDS};

	t->closing = true;
	t->s.cb = NULL;
	t->wanted = 0;
	if (flush(t) != -EAGAIN) {
		drain_and_destroy(t);
		return;
	}
	t->orphan = true;
	event_del(&t->tell);
	watch(t);
	event_add(&t->tell, &tv);
}

static void tls_abort(struct stream *s)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(self(s)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	destroy(self(s));
}

static int tls_fd(struct stream *s)
{
	(void)s;
	return -1; /* what is on the socket is not what the stream carries */
}

static const struct stream_ops tls_ops = {
	.readv = tls_readv,
	.writev = tls_writev,
	.want = tls_want,
	.shutdown = tls_shutdown,
	.close = tls_close,
	.abort = tls_abort,
	.fd = tls_fd,
};

const char *tls_reason(const struct stream *s)
{
	return s->ops == &tls_ops ? self((struct stream *)(uintptr_t)s)->reason : "";
}

bool tls_is_up(const struct stream *s)
{
	return s->ops != &tls_ops || SSL_is_init_finished(self((struct stream *)(uintptr_t)s)->ssl);
}

static int new_stream(struct tls **tp, struct event_base *base, struct ssl_ctx_st *ctx, int fd)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->s.ops = &tls_ops;
	t->fd = fd;
	t->dry = true;
	t->ssl = SSL_new(ctx);
	if (!t->ssl || !SSL_set_fd(t->ssl, fd) ||
	    event_assign(&t->read, base, fd, EV_READ | EV_PERSIST, on_socket, t) ||
	    event_assign(&t->write, base, fd, EV_WRITE | EV_PERSIST, on_socket, t) ||
	    event_assign(&t->paused, base, fd, EV_READ | EV_PERSIST | EV_ET, on_paused, t) ||
	    event_assign(&t->tell, base, -1, 0, on_tell, t)) {
		SSL_free(t->ssl);
		free(t);
		return -ENOMEM;
	}
	*tp = t;
	return 0;
}

int tls_accept(struct stream **sp, struct event_base *base, struct ssl_ctx_st *ctx, int fd)
{
	struct tls *t;
	int r = new_stream(&t, base, ctx, fd);

	if (r)
		return r;
	SSL_set_accept_state(t->ssl);
	*sp = &t->s;
	return 0;
}

/* An address is no name: it is not told to the server, and stands elsewhere in the certificate. */
static bool expect_name(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return true;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

int tls_connect(struct stream **sp, struct event_base *base, struct ssl_ctx_st *ctx, int fd,
		const char *name, bool verify)
{
	struct tls *t;
	int r = new_stream(&t, base, ctx, fd);

	if (r)
		return r;
	SSL_set_verify(t->ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (!expect_name(t->ssl, name)) {
		SSL_free(t->ssl);
		free(t);
		return -EINVAL;
	}
	SSL_set_connect_state(t->ssl);
	*sp = &t->s;
	return 0;
}
