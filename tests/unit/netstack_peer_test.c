/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP against a peer played by hand, segment by segment: what a kernel or an attacker sends, and what
 * netstack answers.
 */
#include "tests/unit/netstack_peer.h"

/* Who is told of neither end of a dial yet, and answers it: the record is already condemned. */
static void test_answer_after_forget(void **state)
{
	struct peer *p = *state;

	p->hold = true;
	for (int accept = 0; accept < 2; accept++) {
		send_syn(p, 1380);
		netstack_forget_peer(p->ns, p);
		if (accept)
			netstack_accept(p->ns, p->syn);
		else
			netstack_reject(p->ns, p->syn, REJECT_REFUSED);
		turn(p);
		assert_int_equal(p->cancels, accept);
		assert_int_equal(netstack_stats(p->ns)->syns, 0);
		p->seq += 1000;
	}
	assert_int_equal(p->opens, 0);
}

/* We ended first; the peer's FIN is acknowledged at once, not when it comes again. */
static void test_last_ack_is_sent(void **state)
{
	struct peer *p = *state;

	open_with(p, 1380);
	p->s->ops->shutdown(p->s);
	turn(p);
	assert_int_equal(p->n, 1);
	assert_true(p->log[0].flags & TCP_FIN);
	send_ack(p, 1, 8192);
	turn(p);
	p->n = 0;
	send_segment(
		p, &(struct segment){
			   .flags = TCP_ACK | TCP_FIN, .seq = p->seq, .ack = p->ack, .wnd = 8192});
	turn(p);
	assert_int_equal(p->n, 1);
	assert_int_equal(p->log[0].ack, p->seq + 1);
	p->s->ops->close(p->s);
}

/* A peer that asks for tiny packets gets no flood of them. */
static void test_tiny_mss(void **state)
{
	struct peer *p = *state;

	open_with(p, 1);
	write_some(p, 2000);
	assert_true(p->n >= 1);
	assert_int_equal(p->log[0].gso ? p->log[0].gso : p->log[0].len, 536);
	p->s->ops->abort(p->s);
}

/* Three ACKs for the same byte that tell of data behind it, each with a larger window, as from Linux. */
static void send_sacks(struct peer *p, uint16_t wnd)
{
	for (unsigned i = 1; i <= 3; i++) {
		uint8_t options[12] = {1, 1, 5, 10};
		put_be32(options + 4, p->ack + 1380);
		put_be32(options + 8, p->ack + (i + 1) * 1380);
		send_segment(p, &(struct segment){.flags = TCP_ACK,
						  .seq = p->seq,
						  .ack = p->ack,
						  .wnd = (uint16_t)(wnd + i * 20),
						  .options = options,
						  .options_len = sizeof(options)});
	}
	turn(p);
}

static void assert_sent_again(struct peer *p)
{
	assert_true(p->n >= 1);
	assert_int_equal(p->log[0].seq, p->ack);
	assert_int_equal(p->log[0].len, 1380);
	assert_int_equal(netstack_stats(p->ns)->retransmits, 1);
}

static void test_growing_window_hides_no_loss(void **state)
{
	struct peer *p = *state;

	open_with(p, 1380);
	write_some(p, 10 * 1380);
	p->n = 0;
	send_sacks(p, 8192);
	assert_sent_again(p);
	p->s->ops->abort(p->s);
}

/* An ACK that moves on by `acked`, where data from `hole` bytes further on has come. */
static void send_partial(struct peer *p, uint32_t acked, uint32_t hole)
{
	uint8_t options[12] = {1, 1, 5, 10};

	p->ack += acked;
	put_be32(options + 4, p->ack + hole);
	put_be32(options + 8, p->ack + hole + 1380);
	send_segment(p, &(struct segment){.flags = TCP_ACK,
					  .seq = p->seq,
					  .ack = p->ack,
					  .wnd = 8192,
					  .options = options,
					  .options_len = sizeof(options)});
	turn(p);
}

/* Bytes sent again from p->ack on, without a gap. */
static uint32_t sent_again(struct peer *p)
{
	uint32_t at = p->ack;

	for (unsigned i = 0; i < p->n; i++)
		if (p->log[i].seq == at)
			at += p->log[i].len;
	return at - p->ack;
}

