/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes over a stream, in one process and on one loop; some with UDP beside it:
 *
 *   test --packets--> node a ==frames==> TCP or a Unix socket ==frames==> node b --packets--> test
 */
#include "node_sides.h"

#include <sys/resource.h>

#include "overlay/internal.h"
#include "thin_stream.h"
#include "transport/udp.h"

enum { MSS = 1348, SUPER = 44 * MSS };

static struct path at_a, at_b; /* the stream, as each knows it */
static struct thin *end_a, *end_b;
static unsigned freed, gone_calls, writable_calls;
static int gone_error;
static struct path gone_path;

static void on_path_gone(void *arg, const struct path *path, int error)
{
	(void)arg;
	gone_calls++;
	gone_path = *path;
	gone_error = error;
}

static void on_writable(void *arg)
{
	writable_calls += arg == &a;
}

static const struct node_ops stream_ops = {
	.inner = on_inner,
	.idle = on_idle,
	.established = on_established,
	.too_big = on_too_big,
	.path_gone = on_path_gone,
	.writable = on_writable,
};

static struct thin *add_stream(struct side *s, int fd, struct path *path)
{
	struct thin *t = thin_new(base, fd);
	struct error e = {0};

	t->freed = &freed;
	if (node_add_stream(s->node, &t->s, NULL, path, &e))
		fail_msg("%s", e.text);
	return t;
}

/* Another stream between them. */
static void connect_sides(bool tcp)
{
	int fd[2];

	if (tcp)
		tcp_pair(fd);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	end_a = add_stream(&a, fd[0], &at_a);
	end_b = add_stream(&b, fd[1], &at_b);
	overlay_peer_set_path(a.peer, &at_a);
}

static void make_sides(const char *bind)
{
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(sent, 0, sizeof(sent));
	memset(came, 0, sizeof(came));
	n_others = n_others_came = freed = gone_calls = writable_calls = 0;
	base = event_base_new();
	make_side(&a, bind);
	make_side(&b, bind);
	a.node->ops = b.node->ops = &stream_ops;
	introduce(&a, &b, bind != NULL, "10.0.0.2/32", "fd00::2/128");
	introduce(&b, &a, false, "10.0.0.1/32", "fd00::1/128");
}

static int setup(void **state)
{
	(void)state;
	make_sides(NULL);
	connect_sides(true);
	return 0;
}

static int setup_unix(void **state)
{
	(void)state;
	make_sides(NULL);
	connect_sides(false);
	return 0;
}

static int setup_both(void **state)
{
	(void)state;
	make_sides("127.0.0.1:0");
	connect_sides(true);
	return 0;
}

static int teardown(void **state)
{
	unsigned streams = a.node->n_carriers + b.node->n_carriers;

	(void)state;
	freed = 0;
	node_free(a.node);
	node_free(b.node);
	event_base_free(base);
	assert_int_equal(freed, streams); /* each was owned, and closed once */
	return 0;
}

static bool both_established(void)
{
	return a.established && b.established;
}

static void establish(void)
{
	overlay_peer_initiate(node_overlay(a.node), a.peer, true, clock_boot());
	run_until(both_established);
	run_for_a_moment();
	writable_calls = 0;
}

static bool path_is_gone(void)
{
	return gone_calls > 0;
}

/* --- data --- */

static struct rng pump_rng;
static size_t pump_bytes;

/* Half of the flows go each way; each side sends as long as it is ready. */
static void pump(void)
{
	struct side *sides[2] = {&a, &b};

	for (unsigned i = 0; i < 2; i++)
		for (unsigned f = i; f < FLOWS; f += 2)
			while (sent[f].len < pump_bytes &&
			       node_ready(sides[i]->node, sides[i]->peer)) {
				uint32_t n = rng_range(&pump_rng, 1, 64000);

				n = (uint32_t)MIN(n, pump_bytes - sent[f].len);
				send_tcp_from(sides[i], &pump_rng, f, n, MSS);
			}
}

static bool pumped(void)
{
	pump();
	for (unsigned f = 0; f < FLOWS; f++)
		if (sent[f].len < pump_bytes)
			return false;
	return all_came();
}

