/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inner fragments put together, bounded.
 *
 * A datagram under assembly is a list of copied fragments in order of their offset, without
 * overlaps; it is whole when the list starts at 0, has no hole and ends at the end that the last
 * fragment named. Memory is counted as it is allocated, so a peer pays for what it sent and not for
 * what an offset claims.
 *
 * A datagram that broke a rule stays as a tombstone without bytes until its time is over: fragments
 * that come later must not start it anew (RFC 5722: "including those not yet received").
 *
 * At a bound the oldest datagram of the peer that has most entries goes: who floods evicts itself.
 */
#include <errno.h>

#include "netstack/ip_layer.h"

enum {
	FRAGS_MAX = 128, /* per datagram: 64 KiB in pieces of 576 are 119 */
	IP4_HLEN = 20,
	IP6_HLEN = 40,
	FRAG6_HLEN = 8,
};

struct frag {
	struct frag *next;
	uint32_t off, len; /* of the payload */
	uint32_t
		hdr; /* bytes of IP header in front of it in data[]: the first fragment's, else 0 */
	uint8_t data[];
};

struct datagram {
	bool used, broken;
	struct ipaddr src, dst;
	uint32_t id;
	uint8_t proto; /* IPv4 only: part of the key there */
	void *peer;
	nsec_t start;
	struct frag *frags;
	unsigned count;
	uint32_t end; /* payload bytes, known from the last fragment; 0 = not yet */
};

struct reasm {
	struct datagram table[NETSTACK_REASM_PACKETS];
	size_t bytes;
	uint8_t *out; /* the datagram given out last */
};

int reasm_new(struct reasm **rp)
{
	struct reasm *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*rp = r;
	return 0;
}

static void datagram_drop_bytes(struct reasm *r, struct datagram *d)
{
	struct frag *f;

	while ((f = d->frags)) {
		d->frags = f->next;
		r->bytes -= sizeof(*f) + f->hdr + f->len;
		free(f);
	}
	d->count = 0;
}

static void datagram_clear(struct reasm *r, struct datagram *d)
{
	datagram_drop_bytes(r, d);
	memset(d, 0, sizeof(*d));
}

static void datagram_break(struct reasm *r, struct datagram *d)
{
	datagram_drop_bytes(r, d);
	d->broken = true;
}

void reasm_free(struct reasm *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(r->table); i++)
		datagram_clear(r, &r->table[i]);
	free(r->out);
	free(r);
}

size_t reasm_bytes(const struct reasm *r)
{
	return r->bytes;
}

static unsigned peer_count(const struct reasm *r, const void *peer)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(r->table); i++)
		n += r->table[i].used && r->table[i].peer == peer;
	return n;
}

/* The oldest of who has most; with `keep` another one than that, and one that holds bytes. */
static struct datagram *victim(struct reasm *r, const struct datagram *keep)
{
	struct datagram *best = NULL;
	unsigned best_count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(r->table); i++) {
		struct datagram *d = &r->table[i];
		if (keep && (d == keep || !d->frags))
			continue;
		unsigned n = peer_count(r, d->peer);
		if (!best || n > best_count || (n == best_count && d->start < best->start)) {
			best = d;
			best_count = n;
		}
	}
	return best;
}

static struct datagram *lookup(struct reasm *r, const struct ip_info *info, void *peer)
{
	uint8_t proto = info->src.family == 4 ? info->proto : 0;

	for (size_t i = 0; i < ARRAY_SIZE(r->table); i++) {
		struct datagram *d = &r->table[i];
		if (d->used && d->id == info->frag_id && d->proto == proto && d->peer == peer &&
		    ipaddr_equal(&d->src, &info->src) && ipaddr_equal(&d->dst, &info->dst))
			return d;
	}
	return NULL;
}

static struct datagram *datagram_new(struct reasm *r, nsec_t now, const struct ip_info *info,
				     void *peer, enum netstack_drop *why)
{
	struct datagram *d = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(r->table) && !d; i++) {
		if (!r->table[i].used)
			d = &r->table[i];
	}
	if (!d) {
		*why = NS_DROP_REASM_FULL;
		d = victim(r, NULL);
		datagram_clear(r, d);
	}
	d->used = true;
	d->src = info->src;
	d->dst = info->dst;
	d->id = info->frag_id;
	d->proto = info->src.family == 4 ? info->proto : 0;
	d->peer = peer;
	d->start = now;
	return d;
}

static void expire(struct reasm *r, nsec_t now)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->table); i++) {
		struct datagram *d = &r->table[i];
		if (d->used && now - d->start >= NETSTACK_REASM_TTL * NSEC_PER_SEC)
			datagram_clear(r, d);
	}
}

/* Where the next-header byte lies that names the fragment header. ip_parse() walked this chain, so
 * it is in bounds. */
static size_t next_header_at(const uint8_t *data, size_t frag_hdr)
{
	size_t nh = 6;
	size_t at = IP6_HLEN;

	while (at < frag_hdr) {
		nh = at;
		at += ((size_t)data[at + 1] + 1) * 8;
	}
	return nh;
}

/* Makes `buf`, an unfragmented header copy followed by `payload` bytes, say so. */
static void finish_header(uint8_t *buf, uint32_t hdr, uint32_t payload)
{
	if (buf[0] >> 4 == 4) {
		put_be16(buf + 2, (uint16_t)(hdr + payload));
		put_be16(buf + 6, 0);
		ip4_header_checksum(buf);
	} else {
		put_be16(buf + 4, (uint16_t)(hdr - IP6_HLEN + payload));
	}
}

