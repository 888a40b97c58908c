/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: which there are, what has to be proved, and how each ends.
 *
 * A stream's end may be found out, or wanted, in the middle of anything, so it happens in two steps:
 * at once it is no path any more, and its memory goes at the end of the turn. The overlay hears of
 * it from the loop: it may not be called from inside its own callbacks.
 */
#include <errno.h>
#include <event2/event.h>

#include "base/stream.h"
#include "node/internal.h"

struct carrier *carrier_of(const struct node *n, const struct path *path)
{
	struct carrier *c = n->carriers[path->transport % NODE_STREAMS];

	return c && c->id == path->transport ? c : NULL;
}

void carrier_touch(struct carrier *c)
{
	if (!c->dirty && !c->gone) {
		c->dirty = true;
		LIST_INSERT_HEAD(&c->node->dirty, c, dirty_link);
	}
	node_end_turn(c->node);
}

void carriers_flush(struct node *n)
{
	struct carrier *c;

	while ((c = LIST_FIRST(&n->dirty))) {
		c->dirty = false;
		LIST_REMOVE(c, dirty_link);
		transport_flush(c->transport);
	}
}

/* --- proof --- */

static void set_prove_timer(struct node *n)
{
	struct carrier *c = TAILQ_FIRST(&n->unproven);
	nsec_t now = clock_boot(), left;
	struct timeval tv;

	if (!c) {
		event_del(n->prove_timer);
		return;
	}
	left = c->prove_by > now ? c->prove_by - now : 0;
	tv.tv_sec = (time_t)(left / NSEC_PER_SEC);
	tv.tv_usec = (suseconds_t)(left % NSEC_PER_SEC / 1000 + 1);
	event_add(n->prove_timer, &tv);
}

static void leave_unproven(struct carrier *c)
{
	struct node *n = c->node;

	if (c->proven)
		return;
	TAILQ_REMOVE(&n->unproven, c, link);
	n->n_unproven--;
}

static unsigned from_here_on(const struct carrier *c, const struct ipaddr *from)
{
	unsigned count = 0;

	for (; c; c = TAILQ_NEXT(c, link))
		count += ipaddr_equal(&c->from, from);
	return count;
}

/* Whoever can connect may open as many as he likes. Who can prove who he is does it at once, and gets through, if
 * a flood makes room for itself: the oldest of the address that has most. */
static struct carrier *least_wanted(const struct node *n)
{
	struct carrier *c, *oldest = NULL;
	unsigned most = 0;

	for (c = TAILQ_FIRST(&n->unproven); c; c = TAILQ_NEXT(c, link)) {
		unsigned count = from_here_on(c, &c->from);

		if (count > most) {
			most = count;
			oldest = c;
		}
	}
	return oldest;
}

/* --- the end --- */

static void retire(struct carrier *c)
{
	struct node *n = c->node;

	leave_unproven(c);
	if (c->dirty)
		LIST_REMOVE(c, dirty_link);
	c->dirty = false;
	c->gone = true;
	n->carriers[c->id % NODE_STREAMS] = NULL;
	n->n_carriers--;
	TAILQ_INSERT_TAIL(&n->gone, c, link);
	node_end_turn(n);
}

/* For another one. */
static void evict(struct carrier *c, int error)
{
	c->evicted = error;
	retire(c);
}

/* Who has too many streams loses the oldest. */
void carrier_prove(struct carrier *c, struct overlay_peer *p)
{
	struct node *n = c->node;
	struct carrier *oldest = NULL;
	unsigned count = 0;

	leave_unproven(c);
	c->proven = true;
	c->peer = p;
	for (unsigned i = 0; i < NODE_STREAMS; i++) {
		struct carrier *o = n->carriers[i];

		if (!o || !o->proven || o->peer != p)
			continue;
		count++;
		if (o != c && (!oldest || o->id < oldest->id))
			oldest = o;
	}
	if (count > NODE_STREAMS_PER_PEER && oldest)
		evict(oldest, -ENOSPC);
}

void node_remove_peer(struct node *n, struct overlay_peer *p)
{
	for (unsigned i = 0; i < NODE_STREAMS; i++)
		if (n->carriers[i] && n->carriers[i]->peer == p)
			retire(n->carriers[i]);
	overlay_peer_remove(n->overlay, p);
}

/* The overlay's peers leave the path. */
static void forget(struct carrier *c)
{
	struct node *n = c->node;

	if (c->forgotten)
		return;
	c->forgotten = true;
	overlay_transport_gone(n->overlay, c->id, clock_boot());
	/* Whoever waited for this stream waits for another one now, or for none. */
	node_tell_writable(n);
}

static void end(struct carrier *c, int error)
{
	struct node *n = c->node;
	struct path path = {.transport = c->id};

	if (c->gone)
		return;
	retire(c);
	forget(c);
	if (n->ops->path_gone)
		n->ops->path_gone(n->arg, &path, error);
}

static void on_prove_timer(int fd, short what, void *arg)
{
	struct node *n = arg;
	struct carrier *c;
	nsec_t now = clock_boot();

	(void)fd;
	(void)what;
	while ((c = TAILQ_FIRST(&n->unproven)) && c->prove_by <= now)
		end(c, -ETIMEDOUT);
	set_prove_timer(n);
}