static void check_bulk(size_t bytes)
{
	pump_rng = (struct rng){bytes};
	pump_bytes = bytes;
	establish();
	run_until(pumped);
	check_streams();
	assert_int_equal(node_transport_stats(a.node)->tx_full, 0);
	assert_int_equal(node_transport_stats(b.node)->tx_full, 0);
	assert_int_equal(gone_calls, 0);
}

static void bulk_goes_both_ways(void **state)
{
	const struct transport_stats *st;

	(void)state;
	check_bulk(STREAM_MAX);
	st = node_path_stats(a.node, &at_a);
	print_message("[     info ] %lu frames of %lu bytes in %lu writes, %lu reads\n",
		      (unsigned long)st->tx_datagrams,
		      (unsigned long)(st->tx_bytes / st->tx_datagrams), (unsigned long)st->tx_calls,
		      (unsigned long)node_path_stats(b.node, &at_b)->rx_calls);
}

static void one_byte_at_a_time(void **state)
{
	(void)state;
	end_a->read_most = end_b->read_most = 1;
	check_bulk(3000);
	assert_true(node_path_stats(a.node, &at_a)->rx_calls > 12000);
}

static void little_is_taken_at_a_time(void **state)
{
	(void)state;
	end_a->write_most = 1;
	end_b->write_most = 700;
	end_b->read_most = 900;
	check_bulk(20000);
}

/* A frame each, and a packet each at the other end, with a segment size that fits everywhere. */
static void super_packets_go_whole(void **state)
{
	struct rng r = {2};
	const struct transport_stats *st = node_path_stats(a.node, &at_a);
	uint64_t frames;

	(void)state;
	establish();
	frames = st->tx_datagrams;
	for (unsigned i = 0; i < 7; i++)
		send_tcp(&r, i % 4, SUPER, MSS);
	run_until(all_came);
	check_streams();
	assert_int_equal(st->tx_datagrams - frames, 7);
	assert_int_equal(b.super, 7);
	assert_int_equal(b.received, 7);

	send_tcp(&r, 4, PKT_MAX - 72, MSS); /* the longest there is */
	send_udp(&r, INNER_MTU - 48);
	run_until(all_came);
	check_streams();
	assert_int_equal(b.super, 8);
}

/* What is no TCP packet may not be larger than INNER_MTU here, either. */
static void what_cannot_be_cut_is_told(void **state)
{
	struct rng r = {4};
	struct flow f = make_flow(6, 1, 2, 9);
	struct pkt pkt = {.data = packet};

	(void)state;
	establish();
	pkt.len = (uint32_t)build_udp(packet, &r, &f, INNER_MTU);
	node_send(a.node, &pkt);
	assert_int_equal(a.too_big, 1);
	assert_int_equal(a.too_big_mtu, INNER_MTU);
}

/* ... and if a peer sends it all the same, it is dropped. */
static void oversized_datagram_is_dropped(void **state)
{
	struct rng r = {5};
	struct flow f = make_flow(6, 1, 2, 9);
	static uint8_t out[PKT_MAX + 800];
	struct path path;
	size_t len;

	(void)state;
	establish();
	len = build_udp(packet + AEAD_HEAD, &r, &f, 3000);
	assert_int_equal(overlay_seal(node_overlay(a.node), a.peer, packet + AEAD_HEAD, len,
				      out + AEAD_HEAD, &len, &path, clock_boot()),
			 0);
	transport_send(node_transport(a.node, &path), &path, out + AEAD_HEAD, len, len);
	send_tcp(&r, 1, 100, 0);
	run_until(all_came);
	assert_int_equal(b.received, 1);
	assert_int_equal(node_stats(b.node)->oversize_in, 1);
}

static void super_packet_waits_for_the_handshake(void **state)
{
	struct rng r = {3};

	(void)state;
	send_tcp(&r, 1, 50000, MSS);
	send_udp(&r, 10);
	run_until(all_came);
	check_streams();
}

/* ... and goes out over the path that there is then. It was cut to INNER_MTU, which this one does
 * not take. */
