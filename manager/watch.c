/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds that are hit on the packet path only count; here a person is told, once in ten minutes each. */
#include <errno.h>

#include "base/log.h"
#include "manager/internal.h"
#include "relay/relay.h"

enum { NUM_OTHERS = 3, NUM_COUNTERS = OVERLAY_NUM_DROPS + NS_NUM_DROPS + NUM_OTHERS };

struct watch {
	uint64_t seen[NUM_COUNTERS];
	struct log_limit limit[NUM_COUNTERS];
};

int watch_new(struct watch **wp)
{
	*wp = calloc(1, sizeof(**wp));
	return *wp ? 0 : -ENOMEM;
}

void watch_free(struct watch *w)
{
	free(w);
}

static void check(struct watch *w, unsigned i, uint64_t now, const char *where, const char *what)
{
	const nsec_t every = 600 * NSEC_PER_SEC;

	if (now == w->seen[i])
		return;
	w->seen[i] = now;
	log_limited(&w->limit[i], every, "%s: %s (%llu so far)", where, what,
		    (unsigned long long)now);
}

void watch_check(struct watch *w, const struct manager *m)
{
	static const enum overlay_drop overlay_bounds[] = {DROP_QUEUE_FULL, DROP_UNDER_LOAD,
							   DROP_LIMIT, DROP_SOURCE};
	static const enum netstack_drop stack_bounds[] = {NS_DROP_REASM_FULL, NS_DROP_SYN_LIMIT,
							  NS_DROP_CONN_LIMIT, NS_DROP_MEMORY};
	const uint64_t *od = overlay_drops(node_overlay(m->node));
	const struct netstack_stats *ns = netstack_stats(m->ns);
	const struct udp_flows_stats *udp = exit_udp_stats(m->exit);
	unsigned at = OVERLAY_NUM_DROPS + NS_NUM_DROPS;

	for (size_t i = 0; i < ARRAY_SIZE(overlay_bounds); i++)
		check(w, overlay_bounds[i], od[overlay_bounds[i]], "overlay: packets dropped",
		      overlay_drop_name(overlay_bounds[i]));
	for (size_t i = 0; i < ARRAY_SIZE(stack_bounds); i++)
		check(w, OVERLAY_NUM_DROPS + stack_bounds[i], ns->drops[stack_bounds[i]],
		      "netstack: packets dropped", netstack_drop_name(stack_bounds[i]));
	check(w, at, udp->limit, "exit", "datagrams dropped: too many UDP flows");
	check(w, at + 1, udp->no_ping, "exit",
	      "pings dropped: net.ipv4.ping_group_range does not include this group");
	check(w, at + 2, m->not_forwarded, "hub",
	      "packets dropped between peers that no intercept joins");
}
