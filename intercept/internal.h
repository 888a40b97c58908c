/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of intercept/ share. */
#pragma once

#include "intercept/intercept.h"

/* Names a port of a service: a valid name or number, and "/tcp" or "/udp" behind it or nothing. */
bool port_id_valid(const char *id);

/* A list such as "http (80), metrics (9090)" that is cut with "..." when it is full. */
struct text {
	char s[512];
	size_t len;
};
void text_add(struct text *t, const char *fmt, ...) printf_like(2, 3);