static void waiting_packet_is_cut_to_the_path_it_takes(void **state)
{
	struct rng r = {6};
	union sockaddr_any sa;
	struct path udp;
	unsigned sends;

	(void)state;
	send_tcp(&r, 1, 50000, MSS);
	assert_int_equal(node_local(b.node, &sa), 0);
	udp = node_udp_path(a.node, &sa);
	for (unsigned i = 0; i < MTU_SLOTS; i++) /* as if the kernel had told so */
		udp_self(a.node->udp)->mtu[i] = (struct mtu_slot){
			.remote = sa, .payload = 1280 - 28, .expires = UINT64_MAX};
	node_drop_stream(a.node, &at_a);
	overlay_peer_set_path(a.peer, &udp);
	overlay_peer_initiate(node_overlay(a.node), a.peer, true, clock_boot());
	run_until(all_came);
	check_streams();
	sends = (unsigned)transport_stats(a.node->udp)->tx_datagrams;
	assert_in_range(sends, 2 * (50000 / MSS), 2 * (50000 / MSS) + 5);
}

/* A renewal begins in the middle of sealing into the stream's queue. */
static bool renewed(void)
{
	return a.established >= 2 && b.established >= 2 && all_came();
}

static void renewal_does_not_disturb_the_queue(void **state)
{
	struct rng r = {7};

	(void)state;
	establish();
	a.peer->current->sent = REKEY_AFTER_MESSAGES + 1;
	send_tcp(&r, 1, SUPER, MSS);
	assert_int_equal(a.node->late_len, 0);
	send_tcp(&r, 1, SUPER, MSS);
	run_until(renewed);
	check_streams();
	assert_int_equal(gone_calls, 0);
}

/* --- a queue that is full --- */

static void on_inner_count(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	(void)p;
	(void)pkt;
	((struct side *)arg)->received++;
}

static const struct node_ops counting_ops = {
	.inner = on_inner_count,
	.path_gone = on_path_gone,
};

static void send_some(struct rng *r)
{
	struct flow f = make_flow(4, 1, 2, 9);
	struct pkt pkt = {.data = packet, .len = (uint32_t)build_udp(packet, r, &f, 1000)};

	node_send(a.node, &pkt);
}

static unsigned some_sent;

static bool some_came(void)
{
	return b.received == some_sent;
}

static void full_queue_holds_back_and_resumes(void **state)
{
	const struct transport_stats *st = node_path_stats(a.node, &at_a);
	struct rng r = {8};

	(void)state;
	establish();
	b.node->ops = &counting_ops;
	thin_hear(end_b, false);
	for (some_sent = 0; node_ready(a.node, a.peer); some_sent++) {
		send_some(&r);
		node_flush(a.node);
		assert_in_range(some_sent, 0, 100000); /* the sockets hold some MB */
	}
	assert_int_equal(st->tx_full, 0);

	/* Who sends all the same meets the bound. */
	for (unsigned i = 0; i < 2000; i++)
		send_some(&r);
	some_sent += 2000 - (unsigned)st->tx_full;
	assert_in_range(st->tx_full, 2000 - (TRANSPORT_QUEUE_MAX - TRANSPORT_HIGH) / 1000, 1600);
	run_for_a_moment();
	assert_false(node_ready(a.node, a.peer));
	assert_int_equal(writable_calls, 0);
	assert_int_equal(b.received, 0);

	thin_hear(end_b, true);
	run_until(some_came);
	assert_true(node_ready(a.node, a.peer));
	assert_int_equal(writable_calls, 1);
	assert_int_equal(gone_calls, 0);
}

/* Then nobody waits for ever. */
static void end_of_a_full_stream_says_writable(void **state)
{
	struct rng r = {9};

	(void)state;
	establish();
	thin_hear(end_b, false);
	while (node_ready(a.node, a.peer)) {
		send_some(&r);
		node_flush(a.node);
	}
	b.node->ops = &counting_ops;
	node_drop_stream(b.node, &at_b);
	run_until(path_is_gone);
	assert_true(path_equal(&gone_path, &at_a));
	assert_int_equal(writable_calls, 1);
	assert_true(node_ready(a.node, a.peer));
	assert_true(node_transport_stats(a.node)->tx_errors > 100); /* what lay in the queue */
}

/* --- the end --- */

static void check_end(const void *bytes, size_t len, bool end, int error)
{
	struct path path;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	gone_calls = freed = 0;
	add_stream(&a, fd[0], &path);
	assert_int_equal(write(fd[1], bytes, len), len);
	if (end)
		close(fd[1]);
	run_until(path_is_gone);
	assert_int_equal(gone_error, error);
	assert_true(path_equal(&gone_path, &path));
	assert_int_equal(a.node->n_carriers, 1);
	assert_int_equal(a.node->n_unproven, 0);
	run_for_a_moment();
	assert_int_equal(gone_calls, 1);
	assert_int_equal(freed, 1);
	assert_null(node_path_stats(a.node, &path));
	if (!end)
		close(fd[1]);
}

