/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of short lives of two or three overlays on a bad network (sim.h), each from one seed.
 *
 * A run is some chaos (loss, repeats, reordering, delays, cuts, a change of address, a restart,
 * silence), then a net that works again. Always: nothing arrives twice, altered or at the wrong
 * peer; memory stays within bounds; no timer spins. After healing: from HEALED on, everything sent
 * arrives.
 *
 *   CULVERT_SIM_RUNS=n  how many      CULVERT_SIM_SEED=n  only this one, with a line per event
 */
#include "sim.h"

/*
 * HEALED after a run in which one end lost its address and the other its memory: then neither can
 * reach the other until the one with a session misses its answers, KEEPALIVE_TIMEOUT +
 * REKEY_TIMEOUT later.
 */
enum { HEALED_MS = 12000, HEALED_BLIND_MS = 17000 };

static bool verbose, moved, restarted;

static void say(struct sim *s, const char *what, unsigned node)
{
	if (verbose)
		fprintf(stderr, "%9.3f node %u %s\n", (double)s->now / 1e9, node, what);
}

/* With a seed given, every datagram is told; data by its receiver index. */
static bool trace(struct sim *s, struct sim_node *from, const union sockaddr_any *to, uint8_t *data,
		  size_t len)
{
	char text[ADDR_STRLEN];
	static const char *const types[] = {"?",    "initiation", "response", "cookie",
					    "data", "invitation", "token"};
	fprintf(stderr, "%9.3f node %u %s of %zu, %08x -> %s\n", (double)s->now / 1e9, from->no,
		types[data[0]], len, get_le32(data + 4), sockaddr_format(to, text));
	return true;
}

static void random_net(struct sim *s)
{
	static const unsigned losses[] = {0, 0, 10, 50, 200, 500};
	s->net.loss = losses[sim_below(s, ARRAY_SIZE(losses))];
	s->net.repeat = sim_chance(s, 500) ? (unsigned)sim_below(s, 200) : 0;
	s->net.reorder = sim_chance(s, 500) ? (unsigned)sim_below(s, 300) : 0;
	s->net.delay = NSEC_PER_MSEC * (1 + sim_below(s, 150));
	s->net.jitter = sim_chance(s, 500) ? NSEC_PER_MSEC * (1 + sim_below(s, 100)) : 0;
}

static void random_cuts(struct sim *s)
{
	for (unsigned i = 0; i < s->nnodes; i++)
		for (unsigned k = 0; k < s->nnodes; k++)
			s->cut[i][k] = sim_chance(s, 250); /* one direction alone, too */
}

/* Only node 1 moves: two that move at once without a third place cannot find each other. */
static void move(struct sim *s)
{
	sim_address(&s->node[1], 2 + (unsigned)sim_below(s, 2000),
		    1024 + (unsigned)sim_below(s, 60000));
	say(s, "moves", 1);
	moved = true;
}

static void restart(struct sim *s, unsigned no)
{
	struct sim_node *n = &s->node[no];
	say(s, "restarts", no);
	restarted = true;
	overlay_free(n->o);
	sim_node_start(n);
	for (unsigned k = 0; k < s->nnodes; k++)
		if (k != no) {
			sim_join(n, &s->node[k], NULL);
			overlay_peer_initiate(n->o, n->peer[k], true, s->now);
		}
}

static void some_traffic(struct sim *s)
{
	unsigned from = (unsigned)sim_below(s, s->nnodes), to = (unsigned)sim_below(s, s->nnodes);
	if (from == to)
		return;
	for (unsigned n = 1 + (unsigned)sim_below(s, 4); n; n--)
		sim_send(s, from, to);
}

static void chaos(struct sim *s, nsec_t until, nsec_t pause)
{
	while (s->now < until) {
		switch (sim_below(s, 60)) {
		case 0:
			random_net(s);
			break;
		case 1:
			random_cuts(s);
			break;
		case 2:
			move(s);
			break;
		case 3:
			if (s->node[0].persist)
				restart(s, (unsigned)sim_below(s, s->nnodes));
			break;
		case 4:
			overlay_peer_initiate(s->node[0].o, s->node[0].peer[1], sim_chance(s, 500),
					      s->now);
			break;
		case 5:
			sim_run(s, s->now + sim_below(s, SECONDS(40)));
			break;
		case 6:
			memset(s->cut, 0, sizeof(s->cut));
			break;
		default:
			some_traffic(s);
		}
		sim_run(s, s->now + sim_below(s, pause));
	}
}

/* The other peers' path to a node that has moved is learnt from what it sends: all send. */
static void heal(struct sim *s)
{
	memset(s->cut, 0, sizeof(s->cut));
	s->net = (struct sim_net){.delay = NSEC_PER_MSEC * (1 + sim_below(s, 100))};
	nsec_t end = s->now + (moved && restarted ? HEALED_BLIND_MS : HEALED_MS) * NSEC_PER_MSEC;
	say(s, "net healed", 0);
	while (s->now < end) {
		for (unsigned i = 0; i < s->nnodes; i++)
			for (unsigned k = 0; k < s->nnodes; k++)
				if (i != k)
					sim_send(s, i, k);
		sim_run_ms(s, 250);
	}
}

static void expect_all_arrive(struct sim *s)
{
	uint32_t first[SIM_NODES][SIM_NODES];
	memcpy(first, s->sent, sizeof(first));
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < s->nnodes; i++)
			for (unsigned k = 0; k < s->nnodes; k++)
				if (i != k)
					sim_send(s, i, k);
		sim_run_ms(s, 50);
	}
	sim_run_ms(s, 1000);
	for (unsigned i = 0; i < s->nnodes; i++)
		for (unsigned k = 0; k < s->nnodes; k++)
			for (uint32_t seq = first[i][k]; seq < s->sent[i][k]; seq++)
				sim_check(s, s->seen[i][k][seq]);
}

static void one_run(uint64_t seed)
{
	struct sim s;
	moved = restarted = false;
	moved = restarted = false;
	sim_init(&s, seed, seed % 4 ? 2 : 3);
	s.tap = verbose ? trace : NULL;
	bool all = sim_chance(&s, 300), spokes = sim_chance(&s, 600);
	for (unsigned i = 0; i < s.nnodes; i++)
		s.node[i].persist = all || (spokes && i);
	random_net(&s);
	sim_join_all(&s);
	/* One in sixteen lives long enough for keys to be renewed and to expire. */
	if (seed % 16)
		chaos(&s, s.now + SECONDS(20), SECONDS(1));
	else
		chaos(&s, s.now + SECONDS(500), SECONDS(5));
	heal(&s);
	expect_all_arrive(&s);
	sim_fini(&s);
}

static void seeded_runs(void **state)
{
	(void)state;
	sim_seeds(one_run, &verbose, 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(seeded_runs)};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
