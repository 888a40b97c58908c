/* SPDX-License-Identifier: Apache-2.0 */
/* Chained hash table; SipHash-2-4 (Aumasson, Bernstein 2012). */
#include "base/hash.h"

#include <errno.h>
#include <sys/random.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void sipround(uint64_t v[static 4])
{
	v[0] += v[1];
	v[1] = ROTL(v[1], 13) ^ v[0];
	v[0] = ROTL(v[0], 32);
	v[2] += v[3];
	v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTL(v[1], 17) ^ v[2];
	v[2] = ROTL(v[2], 32);
}

uint64_t siphash(const uint64_t key[static 2], const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t v[4] = {
		key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
		key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
	uint64_t last = (uint64_t)len << 56;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t m = get_le64(p);
		v[3] ^= m;
		sipround(v);
		sipround(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v[3] ^= last;
	sipround(v);
	sipround(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sipround(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int hash_init(struct hash_table *t)
{
	*t = (struct hash_table){.nbuckets = 16};
	t->buckets = calloc(t->nbuckets, sizeof(*t->buckets));
	if (!t->buckets)
		return -ENOMEM;
	if (getrandom(t->key, sizeof(t->key), 0) != sizeof(t->key)) {
		hash_fini(t);
		return -EIO;
	}
	return 0;
}

void hash_fini(struct hash_table *t)
{
	free(t->buckets);
	*t = (struct hash_table){0};
}

uint64_t hash_of(const struct hash_table *t, const void *key, size_t len)
{
	return siphash(t->key, key, len);
}

static struct hash_node **bucket(const struct hash_table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->nbuckets - 1)];
}

static void grow(struct hash_table *t)
{
	struct hash_table bigger = *t;
	bigger.nbuckets = t->nbuckets * 2;
	bigger.buckets = calloc(bigger.nbuckets, sizeof(*bigger.buckets));
	if (!bigger.buckets)
		return;
	for (size_t i = 0; i < t->nbuckets; i++) {
		for (struct hash_node *n = t->buckets[i], *next; n; n = next) {
			struct hash_node **b = bucket(&bigger, n->hash);
			next = n->next;
			n->next = *b;
			*b = n;
		}
	}
	free(t->buckets);
	*t = bigger;
}

void hash_insert(struct hash_table *t, struct hash_node *n, uint64_t hash)
{
	if (t->count >= t->nbuckets)
		grow(t);
	struct hash_node **b = bucket(t, hash);
	n->hash = hash;
	n->next = *b;
	*b = n;
	t->count++;
}

void hash_remove(struct hash_table *t, struct hash_node *n)
{
	for (struct hash_node **b = bucket(t, n->hash); *b; b = &(*b)->next) {
		if (*b == n) {
			*b = n->next;
			n->next = NULL;
			t->count--;
			return;
		}
	}
}

static struct hash_node *same_hash(struct hash_node *n, uint64_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hash_node *hash_first(const struct hash_table *t, uint64_t hash)
{
	return t->nbuckets ? same_hash(*bucket(t, hash), hash) : NULL;
}

struct hash_node *hash_next(const struct hash_node *n)
{
	return same_hash(n->next, n->hash);
}
