/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on a stream.
 *
 * In:  the payload is read from the carrier into the reader's own memory, and unmasked there; what comes behind it in the
 *      same read goes to `raw`, where heads and control frames are taken from. A reader that pauses stops the carrier.
 * Out: a server's payload goes to the carrier from the writer's memory; a client's is masked into `out`. What the carrier did
 *      not take waits in `out`, and until it is gone nothing more is taken: so control frames fall between messages.
 *
 * Readiness is the carrier's own as long as `raw` holds nothing to be had; else a timer of no length tells, never from within
 * the owner's call.
 *
 * close() sends what is left and a close frame, for at most LINGER_SECONDS, without an owner.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/random.h>

#include "websocket/internal.h"

enum {
	RAW_MAX = 64 * 1024,
	READ_AHEAD = 16 * 1024, /* behind a payload; it will be copied */
	FILLS_MAX = 4,		/* reads for one head: frames without payload need not end */
	CONTROL_ROOM = FRAME_HEAD_MAX + FRAME_CONTROL_MAX,
	OUT_MAX = FRAME_HEAD_MAX + WEBSOCKET_MESSAGE_MAX + WEBSOCKET_MESSAGE_SLACK + CONTROL_ROOM,
	IOV_MAX_HERE = 16,
	REASON_MAX = FRAME_CONTROL_MAX,
	PING_SECONDS = 10,
	TICK_SECONDS = 5,
	DEAD_SECONDS = 25,
	STUCK_SECONDS =
		60, /* the same while our ping may stand behind what the carrier does not take */
	LINGER_SECONDS = 5,
	RANDOM_ROOM = 256,
};

enum close_code { CLOSE_NORMAL = 1000, CLOSE_PROTOCOL_ERROR = 1002, CLOSE_NONE = 1005 };

struct websocket {
	struct stream s;
	struct stream *carrier;
	enum websocket_role role;
	struct event *tell, *tick;
	unsigned wanted;
	bool carrier_broken, broken, told; /* no more of: its events; ours; STREAM_ERROR was told */
	bool ended;			   /* the peer's close frame came */
	bool closing;			   /* ours is sent, or waits to be */
	bool orphan;
	nsec_t heard, pinged, lingering;
	bool moved; /* since the last tick a full carrier has had room again */
	/* in */
	struct frame frame;
	uint64_t left; /* of its payload */
	bool in_message, begin;
	bool raw_short; /* raw holds less than the next head, or control frame */
	uint8_t raw[RAW_MAX];
	size_t raw_off, raw_len;
	/* out */
	uint8_t out[OUT_MAX];
	size_t out_off, out_len;
	bool ping_due, pong_due, close_due;
	uint8_t pong[FRAME_CONTROL_MAX];
	size_t pong_len;
	enum close_code code;
	uint8_t random[RANDOM_ROOM];
	size_t random_left;
	char reason[REASON_MAX + 1];
};

static const struct stream_ops websocket_ops;

static struct websocket *self(const struct stream *s)
{
	return container_of((struct stream *)(uintptr_t)s, struct websocket, s);
}

static void destroy(struct websocket *w)
{
	event_free(w->tell);
	event_free(w->tick);
	free(w);
}

static void destroy_with(struct websocket *w, void (*end)(struct stream *))
{
	end(w->carrier);
	destroy(w);
}

/* --- readiness ------------------------------------------------------------------------------------------ */

static void tell_soon(struct websocket *w)
{
	struct timeval now = {.tv_sec = 0};

	event_add(w->tell, &now);
}

static bool must_send(const struct websocket *w)
{
	return w->out_len || w->ping_due || w->pong_due || w->close_due;
}

static void watch_carrier(struct websocket *w)
{
	unsigned ev = 0;

	if (w->carrier_broken)
		return;
	if ((w->wanted & STREAM_READABLE) && !w->ended && !w->broken && !w->orphan)
		ev |= STREAM_READABLE;
	if (!w->broken && (must_send(w) || ((w->wanted & STREAM_WRITABLE) && !w->closing)))
		ev |= STREAM_WRITABLE;
	w->carrier->ops->want(w->carrier, ev);
}

static void break_off(struct websocket *w, int error)
{
	if (w->broken)
		return;
	w->broken = true;
	w->s.error = error;
	watch_carrier(w);
	tell_soon(w);
}

