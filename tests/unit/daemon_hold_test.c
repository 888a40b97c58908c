/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel sends while the manager is away: what is answered and how, what is kept, and that nothing is acknowledged which is not here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/ip.h"
#include "daemon/hold.h"

enum { ACK_NUMBER = 7000, TS_VALUE = 111, TS_ECHO = 222, PORT = 40000, WINDOW = 500 };

static const nsec_t EARLY = 1 * NSEC_PER_SEC, LATE = HOLD_SETTLE_S * NSEC_PER_SEC;

struct shape {
	bool v6, stamped, no_window;
	uint16_t port;
	uint8_t flags; /* beside ACK */
	uint32_t seq, payload;
	uint16_t gso;
};

static struct hold *hold;
static uint8_t packet[PKT_MAX], buf[HOLD_ANSWER];
static struct pkt answer;
static struct {
	unsigned n;
	uint32_t seq, len;
	uint16_t gso;
	uint8_t flags, data[INNER_MTU];
} sent;

static struct pkt build(const struct shape *s)
{
	uint32_t ip = s->v6 ? 40 : 20, tcp_len = s->stamped ? 32 : 20;
	struct pkt pkt = {.data = packet, .len = ip + tcp_len + s->payload, .gso = s->gso};
	uint8_t *tcp = packet + ip;

	memset(packet, 0, ip + tcp_len);
	if (s->v6) {
		packet[0] = 0x60;
		put_be16(packet + 4, (uint16_t)(tcp_len + s->payload));
		packet[6] = IP_PROTO_TCP;
		memset(packet + 8, 10, 16);
		memset(packet + 24, 11, 16);
	} else {
		packet[0] = 0x45;
		put_be16(packet + 2, (uint16_t)pkt.len);
		packet[9] = IP_PROTO_TCP;
		memset(packet + 12, 10, 4);
		memset(packet + 16, 11, 4);
		ip4_header_checksum(packet);
	}
	put_be16(tcp, (uint16_t)(PORT + s->port));
	put_be16(tcp + 2, 80);
	put_be32(tcp + 4, s->seq);
	put_be32(tcp + 8, ACK_NUMBER);
	tcp[12] = (uint8_t)(tcp_len / 4 << 4);
	tcp[13] = TCP_ACK | s->flags;
	put_be16(tcp + 14, s->no_window ? 0 : WINDOW);
	if (s->stamped) {
		tcp[20] = tcp[21] = 1;
		tcp[22] = 8;
		tcp[23] = 10;
		put_be32(tcp + 24, TS_VALUE);
		put_be32(tcp + 28, TS_ECHO);
	}
	for (uint32_t i = 0; i < s->payload; i++)
		tcp[tcp_len + i] = (uint8_t)(s->seq + i);
	return pkt;
}

static bool take(struct shape s, nsec_t now)
{
	struct pkt pkt = build(&s);

	return hold_take(hold, &pkt, now, buf, &answer);
}

static const uint8_t *answer_tcp(void)
{
	struct ip_info ip;

	assert_int_not_equal(answer.len, 0);
	assert_int_equal(ip_parse(&ip, answer.data, answer.len), 0);
	assert_int_equal(ip.total, answer.len);
	assert_int_equal(ip.src.b[0], 11);
	assert_int_equal(ip.dst.b[0], 10);
	if (ip.src.family == 4)
		assert_int_equal(ip_fold(ip_sum(answer.data, 20, 0)), 0);
	return answer.data + ip.l4;
}

static void check_answer(uint32_t seq, uint32_t ack)
{
	const uint8_t *tcp = answer_tcp();

	assert_int_equal(get_be16(tcp), 80);
	assert_int_equal(get_be16(tcp + 2), PORT);
	assert_int_equal(get_be32(tcp + 4), seq);
	assert_int_equal(get_be32(tcp + 8), ack);
	assert_int_equal(tcp[13], TCP_ACK);
	assert_int_equal(get_be16(tcp + 14), 0);
}

static void on_send(void *arg, struct pkt *pkt)
{
	struct ip_info ip;
	const uint8_t *tcp;

	(void)arg;
	assert_int_equal(ip_parse(&ip, pkt->data, pkt->len), 0);
	assert_int_equal(ip.total, pkt->len);
	if (ip.src.family == 4)
		assert_int_equal(ip_fold(ip_sum(pkt->data, 20, 0)), 0);
	tcp = pkt->data + ip.l4;
	sent.n++;
	sent.seq = get_be32(tcp + 4);
	sent.flags = tcp[13];
	sent.gso = pkt->gso;
	sent.len = pkt->len - ip.l4 - (tcp[12] >> 4) * 4U;
	memcpy(sent.data, pkt->data + pkt->len - sent.len, sent.len);
}

