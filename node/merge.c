/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coalescer. A run is a super-packet that grows in a buffer of its own; runs stand in the order
 * in which they began.
 *
 * A segment continues a run if its sequence number is the next one, it is not longer than the
 * first, and the headers are equal but for what a cutter changes (length, id, checksums, sequence,
 * PSH). A run ends with a shorter segment, with PSH (the sender's own super-packet ended there), or
 * at PKT_MAX. Segments with flags other than ACK and PSH, or without data, are never in a run: each
 * tells something by itself.
 */
#include <errno.h>

#include "node/merge.h"
#include "node/segment.h"

enum {
	RUN_HEAD = 64, /* readable before a packet, and after it: */
	RUN_TAIL = 576,
};

struct run {
	void *owner;
	struct segment first;
	uint32_t len, next_seq;
	unsigned segments;
	uint8_t *data; /* RUN_HEAD bytes into its buffer */
};

struct merge {
	merge_deliver *deliver;
	void *arg;
	unsigned n;
	struct run *open[MERGE_RUNS]; /* the first n: under way, oldest first; the others: spare */
	struct run runs[MERGE_RUNS];
	uint8_t *memory; /* of all runs; the kernel gives pages only to those that are used */
};

int merge_new(struct merge **mp, merge_deliver *deliver, void *arg)
{
	enum { STEP = RUN_HEAD + ROUND_UP(PKT_MAX, 64) + RUN_TAIL };
	struct merge *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->memory = calloc(MERGE_RUNS, STEP);
	if (!m->memory) {
		free(m);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < MERGE_RUNS; i++) {
		m->runs[i].data = m->memory + (size_t)i * STEP + RUN_HEAD;
		m->open[i] = &m->runs[i];
	}
	m->deliver = deliver;
	m->arg = arg;
	*mp = m;
	return 0;
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	free(m->memory);
	free(m);
}

/* Takes run `at` out of the open ones and delivers it. It is spare before the callback runs. */
static void send_on(struct merge *m, unsigned at)
{
	struct run *r = m->open[at];
	struct pkt pkt = {.data = r->data, .len = r->len};

	m->n--;
	memmove(&m->open[at], &m->open[at + 1], (m->n - at) * sizeof(m->open[0]));
	m->open[m->n] = r;

	if (r->segments > 1) {
		segment_set_length(r->data, &r->first, r->len);
		pkt.gso = (uint16_t)r->first.payload;
	}
	m->deliver(m->arg, r->owner, &pkt);
}

static bool same_flow(const struct run *r, void *owner, const uint8_t *data,
		      const struct segment *s)
{
	if (r->owner != owner || r->first.version != s->version ||
	    memcmp(r->data + r->first.l4, data + s->l4, 4) != 0)
		return false;
	return s->version == 4 ? !memcmp(r->data + 12, data + 12, 8)
			       : !memcmp(r->data + 8, data + 8, 32);
}

/* Of one flow: may `s` be appended to the run? */
static bool continues(const struct run *r, const uint8_t *data, const struct segment *s)
{
	const uint8_t *tcp = data + s->l4, *run_tcp = r->data + r->first.l4;

	if (s->seq != r->next_seq || s->payload > r->first.payload || s->l4 != r->first.l4 ||
	    s->headers != r->first.headers || r->len + s->payload > PKT_MAX)
		return false;
	if (s->version == 4) {
		/* type of service, fragment bits, time to live, options */
		if (data[1] != r->data[1] || memcmp(data + 6, r->data + 6, 3) != 0 ||
		    memcmp(data + 20, r->data + 20, s->l4 - 20U) != 0)
			return false;
	} else if (memcmp(data, r->data, 4) != 0 || data[7] != r->data[7]) {
		return false;
	}
	/* ack and header length; flags were checked; window; urgent pointer and options */
	return !memcmp(tcp + 8, run_tcp + 8, 5) && !memcmp(tcp + 14, run_tcp + 14, 2) &&
	       !memcmp(tcp + 18, run_tcp + 18, (size_t)(s->headers - s->l4) - 18);
}

static void append(struct merge *m, unsigned at, const uint8_t *data, const struct segment *s)
{
	struct run *r = m->open[at];

	memcpy(r->data + r->len, data + s->headers, s->payload);
	r->data[r->first.l4 + 13] |= s->flags & TCP_PSH;
	r->len += s->payload;
	r->next_seq += s->payload;
	r->segments++;
	if (s->payload < r->first.payload || s->flags & TCP_PSH)
		send_on(m, at);
}

static void start(struct merge *m, void *owner, const uint8_t *data, const struct segment *s)
{
	struct run *r;

	if (m->n == MERGE_RUNS)
		send_on(m, 0);
	r = m->open[m->n++];
	r->owner = owner;
	r->first = *s;
	r->len = s->headers + s->payload;
	r->next_seq = s->seq + s->payload;
	r->segments = 1;
	memcpy(r->data, data, r->len);
}

void merge_packet(struct merge *m, void *owner, uint8_t *data, size_t len)
{
	struct pkt pkt = {.data = data, .len = (uint32_t)len};
	struct segment s;

	if (segment_parse(&s, data, len)) {
		bool super = s.headers + s.payload > INNER_MTU;
		bool plain = !super && s.payload && (s.flags & ~TCP_PSH) == TCP_ACK;

		for (unsigned i = 0; i < m->n; i++) {
			if (!same_flow(m->open[i], owner, data, &s))
				continue;
			if (plain && continues(m->open[i], data, &s)) {
				append(m, i, data, &s);
				return;
			}
			send_on(m, i);
			break;
		}
		if (plain && !(s.flags & TCP_PSH)) {
			start(m, owner, data, &s);
			return;
		}
		/* It does not say what it stands for; and a full segment fits everywhere. */
		if (super)
			pkt.gso = (uint16_t)(INNER_MTU - s.headers);
	}
	m->deliver(m->arg, owner, &pkt);
}

void merge_flush(struct merge *m)
{
	while (m->n)
		send_on(m, 0);
}