/* What of ours is ready without the carrier. */
static unsigned ready(const struct websocket *w)
{
	/* Who reads gets what has come before the error behind it. */
	if (w->raw_len && !w->raw_short && !w->ended && (w->wanted & STREAM_READABLE))
		return STREAM_READABLE;
	if (w->broken)
		return w->told ? 0 : STREAM_ERROR;
	return w->ended ? w->wanted & STREAM_READABLE : 0;
}

static void on_tell(int fd, short what, void *arg)
{
	struct websocket *w = arg;
	unsigned ev = ready(w);

	(void)fd;
	(void)what;
	if (w->orphan) {
		destroy_with(w,
			     w->carrier_broken ? w->carrier->ops->abort : w->carrier->ops->close);
		return;
	}
	if (!ev || !w->s.cb)
		return;
	if (ev & STREAM_ERROR)
		w->told = true;
	else
		tell_soon(w); /* before the callback, which may free us */
	w->s.cb(&w->s, ev, w->s.arg);
}

/* --- out ------------------------------------------------------------------------------------------------ */

static const uint8_t *new_mask(struct websocket *w)
{
	if (w->role == WEBSOCKET_SERVER)
		return NULL;
	if (w->random_left < 4) {
		while (getrandom(w->random, RANDOM_ROOM, 0) != RANDOM_ROOM)
			;
		w->random_left = RANDOM_ROOM;
	}
	w->random_left -= 4;
	return w->random + w->random_left;
}

static void put_control(struct websocket *w, enum frame_opcode opcode, const void *data, size_t len)
{
	const uint8_t *mask = new_mask(w);
	uint8_t *p = w->out + w->out_off + w->out_len;
	size_t head = frame_head(p, opcode, len, mask);

	if (mask)
		frame_mask(p + head, data, len, mask, 0);
	else
		memcpy(p + head, data, len);
	w->out_len += head + len;
}

/* The next control frame that waits, into the empty `out`. */
static bool next_control(struct websocket *w)
{
	uint8_t code[2];

	if (w->pong_due) {
		w->pong_due = false;
		put_control(w, FRAME_PONG, w->pong, w->pong_len);
	} else if (w->ping_due) {
		w->ping_due = false;
		put_control(w, FRAME_PING, "", 0);
	} else if (w->close_due) {
		w->close_due = false;
		put_be16(code, (uint16_t)w->code);
		put_control(w, FRAME_CLOSE, code, sizeof(code));
	} else {
		return false;
	}
	return true;
}

static int send_out(struct websocket *w)
{
	while (w->out_len) {
		ssize_t n = stream_write(w->carrier, w->out + w->out_off, w->out_len);

		if (n <= 0)
			return n ? (int)n : -EAGAIN;
		w->out_off += (size_t)n;
		w->out_len -= (size_t)n;
	}
	w->out_off = 0;
	return 0;
}

/* Until all is sent, or the carrier is full. */
static void flush(struct websocket *w)
{
	int r = 0;

	if (w->carrier_broken)
		return;
	do {
		r = send_out(w);
	} while (r == 0 && next_control(w));
	if (r == -EAGAIN || r == 0) {
		watch_carrier(w);
	} else if (w->ended) { /* who has said its last word may be gone */
		w->out_len = 0;
		w->close_due = false;
	} else {
		break_off(w, r);
	}
}

static void send_close(struct websocket *w, enum close_code code)
{
	if (w->closing)
		return;
	w->closing = w->close_due = true;
	w->code = code;
	flush(w);
}

/* --- in ------------------------------------------------------------------------------------------------- */

/* The carrier's answer to a read, as ours. */
static ssize_t heard(struct websocket *w, ssize_t n)
{
	if (n > 0) {
		w->heard = clock_boot();
		return n;
	}
	if (n == -EAGAIN)
		return n;
	break_off(w, n ? (int)n : -ECONNRESET); /* an end without a close frame */
	return w->s.error;
}

static ssize_t violated(struct websocket *w)
{
	send_close(w, CLOSE_PROTOCOL_ERROR);
	w->raw_len = 0;
	break_off(w, -EPROTO);
	return -EPROTO;
}

static void take_raw(struct websocket *w, size_t len)
{
	w->raw_off += len;
	w->raw_len -= len;
	if (!w->raw_len)
		w->raw_off = 0;
}

static void take_close(struct websocket *w, const uint8_t *data, size_t len)
{
	unsigned code = len >= 2 ? get_be16(data) : CLOSE_NONE;

	for (size_t i = 2; i < len; i++)
		w->reason[i - 2] = (char)(data[i] < ' ' || data[i] == 0x7f ? ' ' : data[i]);
	w->ended = true;
	send_close(w, CLOSE_NORMAL);
	if (code != CLOSE_NORMAL && code != CLOSE_NONE)
		break_off(w, -ECONNRESET);
	watch_carrier(w);
}

