/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several paths to one peer, simulated. Node 0 is the hub and only follows; node 1 is the spoke and has
 * candidates: the net (UDP, preferred) and a stream.
 *
 *   hub (.1) ===== the net, transport 1: 5 ms, may lose ========== spoke (.2)
 *            +---- STREAM, transport 2: 20 ms, loses nothing -----+
 */
#pragma once

#include "tape.h"

enum { STREAM = 2, NEXT_STREAM = 3, THIRD = 4, UDP_RANK = 0, STREAM_RANK = 1 };

static inline struct path over(const struct sim_node *to, uint32_t transport)
{
	return (struct path){.transport = transport, .remote = to->addr};
}

static inline int add(struct sim *s, uint32_t transport, unsigned rank)
{
	struct path path = over(&s->node[0], transport);
	return overlay_path_add(s->node[1].o, s->node[1].peer[0], &path, rank, s->now);
}

/* Both ends hear that a stream has ended. */
static inline void end_stream(struct sim *s, uint32_t transport)
{
	for (unsigned i = 0; i < 2; i++) {
		struct path path = over(&s->node[!i], transport);
		s->link[transport].gone[i] = true;
		if (i)
			overlay_path_remove(s->node[i].o, s->node[i].peer[!i], &path, s->now);
		else
			overlay_transport_gone(s->node[i].o, transport, s->now);
	}
}

static inline void begin_spoke(struct sim *s, uint64_t seed)
{
	sim_init(s, seed, 2);
	tape = (struct tape){.count = 0};
	s->tap = record;
	struct overlay_peer *spoke = sim_join(&s->node[0], &s->node[1], NULL);
	overlay_peer_set_path(spoke, NULL); /* the hub waits to be called */
	overlay_peer_set_path(sim_join(&s->node[1], &s->node[0], NULL), NULL);
	overlay_peer_persist(s->node[1].o, s->node[1].peer[0], true, s->now);
}

static inline uint32_t active(const struct sim *s, unsigned node)
{
	const struct path *path = overlay_peer_path(s->node[node].peer[!node]);
	return path ? path->transport : 0;
}

static inline bool both_on(const struct sim *s, uint32_t transport)
{
	return active(s, 0) == transport && active(s, 1) == transport;
}

static inline struct overlay_path_info info(const struct sim *s, unsigned node, uint32_t transport)
{
	struct overlay_path_info all[PEER_PATHS];
	unsigned n = overlay_peer_paths(s->node[node].peer[!node], all);
	for (unsigned i = 0; i < n; i++)
		if (all[i].path.transport == transport)
			return all[i];
	fail_msg("node %u has no path over %u", node, transport);
	return all[0];
}

/* A packet each way every 20 ms, until `done` or the time is over. Returns the ms it took. */
static inline unsigned traffic(struct sim *s, unsigned ms, bool (*done)(const struct sim *s))
{
	unsigned took = 0;
	while (took < ms && !(done && done(s))) {
		sim_send_len(s, 1, 0, 200);
		if (s->node[0].peer[1]->active)
			sim_send_len(s, 0, 1, 200);
		sim_run_ms(s, 20);
		took += 20;
	}
	return took;
}

static inline bool on_stream(const struct sim *s)
{
	return both_on(s, STREAM);
}

/* As a laptop does it: the stream first, UDP when there is a session. */
static inline void connect_over_both(struct sim *s)
{
	begin_spoke(s, 1);
	assert_int_equal(add(s, STREAM, STREAM_RANK), 0);
	sim_run_ms(s, 200);
	assert_int_equal(s->node[1].established, 1);
	assert_true(both_on(s, STREAM));
	assert_int_equal(add(s, SIM_NET, UDP_RANK), 0);
	sim_run_ms(s, 2000);
	assert_true(both_on(s, SIM_NET));
}

static inline void only_one_session(struct sim *s)
{
	assert_int_equal(s->node[0].fresh, 1);
	assert_int_equal(s->node[1].fresh, 1);
	assert_int_equal(s->node[0].away + s->node[1].away, 0);
}

/* All that is sent from now on arrives. */
static inline void nothing_is_lost(struct sim *s)
{
	for (unsigned from = 0; from < 2; from++) {
		uint32_t seq = 0;
		for (unsigned n = 0; n < 20; n++) {
			seq = sim_send(s, from, !from);
			sim_run_ms(s, 50);
			sim_check(s, s->seen[from][!from][seq]);
		}
	}
}
