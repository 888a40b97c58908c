/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of short lives of a hub and a spoke with several paths (sim.h), each from one seed.
 *
 * A run is some chaos: paths swallow everything, in one direction too, or lose, delay and reorder; streams end, seen
 * by both ends or by one first, and new ones come; the spoke's address changes; either end restarts. Then one path
 * works. Always: nothing arrives twice or altered, no timer spins, nothing is sent to a stream that its
 * end knows to be gone. After healing: all that is sent arrives, and the hub is where the spoke is.
 *
 *   CULVERT_SIM_RUNS=n  how many      CULVERT_SIM_SEED=n  only this one, with a line per event
 */
#include "sim.h"

enum {
	FIRST = SIM_NET + 1, /* streams: each id once in its life */
	HEALED_MS = 16000,   /* a backoff of 6.25 s, a handshake or two of as much */
};

static bool verbose;
static uint32_t next_stream;

static void say(struct sim *s, const char *what, uint64_t which)
{
	if (verbose)
		fprintf(stderr, "%9.3f %s %llu\n", (double)s->now / 1e9, what,
			(unsigned long long)which);
}

static bool trace(struct sim *s, struct sim_node *from, const union sockaddr_any *to, uint8_t *data,
		  size_t len)
{
	(void)to;
	fprintf(stderr, "%9.3f node %u type %u of %zu, index %08x slot %u\n", (double)s->now / 1e9,
		from->no, data[0], len, get_le32(data + 4), data[0] == MSG_DATA ? data[15] : 0);
	return true;
}

static struct path to_hub(const struct sim *s, uint32_t transport)
{
	return (struct path){.transport = transport, .remote = s->node[0].addr};
}

static void add(struct sim *s, uint32_t transport)
{
	struct path path = to_hub(s, transport);
	int r = overlay_path_add(s->node[1].o, s->node[1].peer[0], &path,
				 transport == SIM_NET ? 0 : 1, s->now);
	say(s, r ? "cannot add" : "adds", transport);
}

static void new_stream(struct sim *s)
{
	if (next_stream < ARRAY_SIZE(s->link)) {
		s->link[next_stream].net.delay = (1 + sim_below(s, 200)) * NSEC_PER_MSEC;
		add(s, next_stream++);
	}
}

static void end_at(struct sim *s, uint32_t transport, unsigned no)
{
	struct sim_node *n = &s->node[no];
	say(s, no ? "spoke sees the end of" : "hub sees the end of", transport);
	s->link[transport].gone[no] = true;
	s->link[transport].dead = true;
	overlay_transport_gone(n->o, transport, s->now);
}

static void some_stream_ends(struct sim *s)
{
	if (next_stream == FIRST)
		return;
	uint32_t transport = FIRST + (uint32_t)sim_below(s, next_stream - FIRST);
	end_at(s, transport, (unsigned)sim_below(s, 2));
	if (sim_chance(s, 700)) {
		end_at(s, transport, 0);
		end_at(s, transport, 1);
	}
}

static void random_weather(struct sim *s)
{
	static const unsigned losses[] = {0, 0, 0, 10, 100, 400, 1000, 1000};
	s->net.loss = losses[sim_below(s, ARRAY_SIZE(losses))];
	s->net.repeat = sim_chance(s, 300) ? (unsigned)sim_below(s, 200) : 0;
	s->net.reorder = sim_chance(s, 300) ? (unsigned)sim_below(s, 300) : 0;
	s->net.delay = NSEC_PER_MSEC * (1 + sim_below(s, 300));
	for (uint32_t t = FIRST; t < next_stream; t++)
		s->link[t].dead = s->link[t].gone[0] || s->link[t].gone[1] || sim_chance(s, 300);
	say(s, "loss", s->net.loss);
}

static void restart(struct sim *s, unsigned no)
{
	struct sim_node *n = &s->node[no];
	say(s, "restarts: node", no);
	overlay_free(n->o);
	sim_node_start(n);
	overlay_peer_set_path(sim_join(n, &s->node[!no], NULL), NULL);
	for (uint32_t t = FIRST; t < next_stream; t++) /* streams end with their process */
		s->link[t].gone[no] = s->link[t].dead = true;
	if (no)
		add(s, SIM_NET);
}

