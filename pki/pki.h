/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki: a certificate authority of our own and what it signs (ECDSA P-256, RFC 5280), for the webhook between API server and
 * manager. PEM texts, malloc'ed, the caller's. No state.
 */
#pragma once

#include "base/error.h"

/* Valid from an hour ago for `days`. */
int pki_make_ca(const char *name, unsigned days, char **cert, char **key, struct error *e);
/* A server's certificate for these DNS names (NULL-ended; the first label may be '*', and IPv4 addresses are taken), never longer than the CA's own; *cert holds the leaf alone. */
int pki_make_leaf(const char *ca_cert, const char *ca_key, const char *const *dns, unsigned hours,
		  char **cert, char **key, struct error *e);
/* Seconds since 1970 at which the certificate stops to hold; -EINVAL with the sentence. */
int pki_expiry(const char *cert, int64_t *when, struct error *e);