/* A super-datagram was lost: 40 packets in a row. */
static void test_burst_is_repaired_in_slow_start(void **state)
{
	enum { MSS = 1380, LOST = 40 * MSS, AHEAD = 200 << 10 };
	struct peer *p = *state;
	uint32_t left = LOST, sent = MSS;
	unsigned rounds = 0;

	open_with(p, MSS);
	tcp_active_pcbs->cwnd = AHEAD;
	write_some(p, AHEAD);
	p->n = 0;
	for (unsigned i = 0; i < 3; i++)
		send_partial(p, 0, LOST);
	assert_int_equal(sent_again(p), MSS);
	for (;;) {
		uint32_t next = MIN(2 * sent, left - sent);

		p->n = 0;
		left -= sent;
		send_partial(p, sent, left);
		assert_int_equal(sent_again(p), next);
		if (next == left)
			break;
		sent = next;
		rounds++;
		/* a part of it has come: the rest is on its way */
		p->n = 0;
		left -= MSS;
		send_partial(p, MSS, left);
		assert_int_equal(sent_again(p), 0);
		left += MSS;
		p->ack -= MSS;
	}
	assert_in_range(rounds, 1, 6);
	p->s->ops->abort(p->s);
}

/* The end of the last recovery lies nearly 2 GiB back: what is compared with it must not turn round. */
static void test_recovery_after_2_gib(void **state)
{
	struct peer *p = *state;

	open_with(p, 1380);
	tcp_active_pcbs->recover = tcp_active_pcbs->lastack - (UINT32_C(0x80000000) - 2000);
	write_some(p, 10 * 1380);
	send_ack(p, 1380, 8192);
	send_ack(p, 1380, 8192);
	turn(p);
	p->n = 0;
	send_sacks(p, 8192);
	assert_sent_again(p);
	p->s->ops->abort(p->s);
}

static struct stream *dial_nobody(struct peer *p, nsec_t timeout)
{
	struct ipaddr src, dst;
	struct stream *s = NULL;

	assert_int_equal(ipaddr_parse(&src, "10.9.8.7"), 0);
	assert_int_equal(ipaddr_parse(&dst, "198.18.0.2"), 0);
	assert_int_equal(netstack_connect(p->ns, &src, &dst, 80, p, timeout, &s), 0);
	stream_set(s, on_event, p);
	return s;
}

static void test_timeouts_of_a_dial(void **state)
{
	struct peer *p = *state;
	struct stream *s = dial_nobody(p, 50 * NSEC_PER_MSEC);

	run_ms(p, 200);
	assert_int_equal(p->error, -ETIMEDOUT);
	s->ops->abort(s);
	p->error = 0;
	/* 0 is none, and what is sent first is not sent again. */
	s = dial_nobody(p, 0);
	run_ms(p, 200);
	assert_int_equal(p->error, 0);
	assert_int_equal(netstack_stats(p->ns)->retransmits, 0);
	run_ms(p, 999);
	assert_int_equal(netstack_stats(p->ns)->retransmits, 1);
	s->ops->abort(s);
}

/* One who never reads holds all the memory there is: others still get on, one piece at a time. */
static void test_hoarder(void **state)
{
	static const struct netstack_limits limits = {.memory = 64 << 10};
	struct peer *p = *state;
	uint8_t buf[2000];
	struct error e;

	netstack_free(p->ns);
	assert_int_equal(netstack_new(&p->ns, p->base, &ops, p, &limits, &e), 0);
	const struct netstack_stats *st = netstack_stats(p->ns);
	open_with(p, 1380);
	for (unsigned i = 0; i < 100; i++)
		send_data(p, p->seq + i * 1000, 1000);
	assert_true(st->memory > limits.memory && st->memory < limits.memory * 3 / 2);
	assert_true(st->drops[NS_DROP_MEMORY] > 0);
	struct stream *hoarder = p->s;

	p->port++;
	p->opens = 0;
	open_with(p, 1380);
	for (unsigned i = 0; i < 3; i++) {
		send_data(p, p->seq, 1000);
		send_data(p, p->seq + 1000, 1000); /* no second piece */
		turn(p);
		assert_int_equal(stream_read(p->s, buf, sizeof(buf)), 1000);
		p->seq += 1000;
	}
	p->s->ops->abort(p->s);
	hoarder->ops->abort(hoarder);
	assert_int_equal(st->memory, 0);
}

/* What a kernel sends to see whether we are still there: keepalives and zero-window probes (one byte back). */
static void test_probes_are_answered(void **state)
{
	struct peer *p = *state;

	open_with(p, 1380);
	for (unsigned len = 0; len < 2; len++) {
		p->n = 0;
		send_data(p, p->seq - 1, len);
		turn(p);
		assert_int_equal(p->n, 1);
		assert_int_equal(p->log[0].ack, p->seq);
		assert_int_equal(p->log[0].len, 0);
	}
	p->s->ops->abort(p->s);
}

/* Nobody reads until the window is closed; then all is read at once, and the peer is told. */
static void test_window_opens_again(void **state)
{
	struct peer *p = *state;
	uint8_t buf[4000];
	ssize_t n;

	open_with(p, 1380);
	uint32_t end = p->seq;
	bool closed = false;
	for (unsigned i = 0; i < 500 && !closed; i++) {
		send_data(p, end, 1300);
		end += 1300;
		turn(p);
		closed = p->n && p->log[p->n - 1].wnd == 0;
	}
	assert_true(closed);
	p->n = 0;
	while ((n = stream_read(p->s, buf, sizeof(buf))) > 0)
		turn(p);
	assert_int_equal(n, -EAGAIN);
	assert_true(p->n >= 1);
	assert_true(p->log[p->n - 1].wnd >= 512); /* of 128 bytes */
	p->s->ops->abort(p->s);
	assert_int_equal(netstack_stats(p->ns)->memory, 0);
}