static void release(unsigned n, uint32_t seq, uint32_t len)
{
	sent.n = 0;
	hold_release(hold, on_send, NULL);
	assert_int_equal(sent.n, n);
	assert_int_equal(hold_count(hold), 0);
	if (!n)
		return;
	assert_int_equal(sent.seq, seq);
	assert_int_equal(sent.len, len);
	assert_int_equal(sent.gso, 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(sent.data[i], (uint8_t)(seq + i));
}

static int start(void **state)
{
	(void)state;
	return hold_new(&hold, 0);
}

static int stop(void **state)
{
	(void)state;
	hold_free(hold);
	return 0;
}

static void data_gets_a_window_of_zero(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		assert_true(take((struct shape){.v6 = v6, .seq = 100, .payload = 50}, LATE));
		check_answer(ACK_NUMBER + 1, 100);
		assert_int_equal(answer.len, (v6 ? 40 : 20) + 20);
		release(1, 100, 50);
	}
	assert_int_equal(hold_stats(hold)->answered, 2);
	/* The kernel has no room itself: it would not look at a number ahead. */
	assert_true(take((struct shape){.seq = 100, .payload = 50, .no_window = true}, LATE));
	check_answer(ACK_NUMBER, 100);
}

static void timestamps_are_turned_round(void **state)
{
	const uint8_t *tcp;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		assert_true(take((struct shape){.v6 = v6, .stamped = true, .seq = 1, .payload = 9},
				 LATE));
		check_answer(ACK_NUMBER + 1, 1);
		tcp = answer_tcp();
		assert_int_equal(tcp[12] >> 4, 8);
		assert_int_equal(get_be32(tcp + 20), 0x0101080a);
		assert_int_equal(get_be32(tcp + 24), TS_ECHO);
		assert_int_equal(get_be32(tcp + 28), TS_VALUE);
		release(1, 1, 9);
	}
}

/* 200 comes first, but 100 was on its way: to acknowledge 200 would lose it. */
static void only_the_first_is_acknowledged(void **state)
{
	(void)state;
	assert_true(take((struct shape){.seq = 200, .payload = 50}, EARLY));
	assert_int_equal(answer.len, 0);
	assert_true(take((struct shape){.seq = 200, .payload = 50}, EARLY));
	assert_int_equal(answer.len, 0);
	assert_true(take((struct shape){.seq = 250, .payload = 50}, LATE));
	assert_int_equal(answer.len, 0);
	assert_true(take((struct shape){.seq = 100, .payload = 50}, LATE));
	check_answer(ACK_NUMBER + 1, 100);
	assert_true(take((struct shape){.seq = 250, .payload = 50}, LATE));
	check_answer(ACK_NUMBER + 1, 100);
	release(1, 100, 50);
}

static void what_came_early_is_kept(void **state)
{
	(void)state;
	assert_true(take((struct shape){.seq = 100, .payload = 50}, EARLY));
	assert_int_equal(answer.len, 0);
	assert_int_equal(hold_count(hold), 1);
	release(1, 100, 50);
}

static void numbers_wrap(void **state)
{
	(void)state;
	assert_true(take((struct shape){.seq = 20, .payload = 50}, EARLY));
	assert_true(take((struct shape){.seq = UINT32_MAX - 29, .payload = 50}, LATE));
	check_answer(ACK_NUMBER + 1, UINT32_MAX - 29);
	assert_true(take((struct shape){.seq = 20, .payload = 50}, LATE));
	check_answer(ACK_NUMBER + 1, UINT32_MAX - 29);
	release(1, UINT32_MAX - 29, 50);
	assert_true(take((struct shape){.seq = UINT32_MAX}, LATE));
	check_answer(ACK_NUMBER, 0);
}

static void a_probe_is_answered_for_the_number_after_it(void **state)
{
	(void)state;
	assert_true(take((struct shape){.seq = 99}, EARLY));
	check_answer(ACK_NUMBER, 100);
	assert_int_equal(hold_count(hold), 1);
	/* Data tells more; a probe after it tells nothing new. */
	assert_true(take((struct shape){.seq = 100, .payload = 50}, LATE));
	check_answer(ACK_NUMBER + 1, 100);
	assert_true(take((struct shape){.seq = 99}, LATE));
	check_answer(ACK_NUMBER, 100);
	release(1, 100, 50);
	assert_true(take((struct shape){.seq = 99}, LATE));
	release(1, 99, 0);
}

