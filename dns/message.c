/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS messages made from others (RFC 1035, 4.1): a question under its full name, and the answer to
 * that under the name that was asked. Pure functions.
 *
 *   asked      header | X.ns | type, class | ...                                   (| OPT)
 *   expanded   header | X.ns.svc.ZONE | type, class | ...                          (| OPT)
 *   answer     header | X.ns.svc.ZONE | type, class | records
 *   given      header | X.ns | type, class | X.ns CNAME X.ns.svc.ZONE | records
 *
 * A CNAME rather than owner names rewritten: every resolver follows one, it is the truth, and
 * records keep their lengths. They only move, so that compression pointers are all there is to
 * mend: those into the question's name go to its copy in the CNAME, the others by the distance.
 */
#include <errno.h>

#include "dns/internal.h"

enum {
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	TYPE_OPT = 41,
	CLASS_IN = 1,
	FIXED = 10, /* of a record: type, class, TTL, length */
	POINTER = 0xc0,
	POINTER_MAX = 0x3fff,
	NAMES_MAX = 2, /* in one record's data */
	TTL_NONE = 5,  /* s, of a CNAME to nothing */
};

/* The record's own OPT is the one thing behind the question of a query that may be expanded. */
bool dns_expandable(const uint8_t *msg, size_t len)
{
	size_t end = dns_question_end(msg, len);

	if (end == 0 || (msg[2] & 0xf8) || get_be16(msg + 4) != 1 || get_be16(msg + 6) ||
	    get_be16(msg + 8) || get_be16(msg + end - 2) != CLASS_IN)
		return false;
	if (get_be16(msg + 10) == 0)
		return len == end;
	return get_be16(msg + 10) == 1 && len - end >= 1 + FIXED && msg[end] == 0 &&
	       get_be16(msg + end + 1) == TYPE_OPT &&
	       len - end - 1 - FIXED == get_be16(msg + end + FIXED - 1);
}

size_t dns_expand(uint8_t *out, size_t size, const uint8_t *msg, size_t len, const char *suffix)
{
	size_t end = dns_question_end(msg, len), name = end - 5, extra = strlen(suffix) + 1;

	/* `name` is where the root label stands; "a.b" takes as many bytes as text and a dot. */
	if (end == 0 || extra == 1 || len + extra > size ||
	    name - DNS_HEADER + extra > DNS_NAME_MAX - 1)
		return 0;
	memcpy(out, msg, name);
	uint8_t *at = out + name;
	for (const char *label = suffix; label;) {
		size_t n = strcspn(label, ".");

		if (n == 0 || n > DNS_LABEL_MAX)
			return 0;
		*at++ = (uint8_t)n;
		memcpy(at, label, n);
		at += n;
		label = label[n] ? label + n + 1 : NULL;
	}
	memcpy(at, msg + name, len - name);
	return len + extra;
}

/* --- records ---------------------------------------------------------------------------------- */

struct record {
	size_t owner, fixed, data, end;
	uint16_t type;
};

/* The offset after the name at `at`, or 0. */
static size_t name_end(const uint8_t *msg, size_t at, size_t end)
{
	for (size_t start = at; at < end && at - start <= DNS_NAME_MAX;) {
		if (msg[at] == 0)
			return at + 1;
		if (msg[at] >= POINTER)
			return at + 2 <= end ? at + 2 : 0;
		if (msg[at] > DNS_LABEL_MAX)
			return 0;
		at += 1U + msg[at];
	}
	return 0;
}

static bool record_read(struct record *r, const uint8_t *msg, size_t len, size_t at)
{
	r->owner = at;
	r->fixed = name_end(msg, at, len);
	if (r->fixed == 0 || len - r->fixed < FIXED)
		return false;
	r->type = get_be16(msg + r->fixed);
	r->data = r->fixed + FIXED;
	r->end = r->data + get_be16(msg + r->fixed + 8);
	return r->end <= len;
}

static unsigned records(const uint8_t *msg)
{
	return (unsigned)get_be16(msg + 6) + get_be16(msg + 8) + get_be16(msg + 10);
}

/* How many names the data of a record has that may be compressed (RFC 3597, 4: none of newer types),
 * and how far in. */
static unsigned names_in(uint16_t type, size_t *skip)
{
	*skip = 0;
	switch (type) {
	case 2:	 /* NS */
	case 3:	 /* MD */
	case 4:	 /* MF */
	case 7:	 /* MB */
	case 8:	 /* MG */
	case 9:	 /* MR */
	case 12: /* PTR */
	case 39: /* DNAME */
	case TYPE_CNAME:
		return 1;
	case 14: /* MINFO */
	case 17: /* RP */
	case TYPE_SOA:
		return 2;
	case 15: /* MX */
	case 18: /* AFSDB */
	case 21: /* RT */
	case 36: /* KX */
		*skip = 2;
		return 1;
	case 33: /* SRV */
		*skip = 6;
		return 1;
	default:
		return 0;
	}
}

/* --- the answer under the name that was asked --------------------------------------------------- */

struct moved {
	size_t question; /* the end of the old one: nothing before it but the name is named */
	size_t name, name_moved; /* ends of the old name; where its copy starts */
	size_t delta;		 /* how far the records have moved... */
	bool back;		 /* ...towards the start */
};

/* Does a label of the old name start there? */
static bool in_name(const uint8_t *out, const struct moved *m, size_t to)
{
	size_t at = DNS_HEADER;

	while (at < to && out[m->name_moved + at - DNS_HEADER])
		at += 1U + out[m->name_moved + at - DNS_HEADER];
	return at == to;
}

