/* SPDX-License-Identifier: Apache-2.0 */
/* overlay: the object itself, drop counters, jitter, and the table of session indices. */
#include "overlay/internal.h"

static const char *const drop_names[] = {
	[DROP_MALFORMED] = "malformed",	  [DROP_MAC] = "mac",
	[DROP_HANDSHAKE] = "handshake",	  [DROP_OLD_INITIATION] = "old-initiation",
	[DROP_NO_SESSION] = "no-session", [DROP_AUTH] = "auth",
	[DROP_REPLAY] = "replay",	  [DROP_SOURCE] = "source",
	[DROP_NO_ROUTE] = "no-route",	  [DROP_QUEUE_FULL] = "queue-full",
	[DROP_UNDER_LOAD] = "under-load", [DROP_LIMIT] = "limit",
	[DROP_CONTROL] = "control",
};
_Static_assert(ARRAY_SIZE(drop_names) == OVERLAY_NUM_DROPS, "a name for each reason");

const char *overlay_drop_name(enum overlay_drop d)
{
	return d < OVERLAY_NUM_DROPS ? drop_names[d] : "unknown";
}

void overlay_drop(struct overlay *o, enum overlay_drop why)
{
	o->drops[why]++;
}

static void overlay_free_ptr(struct overlay **o)
{
	overlay_free(*o);
}

int overlay_new(struct overlay **op, const struct overlay_ops *ops, void *arg,
		const struct identity *self, nsec_t last_stamp)
{
	cleanup(overlay_free_ptr) struct overlay *o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->ops = *ops;
	o->arg = arg;
	o->self = *self;
	o->cipher = &cipher_sodium;
	o->own_addr = overlay_prefix_of(self->pub);
	o->last_stamp = last_stamp;
	o->routes4.width = 32;
	o->routes6.width = 128;
	crypto_random(&o->jitter, sizeof(o->jitter));
	cookie_checker_init(&o->checker, self->pub);
	int r = hash_init(&o->by_key);
	r = r ? r : hash_init(&o->by_addr);
	r = r ? r : hash_init(&o->by_index);
	r = r ? r : admission_init(&o->admission);
	if (r)
		return r;
	*op = steal_ptr(o);
	return 0;
}

void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	while (o->peers)
		overlay_peer_remove(o, o->peers);
	hash_fini(&o->by_key);
	hash_fini(&o->by_addr);
	hash_fini(&o->by_index);
	admission_fini(&o->admission);
	crypto_wipe(o, sizeof(*o));
	free(o);
}

void overlay_set_cipher(struct overlay *o, const struct cipher *c)
{
	o->cipher = c;
}

const struct identity *overlay_identity(const struct overlay *o)
{
	return &o->self;
}

const uint64_t *overlay_drops(const struct overlay *o)
{
	return o->drops;
}

/* --- jitter: splitmix64; it only spreads timers, so it need not be unpredictable -------------- */

void overlay_seed_jitter(struct overlay *o, uint64_t seed)
{
	o->jitter = seed;
}

nsec_t overlay_jitter(struct overlay *o, nsec_t below)
{
	uint64_t z = o->jitter += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % below;
}

/* --- session indices -------------------------------------------------------------------------- */

struct session_index *index_find(const struct overlay *o, uint32_t value)
{
	struct hash_node *n =
		hash_first(&o->by_index, hash_of(&o->by_index, &value, sizeof(value)));
	for (; n; n = hash_next(n)) {
		struct session_index *si = container_of(n, struct session_index, node);
		if (si->value == value)
			return si;
	}
	return NULL;
}

void index_insert(struct overlay *o, struct session_index *si, uint32_t value)
{
	while (!value || index_find(o, value))
		crypto_random(&value, sizeof(value));
	si->value = value;
	hash_insert(&o->by_index, &si->node, hash_of(&o->by_index, &value, sizeof(value)));
}

void index_remove(struct overlay *o, struct session_index *si)
{
	if (!si->value)
		return;
	hash_remove(&o->by_index, &si->node);
	si->value = 0;
}

/* --- time ------------------------------------------------------------------------------------- */

nsec_t overlay_next(const struct overlay *o)
{
	return o->next;
}

void overlay_tick(struct overlay *o, nsec_t now)
{
	o->next = 0;
	for (struct overlay_peer *p = o->peers; p; p = p->next) {
		nsec_t due = p->t.deadline;
		if (due && due <= now)
			timers_run(p, now); /* sets o->next too */
		else
			timers_arm(p, due);
	}
}