static void take_control(struct websocket *w, const struct frame *f, uint8_t *data)
{
	size_t len = (size_t)f->len;

	if (f->masked)
		frame_mask(data, data, len, f->mask, 0);
	if (f->opcode == FRAME_CLOSE) {
		take_close(w, data, len);
	} else if (f->opcode == FRAME_PING && !w->closing) {
		/* Of several that wait the last is answered, which the RFC allows. */
		memcpy(w->pong, data, len);
		w->pong_len = len;
		w->pong_due = true;
	}
}

static ssize_t fill_raw(struct websocket *w)
{
	ssize_t n;

	if (w->carrier_broken || w->broken)
		return w->s.error;
	memmove(w->raw, w->raw + w->raw_off, w->raw_len);
	w->raw_off = 0;
	n = heard(w, stream_read(w->carrier, w->raw + w->raw_len, READ_AHEAD));
	if (n > 0)
		w->raw_len += (size_t)n;
	return n;
}

/* The head of the next data frame, and all control frames before it. 0, or what stands in the way; an end is -ENODATA. */
static ssize_t next_frame(struct websocket *w)
{
	unsigned fills = 0;

	while (!w->left) {
		struct frame f = {.len = 0};
		uint8_t *p = w->raw + w->raw_off;
		int head = frame_parse(&f, p, w->raw_len);
		bool control = frame_is_control(&f);

		if (w->ended)
			return -ENODATA;
		if (head < 0)
			return violated(w);
		w->raw_short = !head || (control && w->raw_len < (size_t)head + f.len);
		if (w->raw_short) {
			ssize_t n = fills++ < FILLS_MAX ? fill_raw(w) : -EAGAIN;

			if (n < 0)
				return n;
			continue;
		}
		/* Only a client masks; a message's frames follow each other. */
		if (f.masked != (w->role == WEBSOCKET_SERVER) ||
		    (!control && (f.opcode == FRAME_CONTINUATION) != w->in_message))
			return violated(w);
		if (control) {
			take_control(w, &f, p + head);
			take_raw(w, (size_t)head + (size_t)f.len);
			continue;
		}
		take_raw(w, (size_t)head);
		w->begin |= !w->in_message;
		w->in_message = !f.fin;
		w->frame = f;
		w->left = f.len;
	}
	return 0;
}

/* The part of `iov` from `skip` on, at most `max` bytes; number of iov, *total = bytes. */
static int clip(struct iovec *out, const struct iovec *iov, int n, size_t skip, uint64_t max,
		size_t *total)
{
	int k = 0;

	*total = 0;
	for (int i = 0; i < n && k < IOV_MAX_HERE && *total < max; i++) {
		size_t len = iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		out[k].iov_base = (char *)iov[i].iov_base + skip;
		out[k].iov_len = (size_t)MIN(len - skip, max - *total);
		skip = 0;
		*total += out[k++].iov_len;
	}
	return k;
}

static ssize_t read_payload(struct websocket *w, struct iovec *v, int k, size_t room)
{
	size_t ahead = 0;
	ssize_t n;

	if (w->carrier_broken || w->broken)
		return w->s.error;
	if (room == w->left) {
		ahead = READ_AHEAD;
		v[k++] = (struct iovec){w->raw, ahead};
	}
	n = heard(w, w->carrier->ops->readv(w->carrier, v, k));
	if (n > (ssize_t)room) {
		w->raw_len = (size_t)n - room;
		w->raw_short = false;
		n = (ssize_t)room;
	}
	return n;
}

static void unmask(struct websocket *w, const struct iovec *v, int k, size_t len)
{
	uint64_t at = w->frame.len - w->left;

	for (int i = 0; i < k && len; i++) {
		size_t n = MIN(len, v[i].iov_len);

		frame_mask(v[i].iov_base, v[i].iov_base, n, w->frame.mask, at);
		at += n;
		len -= n;
	}
}

