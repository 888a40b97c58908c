/* SPDX-License-Identifier: Apache-2.0 */
/* base64 (RFC 4648, padded). */
#pragma once

#include "base/util.h"

/* *out malloc'ed, with a NUL behind it. Takes line breaks; -EINVAL, -ENOMEM. */
int base64_decode(const char *text, char **out, size_t *len);
char *base64_encode(const void *data, size_t len); /* malloc'ed; NULL = no memory */
