/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport: carries sealed messages. Two kinds behind the same calls:
 *
 *   UDP      a message is a datagram, and may get lost. Batches: GSO on the way out (UDP_SEGMENT,
 *            one sendmsg for datagrams of one size to one path), GRO on the way in; both probed and
 *            given up when the kernel or device refuses, then one by one.
 *   stream   a message is a frame (docs/protocol.md, "Stream frames") on anything that
 *            base/stream.h describes: TCP, a WebSocket. One path. Frames gather in a bounded queue
 *            until transport_flush(), and leave in one writev. The queue is memory to seal into.
 *
 * One thread. Callbacks come from the loop only, never from inside a call, and may not free the
 * transport that they are about, but may close it.
 */
#pragma once

#include "base/error.h"
#include "base/pkt.h"

struct event_base;
struct stream;
struct transport;

enum {
	/* Bytes of a received GRO buffer or a GSO send, at most 64 datagrams. */
	TRANSPORT_BATCH = 65536,
	/* The longest message of a stream: a whole super-packet, sealed. */
	TRANSPORT_FRAME_MAX = PKT_MAX + 32,
	/* What may be read around a received message (AEAD code does), and is there, and may be
	 * scribbled on behind it, where transport_stream_reserve() gives room. */
	TRANSPORT_HEAD = 64,
	TRANSPORT_TAIL = 576,
	/* Bytes of frames that a stream queues while the far end is slow. What comes above is
	 * dropped and counted. `full` from HIGH on until no more than LOW are left. */
	TRANSPORT_QUEUE_MAX = 1 << 20,
	TRANSPORT_HIGH = 512 << 10,
	TRANSPORT_LOW = 128 << 10,
};

struct transport_stats {
	/* A frame of a stream counts as a datagram, without its length. */
	uint64_t rx_datagrams, rx_bytes, rx_calls, tx_datagrams, tx_bytes, tx_calls;
	uint64_t tx_full;    /* socket buffer or queue full: datagrams dropped */
	uint64_t tx_errors;  /* unreachable and the like; of a stream: its end */
	uint64_t tx_too_big; /* EMSGSIZE: path MTU shrank */
};

struct transport_ops {
	/* A batch came from one path: datagrams of `stride` bytes (the last may be shorter, `len`
	 * bytes in all), valid during the call; TRANSPORT_HEAD bytes before and TRANSPORT_TAIL
	 * after it are readable. */
	void (*receive)(void *arg, const struct path *from, const uint8_t *data, size_t len,
			size_t stride);
	/* All that could be read in this turn has been delivered: flush what you gathered. */
	void (*idle)(void *arg);
	/* UDP: the kernel reports that the far end refused or is unreachable (ICMP, IP_RECVERR).
	 * Optional. */
	void (*unreachable)(void *arg, const struct path *to, int error);
	/* A stream: it ended and carries nothing more; free it later. 0 = the far end closed it
	 * between two frames, -EBADMSG = it sent what is no frame, else what the stream says. */
	void (*closed)(void *arg, int error);
	/* A stream that was full has room again. Optional. */
	void (*writable)(void *arg);
};

/* Binds UDP on `bind` (port 0 = any; an IPv6 wildcard takes IPv4 too). `id` goes into every path it
 * makes. */
int transport_udp_new(struct transport **tp, struct event_base *base,
		      const union sockaddr_any *bind, uint32_t id, const struct transport_ops *ops,
		      void *arg, struct error *e);
/* Over a connected stream, which it owns on success. Its one path is `id` without an address. */
int transport_stream_new(struct transport **tp, struct event_base *base, struct stream *s,
			 uint32_t id, const struct transport_ops *ops, void *arg, struct error *e);
/* A stream: writes what is queued as far as it goes at once, and ends it: no more callbacks. The
 * rest is counted as errors. */
void transport_close(struct transport *t);
void transport_free(struct transport *t);				/* NULL ok; closes */
int transport_local(const struct transport *t, union sockaddr_any *sa); /* UDP; else -ENOTSUP */
const struct transport_stats *transport_stats(const struct transport *t);

/* Sends `len` bytes as messages of `stride` (the last may be shorter). The buffer is not kept.
 * Drops are counted. */
void transport_send(struct transport *t, const struct path *to, const uint8_t *data, size_t len,
		    size_t stride);
/* A stream: writes what is queued. Nothing on UDP, which sends at once. */
void transport_flush(struct transport *t);
/* Back-pressure: a stream's queue is above its mark; writable() follows. */
bool transport_full(const struct transport *t);
/* Largest message that goes over the path whole: of UDP, the payload by the MTU that the kernel
 * knows now; of a stream, TRANSPORT_FRAME_MAX. */
size_t transport_mtu(struct transport *t, const struct path *to);
/* The local network changed (new address): forget sticky sources and learned MTUs. */
void transport_rebind(struct transport *t);

/*
 * A stream's queue as memory: room for a message of up to `len` bytes, with TRANSPORT_HEAD bytes
 * before it and TRANSPORT_TAIL after. NULL = no room, or it ended: counted. Then commit what it
 * became (at most `len`), or nothing; nothing else may be called between.
 */
uint8_t *transport_stream_reserve(struct transport *t, size_t len);
void transport_stream_commit(struct transport *t, size_t len);
