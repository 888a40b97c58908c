/* SPDX-License-Identifier: Apache-2.0 */
/* The longest-prefix trie against a list searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "overlay/trie.h"

enum { MODEL_MAX = 300, STEPS = 20000 };

struct overlay_peer {
	int no;
};

static struct overlay_peer peers[8];
static uint64_t rng = 1;

static uint32_t random_below(uint32_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(rng >> 33) % n;
}

/* Few distinct bits, so that prefixes nest and collide. */
static struct ipaddr random_addr(uint8_t family)
{
	struct ipaddr a = {.family = family};
	for (unsigned i = 0; i < (family == 4 ? 4 : 16); i++)
		a.b[i] = random_below(3) ? (uint8_t)(random_below(2) * 0x80 + random_below(2)) : 0;
	return a;
}

static struct prefix random_prefix(uint8_t family)
{
	struct prefix p = {.addr = random_addr(family),
			   .len = (uint8_t)random_below(family == 4 ? 33 : 129)};
	for (unsigned bit = p.len; bit < (family == 4 ? 32 : 128); bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return p;
}

struct model {
	struct prefix prefix[MODEL_MAX];
	struct overlay_peer *peer[MODEL_MAX];
	unsigned count;
};

static unsigned model_find(const struct model *m, const struct prefix *p)
{
	unsigned i = 0;
	while (i < m->count && !prefix_equal(&m->prefix[i], p))
		i++;
	return i;
}

static struct overlay_peer *model_lookup(const struct model *m, const struct ipaddr *a)
{
	struct overlay_peer *best = NULL;
	int len = -1;
	for (unsigned i = 0; i < m->count; i++)
		if (prefix_contains(&m->prefix[i], a) && m->prefix[i].len > len) {
			best = m->peer[i];
			len = m->prefix[i].len;
		}
	return best;
}

static unsigned count_nodes(const struct route *r)
{
	if (!r)
		return 0;
	/* A node without a peer must fork. */
	assert_true(r->peer || (r->child[0] && r->child[1]));
	for (unsigned i = 0; i < 2; i++)
		if (r->child[i]) {
			assert_ptr_equal(r->child[i]->parent, r);
			assert_true(r->child[i]->len > r->len);
		}
	return 1 + count_nodes(r->child[0]) + count_nodes(r->child[1]);
}

static void against_model(uint8_t family)
{
	struct trie t = {.width = family == 4 ? 32 : 128};
	static struct model m;
	m.count = 0;
	unsigned hits = 0;
	for (unsigned step = 0; step < STEPS; step++) {
		struct prefix p = random_prefix(family);
		unsigned at = model_find(&m, &p);
		struct route *r = trie_find(&t, &p);
		assert_int_equal(r != NULL, at < m.count);
		if (m.count < MODEL_MAX && random_below(2)) {
			r = trie_insert(&t, &p);
			assert_non_null(r);
			m.count += at == m.count;
			m.prefix[at] = p;
			m.peer[at] = r->peer = &peers[random_below(8)];
		} else if (m.count && (m.count == MODEL_MAX || random_below(2))) {
			at = random_below(m.count);
			trie_remove(&t, trie_find(&t, &m.prefix[at]));
			m.count--;
			m.prefix[at] = m.prefix[m.count];
			m.peer[at] = m.peer[m.count];
		}
		struct ipaddr a = random_addr(family);
		struct overlay_peer *want = model_lookup(&m, &a);
		assert_ptr_equal(trie_lookup(&t, &a), want);
		hits += want != NULL;
		if (step % 64 == 0)
			assert_true(count_nodes(t.root) <= 2 * m.count);
	}
	assert_true(hits > STEPS / 10 && hits < STEPS);
	while (m.count)
		trie_remove(&t, trie_find(&t, &m.prefix[--m.count]));
	assert_null(t.root);
}

static void v4_against_model(void **state)
{
	(void)state;
	against_model(4);
}

static void v6_against_model(void **state)
{
	(void)state;
	against_model(6);
}

static void default_route_and_hosts(void **state)
{
	(void)state;
	struct trie t = {.width = 32};
	struct prefix all, net, host;
	assert_int_equal(prefix_parse(&all, "0.0.0.0/0"), 0);
	assert_int_equal(prefix_parse(&net, "10.1.0.0/16"), 0);
	assert_int_equal(prefix_parse(&host, "10.1.255.255/32"), 0);
	trie_insert(&t, &all)->peer = &peers[0];
	trie_insert(&t, &net)->peer = &peers[1];
	trie_insert(&t, &host)->peer = &peers[2];
	assert_ptr_equal(trie_lookup(&t, &(struct ipaddr){4, {10, 1, 255, 255}}), &peers[2]);
	assert_ptr_equal(trie_lookup(&t, &(struct ipaddr){4, {10, 1, 0, 0}}), &peers[1]);
	assert_ptr_equal(trie_lookup(&t, &(struct ipaddr){4, {255, 255, 255, 255}}), &peers[0]);
	trie_remove(&t, trie_find(&t, &net));
	assert_ptr_equal(trie_lookup(&t, &(struct ipaddr){4, {10, 1, 0, 0}}), &peers[0]);
	trie_remove(&t, trie_find(&t, &all));
	assert_null(trie_lookup(&t, &(struct ipaddr){4, {10, 1, 0, 0}}));
	trie_remove(&t, trie_find(&t, &host));
	assert_null(t.root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v4_against_model),
		cmocka_unit_test(v6_against_model),
		cmocka_unit_test(default_route_and_hosts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
