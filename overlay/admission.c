/* SPDX-License-Identifier: Apache-2.0 */
/* admission: load, rate and half-open bounds for those who have not proven themselves. */
#include "overlay/admission.h"

#include "overlay/overlay.h"

enum { SOURCE_IDLE = 2 /* s: by then its credit is full, so forgetting it changes nothing */ };

static const nsec_t cost = NSEC_PER_SEC / SOURCE_RATE;

int admission_init(struct admission *a)
{
	*a = (struct admission){.all = NULL};
	return hash_init(&a->table);
}

static void forget(struct admission *a, struct source *s)
{
	hash_remove(&a->table, &s->node);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	free(s);
}

void admission_fini(struct admission *a)
{
	while (a->all)
		forget(a, a->all);
	hash_fini(&a->table);
}

bool admission_under_load(struct admission *a, nsec_t now)
{
	if (now - a->second >= NSEC_PER_SEC) {
		a->second = now;
		a->count = 0;
	}
	if (++a->count > UNDER_LOAD_HANDSHAKES)
		a->under_load_until = now + NSEC_PER_SEC;
	return now < a->under_load_until;
}

static void source_key(uint8_t key[static 20], const struct path *from)
{
	struct ipaddr ip = sockaddr_ip(&from->remote);
	memset(key, 0, 20);
	memcpy(key, ip.b, ip.family == 6 ? 8 : 4);
	key[15] = ip.family;
	put_be32(key + 16, from->transport);
}

static struct source *find(const struct admission *a, const uint8_t key[static 20])
{
	struct hash_node *n = hash_first(&a->table, hash_of(&a->table, key, 20));
	for (; n; n = hash_next(n)) {
		struct source *s = container_of(n, struct source, node);
		if (!memcmp(s->key, key, 20))
			return s;
	}
	return NULL;
}

/* At most once a second, so that a flood from many sources does not make it the work itself. */
static void sweep(struct admission *a, nsec_t now)
{
	if (now - a->swept < NSEC_PER_SEC)
		return;
	a->swept = now;
	for (struct source *s = a->all, *next; s; s = next) {
		next = s->next;
		if (!s->half_open && now - s->last >= SOURCE_IDLE * NSEC_PER_SEC)
			forget(a, s);
	}
}

static struct source *get(struct admission *a, const struct path *from, nsec_t now)
{
	uint8_t key[20];
	source_key(key, from);
	struct source *s = find(a, key);
	if (s)
		return s;
	sweep(a, now);
	if (a->table.count >= SOURCES_MAX)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	memcpy(s->key, key, sizeof(key));
	s->credit = SOURCE_BURST * cost;
	s->last = now;
	s->next = a->all;
	s->link = &a->all;
	if (s->next)
		s->next->link = &s->next;
	a->all = s;
	hash_insert(&a->table, &s->node, hash_of(&a->table, key, sizeof(key)));
	return s;
}

bool admission_rate(struct admission *a, const struct path *from, nsec_t now)
{
	struct source *s = get(a, from, now);
	if (!s)
		return false;
	s->credit = MIN(s->credit + (now - s->last), SOURCE_BURST * cost);
	s->last = now;
	if (s->credit < cost)
		return false;
	s->credit -= cost;
	return true;
}

bool admission_half_open_fits(const struct admission *a, const struct path *from, bool proven)
{
	unsigned share = proven ? 1 : 2;
	uint8_t key[20];
	source_key(key, from);
	const struct source *s = find(a, key);
	return a->half_open < HALF_OPEN_MAX / share &&
	       (!s || s->half_open < HALF_OPEN_PER_SOURCE / share);
}

struct source *admission_half_open_begin(struct admission *a, const struct path *from, nsec_t now)
{
	struct source *s = get(a, from, now);
	if (s) {
		s->half_open++;
		a->half_open++;
	}
	return s;
}

void admission_half_open_end(struct admission *a, struct source *s)
{
	s->half_open--;
	a->half_open--;
}