static void on_closed(void *arg, int error)
{
	end(arg, error);
}

static void on_writable(void *arg)
{
	node_tell_writable(((struct carrier *)arg)->node);
}

static void on_idle(void *arg)
{
	node_on_idle(((struct carrier *)arg)->node);
}

static const struct transport_ops carrier_ops = {
	.receive = node_on_frame,
	.idle = on_idle,
	.closed = on_closed,
	.writable = on_writable,
};

static void add_stats(struct transport_stats *sum, const struct transport_stats *st)
{
	sum->rx_datagrams += st->rx_datagrams;
	sum->rx_bytes += st->rx_bytes;
	sum->rx_calls += st->rx_calls;
	sum->tx_datagrams += st->tx_datagrams;
	sum->tx_bytes += st->tx_bytes;
	sum->tx_calls += st->tx_calls;
	sum->tx_full += st->tx_full;
	sum->tx_errors += st->tx_errors;
	sum->tx_too_big += st->tx_too_big;
}

static void free_carrier(struct carrier *c)
{
	struct node *n = c->node;

	transport_close(c->transport);
	add_stats(&n->past, transport_stats(c->transport));
	transport_free(c->transport);
	free(c);
}

void carriers_reap(struct node *n)
{
	struct carrier *c;

	while ((c = TAILQ_FIRST(&n->gone))) {
		struct path path = {.transport = c->id};

		TAILQ_REMOVE(&n->gone, c, link);
		forget(c);
		if (c->evicted && n->ops->path_gone)
			n->ops->path_gone(n->arg, &path, c->evicted);
		free_carrier(c);
	}
}

/* --- the calls of node.h --- */

static int full(const struct node *n, struct error *e)
{
	if (n->n_carriers == NODE_STREAMS)
		return error_set(e, -ENOSPC, "node: %d streams are all it takes", NODE_STREAMS);
	if (n->last_id >= UINT32_MAX - NODE_STREAMS)
		return error_set(e, -ENOSPC, "node: no more streams; restart");
	return 0;
}

int node_add_stream(struct node *n, struct stream *s, const struct ipaddr *from, struct path *path,
		    struct error *e)
{
	cleanup(free_ptr) struct carrier *c = calloc(1, sizeof(*c));
	int err = full(n, e);

	if (err)
		return err;
	if (!c)
		return error_errno(e, -ENOMEM, "node: stream");
	do {
		c->id = ++n->last_id;
	} while (n->carriers[c->id % NODE_STREAMS]);
	c->node = n;
	c->prove_by = clock_boot() + NODE_PROVE_S * NSEC_PER_SEC;
	err = transport_stream_new(&c->transport, n->base, s, c->id, &carrier_ops, c, e);
	if (err)
		return err;
	if (from)
		c->from = *from;
	if (n->n_unproven == NODE_UNPROVEN)
		evict(least_wanted(n), -ETIMEDOUT);
	*path = (struct path){.transport = c->id};
	n->carriers[c->id % NODE_STREAMS] = c;
	n->n_carriers++;
	n->n_unproven++;
	TAILQ_INSERT_TAIL(&n->unproven, c, link);
	if (n->n_unproven == 1)
		set_prove_timer(n);
	c = NULL;
	return 0;
}

void node_drop_stream(struct node *n, const struct path *path)
{
	struct carrier *c = carrier_of(n, path);

	if (c)
		retire(c);
}

const struct transport_stats *node_path_stats(const struct node *n, const struct path *path)
{
	const struct transport *t = node_transport(n, path);

	return t ? transport_stats(t) : NULL;
}

const struct transport_stats *node_transport_stats(const struct node *n)
{
	const struct carrier *c;

	*n->sum = n->past;
	if (n->udp)
		add_stats(n->sum, transport_stats(n->udp));
	for (unsigned i = 0; i < NODE_STREAMS; i++)
		if (n->carriers[i])
			add_stats(n->sum, transport_stats(n->carriers[i]->transport));
	for (c = TAILQ_FIRST(&n->gone); c; c = TAILQ_NEXT(c, link))
		add_stats(n->sum, transport_stats(c->transport));
	return n->sum;
}

/* --- life --- */

int carriers_init(struct node *n)
{
	TAILQ_INIT(&n->unproven);
	TAILQ_INIT(&n->gone);
	LIST_INIT(&n->dirty);
	n->sum = calloc(1, sizeof(*n->sum));
	n->prove_timer = evtimer_new(n->base, on_prove_timer, n);
	return n->sum && n->prove_timer ? 0 : -ENOMEM;
}

void carriers_free(struct node *n)
{
	struct carrier *c;

	for (unsigned i = 0; n->n_carriers; i++)
		if (n->carriers[i])
			retire(n->carriers[i]);
	while ((c = TAILQ_FIRST(&n->gone))) { /* the overlay ends, too: no callbacks */
		TAILQ_REMOVE(&n->gone, c, link);
		free_carrier(c);
	}
	if (n->prove_timer)
		event_free(n->prove_timer);
	free(n->sum);
}