static void chaos(struct sim *s)
{
	for (nsec_t end = s->now + SECONDS(60); s->now < end;) {
		switch (sim_below(s, 40)) {
		case 0:
		case 1:
			random_weather(s);
			break;
		case 2:
			s->cut[sim_below(s, 2)][sim_below(s, 2)] ^= true;
			break;
		case 3:
			some_stream_ends(s);
			break;
		case 4:
		case 5:
			new_stream(s);
			break;
		case 6:
			if (sim_chance(s, 300))
				restart(s, (unsigned)sim_below(s, 2));
			break;
		case 7:
			sim_address(&s->node[1], 2 + (unsigned)sim_below(s, 2000), 4000);
			say(s, "moves", 1);
			break;
		case 8:
			overlay_kick(s->node[1].o, s->now);
			break;
		case 9: {
			struct path path = to_hub(s, SIM_NET);
			overlay_path_remove(s->node[1].o, s->node[1].peer[0], &path, s->now);
			if (sim_chance(s, 700))
				add(s, SIM_NET);
			break;
		}
		case 10:
			sim_run(s, s->now + sim_below(s, SECONDS(30)));
			break;
		default:
			if (s->node[1].peer[0]->active)
				sim_send(s, 1, 0);
			if (s->node[0].peer[1]->active)
				sim_send(s, 0, 1);
		}
		sim_run(s, s->now + sim_below(s, NSEC_PER_SEC / 2));
	}
}

/* The net works again, or a stream that is there or comes. */
static void heal(struct sim *s)
{
	bool net = sim_chance(s, 500);
	memset(s->cut, 0, sizeof(s->cut));
	s->net = (struct sim_net){.loss = net ? 0 : 1000, .delay = 10 * NSEC_PER_MSEC};
	for (uint32_t t = FIRST; t < next_stream; t++) {
		if (s->link[t].gone[0] != s->link[t].gone[1])
			end_at(s, t, s->link[t].gone[0] ? 1 : 0);
		s->link[t].dead = s->link[t].gone[0] || net;
	}
	add(s, SIM_NET);
	if (!net)
		new_stream(s);
	say(s, net ? "healed: the net" : "healed: streams", next_stream);
}

static bool some_path_works(const struct sim *s)
{
	struct overlay_path_info all[PEER_PATHS];
	unsigned n = overlay_peer_paths(s->node[1].peer[0], all);
	for (unsigned i = 0; i < n; i++)
		if (all[i].path.transport == SIM_NET ? !s->net.loss
						     : !s->link[all[i].path.transport].dead)
			return true;
	return false;
}

static void expect_all_arrive(struct sim *s)
{
	for (nsec_t end = s->now + HEALED_MS * NSEC_PER_MSEC; s->now < end;) {
		sim_send(s, 1, 0);
		sim_run_ms(s, 250);
	}
	const struct path *hub = overlay_peer_path(s->node[0].peer[1]);
	const struct path *spoke = overlay_peer_path(s->node[1].peer[0]);
	sim_check(s, hub && spoke && hub->transport == spoke->transport);
	sim_check(s, sockaddr_equal(&hub->remote, &s->node[1].addr));
	for (unsigned n = 0; n < 20; n++)
		for (unsigned from = 0; from < 2; from++) {
			uint32_t seq = sim_send(s, from, !from);
			sim_run_ms(s, 500);
			sim_check(s, s->seen[from][!from][seq]);
		}
}

static void one_run(uint64_t seed)
{
	struct sim s;
	sim_init(&s, seed, 2);
	next_stream = FIRST;
	s.tap = verbose ? trace : NULL;
	s.node[1].persist = true;
	overlay_peer_set_path(sim_join(&s.node[0], &s.node[1], NULL), NULL);
	overlay_peer_set_path(sim_join(&s.node[1], &s.node[0], NULL), NULL);
	if (sim_chance(&s, 500))
		add(&s, SIM_NET);
	new_stream(&s);
	chaos(&s);
	heal(&s);
	if (some_path_works(&s))
		expect_all_arrive(&s);
	sim_fini(&s);
}

static void seeded_runs(void **state)
{
	(void)state;
	sim_seeds(one_run, &verbose, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(seeded_runs)};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
