/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a certificate stops to hold: the one thing a 401 should be able to say, read from its DER by its bare structure
 *   Certificate { TBSCertificate { [0] version, serial, algorithm, issuer, Validity { notBefore, notAfter }, ... } }
 * Nothing is verified here; TLS does that.
 */
#include <errno.h>
#include <stdio.h>

#include "kube/internal.h"

enum { SEQUENCE = 0x30, VERSION = 0xa0, UTC_TIME = 0x17, GENERALIZED_TIME = 0x18 };

struct der {
	const uint8_t *p;
	size_t len;
};

/* Takes the next element off `in`; its tag, or -1. */
static int next(struct der *in, struct der *content)
{
	size_t len, head = 2;
	int tag;

	if (in->len < 2)
		return -1;
	tag = in->p[0];
	len = in->p[1];
	if (len & 0x80) {
		size_t n = len & 0x7f;

		if (n == 0 || n > 3 || in->len < 2 + n)
			return -1;
		len = 0;
		for (size_t i = 0; i < n; i++)
			len = len << 8 | in->p[2 + i];
		head += n;
	}
	if (in->len - head < len)
		return -1;
	*content = (struct der){in->p + head, len};
	in->p += head + len;
	in->len -= head + len;
	return tag;
}

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, as RFC 5280 wants them. */
static int time_of(int tag, const struct der *d, nsec_t *t)
{
	char text[24], iso[40];
	int year;

	if (d->len >= sizeof(text) || d->len != (tag == UTC_TIME ? 13u : 15u))
		return -EINVAL;
	memcpy(text, d->p, d->len);
	text[d->len] = '\0';
	if (strspn(text, "0123456789") != d->len - 1 || text[d->len - 1] != 'Z')
		return -EINVAL;
	if (tag == UTC_TIME) {
		year = (text[0] - '0') * 10 + text[1] - '0';
		year += year < 50 ? 2000 : 1900;
		memmove(text, text + 2, d->len - 1);
	} else {
		year = (text[0] - '0') * 1000 + (text[1] - '0') * 100 + (text[2] - '0') * 10 +
		       text[3] - '0';
		memmove(text, text + 4, d->len - 3);
	}
	snprintf(iso, sizeof(iso), "%04d-%.2s-%.2sT%.2s:%.2s:%.2sZ", year, text, text + 2, text + 4,
		 text + 6, text + 8);
	return kube_time_parse(iso, t);
}

static int der_expiry(struct der cert, nsec_t *t)
{
	struct der whole, tbs, part, validity, when;
	int tag;

	if (next(&cert, &whole) != SEQUENCE || next(&whole, &tbs) != SEQUENCE)
		return -EINVAL;
	tag = next(&tbs, &part);
	if (tag == VERSION)
		tag = next(&tbs, &part); /* serial */
	if (tag < 0 || next(&tbs, &part) != SEQUENCE || next(&tbs, &part) != SEQUENCE ||
	    next(&tbs, &validity) != SEQUENCE || next(&validity, &when) < 0)
		return -EINVAL;
	tag = next(&validity, &when);
	if (tag != UTC_TIME && tag != GENERALIZED_TIME)
		return -EINVAL;
	return time_of(tag, &when, t);
}

int kube_cert_expiry(const char *pem, nsec_t *t)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *from = strstr(pem, begin), *to = from ? strstr(from, "-----END") : NULL;
	cleanup(free_ptr) char *text = NULL;
	cleanup(free_ptr) char *bytes = NULL;
	size_t len;

	if (!to)
		return -EINVAL;
	from += strlen(begin);
	text = strndup(from, (size_t)(to - from));
	if (!text || base64_decode(text, &bytes, &len))
		return -EINVAL;
	return der_expiry((struct der){(const uint8_t *)bytes, len}, t);
}