/* Payload of one frame into iov from `skip` on; at most one read of the carrier's. */
static ssize_t piece(struct websocket *w, const struct iovec *iov, int n, size_t skip)
{
	struct iovec v[IOV_MAX_HERE + 1];
	ssize_t r = next_frame(w);
	size_t room;
	int k;

	if (w->pong_due)
		flush(w);
	if (r < 0)
		return r;
	k = clip(v, iov, n, skip, w->left, &room);
	if (w->raw_len) {
		room = MIN(room, w->raw_len);
		for (size_t i = 0, done = 0; done < room; i++) {
			size_t len = MIN(v[i].iov_len, room - done);

			memcpy(v[i].iov_base, w->raw + w->raw_off, len);
			take_raw(w, len);
			done += len;
		}
		r = (ssize_t)room;
	} else if (room) {
		r = read_payload(w, v, k, room);
	}
	if (r <= 0)
		return r;
	if (w->frame.masked)
		unmask(w, v, k, (size_t)r);
	w->left -= (size_t)r;
	return r;
}

static ssize_t readable_again(struct websocket *w, ssize_t r)
{
	if (ready(w))
		tell_soon(w);
	return r == -ENODATA ? w->broken ? w->s.error : 0 : r;
}

static ssize_t ws_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct websocket *w = self(s);
	size_t done = 0, room = 0;
	ssize_t r;

	for (int i = 0; i < n; i++)
		room += iov[i].iov_len;
	do {
		r = piece(w, iov, n, done);
		if (r <= 0)
			break;
		done += (size_t)r;
	} while (done < room && w->raw_len);
	w->begin = false;
	return readable_again(w, done ? (ssize_t)done : r);
}

ssize_t websocket_receive(struct stream *s, const struct iovec *iov, int n, bool *begin)
{
	struct websocket *w = self(s);
	ssize_t r = piece(w, iov, n, 0);

	*begin = r > 0 && w->begin;
	if (r > 0)
		w->begin = false;
	return readable_again(w, r);
}

/* --- the stream ----------------------------------------------------------------------------------------- */

static void on_carrier(struct stream *carrier, unsigned ev, void *arg)
{
	struct websocket *w = arg;
	unsigned mine = ev & w->wanted & STREAM_READABLE;

	if (ev & STREAM_ERROR) {
		w->carrier_broken = true;
		if (!w->ended)
			break_off(w, carrier->error);
		tell_soon(w);
		return;
	}
	if (ev & STREAM_WRITABLE) {
		w->moved |= w->out_len > 0;
		flush(w);
		if (w->orphan && (w->broken || !must_send(w)))
			tell_soon(w); /* which destroys it */
		if (!must_send(w) && !w->closing && !w->broken)
			mine |= w->wanted & STREAM_WRITABLE;
	}
	if (mine && w->s.cb)
		w->s.cb(&w->s, mine, w->s.arg);
}

static void on_tick(int fd, short what, void *arg)
{
	struct websocket *w = arg;
	struct timeval tv = {.tv_sec = TICK_SECONDS};
	nsec_t now = clock_boot();
	unsigned patience;

	(void)fd;
	(void)what;
	if (w->orphan && now - w->lingering >= LINGER_SECONDS * NSEC_PER_SEC) {
		destroy_with(w, w->carrier->ops->abort);
		return;
	}
	event_add(w->tick, &tv);
	if (w->broken || w->ended || w->orphan)
		return;
	/*
	 * While we do not read, its silence means nothing. Who makes room for what we write lives, and may be slow; and a ping
	 * that has not left is not answered.
	 */
	if (!(w->wanted & STREAM_READABLE) || w->moved)
		w->heard = now;
	w->moved = false;
	patience = must_send(w) ? STUCK_SECONDS : DEAD_SECONDS;
	if (now - w->heard > patience * NSEC_PER_SEC) {
		snprintf(w->reason, sizeof(w->reason), "nothing was heard for %u s", patience);
		break_off(w, -ETIMEDOUT);
	} else if (now - w->pinged >= PING_SECONDS * NSEC_PER_SEC && !w->closing) {
		w->pinged = now;
		w->ping_due = true;
		flush(w);
	}
}

/* Behind the head in `out`, masked; then as much of it as the carrier takes. */
static int send_masked(struct websocket *w, const struct iovec *v, int k, size_t len)
{
	const uint8_t *mask = new_mask(w);
	size_t at = frame_head(w->out, FRAME_BINARY, len, mask), head = at;

	for (int i = 0; i < k; i++) {
		frame_mask(w->out + at, v[i].iov_base, v[i].iov_len, mask, at - head);
		at += v[i].iov_len;
	}
	w->out_len = at;
	return send_out(w);
}