static void end_is_told(void **state)
{
	struct rng r = {10};
	uint8_t junk[600];

	(void)state;
	establish(); /* the other stream is not touched by any of it */
	check_end("", 0, true, 0);
	check_end("\4\0\0\0abcd", 8, true, 0);
	check_end("\4\0", 2, true, -ECONNRESET);
	check_end("\4\0\0\0abc", 7, true, -ECONNRESET);
	check_end("\0\0\0\0", 4, false, -EBADMSG);
	check_end("\x20\0\1\0", 4, false, -EBADMSG); /* one more than the longest */
	check_end("GET / HTTP/1.1\r\n", 16, false, -EBADMSG);
	rng_fill(&r, junk, sizeof(junk));
	put_le32(junk, 500);
	put_le32(junk + 504, UINT32_MAX);
	check_end(junk, sizeof(junk), false, -EBADMSG);
	send_tcp(&r, 1, SUPER, MSS);
	run_until(all_came);
	check_streams();
}

/* The peer has no path then, until there is another one. */
static void peer_loses_its_path_and_gets_another(void **state)
{
	struct rng r = {11};
	struct path old = at_a;

	(void)state;
	establish();
	node_drop_stream(b.node, &at_b);
	node_drop_stream(b.node, &at_b); /* gone already */
	run_until(path_is_gone);
	assert_true(path_equal(&gone_path, &at_a));
	assert_int_equal(gone_calls, 1); /* who drops knows */
	assert_null(overlay_peer_path(a.peer));
	send_tcp(&r, 1, 1000, 0);
	assert_int_equal(node_stats(a.node)->no_route, 1);
	sent[1].len = 0;

	connect_sides(false);
	assert_false(path_equal(&old, &at_a));
	send_tcp(&r, 1, SUPER, MSS); /* the session is still there */
	run_until(all_came);
	check_streams();
	assert_int_equal(a.established, 1);
}

static void on_inner_drop(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	on_inner_count(arg, p, pkt);
	node_drop_stream(b.node, &at_b);
}

/* From inside of what it delivers: nothing more comes of it. */
static void callback_may_drop_its_stream(void **state)
{
	static const struct node_ops dropping = {.inner = on_inner_drop};
	struct rng r = {12};

	(void)state;
	establish();
	b.node->ops = &dropping;
	for (unsigned i = 0; i < 5; i++)
		send_some(&r);
	run_until(path_is_gone);
	assert_int_equal(b.received, 1);
	assert_int_equal(b.node->n_carriers, 0);
}

/* What was sent before is still delivered. */
static void drop_flushes(void **state)
{
	struct rng r = {13};

	(void)state;
	establish();
	b.node->ops = &counting_ops;
	for (some_sent = 0; some_sent < 5; some_sent++)
		send_some(&r);
	node_drop_stream(a.node, &at_a);
	run_until(some_came);
	run_until(path_is_gone);
	assert_int_equal(gone_error, 0);
}

/* --- proof --- */

static void make_overdue(void)
{
	struct carrier *c;

	TAILQ_FOREACH (c, &a.node->unproven, link)
		c->prove_by = clock_boot();
	event_active(a.node->prove_timer, EV_TIMEOUT, 0);
}

