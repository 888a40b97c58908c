/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf: YAML (libfyaml) with line and column in each error: "FILE:LINE:COL: what is wrong". Bounded: 1 MiB of text,
 * 32 levels, 65536 nodes, aliases refused. Control path only.
 */
#pragma once

#include <jansson.h>

#include "base/addr.h"
#include "base/error.h"

struct conf;	  /* a parsed document */
struct conf_node; /* a value in it; lives as long as the document */

int conf_load(struct conf **cp, const char *path, struct error *e);
int conf_parse(struct conf **cp, const char *name, const char *text, size_t len, struct error *e);
void conf_free(struct conf *c); /* NULL ok */
const struct conf_node *conf_root(const struct conf *c);

/* Fills the error with "FILE:LINE:COL: ..." for this node; returns -EINVAL. */
int conf_error(const struct conf_node *n, struct error *e, const char *fmt, ...) printf_like(3, 4);

/* -EINVAL when `n` is no mapping or has a key that is not in the NULL-ended list (names the nearest one). */
int conf_keys(const struct conf_node *n, const char *const *keys, struct error *e);
/* The value of `key`, or NULL. */
const struct conf_node *conf_get(const struct conf_node *map, const char *key);
/* As conf_get, but absent is an error about the mapping. */
int conf_need(const struct conf_node *map, const char *key, const struct conf_node **v,
	      struct error *e);
bool conf_is_map(const struct conf_node *n);
bool conf_is_list(const struct conf_node *n);
bool conf_is_null(const struct conf_node *n); /* nothing written, ~ or null */
size_t conf_count(const struct conf_node *n); /* of a list or mapping */
const struct conf_node *conf_at(const struct conf_node *list,
				size_t i);			/* item, or value of pair i */
const char *conf_key_at(const struct conf_node *map, size_t i); /* key of pair i */

/* Typed values; -EINVAL names the place and what was expected. Strings live as long as the document. */
int conf_string(const struct conf_node *n, const char **s, struct error *e);
int conf_int(const struct conf_node *n, long min, long max, long *v, struct error *e);
int conf_bool(const struct conf_node *n, bool *v, struct error *e);
int conf_prefix(const struct conf_node *n, struct prefix *p, struct error *e);
int conf_sockaddr(const struct conf_node *n, union sockaddr_any *sa, struct error *e);
/* A copy as JSON: numbers, true, false and null as they are written, all else text; a new reference. */
json_t *conf_json(const struct conf_node *n);
