/* SPDX-License-Identifier: Apache-2.0 */
/* base64 (RFC 4648): padded, and base64url without padding as tokens have it (RFC 7515). */
#pragma once

#include "base/util.h"

/* *out malloc'ed, with a NUL behind it. Takes line breaks; -EINVAL, -ENOMEM. */
int base64_decode(const char *text, char **out, size_t *len);
char *base64_encode(const void *data, size_t len); /* malloc'ed; NULL = no memory */

/* The canonical form alone: one text per bytes. Returns how many bytes were written, or -EINVAL (also when there is no room). */
long base64url_decode(void *to, size_t room, const char *text, size_t len);
/* `to` has room for BASE64URL_LEN(len) characters and a NUL. */
#define BASE64URL_LEN(n) (((n)*4 + 2) / 3)
void base64url_encode(char *to, const void *data, size_t len);