static void a_super_packet_is_kept_as_its_first_segment(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		assert_true(take((struct shape){.v6 = v6,
						.stamped = true,
						.seq = 100,
						.payload = 50000,
						.gso = 1300,
						.flags = TCP_PSH | TCP_FIN},
				 LATE));
		check_answer(ACK_NUMBER + 1, 100);
		release(1, 100, 1300);
		assert_int_equal(sent.flags, TCP_ACK);
		assert_true(take((struct shape){.v6 = v6,
						.seq = 100,
						.payload = 900,
						.gso = 1300,
						.flags = TCP_PSH},
				 LATE));
		release(1, 100, 900);
		assert_int_equal(sent.flags, TCP_ACK | TCP_PSH);
	}
	/* No path takes such segments: they are not ours. */
	assert_false(take((struct shape){.seq = 100, .payload = 50000, .gso = 1400}, LATE));
	assert_int_equal(hold_count(hold), 0);
}

static void a_fin_counts_as_data(void **state)
{
	(void)state;
	assert_true(take((struct shape){.seq = 100, .flags = TCP_FIN}, LATE));
	check_answer(ACK_NUMBER + 1, 100);
	release(1, 100, 0);
	assert_int_equal(sent.flags, TCP_ACK | TCP_FIN);
}

static void a_reset_or_syn_ends_it(void **state)
{
	static const uint8_t flags[] = {TCP_RST, TCP_SYN};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		assert_false(take((struct shape){.seq = 1, .flags = flags[i]}, LATE));
		assert_true(take((struct shape){.seq = 100, .payload = 50}, LATE));
		assert_true(take((struct shape){.seq = 100, .payload = 50, .port = 1}, LATE));
		assert_false(take((struct shape){.seq = 150, .flags = flags[i]}, LATE));
		assert_int_equal(answer.len, 0);
		release(1, 100, 50);
	}
}

static void what_is_above_the_bound_goes_its_way(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HOLD_FLOWS; i++)
		assert_true(
			take((struct shape){.port = (uint16_t)i, .seq = i, .payload = 1}, LATE));
	assert_false(take((struct shape){.port = HOLD_FLOWS, .seq = 5, .payload = 1}, LATE));
	assert_int_equal(hold_stats(hold)->full, 1);
	assert_true(take((struct shape){.port = 3, .seq = 3, .payload = 1}, LATE));
	assert_int_equal(hold_count(hold), HOLD_FLOWS);
	sent.n = 0;
	hold_release(hold, on_send, NULL);
	assert_int_equal(sent.n, HOLD_FLOWS);
	assert_true(take((struct shape){.port = HOLD_FLOWS, .seq = 5, .payload = 1}, LATE));
}

static void other_packets_are_not_taken(void **state)
{
	struct pkt pkt;

	(void)state;
	pkt = build(&(struct shape){.seq = 1, .payload = 10});
	packet[9] = IP_PROTO_UDP;
	ip4_header_checksum(packet);
	assert_false(hold_take(hold, &pkt, LATE, buf, &answer));
	for (uint32_t len = 0; len < 40 + 20; len++) {
		pkt = build(&(struct shape){.v6 = true, .stamped = true, .seq = 1, .payload = 10});
		pkt.len = len;
		assert_false(hold_take(hold, &pkt, LATE, buf, &answer));
	}
	/* Options that are none: no timestamp, and nothing is read beyond them. */
	pkt = build(&(struct shape){.stamped = true, .seq = 1, .payload = 10});
	packet[40] = packet[42] = 3;
	packet[41] = 2;
	packet[43] = 60;
	assert_true(hold_take(hold, &pkt, LATE, buf, &answer));
	assert_int_equal(answer.len, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(data_gets_a_window_of_zero, start, stop),
		cmocka_unit_test_setup_teardown(timestamps_are_turned_round, start, stop),
		cmocka_unit_test_setup_teardown(only_the_first_is_acknowledged, start, stop),
		cmocka_unit_test_setup_teardown(what_came_early_is_kept, start, stop),
		cmocka_unit_test_setup_teardown(numbers_wrap, start, stop),
		cmocka_unit_test_setup_teardown(a_probe_is_answered_for_the_number_after_it, start,
						stop),
		cmocka_unit_test_setup_teardown(a_super_packet_is_kept_as_its_first_segment, start,
						stop),
		cmocka_unit_test_setup_teardown(a_fin_counts_as_data, start, stop),
		cmocka_unit_test_setup_teardown(a_reset_or_syn_ends_it, start, stop),
		cmocka_unit_test_setup_teardown(what_is_above_the_bound_goes_its_way, start, stop),
		cmocka_unit_test_setup_teardown(other_packets_are_not_taken, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