static struct frag *frag_new(const struct ip_info *info, const uint8_t *data)
{
	bool v6 = info->frag_hdr != 0;
	uint32_t start = v6 ? info->frag_hdr + (uint32_t)FRAG6_HLEN : info->l4;
	uint32_t hdr = info->frag_off ? 0 : v6 ? info->frag_hdr : info->l4;
	uint32_t len = info->total - start;
	struct frag *f = malloc(sizeof(*f) + hdr + len);

	if (!f)
		return NULL;
	*f = (struct frag){.off = info->frag_off, .len = len, .hdr = hdr};
	memcpy(f->data, data, hdr);
	memcpy(f->data + hdr, data + start, len);
	if (hdr && v6)
		f->data[next_header_at(data, info->frag_hdr)] = data[info->frag_hdr];
	return f;
}

enum placed { PLACED, DUPLICATE, OVERLAP };

/* Puts `f` into the list where its offset belongs; it is not taken unless PLACED. */
static enum placed place(struct datagram *d, struct frag *f)
{
	struct frag **p = &d->frags;

	while (*p && (*p)->off + (*p)->len <= f->off)
		p = &(*p)->next;
	struct frag *at = *p;
	if (at && f->off + f->len > at->off) {
		bool same = f->off == at->off && f->len == at->len &&
			    !memcmp(f->data + f->hdr, at->data + at->hdr, f->len);
		return same ? DUPLICATE : OVERLAP;
	}
	f->next = at;
	*p = f;
	return PLACED;
}

static bool whole(const struct datagram *d)
{
	uint32_t at = 0;

	if (!d->end)
		return false;
	for (const struct frag *f = d->frags; f; f = f->next) {
		if (f->off != at)
			return false;
		at += f->len;
	}
	return at == d->end;
}

static uint8_t *assemble(const struct datagram *d, size_t *len)
{
	const struct frag *first = d->frags;
	uint8_t *buf = malloc(first->hdr + d->end);
	uint8_t *at = buf;

	if (!buf)
		return NULL;
	for (const struct frag *f = first; f; f = f->next) {
		memcpy(at, f->data, f->hdr + f->len);
		at += f->hdr + f->len;
	}
	finish_header(buf, first->hdr, d->end);
	*len = first->hdr + d->end;
	return buf;
}

/* Header plus payload that a fragment claims must make a packet, and only the last may have a
 * length that is no multiple of 8. */
static bool fragment_ok(const struct datagram *d, const struct ip_info *info, const struct frag *f)
{
	uint32_t end = f->off + f->len;
	uint32_t base = info->frag_hdr ? info->frag_hdr : info->l4;

	if (f->len == 0 || base + end > PKT_MAX)
		return false;
	if (info->frag_more)
		return f->len % 8 == 0 && (!d->end || end <= d->end);
	if (d->end && end != d->end)
		return false;
	for (const struct frag *p = d->frags; p; p = p->next) {
		if (p->off + p->len > end)
			return false;
	}
	return true;
}

/* Room for `need` bytes within the bound, at the cost of others. */
static bool make_room(struct reasm *r, const struct datagram *d, size_t need)
{
	while (r->bytes + need > NETSTACK_REASM_BYTES) {
		struct datagram *v = victim(r, d);
		if (!v)
			return false;
		datagram_clear(r, v);
	}
	return true;
}

/* Adds the fragment; false = the datagram is broken by it, *why says by what. Never leaves `f`
 * unowned. */
static bool add(struct reasm *r, struct datagram *d, const struct ip_info *info, struct frag *f,
		enum netstack_drop *why)
{
	size_t need = sizeof(*f) + f->hdr + f->len;
	bool full = r->bytes + need > NETSTACK_REASM_BYTES;

	*why = NS_DROP_FRAGMENT;
	if (!fragment_ok(d, info, f) || d->count >= FRAGS_MAX) {
		free(f);
		return false;
	}
	enum placed placed = place(d, f);
	if (placed != PLACED) {
		free(f);
		if (placed == DUPLICATE)
			*why = NS_NUM_DROPS;
		return placed == DUPLICATE;
	}
	d->count++;
	if (!info->frag_more)
		d->end = f->off + f->len;
	*why = full ? NS_DROP_REASM_FULL : NS_NUM_DROPS;
	bool room = make_room(r, d, need);
	r->bytes += need;
	return room;
}

bool reasm_input(struct reasm *r, nsec_t now, const struct ip_info *info, const uint8_t *data,
		 void *peer, const uint8_t **out, size_t *len, enum netstack_drop *why)
{
	*why = NS_NUM_DROPS;
	free(r->out);
	r->out = NULL;
	expire(r, now);

	/* RFC 6946: a packet that is its only fragment has nothing to do with others of its id. */
	bool atomic = !info->frag_off && !info->frag_more;
	struct datagram single = {0};
	struct datagram *d = atomic ? &single : lookup(r, info, peer);
	if (d && d->broken) {
		*why = NS_DROP_FRAGMENT;
		return false;
	}
	struct frag *f = frag_new(info, data);
	if (!f) {
		*why = NS_DROP_MEMORY;
		return false;
	}
	enum netstack_drop evicted = NS_NUM_DROPS;
	if (!d)
		d = datagram_new(r, now, info, peer, &evicted);
	if (!add(r, d, info, f, why)) {
		datagram_break(r, d);
		return false;
	}
	if (*why == NS_NUM_DROPS)
		*why = evicted;
	if (!whole(d))
		return false;
	if (d->frags->hdr + d->end >
	    PKT_MAX) { /* the first one's header may be longer than the others' */
		*why = NS_DROP_LENGTH;
		datagram_break(r, d);
		return false;
	}
	r->out = assemble(d, len);
	datagram_clear(r, d);
	if (!r->out)
		*why = NS_DROP_MEMORY;
	*out = r->out;
	return r->out;
}
