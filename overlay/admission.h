/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission: how much work and memory those may cost us who have not proven themselves.
 *
 * Three bounds: more than UNDER_LOAD_HANDSHAKES initiations in a second make us ask for cookies for
 * a second; while so, each source address has 20 initiations a second, 5 at once (WireGuard's
 * figures); and peers admitted on their own word that have not confirmed a session are bounded per
 * source and in all. A source is an IPv4 address or an IPv6 /64.
 */
#pragma once

#include "base/clock.h"
#include "base/hash.h"
#include "base/pkt.h"

enum {
	SOURCES_MAX = 8192,
	SOURCE_RATE = 20, /* initiations per second under load */
	SOURCE_BURST = 5,
};

struct source {
	struct hash_node node;
	struct source *next, **link;
	uint8_t key[20];
	unsigned half_open;
	nsec_t credit; /* time saved up; one initiation costs a second / SOURCE_RATE */
	nsec_t last;
};

struct admission {
	struct hash_table table;
	struct source *all;
	nsec_t swept;
	unsigned half_open;
	nsec_t second; /* that `count` counts in */
	unsigned count;
	nsec_t under_load_until;
};

int admission_init(struct admission *a);
void admission_fini(struct admission *a);
/* One more initiation with a valid MAC1. True: we are under load. */
bool admission_under_load(struct admission *a, nsec_t now);
/* Whether this source may have one more now (used under load, with a valid cookie). */
bool admission_rate(struct admission *a, const struct path *from, nsec_t now);
/* Whether one more half-open peer fits. Only half of each bound is for those who have not shown by
 * a cookie that they are where they say: spoofed addresses must not keep honest ones out. */
bool admission_half_open_fits(const struct admission *a, const struct path *from, bool proven);
/* Counts one; NULL: no room. */
struct source *admission_half_open_begin(struct admission *a, const struct path *from, nsec_t now);
void admission_half_open_end(struct admission *a, struct source *s);