static bool pointer_mend(uint8_t *out, const struct moved *m, size_t at)
{
	size_t to = get_be16(out + at) & POINTER_MAX;
	size_t was = m->back ? at + m->delta : at - m->delta;

	if (to < DNS_HEADER || to >= was || (to < m->question && !in_name(out, m, to)))
		return false;
	if (to < m->name)
		to = m->name_moved + (to - DNS_HEADER);
	else
		to = m->back ? to - m->delta : to + m->delta;
	if (to > POINTER_MAX)
		return false;
	put_be16(out + at, (uint16_t)(POINTER << 8 | to));
	return true;
}

/* Mends the pointer at the end of the name, if it has one. `*at` goes behind it. */
static bool name_mend(uint8_t *out, const struct moved *m, size_t *at, size_t end)
{
	size_t after = name_end(out, *at, end);

	if (after == 0)
		return false;
	size_t p = *at;
	while (out[p] && out[p] < POINTER)
		p += 1U + out[p];
	*at = after;
	return out[p] == 0 || pointer_mend(out, m, p);
}

static bool record_mend(uint8_t *out, const struct moved *m, const struct record *r)
{
	size_t at = r->owner, skip, n = names_in(r->type, &skip);

	if (!name_mend(out, m, &at, r->fixed))
		return false;
	if (n == 0)
		return true;
	at = r->data + skip;
	for (; n; n--)
		if (at >= r->end || !name_mend(out, m, &at, r->end))
			return false;
	return true;
}

static uint32_t ttl_at(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static size_t cname_put(uint8_t *out, size_t at, const uint8_t *name, size_t name_len)
{
	put_be16(out + at, POINTER << 8 | DNS_HEADER);
	put_be16(out + at + 2, TYPE_CNAME);
	put_be16(out + at + 4, CLASS_IN);
	put_be16(out + at + 6, 0);
	put_be16(out + at + 8, TTL_NONE);
	put_be16(out + at + 10, (uint16_t)name_len);
	memcpy(out + at + 12, name, name_len);
	return at + 12 + name_len;
}

size_t dns_cut(uint8_t *out, size_t size, const uint8_t *ans, size_t len, const uint8_t *asked,
	       size_t asked_len)
{
	size_t at = dns_question_end(ans, len), q = dns_question_end(asked, asked_len), opt_len = 0;
	const uint8_t *opt = NULL;
	struct record r;

	if (len < DNS_HEADER || q == 0 || q > size)
		return 0;
	for (unsigned n = at ? records(ans) : 0; n && record_read(&r, ans, len, at); n--) {
		at = r.end;
		if (r.type == TYPE_OPT && r.fixed == r.owner + 1) {
			opt = ans + r.owner;
			opt_len = r.end - r.owner;
		}
	}
	if (opt_len > size - q)
		opt_len = 0;
	memcpy(out, ans, 4);
	put_be16(out + 4, 1);
	memset(out + 6, 0, 6);
	memcpy(out + DNS_HEADER, asked + DNS_HEADER, q - DNS_HEADER);
	if (opt_len) {
		out[11] = 1;
		memcpy(out + q, opt, opt_len);
	}
	return q + opt_len;
}

/* The answer of any size; 0 when it is malformed. */
static size_t as_asked(uint8_t *out, size_t size, const uint8_t *ans, size_t len,
		       const uint8_t *asked, size_t q)
{
	size_t old = dns_question_end(ans, len), name_len = old - 4 - DNS_HEADER;
	unsigned answers = get_be16(ans + 6), n = records(ans);
	uint32_t ttl = UINT32_MAX;

	if (answers == UINT16_MAX || q + 12 + name_len + (len - old) > size)
		return 0;
	memcpy(out, ans, DNS_HEADER);
	put_be16(out + 6, (uint16_t)(answers + 1));
	memcpy(out + DNS_HEADER, asked + DNS_HEADER, q - DNS_HEADER);
	size_t at = cname_put(out, q, ans + DNS_HEADER, name_len), total = at + (len - old);
	memcpy(out + at, ans + old, len - old);

	struct moved m = {.question = old,
			  .name = old - 4,
			  .name_moved = q + 12,
			  .delta = at > old ? at - old : old - at,
			  .back = at < old};
	for (unsigned i = 0; i < n; i++) {
		struct record r;

		if (!record_read(&r, out, total, at) || !record_mend(out, &m, &r))
			return 0;
		if (i < answers)
			ttl = MIN(ttl, ttl_at(out + r.fixed + 4));
		at = r.end;
	}
	if (answers) {
		put_be16(out + q + 6, (uint16_t)(ttl >> 16));
		put_be16(out + q + 8, (uint16_t)ttl);
	}
	return at;
}

size_t dns_as_asked(uint8_t *out, size_t size, size_t limit, const uint8_t *ans, size_t len,
		    const uint8_t *asked, size_t asked_len)
{
	size_t q = dns_question_end(asked, asked_len);

	if (q == 0 || dns_question_end(ans, len) == 0 || get_be16(ans + 4) != 1)
		return 0;
	size_t n = as_asked(out, size, ans, len, asked, q);
	if (n > limit || (ans[2] & DNS_TC)) {
		n = dns_cut(out, size, ans, len, asked, asked_len);
		out[2] |= DNS_TC;
	}
	return n;
}

size_t dns_udp_size(const uint8_t *query, size_t len)
{
	size_t end = dns_question_end(query, len);

	if (!dns_expandable(query, len) || len == end)
		return DNS_UDP_MIN;
	return MAX((size_t)get_be16(query + end + 3), (size_t)DNS_UDP_MIN);
}