/*
 * A timeout puts all that was in flight back to be sent again; the window closes, so that it waits for the window; then
 * it turns out that all of it had come. lwIP's assertion ended the program.
 */
static void test_acknowledged_while_window_is_closed(void **state)
{
	enum { LEN = 8000, PACKET = 1380 };
	struct peer *p = *state;

	open_with(p, PACKET);
	write_some(p, LEN);
	p->n = 0;
	for (int i = 0; i < 300 && !p->n; i++) /* the first packet comes again after 1 s at most */
		run_ms(p, 10);
	assert_int_equal(p->log[0].len, PACKET);
	send_ack(p, PACKET, 0);
	turn(p);
	send_ack(p, LEN - PACKET, 0);
	for (int i = 0; i < 30; i++) /* several of lwIP's ticks */
		run_ms(p, 10);
	p->n = 0;
	send_ack(p, 0, 8192);
	write_some(p, 1000);
	assert_int_equal(p->n, 1);
	assert_int_equal(p->log[0].len, 1000);
	p->s->ops->abort(p->s);
}

/* Connections of one peer to which data comes in turns, and each reads at once. */
struct receivers {
	struct receiver {
		struct stream *s;
		uint32_t seq, ack;
	} conn[16];
	unsigned n;
};

static void add_receiver(struct peer *p, struct receivers *r)
{
	p->port = (uint16_t)(40000 + r->n);
	p->opens = 0;
	open_with(p, 1380);
	r->conn[r->n++] = (struct receiver){.s = p->s, .seq = p->seq, .ack = p->ack};
}

/* However slow the machine is: lwIP's time stands still meanwhile. */
static void give_each(struct peer *p, struct receivers *r, uint32_t bytes)
{
	uint32_t ticks = tcp_ticks;
	uint8_t buf[PAYLOAD_MAX];

	for (uint32_t done = 0; done < bytes; done += PAYLOAD_MAX) {
		for (unsigned i = 0; i < r->n; i++) {
			struct receiver *c = &r->conn[i];

			p->port = (uint16_t)(40000 + i);
			p->ack = c->ack;
			send_data(p, c->seq, PAYLOAD_MAX);
			c->seq += PAYLOAD_MAX;
		}
		turn(p);
		for (unsigned i = 0; i < r->n; i++)
			assert_int_equal(stream_read(r->conn[i].s, buf, sizeof(buf)), PAYLOAD_MAX);
		turn(p);
		tcp_ticks = ticks;
	}
}

/* The last window that connection `i` was told, in bytes. */
static uint32_t told(const struct peer *p, unsigned i)
{
	for (unsigned n = p->n; n; n--) {
		const struct sent *s = &p->log[(n - 1) % ARRAY_SIZE(p->log)];

		if (s->port == 40000 + i)
			return s->wnd * UINT32_C(128);
	}
	fail();
	return 0;
}

/* A window grows with its use; but all that busy connections are offered together is bounded. */
static void test_busy_ones_share_a_window(void **state)
{
	struct peer *p = *state;
	struct receivers r = {0};

	add_receiver(p, &r);
	give_each(p, &r, 4 << 20);
	assert_true(told(p, 0) > 1 << 20);
	while (r.n < ARRAY_SIZE(r.conn))
		add_receiver(p, &r);
	give_each(p, &r, 5 << 20);
	for (unsigned i = 0; i < r.n; i++) {
		assert_in_range(told(p, i), 128 << 10, TCP_WND / r.n);
		r.conn[i].s->ops->abort(r.conn[i].s);
	}
}

/* A window that was never as large as its share has nothing to give when the share becomes smaller. */
static void test_share_without_window_scaling(void **state)
{
	struct peer *p = *state;
	struct receivers r = {0};

	p->old = true;
	add_receiver(p, &r);
	give_each(p, &r, 8 << 20);
	add_receiver(p, &r);
	give_each(p, &r, 1 << 20); /* each byte comes */
	for (unsigned i = 0; i < r.n; i++)
		r.conn[i].s->ops->abort(r.conn[i].s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answer_after_forget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_ack_is_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tiny_mss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_growing_window_hides_no_loss, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_after_2_gib, setup, teardown),
		cmocka_unit_test_setup_teardown(test_burst_is_repaired_in_slow_start, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_timeouts_of_a_dial, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hoarder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probes_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_opens_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acknowledged_while_window_is_closed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_busy_ones_share_a_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_share_without_window_scaling, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
