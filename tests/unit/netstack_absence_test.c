/* SPDX-License-Identifier: Apache-2.0 */
/* TCP connections whose peer goes away for hours, and comes back. */
#include "tests/unit/netstack_peer.h"

/* lwIP's clock, by hand. */
static void pass(struct peer *p, unsigned seconds)
{
	for (unsigned ticks = seconds * 1000 / TCP_TMR_INTERVAL; ticks; ticks--) {
		tcp_stream_hold_timers(p->ns);
		lwip_enter();
		tcp_tmr();
		lwip_leave();
		tcp_stream_release_timers(p->ns);
		turn(p);
	}
}

enum { HOUR = 3600 };

/* All that waits arrives, in order. */
static void take_all(struct peer *p, uint32_t end)
{
	for (int i = 0; i < 1000 && p->ack != end; i++) {
		uint32_t got = 0;

		for (unsigned k = 0; k < p->n; k++) {
			if (p->log[k].seq - p->ack == got)
				got += p->log[k].len;
		}
		p->n = 0;
		send_ack(p, got, 8192);
		turn(p);
	}
	assert_int_equal(p->ack, end);
}

/* What was on its way and what is written meanwhile; told by whoever knows, or by a packet of the peer. */
static void test_absent_while_sending(void **state)
{
	enum { BEFORE = 100000, MEANWHILE = 20000 };
	struct peer *p = *state;

	for (int heard = 0; heard < 2; heard++) {
		p->opens = 0;
		open_with(p, 1380);
		uint32_t begin = p->ack;
		write_some(p, BEFORE);
		assert_true(p->n > 0);
		pass(p, 20); /* it went unseen: the timeout has backed off */
		netstack_absent(p->ns, NULL, true);
		p->n = 0;
		pass(p, HOUR);
		write_some(p, MEANWHILE);
		pass(p, HOUR);
		assert_int_equal(p->n, 0);
		assert_int_equal(p->error, 0);
		if (heard)
			send_ack(p, 0, 8192);
		else
			netstack_absent(p->ns, NULL, false);
		turn(p);
		assert_int_not_equal(p->n, 0);
		assert_int_equal(p->log[0].seq, begin);
		take_all(p, begin + BEFORE + MEANWHILE);
		p->s->ops->abort(p->s);
		netstack_absent(p->ns, NULL, false);
		turn(p);
		p->port++;
	}
}

/* The window was closed: its probes stop, and the first one says that we are there. */
static void test_absent_with_closed_window(void **state)
{
	struct peer *p = *state;

	open_with(p, 1380);
	write_some(p, 1000);
	send_ack(p, 1000, 0);
	uint32_t begin = p->ack;
	p->n = 0;
	write_some(p, 10000);
	assert_int_equal(p->n, 0);
	pass(p, 20);
	assert_int_not_equal(p->n, 0); /* it probes */
	netstack_absent(p->ns, NULL, true);
	p->n = 0;
	pass(p, HOUR);
	assert_int_equal(p->n, 0);
	netstack_absent(p->ns, NULL, false);
	pass(p, 1);
	assert_int_not_equal(p->n, 0);
	p->n = 0;
	pass(p, 20); /* the answer got lost */
	assert_int_not_equal(p->n, 0);
	assert_int_equal(p->error, 0);
	p->n = 0;
	send_ack(p, 0, 8192);
	turn(p);
	take_all(p, begin + 10000);
	p->s->ops->abort(p->s);
}

static void test_absent_is_somebody_else(void **state)
{
	const struct ipaddr other = {.family = 4, .b = {198, 18, 0, 3}};
	const struct ipaddr peer = {.family = 4, .b = {198, 18, 0, 2}};
	struct peer *p = *state;

	open_with(p, 1380);
	netstack_absent(p->ns, &other, true);
	write_some(p, 1000);
	assert_int_equal(p->n, 1);
	netstack_absent(p->ns, &peer, true);
	write_some(p, 1000);
	assert_int_equal(p->n, 1);
	netstack_absent(p->ns, &other, false);
	turn(p);
	assert_int_equal(p->n, 1);
	netstack_absent(p->ns, &peer, false);
	turn(p);
	assert_true(p->n > 1);
	p->s->ops->abort(p->s);
}

/* Nothing stays for ever of what nobody owns. */
static void test_absent_and_closed(void **state)
{
	struct peer *p = *state;

	for (int before = 0; before < 2; before++) {
		p->opens = 0;
		open_with(p, 1380);
		write_some(p, 10000);
		if (before)
			p->s->ops->close(p->s);
		netstack_absent(p->ns, NULL, true);
		if (!before)
			p->s->ops->close(p->s);
		turn(p);
		assert_int_equal(netstack_stats(p->ns)->conns, 1);
		pass(p, 300);
		assert_int_equal(netstack_stats(p->ns)->conns, 0);
		assert_int_equal(netstack_stats(p->ns)->memory, 0);
		p->port++;
	}
}

/* Who is there does not go without memory for who is not. */
static void test_absent_gives_way(void **state)
{
	struct peer *p = *state;
	struct stream *absent;

	open_with(p, 1380);
	write_some(p, 100000);
	absent = p->s;
	netstack_absent(p->ns, NULL, true);
	p->ns->limits.memory = netstack_stats(p->ns)->memory;
	p->port++;
	p->opens = 0;
	open_with(p, 1380);
	assert_int_equal(p->error, 0);
	write_some(p, 50000);
	turn(p);
	assert_int_not_equal(p->error, 0);
	assert_int_equal(absent->error, p->error);
	assert_int_equal(p->s->error, 0);
	absent->ops->abort(absent);
	p->s->ops->abort(p->s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_absent_while_sending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_with_closed_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_is_somebody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_and_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_gives_way, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
