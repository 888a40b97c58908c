/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table with a key of its own (SipHash-2-4), so that a peer who chooses the keys cannot
 * choose the buckets. Intrusive: the caller embeds a `struct hash_node`; the table owns only its
 * buckets.
 */
#pragma once

#include "base/util.h"

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash_table {
	struct hash_node **buckets;
	size_t nbuckets; /* power of two; grows with count, never shrinks */
	size_t count;
	uint64_t key[2]; /* random, per table */
};

uint64_t siphash(const uint64_t key[static 2], const void *data, size_t len);

int hash_init(struct hash_table *t);  /* 0 or -ENOMEM */
void hash_fini(struct hash_table *t); /* frees buckets, not nodes; NULL-safe on zeroed tables */
uint64_t hash_of(const struct hash_table *t, const void *key, size_t len);
/* Never fails: when growing fails the chains get longer. */
void hash_insert(struct hash_table *t, struct hash_node *n, uint64_t hash);
void hash_remove(struct hash_table *t, struct hash_node *n);
/* First node of the chain with this hash, or NULL; hash_next() the next one with the same hash.
 * The caller compares keys. */
struct hash_node *hash_first(const struct hash_table *t, uint64_t hash);
struct hash_node *hash_next(const struct hash_node *n);
