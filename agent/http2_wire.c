/* SPDX-License-Identifier: Apache-2.0 */
/* What lies between a stream and its end of the splitter: bytes go in and out as the other side takes them. */
#include <errno.h>

#include "agent/http2.h"

enum { READ_BUDGET = 512 << 10, IOV_MAX_READ = 16 };

bool wire_flush(struct wire *w)
{
	uint8_t *buf = agent_scratch();
	bool wrote = false;

	while (w->s && !w->dead) {
		ssize_t n;

		if (!w->rest) {
			w->len = h2_output(w->end, buf, AGENT_SCRATCH);
			w->at = 0;
			if (!w->len)
				break;
		}
		n = stream_write(w->s, (w->rest ? w->rest : buf) + w->at, w->len);
		if (n < 0 && n != -EAGAIN) {
			w->dead = true;
			break;
		}
		wrote |= n > 0;
		w->at += n > 0 ? (size_t)n : 0;
		w->len -= n > 0 ? (size_t)n : 0;
		if (!w->len) {
			free(w->rest);
			w->rest = NULL;
			continue;
		}
		if (!w->rest) {
			w->rest = malloc(w->len);
			if (!w->rest) {
				w->dead = true;
				break;
			}
			memcpy(w->rest, buf + w->at, w->len);
			w->at = 0;
		}
		break;
	}
	return wrote;
}

void wire_want(struct wire *w)
{
	if (w->s && !w->dead)
		w->s->ops->want(w->s,
				(w->eof ? 0 : STREAM_READABLE) | (w->rest ? STREAM_WRITABLE : 0));
}

int wire_input(struct wire *w, const uint8_t *data, size_t len)
{
	if (!w->heard) {
		w->heard = true;
		w->http1 = len >= 5 && !memcmp(data, "HTTP/", 5);
	}
	return h2_input(w->end, data, len, clock_boot());
}

/* Where the stream has its bytes in memory (lwIP), they are taken there. */
static ssize_t wire_peek(struct wire *w)
{
	struct iovec iov[IOV_MAX_READ];
	int n = w->s->ops->peek(w->s, iov, IOV_MAX_READ);
	size_t len = 0;

	if (n <= 0)
		return n;
	for (int i = 0; i < n; i++) {
		if (wire_input(w, iov[i].iov_base, iov[i].iov_len))
			return -EPROTO;
		len += iov[i].iov_len;
	}
	w->s->ops->consume(w->s, len);
	return (ssize_t)len;
}

static ssize_t wire_copy(struct wire *w)
{
	uint8_t *buf = agent_scratch();
	ssize_t n = stream_read(w->s, buf, AGENT_SCRATCH);

	if (n > 0 && wire_input(w, buf, (size_t)n))
		return -EPROTO;
	return n;
}

void wire_read(struct wire *w)
{
	ssize_t n = 1;

	for (size_t all = 0; n > 0 && all < READ_BUDGET; all += (size_t)n) {
		n = w->s->ops->peek ? wire_peek(w) : wire_copy(w);
		if (!w->s->ops->peek && n < AGENT_SCRATCH)
			break; /* mostly the next read would be for nothing */
	}
	if (n == 0 || n == -EPROTO) /* what nghttp2 has to say goes out */
		w->eof = true;
	else if (n < 0 && n != -EAGAIN)
		w->dead = true;
}

void wire_close(struct wire *w, bool gently)
{
	if (w->s && gently && !w->dead && !w->rest)
		w->s->ops->close(w->s);
	else if (w->s)
		w->s->ops->abort(w->s);
	w->s = NULL;
	free(w->rest);
	w->rest = NULL;
}
