/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a query and the answer to it: expanded and given back under the short name. What comes out
 * is a message whose names are the same text as they were. The first byte says where the answer
 * starts.
 */
#undef NDEBUG /* the assertions are the test, in release builds too */
#include <assert.h>

#include "dns/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[DNS_MSG_MAX + 512];

/* The name at `at` as text of lengths and labels; the offset after it; 0: malformed. A pointer to
 * `straight` or beyond may lead into data that is no name; then *text_len is 0. */
static size_t name_text(const uint8_t *msg, size_t len, size_t at, size_t straight, uint8_t *text,
			size_t *text_len)
{
	size_t after = 0, n = 0;
	bool astray = false;

	for (unsigned jumps = 0; at < len && jumps < 128;) {
		if (msg[at] == 0) {
			*text_len = astray ? 0 : n;
			return after ? after : at + 1;
		}
		if (msg[at] >= 0xc0) {
			if (len - at < 2)
				return 0;
			after = after ? after : at + 2;
			at = get_be16(msg + at) & 0x3fff;
			astray |= at >= straight;
			jumps++;
			continue;
		}
		if (msg[at] > DNS_LABEL_MAX || len - at < 1U + msg[at] ||
		    n + 1U + msg[at] > DNS_NAME_MAX)
			return 0;
		memcpy(text + n, msg + at, 1U + msg[at]);
		n += 1U + msg[at];
		at += 1U + msg[at];
	}
	return 0;
}

/* Owner, type, TTL and size of every record are what they were. */
static void assert_same_records(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	size_t straight = dns_question_end(a, alen), i = straight, k = dns_question_end(b, blen);
	unsigned n = (unsigned)get_be16(a + 6) + get_be16(a + 8) + get_be16(a + 10);

	assert(i && k && get_be16(b + 6) == get_be16(a + 6) + 1);
	k += 12U + get_be16(b + k + 10); /* the CNAME */
	for (; n; n--) {
		uint8_t x[512], y[512];
		size_t xl = 0, yl = 0, ia = name_text(a, alen, i, straight, x, &xl),
		       kb = name_text(b, blen, k, blen, y, &yl);

		if (ia == 0) /* deeper than anybody follows; copied as it is */
			return;
		assert(xl == 0 || (kb && xl <= yl && memcmp(x, y, xl) == 0));
		if (kb == 0)
			return;
		assert(memcmp(a + ia, b + kb, 10) == 0);
		i = ia + 10 + get_be16(a + ia + 8);
		k = kb + 10 + get_be16(b + kb + 8);
	}
	assert(k == blen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t longer[DNS_EXPANDED_MAX];
	uint16_t qtype;
	char name[256], full[256];

	if (size == 0 || data[0] > size - 1)
		return 0;
	const uint8_t *asked = data + 1, *ans = asked + data[0];
	size_t asked_len = data[0], len = size - 1 - asked_len;

	if (dns_expandable(asked, asked_len)) {
		size_t n =
			dns_expand(longer, sizeof(longer), asked, asked_len, "svc.cluster.local");
		assert(dns_question(asked, asked_len, name, &qtype) == 0);
		assert((n == 0) == (strlen(name) + 18 - (name[0] == '\0') > 253));
		if (n) {
			assert(dns_question(longer, n, full, &qtype) == 0);
			assert(memcmp(full, name, strlen(name)) == 0 &&
			       dns_name_under(full, "svc.cluster.local"));
		}
		assert(dns_udp_size(asked, asked_len) >= 512);
	}
	size_t cut = dns_cut(out, sizeof(out), ans, len, asked, asked_len);
	assert(cut == 0 || dns_same_question(out, cut, asked, asked_len));
	size_t n = dns_as_asked(out, sizeof(out), DNS_MSG_MAX, ans, len, asked, asked_len);
	if (n == 0)
		return 0;
	assert(n <= DNS_MSG_MAX && dns_same_question(out, n, asked, asked_len));
	if (!(out[2] & DNS_TC))
		assert_same_records(ans, len, out, n);
	return 0;
}
