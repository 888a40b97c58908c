/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold: what is known of a connection is the lowest sequence number that its sender has shown.
 *
 * That is the first unacknowledged one only if what came before has been seen, too, and to acknowledge more would lose data. A segment that was
 * on its way when the manager went shows itself by its retransmission, and from then on the kernel sends nothing newer until
 * it hears an acknowledgement. So after HOLD_SETTLE_S whatever comes and is not above the lowest is the first.
 *
 * A segment without data is answered for the number after its own: a probe (of keepalive, or of a closed window) carries the one
 * before the first unacknowledged. Of any other that number has not been sent yet, and the kernel drops the answer.
 */
#include <errno.h>

#include "base/hash.h"
#include "base/ip.h"
#include "daemon/hold.h"

enum {
	IP4_LEN = 20,
	IP6_LEN = 40,
	TCP_LEN = 20,
	KEY_BYTES = 2 * 16 + 4 + 1,
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_TIMESTAMP = 8,
	TIMESTAMP_LEN = 10,
};

/* A TCP segment as it came. */
struct seen {
	struct ip_info ip;
	const uint8_t *data, *tcp;
	const uint8_t *timestamp; /* its value, NULL = none */
	uint32_t seq, ack;
	uint32_t headers; /* of IP and TCP */
	uint32_t payload;
	uint8_t flags;
	uint8_t key[KEY_BYTES];
};

struct held {
	struct hash_node node;
	struct held *next;
	uint8_t key[KEY_BYTES];
	bool empty; /* what is kept has no data */
	bool sure;  /* `seq` is the first unacknowledged one */
	uint16_t len;
	uint32_t seq;
	uint8_t data[INNER_MTU];
};

struct hold {
	struct hash_table table;
	struct held *first;
	nsec_t settled;
	struct hold_stats stats;
};

int hold_new(struct hold **hp, nsec_t now)
{
	struct hold *h = calloc(1, sizeof(*h));

	if (!h || hash_init(&h->table)) {
		free(h);
		return -ENOMEM;
	}
	h->settled = now + HOLD_SETTLE_S * NSEC_PER_SEC;
	*hp = h;
	return 0;
}

void hold_free(struct hold *h)
{
	struct held *next;

	if (!h)
		return;
	for (struct held *f = h->first; f; f = next) {
		next = f->next;
		free(f);
	}
	hash_fini(&h->table);
	free(h);
}

unsigned hold_count(const struct hold *h)
{
	return (unsigned)h->table.count;
}

const struct hold_stats *hold_stats(const struct hold *h)
{
	return &h->stats;
}

/* --- reading --- */

static const uint8_t *find_timestamp(const uint8_t *opt, const uint8_t *end)
{
	while (opt < end && *opt != OPT_END) {
		if (*opt == OPT_NOP) {
			opt++;
			continue;
		}
		if (end - opt < 2 || opt[1] < 2 || opt[1] > end - opt)
			return NULL;
		if (*opt == OPT_TIMESTAMP && opt[1] == TIMESTAMP_LEN)
			return opt + 2;
		opt += opt[1];
	}
	return NULL;
}

static bool look(struct seen *s, const struct pkt *pkt)
{
	size_t tcp_len;

	if (ip_parse(&s->ip, pkt->data, pkt->len) || s->ip.proto != IP_PROTO_TCP ||
	    s->ip.fragment || s->ip.total < s->ip.l4 + (uint32_t)TCP_LEN)
		return false;
	s->data = pkt->data;
	s->tcp = pkt->data + s->ip.l4;
	tcp_len = (size_t)(s->tcp[12] >> 4) * 4;
	if (tcp_len < TCP_LEN || s->ip.l4 + tcp_len > s->ip.total)
		return false;
	s->headers = s->ip.l4 + (uint32_t)tcp_len;
	s->payload = s->ip.total - s->headers;
	s->seq = get_be32(s->tcp + 4);
	s->ack = get_be32(s->tcp + 8);
	s->flags = s->tcp[13];
	s->timestamp = find_timestamp(s->tcp + TCP_LEN, s->tcp + tcp_len);
	memset(s->key, 0, sizeof(s->key));
	memcpy(s->key, s->ip.src.b, s->ip.src.family == 4 ? 4 : 16);
	memcpy(s->key + 16, s->ip.dst.b, s->ip.dst.family == 4 ? 4 : 16);
	memcpy(s->key + 32, s->tcp, 4);
	s->key[36] = s->ip.src.family;
	return true;
}

static bool is_empty(const struct seen *s)
{
	return !s->payload && !(s->flags & TCP_FIN);
}

/* --- keeping --- */

static struct held *find(const struct hold *h, const struct seen *s, uint64_t hash)
{
	for (struct hash_node *n = hash_first(&h->table, hash); n; n = hash_next(n)) {
		struct held *f = container_of(n, struct held, node);

		if (!memcmp(f->key, s->key, sizeof(f->key)))
			return f;
	}
	return NULL;
}

static void forget(struct hold *h, struct held *f)
{
	struct held **at = &h->first;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	hash_remove(&h->table, &f->node);
	free(f);
}

