/* SPDX-License-Identifier: Apache-2.0 */
/* base64 of RFC 4648, padded, as kubeconfigs, Basic authentication and WebSocket keys have it; base64url, as tokens do. */
#include <errno.h>

#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
	const char *p = c ? strchr(alphabet, c) : NULL;

	return p ? (int)(p - alphabet) : -1;
}

int base64_decode(const char *text, char **out, size_t *len)
{
	cleanup(free_ptr) char *buf = malloc(strlen(text) / 4 * 3 + 4);
	size_t n = 0, digits = 0, pads = 0;
	uint32_t bits = 0;

	if (!buf)
		return -ENOMEM;
	for (; *text; text++) {
		int d = digit(*text);

		if (*text == '\r' || *text == '\n')
			continue;
		if (*text == '=' && digits % 4 >= 2 && digits % 4 + pads < 4) {
			pads++;
			continue;
		}
		if (d < 0 || pads)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)d;
		if (++digits % 4 == 0) {
			buf[n++] = (char)(bits >> 16);
			buf[n++] = (char)(bits >> 8);
			buf[n++] = (char)bits;
		}
	}
	if ((digits + pads) % 4)
		return -EINVAL;
	if (digits % 4 == 2) {
		buf[n++] = (char)(bits >> 4);
	} else if (digits % 4 == 3) {
		buf[n++] = (char)(bits >> 10);
		buf[n++] = (char)(bits >> 2);
	}
	buf[n] = '\0';
	*len = n;
	*out = steal_ptr(buf);
	return 0;
}

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *p = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *out = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				(left > 2 ? (uint32_t)p[i + 2] : 0);

		*out++ = alphabet[bits >> 18 & 63];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = left > 2 ? alphabet[bits & 63] : '=';
	}
	*out = '\0';
	return text;
}

static int url_digit(char c)
{
	return c == '-' ? 62 : c == '_' ? 63 : c == '+' || c == '/' ? -1 : digit(c);
}

long base64url_decode(void *to, size_t room, const char *text, size_t len)
{
	uint8_t *out = to;
	uint32_t bits = 0;
	unsigned held = 0; /* bits that are not yet a byte */
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int d = url_digit(text[i]);

		if (d < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)d;
		held += 6;
		if (held < 8)
			continue;
		held -= 8;
		if (n == room)
			return -EINVAL;
		out[n++] = (uint8_t)(bits >> held);
		bits &= (1u << held) - 1;
	}
	return held == 6 || bits ? -EINVAL : (long)n;
}

void base64url_encode(char *to, const void *data, size_t len)
{
	static const char url[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = data;
	uint32_t bits = 0;
	unsigned held = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | p[i];
		for (held += 8; held >= 6; held -= 6)
			*to++ = url[bits >> (held - 6) & 63];
	}
	if (held)
		*to++ = url[bits << (6 - held) & 63];
	*to = '\0';
}