/* From the writer's own memory; what the carrier did not take goes to `out`. */
static int send_plain(struct websocket *w, struct iovec *v, int k, size_t len)
{
	uint8_t head[FRAME_HEAD_MAX];
	size_t all;
	ssize_t n;

	v[0] = (struct iovec){head, frame_head(head, FRAME_BINARY, len, NULL)};
	all = v[0].iov_len + len;
	n = w->carrier->ops->writev(w->carrier, v, k + 1);
	if (n == (ssize_t)all)
		return 0;
	if (n < 0 && n != -EAGAIN)
		return (int)n;
	if (n <= 0)
		return -EAGAIN;
	for (int i = 0; i <= k; i++) {
		size_t skip = MIN((size_t)n, v[i].iov_len);

		memcpy(w->out + w->out_len, (uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
		w->out_len += v[i].iov_len - skip;
		n -= (ssize_t)skip;
	}
	return -EAGAIN;
}

static ssize_t ws_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct websocket *w = self(s);
	struct iovec v[IOV_MAX_HERE + 1];
	size_t most = WEBSOCKET_MESSAGE_MAX + WEBSOCKET_MESSAGE_SLACK, len = 0;
	int k, r;

	if (w->broken)
		return w->s.error;
	if (w->closing)
		return -EPIPE;
	if (must_send(w))
		flush(w);
	if (must_send(w))
		return w->broken ? w->s.error : -EAGAIN;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	k = clip(v + 1, iov, n, 0, len <= most ? most : WEBSOCKET_MESSAGE_MAX, &len);
	if (!len)
		return 0;
	if (w->role == WEBSOCKET_CLIENT)
		r = send_masked(w, v + 1, k, len);
	else
		r = send_plain(w, v, k, len);
	if (r == -EAGAIN && !w->out_len)
		return r; /* full before the first byte: none is held */
	if (r == -EAGAIN)
		watch_carrier(w);
	else if (r < 0)
		break_off(w, r);
	return w->broken ? w->s.error : (ssize_t)len;
}

static void ws_want(struct stream *s, unsigned ev)
{
	struct websocket *w = self(s);

	if (w->wanted == ev)
		return;
	w->wanted = ev;
	watch_carrier(w);
	if (ready(w))
		tell_soon(w);
}

static void ws_shutdown(struct stream *s)
{
	if (!self(s)->broken)
		send_close(self(s), CLOSE_NORMAL);
}

static void ws_close(struct stream *s)
{
	struct websocket *w = self(s);

	ws_shutdown(s);
	w->s.cb = NULL;
	w->wanted = 0;
	if (w->broken || !must_send(w)) {
		destroy_with(w,
			     w->carrier_broken ? w->carrier->ops->abort : w->carrier->ops->close);
		return;
	}
	w->orphan = true;
	w->lingering = clock_boot();
	event_del(w->tell);
	watch_carrier(w);
}

static void ws_abort(struct stream *s)
{
	destroy_with(self(s), self(s)->carrier->ops->abort);
}

static int ws_fd(struct stream *s)
{
	(void)s;
	return -1; /* the bytes on the carrier are not ours alone */
}

static const struct stream_ops websocket_ops = {
	.readv = ws_readv,
	.writev = ws_writev,
	.want = ws_want,
	.shutdown = ws_shutdown,
	.close = ws_close,
	.abort = ws_abort,
	.fd = ws_fd,
};

const char *websocket_reason(const struct stream *s)
{
	return s->ops == &websocket_ops ? self(s)->reason : "";
}

int websocket_new(struct stream **sp, struct event_base *base, struct stream *carrier,
		  enum websocket_role role, const void *early, size_t early_len)
{
	struct timeval tv = {.tv_sec = TICK_SECONDS};
	struct websocket *w;

	if (early_len > RAW_MAX - READ_AHEAD)
		return -EMSGSIZE;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->s.ops = &websocket_ops;
	w->role = role;
	w->heard = w->pinged = clock_boot();
	w->tell = event_new(base, -1, 0, on_tell, w);
	w->tick = event_new(base, -1, 0, on_tick, w);
	if (!w->tell || !w->tick || event_add(w->tick, &tv)) {
		if (w->tell)
			event_free(w->tell);
		if (w->tick)
			event_free(w->tick);
		free(w);
		return -ENOMEM;
	}
	memcpy(w->raw, early, early_len);
	w->raw_len = early_len;
	w->carrier = carrier;
	stream_set(carrier, on_carrier, w);
	carrier->ops->want(carrier, 0);
	*sp = &w->s;
	return 0;
}
