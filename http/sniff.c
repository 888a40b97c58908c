/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection is, by the client's first bytes. */
#include "http/h1.h"

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const char proxy_v2[] = "\r\n\r\n\0\r\nQUIT\n";

enum { PROXY_V1_MAX = 107, PROXY_V2_HEAD = 16, PROXY_V2_MAX = 4096, METHOD_MAX = 32 };

/* n bytes of `data` as far as both go. */
static bool begins(const uint8_t *data, size_t n, const char *with, size_t len)
{
	return !memcmp(data, with, MIN(n, len));
}

static enum http_kind sniff_proxy_v1(const uint8_t *data, size_t n, size_t *len)
{
	const uint8_t *lf = memchr(data, '\n', MIN(n, (size_t)PROXY_V1_MAX));

	if (lf && lf > data && lf[-1] == '\r') {
		*len = (size_t)(lf - data) + 1;
		return HTTP_PROXY;
	}
	return lf || n >= PROXY_V1_MAX ? HTTP_OPAQUE : HTTP_MORE;
}

static enum http_kind sniff_proxy_v2(const uint8_t *data, size_t n, size_t *len)
{
	if (n < PROXY_V2_HEAD)
		return HTTP_MORE;
	if (data[12] >> 4 != 2)
		return HTTP_OPAQUE;
	*len = PROXY_V2_HEAD + (size_t)get_be16(data + 14);
	if (*len > PROXY_V2_MAX)
		return HTTP_OPAQUE;
	return n < *len ? HTTP_MORE : HTTP_PROXY;
}

/* A token, a space, and something that may begin a request's target. */
static enum http_kind sniff_method(const uint8_t *data, size_t n)
{
	size_t i = 0;

	while (i < n && i < METHOD_MAX && http_is_token(data[i]))
		i++;
	if (i == n && i < METHOD_MAX)
		return HTTP_MORE;
	if (i == 0 || data[i] != ' ')
		return HTTP_OPAQUE;
	if (i + 1 == n)
		return HTTP_MORE;
	return data[i + 1] > ' ' && data[i + 1] < 0x7f ? HTTP_1 : HTTP_OPAQUE;
}

enum http_kind http_sniff(const uint8_t *data, size_t n, size_t *len)
{
	if (n == 0)
		return HTTP_MORE;
	if (data[0] == 0x16) /* a handshake record, of SSL 3.0 or later */
		return n == 1 ? HTTP_MORE : data[1] == 3 ? HTTP_TLS : HTTP_OPAQUE;
	if (begins(data, n, proxy_v2, 12))
		return n < 12 ? HTTP_MORE : sniff_proxy_v2(data, n, len);
	if (begins(data, n, "PROXY ", 6))
		return n < 6 ? HTTP_MORE : sniff_proxy_v1(data, n, len);
	if (begins(data, n, h2_preface, 14)) /* whatever follows, no request begins so */
		return n < 14 ? HTTP_MORE : HTTP_2;
	return sniff_method(data, n);
}