static void unproven_streams_end(void **state)
{
	struct path path;
	uint8_t frame[4 + MSG_INITIATION_LEN] = {MSG_INITIATION_LEN, [4] = MSG_INITIATION};
	struct timeval left;
	int fd[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	add_stream(&a, fd[0], &path);
	assert_int_equal(a.node->n_unproven, 2);
	assert_true(evtimer_pending(a.node->prove_timer, &left));
	establish();
	assert_int_equal(a.node->n_unproven, 1);
	assert_int_equal(b.node->n_unproven, 0);
	/* garbage in good frames proves nothing */
	assert_int_equal(write(fd[1], frame, sizeof(frame)), sizeof(frame));
	put_le32(frame + 4, MSG_DATA);
	assert_int_equal(write(fd[1], frame, sizeof(frame)), sizeof(frame));
	run_for_a_moment();
	assert_int_equal(a.node->n_unproven, 1);
	make_overdue();
	run_until(path_is_gone);
	assert_int_equal(gone_error, -ETIMEDOUT);
	assert_true(path_equal(&gone_path, &path));
	assert_int_equal(a.node->n_carriers, 1);
	assert_false(evtimer_pending(a.node->prove_timer, NULL));
	close(fd[1]);
}

/* A peer that has a session goes on over a new stream: its first message proves it. */
static void data_proves_a_stream(void **state)
{
	struct rng r = {14};

	(void)state;
	establish();
	connect_sides(false);
	assert_int_equal(b.node->n_unproven, 1);
	send_udp(&r, 10);
	run_until(all_came);
	assert_int_equal(b.node->n_unproven, 0);
	assert_int_equal(b.established, 1);
}

static void unproven_streams_are_bounded(void **state)
{
	static int far_end[NODE_UNPROVEN + 1];
	struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096};
	struct path path, first;
	int fd[2];

	(void)state;
	establish();
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (unsigned i = 0; i < NODE_UNPROVEN + 1; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		add_stream(&a, fd[0], i ? &path : &first);
		far_end[i] = fd[1];
	}
	/* The oldest goes, and never from inside the call. */
	assert_int_equal(a.node->n_unproven, NODE_UNPROVEN);
	assert_null(node_path_stats(a.node, &first));
	assert_false(path_is_gone());
	run_until(path_is_gone);
	assert_true(path_equal(&gone_path, &first));
	assert_int_equal(gone_error, -ETIMEDOUT);
	assert_int_equal(a.node->n_carriers, NODE_UNPROVEN + 1);
	for (unsigned i = 0; i < NODE_UNPROVEN + 1; i++)
		close(far_end[i]);
}

static void ids_are_never_used_again(void **state)
{
	struct path path, before = at_a;
	int fd[2];

	(void)state;
	for (unsigned i = 0; i < 2 * NODE_STREAMS; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		add_stream(&a, fd[0], &path);
		assert_true(path.transport > before.transport);
		assert_ptr_not_equal(node_path_stats(a.node, &path),
				     node_path_stats(a.node, &at_a));
		node_drop_stream(a.node, &path);
		assert_null(node_path_stats(a.node, &path));
		close(fd[1]);
		carriers_reap(a.node);
		before = path;
	}
	assert_non_null(node_path_stats(a.node, &at_a));
	freed = 0;
}

/* --- beside UDP --- */

static uint8_t came_at[STREAM_MAX]; /* by its place: came how often */
static size_t came_bytes, switched_bytes;

static void on_inner_any_order(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct segment seg;

	(void)p;
	((struct side *)arg)->received++;
	((struct side *)arg)->super += pkt->len > INNER_MTU;
	assert_true(segment_parse(&seg, pkt->data, pkt->len));
	assert_memory_equal(pkt->data + seg.headers, sent[1].data + seg.seq, seg.payload);
	for (uint32_t i = 0; i < seg.payload; i++)
		assert_int_equal(came_at[seg.seq + i]++, 0);
	came_bytes += seg.payload;
}

static bool switched_came(void)
{
	return came_bytes == switched_bytes;
}

static void switch_in_the_middle_loses_nothing(void **state)
{
	static const struct node_ops any_order = {.inner = on_inner_any_order};
	const struct transport_stats *udp = transport_stats(a.node->udp),
				     *stream = node_path_stats(a.node, &at_a);
	struct rng r = {15};
	union sockaddr_any sa;
	struct path at_udp;

	(void)state;
	establish();
	assert_int_equal(node_local(b.node, &sa), 0);
	at_udp = node_udp_path(a.node, &sa);
	b.node->ops = &any_order;
	came_bytes = 0;
	memset(came_at, 0, sizeof(came_at));
	for (unsigned i = 0; i < 60; i++) {
		overlay_peer_set_path(a.peer, i & 1 ? &at_udp : &at_a);
		for (unsigned j = rng_range(&r, 1, 3); j; j--)
			send_tcp(&r, 1, rng_range(&r, 100, 20000), MSS);
		switched_bytes = sent[1].len;
		if (i % 4 == 3)
			run_until(switched_came);
	}
	run_until(switched_came);
	assert_true(udp->tx_datagrams > 300);
	assert_true(stream->tx_datagrams > 50);
	assert_int_equal(node_transport_stats(a.node)->tx_datagrams,
			 udp->tx_datagrams + stream->tx_datagrams);
	assert_int_equal(b.established, 1);
	assert_int_equal(gone_calls, 0);
}

