/* SPDX-License-Identifier: Apache-2.0 */
/* trie: prefix -> peer with longest match, of one address family. A path-compressed binary tree. */
#pragma once

#include "base/addr.h"

struct overlay_peer;

struct trie {
	struct route *root;
	uint8_t width; /* 32 or 128 */
};

/* A node: a prefix with a peer, or (peer NULL) a fork with two children. */
struct route {
	uint64_t hi, lo; /* the prefix, first bit topmost */
	uint8_t len;
	struct route *child[2], *parent;
	struct trie *of;
	struct overlay_peer *peer;
	struct route *next, **link; /* among the routes of the peer */
};

struct overlay_peer *trie_lookup(const struct trie *t, const struct ipaddr *a);
/* The node of exactly this prefix, if it has a peer. */
struct route *trie_find(const struct trie *t, const struct prefix *p);
/* The node of this prefix, made if absent: then its peer is NULL and the caller must set it. NULL =
 * no memory. */
struct route *trie_insert(struct trie *t, const struct prefix *p);
/* Takes the peer away and frees what is no more needed. */
void trie_remove(struct trie *t, struct route *r);
