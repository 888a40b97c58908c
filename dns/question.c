/* SPDX-License-Identifier: Apache-2.0 */
/* The question of a DNS message (RFC 1035, 4.1): all that a forwarder has to understand. Pure
 * functions. */
#include <ctype.h>
#include <errno.h>

#include "dns/internal.h"

size_t dns_question_end(const uint8_t *msg, size_t len)
{
	size_t at = DNS_HEADER, name = 0;

	if (len < DNS_HEADER || get_be16(msg + 4) == 0)
		return 0;
	for (;;) {
		if (at >= len)
			return 0;
		unsigned label = msg[at++];
		if (label == 0)
			break;
		/* Nothing stands before the first name, so a compression pointer can only be a
		 * trap. */
		if (label > DNS_LABEL_MAX || label > len - at)
			return 0;
		name += label + 1;
		if (name > DNS_NAME_MAX - 1)
			return 0;
		at += label;
	}
	return len - at < 4 ? 0 : at + 4;
}

int dns_question(const uint8_t *msg, size_t len, char name[static 256], uint16_t *qtype)
{
	size_t end = dns_question_end(msg, len), at = DNS_HEADER, out = 0;

	if (end == 0)
		return -EINVAL;
	while (msg[at]) {
		unsigned label = msg[at++];

		if (out)
			name[out++] = '.';
		for (unsigned i = 0; i < label; i++, at++) {
			/* A dot or NUL inside a label must not look like the end of one. */
			bool odd = msg[at] == '.' || msg[at] == '\0';
			name[out++] = odd ? '?' : (char)tolower(msg[at]);
		}
	}
	name[out] = '\0';
	*qtype = get_be16(msg + end - 4);
	return 0;
}

bool dns_same_question(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	size_t end = dns_question_end(a, alen);

	if (end == 0 || end != dns_question_end(b, blen))
		return false;
	/* Length bytes are below 64 and so no letters: the whole name may be compared without
	 * regard to case. */
	for (size_t i = DNS_HEADER; i < end - 4; i++)
		if (tolower(a[i]) != tolower(b[i]))
			return false;
	return memcmp(a + end - 4, b + end - 4, 4) == 0;
}

bool dns_name_under(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	if (d == 0 || n < d || strcasecmp(name + n - d, domain) != 0)
		return false;
	return n == d || name[n - d - 1] == '.';
}