/* Of a super-packet its first segment. */
static void keep(struct held *f, const struct seen *s, uint32_t payload)
{
	uint32_t len = s->headers + payload;

	memcpy(f->data, s->data, len);
	f->len = (uint16_t)len;
	f->seq = s->seq;
	f->empty = is_empty(s);
	if (payload < s->payload)
		f->data[s->ip.l4 + 13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (s->ip.src.family == 4) {
		put_be16(f->data + 2, (uint16_t)len);
		ip4_header_checksum(f->data);
	} else {
		put_be16(f->data + 4, (uint16_t)(len - IP6_LEN));
	}
}

/* What is kept of the connection from now on; NULL: it cannot be. */
static struct held *note(struct hold *h, const struct seen *s, uint16_t gso, struct held *f,
			 uint64_t hash)
{
	uint32_t payload = gso ? MIN(s->payload, gso) : s->payload;

	if (s->headers + payload > INNER_MTU)
		return NULL;
	if (!f) {
		if (h->table.count >= HOLD_FLOWS || !(f = calloc(1, sizeof(*f)))) {
			h->stats.full++;
			return NULL;
		}
		memcpy(f->key, s->key, sizeof(f->key));
		hash_insert(&h->table, &f->node, hash);
		f->next = h->first;
		h->first = f;
		keep(f, s, payload);
	} else if (is_empty(s) ? f->empty : f->empty || (int32_t)(s->seq - f->seq) <= 0) {
		keep(f, s, payload);
	}
	return f;
}

/* --- answering --- */

static uint8_t *answer_ip(uint8_t *to, const struct seen *s, uint32_t tcp_len)
{
	if (s->ip.src.family == 4) {
		memset(to, 0, IP4_LEN);
		to[0] = 0x45;
		put_be16(to + 2, (uint16_t)(IP4_LEN + tcp_len));
		to[8] = 64;
		to[9] = IP_PROTO_TCP;
		memcpy(to + 12, s->ip.dst.b, 4);
		memcpy(to + 16, s->ip.src.b, 4);
		ip4_header_checksum(to);
		return to + IP4_LEN;
	}
	memset(to, 0, IP6_LEN);
	to[0] = 0x60;
	put_be16(to + 4, (uint16_t)tcp_len);
	to[6] = IP_PROTO_TCP;
	to[7] = 64;
	memcpy(to + 8, s->ip.dst.b, 16);
	memcpy(to + 24, s->ip.src.b, 16);
	return to + IP6_LEN;
}

/*
 * Kernels before 6.6 take a smaller window only from a segment with a new number in it. So the answer to data has the sequence number
 * after the one that is expected, where the kernel's own window has room for that: without data it fills nothing.
 */
static void answer_with(const struct seen *s, uint32_t ack, uint8_t *buf, struct pkt *answer)
{
	uint32_t tcp_len = TCP_LEN + (s->timestamp ? TIMESTAMP_LEN + 2 : 0);
	bool ahead = !is_empty(s) && get_be16(s->tcp + 14) > 1;
	uint8_t *tcp = answer_ip(buf, s, tcp_len);

	memset(tcp, 0, tcp_len);
	memcpy(tcp, s->tcp + 2, 2);
	memcpy(tcp + 2, s->tcp, 2);
	put_be32(tcp + 4, s->ack + ahead);
	put_be32(tcp + 8, ack);
	tcp[12] = (uint8_t)(tcp_len / 4 << 4);
	tcp[13] = TCP_ACK;
	if (s->timestamp) { /* the value that it has echoed is not too old for it */
		tcp[20] = tcp[21] = OPT_NOP;
		tcp[22] = OPT_TIMESTAMP;
		tcp[23] = TIMESTAMP_LEN;
		memcpy(tcp + 24, s->timestamp + 4, 4);
		memcpy(tcp + 28, s->timestamp, 4);
	}
	*answer = (struct pkt){.data = buf, .len = (uint32_t)(tcp - buf) + tcp_len};
}

bool hold_take(struct hold *h, const struct pkt *pkt, nsec_t now, uint8_t buf[static HOLD_ANSWER],
	       struct pkt *answer)
{
	struct seen s;
	struct held *f;
	uint64_t hash;

	*answer = (struct pkt){0};
	if (!look(&s, pkt))
		return false;
	hash = hash_of(&h->table, s.key, sizeof(s.key));
	f = find(h, &s, hash);
	if (s.flags & (TCP_SYN | TCP_RST) || !(s.flags & TCP_ACK)) {
		if (f)
			forget(h, f);
		return false;
	}
	f = note(h, &s, pkt->gso, f, hash);
	if (!f)
		return false;
	if (is_empty(&s)) {
		answer_with(&s, s.seq + 1, buf, answer);
	} else {
		f->sure |= now >= h->settled && f->seq == s.seq;
		if (!f->sure)
			return true;
		answer_with(&s, f->seq, buf, answer);
	}
	h->stats.answered++;
	return true;
}

void hold_release(struct hold *h, void (*send)(void *arg, struct pkt *pkt), void *arg)
{
	while (h->first) {
		struct pkt pkt = {.data = h->first->data, .len = h->first->len};

		send(arg, &pkt);
		forget(h, h->first);
	}
}