static bool over_udp(void)
{
	return overlay_peer_path(a.peer) && overlay_peer_path(a.peer)->transport == UDP_ID;
}

static bool over_the_stream(void)
{
	return overlay_peer_path(a.peer) && path_equal(overlay_peer_path(a.peer), &at_a);
}

/* Both are candidates. The stream is preferred and full when it ends: UDP takes over, and who
 * waited for the stream goes on. */
static void other_path_takes_over(void **state)
{
	struct rng r = {17};
	union sockaddr_any sa;
	struct path udp;
	nsec_t now = clock_boot();

	(void)state;
	assert_int_equal(node_local(b.node, &sa), 0);
	udp = node_udp_path(a.node, &sa);
	assert_int_equal(overlay_path_add(node_overlay(a.node), a.peer, &at_a, 1, now), 0);
	assert_int_equal(overlay_path_add(node_overlay(a.node), a.peer, &udp, 2, now), 0);
	establish();
	run_until(over_the_stream);
	thin_hear(end_b, false);
	b.node->ops = &counting_ops;
	for (some_sent = 0; node_ready(a.node, a.peer); some_sent++) {
		send_some(&r);
		node_flush(a.node);
	}
	run_for_a_moment();
	writable_calls = 0;
	node_drop_stream(b.node, &at_b);
	run_until(path_is_gone);
	run_until(over_udp);
	run_for_a_moment();
	assert_true(writable_calls > 0);
	assert_true(node_ready(a.node, a.peer));
	b.received = 0;
	send_some(&r);
	some_sent = 1;
	run_until(some_came);
}

static void without_udp_there_is_no_address(void **state)
{
	union sockaddr_any sa;
	struct rng r = {16};
	struct path path;

	(void)state;
	assert_int_equal(node_local(a.node, &sa), -ENOTSUP);
	sockaddr_parse(&sa, "127.0.0.1:9");
	path = node_udp_path(a.node, &sa);
	overlay_peer_set_path(a.peer, &path);
	overlay_peer_initiate(node_overlay(a.node), a.peer, true, clock_boot());
	assert_int_equal(node_transport_stats(a.node)->tx_errors, 1);
	overlay_peer_set_path(a.peer, &at_a);
	node_kick(a.node);
	establish();
	send_tcp(&r, 1, SUPER, MSS);
	run_until(all_came);
	check_streams();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bulk_goes_both_ways, setup, teardown),
		{"bulk_goes_both_ways_over_a_unix_socket", bulk_goes_both_ways, setup_unix,
		 teardown, NULL},
		cmocka_unit_test_setup_teardown(one_byte_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(little_is_taken_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(super_packets_go_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_cut_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(oversized_datagram_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(super_packet_waits_for_the_handshake, setup,
						teardown),
		cmocka_unit_test_setup_teardown(waiting_packet_is_cut_to_the_path_it_takes,
						setup_both, teardown),
		cmocka_unit_test_setup_teardown(renewal_does_not_disturb_the_queue, setup,
						teardown),
		cmocka_unit_test_setup_teardown(full_queue_holds_back_and_resumes, setup, teardown),
		cmocka_unit_test_setup_teardown(end_of_a_full_stream_says_writable, setup,
						teardown),
		cmocka_unit_test_setup_teardown(end_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(peer_loses_its_path_and_gets_another, setup,
						teardown),
		cmocka_unit_test_setup_teardown(callback_may_drop_its_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(drop_flushes, setup, teardown),
		cmocka_unit_test_setup_teardown(unproven_streams_end, setup, teardown),
		cmocka_unit_test_setup_teardown(data_proves_a_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(unproven_streams_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_never_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(switch_in_the_middle_loses_nothing, setup_both,
						teardown),
		cmocka_unit_test_setup_teardown(other_path_takes_over, setup_both, teardown),
		cmocka_unit_test_setup_teardown(without_udp_there_is_no_address, setup, teardown),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
