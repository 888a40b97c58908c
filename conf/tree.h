/* SPDX-License-Identifier: Apache-2.0 */
/* The tree a document becomes: scalars, lists and mappings, each with its place in the text. */
#pragma once

#include "base/util.h"

enum {
	CONF_TEXT_MAX = 1 << 20,
	CONF_DEPTH_MAX = 32,
	CONF_NODES_MAX = 65536,
	CONF_KEYS_MAX = 4096, /* of one mapping: the search for a duplicate is linear */
};

enum conf_type { CONF_SCALAR, CONF_LIST, CONF_MAP };

struct conf_node {
	const struct conf *doc;
	enum conf_type type;
	unsigned line, column; /* from 1 */
	/* SCALAR */
	char *text;
	bool plain; /* not quoted: may be a number, a bool, or null */
	/* LIST and MAP */
	struct conf_node **items; /* owned */
	struct conf_node **keys;  /* MAP: owned scalars, parallel to items */
	size_t count, room;
};

struct conf {
	char *name;
	struct conf_node *root;
	size_t nodes;
};
