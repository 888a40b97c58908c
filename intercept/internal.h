/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of intercept/ share. */
#pragma once

#include "intercept/intercept.h"

/* Names a port of a service: a valid name or number, and "/tcp" or "/udp" behind it or nothing. */
bool port_id_valid(const char *id);

bool is_alnum(char c);
/* UTF-8 without control characters: may be printed, and said in JSON. */
bool text_is_plain(const char *s);
/* Is its pattern one (PCRE2), and not too big? The sentence has the column. */
int pattern_check(const struct http_condition *c, struct error *e);

/* A list such as "http (80), metrics (9090)" that is cut with "..." when it is full. */
struct text {
	char s[512];
	size_t len;
};
void text_add(struct text *t, const char *fmt, ...) printf_like(2, 3);
