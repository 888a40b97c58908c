/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt: what a service account's token says of itself (RFC 7519), read without trusting it: so that rubbish costs the API server
 * nothing. Whether it is true a TokenReview tells. Sans-IO.
 */
#pragma once

#include "base/error.h"

enum { JWT_MAX = 8192, JWT_ISSUER_MAX = 512 };

struct jwt {
	char issuer[JWT_ISSUER_MAX];
	int64_t expires; /* seconds since 1970 */
	char ns[64], pod[254], uid[40];
};

/* The claims of a projected token of a pod for `audience` (NULL = any, and no pod is needed). -EINVAL and why. */
int jwt_read(struct jwt *j, const char *token, size_t len, const char *audience, struct error *e);
